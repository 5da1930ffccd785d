"""Storms: what happens when very much happens at once, or something is away for long, in figures.

    PYTHONPATH=tests python -m bench.storms backoff
    PYTHONPATH=tests python -m bench.storms nats-away --seconds 60 --json

backoff            100,000 runs of one queue fail at once, with the same backoff
schedule           100,000 runs of one queue are scheduled for the same second
nats-away          nats-server is away while 200 runs a second are enqueued
postgres-away      PostgreSQL is away while handlers run
open-transaction   somebody leaves a transaction open while 200 runs a second flow
churn              workers connect and go, and the writers coalesce: does memory grow?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import time
from collections.abc import Coroutine
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from . import storm_churn, storm_crowds, storm_outages


def _storm(args: argparse.Namespace) -> Coroutine[Any, Any, dict[str, float]]:
    match args.name:
        case "backoff":
            return storm_crowds.backoff(args.runs)
        case "schedule":
            return storm_crowds.schedule(args.runs)
        case "nats-away":
            return storm_outages.nats_away(args.seconds or 300, args.rate)
        case "postgres-away":
            return storm_outages.postgres_away(args.seconds or 60)
        case "open-transaction":
            return storm_outages.open_transaction(args.seconds or 600, args.rate)
        case _:
            return storm_churn.churn(args.cycles, args.operations)


async def _until_told_to_stop(storm: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    """SIGTERM ends it like Ctrl-C, so that nothing stays behind."""
    weathering = asyncio.create_task(storm)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, weathering.cancel)
    return await weathering


def main() -> None:
    """Run one storm and print its figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.storms", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("backoff", "schedule", "nats-away", "postgres-away", "open-transaction", "churn")
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--runs", type=int, default=100_000, help="of backoff and schedule")
    parser.add_argument("--seconds", type=float, help="how long it is away, or open: 300, 60 and 600 unless said")
    parser.add_argument("--rate", type=float, default=200, help="runs a second meanwhile")
    parser.add_argument("--cycles", type=int, default=100_000, help="of churn: streams opened and closed")
    parser.add_argument("--operations", type=int, default=1_000_000, help="of churn: coalesced operations")
    args = parser.parse_args()
    began = time.monotonic()
    figures = uvloop.run(_until_told_to_stop(_storm(args)))
    figures["the whole storm, s"] = time.monotonic() - began
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    date = time.strftime("%Y-%m-%d")
    if args.json:
        print(json.dumps({"storm": args.name, "machine": machine, "date": date, **figures}, indent=2))
        return
    table = Table(title=f"{args.name} ({machine}, {date})")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

"""Measures this machine: the floor and Layeron Job in one run, so that their ratio means something.

`make bench` prints a table and writes build/bench.json. `--quick` measures less, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from statistics import median

import uvloop
from rich.console import Console
from rich.table import Table

from . import floor, ours
from .cost import rss_mib
from .servers import Servers, fresh_servers
from .stack import Stack, running

_IDLE_PER_S = 20.0


async def main(args: argparse.Namespace) -> None:
    """Measure in rounds, floor and ours in turn, and report the medians."""
    rounds: list[dict[str, float]] = []
    async with fresh_servers() as servers, running(servers, processes=args.processes) as stack:
        for number in range(1, args.rounds + 1):
            print(f"round {number} of {args.rounds} …", flush=True)
            rounds.append({**await _floor(servers, args), **await _ours(stack, args)})
    medians = {name: median(one[name] for one in rounds) for name in rounds[0]}
    medians["drain_ratio"] = median(one["drain_per_s"] / one["floor_drain_per_s"] for one in rounds)
    medians["end_to_end_ratio"] = median(
        one["end_to_end_batch_per_s"] / one["floor_end_to_end_per_s"] for one in rounds
    )
    _report({name: round(value, 2) for name, value in medians.items()}, args)


async def _floor(servers: Servers, args: argparse.Namespace) -> dict[str, float]:
    measured = await floor.measure(servers.dsn, servers.nats_url, runs=args.runs)
    return {
        "floor_end_to_end_per_s": measured.end_to_end_per_s,
        "floor_drain_per_s": measured.drain_per_s,
        "floor_python_us_per_run": measured.python_us_per_run,
    }


async def _ours(stack: Stack, args: argparse.Namespace) -> dict[str, float]:
    await stack.forget_runs()
    figures = {"commit_ms": await ours.commit_ms(stack)}
    figures["enqueue_unary_per_s"] = await ours.enqueue_unary(stack, args.unary)
    figures["enqueue_batch_per_s"] = await ours.enqueue_batch(stack, args.runs)
    figures.update(await ours.drain(stack, args.unary + args.runs))
    idle = await ours.latency(stack, args.latency_runs, _IDLE_PER_S)
    figures.update({f"idle_p{percent}_ms": ours.percentile(idle, percent) for percent in (50, 95, 99)})
    figures.update(await ours.end_to_end_batch(stack, args.runs))
    figures["end_to_end_unary_per_s"] = await ours.end_to_end_unary(stack, args.unary)
    half = figures["end_to_end_unary_per_s"] / 2
    figures["half_load_p99_ms"] = ours.percentile(await ours.latency(stack, args.unary, half), 99)
    figures["server_rss_mib"] = max(map(rss_mib, stack.server_pids))
    figures["worker_rss_mib"] = rss_mib(stack.workers[0].pid)
    await stack.stop_workers()
    return figures


def _report(medians: dict[str, float], args: argparse.Namespace) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "server_processes": args.processes,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
    }
    table = Table(title=f"medians of {args.rounds} ({', '.join(f'{name} {value}' for name, value in machine.items())})")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in medians.items():
        table.add_row(name, f"{value:,.2f}" if value < 10 else f"{value:,.0f}")
    Console().print(table)
    out = Path("build/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({**medians, **machine}, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=50_000, help="runs per measurement, a multiple of 500")
    parser.add_argument("--unary", type=int, default=6_400, help="single enqueues, a multiple of 64")
    parser.add_argument("--latency-runs", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1, help="server processes")
    parser.add_argument("--quick", action="store_true", help="one small round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.runs, arguments.unary, arguments.latency_runs = 1, 2_000, 640, 20
    uvloop.run(main(arguments))

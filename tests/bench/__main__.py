"""Measures this machine: the floor and Layeron Job in one run, so that their ratio means something.

`make bench` prints a table and writes build/bench.json. `--quick` measures less, to see that it works.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2

from . import floor
from .servers import Servers, fresh_servers
from .stack import TASK, Stack, running

_CONCURRENT_CALLS = 64
_BATCH = 500
_POLL_SECONDS = 0.02
_PAYLOAD_PAD = "x" * 110


async def main(args: argparse.Namespace) -> None:
    """Measure in rounds, floor and ours in turn, and report the medians."""
    rounds: list[dict[str, float]] = []
    async with fresh_servers() as servers, running(servers) as stack:
        for number in range(1, args.rounds + 1):
            print(f"round {number} of {args.rounds} …", flush=True)
            rounds.append({**await _floor(servers, args), **await _ours(stack, args)})
    medians = {name: round(median(one[name] for one in rounds), 1) for name in rounds[0]}
    medians["drain_ratio"] = round(median(one["drain_per_s"] / one["floor_drain_per_s"] for one in rounds), 2)
    medians["end_to_end_ratio"] = round(
        median(one["end_to_end_batch_per_s"] / one["floor_end_to_end_per_s"] for one in rounds), 2
    )
    _report(medians, args)


async def _floor(servers: Servers, args: argparse.Namespace) -> dict[str, float]:
    measured = await floor.measure(servers.dsn, servers.nats_url, runs=args.runs)
    return {
        "floor_end_to_end_per_s": measured.end_to_end_per_s,
        "floor_drain_per_s": measured.drain_per_s,
        "floor_python_us_per_run": measured.python_us_per_run,
    }


async def _ours(stack: Stack, args: argparse.Namespace) -> dict[str, float]:
    await stack.forget_runs()
    figures: dict[str, float] = {}
    figures["enqueue_unary_per_s"] = await _rate(args.unary, _enqueue_unary(stack, args.unary))
    figures["enqueue_batch_per_s"] = await _rate(args.runs, _enqueue_batches(stack, args.runs))
    waiting = args.unary + args.runs
    figures.update(await _drain(stack, waiting))
    figures.update(await _latency(stack, args))
    ended = await stack.ended()
    began = time.perf_counter()
    await _enqueue_batches(stack, args.runs)
    await _until_ended(stack, ended + args.runs)
    figures["end_to_end_batch_per_s"] = args.runs / (time.perf_counter() - began)
    figures["server_rss_mib"] = _rss_mib(stack.server_pid)
    figures["worker_rss_mib"] = _rss_mib(stack.workers[0].pid)
    await stack.stop_workers()
    return figures


async def _rate(count: int, work: Any) -> float:
    began = time.perf_counter()
    await work
    return count / (time.perf_counter() - began)


def _payload() -> bytes:
    return json.dumps({"enqueued_at": time.time(), "to": "user@example.com", "pad": _PAYLOAD_PAD}).encode()


async def _enqueue_unary(stack: Stack, count: int) -> None:
    async def caller() -> None:
        for _ in range(count // _CONCURRENT_CALLS):
            await stack.jobs.Enqueue(
                pb.EnqueueRequest(task=TASK, payload_json=_payload(), json_form=pb.JSON_FORM_BYTES)
            )

    await asyncio.gather(*(caller() for _ in range(_CONCURRENT_CALLS)))


async def _enqueue_batches(stack: Stack, count: int) -> None:
    for _ in range(0, count, _BATCH):
        items = [pb.EnqueueRequest(task=TASK, payload_json=_payload()) for _ in range(_BATCH)]
        await stack.jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items))


async def _drain(stack: Stack, waiting: int) -> dict[str, float]:
    """From the first ended run to the last, everything having waited before the worker started."""
    await stack.start_worker()
    while (first := await stack.ended()) == 0:
        await asyncio.sleep(_POLL_SECONDS)
    began, cpu = time.perf_counter(), _cpu_seconds(stack)
    await _until_ended(stack, waiting)
    per_s = (waiting - first) / (time.perf_counter() - began)
    return {"drain_per_s": per_s, **_cpu_per_run(stack, cpu, waiting - first)}


async def _until_ended(stack: Stack, count: int) -> None:
    while await stack.ended() < count:
        await asyncio.sleep(_POLL_SECONDS)


async def _latency(stack: Stack, args: argparse.Namespace) -> dict[str, float]:
    """Enqueue to handler at 20 runs a second, read back from the runs' results."""
    run_ids = []
    for _ in range(args.latency_runs):
        request = pb.EnqueueRequest(task=TASK, payload_json=_payload(), json_form=pb.JSON_FORM_BYTES)
        run_ids.append((await stack.jobs.Enqueue(request)).run.run_id)
        await asyncio.sleep(0.05)
    delays = []
    for run_id in run_ids:
        answer = await stack.jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, json_form=pb.JSON_FORM_BYTES))
        assert answer.run.status == run_pb2.RUN_STATUS_SUCCEEDED
        delays.append(json.loads(answer.run.result_json)["delay_ms"])
    cuts = quantiles(delays, n=100)
    return {"idle_p50_ms": cuts[49], "idle_p95_ms": cuts[94], "idle_p99_ms": cuts[98]}


def _processes(stack: Stack) -> dict[str, list[int]]:
    return {
        "server": [stack.server_pid],
        "worker": [worker.pid for worker in stack.workers],
        "postgres": [stack.servers.postgres_pid, *_children(stack.servers.postgres_pid)],
        "nats": [stack.servers.nats_pid],
    }


def _cpu_seconds(stack: Stack) -> dict[str, float]:
    return {name: sum(map(_cpu_of, pids)) for name, pids in _processes(stack).items()}


def _cpu_per_run(stack: Stack, before: dict[str, float], runs: int) -> dict[str, float]:
    """CPU per drained run by process, in microseconds."""
    return {f"{name}_us_per_run": (now - before[name]) / runs * 1e6 for name, now in _cpu_seconds(stack).items()}


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _report(medians: dict[str, float], args: argparse.Namespace) -> None:
    table = Table(title=f"medians of {args.rounds}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in medians.items():
        table.add_row(name, f"{value:,.2f}" if value < 10 else f"{value:,.0f}")
    Console().print(table)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    out = Path("build/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({**medians, **machine, "commit": commit.stdout.strip()}, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=30_000, help="runs per measurement")
    parser.add_argument("--unary", type=int, default=6_400, help="single enqueues")
    parser.add_argument("--latency-runs", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="one small round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.runs, arguments.unary, arguments.latency_runs = 1, 2_000, 640, 20
    uvloop.run(main(arguments))

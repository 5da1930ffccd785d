"""How a long history bears on everything: lets it grow step by step, and measures drain, lists and look-ups at each.

    python -m bench.history [--steps 0,1000000,5000000] [--json]     (PYTHONPATH=tests; 5 million need about 10 GB)

The runs of the history are made inside PostgreSQL, spread over the last 30 days, with all their rows: three
transitions and an attempt each, a label for every fifth and a key for every tenth, 20 tasks, 94 % succeeded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc

from . import ours
from .servers import fresh_servers
from .stack import Stack, running

_DAYS = 30
_TASKS = 20
_SLICE = 250_000
_DEEP_PAGES = 40
_PAGE = 50
_CALLS = 200
_DRAINED = 50_000

_PARTITION = """
create table if not exists transitions_{day:%Y%m%d} partition of transitions for values from ('{day}') to ('{after}')
"""

_GROW = """
with made as materialized (
  select n, uuidv7(-age) as run_id, now() - age as at, n % 20
    + (select min(task_id) from tasks where name like 'history-%') as task_id,
    case when n % 50 = 0 then 'canceled' when n % 25 = 1 then 'dead_lettered' else 'succeeded' end as status
  from (select n, (n::float8 / $2) * interval '30 days' as age from generate_series($1::bigint, $1 + $3 - 1) n) spread
), run as (
  insert into runs (run_id, namespace_id, task_id, queue_id, priority, payload, retry, timeout_ms, idempotency_key,
    key_window, labels, origin, fingerprint, created_at)
  select run_id, t.namespace_id, task_id, t.queue_id, 2, json_build_object('to', 'user@example.com', 'n', n,
    'pad', repeat('x', 100)), t.retry, t.timeout_ms, case when n % 10 = 0 then 'key-' || n end,
    case when n % 10 = 0 then 'forever' end,
    case when n % 5 = 0 then json_build_object('customer', (n % 10000)::text) end, 'enqueue', sha256(n::text::bytea), at
  from made join tasks t using (task_id)
), label as (
  insert into run_labels (namespace_id, key, value, run_id)
  select (select min(namespace_id) from namespaces), 'customer', (n % 10000)::text, run_id from made where n % 5 = 0
), ended as (
  insert into ended_runs (run_id, task_id, status, attempt, counted, first_started_at, ended_at)
  select run_id, task_id, status, 1, 1, at, at from made
), attempt as (
  insert into attempts (run_id, number, status, session_id, granted_at, ended_at, result)
  select run_id, 1, case status when 'dead_lettered' then 'failed' else status end, $4, at, at, '{"ok": true}' from made
)
insert into transitions (run_id, seq, task_id, to_status, attempt, reason, at)
select run_id, seq, task_id, case seq when 0 then 'queued' when 1 then 'running' else status end, seq, 'ENQUEUED', at
from made cross join generate_series(0, 2) seq
"""


async def main(args: argparse.Namespace) -> None:
    """Grow, measure, and grow again."""
    steps = [int(step) for step in args.steps.split(",")]
    rows: list[dict[str, float]] = []
    async with fresh_servers() as servers, running(servers) as stack:
        await _register(stack)
        there = 0
        for step in steps:
            await _grow(stack, there, step, of=max(steps))
            there = step
            rows.append({"finished runs": step, **await _measure(stack)})
    if args.json:
        print(json.dumps(rows))
        return
    table = Table("figure", *(f"{row['finished runs']:,.0f}" for row in rows))
    for name in rows[0]:
        table.add_row(name, *(f"{row[name]:,.1f}" for row in rows))
    Console().print(table)


async def _register(stack: Stack) -> None:
    definitions = [task_pb2.TaskDefinition(name=f"history-{number:02}") for number in range(_TASKS)]
    request = task_service_pb2.RegisterTasksRequest(tasks=definitions)
    await task_service_pb2_grpc.TaskServiceStub(stack.channel).RegisterTasks(request)


async def _grow(stack: Stack, there: int, step: int, *, of: int) -> None:
    session_id = await stack.database.fetchval("select gen_random_uuid()")
    today = datetime.now(UTC).date()
    for ago in range(_DAYS + 1):
        day = today - timedelta(days=ago)
        await stack.database.execute(_PARTITION.format(day=day, after=day + timedelta(days=1)))
    for first in range(there, step, _SLICE):
        await stack.database.execute(_GROW, first, of, min(_SLICE, step - first), session_id, timeout=600)
        print(f"history: {first + _SLICE:,} of {step:,}", flush=True)
    await stack.database.execute("vacuum analyze", timeout=1800)


async def _measure(stack: Stack) -> dict[str, float]:
    figures: dict[str, float] = {}
    await ours.enqueue_batch(stack, _DRAINED)
    figures["drain, runs/s"] = (await ours.drain(stack, await stack.ended() + _DRAINED))["drain_per_s"]
    await stack.stop_workers()
    for name, wanted in _filters().items():
        token = await _deep(stack, wanted)
        figures[f"list by {name}, p50 ms"], figures[f"list by {name}, p99 ms"] = await _timed(_list(stack, wanted, ""))
        if token:
            deep = await _timed(_list(stack, wanted, token))
            figures[f"list by {name}, deep, p50 ms"], figures[f"list by {name}, deep, p99 ms"] = deep
    run_ids = [run.run_id for run in (await stack.jobs.ListRuns(pb.ListRunsRequest(page_size=_CALLS))).runs]
    figures["get, p50 ms"], figures["get, p99 ms"] = await _timed(_get(stack, run_ids))
    return figures


def _filters() -> dict[str, pb.RunFilter]:
    now = datetime.now(UTC)
    ten_days: dict[str, Any] = {
        "created_from": _stamp(now - timedelta(days=20)),
        "created_before": _stamp(now - timedelta(days=10)),
    }
    dead, succeeded = [run_pb2.RUN_STATUS_DEAD_LETTERED], [run_pb2.RUN_STATUS_SUCCEEDED]
    return {
        "newest": pb.RunFilter(),
        "task": pb.RunFilter(task="history-03"),
        "status": pb.RunFilter(statuses=dead),
        "task and status": pb.RunFilter(task="history-01", statuses=dead),
        "label": pb.RunFilter(labels={"customer": "70"}),
        "key": pb.RunFilter(task="history-10", idempotency_key="key-70"),
        "created": pb.RunFilter(**ten_days),
        "status and created": pb.RunFilter(statuses=dead, **ten_days),
        "task, status and created": pb.RunFilter(task="history-01", statuses=succeeded, **ten_days),
        "label and created": pb.RunFilter(labels={"customer": "70"}, **ten_days),
    }


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


async def _deep(stack: Stack, wanted: pb.RunFilter) -> str:
    """The token of a page far down, or "" if the list is shorter."""
    token = ""
    for _ in range(_DEEP_PAGES):
        token = (await _list(stack, wanted, token)(0)).next_page_token
        if not token:
            return ""
    return token


def _list(stack: Stack, wanted: pb.RunFilter, token: str) -> Callable[[int], Awaitable[Any]]:
    page = pb.ListRunsRequest(filter=wanted, page_size=_PAGE, page_token=token)
    return lambda _: stack.jobs.ListRuns(page)


def _get(stack: Stack, run_ids: list[str]) -> Callable[[int], Awaitable[Any]]:
    return lambda number: stack.jobs.GetRun(pb.GetRunRequest(run_id=run_ids[number % len(run_ids)]))


async def _timed(call: Callable[[int], Awaitable[Any]]) -> tuple[float, float]:
    """p50 and p99 in milliseconds, one call after another."""
    took = []
    for number in range(_CALLS):
        began = time.perf_counter()
        await call(number)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0)
    return ours.percentile(took, 50), ours.percentile(took, 99)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="0,1000000,5000000", help="finished runs at each step")
    parser.add_argument("--json", action="store_true")
    uvloop.run(main(parser.parse_args()))

"""The floor: what this machine's PostgreSQL and JetStream allow for one durable run with full history.

Each run owes the same durable steps as in Layeron Job: run, open state, transition and outbox row in one transaction;
the ring; the outbox row's deletion; the fetch; the start (state, transition); the ack; the finish (state, attempt with
its result, transition). All of it in batches and from one Python process with nats-py's own calls, and with no RPC,
validation, handlers or policy. It is a yardstick and not a design.

    python -m tests.bench.floor [--dsn postgresql://… --nats nats://…] [--runs 40000] [--batch 500] [--payload 170]

Prints one JSON line. Without addresses it starts both servers for itself, with their defaults. It uses the schema
`floor` and the stream FLOOR, removes both, and fails if any run did not finish with its whole history.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from uuid import UUID, uuid4

import asyncpg
import nats
import uvloop
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from layeron_job.ids import new_uuid7

from .servers import fresh_servers

_STREAM = "FLOOR"
_CONSUMER = "worker"
_SUBJECT = "floor.default.send-email."
_RESULT = '{"ok": true}'
_STALL_SECONDS = 30.0

_SCHEMA = """
create schema floor;
create table floor.runs (
  run_id uuid primary key, task_id int not null, payload json not null, created_at timestamptz not null default now());
create index on floor.runs (task_id, run_id);
create table floor.run_states (
  run_id uuid primary key, status text not null, attempt int not null default 0, session_id uuid,
  granted_at timestamptz, ended_at timestamptz) with (fillfactor = 70);
create table floor.attempts (
  run_id uuid, number int, status text not null, session_id uuid not null, granted_at timestamptz not null,
  ended_at timestamptz not null default now(), result json, primary key (run_id, number));
create table floor.transitions (
  run_id uuid, seq int, to_status text not null, at timestamptz not null default now(), primary key (run_id, seq));
create table floor.outbox (run_id uuid primary key, ring_at timestamptz not null default now());
"""

_ENQUEUE = """
with asked as (select * from unnest($1::uuid[], $2::json[]) as a (run_id, payload)),
run as (insert into floor.runs (run_id, task_id, payload) select run_id, 1, payload from asked),
state as (insert into floor.run_states (run_id, status) select run_id, 'queued' from asked),
ring as (insert into floor.outbox (run_id) select run_id from asked)
insert into floor.transitions (run_id, seq, to_status) select run_id, 0, 'queued' from asked
"""

_RUNG = "delete from floor.outbox where run_id = any($1::uuid[])"

_START = """
with granted as (
  update floor.run_states set status = 'running', attempt = attempt + 1, session_id = $2, granted_at = now()
  where run_id = any($1::uuid[]) and status = 'queued' returning run_id),
moved as (insert into floor.transitions (run_id, seq, to_status) select run_id, 1, 'running' from granted)
select run_id, payload from granted join floor.runs using (run_id)
"""

_FINISH = """
with done as (
  update floor.run_states s set status = 'succeeded', ended_at = now()
  from unnest($1::uuid[], $2::json[]) as f (run_id, result)
  where s.run_id = f.run_id and s.status = 'running' and s.session_id = $3
  returning s.run_id, s.attempt, s.granted_at, f.result),
attempt as (
  insert into floor.attempts (run_id, number, status, session_id, granted_at, result)
  select run_id, attempt, 'succeeded', $3, granted_at, result from done)
insert into floor.transitions (run_id, seq, to_status) select run_id, 2, 'succeeded' from done
"""

_WRONG = """
select (select count(*) from floor.run_states where status <> 'succeeded') as unfinished,
  $1 - (select count(*) from floor.attempts where status = 'succeeded' and result is not null) as without_attempt,
  $1 - (select count(*) from (select from floor.transitions group by run_id having count(*) = 3) t) as without_history,
  (select count(*) from floor.outbox) as still_owed
"""


class FloorError(Exception):
    """The measurement is worthless: something stood still, or not every run ended with its whole history."""


@dataclass(frozen=True, slots=True)
class FloorResult:
    """Runs a second while enqueueing goes on, and with everything queued before; CPU of this process per run."""

    end_to_end_per_s: int
    drain_per_s: int
    python_us_per_run: int


async def measure(
    dsn: str, nats_url: str, *, runs: int = 40_000, batch: int = 500, payload_bytes: int = 170
) -> FloorResult:
    """Both figures for so many runs (a multiple of `batch`) with about so many bytes of JSON each."""
    if runs % batch:
        raise ValueError(f"runs must be a multiple of batch ({batch})")
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=4, max_size=4))
        client = await nats.connect(nats_url)
        stack.push_async_callback(client.close)
        job = _Job(pool, client, runs, batch, _payload(payload_bytes))
        async with job.fresh():
            cpu = time.process_time()
            end_to_end = await _timed(lambda: asyncio.gather(job.enqueue_all(), job.work_all()))
            cpu = time.process_time() - cpu
            await job.check()
        async with job.fresh():
            await job.enqueue_all()
            drain = await _timed(job.work_all)
            await job.check()
    return FloorResult(round(runs / end_to_end), round(runs / drain), round(cpu / runs * 1e6))


class _Job:
    """One pass of so many runs over fresh tables and a fresh stream."""

    def __init__(self, pool: asyncpg.Pool, client: Client, runs: int, batch: int, payload: str) -> None:
        self._pool = pool
        self._jetstream = client.jetstream(publish_async_max_pending=8 * batch)
        self._runs = runs
        self._batch = batch
        self._payload = payload

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[None]:
        """New tables and a new stream, removed at the end."""
        await self._remove()
        await self._pool.execute(_SCHEMA)
        await self._jetstream.add_stream(
            StreamConfig(
                name=_STREAM, subjects=["floor.>"], retention=RetentionPolicy.WORK_QUEUE, max_msgs_per_subject=1
            )
        )
        try:
            yield
        finally:
            await self._remove()

    async def enqueue_all(self) -> None:
        """Enqueue and ring every run."""
        for _ in range(0, self._runs, self._batch):
            run_ids = [new_uuid7() for _ in range(self._batch)]
            await self._pool.execute(_ENQUEUE, run_ids, [self._payload] * len(run_ids))
            taken = [await self._jetstream.publish_async(f"{_SUBJECT}{run_id.hex}") for run_id in run_ids]
            async with asyncio.timeout(_STALL_SECONDS):
                await asyncio.gather(*taken)
            await self._pool.execute(_RUNG, run_ids)

    async def work_all(self) -> None:
        """Fetch, start, ack and finish until no run is left."""
        session_id, left = uuid4(), self._runs
        consumer = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=20_000)
        rings = await self._jetstream.pull_subscribe("floor.>", durable=_CONSUMER, stream=_STREAM, config=consumer)
        while left:
            messages = await rings.fetch(self._batch, timeout=_STALL_SECONDS)
            left -= len(messages)
            rung = [UUID(message.subject[len(_SUBJECT) :]) for message in messages]
            started = [row["run_id"] for row in await self._pool.fetch(_START, rung, session_id)]
            for message in messages:
                await message.ack()
            await self._pool.execute(_FINISH, started, [_RESULT] * len(started), session_id)

    async def check(self) -> None:
        """Raise FloorError unless every run succeeded with an attempt and three transitions, and nothing is left."""
        row = await self._pool.fetchrow(_WRONG, self._runs)
        assert row is not None
        wrong = {what: count for what, count in row.items() if count}
        if wrong:
            raise FloorError(f"the runs are not what they should be: {wrong}")
        async with asyncio.timeout(_STALL_SECONDS):  # acks are not answered, so the last ones may still be on their way
            while (await self._jetstream.stream_info(_STREAM)).state.messages:
                await asyncio.sleep(0.01)

    async def _remove(self) -> None:
        await self._pool.execute("drop schema if exists floor cascade")
        with suppress(NotFoundError):
            await self._jetstream.delete_stream(_STREAM)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _payload(size: int) -> str:
    """A JSON object of so many bytes, or the smallest one of its kind."""
    payload = {"to": "user@example.com", "template": "welcome", "note": ""}
    payload["note"] = "x" * (size - len(json.dumps(payload)))
    return json.dumps(payload)


async def _main(arguments: argparse.Namespace) -> FloorResult:
    options = {"runs": arguments.runs, "batch": arguments.batch, "payload_bytes": arguments.payload}
    if arguments.dsn:
        return await measure(arguments.dsn, arguments.nats, **options)
    async with fresh_servers() as servers:
        return await measure(servers.dsn, servers.nats_url, **options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", help="postgresql://… of a database where a schema `floor` may be made")
    parser.add_argument("--nats", help="nats://… of a server with JetStream")
    parser.add_argument("--runs", type=int, default=40_000, help="a multiple of --batch")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--payload", type=int, default=170, help="bytes of JSON per run")
    arguments = parser.parse_args()
    if (arguments.dsn is None) != (arguments.nats is None):
        parser.error("give both --dsn and --nats, or neither")
    return arguments


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_main(_arguments())))))

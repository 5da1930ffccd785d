"""The floor: what this machine's PostgreSQL and JetStream allow for one durable run with full history.

Each run owes the same durable steps as in Layeron Job: run, open state, transition and outbox row in one transaction;
the ring; the outbox row's deletion; the fetch; the start (state, transition); the ack; the finish (state, attempt with
its result, transition). All of it in batches and from one Python process, with no RPC, validation, handlers or policy.
It is a yardstick and not a design.

    python -m tests.bench.floor [--dsn postgresql://… --nats nats://…] [--runs 40000] [--batch 500] [--payload 170]

Prints one JSON line. Without addresses it starts both servers for itself, with their defaults. It uses the schema
`floor` and the stream FLOOR, removes both, and fails if any run did not finish with its whole history.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from uuid import UUID, uuid4

import asyncpg
import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from layeron_job.ids import new_uuid7

from .servers import fresh_servers

_STREAM = "FLOOR"
_CONSUMER = "worker"
_SUBJECT = "floor.default.send-email."
_RESULT = '{"ok": true}'
_ENQUEUE_LANES = 2  # batches under way at once, so that Python, PostgreSQL and nats-server seldom wait for each other
_WORK_LANES = 2
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
        client = await nats.connect(nats_url, skip_subject_validation=True, pending_size=8 * 1024 * 1024)
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
        self._client = client
        self._runs = runs
        self._batch = batch
        self._payload = payload
        self._rings = _Rings(client)
        self._to_enqueue = runs

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[None]:
        """New tables and a new stream, removed at the end."""
        await self._remove()
        await self._pool.execute(_SCHEMA)
        await self._client.jetstream().add_stream(
            StreamConfig(
                name=_STREAM, subjects=["floor.>"], retention=RetentionPolicy.WORK_QUEUE, max_msgs_per_subject=1
            )
        )
        await self._client.jetstream().add_consumer(
            _STREAM,
            ConsumerConfig(durable_name=_CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=20_000),
        )
        self._rings = _Rings(self._client)
        self._to_enqueue = self._runs
        try:
            async with self._rings.listening():
                yield
        finally:
            await self._remove()

    async def enqueue_all(self) -> None:
        """Enqueue and ring every run."""
        await asyncio.gather(*(self._enqueue_lane() for _ in range(_ENQUEUE_LANES)))

    async def work_all(self) -> None:
        """Fetch, start, ack and finish until no run is left."""
        session_id, lanes, left = uuid4(), asyncio.Semaphore(_WORK_LANES), self._runs
        await self._rings.ask(_WORK_LANES * self._batch)
        async with asyncio.TaskGroup() as group:
            while left:
                await lanes.acquire()
                messages = await self._rings.take(self._batch)
                left -= len(messages)
                group.create_task(self._work(messages, session_id)).add_done_callback(lambda _: lanes.release())
                await self._rings.ask(len(messages))

    async def check(self) -> None:
        """Raise FloorError unless every run succeeded with an attempt and three transitions, and nothing is left."""
        row = await self._pool.fetchrow(_WRONG, self._runs)
        assert row is not None
        wrong = {what: count for what, count in row.items() if count}
        if wrong:
            raise FloorError(f"the runs are not what they should be: {wrong}")
        async with asyncio.timeout(_STALL_SECONDS):  # acks are not answered, so the last ones may still be on their way
            while (await self._client.jetstream().stream_info(_STREAM)).state.messages:
                await asyncio.sleep(0.01)

    async def _enqueue_lane(self) -> None:
        while self._to_enqueue > 0:
            self._to_enqueue -= self._batch
            run_ids = [new_uuid7() for _ in range(self._batch)]
            await self._pool.execute(_ENQUEUE, run_ids, [self._payload] * len(run_ids))
            await self._rings.publish(run_ids)
            await self._pool.execute(_RUNG, run_ids)

    async def _work(self, messages: Sequence[Msg], session_id: UUID) -> None:
        rung = [UUID(message.subject[len(_SUBJECT) :]) for message in messages]
        granted = await self._pool.fetch(_START, rung, session_id)
        await self._rings.ack(messages)
        started = [row["run_id"] for row in granted]
        await self._pool.execute(_FINISH, started, [_RESULT] * len(started), session_id)

    async def _remove(self) -> None:
        await self._pool.execute("drop schema if exists floor cascade")
        with suppress(NotFoundError):
            await self._client.jetstream().delete_stream(_STREAM)


class _Rings:
    """The doorbells: acknowledged to one inbox for all, and pulled by credit onto one subscription."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._acks_inbox = client.new_inbox()
        self._pull_inbox = client.new_inbox()
        self._batches: dict[str, _Batch] = {}
        self._waiting: deque[Msg] = deque()
        self._arrived = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear acknowledgements and rings for as long as this lasts."""
        acks = await self._client.subscribe(
            f"{self._acks_inbox}.*", cb=self._on_ack, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        rings = await self._client.subscribe(
            self._pull_inbox, cb=self._on_ring, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        yield
        await acks.unsubscribe()
        await rings.unsubscribe()

    async def publish(self, run_ids: Sequence[UUID]) -> None:
        """Ring for all of them and wait until the stream has every ring."""
        name = run_ids[0].hex
        batch = self._batches[name] = _Batch(len(run_ids), asyncio.get_running_loop().create_future())
        reply = f"{self._acks_inbox}.{name}"
        for run_id in run_ids:
            await self._client.publish(f"{_SUBJECT}{run_id.hex}", b"", reply)
        async with asyncio.timeout(_STALL_SECONDS):
            await batch.complete
        del self._batches[name]

    async def ask(self, count: int) -> None:
        """Let the stream deliver so many rings more."""
        request = json.dumps({"batch": count}).encode()
        await self._client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{_STREAM}.{_CONSUMER}", request, self._pull_inbox)

    async def take(self, limit: int) -> list[Msg]:
        """What has been delivered, at least one ring."""
        while not self._waiting:
            self._arrived.clear()
            async with asyncio.timeout(_STALL_SECONDS):
                await self._arrived.wait()
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    async def ack(self, messages: Sequence[Msg]) -> None:
        """Tell the stream that these rings have been answered; it does not reply."""
        for message in messages:
            await self._client.publish(message.reply)

    async def _on_ack(self, message: Msg) -> None:
        self._batches[message.subject.rpartition(".")[2]].acknowledged(message.data)

    async def _on_ring(self, message: Msg) -> None:
        if message.reply:  # what has none is a status, such as the end of the consumer
            self._waiting.append(message)
            self._arrived.set()


class _Batch:
    """Rings whose acknowledgements are awaited."""

    def __init__(self, size: int, complete: asyncio.Future[None]) -> None:
        self._missing = size
        self.complete = complete

    def acknowledged(self, answer: bytes) -> None:
        self._missing -= 1
        if self.complete.done():
            return
        if not answer or b'"error"' in answer:
            self.complete.set_exception(FloorError(f"JetStream refused a ring: {answer.decode()}"))
        elif not self._missing:
            self.complete.set_result(None)


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

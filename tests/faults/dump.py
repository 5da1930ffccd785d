"""Waits until nothing is owed any more, and reads what the database and the stream then hold."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from layeron_job.ids import encode

from .faults import STREAM
from .records import EPOCH, OVERDUE_SCHEDULES, Dump
from .system import LEASE_MS, PREFIX, System

_LOOK_SECONDS: Final = 0.25
_SCHEDULES: Final = f"{PREFIX}.schedule."
_LATE: Final = timedelta(seconds=5)
_NATS_ERRORS: Final = (AssertionError, NatsError, OSError, TimeoutError)  # nats-py asserts what a server says first

# Rows that an idle system does not have.
_LEFT: Final = {
    "outbox rows": "select count(*) from outbox",
    "cancel requests": "select count(*) from cancel_requests",
    "notes": "select count(*) from attempt_notes",
    "keys of ended runs": """
        select count(*) from idempotency_keys k join ended_runs e on e.run_id = k.run_id
        join runs r on r.run_id = k.run_id where r.key_window = 'while_active'""",
    "keys of no run": """
        select count(*) from idempotency_keys k where not exists (select from runs r where r.run_id = k.run_id)""",
}
_ROWS: Final = {
    "runs": """select r.*, t.name as task from runs r join tasks t on t.task_id = r.task_id""",
    "open_runs": "select * from open_runs",
    "ended_runs": "select * from ended_runs",
    "attempts": "select * from attempts order by run_id, number",
    "transitions": "select * from transitions order by run_id, seq",
    "sessions": "select * from worker_sessions",
    "tasks": "select * from tasks",
    "outbox": "select run_id, task_id, attempt, generation, deliver_at, ring_at::text, held from outbox",
    "cancel_requests": "select * from cancel_requests",
    "notes": "select run_id, number, updated_at from attempt_notes",
    "keys": "select k.*, t.name as task from idempotency_keys k join tasks t on t.task_id = k.task_id",
}


async def quiet_within(system: System, seconds: float) -> bool:
    """Wait until no run is open and nothing is owed; False if it is not so within the time.

    Overdue schedules are not waited for: whether they may be there is for the checker to say.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not any(number for what, number in (await left(system)).items() if what != OVERDUE_SCHEDULES):
                return True
        except (asyncpg.PostgresError, OSError, TimeoutError):
            pass  # not up again yet
        await asyncio.sleep(_LOOK_SECONDS)
    return False


async def left(system: System) -> dict[str, int]:
    """What is still there that an idle system does not have."""
    connection = await asyncpg.connect(system.postgres.url)
    try:
        counts = {what: await connection.fetchval(query) for what, query in _LEFT.items()}
        counts["open runs"] = await connection.fetchval("select count(*) from open_runs")
    finally:
        await connection.close()
    try:
        async with _jetstream(system) as jetstream:
            subjects = (await jetstream.stream_info(STREAM, subjects_filter=">")).state.subjects or {}
            schedules = [subject for subject in subjects if subject.startswith(_SCHEDULES)]
            overdue = sum([await _is_overdue(jetstream, subject) for subject in schedules])
            consumers = await jetstream.consumers_info(STREAM)
            counts["deliveries"] = len(subjects) - len(schedules)
            counts["schedules"] = len(schedules) - overdue
            counts[OVERDUE_SCHEDULES] = overdue
            counts["unacknowledged"] = sum(consumer.num_ack_pending or 0 for consumer in consumers)
    except _NATS_ERRORS:
        counts["streams that do not answer"] = 1
    return counts


async def _is_overdue(jetstream: JetStreamContext, schedule: str) -> bool:
    """Whether a schedule of the stream should have fired a while ago. One that is gone by now has."""
    try:
        message = await jetstream.get_last_msg(STREAM, schedule, direct=True)
    except NotFoundError:
        return False
    _, _, at = (message.headers or {})["Nats-Schedule"].partition("@at ")
    return datetime.fromisoformat(at) < datetime.now(UTC) - _LATE


async def dump(system: System, clock: Sequence[tuple[int, int]]) -> Dump:
    """Everything the checker looks at."""
    connection = await asyncpg.connect(system.postgres.url)
    try:
        await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        tables: dict[str, Any] = {
            name: [_plain(row) for row in await connection.fetch(query)] for name, query in _ROWS.items()
        }
    finally:
        await connection.close()
    return Dump(**tables, left=await left(system), stream=await _stream(system), clock=list(clock), lease_ms=LEASE_MS)


async def _stream(system: System) -> dict[str, Any]:
    """What waits in the stream, by subject, and how its consumers stand."""
    with suppress(*_NATS_ERRORS):
        async with _jetstream(system) as jetstream:
            info = await jetstream.stream_info(STREAM, subjects_filter=">")
            consumers = await jetstream.consumers_info(STREAM)
            return {"subjects": info.state.subjects or {}, "consumers": [str(consumer) for consumer in consumers]}
    return {}


@asynccontextmanager
async def _jetstream(system: System) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(system.nats.url, allow_reconnect=False, connect_timeout=2)
    try:
        yield client.jetstream(timeout=2)
    finally:
        await client.close()


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if name == "ring_at":
            plain[name] = value  # may be infinite
        elif name.endswith("_at") or name in ("at", "start_by"):
            plain[f"{name.removesuffix('_at')}_us"] = _us(value)
        elif name in ("run_id", "origin_id"):
            plain[name] = None if value is None else encode("run", value)
        elif not isinstance(value, bytes):
            plain[name] = str(value) if name == "session_id" and value is not None else value
    return plain


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)

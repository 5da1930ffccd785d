"""Making runs: key, rows, first transition and the ring that is owed, set-based, in lock order key → run → outbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from layeron_job_server.domain.transitions import initial_status

from .database import Connection
from .outbox import Ring


class NewRun(NamedTuple):
    """A run to be made, with everything resolved. Exactly one of run_at and delay says when; delay 0 is at once."""

    run_id: UUID
    namespace_id: int
    task_id: int
    queue_id: int
    priority: int
    payload: bytes
    retry: bytes
    timeout_ms: int
    fingerprint: bytes
    delay: timedelta | None = timedelta(0)
    run_at: datetime | None = None
    start_by: datetime | None = None
    name: str | None = None
    payload_encoding: str | None = None
    idempotency_key: str | None = None
    key_window: str | None = None
    key_ttl: timedelta | None = None
    labels: tuple[tuple[str, str], ...] = ()
    labels_json: bytes | None = None
    trace_context: bytes | None = None
    origin: str = "enqueue"
    origin_id: UUID | None = None
    reason: str = "ENQUEUED"
    note: str | None = None
    actor: str = "caller"


class Made(NamedTuple):
    """The run was made by this call."""

    run_id: UUID
    status: str
    created_at: datetime
    ring: Ring


class Taken(NamedTuple):
    """The key or the run id had been used before, by the run named here."""

    run_id: UUID
    by: str  # "key" or "run_id"
    namespace_id: int
    fingerprint: bytes
    idempotency_key: str | None


# Also a row that is not changed is locked: who holds the key can be looked up in a second statement.
_CLAIM_KEYS = """
insert into idempotency_keys (task_id, key, run_id, fingerprint, expires_at)
select task_id, key, run_id, fingerprint, now() + ttl
from unnest($1::int[], $2::text[], $3::uuid[], $4::bytea[], $5::interval[])
  as asked (task_id, key, run_id, fingerprint, ttl)
order by task_id, key
on conflict (task_id, key) do update
set run_id = excluded.run_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
where idempotency_keys.expires_at <= now()
returning run_id
"""

_KEY_HOLDERS = """
select asked.run_id as asked_id, k.run_id, k.fingerprint
from unnest($1::int[], $2::text[], $3::uuid[]) as asked (task_id, key, run_id)
join idempotency_keys k on k.task_id = asked.task_id and k.key = asked.key
"""

_RELEASE_KEYS = """
delete from idempotency_keys
where run_id = any($1) and (task_id, key) in (select * from unnest($2::int[], $3::text[]))
"""

_INSERT_RUNS = """
insert into runs (run_id, namespace_id, task_id, queue_id, priority, name, payload, payload_encoding, retry, timeout_ms,
  start_by, idempotency_key, key_window, labels, trace_context, origin, origin_id, fingerprint)
select * from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::smallint[], $6::text[], $7::json[], $8::text[],
  $9::json[], $10::bigint[], $11::timestamptz[], $12::text[], $13::text[], $14::json[], $15::json[], $16::text[],
  $17::uuid[], $18::bytea[])
on conflict (run_id) do nothing
"""

# The rows of this transaction have its id in xmin; whoever made the others has committed.
_RUNS_MADE_BEFORE = """
select run_id, namespace_id, fingerprint, idempotency_key from runs
where run_id = any($1) and xmin <> pg_current_xact_id()::xid
"""

_OPEN_RUNS = """
with asked as (
  select run_id, task_id, queue_id, priority, greatest(coalesce(run_at, now() + delay), now()) as due_at, start_by,
    timeout_ms, releases_key, reason, note, actor
  from unnest($1::uuid[], $2::int[], $3::int[], $4::smallint[], $5::timestamptz[], $6::interval[], $7::timestamptz[],
    $8::bigint[], $9::boolean[], $10::text[], $11::text[], $12::text[])
    as a (run_id, task_id, queue_id, priority, run_at, delay, start_by, timeout_ms, releases_key, reason, note, actor)
), opened as (
  insert into open_runs (run_id, task_id, status, due_at, start_by, timeout_ms, releases_key)
  select run_id, task_id, case when due_at > now() then 'scheduled' else 'queued' end, due_at, start_by, timeout_ms,
    releases_key
  from asked
), recorded as (
  insert into transitions (run_id, seq, task_id, to_status, attempt, reason, note, actor)
  select run_id, 0, task_id, case when due_at > now() then 'scheduled' else 'queued' end, 0, reason, note, actor
  from asked
), owed as (
  insert into outbox (run_id, queue_id, priority, task_id, attempt, deliver_at, ring_at)
  select run_id, queue_id, priority, task_id, 1, due_at, greatest(due_at - $13::interval, now() + interval '2 seconds')
  from asked
)
select run_id, due_at, now() as created_at from asked
"""

_INSERT_LABELS = """
insert into run_labels (namespace_id, key, value, run_id)
select * from unnest($1::int[], $2::text[], $3::text[], $4::uuid[])
"""


async def make(connection: Connection, asked: Sequence[NewRun], *, look_ahead: timedelta) -> list[Made | Taken]:
    """Make the runs whose key and run id are free; answer for each what became of it, in order.

    No two of `asked` may share a run id, or a task and key. Waits for other transactions that hold one of the keys.
    """
    answers: dict[UUID, Made | Taken] = {}
    free = await _claim_keys(connection, asked, answers)
    free = await _insert_runs(connection, free, answers)
    if free:
        await _open_runs(connection, free, look_ahead, answers)
    return [answers[new.run_id] for new in asked]


async def _claim_keys(
    connection: Connection, asked: Sequence[NewRun], answers: dict[UUID, Made | Taken]
) -> Sequence[NewRun]:
    keyed = [new for new in asked if new.idempotency_key is not None]
    if not keyed:
        return asked
    claimed = await connection.fetch(
        _CLAIM_KEYS,
        [new.task_id for new in keyed],
        [new.idempotency_key for new in keyed],
        [new.run_id for new in keyed],
        [new.fingerprint for new in keyed],
        [new.key_ttl for new in keyed],
    )
    won = {row["run_id"] for row in claimed}
    lost = [new for new in keyed if new.run_id not in won]
    if not lost:
        return asked
    holders = await connection.fetch(
        _KEY_HOLDERS,
        [new.task_id for new in lost],
        [new.idempotency_key for new in lost],
        [new.run_id for new in lost],
    )
    asks = {new.run_id: new for new in lost}
    for row in holders:
        new = asks[row["asked_id"]]
        answers[new.run_id] = Taken(row["run_id"], "key", new.namespace_id, row["fingerprint"], new.idempotency_key)
    return [new for new in asked if new.idempotency_key is None or new.run_id in won]


async def _insert_runs(
    connection: Connection, asked: Sequence[NewRun], answers: dict[UUID, Made | Taken]
) -> Sequence[NewRun]:
    if not asked:
        return asked
    ordered = sorted(asked, key=lambda new: new.run_id.int)
    tag = await connection.execute(
        _INSERT_RUNS,
        [new.run_id for new in ordered],
        [new.namespace_id for new in ordered],
        [new.task_id for new in ordered],
        [new.queue_id for new in ordered],
        [new.priority for new in ordered],
        [new.name for new in ordered],
        [new.payload for new in ordered],
        [new.payload_encoding for new in ordered],
        [new.retry for new in ordered],
        [new.timeout_ms for new in ordered],
        [new.start_by for new in ordered],
        [new.idempotency_key for new in ordered],
        [new.key_window for new in ordered],
        [new.labels_json for new in ordered],
        [new.trace_context for new in ordered],
        [new.origin for new in ordered],
        [new.origin_id for new in ordered],
        [new.fingerprint for new in ordered],
    )
    if tag == f"INSERT 0 {len(ordered)}":
        return ordered
    for row in await connection.fetch(_RUNS_MADE_BEFORE, [new.run_id for new in ordered]):
        answers[row["run_id"]] = Taken(
            row["run_id"], "run_id", row["namespace_id"], row["fingerprint"], row["idempotency_key"]
        )
    keyed = [new for new in ordered if new.run_id in answers and new.idempotency_key is not None]
    if keyed:  # their keys were free, but they make no run
        await connection.execute(
            _RELEASE_KEYS,
            [new.run_id for new in keyed],
            [new.task_id for new in keyed],
            [new.idempotency_key for new in keyed],
        )
    return [new for new in ordered if new.run_id not in answers]


async def _open_runs(
    connection: Connection, made: Sequence[NewRun], look_ahead: timedelta, answers: dict[UUID, Made | Taken]
) -> None:
    rows = await connection.fetch(
        _OPEN_RUNS,
        [new.run_id for new in made],
        [new.task_id for new in made],
        [new.queue_id for new in made],
        [new.priority for new in made],
        [new.run_at for new in made],
        [new.delay for new in made],
        [new.start_by for new in made],
        [new.timeout_ms for new in made],
        [new.key_window == "while_active" for new in made],
        [new.reason for new in made],
        [new.note for new in made],
        [new.actor for new in made],
        look_ahead,
    )
    for new, (run_id, due_at, created_at) in zip(made, rows, strict=True):
        status = initial_status(due_at, created_at)
        ring = Ring(run_id, new.task_id, new.queue_id, new.priority, 1, due_at)
        answers[run_id] = Made(run_id, status, created_at, ring)
    labels = [(new.namespace_id, key, value, new.run_id) for new in made for key, value in new.labels]
    if labels:
        await connection.execute(_INSERT_LABELS, *map(list, zip(*labels, strict=True)))

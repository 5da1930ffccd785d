"""Reading runs: one with its history, several by id, and the changes of all of them in one order.

Only `get` asks for a namespace; whoever calls the others knows that the runs are of it, or looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from .database import Connection


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as it is read. JSON fields are text; payload, result and trace context are None in the basic view."""

    run_id: UUID
    namespace_id: int
    task: str
    queue: str
    priority: int
    name: str | None
    status: str
    attempt: int
    counted: int
    payload: bytes | None
    payload_encoding: str | None
    result: bytes | None
    retry: bytes
    timeout_ms: int
    labels: bytes | None
    idempotency_key: str | None
    key_window: str | None
    created_at: datetime
    due_at: datetime | None
    start_by: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    held: str | None
    origin: str
    origin_id: UUID | None
    trace_context: bytes | None
    replayed_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """An attempt as it is read, ended or running."""

    number: int
    status: str
    session_id: UUID
    worker_build: str | None
    granted_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    error_type: str | None
    error_message: str | None
    error_detail: str | None
    retry_at: datetime | None
    progress: bytes | None
    log_tail: str | None


@dataclass(frozen=True, slots=True)
class TransitionInfo:
    """A transition as it is read."""

    run_id: UUID
    task: str
    seq: int
    from_status: str | None
    to_status: str
    at: datetime
    reason: str
    note: str | None
    actor: str | None
    session_id: UUID | None
    attempt: int


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list. What is None or empty matches all. Times bound the creation, from ≤ created < before."""

    task: str | None = None
    statuses: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    idempotency_key: str | None = None
    queue: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    origin_id: UUID | None = None

    @property
    def has_range(self) -> bool:
        """Whether the time of creation matters."""
        return self.created_from is not None or self.created_before is not None


# $2 says whether payload, result and trace context are wanted.
_COLUMNS = """
  r.run_id, r.namespace_id, t.name as task, q.name as queue, r.priority, r.name,
  coalesce(o.status, e.status) as status, coalesce(o.attempt, e.attempt) as attempt,
  coalesce(o.counted, e.counted) as counted, case when $2 then r.payload end, r.payload_encoding,
  case when $2 and e.status = 'succeeded' then (
    select a.result from attempts a where a.run_id = r.run_id and a.number = e.attempt
  ) end, r.retry, r.timeout_ms, r.labels, r.idempotency_key, r.key_window, r.created_at,
  case when o.status <> 'running' then o.due_at end, r.start_by, coalesce(o.first_started_at, e.first_started_at),
  e.ended_at, coalesce(o.cancel_requested_at, e.cancel_requested_at),
  case when o.status <> 'running' and o.due_at <= now() then
    case when t.paused_at is not null then 'paused' else x.held end
  end, r.origin, r.origin_id, case when $2 then r.trace_context end
"""
_FROM = """
from runs r
join tasks t on t.task_id = r.task_id
join queues q on q.queue_id = r.queue_id
left join open_runs o on o.run_id = r.run_id
left join ended_runs e on e.run_id = r.run_id
left join outbox x on x.run_id = r.run_id
"""

_GET = f"""
select {_COLUMNS}, (select max(p.run_id::text)::uuid from runs p where p.origin_id = r.run_id and p.origin = 'replay')
{_FROM}
where r.run_id = $1 and r.namespace_id = (select namespace_id from namespaces where name = $3)
"""  # noqa: S608 (constants above)


async def get(connection: Connection, namespace: str, run_id: UUID, *, full: bool) -> RunInfo | None:
    """One run, or None if the namespace has none of this id."""
    row = await connection.fetchrow(_GET, run_id, full, namespace)
    return None if row is None else RunInfo(*row)


_ATTEMPTS = """
select number, status, session_id, worker_build, granted_at, begun_at, ended_at, error_type, error_message,
  error_detail, retry_at, progress, log_tail
from attempts where run_id = $1
union all
select o.attempt, 'running', o.session_id, s.build_id, o.granted_at, o.begun_at, null, null, null, null, null,
  n.progress, n.log_tail
from open_runs o
left join worker_sessions s on s.session_id = o.session_id
left join attempt_notes n on n.run_id = o.run_id and n.number = o.attempt
where o.run_id = $1 and o.status = 'running'
order by 1 desc
limit $2
"""
# The union has to compare neither json column: it keeps duplicates.


async def attempts_of(connection: Connection, run_id: UUID, *, limit: int) -> list[AttemptInfo]:
    """The run's newest attempts by number, the running one included."""
    return [AttemptInfo(*row) for row in reversed(await connection.fetch(_ATTEMPTS, run_id, limit))]


_TRANSITION_COLUMNS = """
  c.run_id, t.name, c.seq,
  (select b.to_status from transitions b where b.run_id = c.run_id and b.seq = c.seq - 1), c.to_status, c.at, c.reason,
  c.note, c.actor, c.session_id, c.attempt
"""

_TRANSITIONS = f"""
select {_TRANSITION_COLUMNS}
from transitions c join tasks t on t.task_id = c.task_id
where c.run_id = $1
order by c.seq desc
limit $2
"""  # noqa: S608 (constants above)


async def transitions_of(connection: Connection, run_id: UUID, *, limit: int) -> list[TransitionInfo]:
    """The run's newest transitions by seq."""
    return [TransitionInfo(*row) for row in reversed(await connection.fetch(_TRANSITIONS, run_id, limit))]


_TRANSITIONS_AFTER = f"""
select {_TRANSITION_COLUMNS}
from transitions c join tasks t on t.task_id = c.task_id
where c.run_id = $1 and c.seq > $2
order by c.seq
limit $3
"""  # noqa: S608 (constants above)


async def transitions_after(connection: Connection, run_id: UUID, seq: int, *, limit: int) -> list[TransitionInfo]:
    """The run's next transitions after a seq."""
    return [TransitionInfo(*row) for row in await connection.fetch(_TRANSITIONS_AFTER, run_id, seq, limit)]


async def ended_among(connection: Connection, run_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these runs are terminal."""
    rows = await connection.fetch("select run_id from ended_runs where run_id = any($1)", list(run_ids))
    return {row[0] for row in rows}


async def progressed_among(connection: Connection, seen: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """Which of these runs have a transition after the seq that was seen."""
    rows = await connection.fetch(
        "select s.run_id from unnest($1::uuid[], $2::int[]) as s (run_id, seq) "
        "where exists (select from transitions c where c.run_id = s.run_id and c.seq = s.seq + 1)",
        [run_id for run_id, _ in seen],
        [seq for _, seq in seen],
    )
    return {row[0] for row in rows}


_BY_IDS = f"select {_COLUMNS} {_FROM} where r.run_id = any($1) order by r.run_id desc"


async def by_ids(connection: Connection, run_ids: Sequence[UUID], *, full: bool) -> list[RunInfo]:
    """These runs, newest first. The caller knows that they are of its namespace."""
    return [RunInfo(*row) for row in await connection.fetch(_BY_IDS, list(run_ids), full)]


_SAFE_XID = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


async def safe_xid(connection: Connection) -> int:
    """Every transaction below this number has ended: what it wrote is visible, and nothing of it will follow."""
    xid: int = await connection.fetchval(_SAFE_XID)
    return xid


_CHANGES = f"""
select {_TRANSITION_COLUMNS}, c.xid, t.namespace_id, r.queue_id, r.labels
from transitions c join tasks t on t.task_id = c.task_id join runs r on r.run_id = c.run_id
where c.xid >= $1 and (c.xid, c.run_id, c.seq) > ($1, $2, $3) and c.xid < $4
order by c.xid, c.run_id, c.seq
limit $5
"""  # noqa: S608 (constants above)


@dataclass(frozen=True, slots=True)
class Change:
    """A transition with what a watcher's filter looks at, and its place in the order of all."""

    transition: TransitionInfo
    xid: int
    namespace_id: int
    queue_id: int
    labels: bytes | None


async def changes_after(
    connection: Connection, place: tuple[int, UUID, int], *, below: int, limit: int
) -> list[Change]:
    """Transitions of transactions below `below`, after a place (xid, run, seq), in order."""
    rows = await connection.fetch(_CHANGES, *place, below, limit)
    return [Change(TransitionInfo(*tuple(row)[:11]), *tuple(row)[11:]) for row in rows]


async def namespaces_of(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str | None]]:
    """The namespace of each run that exists, and its status if it is terminal."""
    rows = await connection.fetch(
        "select r.run_id, n.name, e.status from runs r join namespaces n on n.namespace_id = r.namespace_id "
        "left join ended_runs e on e.run_id = r.run_id where r.run_id = any($1)",
        list(run_ids),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


@dataclass(frozen=True, slots=True)
class Source:
    """What a replay takes over from a run."""

    namespace_id: int
    task_id: int
    queue_id: int
    priority: int
    name: str | None
    payload: bytes
    payload_encoding: str | None
    retry: bytes
    timeout_ms: int
    labels: bytes | None
    trace_context: bytes | None

    @property
    def label_items(self) -> tuple[tuple[str, str], ...]:
        """The labels as pairs."""
        return tuple(orjson.loads(self.labels).items()) if self.labels else ()


async def source_of(connection: Connection, run_id: UUID) -> Source | None:
    """What a replay of this run takes over; None if it is gone."""
    row = await connection.fetchrow(
        "select namespace_id, task_id, queue_id, priority, name, payload, payload_encoding, retry, timeout_ms, labels, "
        "trace_context from runs where run_id = $1",
        run_id,
    )
    return None if row is None else Source(*row)

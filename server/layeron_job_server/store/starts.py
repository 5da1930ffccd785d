"""Starting attempts, set-based. Lock order: session → run → outbox; runs are sorted by id.

A grant moves many runs in one guarded statement, whose statuses come from the domain's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from layeron_job_server.domain.transitions import Granted, sources

from .attempts import Grant, Standing, StartAsk, quoted
from .database import Connection

_GRANT_COLUMNS = """r.run_id, {o}.attempt, {o}.counted, r.task_id, r.payload, r.timeout_ms, r.labels, r.trace_context,
  r.payload_encoding, r.name, r.created_at, r.retry, r.origin,
  extract(epoch from {o}.granted_at - {o}.due_at)::float8"""

# A session is good while its epoch is the asked one, it has not ended and its lease runs; it stays so until the commit.
# Guards are written `(…) is true`, which no index serves: with statistics older than the backlog the planner would
# take the index on due_at or session_id for a way in, and read all that waits or runs for each batch.
_START = f"""
with session as (
  select s.session_id, s.epoch, array(
      select t.task_id from tasks t where t.task_id = any(s.task_ids) and t.paused_at is null
    ) as task_ids
  from worker_sessions s
  where s.session_id = any($5::uuid[]) and s.ended_at is null and s.lease_expires_at > now()
  order by s.session_id for key share
), granted as (
  update open_runs o
  set status = 'running', attempt = o.attempt + 1, seq = o.seq + 1, session_id = asked.session_id,
    start_id = asked.start_id, granted_at = now(), begun_at = null,
    first_started_at = coalesce(o.first_started_at, now())
  from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) as asked (run_id, session_id, epoch, start_id)
    join session on session.session_id = asked.session_id and session.epoch = asked.epoch
  where o.run_id = asked.run_id and (
    o.status in ({quoted(sources(Granted))}) and o.due_at <= now() and o.task_id = any(session.task_ids)
    and (o.start_by is null or o.first_started_at is not null or o.start_by > now())
  ) is true
  returning o.run_id, o.task_id, o.attempt, o.counted, o.seq, o.session_id, o.granted_at, o.due_at
), recorded as (
  insert into transitions (run_id, seq, task_id, to_status, attempt, reason, session_id)
  select run_id, seq, task_id, 'running', attempt, 'STARTED', session_id from granted
)
select {_GRANT_COLUMNS.format(o="granted")} from granted join runs r on r.run_id = granted.run_id
"""  # noqa: S608 (constants of the domain)


async def start(connection: Connection, asks: Sequence[StartAsk]) -> dict[UUID, Grant]:
    """Open an attempt for each run that may start now; answer the grants by run. No two asks name one run."""
    ordered = sorted(asks, key=lambda ask: ask.run_id.int)
    rows = await connection.fetch(
        _START,
        *zip(*ordered, strict=True),
        list({ask.session_id for ask in ordered}),
    )
    return {row[0]: Grant(*row) for row in rows}


_STANDING = """
select asked.run_id, coalesce(o.task_id, e.task_id, 0),
  s.session_id is not null and s.epoch = asked.epoch and s.ended_at is null and s.lease_expires_at > now(),
  coalesce(o.task_id = any(s.task_ids), false), t.paused_at is not null,
  case when t.namespace_id = s.namespace_id then coalesce(o.status, e.status) end,
  coalesce(o.session_id = asked.session_id and o.start_id = asked.start_id, false),
  coalesce(o.due_at <= now(), false),
  coalesce(o.start_by <= now() and o.first_started_at is null, false)
from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) as asked (run_id, session_id, epoch, start_id)
left join worker_sessions s on s.session_id = asked.session_id
left join open_runs o on o.run_id = asked.run_id
left join ended_runs e on e.run_id = asked.run_id
left join tasks t on t.task_id = coalesce(o.task_id, e.task_id)
"""


async def standing(connection: Connection, asks: Sequence[StartAsk]) -> list[Standing]:
    """How the runs of these asks stand, in no special order."""
    rows = await connection.fetch(
        _STANDING,
        [ask.run_id for ask in asks],
        [ask.session_id for ask in asks],
        [ask.epoch for ask in asks],
        [ask.start_id for ask in asks],
    )
    return [Standing(*row) for row in rows]


_GRANTED_BEFORE = f"""
select {_GRANT_COLUMNS.format(o="o")}
from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as asked (run_id, session_id, start_id)
join open_runs o on o.run_id = asked.run_id
  and (o.session_id = asked.session_id and o.start_id = asked.start_id) is true
join runs r on r.run_id = o.run_id
"""  # noqa: S608 (a constant)


async def granted_before(connection: Connection, asks: Sequence[StartAsk]) -> dict[UUID, Grant]:
    """The grants that these very starts have had already, by run."""
    rows = await connection.fetch(
        _GRANTED_BEFORE, [ask.run_id for ask in asks], [ask.session_id for ask in asks], [ask.start_id for ask in asks]
    )
    return {row[0]: Grant(*row) for row in rows}

"""Ending attempts, set-based. Lock order: session → run → outbox; runs are sorted by id.

Successes move many runs in one guarded statement, whose statuses come from the domain's table. Every other ending locks
the open rows, asks the domain, and saves all changes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from layeron_job_server.domain.run import AttemptStatus, Run, RunStatus
from layeron_job_server.domain.transitions import Succeeded, sources

from .attempts import Change, Fence, OpenRun, Success, policy_of, quoted
from .database import Connection
from .outbox import Ring

_SUCCEED = f"""
with reported as (
  select * from unnest($1::uuid[], $2::int[], $3::uuid[], $4::json[], $5::bigint[], $6::text[], $7::text[])
    as f (run_id, number, session_id, result, ran_ms, worker_build, log_tail)
), ended as (
  delete from open_runs o using reported f
  where o.run_id = f.run_id
    and (o.attempt = f.number and o.session_id = f.session_id and o.status in ({quoted(sources(Succeeded))})) is true
  returning o.run_id, o.task_id, o.attempt, o.counted, o.seq, o.session_id, o.granted_at, o.first_started_at,
    o.cancel_requested_at, o.releases_key, f.result, f.ran_ms, f.worker_build, f.log_tail
), kept as (
  insert into ended_runs (run_id, task_id, status, attempt, counted, first_started_at, cancel_requested_at)
  select run_id, task_id, 'succeeded', attempt, counted, first_started_at, cancel_requested_at from ended
), closed as (
  insert into attempts (run_id, number, status, session_id, worker_build, granted_at, begun_at, result, progress,
    log_tail)
  select e.run_id, e.attempt, 'succeeded', e.session_id, e.worker_build, e.granted_at,
    greatest(e.granted_at, now() - e.ran_ms * interval '1 millisecond'), e.result, n.progress,
    coalesce(e.log_tail, n.log_tail)
  from ended e left join attempt_notes n on n.run_id = e.run_id and n.number = e.attempt
), recorded as (
  insert into transitions (run_id, seq, task_id, to_status, attempt, reason, session_id)
  select run_id, seq + 1, task_id, 'succeeded', attempt, 'SUCCEEDED', session_id from ended
), unnoted as (
  delete from attempt_notes n using ended e where n.run_id = e.run_id
), released as (
  delete from idempotency_keys k using ended e join runs r on r.run_id = e.run_id
  where e.releases_key and k.task_id = r.task_id and k.key = r.idempotency_key and k.run_id = e.run_id
)
select run_id, task_id, cancel_requested_at is not null from ended
"""  # noqa: S608 (constants of the domain)


async def succeed(connection: Connection, reports: Sequence[Success]) -> dict[UUID, int]:
    """End the runs whose open attempt the report names; answer their tasks by run. No two reports name one run."""
    ordered = sorted(reports, key=lambda report: report.fence.run_id.int)
    rows = await connection.fetch(
        _SUCCEED,
        *zip(*[report.fence for report in ordered], strict=True),
        *zip(*[report[1:] for report in ordered], strict=True),
    )
    canceled = [row[0] for row in rows if row[2]]
    if canceled:  # in a statement of its own, which sees a request that was made while the first waited for its run
        await connection.execute("delete from cancel_requests where run_id = any($1)", canceled)
    return {row[0]: row[1] for row in rows}


_ENDED_BEFORE = """
select f.run_id, a.status
from unnest($1::uuid[], $2::int[], $3::uuid[]) as f (run_id, number, session_id)
join attempts a on a.run_id = f.run_id and a.number = f.number and a.session_id = f.session_id
"""


async def ended_before(connection: Connection, fences: Sequence[Fence]) -> dict[UUID, AttemptStatus]:
    """How the attempts that these fences name have ended, by run; those still open or never theirs are missing."""
    rows = await connection.fetch(
        _ENDED_BEFORE,
        [fence.run_id for fence in fences],
        [fence.number for fence in fences],
        [fence.session_id for fence in fences],
    )
    return {row[0]: AttemptStatus(row[1]) for row in rows}


_LOCK = """
select o.run_id, o.status, o.attempt, o.counted, o.interruptions, o.seq, o.due_at, o.start_by, o.cancel_requested_at,
  o.first_started_at, r.retry, o.task_id, r.queue_id, r.priority, o.releases_key, o.session_id, o.granted_at,
  o.begun_at, c.note, c.actor
from open_runs o join runs r on r.run_id = o.run_id left join cancel_requests c on c.run_id = o.run_id
where o.run_id = any($1)
order by o.run_id for update of o
"""


async def lock(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, OpenRun]:
    """The open ones among these runs, held until the transaction ends."""
    rows = await connection.fetch(_LOCK, sorted(run_ids))
    return {
        row[0]: OpenRun(Run(row[0], RunStatus(row[1]), *row[2:10], policy=policy_of(row[10])), *row[11:])  # type: ignore[misc] # rows are untyped
        for row in rows
    }


_MOVE = """
update open_runs o
set status = c.status, counted = c.counted, interruptions = c.interruptions, seq = c.seq, due_at = c.due_at,
  session_id = null, start_id = null, granted_at = null, begun_at = null
from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::int[], $6::timestamptz[])
  as c (run_id, status, counted, interruptions, seq, due_at)
where o.run_id = c.run_id
"""

_END = """
with ended as (
  delete from open_runs o using unnest($1::uuid[], $2::text[], $3::int[], $4::timestamptz[])
    as c (run_id, status, counted, cancel_requested_at)
  where o.run_id = c.run_id
  returning o.run_id, o.task_id, c.status, o.attempt, c.counted, o.first_started_at, c.cancel_requested_at,
    o.releases_key
), kept as (
  insert into ended_runs (run_id, task_id, status, attempt, counted, first_started_at, cancel_requested_at)
  select run_id, task_id, status, attempt, counted, first_started_at, cancel_requested_at from ended
), uncanceled as (
  delete from cancel_requests c using ended e where c.run_id = e.run_id
), unowed as (
  delete from outbox x using ended e where x.run_id = e.run_id
)
delete from idempotency_keys k using ended e join runs r on r.run_id = e.run_id
where e.releases_key and k.task_id = r.task_id and k.key = r.idempotency_key and k.run_id = e.run_id
"""

_CLOSE = """
with closed as (
  select * from unnest($1::uuid[], $2::int[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[], $7::timestamptz[],
    $8::bigint[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[])
    as a (run_id, number, status, session_id, worker_build, granted_at, begun_at, ran_ms, error_type, error_message,
      error_detail, retry_at, log_tail)
), kept as (
  insert into attempts (run_id, number, status, session_id, worker_build, granted_at, begun_at, error_type,
    error_message, error_detail, retry_at, progress, log_tail)
  select a.run_id, a.number, a.status, a.session_id, coalesce(a.worker_build, s.build_id), a.granted_at,
    case when a.ran_ms > 0 then greatest(a.granted_at, now() - a.ran_ms * interval '1 millisecond') else a.begun_at end,
    a.error_type, a.error_message, a.error_detail, a.retry_at, n.progress, coalesce(a.log_tail, n.log_tail)
  from closed a left join attempt_notes n on n.run_id = a.run_id and n.number = a.number
    left join worker_sessions s on s.session_id = a.session_id
)
delete from attempt_notes n using closed a where n.run_id = a.run_id
"""

_RECORD = """
insert into transitions (run_id, seq, task_id, to_status, attempt, reason, note, actor, session_id)
select * from unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[],
  $9::uuid[])
"""


async def save(connection: Connection, changes: Sequence[Change]) -> list[Ring]:
    """Write what became of locked runs; answer the rings that are owed now, for `outbox.owe`."""
    ordered = sorted(changes, key=lambda change: change.step.run.run_id.int)
    open_ = [c.step.run for c in ordered if not c.step.run.status.is_terminal]
    ended = [c.step.run for c in ordered if c.step.run.status.is_terminal]
    closed = [c for c in ordered if c.step.outcome is not None]
    if open_:
        await connection.execute(
            _MOVE,
            [run.run_id for run in open_],
            [run.status for run in open_],
            [run.counted for run in open_],
            [run.interruptions for run in open_],
            [run.seq for run in open_],
            [run.due_at for run in open_],
        )
    if ended:
        await connection.execute(
            _END,
            [run.run_id for run in ended],
            [run.status for run in ended],
            [run.counted for run in ended],
            [run.cancel_requested_at for run in ended],
        )
    if closed:
        await connection.execute(
            _CLOSE,
            [c.step.run.run_id for c in closed],
            [c.step.run.attempt for c in closed],
            [c.step.outcome for c in closed],
            [c.before.session_id for c in closed],
            [c.ending.worker_build for c in closed],
            [c.before.granted_at for c in closed],
            [c.before.begun_at for c in closed],
            [c.ending.ran_ms for c in closed],
            [c.ending.error_type for c in closed],
            [c.ending.error_message for c in closed],
            [c.ending.error_detail for c in closed],
            [c.step.retry_at for c in closed],
            [c.ending.log_tail for c in closed],
        )
    await connection.execute(
        _RECORD,
        [c.step.run.run_id for c in ordered],
        [c.step.run.seq for c in ordered],
        [c.before.task_id for c in ordered],
        [c.step.run.status for c in ordered],
        [c.step.run.attempt for c in ordered],
        [c.step.reason for c in ordered],
        [c.note for c in ordered],
        [c.actor for c in ordered],
        [c.session_id for c in ordered],
    )
    return [
        Ring(
            c.step.run.run_id,
            c.before.task_id,
            c.before.queue_id,
            c.before.priority,
            c.step.run.attempt + 1,
            c.step.run.due_at,
        )
        for c in ordered
        if not c.step.run.status.is_terminal
    ]

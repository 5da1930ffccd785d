"""What happens to open attempts besides starting and ending: notes, cancel requests, and the reconciler's sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from .attempts import Fence
from .database import Connection

_MARK_BEGUN = """
update open_runs o set begun_at = greatest(o.granted_at, now() - b.running_ms * interval '1 millisecond')
from unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[]) as b (run_id, number, session_id, running_ms)
where o.run_id = b.run_id
  and (o.attempt = b.number and o.session_id = b.session_id and o.begun_at is null) is true
"""


async def mark_begun(connection: Connection, begun: Sequence[tuple[Fence, int]]) -> None:
    """Note since how many milliseconds the handlers of these open attempts have been running."""
    ordered = sorted(begun, key=lambda entry: entry[0].run_id.int)
    await connection.execute(_MARK_BEGUN, *_columns([fence for fence, _ in ordered]), [ms for _, ms in ordered])


@dataclass(frozen=True, slots=True)
class Note:
    """What a running handler tells. None leaves what was told before."""

    fence: Fence
    progress: bytes | None
    log_tail: str | None


# The open row is held until the commit: a note that meets the end of its attempt waits for it and finds no row.
_NOTE = """
insert into attempt_notes (run_id, number, progress, log_tail)
select o.run_id, o.attempt, n.progress, n.log_tail
from unnest($1::uuid[], $2::int[], $3::uuid[], $4::json[], $5::text[])
  as n (run_id, number, session_id, progress, log_tail)
join open_runs o on o.run_id = n.run_id and (o.attempt = n.number and o.session_id = n.session_id) is true
order by o.run_id
for share of o
on conflict (run_id, number) do update set progress = coalesce(excluded.progress, attempt_notes.progress),
  log_tail = coalesce(excluded.log_tail, attempt_notes.log_tail), updated_at = now()
"""


async def note(connection: Connection, notes: Sequence[Note]) -> None:
    """Keep the notes of attempts that are open. No two name one attempt."""
    await connection.execute(
        _NOTE, *_columns([n.fence for n in notes]), [n.progress for n in notes], [n.log_tail for n in notes]
    )


_REQUEST_CANCELS = """
with asked as (
  update open_runs o set cancel_requested_at = coalesce(o.cancel_requested_at, now())
  from unnest($1::uuid[], $2::text[], $3::text[]) as a (run_id, note, actor)
  where o.run_id = a.run_id and (o.status = 'running') is true
  returning o.run_id, o.attempt, o.session_id, a.note, a.actor
)
insert into cancel_requests (run_id, number, session_id, note, actor)
select run_id, attempt, session_id, note, actor from asked
on conflict (run_id) do nothing
"""


async def request_cancels(connection: Connection, asks: Sequence[tuple[UUID, str | None, str]]) -> None:
    """Write that these locked running runs are to be canceled: (run, note, actor). A first request's words are kept."""
    await connection.execute(_REQUEST_CANCELS, *map(list, zip(*asks, strict=True)))


async def cancel_orders(connection: Connection, session_ids: Sequence[UUID]) -> list[Fence]:
    """The open attempts of these sessions that are to be canceled."""
    rows = await connection.fetch(
        "select run_id, number, session_id from cancel_requests where session_id = any($1)", list(session_ids)
    )
    return [Fence(*row) for row in rows]


async def of_session(connection: Connection, session_id: UUID) -> list[tuple[Fence, int]]:
    """The session's open attempts, each with the start_id it was granted for."""
    rows = await connection.fetch("select run_id, attempt, start_id from open_runs where session_id = $1", session_id)
    return [(Fence(row[0], row[1], session_id), row[2]) for row in rows]


# A session row is deleted only long after its end, and never while an attempt of it is open.
_OF_ENDED_SESSIONS = """
select o.run_id, o.attempt, o.session_id, s.end_reason = 'goodbye'
from open_runs o join worker_sessions s on s.session_id = o.session_id
where o.session_id is not null and s.ended_at is not null
limit $1
"""


async def of_ended_sessions(connection: Connection, *, limit: int) -> list[tuple[Fence, bool]]:
    """Open attempts of ended sessions, and whether the session said goodbye."""
    return [(Fence(row[0], row[1], row[2]), row[3]) for row in await connection.fetch(_OF_ENDED_SESSIONS, limit)]


# For a lease after an outage none is overrunning or ignoring a cancel: its worker may not have been able to say so.
_WORKERS_COULD_REPORT = "(select spared_at + $1::interval <= now() from reconciler_turn)"

_OVERRUNNING = f"""
select run_id, attempt, session_id from open_runs
where {_WORKERS_COULD_REPORT} and session_id is not null
  and coalesce(begun_at, granted_at + $2::interval) + timeout_ms * interval '1 millisecond' + $3::interval < now()
limit $4
"""  # noqa: S608 (a constant)


async def overrunning(
    connection: Connection, *, lease: timedelta, begin_within: timedelta, grace: timedelta, limit: int
) -> list[Fence]:
    """Open attempts that are past their timeout and the grace after it."""
    return [Fence(*row) for row in await connection.fetch(_OVERRUNNING, lease, begin_within, grace, limit)]


_IGNORING_CANCEL = f"""
select run_id, number, session_id from cancel_requests
where {_WORKERS_COULD_REPORT} and requested_at + $2::interval < now()
limit $3
"""  # noqa: S608 (a constant)


async def ignoring_cancel(connection: Connection, *, lease: timedelta, grace: timedelta, limit: int) -> list[Fence]:
    """Open attempts whose worker has ignored a cancel request for longer than the grace."""
    return [Fence(*row) for row in await connection.fetch(_IGNORING_CANCEL, lease, grace, limit)]


_PAST_START_BY = """
select run_id from open_runs
where start_by <= now() and status <> 'running' and first_started_at is null
limit $1
"""


async def past_start_by(connection: Connection, *, limit: int) -> list[UUID]:
    """Runs that were to start by now and have not."""
    return [row[0] for row in await connection.fetch(_PAST_START_BY, limit)]


def _columns(fences: Sequence[Fence]) -> tuple[list[UUID], list[int], list[UUID]]:
    return [f.run_id for f in fences], [f.number for f in fences], [f.session_id for f in fences]

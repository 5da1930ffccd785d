"""Worker sessions: one row per worker process with its epoch and its lease, judged by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from .database import Connection


@dataclass(frozen=True, slots=True)
class NewSession:
    """A worker process that connects."""

    session_id: UUID
    namespace_id: int
    build_id: str
    sdk_name: str
    sdk_version: str
    host: str
    pid: int
    slots: int
    task_ids: tuple[int, ...]
    queues: tuple[str, ...]


_OPEN = """
insert into worker_sessions (session_id, namespace_id, epoch, lease_expires_at, build_id, sdk_name, sdk_version, host,
  pid, slots, task_ids, queues)
values ($1, $2, 1, now() + $3::interval, $4, $5, $6, $7, $8, $9, $10, $11)
"""


async def open_session(connection: Connection, new: NewSession, *, lease: timedelta) -> None:
    """Make the session, with epoch 1."""
    await connection.execute(
        _OPEN,
        new.session_id,
        new.namespace_id,
        lease,
        new.build_id,
        new.sdk_name,
        new.sdk_version,
        new.host,
        new.pid,
        new.slots,
        list(new.task_ids),
        list(new.queues),
    )


# Takes the row against every grant in flight: those hold it FOR KEY SHARE until they commit. A lease that has run out
# ends nothing by itself: until the reconciler has ended the session, its attempts are nobody else's.
_RESUME = """
with live as (
  select session_id from worker_sessions where session_id = $1 and namespace_id = $2 and ended_at is null for update
)
update worker_sessions s set epoch = s.epoch + 1, lease_expires_at = now() + $3::interval, connected_at = now(),
  task_ids = $4, queues = $5, slots = $6
from live where s.session_id = live.session_id
returning s.epoch
"""


async def resume(connection: Connection, named: NewSession, *, lease: timedelta) -> int | None:
    """Raise the session's epoch, with a fresh lease, and answer it; None when the session has ended."""
    epoch: int | None = await connection.fetchval(
        _RESUME, named.session_id, named.namespace_id, lease, list(named.task_ids), list(named.queues), named.slots
    )
    return epoch


_HEARTBEAT = """
update worker_sessions s set lease_expires_at = now() + $3::interval
from unnest($1::uuid[], $2::bigint[]) as beat (session_id, epoch)
where s.session_id = beat.session_id and s.epoch = beat.epoch and s.ended_at is null
returning s.session_id
"""


async def heartbeat(connection: Connection, beats: Sequence[tuple[UUID, int]], *, lease: timedelta) -> set[UUID]:
    """Give each (session, epoch) a fresh lease; answer the sessions that have not ended.

    Also one whose lease ran out while the database was away, if nobody has ended it yet.
    """
    ordered = sorted(beats)
    rows = await connection.fetch(_HEARTBEAT, [beat[0] for beat in ordered], [beat[1] for beat in ordered], lease)
    return {row[0] for row in rows}


async def say_goodbye(connection: Connection, session_id: UUID, epoch: int) -> bool:
    """End a session at its worker's wish; False if it had ended or moved on."""
    tag = await connection.execute(
        "update worker_sessions set ended_at = now(), end_reason = 'goodbye' "
        "where session_id = $1 and epoch = $2 and ended_at is null",
        session_id,
        epoch,
    )
    return bool(tag == "UPDATE 1")


_EXPIRE = """
with late as (
  select session_id from worker_sessions where ended_at is null and lease_expires_at <= now()
  order by session_id limit $1 for update skip locked
)
update worker_sessions s set ended_at = now(), end_reason = 'lease_expired'
from late where s.session_id = late.session_id
returning s.session_id
"""


async def expire(connection: Connection, *, limit: int) -> list[UUID]:
    """End the sessions whose lease has run out."""
    return [row[0] for row in await connection.fetch(_EXPIRE, limit)]


# The turn's row is locked first, so that of several servers only one notices the gap.
_TURN = """
with turn as (select now() - finished_at > $2::interval as was_away from reconciler_turn for update),
  spared as (
    update worker_sessions set lease_expires_at = now() + $1::interval
    where ended_at is null and (select was_away from turn) and lease_expires_at < now() + $1::interval
    returning 1
  ),
  noted as (
    update reconciler_turn set finished_at = now(),
      spared_at = case when (select was_away from turn) or $3 then now() else spared_at end
  )
select count(*) from spared
"""


async def begin_turn(connection: Connection, *, lease: timedelta, gap: timedelta, starting: bool = False) -> int:
    """Note a turn of the reconciler. After a gap (Postgres was away) all open sessions get one lease more: so many.

    After a gap, and when a server is starting, no attempt of a live worker is ended for a lease: it could not report.
    """
    spared: int = await connection.fetchval(_TURN, lease, gap, starting)
    return spared


async def prune(connection: Connection, *, ended_before: timedelta, limit: int) -> int:
    """Delete sessions that ended that long ago; answer how many."""
    tag: str = await connection.execute(
        "delete from worker_sessions where session_id in "
        "(select session_id from worker_sessions where ended_at < now() - $1::interval limit $2)",
        ended_before,
        limit,
    )
    return int(tag.rpartition(" ")[2])

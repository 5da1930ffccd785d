"""The rings that are owed. Entering a waiting status writes one row; the dispatcher deletes it after the ring."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias
from uuid import UUID

from .database import Connection, transaction


class Ring(NamedTuple):
    """A delivery that is owed: wake a worker for this run at deliver_at."""

    run_id: UUID
    task_id: int
    queue_id: int
    priority: int
    attempt: int
    deliver_at: datetime
    generation: int = 0  # grows each time the run is held: a ring of before does not stand for what is owed now
    traceparent: str = ""  # of the sampled trace it is part of, where that is at hand: it is not kept in the outbox


# Also for a run whose row is still there: its time is the newer one.
_OWE = """
insert into outbox (run_id, queue_id, priority, task_id, attempt, deliver_at, ring_at)
select run_id, queue_id, priority, task_id, attempt, deliver_at,
  greatest(deliver_at - $7::interval, now() + interval '2 seconds')
from unnest($1::uuid[], $2::int[], $3::smallint[], $4::int[], $5::int[], $6::timestamptz[])
  as ring (run_id, queue_id, priority, task_id, attempt, deliver_at)
on conflict (run_id) do update
set attempt = excluded.attempt, generation = 0, deliver_at = excluded.deliver_at, ring_at = excluded.ring_at,
  held = null
"""


async def owe(connection: Connection, rings: Sequence[Ring], *, look_ahead: timedelta) -> None:
    """Write that these rings are owed. Rings are sorted by run here."""
    ordered = sorted(rings, key=lambda ring: ring.run_id.int)
    await connection.execute(
        _OWE,
        [ring.run_id for ring in ordered],
        [ring.queue_id for ring in ordered],
        [ring.priority for ring in ordered],
        [ring.task_id for ring in ordered],
        [ring.attempt for ring in ordered],
        [ring.deliver_at for ring in ordered],
        look_ahead,
    )


_OWE_MISSING = """
insert into outbox (run_id, queue_id, priority, task_id, attempt, deliver_at, ring_at)
select ring.run_id, ring.queue_id, ring.priority, ring.task_id, ring.attempt, ring.deliver_at,
  now() + interval '2 seconds'
from unnest($1::uuid[], $2::int[], $3::smallint[], $4::int[], $5::int[], $6::timestamptz[])
  as ring (run_id, queue_id, priority, task_id, attempt, deliver_at)
join open_runs o on o.run_id = ring.run_id and o.status <> 'running' and o.attempt + 1 = ring.attempt
order by ring.run_id
on conflict (run_id) do nothing
returning run_id
"""


async def owe_missing(connection: Connection, rings: Sequence[Ring]) -> list[Ring]:
    """Write that these rings are owed again, where the run waits for that attempt and is owed none; answer those."""
    rows = await connection.fetch(
        _OWE_MISSING,
        [ring.run_id for ring in rings],
        [ring.queue_id for ring in rings],
        [ring.priority for ring in rings],
        [ring.task_id for ring in rings],
        [ring.attempt for ring in rings],
        [ring.deliver_at for ring in rings],
    )
    owed = {row[0] for row in rows}
    return [ring for ring in rings if ring.run_id in owed]


# A row that was changed since (held, or owed for the next attempt by now) stays.
_RANG = """
delete from outbox o using unnest($1::uuid[], $2::int[], $3::int[]) as rang (run_id, attempt, generation)
where o.run_id = rang.run_id and o.attempt = rang.attempt and o.generation = rang.generation
"""


async def forget(connection: Connection, rings: Sequence[Ring]) -> None:
    """Delete the rows of rings that JetStream has taken.

    The commit need not be waited for: losing it only rings twice, and a ring carries no right.
    """
    ordered = sorted(rings, key=lambda ring: ring.run_id.int)
    async with transaction(connection):
        await connection.execute("set local synchronous_commit = off")
        await connection.execute(
            _RANG,
            [ring.run_id for ring in ordered],
            [ring.attempt for ring in ordered],
            [ring.generation for ring in ordered],
        )


# Pushed forward first and committed, so that no lock is held while NATS is spoken to and another sweep passes by.
_TAKE_DUE = """
with due as (
  select run_id from outbox
  where queue_id = $1 and priority = $2 and ring_at <= now()
  order by ring_at limit $3
  for update skip locked
)
update outbox o set ring_at = now() + $4::interval
from due where o.run_id = due.run_id
returning o.run_id, o.task_id, o.queue_id, o.priority, o.attempt, o.deliver_at, o.generation
"""


async def take_due(
    connection: Connection, queue_id: int, priority: int, *, limit: int, push_forward: timedelta
) -> list[Ring]:
    """The rings of one consumer that are due by now, at most `limit`; others will not see them for `push_forward`."""
    rows = await connection.fetch(_TAKE_DUE, queue_id, priority, limit, push_forward)
    return [Ring(*row) for row in rows]


_QUEUES_WITH_DUE = """
select q.queue_id, p.priority
from queues q cross join (values (1::smallint), (2), (3)) as p (priority)
where exists (select from outbox o where o.queue_id = q.queue_id and o.priority = p.priority and o.ring_at <= now())
order by p.priority, q.queue_id
"""


async def consumers_with_due(connection: Connection) -> list[tuple[int, int]]:
    """The (queue, priority) pairs that have something to ring, high priority first."""
    return [(row[0], row[1]) for row in await connection.fetch(_QUEUES_WITH_DUE)]


# The task row is locked before the outbox: a pause cannot slip between looking and writing. The open row is held until
# the commit: a cancel that comes meanwhile finds the outbox row. (The join on task is no way into an index.)
_HOLD = """
with task as (
  select task_id, paused_at from tasks where task_id = any($1) order by task_id for share
)
insert into outbox (run_id, queue_id, priority, task_id, attempt, generation, deliver_at, ring_at, held)
select o.run_id, r.queue_id, r.priority, o.task_id, o.attempt + 1, 1, o.due_at,
  case
    when t.paused_at is not null then 'infinity'
    when h.no_handler and exists (
      select from worker_sessions s
      where s.ended_at is null and s.lease_expires_at > now() and o.task_id = any(s.task_ids)
    ) then now() + interval '1 second'
    when h.no_handler then now() + least(greatest((now() - o.due_at) / 2, interval '1 second'), interval '60 seconds')
    else greatest(o.due_at - $4::interval, now() + interval '2 seconds')
  end,
  case when t.paused_at is not null then 'paused' when h.no_handler then 'no_handler' end as held
from unnest($2::uuid[], $3::boolean[]) as h (run_id, no_handler)
join open_runs o on o.run_id = h.run_id and o.status <> 'running'
join runs r on r.run_id = o.run_id
join task t on (t.task_id = o.task_id) is true
order by o.run_id
for share of o
on conflict (run_id) do update set ring_at = excluded.ring_at, held = excluded.held, attempt = excluded.attempt,
  generation = outbox.generation + 1, deliver_at = excluded.deliver_at
returning run_id, task_id, queue_id, priority, attempt, deliver_at, generation,
  held is null and deliver_at <= now() + $4::interval as ring_now
"""


async def hold(connection: Connection, held: Sequence[tuple[UUID, int, bool]], *, look_ahead: timedelta) -> list[Ring]:
    """Put back runs that may not start now, each (run, task, no handler there).

    Paused ones are parked until the task is resumed. Those no worker has a handler for are rung again after half as
    long as they are overdue, 1 to 60 s; after 1 s if only this worker has none. The others are rung when due: those
    within the look-ahead are answered, to be rung after the commit.
    """
    rows = await connection.fetch(
        _HOLD,
        sorted({task_id for _, task_id, _ in held}),
        [run_id for run_id, _, _ in held],
        [no_handler for _, _, no_handler in held],
        look_ahead,
    )
    return [Ring(*row[:7]) for row in rows if row[7]]


# One task at a time, in slices, so that a resume of very many runs never holds their rows for long.
_RELEASE = """
with parked as (
  select o.run_id from outbox o join tasks t on t.task_id = o.task_id
  where o.held = 'paused' and t.paused_at is null limit $1
  for update of o skip locked
)
update outbox o set ring_at = greatest(o.deliver_at - $2::interval, now()), held = null
from parked where o.run_id = parked.run_id
"""


async def release_resumed(connection: Connection, *, limit: int, look_ahead: timedelta) -> int:
    """Let parked runs of tasks that are no longer paused ring again; answer how many."""
    tag: str = await connection.execute(_RELEASE, limit, look_ahead)
    return int(tag.rpartition(" ")[2])


Cursor: TypeAlias = tuple[datetime, UUID]
START: Cursor = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))

# A slice of what is overdue, in order of due time; most of it waits in the stream or is parked here, rightly.
_OVERDUE = """
with slice as (
  select run_id, task_id, status, attempt, due_at from open_runs
  where (due_at, run_id) > ($1, $2) and due_at < now() - $3::interval
  order by due_at, run_id limit $4
), missing as (
  select s.* from slice s
  where s.status <> 'running' and not exists (select from outbox x where x.run_id = s.run_id)
)
select (select count(*) from slice) as looked_at, l.due_at as last_due_at, l.run_id as last_run_id,
  m.run_id, m.task_id, r.queue_id, r.priority, m.attempt + 1 as attempt, m.due_at
from (select due_at, run_id from slice order by due_at desc, run_id desc limit 1) l
left join (missing m join runs r on r.run_id = m.run_id) on true
"""


async def overdue_without_ring(
    connection: Connection, *, after: Cursor, overdue_by: timedelta, slice_size: int
) -> tuple[list[Ring], Cursor | None]:
    """Waiting runs that are overdue and have no outbox row, of one slice; and where the next slice begins, if any."""
    rows = await connection.fetch(_OVERDUE, *after, overdue_by, slice_size)
    if not rows:
        return [], None
    following = (rows[0]["last_due_at"], rows[0]["last_run_id"]) if rows[0]["looked_at"] == slice_size else None
    return [Ring(*tuple(row)[3:]) for row in rows if row["run_id"] is not None], following

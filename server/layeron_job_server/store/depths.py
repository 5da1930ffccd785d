"""How much waits and runs, by task: what metrics and alerts are made of.

One pass over `open_runs` and one over `outbox`, which hold nothing but what is not over; both are exact, take no lock
and need no index that every write would pay for. A pass costs about 0.2 s of one core of PostgreSQL for a million
waiting runs, so the caller rests in proportion to what it took (see `loops.depths`).
"""

from __future__ import annotations

from typing import NamedTuple

from .database import Connection


class TaskDepth(NamedTuple):
    """One task. The age is that of the run that has been due for longest; 0 if none waits or the task is paused."""

    namespace: str
    queue: str
    task: str
    ready: int
    running: int
    scheduled: int
    oldest_ready_seconds: float


class OutboxDepth(NamedTuple):
    """The outbox's rows held for one reason, or for none (""); and for how long the oldest has been due to ring."""

    held: str
    rows: int
    oldest_due_seconds: float


class SessionDepth(NamedTuple):
    """The live worker sessions of one namespace."""

    namespace: str
    sessions: int
    slots: int


# One core is enough: PostgreSQL's others have runs to write. And all rows are wanted, so no index helps, whatever the
# settings of the pool's connections.
_ALONE = "set local max_parallel_workers_per_gather = 0"

_TASKS = """
with open as (
  select task_id, count(*) filter (where status = 'running') as running,
    count(*) filter (where status <> 'running' and due_at <= now()) as ready,
    count(*) filter (where status <> 'running' and due_at > now()) as scheduled,
    min(due_at) filter (where status <> 'running' and due_at <= now()) as oldest_due_at
  from open_runs group by task_id
)
select n.name, q.name, t.name, coalesce(o.ready, 0), coalesce(o.running, 0), coalesce(o.scheduled, 0),
  case when t.paused_at is null then coalesce(extract(epoch from now() - o.oldest_due_at), 0) else 0 end::float8
from tasks t
join namespaces n on n.namespace_id = t.namespace_id
join queues q on q.queue_id = t.queue_id
left join open o on o.task_id = t.task_id
"""

_OUTBOX = """
select coalesce(held, ''), count(*),
  coalesce(extract(epoch from now() - min(ring_at) filter (where ring_at <= now())), 0)::float8
from outbox group by 1
"""

_SESSIONS = """
select n.name, count(s.session_id), coalesce(sum(s.slots), 0)
from namespaces n left join worker_sessions s
  on s.namespace_id = n.namespace_id and s.ended_at is null and s.lease_expires_at > now()
group by n.name
"""


async def read(connection: Connection) -> tuple[list[TaskDepth], list[OutboxDepth], list[SessionDepth]]:
    """All of it as of one moment: of every registered task, every kind of hold there is, and every namespace.

    Inside of a transaction.
    """
    await connection.execute(_ALONE)
    return (
        [TaskDepth(*row) for row in await connection.fetch(_TASKS)],
        [OutboxDepth(*row) for row in await connection.fetch(_OUTBOX)],
        [SessionDepth(*row) for row in await connection.fetch(_SESSIONS)],
    )


async def is_writable(connection: Connection) -> bool:
    """Whether this is a primary that takes writes."""
    writable: bool = await connection.fetchval(
        "select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'"
    )
    return writable

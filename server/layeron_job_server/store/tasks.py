"""Namespaces, queues and tasks: names to small integers and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .database import Connection

_NAMES_LOCK = 0x6E616D6573  # any number: one after the other makes namespaces and queues, so that none is one too many


@dataclass(frozen=True, slots=True)
class Task:
    """A registered task with its defaults. `retry` is the policy's JSON text."""

    task_id: int
    namespace_id: int
    namespace: str
    name: str
    queue_id: int
    queue: str
    retry: bytes
    timeout_ms: int
    priority: int
    revision: int
    paused_at: datetime | None
    pause_reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """What is registered for one task."""

    name: str
    queue: str
    retry: bytes
    timeout_ms: int
    priority: int


_TASKS = """
select t.task_id, t.namespace_id, n.name as namespace, t.name, t.queue_id, q.name as queue, t.retry, t.timeout_ms,
  t.priority, t.revision, t.paused_at, t.pause_reason, t.created_at, t.updated_at
from tasks t join namespaces n on n.namespace_id = t.namespace_id join queues q on q.queue_id = t.queue_id
"""


async def namespace_id(connection: Connection, name: str) -> int | None:
    """The namespace's number, or None if nothing was ever registered in it."""
    found: int | None = await connection.fetchval("select namespace_id from namespaces where name = $1", name)
    return found


async def by_names(connection: Connection, namespace: str, names: Sequence[str]) -> list[Task]:
    """The registered tasks among these names."""
    rows = await connection.fetch(_TASKS + "where n.name = $1 and t.name = any($2)", namespace, list(names))
    return [Task(*row) for row in rows]


async def by_ids(connection: Connection, task_ids: Sequence[int]) -> list[Task]:
    """The tasks of these numbers."""
    return [Task(*row) for row in await connection.fetch(_TASKS + "where t.task_id = any($1)", list(task_ids))]


async def page(connection: Connection, namespace: str, *, after: str, limit: int) -> list[Task]:
    """Tasks of a namespace by name, after the given one."""
    rows = await connection.fetch(
        _TASKS + "where n.name = $1 and t.name > $2 order by t.name limit $3", namespace, after, limit
    )
    return [Task(*row) for row in rows]


class NoRoom(Exception):
    """A namespace, or a queue of one, would be one too many."""

    def __init__(self, queue: str | None, limit: int) -> None:
        super().__init__(f"there are {limit} already")
        self.queue = queue  # None: it is the namespace
        self.limit = limit


async def _ensure_namespace(connection: Connection, name: str, at_most: int) -> int:
    found = await namespace_id(connection, name)
    if found is not None:
        return found
    await connection.execute("select pg_advisory_xact_lock($1)", _NAMES_LOCK)
    made: int | None = await connection.fetchval(
        "insert into namespaces (name) select $1 where (select count(*) from namespaces) < $2 "
        "on conflict do nothing returning namespace_id",
        name,
        at_most,
    )
    found = made if made is not None else await namespace_id(connection, name)
    if found is None:
        raise NoRoom(None, at_most)
    return found


async def _ensure_queues(connection: Connection, owner: int, names: Sequence[str], at_most: int) -> None:
    new = await _missing_queues(connection, owner, names)
    if not new:
        return
    await connection.execute("select pg_advisory_xact_lock($1)", _NAMES_LOCK)
    new = await _missing_queues(connection, owner, new)  # another may have made them before it let go of the lock
    room = at_most - await connection.fetchval("select count(*) from queues where namespace_id = $1", owner)
    if len(new) > room:
        raise NoRoom(new[max(room, 0)], at_most)
    await connection.execute("insert into queues (namespace_id, name) select $1, unnest($2::text[])", owner, new)


async def _missing_queues(connection: Connection, owner: int, names: Sequence[str]) -> list[str]:
    rows = await connection.fetch("select name from queues where namespace_id = $1 and name = any($2)", owner, names)
    there = {row[0] for row in rows}
    return [name for name in names if name not in there]


_REGISTER = """
insert into tasks (namespace_id, name, queue_id, retry, timeout_ms, priority)
select $1, asked.name, q.queue_id, asked.retry, asked.timeout_ms, asked.priority
from unnest($2::text[], $3::text[], $4::json[], $5::bigint[], $6::smallint[])
  as asked (name, queue, retry, timeout_ms, priority)
join queues q on q.namespace_id = $1 and q.name = asked.queue
order by asked.name
on conflict (namespace_id, name) do update
set queue_id = excluded.queue_id, retry = excluded.retry, timeout_ms = excluded.timeout_ms,
  priority = excluded.priority, revision = tasks.revision + 1, updated_at = now()
where (tasks.queue_id, tasks.retry::text, tasks.timeout_ms, tasks.priority)
  is distinct from (excluded.queue_id, excluded.retry::text, excluded.timeout_ms, excluded.priority)
"""


async def register(
    connection: Connection,
    namespace: str,
    definitions: Sequence[TaskDefinition],
    *,
    namespaces_max: int,
    queues_per_namespace_max: int,
) -> list[Task]:
    """Make or change tasks, with their namespace and queues; answer them as they now are, by name. Raises NoRoom."""
    owner = await _ensure_namespace(connection, namespace, namespaces_max)
    queues = list(dict.fromkeys(definition.queue for definition in definitions))
    await _ensure_queues(connection, owner, queues, queues_per_namespace_max)
    await connection.execute(
        _REGISTER,
        owner,
        [definition.name for definition in definitions],
        [definition.queue for definition in definitions],
        [definition.retry for definition in definitions],
        [definition.timeout_ms for definition in definitions],
        [definition.priority for definition in definitions],
    )
    return await by_names(connection, namespace, [definition.name for definition in definitions])


_LOCK_TASK = """
select t.task_id from tasks t join namespaces n on n.namespace_id = t.namespace_id
where n.name = $1 and t.name = $2 for update of t
"""


_PAUSE = """
update tasks set paused_at = now(), pause_reason = $2, updated_at = now() where task_id = $1 and paused_at is null
"""
_RESUME = """
update tasks set paused_at = null, pause_reason = null, updated_at = now() where task_id = $1 and paused_at is not null
"""


async def pause(connection: Connection, namespace: str, name: str, reason: str | None) -> Task | None:
    """Pause a task; None if there is none of this name. A task that is paused keeps its first reason."""
    task_id = await connection.fetchval(_LOCK_TASK, namespace, name)
    if task_id is None:
        return None
    await connection.execute(_PAUSE, task_id, reason)
    return (await by_ids(connection, [task_id]))[0]


async def resume(connection: Connection, namespace: str, name: str) -> Task | None:
    """Resume a task; None if there is none of this name. Its parked runs are released by `outbox.release_resumed`."""
    task_id = await connection.fetchval(_LOCK_TASK, namespace, name)
    if task_id is None:
        return None
    await connection.execute(_RESUME, task_id)
    return (await by_ids(connection, [task_id]))[0]


async def queues_and_namespaces(connection: Connection) -> list[tuple[int, str, str]]:
    """Every queue as (number, namespace, name)."""
    rows = await connection.fetch(
        "select q.queue_id, n.name, q.name from queues q join namespaces n on n.namespace_id = q.namespace_id"
    )
    return [(row[0], row[1], row[2]) for row in rows]

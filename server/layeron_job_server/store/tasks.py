"""Namespaces, queues and tasks: names to small integers and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .database import Connection


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


async def _ensure_namespace(connection: Connection, name: str) -> int:
    made: int | None = await connection.fetchval(
        "insert into namespaces (name) values ($1) on conflict do nothing returning namespace_id", name
    )
    found = made if made is not None else await namespace_id(connection, name)
    assert found is not None
    return found


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


async def register(connection: Connection, namespace: str, definitions: Sequence[TaskDefinition]) -> list[Task]:
    """Make or change tasks, with their namespace and queues; answer them as they now are, by name."""
    owner = await _ensure_namespace(connection, namespace)
    await connection.execute(
        "insert into queues (namespace_id, name) select $1, unnest($2::text[]) on conflict do nothing",
        owner,
        sorted({definition.queue for definition in definitions}),
    )
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

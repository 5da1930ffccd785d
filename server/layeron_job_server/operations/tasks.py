"""Tasks: registering them, looking at them, pausing and resuming them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from layeron_job_server.domain.errors import FieldViolation, InvalidRequest, TaskNotFound
from layeron_job_server.store import outbox, tasks
from layeron_job_server.store.tasks import NoRoom, Task, TaskDefinition

from .system import System

# Makes the consumers of (namespace, queue) pairs; without NATS they are made later.
EnsureConsumers: TypeAlias = Callable[[Sequence[tuple[str, str]]], Awaitable[None]]

_RELEASE_SLICE = 5_000


async def register(
    system: System, ensure_consumers: EnsureConsumers, namespace: str, definitions: Sequence[TaskDefinition]
) -> list[Task]:
    """Make or change tasks; answer them as they now are, in the order given. Runs that exist keep what they have.

    Raises InvalidRequest when a namespace or queue would be one too many.
    """
    limits = system.settings.name_limits
    try:
        made = await system.database.write(lambda c: tasks.register(c, namespace, definitions, **limits))
    except NoRoom as error:
        raise InvalidRequest([_one_too_many(error, definitions)]) from None
    for task in made:
        system.tasks.forget(namespace, task.name)
    await ensure_consumers(sorted({(namespace, task.queue) for task in made}))
    by_name = {task.name: task for task in made}
    return [by_name[definition.name] for definition in definitions]


def _one_too_many(error: NoRoom, definitions: Sequence[TaskDefinition]) -> FieldViolation:
    if error.queue is None:
        return FieldViolation("namespace", f"is new, and there are {error.limit} already (the limit is namespaces_max)")
    place = [definition.queue for definition in definitions].index(error.queue)
    return FieldViolation(
        f"tasks[{place}].queue",
        f"is new, and its namespace may have {error.limit} (the limit is queues_per_namespace_max)",
    )


async def get(system: System, namespace: str, name: str) -> Task:
    """One task as it now is. Raises TaskNotFound."""
    found = await system.database.read(lambda c: tasks.by_names(c, namespace, [name]))
    if not found:
        raise TaskNotFound(namespace, name)
    return found[0]


async def page(system: System, namespace: str, *, after: str, limit: int) -> list[Task]:
    """Tasks by name, after the given one."""
    return await system.database.read(lambda c: tasks.page(c, namespace, after=after, limit=limit))


async def pause(system: System, namespace: str, name: str, reason: str | None) -> Task:
    """Let nothing more of the task start. Raises TaskNotFound."""
    task = await system.database.write(lambda c: tasks.pause(c, namespace, name, reason))
    if task is None:
        raise TaskNotFound(namespace, name)
    system.tasks.forget(namespace, name)
    return task


async def resume(system: System, namespace: str, name: str) -> Task:
    """Let the task start again. The first parked runs are released now, the rest by the reconciler's next turns.

    Raises TaskNotFound.
    """
    task = await system.database.write(lambda c: tasks.resume(c, namespace, name))
    if task is None:
        raise TaskNotFound(namespace, name)
    system.tasks.forget(namespace, name)
    await release_resumed(system)
    return task


async def release_resumed(system: System) -> int:
    """Let parked runs of tasks that are not paused (any more) ring again, some thousands of them; answer how many."""
    return await system.database.write(
        lambda c: outbox.release_resumed(c, limit=_RELEASE_SLICE, look_ahead=system.settings.look_ahead)
    )

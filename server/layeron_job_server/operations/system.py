"""What every operation works with: the database, the writers, the tasks it knows, and who is told of new rings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

from layeron_job.ids import new_uuid7
from layeron_job_server.settings import Settings
from layeron_job_server.store import tasks
from layeron_job_server.store.database import Database
from layeron_job_server.store.outbox import Ring
from layeron_job_server.telemetry import Telemetry

_TASK_FRESH_SECONDS = 1.0


class TaskCache:
    """Registered tasks by name and number, at most a second old. What is missing is always asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_name: dict[tuple[str, str], tuple[float, tasks.Task]] = {}
        self._by_id: dict[int, tasks.Task] = {}
        self._queues: dict[int, tuple[str, str]] = {}

    async def by_names(self, namespace: str, names: Sequence[str]) -> dict[str, tasks.Task]:
        """The registered ones of these tasks, by name."""
        now = monotonic()
        found: dict[str, tasks.Task] = {}
        missing: list[str] = []
        for name in names:
            known = self._by_name.get((namespace, name))
            if known is not None and now - known[0] < _TASK_FRESH_SECONDS:
                found[name] = known[1]
            else:
                missing.append(name)
        if missing:
            for task in await self._database.read(lambda c: tasks.by_names(c, namespace, missing)):
                found[task.name] = self._keep(task, now)
        return found

    async def by_ids(self, task_ids: Set[int]) -> dict[int, tasks.Task]:
        """The tasks of these numbers. Their names never change; the rest may be old."""
        missing = [task_id for task_id in task_ids if task_id not in self._by_id]
        if missing:
            for task in await self._database.read(lambda c: tasks.by_ids(c, missing)):
                self._keep(task, monotonic())
        return {task_id: self._by_id[task_id] for task_id in task_ids if task_id in self._by_id}

    async def queue_names(self, queue_ids: Set[int]) -> dict[int, tuple[str, str]]:
        """The (namespace, queue) of these queues. They never change."""
        if any(queue_id not in self._queues for queue_id in queue_ids):
            rows = await self._database.read(tasks.queues_and_namespaces)
            self._queues.update({queue_id: (namespace, queue) for queue_id, namespace, queue in rows})
        return self._queues

    def forget(self, namespace: str, name: str) -> None:
        """Ask for this task again next time."""
        self._by_name.pop((namespace, name), None)

    def _keep(self, task: tasks.Task, now: float) -> tasks.Task:
        self._by_name[task.namespace, task.name] = (now, task)
        self._by_id[task.task_id] = task
        return task


@dataclass(frozen=True, slots=True)
class System:
    """Handed to every operation.

    `ring` tells the dispatcher, after a commit, what to ring at once; `hint_cancel` tells all servers that a running
    run is to be canceled. Both never wait and may be lost.
    """

    settings: Settings
    database: Database
    tasks: TaskCache
    ring: Callable[[Sequence[Ring]], None]
    hint_cancel: Callable[[], None]
    chance: Callable[[], float]
    server_id: UUID = field(default_factory=new_uuid7)
    telemetry: Telemetry = field(default_factory=Telemetry.of_process)
    # Raised whenever a run of this process has changed; waiters look again.
    changed: asyncio.Event = field(default_factory=asyncio.Event)

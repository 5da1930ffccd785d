"""Tasks: registering them from a deploy script, looking at them, pausing and resuming them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from layeron.job.v1 import task_service_pb2 as pb

from . import convert
from .calls import Calls
from .models import Task, TaskDefinition


class Tasks:
    """The tasks of the client's namespace: `client.tasks`."""

    def __init__(self, calls: Calls, namespace: str) -> None:
        self._calls = calls
        self._namespace = namespace

    async def register(self, definitions: Iterable[TaskDefinition]) -> list[Task]:
        """Make or change 1 to 500 tasks; answers them as they now are. Runs that exist keep what they have.

        Workers do this for their own tasks when they start.
        """
        request = pb.RegisterTasksRequest(
            namespace=self._namespace, tasks=[convert.task_definition(definition) for definition in definitions]
        )
        answer = await self._calls.unary(lambda server: server.tasks.RegisterTasks, request)
        return [convert.task(task) for task in answer.tasks]

    async def get(self, name: str) -> Task:
        """One task. Raises TaskNotFound."""
        request = pb.GetTaskRequest(namespace=self._namespace, name=name)
        return convert.task((await self._calls.unary(lambda server: server.tasks.GetTask, request)).task)

    async def list(self, *, page_size: int | None = None) -> AsyncIterator[Task]:
        """All tasks by name, asked for page by page. page_size is 1 to 500, by default 100."""
        request = pb.ListTasksRequest(namespace=self._namespace, page_size=page_size)
        while True:
            answer = await self._calls.unary(lambda server: server.tasks.ListTasks, request)
            for task in answer.tasks:
                yield convert.task(task)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    async def pause(self, name: str, reason: str = "") -> Task:
        """Let nothing more of the task start; what runs goes on. Raises TaskNotFound."""
        request = pb.PauseTaskRequest(namespace=self._namespace, name=name, reason=reason)
        return convert.task((await self._calls.unary(lambda server: server.tasks.PauseTask, request)).task)

    async def resume(self, name: str) -> Task:
        """Let the task start again. Raises TaskNotFound."""
        request = pb.ResumeTaskRequest(namespace=self._namespace, name=name)
        return convert.task((await self._calls.unary(lambda server: server.tasks.ResumeTask, request)).task)

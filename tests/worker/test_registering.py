"""A worker tells the server of its tasks, waits for one that is not there for it, and gives up on one that says no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from layeron.job.v1 import task_service_pb2 as pb
from layeron.job.v1 import task_service_pb2_grpc
from layeron_job_worker.connection import Servers, register
from layeron_job_worker.errors import WorkerError
from layeron_job_worker.registry import task_handler

Code = grpc.StatusCode


class Desk(task_service_pb2_grpc.TaskServiceServicer):
    """A server that refuses with these codes, one after the other, and then takes anything."""

    def __init__(self, *refusals: Code) -> None:
        self.refusals = list(refusals)
        self.registered: list[list[str]] = []

    async def answer(self, request: Any, context: Any) -> Any:
        """One call."""
        if self.refusals:
            await context.abort(self.refusals.pop(0), "not now")
        self.registered.append([task.name for task in request.tasks])
        return pb.RegisterTasksResponse()

    RegisterTasks = GetTask = ListTasks = PauseTask = ResumeTask = answer


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[Servers]:
    """The desk's address."""
    server = grpc.aio.server()
    task_service_pb2_grpc.add_TaskServiceServicer_to_server(desk, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Servers(f"127.0.0.1:{port}", None)
    finally:
        await server.stop(0)


async def no_wait(_seconds: float) -> None:
    """In place of a sleep."""


def handle(_payload: Any) -> None:
    """A handler."""


async def test_a_server_that_is_away_or_too_busy_is_waited_for() -> None:
    desk = Desk(Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)
    async with serving(desk) as servers:
        await register(servers, "default", [task_handler("work", handle)], no_wait)
    assert desk.registered == [["work"]]


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.INTERNAL])
async def test_a_server_that_refuses_ends_the_worker_with_its_words(code: Code) -> None:
    async with serving(Desk(code)) as servers:
        with pytest.raises(WorkerError, match=f"register the tasks work: {code.name}: not now"):
            await register(servers, "default", [task_handler("work", handle)], no_wait)

"""A server program of a test: the real gRPC service for workers, which says what the test tells it to say.

    async with scripted_server() as server:
        ...  # a worker connects to server.address
        stream = await server.stream(1)
        [start] = await stream.starts(1)
        await stream.grant(start)
        [finish] = await stream.finishes(1)
        await stream.record(finish)

Heartbeats are answered by themselves with `server.verdict`; with None they are not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from layeron.job.v1 import task_service_pb2, task_service_pb2_grpc, worker_service_pb2_grpc
from layeron.job.v1 import worker_service_pb2 as pb

from .waiting import eventually

RECORDED = pb.HEARTBEAT_VERDICT_RECORDED
_EVERY = 0.005


@dataclass(slots=True)
class ScriptedStream:
    """One Work stream: its Hello, and every message that came after it."""

    server: ScriptedServer
    context: Any
    hello: pb.Hello = field(default_factory=pb.Hello)
    hellos: int = 0
    said: list[pb.WorkRequest] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False  # the worker has closed it

    async def say(self, **parts: Any) -> None:
        """Send one message."""
        await self.context.write(pb.WorkResponse(**parts))

    async def grant(self, start: pb.Start, *, attempt: int = 1, **grant: Any) -> None:
        """Grant a start; further fields are those of Grant."""
        given = pb.Grant(**{"run_id": start.run_id, "attempt": attempt, "task": "work", "timeout_ms": 60_000, **grant})
        await self.say(start_answers=[pb.StartAnswer(start_id=start.start_id, grant=given)])

    async def refuse(self, start: pb.Start) -> None:
        """Refuse a start: the run is open elsewhere."""
        refusal = pb.Refusal(reason=pb.REFUSAL_REASON_RUNNING)
        await self.say(start_answers=[pb.StartAnswer(start_id=start.start_id, refusal=refusal)])

    async def record(self, finish: pb.Finish, verdict: pb.FinishVerdict.ValueType = pb.FINISH_VERDICT_RECORDED) -> None:
        """Answer a finish."""
        await self.say(finish_answers=[pb.FinishAnswer(start_id=finish.start_id, verdict=verdict)])

    def end(self) -> None:
        """End the stream."""
        self.over.set()

    async def starts(self, number: int) -> list[pb.Start]:
        """The starts that were asked for on this stream, once there are so many."""
        return await self._items(lambda request: request.starts, number)

    async def finishes(self, number: int) -> list[pb.Finish]:
        """The finishes that were reported on this stream, once there are so many."""
        return await self._items(lambda request: request.finishes, number)

    async def beats(self, number: int) -> list[int]:
        """The numbers of the heartbeats on this stream, once there are so many."""
        return await self._items(
            lambda request: [request.heartbeat.number] if request.HasField("heartbeat") else [], number
        )

    async def _items(self, of: Callable[[pb.WorkRequest], Any], number: int) -> list[Any]:
        def look() -> Any:
            found = [item for request in self.said for item in of(request)]
            return found if len(found) >= number else None

        return look() or [] if number == 0 else await eventually(look, every=_EVERY)

    async def take(self, request: pb.WorkRequest) -> None:
        """Keep what was said; answer a heartbeat."""
        self.said.append(request)
        if request.HasField("heartbeat") and self.server.verdict is not None:
            answer = pb.HeartbeatAnswer(number=request.heartbeat.number, verdict=self.server.verdict)
            await self.say(heartbeat_answer=answer)


class ScriptedServer(
    worker_service_pb2_grpc.WorkerServiceServicer,
    task_service_pb2_grpc.TaskServiceServicer,
):
    """What the test may change at any time:

    welcomes   whether a Hello is answered; it is kept in `streams` all the same
    resumes    whether the session that a Hello names is resumed; else there is a new one
    superseded what a welcome says of the attempts that a Hello names
    verdict    how heartbeats are answered; None: not at all
    welcome    fields of Welcome
    """

    def __init__(self, **welcome: Any) -> None:
        self.address = ""
        self.streams: list[ScriptedStream] = []
        self.registered: list[str] = []
        self.welcomes = True
        self.resumes = True
        self.superseded: list[pb.OpenAttempt] = []
        self.verdict: pb.HeartbeatVerdict.ValueType | None = RECORDED
        self.welcome = {"lease_ms": 30_000, "heartbeat_interval_ms": 5_000, "begin_within_ms": 2_000, **welcome}
        self.welcome.setdefault("result_bytes_max", 1_000_000)

    async def stream(self, number: int) -> ScriptedStream:
        """The stream that said hello as the so many-th, from 1 on."""
        await eventually(lambda: len(self.streams) >= number, every=_EVERY)
        return self.streams[number - 1]

    async def RegisterTasks(self, request: Any, context: Any) -> Any:
        """Take any task."""
        self.registered += [task.name for task in request.tasks]
        return task_service_pb2.RegisterTasksResponse()

    GetTask = ListTasks = PauseTask = ResumeTask = RegisterTasks

    async def Work(self, request_iterator: AsyncIterator[pb.WorkRequest], context: Any) -> None:  # type: ignore[override] # the generated type is that of synchronous servers
        """One worker process, from Hello until it leaves or the test ends the stream."""
        stream = ScriptedStream(self, context)
        reader = asyncio.create_task(self._hear(stream, request_iterator))
        over = asyncio.create_task(stream.over.wait())
        try:
            await asyncio.wait([reader, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stream.left = True
            for task in (reader, over):
                task.cancel()
            await asyncio.gather(reader, over, return_exceptions=True)

    async def _hear(self, stream: ScriptedStream, requests: AsyncIterator[pb.WorkRequest]) -> None:
        async for request in requests:
            if not request.HasField("hello"):
                await stream.take(request)
                continue
            stream.hello.MergeFrom(request.hello)
            stream.hellos += 1
            if request.hello.last:
                self.streams.append(stream)
                if self.welcomes:
                    await stream.say(welcome=self._welcome(stream.hello))

    def _welcome(self, hello: pb.Hello) -> pb.Welcome:
        resumed = bool(hello.session_id) and self.resumes
        return pb.Welcome(
            session_id=hello.session_id if resumed else f"ses_{len(self.streams)}",
            epoch=len(self.streams),
            resumed=resumed,
            superseded=self.superseded if resumed else hello.attempts,
            **self.welcome,
        )


@asynccontextmanager
async def scripted_server(server: ScriptedServer | None = None, **welcome: Any) -> AsyncIterator[ScriptedServer]:
    """A listening server, by default one of the usual kind; `welcome` are fields of its Welcome."""
    server = server or ScriptedServer(**welcome)
    listener = grpc.aio.server()
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(server, listener)
    task_service_pb2_grpc.add_TaskServiceServicer_to_server(server, listener)
    server.address = f"127.0.0.1:{listener.add_insecure_port('127.0.0.1:0')}"
    await listener.start()
    try:
        yield server
    finally:
        for stream in server.streams:
            stream.end()
        await listener.stop(0)

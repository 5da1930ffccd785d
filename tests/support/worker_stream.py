"""A worker by hand: the Work stream with nothing behind it, so that a test says and hears every message itself.

    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        assert await worker.succeed(1, grant) == pb.FINISH_VERDICT_RECORDED

A start_id is the test's own choice; it names the start, and the finish of what was granted for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from layeron.job.v1 import worker_service_pb2 as pb
from layeron.job.v1 import worker_service_pb2_grpc

T = TypeVar("T")
_SECONDS = 10.0


@dataclass(slots=True)
class WorkerStream:
    """One open Work stream and all that was heard on it."""

    call: grpc.aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse]
    welcome: pb.Welcome = field(default_factory=pb.Welcome)
    start_answers: dict[int, pb.StartAnswer] = field(default_factory=dict)
    finish_answers: dict[int, pb.FinishAnswer] = field(default_factory=dict)
    heartbeat_answers: list[pb.HeartbeatAnswer] = field(default_factory=list)
    cancel_orders: list[pb.CancelOrder] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # bytes of each message
    drained: bool = False
    closed: bool = False
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def start(self, start_id: int, run_id: str) -> pb.StartAnswer:
        """Ask to start a run and wait for the answer."""
        self.start_answers.pop(start_id, None)
        await self.say(starts=[pb.Start(start_id=start_id, run_id=run_id)])
        return await self.until(lambda: self.start_answers.get(start_id))

    async def grant(self, start_id: int, run_id: str) -> pb.Grant:
        """Start a run, which must be granted."""
        answer = await self.start(start_id, run_id)
        assert answer.HasField("grant"), answer
        return answer.grant

    async def start_all(self, run_ids: Sequence[str], *, first: int = 1) -> list[pb.StartAnswer]:
        """Ask to start runs in one message, with start_ids from `first` on; wait for all answers."""
        start_ids = range(first, first + len(run_ids))
        starts = [
            pb.Start(start_id=start_id, run_id=run_id) for start_id, run_id in zip(start_ids, run_ids, strict=True)
        ]
        await self.say(starts=starts)
        await self.until(lambda: self.start_answers.keys() >= set(start_ids) or None)
        return [self.start_answers[start_id] for start_id in start_ids]

    async def succeed(self, start_id: int, grant: pb.Grant, result: bytes = b"null") -> int:
        """Report a success and wait for the verdict."""
        return await self.finish(_finish(start_id, grant, result_json=result))

    async def fail(self, start_id: int, grant: pb.Grant, *, log_tail: str = "", **failure: object) -> int:
        """Report a failure and wait for the verdict; the fields are those of Failure."""
        outcome = pb.Failure(**failure)  # type: ignore[arg-type] # its own fields
        return await self.finish(_finish(start_id, grant, failure=outcome, log_tail=log_tail))

    async def finish(self, finish: pb.Finish) -> int:
        """Report how an attempt ended and wait for the verdict."""
        self.finish_answers.pop(finish.start_id, None)
        await self.say(finishes=[finish])
        answer = await self.until(lambda: self.finish_answers.get(finish.start_id))
        return answer.verdict

    async def beat(self, number: int = 1) -> int:
        """Send a heartbeat and wait for what became of it."""
        await self.say(heartbeat=pb.Heartbeat(number=number))
        answer = await self.until(lambda: next((a for a in self.heartbeat_answers if a.number == number), None))
        return answer.verdict

    async def goodbye(self) -> None:
        """End the session and wait until the server has closed the stream."""
        await self.say(goodbye=pb.Goodbye())
        await self.until(lambda: self.closed or None)

    async def say(self, **parts: object) -> None:
        """Send one message."""
        await self.call.write(pb.WorkRequest(**parts))  # type: ignore[arg-type] # the message's own fields

    async def until(self, look: Callable[[], T | None]) -> T:
        """The first answer of `look` that is not None, after at most ten seconds."""
        async with asyncio.timeout(_SECONDS), self._heard:
            while (seen := look()) is None:
                await self._heard.wait()
            return seen

    async def listen(self) -> None:
        """Keep all that is heard until the stream ends."""
        try:
            while isinstance(response := await self.call.read(), pb.WorkResponse):
                async with self._heard:
                    self._keep(response)
                    self._heard.notify_all()
        except grpc.RpcError:
            pass
        finally:
            async with self._heard:
                self.closed = True
                self._heard.notify_all()

    def _keep(self, response: pb.WorkResponse) -> None:
        self.sizes.append(response.ByteSize())
        if response.HasField("welcome"):
            self.welcome = response.welcome
        self.start_answers.update({answer.start_id: answer for answer in response.start_answers})
        self.finish_answers.update({answer.start_id: answer for answer in response.finish_answers})
        if response.HasField("heartbeat_answer"):
            self.heartbeat_answers.append(response.heartbeat_answer)
        self.cancel_orders.extend(response.cancel_orders)
        self.drained = self.drained or response.HasField("drain")


def _finish(start_id: int, grant: pb.Grant, **outcome: object) -> pb.Finish:
    return pb.Finish(start_id=start_id, run_id=grant.run_id, attempt=grant.attempt, **outcome)  # type: ignore[arg-type] # one of its outcomes


@asynccontextmanager
async def worker_stream(channel: grpc.aio.Channel, *more: pb.Hello, **hello: object) -> AsyncIterator[WorkerStream]:
    """Connect as a worker of queue "default" with task "work"; leaving drops the connection without a goodbye.

    The fields are those of Hello, of which `more` are further messages, the last of which sets `last`.
    """
    said = {"tasks": ["work"], "queues": ["default"], "slots": 10, "protocol_version": 1, "last": not more, **hello}
    call = worker_service_pb2_grpc.WorkerServiceStub(channel).Work()
    stream = WorkerStream(call)
    listener = asyncio.create_task(stream.listen())
    try:
        for part in (pb.Hello(**said), *more):  # type: ignore[arg-type] # the message's own fields
            await stream.say(hello=part)
        await stream.until(lambda: True if stream.welcome.session_id or stream.closed else None)
        yield stream
    finally:
        call.cancel()
        await asyncio.wait([listener])

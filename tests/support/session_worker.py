"""A worker's session with its loops, and in place of the worker around it a list of what it was told.

async with working(server) as worker:  # connected to a scripted server
    run_id = worker.start()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import new_run_id
from layeron_job_worker.connection import Servers
from layeron_job_worker.executor import Attempt
from layeron_job_worker.registry import task_handler
from layeron_job_worker.session import Session

from .scripted_server import ScriptedServer, ScriptedStream
from .waiting import eventually


class SessionWorker:
    """One session; `told` has what its worker was told, `began` and `stopped` the payloads of handlers."""

    def __init__(self, *addresses: str) -> None:
        self.session = Session(Servers(list(addresses), None), lambda: pb.Hello(namespace="theirs", slots=7), self)
        self.told: list[tuple[str, str]] = []
        self.began: list[int] = []
        self.stopped: list[int] = []
        self.go = asyncio.Event()
        self.pool = ThreadPoolExecutor(1)
        self.loops = [asyncio.create_task(loop()) for loop in (self.session.write, self.session.keep_lease)]
        self.running = asyncio.create_task(self.session.run())

    async def handle(self, payload: int) -> int:
        """The handler of every attempt: 0 returns at once, everything else once `go` is set."""
        self.began.append(payload)
        try:
            if payload:
                await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.append(payload)
            raise
        return payload

    def start(self, reply: str = "r1") -> str:
        """A delivery arrives; its run."""
        run_id = new_run_id()
        self.session.start(run_id, reply)
        return run_id

    async def close(self) -> None:
        """End all of it."""
        for task in (*self.loops, self.running):
            task.cancel()
        await asyncio.gather(*self.loops, self.running, return_exceptions=True)
        self.pool.shutdown()

    def connected(self, welcome: pb.Welcome) -> None:
        """A server has welcomed it."""
        self.told.append(("connected", welcome.session_id))

    def disconnected(self) -> None:
        """No server is connected."""
        self.told.append(("disconnected", ""))

    def granted(self, start_id: int, grant: pb.Grant) -> Attempt:
        """An attempt is its own: the handler begins."""
        self.told.append(("granted", grant.run_id))
        attempt = Attempt(
            start_id,
            grant,
            task_handler("work", self.handle),
            self,
            namespace="theirs",
            result_bytes_max=1_000,
            pool=self.pool,
        )
        attempt.begin()
        return attempt

    def settled(self, reply: str) -> None:
        """A delivery is to be acked."""
        self.told.append(("settled", reply))

    def unanswered(self, reply: str) -> None:
        """A delivery is to be handed back."""
        self.told.append(("unanswered", reply))

    def attempt_reported(self, attempt: Attempt) -> None:
        """A handler has ended."""
        self.session.finish(attempt)

    def attempt_ended(self, attempt: Attempt) -> None:
        """The session is not concerned with slots."""

    def attempt_noted(self, attempt: Attempt) -> None:
        """A handler has something to tell."""
        self.session.note(attempt)


@asynccontextmanager
async def working(*servers: ScriptedServer) -> AsyncIterator[SessionWorker]:
    """A worker of these servers, which it knows in this order, connected to the first."""
    worker = SessionWorker(*(server.address for server in servers))
    try:
        await eventually(lambda: worker.told)
        yield worker
    finally:
        await worker.close()


async def run_one(worker: SessionWorker, stream: ScriptedStream, payload: int = 1) -> str:
    """Let the worker run an attempt on this stream; its run."""
    before = len(await stream.starts(0))
    run_id = worker.start()
    start = (await stream.starts(before + 1))[before]
    await stream.grant(start, payload_json=str(payload).encode())
    await eventually(lambda: payload in worker.began)
    return run_id


def named(stream: ScriptedStream) -> list[tuple[str, int]]:
    """The attempts that its Hello named."""
    return [(attempt.run_id, attempt.attempt) for attempt in stream.hello.attempts]

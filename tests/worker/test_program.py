"""A worker as a program: its process ends when it is told to, whatever its handlers do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from layeron_job.ids import new_run_id
from layeron_job_worker.program import HANDLERS_LEFT_EXIT
from support import eventually
from support.post import Post
from support.scripted_server import ScriptedServer, ScriptedStream, scripted_server

_PROGRAM = """
import asyncio, logging, os, threading
from layeron_job_worker import Worker

logging.basicConfig(level=logging.INFO, format="%(message)s")
worker = Worker(concurrency=2, grace=float(os.environ["GRACE"]))

@worker.task("stuck")
def stuck(_payload):
    threading.Event().wait()

@worker.task("polite")
def polite(_payload, ctx):
    while not ctx.cancel_requested:
        threading.Event().wait(0.01)

@worker.task("async")
async def stops(_payload):
    await asyncio.sleep(60)

worker.main()
"""


@dataclass(slots=True)
class Program:
    """A worker process that runs one handler."""

    process: asyncio.subprocess.Process
    stream: ScriptedStream
    run_id: str

    async def end(self) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr, once it has ended by itself."""
        _, errors = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()

    async def says(self, line: bytes) -> None:
        """Wait for a line of its log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(10):
            while await self.process.stderr.readline() != line + b"\n":
                pass

    def tell(self, what: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(what)


@asynccontextmanager
async def running(server: ScriptedServer, post: Post, task: str, grace: float = 0.2) -> AsyncIterator[Program]:
    """A worker process in whose only attempt this task's handler has begun."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        env={**os.environ, "LAYERON_JOB_ADDRESS": server.address, "GRACE": str(grace)},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stream = await server.stream(1)
        run_id = new_run_id()
        await post.ring(run_id)
        [start] = await stream.starts(1)
        await stream.grant(start, task=task)
        await eventually(lambda: any(request.begun for request in stream.said))
        yield Program(process, stream, run_id)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def server(post: Post) -> AsyncIterator[ScriptedServer]:
    said = {field.name: value for field, value in post.welcome.ListFields()}
    async with scripted_server(heartbeat_interval_ms=100, **said) as server:
        yield server


async def interrupted(program: Program) -> bool:
    """Whether the attempt was reported as interrupted; the report is answered."""
    [finish] = await program.stream.finishes(1)
    await program.stream.record(finish)
    return finish.WhichOneof("outcome") == "interrupted"


async def test_a_thread_that_never_returns_is_named_and_left_and_the_exit_code_says_so(
    server: ScriptedServer, post: Post
) -> None:
    async with running(server, post, "stuck") as program:
        program.tell(signal.SIGTERM)
        assert await interrupted(program)
        code, errors = await program.end()
    assert code == HANDLERS_LEFT_EXIT == 75
    assert f"attempt 1 of {program.run_id} (stuck) did not stop" in errors


async def test_a_second_signal_leaves_a_thread_at_once(server: ScriptedServer, post: Post) -> None:
    async with running(server, post, "stuck", grace=600) as program:
        program.tell(signal.SIGTERM)
        await program.says(b"stopping; 1 handlers run")
        program.tell(signal.SIGINT)
        code, _ = await program.end()
    assert code == HANDLERS_LEFT_EXIT


@pytest.mark.parametrize("task", ["polite", "async"])
async def test_a_handler_that_stops_when_told_to_lets_the_program_end_in_order(
    server: ScriptedServer, post: Post, task: str
) -> None:
    async with running(server, post, task) as program:
        program.tell(signal.SIGTERM)
        [finish] = await program.stream.finishes(1)
        await program.stream.record(finish)
        code, errors = await program.end()
    assert code == 0
    assert "did not stop" not in errors

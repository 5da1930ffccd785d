"""A worker process of a test's own, which it may kill, stop and crash. Its handlers keep a journal.

    async with worker_process(server.address, folder) as worker:
        await eventually(lambda: worker.begun("patient"))
        worker.process.kill()

"work" returns its payload; "patient" goes on until `folder/go` exists, then returns the number of its attempt; "poison"
kills its own process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layeron_job_worker import Context, Retry, Worker

from .waiting import eventually

_FOLDER = "SCENARIO_FOLDER"
_OPTIONS = "SCENARIO_OPTIONS"
_LOOK_SECONDS = 0.02
RETRY = Retry(attempts=3, backoff=0, jitter=0)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A running worker."""

    process: asyncio.subprocess.Process
    folder: Path

    def lines(self) -> list[list[str]]:
        """What its handlers wrote: [begin or end, task, run id, attempt, process id]."""
        journal = self.folder / "journal"
        return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []

    def begun(self, task: str) -> list[str]:
        """The runs of a task whose handler has begun in this process."""
        pid = str(self.process.pid)
        return [line[2] for line in self.lines() if line[0] == "begin" and line[1] == task and line[4] == pid]

    def tell(self, what: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(what)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()


def let_go(folder: Path) -> None:
    """Let the patient handlers of this folder return."""
    (folder / "go").touch()


@asynccontextmanager
async def worker_process(address: str, folder: Path, **options: float) -> AsyncIterator[WorkerProcess]:
    """Start a worker and wait until it is connected; `options` are numbers that Worker takes. Ended at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.worker_process",
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "LAYERON_JOB_ADDRESS": address,
            _FOLDER: str(folder),
            _OPTIONS: " ".join(f"{name}={value}" for name, value in options.items()),
        },
    )
    worker = WorkerProcess(process, folder)
    try:
        await eventually(lambda: ["ready", str(process.pid)] in worker.lines(), seconds=20)
        yield worker
    finally:
        if process.returncode is None:
            worker.tell(signal.SIGCONT)
            await worker.kill()


async def _main() -> None:
    folder = Path(os.environ[_FOLDER])
    options: dict[str, Any] = {}
    for option in os.environ[_OPTIONS].split():
        name, _, value = option.partition("=")
        options[name] = float(value) if "." in value else int(value)
    worker = Worker(**options)
    journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(*words: object) -> None:
        os.write(journal, f"{' '.join(map(str, words))}\n".encode())

    @worker.task("work", retry=RETRY)
    async def work(payload: Any, ctx: Context) -> Any:
        write("begin", "work", ctx.run_id, ctx.attempt, os.getpid())
        return payload

    @worker.task("patient", retry=RETRY)
    async def patient(_payload: Any, ctx: Context) -> int:
        write("begin", "patient", ctx.run_id, ctx.attempt, os.getpid())
        while not (folder / "go").exists():
            await asyncio.sleep(_LOOK_SECONDS)
        write("end", "patient", ctx.run_id, ctx.attempt, os.getpid())
        return ctx.attempt

    @worker.task("poison", retry=RETRY)
    async def poison(_payload: Any, ctx: Context) -> None:
        write("begin", "poison", ctx.run_id, ctx.attempt, os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    async def say_ready() -> None:
        await worker.ready.wait()
        write("ready", os.getpid())

    saying = asyncio.create_task(say_ready())
    await worker.run()
    saying.cancel()


if __name__ == "__main__":
    asyncio.run(_main())

"""Driver processes: callers that answer requests, and workers that say what happens in them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from .languages import BUILD, ROOT, Language, environment
from .matching import differences

_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
_ANSWER_SECONDS: Final = 120.0
_READY_SECONDS: Final = 60.0
_EVENT_SECONDS: Final = 30.0
_END_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02
_LOG_LINES: Final = 3
_LOG_CHARACTERS: Final = 500
_NUMBERS: Final = itertools.count()


class DriverError(Exception):
    """A driver did not do what drivers do; its log has more."""


class Caller:
    """A process of `driver call`, which answers one request after the other."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._asked = 0
        self._lock = asyncio.Lock()

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, with "ok" or "error". Raises DriverError if there is none."""
        async with self._lock:
            return await self._ask(request)

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._asked += 1
        self._process.stdin.write(json.dumps({"id": self._asked, **request}).encode() + b"\n")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise DriverError(f"no answer within {_ANSWER_SECONDS:g} s") from None
        if not line:
            raise DriverError(f"the driver ended: {_end_of(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("id") != self._asked:
            raise DriverError(f"the answer to {self._asked} has the id {answer.get('id')!r}")
        return answer


class WorkerProcess:
    """A process of `driver work`, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._said: list[dict[str, Any]] = []
        self._listening = asyncio.create_task(self._listen())

    async def begin(self, order: Mapping[str, Any]) -> None:
        """Give it its order and wait until it pulls."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.hear({"ready": True}, _READY_SECONDS)

    async def hear(self, event: Mapping[str, Any], seconds: float = _EVENT_SECONDS) -> None:
        """Wait until it has said this."""
        deadline = time.monotonic() + seconds
        while all(any(differences(event, one)) for one in self._said):
            if self._listening.done() or time.monotonic() > deadline:
                what = "ended" if self._listening.done() else "lives"
                raise DriverError(f"the worker {what} and did not say {event}, only {self._said}: {_end_of(self._log)}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self) -> int:
        """SIGTERM; the exit code once it has ended."""
        if self._process.returncode is None:
            self._process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        """The exit code once it has ended by itself."""
        try:
            return await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            raise DriverError(f"the worker did not end within {_END_SECONDS:g} s: {_end_of(self._log)}") from None

    async def _listen(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            self._said.append(json.loads(line))


@asynccontextmanager
async def caller(language: Language, address: str) -> AsyncIterator[Caller]:
    """Start a caller; it ends with its stdin."""
    async with _started(language, "call", address) as (process, log):
        yield Caller(process, log)
        assert process.stdin
        process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _END_SECONDS)


@asynccontextmanager
async def worker(language: Language, address: str, order: Mapping[str, Any]) -> AsyncIterator[WorkerProcess]:
    """Start a worker and wait until it is ready; if it still runs at the end, it is asked to stop."""
    async with _started(language, "work", address) as (process, log):
        begun = WorkerProcess(process, log)
        await begun.begin(order)
        yield begun
        await begun.stop()


@asynccontextmanager
async def _started(
    language: Language, role: str, address: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    with _log_file(f"{language.name}-{role}") as log:
        process = await asyncio.create_subprocess_exec(
            *language.command,
            role,
            cwd=ROOT,
            env={**environment(), "LAYERON_JOB_ADDRESS": address},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=_LINE_BYTES_MAX,
        )
    try:
        yield process, Path(log.name)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _log_file(name: str) -> IO[bytes]:
    """A new file for a driver's stderr. There is a bounded number of them: later ones are written over older ones."""
    BUILD.mkdir(parents=True, exist_ok=True)
    return (BUILD / f"{name}-{next(_NUMBERS) % 100}.log").open("wb")


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return f"{log.relative_to(ROOT)} ends with {' | '.join(lines[-_LOG_LINES:])[-_LOG_CHARACTERS:]!r}"

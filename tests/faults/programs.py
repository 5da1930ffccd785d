"""Programs that the fault suite starts, keeps alive and may end: only ever its own children, by their process id."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .records import CRASH_EXIT, Life

_AGAIN_SECONDS = 0.3
# Longer than the 30 s after which a server gives up a statement whose connection died without a word.
_LAST_SECONDS = 45.0


class Program:
    """A program that is started again whenever it ends, unless it is held down."""

    def __init__(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.lives: list[Life] = []
        self.once: dict[str, str] = {}  # environment of the next start only
        self._command = [sys.executable, "-m", "faults.child", *map(str, command)]
        self._environment = dict(environment)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._began_ns = 0
        self._told = False
        self._hung = False
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return 0 if self._process is None else self._process.pid

    @property
    def present(self) -> list[Life]:
        """The life that goes on now, if one does."""
        return [Life(self.name, self.pid, self._began_ns, None, None, False)] if self.pid else []

    def start(self) -> None:
        """Start it, and keep it alive until `stop`."""
        self._keeping = asyncio.create_task(self._keep(), name=self.name)

    async def stop(self) -> None:
        """End it for good: in order, or by force if it hangs."""
        self.hold()
        self.tell(signal.SIGTERM)
        if not await self.ended(_LAST_SECONDS):
            self._hung = True
            self.tell(signal.SIGKILL)
            await self.ended(_LAST_SECONDS)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    def hold(self) -> None:
        """Once it has ended, it stays down."""
        self._may_run.clear()

    def release(self) -> None:
        """It may run again."""
        self._may_run.set()

    def tell(self, what: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._told = self._told or what in (signal.SIGKILL, signal.SIGTERM)
            with suppress(ProcessLookupError):  # it has ended, and `_keep` is about to see that
                self._process.send_signal(what)

    async def ended(self, seconds: float) -> bool:
        """Wait until the process that runs now has ended; False if it still runs after so many seconds."""
        pid, deadline = self.pid, time.monotonic() + seconds
        while self.pid == pid and pid and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return self.pid != pid or not pid

    async def _keep(self) -> None:
        while True:
            await self._may_run.wait()
            once, self.once = self.once, {}
            with self._log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *self._command, env={**self._environment, **once}, stdout=log, stderr=log
                )
            self._began_ns, self._told, self._process = time.monotonic_ns(), bool(once), process
            code = await process.wait()
            self._process = None
            told = self._told or code == CRASH_EXIT
            self.lives.append(Life(self.name, process.pid, self._began_ns, time.monotonic_ns(), code, told, self._hung))
            await asyncio.sleep(_AGAIN_SECONDS)


def with_children(pid: int) -> list[int]:
    """A process and its children, as far as this machine tells."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]

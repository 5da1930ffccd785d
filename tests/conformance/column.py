"""Plays all cases of one column, some of them at once."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import Final

from support.processes import free_port

from .cases import Case
from .languages import LANGUAGES
from .playing import Scene, Unlike, play
from .processes import Caller, DriverError, caller, worker
from .table import Column, Results

_SEATS: Final = 8
_CASE_SECONDS: Final = 180.0
_SHARED_WORKER: Final = {
    "concurrency": 100,
    "grace_ms": 1_000,
    "build_id": "shared",
    "tasks": [
        {"name": "work"},
        {"name": "quick", "retry": {"attempts": 3, "backoff": {"type": "fixed", "delay_ms": 50}, "jitter": 0}},
    ],
}


async def play_column(column: Column, results: Results, address: str) -> None:
    """Play every case that the column has, and put down what came of it.

    A caller's cases have a worker in Python, a worker's cases a caller in Python. Each case has a namespace of its own,
    but for those that share a worker.
    """
    async with AsyncExitStack() as stack:
        playing = _Playing(column, results, address)
        playing.reference = await stack.enter_async_context(caller(LANGUAGES["python"], address))
        if any(case.is_sharing for case in playing.waiting):
            order = {**_SHARED_WORKER, "namespace": playing.shared_namespace}
            await stack.enter_async_context(worker(playing.working, address, order))
        async with asyncio.TaskGroup() as group:
            for _ in range(_SEATS):
                group.create_task(playing.seat())


class _Playing:
    reference: Caller

    def __init__(self, column: Column, results: Results, address: str) -> None:
        self.calling = LANGUAGES[column.language if column.role == "caller" else "python"]
        self.working = LANGUAGES[column.language if column.role == "worker" else "python"]
        self.shared_namespace = f"shared-{secrets.token_hex(6)}"
        # Taken from the end: first those that are likely to take long.
        self.waiting = sorted(results.cells(column), key=lambda case: case.worker is not None or case.server == "away")
        self._column = column
        self._results = results
        self._address = address

    async def seat(self) -> None:
        """Play one case after the other with one caller, and with a new one after each that it may have broken."""
        while self.waiting:
            async with caller(self.calling, self._address) as own:
                while self.waiting and await self._cell(self.waiting.pop(), own):
                    pass

    async def _cell(self, case: Case, own: Caller) -> bool:
        """Play a case. Whether the caller can be used again."""
        problem, is_whole = "", True
        try:
            async with asyncio.timeout(_CASE_SECONDS), AsyncExitStack() as stack:
                if case.server:
                    away = f"127.0.0.1:{free_port()}"
                    addresses = away if case.server == "away" else f"{away},{self._address}"
                    own = await stack.enter_async_context(caller(self.calling, addresses))
                namespace = self.shared_namespace if case.is_sharing else f"case-{secrets.token_hex(6)}"
                await play(case, Scene(own, self.reference, self.working, self._address, namespace))
        except Unlike as unlike:
            problem = str(unlike)
        except TimeoutError:
            problem, is_whole = f"not done within {_CASE_SECONDS:g} s", False
        except Exception as error:  # noqa: BLE001  # whatever it is, this cell is red and the others are played
            problem, is_whole = str(error) if isinstance(error, DriverError) else repr(error), False
        self._results.of_cells[self._column, case.name] = problem
        return is_whole

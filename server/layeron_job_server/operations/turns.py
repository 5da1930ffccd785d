"""Keeps large work from holding up the rest: few at once, few that wait, and turns for everybody else in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, TypeVar

from layeron_job_server.domain.errors import Overloaded

Item = TypeVar("Item")

_RETRY_AFTER: Final = timedelta(milliseconds=250)
_TURN_BYTES: Final = 64 * 1024
_ITEM_BYTES: Final = 2 * 1024  # what an item costs besides its bytes, as if it were bytes


class Turns:
    """So many at work, and so many that wait for their turn."""

    def __init__(self, subject: str, *, at_work: int, waiting: int) -> None:
        self._subject = subject
        self._at_work = asyncio.Semaphore(at_work)
        self._room = at_work + waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Work while inside. Raises Overloaded at once when too many wait."""
        if self._room == 0:
            raise Overloaded(_RETRY_AFTER, self._subject)
        self._room -= 1
        try:
            async with self._at_work:
                yield
        finally:
            self._room += 1


async def in_turns(items: Iterable[Item], size: Callable[[Item], int]) -> AsyncIterator[Item]:
    """The items, with a turn of the event loop after every 64 KiB of them, or 32 small ones."""
    done = 0
    for item in items:
        yield item
        done += _ITEM_BYTES + size(item)
        if done >= _TURN_BYTES:
            await asyncio.sleep(0)
            done = 0

"""Running a worker's loops side by side, until one of them or something else ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any


async def done_before(stopped: asyncio.Task[bool], work: Sequence[asyncio.Task[None]]) -> bool:
    """Wait for the first of them: whether some work was done before we were stopped. Raises what it raised."""
    done, _ = await asyncio.wait([*work, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        task.result()
    return stopped not in done


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel all of them and wait until they have ended, whichever way."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

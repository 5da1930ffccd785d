"""Waiting for a condition with a bound, in place of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(look: Callable[[], Awaitable[T]], *, seconds: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(look: Callable[[], T], *, seconds: float = ..., every: float = ...) -> T: ...
async def eventually(look: Callable[[], Any], *, seconds: float = 10.0, every: float = 0.02) -> Any:
    """The first truthy answer of `look`, which may be async; AssertionError with the last answer after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        answer = await seen if inspect.isawaitable(seen) else seen
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        await asyncio.sleep(every)

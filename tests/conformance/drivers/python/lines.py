"""JSON, one object per line, on stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any


async def read() -> AsyncIterator[dict[str, Any]]:
    """The objects of stdin, until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


def say(told: dict[str, Any]) -> None:
    """Write one object."""
    print(json.dumps(told), flush=True)

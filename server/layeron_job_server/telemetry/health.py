"""Whether this server is ready: what it needs, as it was last seen.

Without the database nothing can be promised: unavailable. Without NATS runs are still taken, read and canceled, and
wait in the outbox until it is back: degraded, which is not dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from layeron_job_server.domain.errors import Overloaded

_LOOK_SECONDS: Final = 5.0

Status = Literal["ok", "degraded", "unavailable"]


@dataclass(frozen=True, slots=True)
class State:
    """What is there."""

    database: bool
    stream: bool

    @property
    def status(self) -> Status:
        """In one word."""
        if not self.database:
            return "unavailable"
        return "ok" if self.stream else "degraded"

    def told(self) -> dict[str, str]:
        """As /readyz tells it."""
        words = {True: "ok", False: "away"}
        return {"status": self.status, "database": words[self.database], "stream": words[self.stream]}


class Health:
    """`look` asks the database whether it can be written to; the stream is asked at every `state`."""

    def __init__(self, is_writable: Callable[[], Awaitable[bool]], is_connected: Callable[[], bool]) -> None:
        self._is_writable = is_writable
        self._is_connected = is_connected
        self._database = False

    async def look_once(self) -> None:
        """Ask the database. Whatever keeps it from answering means that it is away."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                self._database = await self._is_writable()
        except Overloaded:  # it is there, and busy
            self._database = True
        except Exception:  # noqa: BLE001 (whatever keeps us from it, it cannot be had)
            self._database = False

    def state(self) -> State:
        """What is there, by the last look."""
        return State(self._database, self._is_connected())

"""Which attempts run now: `concurrency` of them at once; further grants wait here, and not for long."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from layeron_job_worker.executor import Attempt

_PACE_SECONDS = 0.25


class Slots:
    """Begins attempts as slots become free and hands back what waited too long."""

    def __init__(self, concurrency: int, prefetch: int) -> None:
        self.concurrency = concurrency
        self.begin_within_seconds = 2.0
        self.running: set[Attempt] = set()
        self.on_free: Callable[[], None] = lambda: None
        self._prefetch = prefetch
        self._waiting: deque[Attempt] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._pace_from = 0.0
        self._ended_before = 0
        self._ended_now = 0

    @property
    def waiting(self) -> int:
        """How many grants wait for a slot."""
        return len(self._waiting)

    def admit(self, attempt: Attempt) -> None:
        """Begin it now, or when a slot is free; after `begin_within_seconds` without one it is handed back."""
        if len(self.running) < self.concurrency:
            self.running.add(attempt)
            attempt.begin()
            return
        attempt.begin_by = time.monotonic() + self.begin_within_seconds
        self._waiting.append(attempt)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.begin_within_seconds, self._hand_back_late)

    def release(self, attempt: Attempt) -> None:
        """A handler has returned."""
        self.running.discard(attempt)
        self._roll_pace()
        self._ended_now += 1
        while self._waiting and len(self.running) < self.concurrency:
            following = self._waiting.popleft()
            # It may have been canceled or abandoned while it waited.
            if following.outcome is None and not following.ended:
                self.running.add(following)
                following.begin()
        self.on_free()

    def credits(self) -> int:
        """How many more runs may be asked for: free slots, and a prefetch that is no more than what ends in a moment.

        The prefetch follows the pace, because a grant that waits behind long handlers would only be handed back.
        """
        self._roll_pace()
        prefetch = min(self._prefetch, max(self._ended_before, self._ended_now))
        return self.concurrency + prefetch - len(self.running) - len(self._waiting)

    def hand_back_waiting(self, error_type: str, message: str) -> None:
        """Report every grant that has not begun as interrupted."""
        while self._waiting:
            self._hand_back(self._waiting.popleft(), error_type, message)

    def _hand_back_late(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._waiting and self._waiting[0].begin_by <= now:
            self._hand_back(self._waiting.popleft(), "NotBegun", "no slot became free in time")
        if self._waiting:
            delay = self._waiting[0].begin_by - now
            self._timer = asyncio.get_running_loop().call_later(delay, self._hand_back_late)
        self.on_free()

    def _hand_back(self, attempt: Attempt, error_type: str, message: str) -> None:
        if attempt.outcome is None and not attempt.ended:
            attempt.never_began("interrupted", error_type, message)

    def _roll_pace(self) -> None:
        now = time.monotonic()
        passed = now - self._pace_from
        if passed >= _PACE_SECONDS:
            self._ended_before = self._ended_now if passed < 2 * _PACE_SECONDS else 0
            self._ended_now = 0
            self._pace_from = now

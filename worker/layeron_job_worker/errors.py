"""What a handler may raise to steer its run, and what a worker raises itself."""

from __future__ import annotations

from layeron_job.durations import Seconds, seconds
from layeron_job.retry import DELAY_SECONDS_MAX


class RetryAfter(Exception):
    """The attempt failed; try again after this delay instead of the policy's. The attempt counts as any other.

    `delay` is seconds or a timedelta, 0 to 30 days; anything else raises ValueError.
    """

    def __init__(self, delay: Seconds, message: str = "") -> None:
        self.delay_seconds = seconds(delay)
        if not 0 <= self.delay_seconds <= DELAY_SECONDS_MAX:
            raise ValueError(f"delay must be 0 to 30 days, not {self.delay_seconds} s")
        super().__init__(message or f"to be tried again after {self.delay_seconds:g} s")


class DoNotRetry(Exception):
    """The attempt failed and no further one would help: the run is dead-lettered at once."""


class WorkerError(Exception):
    """The worker cannot go on: the server refused its tasks or its connection."""

"""The worker's own metrics, with nothing but opentelemetry-api: whoever wants them sets up an SDK in the application.

layeron_job.worker.slots{state}    handlers that run (used) and that could (free)
layeron_job.worker.pull.age        seconds since NATS last answered a pull, or no slot was free to pull for
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, Protocol
from weakref import WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

SLOTS: Final = "layeron_job.worker.slots"
PULL_AGE: Final = "layeron_job.worker.pull.age"


class Watched(Protocol):
    """A worker, as its metrics see it. Asked from any thread."""

    @property
    def slots_used(self) -> int:
        """How many handlers run."""

    @property
    def slots_free(self) -> int:
        """How many more could."""

    @property
    def pulled_at(self) -> float:
        """When pulling last went well (monotonic)."""


# Of a process, because a meter has each instrument once, whatever number of workers there is.
_watched: Final[WeakSet[Watched]] = WeakSet()


def watch(worker: Watched) -> None:
    """Count this worker in for as long as it lives."""
    _watched.add(worker)


def _slots(_options: CallbackOptions) -> Iterable[Observation]:
    workers = list(_watched)
    if workers:
        yield Observation(sum(worker.slots_used for worker in workers), {"state": "used"})
        yield Observation(sum(worker.slots_free for worker in workers), {"state": "free"})


def _pull_age(_options: CallbackOptions) -> Iterable[Observation]:
    """The oldest one: one deaf worker among several is what matters."""
    workers = list(_watched)
    if workers:
        yield Observation(max(time.monotonic() - worker.pulled_at for worker in workers))


_METER: Final = metrics.get_meter("layeron_job_worker")
_METER.create_observable_gauge(SLOTS, [_slots], unit="{slot}", description="Slots of this process's workers")
_METER.create_observable_gauge(PULL_AGE, [_pull_age], unit="s", description="Seconds since pulling last went well")

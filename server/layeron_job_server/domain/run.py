"""The nouns of a run's life: statuses, reasons, and the part of a run that the state machine looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from .retry import RetryPolicy


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"  # due: a ring is owed or under way
    SCHEDULED = "scheduled"  # waits for its first due time
    RUNNING = "running"  # one attempt is open
    RETRYING = "retrying"  # an attempt failed, timed out or was lost; waits for the next due time
    SUCCEEDED = "succeeded"  # terminal: an attempt succeeded
    DEAD_LETTERED = "dead_lettered"  # terminal: given up, kept for people
    CANCELED = "canceled"  # terminal: canceled on request

    @property
    def is_terminal(self) -> bool:
        """Whether a run in this status never changes again."""
        return self in TERMINAL


WAITING = frozenset({RunStatus.QUEUED, RunStatus.SCHEDULED, RunStatus.RETRYING})
TERMINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.DEAD_LETTERED, RunStatus.CANCELED})


class AttemptStatus(StrEnum):
    """How an attempt stands or ended."""

    RUNNING = "running"  # open
    SUCCEEDED = "succeeded"  # the handler returned
    FAILED = "failed"  # the handler raised, or its result was invalid
    TIMED_OUT = "timed_out"  # it ran longer than its timeout
    CANCELED = "canceled"  # ended by a cancel
    LOST = "lost"  # its worker was not heard of for a lease
    INTERRUPTED = "interrupted"  # its worker shut down or handed it back; does not count


class Reason(StrEnum):
    """Why a run changed its status."""

    ENQUEUED = "ENQUEUED"
    REPLAYED = "REPLAYED"
    STARTED = "STARTED"
    SUCCEEDED = "SUCCEEDED"
    ATTEMPT_FAILED = "ATTEMPT_FAILED"
    ATTEMPT_TIMED_OUT = "ATTEMPT_TIMED_OUT"
    ATTEMPT_LOST = "ATTEMPT_LOST"
    ATTEMPT_INTERRUPTED = "ATTEMPT_INTERRUPTED"
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
    NON_RETRYABLE = "NON_RETRYABLE"
    MAX_ELAPSED = "MAX_ELAPSED"
    RESULT_INVALID = "RESULT_INVALID"
    START_DEADLINE_EXCEEDED = "START_DEADLINE_EXCEEDED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    CANCEL_IGNORED = "CANCEL_IGNORED"


@dataclass(frozen=True, slots=True)
class Run:
    """What the state machine knows of a run. `attempt` is the number of the last one opened, 0 before any."""

    run_id: UUID
    status: RunStatus
    attempt: int
    counted: int  # attempts the policy has seen: failed, timed out, lost
    interruptions: int  # interrupted attempts in a row
    seq: int  # of the last transition
    due_at: datetime
    start_by: datetime | None
    cancel_requested_at: datetime | None
    first_started_at: datetime | None
    policy: RetryPolicy

"""What can be wrong with a request, as exceptions. rpc/errors.py turns them into status codes.

Each message says what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request, and what is wrong with it."""

    field: str
    description: str


class JobError(Exception):
    """An answer other than success. `reason` is stable, for programs; the message is for people."""

    reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata = metadata


class InvalidRequest(JobError):
    """Fields of the request break a rule or a limit."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{violation.field} {violation.description}" for violation in violations))
        self.violations = tuple(violations)


class TaskNotRegistered(JobError):
    """A run was asked for of a task that nobody has registered."""

    reason = "TASK_NOT_REGISTERED"

    def __init__(self, namespace: str, task: str) -> None:
        super().__init__(
            f"task '{task}' is not registered in namespace '{namespace}': "
            "start a worker that has it, or call RegisterTasks",
            namespace=namespace,
            task=task,
        )


class TaskNotFound(JobError):
    """There is no task of this name."""

    reason = "TASK_NOT_FOUND"

    def __init__(self, namespace: str, task: str) -> None:
        super().__init__(f"there is no task '{task}' in namespace '{namespace}'", namespace=namespace, task=task)


class RunNotFound(JobError):
    """There is no run of this id in this namespace."""

    reason = "RUN_NOT_FOUND"

    def __init__(self, namespace: str, run_id: str) -> None:
        super().__init__(f"there is no run '{run_id}' in namespace '{namespace}'", namespace=namespace, run_id=run_id)


class IdempotencyKeyReused(JobError):
    """The key belongs to a run that was asked for differently."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"the idempotency key belongs to {run_id}, which was asked for with another payload or other options: "
            "use another key",
            run_id=run_id,
        )
        self.run_id = run_id


class RunIdReused(JobError):
    """The run id belongs to another request."""

    reason = "RUN_ID_REUSED"

    def __init__(self) -> None:
        super().__init__("the run id was used for another request: choose a new one")


class RunFinished(JobError):
    """A terminal run cannot be canceled."""

    reason = "RUN_ALREADY_FINISHED"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"{run_id} is {status} and never changes again", run_id=run_id, status=status)


class RunNotFinished(JobError):
    """Only a terminal run can be replayed."""

    reason = "RUN_NOT_FINISHED"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"{run_id} is {status}: wait until it is terminal, or cancel it first", run_id=run_id, status=status
        )


class PageTokenInvalid(JobError):
    """A page token does not belong to this request."""

    reason = "PAGE_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("the page token is not of this namespace and filter: begin again without one")


class WatchTokenExpired(JobError):
    """A watch cannot go on from this token."""

    reason = "WATCH_TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__(
            "the resume token is older than 24 hours: watch without one, and list the runs you may have missed"
        )


class FilterTooBroad(JobError):
    """A list takes too long."""

    reason = "FILTER_TOO_BROAD"

    def __init__(self) -> None:
        super().__init__("the list took longer than 2 s: add task, status, one label or a created range to the filter")


class Overloaded(JobError):
    """Too much waits already."""

    reason = "OVERLOADED"

    def __init__(self, retry_after: timedelta, subject: str) -> None:
        super().__init__(
            f"too much waits already ({subject}): try again after {retry_after.total_seconds():g} s",
            subject=subject,
        )
        self.retry_after = retry_after
        self.subject = subject


class DatabaseAway(JobError):
    """The database cannot be reached."""

    reason = "DATABASE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the database cannot be reached: try again; a chosen run id makes that safe")


class ShuttingDown(JobError):
    """This server takes nothing more."""

    reason = "SERVER_SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("this server is shutting down: try again, at another one or a little later")


class Unstorable(JobError):
    """The database refused this very data, although nothing was found wrong with it."""

    reason = "CANNOT_BE_STORED"

    def __init__(self, subject: str) -> None:
        super().__init__(f"the database refuses this data ({subject}); the server's log has more", subject=subject)


class PermissionDenied(JobError):
    """The policy does not allow this."""

    reason = "PERMISSION_DENIED"

    def __init__(self, action: str, namespace: str) -> None:
        super().__init__(f"not allowed: {action} in namespace '{namespace}'", action=action, namespace=namespace)


class IllegalTransition(Exception):
    """The state machine has no such move. Never reaches a caller: whoever asks checks first."""

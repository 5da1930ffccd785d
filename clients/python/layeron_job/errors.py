"""What a call may raise: a class for each reason the server gives, and JobError for reasons unknown to this client.

Every error has the gRPC status code, the server's reason and message, and what the server said about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from .models import BatchResult, Run

_DOMAIN: Final = "layeron.job"
_DETAILS: Final = "grpc-status-details-bin"


class JobError(Exception):
    """An answer other than success.

    code         the gRPC status code
    reason       stable, for programs, such as "TASK_NOT_REGISTERED"; "" if the server gave none
    message      for people
    metadata     what the reason is about, such as {"task": "send"}
    violations   (field, what is wrong with it)
    retry_after  when the server asks to be called again
    enqueued     of a batch that was not completed: the results so far, by the place of their items
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = list(violations)
        self.retry_after = retry_after
        self.enqueued: dict[int, BatchResult] = {}

    def __str__(self) -> str:
        return self.message


class InvalidRequest(JobError):
    """Fields of the request break a rule or a limit: see `violations`."""


class PageTokenInvalid(InvalidRequest):
    """The page token is not of this list."""


class TaskNotRegistered(JobError):
    """A run was asked for of a task that nobody has registered."""


class TaskNotFound(JobError):
    """There is no task of this name."""


class RunNotFound(JobError):
    """There is no run of this id in this namespace."""


class IdempotencyKeyReused(JobError):
    """The key belongs to a run that was asked for differently."""

    @property
    def run_id(self) -> str:
        """The run that the key belongs to."""
        return self.metadata.get("run_id", "")


class RunIdReused(JobError):
    """The run id was used for another request."""


class RunAlreadyFinished(JobError):
    """A terminal run cannot be canceled."""


class RunNotFinished(JobError):
    """Only a terminal run can be replayed."""


class FilterTooBroad(JobError):
    """The list takes the server too long: narrow the filter."""


class WatchTokenExpired(JobError):
    """The watch cannot go on from this token: begin without one, and list what may have been missed."""


class Overloaded(JobError):
    """Too much waits at the server already: try again after `retry_after`."""


class PermissionDenied(JobError):
    """The caller may not do this."""


class Unauthenticated(JobError):
    """The token is missing or not accepted."""


class Unavailable(JobError):
    """No server could be reached, or it cannot reach its database. It may or may not have done what was asked."""


class DeadlineExceeded(JobError):
    """No answer in time. The server may or may not have done what was asked."""


class InternalError(JobError):
    """A bug of the server."""

    @property
    def error_id(self) -> str:
        """What to search for in the server's log; "" if it is not the server that answered."""
        return self.metadata.get("error_id", "")


class WaitTimeout(TimeoutError):
    """`runs.wait` had waited its time, and the run is not terminal. `run` is how it stood then."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


REASONS: Final[Mapping[str, type[JobError]]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "CANNOT_BE_STORED": InvalidRequest,
    "PAGE_TOKEN_INVALID": PageTokenInvalid,
    "TASK_NOT_REGISTERED": TaskNotRegistered,
    "TASK_NOT_FOUND": TaskNotFound,
    "RUN_NOT_FOUND": RunNotFound,
    "IDEMPOTENCY_KEY_REUSED": IdempotencyKeyReused,
    "RUN_ID_REUSED": RunIdReused,
    "RUN_ALREADY_FINISHED": RunAlreadyFinished,
    "RUN_NOT_FINISHED": RunNotFinished,
    "FILTER_TOO_BROAD": FilterTooBroad,
    "WATCH_TOKEN_EXPIRED": WatchTokenExpired,
    "OVERLOADED": Overloaded,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
    "DATABASE_UNAVAILABLE": Unavailable,
    "SERVER_SHUTTING_DOWN": Unavailable,
    "INTERNAL": InternalError,
}
# For errors that gRPC or a proxy made, and for reasons that a newer server gives.
_CODES: Final[Mapping[grpc.StatusCode, type[JobError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # A cancel of the caller's own is no error of gRPC: this one was made by a server or a proxy that could not go on.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: InternalError,
}


def from_rpc(error: grpc.aio.AioRpcError, address: str) -> JobError:
    """The error of ours for one of gRPC's, from its google.rpc.Status if it has one."""
    info, bad, retry = _details(error)
    code, message = error.code(), error.details() or error.code().name
    kind = _CODES.get(code, JobError)
    ours = info.domain == _DOMAIN
    if ours:
        kind = REASONS.get(info.reason, kind)
    elif kind is Unavailable or kind is DeadlineExceeded:
        message = f"no answer from {address}: {message}"
    return kind(
        message,
        code=code,
        reason=info.reason if ours else "",
        metadata=info.metadata,
        violations=[(violation.field, violation.description) for violation in bad.field_violations],
        retry_after=retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
    )


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo]:
    """What came with the error; empty where nothing readable did."""
    found = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            with suppress(DecodeError):
                for detail in status_pb2.Status.FromString(value).details:
                    for message in found:
                        detail.Unpack(message)
    return found

"""What callers are told when something is wrong: one table from the domain's errors to status codes.

Every error is a google.rpc.Status with exactly one ErrorInfo, and with field violations, a delay or a resource where
they apply. An error that is not in the table is a bug of ours: it is logged under an id, and the caller is told the id.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Final

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from layeron_job_server.domain import errors

log = logging.getLogger(__name__)

DOMAIN: Final = "layeron.job"
_VIOLATIONS_MAX: Final = 20
_TEXT_MAX: Final = 1000

CODES: Final[Mapping[type[errors.JobError], int]] = {
    errors.InvalidRequest: code_pb2.INVALID_ARGUMENT,
    errors.PageTokenInvalid: code_pb2.INVALID_ARGUMENT,
    errors.Unstorable: code_pb2.INVALID_ARGUMENT,
    errors.TaskNotRegistered: code_pb2.FAILED_PRECONDITION,
    errors.TaskNotFound: code_pb2.NOT_FOUND,
    errors.RunNotFound: code_pb2.NOT_FOUND,
    errors.IdempotencyKeyReused: code_pb2.ALREADY_EXISTS,
    errors.RunIdReused: code_pb2.ALREADY_EXISTS,
    errors.RunFinished: code_pb2.FAILED_PRECONDITION,
    errors.RunNotFinished: code_pb2.FAILED_PRECONDITION,
    errors.WatchTokenExpired: code_pb2.FAILED_PRECONDITION,
    errors.FilterTooBroad: code_pb2.FAILED_PRECONDITION,
    errors.Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    errors.DatabaseAway: code_pb2.UNAVAILABLE,
    errors.ShuttingDown: code_pb2.UNAVAILABLE,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
}


def status_of(error: Exception) -> status_pb2.Status:
    """What a caller is told of an error."""
    if not isinstance(error, errors.JobError):
        return _bug(error)
    status = status_pb2.Status(code=CODES[type(error)], message=str(error)[:_TEXT_MAX])
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    _attach(status, info)
    match error:
        case errors.InvalidRequest():
            _attach(status, _bad_request(error))
        case errors.Overloaded():
            delay = duration_pb2.Duration()
            delay.FromTimedelta(error.retry_after)
            _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
        case errors.RunNotFound():
            _attach(status, error_details_pb2.ResourceInfo(resource_type="run", resource_name=error.metadata["run_id"]))
        case errors.TaskNotFound() | errors.TaskNotRegistered():
            _attach(status, error_details_pb2.ResourceInfo(resource_type="task", resource_name=error.metadata["task"]))
        case errors.PageTokenInvalid():
            _attach(status, _violations([("page_token", str(error))]))
    return status


def _bad_request(error: errors.InvalidRequest) -> error_details_pb2.BadRequest:
    shown = [(violation.field, violation.description) for violation in error.violations[:_VIOLATIONS_MAX]]
    more = len(error.violations) - len(shown)
    return _violations([*shown, *([("", f"and {more} more")] if more else [])])


def _violations(entries: list[tuple[str, str]]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description[:_TEXT_MAX])
            for field, description in entries
        ]
    )


def _bug(error: Exception) -> status_pb2.Status:
    error_id = secrets.token_hex(8)
    log.error("error %s", error_id, exc_info=error)
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error {error_id}; the server's log has more")
    _attach(status, error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id}))
    return status


def _attach(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)

"""What callers are told when something is wrong: one table from the domain's errors to status codes.

Every error is a google.rpc.Status with exactly one ErrorInfo, and with field violations, a delay or a resource where
they apply. An error that is not in the table is a bug of ours: it is logged under an id, and the caller is told the id.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from layeron_job_server.domain import errors

log = logging.getLogger(__name__)

DOMAIN: Final = "layeron.job"
# Clients refuse trailers of more than 8 KiB. All of an error is in them in base64, and its message once more in ASCII,
# where one byte may take three.
_MESSAGE_BYTES_MAX: Final = 600
_FIELD_BYTES_MAX: Final = 200
_DESCRIPTION_BYTES_MAX: Final = 400
_VIOLATIONS_BYTES_MAX: Final = 2_500
_METADATA_BYTES_MAX: Final = 255

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
    """What a caller is told of an error, in at most 8 KiB of trailers.

    The metadata's `field`, which says where in a batch the error arose, becomes a field violation.
    """
    if not isinstance(error, errors.JobError):
        return _bug(error)
    metadata = {key: _cut(value, _METADATA_BYTES_MAX) for key, value in error.metadata.items()}
    field, text = metadata.pop("field", ""), str(error)
    message = _cut(f"{field}: {text}" if field else text, _MESSAGE_BYTES_MAX)
    status = status_pb2.Status(code=CODES[type(error)], message=message)
    _attach(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if field:
        _attach(status, _bad_request([errors.FieldViolation(field, text)]))
    match error:
        case errors.InvalidRequest():
            _attach(status, _bad_request(error.violations))
        case errors.Overloaded():
            delay = duration_pb2.Duration()
            delay.FromTimedelta(error.retry_after)
            _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
        case errors.RunNotFound():
            _attach(status, error_details_pb2.ResourceInfo(resource_type="run", resource_name=metadata["run_id"]))
        case errors.TaskNotFound() | errors.TaskNotRegistered():
            _attach(status, error_details_pb2.ResourceInfo(resource_type="task", resource_name=metadata["task"]))
        case errors.PageTokenInvalid():
            _attach(status, _bad_request([errors.FieldViolation("page_token", text)]))
    return status


def _bad_request(violations: Sequence[errors.FieldViolation]) -> error_details_pb2.BadRequest:
    """As many of the violations as there is room for, and how many more there are."""
    told = error_details_pb2.BadRequest()
    for number, violation in enumerate(violations):
        field = _cut(violation.field, _FIELD_BYTES_MAX)
        told.field_violations.add(field=field, description=_cut(violation.description, _DESCRIPTION_BYTES_MAX))
        if told.ByteSize() > _VIOLATIONS_BYTES_MAX:
            told.field_violations[-1].Clear()
            told.field_violations[-1].description = f"and {len(violations) - number} more"
            break
    return told


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8."""
    encoded = text.encode(errors="replace")
    if len(encoded) > limit:
        encoded = encoded[: limit - 3].decode(errors="ignore").encode() + b"..."
    return encoded.decode()


def _bug(error: Exception) -> status_pb2.Status:
    error_id = secrets.token_hex(8)
    # Its message may quote the request: the log's format tells of it kind, SQLSTATE and places only.
    log.error("error %s", error_id, exc_info=error)
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error {error_id}; the server's log has more")
    _attach(status, error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id}))
    return status


def _attach(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)

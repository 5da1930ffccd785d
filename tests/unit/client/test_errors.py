"""Errors: each reason of the server has its class here, and nothing that the server said is lost."""

from __future__ import annotations

import pickle
from datetime import timedelta

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from layeron_job import InternalError, InvalidRequest, JobError, Overloaded, PageTokenInvalid, Unavailable
from layeron_job.errors import REASONS, from_rpc
from layeron_job_server.domain import errors as server_errors
from layeron_job_server.rpc.errors import CODES, status_of

KEY = "grpc-status-details-bin"


def as_rpc(status: status_pb2.Status, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata((KEY, status.SerializeToString())), details=status.message
    )


def told(error: Exception) -> JobError:
    """What the client makes of an error of the server."""
    status = status_of(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return from_rpc(as_rpc(status, code), "here:1")


def info(reason: str, domain: str) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return packed


def test_every_reason_of_the_server_has_a_class() -> None:
    assert set(REASONS) == {kind.reason for kind in CODES} | {"INTERNAL", "UNAUTHENTICATED"}
    assert all(issubclass(kind, JobError) for kind in REASONS.values())


def test_what_the_server_says_arrives() -> None:
    error = told(server_errors.TaskNotRegistered("default", "send"))
    assert type(error) is REASONS["TASK_NOT_REGISTERED"]
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TASK_NOT_REGISTERED")
    assert error.metadata == {"namespace": "default", "task": "send"}
    assert str(error) == error.message == str(server_errors.TaskNotRegistered("default", "send"))
    assert (error.violations, error.retry_after, error.enqueued) == ([], None, {})


def test_violations_retry_times_and_ids_arrive() -> None:
    bad = told(server_errors.InvalidRequest([server_errors.FieldViolation("task", "is required")]))
    assert isinstance(bad, InvalidRequest)
    assert bad.violations == [("task", "is required")]
    busy = told(server_errors.Overloaded(timedelta(milliseconds=250), "enqueue"))
    assert isinstance(busy, Overloaded)
    assert busy.retry_after == timedelta(milliseconds=250)
    reused = told(server_errors.IdempotencyKeyReused("run_1"))
    assert reused.run_id == "run_1"  # type: ignore[attr-defined] # the class of this reason has it
    assert isinstance(told(server_errors.PageTokenInvalid()), PageTokenInvalid)
    assert isinstance(told(server_errors.PageTokenInvalid()), InvalidRequest)


def test_a_bug_of_the_server_has_an_id_to_search_for() -> None:
    error = told(ZeroDivisionError("secret"))
    assert isinstance(error, InternalError)
    assert error.error_id
    assert error.error_id in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.INTERNAL, InternalError),
        (grpc.StatusCode.ABORTED, JobError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, JobError),
    ],
)
def test_a_reason_of_a_newer_server_is_told_by_its_code(code: grpc.StatusCode, kind: type[JobError]) -> None:
    status = status_pb2.Status(message="new", details=[info("BRAND_NEW", "layeron.job")])
    error = from_rpc(as_rpc(status, code), "here:1")
    assert type(error) is kind
    assert (error.code, error.reason, str(error)) == (code, "BRAND_NEW", "new")


def test_an_error_of_somebody_else_is_told_by_its_code_alone() -> None:
    status = status_pb2.Status(message="quota", details=[info("OVERLOADED", "proxy.example.com")])
    error = from_rpc(as_rpc(status, grpc.StatusCode.RESOURCE_EXHAUSTED), "here:1")
    assert (type(error), error.reason) == (JobError, "")


@pytest.mark.parametrize(
    "raw", [b"\xff\xff", status_pb2.Status(details=[any_pb2.Any(value=b"\xff")]).SerializeToString()]
)
def test_details_that_cannot_be_read_do_not_hide_the_error(raw: bytes) -> None:
    error = from_rpc(
        grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata((KEY, raw)), details="gone"
        ),
        "here:1",
    )
    assert isinstance(error, Unavailable)
    assert str(error) == "no answer from here:1: gone"


def test_an_error_survives_the_way_to_another_process() -> None:
    error = told(server_errors.IdempotencyKeyReused("run_1"))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)

"""Errors: whatever is wrong, and however much of it, they fit into the 8 KiB of trailers that gRPC's clients take."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import task_pb2
from layeron_job_server.domain import errors
from layeron_job_server.domain.errors import FieldViolation, InvalidRequest
from layeron_job_server.rpc.errors import CODES, status_of
from support.calls import Jobs
from support.errors import read_error

TRAILERS_BYTES_MAX = 8 * 1024
HEADER_BYTES = 32  # what HTTP/2 counts for each header besides its name and value
LONG = "\U0001f600" * 10_000


def trailer_bytes(error: Exception) -> int:
    """What the trailers of an error come to, with their usual company."""
    status = status_of(error)
    trailers = {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": str(status.code),
        "grpc-message": quote(status.message),
        "grpc-status-details-bin": base64.b64encode(status.SerializeToString()).decode(),
    }
    return sum(len(name) + len(value) + HEADER_BYTES for name, value in trailers.items())


def violations(number: int, text: str) -> InvalidRequest:
    return InvalidRequest([FieldViolation(f"items[{place}].{text}", text) for place in range(number)])


@pytest.mark.parametrize(
    "error",
    [
        violations(1, LONG),
        violations(1_000, "x" * 100),
        violations(1_000, LONG[:50]),
        violations(3, "\ud800" * 5_000),
        errors.TaskNotRegistered(LONG, LONG),
        errors.TaskNotFound(LONG, LONG),
        errors.RunNotFound(LONG, LONG),
        errors.RunFinished(LONG, LONG),
        errors.PermissionDenied(LONG, LONG),
        errors.Overloaded(timedelta(seconds=1), LONG),
        errors.Unstorable(LONG),
        ValueError(LONG),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_fits_into_its_trailers(error: Exception) -> None:
    assert trailer_bytes(error) < TRAILERS_BYTES_MAX


def test_of_many_violations_the_first_are_told_and_the_others_counted() -> None:
    bad = error_details_pb2.BadRequest()
    assert status_of(violations(1_000, "x" * 30)).details[1].Unpack(bad)
    *told, rest = bad.field_violations
    assert [violation.field for violation in told] == [f"items[{place}].{'x' * 30}" for place in range(len(told))]
    assert len(told) > 20
    assert (rest.field, rest.description) == ("", f"and {1_000 - len(told)} more")


def test_few_violations_are_told_as_they_are() -> None:
    bad = error_details_pb2.BadRequest()
    status = status_of(violations(5, "ü"))
    assert status.details[1].Unpack(bad)
    assert [(one.field, one.description) for one in bad.field_violations] == [(f"items[{n}].ü", "ü") for n in range(5)]
    assert status.message == "; ".join(f"items[{n}].ü ü" for n in range(5))


def test_what_is_cut_is_cut_between_characters_and_says_so() -> None:
    message = status_of(violations(1, LONG)).message
    assert message.removesuffix("...").removeprefix("items[0].").strip("\U0001f600") == ""
    assert message.endswith("...")


async def test_a_caller_is_told_of_a_batch_in_which_everything_is_wrong(jobs: Jobs) -> None:
    """Over a real connection, which would refuse trailers that are too large."""
    item = pb.EnqueueRequest(
        task="ü" * 60,
        name="ü" * 300,
        labels={"ü" * 60: "ü" * 300},
        payload_json="ü".encode() * 300,
        retry=task_pb2.RetryPolicy(max_attempts=-1, non_retryable_types=["ü" * 300] * 40),
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[item] * 140))
    answer = read_error(caught.value)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert "items[0].task" in answer.fields


def test_every_reason_that_a_caller_may_be_given_is_in_the_contract() -> None:
    """In the one list of them, at its code."""
    contract = (Path(__file__).parents[2] / "proto/layeron/job/v1/job_service.proto").read_text()
    documented = re.sub(
        r"\n//  *", " ", contract[contract.index("The reasons of ErrorInfo") : contract.index("\nservice ")]
    )
    reasons = {"INTERNAL": code_pb2.INTERNAL, **{kind.reason: code for kind, code in CODES.items()}}
    for reason, code in reasons.items():
        [line] = [line for line in documented.split(" - ") if line.startswith(f"{code_pb2.Code.Name(code)}: ")]
        assert re.search(rf"\b{reason}\b", line.partition(": ")[2]), reason

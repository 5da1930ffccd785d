"""What a call was refused with, in a form that a test can compare."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True, slots=True)
class Refused:
    """A google.rpc.Status: its code's name, the reason and metadata of its one ErrorInfo, and its field violations."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    fields: dict[str, str]
    retry_seconds: float | None


async def refused(call: Awaitable[object]) -> Refused:
    """The error of a call, which must be one, and must have the form that every error of ours has."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_error(caught.value)


def read_error(error: grpc.aio.AioRpcError) -> Refused:
    """The error of ours in an error of gRPC."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert isinstance(raw, bytes), f"{error.code()} {error.details()} has no details"
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = error_details_pb2.ErrorInfo()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1, "an error has exactly one ErrorInfo"
    assert info.domain == "layeron.job"
    bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    fields: dict[str, str] = {}
    retry_seconds = None
    for detail in status.details:
        if detail.Unpack(bad):
            fields.update({violation.field: violation.description for violation in bad.field_violations})
        elif detail.Unpack(retry):
            retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return Refused(error.code().name, info.reason, status.message, dict(info.metadata), fields, retry_seconds)

"""Answers every error of our RPCs by the table in rpc/errors.py, also a message that cannot be decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from layeron_job_server.domain.errors import FieldViolation, InvalidRequest
from layeron_job_server.rpc.errors import status_of

OURS: Final = "/layeron.job."

Context = grpc.aio.ServicerContext[Any, Any]
Behavior = Callable[[Any, Context], Awaitable[Any]]


class _Undecodable:
    """Stands for a message whose bytes are no message of its type."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps our handlers, which are all coroutines; those of health and reflection are left alone."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, with its errors answered; None if there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OURS):
            return handler
        changes: dict[str, Any] = {"request_deserializer": _tolerant(handler.request_deserializer)}
        if handler.unary_unary is not None:
            changes["unary_unary"] = _answering(handler.unary_unary)
        elif handler.unary_stream is not None:
            changes["unary_stream"] = _answering(handler.unary_stream)
        else:
            changes["stream_stream"] = _answering(_decoding(handler.stream_stream))
        return handler._replace(**changes)


def _tolerant(deserializer: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def deserialize(raw: bytes) -> Any:
        try:
            return deserializer(raw)
        except DecodeError:
            return _Undecodable()

    return deserialize


def _answering(behavior: Behavior) -> Behavior:
    async def answered(request: Any, context: Context) -> Any:
        try:
            if isinstance(request, _Undecodable):
                raise _not_decoded()
            return await behavior(request, context)
        except (grpc.aio.AbortError, grpc.aio.BaseError):
            raise
        except Exception as error:  # noqa: BLE001 (what is not in the table is a bug: it is logged and answered)
            await _abort(context, error)

    return answered


def _decoding(behavior: Behavior) -> Behavior:
    async def decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if isinstance(request, _Undecodable):
                raise _not_decoded()
            yield request

    def behave(requests: Any, context: Context) -> Awaitable[Any]:
        return behavior(decoded(requests), context)

    return behave


def _not_decoded() -> InvalidRequest:
    return InvalidRequest(
        [FieldViolation("request", "cannot be decoded: it is no message of this type, or a string in it is not UTF-8")]
    )


async def _abort(context: Context, error: Exception) -> NoReturn:
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort raises")

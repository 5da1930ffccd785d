"""Measures every RPC of ours, and gives unary ones a span: the outermost interceptor, so that refusals count too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import grpc
from opentelemetry.trace import Span, StatusCode

from layeron_job.tracing import ERROR_TYPE, RPC_STATUS_CODE, remote
from layeron_job_server.telemetry import Telemetry

from .errors import OURS

# By the semantic conventions: any method may be asked for, and labels must stay few.
_OTHER: Final = "_OTHER"
# It waits for somebody else, so its length says nothing.
_WAITS: Final = "/WaitRun"
# The server's own faults; the rest are answers.
_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"},
)
_CODES: Final[dict[object, str]] = {
    **{code: code.name for code in grpc.StatusCode},
    **{code.value[0]: code.name for code in grpc.StatusCode},
}

Context = grpc.aio.ServicerContext[Any, Any]
Behavior = Callable[[Any, Context], Awaitable[Any]]


class TelemetryInterceptor(grpc.aio.ServerInterceptor):
    """`services`: full names of the services and their methods, which become labels."""

    def __init__(self, telemetry: Telemetry, methods: Iterable[str]) -> None:
        self._metrics = telemetry.metrics
        self._tracing = telemetry.tracing
        self._methods = frozenset(methods)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, measured; None if there is no such method."""
        handler = await continuation(handler_call_details)
        name: str = handler_call_details.method
        if handler is None or not name.startswith(OURS):
            return handler
        method = name[1:] if name[1:] in self._methods else _OTHER
        if handler.unary_unary is not None:
            behavior = handler.unary_unary
            if self._tracing.is_on and not method.endswith(_WAITS):
                behavior = self._traced(behavior, method)
            return handler._replace(unary_unary=self._measured(behavior, method))
        if handler.unary_stream is not None:
            return handler._replace(unary_stream=self._measured(handler.unary_stream, method))
        return handler._replace(stream_stream=self._measured(handler.stream_stream, method))

    def _measured(self, behavior: Behavior, method: str) -> Behavior:
        async def measured(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            code = "OK"
            try:
                return await behavior(request, context)
            except BaseException as error:
                code = _code_of(error, context)
                raise
            finally:
                self._metrics.rpc(method, code, time.perf_counter() - began)

        return measured

    def _traced(self, behavior: Behavior, method: str) -> Behavior:
        async def traced(request: Any, context: Context) -> Any:
            carrier = {key: str(value) for key, value in context.invocation_metadata() or ()}
            parent = remote(carrier)
            if parent is not None and not parent.trace_flags.sampled:
                return await behavior(request, context)  # its caller has decided, for all of the trace
            with self._tracing.rpc(method, parent) as span:
                try:
                    answer = await behavior(request, context)
                except BaseException as error:
                    _mark(span, _code_of(error, context))
                    raise
                _mark(span, "OK")
                return answer

        return traced


def _code_of(error: BaseException, context: Context) -> str:
    """The status code that the caller is told."""
    if isinstance(error, grpc.aio.AbortError):
        return _CODES.get(context.code(), "UNKNOWN")
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "UNKNOWN"


def _mark(span: Span, code: str) -> None:
    span.set_attribute(RPC_STATUS_CODE, code)
    if code in _FAULTS:
        span.set_attribute(ERROR_TYPE, code)
        span.set_status(StatusCode.ERROR)

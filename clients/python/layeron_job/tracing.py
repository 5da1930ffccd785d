"""Trace context and the spans of calls, with nothing but opentelemetry-api: the SDK, if any, is the application's.

Attribute names follow the semantic conventions of OpenTelemetry for RPC (release candidate) and messaging (in
development) as of November 2026; worker and server take them from here too. Without an SDK a call costs one look at
which provider there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceFlags, TraceState

from .errors import JobError

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_BATCH: Final = "messaging.batch.message_count"
MESSAGE_ID: Final = "messaging.message.id"
NAMESPACE: Final = "layeron.job.namespace"
TASK: Final = "layeron.job.task"
RUN_ID: Final = "layeron.job.run.id"
ATTEMPT: Final = "layeron.job.attempt.number"
ATTEMPTS_MAX: Final = "layeron.job.attempt.max"
OUTCOME: Final = "layeron.job.attempt.outcome"
ORIGIN: Final = "layeron.job.run.origin"

SERVICE: Final = "layeron.job.v1.JobService"
_NO_SDK: Final = (ProxyTracerProvider, NoOpTracerProvider)
_TRACER: Final = trace.get_tracer("layeron_job")
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
_BAGGAGE: Final = W3CBaggagePropagator()


def is_traced() -> bool:
    """Whether the application has set up a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), _NO_SDK)


def current() -> dict[str, str]:
    """W3C trace context of the span that is current here: traceparent, tracestate, baggage. Empty without one."""
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        _TRACE_CONTEXT.inject(carrier)
        _BAGGAGE.inject(carrier)
    return carrier


def traceparent_of(span: SpanContext) -> str:
    """The W3C header of a span."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def remote(carrier: Mapping[str, str]) -> SpanContext | None:
    """The span that a W3C trace context names; None if there is none, or it is malformed."""
    header = carrier.get("traceparent", "")
    parts = header.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or parts[0] == "ff":
        return None
    try:
        trace_id, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except ValueError:
        return None
    state = TraceState.from_header([carrier["tracestate"]]) if carrier.get("tracestate") else None
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1), trace_state=state)
    return found if found.is_valid else None


@contextmanager
def call(method: str) -> Iterator[Span]:
    """The CLIENT span of one call of JobService, all its tries together."""
    if not is_traced():
        yield trace.INVALID_SPAN
        return
    name = f"{SERVICE}/{method}"
    attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: name}
    with _TRACER.start_as_current_span(
        name, kind=SpanKind.CLIENT, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            code = error.code.name if isinstance(error, JobError) and error.code is not None else ""
            _set_error(span, code or type(error).__name__, code)
            raise
        span.set_attribute(RPC_STATUS_CODE, "OK")


def _set_error(span: Span, error_type: str, code: str) -> None:
    """Of an error only its kind: its message may name what the caller sent."""
    span.set_attribute(ERROR_TYPE, error_type)
    if code:
        span.set_attribute(RPC_STATUS_CODE, code)
    span.set_status(StatusCode.ERROR)

"""Trace context and the spans of calls, with nothing but opentelemetry-api: the SDK, if any, is the application's.

Attribute names follow the semantic conventions of OpenTelemetry for RPC (release candidate) and messaging (in
development) as of November 2026; worker and server take them from here too. Without an SDK a call costs one look at
which provider there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
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
NAMESPACE: Final = "layeron.job.namespace"
RUN_ID: Final = "layeron.job.run.id"
ATTEMPT: Final = "layeron.job.attempt.number"
OUTCOME: Final = "layeron.job.attempt.outcome"
ORIGIN: Final = "layeron.job.run.origin"

SERVICE: Final = "layeron.job.v1.JobService"
_NO_SDK: Final = (ProxyTracerProvider, NoOpTracerProvider)
_TRACER: Final = trace.get_tracer("layeron_job")
# Of later versions the beginning, which stays the same.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-|\Z)")
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
    return _parsed(carrier.get("traceparent", ""), carrier.get("tracestate", ""))


# All runs of a batch, and their attempts, name the same span.
@lru_cache(maxsize=1024)
def _parsed(header: str, state: str) -> SpanContext | None:
    if _TRACEPARENT.match(header) is None or header.startswith("ff"):
        return None
    found = SpanContext(
        int(header[3:35], 16),
        int(header[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(header[53:55], 16) & TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]) if state else None,
    )
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

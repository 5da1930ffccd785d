"""The span of an attempt, with nothing but opentelemetry-api: the SDK, if any, is the application's.

The first attempt of a run is a child of its enqueue. Later attempts, and the attempts of replays, begin traces of their
own with a link to it: they may come days later. What its caller did not sample is not sampled here either, whatever the
sampler; it only stays current, so that others see the same. Without an SDK an attempt costs one look at which provider
there is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode

from layeron_job import tracing as names
from layeron_job.tracing import is_traced, remote, traceparent_of

if TYPE_CHECKING:
    from layeron_job_worker.context import Context
    from layeron_job_worker.outcome import Outcome

_TRACER: Final = trace.get_tracer("layeron_job_worker")
_ROOT: Final = contexts.Context()
_BAGGAGE: Final = W3CBaggagePropagator()


def begin(context: Context) -> Span | None:
    """Start the CONSUMER span of an attempt; None without an SDK. `make_current` is for the handler's own task."""
    if not is_traced():
        return None
    carrier = context.trace_context
    enqueued = _Enqueued.of(carrier["traceparent"], carrier.get("tracestate", "")) if "traceparent" in carrier else None
    parent, links = _ROOT, list[Link]()
    if enqueued is not None:
        if not enqueued.span_context.trace_flags.sampled:
            return enqueued.span  # as it is: a sampler would cost as much as all else here
        if context.attempt == 1 and context.origin != "replay":
            parent = enqueued.within
        else:
            links.append(Link(enqueued.span_context))
    # Each attribute costs the exporter 2 µs. They are given at the start, which is cheaper and where samplers see them.
    attributes: dict[str, str | int] = {
        names.MESSAGING_SYSTEM: "nats",
        names.MESSAGING_OPERATION: "process",
        names.MESSAGING_DESTINATION: context.task,
        names.RUN_ID: context.run_id,
        names.ATTEMPT: context.attempt,
    }
    if context.namespace != "default":
        attributes[names.NAMESPACE] = context.namespace
    if context.origin != "enqueue":
        attributes[names.ORIGIN] = context.origin
    return _TRACER.start_span(f"process {context.task}", parent, SpanKind.CONSUMER, attributes, links)


class _Enqueued(NamedTuple):
    """The span that a run was enqueued in: as context, as span, and as what is current within it."""

    span_context: SpanContext
    span: NonRecordingSpan
    within: contexts.Context

    @staticmethod
    @lru_cache(maxsize=1024)  # all runs of a batch, and their attempts, name the same span
    def of(traceparent: str, tracestate: str) -> _Enqueued | None:
        """By the headers; None if they are malformed."""
        found = remote({"traceparent": traceparent, "tracestate": tracestate})
        if found is None:
            return None
        span = NonRecordingSpan(found)
        return _Enqueued(found, span, trace.set_span_in_context(span, _ROOT))


def make_current(span: Span, context: Context) -> None:
    """Make the span, and the caller's baggage, current for the rest of this task or copied context."""
    here = trace.set_span_in_context(span)
    if "baggage" in context.trace_context:
        here = _BAGGAGE.extract(context.trace_context, here)
    contexts.attach(here)


def end(span: Span, outcome: Outcome) -> str:
    """End the span and answer its traceparent, "" if it is not recorded.

    Of an error only its type is told: its message may quote the payload.
    """
    traceparent = ""
    if span.is_recording():
        traceparent = traceparent_of(span.get_span_context())
        if outcome.kind != "succeeded":
            span.set_attribute(names.OUTCOME, outcome.kind)
        if outcome.error_type:
            span.set_attribute(names.ERROR_TYPE, outcome.error_type)
        if outcome.kind in ("failed", "timed_out"):
            span.set_status(StatusCode.ERROR)
    span.end()
    return traceparent

"""The server's spans: one for each unary RPC, one for each batch of rings and of finishes that has a sampled trace.

Nothing is made unless the standard variables of OpenTelemetry name an OTLP endpoint. Batched work is one span with a
link to each trace it is about, 128 of them at most. About a single one it is a child of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer

from layeron_job import tracing as conventions
from layeron_job.tracing import remote

from .metrics import is_exported
from .names import SCOPE

_LINKS_MAX: Final = 128
_MESSAGING: Final = {conventions.MESSAGING_SYSTEM: "nats"}


class Tracing:
    """One server's spans. `close` sends what is not yet sent."""

    def __init__(self, resource: Resource) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer = trace.NoOpTracer()
        if is_exported("TRACES"):
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer = self._provider.get_tracer(SCOPE)

    @property
    def is_on(self) -> bool:
        """Whether spans are made at all."""
        return self._provider is not None

    def rpc(self, method: str, parent: SpanContext | None) -> AbstractContextManager[Span]:
        """The SERVER span of an RPC, current inside."""
        return self._tracer.start_as_current_span(
            method,
            context=_within(parent),
            kind=SpanKind.SERVER,
            attributes={conventions.RPC_SYSTEM: "grpc", conventions.RPC_METHOD: method},
            record_exception=False,
            set_status_on_exception=False,
        )

    def send(self, queue: str, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """The PRODUCER span of rings that are published, by the trace contexts of their runs."""
        return self._batch("send", queue, SpanKind.PRODUCER, traceparents)

    def finish(self, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """The span of recording how attempts ended, by the trace contexts of those attempts."""
        return self._batch("finish", "", SpanKind.INTERNAL, traceparents)

    def close(self) -> None:
        """Send what is not yet sent."""
        if self._provider is not None:
            self._provider.shutdown()

    def _batch(
        self, operation: str, destination: str, kind: SpanKind, traceparents: Sequence[str]
    ) -> AbstractContextManager[object]:
        if self._provider is None or not traceparents:
            return nullcontext()
        about = list(islice(_sampled(traceparents), _LINKS_MAX))
        if not about:
            return nullcontext()
        attributes: dict[str, str | int] = {}
        if kind is SpanKind.PRODUCER:
            attributes = {
                **_MESSAGING,
                conventions.MESSAGING_OPERATION: operation,
                conventions.MESSAGING_OPERATION_TYPE: operation,
                conventions.MESSAGING_DESTINATION: destination,
            }
        if len(traceparents) > 1:
            attributes[conventions.MESSAGING_BATCH] = len(traceparents)
        span = self._tracer.start_span(
            f"{operation} {destination}".strip(),
            context=_within(about[0] if len(about) == 1 else None),
            kind=kind,
            attributes=attributes,
            links=[Link(one) for one in about] if len(about) > 1 else (),
        )
        return _ended(span)


@contextmanager
def _ended(span: Span) -> Iterator[None]:
    """End it at the end, with the kind of the error if there is one."""
    try:
        yield
    except BaseException as error:
        span.set_attribute(conventions.ERROR_TYPE, type(error).__name__)
        span.set_status(trace.StatusCode.ERROR)
        raise
    finally:
        span.end()


def _within(parent: SpanContext | None) -> Context:
    """A context of its own, with this parent or none: never what happens to be current."""
    root = Context()
    return root if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), root)


def _sampled(traceparents: Sequence[str]) -> Iterator[SpanContext]:
    """The spans that these name, each once, if they are sampled."""
    for traceparent in dict.fromkeys(traceparents):
        found = remote({"traceparent": traceparent})
        if found is not None and found.trace_flags.sampled:
            yield found

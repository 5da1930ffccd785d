"""What is taken from a W3C trace context, and what of it reaches a handler."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.tracing import current, remote, traceparent_of
from layeron_job_worker import tracing
from layeron_job_worker.context import Context

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def test_a_traceparent_is_read_and_written_the_same() -> None:
    span = remote({"traceparent": PARENT, "tracestate": "vendor=1"})
    assert span is not None
    assert traceparent_of(span) == PARENT
    assert span.trace_state.get("vendor") == "1"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-1",
        f"ff-{'a' * 32}-{'b' * 16}-01",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"00-{'A' * 32}-{'b' * 16}-01",
        f"00-{'a_' * 16}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'b' * 16}-01\r\nx: y",
    ],
)
def test_what_is_no_traceparent_names_no_span(header: str) -> None:
    assert remote({"traceparent": header}) is None


def test_a_later_version_is_read_by_its_beginning() -> None:
    assert remote({"traceparent": f"01-{'a' * 32}-{'b' * 16}-01-more"}) is not None


def test_without_a_current_span_nothing_is_sent() -> None:
    assert current() == {}


def test_without_an_sdk_an_attempt_has_no_span() -> None:
    assert tracing.begin(_context({"traceparent": PARENT})) is None


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("carrier", [{}, {"traceparent": "00-1"}, {"traceparent": PARENT, "tracestate": "vendor=1"}])
def test_whatever_the_trace_context_says_an_attempt_begins(
    monkeypatch: pytest.MonkeyPatch, carrier: dict[str, str], attempt: int
) -> None:
    monkeypatch.setattr(tracing, "is_traced", lambda: True)
    monkeypatch.setattr(tracing, "_TRACER", TracerProvider(shutdown_on_exit=False).get_tracer("test"))
    span = tracing.begin(_context(carrier, attempt))
    assert span is not None
    assert span.is_recording()
    assert (span.get_span_context().trace_id == int("a" * 32, 16)) == (len(carrier) == 2 and attempt == 1)


async def test_the_baggage_of_the_caller_is_that_of_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "is_traced", lambda: True)
    context = _context({"traceparent": PARENT, "baggage": "tenant=ada"})
    span = tracing.begin(context)
    assert span is not None
    tracing.make_current(span, context)
    assert trace.get_current_span() is span
    assert baggage.get_baggage("tenant") == "ada"


def _context(carrier: dict[str, str], attempt: int = 1) -> Context:
    return Context(pb.Grant(run_id="run_1", attempt=attempt, task="work", trace_context=carrier), "default")

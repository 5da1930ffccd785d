"""The worker process of the benchmark as an application: with an SDK if the environment says where to export."""

from __future__ import annotations

import os

import uvloop

from layeron_job_worker import program

from .worker import worker


def _set_up_tracing() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _set_up_tracing()
    program.settle_memory()  # as Worker.main does
    uvloop.run(worker.run())

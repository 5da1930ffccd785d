"""An application with an SDK of its own: `python -m support.traced worker|caller`, told by the standard variables.

The worker has "flaky", which fails at its first attempt, and "steady", which logs a line through its context; its
metrics are at TRACED_METRICS_PORT. The caller enqueues one flaky run inside of a span "caller" and prints its id.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import start_http_server

from layeron_job import Client
from layeron_job_worker import Context, Retry, Worker

METRICS_PORT = "TRACED_METRICS_PORT"


class FirstTimeError(Exception):
    """What the flaky handler raises."""


def _worker() -> Worker:
    worker = Worker(concurrency=4, grace=2)

    @worker.task("flaky", retry=Retry(attempts=3, backoff=0, jitter=0))
    async def flaky(payload: Any, ctx: Context) -> dict[str, Any]:
        if ctx.attempt == 1 and payload != "well":
            raise FirstTimeError("not yet")
        span = trace.get_current_span().get_span_context()
        return {"span_id": f"{span.span_id:016x}"}

    @worker.task("steady")
    async def steady(_payload: Any, ctx: Context) -> None:
        ctx.log.info("steady as she goes")

    return worker


async def _call() -> None:
    async with Client() as jobs:
        with trace.get_tracer("caller").start_as_current_span("caller"):
            enqueued = await jobs.enqueue("flaky", {"n": 1})
        print(enqueued.run_id, flush=True)


def main(role: str) -> None:
    """Set the SDK up as any application does."""
    provider = TracerProvider()
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    if port := os.environ.get(METRICS_PORT):
        metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
        start_http_server(int(port), "127.0.0.1")
    logging.basicConfig(level=logging.INFO)
    if role == "worker":
        asyncio.run(_worker().run())
    else:
        asyncio.run(_call())
    provider.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])

"""A real OTLP receiver: the protocol's own gRPC service, which keeps the spans it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it came over the wire; ids in hex, `parent` "" for a root."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    attributes: Mapping[str, Any]
    is_error: bool


class Receiver(services.TraceServiceServicer):
    """Everything that was exported to `endpoint`."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Received] = []

    async def Export(self, request: pb.ExportTraceServiceRequest, context: Any) -> pb.ExportTraceServiceResponse:
        """Keep what was sent."""
        for of_resource in request.resource_spans:
            service = _plain(of_resource.resource.attributes)["service.name"]
            self.spans += [_received(service, span) for scope in of_resource.scope_spans for span in scope.spans]
        return pb.ExportTraceServiceResponse()

    def named(self, name: str, **attributes: Any) -> list[Received]:
        """The spans of a name that have these attributes, their dots written as two underscores."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= span.attributes.items()]

    def environment(self, service: str) -> dict[str, str]:
        """What makes a program with an SDK send its spans here, soon and all of them."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": service,
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Receive until the end."""
    received = Receiver()
    server = grpc.aio.server()
    services.add_TraceServiceServicer_to_server(received, server)
    received.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield received
    finally:
        await server.stop(0.5)


def _received(service: str, span: trace_pb2.Span) -> Received:
    return Received(
        service,
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        _plain(span.attributes),
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")

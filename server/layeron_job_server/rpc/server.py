"""The gRPC server: our services, health for each of them, and reflection in both its versions."""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from layeron.job.v1 import (
    job_service_pb2,
    job_service_pb2_grpc,
    task_service_pb2,
    task_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

from .interceptors.errors import ErrorInterceptor
from .job_service import JobServicer
from .task_service import TaskServicer
from .worker_service import WorkerServicer

SERVICES: Final = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (job_service_pb2, "JobService"),
        (task_service_pb2, "TaskService"),
        (worker_service_pb2, "WorkerService"),
    )
)
_REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"
# Above what we accept, so that a request that is too large gets our answer, which names the limit, and not gRPC's.
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
    # Streams are long and may be silent: find those whose peer is gone, and let clients do the same.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class GrpcServer:
    """Serves until `stop`."""

    def __init__(self, jobs: JobServicer, tasks: TaskServicer, workers: WorkerServicer, *, reflect: bool) -> None:
        self._workers = workers
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=_OPTIONS)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs, self._server)
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(tasks, self._server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(workers, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflect:
            _add_reflection(self._server)

    async def start(self, address: str) -> int:
        """Listen, and answer the port. Raises OSError when the address cannot be had."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        for service in SERVICES:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Say so, ask the workers to connect elsewhere, and wait for what is under way."""
        await self._health.enter_graceful_shutdown()
        self._workers.drain()
        await self._server.stop(grace_seconds)


class _Descriptors:
    """The contract's descriptors, where methods are found too: protobuf's own pool knows no symbol for them."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """The file that defines a symbol. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file


def _add_reflection(server: grpc.aio.Server) -> None:
    """grpcio-reflection knows v1alpha only; v1 has the same messages under another name."""
    names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    servicer: Any = reflection.aio.ReflectionServicer(names, pool=_Descriptors())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)  # type: ignore[no-untyped-call] # its stubs are incomplete
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_REFLECTION_V1, methods),))

"""The gRPC server: our services, health for each of them, and reflection in both its versions.

While the database is away JobService and TaskService say that they do not serve. The server as a whole (service "")
still does, and so does WorkerService: heartbeats are answered, and attempts go on.
"""

from __future__ import annotations

import asyncio
import logging
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
from layeron_job_server.operations.system import System
from layeron_job_server.telemetry.health import Health

from .interceptors.admission import AdmissionInterceptor
from .interceptors.errors import ErrorInterceptor
from .interceptors.telemetry import TelemetryInterceptor
from .job_service import JobServicer
from .task_service import TaskServicer
from .worker_service import WorkerServicer

log = logging.getLogger(__name__)

_DESCRIPTORS: Final = (
    job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
    task_service_pb2.DESCRIPTOR.services_by_name["TaskService"],
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"],
)
SERVICES: Final = tuple(service.full_name for service in _DESCRIPTORS)
_METHODS: Final = [f"{service.full_name}/{method.name}" for service in _DESCRIPTORS for method in service.methods]
_NEED_THE_DATABASE: Final = SERVICES[:2]
_HEALTH_SECONDS: Final = 2.0
_REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"
# Above what we accept, so that a request that is too large gets our answer, which names the limit, and not gRPC's.
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    # What comes faster than it is taken waits here: beyond these numbers gRPC would cancel it without a word.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # Streams are long and may be silent: find those whose peer is gone, and let clients do the same.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class GrpcServer:
    """Serves until `stop`."""

    def __init__(
        self, system: System, jobs: JobServicer, tasks: TaskServicer, workers: WorkerServicer, seen: Health
    ) -> None:
        self._seen = seen
        self._workers = workers
        self._health = health.aio.HealthServicer()
        self._health_keeper: asyncio.Task[None] | None = None
        interceptors = [
            TelemetryInterceptor(system.telemetry, _METHODS),
            AdmissionInterceptor(system.settings),
            ErrorInterceptor(),
        ]
        # Unless it is to be shared, a port that is taken is an error.
        options = [*_OPTIONS, ("grpc.so_reuseport", int(system.settings.share_port))]
        self._server = grpc.aio.server(interceptors=interceptors, options=options)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs, self._server)
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(tasks, self._server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(workers, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if system.settings.reflection:
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
        self._health_keeper = asyncio.create_task(self._keep_health())
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Say so, ask the workers to connect elsewhere, and wait for what is under way."""
        if self._health_keeper is not None:
            self._health_keeper.cancel()
        await self._health.enter_graceful_shutdown()
        self._workers.drain()
        await self._server.stop(grace_seconds)

    async def _keep_health(self) -> None:
        """Say so when the database has gone or come back, by what was seen last."""
        before = True
        while True:
            await asyncio.sleep(_HEALTH_SECONDS)
            there = self._seen.state().database
            if there != before:
                log.warning("the database is %s", "back" if there else "away")
                status = health_pb2.HealthCheckResponse.SERVING if there else health_pb2.HealthCheckResponse.NOT_SERVING
                for service in _NEED_THE_DATABASE:
                    await self._health.set(service, status)
                before = there


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

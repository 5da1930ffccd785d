"""The server's manners: health, reflection, a taken port, unknown methods, and what callers are told of our bugs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, task_service_pb2_grpc, worker_service_pb2, worker_service_pb2_grpc
from layeron_job_server.app import App
from layeron_job_server.embedded import Postgres
from layeron_job_server.store.migrate import upgrade
from support import eventually, worker_stream
from support.calls import Jobs, StartServer, Tasks, enqueue, enqueue_many, look, register, seconds
from support.errors import read_error, refused

OURS = ["layeron.job.v1.JobService", "layeron.job.v1.TaskService", "layeron.job.v1.WorkerService"]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
V1 = "grpc.reflection.v1.ServerReflection"
V1_ALPHA = "grpc.reflection.v1alpha.ServerReflection"


async def test_each_service_says_that_it_serves(channel: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", *OURS):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == SERVING, service
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_server_that_stops_says_so_before_it_is_gone(start_server: StartServer) -> None:
    server = await start_server()
    async with grpc.aio.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service=service)) for service in ("", *OURS)]
        assert [(await watch.read()).status for watch in watches] == [SERVING] * 4
        stop = asyncio.create_task(server.__aexit__())
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 4
        await stop
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_long_calls_at_a_server_that_stops_are_told_to_go_elsewhere(start_server: StartServer) -> None:
    server = await start_server()
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work")
        jobs: Jobs = job_service_pb2_grpc.JobServiceStub(channel)
        run_id = (await enqueue(jobs)).run_id
        wait = jobs.WaitRun(pb.WaitRunRequest(run_id=run_id))
        watches = [jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id)), jobs.WatchRuns(pb.WatchRunsRequest())]
        for watch in watches:
            await watch.read()
        async with worker_stream(channel) as worker:
            await server.__aexit__()
            codes = [await code_of(call.read) for call in watches]
            codes += [await wait.code(), await worker.call.code()]
        assert codes == [grpc.StatusCode.UNAVAILABLE] * 4


async def code_of(read: Callable[[], Awaitable[object]]) -> grpc.StatusCode:
    """How a stream ends. gRPC tells it only to whoever has read all that came before."""
    try:
        while await read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_without_the_database_jobs_and_tasks_are_not_served_but_the_server_lives(
    start_server: StartServer, postgres_server: Postgres
) -> None:
    await asyncio.to_thread(upgrade, postgres_server.url)
    server = await start_server(database_url=postgres_server.url)
    async with grpc.aio.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30) for service in OURS[:2]]
        assert [(await watch.read()).status for watch in watches] == [SERVING] * 2
        await postgres_server.stop()
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 2
        for service in ("", OURS[2]):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
        await postgres_server.restart()
        assert [(await watch.read()).status for watch in watches] == [SERVING] * 2


async def test_a_deadline_in_thirty_years_is_as_good_as_none(jobs: Jobs) -> None:
    run_id = (await enqueue(jobs)).run_id
    request = pb.WaitRunRequest(run_id=run_id, timeout=seconds(0.01))
    assert (await jobs.WaitRun(request, timeout=1e9)).run.run_id == run_id


async def test_reflection_v1alpha_lists_and_describes_every_service(server: App) -> None:
    def describe() -> dict[str, list[str]]:
        with grpc.insecure_channel(server.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            assert set(OURS) <= set(database.get_services())
            return {name: list(pool.FindServiceByName(name).methods_by_name) for name in OURS}

    methods = await asyncio.to_thread(describe)
    assert methods == {
        OURS[0]: list(pb.DESCRIPTOR.services_by_name["JobService"].methods_by_name),
        OURS[1]: ["RegisterTasks", "GetTask", "ListTasks", "PauseTask", "ResumeTask"],
        OURS[2]: ["Work"],
    }


class Reflection:
    """The reflection service under one of its names."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self.call: Any = channel.stream_stream(
            f"/{name}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()

    async def ask(self, **request: Any) -> Any:
        await self.call.write(reflection_pb2.ServerReflectionRequest(**request))
        return await self.call.read()

    async def services(self) -> list[str]:
        listed = (await self.ask(list_services="")).list_services_response.service
        return [service.name for service in listed]

    async def files_of(self, symbol: str) -> list[FileDescriptorProto]:
        answer = await self.ask(file_containing_symbol=symbol)
        return [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]


@pytest.mark.parametrize("name", [V1, V1_ALPHA])
async def test_both_versions_of_reflection_answer_alike(channel: grpc.aio.Channel, name: str) -> None:
    reflection = Reflection(channel, name)
    assert set(await reflection.services()) == {*OURS, V1_ALPHA, "grpc.health.v1.Health"}
    for service in OURS:
        files = await reflection.files_of(service)
        declared = {f"{file.package}.{one.name}" for file in files for one in file.service}
        assert service in declared
    unknown = await reflection.ask(file_containing_symbol="layeron.job.v1.Nobody")
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_every_service_that_is_listed_can_be_described(channel: grpc.aio.Channel) -> None:
    """As `grpcurl describe` does with all that `grpcurl list` answers."""
    reflection = Reflection(channel, V1)
    for service in await reflection.services():
        assert await reflection.files_of(service), service


async def test_reflection_can_be_left_out(start_server: StartServer) -> None:
    server = await start_server(reflection=False)
    async with grpc.aio.insecure_channel(server.address) as channel:
        for name in (V1, V1_ALPHA):
            assert await code_of(Reflection(channel, name).call.read) == grpc.StatusCode.UNIMPLEMENTED


async def test_a_taken_port_is_an_error_that_names_it_and_leaves_nothing_running(
    server: App, start_server: StartServer
) -> None:
    def writers() -> list[str]:
        return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().endswith(" writer"))

    before = writers()
    with pytest.raises(OSError, match=f"cannot listen on {server.address}"):
        await start_server(grpc_address=server.address)
    assert writers() == before != []


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    for method in ("/layeron.job.v1.JobService/Nothing", "/layeron.job.v1.Nobody/Nothing", "/x/y"):
        call: Any = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


MISSED = ("attempts", "open_runs", "outbox", "worker_sessions")


async def test_a_bug_of_ours_is_internal_with_an_id_that_is_in_the_log_and_nothing_else(
    jobs: Jobs, channel: grpc.aio.Channel, database: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = (await enqueue(jobs)).run_id
    hello = worker_service_pb2.Hello(tasks=["work"], queues=["default"], slots=1, protocol_version=1, last=True)
    for table in MISSED:
        await database.execute(f"alter table {table} rename to {table}_gone")
    work = worker_service_pb2_grpc.WorkerServiceStub(channel).Work()
    await work.write(worker_service_pb2.WorkRequest(hello=hello))
    calls: list[Callable[[], Any]] = [
        lambda: jobs.GetRun(pb.GetRunRequest(run_id=run_id)),
        lambda: enqueue(jobs, payload_json=b'"a secret payload"'),
        lambda: jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[pb.EnqueueRequest(task="work")])),
        lambda: jobs.CancelRun(pb.CancelRunRequest(run_id=run_id)),
        lambda: jobs.ListRuns(pb.ListRunsRequest()),
        lambda: jobs.WaitRun(pb.WaitRunRequest(run_id=run_id)),
        lambda: jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id)).read(),
        work.read,
    ]
    for call in calls:
        answer = await refused(call())
        assert (answer.code, answer.reason, list(answer.metadata)) == ("INTERNAL", "INTERNAL", ["error_id"])
        error_id = answer.metadata["error_id"]
        assert answer.message == f"internal error {error_id}; the server's log has more"
        [record] = [record for record in caplog.records if error_id in record.getMessage()]
        assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert "a secret payload" not in caplog.text
    for table in MISSED:
        await database.execute(f"alter table {table}_gone rename to {table}")
    assert (await jobs.GetRun(pb.GetRunRequest(run_id=run_id))).run.run_id == run_id, "and the server goes on"


async def test_a_database_that_is_shutting_down_or_starting_is_told_as_unavailable(
    start_server: StartServer, postgres_server: Postgres
) -> None:
    await asyncio.to_thread(upgrade, postgres_server.url)
    server = await start_server(database_url=postgres_server.url)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work")
        jobs: Jobs = job_service_pb2_grpc.JobServiceStub(channel)
        run_id = (await enqueue(jobs)).run_id
        # PostgreSQL then serves those who are connected and refuses new connections.
        os.kill(postgres_server.pid, signal.SIGTERM)
        await eventually(lambda: _refuses_connections(postgres_server.url))
        calls: list[Any] = [look(jobs, run_id) for _ in range(20)]
        calls += [enqueue(jobs), enqueue_many(jobs, 2), jobs.ListRuns(pb.ListRunsRequest())]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert {read_error(error).reason for error in errors} == {"DATABASE_UNAVAILABLE"}


async def _refuses_connections(url: str) -> bool:
    try:
        await (await asyncpg.connect(url)).close()
    except asyncpg.CannotConnectNowError:
        return True
    return False


async def test_a_request_above_four_mebibytes_is_told_the_limit(jobs: Jobs, tasks: Tasks) -> None:
    answer = await refused(enqueue(jobs, payload_json=b"x" * 5 * 1024 * 1024))
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["payload_json"])
    assert "262144" in answer.message
    await register(tasks, "other")

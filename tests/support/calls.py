"""Calls that the tests of the RPCs make again and again, each a line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, run_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc
from layeron_job_server.app import App

# Strings, because at run time the stubs of a synchronous and of an asynchronous channel are one class.
Jobs: TypeAlias = "job_service_pb2_grpc.JobServiceAsyncStub"
Tasks: TypeAlias = "task_service_pb2_grpc.TaskServiceAsyncStub"
StartServer: TypeAlias = Callable[..., Awaitable[App]]

# Tried again at once.
AT_ONCE = task_pb2.RetryPolicy(fixed=task_pb2.FixedBackoff(delay=Duration()), jitter=0)


def seconds(value: float) -> Duration:
    """A duration."""
    length = Duration()
    length.FromTimedelta(timedelta(seconds=value))
    return length


def value_of(thing: Any) -> Value:
    """A JSON value as google.protobuf.Value."""
    value = Value()
    json_format.ParseDict(thing, value)
    return value


def from_now(value: float) -> Timestamp:
    """The time so many seconds from now, by this process's clock."""
    moment = Timestamp()
    moment.GetCurrentTime()
    moment.FromMicroseconds(moment.ToMicroseconds() + int(value * 1e6))
    return moment


async def enqueue(jobs: Jobs, **fields: Any) -> run_pb2.Run:
    """Enqueue a run of task "work"; the fields are those of EnqueueRequest."""
    return (await jobs.Enqueue(pb.EnqueueRequest(**{"task": "work", **fields}))).run


async def enqueue_many(jobs: Jobs, number: int, **fields: Any) -> list[str]:
    """Enqueue so many equal runs of task "work" in one batch; their ids."""
    items = [pb.EnqueueRequest(**{"task": "work", **fields})] * number
    return [result.run_id for result in (await jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items))).results]


async def look(jobs: Jobs, run_id: str, **fields: Any) -> pb.GetRunResponse:
    """The run with its history; the fields are those of GetRunRequest."""
    return await jobs.GetRun(pb.GetRunRequest(run_id=run_id, **fields))


async def register(tasks: Tasks, *names: str, namespace: str = "", **fields: Any) -> list[task_pb2.Task]:
    """Register tasks of these names; the fields are those of TaskDefinition."""
    definitions = [task_pb2.TaskDefinition(name=name, **fields) for name in names]
    request = task_service_pb2.RegisterTasksRequest(namespace=namespace, tasks=definitions)
    return list((await tasks.RegisterTasks(request)).tasks)

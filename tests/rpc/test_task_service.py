"""TaskService: registering tasks, looking at them, pausing and resuming them."""

from __future__ import annotations

import asyncio

import grpc
import nats
import pytest

from layeron.job.v1 import delivery_pb2, job_service_pb2, run_pb2, task_pb2, task_service_pb2_grpc, worker_service_pb2
from layeron.job.v1 import task_service_pb2 as pb
from layeron_job_server.app import App
from support import eventually, worker_stream
from support.calls import Jobs, StartServer, Tasks, enqueue, look, register, seconds

MAIL = task_pb2.TaskDefinition(
    name="mail",
    queue="mails",
    retry=task_pb2.RetryPolicy(max_attempts=5, fixed=task_pb2.FixedBackoff(delay=seconds(1)), jitter=0),
    timeout=seconds(2),
    priority=task_pb2.PRIORITY_LOW,
)


async def get(tasks: Tasks, name: str, namespace: str = "") -> task_pb2.Task:
    return (await tasks.GetTask(pb.GetTaskRequest(name=name, namespace=namespace))).task


async def pause(tasks: Tasks, name: str, reason: str = "") -> task_pb2.Task:
    return (await tasks.PauseTask(pb.PauseTaskRequest(name=name, reason=reason))).task


async def resume(tasks: Tasks, name: str) -> task_pb2.Task:
    return (await tasks.ResumeTask(pb.ResumeTaskRequest(name=name))).task


async def test_a_new_task_is_answered_with_every_default_written_out(tasks: Tasks) -> None:
    [task] = await register(tasks, "work")
    assert task == task_pb2.Task(
        namespace="default",
        name="work",
        queue="default",
        retry=task_pb2.RetryPolicy(
            max_attempts=3,
            exponential=task_pb2.ExponentialBackoff(initial=seconds(5), maximum=seconds(300), multiplier=2),
            jitter=0.1,
        ),
        timeout=seconds(300),
        priority=task_pb2.PRIORITY_NORMAL,
        revision=1,
        created_at=task.created_at,
        updated_at=task.created_at,
    )
    assert await get(tasks, "work") == task


async def test_tasks_are_answered_in_the_order_of_the_request_with_all_they_were_registered_with(tasks: Tasks) -> None:
    definitions = [task_pb2.TaskDefinition(name="z"), MAIL, task_pb2.TaskDefinition(name="a")]
    made = (await tasks.RegisterTasks(pb.RegisterTasksRequest(tasks=definitions))).tasks
    assert [task.name for task in made] == ["z", "mail", "a"]
    assert made[1] == task_pb2.Task(
        namespace="default",
        name="mail",
        queue="mails",
        retry=MAIL.retry,
        timeout=seconds(2),
        priority=task_pb2.PRIORITY_LOW,
        revision=1,
        created_at=made[1].created_at,
        updated_at=made[1].created_at,
    )


async def test_a_change_raises_the_revision_and_the_same_again_changes_nothing(tasks: Tasks) -> None:
    [first] = await register(tasks, "work")
    assert await register(tasks, "work") == [first]
    assert await register(tasks, "work", retry=first.retry, timeout=first.timeout) == [first], "defaults, written out"
    revision = 1
    for change in (
        {"timeout": seconds(1)},
        {"queue": "other"},
        {"priority": task_pb2.PRIORITY_HIGH},
        {"retry": task_pb2.RetryPolicy(max_attempts=1)},
        {},
    ):
        revision += 1
        [changed] = await register(tasks, "work", **change)
        assert (changed.revision, changed.created_at) == (revision, first.created_at), change
        assert changed.updated_at.ToNanoseconds() > first.updated_at.ToNanoseconds()
        assert await get(tasks, "work") == changed


async def test_of_many_who_register_one_task_the_last_writer_wins_and_each_change_counts(
    tasks: Tasks, start_server: StartServer
) -> None:
    async with grpc.aio.insecure_channel((await start_server()).address) as channel:
        others: Tasks = task_service_pb2_grpc.TaskServiceStub(channel)
        answers = await asyncio.gather(
            *(register((tasks, others)[n % 2], "a", "b", timeout=seconds(n + 1)) for n in range(20))
        )
        for index, name in enumerate("ab"):
            revisions = sorted(answer[index].revision for answer in answers)
            assert revisions == list(range(1, 21))
            assert await get(others, name) == max((answer[index] for answer in answers), key=lambda t: t.revision)


async def test_a_run_keeps_what_it_was_enqueued_with_and_the_next_one_has_the_change(jobs: Jobs, tasks: Tasks) -> None:
    before = await enqueue(jobs)
    await register(tasks, "work", queue="other", timeout=seconds(1), priority=task_pb2.PRIORITY_HIGH, retry=MAIL.retry)
    assert (await look(jobs, before.run_id)).run == before
    after = await enqueue(jobs)
    assert (after.queue, after.timeout, after.priority) == ("other", seconds(1), task_pb2.PRIORITY_HIGH)
    assert after.retry == MAIL.retry


async def test_each_namespace_has_its_own_tasks(tasks: Tasks) -> None:
    """Promise 10."""
    await register(tasks, "work", timeout=seconds(1))
    await register(tasks, "work", namespace="other", timeout=seconds(2))
    assert ((await get(tasks, "work")).timeout, (await get(tasks, "work", "other")).timeout) == (seconds(1), seconds(2))
    listed = (await tasks.ListTasks(pb.ListTasksRequest(namespace="other"))).tasks
    assert [(task.namespace, task.name, task.timeout) for task in listed] == [("other", "work", seconds(2))]
    await pause(tasks, "work")
    assert not (await get(tasks, "work", "other")).HasField("paused_at")


async def test_the_consumers_of_a_new_queue_are_there_when_its_task_is_registered(
    tasks: Tasks, server: App, nats_url: str, stream_prefix: str
) -> None:
    await eventually(lambda: server.broker.is_connected)
    await register(tasks, "mail", queue="mails", namespace="shop")
    client = await nats.connect(nats_url)
    try:
        for priority in ("high", "normal", "low"):
            name = f"shop_mails_{priority}"
            consumer = await client.jetstream().consumer_info(stream_prefix.upper(), name)
            assert consumer.config.filter_subject == f"{stream_prefix}.deliver.shop.mails.{priority}.>"
    finally:
        await client.close()


async def test_tasks_are_listed_by_name_page_by_page(tasks: Tasks) -> None:
    names = [f"task{number:02}" for number in range(12)]
    await register(tasks, *reversed(names))
    pages = []
    request = pb.ListTasksRequest(page_size=5)
    while True:
        answer = await tasks.ListTasks(request)
        pages.append([task.name for task in answer.tasks])
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert pages == [names[:5], names[5:10], names[10:]]
    assert [task.name for task in (await tasks.ListTasks(pb.ListTasksRequest())).tasks] == names
    exactly = await tasks.ListTasks(pb.ListTasksRequest(page_size=12))
    assert (len(exactly.tasks), exactly.next_page_token) == (12, "")
    assert (await tasks.ListTasks(pb.ListTasksRequest(namespace="nobody"))).tasks == []


async def test_pausing_keeps_the_first_reason_and_pausing_and_resuming_twice_change_nothing(tasks: Tasks) -> None:
    [registered] = await register(tasks, "work")
    paused = await pause(tasks, "work", "the mail server is down")
    assert (paused.pause_reason, paused.HasField("paused_at"), paused.revision) == ("the mail server is down", True, 1)
    assert await pause(tasks, "work", "another reason") == paused
    assert await register(tasks, "work") == [paused], "a restarted worker does not resume it"
    [changed] = await register(tasks, "work", timeout=seconds(1))
    assert (changed.paused_at, changed.pause_reason) == (paused.paused_at, paused.pause_reason)
    resumed = await resume(tasks, "work")
    assert (resumed.HasField("paused_at"), resumed.pause_reason) == (False, "")
    assert await resume(tasks, "work") == resumed
    assert resumed.created_at == registered.created_at
    again = await pause(tasks, "work")
    assert (again.pause_reason, again.paused_at.ToNanoseconds() > paused.paused_at.ToNanoseconds()) == ("", True)


@pytest.mark.parametrize("waits", [0, 60], ids=["due", "scheduled"])
async def test_a_paused_run_says_so_only_while_it_is_due(jobs: Jobs, tasks: Tasks, waits: int) -> None:
    await pause(tasks, "work")
    run = await enqueue(jobs, delay=seconds(waits))
    expected = run_pb2.HELD_REASON_UNSPECIFIED if waits else run_pb2.HELD_REASON_TASK_PAUSED
    assert run.held_reason == expected
    assert (await look(jobs, run.run_id)).run.held_reason == expected
    listed = (await jobs.ListRuns(job_service_pb2.ListRunsRequest())).runs
    assert [one.held_reason for one in listed] == [expected]
    await resume(tasks, "work")
    assert (await look(jobs, run.run_id)).run.held_reason == run_pb2.HELD_REASON_UNSPECIFIED


async def test_a_paused_run_is_held_and_rung_and_started_when_its_task_is_resumed(
    jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel, nats_url: str, stream_prefix: str
) -> None:
    run_id = (await enqueue(jobs)).run_id
    client = await nats.connect(nats_url)
    async with worker_stream(channel) as worker:
        [consumer] = [one.name for one in worker.welcome.consumers if one.priority == "normal"]
        deliveries = await client.jetstream().pull_subscribe_bind(consumer, stream=stream_prefix.upper())
        [first] = await deliveries.fetch(1, timeout=10)
        await pause(tasks, "work")
        assert (await worker.start(1, run_id)).held.reason == worker_service_pb2.HOLD_REASON_PAUSED
        await first.ack_sync()
        await resume(tasks, "work")
        [second] = await deliveries.fetch(1, timeout=10)
        assert delivery_pb2.Delivery.FromString(second.data) == delivery_pb2.Delivery(run_id=run_id, attempt=1)
        assert (await worker.grant(2, run_id)).attempt == 1
        await second.ack_sync()
    await client.close()


async def test_what_runs_goes_on_when_its_task_is_paused(jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        await pause(tasks, "work")
        assert (await look(jobs, run_id)).run.held_reason == run_pb2.HELD_REASON_UNSPECIFIED
        assert await worker.succeed(1, grant) == worker_service_pb2.FINISH_VERDICT_RECORDED
    assert (await look(jobs, run_id)).run.status == run_pb2.RUN_STATUS_SUCCEEDED

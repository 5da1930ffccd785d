"""The Python client against a real server: what goes in comes out, and errors are what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from layeron_job import (
    BatchResult,
    Client,
    Exponential,
    Fixed,
    IdempotencyKeyReused,
    InvalidRequest,
    Item,
    PageTokenInvalid,
    Retry,
    Run,
    RunAlreadyFinished,
    RunIdReused,
    RunNotFinished,
    RunNotFound,
    TaskDefinition,
    TaskNotFound,
    TaskNotRegistered,
    WaitTimeout,
    new_run_id,
)
from layeron_job.batches import AnyItem
from layeron_job_server.app import App
from support import eventually, worker_stream
from support.calls import StartServer

PAYLOAD = {"to": "Ada ✉", "n": [1, 2.5, None, True], "big": 2**53 - 1}


@pytest.fixture
async def client(server: App) -> AsyncIterator[Client]:
    """A client of the server, with the task "work" registered."""
    async with Client(server.address) as client:
        await client.tasks.register([TaskDefinition("work")])
        yield client


async def succeed(channel: grpc.aio.Channel, run_ids: Sequence[str], result: bytes = b"null") -> None:
    """Let a worker take these runs and finish them well."""
    async with worker_stream(channel) as worker:
        for start_id, run_id in enumerate(run_ids, start=1):
            await worker.succeed(start_id, await worker.grant(start_id, run_id), result)


async def dead_letter(channel: grpc.aio.Channel, run_id: str) -> None:
    """Let a worker take this run and fail it for good."""
    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        await worker.fail(1, grant, error_type="ValueError", error_message="no", do_not_retry=True)


async def test_everything_that_is_asked_for_is_kept_and_told(client: Client) -> None:
    now = datetime.now(UTC)
    due, start_by = now + timedelta(hours=1), now + timedelta(hours=2)
    run_id = new_run_id()
    retry = Retry(
        attempts=7, backoff=Exponential(1, 60, 3), jitter=0.5, max_elapsed=3600, non_retryable=("ValueError",)
    )
    enqueued = await client.enqueue(
        "work",
        PAYLOAD,
        run_id=run_id,
        run_at=due,
        start_by=start_by,
        idempotency_key="key",
        idempotency_window="while_active",
        retry=retry,
        timeout=1.5,
        labels={"a": "b", "c": "ü"},
        priority="high",
        name="Letter to Ada",
        payload_encoding="plain",
        trace_context={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    assert (enqueued.run_id, enqueued.created, enqueued.status) == (run_id, True, "scheduled")
    run = (await client.runs.get(run_id)).run
    assert run == enqueued.run
    assert (run.task, run.queue, run.namespace, run.priority, run.name) == (
        "work",
        "default",
        "default",
        "high",
        "Letter to Ada",
    )
    assert (run.payload, run.result, run.payload_encoding) == (PAYLOAD, None, "plain")
    assert (run.retry, run.timeout) == (retry, timedelta(seconds=1.5))
    assert (run.idempotency_key, run.idempotency_window) == ("key", "while_active")
    assert (run.due_at, run.start_by) == (due, start_by)
    assert (run.origin, run.origin_id, run.held_reason) == ("enqueue", "", "")
    assert run.labels == {"a": "b", "c": "ü"}
    assert list(run.trace_context) == ["traceparent"]
    assert run.created_at is not None
    assert abs(run.created_at - now) < timedelta(minutes=1)


async def test_a_run_that_succeeded_is_told_with_its_result_attempts_and_transitions(
    client: Client, channel: grpc.aio.Channel
) -> None:
    run_id = (await client.enqueue("work")).run_id
    waiting = asyncio.create_task(client.runs.wait(run_id, timeout=10))
    await succeed(channel, [run_id], b'{"sent":[1,2]}')
    assert (await waiting).result == {"sent": [1, 2]}
    details = await client.runs.get(run_id)
    assert details.run == await client.runs.wait(run_id)
    assert (details.run.status, details.run.attempt, details.run.payload) == ("succeeded", 1, None)
    assert [(attempt.number, attempt.status) for attempt in details.attempts] == [(1, "succeeded")]
    assert [(t.from_status, t.to_status, t.reason_code) for t in details.transitions] == [
        ("", "queued", "ENQUEUED"),
        ("queued", "running", "STARTED"),
        ("running", "succeeded", "SUCCEEDED"),
    ]


async def test_the_same_key_answers_the_first_run_and_another_request_is_refused_with_its_id(client: Client) -> None:
    first = await client.enqueue("work", 1, idempotency_key="key", idempotency_ttl=timedelta(hours=1))
    again = await client.enqueue("work", 1, idempotency_key="key", idempotency_ttl=timedelta(hours=1))
    assert (again.run_id, first.created, again.created) == (first.run_id, True, False)
    with pytest.raises(IdempotencyKeyReused) as caught:
        await client.enqueue("work", 2, idempotency_key="key")
    assert caught.value.run_id == first.run_id
    same_id = await client.enqueue("work", 3, run_id=(await client.enqueue("work", 3)).run_id)
    assert not same_id.created
    with pytest.raises(RunIdReused):
        await client.enqueue("work", 4, run_id=same_id.run_id)


async def test_what_is_wrong_is_told_by_class_and_field(client: Client) -> None:
    with pytest.raises(TaskNotRegistered, match="'nobody' is not registered"):
        await client.enqueue("nobody")
    with pytest.raises(InvalidRequest) as caught:
        await client.enqueue("work", 2**53, delay=-1, name="n" * 256)
    assert {field for field, _ in caught.value.violations} == {"payload_json", "delay", "name"}
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    for call in (client.runs.get, client.runs.cancel, client.runs.replay, client.runs.wait):
        with pytest.raises(RunNotFound):
            await call(new_run_id())
    for of_task in (client.tasks.get, client.tasks.pause, client.tasks.resume):
        with pytest.raises(TaskNotFound):
            await of_task("nobody")
    with pytest.raises(RunNotFound):
        await anext(client.runs.watch(new_run_id()))


async def test_a_large_batch_is_made_in_order_and_a_repeat_of_it_makes_nothing(client: Client) -> None:
    items: list[AnyItem] = [Item("work", n, idempotency_key=f"key-{n}", labels={"kind": "batch"}) for n in range(1_200)]
    results = await client.enqueue_batch(items, batch_size=500)
    assert all(result.status == "queued" and result.created for result in results)
    assert len({result.run_id for result in results}) == 1_200
    seen = [run async for run in client.runs.list(labels={"kind": "batch"}, view="full", page_size=500)]
    payloads = {run.run_id: run.payload for run in seen}
    assert [payloads[result.run_id] for result in results] == list(range(1_200))
    again = await client.enqueue_batch(items, batch_size=1_000)
    assert again == [BatchResult(result.run_id, "queued", created=False) for result in results]


async def test_a_bad_item_of_a_batch_is_named_by_its_place_and_what_was_made_before_is_told(client: Client) -> None:
    items: list[AnyItem] = [("work", n) for n in range(150)]
    items[120] = ("work", 2**53)
    with pytest.raises(InvalidRequest) as caught:
        await client.enqueue_batch(items, batch_size=50, concurrency=1)
    assert [field for field, _ in caught.value.violations] == ["items[120].payload_json"]
    assert sorted(caught.value.enqueued) == list(range(100))
    assert {run.run_id async for run in client.runs.list()} == {r.run_id for r in caught.value.enqueued.values()}


async def test_a_canceled_run_is_told_and_a_finished_one_cannot_be_canceled(
    client: Client, channel: grpc.aio.Channel
) -> None:
    run_id = (await client.enqueue("work", PAYLOAD, delay=60)).run_id
    canceled = await client.runs.cancel(run_id, reason="changed my mind")
    assert (canceled.status, canceled.payload, canceled.is_terminal) == ("canceled", PAYLOAD, True)
    assert await client.runs.cancel(run_id) == canceled
    last = (await client.runs.get(run_id)).transitions[-1]
    assert (last.to_status, last.reason_code, last.note, last.actor) == (
        "canceled",
        "CANCEL_REQUESTED",
        "changed my mind",
        "caller",
    )
    done = (await client.enqueue("work")).run_id
    await succeed(channel, [done])
    with pytest.raises(RunAlreadyFinished, match="is succeeded"):
        await client.runs.cancel(done)


async def test_a_dead_letter_is_replayed_as_a_new_run_with_its_payload_or_another(
    client: Client, channel: grpc.aio.Channel
) -> None:
    dead = (await client.enqueue("work", PAYLOAD, labels={"a": "b"}, retry=Retry(backoff=Fixed(2.0)))).run
    with pytest.raises(RunNotFinished):
        await client.runs.replay(dead.run_id)
    await dead_letter(channel, dead.run_id)
    same = await client.runs.replay(dead.run_id, reason="fixed")
    other = await client.runs.replay(dead.run_id, payload=None, delay=60, new_run_id=(chosen := new_run_id()))
    assert (same.created, same.run.payload, same.run.labels, same.run.retry) == (True, PAYLOAD, {"a": "b"}, dead.retry)
    assert (other.run_id, other.run.payload, other.status) == (chosen, None, "scheduled")
    assert not (await client.runs.replay(dead.run_id, payload=None, delay=60, new_run_id=chosen)).created
    assert [run.run_id async for run in client.runs.list(origin_id=dead.run_id)] == [chosen, same.run_id]
    details = await client.runs.get(dead.run_id)
    assert (details.run.status, details.run.replayed_by) == ("dead_lettered", chosen)
    assert details.attempts[0].error_type == "ValueError"
    replayed = await client.runs.get(same.run_id)
    assert (replayed.run.origin, replayed.run.origin_id) == ("replay", dead.run_id)
    assert (replayed.transitions[0].reason_code, replayed.transitions[0].note) == ("REPLAYED", "fixed")


async def test_runs_are_listed_by_everything_a_filter_has(client: Client, channel: grpc.aio.Channel) -> None:
    await client.tasks.register([TaskDefinition("other", queue="slow")])
    begin = datetime.now(UTC) - timedelta(minutes=1)
    one = (await client.enqueue("work", 1, labels={"a": "1", "b": "2"})).run
    two = (await client.enqueue("other", 2, idempotency_key="key", delay=60)).run
    three = (await client.enqueue("work", 3, labels={"a": "1"})).run
    await succeed(channel, [three.run_id])

    async def listed(**wanted: Any) -> list[str]:
        return [run.run_id async for run in client.runs.list(**wanted)]

    everything = [three.run_id, two.run_id, one.run_id]
    assert await listed() == await listed(page_size=1) == await listed(created_from=begin) == everything
    assert (
        await listed(task="other") == await listed(queue="slow") == await listed(idempotency_key="key") == [two.run_id]
    )
    assert await listed(status="succeeded") == [three.run_id]
    assert await listed(status=["queued", "scheduled"]) == [two.run_id, one.run_id]
    assert await listed(labels={"a": "1"}) == [three.run_id, one.run_id]
    assert await listed(labels={"a": "1", "b": "2"}) == [one.run_id]
    assert await listed(created_before=begin) == []
    basic, full = [[run async for run in client.runs.list(task="other", view=view)] for view in ("basic", "full")]
    assert [run.payload for run in basic + full] == [None, 2]


async def test_a_page_leads_to_the_next_one_of_the_same_list(client: Client) -> None:
    await client.enqueue_batch([("work", n) for n in range(3)])
    first = await client.runs.list_page(page_size=2, task="work")
    second = await client.runs.list_page(page_size=2, task="work", page_token=first.next_page_token)
    assert (len(first.runs), len(second.runs), second.next_page_token) == (2, 1, "")
    assert all(isinstance(run, Run) for run in first.runs)
    with pytest.raises(PageTokenInvalid):
        await client.runs.list_page(page_size=2, page_token=first.next_page_token)
    with pytest.raises(ValueError, match="view must be one of basic, full, not 'all'"):
        await client.runs.list_page(view="all")  # type: ignore[arg-type] # that is what is refused


async def test_waiting_ends_with_the_run_or_in_time(client: Client) -> None:
    run_id = (await client.enqueue("work")).run_id
    with pytest.raises(WaitTimeout) as caught:
        await client.runs.wait(run_id, timeout=0.1)
    assert caught.value.run.status == "queued"
    with pytest.raises(TimeoutError):
        await client.runs.wait(run_id, timeout=0)
    waiting = asyncio.create_task(client.runs.wait(run_id))
    await client.runs.cancel(run_id)
    assert (await asyncio.wait_for(waiting, 10)).status == "canceled"


async def test_a_watch_of_a_run_tells_every_change_once_and_ends_with_it(
    client: Client, channel: grpc.aio.Channel
) -> None:
    run_id = (await client.enqueue("work")).run_id
    async with aclosing(client.runs.watch(run_id)) as watch:
        changes = [await anext(watch)]
        await succeed(channel, [run_id])
        changes += [change async for change in watch]
    assert [change.transition.to_status for change in changes] == ["queued", "running", "succeeded"]
    assert {(change.run_id, change.task) for change in changes} == {(run_id, "work")}
    rest = [change async for change in client.runs.watch(run_id, resume_token=changes[0].resume_token)]
    assert [change.transition.seq for change in rest] == [1, 2]
    assert [change async for change in client.runs.watch(run_id, resume_token=changes[-1].resume_token)] == []


async def test_a_watch_of_a_filter_loses_nothing_when_its_server_stops(start_server: StartServer) -> None:
    one, two = await start_server(watch_poll_interval_ms=20), await start_server(watch_poll_interval_ms=20)
    seen: list[tuple[str, str]] = []

    async def follow(client: Client) -> None:
        async for change in client.runs.watch(labels={"kind": "seen"}):
            seen.append((change.run_id, change.transition.to_status))  # noqa: PERF401 (it is looked at meanwhile)

    async with Client([one.address, two.address]) as watcher, Client(two.address) as client:
        await client.tasks.register([TaskDefinition("work")])
        following = asyncio.create_task(follow(watcher))

        async def watched() -> Any:
            await client.enqueue("work", labels={"kind": "seen"})
            return seen

        await eventually(watched, every=0.1)  # a watch begins some time after it is asked for
        before = [run.run_id async for run in client.runs.list()]
        await one.__aexit__(None, None, None)
        made = [(await client.enqueue("work", n, labels={"kind": "seen"})).run_id for n in range(5)]
        await client.enqueue("work", labels={"kind": "unseen"})
        await eventually(lambda: {run_id for run_id, _ in seen} >= set(made))
        assert not following.done()
        following.cancel()
        assert {run_id for run_id, _ in seen} <= {*before, *made}
        assert [entry for entry in seen if entry[0] in made] == [(run_id, "queued") for run_id in made]


async def test_a_wait_and_a_watch_for_a_run_go_on_when_their_server_stops(start_server: StartServer) -> None:
    one, two = await start_server(), await start_server()
    async with Client([one.address, two.address]) as waiter, Client(two.address) as client:
        await client.tasks.register([TaskDefinition("work")])
        run_id = (await client.enqueue("work")).run_id
        waiting = asyncio.create_task(waiter.runs.wait(run_id))
        watch = waiter.runs.watch(run_id)
        assert (await anext(watch)).transition.to_status == "queued"
        rest = asyncio.create_task(anext(watch))
        await one.__aexit__(None, None, None)
        await client.runs.cancel(run_id)
        assert (await asyncio.wait_for(waiting, 10)).status == "canceled"
        assert (await asyncio.wait_for(rest, 10)).transition.to_status == "canceled"
        await watch.aclose()


async def test_tasks_are_registered_listed_paused_and_resumed(client: Client) -> None:
    retry = Retry(attempts=5, backoff=(1.0, 2.0))
    definitions = [TaskDefinition("b", "slow", retry, timedelta(minutes=1), "low"), TaskDefinition("a")]
    made = await client.tasks.register(definitions)
    assert [task.name for task in made] == ["b", "a"]
    assert (made[0].queue, made[0].retry, made[0].timeout, made[0].priority, made[0].revision) == (
        "slow",
        retry,
        timedelta(minutes=1),
        "low",
        1,
    )
    assert (made[1].queue, made[1].retry, made[1].timeout, made[1].priority) == (
        "default",
        Retry(),
        timedelta(minutes=5),
        "normal",
    )
    assert await client.tasks.get("b") == made[0]
    assert [task.name async for task in client.tasks.list(page_size=1)] == ["a", "b", "work"]
    paused = await client.tasks.pause("b", "the shop is closed")
    assert paused.paused_at is not None
    assert paused.pause_reason == "the shop is closed"
    held = await client.enqueue("b")
    assert (await client.runs.get(held.run_id)).run.held_reason == "task_paused"
    assert (await client.tasks.resume("b")).paused_at is None


async def test_a_client_sees_its_own_namespace_only(client: Client, server: App) -> None:
    async with Client(server.address, namespace="theirs") as other:
        await other.tasks.register([TaskDefinition("work")])
        run_id = (await client.enqueue("work")).run_id
        with pytest.raises(RunNotFound):
            await other.runs.get(run_id)
        assert [run async for run in other.runs.list()] == []
        assert [result.created for result in await other.enqueue_batch([("work", 1)])] == [True]
        assert len((await other.runs.list_page()).runs) == 1

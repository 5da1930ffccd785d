"""Batches: their order, how much is under way, and what an error says of what was made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from unit.client.peer import Peer

from layeron.job.v1 import job_service_pb2 as pb
from layeron_job import BatchResult, Client, InvalidRequest, Item, Overloaded, TaskNotRegistered
from layeron_job.batches import AnyItem
from layeron_job_server.domain import errors
from layeron_job_server.domain.errors import DatabaseAway
from layeron_job_server.domain.errors import Overloaded as TooMuch
from support import eventually


def made(request: pb.EnqueueBatchRequest) -> pb.EnqueueBatchResponse:
    results = [pb.EnqueueBatchResult(run_id=item.run_id, status=1, created=True) for item in request.items]  # type: ignore[arg-type] # queued
    return pb.EnqueueBatchResponse(results=results)


def first_of(request: pb.EnqueueBatchRequest) -> int:
    """The payload of a request's first item, which these tests number by place."""
    return int(json.loads(request.items[0].payload_json))


async def test_results_of_a_batch_come_in_order_when_calls_end_out_of_order(peer: Peer, client: Client) -> None:
    second_ended = asyncio.Event()

    async def answer(request: pb.EnqueueBatchRequest) -> pb.EnqueueBatchResponse:
        if first_of(request) == 0:
            await asyncio.wait_for(second_ended.wait(), 5)
        if first_of(request) == 10:
            second_ended.set()
        return made(request)

    peer.script = [answer] * 3
    told: list[tuple[int, int | None]] = []
    results = await client.enqueue_batch(
        [("send", n) for n in range(25)], batch_size=10, progress=lambda *seen: told.append(seen)
    )
    requests = sorted(peer.requests, key=first_of)
    assert [result.run_id for result in results] == [item.run_id for seen in requests for item in seen.items]
    assert set(results) == {BatchResult(result.run_id, "queued", True) for result in results}
    assert (len(told), told[0], told[-1]) == (3, (10, 25), (25, 25))


async def test_no_more_calls_are_under_way_and_no_more_is_read_than_asked_for(peer: Peer, client: Client) -> None:
    under_way = most = read = furthest = ended = 0

    async def answer(request: pb.EnqueueBatchRequest) -> pb.EnqueueBatchResponse:
        nonlocal under_way, most, furthest, ended
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        furthest = max(furthest, read - 10 * ended)
        under_way -= 1
        ended += 1
        return made(request)

    async def items() -> AsyncIterator[tuple[str, int]]:
        nonlocal read
        for number in range(100):
            read += 1
            yield "send", number

    peer.script = [answer] * 10
    assert len(await client.enqueue_batch(items(), batch_size=10, concurrency=3)) == 100
    assert most == 3
    assert furthest <= 3 * 10 + 1


async def test_a_batch_whose_answer_was_lost_knows_what_it_made(peer: Peer, client: Client) -> None:
    def repeated(request: pb.EnqueueBatchRequest) -> pb.EnqueueBatchResponse:
        answers = [pb.EnqueueBatchResult(run_id=item.run_id) for item in request.items]
        answers[1].run_id = "run_of_the_key"
        return pb.EnqueueBatchResponse(results=answers)

    peer.script = [DatabaseAway(), repeated]
    items: list[AnyItem] = [
        Item("send"),
        Item("send", idempotency_key="key"),
        Item("send", run_id="run_mine"),
        ("send", None),
    ]
    results = await client.enqueue_batch(items)
    assert [result.created for result in results] == [True, False, False, True]
    assert peer.requests[0] == peer.requests[1]


async def test_a_batch_waits_for_an_overloaded_server_but_not_longer_than_the_timeout(peer: Peer) -> None:
    async with Client(peer.address, timeout=0.5) as client:
        busy = TooMuch(timedelta(milliseconds=20), "enqueue")
        peer.script = [busy, busy, made]
        assert len(await client.enqueue_batch([("send", 1)])) == 1
        assert len(peer.requests) == 3
        peer.script = [TooMuch(timedelta(seconds=1), "enqueue")]
        with pytest.raises(Overloaded):
            await client.enqueue_batch([("send", 1)])


async def test_a_failed_batch_says_what_was_made_also_by_calls_that_were_under_way(peer: Peer, client: Client) -> None:
    failed = asyncio.Event()

    def refused(request: pb.EnqueueBatchRequest) -> Exception:
        failed.set()
        return errors.TaskNotRegistered("default", "send")

    async def later(request: pb.EnqueueBatchRequest) -> pb.EnqueueBatchResponse:
        await asyncio.wait_for(failed.wait(), 5)
        await asyncio.sleep(0.05)
        return made(request)

    def by_place(request: pb.EnqueueBatchRequest) -> Any:
        return {0: made, 10: refused, 20: later}[first_of(request)](request)

    peer.script = [by_place] * 3
    with pytest.raises(TaskNotRegistered) as caught:
        await client.enqueue_batch((("send", n) for n in range(1_000)), batch_size=10, concurrency=3)
    assert len(peer.requests) <= 4
    assert sorted(caught.value.enqueued) == [*range(10), *range(20, 30)]
    sent = {json.loads(item.payload_json): item.run_id for seen in peer.requests for item in seen.items}
    assert all(result.run_id == sent[place] for place, result in caught.value.enqueued.items())


async def test_a_bad_item_is_named_by_its_place_in_the_whole_batch(peer: Peer, client: Client) -> None:
    bad = errors.InvalidRequest(
        [
            errors.FieldViolation("items[3].task", "is required"),
            errors.FieldViolation("items[4].run_id", "is also that of items[2], which asks for something else"),
        ]
    )
    peer.script = [made, bad]
    with pytest.raises(InvalidRequest) as caught:
        await client.enqueue_batch([("send", n) for n in range(15)], batch_size=10, concurrency=1)
    assert caught.value.violations == [
        ("items[13].task", "is required"),
        ("items[14].run_id", "is also that of items[12], which asks for something else"),
    ]
    assert str(caught.value).startswith("items[13].task is required")
    assert sorted(caught.value.enqueued) == list(range(10))


async def test_an_item_that_cannot_be_sent_ends_the_batch_and_says_how_many_were_made(
    peer: Peer, client: Client
) -> None:
    def items() -> Iterator[tuple[str, Any]]:
        yield from (("send", n) for n in range(25))
        yield "send", float("nan")

    peer.script = [made, made]
    with pytest.raises(ValueError, match=r"^items\[25\]: payload is not JSON") as caught:
        await client.enqueue_batch(items(), batch_size=10)
    assert caught.value.__notes__ == ["20 runs of this batch were made"]


async def test_canceling_a_batch_cancels_its_calls(peer: Peer, client: Client) -> None:
    peer.script = [peer.hang, peer.hang]
    batch = asyncio.create_task(client.enqueue_batch([("send", n) for n in range(20)], batch_size=10))
    await eventually(lambda: len(peer.requests) == 2)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    await asyncio.wait_for(peer.hung_up.wait(), 2)  # long before their deadline


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch_size": 0}, "batch_size must be 1 to 1000, not 0"),
        ({"batch_size": 1001}, "batch_size must be 1 to 1000, not 1001"),
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
    ],
)
async def test_a_batch_out_of_its_limits_is_refused(client: Client, options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        await client.enqueue_batch([], **options)

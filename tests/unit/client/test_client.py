"""Enqueueing, replaying, waiting and watching, when answers are lost and servers go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc
import pytest
from unit.client.peer import Peer, Time

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2
from layeron_job import (
    Client,
    Overloaded,
    Run,
    RunChange,
    Unavailable,
    WaitTimeout,
    WatchTokenExpired,
    convert,
)
from layeron_job.calls import Calls
from layeron_job.runs import Runs
from layeron_job_server.domain import errors
from layeron_job_server.domain.errors import DatabaseAway
from layeron_job_server.domain.errors import Overloaded as TooMuch

SUCCEEDED = pb.WaitRunResponse(run=run_pb2.Run(run_id="run_1", status=run_pb2.RUN_STATUS_SUCCEEDED))
RUNNING = pb.WaitRunResponse(run=run_pb2.Run(run_id="run_1", status=run_pb2.RUN_STATUS_RUNNING))


@pytest.fixture
async def calls(peer: Peer, time: Time) -> AsyncIterator[Calls]:
    calls = time.calls(peer.address)
    yield calls
    await calls.close()


@pytest.fixture
def runs(calls: Calls) -> Runs:
    return Runs(calls, "ours")


def found(request: pb.EnqueueRequest) -> pb.EnqueueResponse:
    """The answer to a repeat: the run was there before."""
    return pb.EnqueueResponse(run=run_pb2.Run(run_id=request.run_id))


def changes(*seqs: int, token: str) -> pb.WatchRunsResponse:
    told = [pb.RunChange(run_id="run_1", transition=run_pb2.Transition(seq=seq)) for seq in seqs]
    return pb.WatchRunsResponse(changes=told, resume_token=token)


async def test_a_repeated_enqueue_asks_for_the_same_run_and_knows_that_it_made_it(peer: Peer, client: Client) -> None:
    peer.script = [DatabaseAway(), DatabaseAway(), found]
    enqueued = await client.enqueue("send", {"to": "ada"})
    assert len({request.run_id for request in peer.requests}) == 1
    assert enqueued.run_id == peer.requests[0].run_id
    assert enqueued.created


async def test_whether_a_run_of_the_callers_own_id_is_new_is_the_servers_word(peer: Peer, client: Client) -> None:
    peer.script = [found]
    assert not (await client.enqueue("send", run_id="run_1")).created


async def test_a_run_of_a_taken_key_is_not_a_new_one(peer: Peer, client: Client) -> None:
    peer.script = [pb.EnqueueResponse(run=run_pb2.Run(run_id="run_first", task="send"), pruned=True)]
    enqueued = await client.enqueue("send", idempotency_key="key", idempotency_window="forever")
    assert (enqueued.run_id, enqueued.created, enqueued.pruned) == ("run_first", False, True)
    assert (enqueued.status, enqueued.run.created_at) == ("", None)


async def test_an_enqueue_is_not_repeated_when_the_server_is_overloaded(peer: Peer, client: Client) -> None:
    peer.script = [TooMuch(timedelta(seconds=1), "enqueue")]
    with pytest.raises(Overloaded) as caught:
        await client.enqueue("send")
    assert caught.value.retry_after == timedelta(seconds=1)
    assert len(peer.requests) == 1


async def test_a_repeated_replay_asks_for_the_same_run_and_knows_that_it_made_it(peer: Peer, client: Client) -> None:
    answer = pb.ReplayRunResponse(run=run_pb2.Run(run_id="run_2"))
    peer.script = [DatabaseAway(), answer, answer, answer]
    assert (await client.runs.replay("run_1")).created
    assert peer.requests[0].new_run_id == peer.requests[1].new_run_id != ""
    assert peer.requests[0].payload_json == b""
    assert not (await client.runs.replay("run_1", payload=None, new_run_id="run_2")).created
    assert peer.requests[2].payload_json == b"null"
    for name, call in (
        ("run_id", client.enqueue("send", run_id="")),
        ("new_run_id", client.runs.replay("r", new_run_id="")),
    ):
        with pytest.raises(ValueError, match=f"^{name} must not be empty"):
            await call


async def test_waiting_asks_again_until_the_run_is_terminal(peer: Peer, runs: Runs) -> None:
    peer.script = [RUNNING, RUNNING, SUCCEEDED]
    assert (await runs.wait("run_1")).status == "succeeded"
    assert [request.timeout.ToTimedelta() for request in peer.requests] == [timedelta(seconds=30)] * 3
    assert all(39 < left < 41 for left in peer.seconds_left)
    assert {request.namespace for request in peer.requests} == {"ours"}


def after(time: Time, seconds: float, step: Any) -> Callable[[Any], Any]:
    """A step that takes so long by the test's clock."""

    def answer(request: Any) -> Any:
        time.now += seconds
        return step

    return answer


async def test_waiting_ends_with_the_run_as_it_is_when_its_time_has_passed(peer: Peer, time: Time, runs: Runs) -> None:
    peer.script = [after(time, 30, RUNNING), after(time, 15, RUNNING)]
    with pytest.raises(WaitTimeout, match="run_1 is still running") as caught:
        await runs.wait("run_1", timeout=timedelta(seconds=45))
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value.run, Run)
    assert [request.timeout.seconds for request in peer.requests] == [30, 15]


async def test_waiting_goes_on_over_outages_that_are_shorter_than_the_clients_timeout(
    peer: Peer, time: Time, runs: Runs
) -> None:
    lost = after(time, 29, DatabaseAway())
    peer.script = [lost, DatabaseAway(), RUNNING, lost, DatabaseAway(), SUCCEEDED]
    assert (await runs.wait("run_1")).status == "succeeded"
    assert time.waits == [0.05, 0.1, 0.05, 0.1]
    peer.script = [RUNNING, *(DatabaseAway() for _ in range(50))]
    with pytest.raises(Unavailable):
        await runs.wait("run_1")
    assert 8 < sum(time.waits[4:]) < 10


async def test_waiting_without_any_server_ends_when_its_time_has_passed(peer: Peer, time: Time, runs: Runs) -> None:
    peer.script = [DatabaseAway() for _ in range(50)]
    with pytest.raises(Unavailable):
        await runs.wait("run_1", timeout=3)
    assert 3 <= sum(time.waits) < 4


async def collect(watch: AsyncIterator[RunChange], seen: list[RunChange]) -> None:
    """Keep what comes, so that it can be looked at when the watch ends with an error."""
    async for change in watch:
        seen.append(change)  # noqa: PERF401 (a comprehension would lose what came before an error)


async def test_a_watch_goes_on_after_what_it_has_seen_when_its_connection_is_lost(
    peer: Peer, time: Time, runs: Runs
) -> None:
    too_slow = TooMuch(timedelta(milliseconds=10), "the watch reads too slowly")
    peer.script = [
        [changes(0, 1, token="one"), DatabaseAway()],
        [changes(token="two"), grpc.StatusCode.UNAVAILABLE],
        [too_slow],
        [changes(2, token="three")],
    ]
    seen = [(change.transition.seq, change.resume_token) async for change in runs.watch("run_1")]
    assert seen == [(0, ""), (1, "one"), (2, "three")]
    assert [request.resume_token for request in peer.requests] == ["", "one", "two", "two"]
    assert time.waits == pytest.approx([0.05, 0.05, 0.11])  # each answer ends an outage, also one without a change


async def test_a_watch_of_a_filter_that_the_server_ends_is_begun_again(peer: Peer, runs: Runs) -> None:
    peer.script = [[changes(0, token="one")], [changes(1, token="two"), errors.WatchTokenExpired()]]
    seen: list[RunChange] = []
    with pytest.raises(WatchTokenExpired):
        await collect(runs.watch(task="send", labels={"a": "b"}, resume_token="given"), seen)
    assert [change.transition.seq for change in seen] == [0, 1]
    assert [request.resume_token for request in peer.requests] == ["given", "one"]
    assert all(request.filter == convert.run_filter(task="send", labels={"a": "b"}) for request in peer.requests)


async def test_a_watch_gives_up_after_an_outage_of_the_clients_timeout(peer: Peer, time: Time, runs: Runs) -> None:
    peer.script = [[changes(0, token="one"), DatabaseAway()], *([DatabaseAway()] for _ in range(50))]
    seen: list[RunChange] = []
    with pytest.raises(Unavailable):
        await collect(runs.watch(), seen)
    assert [change.resume_token for change in seen] == ["one"]
    assert 8 < sum(time.waits) < 10


async def test_leaving_a_watch_hangs_up(peer: Peer, runs: Runs) -> None:
    peer.script = [[changes(0, token="one"), peer.hang]]
    async with aclosing(runs.watch("run_1")) as watch:
        await anext(watch)
    await asyncio.wait_for(peer.hung_up.wait(), 5)


async def test_an_empty_run_id_does_not_watch_everything(runs: Runs) -> None:
    with pytest.raises(ValueError, match="run_id must not be empty"):
        await anext(runs.watch(""))

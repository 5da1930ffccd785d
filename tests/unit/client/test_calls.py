"""Calls: what is tried again, for how long, where, and what comes of everything else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from unit.client.peer import Peer, Time, serving

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2
from layeron_job import Client, DeadlineExceeded, InternalError, JobError, Overloaded, Unavailable
from layeron_job.calls import Calls, Server
from layeron_job_server.domain.errors import DatabaseAway
from layeron_job_server.domain.errors import Overloaded as TooMuch
from support import eventually
from support.processes import free_port

BUSY = TooMuch(timedelta(milliseconds=250), "enqueue")


def get_run(server: Server) -> Any:
    return server.jobs.GetRun


async def ask(calls: Calls) -> pb.GetRunResponse:
    return await calls.unary(get_run, pb.GetRunRequest(run_id="run_1"))


async def test_what_is_unavailable_is_tried_again_and_answered(peer: Peer, time: Time) -> None:
    """Also what somebody on the way canceled, which the caller did not."""
    codes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED]
    peer.script = [DatabaseAway(), *codes, pb.GetRunResponse(run=run_pb2.Run(name="here"))]
    calls = time.calls(peer.address)
    assert (await ask(calls)).run.name == "here"
    assert time.waits == [0.05, 0.1, 0.2]
    await calls.close()


async def test_waits_double_up_to_a_second_until_no_try_fits_into_the_time(peer: Peer, time: Time) -> None:
    peer.script = [DatabaseAway() for _ in range(20)]
    calls = time.calls(peer.address, timeout=5)
    with pytest.raises(Unavailable, match="the database cannot be reached"):
        await ask(calls)
    assert time.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert len(peer.requests) == 9
    await calls.close()


async def test_all_tries_share_one_deadline(peer: Peer, time: Time) -> None:
    peer.script = [DatabaseAway() for _ in range(20)]
    calls = time.calls(peer.address, timeout=3)
    with pytest.raises(Unavailable):
        await ask(calls)
    spent = [sum(time.waits[:number]) for number in range(len(time.waits) + 1)]
    for left, before in zip(peer.seconds_left, spent, strict=True):
        assert 3 - before - 0.5 < left < 3 - before + 0.11  # gRPC sends it in steps of 0.1 s
    await calls.close()


async def test_chance_shortens_a_wait_down_to_nothing(peer: Peer) -> None:
    time = Time()
    peer.script = [DatabaseAway(), DatabaseAway(), pb.GetRunResponse()]
    calls = Calls(peer.address, clock=lambda: time.now, chance=lambda: 0.0, sleep=time.sleep)
    await ask(calls)
    assert time.waits == [0.0, 0.0]
    await calls.close()


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (BUSY, Overloaded),
        (ZeroDivisionError(), InternalError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.ABORTED, JobError),
        (grpc.StatusCode.UNKNOWN, JobError),
    ],
    ids=str,
)
async def test_nothing_else_is_tried_again(peer: Peer, time: Time, step: Any, kind: type[JobError]) -> None:
    peer.script = [step]
    calls = time.calls(peer.address)
    with pytest.raises(JobError) as caught:
        await ask(calls)
    assert type(caught.value) is kind
    assert (time.waits, len(peer.requests)) == ([], 1)
    await calls.close()


async def test_an_overloaded_server_is_tried_again_when_it_says_for_those_who_wait_for_room(
    peer: Peer, time: Time
) -> None:
    calls = time.calls(peer.address)
    peer.script = [BUSY, BUSY, pb.GetRunResponse()]
    await calls.unary(get_run, pb.GetRunRequest(), wait_for_room=True)
    assert time.waits == [0.3, 0.35]
    peer.script = [BUSY for _ in range(50)]
    with pytest.raises(Overloaded):
        await calls.unary(get_run, pb.GetRunRequest(), wait_for_room=True)
    assert 8 < sum(time.waits[2:]) < 10
    await calls.close()


async def test_a_silent_server_is_given_up_at_the_deadline(peer: Peer) -> None:
    peer.script = [peer.hang]
    calls = Calls(peer.address, timeout=0.2)
    with pytest.raises(DeadlineExceeded, match=f"^no answer from {peer.address}"):
        await ask(calls)
    await calls.close()


async def test_an_address_where_nobody_is_is_named(time: Time) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    calls = time.calls(nowhere)
    with pytest.raises(Unavailable, match=f"^no answer from {nowhere}: ") as caught:
        await ask(calls)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")
    assert sum(time.waits) > 8
    await calls.close()


async def test_the_next_address_is_used_once_the_first_does_not_answer(peer: Peer, time: Time) -> None:
    peer.script = [pb.GetRunResponse() for _ in range(21)]
    calls = time.calls(f"127.0.0.1:{free_port()}", peer.address)
    # Many that fail together turn to the next address, and not past it.
    await asyncio.gather(*(ask(calls) for _ in range(20)))
    assert time.waits == [0.05] * 20
    await ask(calls)
    assert len(time.waits) == 20
    await calls.close()


async def test_a_server_that_never_answers_is_left_too(peer: Peer) -> None:
    async with serving() as silent:
        silent.script = [silent.hang]
        peer.script = [pb.GetRunResponse()]
        calls = Calls([silent.address, peer.address], timeout=0.2)
        with pytest.raises(DeadlineExceeded):
            await ask(calls)
        await ask(calls)
        await calls.close()


async def test_closing_ends_a_call_with_an_error_and_refuses_further_ones(peer: Peer) -> None:
    peer.script = [peer.hang]
    client = Client(peer.address)
    call = asyncio.create_task(client.runs.get("run_1"))
    await eventually(lambda: peer.requests)
    await client.close()
    with pytest.raises(JobError, match="the client was closed during the call"):
        await call
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.runs.get("run_1")
    await client.close()


async def test_closing_ends_a_watch_with_an_error(peer: Peer) -> None:
    peer.script = [[peer.hang]]
    client = Client(peer.address)
    watch = asyncio.create_task(anext(client.runs.watch()))
    await eventually(lambda: peer.requests)
    await client.close()
    with pytest.raises(JobError, match="the client was closed during the call"):
        await watch


async def test_canceling_a_caller_cancels_its_call(peer: Peer) -> None:
    peer.script = [peer.hang]
    async with Client(peer.address) as client:
        call = asyncio.create_task(client.runs.get("run_1"))
        await eventually(lambda: peer.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(peer.hung_up.wait(), 5)


async def test_the_token_is_sent_with_every_call_and_shown_nowhere(peer: Peer) -> None:
    peer.script = [pb.GetRunResponse(), [pb.WatchRunsResponse()]]
    async with Client(peer.address, token="hunter2") as client:
        await client.runs.get("run_1")
        assert [change async for change in client.runs.watch("run_1")] == []
        assert [seen["authorization"] for seen in peer.metadata] == ["Bearer hunter2"] * 2
        for shown in (client, client.runs, client._calls, vars(client)):
            assert "hunter2" not in repr(shown)
    async with Client(peer.address) as client:
        peer.script = [pb.GetRunResponse()]
        await client.runs.get("run_1")
        assert "authorization" not in peer.metadata[-1]


@pytest.mark.parametrize("token", ["", "two words", "line\nfeed", "ü"])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError, match=r"^token must be printable ASCII") as caught:
        Client(token=token)
    assert token not in str(caught.value) or not token


def test_the_address_comes_from_the_caller_or_the_environment_or_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LAYERON_JOB_ADDRESS", raising=False)
    assert repr(Client()) == "Client('localhost:7233', namespace='default')"
    monkeypatch.setenv("LAYERON_JOB_ADDRESS", "one:1, two:2")
    assert repr(Client(namespace="ours")) == "Client('one:1,two:2', namespace='ours')"
    assert repr(Client("three:3")) == repr(Client(["three:3", "three:3"])) == "Client('three:3', namespace='default')"
    with pytest.raises(ValueError, match="address must name at least one server"):
        Client(" , ")


def test_a_timeout_must_leave_some_time() -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0 s, not 0 s"):
        Client(timeout=timedelta(0))

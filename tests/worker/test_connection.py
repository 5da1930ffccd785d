"""How a worker reaches its servers: addresses in turn, waits that grow, and one name for all trouble with streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker import connection as connection_module
from layeron_job_worker.connection import ADDRESS_VARIABLE, Backoff, Servers, Stream, StreamBroken, greet
from support.scripted_server import ScriptedServer, scripted_server

HELLO = pb.Hello(last=True)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def stream(server: ScriptedServer) -> AsyncIterator[Stream]:
    stream = open_stream(server.address)
    yield stream
    await stream.close()


def open_stream(address: str) -> Stream:
    return Stream(Servers(address, None).channel(address), address)


def test_addresses_are_taken_in_turn_and_begin_again() -> None:
    servers = Servers("a:1, b:2,,c:3", None)
    assert servers.addresses == ["a:1", "b:2", "c:3"]
    assert [servers.current(), servers.advance(), servers.advance(), servers.advance()] == ["a:1", "b:2", "c:3", "a:1"]


def test_the_address_that_is_used_is_the_current_one_and_not_among_the_others() -> None:
    servers = Servers(["a:1", "b:2", "c:3"], None)
    servers.use("c:3")
    assert (servers.current(), servers.others()) == ("c:3", ["a:1", "b:2"])
    assert servers.advance() == "a:1"


def test_without_an_address_the_environment_says_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "d:4,e:5")
    assert Servers(None, None).addresses == ["d:4", "e:5"]
    monkeypatch.delenv(ADDRESS_VARIABLE)
    assert Servers(None, None).addresses == ["localhost:7233"]


def test_an_address_that_names_no_server_is_refused() -> None:
    with pytest.raises(ValueError, match="address must name at least one server"):
        Servers(" , ", None)


def test_waits_grow_to_their_maximum_and_begin_anew_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    backoff = Backoff(0.1, 5)
    assert [round(backoff.next(), 1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    backoff.reset()
    assert backoff.next() == 0.1


async def test_a_greeting_is_answered_with_the_welcome(stream: Stream) -> None:
    welcome = await greet(stream, [pb.Hello(namespace="theirs"), HELLO])
    assert (welcome.session_id, welcome.resumed) == ("ses_1", False)


async def test_a_server_that_does_not_welcome_in_time_is_left(
    server: ScriptedServer, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_WELCOME_SECONDS", 0.2)
    server.welcomes = False
    with pytest.raises(StreamBroken, match=r"no welcome within 0\.2 s"):
        await greet(stream, [HELLO])
    assert stream.ended.is_set()


async def test_a_server_that_says_something_else_first_is_left(server: ScriptedServer, stream: Stream) -> None:
    server.welcomes = False
    greeting = asyncio.create_task(greet(stream, [HELLO]))
    await (await server.stream(1)).say(drain=pb.Drain())
    with pytest.raises(StreamBroken, match="the server did not say welcome"):
        await greeting
    assert stream.ended.is_set()


async def test_nobody_at_the_address_is_a_broken_stream_and_no_refusal() -> None:
    stream = open_stream("127.0.0.1:1")
    with pytest.raises(StreamBroken, match="UNAVAILABLE") as caught:
        await greet(stream, [HELLO])
    assert not caught.value.is_refusal


@pytest.mark.parametrize(
    ("code", "refuses"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, True),
        (grpc.StatusCode.FAILED_PRECONDITION, True),
        (grpc.StatusCode.UNAUTHENTICATED, True),
        (grpc.StatusCode.PERMISSION_DENIED, True),
        (grpc.StatusCode.UNIMPLEMENTED, True),
        (grpc.StatusCode.INTERNAL, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        (None, False),
    ],
)
def test_only_what_cannot_come_right_is_a_refusal(code: grpc.StatusCode | None, refuses: bool) -> None:
    assert StreamBroken("no", code).is_refusal is refuses


async def test_a_read_ends_with_the_stream(server: ScriptedServer, stream: Stream) -> None:
    await greet(stream, [HELLO])
    (await server.stream(1)).end()
    assert await stream.read() is None


async def test_a_read_under_way_is_broken_when_the_stream_is_canceled(stream: Stream) -> None:
    await greet(stream, [HELLO])
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.cancel()
    with pytest.raises(StreamBroken):
        await reading


async def test_a_reader_that_is_canceled_itself_is_canceled(stream: Stream) -> None:
    await greet(stream, [HELLO])
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

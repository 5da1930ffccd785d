"""The guard: whatever a name says and however an address is written, only what is allowed is ever dialed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layeron_job_worker.webhooks import AddressRefused, Webhooks
from layeron_job_worker.webhooks.guard import Guard, Resolver, is_public, parse_networks, system_resolver
from support.receiver import Receiver
from support.webhooks import LOOPBACK, SECRET, deliver

PUBLIC = "8.8.8.8"


def answering(*answers: Sequence[str] | Exception) -> Resolver:
    """A resolver that gives these answers in turn, the last one for ever."""
    waiting = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return resolve


@asynccontextmanager
async def resolved_by(resolver: Resolver, **options: Any) -> AsyncIterator[Webhooks]:
    options.setdefault("allow_networks", LOOPBACK)
    async with aclosing(Webhooks(SECRET, resolver=resolver, timeout=5, **options)) as webhooks:
        yield webhooks


class Dialer(httpcore.AnyIOBackend):
    """Writes down what would be dialed, and connects to nothing."""

    def __init__(self) -> None:
        self.dialed: list[tuple[str, float | None]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialed.append((host, timeout))
        raise httpcore.ConnectError("not in a test")


async def dialed_by(
    *answer: str, allowed: Sequence[str] = (), public: bool = True, timeout: float | None = 8.0
) -> list[tuple[str, float | None]]:
    """What a guard dials for a name with these addresses; raises AddressRefused."""
    guard = Guard(parse_networks(allowed), answering(answer), public=public)
    dialer = guard._tcp = Dialer()
    with pytest.raises(httpcore.ConnectError):
        await guard.connect_tcp("receiver.example", 443, timeout)
    return dialer.dialed


# Which addresses are public.


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
        *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.9", "192.0.0.192"),
        *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "100::1", "fc00::1", "fd00:ec2::254"),
        *("fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "5f00::1"),
        *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "4000::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
    ],
)
def test_an_address_that_is_not_on_the_open_internet_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", PUBLIC, "172.32.0.1", "100.128.0.1", "2606:4700::1111"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_an_address_on_the_open_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_an_address_that_carries_another_is_judged_by_that(inner: Any) -> None:
    number = int(IPv4Address(inner))
    for carrier in (0xFFFF << 32 | number, 0x64_FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1):
        assert is_public(IPv6Address(carrier)) == is_public(inner)


# What is dialed.


async def test_the_address_that_was_judged_is_dialed_and_not_the_name() -> None:
    assert await dialed_by(PUBLIC) == [(PUBLIC, 8.0)]


async def test_several_addresses_share_the_time_and_at_most_four_are_tried() -> None:
    assert await dialed_by(PUBLIC, "1.1.1.1") == [(PUBLIC, 4.0), ("1.1.1.1", 4.0)]
    assert [host for host, _ in await dialed_by(*(f"8.8.8.{n}" for n in range(9)))] == [f"8.8.8.{n}" for n in range(4)]
    assert await dialed_by(PUBLIC, timeout=None) == [(PUBLIC, None)]


async def test_an_allowed_network_holds_for_every_way_to_write_its_addresses() -> None:
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"):
        assert await dialed_by(address, allowed=["10.0.0.0/8"]) == [(address, 8.0)]
    assert await dialed_by("fd00::1", allowed=["fd00::/8"]) == [("fd00::1", 8.0)]
    for address in ("11.1.2.3", "192.168.0.1", "::1", "fd00::1"):
        with pytest.raises(AddressRefused):
            await dialed_by(address, allowed=["10.0.0.0/8", "11.0.0.0/32"], public=False)


@pytest.mark.parametrize("answer", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC] * 9 + ["::1"]])
async def test_one_address_that_is_refused_refuses_the_name(answer: list[str]) -> None:
    with pytest.raises(AddressRefused, match=r"receiver\.example, at .*, is not on the public internet"):
        await dialed_by(*answer)


async def test_a_refusal_says_how_the_operator_allows_it() -> None:
    with pytest.raises(AddressRefused, match=r'operator allows it with Webhooks\(allow_networks=\["10\.0\.0\.1/32"\]'):
        await dialed_by("::ffff:10.0.0.1")
    with pytest.raises(AddressRefused, match=r'allow_networks=\["fd00::1/128"\]'):
        await dialed_by("fd00::1")


async def test_plain_http_goes_to_allowed_networks_only_unless_it_is_allowed_everywhere() -> None:
    async with resolved_by(answering([PUBLIC])) as webhooks:
        outcome = await deliver(webhooks, "http://receiver.example/")
        assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "AddressRefused", True)
        assert "allow_http=True" in outcome.error_message
    assert await dialed_by(PUBLIC, public=True) == [(PUBLIC, 8.0)]
    assert await dialed_by("127.0.0.1", allowed=LOOPBACK, public=False) == [("127.0.0.1", 8.0)]


@pytest.mark.parametrize(("allow_http", "error_type"), [(False, "AddressRefused"), (True, "ConnectionFailed")])
async def test_allow_http_lets_plain_http_go_to_public_addresses(allow_http: bool, error_type: str) -> None:
    async with resolved_by(answering([PUBLIC]), allow_http=allow_http) as webhooks:
        for pool in webhooks._pools.values():
            backend = pool._network_backend
            assert isinstance(backend, Guard)
            backend._tcp = Dialer()
        assert (await deliver(webhooks, "https://receiver.example/")).error_type == "ConnectionFailed"
        assert (await deliver(webhooks, "http://receiver.example/")).error_type == error_type


# From end to end.


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "[::1]", "[::]", "0.0.0.0"),
        *("2130706433", "0x7f000001", "0x7f.1", "0x7F.0.0.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001"),
        *("127.0.0.0x1", "0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"),
        *("[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "127。0。0。1", "１２７.0.0.1"),
    ],
)
async def test_nothing_reaches_this_machine_unless_allowed(receiver: Receiver, scheme: str, host: str) -> None:
    async with aclosing(Webhooks(SECRET, allow_http=True, timeout=5)) as webhooks:
        outcome = await deliver(webhooks, f"{scheme}://{host}:{receiver.port}/")
    assert (outcome.kind, outcome.do_not_retry) == ("failed", True)
    assert outcome.error_type in ("AddressRefused", "PayloadInvalid")
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost", "::ffff:127.0.0.1"])
async def test_the_guard_alone_sees_through_every_form_that_the_system_takes_for_an_address(host: str) -> None:
    with pytest.raises(AddressRefused):
        await Guard((), system_resolver, public=True).connect_tcp(host, 1, 5.0)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/", "https://10.0.0.1:8443/"]
)
async def test_the_inside_of_a_cloud_is_refused_for_good(webhooks: Webhooks, url: str) -> None:
    outcome = await deliver(webhooks, url)
    assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "AddressRefused", True)
    assert "nothing was sent" in outcome.error_message


async def test_a_name_that_answers_differently_a_moment_later_gains_nothing(receiver: Receiver) -> None:
    async with resolved_by(answering(["127.0.0.1"], ["169.254.169.254"])) as webhooks:
        url = f"http://receiver.example:{receiver.port}/"
        assert (await deliver(webhooks, url)).kind == "succeeded", "it was asked once, judged, and dialed"
        assert (await deliver(webhooks, url)).kind == "succeeded", "the connection is the one that was judged"
        assert (len(receiver.requests), receiver.connections) == (2, 1)
        await webhooks.aclose()
        outcome = await deliver(webhooks, url)
    assert (outcome.error_type, outcome.do_not_retry) == ("AddressRefused", True)
    assert "169.254.169.254" in outcome.error_message


async def test_the_receiver_is_still_asked_for_by_its_name(receiver: Receiver) -> None:
    async with resolved_by(answering(["127.0.0.1"])) as webhooks:
        outcome = await deliver(webhooks, f"http://Bücher.example:{receiver.port}/")
    assert outcome.kind == "succeeded", outcome.error_detail
    assert receiver.requests[0].headers["host"] == f"xn--bcher-kva.example:{receiver.port}"


async def test_tls_names_the_receiver_and_not_its_address() -> None:
    hello: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.set_result(await reader.read(4_096))
        writer.close()

    async with (
        await asyncio.start_server(take_hello, "127.0.0.1", 0) as server,
        resolved_by(answering(["127.0.0.1"])) as webhooks,
    ):
        port = server.sockets[0].getsockname()[1]
        assert (await deliver(webhooks, f"https://receiver.example:{port}/")).error_type == "ConnectionFailed"
    assert b"receiver.example" in hello.result()


async def test_an_address_that_does_not_answer_leaves_the_next_one_its_chance(receiver: Receiver) -> None:
    async with resolved_by(answering(["127.0.0.2", "127.0.0.1"])) as webhooks:
        outcome = await deliver(webhooks, f"http://receiver.example:{receiver.port}/")
    assert outcome.kind == "succeeded", outcome.error_detail


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "label too long"),
        ([], "has no address"),
    ],
)
async def test_a_name_without_an_address_is_tried_again(answer: Any, said: str) -> None:
    async with resolved_by(answering(answer)) as webhooks:
        outcome = await deliver(webhooks, "https://receiver.example/")
    assert (outcome.error_type, outcome.do_not_retry) == ("ConnectionFailed", False)
    assert said in outcome.error_message

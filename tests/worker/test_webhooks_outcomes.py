"""How a delivery ends: it is tried again when that may help, and only then, at the time the receiver asks for."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from layeron_job_worker.testing import run_task
from layeron_job_worker.webhooks import Webhooks
from support import eventually
from support.receiver import Receiver, open_receiver, reply
from support.webhooks import LOOPBACK, SECRET, deliver


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_succeeds_and_the_result_says_what_was_answered(
    webhooks: Webhooks, receiver: Receiver, status: int
) -> None:
    receiver.answer = reply(status, b"" if status == 204 else "schön".encode())
    outcome = await deliver(webhooks, receiver.url)
    assert outcome.kind == "succeeded", outcome.error_detail
    assert set(outcome.result) == {"status", "body", "duration_ms"}
    assert (outcome.result["status"], outcome.result["body"]) == (status, "" if status == 204 else "schön")
    assert 0 <= outcome.result["duration_ms"] <= outcome.ran_ms + 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599, 600])
async def test_what_may_pass_is_tried_again_by_the_policy(webhooks: Webhooks, receiver: Receiver, status: int) -> None:
    receiver.answer = reply(status, b"come back")
    outcome = await deliver(webhooks, receiver.url)
    assert (outcome.kind, outcome.do_not_retry, outcome.retry_after) == ("failed", False, None)
    assert outcome.error_type == f"HttpStatus{status}"
    assert f"answered {status}" in outcome.error_message
    assert outcome.error_detail.endswith("The answer's body: come back\n")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 451])
async def test_what_will_not_pass_is_not_tried_again(webhooks: Webhooks, receiver: Receiver, status: int) -> None:
    receiver.answer = reply(status, b"no", {"retry-after": "5"})
    outcome = await deliver(webhooks, receiver.url)
    assert (outcome.kind, outcome.do_not_retry, outcome.retry_after) == ("failed", True, None)
    assert outcome.error_type == f"HttpStatus{status}"


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_not_followed_and_says_why(webhooks: Webhooks, receiver: Receiver, status: int) -> None:
    async with open_receiver() as elsewhere:
        for location in (elsewhere.url, "http://169.254.169.254/latest/meta-data/"):
            receiver.answer = reply(status, headers={"location": location})
            outcome = await deliver(webhooks, receiver.url)
            assert (outcome.kind, outcome.do_not_retry) == ("failed", True)
            assert outcome.error_type == f"HttpStatus{status}"
            assert "redirects are not followed" in outcome.error_message
        assert elsewhere.connections == 0


def as_header(wait: str | timedelta) -> str:
    """A Retry-After: as it is, or the HTTP date at which a wait is over."""
    return wait if isinstance(wait, str) else format_datetime(datetime.now(UTC) + wait, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("wait", "least", "most"),
    [
        ("7", 7, 7),
        ("86400", 86_400, 86_400),
        ("9" * 5_000, 86_400, 86_400),
        (timedelta(seconds=3_000), 2_900, 3_000),
        (timedelta(days=6), 86_400, 86_400),
    ],
)
async def test_a_receiver_says_when_to_come_back_up_to_a_day(
    webhooks: Webhooks, receiver: Receiver, status: int, wait: str | timedelta, least: float, most: float
) -> None:
    receiver.answer = reply(status, headers={"Retry-After": as_header(wait)})
    outcome = await deliver(webhooks, receiver.url)
    assert outcome.retry_after is not None, outcome.error_message
    assert least <= outcome.retry_after <= most
    assert (outcome.error_type, outcome.do_not_retry) == (f"HttpStatus{status}", False)
    assert "asked to wait" in outcome.error_message


async def test_a_date_without_a_zone_is_one_of_utc(webhooks: Webhooks, receiver: Receiver) -> None:
    date = as_header(timedelta(hours=1)).replace("GMT", "-0000")
    receiver.answer = reply(503, headers={"Retry-After": date})
    outcome = await deliver(webhooks, receiver.url)
    assert outcome.retry_after is not None
    assert 3_500 < outcome.retry_after <= 3_600


@pytest.mark.parametrize(
    "wait", ["0", "-5", "1.5", "soon", "", "٣", timedelta(minutes=-1), "Fri, 99 Foo 2026 99:99:99 GMT"]
)
async def test_a_wait_that_is_none_or_over_is_left_to_the_policy(
    webhooks: Webhooks, receiver: Receiver, wait: str | timedelta
) -> None:
    receiver.answer = reply(503).replace(b"\r\n\r\n", f"\r\nretry-after: {as_header(wait)}\r\n\r\n".encode())
    outcome = await deliver(webhooks, receiver.url)
    assert (outcome.error_type, outcome.retry_after, outcome.do_not_retry) == ("HttpStatus503", None, False)


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def silent_after_the_head(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"x" * 10)[:-9])
    await writer.drain()
    await asyncio.sleep(30)


async def dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"x" * 10_000)[:-10_000])
    for _ in range(10_000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [silent, silent_after_the_head, dripping])
async def test_the_timeout_holds_for_the_whole_answer_and_is_tried_again(receiver: Receiver, answer: Any) -> None:
    receiver.answer = answer
    async with aclosing(Webhooks(SECRET, allow_networks=LOOPBACK, timeout=0.15)) as webhooks:
        outcome = await deliver(webhooks, receiver.url)
        assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "NoAnswer", False)
        assert outcome.error_message == f"{receiver.url} did not answer within 0.15 s"
        assert 140 <= outcome.ran_ms < 3_000
        await eventually(lambda: len(webhooks._pools["http"].connections) == 0)


async def test_the_attempts_own_timeout_holds_as_well(webhooks: Webhooks, receiver: Receiver) -> None:
    receiver.answer = silent
    outcome = await run_task(webhooks, "deliver-webhook", {"url": receiver.url, "body": 1}, timeout=0.1)
    assert (outcome.kind, outcome.error_type) == ("timed_out", "Timeout")


async def test_a_cancel_ends_the_delivery_and_its_connection(webhooks: Webhooks, receiver: Receiver) -> None:
    receiver.answer = silent
    outcome = await run_task(webhooks, "deliver-webhook", {"url": receiver.url, "body": 1}, cancel_after=0.1)
    assert outcome.kind == "canceled"
    assert webhooks._pools["http"].connections == []


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    """No answer at all."""


async def breaks_off(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"x" * 10)[:-5])
    await writer.drain()


async def resets(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def talks_nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("answer", [hangs_up, breaks_off, resets, talks_nonsense])
async def test_a_broken_connection_is_tried_again(webhooks: Webhooks, receiver: Receiver, answer: Any) -> None:
    receiver.answer = answer
    outcome = await deliver(webhooks, receiver.url)
    assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "ConnectionFailed", False)
    assert outcome.error_message.startswith(f"the connection to {receiver.url} failed: ")


async def test_a_refused_connection_is_tried_again_and_says_so(webhooks: Webhooks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    outcome = await deliver(webhooks, f"http://127.0.0.1:{port}/")
    assert (outcome.error_type, outcome.do_not_retry) == ("ConnectionFailed", False)
    assert "ConnectionRefusedError" in outcome.error_message


async def test_tls_that_fails_is_tried_again(webhooks: Webhooks) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talks_nonsense(writer)
        writer.close()

    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        outcome = await deliver(webhooks, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (outcome.error_type, outcome.do_not_retry) == ("ConnectionFailed", False)
    assert "SSLError" in outcome.error_message


async def test_a_receiver_that_never_stops_talking_is_cut_off_and_a_snippet_kept(
    webhooks: Webhooks, receiver: Receiver
) -> None:
    ended = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"ab" * 32_000)
                await writer.drain()
        except ConnectionError:
            ended.set()

    receiver.answer = endless
    outcome = await deliver(webhooks, receiver.url)
    assert outcome.kind == "succeeded", outcome.error_detail
    assert outcome.result["body"] == "ab" * 512
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_body_of_10_mb_costs_no_more_than_what_is_kept(webhooks: Webhooks, receiver: Receiver) -> None:
    receiver.answer = reply(500, b"x" * 10_000_000)
    outcome = await deliver(webhooks, receiver.url)
    assert outcome.error_type == "HttpStatus500"
    assert outcome.error_detail.endswith(f"body: {'x' * 1024}\n")
    receiver.answer = reply(200)
    assert (await deliver(webhooks, receiver.url)).kind == "succeeded"
    assert receiver.connections == 2, "a connection with an unread answer is not used again"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("ü".encode() * 1_000, "ü" * 512),
        (b"x" + "😀".encode() * 1_000, "x" + "😀" * 255),
        (b"\xff\xfe\0bytes", "��bytes"),
        (b"\0" * 2_000, ""),
    ],
)
async def test_any_body_becomes_text_of_at_most_1_kib(
    webhooks: Webhooks, receiver: Receiver, body: bytes, shown: str
) -> None:
    receiver.answer = reply(200, body)
    outcome = await deliver(webhooks, receiver.url)
    assert outcome.kind == "succeeded", outcome.error_detail
    assert outcome.result["body"] == shown

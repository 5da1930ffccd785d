"""One attempt: whatever a handler returns or raises becomes exactly one report within the limits of the contract."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from layeron_job_worker import Context, DoNotRetry, RetryAfter
from layeron_job_worker.outcome import Outcome
from support.attempts import Desk

NAN = float("nan")


@dataclass
class Point:
    x: float


def raising(error: BaseException) -> Callable[[Any], Any]:
    async def handler(payload: Any) -> NoReturn:
        raise error

    return handler


def raising_in_a_thread(error: BaseException) -> Callable[[Any], Any]:
    def handler(payload: Any) -> NoReturn:
        raise error

    return handler


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def returning(value: Any) -> Callable[[Any], Any]:
    async def handler(payload: Any) -> Any:
        return value

    return handler


# What a handler gets and returns.


@pytest.mark.parametrize("payload", [None, [], {"a": [1, 2.5, "ü", None, True]}, "text", 0, 2**53 - 1])
async def test_a_payload_arrives_and_a_result_leaves_as_json(desk: Desk, payload: Any) -> None:
    got = []

    async def handler(payload: Any) -> Any:
        got.append(payload)
        return {"echo": payload}

    outcome = await desk.run(handler, payload)
    assert got == [payload]
    assert outcome.kind == "succeeded"
    assert outcome.result_json.startswith(b'{"echo":')


async def test_an_empty_payload_is_null_and_a_null_result_is_empty(desk: Desk) -> None:
    outcome = await desk.run(returning(None), payload_json=b"")
    assert outcome == Outcome("succeeded", b"")


async def test_a_sync_handler_runs_in_a_thread_and_sees_the_context_variables_of_its_begin(desk: Desk) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")

    def handler(payload: Any, ctx: Context) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return [variable.get(), payload, ctx.attempt]

    outcome = await desk.run(handler, 5, attempt=3)
    assert outcome.result_json == b'["set",5,3]'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "not JSON"),
        ({1: 2}, "not JSON"),
        (2**53, "not JSON"),
        ("\ud800", "not JSON"),
        ([1.0, NAN], "not finite"),
        ({"a": {"b": (float("inf"), None)}}, "not finite"),
        (Point(-float("inf")), "not finite"),
        ("a\0b", "U+0000"),
        ([{"a\0b": 1}], "U+0000"),
        (nested(21), "deeper than 20"),
        ("x" * 999, "1001 bytes; the limit is 1000"),
    ],
)
async def test_a_result_that_is_not_json_or_too_long_fails_for_good(desk: Desk, value: Any, said: str) -> None:
    outcome = await desk.run(returning(value))
    assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "ResultInvalid", True)
    assert said in outcome.error_message
    assert outcome.result_json == b""


async def test_a_result_at_the_limit_and_one_that_says_null_succeed(desk: Desk) -> None:
    assert (await desk.run(returning("x" * 998))).kind == "succeeded"
    assert (await desk.run(returning({"null": [None, 1.5, (Point(0.5),)]}))).kind == "succeeded"
    assert (await desk.run(returning(nested(20)))).kind == "succeeded"
    assert (await desk.run(returning([[]] * 50))).kind == "succeeded"
    assert (await desk.run(returning("not \\u0000"))).kind == "succeeded"


# What a handler raises.


@pytest.mark.parametrize("wrap", [raising, raising_in_a_thread])
@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), StopIteration(), asyncio.CancelledError(), BaseException("base")]
)
async def test_whatever_a_handler_raises_is_one_failure_with_its_type(
    desk: Desk, wrap: Callable[[BaseException], Any], error: BaseException
) -> None:
    attempt = desk.attempt(wrap(error))
    attempt.begin()
    outcome = await desk.outcome(attempt)
    assert outcome.kind == "failed"
    # A coroutine cannot raise StopIteration: Python makes it a RuntimeError.
    assert outcome.error_type in (type(error).__name__, "RuntimeError")
    assert not outcome.do_not_retry
    assert outcome.retry_after_ms is None
    assert desk.of(attempt) == ["reported", "ended"]


@pytest.mark.parametrize("wrap", [raising, raising_in_a_thread])
async def test_the_detail_is_the_traceback_from_the_handler_on(
    desk: Desk, wrap: Callable[[BaseException], Any]
) -> None:
    outcome = await desk.run(wrap(ValueError("said so")))
    assert outcome.error_message == "said so"
    assert outcome.error_detail.endswith("ValueError: said so\n")
    assert "in handler" in outcome.error_detail
    assert "layeron_job_worker" not in outcome.error_detail


async def test_what_a_failure_says_is_cut_to_the_limits_of_the_contract(desk: Desk) -> None:
    error = type("E" * 300, (Exception,), {})("ü" * 20_000 + "\0")
    outcome = await desk.run(raising(error))
    assert len(outcome.error_type) == 255
    assert outcome.error_message == "ü" * 4_096
    assert len(outcome.error_detail.encode()) <= 32 * 1024
    assert outcome.error_detail.endswith("ü\n")
    assert "\0" not in outcome.error_detail


async def test_an_error_that_cannot_be_shown_is_a_failure_all_the_same(desk: Desk) -> None:
    class Shy(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    outcome = await desk.run(raising(Shy()))
    assert outcome.kind == "failed"
    assert outcome.error_type.endswith("Shy")
    assert outcome.error_message == "(its message cannot be shown)"


@pytest.mark.parametrize("delay", [0, 1.5, timedelta(days=30)])
async def test_a_handler_says_when_to_try_again(desk: Desk, delay: float | timedelta) -> None:
    outcome = await desk.run(raising(RetryAfter(delay)))
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    assert (outcome.kind, outcome.error_type, outcome.retry_after_ms) == ("failed", "RetryAfter", seconds * 1000)


@pytest.mark.parametrize("delay", [-0.001, 30 * 86_400 + 1, NAN, timedelta(seconds=-1)])
def test_a_delay_beyond_the_limit_is_refused_where_it_is_made(delay: float | timedelta) -> None:
    with pytest.raises(ValueError, match="delay must be 0 to 30 days"):
        RetryAfter(delay)


async def test_a_retry_after_that_has_no_delay_is_tried_again_by_the_policy(desk: Desk) -> None:
    class Later(RetryAfter):
        def __init__(self) -> None:
            Exception.__init__(self, "later")  # and the delay is never set

    attempt = desk.attempt(raising(Later()))
    attempt.begin()
    outcome = await desk.outcome(attempt)
    assert (outcome.kind, outcome.error_message, outcome.retry_after_ms) == ("failed", "later", None)
    assert desk.of(attempt) == ["reported", "ended"]


async def test_a_handler_says_that_no_retry_would_help(desk: Desk) -> None:
    class NoSuchCustomer(DoNotRetry):
        pass

    outcome = await desk.run(raising(NoSuchCustomer("42")))
    assert (outcome.kind, outcome.do_not_retry, outcome.error_message) == ("failed", True, "42")


async def test_the_error_text_of_a_handler_is_not_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await desk.run(raising(ValueError("card 4111")), {"card": "4111"})
    assert "ValueError" in caplog.text
    assert "4111" not in caplog.text

"""How an attempt is stopped: by its timeout, a cancel, a shutdown or a lost lease, each with at most one report."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from layeron_job_worker import Context
from layeron_job_worker import executor as executor_module
from layeron_job_worker.executor import Attempt
from layeron_job_worker.outcome import Outcome
from support import eventually
from support.attempts import Desk


async def waits(payload: Any, ctx: Context) -> None:
    """A handler that goes on until it is told to stop."""
    await asyncio.Event().wait()


async def begin(attempt: Attempt) -> None:
    """Begin it and let its handler take its first step."""
    attempt.begin()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_an_async_handler_is_canceled_at_its_timeout(desk: Desk) -> None:
    outcome = await desk.run(waits, timeout_ms=30)
    assert (outcome.kind, outcome.error_type) == ("timed_out", "Timeout")
    assert outcome.error_message == "ran longer than its timeout of 0.03 s"


async def test_a_cancel_order_stops_an_async_handler_and_repeating_it_changes_nothing(desk: Desk) -> None:
    attempt = desk.attempt(waits)
    await begin(attempt)
    attempt.cancel()
    attempt.cancel()
    outcome = await desk.outcome(attempt)
    attempt.cancel()
    assert (outcome.kind, outcome.error_type) == ("canceled", "Canceled")
    assert desk.of(attempt) == ["reported", "ended"]


async def test_a_cancel_order_before_the_first_step_never_calls_the_handler(desk: Desk) -> None:
    for handler in (pytest.fail, lambda payload: pytest.fail("called")):
        attempt = desk.attempt(handler)
        attempt.begin()
        attempt.cancel()
        outcome = await desk.outcome(attempt)
        assert outcome.kind == "canceled"
        assert desk.of(attempt) == ["reported", "ended"]


async def test_a_cancel_order_before_the_begin_is_reported_at_once(desk: Desk) -> None:
    attempt = desk.attempt(pytest.fail)
    attempt.cancel()
    attempt.cancel()
    assert attempt.outcome is not None
    assert attempt.outcome.kind == "canceled"
    assert (desk.of(attempt), attempt.ended, attempt.ran_ms) == (["reported"], True, 0)


async def test_a_sync_handler_sees_the_request_to_stop(desk: Desk) -> None:
    began = threading.Event()

    def handler(payload: Any, ctx: Context) -> None:
        began.set()
        while not ctx.cancel_requested:
            threading.Event().wait(0.001)
        raise InterruptedError

    attempt = desk.attempt(handler)
    attempt.begin()
    await eventually(began.is_set, every=0.002)
    attempt.cancel()
    outcome = await desk.outcome(attempt)
    assert outcome.kind == "canceled"
    assert "InterruptedError" in outcome.error_detail


async def test_work_that_is_done_in_spite_of_a_cancel_is_a_success(desk: Desk) -> None:
    async def handler(payload: Any) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        raise AssertionError

    attempt = desk.attempt(handler)
    await begin(attempt)
    attempt.cancel()
    assert await desk.outcome(attempt) == Outcome("succeeded", b'"done"')


async def test_an_error_after_a_cancel_order_is_kept_as_the_detail_of_the_cancel(desk: Desk) -> None:
    async def handler(payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    attempt = desk.attempt(handler)
    await begin(attempt)
    attempt.cancel()
    outcome = await desk.outcome(attempt)
    assert outcome.kind == "canceled"
    assert "ValueError: while cleaning up" in outcome.error_detail


async def test_a_shutdown_interrupts_what_runs(desk: Desk) -> None:
    attempt = desk.attempt(waits)
    await begin(attempt)
    attempt.shut_down()
    outcome = await desk.outcome(attempt)
    assert (outcome.kind, outcome.error_type) == ("interrupted", "Shutdown")


async def test_a_lapsed_lease_interrupts_what_runs(desk: Desk) -> None:
    attempt = desk.attempt(waits)
    await begin(attempt)
    attempt.lapse()
    outcome = await desk.outcome(attempt)
    assert (outcome.kind, outcome.error_type) == ("interrupted", "LeaseLost")


async def test_a_handler_that_finishes_after_a_lapsed_lease_has_succeeded(desk: Desk) -> None:
    """Whether the attempt is still ours is for the server to say."""
    free = threading.Event()
    attempt = desk.attempt(lambda payload: free.wait(5))
    await begin(attempt)
    attempt.lapse()
    free.set()
    assert (await desk.outcome(attempt)).kind == "succeeded"


async def test_a_lapsed_lease_changes_nothing_of_what_has_ended(desk: Desk) -> None:
    attempt = desk.attempt()
    attempt.begin()
    outcome = await desk.outcome(attempt)
    attempt.lapse()
    assert (attempt.outcome, desk.of(attempt)) == (outcome, ["reported", "ended"])


async def test_a_grant_that_has_not_begun_when_the_lease_lapses_is_handed_back(desk: Desk) -> None:
    attempt = desk.attempt(pytest.fail)
    attempt.lapse()
    assert attempt.outcome is not None
    assert (attempt.outcome.kind, attempt.outcome.error_type) == ("interrupted", "LeaseLost")
    assert (attempt.ran_ms, attempt.ended, desk.of(attempt)) == (0, True, ["reported"])


async def test_a_handler_that_began_is_never_said_to_have_run_for_0_ms(desk: Desk) -> None:
    attempt = desk.attempt()
    attempt.begin()
    await desk.outcome(attempt)
    assert attempt.ran_ms >= 1


async def test_the_first_reason_to_stop_is_the_one_that_is_reported(desk: Desk) -> None:
    attempt = desk.attempt(waits)
    await begin(attempt)
    attempt.cancel()
    attempt.shut_down()
    assert (await desk.outcome(attempt)).kind == "canceled"


async def test_a_handler_that_ignores_its_timeout_is_reported_but_keeps_its_slot_until_it_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "UNWIND_SECONDS", 0.01)
    free = asyncio.Event()

    async def handler(payload: Any) -> str:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    attempt = desk.attempt(handler, timeout_ms=10)
    attempt.begin()
    await eventually(lambda: attempt.outcome, every=0.002)
    assert attempt.outcome is not None
    assert attempt.outcome.kind == "timed_out"
    assert (desk.of(attempt), attempt.ended) == (["reported"], False)
    ran_ms = attempt.ran_ms
    free.set()
    outcome = await desk.outcome(attempt)
    assert outcome.kind == "timed_out"
    assert desk.of(attempt) == ["reported", "ended"]
    assert attempt.ran_ms == ran_ms


async def test_an_abandoned_attempt_is_stopped_and_never_reported(desk: Desk) -> None:
    attempt = desk.attempt(waits)
    await begin(attempt)
    attempt.abandon()
    await eventually(lambda: attempt.ended, every=0.002)
    assert attempt.context.cancel_requested
    assert desk.of(attempt) == ["ended"]


async def test_an_attempt_abandoned_before_its_begin_is_over(desk: Desk) -> None:
    attempt = desk.attempt(pytest.fail)
    attempt.abandon()
    assert attempt.ended
    attempt.cancel()
    assert desk.told == []


async def test_a_worker_that_gives_up_reports_what_still_runs_as_interrupted_once(desk: Desk) -> None:
    free = threading.Event()
    attempt = desk.attempt(lambda payload: free.wait(5))
    attempt.begin()
    attempt.shut_down()
    attempt.give_up()
    attempt.give_up()
    free.set()
    outcome = await desk.outcome(attempt)
    assert outcome.kind == "interrupted"
    assert desk.of(attempt) == ["reported", "ended"]


async def test_a_grant_that_does_not_begin_is_handed_back(desk: Desk) -> None:
    attempt = desk.attempt(pytest.fail)
    attempt.never_began("interrupted", "NotBegun", "no slot became free in time")
    assert attempt.outcome == Outcome("interrupted", error_type="NotBegun", error_message="no slot became free in time")
    assert (attempt.ran_ms, attempt.ended, desk.of(attempt)) == (0, True, ["reported"])


async def test_notes_end_with_the_outcome(desk: Desk) -> None:
    contexts: list[Context] = []

    async def handler(payload: Any, ctx: Context) -> None:
        contexts.append(ctx)
        ctx.progress(1)
        await asyncio.sleep(0)

    await desk.run(handler)
    assert desk.notes == 1
    contexts[0].progress(2)
    await asyncio.sleep(0)
    assert desk.notes == 1

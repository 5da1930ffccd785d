"""`run_task`: a handler behaves in its owner's tests as it will in production, with no server in sight."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from layeron_job_worker import Context, DoNotRetry, Retry, RetryAfter, Worker
from layeron_job_worker import executor as executor_module
from layeron_job_worker.testing import run_task
from support import eventually

worker = Worker("nowhere:1")


@worker.task("describe", retry=Retry(attempts=7))
async def describe(payload: Any, ctx: Context) -> Any:
    return {
        "payload": payload,
        "ctx": [ctx.task, ctx.attempt, ctx.counted_attempts, ctx.max_attempts, ctx.name, ctx.namespace],
        "labels": ctx.labels,
        "trace_context": ctx.trace_context,
        "payload_encoding": ctx.payload_encoding,
        "run_id": ctx.run_id,
        "age": time.time() - ctx.created_at.timestamp() < 60,
    }


@worker.task("slow", timeout=0.03)
async def slow(payload: Any) -> None:
    await asyncio.Event().wait()


async def test_a_task_of_a_worker_runs_with_the_workers_defaults_and_a_context_of_the_tests_choice() -> None:
    outcome = await run_task(
        worker,
        "describe",
        {"n": 1},
        attempt=3,
        run_id="run_x",
        name="for people",
        namespace="tenant",
        labels={"team": "a"},
        trace_context={"traceparent": "00-1"},
        payload_encoding="age",
    )
    assert (outcome.kind, outcome.error_type, outcome.error_detail) == ("succeeded", "", "")
    assert outcome.result == {
        "payload": {"n": 1},
        "ctx": ["describe", 3, 2, 7, "for people", "tenant"],
        "labels": {"team": "a"},
        "trace_context": {"traceparent": "00-1"},
        "payload_encoding": "age",
        "run_id": "run_x",
        "age": True,
    }


async def test_each_run_has_an_id_of_its_own_and_is_a_first_attempt() -> None:
    first, second = [(await run_task(describe, "any-name")).result for _ in range(2)]
    assert first["run_id"] != second["run_id"]
    assert first["run_id"].startswith("run_")
    assert first["ctx"][:4] == ["any-name", 1, 0, 3]
    assert first["payload"] is None


async def test_payload_and_result_go_through_json() -> None:
    async def handler(payload: Any) -> Any:
        assert payload == {"a": [1, 2]}
        return {"tuple": (1, 2)}

    outcome = await run_task(handler, "work", {"a": (1, 2)})
    assert outcome.result == {"tuple": [1, 2]}


@pytest.mark.parametrize("payload", [object(), {1: 2}, float("nan"), 2**53])
async def test_a_payload_that_could_not_be_enqueued_is_refused(payload: Any) -> None:
    with pytest.raises(TypeError):
        await run_task(describe, "work", payload)


async def test_a_result_that_the_server_would_not_get_is_a_failure_here_too() -> None:
    async def handler(payload: Any) -> Any:
        return "x" * payload

    assert (await run_task(handler, "work", 256 * 1024 - 2)).kind == "succeeded"
    for outcome in (
        await run_task(handler, "work", 256 * 1024 - 1),
        await run_task(lambda payload: {1, 2}, "work"),
    ):
        assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "ResultInvalid", True)
        assert outcome.result is None


async def test_what_a_handler_raises_is_in_the_outcome() -> None:
    def handler(payload: Any) -> None:
        raise {"later": RetryAfter(1.5, "busy"), "never": DoNotRetry("gone"), "bug": KeyError("k")}[payload]

    later, never, bug = [await run_task(handler, "work", case) for case in ("later", "never", "bug")]
    assert (later.error_type, later.error_message, later.retry_after) == ("RetryAfter", "busy", 1.5)
    assert (never.error_type, never.do_not_retry, never.retry_after) == ("DoNotRetry", True, None)
    assert (bug.kind, bug.error_type, bug.do_not_retry) == ("failed", "KeyError", False)
    assert "in handler" in bug.error_detail


async def test_the_timeout_is_the_tasks_unless_the_test_says_another() -> None:
    outcome = await run_task(worker, "slow")
    assert (outcome.kind, outcome.error_message) == ("timed_out", "ran longer than its timeout of 0.03 s")
    outcome = await run_task(worker, "slow", timeout=timedelta(milliseconds=10))
    assert outcome.error_message == "ran longer than its timeout of 0.01 s"
    assert outcome.ran_ms >= 10


@pytest.mark.parametrize("cancel_after", [0, 0.01])
async def test_a_cancel_reaches_the_handler(cancel_after: float) -> None:
    seen = []

    async def handler(payload: Any, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(ctx.cancel_requested)

    outcome = await run_task(handler, "work", cancel_after=cancel_after)
    assert (outcome.kind, seen) == ("canceled", [True])


async def test_a_cancel_reaches_a_handler_in_a_thread() -> None:
    def handler(payload: Any, ctx: Context) -> str:
        while not ctx.cancel_requested:
            threading.Event().wait(0.001)
        return "done in time"

    outcome = await run_task(handler, "work", cancel_after=0.01)
    assert (outcome.kind, outcome.result) == ("succeeded", "done in time")


async def test_progress_and_log_lines_are_told() -> None:
    async def handler(payload: Any, ctx: Context) -> None:
        ctx.log.debug("not kept")
        for number in range(3):
            ctx.progress({"done": number})
            ctx.log.info("did %d", number)

    outcome = await run_task(handler, "work")
    assert outcome.progress == {"done": 2}
    assert [line.partition(" ")[2] for line in outcome.log_lines] == ["INFO did 0", "INFO did 1", "INFO did 2"]
    quiet = await run_task(describe, "work")
    assert (quiet.progress, quiet.log_lines) == (None, [])


async def test_a_handler_that_ignores_its_timeout_does_not_hold_up_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "UNWIND_SECONDS", 0.01)
    free = threading.Event()
    outcome = await run_task(lambda payload: free.wait(5), "work", timeout=0.01)
    free.set()
    assert outcome.kind == "timed_out"


async def test_a_test_that_gives_up_stops_its_handler() -> None:
    state: list[str] = []

    async def handler(payload: Any) -> None:
        state.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            state.append("stopped")

    running = asyncio.create_task(run_task(handler, "work"))
    await eventually(lambda: state, every=0.002)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await eventually(lambda: state == ["began", "stopped"], every=0.002)


async def test_a_task_that_the_worker_does_not_have_is_a_mistake_of_the_test() -> None:
    with pytest.raises(KeyError, match="unknown"):
        await run_task(worker, "unknown")
    with pytest.raises(TypeError, match="a handler takes"):
        await run_task(lambda: None, "work")
    with pytest.raises(ValueError, match="task name"):
        await run_task(describe, "not a name")

"""Runs a handler with no server, for the tests of your handlers.

    from layeron_job_worker.testing import run_task

    async def test_a_receipt_is_sent():
        outcome = await run_task(worker, "send-receipt", {"order": 7})
        assert outcome.kind == "succeeded"
        assert outcome.result == {"sent": True}

What runs it is what runs it in production: the same calling, timeout, cancel and limits, and payload and result go
through JSON text. A handler behaves here as it will behave there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import orjson

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.durations import Seconds, seconds
from layeron_job.ids import new_run_id
from layeron_job.retry import Retry
from layeron_job_worker.executor import Attempt
from layeron_job_worker.json_text import encode
from layeron_job_worker.outcome import Outcome, OutcomeKind
from layeron_job_worker.registry import Handler, TaskHandler, task_handler
from layeron_job_worker.worker import Worker

_TIMEOUT_SECONDS: Final = 300.0
_RESULT_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How the attempt ended, as the server would be told.

    kind           "succeeded", "failed", "timed_out" or "canceled"
    result         what the handler returned, after its way through JSON; None unless it succeeded
    error_type     the name of the exception's class, as retry policies match it; "" after success
    error_message  its text
    error_detail   its traceback, from the handler's own frame on
    do_not_retry   the run would be dead-lettered, whatever the policy says
    retry_after    seconds until the retry that the handler asked for; None: the policy decides
    progress       the newest value the handler gave to `ctx.progress`; None if it gave none
    log_lines      what it said through `ctx.log` from INFO on, each with time and level
    ran_ms         how long it ran
    """

    kind: OutcomeKind
    result: Any
    error_type: str
    error_message: str
    error_detail: str
    do_not_retry: bool
    retry_after: float | None
    progress: Any
    log_lines: list[str]
    ran_ms: int


async def run_task(
    source: Worker | Handler,
    task: str,
    payload: Any = None,
    *,
    attempt: int = 1,
    run_id: str | None = None,
    name: str = "",
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    trace_context: Mapping[str, str] | None = None,
    payload_encoding: str = "",
    timeout: Seconds | None = None,
    cancel_after: Seconds | None = None,
) -> TaskOutcome:
    """Run one attempt of a task and say how it ended.

    `source` is a worker that has the task, or just a handler. The options are what the handler finds in its context;
    `timeout` (None: the task's, or 5 minutes) and `cancel_after` (None: never) count from the handler's begin.

    What a handler does is in the outcome and never raised. Raises KeyError for a task the worker does not have,
    TypeError for a payload that is not JSON or a handler of another shape. Returns when the outcome is known: a
    handler that ignores its timeout is then still running.
    """
    handler = source.handlers[task] if isinstance(source, Worker) else task_handler(task, source)
    if timeout is None:
        timeout = _TIMEOUT_SECONDS if handler.timeout is None else handler.timeout
    grant = pb.Grant(
        run_id=run_id or new_run_id(),
        attempt=attempt,
        task=task,
        payload_json=encode(payload),
        timeout_ms=round(seconds(timeout) * 1000),
        labels=labels,
        trace_context=trace_context,
        payload_encoding=payload_encoding,
        name=name,
        counted_attempts=attempt - 1,
        max_attempts=(handler.retry or Retry()).attempts,
    )
    grant.created_at.GetCurrentTime()
    return await _run(handler, grant, namespace, cancel_after)


class _Listener:
    """Waits for the outcome."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()

    def attempt_reported(self, attempt: Attempt) -> None:
        self.outcome.set_result(attempt.outcome)

    def attempt_ended(self, attempt: Attempt) -> None:
        """The outcome came before this."""

    def attempt_noted(self, attempt: Attempt) -> None:
        """Progress and log lines are read at the end."""


async def _run(handler: TaskHandler, grant: pb.Grant, namespace: str, cancel_after: Seconds | None) -> TaskOutcome:
    listener = _Listener()
    pool = ThreadPoolExecutor(1, thread_name_prefix="layeron-job")
    attempt = Attempt(0, grant, handler, listener, namespace=namespace, result_bytes_max=_RESULT_BYTES_MAX, pool=pool)
    cancel: asyncio.TimerHandle | None = None
    try:
        attempt.begin()
        if cancel_after is not None:
            cancel = asyncio.get_running_loop().call_later(seconds(cancel_after), attempt.cancel)
        outcome = await listener.outcome
    finally:
        if cancel is not None:
            cancel.cancel()
        attempt.abandon()
        pool.shutdown(wait=False)
    assert outcome is not None
    return _told(attempt, outcome)


def _told(attempt: Attempt, outcome: Outcome) -> TaskOutcome:
    context = attempt.context
    return TaskOutcome(
        kind=outcome.kind,
        result=orjson.loads(outcome.result_json) if outcome.result_json else None,
        error_type=outcome.error_type,
        error_message=outcome.error_message,
        error_detail=outcome.error_detail,
        do_not_retry=outcome.do_not_retry,
        retry_after=None if outcome.retry_after_ms is None else outcome.retry_after_ms / 1000,
        progress=orjson.loads(context._progress) if context._progress else None,
        log_lines=context._log_tail().splitlines(),
        ran_ms=attempt.ran_ms,
    )

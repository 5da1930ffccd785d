"""Runs one attempt: calls the handler, holds it to its timeout, cancels it, and says how it ended.

Every attempt is reported exactly once, or never when it was abandoned. What a handler returns or raises is data by
the next line; only the program's own end passes through. Nothing here knows of a server.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from concurrent.futures import Executor
from typing import Any, Final, Literal, Protocol

import orjson
from opentelemetry.trace import Span

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker import tracing
from layeron_job_worker.context import Context
from layeron_job_worker.outcome import Outcome, OutcomeKind, detail, raised, returned
from layeron_job_worker.registry import TaskHandler

logger = logging.getLogger("layeron_job_worker")

_StopReason = Literal["timeout", "cancel", "shutdown", "lapse", "abandoned"]

_INTERRUPTED: Final = {
    "shutdown": ("Shutdown", "the worker shut down"),
    "lapse": ("LeaseLost", "no server answered for most of the lease"),
}

# A handler that is told to stop at its timeout has this long to clean up before the timeout is reported without it.
UNWIND_SECONDS = 1.0


class Listener(Protocol):
    """Who wants to know of an attempt. Called on the event loop; must not raise."""

    def attempt_reported(self, attempt: Attempt) -> None:
        """The outcome is known. The handler may still be running if it ignores its timeout."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """The handler has returned and its slot is free. Called once for every attempt that began."""

    def attempt_noted(self, attempt: Attempt) -> None:
        """There is progress or a log line to send."""


class Attempt:
    """One attempt of a run, from its grant to its final answer.

    outcome    how it ended, once reported
    began      monotonic time of the handler's begin; 0 before
    ended      the handler has returned, or never began and never will
    abandoned  it is no longer this worker's: whatever the handler does is not reported
    traceparent  names its span, once that has ended, if it was sampled
    """

    __slots__ = (
        "_entered",
        "_listener",
        "_payload_json",
        "_pool",
        "_result_bytes_max",
        "_span",
        "_stop_reason",
        "_task",
        "_timer",
        "abandoned",
        "began",
        "begin_by",
        "begun_sent",
        "context",
        "ended",
        "finished",
        "noted_at",
        "noted_progress",
        "outcome",
        "start_id",
        "task_handler",
        "traceparent",
    )

    def __init__(
        self,
        start_id: int,
        grant: pb.Grant,
        task_handler: TaskHandler,
        listener: Listener,
        *,
        namespace: str,
        result_bytes_max: int,
        pool: Executor,
    ) -> None:
        self.start_id = start_id
        self.task_handler = task_handler
        self.context = Context(grant, namespace)
        self.outcome: Outcome | None = None
        self.began = 0.0
        self.begin_by = 0.0
        self.begun_sent = False
        self.ended = False
        self.finished = 0.0
        self.noted_at = 0.0
        self.noted_progress = b""
        self.abandoned = False
        self._payload_json = grant.payload_json
        self._listener = listener
        self._result_bytes_max = result_bytes_max
        self._pool = pool
        self._entered = False
        self._stop_reason: _StopReason | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._span: Span | None = None
        self.traceparent = ""

    @property
    def ran_ms(self) -> int:
        """How long the handler ran, in milliseconds; 0 if it never began, and only then."""
        if not self.began:
            return 0
        return max(1, round(((self.finished or time.monotonic()) - self.began) * 1000))

    def begin(self) -> None:
        """Call the handler. The timeout runs from here."""
        loop = asyncio.get_running_loop()
        context = self.context
        self.began = time.monotonic()
        context._expires = self.began + context.timeout_seconds
        context._loop = loop
        context._note = self._noted
        self._span = tracing.begin(context)
        self._timer = loop.call_later(context.timeout_seconds, self._time_out)
        self._task = loop.create_task(self._run() if self.task_handler.is_async else self._run_in_thread())

    def cancel(self) -> None:
        """A cancel order: the handler is told to stop. Ordering it again changes nothing."""
        if not self.began and self.outcome is None:
            self.never_began("canceled", "Canceled", "canceled before the handler began")
        else:
            self._stop("cancel")

    def shut_down(self) -> None:
        """The worker stops: the handler is told to stop, and unless it returned, the attempt ends as interrupted."""
        self._stop("shutdown")

    def lapse(self) -> None:
        """The lease may be lost: as for a shutdown, and a handler that has not begun is not called any more."""
        if not self.began and self.outcome is None:
            self.never_began("interrupted", *_INTERRUPTED["lapse"])
        else:
            self._stop("lapse")

    def abandon(self) -> None:
        """The attempt is no longer this worker's: stop the handler, report nothing."""
        self.abandoned = True
        self._stop("abandoned")
        if not self.began:
            self.ended = True

    def never_began(self, kind: OutcomeKind, error_type: str, message: str) -> None:
        """Report the end of an attempt whose handler was not and will not be called."""
        self.ended = True
        self._report(Outcome(kind, error_type=error_type, error_message=message))

    def give_up(self) -> None:
        """Report a handler that did not stop although it was told to."""
        if self.outcome is None:
            self._report(self._stopped(None))

    def _stop(self, reason: _StopReason) -> None:
        if self.ended or not self.began:
            return
        if self._stop_reason is None or reason == "abandoned":
            self._stop_reason = reason
        first = not self.context._cancel_requested
        self.context._cancel_requested = True
        # A task that is canceled before its first step would never reach its end; `_run` looks for itself then.
        if first and self._entered and self._task is not None:
            self._task.cancel()

    def _time_out(self) -> None:
        self._stop("timeout")
        self._timer = asyncio.get_running_loop().call_later(UNWIND_SECONDS, self.give_up)

    async def _run(self) -> None:
        handler = self.task_handler
        if self._stop_reason is not None:
            self._end(self._stopped(None))
            return
        self._entered = True
        self._enter_span()
        try:
            payload = orjson.loads(self._payload_json) if self._payload_json else None
            self._payload_json = b""
            if handler.takes_context:
                value = await handler.handler(payload, self.context)
            else:
                value = await handler.handler(payload)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  # whatever a handler raises is data
            self._end(self._raised(error))
        else:
            self._end(self._returned(value))

    async def _run_in_thread(self) -> None:
        if self._stop_reason is not None:
            self._end(self._stopped(None))
            return
        self._enter_span()
        loop = asyncio.get_running_loop()
        value, error = await loop.run_in_executor(self._pool, contextvars.copy_context().run, self._call)
        self._end(self._returned(value) if error is None else self._raised(error))

    def _enter_span(self) -> None:
        """Make it current for the handler: this task, and what copies its context, end with the attempt."""
        if self._span is not None:
            tracing.make_current(self._span, self.context)

    def _call(self) -> tuple[Any, BaseException | None]:
        handler = self.task_handler
        try:
            payload = orjson.loads(self._payload_json) if self._payload_json else None
            self._payload_json = b""
            if handler.takes_context:
                return handler.handler(payload, self.context), None
            return handler.handler(payload), None
        except BaseException as error:  # noqa: BLE001  # a thread's future cannot carry StopIteration or SystemExit
            return None, error

    def _returned(self, value: Any) -> Outcome:
        """Success, also after a request to stop: the work is done."""
        return returned(value, self._result_bytes_max)

    def _raised(self, error: BaseException) -> Outcome:
        return raised(error) if self._stop_reason is None else self._stopped(error)

    def _stopped(self, error: BaseException | None) -> Outcome:
        """The outcome of a handler that was told to stop and did not return a value."""
        told = "" if error is None or isinstance(error, asyncio.CancelledError) else detail(error)
        if self._stop_reason == "cancel":
            return Outcome("canceled", error_type="Canceled", error_message="canceled", error_detail=told)
        if self._stop_reason == "timeout":
            limit = f"{self.context.timeout_seconds:g} s"
            message = f"ran longer than its timeout of {limit}"
            return Outcome("timed_out", error_type="Timeout", error_message=message, error_detail=told)
        error_type, message = _INTERRUPTED["lapse" if self._stop_reason == "lapse" else "shutdown"]
        return Outcome("interrupted", error_type=error_type, error_message=message, error_detail=told)

    def _end(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.ended = True
        if self.outcome is None:
            self._report(outcome)
        self._task = None
        self._listener.attempt_ended(self)

    def _report(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.finished = time.monotonic()
        if self._span is not None:
            self.traceparent = tracing.end(self._span, outcome)
            self._span = None
        if self.abandoned:
            return
        if outcome.kind == "failed":
            logger.info(
                "attempt %d of %s (%s) failed: %s",
                self.context.attempt, self.context.run_id, self.context.task, outcome.error_type,
            )  # fmt: skip
        self._listener.attempt_reported(self)

    def _noted(self) -> None:
        if self.outcome is None:
            self._listener.attempt_noted(self)

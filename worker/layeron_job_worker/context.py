"""What a handler knows about its attempt, and how it tells people how far it is.

A context costs a few microseconds per attempt: the logger, the deadline and the times are made when asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentelemetry import trace

from layeron.job.v1 import run_pb2
from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.json_text import encode
from layeron_job_worker.limits import LOG_TAIL_BYTES_MAX, PROGRESS_BYTES_MAX, head, tail

_ORIGINS: Final = {
    number: name.removeprefix("RUN_ORIGIN_").lower() for name, number in run_pb2.RunOrigin.items() if number
}


class Context:
    """One attempt of a run, as its handler sees it.

    A handler may run more than once for one run (a worker may die after the effect and before the report), so key
    outside effects by `run_id`: it is the same in every attempt of the run, and no other run has it.

    run_id            the run
    attempt           the attempt's number, 1 for the first
    counted_attempts  how many attempts the retry policy has counted before this one
    max_attempts      how many it allows
    task, namespace   what is run, and where
    name              a name for people, may be empty
    labels            the run's labels
    trace_context     W3C trace context of the enqueue, such as {"traceparent": "00-…"}
    origin            how the run came to be: "enqueue", "replay", "schedule" or "parent"
    payload_encoding  what the caller said about the payload's envelope; empty for plain JSON
    timeout_seconds   how long this attempt may take
    """

    __slots__ = (
        "_cancel_requested",
        "_created",
        "_expires",
        "_lines",
        "_log",
        "_loop",
        "_note",
        "_progress",
        "attempt",
        "counted_attempts",
        "labels",
        "max_attempts",
        "name",
        "namespace",
        "origin",
        "payload_encoding",
        "run_id",
        "task",
        "timeout_seconds",
        "trace_context",
    )

    def __init__(self, grant: pb.Grant, namespace: str) -> None:
        # Fields are copied: a kept grant would keep the whole batch it arrived in.
        self.run_id = grant.run_id
        self.attempt = grant.attempt
        self.task = grant.task
        self.namespace = namespace
        self.name = grant.name
        self.labels: dict[str, str] = dict(grant.labels)
        self.trace_context: dict[str, str] = dict(grant.trace_context)
        self.origin = _ORIGINS.get(grant.origin, "enqueue")
        self.payload_encoding = grant.payload_encoding
        self.counted_attempts = grant.counted_attempts
        self.max_attempts = grant.max_attempts
        self.timeout_seconds = grant.timeout_ms / 1000
        created_at = grant.created_at
        self._created = (created_at.seconds, created_at.nanos)
        self._expires = float("inf")
        self._cancel_requested = False
        self._progress = b""
        self._lines: _Tail | None = None
        self._log: logging.LoggerAdapter[logging.Logger] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._note: Callable[[], None] | None = None

    @property
    def created_at(self) -> datetime:
        """When the run was enqueued."""
        since_epoch, nanos = self._created
        return datetime.fromtimestamp(since_epoch, UTC) + timedelta(microseconds=nanos // 1000)

    @property
    def deadline(self) -> datetime:
        """When the attempt times out, by this machine's clock; `remaining()` does not depend on it."""
        return datetime.now(UTC) + timedelta(seconds=min(self.remaining(), 3650 * 86_400.0))

    def remaining(self) -> float:
        """The seconds until the attempt times out; never negative."""
        return max(0.0, self._expires - time.monotonic())

    @property
    def cancel_requested(self) -> bool:
        """True once the handler should stop: cancel, timeout, shutdown, or the run is no longer this worker's.

        An async handler is canceled too. A sync one runs in a thread that nobody can stop, so it has to look here.
        """
        return self._cancel_requested

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger named `layeron_job.task.<task>`; its lines from INFO on are also kept with the attempt (32 KiB).

        Its records have run_id, attempt, task and namespace, and in a trace trace_id and span_id of the attempt.
        """
        if self._log is None:
            self._lines = _Tail()
            self._log = _AttemptLog(logging.getLogger(f"layeron_job.task.{self.task}"), self)
        return self._log

    def progress(self, value: Any) -> None:
        """Tell how far the attempt is: any JSON value of at most 4 KiB. Only the newest one is sent, once a second.

        Raises ValueError for a value that is larger, TypeError for one that is not JSON.
        """
        encoded = encode(value)
        if len(encoded) > PROGRESS_BYTES_MAX:
            raise ValueError(f"progress must be at most {PROGRESS_BYTES_MAX} bytes of JSON, not {len(encoded)}")
        self._progress = encoded
        self._changed()

    def _changed(self) -> None:
        if self._note is not None and self._loop is not None:
            # Handlers in threads come here too, even after the loop has ended.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._note)

    def _log_tail(self) -> str:
        return "" if self._lines is None else self._lines.text()


class _Tail:
    """The last lines of a log, bounded in bytes."""

    __slots__ = ("_lines", "_size")

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0

    def add(self, line: str) -> None:
        line = head(line, LOG_TAIL_BYTES_MAX)
        self._lines.append(line)
        self._size += len(line) + 1
        while self._size > 2 * LOG_TAIL_BYTES_MAX:
            self._size -= len(self._lines.popleft()) + 1

    def text(self) -> str:
        return tail("\n".join(self._lines.copy()), LOG_TAIL_BYTES_MAX)


class _AttemptLog(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, context: Context) -> None:
        fields: dict[str, object] = {
            "run_id": context.run_id,
            "attempt": context.attempt,
            "task": context.task,
            "namespace": context.namespace,
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            fields.update(trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}")
        super().__init__(logger, fields)
        self._context = context

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
        if level >= logging.INFO and self._context._lines is not None:
            self._context._lines.add(_line(level, msg, args, kwargs.get("exc_info")))
            self._context._changed()
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *args, **kwargs)


def _line(level: int, msg: Any, args: tuple[Any, ...], exc_info: Any) -> str:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = f"{moment} {logging.getLevelName(level)} {_text(msg, args)}"
    if not exc_info:
        return line
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    error = exc_info if isinstance(exc_info, BaseException) else sys.exception()
    return f"{line}\n{''.join(traceback.format_exception(error)).rstrip()}"


def _text(msg: Any, args: tuple[Any, ...]) -> str:
    """What a line says. Nothing in it may fail the handler that logs."""
    try:
        return _formatted(msg, args)
    except Exception:  # noqa: BLE001  # a value's own __str__ may raise anything
        return "(a line that cannot be shown)"


def _formatted(msg: Any, args: tuple[Any, ...]) -> str:
    if not args:
        return str(msg)
    try:
        return str(msg) % (args[0] if len(args) == 1 and isinstance(args[0], dict) else args)
    except (TypeError, ValueError, KeyError):
        return f"{msg} {args}"

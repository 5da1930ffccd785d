"""The tasks of a worker: their handlers, and the defaults the server is told of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from layeron.job.v1 import task_pb2 as pb
from layeron_job.durations import Seconds, duration, seconds
from layeron_job.retry import Retry

Priority = Literal["high", "normal", "low"]
Handler = Callable[..., Any]

TASK_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
LOWER_NAME = re.compile(r"[a-z0-9-]{1,63}")
TASKS_MAX = 500
_TIMEOUT_SECONDS_MAX = 7 * 86_400.0
_PRIORITIES = {
    "high": pb.PRIORITY_HIGH,
    "normal": pb.PRIORITY_NORMAL,
    "low": pb.PRIORITY_LOW,
}


@dataclass(frozen=True, slots=True)
class TaskHandler:
    """A handler with its task's defaults. `takes_context`: it is called with (payload, ctx), else with (payload)."""

    name: str
    handler: Handler
    is_async: bool
    takes_context: bool
    retry: Retry | None
    timeout: Seconds | None
    queue: str
    priority: Priority

    def to_proto(self) -> pb.TaskDefinition:
        """The task as the server registers it."""
        return pb.TaskDefinition(
            name=self.name,
            queue=self.queue,
            retry=None if self.retry is None else self.retry.to_proto(),
            timeout=None if self.timeout is None else duration(self.timeout),
            priority=_PRIORITIES[self.priority],
        )


def task_handler(
    name: str,
    handler: Handler,
    *,
    retry: Retry | None = None,
    timeout: Seconds | None = None,
    queue: str = "default",
    priority: Priority = "normal",
) -> TaskHandler:
    """A checked TaskHandler. Raises ValueError for a bad name or time, TypeError for a handler of the wrong shape."""
    if not TASK_NAME.fullmatch(name):
        raise ValueError(f"task name must match {TASK_NAME.pattern}, not {name!r}")
    if not LOWER_NAME.fullmatch(queue):
        raise ValueError(f"queue must match {LOWER_NAME.pattern}, not {queue!r}")
    if priority not in _PRIORITIES:
        raise ValueError(f"priority must be one of {', '.join(_PRIORITIES)}, not {priority!r}")
    if timeout is not None and not 0.001 <= seconds(timeout) <= _TIMEOUT_SECONDS_MAX:
        raise ValueError(f"timeout must be 1 ms to 7 days, not {seconds(timeout):g} s")
    return TaskHandler(
        name=name,
        handler=handler,
        is_async=_is_async(handler),
        takes_context=_takes_context(handler),
        retry=retry,
        timeout=timeout,
        queue=queue,
        priority=priority,
    )


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _takes_context(handler: Handler) -> bool:
    """Whether the handler wants (payload, ctx) and not just (payload)."""
    parameters = inspect.signature(handler).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    needed_by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if needed_by_name or len(required) > 2 or not (positional or starred):
        raise TypeError(f"a handler takes (payload) or (payload, ctx), not {inspect.signature(handler)}")
    return starred or len(required) == 2 or (len(positional) > 1 and positional[1].name in ("ctx", "context"))

"""Requests as callers send them, to checked values. All problems of a request are named before it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import grpc

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2, task_pb2
from layeron_job import tracing
from layeron_job.ids import unix_ms_of
from layeron_job_server.domain import names
from layeron_job_server.operations import payloads
from layeron_job_server.operations.enqueue import EnqueueAsk
from layeron_job_server.settings import Settings
from layeron_job_server.store.queries import RunFilter
from layeron_job_server.store.tasks import TaskDefinition

from . import convert, json_values
from .fields import (
    FAR,
    MILLISECOND,
    Violations,
    duration_of,
    milliseconds,
    namespace_of,
    priority_of,
    retry_of,
    run_id_of,
    time_of,
)

_DAY_MS: Final = 86_400_000
_TIMEOUT_MAX: Final = timedelta(days=7)
_TRACE_KEYS: Final = ("traceparent", "tracestate", "baggage")
_TRACE_BYTES_MAX: Final = 4096
_WITHOUT_KEY: Final = "is set without idempotency_key"


def named_run(request: Any) -> tuple[str, UUID]:
    """The namespace and run of a request that names one."""
    violations = Violations()
    named = namespace_of(request.namespace, violations), run_id_of(request.run_id, violations)
    violations.refuse()
    return named


@dataclass(frozen=True, slots=True)
class Door:
    """What checking a request needs besides the request."""

    settings: Settings
    now: datetime
    trace_context: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, context: grpc.aio.ServicerContext[Any, Any]) -> Door:
        """The door of one call: its trace context is that of its span, or comes from its metadata."""
        metadata = context.invocation_metadata() or ()
        traces = {**{key: str(value) for key, value in metadata if key in _TRACE_KEYS}, **tracing.current()}
        # What came by the way is left out when it is too long: the caller may not even know of it.
        return cls(settings, datetime.now(UTC), traces if _size(traces) <= _TRACE_BYTES_MAX else {})


def enqueue_ask(request: pb.EnqueueRequest, door: Door, violations: Violations) -> EnqueueAsk:
    """What one EnqueueRequest asks for. Whatever is wrong is in `violations`."""
    namespace = namespace_of(request.namespace, violations)
    violations.add("task", names.task_problem(request.task))
    due = due_of(request, door, violations)
    window, ttl = _window_of(request, violations)
    labels = dict(request.labels)
    violations.add("labels", names.labels_problem(labels))
    violations.add("name", names.text_problem(request.name, limit=names.NAME_MAX))
    violations.add("payload_encoding", names.text_problem(request.payload_encoding, limit=names.ENCODING_MAX))
    timeout = duration_of(request, "timeout", violations, least=MILLISECOND, most=_TIMEOUT_MAX)
    return EnqueueAsk(
        namespace=namespace,
        task=request.task,
        payload=payload_of(request, door, violations) or b"null",
        payload_encoding=request.payload_encoding or None,
        run_id=chosen_run_id_of(request.run_id, door, violations),
        delay=due.delay,
        run_at=due.run_at,
        start_by=_start_by_of(request, due, door, violations),
        idempotency_key=request.idempotency_key or None,
        key_window=window,
        key_ttl=ttl,
        retry=retry_of(request.retry, violations.within("retry")) if request.HasField("retry") else None,
        timeout_ms=None if timeout is None else milliseconds(timeout),
        labels=labels,
        priority=priority_of(request.priority, violations),
        name=request.name or None,
        trace_context=_trace_of(request, door, violations),
    )


def payload_of(request: Any, door: Door, violations: Violations) -> bytes | None:
    """The payload as JSON text, from either of its two fields; None if neither is set."""
    if request.HasField("payload") and request.payload_json:
        violations.add("payload", "is set together with payload_json: set one of them")
        return None
    if request.HasField("payload"):
        name, text = "payload", json_values.to_text(request.payload)
    elif request.payload_json:
        name, text = "payload_json", request.payload_json
    else:
        return None
    violations.add(name, payloads.problem(text, bytes_max=door.settings.payload_bytes_max))
    return text


def chosen_run_id_of(text: str, door: Door, violations: Violations, field_name: str = "run_id") -> UUID | None:
    """A run id of the caller's choice; None if it leaves that to us."""
    if not text:
        return None
    run_id = run_id_of(text, violations, field_name)
    if run_id.int and run_id.version != 7:
        violations.add(field_name, "must be made of a UUIDv7")
    elif run_id.int and abs(unix_ms_of(run_id) - door.now.timestamp() * 1000) > _DAY_MS:
        violations.add(field_name, "must be of a time within 24 hours of the server's")
    return run_id


@dataclass(frozen=True, slots=True)
class Due:
    """When a run may start: at `run_at`, or `delay` after now."""

    delay: timedelta = timedelta(0)
    run_at: datetime | None = None


def due_of(request: Any, door: Door, violations: Violations) -> Due:
    """From `delay` or `run_at`; neither is at once."""
    if request.HasField("delay") and request.HasField("run_at"):
        violations.add("delay", "is set together with run_at: set one of them")
        return Due()
    if request.HasField("run_at"):
        return Due(run_at=time_of(request, "run_at", door.now, violations))
    return Due(duration_of(request, "delay", violations, most=FAR) or timedelta(0))


def _start_by_of(request: pb.EnqueueRequest, due: Due, door: Door, violations: Violations) -> datetime | None:
    start_by = time_of(request, "start_by", door.now, violations)
    if start_by is not None and start_by <= max(due.run_at or door.now, door.now) + due.delay:
        violations.add("start_by", "must be after the time the run is due")
    return start_by


def _window_of(request: pb.EnqueueRequest, violations: Violations) -> tuple[str | None, timedelta | None]:
    """The key's window and, with "ttl", its length; (None, None) without a key."""
    ttl = duration_of(request, "idempotency_ttl", violations, least=timedelta(seconds=1))
    window = request.idempotency_window
    if not request.idempotency_key:
        if window:
            violations.add("idempotency_window", _WITHOUT_KEY)
        if request.HasField("idempotency_ttl"):
            violations.add("idempotency_ttl", _WITHOUT_KEY)
        return None, None
    violations.add("idempotency_key", names.text_problem(request.idempotency_key, limit=names.KEY_MAX))
    kind = convert.WINDOWS.get(window or run_pb2.IDEMPOTENCY_WINDOW_TTL)
    if kind is None:
        violations.add("idempotency_window", "must be TTL, WHILE_ACTIVE or FOREVER")
    if kind != "ttl" and request.HasField("idempotency_ttl"):
        violations.add("idempotency_ttl", "is for IDEMPOTENCY_WINDOW_TTL only")
    return kind, ttl


def _trace_of(request: pb.EnqueueRequest, door: Door, violations: Violations) -> Mapping[str, str]:
    trace = dict(request.trace_context)
    if _size(trace) > _TRACE_BYTES_MAX:
        violations.add("trace_context", f"is larger than {_TRACE_BYTES_MAX} bytes")
    elif any("\0" in key or "\0" in value for key, value in trace.items()):
        violations.add("trace_context", "must not contain U+0000")
    return trace or door.trace_context


def _size(trace: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in trace.items())


def filter_of(wanted: pb.RunFilter, door: Door, violations: Violations) -> RunFilter:
    """Which runs are wanted."""
    if wanted.task:
        violations.add("task", names.task_problem(wanted.task))
    if wanted.queue:
        violations.add("queue", names.queue_problem(wanted.queue))
    violations.add("idempotency_key", names.text_problem(wanted.idempotency_key, limit=names.KEY_MAX))
    labels = dict(wanted.labels)
    violations.add("labels", names.labels_problem(labels))
    for index, status in enumerate(wanted.statuses):
        if status not in convert.STATUS_NAMES:
            violations.add(f"statuses[{index}]", "is no status of a run")
    return RunFilter(
        task=wanted.task or None,
        statuses=tuple(sorted({convert.STATUS_NAMES.get(status, "") for status in wanted.statuses})),
        labels=tuple(sorted(labels.items())),
        idempotency_key=wanted.idempotency_key or None,
        queue=wanted.queue or None,
        created_from=time_of(wanted, "created_from", door.now, violations),
        created_before=time_of(wanted, "created_before", door.now, violations),
        origin_id=run_id_of(wanted.origin_id, violations, "origin_id") if wanted.origin_id else None,
    )


def definitions_of(tasks: Sequence[task_pb2.TaskDefinition], violations: Violations) -> list[TaskDefinition]:
    """The tasks to register."""
    seen: dict[str, int] = {}
    definitions = []
    for index, task in enumerate(tasks):
        below = violations.within(f"tasks[{index}]")
        below.add("name", names.task_problem(task.name))
        if task.name in seen:
            below.add("name", f"is also that of tasks[{seen[task.name]}]")
        seen.setdefault(task.name, index)
        queue = task.queue or "default"
        below.add("queue", names.queue_problem(queue))
        timeout = duration_of(task, "timeout", below, least=MILLISECOND, most=_TIMEOUT_MAX)
        definitions.append(
            TaskDefinition(
                name=task.name,
                queue=queue,
                retry=convert.retry_json(retry_of(task.retry, below.within("retry"))),
                timeout_ms=milliseconds(timeout or timedelta(minutes=5)),
                priority=priority_of(task.priority, below) or int(task_pb2.PRIORITY_NORMAL),
            )
        )
    return definitions

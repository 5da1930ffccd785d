"""Values as we hold them, to messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import orjson

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2, task_pb2
from layeron_job.ids import attempt_id, encode
from layeron_job_server.domain import retry
from layeron_job_server.store.queries import AttemptInfo, RunInfo, TransitionInfo
from layeron_job_server.store.tasks import Task

from . import json_values


def _by_name(enum: Any, prefix: str) -> Mapping[str, Any]:
    """The enum's values by our names of them, such as "dead_lettered"."""
    return MappingProxyType({name.removeprefix(prefix).lower(): value for name, value in enum.items() if value})


STATUSES: Final = _by_name(run_pb2.RunStatus, "RUN_STATUS_")
STATUS_NAMES: Final[Mapping[Any, str]] = {value: name for name, value in STATUSES.items()}
WINDOWS: Final[Mapping[Any, str]] = {
    value: name for name, value in _by_name(run_pb2.IdempotencyWindow, "IDEMPOTENCY_WINDOW_").items()
}
_WINDOW_VALUES: Final[Mapping[str | None, Any]] = {name: value for value, name in WINDOWS.items()}
_ATTEMPT_STATUSES: Final = _by_name(run_pb2.AttemptStatus, "ATTEMPT_STATUS_")
_REASONS: Final = _by_name(run_pb2.TransitionReason, "TRANSITION_REASON_")
ORIGINS: Final = _by_name(run_pb2.RunOrigin, "RUN_ORIGIN_")
_HELD: Final[Mapping[str | None, Any]] = {
    "paused": run_pb2.HELD_REASON_TASK_PAUSED,
    "no_handler": run_pb2.HELD_REASON_NO_HANDLER,
}


def run(info: RunInfo, namespace: str, *, json_form: int) -> run_pb2.Run:
    """A run. JSON that was not read (the basic view) is left out."""
    message = run_pb2.Run(
        run_id=encode("run", info.run_id),
        namespace=namespace,
        task=info.task,
        queue=info.queue,
        priority=info.priority,  # type: ignore[arg-type] # the store has the same numbers
        name=info.name or "",
        status=STATUSES[info.status],
        attempt=info.attempt,
        counted_attempts=info.counted,
        payload_encoding=info.payload_encoding or "",
        retry=policy(info.retry),
        idempotency_key=info.idempotency_key or "",
        idempotency_window=_WINDOW_VALUES.get(info.key_window, run_pb2.IDEMPOTENCY_WINDOW_UNSPECIFIED),
        held_reason=_HELD.get(info.held, run_pb2.HELD_REASON_UNSPECIFIED),
        origin=ORIGINS[info.origin],
        origin_id=encode("run", info.origin_id) if info.origin_id else "",
        replayed_by=encode("run", info.replayed_by) if info.replayed_by else "",
    )
    message.timeout.FromMilliseconds(info.timeout_ms)
    _put_json(message, "payload", info.payload, json_form)
    _put_json(message, "result", info.result, json_form)
    if info.labels:
        message.labels.update(orjson.loads(info.labels))
    if info.trace_context:
        message.trace_context.update(orjson.loads(info.trace_context))
    for field in ("created_at", "due_at", "start_by", "started_at", "finished_at", "cancel_requested_at"):
        _put_time(message, field, getattr(info, field))
    return message


def _put_json(message: run_pb2.Run, field: str, text: bytes | None, json_form: int) -> None:
    if text is None:
        return
    if json_form == pb.JSON_FORM_BYTES:
        setattr(message, f"{field}_json", text)
    else:
        getattr(message, field).CopyFrom(json_values.from_text(text))


def _put_time(message: Any, field: str, moment: datetime | None) -> None:
    if moment is not None:
        getattr(message, field).FromDatetime(moment)


@lru_cache(maxsize=1024)
def policy(text: bytes) -> task_pb2.RetryPolicy:
    """A policy from its JSON text. Callers must not change it: it is shared."""
    read = retry.from_json(orjson.loads(text))
    message = task_pb2.RetryPolicy(
        max_attempts=read.max_attempts, jitter=read.jitter, non_retryable_types=read.non_retryable_types
    )
    match read.backoff:
        case retry.Fixed(delay):
            message.fixed.delay.FromTimedelta(delay)
        case retry.Custom(delays):
            for delay in delays:
                message.custom.delays.add().FromTimedelta(delay)
        case retry.Exponential(initial, maximum, multiplier):
            message.exponential.multiplier = multiplier
            message.exponential.initial.FromTimedelta(initial)
            message.exponential.maximum.FromTimedelta(maximum)
    if read.max_elapsed is not None:
        message.max_elapsed.FromTimedelta(read.max_elapsed)
    return message


def retry_json(read: retry.RetryPolicy) -> bytes:
    """A policy as the JSON text that the store keeps."""
    return orjson.dumps(retry.to_json(read))


def attempt(info: AttemptInfo, run_id: str) -> run_pb2.Attempt:
    """An attempt of the run."""
    message = run_pb2.Attempt(
        attempt_id=attempt_id(run_id, info.number),
        number=info.number,
        status=_ATTEMPT_STATUSES[info.status],
        error_type=info.error_type or "",
        error_message=info.error_message or "",
        error_detail=info.error_detail or "",
        session_id=encode("ses", info.session_id),
        worker_build=info.worker_build or "",
        progress_json=info.progress or b"",
        log_tail=info.log_tail or "",
    )
    for field in ("granted_at", "begun_at", "ended_at", "retry_at"):
        _put_time(message, field, getattr(info, field))
    return message


def transition(info: TransitionInfo) -> run_pb2.Transition:
    """A transition. Whoever has no name but a session is a worker."""
    message = run_pb2.Transition(
        seq=info.seq,
        from_status=STATUSES.get(info.from_status or "", run_pb2.RUN_STATUS_UNSPECIFIED),
        to_status=STATUSES[info.to_status],
        reason_code=_REASONS[info.reason.lower()],
        note=info.note or "",
        actor=info.actor or (encode("ses", info.session_id) if info.session_id else "server"),
        attempt=info.attempt,
    )
    _put_time(message, "at", info.at)
    return message


def change(info: TransitionInfo) -> pb.RunChange:
    """A transition as a watcher gets it."""
    return pb.RunChange(run_id=encode("run", info.run_id), task=info.task, transition=transition(info))


def task(info: Task) -> task_pb2.Task:
    """A registered task."""
    message = task_pb2.Task(
        namespace=info.namespace,
        name=info.name,
        queue=info.queue,
        retry=policy(info.retry),
        priority=info.priority,  # type: ignore[arg-type] # the store has the same numbers
        revision=info.revision,
        pause_reason=info.pause_reason or "",
    )
    message.timeout.FromTimedelta(timedelta(milliseconds=info.timeout_ms))
    for field in ("paused_at", "created_at", "updated_at"):
        _put_time(message, field, getattr(info, field))
    return message

"""Between the contract's messages and plain values: the only place of this client that knows both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2, task_pb2

from .durations import Seconds, duration
from .models import Attempt, Item, Run, RunChange, RunDetails, Task, TaskDefinition, Transition
from .retry import Retry

AnyMessage = TypeVar("AnyMessage", bound=Message)

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class _Words(dict[int, str]):
    """An enum's words by number: "" for unspecified, "unknown_9" for a number of a newer server."""

    def __init__(self, enum: Any, prefix: str) -> None:
        super().__init__((number, name.removeprefix(prefix).lower()) for name, number in enum.items())
        self[0] = ""

    def __missing__(self, number: int) -> str:
        return f"unknown_{number}"


STATUSES: Final = _Words(run_pb2.RunStatus, "RUN_STATUS_")
_ATTEMPT_STATUSES: Final = _Words(run_pb2.AttemptStatus, "ATTEMPT_STATUS_")
_ORIGINS: Final = _Words(run_pb2.RunOrigin, "RUN_ORIGIN_")
_HELD_REASONS: Final = _Words(run_pb2.HeldReason, "HELD_REASON_")
_TRANSITION_REASONS: Final = _Words(run_pb2.TransitionReason, "TRANSITION_REASON_")
_WINDOWS: Final = _Words(run_pb2.IdempotencyWindow, "IDEMPOTENCY_WINDOW_")
_PRIORITIES: Final = _Words(task_pb2.Priority, "PRIORITY_")


def json_bytes(payload: Any) -> bytes:
    """A payload as UTF-8 JSON. TypeError or ValueError if it is not JSON; neither shows any of it."""
    try:
        return _ENCODER.encode(payload).encode()
    except TypeError as error:
        raise TypeError(f"payload is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("payload is not JSON: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("payload is not JSON: it has a lone surrogate, which UTF-8 cannot hold") from None
    except ValueError as error:
        raise ValueError(f"payload is not JSON: {str(error).partition(':')[0]}") from None


def enqueue_request(item: Item, run_id: str) -> pb.EnqueueRequest:
    """A run to be made. ValueError or TypeError names the field that is wrong."""
    return _message(
        pb.EnqueueRequest,
        task=item.task,
        payload_json=None if item.payload is None else json_bytes(item.payload),
        payload_encoding=item.payload_encoding,
        run_id=run_id,
        delay=length("delay", item.delay),
        run_at=moment("run_at", item.run_at),
        start_by=moment("start_by", item.start_by),
        idempotency_key=given("idempotency_key", item.idempotency_key),
        idempotency_window=_number(_WINDOWS, "idempotency_window", item.idempotency_window),
        idempotency_ttl=length("idempotency_ttl", item.idempotency_ttl),
        retry=None if item.retry is None else item.retry.to_proto(),
        timeout=length("timeout", item.timeout),
        labels=item.labels,
        priority=_number(_PRIORITIES, "priority", item.priority),
        name=item.name,
        trace_context=item.trace_context,
    )


def plain_request(task: str, payload: Any, run_id: str) -> pb.EnqueueRequest:
    """A run with nothing but a payload, for batches: a third of the work of `enqueue_request`."""
    text = None if payload is None else json_bytes(payload)
    return _message(pb.EnqueueRequest, task=task, payload_json=text, run_id=run_id)


def run_filter(
    task: str | None = None,
    status: str | Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    queue: str | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    origin_id: str | None = None,
) -> pb.RunFilter:
    """Which runs to list or watch. An empty text is refused: it would match all runs."""
    statuses = [status] if isinstance(status, str) else status or ()
    return _message(
        pb.RunFilter,
        task=given("task", task),
        statuses=[_number(STATUSES, "status", word) for word in statuses],
        labels=labels,
        idempotency_key=given("idempotency_key", idempotency_key),
        queue=given("queue", queue),
        created_from=moment("created_from", created_from),
        created_before=moment("created_before", created_before),
        origin_id=given("origin_id", origin_id),
    )


def task_definition(definition: TaskDefinition) -> task_pb2.TaskDefinition:
    """A task to register."""
    return _message(
        task_pb2.TaskDefinition,
        name=definition.name,
        queue=definition.queue,
        retry=None if definition.retry is None else definition.retry.to_proto(),
        timeout=length("timeout", definition.timeout),
        priority=_number(_PRIORITIES, "priority", definition.priority),
    )


def given(name: str, text: str | None) -> str:
    """A text for the field of this name, "" if there is none. An empty one is refused: it would be taken for none."""
    if text == "":
        raise ValueError(f"{name} must not be empty")
    return text or ""


def length(name: str, value: Seconds | None) -> Duration | None:
    """A length of time for the field of this name."""
    if value is None:
        return None
    try:
        return duration(value)
    except (OverflowError, TypeError, ValueError):
        raise ValueError(f"{name} must be seconds or a timedelta, not {value!r}") from None


def moment(name: str, value: datetime | None) -> Timestamp | None:
    """A point in time for the field of this name. Without a time zone it could be any of several, and is refused."""
    if value is None:
        return None
    if getattr(value, "tzinfo", None) is None:
        raise ValueError(f"{name} must be a datetime with a time zone, not {value!r}")
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp


def _message(kind: type[AnyMessage], **fields: Any) -> AnyMessage:
    """A message. Protobuf does not say which field it could not take, so that is looked for then."""
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError):
                raise TypeError(f"{name} is of a wrong type, or has text that is not UTF-8") from None
        raise


def _number(words: Mapping[int, str], name: str, word: str | None) -> int | None:
    """The enum number of a word, or None. ValueError names the field and the words there are."""
    known = [number for number, of_enum in words.items() if of_enum and of_enum == word]
    if word is not None and not known:
        raise ValueError(f"{name} must be one of {', '.join(filter(None, words.values()))}, not {word!r}")
    return known[0] if known else None


def run(message: run_pb2.Run) -> Run:
    """A run as it is read."""
    return Run(
        run_id=message.run_id,
        namespace=message.namespace,
        task=message.task,
        queue=message.queue,
        priority=_PRIORITIES[message.priority],
        name=message.name,
        status=STATUSES[message.status],
        attempt=message.attempt,
        counted_attempts=message.counted_attempts,
        payload=_json(message.payload_json),
        payload_encoding=message.payload_encoding,
        result=_json(message.result_json),
        retry=Retry.from_proto(message.retry),
        timeout=message.timeout.ToTimedelta(),
        labels=dict(message.labels),
        idempotency_key=message.idempotency_key,
        idempotency_window=_WINDOWS[message.idempotency_window],
        created_at=_time(message, "created_at"),
        due_at=_time(message, "due_at"),
        start_by=_time(message, "start_by"),
        started_at=_time(message, "started_at"),
        finished_at=_time(message, "finished_at"),
        cancel_requested_at=_time(message, "cancel_requested_at"),
        held_reason=_HELD_REASONS[message.held_reason],
        origin=_ORIGINS[message.origin],
        origin_id=message.origin_id,
        replayed_by=message.replayed_by,
        trace_context=dict(message.trace_context),
    )


def run_details(message: pb.GetRunResponse) -> RunDetails:
    """A run with its history."""
    return RunDetails(
        run(message.run),
        [attempt(one) for one in message.attempts],
        [transition(one) for one in message.transitions],
    )


def run_changes(message: pb.WatchRunsResponse, *, before: str) -> list[RunChange]:
    """What a watch tells. `before` is the token of the response before: this one's is for all its changes together."""
    tokens = [before] * (len(message.changes) - 1) + [message.resume_token]
    return [
        RunChange(one.run_id, one.task, transition(one.transition), token)
        for one, token in zip(message.changes, tokens, strict=False)  # a sign of life has no change
    ]


def attempt(message: run_pb2.Attempt) -> Attempt:
    """An attempt."""
    return Attempt(
        attempt_id=message.attempt_id,
        number=message.number,
        status=_ATTEMPT_STATUSES[message.status],
        granted_at=message.granted_at.ToDatetime(UTC),
        begun_at=_time(message, "begun_at"),
        ended_at=_time(message, "ended_at"),
        error_type=message.error_type,
        error_message=message.error_message,
        error_detail=message.error_detail,
        retry_at=_time(message, "retry_at"),
        session_id=message.session_id,
        worker_build=message.worker_build,
        progress=_json(message.progress_json),
        log_tail=message.log_tail,
    )


def transition(message: run_pb2.Transition) -> Transition:
    """A transition."""
    return Transition(
        seq=message.seq,
        from_status=STATUSES[message.from_status],
        to_status=STATUSES[message.to_status],
        at=message.at.ToDatetime(UTC),
        reason_code=_TRANSITION_REASONS[message.reason_code].upper(),
        note=message.note,
        actor=message.actor,
        attempt=message.attempt,
    )


def task(message: task_pb2.Task) -> Task:
    """A registered task."""
    return Task(
        namespace=message.namespace,
        name=message.name,
        queue=message.queue,
        retry=Retry.from_proto(message.retry),
        timeout=message.timeout.ToTimedelta(),
        priority=_PRIORITIES[message.priority],
        revision=message.revision,
        paused_at=_time(message, "paused_at"),
        pause_reason=message.pause_reason,
        created_at=message.created_at.ToDatetime(UTC),
        updated_at=message.updated_at.ToDatetime(UTC),
    )


def _time(message: Message, field: str) -> datetime | None:
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(UTC) if message.HasField(field) else None


def _json(text: bytes) -> Any:
    """JSON in the form that we ask for. None if it was not sent."""
    return json.loads(text) if text else None

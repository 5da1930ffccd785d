"""What the client answers, as the JSON of the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from layeron_job import Enqueued, Exponential, Fixed, JobError, Retry, WaitTimeout

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def model(value: DataclassInstance) -> dict[str, Any]:
    """A run, attempt, transition, change or task. Durations get "_ms" to their names."""
    told = {}
    for field in fields(value):
        of_field = getattr(value, field.name)
        told[f"{field.name}_ms" if isinstance(of_field, timedelta) else field.name] = _plain(of_field)
    return told


def enqueued(made: Enqueued) -> dict[str, Any]:
    """The answer to an enqueue or replay."""
    return {"run_id": made.run_id, "created": made.created, "status": made.status}


def error(told: JobError | WaitTimeout | ValueError | TypeError) -> dict[str, Any]:
    """An error. ValueError and TypeError are what the client refused by itself."""
    if not isinstance(told, JobError):
        kind = "WaitTimeout" if isinstance(told, WaitTimeout) else "Refused"
        return {"type": kind, "code": "", "reason": "", "message": str(told)} | _NOTHING
    return {
        "type": type(told).__name__,
        "code": told.code.name,
        "reason": told.reason,
        "message": told.message,
        "violations": [{"field": field, "description": description} for field, description in told.violations],
        "metadata": told.metadata,
        "retry_after_ms": _ms(told.retry_after),
    }


_NOTHING: dict[str, Any] = {"violations": [], "metadata": {}, "retry_after_ms": None}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            return _ms(value)
        case Retry():
            return _retry(value)
        case Mapping():
            return dict(value)
    return model(value) if hasattr(value, "__dataclass_fields__") else value


def _retry(policy: Retry) -> dict[str, Any]:
    return {
        "attempts": policy.attempts,
        "backoff": _backoff(policy.backoff),
        "jitter": policy.jitter,
        "max_elapsed_ms": _ms(policy.max_elapsed),
        "non_retryable": list(policy.non_retryable),
    }


def _backoff(backoff: object) -> dict[str, Any]:
    match backoff:
        case Fixed():
            return {"type": "fixed", "delay_ms": _ms(backoff.delay)}
        case Exponential():
            growth = {"initial_ms": _ms(backoff.initial), "maximum_ms": _ms(backoff.maximum)}
            return {"type": "exponential", **growth, "multiplier": backoff.multiplier}
        case Sequence():
            return {"type": "custom", "delays_ms": [_ms(delay) for delay in backoff]}
    raise AssertionError(f"no such back-off: {backoff!r}")


def _ms(length: float | timedelta | None) -> float | None:
    if length is None:
        return None
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    return round(seconds * 1000, 6)

"""Single fields of requests, to checked values: names, ids, times, durations, policies.

What is wrong with a field is noted, and the request is refused once all of it has been looked at.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from layeron.job.v1 import task_pb2
from layeron_job.ids import decode
from layeron_job_server.domain import names, retry
from layeron_job_server.domain.errors import FieldViolation, InvalidRequest

FAR: Final = timedelta(days=3653)  # ten years
MILLISECOND: Final = timedelta(milliseconds=1)
_SECONDS_MAX: Final = 10**11  # beyond it a protobuf time does not fit into ours; 3,000 years


class Violations:
    """What is wrong with one request. `within` names fields below a path, such as items[3]."""

    def __init__(self, path: str = "", found: list[FieldViolation] | None = None) -> None:
        self._path = path
        self._found = [] if found is None else found

    def within(self, path: str) -> Violations:
        """The same violations, for fields below `path`."""
        return Violations(f"{self._path}{path}.", self._found)

    def add(self, field_name: str, problem: str | None) -> bool:
        """Note a problem of a field, if there is one; True if so."""
        if problem is not None:
            self._found.append(FieldViolation(f"{self._path}{field_name}", problem))
        return problem is not None

    def refuse(self) -> None:
        """Raise InvalidRequest if anything was noted."""
        if self._found:
            raise InvalidRequest(self._found)


def namespace_of(name: str, violations: Violations) -> str:
    """The namespace that is meant; empty means "default"."""
    namespace = name or "default"
    violations.add("namespace", names.namespace_problem(namespace))
    return namespace


def run_id_of(text: str, violations: Violations, field_name: str = "run_id") -> UUID:
    """The run that is named; the nil UUID if none is, or if it is wrong."""
    if not text:
        violations.add(field_name, "is required")
        return UUID(int=0)
    try:
        run_id = decode("run", text)
    except ValueError as error:
        violations.add(field_name, str(error))
        return UUID(int=0)
    if run_id.int == 0:
        violations.add(field_name, "is the nil UUID, which is that of no run")
    return run_id


def reason_of(text: str, violations: Violations) -> str | None:
    """Why somebody does something; None if they do not say."""
    violations.add("reason", names.text_problem(text, limit=names.NOTE_MAX))
    return text or None


def time_of(request: Message, field_name: str, now: datetime, violations: Violations) -> datetime | None:
    """A time within ten years of now; None if it is unset, or wrong."""
    if not request.HasField(field_name):
        return None
    stamp: Timestamp = getattr(request, field_name)
    if 0 <= stamp.nanos < 10**9 and abs(stamp.seconds) < _SECONDS_MAX:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=stamp.seconds, microseconds=-(-stamp.nanos // 1000))
        if abs(moment - now) <= FAR:
            return moment
    violations.add(field_name, "must be a time within 10 years of now")
    return None


def duration_of(
    request: Message,
    field_name: str,
    violations: Violations,
    *,
    least: timedelta = timedelta(0),
    most: timedelta = FAR,
) -> timedelta | None:
    """A duration within these limits; None if it is unset, or wrong."""
    if not request.HasField(field_name):
        return None
    length = _timedelta(getattr(request, field_name))
    if length is not None and least <= length <= most:
        return length
    violations.add(field_name, f"must be {_words(least)} to {_words(most)}")
    return None


def priority_of(priority: int, violations: Violations) -> int | None:
    """1, 2 or 3; None if it is not said."""
    if priority not in task_pb2.Priority.values():
        violations.add("priority", "must be PRIORITY_HIGH, PRIORITY_NORMAL or PRIORITY_LOW")
    return priority or None


def retry_of(policy: task_pb2.RetryPolicy, violations: Violations) -> retry.RetryPolicy:
    """A policy, with defaults for what is not set."""
    read = retry.RetryPolicy(
        max_attempts=policy.max_attempts if policy.HasField("max_attempts") else 3,
        backoff=_backoff_of(policy, violations),
        jitter=policy.jitter if policy.HasField("jitter") else 0.1,
        max_elapsed=duration_of(policy, "max_elapsed", violations, least=MILLISECOND, most=retry.MAX_ELAPSED_MAX),
        non_retryable_types=tuple(policy.non_retryable_types),
    )
    for field_name, problem in retry.problems(read):
        violations.add(field_name, problem)
    return read


def _backoff_of(policy: task_pb2.RetryPolicy, violations: Violations) -> retry.Backoff:
    """Waits that do not fit into our durations are named here, and the others by `retry.problems`."""
    match policy.WhichOneof("backoff"):
        case "fixed":
            if not policy.fixed.HasField("delay"):
                violations.add("fixed.delay", "is required")
            return retry.Fixed(_wait(policy.fixed.delay))
        case "custom":
            return retry.Custom(tuple(_wait(delay) for delay in policy.custom.delays))
    growing, default = policy.exponential, retry.Exponential()
    return retry.Exponential(
        initial=_wait(growing.initial) if growing.HasField("initial") else default.initial,
        maximum=_wait(growing.maximum) if growing.HasField("maximum") else default.maximum,
        multiplier=growing.multiplier if growing.HasField("multiplier") else default.multiplier,
    )


def _wait(length: Duration) -> timedelta:
    """A wait; one that does not fit into our durations is as far out of the limits as they go."""
    wait = _timedelta(length)
    return timedelta.max if wait is None else wait


def _timedelta(length: Duration) -> timedelta | None:
    if abs(length.seconds) >= _SECONDS_MAX or abs(length.nanos) >= 10**9:
        return None
    return timedelta(seconds=length.seconds, microseconds=-(-length.nanos // 1000))


def page_size_of(request: Any, violations: Violations, *, default: int, most: int = 500) -> int:
    """How many entries a page may have."""
    if not request.HasField("page_size"):
        return default
    if not 1 <= request.page_size <= most:
        violations.add("page_size", f"must be 1 to {most}")
    return int(request.page_size)


def milliseconds(length: timedelta) -> int:
    """A duration in whole milliseconds, rounded up."""
    return -(-length // MILLISECOND)


def _words(length: timedelta) -> str:
    if length == FAR:
        return "10 years"
    if length >= timedelta(days=1):
        return f"{length.days} days"
    return f"{length.total_seconds():g} s"

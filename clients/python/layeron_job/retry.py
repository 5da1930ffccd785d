"""Retry policies: how often and when a run is tried again after an attempt failed, timed out or was lost.

Every time is seconds or a timedelta. A value out of its limits raises ValueError that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from layeron.job.v1 import task_pb2 as pb

from .durations import Seconds, duration, seconds

DELAY_SECONDS_MAX = 30 * 86_400.0
ERROR_TYPE_CHARACTERS_MAX = 255
_MAX_ELAPSED_SECONDS_MAX = 3650 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait after every failure, 0 to 30 days."""

    delay: Seconds

    def __post_init__(self) -> None:
        _check("delay", seconds(self.delay), 0, DELAY_SECONDS_MAX)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Waits of initial, initial × multiplier, initial × multiplier² … up to maximum."""

    initial: Seconds = 5
    maximum: Seconds = 300
    multiplier: float = 2

    def __post_init__(self) -> None:
        _check("initial", seconds(self.initial), 0, DELAY_SECONDS_MAX)
        _check("maximum", seconds(self.maximum), seconds(self.initial), DELAY_SECONDS_MAX)
        _check("multiplier", self.multiplier, 1, 100)


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy.

    attempts       tries that may count, the first included, 1 to 1000
    backoff        Exponential, Fixed, one wait for all, or a list of 1 to 100 waits of which the last one repeats
    jitter         up to this share of a wait, 0 to 1, is added to it by chance
    max_elapsed    no retry later than this after the first start, at most 10 years; None: no such limit
    non_retryable  exceptions, by class or by name, that end the run at once. They match by exact name, not by
                   inheritance. "Timeout" and "Lost" name those two outcomes. At most 32.
    """

    attempts: int = 3
    backoff: Exponential | Fixed | Seconds | Sequence[Seconds] = field(default_factory=Exponential)
    jitter: float = 0.1
    max_elapsed: Seconds | None = None
    non_retryable: Sequence[type[BaseException] | str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int):
            raise ValueError(f"attempts must be a whole number, not {self.attempts!r}")
        if isinstance(self.backoff, str):
            raise ValueError("backoff must be Exponential, Fixed, a wait or a list of waits, not a text")
        _check("attempts", self.attempts, 1, 1000)
        _check("jitter", self.jitter, 0, 1)
        if self.max_elapsed is not None:
            _check("max_elapsed", seconds(self.max_elapsed), 0, _MAX_ELAPSED_SECONDS_MAX)
        if isinstance(self.non_retryable, str):
            raise ValueError("non_retryable must be a list of exception classes or names")
        _check("the number of non_retryable types", len(self.non_retryable), 0, 32)
        for name in self._type_names():
            _check("the length of a non_retryable type", len(name), 1, ERROR_TYPE_CHARACTERS_MAX)
        self._delays()

    @classmethod
    def from_proto(cls, policy: pb.RetryPolicy) -> Retry:
        """A policy as the server gives it: times in seconds, a list of waits as a tuple."""
        return cls(
            attempts=policy.max_attempts if policy.HasField("max_attempts") else 3,
            backoff=_backoff(policy),
            jitter=policy.jitter if policy.HasField("jitter") else 0.1,
            max_elapsed=_seconds(policy.max_elapsed) if policy.HasField("max_elapsed") else None,
            non_retryable=tuple(policy.non_retryable_types),
        )

    def to_proto(self) -> pb.RetryPolicy:
        """The policy as the server takes it."""
        policy = pb.RetryPolicy(
            max_attempts=self.attempts, jitter=float(self.jitter), non_retryable_types=self._type_names()
        )
        if isinstance(self.backoff, Exponential):
            policy.exponential.initial.CopyFrom(duration(self.backoff.initial))
            policy.exponential.maximum.CopyFrom(duration(self.backoff.maximum))
            policy.exponential.multiplier = float(self.backoff.multiplier)
        elif isinstance(self.backoff, Fixed | int | float | timedelta):
            policy.fixed.delay.CopyFrom(duration(self._delays()[0]))
        else:
            policy.custom.delays.extend(duration(delay) for delay in self._delays())
        if self.max_elapsed is not None:
            policy.max_elapsed.CopyFrom(duration(self.max_elapsed))
        return policy

    def _delays(self) -> list[float]:
        """The waits that are named one by one; none for an exponential back-off."""
        if isinstance(self.backoff, Exponential):
            return []
        if isinstance(self.backoff, Fixed):
            return [seconds(self.backoff.delay)]
        if isinstance(self.backoff, int | float | timedelta):
            return [seconds(Fixed(self.backoff).delay)]
        _check("the number of waits in backoff", len(self.backoff), 1, 100)
        return [seconds(Fixed(delay).delay) for delay in self.backoff]

    def _type_names(self) -> list[str]:
        return [kind if isinstance(kind, str) else kind.__qualname__ for kind in self.non_retryable]


def _backoff(policy: pb.RetryPolicy) -> Exponential | Fixed | tuple[float, ...]:
    match policy.WhichOneof("backoff"):
        case "fixed":
            return Fixed(_seconds(policy.fixed.delay))
        case "custom":
            return tuple(_seconds(delay) for delay in policy.custom.delays)
    growing, default = policy.exponential, Exponential()
    return Exponential(
        initial=_seconds(growing.initial) if growing.HasField("initial") else default.initial,
        maximum=_seconds(growing.maximum) if growing.HasField("maximum") else default.maximum,
        multiplier=growing.multiplier if growing.HasField("multiplier") else default.multiplier,
    )


def _seconds(length: Duration) -> float:
    return length.ToTimedelta().total_seconds()


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least:.10g} to {most:.10g}, not {value:.10g}")

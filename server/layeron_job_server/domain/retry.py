"""When a run is tried again: policies, their limits, and the arithmetic of waiting. Chance is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

DELAY_MAX: Final = timedelta(days=30)
MAX_ELAPSED_MAX: Final = timedelta(days=3653)  # ten years
MAX_ATTEMPTS_MAX: Final = 1000
MULTIPLIER_MAX: Final = 100.0
CUSTOM_DELAYS_MAX: Final = 100
NON_RETRYABLE_TYPES_MAX: Final = 32
ERROR_TYPE_MAX: Final = 255

_FREE_INTERRUPTIONS: Final = 2
_INTERRUPTION_DELAY_MAX: Final = timedelta(seconds=60)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait after every failure."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Exponential:
    """initial, initial × multiplier, initial × multiplier² … up to maximum."""

    initial: timedelta = timedelta(seconds=5)
    maximum: timedelta = timedelta(seconds=300)
    multiplier: float = 2.0


@dataclass(frozen=True, slots=True)
class Custom:
    """Each wait by itself: the first failure uses the first one, and the last one repeats."""

    delays: tuple[timedelta, ...]


Backoff: TypeAlias = Fixed | Exponential | Custom


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a run is tried again."""

    max_attempts: int = 3  # the first included
    backoff: Backoff = Exponential()
    jitter: float = 0.1  # up to this share of a wait is added to it by chance
    max_elapsed: timedelta | None = None  # from the first start
    non_retryable_types: tuple[str, ...] = ()


def delay_after(policy: RetryPolicy, counted: int, chance: float) -> timedelta:
    """The wait after the `counted`th counted attempt, `chance` in [0, 1). Never shorter than the policy states."""
    stated = _stated_delay(policy.backoff, counted)
    return stated + stated * (policy.jitter * chance)


def _stated_delay(backoff: Backoff, counted: int) -> timedelta:
    match backoff:
        case Fixed(delay):
            return delay
        case Custom(delays):
            return delays[min(counted, len(delays)) - 1]
        case Exponential(initial, maximum, multiplier):
            if multiplier <= 1 or not initial:
                return initial
            # From this many steps on the maximum is reached; no power is taken that could overflow.
            steps_to_maximum = math.log(maximum / initial, multiplier)
            if counted - 1 >= steps_to_maximum:
                return maximum
            return min(maximum, initial * multiplier ** (counted - 1))


def interruption_delay(interruptions: int) -> timedelta:
    """The wait after so many interruptions in a row: none for the first two, then 1 s, 2 s, 4 s … up to 60 s."""
    doublings = interruptions - _FREE_INTERRUPTIONS - 1
    if doublings < 0:
        return timedelta(0)
    return min(_INTERRUPTION_DELAY_MAX, timedelta(seconds=2 ** min(doublings, 10)))


def to_json(policy: RetryPolicy) -> dict[str, Any]:
    """The policy as plain JSON, durations in whole milliseconds.

    Runs are stored and fingerprinted with it, so its form never changes.
    """
    return {
        "max_attempts": policy.max_attempts,
        **_backoff_to_json(policy.backoff),
        "jitter": policy.jitter,
        "max_elapsed": None if policy.max_elapsed is None else _ms(policy.max_elapsed),
        "non_retryable": list(policy.non_retryable_types),
    }


def _backoff_to_json(backoff: Backoff) -> dict[str, Any]:
    match backoff:
        case Fixed(delay):
            return {"fixed": _ms(delay)}
        case Exponential(initial, maximum, multiplier):
            return {"exponential": [_ms(initial), _ms(maximum), multiplier]}
        case Custom(delays):
            return {"custom": [_ms(delay) for delay in delays]}


def from_json(value: dict[str, Any]) -> RetryPolicy:
    """The policy that `to_json` wrote."""
    backoff: Backoff
    if "fixed" in value:
        backoff = Fixed(value["fixed"] * _MILLISECOND)
    elif "custom" in value:
        backoff = Custom(tuple(delay * _MILLISECOND for delay in value["custom"]))
    else:
        initial, maximum, multiplier = value["exponential"]
        backoff = Exponential(initial * _MILLISECOND, maximum * _MILLISECOND, float(multiplier))
    elapsed = value["max_elapsed"]
    return RetryPolicy(
        value["max_attempts"],
        backoff,
        float(value["jitter"]),
        None if elapsed is None else elapsed * _MILLISECOND,
        tuple(value["non_retryable"]),
    )


def _ms(duration: timedelta) -> int:
    """Rounded up: no wait is ever shorter than stated."""
    return -(-duration // _MILLISECOND)


def problems(policy: RetryPolicy) -> list[tuple[str, str]]:
    """What breaks a limit, as (field, description)."""
    found = _backoff_problems(policy.backoff)
    if not 1 <= policy.max_attempts <= MAX_ATTEMPTS_MAX:
        found.append(("max_attempts", f"must be 1 to {MAX_ATTEMPTS_MAX}"))
    if not 0 <= policy.jitter <= 1:
        found.append(("jitter", "must be 0 to 1"))
    if policy.max_elapsed is not None and not timedelta(0) < policy.max_elapsed <= MAX_ELAPSED_MAX:
        found.append(("max_elapsed", "must be more than 0 and at most 10 years"))
    if len(policy.non_retryable_types) > NON_RETRYABLE_TYPES_MAX:
        found.append(("non_retryable_types", f"must be at most {NON_RETRYABLE_TYPES_MAX} types"))
    found.extend(
        (f"non_retryable_types[{index}]", f"must be 1 to {ERROR_TYPE_MAX} characters without U+0000")
        for index, name in enumerate(policy.non_retryable_types)
        if not 1 <= len(name) <= ERROR_TYPE_MAX or "\0" in name
    )
    return found


def _backoff_problems(backoff: Backoff) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    delays: list[tuple[str, timedelta]]
    match backoff:
        case Fixed(delay):
            delays = [("fixed.delay", delay)]
        case Custom(waits):
            delays = [(f"custom.delays[{index}]", delay) for index, delay in enumerate(waits)]
            if not 1 <= len(waits) <= CUSTOM_DELAYS_MAX:
                found.append(("custom.delays", f"must be 1 to {CUSTOM_DELAYS_MAX} waits"))
        case Exponential(initial, maximum, multiplier):
            delays = [("exponential.initial", initial), ("exponential.maximum", maximum)]
            if initial > maximum:
                found.append(("exponential.initial", "must be at most exponential.maximum"))
            if not 1 <= multiplier <= MULTIPLIER_MAX:
                found.append(("exponential.multiplier", f"must be 1 to {MULTIPLIER_MAX:.0f}"))
    found.extend(
        (field, f"must be 0 to {DELAY_MAX.days} days")
        for field, delay in delays
        if not timedelta(0) <= delay <= DELAY_MAX
    )
    return found

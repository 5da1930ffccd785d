"""Waiting: never shorter than stated, never longer than jitter allows, and the same after a trip through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layeron_job_server.domain.retry import (
    DELAY_MAX,
    MAX_ELAPSED_MAX,
    Backoff,
    Custom,
    Exponential,
    Fixed,
    RetryPolicy,
    delay_after,
    from_json,
    interruption_delay,
    problems,
    to_json,
)

MS = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)

delays = st.integers(0, DELAY_MAX // MS).map(lambda ms: ms * MS)
exponentials = st.tuples(delays, delays, st.floats(1, 100)).map(lambda t: Exponential(min(t[:2]), max(t[:2]), t[2]))
backoffs = st.one_of(
    delays.map(Fixed), exponentials, st.lists(delays, min_size=1, max_size=100).map(lambda waits: Custom(tuple(waits)))
)
policies = st.builds(
    RetryPolicy,
    st.integers(1, 1000),
    backoffs,
    st.floats(0, 1),
    st.none() | st.integers(1, MAX_ELAPSED_MAX // MS).map(lambda ms: ms * MS),
    st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=255), max_size=32).map(tuple),
)
counts = st.integers(1, 1000) | st.integers(1, 10**400)
chances = st.floats(0, 1, exclude_max=True)


@given(policies, counts, chances)
def test_jitter_only_ever_adds_and_at_most_its_share(policy: RetryPolicy, counted: int, chance: float) -> None:
    stated = delay_after(policy, counted, 0.0)
    assert timedelta(0) <= stated <= DELAY_MAX
    assert stated <= delay_after(policy, counted, chance) <= stated + stated * policy.jitter


@given(exponentials, counts)
def test_an_exponential_wait_grows_up_to_its_maximum_and_never_overflows(backoff: Exponential, counted: int) -> None:
    policy = RetryPolicy(backoff=backoff)
    wait = delay_after(policy, counted, 0.0)
    assert backoff.initial <= wait <= backoff.maximum
    assert wait <= delay_after(policy, counted + 1, 0.0)


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (Exponential(), [5, 10, 20, 40, 80, 160, 300, 300]),
        (Exponential(SECOND, 10 * SECOND, 1.0), [1, 1, 1, 1]),
        (Exponential(SECOND, 10 * SECOND, 10.0), [1, 10, 10]),
        (Exponential(timedelta(0), 10 * SECOND, 100.0), [0, 0, 0]),
        (Exponential(timedelta(0), timedelta(0)), [0, 0]),
        (Exponential(7 * SECOND, 7 * SECOND), [7, 7]),
        (Fixed(3 * SECOND), [3, 3, 3]),
        (Custom((10 * SECOND, SECOND, 60 * SECOND)), [10, 1, 60, 60, 60]),
    ],
)
def test_the_waits_are_the_stated_ones(backoff: Backoff, seconds: list[int]) -> None:
    policy = RetryPolicy(backoff=backoff)
    assert [delay_after(policy, n, 0.0).total_seconds() for n in range(1, len(seconds) + 1)] == seconds


@pytest.mark.parametrize(
    ("interruptions", "seconds"),
    [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 4), (8, 32), (9, 60), (10, 60), (10**400, 60)],
)
def test_interruptions_back_off_from_the_third_in_a_row(interruptions: int, seconds: int) -> None:
    assert interruption_delay(interruptions) == seconds * SECOND


@given(policies)
def test_a_policy_is_the_same_after_a_trip_through_json(policy: RetryPolicy) -> None:
    text = json.dumps(to_json(policy))
    assert from_json(json.loads(text)) == policy
    assert json.dumps(to_json(from_json(json.loads(text)))) == text


def test_the_stored_form_of_a_policy_never_changes() -> None:
    assert to_json(RetryPolicy()) == {
        "max_attempts": 3,
        "exponential": [5000, 300_000, 2.0],
        "jitter": 0.1,
        "max_elapsed": None,
        "non_retryable": [],
    }
    fixed = RetryPolicy(1, Fixed(SECOND), 0.0, 60 * SECOND, ("A", "B"))
    assert to_json(fixed) == {
        "max_attempts": 1,
        "fixed": 1000,
        "jitter": 0.0,
        "max_elapsed": 60_000,
        "non_retryable": ["A", "B"],
    }
    assert to_json(RetryPolicy(backoff=Custom((SECOND, 2 * SECOND))))["custom"] == [1000, 2000]


@given(st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_a_stored_wait_is_never_shorter_than_the_asked_one(delay: timedelta) -> None:
    stored = from_json(to_json(RetryPolicy(backoff=Fixed(delay)))).backoff
    assert isinstance(stored, Fixed)
    assert delay <= stored.delay < delay + MS


@given(policies)
def test_a_policy_within_the_limits_has_no_problems(policy: RetryPolicy) -> None:
    assert problems(policy) == []


OVER = DELAY_MAX + MS


@pytest.mark.parametrize(
    ("policy", "field", "limit"),
    [
        (RetryPolicy(max_attempts=0), "max_attempts", "1000"),
        (RetryPolicy(max_attempts=1001), "max_attempts", "1000"),
        (RetryPolicy(jitter=-0.1), "jitter", "0 to 1"),
        (RetryPolicy(jitter=1.1), "jitter", "0 to 1"),
        (RetryPolicy(jitter=math.nan), "jitter", "0 to 1"),
        (RetryPolicy(max_elapsed=timedelta(0)), "max_elapsed", "10 years"),
        (RetryPolicy(max_elapsed=MAX_ELAPSED_MAX + MS), "max_elapsed", "10 years"),
        (RetryPolicy(backoff=Fixed(-MS)), "fixed.delay", "30 days"),
        (RetryPolicy(backoff=Fixed(OVER)), "fixed.delay", "30 days"),
        (RetryPolicy(backoff=Exponential(-MS)), "exponential.initial", "30 days"),
        (RetryPolicy(backoff=Exponential(maximum=OVER)), "exponential.maximum", "30 days"),
        (RetryPolicy(backoff=Exponential(2 * SECOND, SECOND)), "exponential.initial", "exponential.maximum"),
        (RetryPolicy(backoff=Exponential(multiplier=0.99)), "exponential.multiplier", "1 to 100"),
        (RetryPolicy(backoff=Exponential(multiplier=100.1)), "exponential.multiplier", "1 to 100"),
        (RetryPolicy(backoff=Exponential(multiplier=math.inf)), "exponential.multiplier", "1 to 100"),
        (RetryPolicy(backoff=Exponential(multiplier=math.nan)), "exponential.multiplier", "1 to 100"),
        (RetryPolicy(backoff=Custom(())), "custom.delays", "1 to 100"),
        (RetryPolicy(backoff=Custom((SECOND,) * 101)), "custom.delays", "1 to 100"),
        (RetryPolicy(backoff=Custom((SECOND, OVER))), "custom.delays[1]", "30 days"),
        (RetryPolicy(non_retryable_types=("E",) * 33), "non_retryable_types", "32"),
        (RetryPolicy(non_retryable_types=("E", "")), "non_retryable_types[1]", "255"),
        (RetryPolicy(non_retryable_types=("E" * 256,)), "non_retryable_types[0]", "255"),
        (RetryPolicy(non_retryable_types=("a\0b",)), "non_retryable_types[0]", "U+0000"),
    ],
)
def test_a_broken_limit_is_named_with_its_field(policy: RetryPolicy, field: str, limit: str) -> None:
    [(found, description)] = problems(policy)
    assert found == field
    assert limit in description


def test_every_broken_limit_is_named_at_once() -> None:
    policy = replace(RetryPolicy(max_attempts=0, jitter=2.0), backoff=Custom((OVER, -MS)))
    assert [field for field, _ in problems(policy)] == [
        "custom.delays[0]",
        "custom.delays[1]",
        "max_attempts",
        "jitter",
    ]

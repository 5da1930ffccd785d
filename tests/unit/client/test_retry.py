"""Retry policies: what users write reaches the server as they meant it, and what is out of its limits is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from layeron.job.v1 import task_pb2 as pb
from layeron_job import Exponential, Fixed, Retry
from layeron_job.durations import duration, seconds
from layeron_job_server.rpc.fields import Violations, retry_of

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("policy", "comes_back"),
    [
        (Retry(), Retry()),
        (Retry(attempts=1000, jitter=1, max_elapsed=HOUR), Retry(1000, Exponential(), 1.0, 3600.0)),
        (Retry(backoff=Exponential(0.5, HOUR, 1.5)), Retry(backoff=Exponential(0.5, 3600.0, 1.5))),
        (Retry(backoff=Fixed(HOUR)), Retry(backoff=Fixed(3600.0))),
        (Retry(backoff=30), Retry(backoff=Fixed(30.0))),
        (Retry(backoff=timedelta(milliseconds=1)), Retry(backoff=Fixed(0.001))),
        (Retry(backoff=[0.2, HOUR]), Retry(backoff=(0.2, 3600.0))),
        (Retry(non_retryable=[ValueError, "Timeout"]), Retry(non_retryable=("ValueError", "Timeout"))),
    ],
)
def test_a_policy_reaches_the_server_and_comes_back(policy: Retry, comes_back: Retry) -> None:
    message = policy.to_proto()
    violations = Violations()
    retry_of(message, violations)
    violations.refuse()
    assert Retry.from_proto(message) == comes_back


def test_a_policy_that_says_nothing_is_the_default_one_on_both_sides() -> None:
    assert Retry.from_proto(pb.RetryPolicy()) == Retry()
    said, unsaid = retry_of(Retry().to_proto(), Violations()), retry_of(pb.RetryPolicy(), Violations())
    assert said == unsaid


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Retry(attempts=0), "attempts must be 1 to 1000, not 0"),
        (lambda: Retry(attempts=1001), "attempts must be 1 to 1000, not 1001"),
        (lambda: Retry(attempts=2.5), "attempts must be a whole number, not 2.5"),  # type: ignore[arg-type] # that is it
        (lambda: Retry(backoff="5"), "backoff must be Exponential, Fixed, a wait or a list of waits"),  # type: ignore[arg-type] # as above
        (lambda: Retry(jitter=1.1), r"jitter must be 0 to 1, not 1\.1"),
        (lambda: Retry(max_elapsed=-1), "max_elapsed must be 0 to"),
        (lambda: Retry(backoff=-1), "delay must be 0 to"),
        (lambda: Retry(backoff=[]), "the number of waits in backoff must be 1 to 100, not 0"),
        (lambda: Retry(backoff=[1, timedelta(days=31)]), "delay must be 0 to"),
        (lambda: Retry(non_retryable="ValueError"), "non_retryable must be a list"),
        (lambda: Retry(non_retryable=["x"] * 33), "the number of non_retryable types must be 0 to 32, not 33"),
        (lambda: Retry(non_retryable=[""]), "the length of a non_retryable type must be 1 to 255, not 0"),
        (lambda: Exponential(initial=10, maximum=5), "maximum must be 10 to"),
        (lambda: Exponential(multiplier=0.5), r"multiplier must be 1 to 100, not 0\.5"),
    ],
)
def test_what_is_out_of_its_limits_is_named(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        make()


def test_a_length_of_time_is_seconds_or_a_timedelta() -> None:
    assert seconds(HOUR) == seconds(3600) == 3600.0
    assert duration(1.5) == duration(timedelta(seconds=1, milliseconds=500))
    assert duration(-0.5).ToTimedelta() == timedelta(milliseconds=-500)

"""The life of a run: every pair of status and event is a listed move or a refusal, and the rules hold on every path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layeron_job_server.domain.errors import IllegalTransition
from layeron_job_server.domain.retry import Custom, Exponential, Fixed, RetryPolicy, delay_after
from layeron_job_server.domain.run import TERMINAL, WAITING, AttemptStatus, Reason, Run, RunStatus
from layeron_job_server.domain.transitions import (
    ALLOWED,
    CancelConfirmed,
    CancelIgnored,
    CancelRequested,
    Event,
    Failed,
    Granted,
    Interrupted,
    Lost,
    ResultInvalid,
    StartDeadlinePassed,
    Step,
    Succeeded,
    TimedOut,
    advance,
    chart,
    initial_status,
    sources,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
EXAMPLES: tuple[Event, ...] = (
    Granted(),
    Succeeded(),
    Failed("ValueError"),
    Failed("ValueError", retryable=False),
    TimedOut(),
    Lost(),
    Interrupted(),
    ResultInvalid(),
    CancelRequested(),
    CancelConfirmed(),
    CancelIgnored(),
    StartDeadlinePassed(),
)


def a_run(status: RunStatus = RunStatus.RUNNING, **changes: Any) -> Run:
    """A run as it may stand in this status: due, and started once unless it still waits for its first start."""
    unstarted = status in (RunStatus.QUEUED, RunStatus.SCHEDULED)
    run = Run(
        run_id=UUID(int=1),
        status=status,
        attempt=0 if unstarted else 1,
        counted=1 if status is RunStatus.RETRYING else 0,
        interruptions=0,
        seq=0 if unstarted else 1,
        due_at=NOW,
        start_by=None,
        cancel_requested_at=None,
        first_started_at=None if unstarted else NOW - HOUR,
        policy=RetryPolicy(max_attempts=3, backoff=Fixed(HOUR), jitter=0.0),
    )
    return replace(run, **changes)


def all_kinds_of_runs() -> Iterator[Run]:
    """Runs in every status, with and without a cancel request, a try left and a start deadline."""
    for status, canceled, last_try, late in product(RunStatus, (None, NOW), (False, True), (None, NOW)):
        run = a_run(status, start_by=late, cancel_requested_at=canceled if status is RunStatus.RUNNING else None)
        yield replace(run, counted=2) if last_try and run.attempt else run


def step(run: Run, event: Event, *, now: datetime = NOW, chance: float = 0.0) -> Step:
    return advance(run, event, now=now, chance=chance)


@pytest.mark.parametrize(("status", "event_type"), list(product(RunStatus, EVENT_TYPES)))
def test_every_pair_of_status_and_event_is_a_listed_move_or_refused(status: RunStatus, event_type: type[Event]) -> None:
    seen = set()
    for run, event in product(all_kinds_of_runs(), EXAMPLES):
        if run.status is status and type(event) is event_type:
            try:
                seen.add(step(run, event).run.status)
            except IllegalTransition:
                continue
    # Equal, not only contained: a listed move that no run can make is as wrong as one that is not listed.
    assert seen == ALLOWED[event_type].get(status, frozenset())


def test_the_table_knows_every_event() -> None:
    assert set(ALLOWED) == set(EVENT_TYPES) == {type(event) for event in EXAMPLES}


@pytest.mark.parametrize(("status", "event"), list(product(sorted(TERMINAL), EXAMPLES)))
def test_a_terminal_run_never_changes_again(status: RunStatus, event: Event) -> None:
    with pytest.raises(IllegalTransition):
        step(a_run(status, cancel_requested_at=NOW, start_by=NOW), event)


def test_waiting_running_and_terminal_are_all_there_is() -> None:
    assert WAITING | {RunStatus.RUNNING} | TERMINAL == set(RunStatus)
    assert not WAITING & TERMINAL
    assert all(status.is_terminal == (status in TERMINAL) for status in RunStatus)


def test_guards_of_statements_are_made_from_the_table() -> None:
    assert sources(Granted) == WAITING
    assert sources(Succeeded) == {RunStatus.RUNNING}


events = st.one_of(
    st.sampled_from([event for event in EXAMPLES if not isinstance(event, Granted | Failed)]),
    st.builds(
        Failed,
        st.sampled_from(["ValueError", "Fatal"]),
        st.sampled_from([True, True, True, False]),
        st.none() | st.timedeltas(timedelta(0), timedelta(days=30)),
    ),
    *[st.just(Granted())] * 3,
)
policies = st.builds(
    RetryPolicy,
    st.integers(1, 6),
    st.sampled_from([Fixed(SECOND), Exponential(), Custom((SECOND, HOUR))]),
    st.floats(0, 1),
    st.none() | st.timedeltas(SECOND, timedelta(days=1)),
    st.sampled_from([(), ("Fatal",), ("Timeout",), ("Lost",)]),
)
chances = st.floats(0, 1, exclude_max=True)


@dataclass(frozen=True)
class Walked:
    before: Run
    event: Event
    now: datetime
    chance: float
    after: Step


def walk(policy: RetryPolicy, script: list[tuple[Event, float]]) -> Iterator[Walked]:
    """The life of one run: events that are refused are skipped, and time moves on to when it is due."""
    run, now = a_run(RunStatus.SCHEDULED, policy=policy, start_by=NOW + HOUR), NOW
    for event, chance in script:
        now = max(now + SECOND, run.due_at if isinstance(event, Granted) else now)
        try:
            after = advance(run, event, now=now, chance=chance)
        except IllegalTransition:
            continue
        yield Walked(run, event, now, chance, after)
        run = after.run


@given(policies, st.lists(st.tuples(events, chances), max_size=40))
def test_the_rules_hold_on_every_path(policy: RetryPolicy, script: list[tuple[Event, float]]) -> None:
    outcomes = []
    for walked in walk(policy, script):
        before, event, after, run = walked.before, walked.event, walked.after, walked.after.run
        assert not before.status.is_terminal
        assert run.attempt == before.attempt + isinstance(event, Granted), "attempt numbers go up by one, with a grant"
        assert run.seq == before.seq + (after.reason is not None), "every transition raises seq by one"
        assert (run.status is before.status) == (after.reason is None), "a transition is a change of status"
        assert (after.outcome is None) == (before.status is not RunStatus.RUNNING or run.status is RunStatus.RUNNING)
        assert run.first_started_at == before.first_started_at or before.first_started_at is None
        assert (after.retry_at is None) == (after.outcome is None or run.status.is_terminal)
        assert after.retry_at in (None, run.due_at)
        assert run.cancel_requested_at == before.cancel_requested_at or isinstance(event, CancelRequested)
        outcomes.append(after.outcome)
        tries = sum(o in (AttemptStatus.FAILED, AttemptStatus.TIMED_OUT, AttemptStatus.LOST) for o in outcomes)
        assert run.counted == tries <= policy.max_attempts


@given(policies, st.lists(st.tuples(events, chances), max_size=40))
def test_a_retry_is_never_due_before_its_delay(policy: RetryPolicy, script: list[tuple[Event, float]]) -> None:
    for walked in walk(policy, script):
        run, event = walked.after.run, walked.event
        if run.status is RunStatus.RETRYING and not isinstance(event, Lost):
            wish = event.retry_after if isinstance(event, Failed) else None
            stated = delay_after(policy, run.counted, 0.0) if wish is None else wish
            added = stated * policy.jitter if wish is None else timedelta(0)
            assert walked.now + stated <= run.due_at <= walked.now + stated + added


@given(chances)
def test_the_policy_decides_when_a_failed_attempt_is_tried_again(chance: float) -> None:
    policy = RetryPolicy(max_attempts=9, backoff=Custom((SECOND, HOUR)), jitter=0.5)
    run = a_run(policy=policy, counted=1, interruptions=2)
    after = step(run, Failed("ValueError"), chance=chance)
    assert (after.run.status, after.reason) == (RunStatus.RETRYING, Reason.ATTEMPT_FAILED)
    assert after.outcome is AttemptStatus.FAILED
    assert after.run.due_at == after.retry_at == NOW + delay_after(policy, 2, chance) >= NOW + HOUR
    assert (after.run.counted, after.run.interruptions) == (2, 0)


def test_a_handlers_own_wish_goes_before_the_policy() -> None:
    assert step(a_run(), Failed("Busy", retry_after=SECOND)).retry_at == NOW + SECOND
    assert step(a_run(), Failed("Busy", retry_after=timedelta(0))).retry_at == NOW


def test_a_lost_attempt_counts_and_is_due_again_at_once() -> None:
    after = step(a_run(), Lost())
    assert (after.run.status, after.reason, after.outcome) == (
        RunStatus.RETRYING,
        Reason.ATTEMPT_LOST,
        AttemptStatus.LOST,
    )
    assert (after.run.counted, after.retry_at) == (1, NOW)


def test_a_timeout_counts_and_waits_as_the_policy_says() -> None:
    after = step(a_run(), TimedOut())
    assert (after.reason, after.outcome, after.retry_at) == (
        Reason.ATTEMPT_TIMED_OUT,
        AttemptStatus.TIMED_OUT,
        NOW + HOUR,
    )
    assert after.run.counted == 1


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Failed("ValueError"), AttemptStatus.FAILED),
        (TimedOut(), AttemptStatus.TIMED_OUT),
        (Lost(), AttemptStatus.LOST),
    ],
)
def test_the_last_try_dead_letters_the_run(event: Event, outcome: AttemptStatus) -> None:
    after = step(a_run(counted=2), event)
    assert (after.run.status, after.reason) == (RunStatus.DEAD_LETTERED, Reason.ATTEMPTS_EXHAUSTED)
    assert (after.outcome, after.run.counted, after.retry_at) == (outcome, 3, None)


@pytest.mark.parametrize(
    "event", [Failed("ValueError", retryable=False), Failed("Fatal"), Failed("Fatal", retry_after=SECOND)]
)
def test_an_error_that_is_not_to_be_retried_dead_letters_at_once(event: Event) -> None:
    policy = RetryPolicy(non_retryable_types=("Fatal",))
    after = step(a_run(policy=policy), event)
    assert (after.run.status, after.reason) == (RunStatus.DEAD_LETTERED, Reason.NON_RETRYABLE)
    assert (after.outcome, after.run.counted) == (AttemptStatus.FAILED, 1)


@pytest.mark.parametrize(("event", "name"), [(TimedOut(), "Timeout"), (Lost(), "Lost")])
def test_timeouts_and_losses_have_names_that_a_policy_may_refuse_to_retry(event: Event, name: str) -> None:
    policy = RetryPolicy(non_retryable_types=(name,))
    assert step(a_run(policy=policy), event).reason is Reason.NON_RETRYABLE
    assert step(a_run(), event).run.status is RunStatus.RETRYING


def test_a_retry_that_would_pass_max_elapsed_dead_letters_now() -> None:
    policy = RetryPolicy(backoff=Fixed(HOUR), jitter=0.0, max_elapsed=2 * HOUR)
    at_the_limit = step(a_run(policy=policy), Failed("ValueError"))
    assert at_the_limit.retry_at == NOW + HOUR
    after = step(a_run(policy=policy), Failed("ValueError"), now=NOW + SECOND)
    assert (after.run.status, after.reason, after.retry_at) == (RunStatus.DEAD_LETTERED, Reason.MAX_ELAPSED, None)
    assert step(a_run(policy=policy), Lost(), now=NOW + HOUR + SECOND).reason is Reason.MAX_ELAPSED


def test_an_invalid_result_ends_the_run_and_is_not_retried() -> None:
    after = step(a_run(), ResultInvalid())
    assert (after.run.status, after.reason) == (RunStatus.DEAD_LETTERED, Reason.RESULT_INVALID)
    assert (after.outcome, after.run.counted) == (AttemptStatus.FAILED, 1)


def test_an_interrupted_attempt_is_never_counted_and_backs_off_from_the_third_in_a_row() -> None:
    run, waits = a_run(RunStatus.QUEUED), []
    for _ in range(10):
        run = step(run, Granted(), now=run.due_at).run
        after = step(run, Interrupted(), now=run.due_at)
        assert (after.run.status, after.reason) == (RunStatus.QUEUED, Reason.ATTEMPT_INTERRUPTED)
        assert after.outcome is AttemptStatus.INTERRUPTED
        waits.append((after.run.due_at - run.due_at).total_seconds())
        run = after.run
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert (run.counted, run.attempt) == (0, 10)


def test_an_attempt_that_is_handed_back_before_it_began_may_start_elsewhere_at_once() -> None:
    run = a_run(interruptions=7)
    after = step(run, Interrupted(began=False), now=NOW)
    assert (after.run.status, after.run.due_at, after.run.interruptions) == (RunStatus.QUEUED, NOW, 7)
    assert after.outcome is AttemptStatus.INTERRUPTED


@pytest.mark.parametrize("event", [Failed("ValueError"), TimedOut(), Lost()])
def test_a_try_that_counts_ends_the_row_of_interruptions(event: Event) -> None:
    assert step(a_run(interruptions=7), event).run.interruptions == 0


def test_nothing_starts_before_its_time() -> None:
    for status in sorted(WAITING):
        with pytest.raises(IllegalTransition):
            step(a_run(status), Granted(), now=NOW - timedelta(microseconds=1))
        assert step(a_run(status), Granted()).reason is Reason.STARTED


def test_the_first_start_is_remembered() -> None:
    first = step(a_run(RunStatus.QUEUED), Granted())
    assert first.run.first_started_at == NOW
    assert step(a_run(RunStatus.RETRYING), Granted()).run.first_started_at == NOW - HOUR


def test_a_start_deadline_holds_until_the_first_start() -> None:
    late = a_run(RunStatus.SCHEDULED, start_by=NOW)
    with pytest.raises(IllegalTransition):
        step(late, Granted())
    after = step(late, StartDeadlinePassed())
    assert (after.run.status, after.reason) == (RunStatus.DEAD_LETTERED, Reason.START_DEADLINE_EXCEEDED)
    assert after.outcome is None
    assert step(replace(late, start_by=NOW + SECOND), Granted()).run.status is RunStatus.RUNNING
    assert step(a_run(RunStatus.RETRYING, start_by=NOW), Granted()).run.status is RunStatus.RUNNING
    interrupted = a_run(RunStatus.QUEUED, start_by=NOW, first_started_at=NOW - HOUR, attempt=1)
    assert step(interrupted, Granted()).run.status is RunStatus.RUNNING


@pytest.mark.parametrize(
    "run",
    [
        a_run(RunStatus.QUEUED),
        a_run(RunStatus.QUEUED, start_by=NOW + SECOND),
        a_run(RunStatus.QUEUED, start_by=NOW, first_started_at=NOW - HOUR),
    ],
)
def test_a_start_deadline_that_has_not_passed_ends_nothing(run: Run) -> None:
    with pytest.raises(IllegalTransition):
        step(run, StartDeadlinePassed())


@pytest.mark.parametrize("status", sorted(WAITING))
def test_a_waiting_run_is_canceled_at_once(status: RunStatus) -> None:
    after = step(a_run(status), CancelRequested())
    assert (after.run.status, after.reason) == (RunStatus.CANCELED, Reason.CANCEL_REQUESTED)
    assert (after.outcome, after.run.cancel_requested_at) == (None, NOW)


def test_a_cancel_request_to_a_running_run_is_noted_once_and_is_no_transition() -> None:
    asked = step(a_run(), CancelRequested())
    assert asked == Step(replace(a_run(), cancel_requested_at=NOW), reason=None)
    assert step(asked.run, CancelRequested(), now=NOW + HOUR) == asked


def test_a_success_that_wins_the_race_with_a_cancel_stays_a_success() -> None:
    after = step(a_run(cancel_requested_at=NOW), Succeeded())
    assert (after.run.status, after.reason, after.outcome) == (
        RunStatus.SUCCEEDED,
        Reason.SUCCEEDED,
        AttemptStatus.SUCCEEDED,
    )


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Failed("ValueError"), AttemptStatus.FAILED),
        (Failed("ValueError", retryable=False), AttemptStatus.FAILED),
        (ResultInvalid(), AttemptStatus.FAILED),
        (TimedOut(), AttemptStatus.TIMED_OUT),
        (Lost(), AttemptStatus.LOST),
        (Interrupted(), AttemptStatus.INTERRUPTED),
        (CancelConfirmed(), AttemptStatus.CANCELED),
    ],
)
def test_after_a_cancel_request_the_attempt_keeps_its_true_outcome_and_the_run_ends_canceled(
    event: Event, outcome: AttemptStatus
) -> None:
    for counted in (0, 2):
        after = step(a_run(cancel_requested_at=NOW, counted=counted), event)
        assert (after.run.status, after.reason) == (RunStatus.CANCELED, Reason.CANCEL_REQUESTED)
        assert (after.outcome, after.retry_at) == (outcome, None)


def test_an_ignored_cancel_fences_the_worker_off() -> None:
    after = step(a_run(cancel_requested_at=NOW - HOUR), CancelIgnored())
    assert (after.run.status, after.reason, after.outcome) == (
        RunStatus.CANCELED,
        Reason.CANCEL_IGNORED,
        AttemptStatus.CANCELED,
    )


@pytest.mark.parametrize("event", [CancelConfirmed(), CancelIgnored()])
def test_nobody_can_answer_a_cancel_that_was_never_asked_for(event: Event) -> None:
    with pytest.raises(IllegalTransition):
        step(a_run(), event)


def test_a_new_run_is_queued_when_it_is_due_and_scheduled_before() -> None:
    assert initial_status(NOW, NOW) is RunStatus.QUEUED
    assert initial_status(NOW - SECOND, NOW) is RunStatus.QUEUED
    assert initial_status(NOW + timedelta(microseconds=1), NOW) is RunStatus.SCHEDULED


def test_the_chart_draws_every_move_of_the_table_and_no_other() -> None:
    drawn = set()
    for line in chart().splitlines()[1:]:
        source, _, rest = line.strip().partition(" --> ")
        target, _, labels = rest.partition(": ")
        drawn |= {(source, target, label) for label in labels.split(", ") if label}
    listed = {
        (source, target, event.__name__)
        for event, moves in ALLOWED.items()
        for source, targets in moves.items()
        for target in targets
        if target is not source
    }
    assert drawn == listed
    assert chart().startswith("stateDiagram-v2\n    [*] --> queued\n    [*] --> scheduled\n")
    assert chart().endswith("    canceled --> [*]")

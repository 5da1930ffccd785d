"""The life of a run, as one table and one function.

Time and chance are arguments: nothing here reads a clock or a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from .errors import IllegalTransition
from .retry import delay_after, interruption_delay
from .run import WAITING, AttemptStatus, Reason, Run, RunStatus


@dataclass(frozen=True, slots=True)
class Granted:
    """A worker may run it: an attempt is opened."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised."""

    error_type: str = ""
    retryable: bool = True
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt ran longer than its timeout."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker was not heard of for a lease."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The worker shut down, or handed the attempt back before its handler began."""

    began: bool = True


@dataclass(frozen=True, slots=True)
class ResultInvalid:
    """The handler's result breaks the rules."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked for a cancel."""


@dataclass(frozen=True, slots=True)
class CancelConfirmed:
    """The handler ended because of the cancel."""


@dataclass(frozen=True, slots=True)
class CancelIgnored:
    """The handler went on after the cancel grace."""


@dataclass(frozen=True, slots=True)
class StartDeadlinePassed:
    """It was to start by now and has not."""


Event: TypeAlias = (
    Granted
    | Succeeded
    | Failed
    | TimedOut
    | Lost
    | Interrupted
    | ResultInvalid
    | CancelRequested
    | CancelConfirmed
    | CancelIgnored
    | StartDeadlinePassed
)

_S = RunStatus
_AFTER_TRY: Final = frozenset({_S.RETRYING, _S.DEAD_LETTERED, _S.CANCELED})

# What each event may turn a status into. What is not listed is refused.
ALLOWED: Final[Mapping[type[Event], Mapping[RunStatus, frozenset[RunStatus]]]] = {
    Granted: dict.fromkeys(sorted(WAITING), frozenset({_S.RUNNING})),
    Succeeded: {_S.RUNNING: frozenset({_S.SUCCEEDED})},
    Failed: {_S.RUNNING: _AFTER_TRY},
    TimedOut: {_S.RUNNING: _AFTER_TRY},
    Lost: {_S.RUNNING: _AFTER_TRY},
    Interrupted: {_S.RUNNING: frozenset({_S.QUEUED, _S.CANCELED})},
    ResultInvalid: {_S.RUNNING: frozenset({_S.DEAD_LETTERED, _S.CANCELED})},
    CancelRequested: {
        **dict.fromkeys(sorted(WAITING), frozenset({_S.CANCELED})),
        _S.RUNNING: frozenset({_S.RUNNING}),  # noted, and no transition
    },
    CancelConfirmed: {_S.RUNNING: frozenset({_S.CANCELED})},
    CancelIgnored: {_S.RUNNING: frozenset({_S.CANCELED})},
    StartDeadlinePassed: dict.fromkeys((_S.QUEUED, _S.SCHEDULED), frozenset({_S.DEAD_LETTERED})),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What an event makes of a run.

    `reason` is None when the status stays (a cancel request to a running run is noted, not recorded as a transition).
    `outcome` says how the open attempt ended, if one did; `retry_at` when the next attempt is due, if there is one.
    """

    run: Run
    reason: Reason | None
    outcome: AttemptStatus | None = None
    retry_at: datetime | None = None


def sources(event: type[Event]) -> frozenset[RunStatus]:
    """The statuses in which an event may happen: guards of set-based statements are made from it."""
    return frozenset(ALLOWED[event])


def initial_status(due_at: datetime, now: datetime) -> RunStatus:
    """The status of a run that is made now."""
    return RunStatus.SCHEDULED if due_at > now else RunStatus.QUEUED


def advance(run: Run, event: Event, *, now: datetime, chance: float) -> Step:
    """What `event` makes of `run`. Raises IllegalTransition. Every recorded transition raises `seq` by one."""
    allowed = ALLOWED[type(event)].get(run.status)
    if allowed is None:
        raise IllegalTransition(f"{type(event).__name__} while {run.status}")
    step = _step(run, event, now, chance)
    if step.reason is not None:
        step = replace(step, run=replace(step.run, seq=run.seq + 1))
    assert step.run.status in allowed
    return step


def _step(run: Run, event: Event, now: datetime, chance: float) -> Step:
    match event:
        case Granted():
            return _grant(run, now)
        case Succeeded():
            return _end(run, _S.SUCCEEDED, Reason.SUCCEEDED, AttemptStatus.SUCCEEDED)
        case Failed() | TimedOut() | Lost() | ResultInvalid():
            return _end_try(run, _try_of(event), now, chance)
        case Interrupted(began):
            return _interrupt(run, now, began=began)
        case CancelRequested():
            return _request_cancel(run, now)
        case CancelConfirmed() | CancelIgnored():
            return _end_canceled(run, event)
        case StartDeadlinePassed():
            if not _start_deadline_passed(run, now):
                raise IllegalTransition("the start deadline has not passed")
            return _end(run, _S.DEAD_LETTERED, Reason.START_DEADLINE_EXCEEDED)


def _grant(run: Run, now: datetime) -> Step:
    if run.due_at > now:
        raise IllegalTransition("it is not due")
    if _start_deadline_passed(run, now):
        raise IllegalTransition("its start deadline has passed")
    started_at = run.first_started_at or now
    return Step(replace(run, status=_S.RUNNING, attempt=run.attempt + 1, first_started_at=started_at), Reason.STARTED)


def _start_deadline_passed(run: Run, now: datetime) -> bool:
    """A run that has started once has met its deadline for good."""
    return run.first_started_at is None and run.start_by is not None and run.start_by <= now


def _request_cancel(run: Run, now: datetime) -> Step:
    """The first request's time is kept."""
    requested = replace(run, cancel_requested_at=run.cancel_requested_at or now)
    if run.status is _S.RUNNING:
        return Step(requested, None)
    return _end(requested, _S.CANCELED, Reason.CANCEL_REQUESTED)


def _end_canceled(run: Run, event: CancelConfirmed | CancelIgnored) -> Step:
    if run.cancel_requested_at is None:
        raise IllegalTransition(f"{type(event).__name__} without a cancel request")
    reason = Reason.CANCEL_IGNORED if isinstance(event, CancelIgnored) else Reason.CANCEL_REQUESTED
    return _end(run, _S.CANCELED, reason, AttemptStatus.CANCELED)


def _interrupt(run: Run, now: datetime, *, began: bool) -> Step:
    """Costs an attempt's number, not a try. Only what was called and stopped, again and again, has to wait."""
    if run.cancel_requested_at is not None:
        return _end(run, _S.CANCELED, Reason.CANCEL_REQUESTED, AttemptStatus.INTERRUPTED)
    interruptions = run.interruptions + began
    due_at = now + (interruption_delay(interruptions) if began else timedelta(0))
    after = replace(run, status=_S.QUEUED, interruptions=interruptions, due_at=due_at)
    return Step(after, Reason.ATTEMPT_INTERRUPTED, AttemptStatus.INTERRUPTED, due_at)


@dataclass(frozen=True, slots=True)
class _Try:
    """An ended attempt that counts, and what its end alone says about another one."""

    outcome: AttemptStatus
    again: Reason  # of the transition, if there is another one
    error_type: str
    wait: timedelta | None = None  # None: as long as the policy says
    given_up: Reason | None = None  # why there is no other one, whatever the policy says


def _try_of(event: Failed | TimedOut | Lost | ResultInvalid) -> _Try:
    match event:
        case Failed(error_type, retryable, retry_after):
            given_up = None if retryable else Reason.NON_RETRYABLE
            return _Try(AttemptStatus.FAILED, Reason.ATTEMPT_FAILED, error_type, retry_after, given_up)
        case TimedOut():
            return _Try(AttemptStatus.TIMED_OUT, Reason.ATTEMPT_TIMED_OUT, "Timeout")
        case Lost():
            return _Try(AttemptStatus.LOST, Reason.ATTEMPT_LOST, "Lost", wait=timedelta(0))
        case ResultInvalid():
            failed, again = AttemptStatus.FAILED, Reason.ATTEMPT_FAILED
            return _Try(failed, again, "ResultInvalid", given_up=Reason.RESULT_INVALID)


def _end_try(run: Run, ended: _Try, now: datetime, chance: float) -> Step:
    """The attempt keeps its true outcome; a cancel request, the attempt's end and the policy, in this order, decide."""
    run = replace(run, counted=run.counted + 1, interruptions=0)
    if run.cancel_requested_at is not None:
        return _end(run, _S.CANCELED, Reason.CANCEL_REQUESTED, ended.outcome)
    due_at = now + (delay_after(run.policy, run.counted, chance) if ended.wait is None else ended.wait)
    given_up = ended.given_up or _given_up(run, ended.error_type, due_at)
    if given_up is not None:
        return _end(run, _S.DEAD_LETTERED, given_up, ended.outcome)
    return Step(replace(run, status=_S.RETRYING, due_at=due_at), ended.again, ended.outcome, due_at)


def _given_up(run: Run, error_type: str, due_at: datetime) -> Reason | None:
    """Why the policy has no attempt at `due_at`, if it has none."""
    policy, first_started_at = run.policy, run.first_started_at
    if error_type in policy.non_retryable_types:
        return Reason.NON_RETRYABLE
    if run.counted >= policy.max_attempts:
        return Reason.ATTEMPTS_EXHAUSTED
    assert first_started_at is not None  # it was running
    if policy.max_elapsed is not None and due_at > first_started_at + policy.max_elapsed:
        return Reason.MAX_ELAPSED
    return None


def _end(run: Run, status: RunStatus, reason: Reason, outcome: AttemptStatus | None = None) -> Step:
    return Step(replace(run, status=status), reason, outcome)


def chart() -> str:
    """The state chart, as Mermaid, from the table."""
    moves: dict[tuple[str, str], list[str]] = {}
    for event, by_source in ALLOWED.items():
        for source, targets in by_source.items():
            for target in sorted(targets):
                if source is not target:
                    moves.setdefault((source, target), []).append(event.__name__)
    lines = ["stateDiagram-v2", "    [*] --> queued", "    [*] --> scheduled"]
    lines += [f"    {source} --> {target}: {', '.join(events)}" for (source, target), events in moves.items()]
    lines += [f"    {status} --> [*]" for status in RunStatus if status.is_terminal]
    return "\n".join(lines)

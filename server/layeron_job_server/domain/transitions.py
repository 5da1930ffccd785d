"""The life of a run, as one table and one function. Time and chance are arguments: nothing here reads a clock or a row."""

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
    """The worker shut down or handed the attempt back."""


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
            return Step(replace(run, status=_S.SUCCEEDED), Reason.SUCCEEDED, AttemptStatus.SUCCEEDED)
        case CancelRequested():
            return _request_cancel(run, now)
        case CancelConfirmed() | CancelIgnored() if run.cancel_requested_at is None:
            raise IllegalTransition(f"{type(event).__name__} without a cancel request")
        case CancelConfirmed():
            return _cancel(run, Reason.CANCEL_REQUESTED, AttemptStatus.CANCELED)
        case CancelIgnored():
            return _cancel(run, Reason.CANCEL_IGNORED, AttemptStatus.CANCELED)
        case StartDeadlinePassed():
            if run.first_started_at is not None or run.start_by is None or run.start_by > now:
                raise IllegalTransition("the start deadline has not passed")
            return Step(replace(run, status=_S.DEAD_LETTERED), Reason.START_DEADLINE_EXCEEDED)
        case Interrupted():
            return _interrupt(run, now)
        case Failed() | TimedOut() | Lost() | ResultInvalid():
            return _end_try(run, event, now, chance)


def _grant(run: Run, now: datetime) -> Step:
    if run.due_at > now:
        raise IllegalTransition("it is not due")
    if run.first_started_at is None and run.start_by is not None and run.start_by <= now:
        raise IllegalTransition("its start deadline has passed")
    started_at = run.first_started_at or now
    return Step(replace(run, status=_S.RUNNING, attempt=run.attempt + 1, first_started_at=started_at), Reason.STARTED)


def _request_cancel(run: Run, now: datetime) -> Step:
    requested = replace(run, cancel_requested_at=run.cancel_requested_at or now)
    if run.status is _S.RUNNING:
        return Step(requested, None)
    return Step(replace(requested, status=_S.CANCELED), Reason.CANCEL_REQUESTED)


def _cancel(run: Run, reason: Reason, outcome: AttemptStatus) -> Step:
    return Step(replace(run, status=_S.CANCELED), reason, outcome)


def _interrupt(run: Run, now: datetime) -> Step:
    """Costs an attempt's number, not a try."""
    if run.cancel_requested_at is not None:
        return _cancel(run, Reason.CANCEL_REQUESTED, AttemptStatus.INTERRUPTED)
    interruptions = run.interruptions + 1
    due_at = now + interruption_delay(interruptions)
    after = replace(run, status=_S.QUEUED, interruptions=interruptions, due_at=due_at)
    return Step(after, Reason.ATTEMPT_INTERRUPTED, AttemptStatus.INTERRUPTED, due_at)


def _end_try(run: Run, event: Failed | TimedOut | Lost | ResultInvalid, now: datetime, chance: float) -> Step:
    """A try that counts: the outcome is kept as it was, then the policy decides."""
    outcome, again = _TRIES[type(event)]
    counted = replace(run, counted=run.counted + 1, interruptions=0)
    if run.cancel_requested_at is not None:
        return _cancel(counted, Reason.CANCEL_REQUESTED, outcome)
    given_up = _gives_up(counted, event)
    if given_up is None:
        due_at = now + _wait(counted, event, chance)
        if not _past_max_elapsed(counted, due_at):
            return Step(replace(counted, status=_S.RETRYING, due_at=due_at), again, outcome, due_at)
        given_up = Reason.MAX_ELAPSED
    return Step(replace(counted, status=_S.DEAD_LETTERED), given_up, outcome)


_TRIES: Final[Mapping[type, tuple[AttemptStatus, Reason]]] = {
    Failed: (AttemptStatus.FAILED, Reason.ATTEMPT_FAILED),
    TimedOut: (AttemptStatus.TIMED_OUT, Reason.ATTEMPT_TIMED_OUT),
    Lost: (AttemptStatus.LOST, Reason.ATTEMPT_LOST),
    ResultInvalid: (AttemptStatus.FAILED, Reason.RESULT_INVALID),
}


def _gives_up(run: Run, event: Failed | TimedOut | Lost | ResultInvalid) -> Reason | None:
    if isinstance(event, ResultInvalid):
        return Reason.RESULT_INVALID
    if isinstance(event, Failed) and not event.retryable:
        return Reason.NON_RETRYABLE
    if _type_name(event) in run.policy.non_retryable_types:
        return Reason.NON_RETRYABLE
    return Reason.ATTEMPTS_EXHAUSTED if run.counted >= run.policy.max_attempts else None


def _type_name(event: Failed | TimedOut | Lost) -> str:
    match event:
        case Failed(error_type=name):
            return name
        case TimedOut():
            return "Timeout"
        case Lost():
            return "Lost"


def _wait(run: Run, event: Failed | TimedOut | Lost | ResultInvalid, chance: float) -> timedelta:
    """A lost attempt is due again at once; a handler's own wish goes before the policy."""
    match event:
        case Lost():
            return timedelta(0)
        case Failed(retry_after=wish) if wish is not None:
            return wish
    return delay_after(run.policy, run.counted, chance)


def _past_max_elapsed(run: Run, due_at: datetime) -> bool:
    elapsed, first = run.policy.max_elapsed, run.first_started_at
    return elapsed is not None and first is not None and due_at > first + elapsed


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

"""Rules about the lives of runs: their transitions, attempts and handlers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Final

from layeron_job_server.domain import transitions as moves
from layeron_job_server.domain.retry import delay_after
from layeron_job_server.domain.run import RunStatus

from .facts import UNSTOPPABLE, Facts, Finding, Handler, Row

_TRIES: Final = (moves.Failed, moves.TimedOut, moves.Lost)
_EVENTS: Final[Mapping[str, tuple[type[moves.Event], ...]]] = {
    "STARTED": (moves.Granted,),
    "SUCCEEDED": (moves.Succeeded,),
    "ATTEMPT_FAILED": (moves.Failed,),
    "ATTEMPT_TIMED_OUT": (moves.TimedOut,),
    "ATTEMPT_LOST": (moves.Lost,),
    "ATTEMPT_INTERRUPTED": (moves.Interrupted,),
    "ATTEMPTS_EXHAUSTED": _TRIES,
    "NON_RETRYABLE": _TRIES,
    "MAX_ELAPSED": _TRIES,
    "RESULT_INVALID": (moves.ResultInvalid,),
    "START_DEADLINE_EXCEEDED": (moves.StartDeadlinePassed,),
    "CANCEL_REQUESTED": (moves.CancelRequested, moves.CancelConfirmed, moves.Interrupted, *_TRIES),
    "CANCEL_IGNORED": (moves.CancelIgnored,),
}
_COUNTED: Final = ("failed", "timed_out", "lost")


def overlapping_grants(facts: Facts) -> Iterator[Finding]:
    """Two attempts of one run were open at once, or one attempt's handler was called twice."""
    for run_id, attempts in facts.attempts.items():
        for before, after in pairwise(attempts):
            if after["granted_us"] < before["ended_us"]:
                yield run_id, f"attempt {after['number']} was granted before attempt {before['number']} had ended"
    for run_id, handlers in facts.handlers_of.items():
        seen: dict[int, Handler] = {}
        for handler in handlers:
            if handler.attempt in seen:
                yield run_id, f"{handler} began, and had begun as {seen[handler.attempt]} before"
            seen[handler.attempt] = handler


def overlapping_handlers(facts: Facts) -> Iterator[Finding]:
    """Two handlers of one run went on at once, and the first one's worker had been neither paused nor cut off.

    A worker that reaches no server stops its handlers before its lease is over, so that this excuses nothing. Excuses
    are: the process was not let run; no heartbeat was recorded for a lease while some server might not have reached
    the database; the handler ignores that it is told to stop, and its attempt was ended without it.
    """
    for run_id, handlers in facts.handlers_of.items():
        for index, second in enumerate(handlers):
            for first in handlers[:index]:
                if second.began_ns < first.ended_ns and not _excused(facts, first, second):
                    together = (min(first.ended_ns, second.ended_ns) - second.began_ns) / 1e6
                    yield run_id, f"{second} began while {first} went on, for {together:.0f} ms together"


def _excused(facts: Facts, first: Handler, second: Handler) -> bool:
    recently_ns = max(first.began_ns, second.began_ns - 2 * facts.lease_ns)
    if facts.was_paused(first.pid, recently_ns, second.began_ns) or facts.lost_its_lease(first):
        return True
    attempt = facts.attempt.get((first.run_id, first.attempt))
    reported_itself = attempt is None or attempt["status"] in ("succeeded", "failed")
    return first.task in UNSTOPPABLE and not reported_itself


def phantom_starts(facts: Facts) -> Iterator[Finding]:
    """A handler was called for a run that is not there, or for an attempt that its worker was never granted."""
    granted = {(t["run_id"], t["attempt"]): t for t in facts.dump.transitions if t["to_status"] == "running"}
    for handler in facts.handlers:
        grant = granted.get((handler.run_id, handler.attempt))
        if grant is None:
            yield handler.run_id, f"{handler} began without a grant"
        elif (session := facts.sessions.get(grant["session_id"])) and session["pid"] != handler.pid:
            yield handler.run_id, f"{handler} began, and process {session['pid']} had the grant"


def illegal_transitions(facts: Facts) -> Iterator[Finding]:
    """A transition that the domain's table does not allow, one too many or too few, or one that does not lead to how
    the run and its attempts stand."""
    for run_id in facts.runs:
        steps = facts.transitions.get(run_id, [])
        yield from ((run_id, words) for words in _wrong_steps(steps))
        last = steps[-1]["to_status"] if steps else None
        stands = (facts.ended.get(run_id) or facts.open.get(run_id) or {}).get("status")
        if stands != last:
            yield run_id, f"the last transition led to {last}, and the run is {stands}"
        if run_id in facts.ended and run_id in facts.open:
            yield run_id, "both open and ended"
        yield from ((run_id, words) for words in _wrong_attempts(facts, run_id, steps))


def _wrong_steps(steps: list[Row]) -> Iterator[str]:
    if [step["seq"] for step in steps] != list(range(len(steps))) or not steps:
        yield f"the transitions are {[step['seq'] for step in steps]}"
        return
    first = (steps[0]["to_status"], steps[0]["reason"])
    if first[0] not in ("queued", "scheduled") or first[1] not in ("ENQUEUED", "REPLAYED"):
        yield f"it began as {first}"
    for before, after in pairwise(steps):
        source, target = RunStatus(before["to_status"]), RunStatus(after["to_status"])
        events = _EVENTS.get(after["reason"], ())
        if not any(target in moves.ALLOWED[event].get(source, ()) for event in events):
            yield f"{source} → {target} because of {after['reason']} (seq {after['seq']})"


def _wrong_attempts(facts: Facts, run_id: str, steps: list[Row]) -> Iterator[str]:
    grants = [step["attempt"] for step in steps if step["to_status"] == "running"]
    kept = [attempt["number"] for attempt in facts.attempts.get(run_id, [])]
    if facts.open.get(run_id, {}).get("status") == "running":
        kept.append(facts.open[run_id]["attempt"])
    if grants != list(range(1, len(grants) + 1)) or grants != kept:
        yield f"attempts {grants} were granted, and {kept} are kept"
    ended = facts.ended.get(run_id)
    if ended is not None and ended["attempt"] != len(grants):
        yield f"it ended with attempt {ended['attempt']} of {len(grants)}"


def over_policy(facts: Facts) -> Iterator[Finding]:
    """More attempts counted than the policy has, another number than the run says, or a retry that the policy rules
    out: after an error that is not to be tried again, or beyond max_elapsed."""
    for run_id, attempts in facts.attempts.items():
        policy = facts.policies[run_id]
        counted = [attempt for attempt in attempts if attempt["status"] in _COUNTED]
        if len(counted) > policy.max_attempts:
            yield run_id, f"{len(counted)} attempts counted, and the policy has {policy.max_attempts}"
        said = (facts.ended.get(run_id) or facts.open.get(run_id) or {}).get("counted")
        if said != len(counted):
            yield run_id, f"{len(counted)} attempts count, and the run says {said}"
        for attempt in counted:
            if attempt["retry_us"] is None:
                continue
            if attempt["error_type"] in policy.non_retryable_types:
                yield run_id, f"tried again after {attempt['error_type']}"
            elapsed = timedelta(microseconds=attempt["retry_us"] - attempts[0]["granted_us"])
            if policy.max_elapsed is not None and elapsed > policy.max_elapsed:
                yield run_id, f"tried again {elapsed} after the first start"


def early_starts(facts: Facts) -> Iterator[Finding]:
    """A first attempt before the run's time or after its start_by; a later one before its retry time; or a retry time
    before the policy's."""
    for run_id, attempts in facts.attempts.items():
        due_us = facts.due_us(run_id)
        start_by_us = facts.runs[run_id]["start_by_us"]
        if start_by_us is not None and attempts[0]["granted_us"] >= start_by_us:
            yield run_id, f"granted {attempts[0]['granted_us'] - start_by_us} µs after its start_by"
        tries = 0
        for attempt in attempts:
            if attempt["granted_us"] < due_us:
                yield run_id, f"attempt {attempt['number']} was granted {due_us - attempt['granted_us']} µs too early"
            due_us = attempt["retry_us"] or due_us
            tries += attempt["status"] in _COUNTED
            least = _least_wait(facts, run_id, attempt, tries)
            if attempt["retry_us"] is not None and attempt["retry_us"] - attempt["ended_us"] < least // _MICROSECOND:
                yield run_id, f"attempt {attempt['number']} is followed by less than {least}"


_MICROSECOND: Final = timedelta(microseconds=1)


def _least_wait(facts: Facts, run_id: str, attempt: Row, tries: int) -> timedelta:
    if attempt["error_type"] == "RetryAfter":
        return timedelta(milliseconds=facts.runs[run_id]["payload"]["after_ms"])
    if attempt["status"] in ("failed", "timed_out"):
        return delay_after(facts.policies[run_id], tries, 0.0)
    return timedelta(0)


def stuck(facts: Facts) -> Iterator[Finding]:
    """A run is still open at the end."""
    for run_id, row in facts.open.items():
        yield run_id, f"still {row['status']}, attempt {row['attempt']}, due {row['due_us']}"

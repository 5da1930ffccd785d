"""Decides from the evidence of a run alone whether the promises were kept. Each rule's docstring says what breaks it.

A rule yields (the run or thing it is about, what is wrong in words with the evidence).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from . import rules_of_calls as calls
from . import rules_of_runs as runs
from .facts import Facts, Finding
from .records import OVERDUE_SCHEDULES, Evidence


def left_over(facts: Facts) -> Iterator[Finding]:
    """Rows or deliveries are left that a quiet system does not have.

    A nats-server that was killed or rolled back may keep schedules that it never comes to; runs do not wait for those.
    """
    for what, number in facts.dump.left.items():
        if what == OVERDUE_SCHEDULES and facts.nats_forgot_schedules:
            continue
        if number and what != "open runs":
            yield what, str(number)
    if facts.dump.drain_seconds is None:
        yield "drain", "the system was not quiet in time"


def unexpected_ends(facts: Facts) -> Iterator[Finding]:
    """A server or worker process ended although nobody told it to, or once all was healed did not end when asked to."""
    for life in facts.evidence.lives:
        if life.hung:
            yield life.name, f"process {life.pid} was asked to end and had to be killed"
        elif life.ended_ns is not None and not life.told:
            yield life.name, f"process {life.pid} ended with {life.code}"


RULES: Final[Mapping[str, Callable[[Facts], Iterator[Finding]]]] = {
    "lost": calls.lost,
    "overlapping grants": runs.overlapping_grants,
    "overlapping handlers": runs.overlapping_handlers,
    "phantom starts": runs.phantom_starts,
    "illegal transitions": runs.illegal_transitions,
    "counted over policy": runs.over_policy,
    "early starts": runs.early_starts,
    "starts after a cancel": calls.after_cancel,
    "keys or ids with two runs": calls.two_runs,
    "mixed up": calls.mixed_up,
    "stuck runs": runs.stuck,
    "left over": left_over,
    "INTERNAL answers": calls.server_errors,
    "unexpected ends": unexpected_ends,
}


def check(evidence: Evidence) -> dict[str, list[Finding]]:
    """What each rule found."""
    facts = Facts(evidence)
    return {name: list(rule(facts)) for name, rule in RULES.items()}

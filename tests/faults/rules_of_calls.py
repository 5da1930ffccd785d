"""Rules about what callers were told, against what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from .facts import NEVER_NS, Facts, Finding
from .records import Operation

_CLOCK_NS: Final = 5_000_000  # what the two clocks may disagree by


def lost(facts: Facts) -> Iterator[Finding]:
    """A run that a client was promised is not there; a client is told that there is no such run after that; a batch was
    made in part; a run was made that every caller was refused, or that nobody asked for."""
    for run_id in facts.promised_ns.keys() - facts.runs.keys():
        yield run_id, "answered to a client, and not in the database"
    for run_id in facts.runs.keys() - facts.open.keys() - facts.ended.keys():
        yield run_id, "neither open nor ended"
    for run_id in facts.runs.keys() - facts.operations.keys():
        yield run_id, "nobody asked for it"
    for operation in facts.history:
        told_ns = facts.promised_ns.get(operation.about)
        if operation.reason == "RUN_NOT_FOUND" and told_ns is not None and told_ns < operation.began_ns:
            yield operation.about, f"{operation} was told RUN_NOT_FOUND after others were answered the run"
    yield from _made_in_part(facts)
    for run_id, operations in facts.operations.items():
        if {operation.outcome for operation in operations} == {"fail"} and run_id in facts.runs:
            yield run_id, "every caller was refused, and yet it was made"


def _made_in_part(facts: Facts) -> Iterator[Finding]:
    """Batches, looking at those of their runs that no other call asked for."""
    for batch in facts.history:
        if batch.kind == "batch":
            own = [
                x.run_id for x in batch.asked if all(other.asked == batch.asked for other in facts.operations[x.run_id])
            ]
            made = [run_id for run_id in own if run_id in facts.runs]
            if made and len(made) != len(own):
                yield batch.asked[0].run_id, f"{len(made)} of {len(own)} runs were made of {batch}"


def after_cancel(facts: Facts) -> Iterator[Finding]:
    """An attempt was granted after a cancel was answered, or the run then ended neither canceled nor succeeded."""
    for operation in facts.history:
        if operation.kind != "cancel" or operation.outcome != "ok":
            continue
        run_id = operation.target
        for attempt in facts.attempts.get(run_id, []):
            if facts.ns(attempt["granted_us"]) > operation.ended_ns + _CLOCK_NS:
                yield run_id, f"attempt {attempt['number']} was granted after {operation} was answered"
        ends = {"canceled"} if operation.answers[0].status == "canceled" else {"canceled", "succeeded"}
        if run_id in facts.ended and facts.ended[run_id]["status"] not in ends:
            yield run_id, f"it ended {facts.ended[run_id]['status']} after {operation} was answered"


def two_runs(facts: Facts) -> Iterator[Finding]:
    """Two runs of one key in its window, two answers to one request, or one run made twice."""
    by_key = defaultdict(list)
    for row in facts.dump.runs:
        if row["idempotency_key"] is not None:
            by_key[row["task"], row["idempotency_key"]].append(row)
    for rows in by_key.values():
        for before, after in pairwise(sorted(rows, key=lambda row: row["created_us"])):
            if after["key_window"] != "while_active" or _together(facts, before["run_id"], after["run_id"]):
                yield after["run_id"], f"has the key of {before['run_id']}, {after['idempotency_key']}"
    made: dict[str, Operation] = {}
    for operation, asked, answer in facts.answered_ok():
        if answer.created and answer.run_id in made:
            yield answer.run_id, f"made by {made[answer.run_id]} and by {operation}"
        if answer.created:
            made[answer.run_id] = operation
        if asked.key is None and answer.run_id != asked.run_id:
            yield asked.run_id, f"{operation} was answered {answer.run_id}"


def _together(facts: Facts, before: str, after: str) -> bool:
    """Whether somebody was answered the second run before the transaction began that ended the first one."""
    if before not in facts.ended:
        return True
    return facts.promised_ns.get(after, NEVER_NS) < facts.ns(facts.ended[before]["ended_us"])


def mixed_up(facts: Facts) -> Iterator[Finding]:
    """A run, a handler or a result that is another run's: the payload that was asked for is not the one that is kept
    or handled, or the kept result is not what that attempt's handler returned."""
    for operation, asked, answer in facts.answered_ok():
        row = facts.runs.get(answer.run_id)
        if row is not None and not asked.replays and (row["payload"], row["task"]) != (asked.payload, asked.task):
            yield answer.run_id, f"{operation} asked for {asked.payload}, and {row['payload']} is kept"
    calls = {(handler.run_id, handler.attempt): handler for handler in facts.handlers}
    for handler in facts.handlers:
        row = facts.runs.get(handler.run_id)
        if row is not None and row["payload"]["number"] != handler.number:
            yield handler.run_id, f"{handler} was given number {handler.number}, not {row['payload']['number']}"
    for attempt in facts.dump.attempts:
        if attempt["status"] == "succeeded":
            call = calls.get((attempt["run_id"], attempt["number"]))
            said = (attempt["result"] or {}).get("began_ns")
            if call is None or call.how != "returned" or call.began_ns != said:
                yield attempt["run_id"], f"attempt {attempt['number']} has a result that no handler returned"


def server_errors(facts: Facts) -> Iterator[Finding]:
    """A caller was answered INTERNAL, which only a bug of the server is."""
    for operation in facts.history:
        if operation.reason == "INTERNAL":
            yield operation.about, f"{operation} was answered INTERNAL"

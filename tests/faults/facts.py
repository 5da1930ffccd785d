"""The evidence by what the checker asks of it: each run's story, each handler, and when a worker was cut off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from layeron_job_server.domain.retry import RetryPolicy, from_json

from .records import Answered, Asked, Evidence, Operation

NEVER_NS: Final = 1 << 62
UNSTOPPABLE: Final = frozenset({"stubborn", "thread"})  # tasks whose handlers go on whatever they are told

Row: TypeAlias = dict[str, Any]
Finding: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Handler:
    """One call of a handler. It ended when it said so, or with its process."""

    run_id: str
    attempt: int
    task: str
    number: int
    worker: str
    pid: int
    began_ns: int
    ended_ns: int
    how: str

    def __str__(self) -> str:
        return f"attempt {self.attempt} on {self.worker} ({self.pid})"


class Facts:
    """An index of the evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.history = evidence.history
        self.dump = evidence.dump
        self.lease_ns = evidence.dump.lease_ms * 1_000_000

    def ns(self, at_us: int) -> int:
        """A time of the database as monotonic time."""
        return self.evidence.ns(at_us)

    @cached_property
    def runs(self) -> dict[str, Row]:
        """What was asked for, as the database has it."""
        return {row["run_id"]: row for row in self.dump.runs}

    @cached_property
    def ended(self) -> dict[str, Row]:
        """How runs ended."""
        return {row["run_id"]: row for row in self.dump.ended_runs}

    @cached_property
    def open(self) -> dict[str, Row]:
        """Runs that have not ended."""
        return {row["run_id"]: row for row in self.dump.open_runs}

    @cached_property
    def transitions(self) -> dict[str, list[Row]]:
        """Each run's transitions by seq."""
        return _grouped(self.dump.transitions, "seq")

    @cached_property
    def attempts(self) -> dict[str, list[Row]]:
        """Each run's ended attempts by number."""
        return _grouped(self.dump.attempts, "number")

    @cached_property
    def attempt(self) -> dict[tuple[str, int], Row]:
        """The ended attempts by run and number."""
        return {(row["run_id"], row["number"]): row for row in self.dump.attempts}

    @cached_property
    def sessions(self) -> dict[str, Row]:
        """The worker sessions."""
        return {row["session_id"]: row for row in self.dump.sessions}

    @cached_property
    def operations(self) -> dict[str, list[Operation]]:
        """The calls that asked for each id, whatever was answered."""
        operations: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.history:
            for one in operation.asked:
                operations[one.run_id].append(operation)
        return operations

    @cached_property
    def handlers(self) -> list[Handler]:
        """Every call of a handler, in the order of their begins."""
        ends = {(line.pid, line.run_id, line.attempt): line for line in self.evidence.journal if line.what == "end"}
        lives = {life.pid: life.ended_ns for life in self.evidence.lives}
        handlers = []
        for line in self.evidence.journal:
            if line.what == "begin":
                end = ends.get((line.pid, line.run_id, line.attempt))
                ended_ns = end.at_ns if end else lives.get(line.pid) or NEVER_NS
                about = (line.run_id, line.attempt, line.task, line.number, line.worker, line.pid)
                handlers.append(Handler(*about, line.at_ns, ended_ns, end.how if end else "killed"))
        return sorted(handlers, key=lambda handler: handler.began_ns)

    @cached_property
    def handlers_of(self) -> dict[str, list[Handler]]:
        """Each run's handlers, in the order of their begins."""
        grouped: dict[str, list[Handler]] = defaultdict(list)
        for handler in self.handlers:
            grouped[handler.run_id].append(handler)
        return grouped

    @cached_property
    def policies(self) -> dict[str, RetryPolicy]:
        """Each run's policy."""
        return {run_id: from_json(row["retry"]) for run_id, row in self.runs.items()}

    def answered_ok(self) -> Iterator[tuple[Operation, Asked, Answered]]:
        """Every run that a client was promised: the call, what it asked for, and what it was answered."""
        for operation in self.history:
            if operation.outcome == "ok" and operation.asked:
                for asked, answer in zip(operation.asked, operation.answers, strict=True):
                    yield operation, asked, answer

    @cached_property
    def promised_ns(self) -> dict[str, int]:
        """When somebody was first answered each run."""
        promised: dict[str, int] = {}
        for operation, _, answer in self.answered_ok():
            promised[answer.run_id] = min(promised.get(answer.run_id, NEVER_NS), operation.ended_ns)
        return promised

    def due_us(self, run_id: str) -> int:
        """When a run might start first, from what was asked and when it was made."""
        row = self.runs[run_id]
        due_us: int = row["created_us"]
        for operation in self.operations.get(run_id, []):
            for asked in operation.asked:
                if asked.run_id == run_id and asked.payload == row["payload"]:
                    due_us = max(row["created_us"] + asked.delay_ms * 1000, asked.run_at_us or 0)
        return due_us

    @property
    def nats_forgot_schedules(self) -> bool:
        """Whether nats-server lost some of its own state, and with it, maybe, that schedules are to fire."""
        return any(f.kind in ("kill nats", "roll back nats") and not f.failed for f in self.evidence.faults)

    # When a worker was cut off.

    @cached_property
    def pauses(self) -> list[tuple[int, int, int]]:
        """When processes were not let run: (pid, from, to)."""
        stopped = [(f.pid, f.began_ns, f.ended_ns) for f in self.evidence.faults if f.kind == "stop worker"]
        return stopped + [(x.pid, x.since_ns, x.at_ns) for x in self.evidence.journal if x.what == "stall"]

    @cached_property
    def database_troubles(self) -> list[tuple[int, int]]:
        """When some server might not have reached the database, or have held others up there: (from, to)."""
        return [
            (fault.began_ns, fault.ended_ns)
            for fault in self.evidence.faults
            if "postgres" in fault.target or fault.target in ("s1", "s2")
        ]

    def was_paused(self, pid: int, from_ns: int, to_ns: int) -> bool:
        """Whether this process was not let run at some time between these two."""
        return any(pid == paused and from_ns <= until and since <= to_ns for paused, since, until in self.pauses)

    def lost_its_lease(self, handler: Handler) -> bool:
        """Whether no heartbeat of the handler's session was recorded for a lease, although its worker may have been
        answered: a server that does not reach the database says so, and handlers then go on."""
        attempt = self.attempt.get((handler.run_id, handler.attempt))
        session = self.sessions.get(attempt["session_id"]) if attempt else None
        if session is None or session["end_reason"] != "lease_expired":
            return False
        last_ns, ended_ns = self.ns(session["lease_expires_us"]) - self.lease_ns, self.ns(session["ended_us"])
        return any(last_ns - self.lease_ns <= until and since <= ended_ns for since, until in self.database_troubles)


def _grouped(rows: list[Row], order: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[order]):
        grouped[row["run_id"]].append(row)
    return grouped

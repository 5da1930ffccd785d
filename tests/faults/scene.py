"""Makes up the evidence of a run, for the tests of the checker: what a faultless system would have written down.

Times are milliseconds from the beginning. Runs live by the domain's own `advance`, so that what is made up is legal.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from layeron_job.ids import encode
from layeron_job_server.domain.retry import Fixed, RetryPolicy, to_json
from layeron_job_server.domain.run import Run, RunStatus
from layeron_job_server.domain.transitions import (
    CancelRequested,
    Event,
    Failed,
    Granted,
    Lost,
    Succeeded,
    TimedOut,
    advance,
)

from .records import Answered, Asked, Dump, Evidence, Injected, Life, Line, Operation

ZERO: Final = datetime(2026, 1, 1, tzinfo=UTC)
POLICY: Final = RetryPolicy(max_attempts=4, backoff=Fixed(timedelta(milliseconds=200)), jitter=0.0)
LEASE_MS: Final = 3000
PIDS: Final = {"w1": 101, "w2": 102, "w3": 103}
_CALL_MS: Final = 5
_FOR_A_DAY: Final = 86_400_000


def us(at_ms: float) -> int:
    """A time as the database has it."""
    return int((ZERO + timedelta(milliseconds=at_ms)).timestamp() * 1_000_000)


def ns(at_ms: float) -> int:
    """A time as processes have it."""
    return int(at_ms * 1_000_000)


class Scene:
    """Evidence that grows with what happens."""

    def __init__(self) -> None:
        self.evidence = Evidence(dump=Dump(clock=[(us(0), 0)], drain_seconds=1.0, lease_ms=LEASE_MS))
        self.dump = self.evidence.dump
        self._runs: dict[str, Run] = {}
        self._open: dict[str, dict[str, Any]] = {}
        for worker, pid in PIDS.items():
            self.evidence.lives.append(Life(worker, pid, 0, ns(_FOR_A_DAY), 0, True))
            self.dump.sessions.append(
                {
                    "session_id": worker,
                    "pid": pid,
                    "lease_expires_us": us(_FOR_A_DAY),
                    "ended_us": None,
                    "end_reason": None,
                }
            )

    def now(self, at_ms: float) -> datetime:
        """A time as the domain has it."""
        return ZERO + timedelta(milliseconds=at_ms)

    def call(self, kind: str, at_ms: float, *, outcome: Any = "ok", **fields: Any) -> Operation:
        """A client's call, answered a moment later."""
        operation = Operation(kind, "both", ns(at_ms - _CALL_MS), ns(at_ms + _CALL_MS), outcome, **fields)
        self.evidence.history.append(operation)
        return operation

    def ask(self, at_ms: float, task: str = "succeed", **fields: Any) -> Asked:
        """A request of its own."""
        number = len(self._runs) + len(self.evidence.history) + 1
        run_id = encode("run", UUID(int=(1_760_000_000_000 + int(at_ms)) << 80 | 7 << 76 | 2 << 62 | number))
        return Asked(run_id, task, {"number": number, "after_ms": 300}, **fields)

    def enqueue(self, at_ms: float, task: str = "succeed", *, policy: RetryPolicy = POLICY, **fields: Any) -> str:
        """A run that was asked for, made and answered."""
        asked = self.ask(at_ms, task, **fields)
        self.make(at_ms, asked, policy=policy)
        self.call("enqueue", at_ms, asked=(asked,), answers=(Answered(asked.run_id, "queued", True),))
        return asked.run_id

    def make(self, at_ms: float, asked: Asked, *, policy: RetryPolicy = POLICY) -> None:
        """The rows of a new run."""
        due_at = self.now(at_ms + asked.delay_ms)
        status = RunStatus.SCHEDULED if asked.delay_ms else RunStatus.QUEUED
        run = Run(UUID(int=0), status, 0, 0, 0, 0, due_at, None, None, None, policy)
        self._runs[asked.run_id] = run
        self.dump.runs.append(
            {
                "run_id": asked.run_id, "task": asked.task, "payload": asked.payload, "created_us": us(at_ms),
                "retry": to_json(policy), "idempotency_key": asked.key, "key_window": asked.window,
                "start_by_us": asked.start_by_us,
            }
        )  # fmt: skip
        self._transition(asked.run_id, run, "ENQUEUED", at_ms)
        self._open_row(asked.run_id)

    def due_ms(self, run_id: str) -> float:
        """When it may start."""
        return (self._runs[run_id].due_at - ZERO) / timedelta(milliseconds=1)

    def status(self, run_id: str) -> RunStatus:
        """Where it stands."""
        return self._runs[run_id].status

    def start(self, run_id: str, at_ms: float, worker: str = "w1", *, handled: bool = True) -> None:
        """A grant, and the begin of the handler."""
        self._apply(run_id, at_ms, Granted(), worker)
        self._open[run_id] = {"session_id": worker, "granted_us": us(at_ms), "began_ns": ns(at_ms + 1)}
        if handled:
            self.line("begin", run_id, at_ms + 1, worker)

    def end(self, run_id: str, at_ms: float, event: Event, worker: str = "w1", *, how: str = "raised") -> None:
        """The end of the handler, unless it was lost, and then of the attempt."""
        if not isinstance(event, Lost):
            self.line("end", run_id, at_ms - 1, worker, how=how)
        self._apply(run_id, at_ms, event, worker)

    def cancel(self, run_id: str, at_ms: float) -> None:
        """A cancel that was answered."""
        self._apply(run_id, at_ms, CancelRequested(), None)
        self.call("cancel", at_ms, target=run_id, answers=(Answered(run_id, self.status(run_id), False),))

    def line(self, what: str, run_id: str, at_ms: float, worker: str, *, how: str = "") -> None:
        """A line of a worker's journal about the run's newest attempt."""
        row = next(row for row in self.dump.runs if row["run_id"] == run_id)
        attempt, number = self._runs[run_id].attempt, row["payload"]["number"]
        line = Line(what, ns(at_ms), worker, PIDS[worker], run_id, attempt, row["task"], number, how)
        self.evidence.journal.append(line)

    def stall(self, worker: str, from_ms: float, to_ms: float) -> None:
        """A process was not let run."""
        self.evidence.journal.append(Line("stall", ns(to_ms), worker, PIDS[worker], since_ns=ns(from_ms)))

    def lose_session(self, worker: str, at_ms: float) -> None:
        """No heartbeat of this worker was recorded for a lease."""
        session = next(row for row in self.dump.sessions if row["session_id"] == worker)
        session.update(lease_expires_us=us(at_ms - 50), ended_us=us(at_ms), end_reason="lease_expired")

    def fault(self, kind: str, target: str, from_ms: float, to_ms: float, pid: int = 0) -> None:
        """Something was broken."""
        self.evidence.faults.append(Injected(kind, target, ns(from_ms), ns(to_ms), pid))

    def _apply(self, run_id: str, at_ms: float, event: Event, worker: str | None) -> None:
        before = self._runs[run_id]
        step = advance(before, event, now=self.now(at_ms), chance=0.0)
        run = self._runs[run_id] = step.run
        if step.reason is not None:
            self._transition(run_id, run, step.reason, at_ms, worker)
        if step.outcome is not None:
            opened = self._open.pop(run_id)
            retry_ms = None if step.retry_at is None else (step.retry_at - ZERO) / timedelta(milliseconds=1)
            result = {"attempt": run.attempt, "began_ns": opened.pop("began_ns")}
            self.dump.attempts.append(
                {
                    "run_id": run_id, "number": run.attempt, "status": str(step.outcome), "ended_us": us(at_ms),
                    **opened,
                    "error_type": getattr(event, "error_type", None),
                    "retry_us": None if retry_ms is None else us(retry_ms),
                    "result": result if step.outcome == "succeeded" else None,
                }
            )  # fmt: skip
        self._open_row(run_id)
        if run.status.is_terminal:
            self.dump.open_runs = [row for row in self.dump.open_runs if row["run_id"] != run_id]
            self.dump.ended_runs.append(
                {
                    "run_id": run_id,
                    "status": str(run.status),
                    "attempt": run.attempt,
                    "counted": run.counted,
                    "ended_us": us(at_ms),
                }
            )

    def _open_row(self, run_id: str) -> None:
        run = self._runs[run_id]
        row = {"run_id": run_id, "status": str(run.status), "attempt": run.attempt, "counted": run.counted, "due_us": 0}
        self.dump.open_runs = [one for one in self.dump.open_runs if one["run_id"] != run_id] + [row]

    def _transition(self, run_id: str, run: Run, reason: str, at_ms: float, worker: str | None = None) -> None:
        self.dump.transitions.append(
            {
                "run_id": run_id, "seq": run.seq, "to_status": str(run.status), "attempt": run.attempt,
                "reason": str(reason), "session_id": worker, "at_us": us(at_ms),
            }
        )  # fmt: skip

    def change(self, rows: list[dict[str, Any]], run_id: str, **changes: Any) -> None:
        """Plant something else into the newest row of a run."""
        [row for row in rows if row["run_id"] == run_id][-1].update(changes)

    def change_asked(self, run_id: str, **changes: Any) -> None:
        """Plant something else into what a caller asked for."""
        history = self.evidence.history
        at = next(place for place, call in enumerate(history) if call.about == run_id)
        history[at] = replace(history[at], asked=(replace(history[at].asked[0], **changes),))

    def change_line(self, run_id: str, what: str, **changes: Any) -> None:
        """Plant something else into the newest line about a run."""
        journal = self.evidence.journal
        at = max(place for place, line in enumerate(journal) if (line.run_id, line.what) == (run_id, what))
        journal[at] = replace(journal[at], **changes)


def ordinary() -> tuple[Scene, str]:
    """A run that failed once and then succeeded, between others of every kind; the checker finds nothing here."""
    scene = Scene()
    for at in (0, 5000):
        canceled = scene.enqueue(at, delay_ms=2000)
        scene.cancel(canceled, at + 100)
        lost = scene.enqueue(at, task="stubborn")
        scene.start(lost, at + 10)
        scene.end(lost, at + 1200, TimedOut(), how="returned")
        scene.start(lost, at + 1500, "w2")
        scene.end(lost, at + 1600, Succeeded(), "w2", how="returned")
    run_id = scene.enqueue(100)
    scene.start(run_id, 200)
    scene.end(run_id, 300, Failed("ValueError"))
    scene.start(run_id, 600, "w2")
    scene.end(run_id, 700, Succeeded(), "w2", how="returned")
    return scene, run_id

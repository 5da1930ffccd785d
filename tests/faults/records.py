"""What a run of the fault suite writes down, and the checker reads: plain values, one JSON object a line.

Times named `…_ns` are of the machine's one monotonic clock, which all processes share; times named `…_us` are
microseconds since 1970 by the database's clock. `Evidence.ns` leads from one to the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

Outcome = Literal["ok", "fail", "unknown"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
OVERDUE_SCHEDULES: Final = "overdue schedules"  # in the stream, although they should have fired
CRASH_EXIT: Final = 77  # how a worker process ends whose handler is told to crash it


@dataclass(frozen=True, slots=True)
class Asked:
    """One run that a caller asked for, under an id of its own choice. No other run has its `payload["number"]`.

    policy   a name of workload.POLICIES; empty: the task's own
    replays  the run that this one does again; task, policy and key are then empty
    """

    run_id: str
    task: str
    payload: dict[str, Any]
    delay_ms: int = 0
    run_at_us: int | None = None
    start_by_us: int | None = None
    key: str | None = None
    window: Literal["ttl", "while_active", "forever"] | None = None
    policy: str = ""
    replays: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the server said of a run."""

    run_id: str
    status: str
    created: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a client, from the moment it was made to the moment it was answered.

    outcome  "ok" and "fail" are definite; "unknown" may or may not have been done
    reason   the ErrorInfo's reason, or the status code, of what was not ok
    asked    the runs it asked for; answers stand in their order
    target   the run it was about, or the task
    """

    kind: str
    client: str
    began_ns: int
    ended_ns: int
    outcome: Outcome
    reason: str = ""
    asked: tuple[Asked, ...] = ()
    answers: tuple[Answered, ...] = ()
    target: str = ""

    def __str__(self) -> str:
        return f"{self.kind} of {self.client} ({self.began_ns / 1e9:.3f} to {self.ended_ns / 1e9:.3f} s)"

    @property
    def about(self) -> str:
        """The run or task it named: the first one it asked for, or the one that is to be replayed."""
        return self.target or self.asked[0].replays or self.asked[0].run_id


@dataclass(frozen=True, slots=True)
class Line:
    """What a worker process wrote about itself: a handler began or ended, or the process did not run for a while.

    what      "begin", "end" or "stall"
    number    payload["number"] as the handler saw it
    how       of an end: "returned", "raised", "stopped" or "exit"
    since_ns  of a stall: when it began; it ended at `at_ns`
    """

    what: str
    at_ns: int
    worker: str
    pid: int
    run_id: str = ""
    attempt: int = 0
    task: str = ""
    number: int = 0
    how: str = ""
    since_ns: int = 0


@dataclass(frozen=True, slots=True)
class Life:
    """One process that was started here, and how it ended.

    told  it was we who ended it
    hung  once all was healed it was asked to end, and had to be killed
    """

    name: str
    pid: int
    began_ns: int
    ended_ns: int | None
    code: int | None
    told: bool
    hung: bool = False


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault, from its begin until it was healed. `failed`: why it could not be done, such as NATS being away.

    pid  of the process that it stopped or ended
    """

    kind: str
    target: str
    began_ns: int
    ended_ns: int
    pid: int = 0
    detail: str = ""
    failed: str = ""


@dataclass(slots=True)
class Dump:
    """The database and the stream at the end. Rows are dictionaries by column; run ids are text, times `…_us`.

    clock    (microseconds since 1970, monotonic ns), taken together now and then
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    open_runs: list[dict[str, Any]] = field(default_factory=list)
    ended_runs: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    transitions: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    cancel_requests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    stream: dict[str, Any] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    clock: list[tuple[int, int]] = field(default_factory=list)
    drain_seconds: float | None = None
    lease_ms: int = 0


@dataclass(slots=True)
class Evidence:
    """All that was written down in one run."""

    history: list[Operation] = field(default_factory=list)
    journal: list[Line] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    faults: list[Injected] = field(default_factory=list)
    dump: Dump = field(default_factory=Dump)

    def ns(self, at_us: int) -> int:
        """A time of the database as monotonic time, by the nearest of the pairs taken."""
        us, ns = min(self.dump.clock, key=lambda pair: abs(pair[0] - at_us))
        return ns + (at_us - us) * 1000

    def save(self, folder: Path) -> None:
        """Write it all into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("history", "journal", "lives", "faults"):
            _write(folder / f"{name}.jsonl", map(asdict, getattr(self, name)))
        (folder / "dump.json").write_text(json.dumps(asdict(self.dump)))

    @classmethod
    def load(cls, folder: Path) -> Evidence:
        """Read what `save` wrote."""
        return cls(
            [_operation(row) for row in _read(folder / "history.jsonl")],
            [Line(**row) for row in _read(folder / "journal.jsonl")],
            [Life(**row) for row in _read(folder / "lives.jsonl")],
            [Injected(**row) for row in _read(folder / "faults.jsonl")],
            _dump(json.loads((folder / "dump.json").read_text())),
        )


def read_journal(path: Path) -> list[Line]:
    """A worker's journal; a last line that its process was killed in is no line."""
    text = path.read_text() if path.exists() else ""
    return [Line(**json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def _dump(row: dict[str, Any]) -> Dump:
    return Dump(**{**row, "clock": [(us, ns) for us, ns in row["clock"]]})


def _operation(row: dict[str, Any]) -> Operation:
    asked = tuple(Asked(**one) for one in row["asked"])
    return Operation(**{**row, "asked": asked, "answers": tuple(Answered(**one) for one in row["answers"])})


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]

"""What the client gives and takes, as plain frozen values.

Times are aware datetimes in UTC and None where the contract leaves them unset; words and texts are "" there. Statuses
and other words of the contract are written as in its documents ("dead_lettered"); one that this client does not know,
because the server is newer, is "unknown_" and its number. Payloads and results are not in a repr, so that logging a
run does not log them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from .durations import Seconds
from .retry import Retry

Priority: TypeAlias = Literal["high", "normal", "low"]
Window: TypeAlias = Literal["ttl", "while_active", "forever"]

TERMINAL = frozenset({"succeeded", "dead_lettered", "canceled"})
"""The statuses of a run that never changes again."""


@dataclass(frozen=True, slots=True)
class Item:
    """One run to be made by `enqueue_batch`; the fields are those of `enqueue`."""

    task: str
    payload: Any = field(default=None, repr=False)
    run_id: str | None = None
    delay: Seconds | None = None
    run_at: datetime | None = None
    start_by: datetime | None = None
    idempotency_key: str | None = None
    idempotency_window: Window | None = None
    idempotency_ttl: Seconds | None = None
    retry: Retry | None = None
    timeout: Seconds | None = None
    labels: Mapping[str, str] | None = None
    priority: Priority | None = None
    name: str = ""
    payload_encoding: str = ""
    trace_context: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One requested execution of a task with a payload.

    status              "queued", "scheduled", "running", "retrying", "succeeded", "dead_lettered" or "canceled"
    attempt             the number of the last attempt, 0 before the first
    counted_attempts    attempts that the retry policy counts: failed, timed out, lost
    payload, result     as Python has them; None in the basic view too
    created_at          None only where the run was pruned and no more than its id is known
    due_at              when it may start next, while it waits
    held_reason         why it does not start although it is due: "", "task_paused" or "no_handler"
    origin, origin_id   what made it: "enqueue", "replay" (of the run origin_id), "schedule" or "parent"
    replayed_by         the newest run that replays this one; `runs.get` only
    """

    run_id: str
    namespace: str
    task: str
    queue: str
    priority: str
    name: str
    status: str
    attempt: int
    counted_attempts: int
    payload: Any = field(repr=False)
    payload_encoding: str
    result: Any = field(repr=False)
    retry: Retry
    timeout: timedelta
    labels: Mapping[str, str]
    idempotency_key: str
    idempotency_window: str
    created_at: datetime | None
    due_at: datetime | None
    start_by: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    held_reason: str
    origin: str
    origin_id: str
    replayed_by: str
    trace_context: Mapping[str, str] = field(repr=False)

    @property
    def is_terminal(self) -> bool:
        """Whether it never changes again."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a run. Status: "running", "succeeded", "failed", "timed_out", "canceled", "lost" or "interrupted"."""

    attempt_id: str
    number: int
    status: str
    granted_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    error_type: str
    error_message: str
    error_detail: str = field(repr=False)
    retry_at: datetime | None
    session_id: str
    worker_build: str
    progress: Any = field(repr=False)
    log_tail: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of a run's status. The reason codes are written as in the documents: "ATTEMPTS_EXHAUSTED"."""

    seq: int
    from_status: str
    to_status: str
    at: datetime
    reason_code: str
    note: str
    actor: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run with its attempts by number and its transitions by seq."""

    run: Run
    attempts: list[Attempt]
    transitions: list[Transition]


@dataclass(frozen=True, slots=True)
class RunChange:
    """One transition of one run, as a watcher sees it.

    resume_token goes on after this change. The server gives tokens for several changes at once, so some of those may
    come again; before the first of them it is the token that the watch began with.
    """

    run_id: str
    task: str
    transition: Transition
    resume_token: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of runs, newest first. next_page_token is "" after the last page."""

    runs: list[Run]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The run of an enqueue or replay.

    created is False if the same request had made it before: its key was taken, or its run id was used. pruned: the
    run of a key that is taken for good is gone, and only its id, namespace and task are known.
    """

    run: Run
    created: bool
    pruned: bool = False

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.run.run_id

    @property
    def status(self) -> str:
        """Where the run stood when the server answered."""
        return self.run.status


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The run of one item of a batch; `created` and `pruned` as in Enqueued, and "" as the status of a pruned run."""

    run_id: str
    status: str
    created: bool
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task to register: what is None or not said is the server's default (3 attempts, 5 minutes, normal)."""

    name: str
    queue: str = "default"
    retry: Retry | None = None
    timeout: Seconds | None = None
    priority: Priority | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A registered task. revision grows by one with each registration that changed it; paused_at: set while paused."""

    namespace: str
    name: str
    queue: str
    retry: Retry
    timeout: timedelta
    priority: str
    revision: int
    paused_at: datetime | None
    pause_reason: str
    created_at: datetime
    updated_at: datetime

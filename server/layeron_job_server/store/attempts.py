"""What the store is told of attempts and what it answers: asks, grants, fences, reports, locked runs and changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import orjson

from layeron_job_server.domain.retry import RetryPolicy, from_json
from layeron_job_server.domain.run import Run, RunStatus
from layeron_job_server.domain.transitions import Step


class StartAsk(NamedTuple):
    """A worker asks for the right to run."""

    run_id: UUID
    session_id: UUID
    epoch: int
    start_id: int


class Grant(NamedTuple):
    """What a granted worker needs. JSON fields are text."""

    run_id: UUID
    attempt: int
    counted: int
    task_id: int
    payload: bytes
    timeout_ms: int
    labels: bytes | None
    trace_context: bytes | None
    payload_encoding: str | None
    name: str | None
    created_at: datetime
    retry: bytes
    origin: str
    waited_seconds: float  # from when it was due until it was granted

    @property
    def max_attempts(self) -> int:
        """How many attempts the run's policy allows."""
        return policy_of(self.retry).max_attempts


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a run was not granted, as it stands now."""

    run_id: UUID
    task_id: int
    session_is_live: bool
    handled: bool
    paused: bool
    status: str | None  # None: no such run in the session's namespace
    same_start: bool
    due: bool
    start_deadline_passed: bool


class Fence(NamedTuple):
    """Names one attempt of one session: only its report may end it."""

    run_id: UUID
    number: int
    session_id: UUID


class Success(NamedTuple):
    """The report that a handler returned."""

    fence: Fence
    result: bytes
    ran_ms: int
    worker_build: str
    log_tail: str | None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A locked open run: what the domain needs, and what the store needs to save it."""

    run: Run
    task_id: int
    queue_id: int
    priority: int
    releases_key: bool
    session_id: UUID | None
    granted_at: datetime | None
    begun_at: datetime | None
    cancel_note: str | None
    cancel_actor: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """What is kept of an attempt that ended otherwise than by success."""

    worker_build: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_detail: str | None = None
    ran_ms: int | None = None
    log_tail: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One step of one locked run, with what is to be kept of it."""

    before: OpenRun
    step: Step
    ending: Ending
    note: str | None = None
    actor: str | None = "server"
    session_id: UUID | None = None


@lru_cache(maxsize=1024)
def policy_of(retry: bytes) -> RetryPolicy:
    """The policy that a run keeps as JSON text."""
    return from_json(orjson.loads(retry))


def quoted(statuses: frozenset[RunStatus]) -> str:
    """The statuses as a list in SQL: they are the domain's constants."""
    return ", ".join(f"'{status}'" for status in sorted(statuses))

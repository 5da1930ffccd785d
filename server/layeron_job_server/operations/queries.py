"""Reading: one run with its history, and pages of runs."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from layeron_job.ids import encode
from layeron_job_server.domain.errors import PageTokenInvalid, RunNotFound
from layeron_job_server.store import lists, queries
from layeron_job_server.store.database import Connection
from layeron_job_server.store.queries import AttemptInfo, RunFilter, RunInfo, TransitionInfo

from .system import System

T = TypeVar("T")

PAGE_BYTES_MAX: Final = 2 * 1024 * 1024
# An answer fits into the 4 MiB that gRPC's clients take by default, as a rule with payload and result as values.
_TEXT_BYTES_MAX: Final = 1024 * 1024
_ATTEMPTS_MAX: Final = 1_000
_TRANSITIONS_MAX: Final = 2_000
_FULL_STEP: Final = 20  # runs whose payloads are in memory at once before their size is looked at
_NO_TEXTS: Final[Mapping[str, Any]] = dict.fromkeys(("error_message", "error_detail", "log_tail", "progress"))


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run with its history."""

    run: RunInfo
    attempts: list[AttemptInfo]
    transitions: list[TransitionInfo]


async def get_run(system: System, namespace: str, run_id: UUID, *, full: bool = True) -> RunDetails:
    """The run as it stood at one moment. Raises RunNotFound."""

    async def look(connection: Connection) -> RunDetails | None:
        run = await queries.get(connection, namespace, run_id, full=full)
        if run is None:
            return None
        attempts = await queries.attempts_of(connection, run_id, limit=_ATTEMPTS_MAX)
        transitions = await queries.transitions_of(connection, run_id, limit=_TRANSITIONS_MAX)
        return RunDetails(run, *_with_short_past(attempts, transitions))

    return _found(await system.database.snapshot(look), namespace, run_id)


def _with_short_past(
    attempts: Sequence[AttemptInfo], transitions: Sequence[TransitionInfo]
) -> tuple[list[AttemptInfo], list[TransitionInfo]]:
    """The history, its oldest parts without their texts if all of them would not fit into an answer."""
    room = _TEXT_BYTES_MAX
    shown: list[AttemptInfo] = []
    for attempt in reversed(attempts):
        texts = (attempt.error_message, attempt.error_detail, attempt.log_tail, attempt.progress)
        room -= sum(len(text) for text in texts if text)
        shown.append(attempt if room >= 0 else replace(attempt, **_NO_TEXTS))
    told: list[TransitionInfo] = []
    for transition in reversed(transitions):
        room -= len(transition.note or "")
        told.append(transition if room >= 0 else replace(transition, note=None))
    return shown[::-1], told[::-1]


async def read_run(system: System, namespace: str, run_id: UUID, *, full: bool = True) -> RunInfo:
    """The run without its history. Raises RunNotFound."""
    run = await system.database.read(lambda c: queries.get(c, namespace, run_id, full=full))
    return _found(run, namespace, run_id)


def _found(what: T | None, namespace: str, run_id: UUID) -> T:
    if what is None:
        raise RunNotFound(namespace, encode("run", run_id))
    return what


async def read_runs(system: System, run_ids: Sequence[UUID]) -> dict[UUID, RunInfo]:
    """Those of these runs that there are. The caller knows that they are of its namespace."""
    found = await system.database.read(lambda c: queries.by_ids(c, run_ids, full=True))
    return {run.run_id: run for run in found}


@dataclass(frozen=True, slots=True)
class Page:
    """Runs of a list, newest first. Of a page that is too large for an answer the caller takes the first ones."""

    runs: list[RunInfo]
    is_last: bool
    digest: bytes

    def token(self, taken: int) -> str:
        """The token of the page after the first `taken` runs; "" if there is none."""
        if taken == len(self.runs) and self.is_last:
            return ""
        return base64.urlsafe_b64encode(b"\x01" + self.digest + self.runs[taken - 1].run_id.bytes).decode()


async def list_runs(
    system: System, namespace: str, wanted: RunFilter, *, page_size: int, page_token: str, full: bool
) -> Page:
    """A page of runs; of a full one not many more than fit into an answer. Raises PageTokenInvalid, FilterTooBroad."""
    digest = _digest(namespace, wanted)
    before = _read_page_token(page_token, digest)
    ids = await lists.page(system.database, namespace, wanted, before=before, limit=page_size + 1)
    runs: list[RunInfo] = []
    room = PAGE_BYTES_MAX
    step = _FULL_STEP if full else page_size
    for start in range(0, min(page_size, len(ids)), step):
        part = ids[start : min(start + step, page_size)]
        runs += await system.database.read(partial(queries.by_ids, run_ids=part, full=full))
        room -= sum(len(run.payload or b"") + len(run.result or b"") for run in runs[start:])
        if room < 0:
            break
    return Page(runs, len(runs) == len(ids), digest)


def _digest(namespace: str, wanted: RunFilter) -> bytes:
    return hashlib.sha256(repr((namespace, wanted)).encode()).digest()[:8]


def _read_page_token(token: str, digest: bytes) -> UUID | None:
    if not token:
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise PageTokenInvalid from None
    if len(raw) != 1 + len(digest) + 16 or raw[:1] != b"\x01" or raw[1:-16] != digest:
        raise PageTokenInvalid
    return UUID(bytes=raw[-16:])

"""Reading: one run with its history, and pages of runs."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from layeron_job.ids import encode
from layeron_job_server.domain.errors import PageTokenInvalid, RunNotFound
from layeron_job_server.store import lists, queries
from layeron_job_server.store.queries import AttemptInfo, RunFilter, RunInfo, TransitionInfo

from .system import System

_PAGE_BYTES_MAX = 2 * 1024 * 1024
_TEXT_BYTES_MAX = 4 * 1024 * 1024
_ATTEMPTS_MAX = 2_000
_TRANSITIONS_MAX = 5_000
_ROW_BYTES = 500  # what a run weighs besides its JSON


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run with its history."""

    run: RunInfo
    attempts: list[AttemptInfo]
    transitions: list[TransitionInfo]


async def get_run(system: System, namespace: str, run_id: UUID, *, full: bool = True) -> RunDetails:
    """The run as it stands. Raises RunNotFound."""
    run = await read_run(system, namespace, run_id, full=full)
    attempts = await system.database.read(lambda c: queries.attempts_of(c, run_id, limit=_ATTEMPTS_MAX))
    transitions = await system.database.read(lambda c: queries.transitions_of(c, run_id, limit=_TRANSITIONS_MAX))
    return RunDetails(run, _with_short_past(attempts), transitions)


def _with_short_past(attempts: Sequence[AttemptInfo]) -> list[AttemptInfo]:
    """The attempts, the oldest without their long texts if all of them would not fit into an answer."""
    room = _TEXT_BYTES_MAX
    shown: list[AttemptInfo] = []
    for attempt in reversed(attempts):
        room -= sum(len(text or "") for text in (attempt.error_detail, attempt.log_tail, attempt.progress))
        shown.append(attempt if room >= 0 else replace(attempt, error_detail=None, log_tail=None, progress=None))
    return shown[::-1]


async def read_run(system: System, namespace: str, run_id: UUID, *, full: bool = True) -> RunInfo:
    """The run without its history. Raises RunNotFound."""
    run = await system.database.read(lambda c: queries.get(c, namespace, run_id, full=full))
    if run is None:
        raise RunNotFound(namespace, encode("run", run_id))
    return run


async def read_runs(system: System, run_ids: Sequence[UUID]) -> dict[UUID, RunInfo]:
    """Those of these runs that there are. The caller knows that they are of its namespace."""
    found = await system.database.read(lambda c: queries.by_ids(c, run_ids, full=True))
    return {run.run_id: run for run in found}


async def list_runs(
    system: System, namespace: str, wanted: RunFilter, *, page_size: int, page_token: str, full: bool
) -> tuple[list[RunInfo], str]:
    """A page of runs, newest first, and the token of the next one ("" after the last).

    Raises PageTokenInvalid, FilterTooBroad.
    """
    digest = _digest(namespace, wanted)
    before = _read_page_token(page_token, digest)
    ids = await lists.page(system.database, namespace, wanted, before=before, limit=page_size + 1)
    found = await system.database.read(lambda c: queries.by_ids(c, ids[:page_size], full=full))
    runs = _within_bytes(found)
    if len(runs) == len(found) and len(ids) <= page_size:
        return runs, ""
    return runs, _page_token(runs[-1].run_id, digest)


def _within_bytes(found: Sequence[RunInfo]) -> list[RunInfo]:
    """As many as fit a page, but at least one."""
    room = _PAGE_BYTES_MAX
    fitting: list[RunInfo] = []
    for run in found:
        room -= _ROW_BYTES + len(run.payload or b"") + len(run.result or b"")
        if fitting and room < 0:
            break
        fitting.append(run)
    return fitting


def _digest(namespace: str, wanted: RunFilter) -> bytes:
    return hashlib.sha256(repr((namespace, wanted)).encode()).digest()[:8]


def _page_token(last: UUID, digest: bytes) -> str:
    return base64.urlsafe_b64encode(b"\x01" + digest + last.bytes).decode()


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

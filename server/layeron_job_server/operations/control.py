"""Cancel and replay: what people and programs do to runs that exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from layeron_job.ids import encode, new_uuid7
from layeron_job_server.domain.errors import JobError, RunFinished, RunIdReused, RunNotFinished, RunNotFound
from layeron_job_server.domain.run import TERMINAL
from layeron_job_server.domain.transitions import CancelRequested, advance
from layeron_job_server.store import endings, open_attempts, queries
from layeron_job_server.store.attempts import Change, Ending
from layeron_job_server.store.database import Connection, clock
from layeron_job_server.store.runs import Made, NewRun, Taken

from . import telling
from .enqueue import EnqueueWriter
from .fingerprint import fingerprint
from .queries import read_run
from .system import System
from .writer import Writer


@dataclass(frozen=True, slots=True)
class CancelAsk:
    """A run to cancel, and in whose words."""

    namespace: str
    run_id: UUID
    reason: str | None
    actor: str = "caller"


CancelWriter: TypeAlias = Writer[CancelAsk, JobError | None]


def cancel_writer(system: System) -> CancelWriter:
    """The writer that all cancels of this process share."""
    return Writer(
        "cancel",
        lambda batch: _cancel(system, batch),
        conflicts=lambda ask: (ask.run_id,),
        size=lambda ask: 100 + len(ask.reason or ""),
        **system.settings.writer_limits,
    )


async def cancel_run(system: System, writer: CancelWriter, ask: CancelAsk) -> queries.RunInfo:
    """End a waiting run at once, or ask a running one's worker; answer the run as it then is.

    A canceled run is answered as it is. Raises RunNotFound, RunFinished.
    """
    error = await writer.submit_one(ask)
    if error is not None:
        raise error
    return await read_run(system, ask.namespace, ask.run_id)


async def _cancel(system: System, asks: Sequence[CancelAsk]) -> list[JobError | None]:
    """What each cancel is answered; None is success."""
    changes: list[Change] = []
    answers, told = await system.database.write(lambda c: _cancel_in(c, asks, changes))
    if told:
        system.hint_cancel()
    system.changed.set()
    await telling.changed(system, changes)
    return [answers[ask.run_id] for ask in asks]


async def _cancel_in(
    connection: Connection, asks: Sequence[CancelAsk], changes: list[Change]
) -> tuple[dict[UUID, JobError | None], bool]:
    """What each is answered, and whether a running run is to hear of it; `changes` are those that were saved."""
    changes.clear()
    locked = await endings.lock(connection, [ask.run_id for ask in asks])
    namespaces = await queries.namespaces_of(connection, [ask.run_id for ask in asks])
    now = await clock(connection)
    answers: dict[UUID, JobError | None] = {}
    running: list[CancelAsk] = []
    for ask in asks:
        namespace, ended = namespaces.get(ask.run_id, ("", None))
        before = locked.get(ask.run_id)
        answers[ask.run_id] = None
        if namespace != ask.namespace:
            answers[ask.run_id] = RunNotFound(ask.namespace, encode("run", ask.run_id))
        elif before is None:
            if ended != "canceled":
                answers[ask.run_id] = RunFinished(encode("run", ask.run_id), ended or "finished")
        else:
            step = advance(before.run, CancelRequested(), now=now, chance=0.0)
            if step.reason is None:
                running.append(ask)
            else:
                changes.append(Change(before, step, Ending(), note=ask.reason, actor=ask.actor))
    if running:
        await open_attempts.request_cancels(connection, [(ask.run_id, ask.reason, ask.actor) for ask in running])
    if changes:
        await endings.save(connection, changes)
    return answers, bool(running)


@dataclass(frozen=True, slots=True)
class ReplayAsk:
    """A terminal run to do again. `payload` replaces the old one if it is set; it is checked JSON text."""

    namespace: str
    run_id: UUID
    reason: str | None
    new_run_id: UUID | None = None
    payload: bytes | None = None
    delay: timedelta = timedelta(0)
    run_at: datetime | None = None


async def replay_run(system: System, writer: EnqueueWriter, ask: ReplayAsk) -> tuple[queries.RunInfo, bool]:
    """Make a new run of the same task and options, linked to the old one; answer it and whether it is new.

    Raises RunNotFound, RunNotFinished, RunIdReused, Overloaded, DatabaseAway.
    """
    old = await read_run(system, ask.namespace, ask.run_id)
    if old.status not in TERMINAL:
        raise RunNotFinished(encode("run", ask.run_id), old.status)
    source = await system.database.read(lambda c: queries.source_of(c, ask.run_id))
    if source is None:  # pruned since
        raise RunNotFound(ask.namespace, encode("run", ask.run_id))
    payload = source.payload if ask.payload is None else ask.payload
    new = NewRun(
        run_id=ask.new_run_id or new_uuid7(),
        namespace_id=source.namespace_id,
        task_id=source.task_id,
        queue_id=source.queue_id,
        priority=source.priority,
        payload=payload,
        retry=source.retry,
        timeout_ms=source.timeout_ms,
        fingerprint=fingerprint(old.task, payload, replays=ask.run_id),
        delay=ask.delay,
        run_at=ask.run_at,
        name=source.name,
        payload_encoding=source.payload_encoding,
        labels=source.label_items,
        labels_json=source.labels,
        trace_context=source.trace_context,
        origin="replay",
        origin_id=ask.run_id,
        reason="REPLAYED",
        note=ask.reason,
    )
    answer = await writer.submit_one(new)
    created = isinstance(answer, Made)
    if isinstance(answer, Taken) and (answer.fingerprint, answer.namespace_id) != (new.fingerprint, new.namespace_id):
        raise RunIdReused
    return await read_run(system, ask.namespace, answer.run_id), created

"""Ending attempts: what workers report, and what the reconciler finds.

Every answer is definite and repeats: the same report is answered the same way again, and a report that does not match
the run's open attempt changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from layeron_job_server import failpoints
from layeron_job_server.domain.errors import IllegalTransition
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import (
    CancelConfirmed,
    Event,
    Failed,
    StartDeadlinePassed,
    Step,
    advance,
)
from layeron_job_server.store import endings, outbox
from layeron_job_server.store.attempts import Change, Ending, Fence, OpenRun, Success
from layeron_job_server.store.database import Connection, clock
from layeron_job_server.store.outbox import Ring

from . import telling
from .system import System


class Verdict(StrEnum):
    """What became of a report."""

    RECORDED = "recorded"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Report:
    """How an attempt ended, otherwise than by success."""

    fence: Fence
    event: Event
    outcome: AttemptStatus
    ending: Ending
    note: str | None = None
    actor: str | None = None  # None: the worker itself


async def succeed(system: System, reports: Sequence[Success]) -> list[Verdict]:
    """Record successes. No two reports may name one run."""

    ended: dict[UUID, int] = {}

    async def work(connection: Connection) -> dict[UUID, Verdict]:
        ended.update(await endings.succeed(connection, reports))
        missed = [report.fence for report in reports if report.fence.run_id not in ended]
        before = await endings.ended_before(connection, missed) if missed else {}
        return dict.fromkeys(
            [*ended, *(run_id for run_id, outcome in before.items() if outcome is AttemptStatus.SUCCEEDED)],
            Verdict.RECORDED,
        )

    recorded = await system.database.repeat(work)
    await failpoints.reach("finish.committed")
    system.changed.set()
    await telling.succeeded(system, reports, ended)
    return [recorded.get(report.fence.run_id, Verdict.SUPERSEDED) for report in reports]


async def end(system: System, reports: Sequence[Report]) -> list[Verdict]:
    """Record failures, timeouts, losses, interruptions and cancels. No two reports may name one run."""

    changes: list[Change] = []

    async def work(connection: Connection) -> tuple[dict[UUID, Verdict], list[Ring]]:
        locked = await endings.lock(connection, [report.fence.run_id for report in reports])
        now = await clock(connection)
        changes.clear()
        missed: list[Report] = []
        for report in reports:
            before = locked.get(report.fence.run_id)
            if before is None or not _holds(before, report.fence):
                missed.append(report)
                continue
            applied = _as_it_stands(before, report)
            step = advance(before.run, applied.event, now=now, chance=system.chance())
            changes.append(_change(before, applied, step=step))
        rings = await _save(system, connection, changes)
        verdicts = {change.step.run.run_id: Verdict.RECORDED for change in changes}
        if missed:
            ended = await endings.ended_before(connection, [report.fence for report in missed])
            for report in missed:
                same = ended.get(report.fence.run_id) in _may_have_become(report)
                verdicts[report.fence.run_id] = Verdict.RECORDED if same else Verdict.SUPERSEDED
        return verdicts, rings

    if not reports:
        return []
    verdicts, rings = await system.database.write(work)
    await failpoints.reach("finish.committed")
    system.ring(rings)
    system.changed.set()
    await telling.changed(system, changes)
    return [verdicts[report.fence.run_id] for report in reports]


async def end_unstarted(system: System, run_ids: Sequence[UUID]) -> set[UUID]:
    """Dead-letter those of these runs whose start deadline has passed while they waited; answer which."""
    changes = await system.database.write(lambda c: end_unstarted_in(system, c, run_ids))
    system.changed.set()
    await telling.changed(system, changes)
    return {change.step.run.run_id for change in changes}


async def end_unstarted_in(system: System, connection: Connection, run_ids: Sequence[UUID]) -> list[Change]:
    """`end_unstarted`, in a transaction of the caller's, who is to tell of these changes after it."""
    locked = await endings.lock(connection, run_ids)
    now = await clock(connection)
    changes = []
    for before in locked.values():
        try:
            step = advance(before.run, StartDeadlinePassed(), now=now, chance=0.0)
        except IllegalTransition:  # it was started meanwhile
            continue
        changes.append(Change(before, step, Ending()))
    await _save(system, connection, changes)
    return changes


async def _save(system: System, connection: Connection, changes: Sequence[Change]) -> list[Ring]:
    if not changes:
        return []
    rings = await endings.save(connection, changes)
    if rings:
        await outbox.owe(connection, rings, look_ahead=system.settings.look_ahead)
    return rings


def _holds(before: OpenRun, fence: Fence) -> bool:
    return before.session_id == fence.session_id and before.run.attempt == fence.number


def _as_it_stands(before: OpenRun, report: Report) -> Report:
    """The report as the run allows it: a worker's cancel that nobody asked for is a failure."""
    if not isinstance(report.event, CancelConfirmed) or before.run.cancel_requested_at is not None:
        return report
    error_type = report.ending.error_type or "Canceled"
    return replace(report, event=Failed(error_type), ending=replace(report.ending, error_type=error_type))


def _may_have_become(report: Report) -> tuple[AttemptStatus, ...]:
    """How the attempt of this report ends, if this report ends it."""
    if isinstance(report.event, CancelConfirmed):
        return AttemptStatus.CANCELED, AttemptStatus.FAILED
    return (report.outcome,)


def _change(before: OpenRun, report: Report, *, step: Step) -> Change:
    """A run that ends canceled bears the words of whoever asked for it."""
    canceled = step.run.status == "canceled"
    return Change(
        before,
        step,
        report.ending,
        note=before.cancel_note if canceled else report.note,
        actor=(before.cancel_actor if canceled else report.actor),
        session_id=None if canceled or report.actor else report.fence.session_id,
    )

"""Starting and ending attempts: what workers ask and report, and what the reconciler finds.

Every answer is definite and repeats: the same start is granted the same attempt again, the same report is answered the
same way again, and a report that does not match the run's open attempt changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TypeAlias
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
from layeron_job_server.store import attempts, outbox
from layeron_job_server.store.attempts import Change, Ending, Fence, Grant, OpenRun, Standing, StartAsk, Success
from layeron_job_server.store.database import Connection, clock
from layeron_job_server.store.outbox import Ring

from .system import System
from .writer import Writer

_GRANT_TRIES = 3


class Refusal(StrEnum):
    """Why a start is refused for good."""

    FINISHED = "finished"
    RUNNING = "running"
    UNKNOWN_RUN = "unknown_run"


class Hold(StrEnum):
    """Why a start is held: the run is back in the outbox and will be rung again."""

    NOT_DUE = "not_due"
    PAUSED = "paused"
    NO_HANDLER = "no_handler"


class SessionOver(StrEnum):
    """The session that asks has ended, or goes on over another stream."""

    SESSION_OVER = "session_over"


StartAnswer: TypeAlias = Grant | Refusal | Hold | SessionOver


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


async def start(system: System, asks: Sequence[StartAsk]) -> list[StartAnswer]:
    """Grant, refuse or hold each start. No two asks may name one run."""
    answers: dict[UUID, StartAnswer] = {}
    left = list(asks)
    for last in range(_GRANT_TRIES, 0, -1):
        answers.update(await system.database.repeat(partial(attempts.start, asks=left)))
        left = [ask for ask in left if ask.run_id not in answers]
        if not left:
            break
        settled = await system.database.write(partial(_settle, system, asks=left, last=last == 1))
        system.ring(settled.rings)
        answers.update(settled.answers)
        left = [ask for ask in left if ask.run_id not in answers]
        if not left:
            break
    await failpoints.reach("start.committed")
    system.changed.set()
    return [answers[ask.run_id] for ask in asks]


@dataclass(frozen=True, slots=True)
class _Settled:
    answers: dict[UUID, StartAnswer]
    rings: list[Ring]


async def _settle(system: System, connection: Connection, *, asks: Sequence[StartAsk], last: bool) -> _Settled:
    """Say why these were not granted; those that could be granted by now are left out, unless this is the last try."""
    look_ahead = system.settings.look_ahead
    answers: dict[UUID, StartAnswer] = {}
    held: list[tuple[UUID, int, bool]] = []
    again: list[StartAsk] = []
    too_late: list[UUID] = []
    by_run = {ask.run_id: ask for ask in asks}
    for standing in await attempts.standing(connection, asks):
        answer = _why_not(standing)
        if standing.session_is_live and standing.same_start:
            again.append(by_run[standing.run_id])
        elif answer is None and standing.start_deadline_passed:
            too_late.append(standing.run_id)
        elif answer is not None:
            answers[standing.run_id] = answer
        elif last:
            answers[standing.run_id] = Hold.NOT_DUE
        if isinstance(answers.get(standing.run_id), Hold):
            held.append((standing.run_id, standing.task_id, answer is Hold.NO_HANDLER))
    if again:
        answers.update(await attempts.granted_before(connection, again))
    if too_late:
        await _end_unstarted(system, connection, too_late)
        answers.update(dict.fromkeys(too_late, Refusal.FINISHED))
    rings = await outbox.hold(connection, held, look_ahead=look_ahead) if held else []
    return _Settled(answers, rings)


def _why_not(standing: Standing) -> StartAnswer | None:
    """Why a start cannot be granted, or None if nothing speaks against it now."""
    if not standing.session_is_live:
        return SessionOver.SESSION_OVER
    match standing.status:
        case None:
            return Refusal.UNKNOWN_RUN
        case "succeeded" | "dead_lettered" | "canceled":
            return Refusal.FINISHED
        case "running":
            return Refusal.RUNNING
    if standing.start_deadline_passed:
        return None
    if standing.paused:
        return Hold.PAUSED
    if not standing.handled:
        return Hold.NO_HANDLER
    return None if standing.due else Hold.NOT_DUE


async def succeed(system: System, reports: Sequence[Success]) -> list[Verdict]:
    """Record successes. No two reports may name one run."""

    async def work(connection: Connection) -> dict[UUID, Verdict]:
        ended = await attempts.succeed(connection, reports)
        missed = [report.fence for report in reports if report.fence.run_id not in ended]
        before = await attempts.ended_before(connection, missed) if missed else {}
        return dict.fromkeys(
            [*ended, *(run_id for run_id, outcome in before.items() if outcome is AttemptStatus.SUCCEEDED)],
            Verdict.RECORDED,
        )

    recorded = await system.database.repeat(work)
    await failpoints.reach("finish.committed")
    system.changed.set()
    return [recorded.get(report.fence.run_id, Verdict.SUPERSEDED) for report in reports]


async def end(system: System, reports: Sequence[Report]) -> list[Verdict]:
    """Record failures, timeouts, losses, interruptions and cancels. No two reports may name one run."""

    async def work(connection: Connection) -> tuple[dict[UUID, Verdict], list[Ring]]:
        locked = await attempts.lock(connection, [report.fence.run_id for report in reports])
        now = await clock(connection)
        changes: list[Change] = []
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
            ended = await attempts.ended_before(connection, [report.fence for report in missed])
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
    return [verdicts[report.fence.run_id] for report in reports]


async def end_unstarted(system: System, run_ids: Sequence[UUID]) -> None:
    """Dead-letter those of these runs whose start deadline has passed while they waited."""
    if run_ids:
        await system.database.write(lambda c: _end_unstarted(system, c, run_ids))
        system.changed.set()


async def _end_unstarted(system: System, connection: Connection, run_ids: Sequence[UUID]) -> None:
    locked = await attempts.lock(connection, run_ids)
    now = await clock(connection)
    changes = []
    for before in locked.values():
        try:
            step = advance(before.run, StartDeadlinePassed(), now=now, chance=0.0)
        except IllegalTransition:  # it was started meanwhile
            continue
        changes.append(Change(before, step, Ending()))
    await _save(system, connection, changes)


async def _save(system: System, connection: Connection, changes: Sequence[Change]) -> list[Ring]:
    if not changes:
        return []
    rings = await attempts.save(connection, changes)
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


@dataclass(frozen=True, slots=True)
class AttemptWriters:
    """What all worker streams of this process share."""

    start: Writer[StartAsk, StartAnswer]
    succeed: Writer[Success, Verdict]
    end: Writer[Report, Verdict]

    def all(self) -> tuple[Writer[StartAsk, StartAnswer], Writer[Success, Verdict], Writer[Report, Verdict]]:
        """Every writer, to be run."""
        return self.start, self.succeed, self.end


def attempt_writers(system: System) -> AttemptWriters:
    """The writers for starts, successes and other endings."""
    limits = system.settings.writer_limits
    return AttemptWriters(
        start=Writer(
            "start",
            lambda batch: start(system, batch),
            conflicts=lambda ask: (ask.run_id,),
            size=lambda _: 64,
            **limits,
        ),
        succeed=Writer(
            "succeed",
            lambda batch: succeed(system, batch),
            conflicts=lambda report: (report.fence.run_id,),
            size=lambda report: len(report.result) + len(report.log_tail or "") + 100,
            **limits,
        ),
        end=Writer(
            "end",
            lambda batch: end(system, batch),
            conflicts=lambda report: (report.fence.run_id,),
            size=lambda report: 200 + sum(map(len, filter(None, _texts(report.ending)))),
            **limits,
        ),
    )


def _texts(ending: Ending) -> tuple[str | None, ...]:
    return ending.error_message, ending.error_detail, ending.log_tail

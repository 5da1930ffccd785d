"""Starting attempts: what workers ask.

Every answer is definite and repeats: the same start is granted the same attempt again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeAlias
from uuid import UUID

from layeron_job_server import failpoints
from layeron_job_server.domain.run import TERMINAL
from layeron_job_server.store import outbox, starts
from layeron_job_server.store.attempts import Change, Grant, Standing, StartAsk
from layeron_job_server.store.database import Connection
from layeron_job_server.store.outbox import Ring

from . import endings, telling
from .system import System

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


async def start(system: System, asks: Sequence[StartAsk]) -> list[StartAnswer]:
    """Grant, refuse or hold each start. No two asks may name one run."""
    answers: dict[UUID, StartAnswer] = {}
    left = list(asks)
    for last in range(_GRANT_TRIES, 0, -1):
        answers.update(await system.database.repeat(partial(starts.start, asks=left)))
        left = [ask for ask in left if ask.run_id not in answers]
        if not left:
            break
        settled = await system.database.write(partial(_settle, system, asks=left, last=last == 1))
        system.ring(settled.rings)
        await telling.changed(system, settled.too_late)
        answers.update(settled.answers)
        left = [ask for ask in left if ask.run_id not in answers]
        if not left:
            break
    await failpoints.reach("start.committed")
    system.changed.set()
    await telling.granted(system, [answer for answer in answers.values() if isinstance(answer, Grant)])
    return [answers[ask.run_id] for ask in asks]


@dataclass(frozen=True, slots=True)
class _Settled:
    answers: dict[UUID, StartAnswer]
    rings: list[Ring]
    too_late: list[Change]


async def _settle(system: System, connection: Connection, *, asks: Sequence[StartAsk], last: bool) -> _Settled:
    """Say why these were not granted; those that could be granted by now are left out, unless this is the last try."""
    look_ahead = system.settings.look_ahead
    answers: dict[UUID, StartAnswer] = {}
    held: list[tuple[UUID, int, bool]] = []
    again: list[StartAsk] = []
    too_late: list[UUID] = []
    ended: list[Change] = []
    by_run = {ask.run_id: ask for ask in asks}
    for standing in await starts.standing(connection, asks):
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
        answers.update(await starts.granted_before(connection, again))
    if too_late:
        ended = await endings.end_unstarted_in(system, connection, too_late)
        answers.update(dict.fromkeys(too_late, Refusal.FINISHED))
    rings = await outbox.hold(connection, held, look_ahead=look_ahead) if held else []
    return _Settled(answers, rings, ended)


def _why_not(standing: Standing) -> StartAnswer | None:
    """Why a start cannot be granted, or None if nothing speaks against it now."""
    if not standing.session_is_live:
        return SessionOver.SESSION_OVER
    match standing.status:
        case None:
            return Refusal.UNKNOWN_RUN
        case status if status in TERMINAL:
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

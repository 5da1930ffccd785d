"""Makes rows and the world agree again: lost workers, timeouts, ignored cancels, missing deliveries, lapsed keys.

Every function is one turn, safe to repeat and to run on several servers at once: it finds candidates without a lock,
then ends each attempt by its fence. A crash between the two leaves the candidate for the next turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from layeron_job.ids import encode
from layeron_job_server import failpoints
from layeron_job_server.broker import Broker
from layeron_job_server.domain.errors import DatabaseAway, JobError, Overloaded
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import CancelIgnored, Event, Interrupted, Lost, TimedOut
from layeron_job_server.operations import endings
from layeron_job_server.operations.endings import Report, Verdict
from layeron_job_server.operations.system import System
from layeron_job_server.operations.tasks import release_resumed
from layeron_job_server.operations.writer import by_halves
from layeron_job_server.store import maintenance, open_attempts, outbox, sessions, tasks
from layeron_job_server.store.attempts import Ending, Fence
from layeron_job_server.store.outbox import Cursor, Ring

from .dispatcher import publications_of

log = logging.getLogger(__name__)

Found = TypeVar("Found", bound=Hashable)

_SLICE = 500
_LEFT_MAX = 1_000
_AUDIT_SLICE = 20_000
_AUDIT_SLICES_PER_TURN = 4
_AUDIT_RESTS = 20
_ASKED_ONE_BY_ONE_MAX = 250
_LISTING_SECONDS = 1.0
_REPAIR_TURNS = 3  # for so many turns a server that died may still be the one that repairs
_KEPT_SESSIONS = timedelta(days=7)


async def reconcile_once(system: System, *, starting: bool = False) -> None:
    """One turn of all that needs only the database; `starting`: the first one of this server.

    A step that fails keeps no other from its turn, unless the database is away or busy: DatabaseAway, Overloaded.
    """
    lease = system.settings.lease
    spared = await system.database.write(
        lambda c: sessions.begin_turn(c, lease=lease, gap=lease / 3, starting=starting)
    )
    if spared:
        log.warning("the database was away: %d worker sessions have one lease more", spared)
    for kind, step in _STEPS.items():
        try:
            if repaired := await step(system):
                system.telemetry.metrics.repairs.add(repaired, kind)
        except (DatabaseAway, Overloaded):
            raise
        except Exception:
            log.exception("%s failed; it is tried again", step.__name__)


async def end_lost_once(system: System) -> int:
    """End the sessions whose lease has run out, and every open attempt of an ended session."""
    for session_id in await system.database.write(lambda c: sessions.expire(c, limit=_SLICE)):
        log.warning("worker session %s is lost", session_id)
        await failpoints.reach("session.expired")

    def report(found: tuple[Fence, bool]) -> Report:
        fence, said_goodbye = found
        if said_goodbye:
            return _report(fence, Interrupted(), AttemptStatus.INTERRUPTED, "Interrupted", "the worker shut down")
        return _report(fence, Lost(), AttemptStatus.LOST, "Lost", "the worker was not heard of for a lease")

    return await _sweep(system, open_attempts.of_ended_sessions, partial(_end, system, report))


async def end_overrunning_once(system: System) -> int:
    """Time out the attempts whose worker should have done so itself."""
    settings = system.settings
    find = partial(
        open_attempts.overrunning,
        lease=settings.lease,
        begin_within=timedelta(milliseconds=settings.begin_within_ms),
        grace=timedelta(milliseconds=settings.timeout_grace_ms),
    )
    message = "the attempt ran longer than its timeout, and its worker did not say so"

    def report(fence: Fence) -> Report:
        return _report(fence, TimedOut(), AttemptStatus.TIMED_OUT, "Timeout", message)

    return await _sweep(system, find, partial(_end, system, report))


async def end_ignored_cancels_once(system: System) -> int:
    """Fence off the attempts whose worker has ignored a cancel past the grace."""
    settings = system.settings
    grace = timedelta(milliseconds=settings.cancel_grace_ms)
    find = partial(open_attempts.ignoring_cancel, lease=settings.lease, grace=grace)
    message = "the handler went on after the cancel grace"

    def report(fence: Fence) -> Report:
        return _report(fence, CancelIgnored(), AttemptStatus.CANCELED, "CancelIgnored", message)

    return await _sweep(system, find, partial(_end, system, report))


async def end_past_start_by_once(system: System) -> int:
    """Dead-letter the waiting runs that were to start by now."""

    async def end(run_ids: Sequence[UUID]) -> list[bool]:
        ended = await endings.end_unstarted(system, run_ids)
        return [run_id in ended for run_id in run_ids]

    return await _sweep(system, open_attempts.past_start_by, end)


async def _sweep(
    system: System,
    find: Callable[..., Awaitable[Sequence[Found]]],
    end: Callable[[Sequence[Found]], Awaitable[Sequence[bool]]],
) -> int:
    """End what there is to find, slice by slice, and answer how many were ended.

    What cannot be ended takes none of its neighbours with it, and no place in the next slice, unless there is very much
    of it. Raises DatabaseAway.
    """
    ended = 0
    left: set[Found] = set()
    while len(left) < _LEFT_MAX:
        limit = _SLICE + len(left)
        found = await system.database.read(partial(find, limit=limit))
        fresh = [one for one in found if one not in left]
        answers = await by_halves(end, fresh, is_bad=lambda error: not isinstance(error, JobError)) if fresh else []
        for one, answer in zip(fresh, answers, strict=True):
            if isinstance(answer, JobError):
                raise answer
            if isinstance(answer, BaseException):
                # The error's message may hold data.
                log.error("%s cannot be ended: %s", one, type(answer).__name__)
            if answer is True:
                ended += 1
            else:
                left.add(one)
        if len(found) < limit:
            break
    return ended


async def _end(system: System, report: Callable[[Found], Report], found: Sequence[Found]) -> list[bool]:
    verdicts = await endings.end(system, [report(one) for one in found])
    return [verdict is Verdict.RECORDED for verdict in verdicts]


def _report(fence: Fence, event: Event, outcome: AttemptStatus, error_type: str, message: str) -> Report:
    ending = Ending(error_type=error_type, error_message=message)
    return Report(fence, event, outcome, ending, note=message, actor="server")


_STEPS: Final[Mapping[str, Callable[[System], Awaitable[int]]]] = {
    "lost": end_lost_once,
    "overrunning": end_overrunning_once,
    "ignored_cancel": end_ignored_cancels_once,
    "past_start_by": end_past_start_by_once,
    "resumed": release_resumed,
}


async def repair_stream_once(system: System, broker: Broker) -> bool:
    """Make the stream and the consumers that are missing; True if the stream was.

    One server at a time also deletes stranded consumers, so that none is taken away from under another's feet.
    """
    made = await broker.ensure_stream()
    queues = await system.database.read(tasks.queues_and_namespaces)
    term = _REPAIR_TURNS * timedelta(milliseconds=system.settings.audit_interval_ms)
    mine = await system.database.write(lambda c: maintenance.claim_repairs(c, system.server_id, term=term))
    await broker.ensure_consumers([(namespace, queue) for _, namespace, queue in queues], renew_stranded=mine)
    return made


class Audit:
    """Asks the stream which overdue waiting runs have neither a delivery nor a schedule, and rings those.

    It goes through what is overdue slice by slice, on from where it was; a finding makes it go on at once. After each
    turn it rests for twenty times as long, so that a great backlog does not make it a burden.
    """

    def __init__(self) -> None:
        self._cursor: Cursor = outbox.START
        self._rests_until = 0.0
        self._forget_listing()

    def restart(self) -> None:
        """Begin anew and at once: the stream may have lost anything."""
        self._cursor = outbox.START
        self._rests_until = 0.0
        self._forget_listing()

    async def audit_once(self, system: System, broker: Broker) -> int:
        """A few slices, or all while something is missing; answer how many were rung."""
        began = time.monotonic()
        if began < self._rests_until:
            return 0
        repaired = 0
        slices = 0
        while slices < _AUDIT_SLICES_PER_TURN or repaired:
            slices += 1
            rung, following = await self._audit_slice(system, broker)
            repaired += rung
            self._cursor = following or outbox.START
            if following is None:
                break
        self._forget_listing()
        ended = time.monotonic()
        self._rests_until = ended + _AUDIT_RESTS * (ended - began)
        if repaired:
            log.warning("%d overdue runs had no delivery and were rung", repaired)
            system.telemetry.metrics.repairs.add(repaired, "missing_delivery")
        return repaired

    async def _audit_slice(self, system: System, broker: Broker) -> tuple[int, Cursor | None]:
        overdue_by = timedelta(milliseconds=system.settings.audit_overdue_ms)
        rings, following = await system.database.read(
            lambda c: outbox.overdue_without_ring(c, after=self._cursor, overdue_by=overdue_by, slice_size=_AUDIT_SLICE)
        )
        if len(rings) <= _ASKED_ONE_BY_ONE_MAX:
            missing = await _absent(system, broker, rings)
        else:
            missing = await _missing(system, broker, rings, await self._listing(broker))
        if not missing:
            return 0, following
        # Most of them may have started or ended since they were read.
        owed = await system.database.write(lambda c: outbox.owe_missing(c, missing))
        system.ring(owed)
        return len(owed), following

    def _forget_listing(self) -> None:
        self._rung: tuple[set[str], set[str]] = (set(), set())
        self._listed_at = -_LISTING_SECONDS

    async def _listing(self, broker: Broker) -> tuple[set[str], set[str]]:
        """What the stream holds, listed at most once a second: what was rung since is rung twice, which is no harm."""
        now = time.monotonic()
        if now - self._listed_at >= _LISTING_SECONDS:
            self._rung, self._listed_at = await broker.rung_run_ids(), now
        return self._rung


async def _missing(
    system: System, broker: Broker, rings: Sequence[Ring], rung: tuple[set[str], set[str]]
) -> list[Ring]:
    """Those of many rings that the stream does not hold, given what it does."""
    delivered, scheduled = rung
    waiting = [(encode("run", ring.run_id), ring) for ring in rings]
    waiting = [(run_id, ring) for run_id, ring in waiting if run_id not in delivered]
    missing = [ring for run_id, ring in waiting if run_id not in scheduled]
    doubtful = [ring for run_id, ring in waiting if run_id in scheduled]
    for first in range(0, len(doubtful), _ASKED_ONE_BY_ONE_MAX):
        missing += await _absent(system, broker, doubtful[first : first + _ASKED_ONE_BY_ONE_MAX])
    return missing


async def _absent(system: System, broker: Broker, rings: Sequence[Ring]) -> list[Ring]:
    """Those of a few rings that the stream does not hold."""
    publications, known = await publications_of(system, broker, rings, now=datetime.now(UTC))
    present = await broker.present(publications) if publications else set()
    return [
        ring
        for ring, publication in zip(known, publications, strict=True)
        if publication.subject not in present and publication.schedule_subject not in present
    ]


async def tidy_once(system: System) -> None:
    """Forget lapsed keys, left-over cancels and notes, and long-ended sessions; make the coming days' partitions."""
    while await system.database.write(lambda c: maintenance.forget_lapsed_keys(c, limit=_SLICE)) == _SLICE:
        pass
    await system.database.write(maintenance.forget_ended_cancels)
    await system.database.write(maintenance.forget_ended_notes)
    await system.database.write(lambda c: sessions.prune(c, ended_before=_KEPT_SESSIONS, limit=_SLICE))
    await system.database.write(maintenance.make_partitions)

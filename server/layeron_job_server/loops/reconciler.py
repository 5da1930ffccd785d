"""Makes rows and the world agree again: lost workers, timeouts, ignored cancels, missing deliveries, lapsed keys.

Every function is one turn, safe to repeat and to run on several servers at once: it finds candidates without a lock,
then ends each attempt by its fence. A crash between the two leaves the candidate for the next turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from layeron_job.ids import encode
from layeron_job_server import failpoints
from layeron_job_server.broker import Broker
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import CancelIgnored, Event, Interrupted, Lost, TimedOut
from layeron_job_server.operations import attempts
from layeron_job_server.operations.attempts import Report
from layeron_job_server.operations.system import System
from layeron_job_server.store import maintenance, open_attempts, outbox, sessions, tasks
from layeron_job_server.store.attempts import Ending, Fence
from layeron_job_server.store.outbox import Cursor, Ring

from .dispatcher import publications_of

log = logging.getLogger(__name__)

_SLICE = 500
_RELEASE_SLICE = 5_000
_AUDIT_SLICE = 20_000
_AUDIT_SLICES_PER_TURN = 4
_AUDIT_RESTS = 20
_ASKED_ONE_BY_ONE_MAX = 250
_LISTING_SECONDS = 1.0
_KEPT_SESSIONS = timedelta(days=7)


async def reconcile_once(system: System) -> None:
    """One turn of all that needs only the database."""
    spared = await system.database.write(
        lambda c: sessions.begin_turn(c, lease=system.settings.lease, gap=system.settings.lease / 3)
    )
    if spared:
        log.warning("the database was away: %d worker sessions have one lease more", spared)
    await end_lost_once(system)
    await end_overrunning_once(system)
    await end_ignored_cancels_once(system)
    await end_past_start_by_once(system)
    await release_resumed_once(system)


async def end_lost_once(system: System) -> int:
    """End the sessions whose lease has run out, and every open attempt of an ended session."""
    for session_id in await system.database.write(lambda c: sessions.expire(c, limit=_SLICE)):
        log.warning("worker session %s is lost", session_id)
        await failpoints.reach("session.expired")
    ended = 0
    while found := await system.database.read(lambda c: open_attempts.of_ended_sessions(c, limit=_SLICE)):
        ended += await _end(
            system,
            [
                _report(fence, Interrupted(), AttemptStatus.INTERRUPTED, "Interrupted", "the worker shut down")
                if said_goodbye
                else _report(fence, Lost(), AttemptStatus.LOST, "Lost", "the worker was not heard of for a lease")
                for fence, said_goodbye in found
            ],
        )
        if len(found) < _SLICE:
            break
    return ended


async def end_overrunning_once(system: System) -> int:
    """Time out the attempts whose worker should have done so itself."""
    settings = system.settings
    found = await system.database.read(
        lambda c: open_attempts.overrunning(
            c,
            begin_within=timedelta(milliseconds=settings.begin_within_ms),
            grace=timedelta(milliseconds=settings.timeout_grace_ms),
            limit=_SLICE,
        )
    )
    message = "the attempt ran longer than its timeout, and its worker did not say so"
    return await _end(
        system, [_report(fence, TimedOut(), AttemptStatus.TIMED_OUT, "Timeout", message) for fence in found]
    )


async def end_ignored_cancels_once(system: System) -> int:
    """Fence off the attempts whose worker has ignored a cancel past the grace."""
    grace = timedelta(milliseconds=system.settings.cancel_grace_ms)
    found = await system.database.read(lambda c: open_attempts.ignoring_cancel(c, grace=grace, limit=_SLICE))
    message = "the handler went on after the cancel grace"
    return await _end(
        system, [_report(fence, CancelIgnored(), AttemptStatus.CANCELED, "CancelIgnored", message) for fence in found]
    )


async def end_past_start_by_once(system: System) -> int:
    """Dead-letter the waiting runs that were to start by now."""
    found = await system.database.read(lambda c: open_attempts.past_start_by(c, limit=_SLICE))
    await attempts.end_unstarted(system, found)
    return len(found)


async def release_resumed_once(system: System) -> int:
    """Let parked runs of tasks that are not paused (any more) ring again."""
    return await system.database.write(
        lambda c: outbox.release_resumed(c, limit=_RELEASE_SLICE, look_ahead=system.settings.look_ahead)
    )


async def repair_stream_once(system: System, broker: Broker) -> bool:
    """Make the stream and the consumers that are missing; True if the stream was."""
    made = await broker.ensure_stream()
    queues = await system.database.read(tasks.queues_and_namespaces)
    await broker.ensure_consumers([(namespace, queue) for _, namespace, queue in queues])
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
    """Forget lapsed keys, left-over cancel requests and long-ended sessions, and make the coming days' partitions."""
    while await system.database.write(lambda c: maintenance.forget_lapsed_keys(c, limit=_SLICE)) == _SLICE:
        pass
    await system.database.write(maintenance.forget_ended_cancels)
    await system.database.write(lambda c: sessions.prune(c, ended_before=_KEPT_SESSIONS, limit=_SLICE))
    await system.database.write(maintenance.make_partitions)


def _report(fence: Fence, event: Event, outcome: AttemptStatus, error_type: str, message: str) -> Report:
    ending = Ending(error_type=error_type, error_message=message)
    return Report(fence, event, outcome, ending, note=message, actor="server")


async def _end(system: System, reports: Sequence[Report]) -> int:
    verdicts = await attempts.end(system, reports)
    return sum(verdict is attempts.Verdict.RECORDED for verdict in verdicts)

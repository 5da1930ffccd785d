"""Turns what is owed in the outbox into deliveries.

After each commit the rings inside the look-ahead are published at once from memory; the sweep finds whatever that
missed: rings of a process that died, of a time when NATS was away, or beyond the look-ahead. A crash after publishing
and before deleting rings twice, which a start absorbs. No row is locked while NATS is spoken to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime, timedelta

from layeron_job.ids import encode
from layeron_job_server import failpoints
from layeron_job_server.broker import Broker, BrokerAway, Publication
from layeron_job_server.operations.system import System
from layeron_job_server.store import outbox
from layeron_job_server.store.database import clock
from layeron_job_server.store.outbox import Ring

log = logging.getLogger(__name__)

_WAITING_MAX = 50_000
_BATCH = 1_000
_PUSH_FORWARD = timedelta(seconds=10)


class Dispatcher:
    """Rings for one server process."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: deque[Ring] = deque()
        self._wake = asyncio.Event()
        self._database_ahead = timedelta(0)  # the database's clock minus ours
        self._backlogs: dict[tuple[int, int], int] = {}  # what each consumer held when last asked, and rung since

    def ring(self, rings: Sequence[Ring]) -> None:
        """Ring soon. Beyond the bound of what may wait here, the sweep does it."""
        if rings and len(self._waiting) + len(rings) <= _WAITING_MAX:
            self._waiting.extend(rings)
            self._wake.set()

    async def run(self, system: System, until: asyncio.Event) -> None:
        """Ring what comes, until told to stop."""
        while not until.is_set():
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self.ring_once(system)
            except BrokerAway:
                self._waiting.clear()  # the sweep rings them when NATS is back
            except Exception:
                log.exception("rings are left to the sweep")

    def stop(self) -> None:
        """Let `run` look at `until`."""
        self._wake.set()

    async def ring_once(self, system: System) -> int:
        """Ring up to a batch of what waits in memory; answer how many JetStream took."""
        now = datetime.now(UTC) + self._database_ahead
        horizon = now + system.settings.look_ahead
        rings: list[Ring] = []
        while self._waiting and len(rings) < _BATCH:
            ring = self._waiting.popleft()
            if ring.deliver_at <= horizon and self._has_room(system, ring):
                rings.append(ring)
        return await self._publish(system, rings, now)

    async def sweep_once(self, system: System) -> int:
        """Ring what is due in the outbox, high priority first, never beyond a consumer's backlog; answer how many."""
        if not self._broker.is_connected:
            return 0
        before = datetime.now(UTC)
        database_now = await system.database.read(clock)
        self._database_ahead = database_now - before
        rung = 0
        for queue_id, priority in await system.database.read(outbox.consumers_with_due):
            rung += await self._sweep_consumer(system, queue_id, priority)
        await self._refresh_backlogs(system)
        return rung

    async def _sweep_consumer(self, system: System, queue_id: int, priority: int) -> int:
        rung = 0
        while (room := system.settings.consumer_backlog_max - self._backlogs.get((queue_id, priority), 0)) > 0:
            limit = min(room, _BATCH)
            rings = await system.database.write(
                lambda c, limit=limit: outbox.take_due(c, queue_id, priority, limit=limit, push_forward=_PUSH_FORWARD)  # type: ignore[misc] # mypy cannot see through the default
            )
            rung += await self._publish(system, rings, datetime.now(UTC) + self._database_ahead)
            if len(rings) < limit:
                break
        return rung

    async def _publish(self, system: System, rings: Sequence[Ring], now: datetime) -> int:
        """Publish, then delete the rows of what was taken. `now` is the database's."""
        publications, known = await publications_of(system, self._broker, rings, now=now)
        if not publications:
            return 0
        with _spans(system, publications):
            taken = await self._broker.publish(publications)
        await failpoints.reach("ring.published")
        done = [ring for ring, was_taken in zip(known, taken, strict=True) if was_taken]
        if done:
            for ring in done:
                key = (ring.queue_id, ring.priority)
                self._backlogs[key] = self._backlogs.get(key, 0) + 1
            await system.database.repeat(lambda c: outbox.forget(c, done))
        return len(done)

    def _has_room(self, system: System, ring: Ring) -> bool:
        return self._backlogs.get((ring.queue_id, ring.priority), 0) < system.settings.consumer_backlog_max

    async def _refresh_backlogs(self, system: System) -> None:
        """Ask how full the consumers are that rang much since they were last asked."""
        limit = system.settings.consumer_backlog_max
        names = await system.tasks.queue_names({queue_id for queue_id, _ in self._backlogs})
        for (queue_id, priority), estimate in list(self._backlogs.items()):
            if estimate >= limit // 4 and queue_id in names:
                namespace, queue = names[queue_id]
                self._backlogs[queue_id, priority] = await self._broker.backlog(namespace, queue, priority)


async def publications_of(
    system: System, broker: Broker, rings: Sequence[Ring], *, now: datetime
) -> tuple[list[Publication], list[Ring]]:
    """The rings on the wire, and the rings they are of: those whose task is known."""
    tasks = await system.tasks.by_ids({ring.task_id for ring in rings})
    queues = await system.tasks.queue_names({ring.queue_id for ring in rings})
    known = [ring for ring in rings if ring.task_id in tasks and ring.queue_id in queues]
    publications = []
    for ring in known:
        after = ring.deliver_at - now if ring.deliver_at > now else None
        namespace, queue = queues[ring.queue_id]
        names = (namespace, queue, tasks[ring.task_id].name)
        publications.append(
            broker.publication(names, ring.priority, encode("run", ring.run_id), ring.attempt, after, ring.traceparent)
        )
    return publications, known


def _spans(system: System, publications: Sequence[Publication]) -> AbstractContextManager[object]:
    """A span of sending for each queue that has traced runs among these."""
    tracing = system.telemetry.tracing
    if not tracing.is_on:
        return nullcontext()
    traced: dict[str, list[str]] = {}
    for publication in publications:
        if publication.traceparent:
            traced.setdefault(publication.queue, []).append(publication.traceparent)
    stack = ExitStack()
    for queue, traceparents in traced.items():
        stack.enter_context(tracing.send(queue, traceparents))
    return stack

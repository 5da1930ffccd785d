"""Reads for the metrics how much waits, where, and for how long.

Every server does so by itself and reports the same, so figures of several servers are not to be added up. A reading
rests for a hundred times as long as it took, 15 s at least: however much waits, it is 1 % of one core of PostgreSQL for
each server, and the figures are as old as `layeron_job.depths.age` says.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from layeron_job_server.broker import Backlog, Broker, BrokerAway
from layeron_job_server.operations.system import System
from layeron_job_server.store import depths
from layeron_job_server.store.database import Database
from layeron_job_server.store.depths import OutboxDepth, SessionDepth, TaskDepth
from layeron_job_server.telemetry import Metrics, names
from layeron_job_server.telemetry.health import Health
from layeron_job_server.telemetry.metrics import Gauge

EVERY_SECONDS: Final = 15.0
_RESTS: Final = 100
_NOT_HELD: Final = "none"


class Depths:
    """What was read last, offered to the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._tasks: Sequence[TaskDepth] = ()
        self._outbox: Sequence[OutboxDepth] = ()
        self._sessions: Sequence[SessionDepth] = ()
        self._backlogs: Sequence[Backlog] = ()
        self._read_at = time.monotonic()
        self._rests_until = 0.0
        metrics.gauge(names.RUNS_READY, lambda: self._of_tasks("ready"))
        metrics.gauge(names.OLDEST_READY_AGE, lambda: self._of_tasks("oldest_ready_seconds"))
        metrics.gauge(names.RUNS_RUNNING, lambda: self._of_tasks("running"))
        metrics.gauge(names.RUNS_SCHEDULED, lambda: self._of_tasks("scheduled"))
        metrics.gauge(names.DEPTHS_AGE, lambda: [(time.monotonic() - self._read_at, {})])
        metrics.gauge(names.OUTBOX_ROWS, self._outbox_rows)
        metrics.gauge(names.OUTBOX_OLDEST_DUE_AGE, self._outbox_age)
        metrics.gauge(names.SESSIONS, lambda: [(one.sessions, {"namespace": one.namespace}) for one in self._sessions])
        metrics.gauge(names.SLOTS, self._slots)
        metrics.gauge(names.STREAM_PENDING, lambda: self._of_stream("pending"))
        metrics.gauge(names.STREAM_ACK_PENDING, lambda: self._of_stream("ack_pending"))

    async def read_once(self, system: System, broker: Broker) -> None:
        """Read, unless it is time to rest. Raises DatabaseAway; without NATS its figures stay away."""
        began = time.monotonic()
        if began < self._rests_until:
            return
        self._tasks, self._outbox, self._sessions = await system.database.snapshot(depths.read)
        self._read_at = time.monotonic()
        self._rests_until = self._read_at + _RESTS * (self._read_at - began)
        try:
            self._backlogs = await broker.backlogs()
        except BrokerAway:
            self._backlogs = ()

    def _of_tasks(self, figure: str) -> Gauge:
        return [
            (getattr(one, figure), {"namespace": one.namespace, "queue": one.queue, "task": one.task})
            for one in self._tasks
        ]

    def _outbox_rows(self) -> Gauge:
        rows = {one.held or _NOT_HELD: one.rows for one in self._outbox}
        return [(rows.get(held, 0), {"held": held}) for held in (_NOT_HELD, "paused", "no_handler")]

    def _outbox_age(self) -> Gauge:
        return [(max((one.oldest_due_seconds for one in self._outbox), default=0.0), {})]

    def _slots(self) -> Gauge:
        used: dict[str, int] = {}
        for one in self._tasks:
            used[one.namespace] = used.get(one.namespace, 0) + one.running
        for of_namespace in self._sessions:
            namespace, busy = of_namespace.namespace, used.get(of_namespace.namespace, 0)
            yield busy, {"namespace": namespace, "state": "used"}
            yield max(0, of_namespace.slots - busy), {"namespace": namespace, "state": "free"}

    def _of_stream(self, figure: str) -> Gauge:
        return [
            (getattr(one, figure), {"namespace": one.namespace, "queue": one.queue, "priority": one.priority})
            for one in self._backlogs
        ]


def offer_means(metrics: Metrics, health: Health, database: Database) -> None:
    """Let the metrics tell what this server can use, and how many of its connections it does."""

    def read() -> Gauge:
        state = health.state()
        return [(int(state.database), {"dependency": "database"}), (int(state.stream), {"dependency": "stream"})]

    def connections() -> Gauge:
        used, idle, _ = database.connections
        return [(used, {"state": "used"}), (idle, {"state": "idle"})]

    metrics.gauge(names.DEPENDENCY_UP, read)
    metrics.gauge(names.POOL_CONNECTIONS, connections)
    metrics.gauge(names.POOL_SIZE, lambda: [(database.connections[2], {})])

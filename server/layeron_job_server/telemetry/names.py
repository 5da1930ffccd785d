"""Every metric of the server: its name, kind, unit, meaning and labels. docs/operations.md has the same table.

Labels are few and bounded: namespaces, queues and tasks are registered, the rest are words of ours. Never run ids. In
Prometheus dots become underscores, seconds and bytes end the name, and counters end in `_total`. The names of spans and
their attributes are in `layeron_job.tracing`, because client and worker use them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

SERVICE_NAME: Final = "layeron-job-server"
SCOPE: Final = "layeron_job_server"

# Bounds of the distributions. An attempt may take days; a pickup is milliseconds, or the sign of a backlog.
SECONDS_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS_LONG: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1_800.0,
    7_200.0,
)
ITEMS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


@dataclass(frozen=True, slots=True)
class Name:
    """One metric. `bounds` are those of a distribution's buckets."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: Sequence[str] = ()
    bounds: Sequence[float] = ()

    @property
    def prometheus(self) -> str:
        """The name in a scrape, without the `_bucket`, `_sum` and `_count` of a histogram."""
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        return self.name.replace(".", "_") + unit + ("_total" if self.kind == "counter" else "")


RUNS_ENQUEUED: Final = Name(
    "layeron_job.runs.enqueued",
    "counter",
    "{run}",
    "Runs made, by Enqueue, EnqueueBatch and ReplayRun; repeats of a request are not counted",
    ("namespace", "task"),
)
RUNS_ENDED: Final = Name(
    "layeron_job.runs.ended",
    "counter",
    "{run}",
    "Runs that became terminal: succeeded, dead_lettered or canceled",
    ("namespace", "task", "outcome"),
)
ATTEMPTS: Final = Name(
    "layeron_job.attempts",
    "counter",
    "{attempt}",
    "Attempts that ended: succeeded, failed, timed_out, canceled, lost or interrupted",
    ("namespace", "task", "outcome"),
)
ATTEMPT_DURATION: Final = Name(
    "layeron_job.attempt.duration",
    "histogram",
    "s",
    "How long handlers ran, by their workers' clocks",
    ("namespace", "task", "outcome"),
    SECONDS_LONG,
)
PICKUP_LATENCY: Final = Name(
    "layeron_job.pickup.latency",
    "histogram",
    "s",
    "From when an attempt was due until it was granted to a worker, by the database's clock",
    ("namespace", "task"),
    SECONDS_LONG,
)
RUNS_READY: Final = Name(
    "layeron_job.runs.ready",
    "gauge",
    "{run}",
    "Runs that are due and wait, those of paused tasks too",
    ("namespace", "queue", "task"),
)
OLDEST_READY_AGE: Final = Name(
    "layeron_job.runs.oldest_ready_age",
    "gauge",
    "s",
    "For how long the run that waits longest has been due; 0 if none waits or the task is paused",
    ("namespace", "queue", "task"),
)
RUNS_RUNNING: Final = Name(
    "layeron_job.runs.running", "gauge", "{run}", "Runs with an open attempt", ("namespace", "queue", "task")
)
RUNS_SCHEDULED: Final = Name(
    "layeron_job.runs.scheduled",
    "gauge",
    "{run}",
    "Runs that are due later: delayed, or waiting for their next attempt",
    ("namespace", "queue", "task"),
)
DEPTHS_AGE: Final = Name(
    "layeron_job.depths.age", "gauge", "s", "How old the figures of runs, outbox, sessions and slots are here"
)
OUTBOX_ROWS: Final = Name(
    "layeron_job.outbox.rows",
    "gauge",
    "{row}",
    "Rings that are owed: held by a pause, for want of a handler, or by nothing (none)",
    ("held",),
)
OUTBOX_OLDEST_DUE_AGE: Final = Name(
    "layeron_job.outbox.oldest_due_age",
    "gauge",
    "s",
    "For how long the ring that waits longest should have been sent to JetStream",
)
REPAIRS: Final = Name(
    "layeron_job.reconciler.repairs",
    "counter",
    "{repair}",
    "What the reconciler mended: lost, overrunning, ignored_cancel, past_start_by, resumed, missing_delivery",
    ("kind",),
)
BATCH_ITEMS: Final = Name(
    "layeron_job.writer.batch.items",
    "histogram",
    "{item}",
    "How many calls were written in one transaction",
    ("writer",),
    ITEMS,
)
BATCH_DURATION: Final = Name(
    "layeron_job.writer.batch.duration",
    "histogram",
    "s",
    "How long such a transaction took",
    ("writer",),
    SECONDS_SHORT,
)
RPC_DURATION: Final = Name(
    "rpc.server.call.duration",
    "histogram",
    "s",
    "How long RPCs took, by method and code; of streams, how long they lived",
    ("rpc.system.name", "rpc.method", "rpc.response.status_code"),
    SECONDS_SHORT,
)
SESSIONS: Final = Name("layeron_job.sessions", "gauge", "{session}", "Live worker sessions", ("namespace",))
SLOTS: Final = Name(
    "layeron_job.slots",
    "gauge",
    "{slot}",
    "Slots of live workers, used and free; used may exceed what is there while prefetched runs wait",
    ("namespace", "state"),
)
STREAM_PENDING: Final = Name(
    "layeron_job.stream.pending",
    "gauge",
    "{message}",
    "Deliveries in JetStream that no worker has taken",
    ("namespace", "queue", "priority"),
)
STREAM_ACK_PENDING: Final = Name(
    "layeron_job.stream.ack_pending",
    "gauge",
    "{message}",
    "Deliveries that a worker has taken and not acknowledged",
    ("namespace", "queue", "priority"),
)
POOL_CONNECTIONS: Final = Name(
    "layeron_job.database.connections", "gauge", "{connection}", "This server's connections, used and idle", ("state",)
)
POOL_SIZE: Final = Name(
    "layeron_job.database.connections.max", "gauge", "{connection}", "How many connections this server may have"
)
DEPENDENCY_UP: Final = Name(
    "layeron_job.dependency.up",
    "gauge",
    "",
    "1 while this server can use it: database (writable) and stream (NATS is connected)",
    ("dependency",),
)

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Name))

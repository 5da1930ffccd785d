"""The schema on one page. Migrations make it; a test compares the two.

Times are judged by the database's clock alone. Hot tables have no foreign keys and name namespace, queue and task by
small integers. Statuses are text with a CHECK, so that a new one is an ordinary migration. Priority: 1 high, 2 normal,
3 low.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "pk": "%(table_name)s_pkey",
    }
)
Time = DateTime(timezone=True)
_OFTEN_VACUUMED = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"}


def _made_at() -> Column[object]:
    return Column("created_at", Time, nullable=False, server_default=func.now())


namespaces = Table(
    "namespaces",
    metadata,
    Column("namespace_id", Integer, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _made_at(),
)

queues = Table(
    "queues",
    metadata,
    Column("queue_id", Integer, Identity(), primary_key=True),
    Column("namespace_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    _made_at(),
    UniqueConstraint("namespace_id", "name"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("task_id", Integer, Identity(), primary_key=True),
    Column("namespace_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("retry", JSON, nullable=False),
    Column("timeout_ms", BigInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    Column("paused_at", Time),
    Column("pause_reason", Text),
    _made_at(),
    Column("updated_at", Time, nullable=False, server_default=func.now()),
    UniqueConstraint("namespace_id", "name"),
    CheckConstraint("priority in (1, 2, 3)", name="priority_known"),
)

# Whether a run id's time is more than some 2 minutes off its creation, by its first 32 bits: lists of a range of time
# walk along ids.
_ID_SKEWED = """
created_at - timestamptz '1970-01-01 00:00:00+00'
- ('x' || left(run_id::text, 8))::bit(32)::bigint * interval '65.536 s'
not between interval '-1 min' and interval '2 min'
"""

# What was asked for. Never updated.
runs = Table(
    "runs",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("namespace_id", Integer, nullable=False),
    Column("task_id", Integer, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("name", Text),
    Column("payload", JSON, nullable=False),
    Column("payload_encoding", Text),
    Column("retry", JSON, nullable=False),
    Column("timeout_ms", BigInteger, nullable=False),
    Column("start_by", Time),
    Column("idempotency_key", Text),
    Column("key_window", Text),
    Column("labels", JSON),
    Column("trace_context", JSON),
    Column("origin", Text, nullable=False),
    Column("origin_id", Uuid),
    Column("fingerprint", LargeBinary, nullable=False),
    _made_at(),
    Column("id_skewed", Boolean, Computed(_ID_SKEWED, persisted=True), nullable=False),
    CheckConstraint("priority in (1, 2, 3)", name="priority_known"),
    CheckConstraint("key_window in ('ttl', 'while_active', 'forever')", name="key_window_known"),
    CheckConstraint("(idempotency_key is null) = (key_window is null)", name="key_has_window"),
    CheckConstraint("origin in ('enqueue', 'replay', 'schedule', 'parent')", name="origin_known"),
    Index(None, "task_id", "run_id"),
    Index("runs_id_skewed_idx", "task_id", "run_id", postgresql_where=text("id_skewed")),
    Index(None, "task_id", "idempotency_key", "run_id", postgresql_where=text("idempotency_key is not null")),
    Index(None, "origin_id", "run_id", postgresql_where=text("origin_id is not null")),
)

# Runs that are not terminal, with the one attempt that may be open. The terminal transition deletes the row.
# The only changing columns that are indexed are due_at, which a grant leaves alone, and session_id, of open attempts.
open_runs = Table(
    "open_runs",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("task_id", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("counted", Integer, nullable=False, server_default=text("0")),
    Column("interruptions", Integer, nullable=False, server_default=text("0")),
    Column("seq", Integer, nullable=False, server_default=text("0")),
    Column("due_at", Time, nullable=False),
    Column("start_by", Time),
    Column("first_started_at", Time),
    Column("cancel_requested_at", Time),
    Column("timeout_ms", BigInteger, nullable=False),
    Column("releases_key", Boolean, nullable=False),
    Column("session_id", Uuid),
    Column("start_id", BigInteger),
    Column("granted_at", Time),
    Column("begun_at", Time),
    CheckConstraint("status in ('queued', 'scheduled', 'running', 'retrying')", name="status_open"),
    CheckConstraint(
        "(status = 'running') = (session_id is not null) and (status = 'running') = (granted_at is not null)",
        name="attempt_open_iff_running",
    ),
    Index(None, "task_id", "run_id"),
    Index(None, "session_id", postgresql_where=text("session_id is not null")),
    Index(None, "due_at", "run_id"),
    Index(None, "start_by", postgresql_where=text("start_by is not null")),
    postgresql_with={"fillfactor": "70", **_OFTEN_VACUUMED},
)

# Runs that are terminal. Never updated.
ended_runs = Table(
    "ended_runs",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("task_id", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("counted", Integer, nullable=False),
    Column("first_started_at", Time),
    Column("cancel_requested_at", Time),
    Column("ended_at", Time, nullable=False, server_default=func.now()),
    CheckConstraint("status in ('succeeded', 'dead_lettered', 'canceled')", name="status_terminal"),
    Index(None, "task_id", "status", "run_id"),
)

# Attempts that have ended. Inserted once, never updated: the key is what makes a second ending impossible.
attempts = Table(
    "attempts",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("session_id", Uuid, nullable=False),
    Column("worker_build", Text),
    Column("granted_at", Time, nullable=False),
    Column("begun_at", Time),
    Column("ended_at", Time, nullable=False, server_default=func.now()),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_detail", Text),
    Column("result", JSON),
    Column("retry_at", Time),
    Column("progress", JSON),
    Column("log_tail", Text),
    CheckConstraint(
        "status in ('succeeded', 'failed', 'timed_out', 'canceled', 'lost', 'interrupted')", name="status_ended"
    ),
)

attempt_notes = Table(
    "attempt_notes",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("progress", JSON),
    Column("log_tail", Text),
    Column("updated_at", Time, nullable=False, server_default=func.now()),
)

# One row per change of status. The status before is the one of seq - 1. xid orders changes for watchers.
transitions = Table(
    "transitions",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("task_id", Integer, nullable=False),
    Column("to_status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("note", Text),
    Column("actor", Text),
    Column("session_id", Uuid),
    Column("at", Time, primary_key=True, server_default=func.now()),
    Column("xid", BigInteger, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")),
    Index(None, "xid", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
    postgresql_partition_by="range (at)",
)

run_labels = Table(
    "run_labels",
    metadata,
    Column("namespace_id", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("run_id", Uuid, primary_key=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("task_id", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("run_id", Uuid, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("expires_at", Time),
    Index(None, "expires_at", postgresql_where=text("expires_at is not null")),
)

worker_sessions = Table(
    "worker_sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("namespace_id", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_expires_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("end_reason", Text),
    Column("build_id", Text, nullable=False),
    Column("sdk_name", Text, nullable=False),
    Column("sdk_version", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("task_ids", ARRAY(Integer), nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("connected_at", Time, nullable=False, server_default=func.now()),
    CheckConstraint("end_reason in ('goodbye', 'lease_expired')", name="end_reason_known"),
    CheckConstraint("(ended_at is null) = (end_reason is null)", name="ended_with_reason"),
)

cancel_requests = Table(
    "cancel_requests",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("session_id", Uuid, nullable=False),
    Column("requested_at", Time, nullable=False, server_default=func.now()),
    Column("note", Text),
    Column("actor", Text, nullable=False),
    Index(None, "session_id"),
)

# A ring is owed for this run at deliver_at; the sweep looks at it from ring_at on (infinity: held until resumed).
outbox = Table(
    "outbox",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("queue_id", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("task_id", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False, server_default=text("0")),
    Column("deliver_at", Time, nullable=False),
    Column("ring_at", Time, nullable=False),
    Column("held", Text),
    CheckConstraint("held in ('paused', 'no_handler')", name="held_known"),
    Index(None, "queue_id", "priority", "ring_at"),
    Index(None, "task_id", postgresql_where=text("held = 'paused'")),
    postgresql_with=_OFTEN_VACUUMED,
)

# When the reconciler last turned, and when workers were last spared: a long gap means that the database was away, which
# is nobody's fault. And which server may delete consumers, until when.
reconciler_turn = Table(
    "reconciler_turn",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("finished_at", Time, nullable=False, server_default=func.now()),
    Column("spared_at", Time, nullable=False, server_default=func.now()),
    Column("repairer", Uuid),
    Column("repairs_until", Time),
    CheckConstraint("one", name="only_one"),
)

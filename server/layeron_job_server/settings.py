"""Every knob, with its unit in its name and its limit checked. Read from LAYERON_JOB_… variables."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Milliseconds = Annotated[int, Field(gt=0, le=86_400_000)]
Count = Annotated[int, Field(gt=0, le=10_000_000)]


class Settings(BaseSettings):
    """How a server runs. Defaults suit production; tests shorten the times."""

    model_config = SettingsConfigDict(env_prefix="LAYERON_JOB_", frozen=True, extra="forbid")

    database_url: str = Field(
        default="postgresql://localhost/layeron_job",
        description="PostgreSQL, postgresql://user:password@host/db",
        repr=False,
    )
    database_pool_size: Annotated[int, Field(ge=4, le=200)] = 10
    nats_url: str = Field(default="nats://localhost:4222", description="NATS servers, joined with commas", repr=False)
    nats_worker_url: str = Field(
        default="", description="The NATS servers that workers are told of; empty: nats_url", repr=False
    )
    nats_user: str = ""
    nats_password: str = Field(default="", repr=False)
    nats_token: str = Field(default="", repr=False)
    nats_prefix: Annotated[str, Field(pattern=r"^[a-z0-9]{1,32}$")] = "job"
    nats_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    grpc_address: str = Field(default="127.0.0.1:7233", description="host:port to listen on; port 0 takes a free one")
    share_port: bool = Field(default=False, description="Other server processes may listen on the same address")
    http_address: str = Field(
        default="127.0.0.1:7234", description="host:port of /healthz, /readyz and /metrics; empty: none"
    )
    log_level: Annotated[str, Field(pattern=r"^(debug|info|warning|error)$")] = "info"
    log_format: Literal["console", "json"] = "console"
    reflection: bool = Field(default=True, description="Serve gRPC reflection, so that grpcurl needs no files")

    # Payloads and requests.
    payload_bytes_max: Count = 256 * 1024
    result_bytes_max: Count = 256 * 1024
    request_bytes_max: Count = 4 * 1024 * 1024

    # Admission: what may be under way in this process before callers are told RESOURCE_EXHAUSTED. Batches at work never
    # take more than half of the database's connections.
    calls_max: Count = 1_000
    waits_max: Count = 5_000
    filter_watches_max: Count = 200
    worker_streams_max: Count = 2_000
    batches_max: Count = 4
    batches_waiting_max: Count = 16

    # Writers: what may wait before callers are told RESOURCE_EXHAUSTED, and what goes into one transaction.
    batch_items_max: Count = 500
    batch_bytes_max: Count = 4 * 1024 * 1024
    waiting_items_max: Count = 20_000
    waiting_bytes_max: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024

    # History.
    retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30

    # Delivery.
    look_ahead_ms: Milliseconds = 10_000
    ack_wait_ms: Milliseconds = 10_000
    consumer_backlog_max: Count = 100_000
    # Each queue has three consumers, which nats-server keeps in memory and on disk, used or not.
    namespaces_max: Count = 100
    queues_per_namespace_max: Count = 100
    sweep_interval_ms: Milliseconds = 500
    audit_interval_ms: Milliseconds = 5_000
    audit_overdue_ms: Milliseconds = 5_000

    # Worker sessions.
    lease_ms: Milliseconds = 15_000
    heartbeat_interval_ms: Annotated[int, Field(gt=0, le=86_400_000, validate_default=True)] = 3_000
    begin_within_ms: Milliseconds = 2_000
    timeout_grace_ms: Milliseconds = 5_000
    cancel_grace_ms: Annotated[int, Field(gt=0, le=86_400_000, validate_default=True)] = 30_000
    cancel_poll_interval_ms: Milliseconds = 500
    reconcile_interval_ms: Milliseconds = 1_000
    watch_poll_interval_ms: Milliseconds = 250
    drain_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0

    @field_validator("heartbeat_interval_ms")
    @classmethod
    def _lease_outlasts_lost_heartbeats(cls, value: int, info: ValidationInfo) -> int:
        lease_ms = info.data.get("lease_ms", value * 3)
        if value * 3 > lease_ms:
            raise ValueError(f"must be at most a third of lease_ms, which is {lease_ms}")
        return value

    @field_validator("cancel_grace_ms")
    @classmethod
    def _cancel_grace_outlasts_a_lease(cls, value: int, info: ValidationInfo) -> int:
        lease_ms = info.data.get("lease_ms", value)
        if value < lease_ms:
            raise ValueError(f"must be at least lease_ms, which is {lease_ms}")
        return value

    @property
    def look_ahead(self) -> timedelta:
        """Rings due within it are handed to JetStream as message schedules."""
        return timedelta(milliseconds=self.look_ahead_ms)

    @property
    def batches_at_work_max(self) -> int:
        """How many batches are written at once: half of the connections stay for all else, heartbeats above all."""
        return min(self.batches_max, self.database_pool_size // 2)

    @property
    def writer_limits(self) -> dict[str, int]:
        """What bounds each writer."""
        return {
            "batch_items_max": self.batch_items_max,
            "batch_bytes_max": self.batch_bytes_max,
            "waiting_items_max": self.waiting_items_max,
            "waiting_bytes_max": self.waiting_bytes_max,
        }

    @property
    def name_limits(self) -> dict[str, int]:
        """What bounds namespaces and queues."""
        return {
            "namespaces_max": self.namespaces_max,
            "queues_per_namespace_max": self.queues_per_namespace_max,
        }

    @property
    def lease(self) -> timedelta:
        """How long a session lives after its last recorded heartbeat."""
        return timedelta(milliseconds=self.lease_ms)

"""A server process with its HTTP port, a traced worker and a receiver of what they export."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from support import otlp
from support.commands import ROOT, started
from support.otlp import Receiver
from support.processes import ServerProcess, free_port, server_process
from support.traced import METRICS_PORT


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Where server, worker and caller send their spans."""
    async with otlp.receiver() as received:
        yield received


@pytest.fixture
def http_address() -> str:
    """Where the server process serves health and metrics."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def environment(database_url: str, nats_url: str, stream_prefix: str, http_address: str) -> dict[str, str]:
    """What the server process is told; loops turn often."""
    return {
        "LAYERON_JOB_DATABASE_URL": database_url,
        "LAYERON_JOB_NATS_URL": nats_url,
        "LAYERON_JOB_NATS_PREFIX": stream_prefix,
        "LAYERON_JOB_HTTP_ADDRESS": http_address,
        "LAYERON_JOB_LOG_FORMAT": "json",
        "LAYERON_JOB_RECONCILE_INTERVAL_MS": "200",
        "LAYERON_JOB_SWEEP_INTERVAL_MS": "200",
        "LAYERON_JOB_AUDIT_INTERVAL_MS": "500",
        "LAYERON_JOB_AUDIT_OVERDUE_MS": "1000",
    }


@pytest.fixture
async def server(environment: dict[str, str], receiver: Receiver) -> AsyncIterator[ServerProcess]:
    """A traced server process."""
    async with server_process({**environment, **receiver.environment("server")}) as process:
        yield process


@pytest.fixture
def worker_metrics_port() -> int:
    """Where the worker's application shows the worker's metrics."""
    return free_port()


@pytest.fixture
async def worker(
    server: ServerProcess, receiver: Receiver, worker_metrics_port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A traced worker process."""
    environment = {
        **receiver.environment("worker"),
        "PYTHONPATH": str(ROOT / "tests"),
        "LAYERON_JOB_ADDRESS": server.address,
        METRICS_PORT: str(worker_metrics_port),
    }
    async with started(sys.executable, "-m", "support.traced", "worker", environment=environment) as process:
        yield process

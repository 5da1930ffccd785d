"""PostgreSQL and nats-server for measuring: their defaults, so fsync is on, and data that is removed afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from layeron_job_server.embedded import Nats, Postgres, wipe


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two of them are, and their process ids."""

    dsn: str
    nats_url: str
    postgres_pid: int
    nats_pid: int


@asynccontextmanager
async def fresh_servers() -> AsyncIterator[Servers]:
    """Both servers with nothing in them; stopped and removed at the end."""
    with data_folder() as data:
        async with await Postgres.start(data) as postgres, await Nats.start(data) as nats:
            yield Servers(postgres.url, nats.url, postgres.pid, nats.pid)


@contextmanager
def data_folder() -> Iterator[Path]:
    """Where servers may put their data: for root in /var/lib, since /tmp may be memory. Removed at the end."""
    parent = Path("/var/lib") if os.geteuid() == 0 else Path(tempfile.gettempdir())
    data = parent / f"layeron-job-bench-{os.getpid()}"
    try:
        yield data
    finally:
        wipe(data)

"""A core on the test's own database with one registered task, "work", a worker that handles it, and a ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from layeron_job_server.store import database as database_module
from layeron_job_server.store.database import Database
from support.core import Core, Worker, open_core
from support.ledger import Ledger
from support.proxy import Proxy, open_proxy


@pytest.fixture
async def core(database_url: str) -> AsyncIterator[Core]:
    """The core, with task "work" (three attempts, at once)."""
    async with open_core(database_url) as core:
        await core.register()
        yield core


@pytest.fixture
async def worker(core: Core) -> Worker:
    """A connected worker that handles "work"."""
    return await core.worker()


@pytest.fixture
async def proxy(empty_database_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the test's own database."""
    async with open_proxy(empty_database_url) as proxy:
        yield proxy


@pytest.fixture
async def ledger(proxy: Proxy, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    """An empty ledger behind the proxy."""
    monkeypatch.setattr(database_module, "_SETTLE_WAIT_SECONDS", 0.05)
    outside = await asyncpg.connect(empty_database_url)
    await outside.execute("create table numbers (number int primary key check (number < 100))")
    database = Database(proxy.url)
    try:
        yield Ledger(database, outside)
    finally:
        await database.close()
        await outside.close()

"""A core on the test's own database, with one registered task, "work", and a worker that handles it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.core import Core, Worker, open_core


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

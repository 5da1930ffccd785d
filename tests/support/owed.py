"""Looking at the outbox of a core, and sweeping it by hand."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from layeron_job_server.store import outbox
from layeron_job_server.store.outbox import Ring

from .core import Core


async def take_due(core: Core, limit: int = 1_000, *, queue_id: int = 1, priority: int = 2) -> list[Ring]:
    """Sweep the default queue, or another one, as the dispatcher does."""
    return await core.database.write(
        lambda c: outbox.take_due(c, queue_id, priority, limit=limit, push_forward=timedelta(seconds=10))
    )


async def ring_in(core: Core, run_id: UUID) -> float:
    """Seconds until the sweep looks at the run's row."""
    seconds = await core.value("select extract(epoch from ring_at - now()) from outbox where run_id = $1", run_id)
    return float(seconds)


async def all_owed(core: Core) -> set[UUID]:
    """The runs that have a row."""
    return {row[0] for row in await core.fetch("select run_id from outbox")}

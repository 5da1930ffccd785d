"""Deletes what is kept no longer, a little at a time, so that nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from layeron_job_server.operations.system import System
from layeron_job_server.store import pruning

log = logging.getLogger(__name__)

_SLICE: Final = 500
_RESTS: Final = 3  # times as long as it worked
_FIRST: Final = UUID(int=0)


async def prune_once(system: System, *, until: asyncio.Event) -> int:
    """Go through all that is kept no longer, with rests in between, until told to stop; answer how many runs went.

    Safe to repeat and to run on several servers: one of them prunes at a time.
    """
    retention = timedelta(days=system.settings.retention_days)
    total = 0
    after: UUID | None = _FIRST
    while after is not None:
        if until.is_set():
            return total
        began = time.monotonic()
        slice_ = await system.database.write(
            partial(pruning.prune_slice, after=after, retention=retention, limit=_SLICE)
        )
        if slice_ is None:
            return total
        pruned, after = slice_
        total += pruned
        await asyncio.sleep(_RESTS * (time.monotonic() - began))
    while name := await system.database.write(lambda c: pruning.drop_partition(c, retention=retention)):
        log.info("dropped %s", name)
    if total:
        log.info("pruned %d runs that ended more than %d days ago", total, retention.days)
    return total

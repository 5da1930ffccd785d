"""Finds the one of many runs that PostgreSQL refuses, although nothing was found wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from layeron_job_server.store import runs
from layeron_job_server.store.database import DATA_ERRORS, Connection
from layeron_job_server.store.runs import NewRun

from .system import System


class _TakenBack(Exception):
    """Ends a transaction that was only a trial."""


async def unstorable_one(system: System, news: Sequence[NewRun]) -> int | None:
    """Its place among runs that cannot be made together, by halving; None if they can be made in parts.

    Nothing is made. Raises DatabaseAway, Overloaded.
    """
    first, last = 0, len(news)
    while last - first > 1:
        middle = (first + last) // 2
        if await _is_unstorable(system, news[first:middle]):
            last = middle
        elif await _is_unstorable(system, news[middle:last]):
            first = middle
        else:
            return None
    return first


async def _is_unstorable(system: System, news: Sequence[NewRun]) -> bool:
    async def work(connection: Connection) -> None:
        await runs.make(connection, news, look_ahead=system.settings.look_ahead)
        raise _TakenBack

    try:
        await system.database.write(work)
    except _TakenBack:
        return False
    except DATA_ERRORS:
        return True
    raise AssertionError("work never ends well")

"""Housekeeping that no run waits for."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

import asyncpg

from .database import Connection, clock, transaction

log = logging.getLogger(__name__)

_DAYS_AHEAD = 7
_LOCK_TIMEOUT_MS = 500
_PARTITIONS_LOCK = 0x7061727469  # any number: of several servers one makes them at a time

_FORGET_LAPSED_KEYS = """
delete from idempotency_keys where (task_id, key) in (
  select task_id, key from idempotency_keys where expires_at < now() order by expires_at limit $1 for update skip locked
)
"""


async def forget_lapsed_keys(connection: Connection, *, limit: int) -> int:
    """Delete keys whose window is over; answer how many."""
    tag: str = await connection.execute(_FORGET_LAPSED_KEYS, limit)
    return int(tag.rpartition(" ")[2])


_FORGET_ENDED_CANCELS = """
delete from cancel_requests c
where c.requested_at < now() - interval '1 minute' and not exists (select from open_runs o where o.run_id = c.run_id)
"""


async def forget_ended_cancels(connection: Connection) -> None:
    """Delete cancel requests of runs that have ended: a server that dies after an ending leaves them there."""
    await connection.execute(_FORGET_ENDED_CANCELS)


_FORGET_ENDED_NOTES = """
delete from attempt_notes n
where n.updated_at < now() - interval '1 minute' and not exists (select from open_runs o where o.run_id = n.run_id)
"""


async def forget_ended_notes(connection: Connection) -> None:
    """Delete notes of runs that have ended: what is written while another server ends the run stays there."""
    await connection.execute(_FORGET_ENDED_NOTES)


async def make_partitions(connection: Connection) -> int:
    """Make the partitions of transitions for today and the coming days; answer how many were missing.

    A day that already has rows in the default partition stays there. Where transitions are in use for longer than half
    a second, or another server makes partitions, none is made: the next call does it.
    """
    if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", _PARTITIONS_LOCK):
        return 0
    try:
        async with transaction(connection):
            # Whoever comes later waits behind a lock that is waited for.
            await connection.execute(f"set local lock_timeout = {_LOCK_TIMEOUT_MS}")
            return await _make_partitions(connection)
    except (asyncpg.LockNotAvailableError, asyncpg.CheckViolationError) as error:
        # Waited for too long, or what was waited for has put the day's first rows into the default partition.
        log.info("partitions are made later: %s", type(error).__name__)
        return 0


async def _make_partitions(connection: Connection) -> int:
    today = (await clock(connection)).date()
    made = 0
    for day in (today + timedelta(days=ahead) for ahead in range(_DAYS_AHEAD + 1)):
        name = f"transitions_{day:%Y%m%d}"
        if await connection.fetchval("select to_regclass($1)", name) is not None:
            continue
        if await connection.fetchval(
            "select exists (select from transitions_default where at >= $1::date and at < $1::date + 1)", day
        ):
            continue
        # Names and bounds come from a date alone; DDL takes no parameters.
        await connection.execute(
            f"create table if not exists {name} partition of transitions "
            f"for values from ('{day:%Y-%m-%d}') to ('{day + timedelta(days=1):%Y-%m-%d}')"
        )
        made += 1
    return made


_CLAIM_REPAIRS = """
update reconciler_turn set repairer = $1, repairs_until = now() + $2::interval
where repairer = $1 or (repairs_until > now()) is not true
returning true
"""


async def claim_repairs(connection: Connection, server_id: UUID, *, term: timedelta) -> bool:
    """Whether this server is the one that repairs what only one may, from now on for a term."""
    return bool(await connection.fetchval(_CLAIM_REPAIRS, server_id, term))

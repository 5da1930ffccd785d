"""Housekeeping that no run waits for."""

from __future__ import annotations

from datetime import timedelta

from .database import Connection, clock

_DAYS_AHEAD = 7
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


async def make_partitions(connection: Connection) -> int:
    """Make the partitions of transitions for the coming days; answer how many were missing.

    A day that already has rows in the default partition stays there.
    """
    await connection.execute("select pg_advisory_xact_lock($1)", _PARTITIONS_LOCK)
    today = (await clock(connection)).date()
    made = 0
    for day in (today + timedelta(days=ahead) for ahead in range(1, _DAYS_AHEAD + 1)):
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

"""What is kept no longer: ended runs with all that belongs to them, and the day partitions of their transitions.

Ended runs are found along their own ids, which begin with their time of creation: no index is kept up for it.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from layeron_job.ids import lowest_uuid7_at

from .database import Connection, clock, transaction

log = logging.getLogger(__name__)

_LOCK: Final = 0x7072756E65  # any number
_LOCK_TIMEOUT_MS: Final = 500
# A chosen run id may be a day off its creation.
_SLACK: Final = timedelta(days=1)

# Only what ended long ago goes; the walk passes by runs that were made long ago and ended later.
_PRUNE = """
with walk as (
  select run_id, ended_at from ended_runs where run_id > $1 and run_id < $2 order by run_id limit $4
), gone as (
  delete from ended_runs e using walk w
  where e.run_id = w.run_id and w.ended_at < now() - $3::interval returning e.run_id
), run as (
  delete from runs r using gone where r.run_id = gone.run_id returning r.run_id, r.namespace_id, r.labels
), attempt as (
  delete from attempts a using gone where a.run_id = gone.run_id
), change as (
  delete from transitions_default t using gone where t.run_id = gone.run_id
), label as (
  delete from run_labels l using run, json_each_text(run.labels) of
  where l.namespace_id = run.namespace_id and l.key = of.key and l.value = of.value and l.run_id = run.run_id
)
select (select run_id from walk order by run_id desc limit 1) as last, (select count(*) from gone) as pruned
"""


async def prune_slice(
    connection: Connection, after: UUID, *, retention: timedelta, limit: int
) -> tuple[int, UUID | None] | None:
    """Delete what ended longer ago than that among the next `limit` ended runs; how many, and where to go on, if so.
    None while another server is at it.

    Their transitions go with the partitions of their days.
    """
    if not await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK):
        return None
    bound = lowest_uuid7_at(await clock(connection) - retention + _SLACK)
    row = await connection.fetchrow(_PRUNE, after, bound, retention, limit)
    assert row is not None
    return row["pruned"], row["last"]


_PARTITIONS = """
select relname::text from pg_inherits join pg_class on oid = inhrelid
where inhparent = 'transitions'::regclass and relname ~ '^transitions_[0-9]{8}$' order by relname
"""

_STANDING = """
insert into kept select t.* from {partition} t join (
  select run_id from ended_runs where run_id < $1 union all select run_id from open_runs where run_id < $1
) standing using (run_id)
"""


async def drop_partition(connection: Connection, *, retention: timedelta) -> str | None:
    """Drop the oldest day of transitions if it is longer ago than that; its name, or None if nothing was dropped.

    To be called once all runs of that age are pruned: rows of the few that still stand move to the default partition.
    Where transitions are in use for longer than half a second, the next call does it.
    """
    names = await connection.fetch(_PARTITIONS)
    if not names:
        return None
    name: str = names[0]["relname"]
    day = date.fromisoformat(name.removeprefix("transitions_"))
    if day + timedelta(days=1) > (await clock(connection) - retention).date():
        return None
    try:
        async with transaction(connection):
            await _drop(connection, name, datetime.combine(day + timedelta(days=1), time.min, UTC))
    except asyncpg.LockNotAvailableError:
        log.info("%s is dropped later: transitions are in use", name)
        return None
    return name


async def _drop(connection: Connection, name: str, day_after: datetime) -> None:
    # Names come from a date alone; DDL takes no parameters.
    await connection.execute("create temporary table kept (like transitions) on commit drop")
    await connection.execute(_STANDING.format(partition=name), lowest_uuid7_at(day_after + _SLACK))
    await connection.execute(f"set local lock_timeout = {_LOCK_TIMEOUT_MS}")
    await connection.execute(f"alter table transitions detach partition {name}")
    await connection.execute("insert into transitions select * from kept")
    await connection.execute(f"drop table {name}")
    await connection.execute("drop table kept")

"""Emptying a database: dropping and making one costs four times as much, and the tests are many."""

from __future__ import annotations

import asyncpg

from layeron_job_server.store.tables import metadata

# Statistics too: a plan must not depend on the test before.
_WIPE = """
do $$ declare part regclass; begin
  perform pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
  for part in select inhrelid from pg_inherits where inhparent = 'transitions'::regclass loop
    if part <> 'transitions_default'::regclass then execute format('drop table %s', part); end if;
  end loop;
  delete from pg_statistic where starelid in (select oid from pg_class where relnamespace = 'public'::regnamespace);
end $$
"""
# Those that number their rows always, so that every test begins with 1.
_NUMBERED = ("namespaces", "queues", "tasks")


async def wipe_database(url: str) -> None:
    """Leave a migrated database with nothing in it and nobody connected."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_WIPE)
        looks = [f"select '{name}' where exists (select from {name})" for name in metadata.tables]
        full = {row[0] for row in await connection.fetch(" union all ".join(looks))}
        await connection.execute(f"truncate {', '.join(full.union(_NUMBERED))} restart identity")
        await connection.execute("insert into reconciler_turn default values on conflict do nothing")
    finally:
        await connection.close()

"""A table of numbers that is written through a Database, and looked at from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from layeron_job_server.store.database import Connection, Database

from .waiting import eventually


class Ledger:
    """A database with one table of numbers, and a connection of its own to look at it."""

    def __init__(self, database: Database, outside: Connection) -> None:
        self.database = database
        self.outside = outside
        self.runs = 0

    async def write(self, number: int, *, meanwhile: Callable[[Connection], Awaitable[Any]] | None = None) -> str:
        """Write a number, after whatever else is to happen in the transaction; the answer names the number."""

        async def work(connection: Connection) -> str:
            self.runs += 1
            await connection.execute("insert into numbers values ($1)", number)
            if meanwhile is not None:
                await meanwhile(connection)
            return f"wrote {number}"

        return await self.database.write(work)

    async def numbers(self) -> list[int]:
        """What is committed."""
        return [row[0] for row in await self.outside.fetch("select number from numbers order by 1")]

    async def kill_all(self) -> None:
        """End every connection of the database under test."""
        await self.outside.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'layeron-job' and datname = current_database()"
        )

    async def make_commits_wait(self) -> None:
        """From now on a COMMIT waits until `let_commits_go`."""
        await self.outside.execute("""
            create function wait() returns trigger language plpgsql as
              'begin perform pg_advisory_xact_lock_shared(7); return null; end';
            create constraint trigger waits after insert on numbers deferrable initially deferred
              for each row execute function wait();
            select pg_advisory_lock(7);
        """)

    async def let_commits_go(self) -> None:
        """End the wait."""
        await self.outside.execute("select pg_advisory_unlock(7)")

    async def until_a_commit_waits(self) -> None:
        """Until some COMMIT is under way."""
        await eventually(
            lambda: self.outside.fetchval(
                "select count(*) from pg_stat_activity where query like 'COMMIT%' and wait_event = 'advisory' "
                "and datname = current_database()"
            )
        )

"""Connections that die, databases that go away and data that cannot be written: all answered for what they are."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest

from layeron_job_server.domain.errors import DatabaseAway, Overloaded
from layeron_job_server.embedded import Postgres
from layeron_job_server.store import database as database_module
from layeron_job_server.store.database import Connection, Database
from support import eventually
from support.ledger import Ledger
from support.proxy import Proxy


async def test_a_transaction_whose_connection_dies_before_its_commit_is_done_again(
    ledger: Ledger, proxy: Proxy
) -> None:
    async def die_at_first(_: Connection) -> None:
        if ledger.runs == 1:
            await ledger.kill_all()
            await eventually(lambda: proxy.connections == 0)

    assert await ledger.write(1, meanwhile=die_at_first) == "wrote 1"
    assert await ledger.numbers() == [1]
    assert ledger.runs == 2


async def test_a_transaction_whose_connections_all_die_has_written_nothing(
    ledger: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_CONFLICT_TRIES", 3)

    async def die(_: Connection) -> None:
        await ledger.kill_all()
        await eventually(lambda: proxy.connections == 0)

    with pytest.raises(DatabaseAway):
        await ledger.write(1, meanwhile=die)
    assert await ledger.numbers() == []
    assert await ledger.write(2) == "wrote 2"


async def test_connections_that_died_in_the_pool_are_noticed_by_nobody(ledger: Ledger, proxy: Proxy) -> None:
    async def fill_pool_and_kill_it() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(ledger.database.connection())
        await ledger.kill_all()
        await eventually(lambda: proxy.connections == 0)

    await fill_pool_and_kill_it()
    await asyncio.gather(*[ledger.write(number) for number in range(10)])
    await fill_pool_and_kill_it()
    assert await ledger.database.read(lambda c: c.fetchval("select count(*) from numbers")) == 10
    assert await ledger.numbers() == list(range(10))


async def test_a_connection_that_has_heard_of_its_end_but_is_not_closed_yet_is_noticed_by_nobody(
    ledger: Ledger, proxy: Proxy
) -> None:
    await ledger.write(1)
    proxy.silent = True
    await ledger.kill_all()
    await eventually(lambda: proxy.ended == 1)
    proxy.silent = False  # of connections to come
    await ledger.numbers()  # by now its last words have been read
    assert await ledger.write(2) == "wrote 2"


async def test_transactions_that_deadlock_are_tried_again_until_both_are_done(ledger: Ledger) -> None:
    await ledger.outside.execute("insert into numbers values (1), (2)")
    both_hold_one = asyncio.Barrier(2)
    tries = 0

    async def delete(connection: Connection, first: int, second: int) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("set local deadlock_timeout = '20ms'")
        await connection.execute("select from numbers where number = $1 for update", first)
        if tries <= 2:
            await both_hold_one.wait()
        await connection.execute("select from numbers where number = $1 for update", second)
        await connection.execute("insert into numbers values ($1)", 10 * first)

    await asyncio.gather(
        ledger.database.write(lambda c: delete(c, 1, 2)), ledger.database.write(lambda c: delete(c, 2, 1))
    )
    assert tries == 3
    assert await ledger.numbers() == [1, 2, 10, 20]


async def test_a_conflict_that_never_ends_is_told_in_the_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_CONFLICT_TRIES", 3)

    async def conflict(_: Connection) -> None:
        raise asyncpg.SerializationError

    with pytest.raises(asyncpg.SerializationError):
        await ledger.write(1, meanwhile=conflict)
    assert ledger.runs == 3
    assert await ledger.numbers() == []


async def test_data_that_cannot_be_written_is_told_at_once_and_takes_everything_back(ledger: Ledger) -> None:
    async def poison(connection: Connection) -> None:
        await connection.execute("insert into numbers values (100)")

    with pytest.raises(asyncpg.CheckViolationError):
        await ledger.write(1, meanwhile=poison)
    assert ledger.runs == 1
    with pytest.raises(asyncpg.UniqueViolationError):
        await asyncio.gather(ledger.write(2), ledger.write(2))
    assert await ledger.numbers() == [2]


async def test_an_error_of_the_work_itself_takes_everything_back_and_passes_through(ledger: Ledger) -> None:
    async def fail(_: Connection) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await ledger.write(1, meanwhile=fail)
    assert await ledger.numbers() == []
    assert await ledger.outside.fetchval(
        "select count(*) from pg_stat_activity where application_name = 'layeron-job' and state like 'idle in%'"
    ) == 0  # fmt: skip


async def test_a_caller_that_goes_away_leaves_its_transaction_whole(ledger: Ledger) -> None:
    await ledger.make_commits_wait()
    writing = asyncio.create_task(ledger.write(1))
    await ledger.until_a_commit_waits()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    closing = asyncio.create_task(ledger.database.close())
    await ledger.let_commits_go()
    await closing  # it waits for what is under way
    assert await ledger.numbers() == [1]


async def test_when_no_connection_becomes_free_a_caller_is_told_to_come_again(empty_database_url: str) -> None:
    """Promise 9."""
    database = Database(empty_database_url, pool_size=1, pool_timeout_seconds=0.1)
    try:
        async with database.connection():
            for call in (database.read, database.write):
                with pytest.raises(Overloaded) as caught:
                    await call(lambda c: c.fetchval("select 1"))
                assert caught.value.retry_after.total_seconds() > 0
        assert await database.read(lambda c: c.fetchval("select 1")) == 1
    finally:
        await database.close()


async def test_a_statement_that_takes_too_long_is_broken_off(empty_database_url: str) -> None:
    database = Database(empty_database_url, command_timeout_seconds=0.2)
    try:
        for call in (database.read, database.write):
            with pytest.raises(DatabaseAway):
                await call(lambda c: c.fetchval("select pg_sleep(20)"))
        assert await database.read(lambda c: c.fetchval("select 1")) == 1
    finally:
        await database.close()


async def test_a_connection_that_died_without_a_word_is_waited_for_once(proxy: Proxy) -> None:
    """Nothing waits for as long again, be it for a rollback or for its place in the pool."""
    seconds = 3.0
    database = Database(proxy.url, command_timeout_seconds=seconds)
    ready = asyncio.Barrier(3)

    async def die(connection: Connection) -> None:
        await connection.fetchval("select 1")
        await ready.wait()
        proxy.frozen = True
        await connection.fetchval("select 2")

    try:
        async with asyncio.timeout(1.7 * seconds):
            calls = (database.read, database.snapshot, database.write)
            told = await asyncio.gather(*(call(die) for call in calls), return_exceptions=True)
        assert [type(error) for error in told] == [DatabaseAway] * 3
        proxy.frozen = False
        assert await database.write(lambda c: c.fetchval("select 3")) == 3
    finally:
        proxy.frozen = False
        await database.close()


async def test_a_connection_to_what_has_become_a_replica_is_given_up_for_one_to_the_primary(ledger: Ledger) -> None:
    """A fail-over: the old primary still answers, and takes no writes."""
    await ledger.write(1)
    async with ledger.database.connection() as connection:
        demoted = connection.get_server_pid()
        await connection.execute("set default_transaction_read_only = on")
    assert await ledger.write(2) == "wrote 2"
    assert await ledger.numbers() == [1, 2]
    assert await ledger.database.read(lambda c: c.fetchval("select pg_backend_pid()")) != demoted


async def test_while_there_are_only_replicas_the_database_is_away(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_CONFLICT_TRIES", 3)
    name = await ledger.outside.fetchval("select current_database()")
    await ledger.outside.execute(f"alter database {name} set default_transaction_read_only = on")
    with pytest.raises(DatabaseAway):
        await ledger.write(1)
    assert ledger.runs == 3
    await ledger.outside.execute(f"alter database {name} reset default_transaction_read_only")
    assert await ledger.write(2) == "wrote 2"


async def _hear_all() -> None:
    """Let the event loop read whatever has arrived by now: last words, then the end of the connection."""
    for _ in range(4):
        await asyncio.to_thread(int)


async def _is_away(database: Database) -> bool:
    """Whether it is. The processes of a PostgreSQL that was killed may answer for a moment yet."""
    try:
        await database.read(lambda c: c.fetchval("select 1"))
    except DatabaseAway:
        return True
    return False


async def test_a_database_that_is_away_is_said_to_be_and_is_used_again_once_it_is_back(
    postgres_server: Postgres,
) -> None:
    database = Database(postgres_server.url)
    try:
        assert await database.read(lambda c: c.fetchval("select 1")) == 1
        for end in (postgres_server.stop, postgres_server.kill):
            await end()
            await _hear_all()
            await eventually(lambda: _is_away(database))
            for call in (database.read, database.write):
                with pytest.raises(DatabaseAway):
                    await asyncio.wait_for(call(lambda c: c.fetchval("select 1")), 10)
            await postgres_server.restart()
            assert await database.write(lambda c: c.fetchval("select 2")) == 2
            assert await database.read(lambda c: c.fetchval("select 1")) == 1
    finally:
        await database.close()


async def test_a_write_under_way_when_postgres_crashes_is_answered_with_database_away(
    postgres_server: Postgres,
) -> None:
    database = Database(postgres_server.url)
    try:
        await database.write(lambda c: c.execute("create table numbers (number int)"))
        inserted = asyncio.Event()

        async def work(connection: Connection) -> None:
            await connection.execute("insert into numbers values (1)")
            inserted.set()
            await connection.execute("select pg_sleep(20)")

        writing = asyncio.create_task(database.write(work))
        await asyncio.wait_for(inserted.wait(), 5)
        await postgres_server.kill()
        with pytest.raises(DatabaseAway):
            await asyncio.wait_for(writing, 15)
        await postgres_server.restart()
        assert await database.read(lambda c: c.fetchval("select count(*) from numbers")) == 0
    finally:
        await database.close()


@pytest.mark.parametrize("argument", [2**40, "\ud800"], ids=["too large a number", "no UTF-8"])
async def test_an_argument_that_fits_no_statement_is_the_datas_fault_and_not_an_outage(
    ledger: Ledger, argument: object
) -> None:
    kind = "int" if isinstance(argument, int) else "text"
    with pytest.raises(asyncpg.DataError):
        await ledger.database.read(lambda c: c.fetchval(f"select $1::{kind}", argument))
    with pytest.raises(asyncpg.DataError):
        await ledger.database.write(lambda c: c.execute("insert into numbers values ($1)", argument))
    assert await ledger.numbers() == []

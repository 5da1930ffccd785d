"""Database.write tells the truth: what it answers is committed, and what it refuses is not."""

from __future__ import annotations

import asyncio
import os
import signal

import asyncpg
import pytest

from layeron_job_server.domain.errors import DatabaseAway
from layeron_job_server.embedded import Postgres
from layeron_job_server.store import database as database_module
from layeron_job_server.store.database import Connection, Database
from support import eventually
from support.core import Core, open_core
from support.ledger import Ledger
from support.proxy import Cut, Proxy, open_proxy


async def test_what_was_committed_is_answered_as_committed_though_the_answer_to_commit_was_lost(
    ledger: Ledger, proxy: Proxy
) -> None:
    """Promise 1."""
    proxy.cuts = [Cut.AFTER_COMMIT]
    assert await ledger.write(1) == "wrote 1"
    assert await ledger.numbers() == [1]
    assert ledger.runs == 1
    assert proxy.cuts == []


async def test_a_commit_that_never_arrived_is_done_again(ledger: Ledger, proxy: Proxy) -> None:
    proxy.cuts = [Cut.BEFORE_COMMIT, Cut.BEFORE_COMMIT]
    assert await ledger.write(1) == "wrote 1"
    assert await ledger.numbers() == [1]
    assert ledger.runs == 3


async def test_a_commit_that_is_still_under_way_is_waited_for(ledger: Ledger, proxy: Proxy) -> None:
    """Neither yes nor no would be the truth as yet."""
    await ledger.make_commits_wait()
    proxy.cuts = [Cut.IN_COMMIT]
    writing = asyncio.create_task(ledger.write(1))
    await ledger.until_a_commit_waits()
    await eventually(lambda: not proxy.cuts)
    await asyncio.sleep(0.2)  # it must not be answered; there is no event for that
    assert not writing.done()
    await ledger.let_commits_go()
    assert await writing == "wrote 1"
    assert ledger.runs == 1


async def test_a_commit_that_postgres_broke_off_is_done_again(ledger: Ledger) -> None:
    await ledger.make_commits_wait()
    writing = asyncio.create_task(ledger.write(1))
    await ledger.until_a_commit_waits()
    await ledger.kill_all()
    await eventually(lambda: ledger.runs == 2)
    await ledger.until_a_commit_waits()
    assert await ledger.numbers() == []
    assert not writing.done()
    await ledger.let_commits_go()
    assert await writing == "wrote 1"
    assert ledger.runs == 2


async def test_a_commit_whose_fate_cannot_be_learnt_is_answered_with_database_away(
    ledger: Ledger, proxy: Proxy
) -> None:
    """The caller asks again with the same run id or key, and so learns it."""
    await ledger.write(1)
    proxy.refusing = True  # but for the connection that is there
    proxy.cuts = [Cut.AFTER_COMMIT]
    with pytest.raises(DatabaseAway):
        await ledger.write(2)
    assert await ledger.numbers() == [1, 2]
    proxy.refusing = False
    assert await ledger.write(3) == "wrote 3"


@pytest.mark.parametrize("crash", ["of PostgreSQL", "of one of its processes"])
async def test_a_crash_may_give_a_transactions_number_to_another_which_is_not_taken_for_it(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    """Promise 1: a run that is answered is there."""
    monkeypatch.setattr(database_module, "_SETTLE_TRIES", 1_000)
    monkeypatch.setattr(database_module, "_SETTLE_WAIT_SECONDS", 0.02)
    outside = await asyncpg.connect(postgres_server.url)
    await outside.execute("create table numbers (number int)")
    await outside.execute("alter system set wal_writer_delay = '10s'")  # or it might write what is to be lost
    await outside.execute("select pg_reload_conf()")
    xids: list[str] = []

    async def insert(connection: Connection) -> str:
        await connection.execute("insert into numbers values (1)")
        xids.append(await connection.fetchval("select pg_current_xact_id()::text"))
        proxy.refusing = True  # but for this connection
        return "wrote 1"

    async with open_proxy(postgres_server.url) as proxy:
        database = Database(proxy.url)
        await database.read(lambda c: c.fetchval("select 1"))
        await outside.execute("checkpoint")
        proxy.cuts = [Cut.BEFORE_COMMIT]
        writing = asyncio.create_task(database.write(insert))
        await eventually(lambda: not proxy.cuts)
        if crash == "of PostgreSQL":
            await postgres_server.kill()
            await postgres_server.restart()
        else:
            os.kill(outside.get_server_pid(), signal.SIGKILL)
        await eventually(lambda: _answers(postgres_server.url), seconds=20)
        other = await asyncpg.connect(postgres_server.url)
        await eventually(lambda: _has_committed(other, xids[0]))
        proxy.refusing = False
        with pytest.raises(DatabaseAway):
            await writing
        assert await other.fetchval("select count(*) from numbers") == 0
        await other.close()
        await database.close()


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


async def _has_committed(connection: Connection, xid: str) -> bool:
    """Commit something; whether the transaction of this number is among what was committed by now."""
    await connection.execute("select pg_current_xact_id()")
    status: str = await connection.fetchval("select pg_xact_status($1::text::xid8)", xid)
    return status == "committed"


async def test_a_lost_answer_to_a_read_only_commit_loses_nothing(ledger: Ledger, proxy: Proxy) -> None:
    proxy.cuts = [Cut.AFTER_COMMIT]
    assert await ledger.database.write(lambda c: c.fetchval("select 7")) == 7


async def test_an_enqueue_that_was_answered_is_there_after_its_connection_was_cut(
    core: Core, database_url: str
) -> None:
    """Promise 1, with the server's own enqueue through a line that is cut at every second commit."""
    async with open_proxy(database_url) as proxy, open_core(proxy.url) as cut:
        for number in range(12):
            proxy.cuts = [[Cut.AFTER_COMMIT], [Cut.BEFORE_COMMIT], []][number % 3]
            answer = await cut.request(idempotency_key=f"k{number}", key_window="forever")
            assert answer.created
            assert proxy.cuts == []
    assert await core.value("select count(*) from open_runs") == 12
    assert await core.value("select count(*) from outbox") == 12

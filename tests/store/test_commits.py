"""Database.write tells the truth: what it answers is committed, and what it refuses is not."""

from __future__ import annotations

import asyncio

import pytest

from layeron_job_server.domain.errors import DatabaseAway
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

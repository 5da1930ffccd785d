"""Watching a filter: every change once, in one order, and none is passed over because it was committed late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from layeron_job_server.operations import watching
from layeron_job_server.operations.enqueue import EnqueueAsk, resolve
from layeron_job_server.operations.queries import read_run
from layeron_job_server.operations.watching import Watching
from layeron_job_server.store import queries, runs
from layeron_job_server.store.queries import RunFilter
from support import eventually
from support.core import Core, Worker, open_core

Heard: TypeAlias = tuple[UUID, str]


@dataclass(slots=True)
class Watch:
    """A watch that is listened to, with a poller that is turned by hand: what it was told, and its last token."""

    watching: Watching
    told: list[Heard] = field(default_factory=list)
    token: str = ""

    async def listen(self, **watched: Any) -> None:
        """Keep what is told."""
        async for changes, token in self.watching.watch_filter(**watched):
            self.told += [(change.run_id, change.to_status) for change in changes]
            self.token = token

    async def hears(self, *expected: Heard) -> None:
        """It is told exactly this, in this order. Whatever else runs in PostgreSQL may hold it up for a moment."""

        async def enough() -> bool:
            await self._turn()
            return len(self.told) >= len(expected)

        await eventually(enough)
        assert self.told == list(expected)
        self.told.clear()

    async def hears_nothing(self) -> None:
        """The poller has nothing for it now."""
        await self._turn()
        assert self.told == []

    async def _turn(self) -> None:
        await self.watching.poll_once()
        for _ in range(10):  # let the listener take what the poller has handed over
            await asyncio.sleep(0)


@asynccontextmanager
async def open_watch(
    core: Core, wanted: RunFilter | None = None, *, namespace: str = "default", token: str = ""
) -> AsyncIterator[Watch]:
    """Begin a watch, by default of everything in the namespace."""
    watch = Watch(Watching(core.system))
    listening = asyncio.create_task(watch.listen(namespace=namespace, wanted=wanted or RunFilter(), token=token))
    try:
        await eventually(lambda: watch.token)
        yield watch
    finally:
        listening.cancel()
        await asyncio.wait([listening])


@asynccontextmanager
async def open_late_run(core: Core) -> AsyncIterator[tuple[UUID, asyncpg.transaction.Transaction]]:
    """A run that has been made in a transaction that is the caller's to end."""
    task = (await core.system.tasks.by_names("default", ["work"]))["work"]
    new = resolve(EnqueueAsk("default", "work"), task)
    async with core.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await runs.make(connection, [new], look_ahead=core.system.settings.look_ahead)
        yield new.run_id, transaction


def _queued(*run_ids: UUID) -> list[Heard]:
    return [(run_id, "queued") for run_id in run_ids]


async def test_a_change_that_is_committed_late_is_waited_for_and_comes_first(core: Core) -> None:
    async with open_watch(core) as watch:
        early = await core.enqueue()
        await watch.hears(*_queued(early))
        async with open_late_run(core) as (late, transaction):
            later = [await core.enqueue() for _ in range(3)]
            await watch.hears_nothing()  # told of these now, it would be past the late one
            await transaction.commit()
        await watch.hears(*_queued(late, *later))
        await watch.hears_nothing()


async def test_a_change_that_is_taken_back_holds_up_the_others_no_longer_and_is_never_told(core: Core) -> None:
    async with open_watch(core) as watch:
        async with open_late_run(core) as (_, transaction):
            later = await core.enqueue()
            await watch.hears_nothing()
            await transaction.rollback()
        await watch.hears(*_queued(later))


async def test_a_watch_that_begins_while_a_change_is_under_way_is_told_of_it_and_of_nothing_before(core: Core) -> None:
    await core.enqueue()
    async with open_late_run(core) as (late, transaction), open_watch(core) as watch:
        await watch.hears_nothing()
        await transaction.commit()
        await watch.hears(*_queued(late))


async def test_a_token_is_never_past_a_change_that_is_still_under_way(core: Core, database_url: str) -> None:
    """Whoever goes on by it at another server hears of the late one, and of each other one once."""
    async with open_watch(core) as watch:
        before = await core.enqueue()
        await watch.hears(*_queued(before))
        async with open_late_run(core) as (late, transaction):
            later = await core.enqueue()
            await watch.hears_nothing()
            token = watch.token
            await transaction.commit()
    async with open_core(database_url) as other, open_watch(other, token=token) as resumed:
        await resumed.hears(*_queued(late, later))
        await resumed.hears_nothing()


async def test_the_changes_of_one_run_are_told_in_the_order_they_happened(core: Core, worker: Worker) -> None:
    async with open_watch(core) as watch:
        run_id = await core.enqueue()
        await worker.fail(await worker.grant(run_id))
        await worker.succeed(await worker.grant(run_id))
        story = ["queued", "running", "retrying", "running", "succeeded"]
        await watch.hears(*[(run_id, status) for status in story])


async def test_more_changes_than_are_read_at_once_are_all_told_also_of_one_transaction(core: Core) -> None:
    """A slice ends in the middle of a transaction here."""
    async with open_watch(core) as watch:
        made = [run_id for _ in range(3) for run_id in sorted(await core.enqueue_many(700))]
        await watch.hears(*_queued(*made))
        await watch.hears_nothing()


async def test_a_watch_is_told_what_its_filter_matches_and_of_no_other_namespace(core: Core) -> None:
    """Promise 10."""
    await core.register("other", queue="bulk")
    await core.register("work", namespace="theirs")
    labels = {"team": "a", "city": "Köln"}
    wanted = {
        "task": RunFilter(task="other"),
        "queue": RunFilter(queue="bulk"),
        "one label": RunFilter(labels=(("team", "a"),)),
        "two labels": RunFilter(labels=tuple(labels.items())),
        "none": RunFilter(task="work", queue="bulk"),
    }
    for name, by in wanted.items():
        async with open_watch(core, by) as watch, open_watch(core, by, namespace="theirs") as theirs:
            one = await core.enqueue("other")
            two = await core.enqueue(labels=labels)
            three = await core.enqueue(labels={"team": "a"})
            four = await core.enqueue(namespace="theirs", labels=labels)
            expected = {
                "task": [one],
                "queue": [one],
                "one label": [two, three],
                "two labels": [two],
                "none": [],
            }[name]
            await watch.hears(*_queued(*expected))
            await theirs.hears(*_queued(*([four] if "label" in name else [])))


async def test_many_writers_at_once_are_told_once_each_in_the_order_of_their_transactions(
    core: Core, database_url: str
) -> None:
    """While the poller turns all the time."""
    async with open_core(database_url) as other, open_watch(core) as watch:
        enqueueing = asyncio.gather(*[server.enqueue_many(40) for _ in range(10) for server in (core, other)])
        while not enqueueing.done():
            await watch.watching.poll_once()
        made = {run_id for batch in await enqueueing for run_id in batch}

        async def all_told() -> bool:
            await watch.watching.poll_once()
            return len(watch.told) >= len(made)

        await eventually(all_told)
        told = [run_id for run_id, _ in watch.told]
        assert len(told) == len(set(told))
        assert set(told) == made
        xids = dict(await core.fetch("select run_id, xid from transitions"))
        assert all(xids[before] <= xids[after] for before, after in pairwise(told))


async def test_everything_below_the_safe_transaction_is_visible_and_nothing_of_it_follows(core: Core) -> None:
    async with open_late_run(core) as (late, transaction):
        own = await core.value("select pg_current_xact_id()::text::bigint")
        safe = await core.database.read(queries.safe_xid)
        assert safe < own
        await transaction.commit()

    async def past() -> bool:
        return await core.database.read(queries.safe_xid) > own

    await eventually(past)
    place = (safe - 1, UUID(int=(1 << 128) - 1), 0)
    changes = await core.database.read(lambda c: queries.changes_after(c, place, below=own, limit=10))
    assert [change.transition.run_id for change in changes] == [late]
    assert safe <= changes[0].xid < own


async def test_a_watch_of_a_run_that_ends_between_two_reads_ends_with_it(
    core: Core, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)

    async def read_and_let_end(*args: Any, **options: Any) -> Any:
        run = await read_run(*args, **options)
        await worker.succeed(grant)
        return run

    monkeypatch.setattr(watching, "read_run", read_and_let_end)
    async with asyncio.timeout(5):  # a sign of life comes later
        told = [found async for found, _ in Watching(core.system).watch_run("default", run_id, token="")]
    assert [change.to_status for found in told for change in found] == ["queued", "running", "succeeded"]

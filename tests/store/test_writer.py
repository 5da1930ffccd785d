"""Coalescing: concurrent calls share transactions, within bounds, and none pays for another's fault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from layeron_job_server.domain.errors import DatabaseAway, Overloaded, Unstorable
from layeron_job_server.operations.enqueue import EnqueueAsk, Enqueued, resolve
from layeron_job_server.operations.writer import Writer
from support import eventually
from support.core import Core


@dataclass(slots=True)
class Table:
    """Takes batches of words and answers each in capitals. While the gate is closed, a batch stays under way."""

    batches: list[list[str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def write(self, batch: Sequence[str]) -> list[str]:
        """Words with an exclamation mark are refused as the database refuses data."""
        self.batches.append(list(batch))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if any("!" in word for word in batch):
            raise asyncpg.DataError("secret!")
        return [word.upper() for word in batch]


@dataclass(slots=True)
class Desk:
    """A running writer of words. Words conflict when they begin with the same letter; a word weighs its length."""

    table: Table
    writer: Writer[str, str]

    async def submit(self, *words: str) -> list[str | BaseException]:
        """Write these words in one call."""
        return await self.writer.submit(words)

    async def occupied(self) -> asyncio.Task[list[str | BaseException]]:
        """Keep the writer busy with one word, which stays under way until the gate opens."""
        self.table.gate.clear()
        busy = asyncio.create_task(self.submit("zero"))
        await eventually(lambda: self.table.batches and self.table.batches[-1] == ["zero"])
        self.table.batches.clear()
        return busy

    def waiting(self, *words: str) -> list[asyncio.Task[list[str | BaseException]]]:
        """Callers of one word each, who wait behind what is under way."""
        return [asyncio.create_task(self.submit(word)) for word in words]


@asynccontextmanager
async def open_desk(**limits: int) -> AsyncIterator[Desk]:
    """A desk with these limits; the gate is open."""
    table = Table()
    table.gate.set()
    writer: Writer[str, str] = Writer(
        "words",
        table.write,
        conflicts=lambda word: (word[0],),
        size=len,
        **{
            "batch_items_max": 100,
            "batch_bytes_max": 1_000,
            "waiting_items_max": 100,
            "waiting_bytes_max": 1_000,
            **limits,
        },
    )
    running = asyncio.create_task(writer.run())
    try:
        yield Desk(table, writer)
    finally:
        table.gate.set()
        writer.stop()
        await asyncio.wait_for(running, 5)


async def test_an_idle_writer_writes_a_call_at_once() -> None:
    async with open_desk() as desk:
        assert await desk.submit("a") == ["A"]
        assert await desk.writer.submit_one("b") == "B"
        assert await desk.submit() == []
        assert desk.table.batches == [["a"], ["b"]]


async def test_what_comes_while_a_batch_is_written_is_the_next_batch() -> None:
    async with open_desk() as desk:
        busy = await desk.occupied()
        callers = desk.waiting("a", "b", "c", "d")
        await asyncio.sleep(0)
        desk.table.gate.set()
        assert [await caller for caller in callers] == [["A"], ["B"], ["C"], ["D"]]
        assert await busy == ["ZERO"]
        assert desk.table.batches == [["a", "b", "c", "d"]]


async def test_two_items_that_touch_the_same_thing_never_share_a_batch_and_keep_their_order() -> None:
    async with open_desk() as desk:
        assert await desk.submit("a1", "b1", "a2", "c1", "b2", "b3") == ["A1", "B1", "A2", "C1", "B2", "B3"]
        written = [word for batch in desk.table.batches for word in batch]
        assert sorted(written, key=lambda word: word[0]) == ["a1", "a2", "b1", "b2", "b3", "c1"]
        assert all(len({word[0] for word in batch}) == len(batch) for batch in desk.table.batches)
        assert len(desk.table.batches) < 6


async def test_what_conflicts_is_stepped_over_and_goes_first_into_the_next_batch() -> None:
    """One hot key makes nobody else wait."""
    async with open_desk() as desk:
        busy = await desk.occupied()
        callers = [*desk.waiting("a1", "a2", "b1", "a3", "c1"), asyncio.create_task(desk.submit("c2", "d1"))]
        callers += desk.waiting("d2", "e1")
        await asyncio.sleep(0)
        desk.table.gate.set()
        await asyncio.gather(busy, *callers)
        assert desk.table.batches == [["a1", "b1", "c1", "e1"], ["a2", "c2", "d1"], ["a3", "d2"]]


async def test_no_more_are_stepped_over_than_a_batch_holds() -> None:
    """However many wait for one key, a batch is found quickly."""
    async with open_desk(batch_items_max=3) as desk:
        busy = await desk.occupied()
        callers = desk.waiting("a1", "a2", "a3", "a4", "b1")
        await asyncio.sleep(0)
        desk.table.gate.set()
        await asyncio.gather(busy, *callers)
        assert desk.table.batches == [["a1"], ["a2", "b1"], ["a3"], ["a4"]]


async def test_a_batch_has_no_more_items_and_bytes_than_its_limits() -> None:
    async with open_desk(batch_items_max=3, batch_bytes_max=10) as desk:
        await desk.submit("a", "b", "c", "d")
        assert desk.table.batches == [["a", "b"], ["c", "d"]]
        desk.table.batches.clear()
        await desk.submit("a" * 5, "b" * 5, "c" * 6, "d" * 4, "e" * 11, "f")
        assert [[word[0] for word in batch] for batch in desk.table.batches] == [["a", "b"], ["c", "d"], ["e"], ["f"]]


@pytest.mark.parametrize("limits", [{"waiting_items_max": 3}, {"waiting_bytes_max": 3}], ids=["items", "bytes"])
async def test_a_full_writer_says_so_at_once_and_takes_nothing(limits: dict[str, int]) -> None:
    """Promise 9."""
    async with open_desk(**limits) as desk:
        await desk.occupied()
        callers = desk.waiting("a", "b")
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await asyncio.wait_for(desk.submit("c", "d"), 1)
        assert caught.value.retry_after.total_seconds() > 0
        callers += desk.waiting("e")  # there is room for one
        await asyncio.sleep(0)
        desk.table.gate.set()
        assert [await caller for caller in callers] == [["A"], ["B"], ["E"]]
        assert desk.table.batches == [["a", "b", "e"]]
        assert await desk.submit("c", "d") == ["C", "D"]


async def test_a_call_that_is_larger_than_all_that_may_wait_is_taken_when_nothing_waits() -> None:
    async with open_desk(waiting_items_max=2) as desk:
        assert await desk.submit("a", "b", "c") == ["A", "B", "C"]


async def test_a_caller_that_goes_away_cancels_nothing_that_others_share() -> None:
    async with open_desk() as desk:
        under_way = await desk.occupied()
        leaving, staying = desk.waiting("a", "b")
        await asyncio.sleep(0)
        for caller in (under_way, leaving):
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        desk.table.gate.set()
        assert await staying == ["B"]
        assert desk.table.batches == [["a", "b"]]


async def test_a_bad_item_is_refused_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with open_desk() as desk:
        await desk.occupied()
        callers = desk.waiting(*"abcdefghij", "k!", *"lmnopqrstu", "v!", "w")
        await asyncio.sleep(0)
        desk.table.gate.set()
        with caplog.at_level(logging.ERROR):
            answers = [(await caller)[0] for caller in callers]
    bad = [index for index, answer in enumerate(answers) if isinstance(answer, Unstorable)]
    assert bad == [10, 21]
    assert [answer for answer in answers if isinstance(answer, str)] == list("ABCDEFGHIJLMNOPQRSTUW")
    assert len(desk.table.batches) <= 1 + 2 * 2 * 5  # halving, twice
    assert "DataError" in caplog.text
    assert "secret" not in caplog.text


async def test_submit_one_raises_the_error_of_a_bad_item() -> None:
    async with open_desk() as desk:
        with pytest.raises(Unstorable):
            await desk.writer.submit_one("a!")


@pytest.mark.parametrize("error", [DatabaseAway(), RuntimeError("a bug")])
async def test_an_error_that_is_not_the_datas_fails_the_batch_whole_and_not_the_next(error: Exception) -> None:
    async with open_desk() as desk:
        desk.table.error = error
        assert await desk.submit("a", "b") == [error, error]
        assert len(desk.table.batches) == 1
        desk.table.error = None
        assert await desk.submit("a", "b") == ["A", "B"]


async def test_a_writer_that_is_stopped_first_writes_what_waits() -> None:
    async with open_desk(batch_items_max=2) as desk:
        await desk.occupied()
        callers = desk.waiting("a", "b", "c", "d", "e")
        await asyncio.sleep(0)
        desk.writer.stop()
        desk.table.gate.set()
        assert [await caller for caller in callers] == [["A"], ["B"], ["C"], ["D"], ["E"]]


async def test_a_run_that_the_database_refuses_fails_none_that_is_enqueued_beside_it(core: Core) -> None:
    """With a real refusal: a name that no text column can hold."""
    names = [f"run {number}" for number in range(60)]
    names[7] = names[41] = "a\0b"
    answers = await asyncio.gather(*[core.request(name=name) for name in names], return_exceptions=True)
    assert [names[index] for index, answer in enumerate(answers) if isinstance(answer, Unstorable)] == ["a\0b"] * 2
    made = [answer.run_id for answer in answers if isinstance(answer, Enqueued)]
    assert await core.fetch("select count(*) from open_runs") == [(58,)]
    assert {ring.run_id for ring in core.rung} == set(made)


async def test_callers_at_once_share_a_transaction(core: Core) -> None:
    task = (await core.system.tasks.by_names("default", ["work"]))["work"]
    news = [resolve(EnqueueAsk("default", "work"), task) for _ in range(300)]
    await asyncio.gather(*[core.writer.submit_one(new) for new in news])
    assert await core.value("select count(*) from runs") == 300
    assert await core.value("select count(distinct xmin::text) from runs") == 1


async def test_a_caller_that_goes_away_in_the_middle_has_its_run_made_whole(core: Core) -> None:
    """Promise 1: whether it was told or not."""
    async with core.database.connection() as connection, connection.transaction():
        await connection.execute("lock table outbox in share mode")
        asking = asyncio.create_task(core.request())
        await core.until_blocked()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await eventually(lambda: core.rung)
    assert await core.fetch("select run_id from open_runs") == [(core.rung[0].run_id,)]

"""Cutting items into chunks, and the bar that shows how far they are."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from layeron_job import Item
from layeron_job.batches import AnyItem, Chunk, Items, chunks
from layeron_job.ids import decode
from layeron_job.progress import ProgressBar, shown

CHUNK_BYTES_MAX = 3_500 * 1024


async def cut(items: Items, batch_size: int = 500) -> list[Chunk]:
    return [chunk async for chunk in chunks(items, "default", batch_size)]


async def slowly(items: Iterable[AnyItem]) -> AsyncIterator[AnyItem]:
    for item in items:
        yield item


async def test_items_are_cut_by_number_and_keep_their_order() -> None:
    for items in ([("t", n) for n in range(7)], slowly(("t", n) for n in range(7))):
        made = await cut(items, 3)
        assert [chunk.first for chunk in made] == [0, 3, 6]
        assert [[item.payload_json for item in chunk.request.items] for chunk in made] == [
            [b"0", b"1", b"2"],
            [b"3", b"4", b"5"],
            [b"6"],
        ]
    assert await cut([]) == []


async def test_items_are_cut_by_size_and_only_one_that_is_alone_may_be_larger() -> None:
    large, huge = "x" * 200_000, "x" * 4_000_000
    made = await cut([("t", large)] * 40 + [("t", huge)] + [("t", large)])
    assert [len(chunk.request.items) for chunk in made] == [17, 17, 6, 1, 1]
    assert all(chunk.request.ByteSize() <= CHUNK_BYTES_MAX for chunk in made if len(chunk.request.items) > 1)


async def test_the_size_of_a_chunk_is_never_taken_for_less_than_it_is() -> None:
    items = [Item("t", "ü" * n, labels={"key": "value"}, name="n" * n) for n in range(0, 20_000, 40)]
    for chunk in await cut(items):
        assert chunk.request.ByteSize() - chunk.request.items[0].ByteSize() <= chunk.bytes <= CHUNK_BYTES_MAX


async def test_items_are_read_no_further_than_one_past_the_chunk() -> None:
    read: list[int] = []

    def items() -> Iterable[AnyItem]:
        for number in range(100):
            read.append(number)
            yield "t", number

    source = chunks(items(), "default", 10)
    await anext(source)
    assert len(read) == 11
    await source.aclose()


async def test_every_item_has_a_run_id_of_its_own_or_the_callers() -> None:
    (chunk,) = await cut([Item("t", 1), Item("t", 2, run_id="mine"), ("t", 3)])
    sent = [item.run_id for item in chunk.request.items]
    assert sent[1] == "mine"
    assert chunk.chosen_ids == [sent[0], "", sent[2]]
    assert decode("run", sent[0]) != decode("run", sent[2])


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("ab", r"must be an Item or \(task, payload\), not str"),
        (("t",), "not enough values"),
        (("t", 1, 2), "too many values"),
        (("t", {1}), "payload is not JSON"),
        (Item("t", run_id=""), "run_id must not be empty"),
        (Item("t", "\ud800"), "payload is not JSON"),
        ((5, None), "task is of a wrong type"),
        (Item("\ud800"), "task .* has text that is not UTF-8"),
        (Item("t", labels={"a": 1}), "labels is of a wrong type"),  # type: ignore[dict-item] # that is what is refused
    ],
)
async def test_an_item_that_cannot_be_sent_is_named_by_its_place(item: Any, problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^items\[2\]: .*{problem}"):
        await cut([("t", 0), ("t", 1), item])


def test_the_bar_is_redrawn_at_most_ten_times_a_second_and_ends_with_the_last_number() -> None:
    screen, now = io.StringIO(), 100.0
    bar = ProgressBar(screen, clock=lambda: now)
    for number in range(1, 101):
        now += 0.01
        bar(10 * number, 1_000)
    bar.close()
    drawn = screen.getvalue().split("\r")[1:]
    assert 9 <= len(drawn) <= 11
    assert drawn[-1] == f"[{'=' * 24}] 1,000 of 1,000 runs, 1,000/s\x1b[K\n"


def test_the_bar_counts_when_it_does_not_know_how_many_there_are() -> None:
    screen, now = io.StringIO(), 0.0
    bar = ProgressBar(screen, clock=lambda: now)
    now = 2.0
    bar(5_000, None)
    assert screen.getvalue() == "\r5,000 runs, 2,500/s\x1b[K"


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(True) as told:
        assert told is None
    for nothing in (None, False):
        with shown(nothing) as told:
            assert told is None
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_leaves_its_line_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)

    def fail() -> None:
        with shown(True) as told:
            assert told is not None
            told(1, 2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert screen.getvalue().endswith("1 of 2 runs, " + screen.getvalue().rpartition(" ")[2])
    assert screen.getvalue().endswith("/s\x1b[K\n")

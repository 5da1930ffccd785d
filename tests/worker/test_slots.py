"""Slots: never more handlers at once than allowed, and what cannot begin in time goes back instead of waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from layeron_job_worker import slots as slots_module
from layeron_job_worker.executor import Attempt
from layeron_job_worker.slots import Slots
from support import eventually
from support.attempts import Desk


async def waits(payload: Any) -> None:
    """A handler that goes on until it is told to stop."""
    await asyncio.Event().wait()


class Clock:
    """Stands in for the module's `time`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(slots_module, "time", clock)
    return clock


def admitted(desk: Desk, slots: Slots, number: int) -> list[Attempt]:
    attempts = [desk.attempt(waits) for _ in range(number)]
    for attempt in attempts:
        slots.admit(attempt)
    return attempts


def kinds(attempts: list[Attempt]) -> list[str | None]:
    return [None if attempt.outcome is None else attempt.outcome.kind for attempt in attempts]


async def stop(attempt: Attempt) -> None:
    attempt.abandon()
    await eventually(lambda: attempt.ended, every=0.002)


async def test_no_more_handlers_run_at_once_than_there_are_slots_and_the_next_begin_in_order(desk: Desk) -> None:
    slots = Slots(2, 3)
    attempts = admitted(desk, slots, 5)
    assert [bool(attempt.began) for attempt in attempts] == [True, True, False, False, False]
    assert (len(slots.running), slots.waiting) == (2, 3)
    await stop(attempts[1])
    slots.release(attempts[1])
    assert [bool(attempt.began) for attempt in attempts] == [True, True, True, False, False]
    assert slots.running == {attempts[0], attempts[2]}


async def test_what_was_canceled_or_abandoned_while_it_waited_never_begins(desk: Desk) -> None:
    slots = Slots(1, 3)
    attempts = admitted(desk, slots, 4)
    attempts[1].cancel()
    attempts[2].abandon()
    await stop(attempts[0])
    slots.release(attempts[0])
    assert [bool(attempt.began) for attempt in attempts[1:]] == [False, False, True]
    assert slots.running == {attempts[3]}


async def test_a_free_slot_is_told_of(desk: Desk) -> None:
    slots = Slots(1, 0)
    told: list[int] = []
    slots.on_free = lambda: told.append(slots.credits())
    [attempt] = admitted(desk, slots, 1)
    assert slots.credits() == 0
    await stop(attempt)
    slots.release(attempt)
    assert told == [1]


async def test_a_grant_that_waited_too_long_is_handed_back_and_a_younger_one_keeps_its_own_time(
    desk: Desk, clock: Clock
) -> None:
    slots = Slots(1, 2)
    slots.begin_within_seconds = 0.03
    told: list[int] = []
    slots.on_free = lambda: told.append(slots.waiting)
    running, old = admitted(desk, slots, 2)
    clock.now += 0.02
    [young] = admitted(desk, slots, 1)
    clock.now += 0.01
    await eventually(lambda: old.outcome, every=0.002)
    assert kinds([running, old, young]) == [None, "interrupted", None]
    assert old.outcome is not None
    assert old.outcome.error_type == "NotBegun"
    assert told[0] == 1
    clock.now += 0.02
    await eventually(lambda: young.outcome, every=0.002)
    assert (kinds([running, young]), slots.waiting) == ([None, "interrupted"], 0)


async def test_what_was_canceled_while_it_waited_is_not_handed_back_as_well(desk: Desk) -> None:
    slots = Slots(1, 2)
    _, canceled, abandoned, waiting = admitted(desk, slots, 4)
    canceled.cancel()
    abandoned.abandon()
    slots.hand_back_waiting("Shutdown", "the worker shut down")
    assert kinds([canceled, abandoned, waiting]) == ["canceled", None, "interrupted"]
    assert desk.of(canceled) == ["reported"]
    assert slots.waiting == 0


async def test_a_worker_whose_handlers_are_long_asks_for_no_more_than_it_can_begin(desk: Desk, clock: Clock) -> None:
    slots = Slots(3, 100)
    assert slots.credits() == 3
    admitted(desk, slots, 2)
    assert slots.credits() == 1


async def test_prefetch_follows_the_pace_and_is_forgotten_with_it(desk: Desk, clock: Clock) -> None:
    slots = Slots(2, 5)

    def pass_through(number: int) -> None:
        for _ in range(number):
            attempt = desk.attempt(waits)
            slots.running.add(attempt)
            slots.release(attempt)

    pass_through(3)
    assert slots.credits() == 2 + 3
    pass_through(30)
    assert slots.credits() == 2 + 5
    clock.now += 0.3
    pass_through(1)
    assert slots.credits() == 2 + 5, "the pace of a moment ago still counts"
    clock.now += 0.3
    assert slots.credits() == 2 + 1
    pass_through(4)
    clock.now += 10
    assert slots.credits() == 2, "a pace of long ago counts for nothing"


async def test_waiting_grants_are_taken_off_the_credits(desk: Desk, clock: Clock) -> None:
    slots = Slots(1, 1)
    admitted(desk, slots, 3)
    assert slots.credits() == -2

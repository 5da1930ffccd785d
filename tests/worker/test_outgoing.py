"""What waits for the server: each kind in order, in messages of at most 1 MiB, nothing twice, notes once a second."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker import outgoing as outgoing_module
from layeron_job_worker.executor import Attempt
from layeron_job_worker.outcome import Outcome
from layeron_job_worker.outgoing import Outgoing
from support import eventually
from support.attempts import Desk

MIB = 1024 * 1024


class Clock:
    """Stands in for the module's `time`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outgoing_module, "time", clock)
    return clock


@pytest.fixture
async def out() -> Outgoing:
    return Outgoing()


def sent(out: Outgoing) -> list[pb.WorkRequest]:
    return list(iter(out.take, None))


def ended(desk: Desk, outcome: Outcome | None = None, **grant: Any) -> Attempt:
    attempt = desk.attempt(**grant)
    attempt.outcome = outcome or Outcome("succeeded", b"1")
    return attempt


def running(desk: Desk) -> Attempt:
    attempt = desk.attempt()
    attempt.began = 1.0
    return attempt


async def noted(out: Outgoing) -> list[pb.AttemptNote]:
    """The notes of the next messages, once it is time for them."""
    await asyncio.wait_for(out.wait(), 5)
    return [note for request in sent(out) for note in request.notes]


async def test_nothing_is_sent_when_nothing_waits(out: Outgoing) -> None:
    assert sent(out) == []


async def test_starts_leave_in_order_and_once(out: Outgoing) -> None:
    for number in range(1, 4):
        out.start(number, f"run_{number}")
    [request] = sent(out)
    assert [(start.start_id, start.run_id) for start in request.starts] == [(n, f"run_{n}") for n in range(1, 4)]
    assert sent(out) == []


async def test_everything_that_waits_travels_together(out: Outgoing, desk: Desk) -> None:
    out.start(1, "run_1")
    out.finish(ended(desk))
    out.heartbeat(5.0, [running(desk)])
    [request] = sent(out)
    assert (len(request.starts), len(request.finishes), len(request.begun)) == (1, 1, 1)
    assert request.heartbeat.number == 1


async def test_waiting_ends_with_each_addition_and_not_without_one(out: Outgoing, desk: Desk) -> None:
    for add in (lambda: out.start(1, "run_1"), lambda: out.finish(ended(desk)), out.goodbye, out.wake):
        waiter = asyncio.create_task(out.wait())
        await asyncio.sleep(0)
        assert not waiter.done()
        add()
        await asyncio.wait_for(waiter, 5)


async def test_a_message_is_at_most_1_mib_and_nothing_is_lost(out: Outgoing, desk: Desk) -> None:
    number = 25
    for _ in range(number):
        out.finish(ended(desk, Outcome("succeeded", b'"' + b"x" * 100_000 + b'"')))
    for start in range(40_000):
        out.start(start, "run_01jd0000000000000000000000")
    requests = sent(out)
    assert all(request.ByteSize() <= MIB for request in requests)
    assert sum(len(request.finishes) for request in requests) == number
    assert sum(len(request.starts) for request in requests) == 40_000


async def test_a_finish_is_never_counted_as_less_than_it_is(out: Outgoing, desk: Desk) -> None:
    wide = "😀"
    for outcome in (
        Outcome("succeeded", b"x" * 100_000),
        Outcome("failed", b"", wide * 255, wide * 2_048, wide * 8_192, True, 2_592_000_000),
    ):
        out.finish(ended(desk, outcome))
        [request] = sent(out)
        assert request.ByteSize() <= outcome.size


async def test_a_finish_that_is_too_large_for_a_message_with_others_has_one_for_itself(
    out: Outgoing, desk: Desk
) -> None:
    small, large = Outcome("succeeded", b"1"), Outcome("succeeded", b"x" * (2 * MIB))
    for outcome in (small, large, small):
        out.finish(ended(desk, outcome))
    assert [len(request.finishes) for request in sent(out)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("failed", "failure"),
        ("timed_out", "timed_out"),
        ("canceled", "canceled"),
        ("interrupted", "interrupted"),
    ],
)
async def test_a_finish_says_all_of_how_an_attempt_ended(out: Outgoing, desk: Desk, kind: Any, field: str) -> None:
    attempt = ended(desk, Outcome(kind, b"", "E", "message", "detail", True, 0), run_id="run_1", attempt=4)
    out.finish(attempt)
    [finish] = sent(out)[0].finishes
    assert (finish.start_id, finish.run_id, finish.attempt) == (attempt.start_id, "run_1", 4)
    assert finish.WhichOneof("outcome") == field
    failure = getattr(finish, field)
    assert (failure.error_type, failure.error_message, failure.error_detail) == ("E", "message", "detail")
    assert failure.do_not_retry
    assert failure.HasField("retry_after_ms")


async def test_no_wish_for_a_delay_is_told_from_one_of_zero(out: Outgoing, desk: Desk) -> None:
    out.finish(ended(desk, Outcome("failed", error_type="E")))
    [finish] = sent(out)[0].finishes
    assert not finish.failure.HasField("retry_after_ms")


async def test_a_null_result_is_still_a_success(out: Outgoing, desk: Desk) -> None:
    out.finish(ended(desk, Outcome("succeeded", b"")))
    [finish] = sent(out)[0].finishes
    assert finish.WhichOneof("outcome") == "result_json"


async def test_a_finish_carries_the_log_tail_and_how_long_the_handler_ran(out: Outgoing, desk: Desk) -> None:
    attempt = ended(desk)
    attempt.began, attempt.finished = 10.0, 11.5
    attempt.context.log.info("a line")
    out.finish(attempt)
    [finish] = sent(out)[0].finishes
    assert finish.log_tail.endswith("INFO a line")
    assert finish.ran_ms == 1_500


async def test_an_abandoned_attempt_is_not_reported(out: Outgoing, desk: Desk) -> None:
    attempt = ended(desk)
    out.finish(attempt)
    attempt.abandoned = True
    assert sent(out) == []


async def test_what_has_ended_is_not_said_to_have_begun(out: Outgoing, desk: Desk) -> None:
    still, over = running(desk), running(desk)
    out.heartbeat(1.0, [still, over])
    over.outcome = Outcome("succeeded")
    [request] = sent(out)
    assert [begun.run_id for begun in request.begun] == [still.context.run_id]
    assert (still.begun_sent, over.begun_sent) == (True, False)


async def test_the_answer_to_a_heartbeat_says_when_it_was_sent_and_older_ones_are_forgotten(
    out: Outgoing, clock: Clock
) -> None:
    for moment in (100.0, 200.0, 300.0):
        clock.now = moment
        out.heartbeat(moment - 1, [])
        assert sent(out)[0].heartbeat.number == moment / 100
    assert out.heartbeat_sent_at(2) == 200.0
    assert out.heartbeat_sent_at(1) is None
    assert out.heartbeat_sent_at(2) is None
    assert out.heartbeat_sent_at(3) == 300.0


async def test_a_heartbeat_is_due_an_interval_after_the_last(out: Outgoing) -> None:
    out.heartbeat(100.0, [])
    assert not out.heartbeat_due(104.9, 5.0)
    assert out.heartbeat_due(105.0, 5.0)


async def test_goodbye_is_the_last_message(out: Outgoing, desk: Desk) -> None:
    out.goodbye()
    out.start(1, "run_1")
    out.finish(ended(desk))
    requests = sent(out)
    assert [request.HasField("goodbye") for request in requests] == [False, True]
    assert sent(out) == []


async def test_after_a_reconnect_exactly_what_has_no_answer_is_sent(out: Outgoing, desk: Desk, clock: Clock) -> None:
    old, unanswered = ended(desk), ended(desk)
    out.start(1, "run_old")
    out.finish(old)
    out.heartbeat(1.0, [])
    sent(out)
    out.start(2, "run_lost")
    out.heartbeat(1.0, [running(desk)])
    out.restart(starts=[(7, "run_7")], finishes=[unanswered])
    [request] = sent(out)
    assert [start.start_id for start in request.starts] == [7]
    assert [finish.start_id for finish in request.finishes] == [unanswered.start_id]
    assert not request.HasField("heartbeat")
    assert not request.begun
    assert out.heartbeat_sent_at(1) is None, "its answer would come on the old stream"


async def test_the_first_note_leaves_at_once_and_the_next_a_second_later(
    out: Outgoing, desk: Desk, clock: Clock
) -> None:
    attempt = running(desk)
    attempt.context.progress(1)
    out.note(attempt)
    [note] = await noted(out)
    assert (note.run_id, note.attempt, note.progress_json) == (attempt.context.run_id, 1, b"1")
    attempt.context.progress(2)
    attempt.context.progress(3)
    attempt.context.log.info("a line")
    clock.now += 0.9
    out.note(attempt)
    assert await noted(out) == []
    clock.now += 0.1
    [note] = await noted(out)
    assert note.progress_json == b"3"
    assert note.log_tail.endswith("INFO a line")


async def test_progress_that_has_not_changed_is_not_sent_again(out: Outgoing, desk: Desk, clock: Clock) -> None:
    attempt = running(desk)
    attempt.context.progress(1)
    out.note(attempt)
    await noted(out)
    clock.now += 1
    attempt.context.log.info("a line")
    out.note(attempt)
    [note] = await noted(out)
    assert (note.progress_json, note.log_tail[-6:]) == (b"", "a line")


async def test_notes_of_what_has_ended_are_dropped(out: Outgoing, desk: Desk, clock: Clock) -> None:
    over, abandoned, still = running(desk), running(desk), running(desk)
    for attempt in (over, abandoned, still):
        out.note(attempt)
    over.outcome = Outcome("succeeded")
    abandoned.abandoned = True
    assert [note.run_id for note in await noted(out)] == [still.context.run_id]
    assert out._notes == {}


async def test_many_long_notes_are_split_and_none_is_lost(out: Outgoing, desk: Desk, clock: Clock) -> None:
    attempts = [running(desk) for _ in range(60)]
    for attempt in attempts:
        attempt.context.log.logger.disabled = True
        attempt.context.log.info("x" * 30_000)
        out.note(attempt)
    attempts[0].context.log.logger.disabled = False
    await asyncio.wait_for(out.wait(), 5)
    requests = sent(out)
    assert all(request.ByteSize() <= MIB for request in requests)
    assert {note.run_id for request in requests for note in request.notes} == {a.context.run_id for a in attempts}


async def test_a_quiet_worker_looks_at_no_notes(out: Outgoing, desk: Desk, clock: Clock) -> None:
    attempt = running(desk)
    out.note(attempt)
    await noted(out)
    await eventually(lambda: out._note_timer is None, every=0.01)

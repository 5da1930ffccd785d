"""Reading a run: what each status shows, its attempts and its transitions, and never to another namespace."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from layeron_job_server.domain.errors import RunNotFound
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import Interrupted
from layeron_job_server.operations.queries import get_run, read_run
from layeron_job_server.store import queries
from layeron_job_server.store.open_attempts import Note
from layeron_job_server.store.queries import RunInfo
from support.core import Core, Worker

HOUR = timedelta(hours=1)


async def _read(core: Core, run_id: UUID) -> RunInfo:
    return await read_run(core.system, "default", run_id)


def _times(run: RunInfo) -> dict[str, bool]:
    """Which of its times are set."""
    names = ("due_at", "started_at", "finished_at", "cancel_requested_at")
    return {name: getattr(run, name) is not None for name in names}


async def test_a_waiting_run_has_a_due_time_and_a_running_or_ended_one_has_not(core: Core, worker: Worker) -> None:
    queued, scheduled = await core.enqueue(), await core.enqueue(delay=HOUR)
    running, retrying, ended = [await worker.grant(await core.enqueue()) for _ in range(3)]
    await worker.fail(retrying)
    await worker.succeed(ended)
    told = {run_id: await _read(core, run_id) for run_id in (queued, scheduled)}
    told |= {grant.run_id: await _read(core, grant.run_id) for grant in (running, retrying, ended)}
    assert {run.status for run in told.values()} == {"queued", "scheduled", "running", "retrying", "succeeded"}
    for run in told.values():
        assert _times(run) == {
            "due_at": run.status in ("queued", "scheduled", "retrying"),
            "started_at": run.status in ("running", "retrying", "succeeded"),
            "finished_at": run.status == "succeeded",
            "cancel_requested_at": False,
        }
        assert run.held is None
    assert told[scheduled].due_at == told[scheduled].created_at + HOUR


async def test_the_first_start_stays_the_start_over_all_attempts(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await worker.fail(await worker.grant(run_id))
    started_at = (await _read(core, run_id)).started_at
    grant = await worker.grant(run_id)
    assert (await _read(core, run_id)).started_at == started_at
    await worker.succeed(grant)
    ended = await _read(core, run_id)
    assert (ended.started_at, ended.attempt, ended.counted) == (started_at, 2, 1)


async def test_a_cancel_request_is_seen_while_the_run_runs_and_after_its_end(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    await core.cancel(grant.run_id)
    running = await _read(core, grant.run_id)
    assert (running.status, running.cancel_requested_at is not None) == ("running", True)
    await worker.fail(grant)
    ended = await _read(core, grant.run_id)
    assert (ended.status, ended.cancel_requested_at) == ("canceled", running.cancel_requested_at)


async def test_only_a_success_has_a_result_and_only_in_the_full_view(core: Core, worker: Worker) -> None:
    ids = []
    for number in range(2):
        grant = await worker.grant(await core.enqueue(payload=b"7", trace_context={"a": "b"}))
        ids.append(grant.run_id)
        await (worker.succeed(grant, b"[1]") if number else worker.fail(grant, retryable=False))
    full = [await _read(core, run_id) for run_id in ids]
    basic = [await read_run(core.system, "default", run_id, full=False) for run_id in ids]
    assert [run.result for run in full] == [None, b"[1]"]
    assert {(run.payload, run.trace_context) for run in full} == {(b"7", b'{"a":"b"}')}
    assert {(run.payload, run.result, run.trace_context) for run in basic} == {(None, None, None)}


@pytest.mark.parametrize(("why", "held"), [("paused", "paused"), ("no handler", "no_handler"), ("not due", None)])
async def test_a_run_that_may_not_start_says_why(core: Core, worker: Worker, why: str, held: str | None) -> None:
    await core.register("other")
    run_id = await core.enqueue(delay=HOUR if why == "not due" else timedelta(0))
    if why != "no handler":
        await core.pause()
    else:
        await (await core.worker("other")).start(run_id)
    assert (await _read(core, run_id)).held == held
    if why != "not due":
        await core.resume()
        assert (await _read(core, run_id)).held == (None if why == "paused" else held)


async def test_a_run_is_unknown_to_every_namespace_but_its_own(core: Core) -> None:
    """Promise 10: in the same words as one that never was."""
    await core.register("work", namespace="theirs")
    run_id = await core.enqueue()
    for namespace, asked in (("theirs", run_id), ("nowhere", run_id), ("default", uuid4())):
        with pytest.raises(RunNotFound) as caught:
            await get_run(core.system, namespace, asked)
        assert caught.value.metadata["namespace"] == namespace
        with pytest.raises(RunNotFound):
            await core.cancel(asked, namespace=namespace)
        with pytest.raises(RunNotFound):
            await core.replay(asked, namespace=namespace)
    assert (await core.look(run_id)).status == "queued"


async def test_attempts_are_told_by_number_with_the_running_one_and_its_notes(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await worker.fail(await worker.grant(run_id), "Broken")
    await worker.report(await worker.grant(run_id), Interrupted(), AttemptStatus.INTERRUPTED)
    running = await worker.grant(run_id)
    await core.sessions.note.submit_one(Note(worker.fence(running), b"0.5", "half"))
    first, second, third = (await get_run(core.system, "default", run_id)).attempts
    assert [attempt.number for attempt in (first, second, third)] == [1, 2, 3]
    assert (first.status, first.error_type, first.error_message) == ("failed", "Broken", "it broke")
    assert first.retry_at is not None
    assert second.status == "interrupted"
    assert (third.status, third.progress, third.log_tail, third.worker_build) == ("running", b"0.5", "half", "build-1")
    assert (third.ended_at, third.session_id) == (None, worker.session_id)


async def test_of_very_many_attempts_and_transitions_the_newest_are_told(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    for _ in range(5):
        await worker.report(await worker.grant(run_id), Interrupted(), AttemptStatus.INTERRUPTED)
        await core.pass_time(HOUR)

    async def read(what: Any, limit: int) -> list[Any]:
        return await core.database.read(lambda c: what(c, run_id, limit=limit))

    assert [attempt.number for attempt in await read(queries.attempts_of, 2)] == [4, 5]
    assert [change.seq for change in await read(queries.transitions_of, 3)] == [8, 9, 10]
    assert [change.seq for change in await read(queries.transitions_of, 99)] == list(range(11))


async def test_each_transition_tells_where_it_came_from_and_who_made_it(core: Core, worker: Worker) -> None:
    """Promise 4: the log replays to the present status."""
    run_id = await core.enqueue(delay=HOUR)
    await core.pass_time(HOUR)
    await worker.fail(await worker.grant(run_id))
    await core.cancel(run_id)
    story = (await get_run(core.system, "default", run_id)).transitions
    assert [(one.seq, one.from_status, one.to_status, one.reason, one.actor, one.attempt) for one in story] == [
        (0, None, "scheduled", "ENQUEUED", "caller", 0),
        (1, "scheduled", "running", "STARTED", None, 1),
        (2, "running", "retrying", "ATTEMPT_FAILED", None, 1),
        (3, "retrying", "canceled", "CANCEL_REQUESTED", "user", 1),
    ]
    assert [one.session_id for one in story] == [None, worker.session_id, worker.session_id, None]
    assert [one.note for one in story] == [None, None, None, "enough"]
    assert {one.task for one in story} == {"work"}


async def test_transitions_are_read_on_from_any_seq(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await worker.succeed(await worker.grant(run_id))

    async def after(seq: int, limit: int = 10) -> list[int]:
        found = await core.database.read(lambda c: queries.transitions_after(c, run_id, seq, limit=limit))
        return [one.seq for one in found]

    assert await after(-1) == [0, 1, 2]
    assert await after(-1, limit=2) == [0, 1]
    assert await after(1) == [2]
    assert await after(2) == []


async def test_whoever_waits_is_told_only_of_runs_that_have_news(core: Core, worker: Worker) -> None:
    waiting, running, ended = [await core.enqueue() for _ in range(3)]
    await worker.grant(running)
    await worker.succeed(await worker.grant(ended))
    everyone = [waiting, running, ended, uuid4()]
    assert await core.database.read(lambda c: queries.ended_among(c, everyone)) == {ended}
    seen = [(run_id, 0) for run_id in everyone]
    assert await core.database.read(lambda c: queries.progressed_among(c, seen)) == {running, ended}
    assert await core.database.read(lambda c: queries.progressed_among(c, [(ended, 2), (running, 1)])) == set()


async def test_a_replay_is_linked_both_ways_and_the_newest_one_is_named(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue(payload=b"[7]", labels={"a": "b"}, name="Mail", timeout_ms=77))
    await worker.fail(grant, retryable=False)
    replays = [await core.replay(grant.run_id) for _ in range(2)]
    replays.append(await core.replay(grant.run_id, payload=b"[8]"))
    assert (await _read(core, grant.run_id)).replayed_by == replays[-1]
    again, changed = await _read(core, replays[0]), await _read(core, replays[2])
    assert (again.origin, again.origin_id, again.payload) == ("replay", grant.run_id, b"[7]")
    assert (again.labels, again.name, again.timeout_ms) == (b'{"a":"b"}', "Mail", 77)
    assert changed.payload == b"[8]"
    assert (await worker.grant(replays[0])).payload == b"[7]"


async def test_a_run_that_ends_while_it_is_read_is_answered_as_it_stood_at_one_moment(
    core: Core, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = await worker.grant(await core.enqueue())
    attempts_of = queries.attempts_of

    async def attempts_of_a_run_that_ends(*arguments: Any, **options: Any) -> list[queries.AttemptInfo]:
        await worker.succeed(grant)
        return await attempts_of(*arguments, **options)

    monkeypatch.setattr(queries, "attempts_of", attempts_of_a_run_that_ends)
    told = await get_run(core.system, "default", grant.run_id)
    assert told.run.status == "running"
    assert [attempt.status for attempt in told.attempts] == ["running"]
    assert [transition.to_status for transition in told.transitions] == ["queued", "running"]
    assert (await _read(core, grant.run_id)).status == "succeeded"

"""WaitRun and WatchRuns: nothing is missed, nothing is told twice, and no caller waits longer than it said."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg
import grpc
import pytest

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, run_pb2, task_service_pb2_grpc
from layeron_job.ids import decode
from layeron_job_server.app import App
from layeron_job_server.operations import watch_tokens
from layeron_job_server.store.queries import RunFilter
from support import worker_stream
from support.calls import AT_ONCE, Jobs, StartServer, Tasks, enqueue, enqueue_many, look, register, seconds
from support.errors import refused

WatchCall: TypeAlias = "grpc.aio.UnaryStreamCall[pb.WatchRunsRequest, pb.WatchRunsResponse]"


async def cancel(jobs: Jobs, run_id: str, **fields: Any) -> None:
    await jobs.CancelRun(pb.CancelRunRequest(run_id=run_id, **fields))


@asynccontextmanager
async def calls_of(server: App) -> AsyncIterator[Jobs]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield job_service_pb2_grpc.JobServiceStub(channel)


async def rest_of(call: WatchCall) -> list[pb.WatchRunsResponse]:
    """What a watch tells until it ends by itself."""
    responses = []
    while isinstance(response := await call.read(), pb.WatchRunsResponse):
        responses.append(response)
    return responses


async def test_wait_answers_a_terminal_run_at_once(jobs: Jobs) -> None:
    run_id = (await enqueue(jobs, payload_json=b"[1]")).run_id
    await cancel(jobs, run_id)
    answer = await jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(300)), timeout=5)
    assert answer.run == (await look(jobs, run_id)).run
    request = pb.WaitRunRequest(run_id=run_id, view=pb.RUN_VIEW_FULL, json_form=pb.JSON_FORM_BYTES)
    assert (await jobs.WaitRun(request, timeout=5)).run.payload_json == b"[1]"
    request = pb.WaitRunRequest(run_id=run_id, view=pb.RUN_VIEW_BASIC)
    assert not (await jobs.WaitRun(request, timeout=5)).run.HasField("payload")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["over this server", "over another server"])
async def test_wait_answers_as_soon_as_the_run_ends(jobs: Jobs, start_server: StartServer, *, elsewhere: bool) -> None:
    run_ids = [(await enqueue(jobs)).run_id for _ in range(20)]
    waits = [asyncio.create_task(_wait(jobs, run_id)) for run_id in run_ids]
    # All are waited for before the first one ends.
    await jobs.WaitRun(pb.WaitRunRequest(run_id=run_ids[0], timeout=seconds(0.05)))
    async with calls_of(await start_server()) as others:
        for run_id in run_ids[1:]:
            await cancel(others if elsewhere else jobs, run_id)
    before = time.monotonic()
    answers = await asyncio.gather(*waits[1:])
    assert time.monotonic() - before < 2
    assert [run.run_id for run in answers] == run_ids[1:]
    assert {run.status for run in answers} == {run_pb2.RUN_STATUS_CANCELED}
    assert not waits[0].done(), "its run has not ended"
    waits[0].cancel()


async def _wait(jobs: Jobs, run_id: str) -> run_pb2.Run:
    return (await jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(60)))).run


async def test_wait_answers_the_run_as_it_is_when_its_own_timeout_is_over(jobs: Jobs) -> None:
    run_id = (await enqueue(jobs)).run_id
    for timeout in (0, 0.3):
        before = time.monotonic()
        answer = await jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(timeout)))
        assert answer.run.status == run_pb2.RUN_STATUS_QUEUED
        assert timeout <= time.monotonic() - before < timeout + 2


async def test_wait_answers_in_time_for_a_callers_deadline_that_is_shorter_than_its_timeout(jobs: Jobs) -> None:
    run_id = (await enqueue(jobs)).run_id
    answer = await jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(300)), timeout=1)
    assert answer.run.status == run_pb2.RUN_STATUS_QUEUED


async def test_wait_refuses_a_timeout_beyond_five_minutes(jobs: Jobs) -> None:
    run_id = (await enqueue(jobs)).run_id
    for timeout in (-1, 301):
        answer = await refused(jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(timeout))))
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["timeout"])


async def test_a_watch_of_a_run_tells_every_transition_in_order_and_ends_with_the_run(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs, retry=AT_ONCE)).run_id
    call = jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id))
    first = await call.read()
    assert isinstance(first, pb.WatchRunsResponse)
    assert [change.transition.seq for change in first.changes] == [0]
    async with worker_stream(channel) as worker:
        await worker.fail(1, await worker.grant(1, run_id))
        await worker.succeed(2, await worker.grant(2, run_id))
    responses = [first, *await rest_of(call)]
    changes = [change for response in responses for change in response.changes]
    assert [change.transition for change in changes] == list((await look(jobs, run_id)).transitions)
    assert [change.transition.seq for change in changes] == [0, 1, 2, 3, 4]
    assert {(change.run_id, change.task) for change in changes} == {(run_id, "work")}
    assert await call.code() == grpc.StatusCode.OK
    told = 0
    for response in responses:  # whatever the last one is that a caller has seen, it goes on after it
        told += len(response.changes)
        resumed = jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id, resume_token=response.resume_token), timeout=5)
        assert [change for answer in await rest_of(resumed) for change in answer.changes] == changes[told:]


async def test_a_watch_of_a_run_hears_what_happens_over_another_server(jobs: Jobs, start_server: StartServer) -> None:
    run_id = (await enqueue(jobs)).run_id
    call = jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id), timeout=10)
    await call.read()
    async with calls_of(await start_server()) as others:
        await cancel(others, run_id, reason="enough")
    changes = [change for response in await rest_of(call) for change in response.changes]
    assert [(change.transition.to_status, change.transition.note) for change in changes] == [
        (run_pb2.RUN_STATUS_CANCELED, "enough")
    ]


@dataclass
class Watch:
    """What a watch has told so far."""

    call: WatchCall
    changes: list[pb.RunChange] = field(default_factory=list)
    token: str = ""

    async def hear(self) -> None:
        """Take the next response."""
        response = await self.call.read()
        assert isinstance(response, pb.WatchRunsResponse)
        self.changes += response.changes
        self.token = response.resume_token

    async def until(self, *run_ids: str, status: int) -> None:
        """Until each of these runs was told to have this status."""
        async with asyncio.timeout(10):
            while not set(run_ids) <= {one.run_id for one in self.changes if one.transition.to_status == status}:
                await self.hear()

    @property
    def seen(self) -> Counter[tuple[str, int]]:
        """How often each (run, seq) was told."""
        return Counter((change.run_id, change.transition.seq) for change in self.changes)


async def begin(jobs: Jobs, run_id: str = "", **wanted: Any) -> Watch:
    """A watch of a run or a filter that has begun: its first response comes at once."""
    filter_ = None if run_id else pb.RunFilter(**wanted)
    watch = Watch(jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id, filter=filter_)))
    await watch.hear()
    return watch


async def test_a_watch_of_a_filter_answers_at_once_with_a_token_to_go_on_by(jobs: Jobs) -> None:
    """So that a caller knows that the watch has begun, and how to go on when it breaks off early."""
    await enqueue(jobs)
    watch = await begin(jobs)
    assert (watch.changes, bool(watch.token)) == ([], True)
    watch.call.cancel()
    run_id = (await enqueue(jobs)).run_id
    resumed = Watch(jobs.WatchRuns(pb.WatchRunsRequest(resume_token=watch.token)))
    await resumed.until(run_id, status=run_pb2.RUN_STATUS_QUEUED)
    assert [change.run_id for change in resumed.changes] == [run_id]


async def test_a_watch_of_a_filter_tells_what_happens_from_now_on_to_the_runs_that_match(
    jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel
) -> None:
    """Promise 10."""
    await register(tasks, "mail", queue="mails")
    await register(tasks, "work", namespace="other")
    before = (await enqueue(jobs, labels={"team": "a"})).run_id
    watch = await begin(jobs, labels={"team": "a"}, task="work", queue="default")
    for unseen in (
        {"namespace": "other", "labels": {"team": "a"}},
        {"labels": {"team": "b"}},
        {"labels": {"team": "a"}, "task": "mail"},
        {},
    ):
        await enqueue(jobs, **unseen)
    run_id = (await enqueue(jobs, labels={"team": "a", "more": ""})).run_id
    async with worker_stream(channel) as worker:
        await worker.succeed(1, await worker.grant(1, run_id))
    await cancel(jobs, before)
    await watch.until(before, status=run_pb2.RUN_STATUS_CANCELED)
    told = [change.transition for change in watch.changes if change.run_id == run_id]
    assert told == list((await look(jobs, run_id)).transitions)
    assert [one.transition.seq for one in watch.changes if one.run_id == before] == [1], "it was enqueued before"
    for change in watch.changes:
        labels = (await look(jobs, change.run_id)).run.labels
        assert (change.task, labels["team"]) == ("work", "a")


async def test_a_watch_of_a_filter_goes_on_at_any_server_missing_nothing_and_repeating_nothing(
    jobs: Jobs, start_server: StartServer
) -> None:
    async with calls_of(await start_server()) as others:
        watch = await begin(jobs)
        made: list[str] = []
        told: Counter[tuple[str, int]] = Counter()
        # In each round some happens over either server while watched, and some while nobody watches.
        for turn in range(6):
            watched = [(await enqueue((jobs, others)[n % 2])).run_id for n in range(6)]
            await watch.until(watched[turn], status=run_pb2.RUN_STATUS_QUEUED)
            watch.call.cancel()
            told += watch.seen
            unwatched = [(await enqueue((jobs, others)[n % 2])).run_id for n in range(6)]
            for run_id in made[-6:]:
                await cancel((jobs, others)[turn % 2], run_id)
            made += [*watched, *unwatched]
            resumed = (jobs, others)[turn % 2].WatchRuns(pb.WatchRunsRequest(resume_token=watch.token))
            watch = Watch(resumed, token=watch.token)
        last = (await enqueue(jobs)).run_id
        await watch.until(last, status=run_pb2.RUN_STATUS_QUEUED)
        watch.call.cancel()
        told += watch.seen
    for run_id in made:
        for transition in (await look(jobs, run_id)).transitions:
            assert told[run_id, transition.seq] == 1
    assert set(told.values()) == {1}


async def test_a_token_is_good_for_its_own_namespace_and_run_or_filter_only(jobs: Jobs, tasks: Tasks) -> None:
    await register(tasks, "work", namespace="other")
    run_id, other_id = (await enqueue(jobs)).run_id, (await enqueue(jobs)).run_id
    of_run, of_filter = (await begin(jobs, run_id)).token, (await begin(jobs, task="work")).token
    work = pb.RunFilter(task="work")
    for foreign in (
        pb.WatchRunsRequest(run_id=other_id, resume_token=of_run),
        pb.WatchRunsRequest(run_id=run_id, resume_token=of_run, namespace="other"),
        pb.WatchRunsRequest(run_id=run_id, resume_token=of_filter),
        pb.WatchRunsRequest(run_id=run_id, resume_token=of_run[:-4]),
        pb.WatchRunsRequest(filter=work, resume_token=of_run),
        pb.WatchRunsRequest(filter=work, resume_token=of_filter, namespace="other"),
        pb.WatchRunsRequest(filter=pb.RunFilter(task="work", queue="default"), resume_token=of_filter),
        pb.WatchRunsRequest(resume_token=of_filter),
        pb.WatchRunsRequest(filter=work, resume_token=of_filter[:-4]),
        pb.WatchRunsRequest(filter=work, resume_token="AAAA" + of_filter[4:]),
    ):
        answer = await refused(jobs.WatchRuns(foreign).read())
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["resume_token"]), foreign
    for own in (
        pb.WatchRunsRequest(run_id=run_id, resume_token=of_run),
        pb.WatchRunsRequest(filter=work, resume_token=of_filter),
    ):
        await Watch(jobs.WatchRuns(own)).hear()


async def test_a_token_of_what_has_not_happened_is_refused_and_an_old_one_has_expired(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, database: asyncpg.Connection
) -> None:
    run_id = (await enqueue(jobs)).run_id
    uuid, everything = decode("run", run_id), RunFilter()
    xid = await database.fetchval("select pg_current_xact_id()::text::bigint")
    tokens = {
        "no such seq": watch_tokens.of_run("default", uuid, 1),
        "the last seq": watch_tokens.of_run("default", uuid, 2**31 - 1),
        "before the first": watch_tokens.of_run("default", uuid, -2),
        "no such transaction": watch_tokens.of_filter("default", everything, (xid + 1_000, uuid, 0)),
        "the last transaction": watch_tokens.of_filter("default", everything, (2**63 - 1, uuid, 0)),
        "a negative one": watch_tokens.of_filter("default", everything, (-1, uuid, 0)),
        "a negative seq": watch_tokens.of_filter("default", everything, (xid, uuid, -1)),
    }
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3_600)
    tokens["an hour ahead"] = watch_tokens.of_filter("default", everything, (xid, uuid, 0))
    monkeypatch.setattr(time, "time", lambda: now - 86_401)
    expired = watch_tokens.of_filter("default", everything, (xid, uuid, 0))
    monkeypatch.undo()
    for what, token in tokens.items():
        of_run = what in ("no such seq", "the last seq", "before the first")
        request = pb.WatchRunsRequest(run_id=run_id if of_run else "", resume_token=token)
        answer = await refused(jobs.WatchRuns(request).read())
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["resume_token"]), what
    answer = await refused(jobs.WatchRuns(pb.WatchRunsRequest(resume_token=expired)).read())
    assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "WATCH_TOKEN_EXPIRED")


async def test_a_watch_goes_on_past_more_changes_than_are_read_at_once(jobs: Jobs) -> None:
    watch = await begin(jobs)
    watch.call.cancel()
    made = [run_id for _ in range(3) for run_id in await enqueue_many(jobs, 1_000)]
    watches = [Watch(jobs.WatchRuns(pb.WatchRunsRequest(resume_token=watch.token))) for _ in range(3)]
    for resumed in watches:
        await resumed.until(*made, status=run_pb2.RUN_STATUS_QUEUED)
        seen = resumed.seen
        assert {seen[run_id, 0] for run_id in made} == {1}
        resumed.call.cancel()


async def test_a_watch_without_a_token_tells_nothing_of_before_also_beside_one_that_goes_on(
    jobs: Jobs, start_server: StartServer
) -> None:
    watch = await begin(jobs)
    watch.call.cancel()
    before = {run_id for _ in range(5) for run_id in await enqueue_many(jobs, 1_000)}
    async with calls_of(await start_server()) as others:
        resumed = Watch(others.WatchRuns(pb.WatchRunsRequest(resume_token=watch.token)))
        await resumed.hear()  # it is in the past now, with much to catch up
        fresh = await begin(others)
        await resumed.until(*before, status=run_pb2.RUN_STATUS_QUEUED)
        after = (await enqueue(jobs)).run_id
        await fresh.until(after, status=run_pb2.RUN_STATUS_QUEUED)
        assert not before & {change.run_id for change in fresh.changes}


async def test_a_watch_that_goes_on_from_far_behind_is_not_told_that_it_reads_too_slowly(jobs: Jobs) -> None:
    watch = await begin(jobs)
    watch.call.cancel()
    made = [run_id for _ in range(11) for run_id in await enqueue_many(jobs, 1_000)]
    other = await begin(jobs)
    resumed = Watch(jobs.WatchRuns(pb.WatchRunsRequest(resume_token=watch.token)))
    await resumed.until(*made, status=run_pb2.RUN_STATUS_QUEUED)
    other.call.cancel()


async def test_whoever_waits_hears_of_the_end_also_after_a_time_in_which_looking_for_it_failed(
    start_server: StartServer, database: asyncpg.Connection
) -> None:
    server = await start_server(watch_poll_interval_ms=10)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work")
        jobs: Jobs = job_service_pb2_grpc.JobServiceStub(channel)
        run_id = (await enqueue(jobs)).run_id
        waiting = asyncio.create_task(_wait(jobs, run_id))
        await jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(0.05)))
        await database.execute("alter table ended_runs rename to gone")
        bad_times_end = time.monotonic() + 0.3  # some thirty polls
        while time.monotonic() < bad_times_end:
            assert (await refused(look(jobs, run_id))).code == "INTERNAL"
        await database.execute("alter table gone rename to ended_runs")
        await cancel(jobs, run_id)
        async with asyncio.timeout(2):
            assert (await waiting).status == run_pb2.RUN_STATUS_CANCELED

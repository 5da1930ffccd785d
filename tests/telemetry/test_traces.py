"""One trace from the caller's span to every attempt, as an OTLP receiver gets it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import nats
from nats.js.errors import NotFoundError

from layeron_job import Client, Item, TaskDefinition
from support.commands import CLI, ROOT, run
from support.otlp import Received, Receiver
from support.processes import ServerProcess
from support.waiting import eventually


async def test_one_trace_leads_from_the_caller_to_the_first_attempt_and_links_to_it_lead_from_the_others(
    server: ServerProcess, worker: asyncio.subprocess.Process, receiver: Receiver
) -> None:
    """A run of two attempts and its replay: exact tree, links and attributes."""
    async with Client(server.address) as jobs:
        await eventually(lambda: _has_task(jobs), seconds=20)
        run_id = await _call(server, receiver)
        ended = await jobs.runs.wait(run_id)
        replayed = await jobs.runs.replay(run_id, reason="to see its trace")
        await jobs.runs.wait(replayed.run_id)
    # Each run has two attempts, and each program exports in its own time.
    await eventually(lambda: len(receiver.named("finish")) == 4 == len(receiver.named("process flaky")))
    await eventually(lambda: receiver.named("send default"))
    process = _by_attempt(receiver, run_id)

    (caller,) = receiver.named("caller")
    client = _only(receiver, "layeron.job.v1.JobService/Enqueue", "CLIENT")
    enqueue = _only(receiver, "layeron.job.v1.JobService/Enqueue", "SERVER")
    (send,) = [span for span in receiver.named("send default") if span.parent == enqueue.span_id]
    first, second = process[1], process[2]
    (again,) = receiver.named("process flaky", layeron__job__run__id=replayed.run_id, layeron__job__attempt__number=1)

    assert caller.parent == ""
    assert client.parent == caller.span_id
    assert enqueue.parent == client.span_id
    assert first.parent == enqueue.span_id
    assert {span.trace_id for span in (client, enqueue, send, first)} == {caller.trace_id}
    assert (send.kind, first.kind) == ("PRODUCER", "CONSUMER")
    enqueued = (enqueue.trace_id, enqueue.span_id)
    for later in (second, again):
        assert later.parent == ""
        assert later.trace_id != caller.trace_id
        assert later.links == (enqueued,)
    assert first.links == ()
    for attempt in (first, second, again):
        (finish,) = [span for span in receiver.named("finish") if span.parent == attempt.span_id]
        assert (finish.trace_id, finish.service) == (attempt.trace_id, "server")
    assert ended.result == {"span_id": second.span_id}, "the attempt's span is current in its handler"

    rpc = {"rpc.system.name": "grpc", "rpc.method": "layeron.job.v1.JobService/Enqueue"}
    for span in (client, enqueue):
        assert span.attributes == {**rpc, "rpc.response.status_code": "OK"}
    assert send.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
    }
    assert first.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.destination.name": "flaky",
        "layeron.job.run.id": run_id,
        "layeron.job.attempt.number": 1,
        "layeron.job.attempt.outcome": "failed",
        "error.type": "FirstTimeError",
    }
    assert first.is_error
    assert not second.is_error
    assert "layeron.job.attempt.outcome" not in second.attributes
    assert again.attributes["layeron.job.run.origin"] == "replay"


async def test_a_batch_is_sent_in_one_span_with_a_link_to_each_of_its_traces(
    server: ServerProcess, worker: asyncio.subprocess.Process, receiver: Receiver
) -> None:
    parents = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 21)]
    async with Client(server.address) as jobs:
        await eventually(lambda: _has_task(jobs), seconds=20)
        await jobs.enqueue_batch([Item("steady", trace_context={"traceparent": one}) for one in parents])
    await eventually(lambda: len(receiver.named("process steady")) == 20)
    sends = await eventually(lambda: [span for span in receiver.named("send default") if span.links])
    linked = [link for span in sends for link in span.links]
    assert sorted(linked) == [(f"{number:032x}", f"{number:016x}") for number in range(1, 21)]
    assert len(sends) == 1
    assert sends[0].attributes["messaging.batch.message_count"] == 20
    assert {span.parent for span in receiver.named("process steady")} == {f"{n:016x}" for n in range(1, 21)}


async def test_what_its_caller_did_not_sample_leaves_no_span_but_keeps_its_trace(
    server: ServerProcess, worker: asyncio.subprocess.Process, receiver: Receiver
) -> None:
    unsampled = f"00-{7:032x}-{7:016x}-00"
    async with Client(server.address) as jobs:
        await eventually(lambda: _has_task(jobs), seconds=20)
        quiet = await jobs.enqueue("steady", trace_context={"traceparent": unsampled})
        await jobs.runs.wait(quiet.run_id)
        loud = await jobs.enqueue("steady", trace_context={"traceparent": f"00-{8:032x}-{8:016x}-01"})
        await jobs.runs.wait(loud.run_id)
        assert (await jobs.runs.get(quiet.run_id)).run.trace_context == {"traceparent": unsampled}
    await eventually(lambda: receiver.named("process steady", layeron__job__run__id=loud.run_id))
    assert receiver.named("process steady", layeron__job__run__id=quiet.run_id) == []


async def test_a_ring_names_the_sampled_trace_of_its_run_and_has_no_header_otherwise(
    server: ServerProcess, nats_url: str, stream_prefix: str
) -> None:
    sampled = f"00-{5:032x}-{5:016x}-01"
    client = await nats.connect(nats_url)
    try:
        async with Client(server.address) as jobs:
            await jobs.tasks.register([TaskDefinition("work")])
            traced = await jobs.enqueue("work", trace_context={"traceparent": sampled, "x": "a\r\nb"})
            quiet = await jobs.enqueue("work", trace_context={"traceparent": sampled.replace("-01", "-00")})
        stream = client.jetstream()
        subject = f"{stream_prefix}.deliver.default.default.normal.work"

        async def headers_of(run_id: str) -> Any:
            try:
                message = await stream.get_last_msg(stream_prefix.upper(), f"{subject}.{run_id}")
            except NotFoundError:
                return None
            return [message.headers]

        assert await eventually(lambda: headers_of(traced.run_id)) == [{"traceparent": sampled}]
        assert await eventually(lambda: headers_of(quiet.run_id)) == [None]
    finally:
        await client.close()


async def test_what_a_handler_logs_is_kept_with_its_attempt_and_shown(
    server: ServerProcess, worker: asyncio.subprocess.Process
) -> None:
    async with Client(server.address) as jobs:
        await eventually(lambda: _has_task(jobs), seconds=20)
        run_id = (await jobs.enqueue("steady")).run_id
        await jobs.runs.wait(run_id)
    shown = await run(CLI, "runs", "get", run_id, "--address", server.address)
    assert "INFO steady as she goes" in shown.out


async def test_client_and_worker_leave_the_sdk_to_the_application() -> None:
    look = "import sys, layeron_job_worker; print([one for one in sys.modules if one.startswith('opentelemetry.sdk')])"
    looked = await run(sys.executable, "-c", look)
    assert (looked.code, looked.out.strip()) == (0, "[]"), looked.err


async def _has_task(jobs: Client) -> bool:
    return "flaky" in [task.name async for task in jobs.tasks.list()]


async def _call(server: ServerProcess, receiver: Receiver) -> str:
    environment = {
        **receiver.environment("caller"),
        "PYTHONPATH": str(ROOT / "tests"),
        "LAYERON_JOB_ADDRESS": server.address,
    }
    called = await run(sys.executable, "-m", "support.traced", "caller", environment=environment)
    assert called.code == 0, called.err
    return called.out.strip()


def _only(receiver: Receiver, name: str, kind: str) -> Received:
    (span,) = [span for span in receiver.named(name) if span.kind == kind]
    return span


def _by_attempt(receiver: Receiver, run_id: str) -> dict[int, Received]:
    """The attempts' spans by number."""
    found = receiver.named("process flaky", layeron__job__run__id=run_id)
    return {span.attributes["layeron.job.attempt.number"]: span for span in found}

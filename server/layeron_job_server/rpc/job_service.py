"""JobService: parse, do, answer. Errors are answered by the interceptor."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

import grpc

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, run_pb2
from layeron_job.ids import encode
from layeron_job_server.operations import control, enqueue, queries
from layeron_job_server.operations.control import CancelAsk, CancelWriter, ReplayAsk
from layeron_job_server.operations.enqueue import EnqueueAsk, Enqueued, EnqueueWriter
from layeron_job_server.operations.system import System
from layeron_job_server.operations.turns import Turns, in_turns
from layeron_job_server.operations.watching import Watching

from . import convert
from .fields import Violations, duration_of, namespace_of, page_size_of, reason_of, run_id_of
from .requests import Door, chosen_run_id_of, due_of, enqueue_ask, filter_of, named_run, payload_of

_BATCH_MAX: Final = 1_000
_PAGE_SIZE: Final = 50
_WAIT: Final = timedelta(seconds=30)
_WAIT_MAX: Final = timedelta(minutes=5)
# The answer of a long poll leaves this long before the caller's deadline.
_ANSWER_SECONDS: Final = 0.2

Context = grpc.aio.ServicerContext[Any, Any]


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """For applications and operators."""

    def __init__(self, system: System, *, enqueue: EnqueueWriter, cancel: CancelWriter, watching: Watching) -> None:
        self._system = system
        self._enqueue = enqueue
        self._cancel = cancel
        self._watching = watching
        limits = system.settings
        self._batches = Turns("batches", at_work=limits.batches_at_work_max, waiting=limits.batches_waiting_max)

    async def Enqueue(self, request: pb.EnqueueRequest, context: Context) -> pb.EnqueueResponse:
        """Ask for one run."""
        violations = Violations()
        ask = enqueue_ask(request, Door.of(self._system.settings, context), violations)
        violations.refuse()
        enqueued = await enqueue.enqueue(self._system, self._enqueue, ask)
        run = enqueued.run or (await queries.read_runs(self._system, [enqueued.run_id])).get(enqueued.run_id)
        if run is None:
            pruned = run_pb2.Run(run_id=encode("run", enqueued.run_id), namespace=ask.namespace, task=ask.task)
            return pb.EnqueueResponse(run=pruned, pruned=True)
        answer = convert.run(run, ask.namespace, json_form=request.json_form)
        return pb.EnqueueResponse(run=answer, created=enqueued.created)

    async def EnqueueBatch(self, request: pb.EnqueueBatchRequest, context: Context) -> pb.EnqueueBatchResponse:
        """Ask for many runs, all or nothing."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        limit = self._system.settings.request_bytes_max
        if not 1 <= len(request.items) <= _BATCH_MAX:
            violations.add("items", f"are {len(request.items)}; a batch has 1 to {_BATCH_MAX}")
        if request.ByteSize() > limit:
            violations.add("items", f"are {request.ByteSize()} bytes; the limit is {limit}")
        violations.refuse()
        async with self._batches.turn():
            asks = await self._asks_of(request, namespace, Door.of(self._system.settings, context))
            enqueued = await enqueue.enqueue_batch(self._system, asks)
            return pb.EnqueueBatchResponse(results=map(_result, enqueued))

    async def _asks_of(self, request: pb.EnqueueBatchRequest, namespace: str, door: Door) -> list[EnqueueAsk]:
        violations = Violations()
        asks: list[EnqueueAsk] = []
        async for item in in_turns(request.items, pb.EnqueueRequest.ByteSize):
            below = violations.within(f"items[{len(asks)}]")
            if item.namespace not in ("", namespace):
                below.add("namespace", "must be empty or that of the batch")
            item.namespace = namespace
            asks.append(enqueue_ask(item, door, below))
        violations.refuse()
        return asks

    async def GetRun(self, request: pb.GetRunRequest, _context: Context) -> pb.GetRunResponse:
        """Answer one run with its history."""
        namespace, run_id = named_run(request)
        full = request.view != pb.RUN_VIEW_BASIC
        details = await queries.get_run(self._system, namespace, run_id, full=full)
        return pb.GetRunResponse(
            run=convert.run(details.run, namespace, json_form=request.json_form),
            attempts=[convert.attempt(attempt, request.run_id) for attempt in details.attempts],
            transitions=[convert.transition(transition) for transition in details.transitions],
        )

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """Answer a page of runs, newest first."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        wanted = filter_of(request.filter, Door.of(self._system.settings, context), violations.within("filter"))
        page_size = page_size_of(request, violations, default=_PAGE_SIZE)
        violations.refuse()
        page = await queries.list_runs(
            self._system,
            namespace,
            wanted,
            page_size=page_size,
            page_token=request.page_token,
            full=request.view == pb.RUN_VIEW_FULL,
        )
        answer, room = pb.ListRunsResponse(), queries.PAGE_BYTES_MAX
        for run in page.runs:
            message = convert.run(run, namespace, json_form=request.json_form)
            room -= message.ByteSize()
            if answer.runs and room < 0:
                break
            answer.runs.append(message)
        answer.next_page_token = page.token(len(answer.runs))
        return answer

    async def WaitRun(self, request: pb.WaitRunRequest, context: Context) -> pb.WaitRunResponse:
        """Answer the run once it is terminal, or as it is when the time is over."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        run_id = run_id_of(request.run_id, violations)
        timeout = duration_of(request, "timeout", violations, most=_WAIT_MAX)
        violations.refuse()
        timeout = _WAIT if timeout is None else timeout
        left = context.time_remaining()
        if left is not None:
            timeout = min(timeout, timedelta(seconds=max(0.0, left - _ANSWER_SECONDS)))
        full = request.view != pb.RUN_VIEW_BASIC
        run = await self._watching.wait_run(namespace, run_id, timeout=timeout, full=full)
        return pb.WaitRunResponse(run=convert.run(run, namespace, json_form=request.json_form))

    async def WatchRuns(self, request: pb.WatchRunsRequest, context: Context) -> None:  # type: ignore[override] # it writes to the context, and needs no generator
        """Stream changes of one run, or of all that match a filter."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        run_id = UUID(int=0)
        if request.run_id:
            run_id = run_id_of(request.run_id, violations)
            if request.HasField("filter"):
                violations.add("filter", "is set together with run_id: set one of them")
        below = violations.within("filter")
        wanted = filter_of(request.filter, Door.of(self._system.settings, context), below)
        for name in ("statuses", "idempotency_key", "created_from", "created_before", "origin_id"):
            if getattr(wanted, name):
                below.add(name, "cannot be watched: only task, queue and labels can")
        violations.refuse()
        if request.run_id:
            batches = self._watching.watch_run(namespace, run_id, token=request.resume_token)
        else:
            batches = self._watching.watch_filter(namespace, wanted, token=request.resume_token)
        async with aclosing(cast(Any, batches)):
            async for changes, token in batches:
                answer = pb.WatchRunsResponse(changes=[convert.change(one) for one in changes], resume_token=token)
                await context.write(answer)

    async def CancelRun(self, request: pb.CancelRunRequest, _context: Context) -> pb.CancelRunResponse:
        """Cancel a run."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        run_id = run_id_of(request.run_id, violations)
        reason = reason_of(request.reason, violations)
        violations.refuse()
        run = await control.cancel_run(self._system, self._cancel, CancelAsk(namespace, run_id, reason))
        return pb.CancelRunResponse(run=convert.run(run, namespace, json_form=request.json_form))

    async def ReplayRun(self, request: pb.ReplayRunRequest, context: Context) -> pb.ReplayRunResponse:
        """Make a new run of a terminal one."""
        violations = Violations()
        door = Door.of(self._system.settings, context)
        due = due_of(request, door, violations)
        ask = ReplayAsk(
            namespace=namespace_of(request.namespace, violations),
            run_id=run_id_of(request.run_id, violations),
            reason=reason_of(request.reason, violations),
            new_run_id=chosen_run_id_of(request.new_run_id, door, violations, "new_run_id"),
            payload=payload_of(request, door, violations),
            delay=due.delay,
            run_at=due.run_at,
        )
        violations.refuse()
        run, created = await control.replay_run(self._system, self._enqueue, ask)
        return pb.ReplayRunResponse(run=convert.run(run, ask.namespace, json_form=request.json_form), created=created)


def _result(one: Enqueued) -> pb.EnqueueBatchResult:
    return pb.EnqueueBatchResult(
        run_id=encode("run", one.run_id),
        status=convert.STATUSES.get(one.status or "", run_pb2.RUN_STATUS_UNSPECIFIED),
        created=one.created,
        pruned=one.status is None,
    )

"""WorkerService: one stream per worker process. Every message is a batch; answers are batched as they come.

The reader never waits for the database: each batch of starts or finishes goes to the shared writers, and its answers
travel back when they are there. Too many unanswered batches stop the reader, and gRPC's flow control stops the worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast
from uuid import UUID

import grpc

from layeron.job.v1 import worker_service_pb2 as pb
from layeron.job.v1 import worker_service_pb2_grpc
from layeron_job.ids import encode
from layeron_job_server.broker import PRIORITIES, Broker, NatsAccess, consumer_name
from layeron_job_server.domain.errors import DatabaseAway, Overloaded, ShuttingDown
from layeron_job_server.operations import sessions
from layeron_job_server.operations.attempts import AttemptWriters
from layeron_job_server.operations.endings import Verdict
from layeron_job_server.operations.sessions import Connected, SessionWriters
from layeron_job_server.operations.starts import Refusal, SessionOver
from layeron_job_server.operations.system import System
from layeron_job_server.operations.writer import Writer
from layeron_job_server.store import open_attempts
from layeron_job_server.store.attempts import Fence, Grant, StartAsk

from . import work_messages as messages
from .answers import Answers, StartAnswer

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext[pb.WorkRequest, pb.WorkResponse]

_UNANSWERED_BATCHES_MAX = 64
_AGAIN_SECONDS = 0.25
_HELLO_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WorkerAccess:
    """What Welcome tells of NATS."""

    nats: NatsAccess
    broker: Broker


class WorkerServicer(worker_service_pb2_grpc.WorkerServiceServicer):
    """Serves the worker streams of this process."""

    def __init__(self, system: System, attempts: AttemptWriters, session: SessionWriters, access: WorkerAccess) -> None:
        self._system = system
        self._attempts = attempts
        self._sessions = session
        self._access = access
        self._streams: dict[UUID, _Stream] = {}
        self._draining = False

    async def Work(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.WorkRequest], context: Context
    ) -> None:
        """One worker process, from Hello to goodbye."""
        requests = messages.bounded(request_iterator)
        hello = await messages.read_hello(requests, within_seconds=_HELLO_SECONDS)
        if hello is None:
            return
        connected = await sessions.connect(
            self._system,
            messages.session_of(hello),
            hello.tasks,
            namespace=hello.namespace,
            resumes=hello.resumes,
            has=hello.attempts,
            unanswered=hello.unanswered,
        )
        log.info("worker session %s connected, epoch %d", encode("ses", connected.session_id), connected.epoch)
        await context.write(pb.WorkResponse(welcome=self._welcome(hello, connected)))
        stream = _Stream(self._system, self._attempts, self._sessions, connected, hello)
        self._streams[connected.session_id] = stream
        sender = asyncio.create_task(stream.send(context), name="work stream sender")
        try:
            if self._draining:
                stream.drain()
            await stream.receive(requests)
        finally:
            if self._streams.get(connected.session_id) is stream:
                del self._streams[connected.session_id]
            stream.close()
            await asyncio.wait([sender])

    async def tell_cancels_once(self) -> None:
        """Send the cancel orders that wait for workers connected here."""
        if not self._streams:
            return
        session_ids = list(self._streams)
        for fence in await self._system.database.read(lambda c: open_attempts.cancel_orders(c, session_ids)):
            stream = self._streams.get(fence.session_id)
            if stream is not None:
                stream.cancel(fence)

    @property
    def has_streams(self) -> bool:
        """Whether a worker is connected here."""
        return bool(self._streams)

    def drain(self) -> None:
        """Ask every worker to connect elsewhere; they keep their sessions."""
        self._draining = True
        for stream in self._streams.values():
            stream.drain()

    def _welcome(self, hello: messages.Hello, connected: Connected) -> pb.Welcome:
        settings = self._system.settings
        access = self._access
        return pb.Welcome(
            session_id=encode("ses", connected.session_id),
            epoch=connected.epoch,
            resumed=connected.resumed,
            lease_ms=settings.lease_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            nats_urls=access.nats.urls,
            nats_credentials=pb.NatsCredentials(
                user=access.nats.user, password=access.nats.password, token=access.nats.token
            ),
            inbox_prefix=f"_INBOX_{connected.session_id.hex}",
            stream=access.broker.stream,
            consumers=[
                pb.Consumer(name=consumer_name(hello.namespace, queue, priority), queue=queue, priority=priority)
                for priority in PRIORITIES.values()
                for queue in hello.queues
            ],
            ack_wait_ms=settings.ack_wait_ms,
            superseded=[
                pb.OpenAttempt(run_id=encode("run", run_id), attempt=number) for run_id, number in connected.superseded
            ],
            result_bytes_max=settings.result_bytes_max,
            begin_within_ms=settings.begin_within_ms,
            cancel_grace_ms=settings.cancel_grace_ms,
        )


class _Stream:
    """One connected session: what it was told, what it must still be told."""

    def __init__(
        self,
        system: System,
        attempts: AttemptWriters,
        session: SessionWriters,
        connected: Connected,
        hello: messages.Hello,
    ) -> None:
        self._system = system
        self._attempts = attempts
        self._sessions = session
        self._session_id = connected.session_id
        self._epoch = connected.epoch
        self._build = hello.build_id
        self._answers = Answers()
        self._wake = asyncio.Event()
        self._over = False
        self._batches: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._ended_batches = 0
        self._room = asyncio.Semaphore(_UNANSWERED_BATCHES_MAX)

    async def receive(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        """Take messages until the worker leaves or its session is over."""
        async for request in requests:
            if self._over:
                return
            if request.starts:
                await self._in_background(self._start(request.starts))
            if request.begun or request.notes:
                telling = await self._in_background(self._tell(request))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)
            if request.finishes:
                await self._in_background(self._finish(request.finishes))
            if request.HasField("heartbeat"):
                await self._in_background(self._beat(request.heartbeat.number))
            if request.HasField("goodbye"):
                await self._settled()
                await sessions.say_goodbye(self._system, self._session_id, self._epoch)
                return

    async def send(self, context: Context) -> None:
        """Send answers as they come, as many as there are in one message, until closed."""
        while not self._over or self._answers:
            if not self._answers and not self._ended_batches:
                self._wake.clear()
                await self._wake.wait()
                continue
            ended, self._ended_batches = self._ended_batches, 0
            try:
                for response in self._answers.messages():
                    await context.write(response)
            except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.BaseError):
                return  # the worker is gone; it asks again over its next stream
            # Only now may the worker ask for more: what it does not read is not piled up here.
            for _ in range(ended):
                self._room.release()

    def close(self) -> None:
        """No more is to be told."""
        self._over = True
        self._wake.set()

    def cancel(self, fence: Fence) -> None:
        """Tell the worker to cancel one attempt."""
        self._answers.add_cancel(fence)
        self._wake.set()

    def drain(self) -> None:
        """Tell the worker to connect elsewhere."""
        self._answers.add_drain()
        self._wake.set()

    async def _in_background(self, work: Awaitable[None]) -> asyncio.Task[None]:
        await self._room.acquire()
        task = asyncio.ensure_future(work)
        self._batches.add(task)
        task.add_done_callback(self._batch_done)
        return task

    def _batch_done(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._ended_batches += 1
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            # What has no answer is sent again over the worker's next stream.
            log.error("a worker's batch failed; its stream is ended", exc_info=task.exception())
            self._over = True

    async def _settled(self) -> None:
        while self._batches:
            await asyncio.wait(list(self._batches))

    async def _start(self, starts: Sequence[pb.Start]) -> None:
        asks, nameless = messages.start_asks(starts, self._session_id, self._epoch)
        self._answers.add_starts((start_id, Refusal.UNKNOWN_RUN, "") for start_id in nameless)
        while asks and (answers := await self._until_written(self._attempts.start, asks)):
            tasks = await self._system.tasks.by_ids({a.task_id for a in answers if isinstance(a, Grant)})
            over: list[StartAsk] = []
            said: list[tuple[int, StartAnswer, str]] = []
            for ask, answer in zip(asks, answers, strict=True):
                if isinstance(answer, SessionOver):
                    over.append(ask)
                else:
                    said.append((ask.start_id, answer, tasks[answer.task_id].name if isinstance(answer, Grant) else ""))
            self._answers.add_starts(said)
            self._wake.set()
            # Its lease may have run out while the database was away: that ends nothing if it lives.
            if over and await self._beat_once() == pb.HEARTBEAT_VERDICT_SESSION_ENDED:
                self._session_over()
            asks = over

    async def _finish(self, finishes: Sequence[pb.Finish]) -> None:
        if self._telling:  # an ending takes the notes with it, but not those that are written at the same time
            await asyncio.wait(list(self._telling))
        reports = messages.reports(
            finishes, self._session_id, self._build, result_bytes_max=self._system.settings.result_bytes_max
        )
        self._answers.add_finishes((start_id, Verdict.SUPERSEDED) for start_id in reports.malformed_ids)
        with self._system.telemetry.tracing.finish([finish.traceparent for finish in finishes if finish.traceparent]):
            await self._record(reports.success_ids, self._attempts.succeed, reports.successes)
            await self._record(reports.ending_ids, self._attempts.end, reports.endings)

    async def _record(self, start_ids: Sequence[int], writer: Writer[Item, Verdict], reports: Sequence[Item]) -> None:
        """Without verdicts there are no answers: the worker reports again."""
        verdicts = await self._until_written(writer, reports)
        self._answers.add_finishes(zip(start_ids, verdicts, strict=False))
        self._wake.set()

    async def _tell(self, request: pb.WorkRequest) -> None:
        begun = messages.begun(request.begun, self._session_id)
        notes = messages.notes(request.notes, self._session_id)
        try:
            await self._sessions.begun.submit(begun)
            await self._sessions.note.submit(notes)
        except (Overloaded, ShuttingDown):
            log.debug("notes of running attempts were dropped")

    async def _beat(self, number: int) -> None:
        verdict = await self._beat_once()
        self._answers.add_beat(number, verdict)
        self._wake.set()
        if verdict == pb.HEARTBEAT_VERDICT_SESSION_ENDED:
            self._session_over()

    async def _beat_once(self) -> pb.HeartbeatVerdict.ValueType:
        """Answers in time, also when the database does not: the worker decides by it what to do."""
        limit = timedelta(milliseconds=self._system.settings.heartbeat_interval_ms).total_seconds()
        try:
            recorded = await asyncio.wait_for(
                self._sessions.heartbeat.submit_one((self._session_id, self._epoch)), timeout=limit
            )
        except (DatabaseAway, Overloaded, ShuttingDown, TimeoutError):
            return pb.HEARTBEAT_VERDICT_DATABASE_AWAY
        return pb.HEARTBEAT_VERDICT_RECORDED if recorded else pb.HEARTBEAT_VERDICT_SESSION_ENDED

    def _session_over(self) -> None:
        """The session has ended or goes on elsewhere: the worker must connect again."""
        if not self._over:
            self._answers.add_beat(0, pb.HEARTBEAT_VERDICT_SESSION_ENDED)
            self._over = True
            self._wake.set()

    async def _until_written(self, writer: Writer[Item, Answer], items: Sequence[Item]) -> list[Answer]:
        """The answers; submits again while the database is away or too much waits. Nothing once the stream is over."""
        while not self._over:
            try:
                answers = await writer.submit(items)
            except Overloaded:
                pass
            except ShuttingDown:
                break
            else:
                errors = [answer for answer in answers if isinstance(answer, BaseException)]
                if not errors:
                    return cast(list[Answer], answers)
                for error in errors:
                    if not isinstance(error, (DatabaseAway, Overloaded)):
                        raise error
            await asyncio.sleep(_AGAIN_SECONDS)
        return []

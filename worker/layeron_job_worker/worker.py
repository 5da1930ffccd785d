"""The worker: pulls deliveries, asks to start them, runs their handlers, reports how they ended."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.durations import Seconds, seconds
from layeron_job.retry import Retry
from layeron_job_worker import metrics, program
from layeron_job_worker.connection import Servers, register
from layeron_job_worker.deliveries import Deliveries
from layeron_job_worker.executor import Attempt
from layeron_job_worker.loops import cancel, done_before
from layeron_job_worker.registry import LOWER_NAME, TASKS_MAX, Handler, Priority, TaskHandler, task_handler
from layeron_job_worker.session import Session
from layeron_job_worker.slots import Slots

logger = logging.getLogger("layeron_job_worker")

_QUEUES_MAX: Final = 32
_CONCURRENCY_MAX: Final = 100_000
_UNWIND_SECONDS: Final = 2.0
_REPORT_SECONDS: Final = 5.0
_GOODBYE_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.02
_SHUTDOWN: Final = ("interrupted", "Shutdown", "the worker shut down before the handler began")

_AnyHandler = TypeVar("_AnyHandler", bound=Handler)


class Worker:
    """Runs handlers for the tasks that are registered with `task`.

        worker = Worker("localhost:7233", concurrency=20)

        @worker.task("send-email", retry=Retry(attempts=5), timeout=30)
        async def send_email(payload, ctx):
            ...

        worker.main()

    address      servers, "host:port" or several (a list, or joined with commas); None: $LAYERON_JOB_ADDRESS or
                 localhost:7233. One is connected to at a time, the others when it is away
    queues       the queues to take from, at most 32; None: those of the tasks, "default" unless they say
    concurrency  how many handlers run at once; sync ones in threads
    prefetch     how many grants may wait for a free slot; None: as many as `concurrency`, at most 1,000
    namespace    the namespace of tasks and runs
    build_id     the build of your application, shown with every attempt
    credentials  for TLS; None: plain text
    grace        how long running handlers may go on after SIGTERM

    Raises ValueError for a value out of its limits, which it names.
    """

    def __init__(
        self,
        address: str | Sequence[str] | None = None,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int = 10,
        prefetch: int | None = None,
        namespace: str = "default",
        build_id: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        grace: Seconds = 30,
    ) -> None:
        if not 1 <= concurrency <= _CONCURRENCY_MAX:
            raise ValueError(f"concurrency must be 1 to {_CONCURRENCY_MAX}, not {concurrency}")
        if queues is not None and not 1 <= len(queues) <= _QUEUES_MAX:
            raise ValueError(f"queues must be 1 to {_QUEUES_MAX} names, not {len(queues)}")
        for what, name in (("namespace", namespace), *(("queue", queue) for queue in queues or ())):
            if not LOWER_NAME.fullmatch(name):
                raise ValueError(f"{what} must match {LOWER_NAME.pattern}, not {name!r}")
        self.handlers: dict[str, TaskHandler] = {}
        self.ready = asyncio.Event()
        self._servers = Servers(address, credentials)
        self._queues = list(dict.fromkeys(queues)) if queues else None
        self._namespace = namespace
        self._build_id = build_id
        self._grace_seconds = seconds(grace)
        self._stopping = asyncio.Event()
        self._hurry = False
        prefetch = min(concurrency, 1_000) if prefetch is None else prefetch
        self._slots = Slots(concurrency, prefetch)
        self._slots.on_free = self._on_free
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="layeron-job")
        self._session = Session(self._servers, self._hello, self)
        self._deliveries = Deliveries(self._on_delivery, self._credits, concurrency + prefetch)
        self._result_bytes_max = 0
        self._made_at = time.monotonic()
        metrics.watch(self)

    @property
    def slots_used(self) -> int:
        """How many handlers run."""
        return len(self._slots.running)

    @property
    def slots_free(self) -> int:
        """How many more could run now."""
        return self._slots.concurrency - len(self._slots.running)

    @property
    def pulled_at(self) -> float:
        """When JetStream last answered a pull, or no slot was free to pull for (monotonic); at first, when it began."""
        return self._deliveries.pulled_at or self._made_at

    def task(
        self,
        name: str,
        *,
        retry: Retry | None = None,
        timeout: Seconds | None = None,
        queue: str | None = None,
        priority: Priority = "normal",
    ) -> Callable[[_AnyHandler], _AnyHandler]:
        """Register a handler, `handler(payload)` or `handler(payload, ctx)`, async or not, for a task of this name.

        The rest are the task's defaults, which the server is told when the worker starts: `retry` (None: three
        attempts, exponential from 5 s), `timeout` of an attempt (None: 5 minutes), `queue` (None: the worker's first,
        or "default") and `priority`. Raises ValueError for a bad value and for a name that is taken, TypeError for a
        handler of another shape.
        """

        def add(handler: _AnyHandler) -> _AnyHandler:
            if name in self.handlers:
                raise ValueError(f"task {name!r} has a handler already")
            if len(self.handlers) == TASKS_MAX:
                raise ValueError(f"a worker has at most {TASKS_MAX} tasks")
            home = queue or (self._queues[0] if self._queues else "default")
            if self._queues is not None and home not in self._queues:
                raise ValueError(f"task {name!r} is of queue {home!r}, which this worker does not take from")
            self.handlers[name] = task_handler(
                name, handler, retry=retry, timeout=timeout, queue=home, priority=priority
            )
            return handler

        return add

    def main(self) -> None:
        """Run until SIGTERM or Ctrl-C; for the end of a script.

        If handlers in threads have not returned by the end of the grace, they are logged, and the process ends at once,
        without its `atexit` functions, with exit code 75.
        """
        program.settle_memory()
        try:
            asyncio.run(self.run())
        finally:
            program.leave_threads([a for a in self._slots.running if not a.task_handler.is_async])

    async def run(self, *, install_signal_handlers: bool = True) -> None:
        """Register the tasks, then work until `stop` or, with signal handlers, until SIGTERM or SIGINT.

        A second signal ends it without waiting for handlers. Raises WorkerError when the server refuses the tasks or
        this worker; waits for a server that is away.
        """
        if not self.handlers:
            raise ValueError("the worker has no tasks: register a handler with @worker.task(...)")
        stopped = asyncio.create_task(self._stopping.wait())
        with program.signals(self._signaled) if install_signal_handlers else nullcontext():
            try:
                registering = asyncio.create_task(
                    register(self._servers, self._namespace, list(self.handlers.values()))
                )
                if await done_before(stopped, [registering]):
                    await self._work(stopped)
            finally:
                await cancel([registering, stopped])
                self._pool.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Take no more runs and end `run` once those that run are done, at the latest after the grace."""
        self._stopping.set()

    # What the session tells us.

    def connected(self, welcome: pb.Welcome) -> None:
        """A server has welcomed us: pull."""
        self._slots.begin_within_seconds = welcome.begin_within_ms / 1000
        self._result_bytes_max = welcome.result_bytes_max
        self._deliveries.resume(welcome)
        self.ready.set()

    def disconnected(self) -> None:
        """No server is connected: starting anything would be blind."""
        self._deliveries.pause()

    def granted(self, start_id: int, grant: pb.Grant) -> Attempt:
        """An attempt is ours: begin it as soon as there is a slot."""
        attempt = Attempt(
            start_id,
            grant,
            self.handlers[grant.task],
            self,
            namespace=self._namespace,
            result_bytes_max=self._result_bytes_max,
            pool=self._pool,
        )
        if self._stopping.is_set():
            attempt.never_began(*_SHUTDOWN)
        else:
            self._slots.admit(attempt)
        return attempt

    def settled(self, reply: str) -> None:
        """A start was answered: whatever the answer, JetStream has done its part."""
        self._deliveries.ack(reply)
        self._deliveries.more_credits()

    def unanswered(self, reply: str) -> None:
        """A start had no answer."""
        self._deliveries.nak(reply)

    # What the attempts tell us.

    def attempt_reported(self, attempt: Attempt) -> None:
        """Its outcome is known."""
        self._session.finish(attempt)

    def attempt_ended(self, attempt: Attempt) -> None:
        """Its handler has returned."""
        self._slots.release(attempt)

    def attempt_noted(self, attempt: Attempt) -> None:
        """It has something to tell."""
        self._session.note(attempt)

    def _on_delivery(self, run_id: str, reply: str) -> None:
        if self._stopping.is_set():
            self._deliveries.nak(reply)
        else:
            self._session.start(run_id, reply)

    def _on_free(self) -> None:
        self._deliveries.more_credits()

    def _credits(self) -> int:
        return self._slots.credits() - self._session.unanswered

    def _hello(self) -> pb.Hello:
        queues = self._queues or list(dict.fromkeys(handler.queue for handler in self.handlers.values()))
        if len(queues) > _QUEUES_MAX:
            raise ValueError(f"a worker takes from at most {_QUEUES_MAX} queues; its tasks are of {len(queues)}")
        return pb.Hello(
            namespace=self._namespace,
            build_id=self._build_id,
            sdk_name="layeron-job-worker-python",
            sdk_version=version("layeron-job-worker"),
            protocol_version=1,
            host=socket.gethostname(),
            pid=os.getpid(),
            tasks=list(self.handlers),
            queues=queues,
            slots=self._slots.concurrency,
        )

    async def _work(self, stopped: asyncio.Task[bool]) -> None:
        loops = [
            asyncio.create_task(loop)
            for loop in (
                self._session.run(),
                self._session.write(),
                self._session.keep_lease(),
                self._deliveries.run(),
                self._deliveries.send(),
                self._deliveries.watch(),
                *self._health(),
            )
        ]
        try:
            await done_before(stopped, loops)  # none of them ends by itself, unless something is wrong
            await self._drain()
        finally:
            await cancel(loops)
            await self._deliveries.close()

    def _health(self) -> list[Coroutine[Any, Any, None]]:
        """The loop that keeps the health file, if there is to be one."""
        from layeron_job_worker import health  # not with this module: it is a program too, which Python runs only once

        name = os.environ.get(health.VARIABLE)
        if not name:
            return []
        return [health.keep_file(Path(name), lambda: min(self._session.heard_at, self._deliveries.pulled_at))]

    async def _drain(self) -> None:
        """Hand back what has not begun, wait for what runs, report the rest as interrupted, say goodbye."""
        logger.info("stopping; %d handlers run", len(self._slots.running))
        self._slots.hand_back_waiting(*_SHUTDOWN[1:])
        await self._deliveries.stop()
        await self._until(lambda: not self._slots.running, self._grace_seconds)
        for attempt in list(self._slots.running):
            attempt.shut_down()
        await self._until(lambda: not self._slots.running, _UNWIND_SECONDS)
        for attempt in list(self._slots.running):
            attempt.give_up()
        await self._until(lambda: self._session.is_settled, _REPORT_SECONDS)
        await self._session.leave(_GOODBYE_SECONDS)

    async def _until(self, over: Callable[[], bool], limit_seconds: float) -> None:
        """Wait until it is over, at most so long, and not at all when told to hurry."""
        deadline = time.monotonic() + limit_seconds
        while not over() and not self._hurry and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)

    def _signaled(self) -> None:
        if self._stopping.is_set():
            logger.warning("told to stop again: handlers are not waited for")
            self._hurry = True
        self.stop()

"""The only place that builds things, and decides in which order they start and stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from layeron_job_server.broker import Broker, BrokerAway, NatsAccess, connect_when_there
from layeron_job_server.loops.depths import EVERY_SECONDS as DEPTHS_SECONDS
from layeron_job_server.loops.depths import Depths, offer_means
from layeron_job_server.loops.dispatcher import Dispatcher
from layeron_job_server.loops.every import every
from layeron_job_server.loops.pruner import prune_once
from layeron_job_server.loops.reconciler import Audit, reconcile_once, repair_stream_once, tidy_once
from layeron_job_server.operations.attempts import AttemptWriters, attempt_writers
from layeron_job_server.operations.control import CancelWriter, cancel_writer
from layeron_job_server.operations.enqueue import EnqueueWriter, enqueue_writer
from layeron_job_server.operations.sessions import SessionWriters, session_writers
from layeron_job_server.operations.system import System, TaskCache
from layeron_job_server.operations.watching import Watching
from layeron_job_server.operations.writer import Writer
from layeron_job_server.rpc.job_service import JobServicer
from layeron_job_server.rpc.server import GrpcServer
from layeron_job_server.rpc.task_service import TaskServicer
from layeron_job_server.rpc.worker_service import WorkerAccess, WorkerServicer
from layeron_job_server.settings import Settings
from layeron_job_server.store.database import Database
from layeron_job_server.store.depths import is_writable
from layeron_job_server.telemetry.health import Health
from layeron_job_server.telemetry.http import HttpServer

log = logging.getLogger(__name__)

_TIDY_SECONDS = 60.0
_PRUNE_SECONDS = 600.0
_HEALTH_SECONDS = 2.0
_LOOPS_STOP_SECONDS = 10.0
_GC_THRESHOLDS = (50_000, 20, 50)


@dataclass(frozen=True, slots=True)
class Writers:
    """Every coalescing writer of this process."""

    enqueue: EnqueueWriter
    cancel: CancelWriter
    attempts: AttemptWriters
    sessions: SessionWriters

    @classmethod
    def of(cls, system: System) -> Writers:
        """The writers of a system."""
        return cls(enqueue_writer(system), cancel_writer(system), attempt_writers(system), session_writers(system))

    def all(self) -> Sequence[Writer[Any, Any]]:
        """Every one of them, to be run."""
        return self.enqueue, self.cancel, *self.attempts.all(), *self.sessions.all()


class App:
    """A server process: `async with App(settings) as app` starts it; leaving stops it, listener first, pool last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.broker = Broker(
            _nats_access(settings, settings.nats_url),
            prefix=settings.nats_prefix,
            ack_wait=timedelta(milliseconds=settings.ack_wait_ms),
            replicas=settings.nats_replicas,
        )
        self.database = Database(settings.database_url, pool_size=settings.database_pool_size)
        self.dispatcher = Dispatcher(self.broker)
        self.audit = Audit()
        self.system = System(
            settings=settings,
            database=self.database,
            tasks=TaskCache(self.database),
            ring=self.dispatcher.ring,
            hint_cancel=self._hint_cancel,
            chance=random.SystemRandom().random,
        )
        self.writers = Writers.of(self.system)
        self.watching = Watching(self.system)
        worker_access = WorkerAccess(_nats_access(settings, settings.nats_worker_url or settings.nats_url), self.broker)
        self.health = Health(lambda: self.database.read(is_writable), lambda: self.broker.is_connected)
        self.depths = Depths(self.system.telemetry.metrics)
        offer_means(self.system.telemetry.metrics, self.health, self.database)
        self.worker_servicer = WorkerServicer(self.system, self.writers.attempts, self.writers.sessions, worker_access)
        self.port = 0
        self.http_port = 0
        self._look_for_cancels = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stack = AsyncExitStack()
        self._hints: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """host:port where it listens."""
        return f"{self.settings.grpc_address.rpartition(':')[0]}:{self.port}"

    async def __aenter__(self) -> App:
        async with AsyncExitStack() as stack:  # what has started is stopped again if the rest does not start
            stack.push_async_callback(asyncio.to_thread, self.system.telemetry.close)
            stack.push_async_callback(self.database.close)
            stack.push_async_callback(self.broker.close)
            stack.push_async_callback(self._run_writers())
            stack.push_async_callback(self._run_loops())
            if self.settings.http_address:
                http = HttpServer(self.system.telemetry.metrics, self.health)
                self.http_port = await http.start(self.settings.http_address)
                stack.push_async_callback(http.stop)
            server = GrpcServer(
                self.system,
                JobServicer(
                    self.system, enqueue=self.writers.enqueue, cancel=self.writers.cancel, watching=self.watching
                ),
                TaskServicer(self.system, self._ensure_consumers),
                self.worker_servicer,
                self.health,
            )
            self.port = await server.start(self.settings.grpc_address)
            stack.push_async_callback(server.stop, self.settings.drain_seconds)
            self._stack = stack.pop_all()
        log.info("listening on port %d", self.port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _run_writers(self) -> Callable[[], Awaitable[None]]:
        for writer in self.writers.all():
            writer.observe = self.system.telemetry.metrics.batch
        tasks = [asyncio.create_task(writer.run(), name=f"{writer.name} writer") for writer in self.writers.all()]

        async def stop() -> None:
            for writer in self.writers.all():
                writer.stop()
            await asyncio.wait(tasks)

        return stop

    def _run_loops(self) -> Callable[[], Awaitable[None]]:
        settings, until = self.settings, self._stopping

        starting = True

        async def reconcile() -> None:
            nonlocal starting
            await reconcile_once(self.system, starting=starting)
            starting = False

        async def sweep() -> None:
            await self.dispatcher.sweep_once(self.system)

        async def tidy() -> None:
            await tidy_once(self.system)

        async def prune() -> None:
            await prune_once(self.system, until=until)

        async def read_depths() -> None:
            await self.depths.read_once(self.system, self.broker)

        loops = [
            every(_HEALTH_SECONDS, self.health.look_once, until=until),
            every(DEPTHS_SECONDS, read_depths, until=until),
            self.dispatcher.run(self.system, until),
            self.watching.run(until),
            self._keep_stream(until),
            every(settings.sweep_interval_ms / 1000, sweep, until=until),
            every(settings.reconcile_interval_ms / 1000, reconcile, until=until),
            every(_TIDY_SECONDS, tidy, until=until),
            every(_PRUNE_SECONDS, prune, until=until),
            every(
                settings.cancel_poll_interval_ms / 1000,
                self.worker_servicer.tell_cancels_once,
                until=until,
                wake=self._look_for_cancels,
            ),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        self.broker.on_cancel_hint(self._look_for_cancels.set)

        async def stop() -> None:
            until.set()
            self.dispatcher.stop()
            self.watching.stop()
            _, late = await asyncio.wait(tasks, timeout=_LOOPS_STOP_SECONDS)
            for task in late:
                task.cancel()

        return stop

    async def _keep_stream(self, until: asyncio.Event) -> None:
        """Connect to NATS whenever it is there, then keep stream and consumers, and audit the deliveries."""
        connecting = asyncio.create_task(connect_when_there(self.broker))
        stop = asyncio.create_task(until.wait())
        await asyncio.wait([connecting, stop], return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            connecting.cancel()
            return
        connects = 0

        async def keep() -> None:
            nonlocal connects
            await self.broker.check()
            if await repair_stream_once(self.system, self.broker) or connects != self.broker.connects:
                self.audit.restart()
                connects = self.broker.connects
            await self.audit.audit_once(self.system, self.broker)

        await every(self.settings.audit_interval_ms / 1000, keep, until=until)
        stop.cancel()

    async def _ensure_consumers(self, queues: Sequence[tuple[str, str]]) -> None:
        """Make a queue's consumers at once; without NATS the next turn makes them."""
        try:
            await self.broker.ensure_stream()
            await self.broker.ensure_consumers(queues)
        except BrokerAway as error:
            log.warning("consumers are made later: %s", error)

    def _hint_cancel(self) -> None:
        self._look_for_cancels.set()
        task = asyncio.get_running_loop().create_task(self.broker.hint_cancel())
        self._hints.add(task)
        task.add_done_callback(self._hints.discard)


def _nats_access(settings: Settings, urls: str) -> NatsAccess:
    return NatsAccess(
        tuple(url.strip() for url in urls.split(",")), settings.nats_user, settings.nats_password, settings.nats_token
    )


async def serve(settings: Settings, *, ready: Callable[[App], object] = lambda _: None) -> None:
    """Run a server until SIGTERM or SIGINT. `ready` is called once it listens."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        async with App(settings) as app:
            _collect_garbage_rarely()
            ready(app)
            await stop.wait()
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)


def _collect_garbage_rarely() -> None:
    """Reference counts free nearly all that requests leave behind, and what starts with the server stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)

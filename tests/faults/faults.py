"""Injects the planned faults, and heals each one. A fault is a context: what it does, then what undoes it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg
import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from layeron_job_server.failpoints import VARIABLE

from .plan import Fault
from .programs import with_children
from .proxy import Link, Mode
from .records import Injected
from .system import PREFIX, System

STREAM: Final = PREFIX.upper()
_TERM_SECONDS: Final = 15.0
_TERMINATE_SECONDS: Final = 0.1
_JETSTREAM_SECONDS: Final = 2.0
_CHUNK: Final = bytes(1 << 20)


class NotDone(Exception):
    """Why a fault could not be done now, such as NATS being away."""


class Injector:
    """Does what the plan says, and notes it."""

    def __init__(self, system: System) -> None:
        self.done: list[Injected] = []
        self._system = system

    async def run(self, faults: Sequence[Fault], began: float) -> None:
        """Inject the faults at their times after `began` (monotonic); ends once all are healed."""
        async with asyncio.TaskGroup() as under_way:
            for fault in faults:
                await asyncio.sleep(began + fault.at_seconds - time.monotonic())
                under_way.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        program = self._system.programs.get(fault.target)
        pid, failed = program.pid if program else 0, ""
        began_ns = time.monotonic_ns()
        try:
            async with _KINDS[fault.kind](self._system, fault):
                await asyncio.sleep(fault.seconds)
        except NotDone as error:
            failed = str(error)
        self.done.append(Injected(fault.kind, fault.target, began_ns, time.monotonic_ns(), pid, fault.detail, failed))


@asynccontextmanager
async def _kill(system: System, fault: Fault) -> AsyncIterator[None]:
    program = system.programs[fault.target]
    program.hold()
    program.tell(signal.SIGKILL)
    yield
    program.release()


@asynccontextmanager
async def _stop(system: System, fault: Fault) -> AsyncIterator[None]:
    program = system.programs[fault.target]
    pid = program.pid
    program.tell(signal.SIGSTOP)
    yield
    if program.pid == pid:
        program.tell(signal.SIGCONT)


@asynccontextmanager
async def _restart(system: System, fault: Fault) -> AsyncIterator[None]:
    """Ask it to end, the way a deploy does."""
    program = system.programs[fault.target]
    program.hold()
    program.tell(signal.SIGTERM)
    if not await program.ended(_TERM_SECONDS):
        program.tell(signal.SIGKILL)
    yield
    program.release()


@asynccontextmanager
async def _failpoint(system: System, fault: Fault) -> AsyncIterator[None]:
    """Start the server anew with a failpoint armed; and without it at the end."""
    program = system.programs[fault.target]
    program.once = {VARIABLE: fault.detail}
    program.tell(signal.SIGKILL)
    yield
    program.tell(signal.SIGKILL)


@asynccontextmanager
async def _kill_nats(system: System, fault: Fault) -> AsyncIterator[None]:
    await system.nats.kill()
    yield
    await system.nats.restart()


@asynccontextmanager
async def _stop_nats(system: System, fault: Fault) -> AsyncIterator[None]:
    os.kill(system.nats.pid, signal.SIGSTOP)
    yield
    os.kill(system.nats.pid, signal.SIGCONT)


@asynccontextmanager
async def _roll_back_nats(system: System, fault: Fault) -> AsyncIterator[None]:
    """What a loss of power does to a disk that was not synced: later, all is as it was now."""
    copy = system.folder / "nats.copy"
    shutil.rmtree(copy, ignore_errors=True)
    os.kill(system.nats.pid, signal.SIGSTOP)
    subprocess.run(["cp", "-a", system.nats_store, copy], check=True)
    os.kill(system.nats.pid, signal.SIGCONT)
    yield
    await system.nats.kill()
    for path in system.nats_store.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    subprocess.run(["cp", "-a", f"{copy}/.", system.nats_store], check=True)
    await system.nats.restart()


@asynccontextmanager
async def _fill_disk(system: System, fault: Fault) -> AsyncIterator[None]:
    """nats-server gives JetStream up when its disk is full, until it is started anew."""
    if not system.small_disk:
        raise NotDone("no small disk could be mounted here")
    filler = system.nats_store / "filler"
    await asyncio.to_thread(_fill, filler)
    yield
    filler.unlink()
    await system.nats.restart()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(_CHUNK):
            pass


@asynccontextmanager
async def _purge_stream(system: System, fault: Fault) -> AsyncIterator[None]:
    async with _jetstream(system) as jetstream:
        await jetstream.purge_stream(STREAM)
    yield


@asynccontextmanager
async def _delete_stream(system: System, fault: Fault) -> AsyncIterator[None]:
    async with _jetstream(system) as jetstream:
        await jetstream.delete_stream(STREAM)
    yield


@asynccontextmanager
async def _delete_consumers(system: System, fault: Fault) -> AsyncIterator[None]:
    async with _jetstream(system) as jetstream:
        for consumer in await jetstream.consumers_info(STREAM):
            await jetstream.delete_consumer(STREAM, consumer.name)
    yield


@asynccontextmanager
async def _jetstream(system: System) -> AsyncIterator[JetStreamContext]:
    """JetStream, not through a proxy. Raises NotDone when it is away or has no such stream."""
    try:
        client = await nats.connect(system.nats.url, allow_reconnect=False, connect_timeout=2, error_cb=_ignore)
    except (AssertionError, NatsError, OSError, TimeoutError) as error:
        raise NotDone(f"nats-server is away: {error!r}") from error
    try:
        yield client.jetstream(timeout=_JETSTREAM_SECONDS)
    except (NatsError, OSError, TimeoutError) as error:
        raise NotDone(repr(error)) from error
    finally:
        with suppress(NatsError, OSError, TimeoutError):
            await client.close()


async def _ignore(_error: Exception) -> None:
    """What a call meets is raised by the call."""


@asynccontextmanager
async def _crash_postgres(system: System, fault: Fault) -> AsyncIterator[None]:
    """What PostgreSQL calls an immediate shutdown: it recovers from its log at the next start."""
    os.kill(system.postgres.pid, signal.SIGQUIT)
    yield
    await system.postgres.restart()


@asynccontextmanager
async def _stop_postgres(system: System, fault: Fault) -> AsyncIterator[None]:
    pids = with_children(system.postgres.pid)
    _tell_all(pids, signal.SIGSTOP)
    yield
    _tell_all(pids, signal.SIGCONT)


def _tell_all(pids: Sequence[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


@asynccontextmanager
async def _terminate_backends(system: System, fault: Fault) -> AsyncIterator[None]:
    """Again and again, whatever the servers' connections do at that moment, COMMIT included."""
    terminating = asyncio.create_task(_terminate(system.postgres.url))
    yield
    terminating.cancel()
    await asyncio.gather(terminating, return_exceptions=True)


async def _terminate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        while True:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'layeron-job' "
                "and (state <> 'idle' and random() < 0.5 or random() < 0.02)"
            )
            await asyncio.sleep(_TERMINATE_SECONDS)
    finally:
        await connection.close()


@asynccontextmanager
async def _break_link(system: System, fault: Fault) -> AsyncIterator[None]:
    link = system.links[fault.target]
    mode, _, delay_ms = fault.detail.partition(" ")
    match mode:
        case "cut":
            link.cut()
        case "half_open":
            link.forget()
        case _:
            link.set(Mode(mode), delay_seconds=int(delay_ms or 0) / 1000)
    yield
    link.set(Mode.PASS)


@asynccontextmanager
async def _cut_commits(system: System, fault: Fault) -> AsyncIterator[None]:
    link = system.links[fault.target]
    link.set(Mode.CUT_COMMITS)
    yield
    link.set(Mode.PASS)


@asynccontextmanager
async def _isolate(system: System, fault: Fault) -> AsyncIterator[None]:
    """No packet from or to this worker."""
    links = [link for name, link in system.links.items() if name.startswith(f"{fault.target}-")]
    _set_all(links, Mode.DROP_BOTH)
    yield
    _set_all(links, Mode.PASS)


def _set_all(links: Sequence[Link], mode: Mode) -> None:
    for link in links:
        link.set(mode)


_KINDS: Final[dict[str, Callable[[System, Fault], AbstractAsyncContextManager[None]]]] = {
    "kill server": _kill,
    "stop server": _stop,
    "restart server": _restart,
    "failpoint": _failpoint,
    "kill worker": _kill,
    "stop worker": _stop,
    "restart worker": _restart,
    "kill nats": _kill_nats,
    "stop nats": _stop_nats,
    "roll back nats": _roll_back_nats,
    "fill disk of nats": _fill_disk,
    "purge stream": _purge_stream,
    "delete stream": _delete_stream,
    "delete consumers": _delete_consumers,
    "crash postgres": _crash_postgres,
    "stop postgres": _stop_postgres,
    "terminate backends": _terminate_backends,
    "break link": _break_link,
    "cut commits": _cut_commits,
    "isolate worker": _isolate,
}

"""The real system under test: PostgreSQL, nats-server, two servers and three workers, every link through a proxy.

Links are named after their two ends: "client-s1", "w2-s1", "w2-nats", "s1-postgres", "s1-nats".
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from sqlalchemy.engine import make_url

from layeron_job_server.embedded import Nats, Postgres, folder
from support.processes import free_port

from .programs import Program
from .proxy import Link, proxy

SERVERS: Final = ("s1", "s2")
WORKERS: Final = ("w1", "w2", "w3")
LEASE_MS: Final = 3_000
PREFIX: Final = "job"
CLOCK_SHIFTS: Final = {"w1": 0, "w2": 300, "w3": -300}  # seconds
LINKS: Final = (
    *(f"client-{server}" for server in SERVERS),
    *(f"{worker}-{server}" for worker in WORKERS for server in SERVERS),
    *(f"{worker}-nats" for worker in WORKERS),
    *(f"{server}-{other}" for server in SERVERS for other in ("postgres", "nats")),
)
_READY_SECONDS: Final = 30.0
_DISK_MIB: Final = 96
_PID_IN_NAME: Final = re.compile(rb'"name": ?"layeron-job-worker (\d+)"')

# Only a crash of the machine would lose what is not synced, and none is played here.
_POSTGRES: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
# Times are short, so that much happens in two minutes.
_SETTINGS: Final = {
    "LAYERON_JOB_LEASE_MS": str(LEASE_MS),
    "LAYERON_JOB_HEARTBEAT_INTERVAL_MS": "500",
    "LAYERON_JOB_RECONCILE_INTERVAL_MS": "200",
    "LAYERON_JOB_SWEEP_INTERVAL_MS": "200",
    "LAYERON_JOB_AUDIT_INTERVAL_MS": "500",
    "LAYERON_JOB_AUDIT_OVERDUE_MS": "1500",
    "LAYERON_JOB_LOOK_AHEAD_MS": "2000",
    "LAYERON_JOB_ACK_WAIT_MS": "3000",
    "LAYERON_JOB_BEGIN_WITHIN_MS": "1000",
    "LAYERON_JOB_TIMEOUT_GRACE_MS": "2000",
    "LAYERON_JOB_CANCEL_GRACE_MS": str(LEASE_MS),
    "LAYERON_JOB_DRAIN_SECONDS": "2",
    "LAYERON_JOB_NATS_PREFIX": PREFIX,
}


@dataclass(slots=True)
class System:
    """What runs, and what can be done to it."""

    folder: Path
    postgres: Postgres
    nats: Nats
    small_disk: bool
    links: dict[str, Link] = field(default_factory=lambda: {name: Link(name) for name in LINKS})
    programs: dict[str, Program] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)  # of each server, for clients

    @property
    def nats_store(self) -> Path:
        """Where nats-server keeps its files."""
        return self.folder / "data" / "nats"

    def journal(self, worker: str) -> Path:
        """What the handlers of a worker wrote."""
        return self.folder / f"{worker}.journal"

    def link_of(self, said: bytes) -> Link | None:
        """Whose NATS connection it is that says this first."""
        named = _PID_IN_NAME.search(said)
        pid = int(named[1]) if named else 0
        return next((self.links[f"{name}-nats"] for name in WORKERS if pid and self.programs[name].pid == pid), None)


@asynccontextmanager
async def running(place: Path) -> AsyncIterator[System]:
    """Start everything in a folder that the user of the embedded servers may enter; stop it at the end."""
    data = place / "data"
    async with AsyncExitStack() as stack:
        small_disk = _mount_small_disk(data)
        if small_disk:
            stack.callback(lambda: subprocess.run(["umount", "--lazy", data / "nats"], check=False))
        postgres = await stack.enter_async_context(await Postgres.start(data, settings=_POSTGRES))
        nats = await stack.enter_async_context(await Nats.start(data))
        system = System(place, postgres, nats, small_disk)
        await _run(_command("migrate"), {"LAYERON_JOB_DATABASE_URL": postgres.url})
        ports = {server: free_port() for server in SERVERS}
        worker_nats = await stack.enter_async_context(proxy(Link("nats"), nats.port, choose=system.link_of))
        for server in SERVERS:
            environment = await _server_environment(system, stack, server, ports[server], worker_nats)
            _add(system, stack, Program(server, _command("serve"), environment, place / f"{server}.log"))
            port = await stack.enter_async_context(proxy(system.links[f"client-{server}"], ports[server]))
            system.addresses[server] = f"127.0.0.1:{port}"
        await asyncio.gather(*map(_listening, system.addresses.values()))
        for number, worker in enumerate(WORKERS):
            environment = await _worker_environment(system, stack, worker, number, ports)
            command = [sys.executable, "-m", "faults.worker_process"]
            _add(system, stack, Program(worker, command, environment, place / f"{worker}.log"))
        yield system


def _command(verb: str) -> list[str | Path]:
    return [Path(sys.executable).parent / "layeron-job", verb]


async def _run(command: list[str | Path], environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait() != 0:
        raise RuntimeError(f"{command[-1]} failed")


def _add(system: System, stack: AsyncExitStack, program: Program) -> None:
    system.programs[program.name] = program
    program.start()
    stack.push_async_callback(program.stop)


async def _server_environment(
    system: System, stack: AsyncExitStack, server: str, port: int, worker_nats: int
) -> dict[str, str]:
    links = system.links
    database = await stack.enter_async_context(proxy(links[f"{server}-postgres"], system.postgres.port))
    broker = await stack.enter_async_context(proxy(links[f"{server}-nats"], system.nats.port))
    url = make_url(system.postgres.url).set(port=database)
    return {
        **os.environ,
        **_SETTINGS,
        "LAYERON_JOB_DATABASE_URL": url.render_as_string(hide_password=False),
        "LAYERON_JOB_NATS_URL": f"nats://127.0.0.1:{broker}",
        "LAYERON_JOB_NATS_WORKER_URL": f"nats://127.0.0.1:{worker_nats}",
        "LAYERON_JOB_GRPC_ADDRESS": f"127.0.0.1:{port}",
        "LAYERON_JOB_HTTP_ADDRESS": "",
    }


async def _worker_environment(
    system: System, stack: AsyncExitStack, worker: str, number: int, ports: dict[str, int]
) -> dict[str, str]:
    own = [
        await stack.enter_async_context(proxy(system.links[f"{worker}-{server}"], ports[server])) for server in SERVERS
    ]
    turned = own[number % 2 :] + own[: number % 2]
    return {
        **os.environ,
        "LAYERON_JOB_ADDRESS": ",".join(f"127.0.0.1:{port}" for port in turned),
        "FAULTS_WORKER": worker,
        "FAULTS_JOURNAL": str(system.journal(worker)),
        "FAULTS_CLOCK_SHIFT": str(CLOCK_SHIFTS[worker]),
    }


async def _listening(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), _READY_SECONDS)


def _mount_small_disk(data: Path) -> bool:
    """A small disk of its own for nats-server, so that it can be filled; False where that is not allowed."""
    if sys.platform != "linux" or shutil.which("mount") is None:
        return False
    user = folder.service_user()
    folder.make(data, user)
    store = data / "nats"
    store.mkdir()
    owner = f"uid={user.pw_uid},gid={user.pw_gid}" if user else f"uid={os.getuid()}"
    options = f"size={_DISK_MIB}m,mode=0700,{owner}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", store], check=False, capture_output=True)
    if mounted.returncode != 0:
        store.rmdir()
    return mounted.returncode == 0

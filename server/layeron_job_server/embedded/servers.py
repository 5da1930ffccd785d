"""PostgreSQL and nats-server as child processes: started, watched until they serve, and stopped.

Start them from a thread that lives as long as they shall (the event loop's): Linux ends them with that thread.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from . import folder
from .folder import EmbeddedError, LockedError

_POLL_SECONDS = 0.01
_START_SECONDS = 120.0  # PostgreSQL may have a crash to recover from
_LOG_BYTES_MAX = 16 * 1024 * 1024

# Runs in a fresh interpreter between us and the program. A child must drop its rights before it asks to be told of its
# parent's death, because Linux forgets the wish when the user changes; and the parent may be gone by then already.
# Everything is imported first: the service user may not be able to read our Python.
_BECOME = """
import ctypes, os, sys
parent, uid, gid, wish, *command = sys.argv[1:]
if uid != "-":
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(wish), 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit("the parent is gone")
os.umask(0o077)
os.execv(command[0], command)
"""


class _Server(ABC):
    """One server: its lock, its process, its log."""

    name: ClassVar[str]
    polite: ClassVar[signal.Signals]  # asks for an orderly and quick end
    stop_seconds: ClassVar[float]

    def __init__(self, data: Path, port: int | None) -> None:
        self._user = folder.service_user()
        self._data = folder.make(data, self._user)
        self._home = self._data / self.name
        self._log = self._data / f"{self.name}.log"
        self._port = port
        self._lock = -1
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def port(self) -> int:
        """Where on 127.0.0.1 it listens; the same after a restart."""
        assert self._port is not None, f"{self.name} never ran"
        return self._port

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End it in order; after a bounded time, by force. Does nothing when it does not run."""
        await self._end(self.polite)

    async def kill(self) -> None:
        """End it like a crash (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop it, if it runs, and start it again on the same data and port."""
        await self.stop()
        await self._run()

    async def _run(self) -> None:
        """Take the lock and start. After any failure nothing runs and the lock is free."""
        self._lock = await self._take_lock()
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise

    async def _take_lock(self) -> int:
        """The lock; waits a bounded time for those who hold it but are on their way out."""
        deadline = time.monotonic() + self.stop_seconds
        while True:
            try:
                return folder.lock(self._data, self.name)
            except LockedError as error:
                if not error.leaving or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL_SECONDS)

    @abstractmethod
    async def _launch(self) -> None:
        """Start the program and wait until it serves."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the started program serves."""

    def _spawn(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Start a program as the service user. It inherits the lock, which so holds for as long as the program runs."""
        who = ["-", "-"] if self._user is None else [str(self._user.pw_uid), str(self._user.pw_gid)]
        become = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *who, str(int(self.polite))]
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(log).st_size > _LOG_BYTES_MAX:
                os.truncate(log, 0)
            return subprocess.Popen(
                [*become, *map(str, command)],
                cwd=self._data,
                env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._lock],
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _serve(self, command: Sequence[str | Path]) -> None:
        """Start the program that stays, and wait until it serves."""
        self._process = self._spawn(command)
        atexit.register(self._at_exit)
        folder.note_owner(self._lock, self.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self._complaint("did not start")
            await asyncio.sleep(_POLL_SECONDS)

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is not None:
            process.send_signal(how)
            if not await _ended(process, self.stop_seconds):
                process.kill()
                await _ended(process, self.stop_seconds)
            atexit.unregister(self._at_exit)
            self._process = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _at_exit(self) -> None:
        if self._process is not None:
            self._process.send_signal(self.polite)

    def _complaint(self, what: str) -> EmbeddedError:
        said = self._log.read_text(errors="replace").splitlines()[-10:]
        return EmbeddedError("\n  ".join([f"{self.name} {what}; the end of {self._log}:", *said]))

    def _private(self, path: Path) -> Path:
        """Give a new file or folder to the service user alone."""
        path.chmod(0o700 if path.is_dir() else 0o600)
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        return path


class Postgres(_Server):
    """An embedded PostgreSQL: `async with await Postgres.start(data) as postgres: …postgres.url…`."""

    name = "postgres"
    polite = signal.SIGINT  # what PostgreSQL calls a fast shutdown
    stop_seconds = 30.0

    def __init__(self, data: Path, port: int | None, settings: Mapping[str, str]) -> None:
        super().__init__(data, port)
        self._settings = settings
        self._password = self._data / "postgres-password"

    @classmethod
    async def start(cls, data: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> Self:
        """Start on a data folder, which is made if it is missing. `settings` are PostgreSQL's own. No port: a free one.

        Raises EmbeddedError: a folder that is not ours or closed to the service user, a server that already runs on
        it, a port in use, a wheel that is not installed, or whatever else PostgreSQL complains of.
        """
        postgres = cls(data, port, settings or {})
        await postgres._run()
        return postgres

    @property
    def url(self) -> str:
        """`postgresql://…` of the database `postgres` with the password in it: not for logs."""
        return f"postgresql://layeron:{self._password.read_text()}@127.0.0.1:{self.port}/postgres"

    async def _launch(self) -> None:
        programs = folder.postgres_programs(self._data, self._user)
        if not self._home.exists():
            await self._initialize(programs / "initdb")
        if self._port is None:
            self._port = _free_port()
        # We hold the lock, so no server runs here: what the file says is stale, and its pid may be anybody's by now.
        (self._home / "postmaster.pid").unlink(missing_ok=True)
        fixed = {"listen_addresses": "127.0.0.1", "port": str(self._port), "unix_socket_directories": ""}
        flags = [f"-c{name}={value}" for name, value in {**self._settings, **fixed}.items()]
        await self._serve([programs / "postgres", "-D", self._home, *flags])

    async def _initialize(self, initdb: Path) -> None:
        """Make the cluster beside its place and move it there, so that a half-made one is never taken for whole."""
        new = self._data / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        self._password.touch()
        self._private(self._password).write_text(secrets.token_urlsafe(24))
        # One round of hashing for each connection: more rounds protect passwords that people chose, not random ones.
        flags = ["--auth=scram-sha-256", "--username=layeron", f"--pwfile={self._password}", "--set=scram_iterations=1"]
        flags += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            flags.append("--no-sync")
        process = self._spawn([initdb, "-D", self._private(new), *flags])
        if not await _ended(process, _START_SECONDS) or process.returncode != 0:
            process.kill()
            raise self._complaint("could not be initialized")
        new.rename(self._home)

    def _ready(self) -> bool:
        try:
            lines = (self._home / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"


class Nats(_Server):
    """An embedded nats-server with JetStream: `async with await Nats.start(data) as nats: …nats.url…`."""

    name = "nats"
    polite = signal.SIGTERM
    stop_seconds = 10.0

    @classmethod
    async def start(cls, data: Path, *, port: int | None = None) -> Self:
        """Start on a data folder, which is made if it is missing. No port: a free one. Raises like Postgres.start."""
        nats = cls(data, port)
        await nats._run()
        return nats

    @property
    def url(self) -> str:
        """`nats://127.0.0.1:<port>`."""
        return f"nats://127.0.0.1:{self.port}"

    async def _launch(self) -> None:
        if not self._home.exists():
            self._home.mkdir()
            self._private(self._home)
        for stale in self._home.glob("*.ports"):
            stale.unlink()
        where = ["--addr=127.0.0.1", f"--port={self._port or -1}", f"--ports_file_dir={self._home}"]
        program = folder.nats_program(self._data, self._user)
        await self._serve([program, *where, "--jetstream", f"--store_dir={self._home}"])

    def _ready(self) -> bool:
        try:
            ports = json.loads((self._home / f"nats-server_{self.pid}.ports").read_bytes())
        except (FileNotFoundError, ValueError):  # not there yet, or half written
            return False
        self._port = int(ports["nats"][0].rpartition(":")[2])
        return True


async def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the process's end. False: it still runs."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
    return process.returncode is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

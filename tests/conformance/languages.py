"""The languages: how each one's driver is built, once, and how it is run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .cases import Role

ROOT: Final = Path(__file__).parents[2]
BUILD: Final = ROOT / "build" / "conformance"
_DRIVERS: Final = Path(__file__).parent / "drivers"
_NOT_SOURCE: Final = {"target", "node_modules", "dist", "build", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the table.

    command  the driver, without `call` or `work`
    tools    programs that must be there
    sources  folders that the driver is built of
    build    (folder, command) to build it
    """

    name: str
    command: Sequence[str | Path]
    roles: Sequence[Role] = ("caller", "worker")
    tools: Sequence[str] = ()
    sources: Sequence[Path] = ()
    build: Sequence[tuple[Path, Sequence[str]]] = ()


def _module(name: str) -> list[str | Path]:
    return [sys.executable, "-m", f"conformance.drivers.{name}"]


_GO, _JAVA, _TYPESCRIPT = (_DRIVERS / name for name in ("go", "java", "typescript"))
_CLIENTS: Final = ROOT / "clients"
_NPM: Final = [["npm", "ci", "--silent", "--no-audit", "--no-fund"], ["npm", "run", "--silent", "build"]]

LANGUAGES: Final = {
    language.name: language
    for language in (
        Language("python", _module("python")),
        Language(
            "go",
            [BUILD / "go-driver"],
            tools=["go"],
            sources=[_CLIENTS / "go", _GO],
            build=[(_GO, ["go", "build", "-o", str(BUILD / "go-driver"), "."])],
        ),
        Language(
            "typescript",
            ["node", _TYPESCRIPT / "dist" / "main.js"],
            tools=["node", "npm"],
            sources=[_CLIENTS / "typescript", _TYPESCRIPT],
            build=[(folder, command) for folder in (_CLIENTS / "typescript", _TYPESCRIPT) for command in _NPM],
        ),
        Language(
            "java",
            ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", _JAVA / "target" / "driver.jar"],
            roles=["caller"],
            tools=["java", "mvn"],
            sources=[_CLIENTS / "java", _JAVA],
            build=[
                (_CLIENTS / "java", ["mvn", "-q", "-DskipTests", "install"]),
                (_JAVA, ["mvn", "-q", "package"]),
            ],
        ),
        Language("grpcurl", _module("grpcurl"), roles=["caller"], tools=["grpcurl"]),
    )
}


def environment() -> dict[str, str]:
    """What drivers find around them; the address is added."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "GRPCURL": _program("grpcurl") or "grpcurl"}


def build(language: Language) -> None:
    """Build a driver, unless it is newer than all its sources. RuntimeError says which tool or driver is missing."""
    for tool in language.tools:
        if _program(tool) is None:
            raise RuntimeError(f"{language.name} was asked for, and there is no {tool} on this machine")
    for folder in language.sources:
        if not folder.is_dir():
            raise RuntimeError(f"{language.name} was asked for, and there is no {folder.relative_to(ROOT)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    stamp = BUILD / f"{language.name}.built"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.stat().st_mtime > _newest(language.sources):
            return
        began = time.time()
        for folder, command in language.build:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise RuntimeError(f"{' '.join(command)} in {folder}:\n{ended.stdout}{ended.stderr}")
        stamp.touch()
        os.utime(stamp, (began, began))  # a source that changed meanwhile is newer


def _program(name: str) -> str | None:
    """A program on PATH, or one that `go install` or a test made."""
    return shutil.which(name, path=os.pathsep.join(map(str, _places())))


def _places() -> list[str | Path]:
    go = [os.environ["GOBIN"]] if os.environ.get("GOBIN") else []
    return [
        os.environ.get("PATH", ""),
        *go,
        Path.home() / "go" / "bin",
        ROOT / "build" / "bin",
        ROOT / "build" / "tools",
    ]


def _newest(folders: Sequence[Path]) -> float:
    """When the last change was made to a source."""
    return max((_changed_at(folder) for folder in folders), default=0)


def _changed_at(folder: Path) -> float:
    newest = folder.stat().st_mtime
    for where, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in _NOT_SOURCE]
        newest = max([newest, *(Path(where, name).stat().st_mtime for name in files)])
    return newest

"""The cases as they are written in cases/*.yaml; README.md has the form. A case that is not of it is a ValueError."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Role = Literal["caller", "worker"]

CASES: Final = Path(__file__).parent / "cases"
OPS: Final = {
    *("enqueue", "enqueue_batch", "get", "list", "cancel", "replay", "wait", "watch", "tasks", "pause", "resume"),
}
WORKER_OPS: Final = {"start_worker", "stop_worker", "worker_says", "worker_exits"}
_ROLES: Final[Mapping[str, set[Role]]] = {"callers": {"caller"}, "workers": {"worker"}, "both": {"caller", "worker"}}
_OF_A_CASE: Final = {"name", "for", "worker", "tasks", "server", "not_applicable", "let", "steps"}
_OF_A_STEP: Final = {"by", "error", "expect", "invalid", "meanwhile", "save", "timing", "took_ms", "until"}
_SERVERS: Final = {"", "away", "first_away"}


@dataclass(frozen=True, slots=True)
class Step:
    """One op, what is given to it, and everything else the case says about it."""

    op: str
    given: Mapping[str, Any]
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One promise.

    let         variables to begin with
    tasks       what is registered beforehand
    worker      the order of a worker of its own; None if it needs none or shares one
    server      "away" or "first_away": what is wrong with the caller's addresses
    """

    group: str
    name: str
    roles: set[Role]
    let: Mapping[str, Any]
    steps: list[Step]
    tasks: list[Mapping[str, Any]]
    worker: Mapping[str, Any] | None
    is_sharing: bool
    server: str
    not_applicable: Mapping[str, str]


def load(folder: Path = CASES) -> list[Case]:
    """All cases, by their files and in their order."""
    cases = [_case(path, written) for path in sorted(folder.glob("*.yaml")) for written in _read(path)]
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two cases are named {name!r}")
    return cases


def _read(path: Path) -> list[Any]:
    """The contents of a YAML file. `buf` reads it, which the workbench has; Python has no parser of YAML."""
    buf = Path(sys.executable).parent / "buf"
    command = ["convert", "--type", "google.protobuf.Value", "--from", str(path), "--to", "-#format=json"]
    ended = subprocess.run([buf, *command], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ValueError(f"{path.name} is not YAML: {ended.stderr.splitlines()[0]}")
    cases: list[Any] = json.loads(ended.stdout)
    return cases


def _case(path: Path, written: Mapping[str, Any]) -> Case:
    try:
        if more := written.keys() - _OF_A_CASE:
            raise ValueError(f"nobody knows {sorted(more)}")
        worker = written.get("worker")
        server = written.get("server", "")
        if server not in _SERVERS:
            raise ValueError(f"there is no server {server!r}")
        return Case(
            group=path.stem,
            name=written["name"],
            roles=_ROLES[written["for"]],
            let=written.get("let", {}),
            steps=[step(one) for one in written["steps"]],
            tasks=written.get("tasks", [] if worker else [{"name": "work"}]),
            worker=worker if isinstance(worker, dict) else None,
            is_sharing=worker == "shared",
            server=server,
            not_applicable=written.get("not_applicable", {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}, case {written.get('name')!r}: {error}") from error


def step(written: Mapping[str, Any]) -> Step:
    """One step: a map with exactly one op among its keys."""
    ops = [key for key in written if key in OPS | WORKER_OPS]
    if len(ops) != 1 or written.keys() - _OF_A_STEP - {*ops}:
        raise ValueError(f"a step has one op and {', '.join(sorted(_OF_A_STEP))}, not {sorted(written)}")
    said = {key: value for key, value in written.items() if key != ops[0]}
    return Step(ops[0], written[ops[0]] or {}, said)

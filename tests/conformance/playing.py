"""Plays a case: does its steps one after the other, and says where an answer is not what it should be."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from layeron_job import Client, TaskDefinition, new_run_id

from .cases import WORKER_OPS, Case, Step, step
from .languages import Language
from .matching import differences, found, made, milliseconds
from .processes import Caller, WorkerProcess, worker

_UNTIL_SECONDS: Final = 30.0
_REGISTER_SECONDS: Final = 40.0
_MEANWHILE_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 0.05


class Unlike(Exception):
    """Something is not what the case says."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a case is played with.

    caller     calls; `reference` does so where a step says `by: reference`, and in `meanwhile`
    language   of the workers that the case starts
    namespace  the case's own, or that of the worker it shares
    """

    caller: Caller
    reference: Caller
    language: Language
    address: str
    namespace: str


async def play(case: Case, scene: Scene) -> None:
    """Play it to its end. Raises Unlike, and DriverError for a driver that fails."""
    if case.tasks and not case.is_sharing:
        async with Client(scene.address, namespace=scene.namespace, timeout=_REGISTER_SECONDS) as client:
            await client.tasks.register([TaskDefinition(**task) for task in case.tasks])
    async with AsyncExitStack() as stack:
        player = _Player(case, scene, stack)
        if case.worker is not None:
            await player.start_worker(case.worker)
        for number, one in enumerate(case.steps, 1):
            try:
                await player.do(one)
            except Unlike as unlike:
                raise Unlike(f"step {number}, {one.op}: {unlike}") from None


class _Player:
    def __init__(self, case: Case, scene: Scene, stack: AsyncExitStack) -> None:
        self._scene = scene
        self._stack = stack
        self._worker: WorkerProcess | None = None
        self._variables: dict[str, Any] = {
            "namespace": scene.namespace,
            "unique": secrets.token_hex(6),
            "run_id": new_run_id(),
            "other_run_id": new_run_id(),
        }
        for name, written in case.let.items():
            self._variables[name] = self._made(written)

    async def do(self, one: Step) -> None:
        """Do a step. Raises Unlike."""
        began = time.monotonic()
        if one.op in WORKER_OPS:
            await self._of_worker(one)
        else:
            await self._of_caller(one)
        took_ms = (time.monotonic() - began) * 1000
        for difference in differences(
            {"$between": one.said.get("took_ms", [0, 1e9])}, took_ms, "the time it took, in ms"
        ):
            raise Unlike(difference)

    async def start_worker(self, order: Mapping[str, Any]) -> None:
        """Start a worker of the case's own, in place of the one before."""
        order = {"namespace": self._scene.namespace, "concurrency": 10, "grace_ms": 5_000, **order}
        self._worker = await self._stack.enter_async_context(worker(self._scene.language, self._scene.address, order))

    async def _of_caller(self, one: Step) -> None:
        caller = self._scene.reference if one.said.get("by") == "reference" else self._scene.caller
        deadline = time.monotonic() + (_UNTIL_SECONDS if "until" in one.said else 0)
        while True:
            asking = asyncio.create_task(self._ask(caller, one))
            try:
                await self._meanwhile(one, asking)
                answer = await asking
            finally:
                asking.cancel()
            problems = self._problems(one.said, answer)
            if not problems:
                break
            if time.monotonic() > deadline:
                raise Unlike("; ".join(problems))
            await asyncio.sleep(_LOOK_SECONDS)
        for name, path in one.said.get("save", {}).items():
            self._variables[name] = found(path, answer["ok"])

    async def _ask(self, caller: Caller, one: Step) -> dict[str, Any]:
        given = self._made(one.given)
        return await caller.ask({"op": one.op, "namespace": self._scene.namespace, **given})

    async def _meanwhile(self, one: Step, asking: asyncio.Task[Any]) -> None:
        """Until the answer is there, repeat other steps: nobody can say when a watch has begun."""
        others = [step(other) for other in one.said.get("meanwhile", [])]
        while others and not asking.done():
            for other in others:
                await self._of_caller(Step(other.op, other.given, {**other.said, "by": "reference"}))
            await asyncio.wait([asking], timeout=_MEANWHILE_SECONDS)

    def _problems(self, said: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        if "invalid" in said:
            return _not_invalid(said["invalid"], answer)
        if "error" in said:
            return list(differences({"error": self._made(said["error"])}, answer))
        if "ok" not in answer:
            error = answer.get("error", {})
            return [f"{error.get('type')} {error.get('reason')}: {error.get('message')} {error.get('violations')}"]
        expected = self._made(said.get("until", said.get("expect", {})))
        return [
            *differences(expected, answer["ok"]),
            *(problem for limits in said.get("timing", []) for problem in self._untimely(limits, answer["ok"])),
        ]

    def _untimely(self, limits: Mapping[str, Any], answer: Any) -> list[str]:
        """Whether the time `from` one moment `to` another is `at_least_ms` and `at_most_ms`."""
        try:
            times = [self._moment(limits[name], answer) for name in ("from", "to")]
        except (KeyError, Unlike) as missing:
            return [str(missing)]
        between = [limits.get("at_least_ms", 0), limits.get("at_most_ms", 1e9)]
        where = f"the ms from {limits['from']} to {limits['to']}"
        return list(differences({"$between": between}, milliseconds(*times), where))

    def _moment(self, written: str, answer: Any) -> str:
        """A path into the answer, or a time that was saved."""
        moment = self._made(written) if written.startswith("$") else found(written, answer)
        if not isinstance(moment, str):
            raise Unlike(f"{written}: {moment} is not a time")
        return moment

    async def _of_worker(self, one: Step) -> None:
        given = self._made(one.given)
        if one.op == "start_worker":
            await self.start_worker(given)
            return
        assert self._worker, "the case has no worker of its own"
        if one.op == "worker_says":
            await self._worker.hear(given)
            return
        code = await (self._worker.stop() if one.op == "stop_worker" else self._worker.ended())
        if code != given.get("code", 0):
            raise Unlike(f"the worker ended with {code}, not {given.get('code', 0)}")

    def _made(self, written: Any) -> Any:
        return made(written, self._variables)


def _not_invalid(fields: str | list[str], answer: Mapping[str, Any]) -> list[str]:
    """Refused by the client, which names the field, or by the server; some fields have two names."""
    names = [fields] if isinstance(fields, str) else fields
    error = answer.get("error", {})
    if error.get("type") == "Refused" and any(name in error["message"] for name in names):
        return []
    by_server = {"type": "InvalidRequest", "code": "INVALID_ARGUMENT", "reason": "INVALID_ARGUMENT"}
    return list(differences({"error": {**by_server, "violations": [{"field": {"$one_of": names}}]}}, answer))

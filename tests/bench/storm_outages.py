"""Something is away, or in the way, for long, while runs flow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import grpc
import orjson

from layeron.job.v1 import job_service_pb2 as pb

from .storm_system import StormSystem, memory_watched, peaks, spread, storm_system

_CALM_SECONDS: Final = 10.0
_CALL_SECONDS: Final = 30.0
_LONG_RUNS: Final = 100
_DRAIN_SECONDS: Final = 600.0


@dataclass(slots=True)
class Flow:
    """Enqueues at a steady rate, whether or not the ones before have been answered, and how each fared."""

    system: StormSystem
    per_second: float
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    codes: dict[str, Counter[str]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    phase: str = ""
    _calls: set[asyncio.Task[None]] = field(default_factory=set)
    _flowing: asyncio.Task[None] | None = None

    def begin(self, phase: str) -> None:
        """From now on calls belong to this phase."""
        self.phase = phase
        self.milliseconds[phase], self.codes[phase] = [], Counter()
        self.since[phase] = time.time()
        if self._flowing is None:
            self._flowing = asyncio.create_task(self._flow())

    async def end(self) -> int:
        """Stop, and wait for the last answers; how many runs were made."""
        assert self._flowing is not None
        self._flowing.cancel()
        await asyncio.gather(self._flowing, *self._calls, return_exceptions=True)
        return sum(codes["OK"] for codes in self.codes.values())

    async def _flow(self) -> None:
        due = time.monotonic()
        while True:
            call = asyncio.create_task(self._call(self.phase))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            due += 1 / self.per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _call(self, phase: str) -> None:
        began = time.monotonic()
        payload = orjson.dumps({"at": time.time(), "phase": phase})
        request = pb.EnqueueRequest(task="calm", payload_json=payload, json_form=pb.JSON_FORM_BYTES)
        try:
            await self.system.jobs.Enqueue(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            self.codes[phase][error.code().name] += 1
        else:
            self.codes[phase]["OK"] += 1
        self.milliseconds[phase].append((time.monotonic() - began) * 1000)

    def figures(self, phase: str) -> dict[str, float]:
        """How the calls of a phase fared."""
        told = {f"{phase}: enqueues answered {code}": count for code, count in sorted(self.codes[phase].items())}
        return {**told, **spread(f"{phase}: enqueue", self.milliseconds[phase])}


async def nats_away(seconds: float, rate: float) -> dict[str, float]:
    """nats-server is killed and comes back after so long; nobody is to notice but who waits for a handler."""
    async with storm_system() as system, memory_watched(system) as memory:
        await system.start_worker("calm")
        flow = Flow(system, rate)
        flow.begin("before")
        await asyncio.sleep(_CALM_SECONDS)
        await system.nats.kill()
        flow.begin("away")
        await asyncio.sleep(seconds)
        ((backlog,),) = await system.fetch("select count(*) from open_runs")
        back = time.monotonic()
        await system.nats.restart()
        flow.begin("after")
        ((taken,),) = await system.fetch("select now()")
        older = "select count(*) from open_runs o join runs r using (run_id) where r.created_at < $1"
        while (await system.fetch(older, taken))[0][0]:
            await asyncio.sleep(0.1)
        drained = time.monotonic() - back
        await asyncio.sleep(_CALM_SECONDS)
        made = await flow.end()
        await system.until_terminal(made, seconds=_DRAIN_SECONDS)
        return {
            "away, s": seconds,
            **flow.figures("before"),
            **flow.figures("away"),
            "backlog when it came back": backlog,
            "from its start until the backlog was done, s": drained,
            **flow.figures("after"),
            **peaks(memory),
        }


async def postgres_away(seconds: float) -> dict[str, float]:
    """PostgreSQL crashes while handlers run, of which half end meanwhile, and comes back after so long."""
    async with storm_system() as system, memory_watched(system) as memory:
        await system.start_worker("calm", 2 * _LONG_RUNS)
        for number in range(_LONG_RUNS):
            lasts = seconds * (0.3 if number % 2 else 1.2) + 5
            payload = orjson.dumps({"at": time.time(), "seconds": lasts})
            await system.jobs.Enqueue(pb.EnqueueRequest(task="long", payload_json=payload))
        running = "select count(*) from open_runs where status = 'running'"
        while (await system.fetch(running))[0][0] < _LONG_RUNS:
            await asyncio.sleep(0.1)
        await system.postgres.kill()
        gone = time.monotonic()
        codes, waits = Counter[str](), []
        while time.monotonic() - gone < seconds:
            code, wait = await _enqueue_once(system)
            codes[code] += 1
            waits.append(wait)
            await asyncio.sleep(0.5)
        await system.postgres.restart()
        back = time.monotonic()
        while (await _enqueue_once(system))[0] != "OK":
            await asyncio.sleep(0.05)
        answered = time.monotonic() - back
        await system.until_terminal(_LONG_RUNS + 1, seconds=seconds + _DRAIN_SECONDS)
        attempts = await system.fetch("select status, count(*) from attempts group by 1")
        ended = {row[0]: row[1] for row in attempts}
        return {
            "away, s": seconds,
            "attempts that ran": _LONG_RUNS,
            **{f"attempts {status}": ended.get(status, 0) for status in ("succeeded", "lost", "interrupted", "failed")},
            **{f"calls answered {code} meanwhile": count for code, count in sorted(codes.items())},
            "until the first call was answered, ms": waits[0],
            **spread("until a call was answered meanwhile", waits),
            "from its return to the first OK, s": answered,
            **peaks(memory),
        }


async def _enqueue_once(system: StormSystem) -> tuple[str, float]:
    began = time.monotonic()
    code = "OK"
    try:
        payload = orjson.dumps({"at": time.time()})
        await system.jobs.Enqueue(pb.EnqueueRequest(task="calm", payload_json=payload), timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        code = error.code().name
    return code, (time.monotonic() - began) * 1000


async def open_transaction(seconds: float, rate: float) -> dict[str, float]:
    """A transaction with a snapshot and a number is left open in the server's database for so long."""
    calm = min(60.0, seconds / 2)
    figures: dict[str, float] = {"open, s": seconds}
    async with storm_system() as system, memory_watched(system) as memory:
        await system.start_worker("calm")
        flow = Flow(system, rate)
        flow.begin("before")
        await asyncio.sleep(calm)
        left_open = await asyncpg.connect(system.postgres.url)
        async with left_open.transaction(isolation="repeatable_read"):
            await left_open.fetchval("select count(*), pg_current_xact_id() from open_runs")
            flow.begin("first half of it")
            await asyncio.sleep(seconds / 2)
            flow.begin("second half of it")
            await asyncio.sleep(seconds / 2)
            figures |= await _dead_rows(system, "at its end")
        await left_open.close()
        flow.begin("after")
        await asyncio.sleep(calm)
        made = await flow.end()
        await system.until_terminal(made, seconds=_DRAIN_SECONDS)
        for phase in flow.codes:
            figures |= flow.figures(phase) | await _phase(system, phase)
        return {**figures, **await _dead_rows(system, "after"), **peaks(memory)}


async def _phase(system: StormSystem, phase: str) -> dict[str, float]:
    rows = await system.fetch(
        "select (a.result ->> 'delay_ms')::float8, a.ended_at from attempts a join runs r using (run_id) "
        "where r.payload ->> 'phase' = $1",
        phase,
    )
    ends = [row[1] for row in rows]
    return {
        **spread(f"{phase}: enqueue to handler", [row[0] for row in rows]),
        f"{phase}: runs ended per second": len(rows) / max(1e-9, (max(ends) - min(ends)).total_seconds()),
    }


async def _dead_rows(system: StormSystem, when: str) -> dict[str, float]:
    rows = await system.fetch(
        "select relname, pg_relation_size(relid) / 1048576.0 from pg_stat_user_tables "
        "where relname in ('open_runs', 'outbox')"
    )
    return {f"{row[0]} {when}, MiB": float(row[1]) for row in rows}

"""What one seed stands for: the calls that clients make and the faults that are injected, and when.

Nothing here looks at a clock or at the system: the same seed, length and beginning give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final
from uuid import UUID

from layeron_job.ids import encode

from .records import Asked
from .system import LINKS, SERVERS, WORKERS

CLIENTS: Final = ("both", "turned", *SERVERS)  # by the servers they know
POLICIES: Final = ("fixed", "custom", "exponential", "jitter", "elapsed", "fatal")
PAUSABLE: Final = ("flaky", "slow")
FAILPOINTS: Final = (
    "enqueue.committed", "ring.published", "start.committed", "finish.committed", "session.resumed", "session.expired",
)  # fmt: skip

_CALL_SECONDS: Final = 0.06  # the mean time between two calls
_FAULT_SECONDS: Final = 2.0  # and between two faults
_FIRST_FAULT_SECONDS: Final = 2.0
_KEYS: Final = 60
_RECENT: Final = 60

TASKS: Final = {
    "succeed": 250, "flaky": 75, "fail": 50, "hang": 12, "stubborn": 10, "thread": 10, "slow": 30, "crash": 1,
}  # fmt: skip
_CALLS: Final = {
    "now": 30, "later": 14, "batch": 8, "keyed": 10, "herd": 2, "again": 4, "cancel": 14, "replay": 8, "get": 8,
    "pause": 1,
}  # fmt: skip

# How often each fault is chosen, and how long it lasts in seconds.
FAULTS: Final[dict[str, tuple[int, float, float]]] = {
    "kill server": (5, 0.1, 4),
    "stop server": (4, 0.3, 7),
    "restart server": (2, 0.1, 1),
    "failpoint": (8, 2, 6),
    "kill worker": (4, 0.1, 4),
    "stop worker": (5, 0.3, 8),
    "restart worker": (2, 0.1, 1),
    "kill nats": (3, 0.1, 5),
    "stop nats": (2, 0.3, 6),
    "roll back nats": (2, 1, 5),
    "fill disk of nats": (1, 1, 3),
    "purge stream": (2, 0, 0),
    "delete stream": (2, 0, 0),
    "delete consumers": (2, 0, 0),
    "crash postgres": (3, 0.1, 3),
    "stop postgres": (2, 0.3, 4),
    "terminate backends": (4, 0.5, 3),
    "break link": (22, 0.3, 7),
    "cut commits": (5, 0.3, 2.5),
    "isolate worker": (3, 1, 9),
}
_BREAKS: Final = ("drop_up", "drop_down", "drop_both", "half_open", "cut", "refuse", "delay")


@dataclass(frozen=True, slots=True)
class Call:
    """A client's call. `again`: if its outcome is unknown, it is made again until it is known."""

    at_seconds: float
    kind: str
    client: str
    asked: tuple[Asked, ...] = ()
    target: str = ""
    again: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, from its begin to its healing. `detail` says more: a mode, a failpoint, a delay."""

    at_seconds: float
    seconds: float
    kind: str
    target: str
    detail: str = ""


class _Calls:
    """Makes up the calls of a run, one after the other."""

    def __init__(self, chance: random.Random, began_us: int) -> None:
        self._chance = chance
        self._began_us = began_us
        self._numbers = count(1)
        self._runs: list[Asked] = []
        self._keys: dict[str, Asked] = {}

    def at(self, seconds: float) -> Iterator[Call]:
        """The calls of this moment."""
        chance = self._chance
        client = chance.choice(CLIENTS)
        kind = _pick(chance, _CALLS)
        recent = chance.choice(self._runs[-_RECENT:]) if self._runs else self._ask(seconds)
        match kind:
            case "now":
                yield Call(seconds, "enqueue", client, (self._ask(seconds),), again=chance.random() < 0.8)
            case "later":
                yield Call(seconds, "enqueue", client, (self._ask_later(seconds),))
            case "batch":
                asked = tuple(self._ask(seconds) for _ in range(chance.randint(2, 30)))
                yield Call(seconds, "batch", client, asked, again=chance.random() < 0.8)
            case "keyed":
                yield Call(seconds, "enqueue", client, (self._ask_keyed(seconds),))
            case "herd":
                for one in self._herd(seconds):
                    yield Call(seconds, "enqueue", chance.choice(CLIENTS), (one,))
            case "again":
                payload = {**recent.payload, "number": next(self._numbers)} if chance.random() < 0.3 else recent.payload
                yield Call(seconds, "enqueue", client, (replace(recent, payload=payload),))
            case "replay":
                older = chance.choice(self._runs[: max(1, len(self._runs) - 3 * _RECENT)])
                new = Asked(self._new_id(seconds), "", {}, replays=older.run_id)
                yield Call(seconds, "replay", client, (new,))
            case "pause":
                task = chance.choice(PAUSABLE)
                yield Call(seconds, "pause", client, target=task)
                yield Call(seconds + chance.uniform(0.5, 4), "resume", client, target=task)
            case _:
                yield Call(seconds, kind, client, target=recent.run_id)

    def _ask(self, seconds: float, **more: Any) -> Asked:
        chance = self._chance
        task = _pick(chance, TASKS)
        payload = {"number": next(self._numbers), **self._payload(task)}
        policy = chance.choice(POLICIES) if chance.random() < 0.3 else ""
        asked = Asked(self._new_id(seconds), task, payload, policy=policy, **more)
        self._runs.append(asked)
        return asked

    def _payload(self, task: str) -> dict[str, Any]:
        chance = self._chance
        match task:
            case "flaky":
                return {"ms": chance.randint(0, 60), "fails": chance.randint(1, 3)}
            case "fail":
                error = chance.choice(("ValueError", "Fatal", "DoNotRetry", "RetryAfter"))
                return {"error": error, "after_ms": chance.randint(100, 1500)}
            case "slow":
                return {"ms": chance.randint(500, 4000)}
            case "stubborn" | "thread":
                return {"ms": chance.randint(300, 4500)}
        return {"ms": chance.randint(0, 100)}

    def _ask_later(self, seconds: float) -> Asked:
        chance = self._chance
        wait_ms = chance.randint(100, 7000)
        at_us = self._began_us + int(seconds * 1e6)
        match chance.randint(1, 4):
            case 1:
                return self._ask(seconds, run_at_us=at_us + wait_ms * 1000)
            case 2:
                return self._ask(seconds, start_by_us=at_us + wait_ms * 1000)
        return self._ask(seconds, delay_ms=wait_ms)

    def _ask_keyed(self, seconds: float) -> Asked:
        """The same request for the same key, but for one in six, under an id of its own."""
        chance = self._chance
        key = f"key-{chance.randrange(_KEYS)}"
        first = self._keys.get(key)
        if first is None:
            window = chance.choice(("ttl", "while_active", "forever"))
            first = self._keys[key] = self._ask(seconds, key=key, window=window)
            return first
        payload = {**first.payload, "number": next(self._numbers)} if chance.random() < 1 / 6 else first.payload
        again = replace(first, run_id=self._new_id(seconds), payload=payload)
        self._runs.append(again)
        return again

    def _herd(self, seconds: float) -> list[Asked]:
        """Many callers of one key at once."""
        key = f"herd-{next(self._numbers)}"
        first = self._ask(seconds, key=key, window="forever")
        return [first, *(replace(first, run_id=self._new_id(seconds)) for _ in range(self._chance.randint(4, 10)))]

    def _new_id(self, seconds: float) -> str:
        """A UUIDv7 of this moment."""
        ms = self._began_us // 1000 + int(seconds * 1000)
        bits = self._chance.getrandbits(74)
        return encode("run", UUID(int=ms << 80 | 7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1))


def calls(seed: int, seconds: float, began_us: int) -> list[Call]:
    """The calls of a run that begins at this time, in order."""
    chance = random.Random(f"calls {seed}")
    maker = _Calls(chance, began_us)
    made: list[Call] = []
    at = 0.0
    while (at := at + chance.expovariate(1 / _CALL_SECONDS)) < seconds:
        made.extend(maker.at(at))
    return sorted(made, key=lambda call: call.at_seconds)


def faults(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run, in order. All are healed by its end; no two of them are at one thing at once."""
    chance = random.Random(f"faults {seed}")
    made: list[Fault] = []
    busy_until: dict[str, float] = {}
    at = _FIRST_FAULT_SECONDS
    while at < seconds:
        fault = _fault(chance, at, seconds)
        things = touched(fault)
        if all(busy_until.get(thing, 0) < at for thing in things):
            made.append(fault)
            busy_until.update(dict.fromkeys(things, at + fault.seconds + 0.5))
        if chance.random() > 0.25:  # else another one at once
            at += chance.expovariate(1 / _FAULT_SECONDS)
    return made


def _fault(chance: random.Random, at: float, end: float) -> Fault:
    kind = _pick(chance, {kind: weight for kind, (weight, _, _) in FAULTS.items()})
    _, least, most = FAULTS[kind]
    seconds = min(chance.uniform(least, most), end - at)
    detail = ""
    if kind == "failpoint":
        target, detail = chance.choice(SERVERS), chance.choice(FAILPOINTS)
        first = 3 if detail.startswith("session") else 30
        detail += f"=kill@{chance.randint(1, first)}" if chance.random() < 0.8 else "=sleep:0.3"
    elif kind == "break link":
        target, detail = chance.choice(LINKS), chance.choice(_BREAKS)
        if detail == "delay":
            detail = f"delay {chance.randint(20, 600)}"
    elif kind == "cut commits":
        target = f"{chance.choice(SERVERS)}-postgres"
    elif kind.endswith("server"):
        target = chance.choice(SERVERS)
    elif kind.endswith("worker"):
        target = chance.choice(WORKERS)
    else:
        target = "postgres" if kind in ("crash postgres", "stop postgres", "terminate backends") else "nats"
    return Fault(at, seconds, kind, target, detail)


def touched(fault: Fault) -> list[str]:
    """What a fault has in its hands: processes and links."""
    if fault.kind == "isolate worker":
        return [link for link in LINKS if link.startswith(f"{fault.target}-")]
    return [fault.target]


def _pick(chance: random.Random, weights: dict[str, int]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]

"""Places in the code where a test may kill or delay this process, to see that nothing is lost there.

LAYERON_JOB_FAILPOINTS arms them: "enqueue.committed=kill@3" kills the process when that place is reached for the third
time, "ring.published=sleep:0.5" waits there each time. Unarmed, which it always is outside of tests, a place costs a
look into an empty dictionary.

    enqueue.committed   runs are durable; neither has their caller been answered nor have they been rung
    ring.published      JetStream has the rings; their outbox rows are still there
    start.committed     attempts are open; their worker does not know
    finish.committed    attempts have ended; their worker does not know
    session.resumed     a session has its new epoch; what its worker forgot is still open
    session.expired     sessions have ended; their attempts are still open
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import Final

VARIABLE: Final = "LAYERON_JOB_FAILPOINTS"


@dataclass(slots=True)
class _Armed:
    action: str
    argument: float
    left: int | None  # how often it must still be reached before anything happens; None: each time


def _read(text: str) -> dict[str, _Armed]:
    armed = {}
    for entry in filter(None, text.split(",")):
        name, _, what = entry.partition("=")
        what, _, nth = what.partition("@")
        action, _, argument = what.partition(":")
        if action not in ("kill", "sleep"):
            raise ValueError(f"{VARIABLE}: {entry!r} is neither kill nor sleep:seconds")
        armed[name] = _Armed(action, float(argument or 0), int(nth) if nth else None)
    return armed


_armed: Final = _read(os.environ.get(VARIABLE, ""))


async def reach(name: str) -> None:
    """This place is reached."""
    if _armed and name in _armed:
        await _act(_armed[name])


async def _act(armed: _Armed) -> None:
    if armed.left is not None:
        armed.left -= 1
        if armed.left:
            return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(armed.argument)

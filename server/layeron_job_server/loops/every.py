"""Turns a loop: again and again until told to stop, earlier when woken, and past any error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from layeron_job_server.broker import BrokerAway
from layeron_job_server.domain.errors import DatabaseAway, Overloaded

log = logging.getLogger(__name__)


async def every(
    seconds: float,
    turn: Callable[[], Awaitable[object]],
    *,
    until: asyncio.Event,
    wake: asyncio.Event | None = None,
) -> None:
    """Call `turn` every so many seconds, and at once when `wake` is set, until `until` is set.

    A turn that fails is logged and tried again next time: what a loop does is always safe to repeat.
    """
    away = False
    while not until.is_set():
        try:
            await turn()
            away = False
        except (DatabaseAway, Overloaded, BrokerAway) as error:
            if not away:  # said once, not at every turn
                log.warning("%s waits: %s", turn.__name__, error)
            away = True
        except Exception:
            log.exception("%s failed; it is tried again", turn.__name__)
        await _pause(seconds, until, wake)


async def _pause(seconds: float, until: asyncio.Event, wake: asyncio.Event | None) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (until, wake) if event is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if wake is not None:
        wake.clear()

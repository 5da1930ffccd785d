"""Moves a session to another server while its present stream stays in use until the other one has welcomed it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from layeron_job_worker.connection import Backoff, Servers, Stream, StreamBroken

logger = logging.getLogger("layeron_job_worker")


class HandOver:
    """One hand-over at a time. `connect` opens a stream to an address and makes it the session's own."""

    def __init__(self, servers: Servers, connect: Callable[[str], Awaitable[Stream]]) -> None:
        self._servers = servers
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._successor: Stream | None = None

    @property
    def is_done(self) -> bool:
        """A successor waits for `following`."""
        return self._successor is not None

    def begin(self, old: Stream, addresses: Sequence[str]) -> None:
        """Try these addresses in turn, and leave the old stream for the first that welcomes us."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._try_in_turn(old, addresses))

    async def following(self) -> Stream | None:
        """The stream that was made ready, if there is one; waits for a hand-over under way."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()
        successor, self._successor = self._successor, None
        return successor

    def cancel(self) -> None:
        """Try no more."""
        if self._task is not None:
            self._task.cancel()

    async def _try_in_turn(self, old: Stream, addresses: Sequence[str]) -> None:
        pause = Backoff()
        try:
            for address in addresses:
                try:
                    self._successor = await self._connect(address)
                except StreamBroken as error:
                    logger.info("cannot move to %s: %s", address, error)
                    await asyncio.sleep(
                        pause.next()
                    )  # what was held back during the try has its turn on the old stream
                    continue
                self._servers.use(address)
                break
            else:
                return
        except BaseException:
            old.cancel()  # so that the reader goes on, and finds the error
            raise
        old.cancel()

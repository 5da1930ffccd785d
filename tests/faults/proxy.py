"""A TCP proxy whose links can be broken while they are in use.

A link is all connections between one pair of programs. Nothing that passes is ever changed; what is held back is
bounded by one read and the buffers of the sockets, so that a sender feels a silent link as a full one.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final, TypeAlias

_READ_BYTES: Final = 65_536
_AFTER_SECONDS: Final = 0.05
_COMMIT: Final = b"COMMIT;"


class Mode(StrEnum):
    """What a link does to what is sent over it and to who connects. Afterwards, what was held back goes on."""

    PASS = "pass"
    DELAY = "delay"  # everything is `delay_seconds` late
    DROP_UP = "drop_up"  # nothing gets from client to server
    DROP_DOWN = "drop_down"  # nothing gets from server to client
    DROP_BOTH = "drop_both"
    REFUSE = "refuse"  # what is open is reset, and so is who connects
    CUT_COMMITS = "cut_commits"  # who sends COMMIT loses the connection: before, during or after it


_SILENT_UP: Final = frozenset({Mode.DROP_UP, Mode.DROP_BOTH})
_SILENT_DOWN: Final = frozenset({Mode.DROP_DOWN, Mode.DROP_BOTH})


class Link:
    """The mode of one link, and what can be done to its open connections at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mode = Mode.PASS
        self.delay_seconds = 0.0
        self.connections: set[Connection] = set()
        self._chance = random.Random(name)
        self._changed = asyncio.Event()

    def set(self, mode: Mode, *, delay_seconds: float = 0.0) -> None:
        """From now on this mode."""
        self.mode, self.delay_seconds = mode, delay_seconds
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if mode is Mode.REFUSE:
            self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        for connection in list(self.connections):
            connection.reset()

    def forget(self) -> None:
        """Half-open: every open connection leads nowhere for good, and neither side is told."""
        for connection in self.connections:
            connection.forgotten = True

    async def gate(self, *, upward: bool) -> None:
        """Wait until something may pass in this direction."""
        if self.mode is Mode.DELAY:
            await asyncio.sleep(self.delay_seconds)
        while self.mode in (_SILENT_UP if upward else _SILENT_DOWN):
            await self._changed.wait()

    def cut_for(self, data: bytes) -> str | None:
        """When the connection that sends this is to be lost, if it is."""
        if self.mode is Mode.CUT_COMMITS and _COMMIT in data:
            return self._chance.choice(("before", "during", "after"))
        return None


Choose: TypeAlias = Callable[[bytes], Link | None]


class Connection:
    """One connection through the proxy. `choose` looks at what the client says first, to find whose link it is."""

    def __init__(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.link = link
        self.forgotten = False
        self._reader = reader
        self._near = writer
        self._writers = [writer]
        link.connections.add(self)

    def reset(self) -> None:
        """End it on both sides without a word."""
        for writer in self._writers:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async def run(self, port: int, choose: Choose | None) -> None:
        """Pass everything on until one side ends; of a forgotten connection the other side never hears of that."""
        directions: set[asyncio.Task[None]] = set()
        try:
            if self.link.mode is Mode.REFUSE:
                self.reset()
                return
            await self.link.gate(upward=True)
            await self.link.gate(upward=False)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._writers.append(writer)
            directions = {
                asyncio.create_task(self._pass_up(writer, choose)),
                asyncio.create_task(self._pass_down(reader)),
            }
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            if self.forgotten:
                await asyncio.wait(directions)
        except OSError:
            self.reset()  # there is no server
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for writer in self._writers:
                writer.close()
            self.link.connections.discard(self)

    async def _pass_up(self, far: asyncio.StreamWriter, choose: Choose | None) -> None:
        while data := await self._reader.read(_READ_BYTES):
            if choose is not None and (link := choose(data)) is not None:
                choose = None
                self._move(link)
            await self.link.gate(upward=True)
            if self.forgotten:
                continue
            when = self.link.cut_for(data)
            if when is not None:
                self.forgotten = when == "after"  # the answer is lost
            if when != "before":
                far.write(data)
                await far.drain()
            if when is not None:
                await asyncio.sleep(_AFTER_SECONDS if when == "after" else 0)
                self.forgotten = False
                return
        await self.link.gate(upward=True)

    async def _pass_down(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_READ_BYTES):
            await self.link.gate(upward=False)
            if not self.forgotten:
                self._near.write(data)
                await self._near.drain()
        await self.link.gate(upward=False)

    def _move(self, link: Link) -> None:
        self.link.connections.discard(self)
        self.link = link
        link.connections.add(self)
        if link.mode is Mode.REFUSE:
            self.reset()


@asynccontextmanager
async def proxy(link: Link, port: int, *, choose: Choose | None = None) -> AsyncIterator[int]:
    """A proxy before a port of 127.0.0.1, where nothing needs to listen yet; yields its own port."""
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(Connection(link, reader, writer).run(port, choose))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

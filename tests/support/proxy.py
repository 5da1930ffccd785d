"""A TCP proxy before PostgreSQL that cuts connections at the one moment that matters: around a COMMIT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

from sqlalchemy.engine import make_url


class Cut(Enum):
    """When a connection is cut."""

    BEFORE_COMMIT = auto()  # PostgreSQL never hears of it
    IN_COMMIT = auto()  # PostgreSQL has been told; nobody waits for its answer
    AFTER_COMMIT = auto()  # PostgreSQL has answered, and the answer is lost


class Proxy:
    """Passes everything on, but for the next `cuts`.

    While it is `refusing` it closes new connections at once. While it is `silent` it does not pass on that PostgreSQL
    has closed a connection, which may come any time after its last words. While it is `frozen` it takes everything and
    passes nothing on.
    """

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._links: set[asyncio.Task[None]] = set()
        self.cuts: list[Cut] = []
        self.refusing = False
        self.silent = False
        self.frozen = False
        self.ended = 0  # connections that PostgreSQL has closed
        self.port = 0

    @property
    def url(self) -> str:
        """The database, through this proxy."""
        return self._target.set(port=self.port).render_as_string(hide_password=False)

    @property
    def connections(self) -> int:
        """How many are open on both sides."""
        return len(self._links)

    async def close(self) -> None:
        """Cut whatever is connected."""
        for link in self._links:
            link.cancel()
        if self._links:
            await asyncio.wait(self._links)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Link a new connection to PostgreSQL."""
        if self.refusing:
            writer.transport.abort()
            return
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._target.host, self._target.port)
        answers = asyncio.create_task(self._pass_on(server_reader, writer))
        try:
            while data := await reader.read(65_536):
                if self.frozen:
                    continue
                cut = self.cuts.pop(0) if self.cuts and b"COMMIT;" in data else None
                if cut is Cut.BEFORE_COMMIT:
                    break
                if cut is Cut.AFTER_COMMIT:
                    answers.cancel()
                    await asyncio.wait([answers])
                server_writer.write(data)
                await server_writer.drain()
                if cut is Cut.AFTER_COMMIT:
                    await server_reader.read(1)
                if cut is not None:
                    break
        except ConnectionError:
            pass  # either side may go away at any time
        finally:
            answers.cancel()
            writer.transport.abort()
            server_writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.frozen:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        self.ended += 1
        if not self.silent:
            writer.close()


@asynccontextmanager
async def open_proxy(url: str) -> AsyncIterator[Proxy]:
    """A proxy before the PostgreSQL of this URL."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()

"""The modes of the proxy do what they say, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from faults.proxy import Link, Mode, proxy

from support import eventually

SILENCE_SECONDS = 0.2
COMMIT = b"Q\0\0\0\x0cCOMMIT;\0"


@dataclass
class Far:
    """A server that keeps what it hears, and its connections."""

    heard: bytes = b""
    ended: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    listens: bool = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while self.listens and (data := await reader.read(1000)):
                self.heard += data
            if not self.listens:
                await asyncio.sleep(60)
        except (ConnectionError, asyncio.CancelledError):
            pass
        self.ended += 1
        writer.close()


@dataclass
class Line:
    """One connection from end to end."""

    link: Link
    far: Far
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int

    async def another(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def heard(self, words: bytes) -> None:
        """The server hears exactly this."""
        await eventually(lambda: self.far.heard == words)

    async def ended(self) -> None:
        """The server's side comes to its end."""
        await eventually(lambda: self.far.ended == 1)

    async def says_nothing(self) -> bool:
        """Nothing comes to the client for a moment, not even an end."""
        try:
            await asyncio.wait_for(self.reader.read(1), SILENCE_SECONDS)
        except TimeoutError:
            return True
        return False

    async def hears_nothing(self) -> bool:
        """Nothing comes to the server for a moment, not even an end."""
        before = (self.far.heard, self.far.ended)
        await asyncio.sleep(SILENCE_SECONDS)
        return (self.far.heard, self.far.ended) == before


@asynccontextmanager
async def connected(link: Link, far: Far | None = None) -> AsyncIterator[Line]:
    far = far or Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    async with proxy(link, server.sockets[0].getsockname()[1]) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello ")
        await eventually(lambda: far.heard == b"hello " or not far.listens)
        yield Line(link, far, reader, writer, port)
        writer.close()
    server.close()
    for one in far.writers:
        one.close()


async def test_what_is_sent_arrives_in_both_directions_and_so_does_the_end() -> None:
    async with connected(Link("link")) as line:
        line.writer.write(b"world")
        line.far.writers[0].write(b"answer")
        assert await line.reader.readexactly(6) == b"answer"
        await line.heard(b"hello world")
        line.writer.close()
        await line.ended()


async def test_a_slow_link_is_late_and_loses_nothing() -> None:
    async with connected(Link("link")) as line:
        line.link.set(Mode.DELAY, delay_seconds=0.1)
        sent = time.monotonic()
        for word in (b"a", b"b", b"c"):
            line.far.writers[0].write(word)
        assert await line.reader.readexactly(3) == b"abc"
        assert time.monotonic() - sent >= 0.1


@pytest.mark.parametrize("mode", [Mode.DROP_UP, Mode.DROP_BOTH])
async def test_what_is_held_back_on_the_way_up_goes_on_afterwards(mode: Mode) -> None:
    async with connected(Link("link")) as line:
        line.link.set(mode)
        line.writer.write(b"world")
        assert await line.hears_nothing()
        line.link.set(Mode.PASS)
        await line.heard(b"hello world")


@pytest.mark.parametrize("mode", [Mode.DROP_DOWN, Mode.DROP_BOTH])
async def test_what_is_held_back_on_the_way_down_goes_on_afterwards(mode: Mode) -> None:
    async with connected(Link("link")) as line:
        line.link.set(mode)
        line.far.writers[0].write(b"answer")
        assert await line.says_nothing()
        line.link.set(Mode.PASS)
        assert await line.reader.readexactly(6) == b"answer"


async def test_a_link_that_is_silent_in_one_direction_still_speaks_in_the_other() -> None:
    async with connected(Link("link")) as line:
        line.link.set(Mode.DROP_UP)
        line.far.writers[0].write(b"answer")
        assert await line.reader.readexactly(6) == b"answer"
        line.link.set(Mode.DROP_DOWN)
        line.writer.write(b"world")
        await line.heard(b"hello world")


@pytest.mark.parametrize("mode", [Mode.DROP_UP, Mode.DROP_DOWN, Mode.DROP_BOTH])
async def test_nobody_gets_through_a_silent_link_anew(mode: Mode) -> None:
    async with connected(Link("link")) as line:
        line.link.set(mode)
        _, writer = await line.another()
        writer.write(b"again")
        assert await line.hears_nothing()
        line.link.set(Mode.PASS)
        await line.heard(b"hello again")
        writer.close()


async def test_the_end_of_a_connection_is_held_back_too() -> None:
    async with connected(Link("link")) as line:
        line.link.set(Mode.DROP_UP)
        line.writer.close()
        assert await line.hears_nothing()
        line.link.set(Mode.PASS)
        await line.ended()


async def test_a_silent_link_holds_back_its_sender_and_piles_up_nothing() -> None:
    async with connected(Link("link"), Far(listens=False)) as line:
        line.link.set(Mode.DROP_UP)
        line.writer.transport.set_write_buffer_limits(high=1)
        line.writer.write(bytes(64 * 1024 * 1024))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.writer.drain(), SILENCE_SECONDS)
        line.writer.transport.abort()


async def test_a_refusing_link_resets_what_is_open_and_who_connects() -> None:
    async with connected(Link("link")) as line:
        line.link.set(Mode.REFUSE)
        with pytest.raises(ConnectionResetError):
            await line.reader.read(1)
        await line.ended()
        reader, writer = await line.another()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


async def test_a_cut_resets_both_sides_and_lets_who_connects_through() -> None:
    async with connected(Link("link")) as line:
        line.link.cut()
        with pytest.raises(ConnectionResetError):
            await line.reader.read(1)
        await line.ended()
        _, writer = await line.another()
        writer.write(b"again")
        await line.heard(b"hello again")
        writer.close()


async def test_a_half_open_connection_leads_nowhere_for_good_and_neither_side_is_told() -> None:
    async with connected(Link("link")) as line:
        line.link.forget()
        line.writer.write(b"world")
        line.far.writers[0].write(b"answer")
        assert await line.says_nothing()
        line.writer.close()
        assert await line.hears_nothing()
        _, writer = await line.another()
        writer.write(b"again")
        await line.heard(b"hello again")
        writer.close()


async def test_a_connection_is_lost_before_during_and_after_its_commit() -> None:
    heard = []
    link = Link("link")
    for _ in range(12):
        async with connected(link) as line:
            link.set(Mode.CUT_COMMITS)
            line.writer.write(b"insert;")
            await line.heard(b"hello insert;")
            line.writer.write(COMMIT)
            assert await line.reader.read(1) == b"", "the answer of a COMMIT is lost"
            await line.ended()
            heard.append(COMMIT in line.far.heard)
            link.set(Mode.PASS)
    assert set(heard) == {True, False}


async def test_a_connection_belongs_to_the_link_that_its_first_words_name() -> None:
    shared, own = Link("shared"), Link("own")
    far = Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    async with proxy(shared, target, choose=lambda said: own if b"mine" in said else None) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"mine ")
        await eventually(lambda: far.heard == b"mine ")
        assert (len(shared.connections), len(own.connections)) == (0, 1)
        own.set(Mode.DROP_UP)
        writer.write(b"held")
        await asyncio.sleep(SILENCE_SECONDS)
        assert far.heard == b"mine "
        own.set(Mode.REFUSE)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
    server.close()

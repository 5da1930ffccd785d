"""A scripted peer for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from unit.client.peer import Peer, Time, serving

from layeron_job import Client


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A server that answers by script."""
    async with serving() as peer:
        yield peer


@pytest.fixture
def time() -> Time:
    """A clock that only waiting moves."""
    return Time()


@pytest.fixture
async def client(peer: Peer) -> AsyncIterator[Client]:
    """A client of the peer, in real time."""
    async with Client(peer.address, timeout=5) as client:
        yield client

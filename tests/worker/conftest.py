"""The worker alone, with no server, or with what a test plays for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import nats
import pytest

from layeron_job_worker.webhooks import Webhooks
from support.attempts import Desk, open_desk
from support.post import Post
from support.receiver import Receiver, open_receiver
from support.webhooks import LOOPBACK, SECRET


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Makes attempts and listens to them."""
    async with open_desk() as desk:
        yield desk


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Receives webhooks on 127.0.0.1."""
    async with open_receiver() as receiver:
        yield receiver


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    """Delivers to the receiver too."""
    async with aclosing(Webhooks(SECRET, allow_networks=LOOPBACK, timeout=5)) as webhooks:
        yield webhooks


@pytest.fixture
async def post(nats_url: str, stream_prefix: str) -> AsyncIterator[Post]:
    """A stream to ring with, and what a server would say of it."""
    client = await nats.connect(nats_url)
    post = Post(client, nats_url, stream_prefix)
    await post.make()
    yield post
    await client.close()

"""The worker alone, with no server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from layeron_job_worker.webhooks import Webhooks
from support.attempts import Desk, open_desk
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

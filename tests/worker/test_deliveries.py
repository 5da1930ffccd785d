"""Deliveries of a real nats-server: no more than there are credits for, acked or handed back, over any outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_server.embedded import Nats
from layeron_job_worker import deliveries as deliveries_module
from layeron_job_worker.deliveries import Deliveries
from support import eventually
from support.post import Post


class Taker:
    """Deliveries with their loops, credits that the test sets, and what has arrived."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.most_held = 0
        self.held: dict[str, str] = {}
        self.arrived: list[str] = []
        self.deliveries = Deliveries(self._take, lambda: self.free - len(self.held), 4)
        loops = (self.deliveries.run, self.deliveries.send, self.deliveries.watch)
        self._loops = [asyncio.create_task(loop()) for loop in loops]

    def _take(self, run_id: str, reply: str) -> None:
        self.arrived.append(run_id)
        self.held[run_id] = reply
        self.most_held = max(self.most_held, len(self.held))

    def ack(self, run_id: str) -> None:
        """Be done with a delivery."""
        self.deliveries.ack(self.held.pop(run_id))
        self.deliveries.more_credits()

    def nak(self, run_id: str) -> None:
        """Hand a delivery back."""
        self.deliveries.nak(self.held.pop(run_id))

    async def close(self) -> None:
        """End all of it."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.deliveries.close()


@pytest.fixture
async def taker() -> AsyncIterator[Taker]:
    taker = Taker(free=3)
    yield taker
    await taker.close()


async def test_a_delivery_names_its_run_and_is_gone_once_it_is_acked(post: Post, taker: Taker) -> None:
    taker.deliveries.resume(post.welcome)
    await post.ring("run_1")
    await eventually(lambda: taker.arrived == ["run_1"])
    taker.ack("run_1")
    await eventually(lambda: _is_empty(post))


async def _is_empty(post: Post) -> bool:
    return await post.left() == 0


async def test_no_more_is_taken_than_there_are_credits_for(post: Post, taker: Taker) -> None:
    runs = [f"run_{number}" for number in range(8)]
    await post.ring(*runs)
    taker.deliveries.resume(post.welcome)
    for _ in runs:
        await eventually(lambda: taker.held)
        taker.ack(next(iter(taker.held)))
    assert sorted(taker.arrived) == runs
    assert taker.most_held <= 3


async def test_every_consumer_is_listened_to_with_one_credit(post: Post, taker: Taker) -> None:
    taker.free = 1
    taker.deliveries.resume(post.welcome)
    for number, priority in enumerate(("low", "high", "low", "high")):
        await post.ring(f"run_{number}", priority=priority)
        await eventually(lambda: taker.held)
        taker.ack(f"run_{number}")


async def test_what_is_handed_back_comes_again(post: Post, taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries_module, "_NAK_SECONDS", (0.1, 0.1))
    taker.deliveries.resume(post.welcome)
    await post.ring("run_1")
    await eventually(lambda: "run_1" in taker.held)
    taker.nak("run_1")
    await eventually(lambda: taker.arrived == ["run_1", "run_1"])


async def test_nothing_is_pulled_while_no_server_is_connected(post: Post, taker: Taker) -> None:
    taker.deliveries.resume(post.welcome)
    await post.ring("run_1")
    await eventually(lambda: "run_1" in taker.held)
    taker.deliveries.pause()
    taker.ack("run_1")
    await eventually(lambda: _is_empty(post))
    await post.ring("run_2", "run_3", "run_4")
    # The pull that was open may still bring one; no other is made, although there are credits for all of them.
    await eventually(lambda: _no_pull(post), seconds=15)
    assert len(taker.arrived) <= 2
    taker.deliveries.resume(post.welcome)
    await eventually(lambda: len(taker.arrived) == 4)


async def _no_pull(post: Post) -> bool:
    return not (await post.consumer()).num_waiting


async def test_after_stop_what_is_handed_back_is_free_for_others_at_once(post: Post, taker: Taker) -> None:
    taker.deliveries.resume(post.welcome)
    await post.ring("run_1")
    await eventually(lambda: "run_1" in taker.held)
    await taker.deliveries.stop()
    taker.nak("run_1")
    other = Taker(free=1)
    try:
        other.deliveries.resume(post.welcome)
        await eventually(lambda: other.arrived == ["run_1"], seconds=0.9)  # with the delay of a NAK it is at least 1 s
        await post.ring("run_2")
        other.ack("run_1")
        await eventually(lambda: other.arrived == ["run_1", "run_2"])
        assert taker.arrived == ["run_1"]
    finally:
        await other.close()


async def test_another_welcome_is_followed_to_where_it_says(post: Post, taker: Taker) -> None:
    only_low = pb.Welcome()
    only_low.CopyFrom(post.welcome)
    del only_low.consumers[0]
    taker.deliveries.resume(only_low)
    await post.ring("run_1", priority="low")
    await eventually(lambda: "run_1" in taker.held)
    taker.ack("run_1")
    taker.deliveries.resume(post.welcome)
    await post.ring("run_2", priority="high")
    await eventually(lambda: "run_2" in taker.held)


async def test_a_nats_server_that_was_away_is_taken_from_again(nats_server: Nats, taker: Taker) -> None:
    client = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        post = Post(client, nats_server.url, "away")
        await post.make()
        taker.deliveries.resume(post.welcome)
        await post.ring("run_1")
        await eventually(lambda: "run_1" in taker.held)
        taker.ack("run_1")
        await eventually(lambda: _is_empty(post))
        await nats_server.restart()
        await eventually(lambda: client.is_connected)
        await post.ring("run_2")
        await eventually(lambda: "run_2" in taker.held, seconds=15)
    finally:
        await client.close()

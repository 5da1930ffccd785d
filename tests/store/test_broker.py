"""What nats-server may do, and what the broker makes of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import nats
import pytest

from layeron_job_server.broker import Broker, BrokerAway, NatsAccess, Publication
from layeron_job_server.broker import broker as broker_module
from layeron_job_server.embedded import Nats
from support import eventually, open_folder

NAMES = ("default", "default", "work")
CONSUMER = "default_default_normal"
HOUR = timedelta(hours=1)


@pytest.fixture
async def nats_folder() -> AsyncIterator[Path]:
    """Where the nats-server of this test keeps its data."""
    with open_folder() as folder:
        yield folder / "data"


@pytest.fixture
async def nats_server(nats_folder: Path) -> AsyncIterator[Nats]:
    """A nats-server of this test's own."""
    async with await Nats.start(nats_folder) as server:
        yield server


@pytest.fixture
async def broker(nats_server: Nats) -> AsyncIterator[Broker]:
    """A connected broker with its stream and the consumers of one queue."""
    broker = Broker(NatsAccess((nats_server.url,)), prefix="job", ack_wait=timedelta(seconds=2))
    await broker.connect()
    assert await broker.ensure_stream()
    assert await broker.ensure_consumers([("default", "default")]) == 3
    yield broker
    await broker.close()


def ring(broker: Broker, run_id: str, after: timedelta | None = None) -> Publication:
    """The ring of a run of normal priority."""
    return broker.publication(NAMES, 2, run_id, 1, after)


async def take(url: str) -> str:
    """Pull one delivery as a worker does, and acknowledge it; its run id."""
    client = await nats.connect(url)
    subscription = await client.jetstream().pull_subscribe_bind(CONSUMER, "JOB")
    [message] = await subscription.fetch(1, timeout=2)
    await message.ack_sync()
    await client.close()
    return message.subject.rpartition(".")[2]


async def test_a_connection_on_which_nothing_is_heard_is_made_anew(nats_server: Nats, broker: Broker) -> None:
    await broker.check()
    connects = broker.connects
    os.kill(nats_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerAway, match="nothing is heard"):
            await broker.check()
    finally:
        os.kill(nats_server.pid, signal.SIGCONT)
    await eventually(lambda: broker.connects > connects)
    await broker.check()
    assert await broker.publish([ring(broker, "run_1")]) == [True]


async def test_consumers_that_are_there_are_left_alone(nats_server: Nats, broker: Broker) -> None:
    for run_id in ("run_1", "run_2"):
        assert await broker.publish([ring(broker, run_id)]) == [True]
        assert await take(nats_server.url) == run_id
    assert await broker.publish([ring(broker, "run_3")]) == [True]
    queues = [("default", "default")]
    assert [await broker.ensure_consumers(queues, renew_stranded=True) for _ in range(3)] == [0, 0, 0]
    assert await take(nats_server.url) == "run_3"


async def test_a_consumer_that_has_passed_by_a_message_begins_anew(
    nats_server: Nats, nats_folder: Path, broker: Broker
) -> None:
    """Promise 2: a delivery that the stream holds and nobody will ever be given is as good as lost."""
    assert await broker.publish([ring(broker, "run_1")]) == [True]
    await nats_server.stop()
    [messages] = nats_folder.glob("**/streams/JOB/msgs")
    subprocess.run(["cp", "-a", messages, nats_folder / "kept"], check=True)  # with its owner
    await nats_server.restart()
    assert await take(nats_server.url) == "run_1"
    await nats_server.stop()
    shutil.rmtree(messages)
    shutil.move(nats_folder / "kept", messages)
    await nats_server.restart()
    await eventually(lambda: broker.is_connected)
    with pytest.raises(nats.errors.TimeoutError):
        await take(nats_server.url)
    queues = [("default", "default")]
    assert [await broker.ensure_consumers(queues) for _ in range(3)] == [0, 0, 0]  # whoever may not delete any
    assert [await broker.ensure_consumers(queues, renew_stranded=True) for _ in range(3)] == [0, 1, 0]
    assert await take(nats_server.url) == "run_1"


async def test_a_schedule_whose_time_has_passed_is_no_ring(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    rings = [ring(broker, "run_1", HOUR), ring(broker, "run_2")]
    assert await broker.publish(rings) == [True, True]
    assert await broker.present(rings) == {rings[0].schedule_subject, rings[1].subject}
    assert await broker.rung_run_ids() == ({"run_2"}, {"run_1"})
    monkeypatch.setattr(broker_module, "_SCHEDULE_LATE", -2 * HOUR)
    assert await broker.present(rings) == {rings[1].subject}

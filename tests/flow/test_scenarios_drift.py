"""Somebody changes what the server has made in JetStream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flow.test_scenarios_deliveries import CONSUMER, Scene, jetstream, scene  # noqa: F401 (a fixture)


@pytest.mark.parametrize("drift", ["max_deliver", "filter", "max_ack_pending"])
async def test_a_consumer_that_an_operator_has_changed_is_made_right_again(scene: Scene, drift: str) -> None:  # noqa: F811
    """Runs that the changed consumer no longer brings run all the same, within the audit's time."""
    stream = scene.server.broker.stream
    async with jetstream(scene) as js:
        config = (await js.consumer_info(stream, CONSUMER)).config
        if drift == "max_deliver":
            config.max_deliver = 1
        elif drift == "filter":
            config.filter_subject = f"{scene.server.settings.nats_prefix}.deliver.default.default.normal.nothing.>"
        else:
            config.max_ack_pending = 1
        await js.add_consumer(stream, config)
        run_ids = await scene.enqueue(5)
        if drift != "filter":
            stranger = await js.pull_subscribe_bind(CONSUMER, stream)
            taken: list[Any] = []
            async with asyncio.timeout(10):
                while not taken:
                    taken = await stranger.fetch(5, timeout=1)  # and is never heard of again
    await scene.work()
    await scene.all_succeed_once(run_ids)

"""Deliveries without a server: a work-queue stream with a consumer for each priority, and a test that rings."""

from __future__ import annotations

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, RetentionPolicy, StreamConfig

from layeron.job.v1 import worker_service_pb2 as pb


class Post:
    """A stream of the priorities high and low; `welcome` is what a server says of it."""

    def __init__(self, client: Client, url: str, prefix: str) -> None:
        self.client, self.prefix = client, prefix
        self.stream = f"{prefix}_deliveries"
        self.welcome = pb.Welcome(
            nats_urls=[url],
            inbox_prefix=f"_INBOX_{prefix}",
            stream=self.stream,
            consumers=[pb.Consumer(name=priority, queue="default", priority=priority) for priority in ("high", "low")],
        )

    async def make(self) -> None:
        """Make all of it."""
        jetstream = self.client.jetstream()
        config = StreamConfig(name=self.stream, subjects=[f"{self.prefix}.>"], retention=RetentionPolicy.WORK_QUEUE)
        await jetstream.add_stream(config)
        for priority in ("high", "low"):
            await jetstream.add_consumer(
                self.stream,
                ConsumerConfig(
                    durable_name=priority,
                    filter_subject=f"{self.prefix}.{priority}.>",
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=30,
                ),
            )

    async def ring(self, *run_ids: str, priority: str = "high") -> None:
        """Ring for runs."""
        for run_id in run_ids:
            await self.client.jetstream().publish(f"{self.prefix}.{priority}.{run_id}", b"")

    async def left(self) -> int:
        """How many deliveries the stream has."""
        return (await self.client.jetstream().stream_info(self.stream)).state.messages

    async def consumer(self, priority: str = "high") -> ConsumerInfo:
        """What JetStream says of a consumer."""
        return await self.client.jetstream().consumer_info(self.stream, priority)

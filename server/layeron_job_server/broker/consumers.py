"""The durable consumers of the stream: one for each queue and priority, made by the server, pulled from by workers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy

from .connection import Connection

log = logging.getLogger(__name__)

PRIORITIES: Final[Mapping[int, str]] = {1: "high", 2: "normal", 3: "low"}
# What decides whether a consumer delivers all that it should.
_DECISIVE: Final = ("filter_subject", "deliver_policy", "ack_policy", "max_deliver")


def consumer_name(namespace: str, queue: str, priority: str) -> str:
    """The durable consumer of one queue and priority. "_" is in no namespace or queue, so names never clash."""
    return f"{namespace}_{queue}_{priority}"


class Backlog(NamedTuple):
    """What one consumer has: deliveries that nobody has taken, and those that were taken and not acknowledged."""

    namespace: str
    queue: str
    priority: str
    pending: int
    ack_pending: int


class Consumers:
    """The consumers of one stream."""

    def __init__(self, connection: Connection, *, stream: str, prefix: str, ack_wait: timedelta) -> None:
        self._connection = connection
        self._stream = stream
        self._prefix = prefix
        self._ack_wait = ack_wait
        self._suspects: dict[str, int] = {}

    async def ensure(self, queues: Sequence[tuple[str, str]], *, renew_stranded: bool) -> int:
        """Make those of these (namespace, queue) pairs that are missing, and anew those that pass by what they should
        deliver if `renew_stranded`; answer how many were made."""
        if not queues:
            return 0
        there = await self._all()
        made = 0
        for namespace, queue in queues:
            for priority in PRIORITIES.values():
                name = consumer_name(namespace, queue, priority)
                config = self._config(name, f"{self._prefix}.deliver.{namespace}.{queue}.{priority}.>")
                if name in there:
                    if not (renew_stranded and await self._passes_by(there[name], config)):
                        continue
                    await self._connection.api(partial(_delete, self._stream, name))
                await self._connection.api(partial(_add, self._stream, config))
                log.info("made the consumer %s", name)
                made += 1
        return made

    async def backlog(self, namespace: str, queue: str, priority: int) -> int:
        """How many rings one consumer has that are not acknowledged."""
        name = consumer_name(namespace, queue, PRIORITIES[priority])
        info = await self._connection.api(partial(_info, self._stream, name))
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def backlogs(self) -> list[Backlog]:
        """What each of them has: one request for 256 of them."""
        found = []
        for name, info in (await self._all()).items():
            namespace, _, rest = name.partition("_")
            queue, _, priority = rest.partition("_")
            found.append(Backlog(namespace, queue, priority, info.num_pending or 0, info.num_ack_pending or 0))
        return found

    async def _passes_by(self, consumer: ConsumerInfo, config: ConsumerConfig) -> bool:
        """Whether there may be messages that it never delivers again."""
        changed = [name for name in _DECISIVE if getattr(consumer.config, name) != getattr(config, name)]
        if changed:
            log.warning("somebody has changed the consumer %s: %s", consumer.name, ", ".join(changed))
            return True
        if await self._is_stranded(consumer):
            log.warning("the consumer %s has passed by what it never delivered", consumer.name)
            return True
        return False

    async def _is_stranded(self, consumer: ConsumerInfo) -> bool:
        """Whether it claims twice to have nothing left, although the stream holds a message that it has passed by.

        A nats-server that was killed or ran out of disk may forget that it deleted what was acknowledged, or that it
        did not deliver it; to work queues such messages are lost, until their consumer begins anew.
        """
        first = None
        if not consumer.num_pending and not consumer.num_ack_pending:
            first = await self._first_of(consumer.config.filter_subject or "")
        if first is None or consumer.ack_floor is None or first > consumer.ack_floor.stream_seq:
            self._suspects.pop(consumer.name, None)
            return False
        if self._suspects.get(consumer.name) != first:
            self._suspects[consumer.name] = first
            return False
        del self._suspects[consumer.name]
        return True

    async def _first_of(self, subjects: str) -> int | None:
        """The sequence of the first message with such a subject, or None."""
        request = orjson.dumps({"seq": 1, "next_by_subj": subjects})
        message = await self._connection.request(f"$JS.API.DIRECT.GET.{self._stream}", request)
        sequence = (message.headers or {}).get("Nats-Sequence")
        return None if sequence is None else int(sequence)

    async def _all(self) -> dict[str, ConsumerInfo]:
        there: dict[str, ConsumerInfo] = {}
        while True:
            page = await self._connection.api(partial(_page, self._stream, len(there)))
            there.update({info.name: info for info in page})
            if len(page) < 256:  # a page of the JetStream API
                return there

    def _config(self, name: str, subjects: str) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=name,
            filter_subject=subjects,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait.total_seconds(),
            max_deliver=-1,
            max_ack_pending=1_000_000,
            max_waiting=4096,
        )


async def _page(stream: str, offset: int, jetstream: Any) -> list[ConsumerInfo]:
    page: list[ConsumerInfo] = await jetstream.consumers_info(stream, offset=offset)
    return page


async def _info(stream: str, name: str, jetstream: Any) -> ConsumerInfo:
    info: ConsumerInfo = await jetstream.consumer_info(stream, name)
    return info


async def _delete(stream: str, name: str, jetstream: Any) -> None:
    await jetstream.delete_consumer(stream, name)


async def _add(stream: str, config: ConsumerConfig, jetstream: Any) -> None:
    await jetstream.add_consumer(stream, config)

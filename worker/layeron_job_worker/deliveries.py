"""Takes deliveries from JetStream: pulls what the credits allow, acks what was answered.

Losing an ack or a pull is harmless: the delivery comes again and its start is answered again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.consumer import Consumer
from layeron_job_worker.credits import share_out

logger = logging.getLogger("layeron_job_worker")

_RETRY_SECONDS: Final = 1.0
# Small pulls wait this long for more credits, or for a quarter of all of them.
_GATHER_SECONDS: Final = 0.004
_NAK_SECONDS: Final = (1.0, 5.0)
_WATCH_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 2.0
_SAME_ERROR_SECONDS: Final = 10.0
_ERRORS = (OSError, nats.errors.Error, TimeoutError)


class Deliveries:
    """The worker's NATS connection. `on_delivery(run_id, reply)` is called for each message, on the event loop."""

    def __init__(self, on_delivery: Callable[[str, str], None], free: Callable[[], int], capacity: int) -> None:
        self._on_delivery = on_delivery
        self._free_credits = free
        self._enough = max(1, capacity // 4)
        self._welcome: pb.Welcome | None = None
        self._changed = asyncio.Event()
        self._wanted = False
        self._stopped = False
        self._client: Client | None = None
        self._consumers: list[Consumer] = []
        self._answers: list[tuple[str, bytes]] = []
        self._ready = asyncio.Event()
        self._pull_due = False
        self._pull_timer: asyncio.TimerHandle | None = None
        self._last_error = ("", 0.0)
        self._pulled_at = 0.0

    @property
    def pulled_at(self) -> float:
        """When JetStream last answered a pull, or there was nothing to pull for (monotonic; 0: never)."""
        return max(self._pulled_at, *(consumer.answered_at for consumer in self._consumers), 0.0)

    def resume(self, welcome: pb.Welcome) -> None:
        """A server is connected: pull, from what its welcome names."""
        before, self._welcome = self._welcome, welcome
        if before is None or _place(before) != _place(welcome):
            self._changed.set()
        self._wanted = not self._stopped
        self.more_credits()

    def pause(self) -> None:
        """No server is connected: pull nothing until `resume`. What still arrives goes to `on_delivery`."""
        self._wanted = False

    def ack(self, reply: str) -> None:
        """This delivery is dealt with."""
        self._answers.append((reply, b"+ACK"))
        self._ready.set()

    def nak(self, reply: str) -> None:
        """This delivery had no answer: let it come again, here or elsewhere; at once if we are leaving."""
        if self._stopped:
            self._answers.append((reply, b"-NAK"))
        else:
            self._answers.append((reply, b'-NAK {"delay": %d}' % int(random.uniform(*_NAK_SECONDS) * 1e9)))
        self._ready.set()

    def more_credits(self) -> None:
        """Credits may have become free: pull when it is worth it."""
        if not self._wanted or self._pull_due:
            return
        if self._free() >= self._enough:
            self._pull_now()
        elif self._pull_timer is None:
            self._pull_timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._pull_now)

    async def run(self) -> None:
        """Be connected to where the newest welcome says, for good."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.close()
            if self._welcome is None or self._stopped:
                continue
            try:
                await self._connect(self._welcome)
            except _ERRORS as error:
                await self._on_error(error)
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    async def send(self) -> None:
        """Publish acks and pulls, whenever there are some."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            try:
                await self._send_once()
            except _ERRORS as error:
                # Not connected: an ack that is lost means that the delivery comes again.
                logger.debug("cannot publish to NATS: %s", error)

    async def watch(self) -> None:
        """Renew pulls that were lost, and a connection that only looks alive."""
        next_look = 0.0
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            self._note_pulls(now)
            for consumer in self._consumers:
                if consumer.outstanding and now > consumer.deadline:
                    consumer.close()
            self.more_credits()
            if now >= next_look:
                next_look = now + _WATCH_SECONDS
                await self._look()

    def _note_pulls(self, now: float) -> None:
        """A worker without free credits does not pull, and is well all the same."""
        self._pulled_at = self.pulled_at  # also when the consumers are made anew
        client = self._client
        if client is not None and client.is_connected and self._wanted and self._free_credits() <= 0:
            self._pulled_at = now

    async def stop(self) -> None:
        """Take nothing more. What JetStream has sent meanwhile still goes to `on_delivery`; acks still leave."""
        self._stopped, self._wanted = True, False
        subscriptions = [consumer.subscription for consumer in self._consumers if consumer.subscription is not None]
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await asyncio.gather(*(subscription.drain() for subscription in subscriptions))  # type: ignore[no-untyped-call] # nats-py
        except _ERRORS as error:
            logger.debug("cannot unsubscribe: %s", error)

    async def close(self) -> None:
        """Send what waits and close the connection."""
        client, self._client = self._client, None
        self._consumers = []
        if client is None:
            return
        answers, self._answers = self._answers, []
        try:
            if client.is_connected:
                await _publish_all(client, answers)
                await client.flush(timeout=1)
            await client.close()
        except _ERRORS as error:
            logger.debug("NATS was not left in order: %s", error)

    def _arrived(self, subject: str, reply: str) -> None:
        """A delivery; the run's id is the end of its subject."""
        self._on_delivery(subject[subject.rfind(".") + 1 :], reply)

    def _free(self) -> int:
        """Credits that no pull holds."""
        return self._free_credits() - sum(consumer.reserved for consumer in self._consumers)

    def _pull_now(self) -> None:
        if self._pull_timer is not None:
            self._pull_timer.cancel()
            self._pull_timer = None
        self._pull_due = True
        self._ready.set()

    async def _send_once(self) -> None:
        client, answers = self._client, self._answers
        self._answers = []
        pulls = self._pulls()
        if client is None or not client.is_connected:
            return  # nothing of it is of use to the next connection
        await _publish_all(client, answers)
        for consumer, request in pulls:
            await client.publish(consumer.subject, request, reply=consumer.inbox)

    def _pulls(self) -> list[tuple[Consumer, bytes]]:
        """The pull requests to make now."""
        due, self._pull_due = self._pull_due, False
        if not due or not self._wanted:
            return []
        now = time.monotonic()
        able = [consumer for consumer in self._consumers if consumer.not_before <= now]
        for consumer in able:
            consumer.look_at_backlog()
        return [(consumer, consumer.request(count, now)) for consumer, count in share_out(self._free(), able)]

    async def _connect(self, welcome: pb.Welcome) -> None:
        credentials = welcome.nats_credentials
        options: dict[str, Any] = {}
        if credentials.token:
            options["token"] = credentials.token
        elif credentials.user:
            options.update(user=credentials.user, password=credentials.password)
        client = Client()
        await client.connect(
            list(welcome.nats_urls),
            name=f"layeron-job-worker {os.getpid()}",
            inbox_prefix=welcome.inbox_prefix,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            skip_subject_validation=True,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnect,
            **options,
        )
        self._client = client
        inbox = client.new_inbox()
        consumers = [
            Consumer(consumer, welcome.stream, f"{inbox}.{number}", self._arrived, self.more_credits)
            for number, consumer in enumerate(welcome.consumers)
        ]
        for consumer in consumers:
            consumer.subscription = await client.subscribe(
                consumer.inbox, cb=consumer.on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        self._consumers = consumers
        self.more_credits()

    async def _look(self) -> None:
        """A connection whose read loop has died still says that it is connected: start it anew."""
        client = self._client
        if client is None or not client.is_connected:
            return
        try:
            await client.flush(timeout=2)
        except _ERRORS as error:
            logger.warning("NATS does not answer (%s); connecting anew", type(error).__name__)
            self._changed.set()

    async def _on_reconnect(self) -> None:
        """The pulls of before are gone."""
        logger.info("connected to NATS again")
        for consumer in self._consumers:
            consumer.close()
        self.more_credits()

    async def _on_error(self, error: Exception) -> None:
        """Say an error, but not the same one again and again."""
        said, at = self._last_error
        text = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if text != said or now - at > _SAME_ERROR_SECONDS:
            logger.warning("NATS: %s", text)
            self._last_error = (text, now)


async def _publish_all(client: Client, messages: list[tuple[str, bytes]]) -> None:
    for subject, body in messages:
        await client.publish(subject, body)


def _place(welcome: pb.Welcome) -> tuple[object, ...]:
    """What a connection is made from."""
    credentials = welcome.nats_credentials
    return (
        tuple(welcome.nats_urls),
        credentials.SerializeToString(deterministic=True),
        welcome.stream,
        tuple(consumer.name for consumer in welcome.consumers),
    )

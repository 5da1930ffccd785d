"""The connection to NATS: made anew by itself once it was made, and every failure of it one error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

log = logging.getLogger(__name__)

_PUBLISH_TIMEOUT_SECONDS = 5.0
_REQUEST_TIMEOUT_SECONDS = 5.0
_ECHO_SECONDS = 2.0


class BrokerAway(Exception):
    """NATS cannot be reached, or did not answer in time: nothing is known to be published."""


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Where NATS is and how to get in."""

    urls: tuple[str, ...]
    user: str = ""
    password: str = ""
    token: str = ""


class Outgoing(NamedTuple):
    """A message that JetStream is to keep."""

    subject: str
    body: bytes
    headers: dict[str, str] | None = None


class Connection:
    """A connection to NATS and JetStream's API. All that asks raises BrokerAway."""

    def __init__(self, access: NatsAccess) -> None:
        self._access = access
        self._nc = Client()
        self._batches: dict[str, _Batch] = {}
        self._batch_numbers = count(1)
        self._inbox = ""
        self.connects = 0

    @property
    def is_connected(self) -> bool:
        """Whether NATS answered last."""
        return self._nc.is_connected

    async def connect(self) -> None:
        """Connect. Once it was reached, NATS is connected to again by itself; raises BrokerAway until then."""
        options: dict[str, Any] = {}
        if self._access.token:
            options["token"] = self._access.token
        elif self._access.user:
            options.update(user=self._access.user, password=self._access.password)
        try:
            await self._nc.connect(
                list(self._access.urls),
                name="layeron-job-server",
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                ping_interval=5,
                max_outstanding_pings=2,
                connect_timeout=2,
                pending_size=8 * 1024 * 1024,
                skip_subject_validation=True,
                error_cb=self._on_error,
                reconnected_cb=self._on_reconnect,
                **options,
            )
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error
        self.connects += 1
        self._inbox = self._nc.new_inbox()
        await self._nc.subscribe(f"{self._inbox}.*.*", cb=self._on_ack, pending_msgs_limit=-1, pending_bytes_limit=-1)

    async def close(self) -> None:
        """Leave NATS."""
        if not self._nc.is_closed:
            await self._nc.close()

    async def check(self) -> None:
        """Say something to ourselves by way of NATS; connect anew if it is not heard.

        Not by flush: in nats-py 2.16 a pong that comes after its timeout ends the read loop, and with no read loop
        flush finds nothing wrong.
        """
        self._needs_connection()
        number = str(next(self._batch_numbers))
        echo = self._batches[number] = _Batch(1, asyncio.get_running_loop().create_future())
        try:
            await self._nc.publish(f"{self._inbox}.{number}.0", b"echo")
            await asyncio.wait_for(echo.future, _ECHO_SECONDS)
        except TimeoutError:
            await self._nc.force_reconnect()
            raise BrokerAway("connected, but nothing is heard") from None
        except (NatsError, OSError) as error:
            raise BrokerAway(str(error)) from error
        finally:
            del self._batches[number]

    async def subscribe(self, subject: str, hear: Callable[[Msg], Awaitable[None]]) -> None:
        """Hear what is said of a subject, also after connecting anew."""
        await self._nc.subscribe(subject, cb=hear)

    async def say(self, subject: str, body: bytes) -> None:
        """Say something that nobody may hear."""
        self._needs_connection()
        try:
            await self._nc.publish(subject, body)
        except (NatsError, OSError) as error:
            raise BrokerAway(str(error)) from error

    async def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        """Publish all; answer for each whether JetStream has it. Raises BrokerAway if nothing could be sent."""
        self._needs_connection()
        number = str(next(self._batch_numbers))
        batch = self._batches[number] = _Batch(len(messages), asyncio.get_running_loop().create_future())
        reply = f"{self._inbox}.{number}."
        try:
            for index, message in enumerate(messages):
                await self._nc.publish(message.subject, message.body, reply=f"{reply}{index}", headers=message.headers)
            await asyncio.wait_for(batch.future, _PUBLISH_TIMEOUT_SECONDS)
        except TimeoutError:
            pass  # what was acknowledged is known; the rest is published again later
        except (NatsError, OSError) as error:
            raise BrokerAway(str(error)) from error
        finally:
            del self._batches[number]
        return batch.taken

    async def request(self, subject: str, body: bytes) -> Msg:
        """Ask for one answer."""
        self._needs_connection()
        try:
            return await self._nc.request(subject, body, timeout=_REQUEST_TIMEOUT_SECONDS)
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error

    async def request_many(self, subject: str, body: bytes, hear: Callable[[Msg], bool]) -> None:
        """Ask, and hand the answers to `hear` until it answers True or raises BrokerAway."""
        self._needs_connection()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def on_message(message: Msg) -> None:
            try:
                if hear(message) and not done.done():
                    done.set_result(None)
            except BrokerAway as error:
                if not done.done():
                    done.set_exception(error)

        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
        try:
            await self._nc.publish(subject, body, reply=inbox)
            await asyncio.wait_for(done, _REQUEST_TIMEOUT_SECONDS)
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error
        finally:
            await subscription.unsubscribe()

    async def api(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """What `call` answers, which is given the JetStream context of nats-py."""
        self._needs_connection()
        try:
            return await call(self._nc.jetstream(timeout=_REQUEST_TIMEOUT_SECONDS))
        except NotFoundError as error:
            raise BrokerAway(f"missing in JetStream: {error.description}") from error
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error

    def _needs_connection(self) -> None:
        if not self._nc.is_connected:
            raise BrokerAway("not connected")

    async def _on_ack(self, message: Msg) -> None:
        number, _, index = message.subject[len(self._inbox) + 1 :].partition(".")
        batch = self._batches.get(number)
        if batch is not None:
            batch.answered(int(index), b'"error"' not in message.data and bool(message.data))

    async def _on_error(self, error: Exception) -> None:
        log.warning("NATS: %s", type(error).__name__)

    async def _on_reconnect(self) -> None:
        self.connects += 1


class _Batch:
    """Messages that wait for their acknowledgements."""

    __slots__ = ("future", "left", "taken")

    def __init__(self, size: int, future: asyncio.Future[None]) -> None:
        self.taken = [False] * size
        self.left = size
        self.future = future

    def answered(self, index: int, taken: bool) -> None:
        self.taken[index] = taken
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(None)

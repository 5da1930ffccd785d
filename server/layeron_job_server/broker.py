"""The only place in the server that talks to NATS: the stream, its consumers, and rings.

A ring may be lost, late or repeated without harm; what is owed stays in the outbox until JetStream has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from layeron.job.v1.delivery_pb2 import Delivery

log = logging.getLogger(__name__)

PRIORITIES: Final[Mapping[int, str]] = {1: "high", 2: "normal", 3: "low"}
_PUBLISH_TIMEOUT_SECONDS = 5.0
_REQUEST_TIMEOUT_SECONDS = 5.0
_ECHO_SECONDS = 2.0
_SCHEDULE_LATE = timedelta(seconds=5)
_SCHEDULE_HEADER = "Nats-Schedule"
_TARGET_HEADER = "Nats-Schedule-Target"


class BrokerAway(Exception):
    """NATS cannot be reached, or did not answer in time: nothing is known to be published."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One ring on the wire. With `after`, JetStream keeps it for so long before it delivers it."""

    subject: str
    body: bytes
    schedule_subject: str
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Where NATS is and how to get in."""

    urls: tuple[str, ...]
    user: str = ""
    password: str = ""
    token: str = ""


class Broker:
    """A connection to NATS with this installation's stream."""

    def __init__(self, access: NatsAccess, *, prefix: str, ack_wait: timedelta, replicas: int = 1) -> None:
        self.stream = prefix.upper()
        self._prefix = prefix
        self._access = access
        self._ack_wait = ack_wait
        self._replicas = replicas
        self._nc = Client()
        self._batches: dict[str, _Batch] = {}
        self._batch_numbers = count(1)
        self._inbox = ""
        self._suspects: dict[str, int] = {}
        self._clock_ahead = timedelta(0)  # the stream's clock minus ours
        self._on_hint: Callable[[], None] = lambda: None
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
        await self._nc.subscribe(f"{self._prefix}.hint.cancel", cb=self._on_cancel_hint)

    async def close(self) -> None:
        """Leave NATS. What was not acknowledged stays in the outbox."""
        if not self._nc.is_closed:
            await self._nc.close()

    async def check(self) -> None:
        """Say something to ourselves by way of NATS; connect anew if it is not heard. Raises BrokerAway.

        Not by flush: in nats-py 2.16 a pong that comes after its timeout ends the read loop, and with no read loop
        flush finds nothing wrong.
        """
        if not self._nc.is_connected:
            raise BrokerAway("not connected")
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

    async def ensure_stream(self) -> bool:
        """Make the stream if it is missing; True if it was. Notes the stream's clock."""
        existing = await self._stream_info()
        if existing is not None:
            self._clock_ahead = datetime.fromisoformat(_microseconds(existing["ts"])) - datetime.now(UTC)
            return False
        config = StreamConfig(
            name=self.stream,
            subjects=[f"{self._prefix}.deliver.>", f"{self._prefix}.schedule.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_msgs_per_subject=1,
            num_replicas=self._replicas,
            allow_direct=True,
            allow_msg_schedules=True,
        )
        await self._api(lambda js: js.add_stream(config))
        log.info("made the stream %s", self.stream)
        return True

    async def ensure_consumers(self, queues: Sequence[tuple[str, str]]) -> int:
        """Make the consumers of these (namespace, queue) pairs that are missing or stranded; answer how many were."""
        if not queues:
            return 0
        there = await self._consumers()
        made = 0
        for namespace, queue in queues:
            for priority in PRIORITIES.values():
                name = consumer_name(namespace, queue, priority)
                if name in there:
                    if not await self._is_stranded(there[name]):
                        continue
                    log.warning("the consumer %s has passed by what it never delivered", name)
                    await self._api(partial(_delete_consumer, self.stream, name))
                await self._make_consumer(name, f"{self._prefix}.deliver.{namespace}.{queue}.{priority}.>")
                made += 1
        return made

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

    async def backlog(self, namespace: str, queue: str, priority: int) -> int:
        """How many rings one consumer has that are not acknowledged."""
        name = consumer_name(namespace, queue, PRIORITIES[priority])
        info = await self._api(lambda js: js.consumer_info(self.stream, name, timeout=_REQUEST_TIMEOUT_SECONDS))
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    def publication(
        self, names: tuple[str, str, str], priority: int, run_id: str, attempt: int, after: timedelta | None = None
    ) -> Publication:
        """The ring of one run of (namespace, queue, task): at once, or kept by JetStream for so long."""
        namespace, queue, task = names
        return Publication(
            f"{self._prefix}.deliver.{namespace}.{queue}.{PRIORITIES[priority]}.{task}.{run_id}",
            Delivery(run_id=run_id, attempt=attempt).SerializeToString(),
            f"{self._prefix}.schedule.{run_id}",
            after,
        )

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """Publish all; answer for each whether JetStream has it. Raises BrokerAway if nothing could be sent."""
        if not self._nc.is_connected:
            raise BrokerAway("not connected")
        number = str(next(self._batch_numbers))
        batch = _Batch(len(publications), asyncio.get_running_loop().create_future())
        self._batches[number] = batch
        reply = f"{self._inbox}.{number}."
        try:
            stream_now = datetime.now(UTC) + self._clock_ahead
            for index, ring in enumerate(publications):
                if ring.after is None:
                    await self._nc.publish(ring.subject, ring.body, reply=f"{reply}{index}")
                else:
                    headers = {
                        _SCHEDULE_HEADER: f"@at {_rfc3339(stream_now + ring.after)}",
                        _TARGET_HEADER: ring.subject,
                    }
                    await self._nc.publish(ring.schedule_subject, ring.body, reply=f"{reply}{index}", headers=headers)
            await asyncio.wait_for(batch.future, _PUBLISH_TIMEOUT_SECONDS)
        except TimeoutError:
            pass  # what was acknowledged is known; the rest is published again later
        except (NatsError, OSError) as error:
            raise BrokerAway(str(error)) from error
        finally:
            del self._batches[number]
        return batch.taken

    async def present(self, publications: Sequence[Publication]) -> set[str]:
        """Which of the deliver and schedule subjects of these rings the stream holds, at most 500 rings.

        A schedule whose time has passed is not among them: a nats-server that was killed may never come back to it.
        """
        return await self._last_of(
            [subject for ring in publications for subject in (ring.subject, ring.schedule_subject)]
        )

    async def rung_run_ids(self) -> tuple[set[str], set[str]]:
        """The run ids of all deliveries and of all schedules the stream holds: of 100,000 in 0.15 s."""
        deliveries: set[str] = set()
        schedules: set[str] = set()
        schedule = f"{self._prefix}.schedule."
        for subject in await self._subjects():
            (schedules if subject.startswith(schedule) else deliveries).add(subject[subject.rfind(".") + 1 :])
        return deliveries, schedules

    def on_cancel_hint(self, look: Callable[[], None]) -> None:
        """Call `look` when some server says that a running run is to be canceled."""
        self._on_hint = look

    async def hint_cancel(self) -> None:
        """Tell all servers to look for cancel requests now. Nobody may hear it; they look anyway."""
        if self._nc.is_connected:
            try:
                await self._nc.publish(f"{self._prefix}.hint.cancel", b"")
            except (NatsError, OSError):
                log.debug("a cancel hint was not sent")

    async def _last_of(self, subjects: Sequence[str]) -> set[str]:
        """The subjects that have a message, by one direct get of all of them."""
        found: set[str] = set()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        late = f"@at {_rfc3339(datetime.now(UTC) + self._clock_ahead - _SCHEDULE_LATE)}"

        async def on_message(message: Msg) -> None:
            headers = message.headers or {}
            subject = headers.get("Nats-Subject")
            if subject is not None:
                if headers.get(_SCHEDULE_HEADER, late) >= late:  # both in UTC, to the microsecond
                    found.add(subject)
            elif not done.done():
                if headers.get("Status") in ("204", "404"):
                    done.set_result(None)
                else:
                    done.set_exception(BrokerAway(f"direct get: {headers.get('Status')} {headers.get('Description')}"))

        if not self._nc.is_connected:
            raise BrokerAway("not connected")
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
        try:
            request = orjson.dumps({"multi_last": list(subjects), "batch": len(subjects)})
            await self._nc.publish(f"$JS.API.DIRECT.GET.{self.stream}", request, reply=inbox)
            await asyncio.wait_for(done, _REQUEST_TIMEOUT_SECONDS)
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error
        finally:
            await subscription.unsubscribe()
        return found

    async def _subjects(self) -> set[str]:
        """Every subject that has a message."""
        found: set[str] = set()
        while True:
            info = await self._stream_info(subjects_filter=f"{self._prefix}.>", offset=len(found))
            page = (info or {}).get("state", {}).get("subjects") or {}
            found.update(page)
            if not page or info is None or len(found) >= info.get("total", 0):
                return found

    async def _stream_info(self, **wanted: object) -> dict[str, Any] | None:
        """The stream's info as JetStream tells it, or None if there is no such stream."""
        answer = await self._request(f"$JS.API.STREAM.INFO.{self.stream}", orjson.dumps(wanted) if wanted else b"")
        info: dict[str, Any] = orjson.loads(answer.data)
        if "error" not in info:
            return info
        if info["error"].get("code") == 404:
            return None
        raise BrokerAway(str(info["error"].get("description")))

    async def _first_of(self, subjects: str) -> int | None:
        """The sequence of the first message with such a subject, or None."""
        request = orjson.dumps({"seq": 1, "next_by_subj": subjects})
        message = await self._request(f"$JS.API.DIRECT.GET.{self.stream}", request)
        sequence = (message.headers or {}).get("Nats-Sequence")
        return None if sequence is None else int(sequence)

    async def _request(self, subject: str, body: bytes) -> Msg:
        if not self._nc.is_connected:
            raise BrokerAway("not connected")
        try:
            return await self._nc.request(subject, body, timeout=_REQUEST_TIMEOUT_SECONDS)
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error

    async def _consumers(self) -> dict[str, ConsumerInfo]:
        there: dict[str, ConsumerInfo] = {}
        while True:
            page = await self._api(partial(_consumer_page, self.stream, len(there)))
            there.update({info.name: info for info in page})
            if len(page) < 256:  # a page of the JetStream API
                return there

    async def _make_consumer(self, name: str, subjects: str) -> None:
        config = ConsumerConfig(
            durable_name=name,
            filter_subject=subjects,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait.total_seconds(),
            max_deliver=-1,
            max_ack_pending=1_000_000,
            max_waiting=4096,
        )
        await self._api(lambda js: js.add_consumer(self.stream, config))
        log.info("made the consumer %s", name)

    async def _api(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        if not self._nc.is_connected:
            raise BrokerAway("not connected")
        try:
            return await call(self._nc.jetstream(timeout=_REQUEST_TIMEOUT_SECONDS))
        except NotFoundError as error:
            raise BrokerAway(f"missing in JetStream: {error.description}") from error
        except (NatsError, OSError, TimeoutError) as error:
            raise BrokerAway(str(error)) from error

    async def _on_ack(self, message: Msg) -> None:
        number, _, index = message.subject[len(self._inbox) + 1 :].partition(".")
        batch = self._batches.get(number)
        if batch is not None:
            batch.answered(int(index), b'"error"' not in message.data and bool(message.data))

    async def _on_cancel_hint(self, _message: Msg) -> None:
        self._on_hint()

    async def _on_error(self, error: Exception) -> None:
        log.warning("NATS: %s", type(error).__name__)

    async def _on_reconnect(self) -> None:
        self.connects += 1


class _Batch:
    """Publications that wait for their acknowledgements."""

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


async def _consumer_page(stream: str, offset: int, jetstream: Any) -> list[Any]:
    page: list[Any] = await jetstream.consumers_info(stream, offset=offset)
    return page


async def _delete_consumer(stream: str, name: str, jetstream: Any) -> None:
    await jetstream.delete_consumer(stream, name)


def consumer_name(namespace: str, queue: str, priority: str) -> str:
    """The durable consumer of one queue and priority. "_" is in no namespace or queue, so names never clash."""
    return f"{namespace}_{queue}_{priority}"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _microseconds(timestamp: str) -> str:
    """An RFC 3339 time with nanoseconds, cut to what datetime reads."""
    moment, _, fraction = timestamp.rstrip("Z").partition(".")
    return f"{moment}.{fraction[:6]:0<6}+00:00"


async def connect_when_there(broker: Broker, *, every_seconds: float = 1.0) -> None:
    """Connect, and try again until NATS is there."""
    while True:
        try:
            return await broker.connect()
        except BrokerAway as error:
            log.warning("NATS is away: %s", error)
            await asyncio.sleep(every_seconds)

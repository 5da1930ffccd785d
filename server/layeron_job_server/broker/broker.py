"""The stream of this installation: rings are published into it, and it is asked which it holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from layeron.job.v1.delivery_pb2 import Delivery

from .connection import BrokerAway, Connection, NatsAccess, Outgoing
from .consumers import PRIORITIES, Backlog, Consumers

log = logging.getLogger(__name__)

_SCHEDULE_LATE = timedelta(seconds=5)
_SCHEDULE_HEADER = "Nats-Schedule"
_TARGET_HEADER = "Nats-Schedule-Target"


@dataclass(frozen=True, slots=True)
class Publication:
    """One ring on the wire. With `after`, JetStream keeps it for so long before it delivers it.

    `traceparent` is the header of its run's trace, which a subscriber's spans may join.
    """

    subject: str
    body: bytes
    schedule_subject: str
    after: timedelta | None = None
    traceparent: str = ""
    queue: str = ""


class Broker:
    """A connection to NATS with this installation's stream."""

    def __init__(self, access: NatsAccess, *, prefix: str, ack_wait: timedelta, replicas: int = 1) -> None:
        self.stream = prefix.upper()
        self._prefix = prefix
        self._replicas = replicas
        self._connection = Connection(access)
        self._consumers = Consumers(self._connection, stream=self.stream, prefix=prefix, ack_wait=ack_wait)
        self._clock_ahead = timedelta(0)  # the stream's clock minus ours
        self._on_hint: Callable[[], None] = lambda: None

    @property
    def is_connected(self) -> bool:
        """Whether NATS answered last."""
        return self._connection.is_connected

    @property
    def connects(self) -> int:
        """How often NATS was connected to."""
        return self._connection.connects

    async def connect(self) -> None:
        """Connect. Once it was reached, NATS is connected to again by itself; raises BrokerAway until then."""
        await self._connection.connect()
        await self._connection.subscribe(f"{self._prefix}.hint.cancel", self._on_cancel_hint)

    async def close(self) -> None:
        """Leave NATS. What was not acknowledged stays in the outbox."""
        await self._connection.close()

    async def check(self) -> None:
        """Make sure that we are heard; connect anew if not. Raises BrokerAway."""
        await self._connection.check()

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
        await self._connection.api(lambda jetstream: jetstream.add_stream(config))
        log.info("made the stream %s", self.stream)
        return True

    async def ensure_consumers(self, queues: Sequence[tuple[str, str]], *, renew_stranded: bool = False) -> int:
        """Make the consumers of these (namespace, queue) pairs that are missing; answer how many were.

        With `renew_stranded` also make those anew that are stranded: one server at a time may do so, again and again.
        """
        return await self._consumers.ensure(queues, renew_stranded=renew_stranded)

    async def backlog(self, namespace: str, queue: str, priority: int) -> int:
        """How many rings one consumer has that are not acknowledged."""
        return await self._consumers.backlog(namespace, queue, priority)

    async def backlogs(self) -> list[Backlog]:
        """What every consumer of ours has."""
        return await self._consumers.backlogs()

    def publication(
        self,
        names: tuple[str, str, str],
        priority: int,
        run_id: str,
        attempt: int,
        after: timedelta | None = None,
        traceparent: str = "",
    ) -> Publication:
        """The ring of one run of (namespace, queue, task): at once, or kept by JetStream for so long."""
        namespace, queue, task = names
        return Publication(
            f"{self._prefix}.deliver.{namespace}.{queue}.{PRIORITIES[priority]}.{task}.{run_id}",
            Delivery(run_id=run_id, attempt=attempt).SerializeToString(),
            f"{self._prefix}.schedule.{run_id}",
            after,
            traceparent,
            queue,
        )

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """Publish all; answer for each whether JetStream has it. Raises BrokerAway if nothing could be sent."""
        stream_now = datetime.now(UTC) + self._clock_ahead
        return await self._connection.publish([_outgoing(ring, stream_now) for ring in publications])

    async def present(self, publications: Sequence[Publication]) -> set[str]:
        """Which of the deliver and schedule subjects of these rings the stream holds, at most 500 rings.

        A schedule whose time has passed is not among them: a nats-server that was killed may never come back to it.
        """
        found: set[str] = set()
        late = f"@at {_rfc3339(datetime.now(UTC) + self._clock_ahead - _SCHEDULE_LATE)}"

        def hear(message: Msg) -> bool:
            headers = message.headers or {}
            subject = headers.get("Nats-Subject")
            if subject is None:
                if headers.get("Status") not in ("204", "404"):
                    raise BrokerAway(f"direct get: {headers.get('Status')} {headers.get('Description')}")
                return True
            if headers.get(_SCHEDULE_HEADER, late) >= late:  # both in UTC, to the microsecond
                found.add(subject)
            return False

        subjects = [subject for ring in publications for subject in (ring.subject, ring.schedule_subject)]
        request = orjson.dumps({"multi_last": subjects, "batch": len(subjects)})
        await self._connection.request_many(f"$JS.API.DIRECT.GET.{self.stream}", request, hear)
        return found

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
        try:
            await self._connection.say(f"{self._prefix}.hint.cancel", b"")
        except BrokerAway:
            log.debug("a cancel hint was not sent")

    async def _on_cancel_hint(self, _message: Msg) -> None:
        self._on_hint()

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
        body = orjson.dumps(wanted) if wanted else b""
        answer = await self._connection.request(f"$JS.API.STREAM.INFO.{self.stream}", body)
        info: dict[str, Any] = orjson.loads(answer.data)
        if "error" not in info:
            return info
        if info["error"].get("code") == 404:
            return None
        raise BrokerAway(str(info["error"].get("description")))


def _outgoing(ring: Publication, stream_now: datetime) -> Outgoing:
    trace = {"traceparent": ring.traceparent} if ring.traceparent else None
    if ring.after is None:
        return Outgoing(ring.subject, ring.body, trace)
    at = f"@at {_rfc3339(stream_now + ring.after)}"
    headers = {**(trace or {}), _SCHEDULE_HEADER: at, _TARGET_HEADER: ring.subject}
    return Outgoing(ring.schedule_subject, ring.body, headers)


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

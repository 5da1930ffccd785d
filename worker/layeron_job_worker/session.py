"""The worker's session with the servers: one `Work` stream at a time, kept alive and resumed over any of them.

Promises: a start keeps its `start_id` until it is answered, over every reconnect; a finish is sent again until it is
answered; when no server has answered for most of the lease, every handler is stopped before the server may give its
run away; what the server no longer counts as ours is stopped and not reported.

Everything that is sent waits in a plain list of its kind and leaves in batches through one writer.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.connection import Backoff, Servers, Stream, StreamBroken
from layeron_job_worker.errors import WorkerError
from layeron_job_worker.executor import Attempt
from layeron_job_worker.outgoing import Outgoing

logger = logging.getLogger("layeron_job_worker")

# The lease ends for us before it ends for the server, so that its next owner does not meet our handler.
LEASE_SHARE: Final = 0.8
_HELLO_ATTEMPTS_MAX: Final = 2000
_WELCOME_SECONDS: Final = 10.0
_STABLE_SECONDS: Final = 5.0
# A delivery whose start has no answer goes back to JetStream once the server has been away for this long.
_UNANSWERED_SECONDS: Final = 2.0
_AWAY_ANSWERS_BEFORE_OTHERS: Final = 3
_REFUSALS: Final = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)


@dataclass(slots=True)
class Delivery:
    """A pulled message whose start waits for an answer. `reply` is where it is acked."""

    run_id: str
    reply: str
    handed_back: bool = False


class Events(Protocol):
    """What the session tells its worker. Called on the event loop."""

    def connected(self, welcome: pb.Welcome) -> None:
        """A server has welcomed us; starts may be sent."""

    def disconnected(self) -> None:
        """No server is connected; nothing more is to be pulled."""

    def granted(self, start_id: int, grant: pb.Grant) -> Attempt:
        """An attempt is ours: make it and see that it begins. It must not be reported before this returns."""

    def settled(self, reply: str) -> None:
        """A delivery's start was answered: ack it."""

    def unanswered(self, reply: str) -> None:
        """A delivery's start has no answer: NAK it."""


class Session:
    """One worker session; `run`, `write` and `keep_lease` are its three loops."""

    def __init__(self, servers: Servers, hello: Callable[[], pb.Hello], events: Events) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.session_id = ""
        self.leaving = False
        self._servers = servers
        self._hello = hello
        self._events = events
        self._unanswered: dict[int, Delivery] = {}
        self._last_start_id = 0
        self._out = Outgoing()
        self._stream: Stream | None = None
        self._successor: Stream | None = None
        self._handover: asyncio.Task[None] | None = None
        self._handing_over = False
        self._epoch = 0
        self._forgotten = 0
        self._away_since = 0.0
        self._away_answers = 0
        self._lease_seconds = 30.0
        self._heartbeat_seconds = 5.0
        self._lease_until = float("inf")

    @property
    def is_connected(self) -> bool:
        """A server has welcomed us on the stream in use."""
        return self._stream is not None

    @property
    def unanswered(self) -> int:
        """How many starts wait for an answer."""
        return len(self._unanswered)

    def start(self, run_id: str, reply: str) -> None:
        """Ask for the right to run what a delivery named; without a server the delivery is handed back."""
        if self._stream is None:
            self._events.unanswered(reply)
            return
        self._last_start_id += 1
        self._unanswered[self._last_start_id] = Delivery(run_id, reply)
        self._out.start(self._last_start_id, run_id)

    def finish(self, attempt: Attempt) -> None:
        """Report an attempt; repeated after a reconnect until it is answered."""
        if self.attempts.get(attempt.start_id) is attempt:
            self._out.finish(attempt)

    def note(self, attempt: Attempt) -> None:
        """Send an attempt's newest progress and log lines soon, at most once a second."""
        self._out.note(attempt)

    async def run(self) -> None:
        """Stay connected until `leave`. Raises WorkerError when the very first server refuses this worker."""
        backoff = Backoff()
        while not self.leaving:
            try:
                stream: Stream | None = await self._connect(self._servers.current())
            except StreamBroken as error:
                if not self.session_id and error.code in _REFUSALS:
                    raise WorkerError(f"the server refused this worker: {error}") from error
                logger.warning("cannot connect to %s: %s", self._servers.current(), error)
                self._servers.advance()
                await asyncio.sleep(backoff.next())
                continue
            connected_at = time.monotonic()
            while stream is not None:
                await self._read(stream)
                stream = await self._following()
            self._events.disconnected()
            if time.monotonic() - connected_at > _STABLE_SECONDS:
                backoff.reset()
            if not self.leaving:
                await asyncio.sleep(backoff.next())

    async def write(self) -> None:
        """Send what waits, whenever something does."""
        while True:
            await self._out.wait()
            stream = self._stream
            if stream is None or self._handing_over:
                continue
            try:
                for request in self._out.requests():
                    await stream.write(request)
                    if request.HasField("goodbye"):
                        await stream.done_writing()
                    if self._handing_over:
                        break
            except StreamBroken:
                # The reader sees it too, and what was lost is sent again after the reconnect.
                logger.debug("the stream to %s broke while writing", stream.address)

    async def keep_lease(self) -> None:
        """Send heartbeats, and stop every handler when the lease may be lost."""
        while True:
            await asyncio.sleep(min(0.5, self._heartbeat_seconds / 4))
            now = time.monotonic()
            if now > self._lease_until:
                self._lapse()
            elif self._stream is not None and self._out.heartbeat_due(now, self._heartbeat_seconds):
                self._heartbeat(now)
            if self._stream is None and self._away_since and now - self._away_since > _UNANSWERED_SECONDS:
                self._hand_back_unanswered()

    async def leave(self, seconds: float) -> None:
        """Say goodbye and close; the session then ends on the server. Waits at most `seconds`."""
        self.leaving = True
        stream = self._stream
        if stream is None:
            return
        self._out.goodbye()
        try:
            await asyncio.wait_for(stream.ended.wait(), seconds)
        except TimeoutError:
            logger.info("%s did not hear the goodbye", stream.address)
        finally:
            stream.cancel()

    async def _connect(self, address: str) -> Stream:
        """Open a stream to a server, say hello and take its welcome."""
        stream = Stream(self._servers.channel(address), address)
        forgotten, hello_at = self._forgotten, time.monotonic()
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                for hello in self._hellos():
                    await stream.write(pb.WorkRequest(hello=hello))
                response = await stream.read()
            if response is None or not response.HasField("welcome"):
                raise StreamBroken("the server did not say welcome")
            if forgotten != self._forgotten:
                raise StreamBroken("the lease ended meanwhile")
        except TimeoutError:
            await stream.close()
            raise StreamBroken(f"no welcome within {_WELCOME_SECONDS:g} s") from None
        except BaseException:
            await stream.close()
            raise
        self._adopt(stream, response.welcome, hello_at)
        return stream

    def _hellos(self) -> Iterator[pb.Hello]:
        """Hello in as many messages as it takes: who we are, and on resume all that has no final answer."""
        attempts = [pb.OpenAttempt(run_id=a.context.run_id, attempt=a.context.attempt) for a in self.attempts.values()]
        starts = list(self._unanswered)
        hello = self._hello()
        hello.session_id = self.session_id
        size = _HELLO_ATTEMPTS_MAX
        pages = max(1, -(-len(attempts) // size), -(-len(starts) // size))
        for page in range(pages):
            hello.attempts.extend(attempts[page * size : (page + 1) * size])
            hello.unanswered_starts.extend(starts[page * size : (page + 1) * size])
            hello.last = page == pages - 1
            yield hello
            hello = pb.Hello()

    def _adopt(self, stream: Stream, welcome: pb.Welcome, hello_at: float) -> None:
        """The stream is ours: drop what the server no longer counts as ours, send again what it has not answered."""
        if self.session_id and not welcome.resumed:
            logger.warning("the session %s has ended; its attempts are canceled", self.session_id)
            self._forget()
        for gone in welcome.superseded:
            self._supersede(gone.run_id, gone.attempt)
        if not welcome.resumed:
            self._last_start_id = 0
        self.session_id, self._epoch = welcome.session_id, welcome.epoch
        self._lease_seconds = welcome.lease_ms / 1000
        self._heartbeat_seconds = welcome.heartbeat_interval_ms / 1000
        self._lease_until = hello_at + self._lease_seconds * LEASE_SHARE
        self._away_since, self._away_answers = 0.0, 0
        self._stream = stream
        self._out.restart(
            starts=[(start_id, delivery.run_id) for start_id, delivery in self._unanswered.items()],
            finishes=[attempt for attempt in self.attempts.values() if attempt.outcome is not None],
        )
        for attempt in self.attempts.values():
            attempt.begun_sent = False
        self._heartbeat(time.monotonic())
        self._events.connected(welcome)
        logger.info("connected to %s as %s, epoch %d", stream.address, self.session_id, self._epoch)

    async def _read(self, stream: Stream) -> None:
        """Take what the server sends until the stream ends."""
        try:
            while (response := await stream.read()) is not None:
                self._receive(response)
            logger.info("%s ended the stream", stream.address)
        except StreamBroken as error:
            if self._successor is None and not self.leaving:
                logger.warning("lost the stream to %s: %s", stream.address, error)
        finally:
            if self._stream is stream:
                self._stream = None
                self._away_since = time.monotonic()
            await stream.close()

    async def _following(self) -> Stream | None:
        """The stream that a hand-over made ready, if there is one."""
        if self._handover is not None:
            await asyncio.wait([self._handover])
            self._handover.result()
        successor, self._successor = self._successor, None
        return successor

    def _receive(self, response: pb.WorkResponse) -> None:
        for answer in response.start_answers:
            self._take_start_answer(answer)
        for finish in response.finish_answers:
            attempt = self.attempts.pop(finish.start_id, None)
            if attempt is not None and finish.verdict == pb.FINISH_VERDICT_SUPERSEDED:
                logger.debug("attempt %d of %s was superseded", attempt.context.attempt, attempt.context.run_id)
        if response.HasField("heartbeat_answer"):
            self._take_heartbeat_answer(response.heartbeat_answer)
        for order in response.cancel_orders:
            for attempt in self._named(order.run_id, order.attempt):
                attempt.cancel()
        if response.HasField("drain"):
            logger.info("the server shuts down; looking for another one")
            self._hand_over([*self._others(), self._servers.current()])

    def _take_start_answer(self, answer: pb.StartAnswer) -> None:
        start_id = answer.start_id
        delivery = self._unanswered.pop(start_id, None)
        if delivery is None:
            return
        self._events.settled(delivery.reply)
        if answer.WhichOneof("answer") == "grant":
            attempt = self._events.granted(start_id, answer.grant)
            self.attempts[start_id] = attempt
            if attempt.outcome is not None:
                self._out.finish(attempt)

    def _take_heartbeat_answer(self, answer: pb.HeartbeatAnswer) -> None:
        sent_at = self._out.heartbeat_sent_at(answer.number)
        if answer.verdict == pb.HEARTBEAT_VERDICT_SESSION_ENDED:
            logger.warning("the session %s has ended on the server or goes on elsewhere", self.session_id)
            if self._stream is not None:
                self._stream.cancel()
            return
        if sent_at is not None:
            # Also when the database is away: the server then lengthens every lease once it is back.
            self._lease_until = max(self._lease_until, sent_at + self._lease_seconds * LEASE_SHARE)
        if answer.verdict != pb.HEARTBEAT_VERDICT_DATABASE_AWAY:
            self._away_answers = 0
            return
        self._away_answers += 1
        if self._away_answers >= _AWAY_ANSWERS_BEFORE_OTHERS and len(self._servers) > 1:
            self._away_answers = 0
            self._hand_over(self._others())

    def _heartbeat(self, now: float) -> None:
        running = [a for a in self.attempts.values() if a.began and a.outcome is None and not a.begun_sent]
        self._out.heartbeat(now, running)

    def _others(self) -> list[str]:
        return [address for address in self._servers.addresses if address != self._servers.current()]

    def _hand_over(self, addresses: list[str]) -> None:
        """Move to another server while the present stream is still read; it stays in use if none is found."""
        if self.leaving or (self._handover is not None and not self._handover.done()):
            return
        self._handover = asyncio.create_task(self._try_in_turn(addresses))

    async def _try_in_turn(self, addresses: list[str]) -> None:
        old = self._stream
        # Nothing more is written to the old stream: its server would grant what the new one does not know of.
        self._handing_over = True
        try:
            for address in addresses:
                try:
                    self._successor = await self._connect(address)
                except StreamBroken as error:
                    logger.info("cannot move to %s: %s", address, error)
                    continue
                while self._servers.current() != address:
                    self._servers.advance()
                break
        except BaseException:
            self._successor = None
            raise
        finally:
            self._handing_over = False
            self._out.wake()
            # After success, and after an error that is no refusal: the reader goes on to what comes next.
            if old is not None and (self._stream is not old or sys.exc_info()[0] is not None):
                old.cancel()

    def _lapse(self) -> None:
        """No answer for most of the lease: the server may give our runs away, so nothing of ours may go on."""
        logger.warning("no server has answered for %.1f s; %d handlers are stopped", self._lease_seconds * LEASE_SHARE,
                       len(self.attempts))  # fmt: skip
        self._lease_until = float("inf")
        self._forget()
        if self._stream is not None:
            self._stream.cancel()

    def _forget(self) -> None:
        """Nothing of the session is ours any more."""
        self._forgotten += 1
        for attempt in self.attempts.values():
            attempt.abandon()
        self.attempts.clear()
        self._hand_back_unanswered()
        self._unanswered.clear()
        self._out.restart(starts=[], finishes=[])

    def _hand_back_unanswered(self) -> None:
        for delivery in self._unanswered.values():
            if not delivery.handed_back:
                delivery.handed_back = True
                self._events.unanswered(delivery.reply)

    def _supersede(self, run_id: str, number: int) -> None:
        for attempt in self._named(run_id, number):
            attempt.abandon()
            del self.attempts[attempt.start_id]

    def _named(self, run_id: str, number: int) -> list[Attempt]:
        return [a for a in self.attempts.values() if a.context.run_id == run_id and a.context.attempt == number]

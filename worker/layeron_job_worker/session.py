"""The worker's session with the servers: one `Work` stream at a time, kept alive and resumed over any of them.

Promises: a start keeps its `start_id` until it is answered, over every reconnect; a finish is sent again until it is
answered; when no server has answered for most of the lease, every handler is stopped before the server may give its
run away; what the server no longer counts as ours is stopped and not reported.

Everything that is sent waits in a plain list of its kind and leaves in batches through one writer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.connection import Backoff, Servers, Stream, StreamBroken, greet
from layeron_job_worker.errors import WorkerError
from layeron_job_worker.executor import Attempt
from layeron_job_worker.handover import HandOver
from layeron_job_worker.lease import Lease
from layeron_job_worker.outgoing import Outgoing
from layeron_job_worker.pending import Delivery, Pending

logger = logging.getLogger("layeron_job_worker")

_STABLE_SECONDS: Final = 5.0
# A delivery whose start has no answer goes back to JetStream once the server has been away for this long.
_UNANSWERED_SECONDS: Final = 2.0
_AWAY_ANSWERS_BEFORE_OTHERS: Final = 3


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
        self.session_id = ""
        self.leaving = False
        self._servers = servers
        self._hello = hello
        self._events = events
        self._pending = Pending()
        self._last_start_id = 0
        self._out = Outgoing()
        self._lease = Lease()
        self._stream: Stream | None = None
        self._hand_over = HandOver(servers, self._connect)
        self._greeting = False
        self._away_since = 0.0
        self._away_answers = 0
        self.heard_at = 0.0  # when a server last answered (monotonic; 0: never)

    @property
    def is_settled(self) -> bool:
        """Nothing waits for a server's answer and no handler runs."""
        return not self._pending.attempts and not self._pending.starts

    @property
    def unanswered(self) -> int:
        """How many starts wait for an answer."""
        return len(self._pending.starts)

    def start(self, run_id: str, reply: str) -> None:
        """Ask for the right to run what a delivery named; without a server the delivery is handed back."""
        if self._stream is None:
            self._events.unanswered(reply)
            return
        self._last_start_id += 1
        self._pending.starts[self._last_start_id] = Delivery(run_id, reply)
        self._out.start(self._last_start_id, run_id)

    def finish(self, attempt: Attempt) -> None:
        """Report an attempt; repeated after a reconnect until it is answered."""
        if self._pending.attempts.get(attempt.start_id) is attempt:
            self._out.finish(attempt)

    def note(self, attempt: Attempt) -> None:
        """Send an attempt's newest progress and log lines soon, at most once a second."""
        self._out.note(attempt)

    async def run(self) -> None:
        """Stay connected until `leave`. Raises WorkerError when the very first server refuses this worker."""
        backoff = Backoff()
        try:
            while not self.leaving:
                await self._be_connected(backoff)
                if not self.leaving:
                    await asyncio.sleep(backoff.next())
        finally:
            self._hand_over.cancel()

    async def write(self) -> None:
        """Send what waits, whenever something does."""
        while True:
            await self._out.wait()
            stream = self._stream
            if stream is None:
                continue
            try:
                # Looked at before each message: during a write a hand-over may have brought another stream.
                while stream is self._stream and (request := self._out.take(starts=not self._greeting)) is not None:
                    await stream.write(request)
                    if request.HasField("goodbye"):
                        await stream.done_writing()
            except StreamBroken:
                # The reader sees it too, and what was lost is sent again after the reconnect.
                logger.debug("the stream to %s broke while writing", stream.address)

    async def keep_lease(self) -> None:
        """Send heartbeats, and stop every handler when the lease may be lost."""
        while True:
            await asyncio.sleep(min(0.5, self._lease.heartbeat_seconds / 4))
            now = time.monotonic()
            if self._lease.is_over(now):
                self._lapse()
            elif self._stream is not None and self._out.heartbeat_due(now, self._lease.heartbeat_seconds):
                self._out.heartbeat(now, self._pending.unsent_begins())
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

    async def _be_connected(self, backoff: Backoff) -> None:
        """Connect to the server in turn, and stay so, over every hand-over, until a stream ends without another."""
        try:
            stream: Stream | None = await self._connect(self._servers.current())
        except StreamBroken as error:
            if not self.session_id and error.is_refusal:
                raise WorkerError(f"the server refused this worker: {error}") from error
            logger.warning("cannot connect to %s: %s", self._servers.current(), error)
            self._servers.advance()
            return
        connected_at = time.monotonic()
        while stream is not None:
            await self._read(stream)
            stream = await self._hand_over.following()
        self._events.disconnected()
        if time.monotonic() - connected_at > _STABLE_SECONDS:
            backoff.reset()

    async def _connect(self, address: str) -> Stream:
        """Open a stream to a server, say hello and take its welcome."""
        stream = Stream(self._servers.channel(address), address)
        hello = self._hello()
        hello.session_id = self.session_id
        hello_at = time.monotonic()
        # Until there is an answer no start leaves on a stream still in use: its server would grant what this Hello
        # does not name, and the new server would take that for given up.
        self._greeting = True
        try:
            welcome = await greet(stream, self._pending.hellos(hello))
        finally:
            self._greeting = False
            self._out.wake()
        self._adopt(stream, welcome, hello_at)
        return stream

    def _adopt(self, stream: Stream, welcome: pb.Welcome, hello_at: float) -> None:
        """The stream is ours: drop what the server no longer counts as ours, send again what it has not answered."""
        if not welcome.resumed:
            if self.session_id:
                logger.warning("the session %s has ended; its attempts are canceled", self.session_id)
                self._hand_back_unanswered()
                self._pending.forget()
            self._last_start_id = 0
        for gone in welcome.superseded:
            self._pending.supersede(gone.run_id, gone.attempt)
        self.session_id = welcome.session_id
        self._lease.begin(welcome, hello_at)
        self._away_since, self._away_answers = 0.0, 0
        self.heard_at = time.monotonic()
        self._stream = stream
        for attempt in self._pending.attempts.values():
            attempt.begun_sent = False
        self._out.restart(starts=self._pending.unsent_starts(), finishes=self._pending.unsent_finishes())
        self._out.heartbeat(time.monotonic(), self._pending.unsent_begins())
        self._events.connected(welcome)
        logger.info("connected to %s as %s, epoch %d", stream.address, self.session_id, welcome.epoch)

    async def _read(self, stream: Stream) -> None:
        """Take what the server sends until the stream ends."""
        try:
            while (response := await stream.read()) is not None:
                # What comes on a stream we have left is said again on the one in use.
                if stream is self._stream:
                    self._receive(stream, response)
            logger.info("%s ended the stream", stream.address)
        except StreamBroken as error:
            if not self._hand_over.is_done and not self.leaving:
                logger.warning("lost the stream to %s: %s", stream.address, error)
        finally:
            if self._stream is stream:
                self._lose_stream()
            await stream.close()

    def _lose_stream(self) -> None:
        self._stream = None
        self._away_since = time.monotonic()

    def _receive(self, stream: Stream, response: pb.WorkResponse) -> None:
        for answer in response.start_answers:
            self._take_start_answer(answer)
        for finish in response.finish_answers:
            attempt = self._pending.attempts.pop(finish.start_id, None)
            if attempt is not None and finish.verdict == pb.FINISH_VERDICT_SUPERSEDED:
                logger.debug("attempt %d of %s was superseded", attempt.context.attempt, attempt.context.run_id)
        for order in response.cancel_orders:
            for attempt in self._pending.named(order.run_id, order.attempt):
                attempt.cancel()
        if response.HasField("heartbeat_answer"):
            self._take_heartbeat_answer(stream, response.heartbeat_answer)
        if response.HasField("drain"):
            logger.info("the server shuts down; looking for another one")
            self._move(stream, [*self._servers.others(), self._servers.current()])

    def _take_start_answer(self, answer: pb.StartAnswer) -> None:
        start_id = answer.start_id
        delivery = self._pending.starts.pop(start_id, None)
        if delivery is None:
            return
        self._events.settled(delivery.reply)
        if answer.WhichOneof("answer") == "grant":
            attempt = self._events.granted(start_id, answer.grant)
            self._pending.attempts[start_id] = attempt
            if attempt.outcome is not None:
                self._out.finish(attempt)

    def _take_heartbeat_answer(self, stream: Stream, answer: pb.HeartbeatAnswer) -> None:
        sent_at = self._out.heartbeat_sent_at(answer.number)
        if answer.verdict == pb.HEARTBEAT_VERDICT_SESSION_ENDED:
            logger.warning("the session %s has ended on the server or goes on elsewhere", self.session_id)
            stream.cancel()
            return
        self.heard_at = time.monotonic()
        if sent_at is not None:
            # Also when the database is away: the server then lengthens every lease once it is back.
            self._lease.renew(sent_at)
        if answer.verdict != pb.HEARTBEAT_VERDICT_DATABASE_AWAY:
            self._away_answers = 0
            return
        self._away_answers += 1
        if self._away_answers >= _AWAY_ANSWERS_BEFORE_OTHERS and len(self._servers) > 1:
            self._away_answers = 0
            self._move(stream, self._servers.others())

    def _move(self, old: Stream, addresses: Sequence[str]) -> None:
        if not self.leaving:
            self._hand_over.begin(old, addresses)

    def _lapse(self) -> None:
        """No answer for most of the lease: the server may give our runs away, so none of our handlers may go on.

        The attempts stay ours until a server says otherwise: what has ended, and what was stopped, is still reported.
        """
        attempts = list(self._pending.attempts.values())
        running = sum(1 for attempt in attempts if not attempt.ended)
        logger.warning("no server has answered for %.1f s; %d handlers are stopped", self._lease.seconds, running)
        self._lease.drop()
        stream = self._stream
        if stream is not None:
            self._lose_stream()
            stream.cancel()
        for attempt in attempts:
            attempt.lapse()

    def _hand_back_unanswered(self) -> None:
        for reply in self._pending.hand_back():
            self._events.unanswered(reply)

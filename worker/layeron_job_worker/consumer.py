"""A durable pull consumer of JetStream as the worker sees it: its subscription, and the one pull under way.

Pull requests are written by hand on a callback subscription, because `fetch` of nats-py costs several times as much.
A pull lives for seconds only, so a lost one is soon made again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.credits import Share

logger = logging.getLogger("layeron_job_worker")

_PULL_SECONDS: Final = 2.0
_LISTEN_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_PULL_IS_OVER: Final = ("404", "408")


class Consumer(Share):
    """One of them. `arrived(subject, reply)` is called for each message, `pull_over()` when the next pull may be made.

    deadline    when the pull under way has ended without a word (monotonic)
    not_before  when the next pull may be made (monotonic)
    answered_at when JetStream last answered a pull (monotonic; 0: never)
    """

    __slots__ = (
        "_arrived",
        "_pull_over",
        "answered_at",
        "deadline",
        "inbox",
        "last_reply",
        "name",
        "not_before",
        "subject",
        "subscription",
    )

    def __init__(
        self,
        consumer: pb.Consumer,
        stream: str,
        inbox: str,
        arrived: Callable[[str, str], None],
        pull_over: Callable[[], None],
    ) -> None:
        super().__init__(consumer.priority)
        self.name = consumer.name
        self.subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}"
        self.inbox = inbox
        self.deadline = 0.0
        self.not_before = 0.0
        self.answered_at = 0.0
        self.last_reply = ""
        self.subscription: Subscription | None = None
        self._arrived = arrived
        self._pull_over = pull_over

    async def on_message(self, message: Msg) -> None:
        """A delivery of the pull under way, or its end."""
        if not message.reply:
            self._on_status(message.headers or {})
            return
        if self.outstanding:
            self.outstanding -= 1
            self.listening = False
        self.answered_at = time.monotonic()
        self.last_reply = message.reply
        self._arrived(message.subject, message.reply)
        if not self.outstanding:
            self._pull_over()

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status")
        if status == "100":
            return
        self.close()
        if status in _PULL_IS_OVER:
            self.answered_at = time.monotonic()
            self._pull_over()
        else:
            self.not_before = time.monotonic() + _RETRY_SECONDS
            logger.debug("a pull from %s ended: %s %s", self.name, status, headers.get("Description"))

    def request(self, count: int, now: float) -> bytes:
        """The pull request for so many messages, which is then under way."""
        self.listening = not self.backlog
        seconds = _LISTEN_SECONDS if self.listening else _PULL_SECONDS
        self.outstanding = count
        self.deadline = now + seconds + _GRACE_SECONDS
        return b'{"batch":%d,"expires":%d}' % (count, int(seconds * 1e9))

    def look_at_backlog(self) -> None:
        """What the newest delivery says of the backlog behind it."""
        if self.last_reply:
            tokens = self.last_reply.split(".")
            self.backlog = int(tokens[8 if len(tokens) == 9 else 10])  # the second form of reply subjects is longer
            self.last_reply = ""

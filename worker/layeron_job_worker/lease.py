"""The worker's side of the lease: until when its attempts are its own, by its own monotonic clock."""

from __future__ import annotations

from typing import Final

from layeron.job.v1 import worker_service_pb2 as pb

# The lease ends for us before it ends for the server, so that its next owner does not meet our handler.
_LEASE_SHARE: Final = 0.8


class Lease:
    """Runs from when the last answered heartbeat was sent. There is none before a welcome, and after `drop`."""

    def __init__(self) -> None:
        self.heartbeat_seconds = 5.0
        self.seconds = 0.0
        self._until: float | None = None

    def begin(self, welcome: pb.Welcome, hello_at: float) -> None:
        """A server has welcomed us, who said hello at that time. Of a resumed session nothing is lost."""
        self.heartbeat_seconds = welcome.heartbeat_interval_ms / 1000
        self.seconds = welcome.lease_ms / 1000 * _LEASE_SHARE
        if self._until is None or not welcome.resumed:
            self._until = hello_at + self.seconds
        # While a new server was slow to answer, heartbeats to the old one have kept the lease beyond the hello's.
        self.renew(hello_at)

    def renew(self, sent_at: float) -> None:
        """A heartbeat that was sent at that time has its answer."""
        if self._until is not None:
            self._until = max(self._until, sent_at + self.seconds)

    def is_over(self, now: float) -> bool:
        """Whether the server may give our runs away soon."""
        return self._until is not None and now > self._until

    def drop(self) -> None:
        """There is none until the next welcome."""
        self._until = None

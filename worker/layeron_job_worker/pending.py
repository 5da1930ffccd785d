"""What of a worker's session has no final answer: its attempts, and the deliveries whose start waits for an answer.

A reconnecting worker names exactly this, and the server closes what it does not name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.executor import Attempt

_HELLO_ITEMS_MAX: Final = 2000


@dataclass(slots=True)
class Delivery:
    """A pulled message whose start waits for an answer. `reply` is where it is acked."""

    run_id: str
    reply: str
    handed_back: bool = False


class Pending:
    """`attempts` from their grant to the answer of their finish, `starts` until their answer; both by start_id."""

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.starts: dict[int, Delivery] = {}

    def hellos(self, hello: pb.Hello) -> list[pb.Hello]:
        """Hello in as many messages as it takes to name all of it."""
        attempts = [pb.OpenAttempt(run_id=a.context.run_id, attempt=a.context.attempt) for a in self.attempts.values()]
        starts = list(self.starts)
        size = _HELLO_ITEMS_MAX
        pages = max(1, -(-len(attempts) // size), -(-len(starts) // size))
        hellos = [hello, *(pb.Hello() for _ in range(1, pages))]
        for page, part in enumerate(hellos):
            part.attempts.extend(attempts[page * size : (page + 1) * size])
            part.unanswered_starts.extend(starts[page * size : (page + 1) * size])
        hellos[-1].last = True
        return hellos

    def unsent_starts(self) -> list[tuple[int, str]]:
        """(start_id, run_id) of every start, for a stream on which none was sent."""
        return [(start_id, delivery.run_id) for start_id, delivery in self.starts.items()]

    def unsent_finishes(self) -> list[Attempt]:
        """The attempts with an outcome, for a stream on which none was sent."""
        return [attempt for attempt in self.attempts.values() if attempt.outcome is not None]

    def unsent_begins(self) -> list[Attempt]:
        """The attempts that run and whose begin was not told on this stream."""
        return [a for a in self.attempts.values() if a.began and a.outcome is None and not a.begun_sent]

    def hand_back(self) -> Iterator[str]:
        """The replies of deliveries that wait and were not handed back yet. Their starts stay: they may be granted."""
        for delivery in self.starts.values():
            if not delivery.handed_back:
                delivery.handed_back = True
                yield delivery.reply

    def named(self, run_id: str, number: int) -> list[Attempt]:
        """The attempts of this run and number."""
        return [a for a in self.attempts.values() if a.context.run_id == run_id and a.context.attempt == number]

    def supersede(self, run_id: str, number: int) -> None:
        """An attempt is no longer ours: stop it, report nothing."""
        for attempt in self.named(run_id, number):
            attempt.abandon()
            del self.attempts[attempt.start_id]

    def forget(self) -> None:
        """Nothing is ours any more."""
        for attempt in self.attempts.values():
            attempt.abandon()
        self.attempts.clear()
        self.starts.clear()

"""How a worker's credits are shared over its consumers: high priority first, none starved. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

WEIGHTS: Final = {"high": 16, "normal": 4, "low": 1}
_ORDER: Final = {"high": 0, "normal": 1, "low": 2}


class Share:
    """One consumer's claim.

    backlog      how many messages it was last known to have beyond those delivered; 0: none known
    outstanding  how many messages the pull under way may still bring; 0: no pull
    listening    the pull under way is a doorbell: it may bring one message, which is not counted against the credits
    owed         what its weight has earned it beyond what it had; more than -1
    """

    __slots__ = ("backlog", "listening", "order", "outstanding", "owed", "weight")

    def __init__(self, priority: str) -> None:
        self.weight = WEIGHTS.get(priority, WEIGHTS["normal"])
        self.order = _ORDER.get(priority, 1)
        self.backlog = 0
        self.outstanding = 0
        self.listening = False
        self.owed = 0.0

    @property
    def reserved(self) -> int:
        """How many credits its pull holds."""
        return 0 if self.listening else self.outstanding

    def close(self) -> None:
        """Its pull is over."""
        self.outstanding = 0
        self.listening = False


S = TypeVar("S", bound=Share)


def share_out(free: int, shares: Sequence[S]) -> list[tuple[S, int]]:
    """The pulls to make now, with `free` credits and the reserved ones already taken off.

    Consumers with a known backlog get credits by weight; what some have no use for goes to the others in order of
    priority. Each of the rest gets a doorbell of one message even if nothing is left, so that a worker with one slot
    and three consumers hears all of them; that is the only way to hold more than there are credits for. A longer one
    would keep credits from the others for as long as it is quiet.
    """
    if free <= 0:
        return []
    idle = sorted((s for s in shares if not s.outstanding), key=lambda s: s.order)
    busy = [share for share in idle if share.backlog]
    pulls = dict.fromkeys(busy, 0)
    left = free
    total = sum(share.weight for share in busy)
    for share in busy:
        share.owed = min(share.owed + free * share.weight / total, float(share.backlog))
        pulls[share] = min(int(share.owed), left)
        left -= pulls[share]
    # Parts of credits make whole ones: one each, to those that most is owed.
    for share in sorted(busy, key=lambda s: pulls[s] - s.owed):
        if left and pulls[share] < share.owed:
            pulls[share] += 1
            left -= 1
    # What others have no use for is a gift: were it a debt, it would grow for ever.
    for share in busy:
        share.owed -= pulls[share]
        gift = min(share.backlog - pulls[share], left)
        pulls[share] += gift
        left -= gift
    pulls.update((share, 1) for share in idle if not share.backlog)
    return [(share, count) for share, count in pulls.items() if count > 0]

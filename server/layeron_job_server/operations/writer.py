"""Coalescing: concurrent calls of one kind become one transaction.

A writer takes whatever waits and writes it at once, so that an idle system has no added latency and a busy one batches
by itself. Two items that touch the same run or key never share a batch and keep their order; others step past them. A
bad item is found by halving, and never fails its neighbours. A caller that goes away does not cancel what others share.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Generic, TypeVar

from layeron_job_server.domain.errors import Overloaded, ShuttingDown, Unstorable
from layeron_job_server.store.database import DATA_ERRORS

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Call(Generic[Answer]):
    """One call of `submit`, and the answers it has so far."""

    __slots__ = ("answers", "future", "left")

    def __init__(self, size: int, future: asyncio.Future[list[Answer | BaseException]]) -> None:
        self.answers: list[Answer | BaseException | None] = [None] * size
        self.left = size
        self.future = future

    def put(self, first: int, answers: Sequence[Answer | BaseException]) -> None:
        self.answers[first : first + len(answers)] = answers
        self.left -= len(answers)
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.answers)  # type: ignore[arg-type] # none is left None


@dataclass(frozen=True, slots=True)
class _Part(Generic[Item, Answer]):
    """Items of one call that may share a transaction: they go into one together."""

    items: Sequence[Item]
    touches: AbstractSet[Hashable]
    size: int
    call: _Call[Answer]
    first: int  # where in the call they are


class Writer(Generic[Item, Answer]):
    """Writes items of one kind. `run` must be running; `submit` waits for the answers."""

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        conflicts: Callable[[Item], tuple[Hashable, ...]],
        size: Callable[[Item], int],
        batch_items_max: int,
        batch_bytes_max: int,
        waiting_items_max: int,
        waiting_bytes_max: int,
    ) -> None:
        self.name = name
        self._write = write
        self._conflicts = conflicts
        self._size = size
        self._batch_items_max = batch_items_max
        self._batch_bytes_max = batch_bytes_max
        self._waiting_items_max = waiting_items_max
        self._waiting_bytes_max = waiting_bytes_max
        self._waiting: deque[_Part[Item, Answer]] = deque()
        self._waiting_items = 0
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self.observe: Callable[[str, int, float], None] = lambda *_: None  # name, items and seconds of each batch

    async def submit(self, items: Sequence[Item]) -> list[Answer | BaseException]:
        """Write the items; answer each with its answer or the error that concerns it alone.

        Raises Overloaded at once, with nothing taken, when too much waits, and ShuttingDown after `stop`. Items of one
        call may end up in several transactions; those that touch the same keep their order.
        """
        if not items:
            return []
        if self._stopping:
            raise ShuttingDown
        call = _Call[Answer](len(items), asyncio.get_running_loop().create_future())
        parts = self._parts(items, call)
        size = sum(part.size for part in parts)
        fits = (
            self._waiting_items + len(items) <= self._waiting_items_max
            and self._waiting_bytes + size <= self._waiting_bytes_max
        )
        if self._waiting and not fits:
            raise Overloaded(timedelta(milliseconds=250), self.name)
        self._waiting.extend(parts)
        self._waiting_items += len(items)
        self._waiting_bytes += size
        self._wake.set()
        return await asyncio.shield(call.future)

    async def submit_one(self, item: Item) -> Answer:
        """Write one item; answer its answer or raise its error."""
        answer = (await self.submit([item]))[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def run(self) -> None:
        """Write until `stop`, then write what still waits."""
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            began = time.perf_counter()
            answers = await self._write_batch([item for part in batch for item in part.items])
            self.observe(self.name, len(answers), time.perf_counter() - began)
            done = 0
            for part in batch:
                part.call.put(part.first, answers[done : done + len(part.items)])
                done += len(part.items)

    def stop(self) -> None:
        """Let `run` end once nothing waits."""
        self._stopping = True
        self._wake.set()

    def _parts(self, items: Sequence[Item], call: _Call[Answer], first: int = 0) -> list[_Part[Item, Answer]]:
        """The items in their order, halved until those of each part may share a transaction. Mostly all may."""
        touches = list(map(self._conflicts, items))
        together = set(chain.from_iterable(touches))
        size = sum(map(self._size, items))
        if len(items) == 1 or (
            len(together) == sum(map(len, touches))
            and len(items) <= self._batch_items_max
            and size <= self._batch_bytes_max
        ):
            return [_Part(items, together, size, call, first)]
        middle = len(items) // 2
        return [*self._parts(items[:middle], call, first), *self._parts(items[middle:], call, first + middle)]

    def _take(self) -> list[_Part[Item, Answer]]:
        """What has waited longest and may share a transaction. What conflicts with it goes first into the next one."""
        batch: list[_Part[Item, Answer]] = []
        passed: list[_Part[Item, Answer]] = []
        touched: set[Hashable] = set()
        items, size = 0, 0
        while self._waiting and len(passed) < self._batch_items_max:
            part = self._waiting[0]
            if not touched.isdisjoint(part.touches):
                touched.update(part.touches)  # nothing may overtake it
                passed.append(self._waiting.popleft())
                continue
            items, size = items + len(part.items), size + part.size
            if batch and (items > self._batch_items_max or size > self._batch_bytes_max):
                break
            touched.update(part.touches)
            batch.append(self._waiting.popleft())
            self._waiting_items -= len(part.items)
            self._waiting_bytes -= part.size
        self._waiting.extendleft(reversed(passed))
        return batch

    async def _write_batch(self, items: Sequence[Item]) -> Sequence[Answer | BaseException]:
        answers = await by_halves(self._write, items, is_bad=lambda error: isinstance(error, DATA_ERRORS))
        return [self._refused(answer) if isinstance(answer, DATA_ERRORS) else answer for answer in answers]

    def _refused(self, error: BaseException) -> Unstorable:
        # Its message may hold the data.
        log.error("the database refused data of %s: %s", self.name, type(error).__name__)
        return Unstorable(self.name)


async def by_halves(
    write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
    items: Sequence[Item],
    *,
    is_bad: Callable[[Exception], bool],
) -> Sequence[Answer | BaseException]:
    """Write the items; answer each with its answer or its error.

    A batch whose error `is_bad` is written in halves, until the bad items are alone: of n items one costs about
    2·log₂(n) transactions more. Any other error is that of the whole batch.
    """
    try:
        return await write(items)
    except Exception as error:  # noqa: BLE001 (whatever it is, the callers of these items are told)
        if len(items) == 1 or not is_bad(error):
            return [error] * len(items)
    middle = len(items) // 2
    return [
        *await by_halves(write, items[:middle], is_bad=is_bad),
        *await by_halves(write, items[middle:], is_bad=is_bad),
    ]

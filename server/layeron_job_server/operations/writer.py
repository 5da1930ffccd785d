"""Coalescing: concurrent calls of one kind become one transaction.

A writer takes whatever waits and writes it at once, so that an idle system has no added latency and a busy one batches
by itself. Two items that touch the same run or key never share a batch. A bad item is found by halving, and never fails
its neighbours. A caller that goes away does not cancel what others share.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from layeron_job_server.domain.errors import JobError, Overloaded, ShuttingDown, Unstorable
from layeron_job_server.store.database import DATA_ERRORS

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Group(Generic[Answer]):
    """Items that were submitted together, and the answers they have so far."""

    __slots__ = ("answers", "future", "left")

    def __init__(self, size: int, future: asyncio.Future[list[Answer | BaseException]]) -> None:
        self.answers: list[Answer | BaseException | None] = [None] * size
        self.left = size
        self.future = future

    def put(self, index: int, answer: Answer | BaseException) -> None:
        self.answers[index] = answer
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.answers)  # type: ignore[arg-type] # none is left None


class Writer(Generic[Item, Answer]):
    """Writes items of one kind. `run` must be running; `submit` waits for the answers."""

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        conflicts: Callable[[Item], Iterable[Hashable]],
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
        self._waiting: deque[tuple[Item, int, _Group[Answer], int]] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False

    async def submit(self, items: Sequence[Item]) -> list[Answer | BaseException]:
        """Write the items; answer each with its answer or the error that concerns it alone.

        Raises Overloaded at once, with nothing taken, when too much waits, and ShuttingDown after `stop`. Items of one
        call may end up in several transactions, in their order.
        """
        if not items:
            return []
        if self._stopping:
            raise ShuttingDown
        sizes = [self._size(item) for item in items]
        total = sum(sizes)
        fits = (
            len(self._waiting) + len(items) <= self._waiting_items_max
            and self._waiting_bytes + total <= self._waiting_bytes_max
        )
        if self._waiting and not fits:
            raise Overloaded(timedelta(milliseconds=250), self.name)
        group = _Group[Answer](len(items), asyncio.get_running_loop().create_future())
        for index, (item, size) in enumerate(zip(items, sizes, strict=True)):
            self._waiting.append((item, size, group, index))
        self._waiting_bytes += total
        self._wake.set()
        return await asyncio.shield(group.future)

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
            answers = await self._write_batch([entry[0] for entry in batch])
            for (_, _, group, index), answer in zip(batch, answers, strict=True):
                group.put(index, answer)

    def stop(self) -> None:
        """Let `run` end once nothing waits."""
        self._stopping = True
        self._wake.set()

    def _take(self) -> list[tuple[Item, int, _Group[Answer], int]]:
        """The longest start of what waits that may share a transaction."""
        batch: list[tuple[Item, int, _Group[Answer], int]] = []
        touched: set[Hashable] = set()
        room = self._batch_bytes_max
        while self._waiting and len(batch) < self._batch_items_max:
            entry = self._waiting[0]
            touches = tuple(self._conflicts(entry[0]))
            if batch and (entry[1] > room or not touched.isdisjoint(touches)):
                break
            touched.update(touches)
            room -= entry[1]
            self._waiting_bytes -= entry[1]
            batch.append(self._waiting.popleft())
        return batch

    async def _write_batch(self, items: Sequence[Item]) -> Sequence[Answer | BaseException]:
        try:
            return await self._write(items)
        except DATA_ERRORS as error:
            if len(items) == 1:
                kind = type(error).__name__
                log.error("the database refused data of %s: %s", self.name, kind)  # noqa: TRY400 (its message may hold the data)
                return [Unstorable(self.name)]
            middle = len(items) // 2
            return [*await self._write_batch(items[:middle]), *await self._write_batch(items[middle:])]
        except JobError as error:
            return [error] * len(items)
        except Exception as error:  # noqa: BLE001 (whatever it is, its callers are told, and the next batch is written)
            return [error] * len(items)

"""Many runs in few calls: chunks of items, some of them under way at once, each made as a whole or not at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sized
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from layeron.job.v1 import job_service_pb2 as pb

from . import convert, tracing
from .calls import Calls
from .errors import JobError
from .ids import new_run_id
from .models import BatchResult, Item
from .progress import Progress

AnyItem: TypeAlias = Item | tuple[str, Any]
Items: TypeAlias = Iterable[AnyItem] | AsyncIterable[AnyItem]

_BATCH_SIZE_MAX: Final = 1_000
_BYTES_MAX: Final = 3_500 * 1024  # the server takes 4 MiB
_FRAME_BYTES: Final = 5  # what each item adds to its own size, at most
_PLACE: Final = re.compile(r"\bitems\[(\d+)\]")


@dataclass(slots=True)
class Chunk:
    """What goes into one call. chosen_ids: the run ids chosen here, "" for those of the caller."""

    first: int
    request: pb.EnqueueBatchRequest
    chosen_ids: list[str] = field(default_factory=list)
    bytes: int = 0

    def add(self, item: pb.EnqueueRequest, chosen_id: str, item_bytes: int) -> None:
        """Take one more."""
        self.request.items.append(item)
        self.chosen_ids.append(chosen_id)
        self.bytes += item_bytes

    def results(self, answer: pb.EnqueueBatchResponse) -> list[BatchResult]:
        """The server's answers. A run of an id that was chosen here was made by this call, if in an earlier try."""
        statuses = convert.STATUSES
        return [
            BatchResult(one.run_id, statuses[one.status], one.created or one.run_id == chosen_id, one.pruned)
            for one, chosen_id in zip(answer.results, self.chosen_ids, strict=True)
        ]


async def chunks(items: Items, namespace: str, batch_size: int) -> AsyncGenerator[Chunk, None]:
    """The items in chunks of at most batch_size and 3.5 MB, made when they are asked for.

    Raises ValueError or TypeError with the place of an item that is none.
    """
    chunk = Chunk(0, pb.EnqueueBatchRequest(namespace=namespace))
    place = 0
    async for item in _each(items):
        request, chosen_id = _request(item, place)
        item_bytes = request.ByteSize() + _FRAME_BYTES
        if chunk.chosen_ids and (len(chunk.chosen_ids) == batch_size or chunk.bytes + item_bytes > _BYTES_MAX):
            yield chunk
            chunk = Chunk(place, pb.EnqueueBatchRequest(namespace=namespace))
        chunk.add(request, chosen_id, item_bytes)
        place += 1
    if chunk.chosen_ids:
        yield chunk


class _Batch:
    """The chunks of one batch: those under way, and the results of those that were made."""

    def __init__(self, calls: Calls, concurrency: int, total: int | None, progress: Progress | None) -> None:
        self._calls = calls
        self._concurrency = concurrency
        self._total = total
        self._progress = progress
        self._sending: set[asyncio.Task[None]] = set()
        self._made: dict[int, list[BatchResult]] = {}  # by the place of the chunk's first item
        self._done = 0

    async def send(self, chunk: Chunk) -> None:
        """Begin to send a chunk, and wait until there is room for the next one. Raises the error of one that failed."""
        self._sending.add(asyncio.create_task(self._send(chunk)))
        if len(self._sending) == self._concurrency:
            await self._one_ended()

    async def results(self) -> list[BatchResult]:
        """All results in order, once all chunks are made. Raises the error of one that failed."""
        while self._sending:
            await self._one_ended()
        return [result for _, results in sorted(self._made.items()) for result in results]

    async def tell(self, error: Exception) -> None:
        """Let the error say what was made, once nothing is under way any more."""
        await asyncio.gather(*self._sending, return_exceptions=True)
        if isinstance(error, JobError):
            error.enqueued = {
                place: result for first, results in self._made.items() for place, result in enumerate(results, first)
            }
        else:
            error.add_note(f"{self._done} runs of this batch were made")

    def cancel(self) -> None:
        """Give up what is still under way."""
        for task in self._sending:
            task.cancel()

    async def _send(self, chunk: Chunk) -> None:
        try:
            with tracing.call("EnqueueBatch"):
                answer = await self._calls.unary(
                    lambda server: server.jobs.EnqueueBatch, chunk.request, wait_for_room=True
                )
        except JobError as error:
            raise _in_the_whole(error, chunk.first) from None
        self._made[chunk.first] = chunk.results(answer)
        self._done += len(chunk.chosen_ids)
        if self._progress is not None:
            self._progress(self._done, self._total)

    async def _one_ended(self) -> None:
        ended, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        self._sending -= ended
        for error in [task.exception() for task in ended]:
            if error is not None:
                raise error


async def enqueue_batch(
    calls: Calls, namespace: str, items: Items, *, batch_size: int, concurrency: int, progress: Progress | None
) -> list[BatchResult]:
    """One result per item, in order. An error says what was made: see Client.enqueue_batch."""
    if not 1 <= batch_size <= _BATCH_SIZE_MAX:
        raise ValueError(f"batch_size must be 1 to {_BATCH_SIZE_MAX}, not {batch_size}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    batch = _Batch(calls, concurrency, len(items) if isinstance(items, Sized) else None, progress)
    try:
        async with aclosing(chunks(items, namespace, batch_size)) as source:
            async for chunk in source:
                await batch.send(chunk)
        return await batch.results()
    except Exception as error:
        await batch.tell(error)
        raise
    finally:
        batch.cancel()


async def _each(items: Items) -> AsyncGenerator[AnyItem, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _request(item: AnyItem, place: int) -> tuple[pb.EnqueueRequest, str]:
    """The request of an item, and its run id if it was chosen here."""
    try:
        if isinstance(item, Item):
            chosen_id = new_run_id() if item.run_id is None else ""
            return convert.enqueue_request(item, chosen_id or convert.given("run_id", item.run_id)), chosen_id
        if not isinstance(item, tuple):  # a text of two letters would pass for a pair
            raise TypeError(f"must be an Item or (task, payload), not {type(item).__name__}")
        task, payload = item
        chosen_id = new_run_id()
        return convert.plain_request(task, payload, chosen_id), chosen_id
    except TypeError as error:
        raise TypeError(f"items[{place}]: {error}") from None
    except ValueError as error:
        raise ValueError(f"items[{place}]: {error}") from None


def _in_the_whole(error: JobError, first: int) -> JobError:
    """The error with places in the whole batch, where the server knows those of one chunk."""

    def shifted(text: str) -> str:
        return _PLACE.sub(lambda found: f"items[{first + int(found[1])}]", text)

    error.message = shifted(error.message)
    error.violations = [(shifted(name), shifted(description)) for name, description in error.violations]
    return error

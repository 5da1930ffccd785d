"""Waiting for a run, and watching what changes.

One query answers all who wait in this process, and only while someone does. It is asked again after an interval, and
soon after a change made here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

import orjson

from layeron_job_server.domain.errors import JobError, Overloaded
from layeron_job_server.domain.run import TERMINAL
from layeron_job_server.store import queries
from layeron_job_server.store.queries import Change, RunFilter, RunInfo, TransitionInfo

from . import watch_tokens
from .queries import read_run
from .system import System
from .watch_tokens import Place

log = logging.getLogger(__name__)

_WATCH_SLICE: Final = 1_000
_WATCHER_CHANGES_MAX: Final = 10_000
_SIGN_OF_LIFE_SECONDS: Final = 15.0
_POLL_SECONDS_MIN: Final = 0.02
_RETRY_AFTER: Final = timedelta(seconds=1)
# Namespace and queue by the queue's number.
Names: TypeAlias = Mapping[int, tuple[str, str]]
Batch: TypeAlias = tuple[Sequence[TransitionInfo], str]
_LAST_RUN: Final = UUID(int=(1 << 128) - 1)


@dataclass(slots=True, eq=False)
class _Waiter:
    """Waits for a run's end, or for a transition after `seq`."""

    run_id: UUID
    seq: int | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, seconds: float) -> None:
        """Until there may be news, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.woken.wait(), seconds)
        self.woken.clear()


class Watching:
    """Everyone of this process who waits. `run` polls for all of them at once."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._wake = asyncio.Event()
        self._waiters: dict[UUID, set[_Waiter]] = {}
        self._watchers: set[_Watcher] = set()
        self._watches = 0  # of filters: those that are told, and those that are still catching up
        self._place: Place = (0, _LAST_RUN, 0)  # how far the watchers have been told; it means nothing without any

    async def wait_run(self, namespace: str, run_id: UUID, *, timeout: timedelta, full: bool) -> RunInfo:
        """The run once it is terminal, or as it stands after `timeout`. Raises RunNotFound."""
        deadline = time.monotonic() + timeout.total_seconds()
        with self._waiting(_Waiter(run_id)) as waiter:
            run = await read_run(self._system, namespace, run_id, full=full)
            while run.status not in TERMINAL and (left := deadline - time.monotonic()) > 0:
                await waiter.wait(left)
                run = await read_run(self._system, namespace, run_id, full=full)
            return run

    async def watch_run(self, namespace: str, run_id: UUID, *, token: str) -> AsyncIterator[Batch]:
        """The run's transitions after the token's, each batch with its token, until it is terminal.

        Raises RunNotFound, InvalidRequest.
        """
        seq = await self._seq_seen(namespace, run_id, token) if token else -1
        with self._waiting(_Waiter(run_id, seq)) as waiter:
            while True:
                # Read before its transitions: if it was terminal then, they are all there. It may end between the two.
                run = await read_run(self._system, namespace, run_id, full=False)
                found = await self._system.database.read(
                    partial(queries.transitions_after, run_id=run_id, seq=seq, limit=_WATCH_SLICE)
                )
                if found:
                    seq = waiter.seq = found[-1].seq
                yield found, watch_tokens.of_run(namespace, run_id, seq)
                if len(found) < _WATCH_SLICE:
                    if run.status in TERMINAL or (found and found[-1].to_status in TERMINAL):
                        return
                    await waiter.wait(_SIGN_OF_LIFE_SECONDS)

    async def watch_filter(self, namespace: str, wanted: RunFilter, *, token: str) -> AsyncIterator[Batch]:
        """Transitions of all runs that match, from the token's place or from now on, each batch with its token.

        The first batch comes at once, to say that the watch has begun and from where. Raises InvalidRequest,
        WatchTokenExpired, and Overloaded when there are too many watches or the caller reads too slowly: it may then
        go on by its last token.
        """
        if self._watches >= self._system.settings.filter_watches_max:
            raise Overloaded(_RETRY_AFTER, "watches of filters")
        self._watches += 1
        watcher = None
        try:
            now = await self._now()
            place = watch_tokens.place_of(token, namespace, wanted, now=now) if token else now
            watcher = _Watcher(namespace, wanted, place)
            async for batch in self._catch_up(watcher):
                yield batch
            while True:
                yield await watcher.next()
        finally:
            self._watches -= 1
            if watcher is not None:
                self._watchers.discard(watcher)

    async def run(self, until: asyncio.Event) -> None:
        """Poll while someone waits."""
        interval = self._system.settings.watch_poll_interval_ms / 1000
        while not until.is_set():
            if not self._waiters and not self._watchers:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._system.changed.clear()
            try:
                await self.poll_once()
            except JobError:
                log.debug("nobody who waits is told anything for now", exc_info=True)
            except Exception:
                log.exception("those who wait are told later")
            await asyncio.sleep(_POLL_SECONDS_MIN)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._system.changed.wait(), interval)

    def stop(self) -> None:
        """Let `run` look at `until`."""
        self._wake.set()
        self._system.changed.set()

    async def poll_once(self) -> None:
        """Wake those whose run has news, and hand changes to the watchers."""
        for run_id in await self._runs_with_news():
            for waiter in self._waiters.get(run_id, ()):
                waiter.woken.set()
        while self._watchers:
            if await self._pass_on() < _WATCH_SLICE:
                break

    async def _runs_with_news(self) -> set[UUID]:
        waiters = [waiter for of_run in self._waiters.values() for waiter in of_run]
        for_end = list({waiter.run_id for waiter in waiters if waiter.seq is None})
        for_more = list({(waiter.run_id, waiter.seq) for waiter in waiters if waiter.seq is not None})
        news: set[UUID] = set()
        if for_end:
            news |= await self._system.database.read(lambda c: queries.ended_among(c, for_end))
        if for_more:
            news |= await self._system.database.read(lambda c: queries.progressed_among(c, for_more))
        return news

    async def _pass_on(self) -> int:
        """Hand a slice of changes to the watchers; answer how many there were."""
        before = self._place
        changes, names = await self._changes_after(before)
        if self._place != before:  # the first watcher after a pause came meanwhile, and begins elsewhere
            return _WATCH_SLICE
        for watcher in self._watchers:
            watcher.offer(changes, names)
        self._place = _place_of(changes[-1]) if changes else before
        return len(changes)

    async def _catch_up(self, watcher: _Watcher) -> AsyncIterator[Batch]:
        """What a watch has missed, slice by slice as it is read; in the end it is one of those that are told."""
        while True:
            changes, names = await self._changes_after(watcher.place)
            watcher.offer(changes, names)
            yield watcher.taken()
            if len(changes) < _WATCH_SLICE and not (self._watchers and self._place > watcher.place):
                break
        # Nothing is awaited between the last look and this.
        if not self._watchers:
            self._place = watcher.place
        self._watchers.add(watcher)
        self._wake.set()

    async def _seq_seen(self, namespace: str, run_id: UUID, token: str) -> int:
        """The last seq that the caller has seen, which must be there."""
        seq = watch_tokens.seq_of(token, namespace, run_id)
        await read_run(self._system, namespace, run_id, full=False)
        if seq >= 0 and not await self._system.database.read(
            lambda c: queries.transitions_after(c, run_id, seq - 1, limit=1)
        ):
            raise watch_tokens.from_the_future()
        return seq

    async def _now(self) -> Place:
        """Where a watch begins that is to see what happens from now on."""
        return (await self._system.database.read(queries.safe_xid) - 1, _LAST_RUN, 0)

    async def _changes_after(self, place: Place) -> tuple[list[Change], Names]:
        """A slice of changes after a place, of transactions before which all have ended: so none comes late."""
        safe = await self._system.database.read(queries.safe_xid)
        changes = await self._system.database.read(
            partial(queries.changes_after, place=place, below=safe, limit=_WATCH_SLICE)
        )
        return changes, await self._system.tasks.queue_names({change.queue_id for change in changes})

    @contextmanager
    def _waiting(self, waiter: _Waiter) -> Iterator[_Waiter]:
        of_run = self._waiters.setdefault(waiter.run_id, set())
        of_run.add(waiter)
        self._wake.set()
        try:
            yield waiter
        finally:
            of_run.discard(waiter)
            if not of_run:
                del self._waiters[waiter.run_id]


class _Watcher:
    """One watch of a filter: what it is still to be told, bounded."""

    def __init__(self, namespace: str, wanted: RunFilter, place: Place) -> None:
        self.place = place
        self._namespace = namespace
        self._wanted = wanted
        self._labels = dict(wanted.labels)
        self._changes: list[TransitionInfo] = []
        self._wake = asyncio.Event()
        self._too_slow = False

    def offer(self, changes: Sequence[Change], names: Names) -> None:
        """Take what matches and is news here. Beyond the bound the watch ends."""
        if self._too_slow:
            return
        news = [change for change in changes if _place_of(change) > self.place]
        matching = [change.transition for change in news if self._matches(change, *names[change.queue_id])]
        if len(self._changes) + len(matching) > _WATCHER_CHANGES_MAX:
            self._too_slow = True
        else:
            self._changes.extend(matching)
            self.place = _place_of(news[-1]) if news else self.place
        if matching:
            self._wake.set()

    async def next(self) -> Batch:
        """What came since the last call, or nothing as a sign of life."""
        if not self._changes and not self._too_slow:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _SIGN_OF_LIFE_SECONDS)
        self._wake.clear()
        if self._too_slow and not self._changes:
            raise Overloaded(_RETRY_AFTER, "the watch reads too slowly")
        return self.taken()

    def taken(self) -> Batch:
        """What there is now."""
        changes, self._changes = self._changes, []
        return changes, watch_tokens.of_filter(self._namespace, self._wanted, self.place)

    def _matches(self, change: Change, namespace: str, queue: str) -> bool:
        if namespace != self._namespace or self._wanted.queue not in (None, queue):
            return False
        if self._wanted.task not in (None, change.transition.task):
            return False
        if not self._labels:
            return True
        labels: Mapping[str, str] = orjson.loads(change.labels) if change.labels else {}
        return self._labels.items() <= labels.items()


def _place_of(change: Change) -> Place:
    return (change.xid, change.transition.run_id, change.transition.seq)

"""What waits to be sent to the server: a plain list for each kind, made into messages of at most 1 MiB."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.executor import Attempt
from layeron_job_worker.limits import MESSAGE_BYTES_MAX

_START_BYTES: Final = 64
_NOTE_SECONDS: Final = 1.0


class Outgoing:
    """The lanes of one session. Nothing here outlives a reconnect: `restart` says what is to be sent again."""

    def __init__(self) -> None:
        self._starts: deque[tuple[int, str]] = deque()
        self._finishes: deque[Attempt] = deque()
        self._begun: deque[Attempt] = deque()
        self._notes: dict[Attempt, None] = {}
        self._notes_due = False
        self._goodbye = False
        self._heartbeat_number = 0
        self._heartbeat_waits = False
        self._heartbeat_at = 0.0
        self._sent_at: dict[int, float] = {}
        self._ready = asyncio.Event()
        self._note_timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Wait until something was added since the last `wait`."""
        await self._ready.wait()
        self._ready.clear()

    def wake(self) -> None:
        """Let `wait` return."""
        self._ready.set()

    def start(self, start_id: int, run_id: str) -> None:
        """Add a start."""
        self._starts.append((start_id, run_id))
        self._ready.set()

    def finish(self, attempt: Attempt) -> None:
        """Add the report of an attempt that has its outcome."""
        self._finishes.append(attempt)
        self._ready.set()

    def heartbeat(self, now: float, begun: Sequence[Attempt]) -> None:
        """Add a heartbeat, and with it the attempts that have begun and still run."""
        self._begun.extend(begun)
        self._heartbeat_number += 1
        self._heartbeat_at = now
        self._heartbeat_waits = True
        self._ready.set()

    def heartbeat_due(self, now: float, interval_seconds: float) -> bool:
        """Whether it is time for the next heartbeat."""
        return now - self._heartbeat_at >= interval_seconds

    def heartbeat_sent_at(self, number: int) -> float | None:
        """When the answered heartbeat was sent. It and the older ones are then forgotten."""
        sent_at = self._sent_at.get(number)
        self._sent_at = {n: at for n, at in self._sent_at.items() if n > number}
        return sent_at

    def note(self, attempt: Attempt) -> None:
        """Add an attempt's progress and log lines; they wait until its last note is a second old."""
        self._notes[attempt] = None
        if self._note_timer is None:
            delay = max(0.0, attempt.noted_at + _NOTE_SECONDS - time.monotonic())
            self._note_timer = asyncio.get_running_loop().call_later(delay, self._look_at_notes)

    def goodbye(self) -> None:
        """Add the last message."""
        self._goodbye = True
        self._ready.set()

    def restart(self, *, starts: Sequence[tuple[int, str]], finishes: Sequence[Attempt]) -> None:
        """A new stream, or a new session: send exactly this."""
        self._starts = deque(starts)
        self._finishes = deque(finishes)
        self._begun.clear()
        self._sent_at.clear()
        self._heartbeat_waits = False
        self._ready.set()

    def take(self, *, starts: bool = True) -> pb.WorkRequest | None:
        """Take what waits as the next message, with or without the starts; None if nothing does."""
        room = MESSAGE_BYTES_MAX
        request = pb.WorkRequest()
        if self._heartbeat_waits:
            self._heartbeat_waits = False
            request.heartbeat.number = self._heartbeat_number
            self._sent_at[self._heartbeat_number] = time.monotonic()
        if starts:
            room = self._take_starts(request, room)
        room = self._take_begun(request, room)
        room = self._take_finishes(request, room)
        if self._notes_due:
            room = self._take_notes(request, room)
        if room < MESSAGE_BYTES_MAX or request.HasField("heartbeat"):
            return request
        if self._goodbye:
            self._goodbye = False
            return pb.WorkRequest(goodbye=pb.Goodbye())
        return None

    def _take_starts(self, request: pb.WorkRequest, room: int) -> int:
        add = request.starts.add
        while self._starts and room > 0:
            start_id, run_id = self._starts.popleft()
            add(start_id=start_id, run_id=run_id)
            room -= _START_BYTES
        return room

    def _take_begun(self, request: pb.WorkRequest, room: int) -> int:
        while self._begun and room > 0:
            attempt = self._begun.popleft()
            if attempt.outcome is None:
                attempt.begun_sent = True
                context = attempt.context
                request.begun.add(run_id=context.run_id, attempt=context.attempt, running_ms=attempt.ran_ms)
                room -= _START_BYTES
        return room

    def _take_finishes(self, request: pb.WorkRequest, room: int) -> int:
        while self._finishes and room > 0:
            attempt = self._finishes[0]
            outcome = attempt.outcome
            if outcome is None or attempt.abandoned:
                self._finishes.popleft()
                continue
            log_tail = attempt.context._log_tail()
            size = outcome.size + 4 * len(log_tail)
            if size > room and room < MESSAGE_BYTES_MAX:
                break
            self._finishes.popleft()
            _add_finish(request, attempt, log_tail)
            room -= size
        return room

    def _take_notes(self, request: pb.WorkRequest, room: int) -> int:
        now = time.monotonic()
        for attempt in list(self._notes):
            if room <= 0:
                return room
            if attempt.outcome is None and attempt.noted_at + _NOTE_SECONDS > now:
                continue
            del self._notes[attempt]
            context = attempt.context
            if attempt.outcome is not None or attempt.abandoned:
                continue
            attempt.noted_at = now
            # Compared, not taken away: another thread may set a newer one at this very moment.
            progress = b"" if context._progress is attempt.noted_progress else context._progress
            attempt.noted_progress = progress or attempt.noted_progress
            log_tail = context._log_tail()
            request.notes.add(run_id=context.run_id, attempt=context.attempt, progress_json=progress, log_tail=log_tail)
            room -= len(progress) + 4 * len(log_tail) + _START_BYTES
        self._notes_due = False
        return room

    def _look_at_notes(self) -> None:
        self._note_timer = None
        if self._notes:
            self._notes_due = True
            self._ready.set()
            # Those whose last note is not a second old yet are looked at again.
            self._note_timer = asyncio.get_running_loop().call_later(_NOTE_SECONDS / 4, self._look_at_notes)


def _add_finish(request: pb.WorkRequest, attempt: Attempt, log_tail: str) -> None:
    outcome, context = attempt.outcome, attempt.context
    assert outcome is not None
    if outcome.kind == "succeeded":
        finish = request.finishes.add(
            start_id=attempt.start_id,
            run_id=context.run_id,
            attempt=context.attempt,
            ran_ms=attempt.ran_ms,
            result_json=outcome.result_json,
        )
    else:
        finish = request.finishes.add(
            start_id=attempt.start_id, run_id=context.run_id, attempt=context.attempt, ran_ms=attempt.ran_ms
        )
        failure = pb.Failure(
            error_type=outcome.error_type,
            error_message=outcome.error_message,
            error_detail=outcome.error_detail,
            do_not_retry=outcome.do_not_retry,
            retry_after_ms=outcome.retry_after_ms,
        )
        field = "failure" if outcome.kind == "failed" else outcome.kind
        getattr(finish, field).CopyFrom(failure)
    if log_tail:
        finish.log_tail = log_tail
    if attempt.traceparent:
        finish.traceparent = attempt.traceparent

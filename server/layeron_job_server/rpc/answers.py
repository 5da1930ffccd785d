"""What one worker is still to be told: a plain list for each kind, made into messages of at most 1 MiB."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import orjson

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import encode
from layeron_job_server.operations.endings import Verdict
from layeron_job_server.operations.starts import Hold, Refusal
from layeron_job_server.store.attempts import Fence, Grant

from .convert import ORIGINS
from .work_messages import MESSAGE_BYTES_MAX

StartAnswer: TypeAlias = Grant | Refusal | Hold

_ENTRY_BYTES: Final = 64  # about what an answer takes besides a payload
_REFUSALS: Final[Mapping[Refusal, pb.RefusalReason.ValueType]] = {
    Refusal.FINISHED: pb.REFUSAL_REASON_FINISHED,
    Refusal.RUNNING: pb.REFUSAL_REASON_RUNNING,
    Refusal.UNKNOWN_RUN: pb.REFUSAL_REASON_UNKNOWN_RUN,
}
_HOLDS: Final[Mapping[Hold, pb.HoldReason.ValueType]] = {
    Hold.NOT_DUE: pb.HOLD_REASON_NOT_DUE,
    Hold.PAUSED: pb.HOLD_REASON_PAUSED,
    Hold.NO_HANDLER: pb.HOLD_REASON_NO_HANDLER,
}
_VERDICTS: Final[Mapping[Verdict, pb.FinishVerdict.ValueType]] = {
    Verdict.RECORDED: pb.FINISH_VERDICT_RECORDED,
    Verdict.SUPERSEDED: pb.FINISH_VERDICT_SUPERSEDED,
}


class Answers:
    """The lanes of one stream. `messages` takes what waits."""

    def __init__(self) -> None:
        self._starts: deque[tuple[int, StartAnswer, str]] = deque()
        self._finishes: deque[tuple[int, Verdict]] = deque()
        self._cancels: deque[Fence] = deque()
        self._beats: deque[pb.HeartbeatAnswer] = deque()
        self._drain = False

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._starts or self._finishes or self._cancels or self._beats or self._drain)

    def add_starts(self, answers: Iterable[tuple[int, StartAnswer, str]]) -> None:
        """Answers to starts: (start_id, answer, the task's name if it is a grant)."""
        self._starts.extend(answers)

    def add_finishes(self, answers: Iterable[tuple[int, Verdict]]) -> None:
        """Answers to finishes: (start_id, verdict)."""
        self._finishes.extend(answers)

    def add_cancel(self, fence: Fence) -> None:
        """An attempt whose handler is to be canceled."""
        self._cancels.append(fence)

    def add_beat(self, number: int, verdict: pb.HeartbeatVerdict.ValueType) -> None:
        """The answer to a heartbeat."""
        self._beats.append(pb.HeartbeatAnswer(number=number, verdict=verdict))

    def add_drain(self) -> None:
        """The worker is to connect elsewhere."""
        self._drain = True

    def messages(self) -> Iterator[pb.WorkResponse]:
        """Take what waits, as messages."""
        while self:
            response, room = pb.WorkResponse(), MESSAGE_BYTES_MAX
            if self._beats:
                response.heartbeat_answer.CopyFrom(self._beats.popleft())
            if self._drain:
                response.drain.SetInParent()
                self._drain = False
            while self._cancels and room > 0:
                fence = self._cancels.popleft()
                response.cancel_orders.add(run_id=encode("run", fence.run_id), attempt=fence.number)
                room -= _ENTRY_BYTES
            finishes = response.finish_answers
            while self._finishes and room > 0:
                start_id, verdict = self._finishes.popleft()
                finishes.add(start_id=start_id, verdict=_VERDICTS[verdict])
                room -= _ENTRY_BYTES
            starts = response.start_answers
            while self._starts and room > 0:
                start_id, answer, task = self._starts[0]
                if isinstance(answer, Grant):
                    size = len(answer.payload) + 5 * _ENTRY_BYTES
                    if size > room and room < MESSAGE_BYTES_MAX:
                        break
                    _fill(starts.add(start_id=start_id).grant, answer, task)
                    room -= size
                else:
                    _add_no(starts.add(start_id=start_id), answer)
                    room -= _ENTRY_BYTES
                self._starts.popleft()
            yield response


def _add_no(message: pb.StartAnswer, answer: Refusal | Hold) -> None:
    if isinstance(answer, Refusal):
        message.refusal.reason = _REFUSALS[answer]
    else:
        message.held.reason = _HOLDS[answer]


def _fill(message: pb.Grant, grant: Grant, task: str) -> None:
    """Field by field: a message that is made apart would be copied."""
    message.run_id = encode("run", grant.run_id)
    message.attempt = grant.attempt
    message.task = task
    message.payload_json = grant.payload
    message.timeout_ms = grant.timeout_ms
    message.counted_attempts = grant.counted
    message.max_attempts = grant.max_attempts
    message.created_at.seconds = int(grant.created_at.timestamp())
    message.created_at.nanos = grant.created_at.microsecond * 1000
    message.origin = ORIGINS[grant.origin]
    if grant.payload_encoding is not None:
        message.payload_encoding = grant.payload_encoding
    if grant.name is not None:
        message.name = grant.name
    if grant.labels is not None:
        message.labels.update(orjson.loads(grant.labels))
    if grant.trace_context is not None:
        message.trace_context.update(orjson.loads(grant.trace_context))

"""What workers say on their stream, to checked values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import decode
from layeron_job_server.domain import names
from layeron_job_server.domain.errors import FieldViolation, InvalidRequest
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import (
    CancelConfirmed,
    Event,
    Failed,
    Interrupted,
    ResultInvalid,
    TimedOut,
)
from layeron_job_server.operations.endings import Report
from layeron_job_server.operations.payloads import problem
from layeron_job_server.store.attempts import Ending, Fence, StartAsk, Success
from layeron_job_server.store.open_attempts import Note
from layeron_job_server.store.sessions import NewSession

PROTOCOL_VERSION: Final = 1
MESSAGE_BYTES_MAX: Final = 1024 * 1024
ERROR_TYPE_MAX: Final = 255
ERROR_MESSAGE_MAX: Final = 8 * 1024
ERROR_DETAIL_MAX: Final = 32 * 1024
LOG_TAIL_MAX: Final = 32 * 1024
PROGRESS_MAX: Final = 4 * 1024
RETRY_AFTER_MAX: Final = timedelta(days=30)
_NOTE_MAX: Final = 1024
_MS_MAX: Final = 10**12  # thirty years
_TASKS_MAX: Final = 500
_QUEUES_MAX: Final = 32
_SLOTS_MAX: Final = 100_000
_OPEN_MAX: Final = 3 * _SLOTS_MAX  # running, waiting for a slot, finished but unanswered
_NO_UUID = UUID(int=0)
_LISTS: Final = ("starts", "begun", "finishes", "notes")


@dataclass(slots=True)
class Hello:
    """Everything a worker says of itself when it connects."""

    namespace: str
    resumes: UUID | None
    build_id: str
    sdk_name: str
    sdk_version: str
    host: str
    pid: int
    tasks: list[str]
    queues: list[str]
    slots: int
    attempts: list[tuple[UUID, int]] = field(default_factory=list)
    unanswered: set[int] = field(default_factory=set)


async def bounded(requests: AsyncIterator[pb.WorkRequest]) -> AsyncIterator[pb.WorkRequest]:
    """The worker's messages. Raises InvalidRequest at one with more than 1 MiB beside its largest item."""
    async for request in requests:
        if request.ByteSize() > MESSAGE_BYTES_MAX:
            _refuse_excess(request)
        yield request


def _refuse_excess(request: pb.WorkRequest) -> None:
    sizes = {name: [item.ByteSize() for item in getattr(request, name)] for name in _LISTS}
    sizes["hello"] = [request.hello.ByteSize()]
    total = sum(map(sum, sizes.values()))
    largest = max(max(of_field, default=0) for of_field in sizes.values())
    if request.hello.ByteSize() > MESSAGE_BYTES_MAX or total - largest > MESSAGE_BYTES_MAX:
        most = max(sizes, key=lambda name: sum(sizes[name]))
        problem = f"makes a message of {request.ByteSize()} bytes; the limit is {MESSAGE_BYTES_MAX}, or one item"
        raise InvalidRequest([FieldViolation(most, problem)])


async def read_hello(requests: AsyncIterator[pb.WorkRequest], *, within_seconds: float) -> Hello | None:
    """The worker's Hello, from as many messages as it takes; None if it left before. Raises InvalidRequest."""
    try:
        async with asyncio.timeout(within_seconds):
            return await _read_hello(requests)
    except TimeoutError:
        raise InvalidRequest([FieldViolation("hello", f"must come within {within_seconds:g} s")]) from None


async def _read_hello(requests: AsyncIterator[pb.WorkRequest]) -> Hello | None:
    hello: Hello | None = None
    async for request in requests:
        if not request.HasField("hello"):
            raise InvalidRequest([FieldViolation("hello", "the first messages of a worker carry it, up to hello.last")])
        part = request.hello
        if hello is None:
            hello = _first_hello(part)
        hello.attempts.extend(_open_attempt(attempt) for attempt in part.attempts)
        hello.unanswered.update(part.unanswered_starts)
        if max(len(hello.attempts), len(hello.unanswered)) > _OPEN_MAX:
            raise InvalidRequest([FieldViolation("hello.attempts", f"must be at most {_OPEN_MAX}")])
        if part.last:
            return hello
    return None


def _open_attempt(attempt: pb.OpenAttempt) -> tuple[UUID, int]:
    run_id = _run_id(attempt.run_id)
    if run_id is _NO_UUID:
        raise InvalidRequest([FieldViolation("hello.attempts", f"has {attempt.run_id!r}, which is no run id")])
    return run_id, attempt.attempt


def _first_hello(part: pb.Hello) -> Hello:
    namespace = part.namespace or "default"
    violations = [
        FieldViolation(f"hello.{name}", problem)
        for name, problem in (
            ("namespace", names.namespace_problem(namespace)),
            ("protocol_version", None if part.protocol_version == PROTOCOL_VERSION else "this server speaks version 1"),
            ("tasks", None if 1 <= len(part.tasks) <= _TASKS_MAX else f"must be 1 to {_TASKS_MAX} names"),
            ("queues", None if 1 <= len(part.queues) <= _QUEUES_MAX else f"must be 1 to {_QUEUES_MAX} names"),
            ("slots", None if 1 <= part.slots <= _SLOTS_MAX else f"must be 1 to {_SLOTS_MAX}"),
            *((f"queues[{index}]", names.queue_problem(queue)) for index, queue in enumerate(part.queues)),
            *((f"tasks[{index}]", names.task_problem(task)) for index, task in enumerate(part.tasks)),
        )
        if problem is not None
    ]
    resumes = None
    if part.session_id:
        try:
            resumes = decode("ses", part.session_id)
        except ValueError as error:
            violations.append(FieldViolation("hello.session_id", str(error)))
    if violations:
        raise InvalidRequest(violations)
    return Hello(
        namespace,
        resumes,
        _cut(part.build_id, ERROR_TYPE_MAX),
        _cut(part.sdk_name, ERROR_TYPE_MAX),
        _cut(part.sdk_version, ERROR_TYPE_MAX),
        _cut(part.host, ERROR_TYPE_MAX),
        part.pid,
        list(dict.fromkeys(part.tasks)),
        list(dict.fromkeys(part.queues)),
        part.slots,
    )


def session_of(hello: Hello) -> NewSession:
    """The session as the worker describes it; its ids are not known yet."""
    return NewSession(
        _NO_UUID,
        0,
        hello.build_id,
        hello.sdk_name,
        hello.sdk_version,
        hello.host,
        hello.pid,
        hello.slots,
        (),
        tuple(hello.queues),
    )


def start_asks(starts: Sequence[pb.Start], session_id: UUID, epoch: int) -> tuple[list[StartAsk], list[int]]:
    """The starts that name a run, and the start_ids of those that do not."""
    asks: list[StartAsk] = []
    nameless: list[int] = []
    for start in starts:
        run_id = _run_id(start.run_id)
        if run_id is _NO_UUID:
            nameless.append(start.start_id)
        else:
            asks.append(StartAsk(run_id, session_id, epoch, start.start_id))
    return asks, nameless


@dataclass(slots=True)
class Reports:
    """A worker's finishes, sorted by the way they are recorded; ids are those of their starts."""

    success_ids: list[int] = field(default_factory=list)
    successes: list[Success] = field(default_factory=list)
    ending_ids: list[int] = field(default_factory=list)
    endings: list[Report] = field(default_factory=list)
    malformed_ids: list[int] = field(default_factory=list)


def reports(finishes: Sequence[pb.Finish], session_id: UUID, build: str, *, result_bytes_max: int) -> Reports:
    """What is reported. A result that breaks the rules becomes the end of its attempt."""
    sorted_ = Reports()
    for finish in finishes:
        run_id = _run_id(finish.run_id)
        outcome = finish.WhichOneof("outcome")
        if run_id is _NO_UUID or outcome is None:
            sorted_.malformed_ids.append(finish.start_id)
            continue
        fence = Fence(run_id, finish.attempt, session_id)
        log_tail = _cut(finish.log_tail, LOG_TAIL_MAX) or None
        if outcome != "result_json":
            sorted_.ending_ids.append(finish.start_id)
            sorted_.endings.append(_ending(finish, outcome, fence, build, log_tail))
            continue
        result = finish.result_json or b"null"
        wrong = problem(result, bytes_max=result_bytes_max)
        if wrong is None:
            sorted_.success_ids.append(finish.start_id)
            sorted_.successes.append(Success(fence, result, _ms(finish.ran_ms), build, log_tail))
        else:
            sorted_.ending_ids.append(finish.start_id)
            ending = Ending(build, "ResultInvalid", f"the result {wrong}", None, _ms(finish.ran_ms), log_tail)
            sorted_.endings.append(
                Report(fence, ResultInvalid(), AttemptStatus.FAILED, ending, note=ending.error_message)
            )
    return sorted_


def _ending(finish: pb.Finish, outcome: str, fence: Fence, build: str, log_tail: str | None) -> Report:
    failure: pb.Failure = getattr(finish, outcome)
    error_type = _cut(failure.error_type, ERROR_TYPE_MAX)
    message = _cut(failure.error_message, ERROR_MESSAGE_MAX)
    event, status = _event(outcome, failure, error_type, finish.ran_ms)
    ending = Ending(
        build,
        error_type or None,
        message or None,
        _cut(failure.error_detail, ERROR_DETAIL_MAX) or None,
        _ms(finish.ran_ms),
        log_tail,
    )
    return Report(
        fence, event, status, ending, note=_cut(f"{error_type}: {message}", _NOTE_MAX) if error_type else None
    )


def _event(outcome: str, failure: pb.Failure, error_type: str, ran_ms: int) -> tuple[Event, AttemptStatus]:
    match outcome:
        case "timed_out":
            return TimedOut(), AttemptStatus.TIMED_OUT
        case "canceled":
            return CancelConfirmed(), AttemptStatus.CANCELED
        case "interrupted":
            return Interrupted(began=ran_ms > 0), AttemptStatus.INTERRUPTED
    retry_after = None
    if failure.HasField("retry_after_ms"):
        retry_after = min(timedelta(milliseconds=_ms(failure.retry_after_ms)), RETRY_AFTER_MAX)
    return Failed(error_type, not failure.do_not_retry, retry_after), AttemptStatus.FAILED


def begun(entries: Sequence[pb.Begun], session_id: UUID) -> list[tuple[Fence, int]]:
    """Which attempts have begun, how many milliseconds ago."""
    return [(Fence(_run_id(entry.run_id), entry.attempt, session_id), _ms(entry.running_ms)) for entry in entries]


def notes(entries: Sequence[pb.AttemptNote], session_id: UUID) -> list[Note]:
    """What running handlers tell. Progress that is too large or no JSON is left out."""
    kept = []
    for entry in entries:
        progress = entry.progress_json or None
        if progress is not None and problem(progress, bytes_max=PROGRESS_MAX) is not None:
            progress = None
        log_tail = _cut(entry.log_tail, LOG_TAIL_MAX) or None
        kept.append(Note(Fence(_run_id(entry.run_id), entry.attempt, session_id), progress, log_tail))
    return kept


def _ms(said: int) -> int:
    """A time that a worker says, within what the database can reckon with."""
    return max(0, min(said, _MS_MAX))


def _run_id(text: str) -> UUID:
    """The run's UUID; that of no run if the text is no run id."""
    try:
        return decode("run", text)
    except ValueError:
        return _NO_UUID


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, without NUL, which PostgreSQL does not take."""
    if "\0" in text:
        text = text.replace("\0", "")
    if len(text) * 4 <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")

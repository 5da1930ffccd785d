"""Enqueue, EnqueueBatch and Replay: from what a caller asks to durable runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

import orjson

from layeron_job import tracing
from layeron_job.ids import encode, new_uuid7
from layeron_job_server import failpoints
from layeron_job_server.domain.errors import (
    FieldViolation,
    IdempotencyKeyReused,
    InvalidRequest,
    JobError,
    RunIdReused,
    TaskNotRegistered,
    Unstorable,
)
from layeron_job_server.domain.retry import RetryPolicy, to_json
from layeron_job_server.store import queries, runs
from layeron_job_server.store.database import DATA_ERRORS, Connection
from layeron_job_server.store.outbox import Ring
from layeron_job_server.store.queries import RunInfo
from layeron_job_server.store.runs import Made, NewRun, Taken
from layeron_job_server.store.tasks import Task

from . import telling
from .fingerprint import fingerprint
from .system import System
from .turns import in_turns
from .unstorable import unstorable_one
from .writer import Writer

log = logging.getLogger(__name__)

DEFAULT_KEY_TTL = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class EnqueueAsk:
    """One run as a caller asks for it, with every field checked. `payload` is JSON text by the rules."""

    namespace: str
    task: str
    payload: bytes = b"null"
    payload_encoding: str | None = None
    run_id: UUID | None = None
    delay: timedelta = timedelta(0)
    run_at: datetime | None = None
    start_by: datetime | None = None
    idempotency_key: str | None = None
    key_window: str | None = None  # "ttl", "while_active", "forever"; set if and only if the key is
    key_ttl: timedelta | None = None  # with "ttl"
    retry: RetryPolicy | None = None
    timeout_ms: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int | None = None  # 1 high, 2 normal, 3 low
    name: str | None = None
    trace_context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The run of a request. `made` is set when this call made it; otherwise it was there, and may be pruned by now.

    In a batch, `status` is where it stands; None if it is pruned.
    """

    run_id: UUID
    task: Task
    new: NewRun
    made: Made | None
    status: str | None = None

    @property
    def created(self) -> bool:
        """Whether this call made the run."""
        return self.made is not None

    @property
    def run(self) -> RunInfo | None:
        """The run as this call made it; None if it was there before."""
        return None if self.made is None else _as_made(self.new, self.task, self.made)


EnqueueWriter = Writer[NewRun, Made | Taken]


def enqueue_writer(system: System) -> EnqueueWriter:
    """The writer that all single enqueues of this process share."""

    async def write(batch: Sequence[NewRun]) -> Sequence[Made | Taken]:
        return await _make(system, batch)

    return Writer(
        "enqueue", write, conflicts=_touches, size=lambda new: len(new.payload) + 200, **system.settings.writer_limits
    )


async def enqueue(system: System, writer: EnqueueWriter, ask: EnqueueAsk) -> Enqueued:
    """Make the run, or find the one the same request made before.

    Raises TaskNotRegistered, IdempotencyKeyReused, RunIdReused, Overloaded, DatabaseAway.
    """
    task = (await system.tasks.by_names(ask.namespace, [ask.task])).get(ask.task)
    if task is None:
        raise TaskNotRegistered(ask.namespace, ask.task)
    new = resolve(ask, task)
    return _settle(new, task, await writer.submit_one(new))


async def enqueue_batch(system: System, asks: Sequence[EnqueueAsk]) -> list[Enqueued]:
    """Make all the runs or none, in one transaction of their own; all in one namespace.

    Equal items answer the first one's run. Raises what `enqueue` raises and Unstorable, each with `field` in its
    metadata: the item and the field of it that is to blame.
    """
    known = await system.tasks.by_names(asks[0].namespace, list({ask.task: None for ask in asks}))
    for place, ask in enumerate(asks):
        if ask.task not in known:
            raise _at(f"items[{place}].task", TaskNotRegistered(ask.namespace, ask.task))
    news = [resolve(ask, known[ask.task]) async for ask in in_turns(asks, lambda ask: len(ask.payload))]
    firsts = _first_of_equals(news)
    places = [place for place, first in enumerate(firsts) if place == first]

    async def work(connection: Connection) -> dict[int, Enqueued]:
        made = await runs.make(connection, [news[place] for place in places], look_ahead=system.settings.look_ahead)
        # Raising here takes the whole batch back.
        settled = {
            place: _settle_item(place, news[place], known[asks[place].task], answer)
            for place, answer in zip(places, made, strict=True)
        }
        return await _with_status(connection, settled)

    try:
        settled = await system.database.write(work)
    except DATA_ERRORS as error:
        log.error("the database refused data of a batch: %s", type(error).__name__)  # noqa: TRY400 (its message may hold the data)
        found = await unstorable_one(system, [news[place] for place in places])
        refusal = Unstorable("enqueue")
        raise (refusal if found is None else _at(f"items[{places[found]}]", refusal)) from None
    await failpoints.reach("enqueue.committed")
    await _tell(system, [(one.new, one.made) for one in settled.values() if one.made])
    return [
        settled[first] if place == first else replace(settled[first], made=None) for place, first in enumerate(firsts)
    ]


def resolve(ask: EnqueueAsk, task: Task) -> NewRun:
    """The run to be made: what the caller left open comes from the task, now and for good."""
    retry = None if ask.retry is None else to_json(ask.retry)
    return NewRun(
        run_id=ask.run_id or new_uuid7(),
        namespace_id=task.namespace_id,
        task_id=task.task_id,
        queue_id=task.queue_id,
        priority=ask.priority or task.priority,
        payload=ask.payload,
        retry=task.retry if retry is None else orjson.dumps(retry),
        timeout_ms=ask.timeout_ms or task.timeout_ms,
        fingerprint=fingerprint(ask.task, ask.payload, retry=retry, timeout_ms=ask.timeout_ms),
        delay=ask.delay,
        run_at=ask.run_at,
        start_by=ask.start_by,
        name=ask.name,
        payload_encoding=ask.payload_encoding,
        idempotency_key=ask.idempotency_key,
        key_window=ask.key_window,
        key_ttl=(ask.key_ttl or DEFAULT_KEY_TTL) if ask.key_window == "ttl" else None,
        labels=tuple(ask.labels.items()),
        labels_json=orjson.dumps(dict(ask.labels)) if ask.labels else None,
        trace_context=orjson.dumps(dict(ask.trace_context)) if ask.trace_context else None,
    )


async def _make(system: System, batch: Sequence[NewRun]) -> list[Made | Taken]:
    made = await system.database.write(lambda c: runs.make(c, batch, look_ahead=system.settings.look_ahead))
    await failpoints.reach("enqueue.committed")
    await _tell(system, [(new, one) for new, one in zip(batch, made, strict=True) if isinstance(one, Made)])
    return made


async def _tell(system: System, made: Sequence[tuple[NewRun, Made]]) -> None:
    """Ring for what was made, and let everybody know."""
    system.ring([_traced(new, answer.ring) for new, answer in made])
    system.changed.set()
    await telling.enqueued(system, made)


def _traced(new: NewRun, ring: Ring) -> Ring:
    """With the trace that it belongs to, if that is sampled. A replay is no part of the one whose context it took."""
    if new.trace_context is None or new.origin == "replay":
        return ring
    traceparent = _sampled(new.trace_context)
    return ring._replace(traceparent=traceparent) if traceparent else ring


@lru_cache(maxsize=1024)  # all runs of a batch may have the same one
def _sampled(trace_context: bytes) -> str:
    """The traceparent of a trace context, made anew of what it says; "" if it is not sampled, or malformed."""
    span = tracing.remote(orjson.loads(trace_context))
    return "" if span is None or not span.trace_flags.sampled else tracing.traceparent_of(span)


def _touches(new: NewRun) -> tuple[object, ...]:
    if new.idempotency_key is None:
        return (new.run_id,)
    return (new.run_id, (new.task_id, new.idempotency_key))


def _settle(new: NewRun, task: Task, answer: Made | Taken) -> Enqueued:
    """The same request before → its run. Another request → an error that tells nothing of it but the key's run id."""
    if isinstance(answer, Made):
        return Enqueued(new.run_id, task, new, answer)
    same = answer.fingerprint == new.fingerprint and answer.namespace_id == new.namespace_id
    if answer.by == "key":
        if not same:
            raise IdempotencyKeyReused(encode("run", answer.run_id))
    elif not same or answer.idempotency_key != new.idempotency_key:
        raise RunIdReused
    return Enqueued(answer.run_id, task, new, None)


def _settle_item(place: int, new: NewRun, task: Task, answer: Made | Taken) -> Enqueued:
    try:
        return _settle(new, task, answer)
    except IdempotencyKeyReused as error:
        raise _at(f"items[{place}].idempotency_key", error) from None
    except RunIdReused as error:
        raise _at(f"items[{place}].run_id", error) from None


async def _with_status(connection: Connection, settled: Mapping[int, Enqueued]) -> dict[int, Enqueued]:
    """Looked up before the commit: nothing may go wrong after it."""
    before = [one.run_id for one in settled.values() if one.made is None]
    found = await queries.by_ids(connection, before, full=False) if before else []
    standing = {run.run_id: run.status for run in found}
    return {
        place: replace(one, status=one.made.status if one.made else standing.get(one.run_id))
        for place, one in settled.items()
    }


def _at(field_name: str, error: JobError) -> JobError:
    """The error, with the field of the batch that it is about."""
    error.metadata["field"] = field_name
    return error


def _first_of_equals(news: Sequence[NewRun]) -> list[int]:
    """For each item the index of the first one with its key or, failing that, its run id.

    Raises InvalidRequest when those two ask for different things.
    """
    by_key: dict[tuple[int, str], int] = {}
    by_run_id: dict[UUID, int] = {}
    firsts: list[int] = []
    for index, new in enumerate(news):
        key = None if new.idempotency_key is None else (new.task_id, new.idempotency_key)
        first, shared = index, ""
        if key is not None and key in by_key:
            first, shared = by_key[key], "idempotency_key"
        elif new.run_id in by_run_id:
            first, shared = by_run_id[new.run_id], "run_id"
        other = news[first]
        if other.fingerprint != new.fingerprint or (
            shared == "run_id" and other.idempotency_key != new.idempotency_key
        ):
            problem = f"is also that of items[{first}], which asks for something else"
            raise InvalidRequest([FieldViolation(f"items[{index}].{shared}", problem)])
        if key is not None:
            by_key.setdefault(key, first)
        by_run_id.setdefault(new.run_id, first)
        firsts.append(first)
    return firsts


def _as_made(new: NewRun, task: Task, made: Made) -> RunInfo:
    """A run that was just made, as a read would find it."""
    return RunInfo(
        run_id=new.run_id,
        namespace_id=new.namespace_id,
        task=task.name,
        queue=task.queue,
        priority=new.priority,
        name=new.name,
        status=made.status,
        attempt=0,
        counted=0,
        payload=new.payload,
        payload_encoding=new.payload_encoding,
        result=None,
        retry=new.retry,
        timeout_ms=new.timeout_ms,
        labels=new.labels_json,
        idempotency_key=new.idempotency_key,
        key_window=new.key_window,
        created_at=made.created_at,
        due_at=made.ring.deliver_at,
        start_by=new.start_by,
        started_at=None,
        finished_at=None,
        cancel_requested_at=None,
        held="paused" if task.paused_at and made.status == "queued" else None,
        origin=new.origin,
        origin_id=new.origin_id,
        trace_context=new.trace_context,
    )

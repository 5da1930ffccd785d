"""What is enqueued is there whole, in one transaction, exactly as it was asked for; a batch is made as one or not at
all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from layeron_job.ids import new_uuid7
from layeron_job_server.domain.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    JobError,
    RunIdReused,
    TaskNotRegistered,
    Unstorable,
)
from layeron_job_server.domain.retry import Fixed, RetryPolicy
from layeron_job_server.operations.enqueue import EnqueueAsk, enqueue_batch
from layeron_job_server.operations.queries import read_run
from support.core import Core, Worker

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

_TABLES = ("runs", "open_runs", "outbox", "transitions", "idempotency_keys", "run_labels")


async def _counts(core: Core) -> dict[str, int]:
    return {table: await core.value(f"select count(*) from {table}") for table in _TABLES}


def _ask(task: str = "work", **ask: Any) -> EnqueueAsk:
    return EnqueueAsk("default", task, **ask)


async def test_a_run_its_first_transition_its_key_its_labels_and_its_ring_are_one_transaction(core: Core) -> None:
    """Promise 1: what has been answered is there, with the ring that starts it."""
    await core.enqueue(idempotency_key="k", key_window="forever", labels={"team": "a"})
    assert await _counts(core) == dict.fromkeys(_TABLES, 1)
    parts = " union ".join(f"select xmin::text from {table}" for table in _TABLES)
    assert len(await core.fetch(parts)) == 1


async def test_the_answer_to_an_enqueue_is_what_a_read_finds(core: Core) -> None:
    start_by = await core.value("select now() + interval '2 hours'")
    for fields in (
        {},
        {
            "payload": b'{"to": "ann"}',
            "payload_encoding": "aes",
            "delay": HOUR,
            "start_by": start_by,
            "idempotency_key": "k",
            "key_window": "while_active",
            "retry": RetryPolicy(7, Fixed(SECOND)),
            "timeout_ms": 5,
            "labels": {"team": "a", "city": "Köln"},
            "priority": 1,
            "name": "Mail",
            "trace_context": {"traceparent": "00-1"},
        },
    ):
        answer = await core.request(**fields)
        assert answer.run == await read_run(core.system, "default", answer.run_id)


async def test_a_run_of_a_paused_task_is_answered_as_held(core: Core) -> None:
    await core.pause()
    core.system.tasks.forget("default", "work")
    answer = await core.request()
    assert answer.run is not None
    assert answer.run.held == "paused"
    assert answer.run == await read_run(core.system, "default", answer.run_id)


@pytest.mark.parametrize("payload", [b'{ "b": 1.0,\n "a":[1e308,1E2] }', b'"\\u00e9\xc3\xa9"', b"null", b"-0"])
async def test_a_payload_is_handed_to_the_worker_byte_by_byte(core: Core, worker: Worker, payload: bytes) -> None:
    grant = await worker.grant(await core.enqueue(payload=payload))
    assert grant.payload == payload


@pytest.mark.parametrize(
    ("when", "status", "due", "ring"),
    [
        ({}, "queued", 0, 2),
        ({"delay": 5 * SECOND}, "scheduled", 5, 2),
        ({"delay": HOUR}, "scheduled", 3600, 3590),
        ({"run_at": "1 hour"}, "scheduled", 3600, 3590),
        ({"run_at": "-1 hour"}, "queued", 0, 2),
    ],
    ids=["now", "soon", "later", "at a time", "at a time that has passed"],
)
async def test_the_time_a_run_is_due_decides_its_status_and_when_it_is_rung(
    core: Core, when: dict[str, Any], status: str, due: float, ring: float
) -> None:
    """Promise 7. A ring that is due inside the look-ahead is left to memory for two seconds, then to the sweep."""
    asked = dict(when)
    if "run_at" in asked:
        asked["run_at"] = await core.value("select now() + $1::text::interval", asked["run_at"])
    run_id = await core.enqueue(**asked)
    assert (await core.look(run_id)).status == status
    due_in, ring_in = (await core.fetch(
        "select extract(epoch from due_at - created_at), extract(epoch from ring_at - created_at) "
        "from open_runs join runs using (run_id) join outbox using (run_id) where deliver_at = due_at"
    ))[0]  # fmt: skip
    # The time that run_at counts from is a little before the one at which the run is made.
    assert float(due_in) == pytest.approx(due, abs=0.5 if "run_at" in asked else 0)
    assert float(ring_in) == pytest.approx(ring, abs=0.5 if "run_at" in asked else 0)
    assert [told.run_id for told in core.rung] == [run_id]


async def test_what_a_run_was_enqueued_with_does_not_change_with_its_task(core: Core, worker: Worker) -> None:
    await core.register("work", retry=RetryPolicy(2), timeout_ms=1_000)
    core.system.tasks.forget("default", "work")
    run_id = await core.enqueue()
    await core.register("work", retry=RetryPolicy(9), timeout_ms=9_000, queue="other")
    grant = await worker.grant(run_id)
    assert (grant.max_attempts, grant.timeout_ms) == (2, 1_000)
    assert await core.value("select q.name from queues q join runs using (queue_id)") == "default"


async def test_an_enqueues_own_options_win_over_its_tasks(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue(retry=RetryPolicy(5), timeout_ms=77, priority=3))
    assert (grant.max_attempts, grant.timeout_ms) == (5, 77)
    assert await core.value("select priority from runs") == 3


@pytest.mark.parametrize(("namespace", "task"), [("default", "nobody"), ("nowhere", "work")])
async def test_a_task_that_nobody_registered_in_the_namespace_makes_no_run(
    core: Core, namespace: str, task: str
) -> None:
    """Promise 10."""
    with pytest.raises(TaskNotRegistered):
        await core.enqueue(task, namespace=namespace)
    assert await _counts(core) == dict.fromkeys(_TABLES, 0)


async def test_a_batch_answers_in_its_order_and_is_one_transaction(core: Core) -> None:
    await core.register("other")
    ids = [new_uuid7() for _ in range(4)]
    asks = [_ask(task, run_id=run_id) for run_id, task in zip(reversed(ids), ["work", "other"] * 2, strict=True)]
    answers = await enqueue_batch(core.system, asks)
    assert [answer.run_id for answer in answers] == ids[::-1]
    assert all(answer.created for answer in answers)
    for answer in answers:
        assert answer.run == await read_run(core.system, "default", answer.run_id)
    assert await core.value("select count(distinct xmin::text) from runs") == 1
    assert {ring.run_id for ring in core.rung} == set(ids)


async def test_the_same_batch_again_answers_the_same_runs_and_makes_none(core: Core) -> None:
    asks = [_ask(idempotency_key=f"k{n}", key_window="forever", payload=b"%d" % n) for n in range(3)]
    asks += [_ask(run_id=new_uuid7())]
    first = await enqueue_batch(core.system, asks)
    core.rung.clear()
    second = await enqueue_batch(core.system, asks)
    assert [answer.run_id for answer in second] == [answer.run_id for answer in first]
    assert not any(answer.created for answer in second)
    assert core.rung == []
    assert await core.value("select count(*) from runs") == 4


@pytest.mark.parametrize("refusal", [IdempotencyKeyReused, RunIdReused, TaskNotRegistered])
async def test_a_refused_batch_leaves_nothing_behind(core: Core, refusal: type[JobError]) -> None:
    taken = await core.request(run_id=new_uuid7(), idempotency_key="taken", key_window="forever")
    bad = {
        IdempotencyKeyReused: _ask(idempotency_key="taken", key_window="forever", payload=b"2"),
        RunIdReused: _ask(run_id=taken.run_id, payload=b"2"),
        TaskNotRegistered: _ask("nobody"),
    }[refusal]
    good = _ask(idempotency_key="new", key_window="forever", labels={"a": "b"})
    before = await _counts(core)
    core.rung.clear()
    with pytest.raises(refusal):
        await enqueue_batch(core.system, [good, bad, good])
    assert await _counts(core) == before
    assert core.rung == []
    assert (await enqueue_batch(core.system, [good]))[0].created


async def test_a_batch_with_data_the_database_refuses_names_the_item_and_leaves_nothing_behind(core: Core) -> None:
    for size, bad in ((1, 0), (2, 1), (7, 0), (7, 3), (7, 6)):
        with pytest.raises(Unstorable) as caught:
            await enqueue_batch(core.system, [_ask(name="a\0b" if place == bad else None) for place in range(size)])
        assert caught.value.metadata["field"] == f"items[{bad}]"
    assert await _counts(core) == dict.fromkeys(_TABLES, 0)


async def test_equal_items_of_a_batch_answer_the_first_ones_run(core: Core) -> None:
    run_id = new_uuid7()
    by_id, by_key = _ask(run_id=run_id), _ask(idempotency_key="k", key_window="forever")
    answers = await enqueue_batch(core.system, [by_id, by_key, by_key, by_id, _ask(), _ask()])
    assert [answer.created for answer in answers] == [True, True, False, False, True, True]
    assert answers[3].run_id == answers[0].run_id == run_id
    assert answers[2].run_id == answers[1].run_id
    assert await core.value("select count(*) from runs") == 4


async def test_different_items_of_a_batch_with_one_run_id_or_key_refuse_it(core: Core) -> None:
    for field, shared in (
        ("run_id", {"run_id": new_uuid7()}),
        ("idempotency_key", {"idempotency_key": "k", "key_window": "ttl"}),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await enqueue_batch(core.system, [_ask(), _ask(**shared), _ask(payload=b"2", **shared)])
        assert [violation.field for violation in caught.value.violations] == [f"items[2].{field}"]
    assert await _counts(core) == dict.fromkeys(_TABLES, 0)


async def test_one_run_id_with_two_keys_is_refused_in_a_batch_as_it_is_one_by_one(core: Core) -> None:
    run_id = new_uuid7()
    first = _ask(run_id=run_id, idempotency_key="k1", key_window="forever")
    second = _ask(run_id=run_id, idempotency_key="k2", key_window="forever")
    with pytest.raises(InvalidRequest, match=r"items\[1\].run_id"):
        await enqueue_batch(core.system, [first, second])
    assert await _counts(core) == dict.fromkeys(_TABLES, 0)


async def test_a_live_key_wins_over_the_run_id_in_a_batch_as_it_does_one_by_one(core: Core) -> None:
    by_id, by_key = new_uuid7(), new_uuid7()
    key = {"idempotency_key": "k", "key_window": "forever"}
    answers = await enqueue_batch(
        core.system, [_ask(run_id=by_id), _ask(run_id=by_key, **key), _ask(run_id=by_id, **key)]
    )
    assert [answer.run_id for answer in answers] == [by_id, by_key, by_key]


async def test_very_many_runs_are_enqueued_in_batches_with_one_ring_each(core: Core) -> None:
    runs = await core.enqueue_many(3_000)
    assert len(set(runs)) == 3_000
    assert await _counts(core) == {**dict.fromkeys(_TABLES[:4], 3_000), "idempotency_keys": 0, "run_labels": 0}

"""One key or one run id, one request: one run (promise 5)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from layeron_job.ids import encode, new_uuid7
from layeron_job_server.domain.errors import IdempotencyKeyReused, JobError, RunIdReused
from layeron_job_server.domain.retry import RetryPolicy
from layeron_job_server.operations.enqueue import EnqueueAsk, Enqueued, resolve
from layeron_job_server.store import runs
from layeron_job_server.store.runs import Made, NewRun, Taken
from support.core import Core, Worker, open_core

HOUR = timedelta(hours=1)
WINDOWS = ("ttl", "while_active", "forever")


def _key(window: str = "forever", key: str = "k", **more: Any) -> dict[str, Any]:
    return {"idempotency_key": key, "key_window": window, **more}


async def _new(core: Core, **ask: Any) -> NewRun:
    task = (await core.system.tasks.by_names("default", ["work"]))["work"]
    return resolve(EnqueueAsk("default", "work", **ask), task)


async def test_the_same_request_with_the_same_key_answers_the_same_run(core: Core) -> None:
    """Promise 5."""
    for window in WINDOWS:
        first = await core.request(payload=b'{"a": 1}', **_key(window, key=window))
        core.rung.clear()
        again = await core.request(payload=b'{"a":1}', **_key(window, key=window))
        assert (first.created, again.created) == (True, False)
        assert again.run_id == first.run_id
        assert core.rung == []
    assert await core.value("select count(*) from runs") == 3


async def test_a_key_with_a_ttl_lives_for_a_day_or_as_long_as_asked_and_then_makes_a_new_run(core: Core) -> None:
    for key, ttl, lives in (("day", None, timedelta(days=1)), ("hour", HOUR, HOUR)):
        asked = _key("ttl", key, key_ttl=ttl)
        first = await core.request(**asked)
        await core.pass_time(lives - timedelta(seconds=10))
        assert (await core.request(**asked)).run_id == first.run_id
        await core.pass_time(timedelta(seconds=10))
        second = await core.request(**asked)
        assert second.created
        assert (await core.request(**asked)).run_id == second.run_id


async def test_a_repeat_does_not_prolong_a_key(core: Core) -> None:
    asked = _key("ttl", key_ttl=HOUR)
    await core.request(**asked)
    before = await core.value("select expires_at from idempotency_keys")
    await core.request(**asked)
    assert await core.value("select expires_at from idempotency_keys") == before


async def test_a_lapsed_key_takes_another_request_too(core: Core) -> None:
    await core.request(**_key("ttl", key_ttl=HOUR))
    await core.pass_time(HOUR)
    second = await core.request(payload=b"2", **_key("ttl", key_ttl=HOUR))
    assert second.created
    with pytest.raises(IdempotencyKeyReused):
        await core.request(**_key("ttl"))


async def test_a_key_kept_forever_outlives_its_run_and_even_its_rows(core: Core, worker: Worker) -> None:
    first = await core.request(**_key())
    await worker.succeed(await worker.grant(first.run_id))
    await core.pass_time(timedelta(days=10_000))
    async with core.database.connection() as connection:  # what the pruner does
        for table in ("runs", "ended_runs", "attempts", "transitions"):
            await connection.execute(f"delete from {table} where run_id = $1", first.run_id)
    again = await core.request(**_key())
    assert (again.run_id, again.created, again.run) == (first.run_id, False, None)


async def test_a_key_held_while_active_is_released_when_its_waiting_run_is_canceled(core: Core) -> None:
    first = await core.request(**_key("while_active", delay=HOUR))
    await core.cancel(first.run_id)
    second = await core.request(**_key("while_active"))
    assert second.created
    assert (await core.request(**_key("while_active"))).run_id == second.run_id


async def test_an_old_runs_end_does_not_release_the_key_of_the_run_that_has_it_now(core: Core, worker: Worker) -> None:
    old = await core.request(**_key("ttl", key_ttl=HOUR))
    await core.pass_time(HOUR)
    new = await core.request(**_key("while_active"))
    await worker.succeed(await worker.grant(old.run_id))
    assert (await core.request(**_key("while_active"))).run_id == new.run_id


async def test_the_same_key_for_another_request_is_refused_with_the_first_runs_id_and_no_more(core: Core) -> None:
    others: list[dict[str, Any]] = [{"payload": b"2"}, {"retry": RetryPolicy(2)}, {"timeout_ms": 7}]
    for window in WINDOWS:
        asked = {"payload": b'"secret"', **_key(window, key=window)}
        first = await core.request(**asked)
        before = await core.everything(first.run_id)
        for other in others:
            with pytest.raises(IdempotencyKeyReused) as caught:
                await core.request(**{**asked, **other})
            assert caught.value.metadata == {"run_id": encode("run", first.run_id)}
            assert "secret" not in str(caught.value)
        assert await core.everything(first.run_id) == before
    assert await core.value("select count(*) from runs") == 3


async def test_times_labels_names_priority_and_trace_context_make_no_other_request(core: Core) -> None:
    first = await core.request(**_key())
    start_by = await core.value("select now() + interval '1 day'")
    for other in (
        {"delay": HOUR},
        {"run_at": start_by},
        {"start_by": start_by},
        {"labels": {"a": "b"}},
        {"name": "another"},
        {"priority": 1},
        {"trace_context": {"traceparent": "00-2"}},
        _key("ttl"),
    ):
        assert (await core.request(**{**_key(), **other})).run_id == first.run_id


async def test_a_key_belongs_to_one_task_of_one_namespace(core: Core) -> None:
    """Promise 10."""
    await core.register("other")
    await core.register("work", namespace="theirs")
    made = [
        await core.request(**_key()),
        await core.request("other", **_key()),
        await core.request(namespace="theirs", **_key()),
    ]
    assert all(one.created for one in made)
    assert len({one.run_id for one in made}) == 3


async def test_a_live_key_wins_over_the_run_id(core: Core) -> None:
    first = await core.request(**_key(run_id=new_uuid7()))
    chosen = new_uuid7()
    again = await core.request(**_key(run_id=chosen))
    assert (again.run_id, again.created) == (first.run_id, False)
    assert (await core.request(run_id=chosen)).created


async def test_a_chosen_run_id_makes_a_repeat_safe(core: Core) -> None:
    """Promise 5."""
    chosen = new_uuid7()
    first = await core.request(run_id=chosen, payload=b'{"a": 1}')
    again = await core.request(run_id=chosen, payload=b'{"a":1.0}')
    assert (first.run_id, first.created) == (chosen, True)
    assert (again.run_id, again.created) == (chosen, False)


@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
async def test_a_run_id_of_another_request_is_refused_without_a_word_of_it(
    core: Core, worker: Worker, ended: bool
) -> None:
    await core.register("other")
    await core.register("work", namespace="theirs")
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"payload": b"2"}),
        ({}, {"timeout_ms": 7}),
        ({}, {"namespace": "theirs"}),
        ({}, {"task": "other"}),
        ({}, _key(key="free")),
        (_key(key="one"), {}),
        (_key(key="two"), _key(key="another")),
    ]
    for first, second in pairs:
        chosen = new_uuid7()
        await core.request(run_id=chosen, **first)
        if ended:
            await worker.succeed(await worker.grant(chosen))
        before = await core.everything(chosen)
        with pytest.raises(RunIdReused) as caught:
            await core.request(run_id=chosen, **second)
        assert caught.value.metadata == {}
        assert encode("run", chosen) not in str(caught.value)
        assert await core.everything(chosen) == before
        if "idempotency_key" in second:  # it was free, and is so again
            assert (await core.request(**second)).created


async def _from_everywhere(core: Core, database_url: str, ask: dict[str, Any]) -> list[Enqueued]:
    async with open_core(database_url) as other:
        return await asyncio.gather(*[server.request(**ask) for server in (core, other) for _ in range(50)])


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_hundred_callers_over_two_servers_with_one_key_make_one_run(
    core: Core, database_url: str, window: str
) -> None:
    """Promise 5."""
    answers = await _from_everywhere(core, database_url, _key(window))
    assert len({answer.run_id for answer in answers}) == 1
    assert [answer.created for answer in answers].count(True) == 1
    assert await core.value("select count(*) from runs") == 1
    assert await core.value("select count(*) from outbox") == 1


async def test_a_hundred_callers_over_two_servers_with_one_run_id_make_one_run(core: Core, database_url: str) -> None:
    """Promise 5."""
    answers = await _from_everywhere(core, database_url, {"run_id": new_uuid7()})
    assert [answer.created for answer in answers].count(True) == 1
    assert await core.value("select count(*) from runs") == 1


async def test_a_hundred_callers_over_two_servers_make_one_run_of_a_key_that_has_just_lapsed(
    core: Core, database_url: str
) -> None:
    """Promise 5."""
    old = await core.request(**_key("ttl", key_ttl=HOUR))
    await core.pass_time(HOUR)
    answers = await _from_everywhere(core, database_url, _key("ttl"))
    assert [answer.created for answer in answers].count(True) == 1
    assert old.run_id not in {answer.run_id for answer in answers}
    assert await core.value("select count(*) from runs") == 2


async def test_different_requests_with_one_key_at_once_make_one_run_and_refuse_the_rest(
    core: Core, database_url: str
) -> None:
    async with open_core(database_url) as other:
        asks = [server.request(payload=b"%d" % n, **_key()) for n in range(20) for server in (core, other)]
        answers = await asyncio.gather(*asks, return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, Enqueued)]
    assert len(made) == 2  # the payload that came first, from both servers
    assert len({one.run_id for one in made}) == 1
    assert sum(isinstance(answer, IdempotencyKeyReused) for answer in answers) == 38


async def test_one_key_twice_among_what_waits_for_one_batch_is_one_run(core: Core) -> None:
    """They never share a transaction, in which neither could see the other."""
    wanted: list[dict[str, Any]] = [_key(), {}, _key(), {"payload": b"2", **_key()}]
    made, _, repeated, other = await core.writer.submit([await _new(core, **ask) for ask in wanted])
    assert isinstance(made, Made)
    assert isinstance(repeated, Taken)
    assert isinstance(other, Taken)
    assert repeated.run_id == other.run_id == made.run_id
    assert await core.value("select count(*) from runs") == 2


async def test_one_run_id_twice_among_what_waits_for_one_batch_is_one_run(core: Core) -> None:
    chosen = new_uuid7()
    first, second = await core.writer.submit([await _new(core, run_id=chosen) for _ in range(2)])
    assert isinstance(first, Made)
    assert isinstance(second, Taken)


@pytest.mark.parametrize("committed", [True, False], ids=["commits", "rolls back"])
async def test_a_key_that_is_being_released_is_waited_for(core: Core, worker: Worker, committed: bool) -> None:
    first = await core.request(**_key("while_active"))
    await worker.grant(first.run_id)
    async with core.database.connection() as connection:
        ending = connection.transaction()
        await ending.start()
        await connection.execute("delete from idempotency_keys")
        asking = asyncio.create_task(core.request(**_key("while_active")))
        await core.until_blocked()
        await (ending.commit() if committed else ending.rollback())
    assert ((await asking).run_id != first.run_id) is committed


@pytest.mark.parametrize("committed", [True, False], ids=["commits", "rolls back"])
async def test_a_key_that_is_being_claimed_is_waited_for(core: Core, committed: bool) -> None:
    theirs = await _new(core, **_key())
    async with core.database.connection() as connection:
        claiming = connection.transaction()
        await claiming.start()
        await runs.make(connection, [theirs], look_ahead=core.system.settings.look_ahead)
        asking = asyncio.create_task(core.request(**_key()))
        await core.until_blocked()
        await (claiming.commit() if committed else claiming.rollback())
    assert ((await asking).run_id == theirs.run_id) is committed
    assert await core.value("select count(*) from runs") == 1


async def test_a_key_that_was_found_taken_is_not_released_before_it_was_answered_whose_it_is(core: Core) -> None:
    first = await core.request(**_key())
    repeated = await _new(core, **_key())
    async with core.database.connection() as connection, connection.transaction():
        [answer] = await runs.make(connection, [repeated], look_ahead=core.system.settings.look_ahead)
        assert answer.run_id == first.run_id
        releasing = asyncio.create_task(core.fetch("delete from idempotency_keys returning key"))
        await core.until_blocked()
    assert await releasing == [("k",)]


async def test_a_refused_request_fails_none_of_its_neighbours(core: Core) -> None:
    taken = await core.request(**_key(run_id=new_uuid7()))
    asks: list[dict[str, Any]] = [{}, {"payload": b"2", **_key()}, {"run_id": taken.run_id}, _key(), {}]
    answers = await asyncio.gather(*[core.request(**ask) for ask in asks], return_exceptions=True)
    assert [type(answer) for answer in answers if isinstance(answer, JobError)] == [IdempotencyKeyReused, RunIdReused]
    assert [answer.created for answer in answers if isinstance(answer, Enqueued)] == [True, False, True]

"""Lists of runs: exactly those that match, newest first, each once, and none of another namespace (promise 10)."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack
from random import Random
from uuid import UUID

import asyncpg
import pytest

from layeron_job_server.domain.errors import FilterTooBroad, Overloaded, PageTokenInvalid
from layeron_job_server.operations.queries import list_runs
from layeron_job_server.store import lists
from layeron_job_server.store.queries import RunFilter, RunInfo
from support import eventually
from support.core import Core, Worker
from support.world import NAMESPACES, STATUSES, World

_ALL = RunFilter()


@pytest.fixture
async def world(core: Core) -> World:
    """The same runs in every test, but for their ids."""
    world = World(core, Random(20_261_125))
    await world.make()
    return world


async def _page(
    core: Core, namespace: str, wanted: RunFilter, *, page_size: int, page_token: str
) -> tuple[list[RunInfo], str]:
    page = await list_runs(core.system, namespace, wanted, page_size=page_size, page_token=page_token, full=False)
    return page.runs, page.token(len(page.runs))


async def _list(core: Core, wanted: RunFilter = _ALL, *, namespace: str = "default", page_size: int = 50) -> list[UUID]:
    """All pages put together. Each must be full but the last, which is never empty after another one."""
    found: list[UUID] = []
    token = ""
    while True:
        runs, token = await _page(core, namespace, wanted, page_size=page_size, page_token=token)
        found += [run.run_id for run in runs]
        assert runs or not found
        if not token:
            return found
        assert len(runs) == page_size


async def test_every_filter_and_combination_of_them_answers_what_a_naive_model_does(world: World) -> None:
    assert {row.status for row in world.rows} == set(STATUSES)
    makers = world.filters()
    chance = Random(7)
    filters = [RunFilter(), *[RunFilter(statuses=(status,)) for status in STATUSES]]
    filters += [RunFilter(**{name: make()}) for name, make in makers.items() for _ in range(3)]
    for _ in range(250):
        names = chance.sample(list(makers), chance.choice([2, 2, 2, 3, 3, 4]))
        filters.append(RunFilter(**{name: makers[name]() for name in names}))
    answered = 0
    for wanted in filters:
        namespace = chance.choice(NAMESPACES)
        expected = world.expected(namespace, wanted)
        answered += bool(expected)
        assert await _list(world.core, wanted, namespace=namespace, page_size=100) == expected, (namespace, wanted)
    assert answered > len(filters) / 3, "most filters found nothing, which proves little"


@pytest.mark.parametrize("page_size", [1, 7, 100])
async def test_pages_of_any_size_have_every_run_once_newest_first(world: World, page_size: int) -> None:
    for wanted in (
        RunFilter(),
        RunFilter(statuses=("succeeded", "queued", "dead_lettered")),
        RunFilter(labels=(("team", "a"),)),
        RunFilter(task="mail", queue="default"),
    ):
        assert await _list(world.core, wanted, page_size=page_size) == world.expected("default", wanted)


async def test_a_list_of_a_namespace_that_never_was_is_empty(world: World) -> None:
    assert await _list(world.core, namespace="nowhere") == []


async def test_runs_that_start_and_end_between_two_pages_are_neither_missed_nor_repeated(
    core: Core, worker: Worker
) -> None:
    runs = [await core.enqueue() for _ in range(9)]
    seen: list[UUID] = []
    token = ""
    for step in range(3):
        page, token = await _page(core, "default", RunFilter(), page_size=3, page_token=token)
        seen += [run.run_id for run in page]
        await core.enqueue()  # newer than where the list began
        await worker.succeed(await worker.grant(runs[step]))
        await worker.grant(runs[8 - step])
    assert seen == runs[::-1]
    assert token == ""


async def test_a_page_token_is_good_for_its_own_namespace_and_filter_alone(core: Core) -> None:
    await core.register("work", namespace="theirs")
    for _ in range(3):
        await core.enqueue()
    wanted = RunFilter(task="work")

    async def page(token: str, *, namespace: str = "default", by: RunFilter = wanted) -> None:
        await _page(core, namespace, by, page_size=1, page_token=token)

    _, token = await _page(core, "default", wanted, page_size=1, page_token="")
    await page(token)
    raw = base64.urlsafe_b64decode(token)
    for bad in (
        "x",
        "…",
        "AAAA",
        token[:-4],
        token + "AAAA",
        token[1:],
        base64.urlsafe_b64encode(b"\x02" + raw[1:]).decode(),
    ):
        with pytest.raises(PageTokenInvalid):
            await page(bad)
    for other in (RunFilter(), RunFilter(task="other"), RunFilter(task="work", statuses=("queued",))):
        with pytest.raises(PageTokenInvalid):
            await page(token, by=other)
    with pytest.raises(PageTokenInvalid):
        await page(token, namespace="theirs")


async def test_a_list_that_takes_too_long_is_broken_off(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    await core.enqueue()
    monkeypatch.setattr(lists, "_TIMEOUT_MS", 50)
    async with core.database.connection() as connection, connection.transaction():
        await connection.execute("lock table runs in access exclusive mode")
        with pytest.raises(FilterTooBroad):
            await _list(core)
    assert len(await _list(core)) == 1


async def test_a_list_that_finds_no_free_connection_is_told_to_come_again(core: Core) -> None:
    """Promise 9."""
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(core.database.connection())
        with pytest.raises(Overloaded):
            await _list(core)


async def test_a_list_over_connections_that_died_in_the_pool_is_answered(core: Core, database_url: str) -> None:
    run_id = await core.enqueue()
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(core.database.connection())
    killer = await asyncpg.connect(database_url)
    others = "from pg_stat_activity where application_name = 'layeron-job' and datname = current_database()"
    await killer.execute(f"select pg_terminate_backend(pid) {others}")
    await eventually(lambda: killer.fetchval(f"select count(*) = 0 {others}"))
    await killer.close()
    for _ in range(3):
        assert await _list(core) == [run_id]

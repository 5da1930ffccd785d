"""The schema: what migrations make, what tables.py says and the golden copy are one and the same."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Collection
from difflib import unified_diff

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from layeron_job_server.domain.errors import DatabaseAway
from layeron_job_server.domain.run import TERMINAL, AttemptStatus, RunStatus
from layeron_job_server.store import migrate
from layeron_job_server.store.database import sqlalchemy_url
from layeron_job_server.store.tables import metadata
from support.core import Core
from support.processes import free_port
from support.schema import GOLDEN, dump

_RENEW = "PYTHONPATH=tests .venv/bin/python -m support.schema"


def _differences(before: str, after: str, names: tuple[str, str]) -> str:
    lines = unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="", n=2)
    return "\n".join(lines)


async def test_migrations_make_the_golden_schema(database_url: str) -> None:
    differences = _differences(GOLDEN.read_text(), await dump(database_url), ("schema.sql", "the migrated database"))
    assert not differences, f"\n{differences}\n\nIf that is what you want: {_RENEW}"


async def test_tables_py_says_what_migrations_make(database_url: str, empty_database_url: str) -> None:
    engine = create_async_engine(sqlalchemy_url(empty_database_url))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        # Partitions come and go, so that the page of tables has none.
        await connection.exec_driver_sql("create table transitions_default partition of transitions default")
    await engine.dispose()
    said, made = await dump(empty_database_url), await dump(database_url)
    differences = _differences(said, made, ("tables.py", "the migrated database"))
    assert not differences, f"\n{differences}\n\nWrite a migration, or mend tables.py."


async def test_alembic_finds_nothing_to_migrate(database_url: str) -> None:
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, *_: name != "transitions_default"}
        )
        return list(compare_metadata(context, metadata))

    engine = create_async_engine(sqlalchemy_url(database_url))
    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_an_upgrade_of_what_is_up_to_date_changes_nothing(core: Core, database_url: str) -> None:
    run_id = await core.enqueue()
    before = await core.everything(run_id), await dump(database_url)
    revisions = await migrate.apply(database_url)
    assert revisions[0] == revisions[1] is not None
    assert (await core.everything(run_id), await dump(database_url)) == before
    assert await core.value("select count(*) from reconciler_turn") == 1


async def test_many_processes_may_upgrade_at_once_and_one_of_them_does(empty_database_url: str) -> None:
    code = f"from layeron_job_server.store.migrate import upgrade; print(upgrade({empty_database_url!r})[0])"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    said = [(await process.communicate())[0].decode().strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert said.count("None") == 1, said
    assert await dump(empty_database_url) == GOLDEN.read_text()


async def test_a_database_is_current_only_once_it_is_migrated(empty_database_url: str) -> None:
    assert not await migrate.is_current(empty_database_url)
    await migrate.apply(empty_database_url)
    assert await migrate.is_current(empty_database_url)


async def test_a_database_that_is_not_there_is_said_to_be_away() -> None:
    url = f"postgresql://nobody:nothing@127.0.0.1:{free_port()}/none"
    with pytest.raises(DatabaseAway):
        await migrate.apply(url)
    with pytest.raises(DatabaseAway):
        await migrate.is_current(url)


async def test_it_is_postgresql_18_that_all_this_is_tested_with(core: Core) -> None:
    assert await core.value("select current_setting('server_version_num')::int / 10000") == 18


@pytest.mark.parametrize(
    ("constraint", "statuses"),
    [
        ("open_runs_status_open", {status for status in RunStatus if not status.is_terminal}),
        ("ended_runs_status_terminal", TERMINAL),
        ("attempts_status_ended", set(AttemptStatus) - {AttemptStatus.RUNNING}),
    ],
)
async def test_a_table_takes_exactly_the_statuses_that_the_domain_knows(
    database_url: str, constraint: str, statuses: Collection[str]
) -> None:
    connection = await asyncpg.connect(database_url)
    said = await connection.fetchval(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = $1", constraint
    )
    await connection.close()
    assert set(re.findall(r"'(\w+)'", said)) == set(statuses)

"""A real PostgreSQL and a real nats-server for the whole run (one pair for each pytest-xdist worker), and for each test
a migrated database and names in NATS of its own. Nothing of one test is visible to another."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import nats
import pytest

from layeron_job_server.embedded import Nats, Postgres
from support import open_folder
from support.database import wipe_database

# Servers of tests have no HTTP port unless a test asks for one: many of them run at the same time.
os.environ["LAYERON_JOB_HTTP_ADDRESS"] = ""

# What a crash of the machine would lose is of no use to a test. Nothing else differs from production.
POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """The data folder of the shared servers."""
    with open_folder() as folder:
        yield folder / "data"


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[Postgres]:
    """The shared PostgreSQL. Tests want `database_url`."""
    server = asyncio.run(Postgres.start(servers_folder, settings=POSTGRES_SETTINGS))
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def shared_nats(servers_folder: Path) -> Iterator[Nats]:
    """The shared nats-server. Tests want `nats_url`."""
    server = asyncio.run(Nats.start(servers_folder))
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def migrated_database_url(postgres: Postgres) -> str:
    """`postgresql://…` of the database that tests have one after the other. They want `database_url`."""
    from layeron_job_server.store.migrate import upgrade

    asyncio.run(_execute(postgres.url, "create database migrated"))
    url = _with_database(postgres.url, "migrated")
    upgrade(url)
    return url


@pytest.fixture
async def database_url(migrated_database_url: str) -> str:
    """`postgresql://…` of a migrated database with nothing in it, this test's own for as long as it runs."""
    await wipe_database(migrated_database_url)
    return migrated_database_url


@pytest.fixture
async def empty_database_url(postgres: Postgres) -> AsyncIterator[str]:
    """`postgresql://…` of a database without any table, this test's own."""
    name = f"test_{secrets.token_hex(6)}"
    await _execute(postgres.url, f"create database {name}")
    yield _with_database(postgres.url, name)
    await _execute(postgres.url, f"drop database {name} with (force)")


@pytest.fixture
def nats_url(shared_nats: Nats) -> str:
    """The shared nats-server: use names that begin with `stream_prefix` only, and never stop it."""
    return shared_nats.url


@pytest.fixture
async def stream_prefix(nats_url: str) -> AsyncIterator[str]:
    """This test's own value of the `nats_prefix` setting; streams whose names begin with it are deleted afterwards."""
    prefix = f"t{secrets.token_hex(6)}"
    yield prefix
    client = await nats.connect(nats_url)
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            name = stream.config.name or ""
            if name.lower().startswith(prefix):
                await jetstream.delete_stream(name)
    finally:
        await client.close()


@pytest.fixture
async def nats_server() -> AsyncIterator[Nats]:
    """A nats-server of this test's own, which it may kill, stop and restart."""
    with open_folder() as folder:
        async with await Nats.start(folder / "data") as server:
            yield server


@pytest.fixture
async def postgres_server() -> AsyncIterator[Postgres]:
    """A PostgreSQL of this test's own, not migrated, which it may kill, stop and restart."""
    with open_folder() as folder:
        async with await Postgres.start(folder / "data", settings=POSTGRES_SETTINGS) as server:
            yield server


def _with_database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()

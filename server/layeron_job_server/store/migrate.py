"""Brings a database to this version's schema. Safe to call from many processes at once: one of them does it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from layeron_job_server.domain.errors import DatabaseAway

from .database import CONNECTION_ERRORS, sqlalchemy_url

_LOCK = 0x6C617965726F6E  # any number, the same in all versions


def upgrade(url: str) -> tuple[str | None, str | None]:
    """Apply what is missing to the database at `postgresql://…`; answer its revision before and after.

    Raises DatabaseAway.
    """
    return asyncio.run(apply(url))


async def apply(url: str) -> tuple[str | None, str | None]:
    """`upgrade`, for a running event loop."""
    engine = create_async_engine(sqlalchemy_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(_apply)
    except CONNECTION_ERRORS as error:
        raise DatabaseAway from error
    finally:
        await engine.dispose()


async def is_current(url: str) -> bool:
    """Whether the database has this version's schema. Raises DatabaseAway."""
    engine = create_async_engine(sqlalchemy_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_revision) == ScriptDirectory.from_config(_config()).get_current_head()
    except CONNECTION_ERRORS as error:
        raise DatabaseAway from error
    finally:
        await engine.dispose()


def _apply(connection: Connection) -> tuple[str | None, str | None]:
    config = _config()
    config.attributes["connection"] = connection
    before = _revision(connection)
    command.upgrade(config, "head")
    return before, _revision(connection)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()

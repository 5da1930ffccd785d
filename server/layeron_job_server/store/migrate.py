"""Brings a database to this version's schema. Safe to call from many processes at once: one of them does it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from .database import sqlalchemy_url

_LOCK = 0x6C617965726F6E  # any number, the same in all versions


def upgrade(url: str) -> tuple[str | None, str | None]:
    """Apply what is missing to the database at `postgresql://…`; answer its revision before and after."""
    return asyncio.run(_upgrade(url))


async def _upgrade(url: str) -> tuple[str | None, str | None]:
    engine = create_async_engine(sqlalchemy_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(_apply)
    finally:
        await engine.dispose()


def _apply(connection: Connection) -> tuple[str | None, str | None]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    before = MigrationContext.configure(connection).get_current_revision()
    command.upgrade(config, "head")
    return before, MigrationContext.configure(connection).get_current_revision()

"""The connection pool, and transactions whose outcome is always known.

SQLAlchemy owns the pool. Hot statements are fixed SQL on the asyncpg connection beneath it; lists with many filters are
built with SQLAlchemy. JSON columns travel as the bytes they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from layeron_job_server.domain.errors import DatabaseAway

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

# The connection is gone or refused, or Postgres is starting, stopping or out of room: none of it the data's fault.
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
# Another transaction was in the way: the same one may well work now.
CONFLICT_ERRORS = (asyncpg.TransactionRollbackError,)
# This very data cannot be written: SQLSTATE classes 22 and 23.
DATA_ERRORS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_CONFLICT_TRIES = 8
_SETTLE_TRIES = 20
_SETTLE_WAIT_SECONDS = 0.25


def sqlalchemy_url(url: str) -> str:
    """The same database for SQLAlchemy's asyncpg dialect."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


class Database:
    """A pool of connections to one database. Close it when done."""

    def __init__(self, url: str, *, pool_size: int = 10, command_timeout_seconds: float = 30.0) -> None:
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=5,
            connect_args={
                "timeout": 5,
                "command_timeout": command_timeout_seconds,
                "server_settings": {"application_name": "layeron-job", "timezone": "UTC", "jit": "off"},
            },
        )
        event.listen(self.engine.sync_engine, "connect", _pass_json_through)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A live connection of the pool, outside of any transaction. Raises one of CONNECTION_ERRORS."""
        async with self.engine.connect() as pooled:
            raw = await pooled.get_raw_connection()
            driver = raw.driver_connection
            while driver is None or driver.is_closed():  # Postgres closed it while it lay in the pool
                await pooled.invalidate()
                raw = await pooled.get_raw_connection()
                driver = raw.driver_connection
            try:
                yield driver
            finally:
                if driver.is_closed():
                    await pooled.invalidate()

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` in one transaction and answer truthfully whether it was committed.

        Deadlocks and serialization failures are tried again. When the connection is lost in COMMIT, the transaction's
        own id tells what became of it. Raises DatabaseAway when the database cannot be reached; nothing is then known
        to be written. Other errors pass through, with nothing written. `work` may run more than once.
        """
        for attempt in range(_CONFLICT_TRIES):
            try:
                return await self._write_once(work)
            except CONFLICT_ERRORS:
                if attempt == _CONFLICT_TRIES - 1:
                    raise
            except CONNECTION_ERRORS as error:
                if attempt == _CONFLICT_TRIES - 1 or not isinstance(
                    error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError
                ):
                    raise DatabaseAway from error
            await asyncio.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    async def _write_once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        xid: str | None = None
        answer: T
        try:
            async with self.connection() as connection:
                transaction = connection.transaction()
                await transaction.start()
                try:
                    answer = await work(connection)
                    xid = await connection.fetchval("select pg_current_xact_id_if_assigned()::text")
                except BaseException:
                    if not connection.is_closed():
                        await transaction.rollback()
                    raise
                await transaction.commit()
                return answer
        except CONNECTION_ERRORS:
            if xid is None:  # COMMIT was never sent, or there was nothing to write
                raise
            if await self._was_committed(xid):
                return answer
            raise

    async def _was_committed(self, xid: str) -> bool:
        """What became of a transaction whose COMMIT was not answered. Raises DatabaseAway if it cannot be told."""
        for _ in range(_SETTLE_TRIES):
            try:
                async with self.connection() as connection:
                    status = await connection.fetchval("select pg_xact_status($1::text::xid8)", xid)
                if status != "in progress":
                    return bool(status == "committed")
            except CONNECTION_ERRORS:
                pass
            await asyncio.sleep(_SETTLE_WAIT_SECONDS)
        raise DatabaseAway

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` outside of a transaction, again if a connection had died. Raises DatabaseAway."""
        for attempt in (1, 2):
            try:
                async with self.connection() as connection:
                    return await work(connection)
            except CONNECTION_ERRORS as error:
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise DatabaseAway from error
        raise AssertionError("unreachable")


async def clock(connection: Connection) -> datetime:
    """The time at which the connection's transaction began: the only clock that judges due times and leases."""
    now: datetime = await connection.fetchval("select now()")
    return now


def _pass_json_through(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.run_async(
        lambda driver: driver.set_type_codec("json", encoder=bytes, decoder=bytes, schema="pg_catalog", format="binary")
    )

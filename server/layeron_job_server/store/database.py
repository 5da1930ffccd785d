"""The connection pool, and transactions whose outcome is always known.

SQLAlchemy owns the pool. Hot statements are fixed SQL on the asyncpg connection beneath it; lists with many filters are
built with SQLAlchemy. JSON columns travel as the bytes they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from layeron_job_server.domain.errors import DatabaseAway, Overloaded

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

_POOL_RETRY_AFTER = timedelta(seconds=1)
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
        self._under_way: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Let what is under way end, and close every connection."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self.engine.dispose()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A live connection of the pool, outside of any transaction. Raises one of CONNECTION_ERRORS, or Overloaded."""
        try:
            pooled = await self.engine.connect()
        except PoolTimeout as error:
            raise Overloaded(_POOL_RETRY_AFTER, "no database connection is free") from error
        try:
            driver = (await pooled.get_raw_connection()).driver_connection
            while driver is None or driver.is_closed():  # Postgres closed it while it lay in the pool
                await pooled.invalidate()
                driver = (await pooled.get_raw_connection()).driver_connection
            try:
                yield driver
            finally:
                if driver.is_closed():
                    await pooled.invalidate()
        finally:
            await pooled.close()

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, which goes on to its end when the caller is canceled.

        A statement that is canceled in the middle can leave its connection unusable, and others may wait for what it
        writes.
        """
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that an error nobody waits for any more is not logged as forgotten

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` in one transaction and answer truthfully whether it was committed.

        Deadlocks and serialization failures are tried again. When the connection is lost in COMMIT, the transaction's
        own id tells what became of it. Raises DatabaseAway when the database cannot be reached; nothing is then known
        to be written. Raises Overloaded when no connection becomes free. Other errors pass through, with nothing
        written. `work` may run more than once.
        """
        return await self.to_its_end(self._write(work))

    async def _write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
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
        """Do `work` outside of a transaction, again if a connection had died. Raises DatabaseAway, Overloaded."""
        return await self.to_its_end(self._read(work))

    async def _read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
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

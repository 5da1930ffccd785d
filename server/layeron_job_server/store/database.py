"""The connection pool, and transactions whose outcome is always known.

Statements are fixed SQL on asyncpg; lists with many filters are built with SQLAlchemy. JSON columns travel as the bytes
they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
from sqlalchemy.engine import make_url

from layeron_job_server.domain.errors import DatabaseAway, Overloaded

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
else:
    Connection = asyncpg.Connection
T = TypeVar("T")

# The connection is gone or refused, or Postgres is starting, stopping, out of room or a replica since a fail-over: none
# of it the data's fault.
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)
# The connection had died, or led to a server that is no primary any more, which says nothing of the next one.
_LOST_CONNECTIONS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.ReadOnlySQLTransactionError,
)
# Another transaction was in the way: the same one may well work now.
CONFLICT_ERRORS = (asyncpg.TransactionRollbackError,)
# This very data cannot be written: SQLSTATE classes 22 and 23.
DATA_ERRORS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

# A plan that was kept from when a table was empty reads all of it when it is full: each batch is planned anew.
_SESSION: Final = {
    "application_name": "layeron-job",
    "timezone": "UTC",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
}
_CONNECT_SECONDS: Final = 4.0
_POOL_SECONDS: Final = 5.0
_POOL_RETRY_AFTER: Final = timedelta(seconds=1)
_CONFLICT_TRIES = 8
_READ_TRIES: Final = 2
_SETTLE_TRIES: Final = 20
_SETTLE_WAIT_SECONDS = 0.25

# A transaction is known again by its number, as long as Postgres has not crashed: what was not yet on disk is then gone
# with its number, and another may be given the same. A crash shows in the start of the postmaster or, where that
# lived on, in counters that begin anew, and a fail-over in the timeline.
_MARK = """
select pg_current_xact_id_if_assigned()::text as xid, now() as began_at,
  left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as timeline
"""
_FATE = """
select greatest(pg_postmaster_start_time(), (select stats_reset from pg_stat_wal)) > $2
    or left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) <> $3 as crashed,
  pg_xact_status($1::text::xid8) as status
"""


def sqlalchemy_url(url: str) -> str:
    """The same database for SQLAlchemy's asyncpg dialect, which the migrations use."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


class Database:
    """A pool of connections to one database. Close it when done."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        command_timeout_seconds: float = 30.0,
        pool_timeout_seconds: float = _POOL_SECONDS,
    ) -> None:
        self._url = url
        self._pool_size = pool_size
        self._command_timeout = command_timeout_seconds
        self._pool_timeout = pool_timeout_seconds
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def connections(self) -> tuple[int, int, int]:
        """How many connections are in use, how many are idle, and how many there may be."""
        if self._pool is None:
            return 0, 0, self._pool_size
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle, self._pool_size

    async def close(self) -> None:
        """Let what is under way end, and close every connection."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._pool is not None:
            await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool, outside of any transaction. Raises one of CONNECTION_ERRORS, or Overloaded."""
        pool = await self._opened()
        try:
            connection = await pool.acquire(timeout=self._pool_timeout)
        except TimeoutError as error:
            if pool.get_idle_size() == 0 and pool.get_size() == self._pool_size:
                raise Overloaded(_POOL_RETRY_AFTER, "no database connection is free") from error
            raise
        try:
            yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            connection.terminate()  # so that the next one finds the new primary
            raise
        except TimeoutError:
            # It may have died without a word, and those that are idle with it: asking them would take as long again.
            await pool.expire_connections()
            connection.terminate()
            raise
        except asyncpg.InternalClientError as error:
            # Its last words were read, its end was not: Postgres has closed it.
            connection.terminate()
            raise asyncpg.InterfaceError(str(error)) from error
        except asyncpg.InterfaceError as error:
            if connection.is_closed():
                raise
            # Postgres was never asked: an argument does not fit its statement, now or later.
            raise asyncpg.DataError(str(error)) from error
        finally:
            await pool.release(connection)

    async def _opened(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._pool is None:
            self._pool = asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._pool_size,
                timeout=_CONNECT_SECONDS,
                command_timeout=self._command_timeout,
                server_settings=_SESSION,
                init=_pass_json_through,
                reset=_leave,
            )
            await self._pool  # of a pool that begins empty this waits for nothing
        return self._pool

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, which goes on to its end when the caller is canceled.

        A statement that is canceled in the middle costs its connection, and others may wait for what it writes.
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
        return await self.to_its_end(self._again(lambda: self._write_once(work), _CONFLICT_TRIES))

    async def repeat(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work`, each of whose statements commits by itself; raises like `write`.

        When a connection is lost it is done again, so doing it twice must be as good as doing it once.
        """
        return await self.to_its_end(self._again(lambda: self._once(work), _CONFLICT_TRIES))

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` outside of a transaction, again if a connection had died. Raises DatabaseAway, Overloaded."""
        return await self.to_its_end(self._again(lambda: self._once(work), _READ_TRIES))

    async def snapshot(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """`read`, with all of it as of one moment."""

        async def at_once(connection: Connection) -> T:
            async with transaction(connection, isolation="repeatable_read", readonly=True):
                return await work(connection)

        return await self.read(at_once)

    async def _again(self, once: Callable[[], Awaitable[T]], tries: int) -> T:
        for number in range(1, tries):
            try:
                return await once()
            except CONFLICT_ERRORS:
                pass
            except CONNECTION_ERRORS as error:
                if not isinstance(error, _LOST_CONNECTIONS):
                    raise DatabaseAway from error
            await asyncio.sleep(0.005 * 2**number)
        try:
            return await once()
        except CONNECTION_ERRORS as error:
            raise DatabaseAway from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self.connection() as connection:
            return await work(connection)

    async def _write_once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        mark: asyncpg.Record | None = None
        answer: T
        try:
            async with self.connection() as connection:
                async with transaction(connection):
                    answer = await work(connection)
                    mark = await connection.fetchrow(_MARK)
                return answer
        except CONNECTION_ERRORS:
            if mark is None or mark["xid"] is None:  # COMMIT was never sent, or there was nothing to write
                raise
            if await self._was_committed(mark):
                return answer
            raise

    async def _was_committed(self, mark: asyncpg.Record) -> bool:
        """What became of a transaction whose COMMIT was not answered. Raises DatabaseAway if it cannot be told."""
        for _ in range(_SETTLE_TRIES):
            try:
                async with self.connection() as connection:
                    fate = await connection.fetch(_FATE, *mark, timeout=_CONNECT_SECONDS)
                if fate[0]["crashed"]:
                    break
                if fate[0]["status"] != "in progress":
                    return bool(fate[0]["status"] == "committed")
            except (*CONNECTION_ERRORS, Overloaded):
                pass
            await asyncio.sleep(_SETTLE_WAIT_SECONDS)
        raise DatabaseAway


@asynccontextmanager
async def transaction(connection: Connection, **options: Any) -> AsyncIterator[None]:
    """A transaction, or a savepoint in one.

    Commits at the end, or rolls back; but not after a timeout: a connection that died without a word would let the
    rollback wait for as long again. The connection is then closed, and PostgreSQL rolls back by itself.
    """
    begun = connection.transaction(**options)
    await begun.start()
    try:
        yield
    except TimeoutError:
        raise
    except BaseException:
        if not connection.is_closed():
            await begun.rollback()
        raise
    await begun.commit()


async def clock(connection: Connection) -> datetime:
    """The time at which the connection's transaction began: the only clock that judges due times and leases."""
    now: datetime = await connection.fetchval("select now()")
    return now


async def _pass_json_through(connection: Connection) -> None:
    await connection.set_type_codec("json", encoder=bytes, decoder=bytes, schema="pg_catalog", format="binary")


async def _leave(_connection: Connection) -> None:
    """Nothing is to be reset: settings are changed for transactions only, and every transaction is ended."""

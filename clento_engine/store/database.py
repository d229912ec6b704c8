"""Connections to PostgreSQL: how they are made, and what each is set to."""

import asyncio
import logging
import select
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.errors import (
    DeadlockDetected,
    DiskFull,
    InsufficientPrivilege,
    LockNotAvailable,
    QueryCanceled,
    SerializationFailure,
)
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from tenacity import (
    AsyncRetrying,
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)
from tenacity.wait import WaitBaseT

from clento_engine.store.address import application_name, connection_string
from clento_engine.store.connection import (
    COMMIT_TIMEOUT,
    PinnedConnection,
    PinnedSync,
    snapshot,
)
from clento_engine.store.errors import (
    DatabaseUnavailable,
    ServerTooOld,
    UnsafeStorage,
)
from clento_engine.store.pins import pins
from clento_engine.store.pooler import Pooler
from clento_engine.store.schema import SCHEMA, search_path

OLDEST_SERVER = 15  # the oldest we test on: Debian 12's
STATEMENT_TIMEOUT = timedelta(seconds=60)
LOCK_TIMEOUT = timedelta(seconds=10)
IDLE_TIMEOUT = timedelta(seconds=60)  # we ask nobody anything inside a transaction
PATIENCE = timedelta(seconds=30)  # a restart or a failover is over by then, or needs a person
GROWING = wait_random_exponential(multiplier=0.2, max=5)
IDLE_S = 2.0  # a connection lent again within this is not asked whether it lives
PREPARE_AFTER = 1  # uses of a statement before the server keeps its plan

OF_SCHEMA = "db"  # added to it by commands about the schema: they are no ticker

# What waiting does not change, by libpq's words: it gives a failed connection no error code.
_LASTING = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied for database",
    "is not permitted to log in",
    "unsupported startup parameter",  # by a pooler: the URL's `options`
    "certificate",
    "SSL was required",
)

# What PostgreSQL undoes to resolve a conflict of locks: run again, it goes through.
Undone = (DeadlockDetected, SerializationFailure)

# What whoever asked can do something about: try again, or ask for the right to.
Busy = (LockNotAvailable, QueryCanceled)
Denied = InsufficientPrivilege
Full = DiskFull
Lost = psycopg.OperationalError

# What the other rooms call a connection: they hand it on and never use it themselves.
Conn = AsyncConnection[Any]

log = logging.getLogger(__name__)


def session_settings(
    *, schema: str = SCHEMA, statement_timeout: timedelta = STATEMENT_TIMEOUT
) -> Mapping[str, str]:
    """Return what every transaction is set to.  `timedelta(0)` is no limit.

    By statements, not by the start-up packet's `options`, which poolers and proxies refuse.
    """
    return {
        "search_path": search_path(schema),
        "TimeZone": "UTC",
        # psycopg reads moments and durations in these forms alone, and JSON holds the second.
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        # The same few statements all day, whose best plan does not hang on what is asked for:
        # planned once, they save a third of what a claim costs the server.
        "plan_cache_mode": "force_generic_plan",
        # Nor do they ask for the same lead twice: remembering each answer is a tenth of a claim.
        "enable_memoize": "off",
        # And each wants a few rows of a table, by an index that it has.  Planned while the table
        # was small they read the whole of it, and of those that they join it to, for each batch.
        "enable_seqscan": "off",
        "statement_timeout": _ms(statement_timeout),
        "lock_timeout": _ms(LOCK_TIMEOUT),
        "idle_in_transaction_session_timeout": _ms(IDLE_TIMEOUT),
        "idle_session_timeout": "0",  # the pool ends what it does not need
        "transaction_timeout": "0",  # each statement has a limit, and waits for nobody outside
        # What a statement's text and its values mean.
        "standard_conforming_strings": "on",
        "backslash_quote": "safe_encoding",
        "transform_null_equals": "off",
        "array_nulls": "on",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "quote_all_identifiers": "off",
        "row_security": "on",
        # Where a migration makes tables, and a statement its files.
        "default_table_access_method": "heap",
        "default_tablespace": "",
        "temp_tablespaces": "",
        # A commit that gave its standby up says so in a warning, which must reach us.
        "client_min_messages": "warning",
    }


class Database:
    """The pool of connections of one process.

    Every connection is in autocommit: what belongs together is inside `transaction()`, and a
    statement outside one is a transaction of its own.  Every wait for the server is bounded: by
    `statement_timeout` and a few seconds or, for a commit, which that does not cover, by
    `commit_timeout`.  What was not answered then is Lost, its outcome unknown.
    Open it inside the event loop that uses it, with `async with` or `open()` and `close()`.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = SCHEMA,
        pooler: Pooler | None = None,
        max_connections: int = 10,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
        commit_timeout: timedelta = COMMIT_TIMEOUT,
        patience: timedelta = PATIENCE,
        wait: WaitBaseT = GROWING,
    ) -> None:
        """Raise BadDatabaseUrl when `url` cannot be read; connect to nothing yet.

        `pooler`: what stands before the server; None where it is to be found out.
        """
        self._conninfo = connection_string(url)
        settings = session_settings(schema=schema, statement_timeout=statement_timeout)
        self._pins = pins(settings, self._conninfo)
        self._pooler = pooler
        self._commit_timeout = commit_timeout
        self._patience = patience
        self._wait = wait
        self._lent_at = WeakKeyDictionary[AsyncConnection[TupleRow], float]()
        self.made = 0  # connections: another may be to another server of the URL
        self._pool = AsyncConnectionPool(
            self._conninfo,
            connection_class=PinnedConnection[TupleRow],
            kwargs={"autocommit": True, "prepare_threshold": PREPARE_AFTER},
            min_size=1,
            max_size=max_connections,
            timeout=patience.total_seconds(),
            configure=self._configure,
            check=self._check,
            open=False,
            name="clento",
        )

    async def open(self) -> None:
        """Connect, waiting for a server that is starting.

        Raises DatabaseUnavailable when it does not answer in time or refuses us, and
        ServerTooOld.
        """
        try:
            first = await self._first_connection()
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(_unreachable(error)) from error
        async with first:
            require_server(first.info.server_version)
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection; a second call does nothing."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection in autocommit: each statement is its own transaction.

        VACUUM, CREATE DATABASE and their like, which refuse one, need psycopg's plain cursor.

        Raises DatabaseUnavailable when none is free in time.
        """
        async with AsyncExitStack() as stack:
            try:
                conn = await stack.enter_async_context(self._pool.connection())
            except PoolTimeout as error:
                raise DatabaseUnavailable(
                    f"no connection in {self._patience.total_seconds():g} s: PostgreSQL does not "
                    f"answer, or all {self._pool.max_size} connections are busy"
                ) from error
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection inside one transaction: committed at the end, undone by an error."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection inside one transaction that reads one moment and writes nothing."""
        async with self.connection() as conn, snapshot(conn):
            yield conn

    async def _check(self, conn: PinnedConnection[TupleRow]) -> None:
        """Ask a connection for a sign of life where its death is possible.

        A server that ends says so on the socket; a host that vanished says nothing, so what lay
        idle for a while is asked as well.  One in steady use costs no round trip.
        """
        now = asyncio.get_running_loop().time()
        last = self._lent_at.get(conn)
        self._lent_at[conn] = now
        idle = last is None or now - last > IDLE_S
        if idle or select.select([conn.fileno()], [], [], 0)[0]:
            await conn.ping()

    async def _first_connection(self) -> PinnedConnection[TupleRow]:
        async for attempt in AsyncRetrying(**_patiently(self._patience, self._wait)):
            with attempt:
                return await PinnedConnection.connect(self._conninfo)
        raise AssertionError  # the last attempt raises its own error

    async def _configure(self, conn: PinnedConnection[TupleRow]) -> None:
        await conn.pin(self._pins, commit_timeout=self._commit_timeout, pooler=self._pooler)
        self.made += 1


def connect(
    url: str,
    *,
    schema: str = SCHEMA,
    pooler: Pooler | None = None,
    statement_timeout: timedelta = STATEMENT_TIMEOUT,
    patience: timedelta = PATIENCE,
    wait: WaitBaseT = GROWING,
) -> PinnedSync[TupleRow]:
    """Return one connection in autocommit, set as the pool's are, for work outside an event loop.

    Its name tells it from sessions that do what is due: see `migrate.upgrade`.
    A commit has the limit of any other statement: an operator sits in front of it, and that of a
    migration may wait for a large index to reach the disk.
    Raises what `Database.open` raises, and BadDatabaseUrl.
    """
    conninfo = make_conninfo(
        connection_string(url), application_name=f"{application_name(url)} {OF_SCHEMA}"
    )
    try:
        conn = Retrying(**_patiently(patience, wait))(_connect, conninfo)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(_unreachable(error)) from error
    try:
        require_server(conn.info.server_version)
        settings = session_settings(schema=schema, statement_timeout=statement_timeout)
        conn.pin(pins(settings, conninfo), pooler=pooler)
    except BaseException:
        conn.close()
        raise
    return conn


def require_server(version: int) -> None:
    """Raise ServerTooOld when a server of libpq's `version` number (150004) is too old."""
    if version // 10_000 < OLDEST_SERVER:
        raise ServerTooOld(version // 10_000, OLDEST_SERVER)


async def server_time(conn: AsyncConnection[Any]) -> datetime:
    """Return what time it is by the server's clock, aware UTC."""
    cursor = await conn.execute("select clock_timestamp()")
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101  a select without from has one row
    told: datetime = row[0]
    return told


async def unsafe_settings(conn: AsyncConnection[Any]) -> list[str]:
    """Return which settings are off that keep a commit through a crash of the server's host.

    With `fsync` off it may be lost; with `full_page_writes` off its page may be torn.  Of the whole
    server: no session can set them.
    """
    cursor = await conn.execute(
        "select name from unnest(array['fsync', 'full_page_writes']) as of_storage (name)"
        " where not current_setting(name)::boolean order by name"
    )
    return [name for (name,) in await cursor.fetchall()]


async def require_storage(
    conn: AsyncConnection[Any], *, is_trusted: bool, is_simulated: bool
) -> None:
    """Raise UnsafeStorage where what was answered as done may be lost, and people would know.

    `is_trusted`: the operator vouches for what lies beneath the server; `is_simulated`: nobody real
    is contacted from this database.
    """
    if is_trusted or is_simulated:
        return
    if settings := await unsafe_settings(conn):
        raise UnsafeStorage(settings)


def _connect(conninfo: str) -> PinnedSync[TupleRow]:
    return PinnedSync.connect(conninfo, autocommit=True)


def _patiently(patience: timedelta, wait: WaitBaseT) -> dict[str, Any]:
    """Return how tenacity is to try connecting."""
    return {
        "stop": stop_after_delay(patience.total_seconds()),
        "wait": wait,
        "retry": retry_if_exception(_is_passing),
        "before_sleep": before_sleep_log(log, logging.WARNING),
        "reraise": True,
    }


def _is_passing(error: BaseException) -> bool:
    """Tell whether waiting may help: the server is down, starting, full, or a standby."""
    return isinstance(error, psycopg.OperationalError) and not any(
        lasting in str(error) for lasting in _LASTING
    )


def _unreachable(error: psycopg.OperationalError) -> str:
    """Return why no connection came about, in one line: libpq writes one for each host."""
    return f"PostgreSQL cannot be reached: {'; '.join(str(error).strip().splitlines())}"


def _ms(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))

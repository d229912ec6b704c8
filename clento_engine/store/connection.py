"""Connections on which nothing is relied upon that a session may lose, and no wait is endless.

What a session was set to is not ours to keep: a role or a database has defaults of its own, and a
pooler in transaction mode hands one client's session to the next.  So each transaction begins with
all of our settings, for itself alone, and nothing runs outside a transaction.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg import (
    AsyncConnection,
    AsyncCopy,
    AsyncCursor,
    AsyncTransaction,
    BaseConnection,
    Connection,
    Cursor,
    IsolationLevel,
    Transaction,
)
from psycopg.abc import Params, PQGen, Query
from psycopg.copy import AsyncWriter
from psycopg.errors import (
    Diagnostic,
    FeatureNotSupported,
    IdleInTransactionSessionTimeout,
    PipelineAborted,
    ReadOnlySqlTransaction,
    TransactionTimeout,
)
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, RowFactory, tuple_row

from clento_engine.store.pins import Pins
from clento_engine.store.pooler import Pooler, keeps_session

T = TypeVar("T")

COMMIT_TIMEOUT = timedelta(seconds=30)  # a disk answers sooner, a dead standby never
GRACE = timedelta(seconds=5)  # for the server to end what passed its limit, and to say so

# The server's function that waits for standbys: from nowhere else does it warn during a commit.
# Source: SyncRepWaitForLSN in src/backend/replication/syncrep.c, the same from 9.1 to 18.
_WAITS_FOR_STANDBY = "SyncRepWaitForLSN"

# And the one by which a standby refuses a transaction that may write: a setting's own check.
# Source: call_bool_check_hook in src/backend/utils/misc/guc.c, the same from 9.1 to 18.
_REFUSES_TO_WRITE = "call_bool_check_hook"


class Unanswered(psycopg.OperationalError):
    """The server did not answer in time: what it did of what was asked, nobody knows."""


class Unreplicated(psycopg.OperationalError):
    """A commit no longer waits for its standby: a failover may lose what it wrote."""


class Unwritable(psycopg.OperationalError):
    """The server takes no writes: a standby, as one becomes or is met by a failover."""


class Ended(psycopg.OperationalError):
    """The server ended a transaction that lasted longer than it allows."""


class PinnedConnection(AsyncConnection[Row]):
    """A connection in autocommit whose every statement runs in a transaction with our settings.

    Such a transaction is read committed and may write, whatever the server's defaults are.  A wait
    for the server that lasts too long closes the connection and raises Unanswered.
    """

    def __init__(self, pgconn: PGconn, *row_factory: AsyncRowFactory[Row]) -> None:
        super().__init__(pgconn, *row_factory)
        self.cursor_factory = PinnedCursor
        self.is_inside = False  # a transaction
        self.keeps_session = True  # from one transaction to the next
        self._pins: Pins | None = None
        self.limit_s: float | None = None  # of the next wait
        self._commit_limit_s = COMMIT_TIMEOUT.total_seconds()
        self._standby = _Standby()
        self.add_notice_handler(self._standby.hear)

    async def pin(
        self,
        settings: Pins,
        *,
        commit_timeout: timedelta = COMMIT_TIMEOUT,
        pooler: Pooler | None = None,
    ) -> None:
        """Begin every transaction from now on with `settings`, and bound every wait.

        A session of our own is set alike: then a transaction changes nothing of which the server
        would have to tell us, and what cannot run inside one has the same settings.  One that a
        pooler lends is let alone, and nothing is prepared in it: see `pooler`.
        """
        await self.set_isolation_level(IsolationLevel.READ_COMMITTED)
        await self.set_read_only(value=False)
        self.limit_s = COMMIT_TIMEOUT.total_seconds()
        plain = AsyncCursor(self, row_factory=tuple_row)
        await plain.execute(settings.first, prepare=False)
        while plain.nextset():
            pass
        pid, allowed_s = await plain.fetchone() or (0, 0.0)
        self.keeps_session = keeps_session(pooler, pid, self.pgconn.backend_pid)
        if self.keeps_session:
            await plain.execute(settings.session, prepare=False)
        elif pooler is not Pooler.PREPARED:
            self.prepare_threshold = None
        self.limit_s = _limit_s(allowed_s)
        self._commit_limit_s = commit_timeout.total_seconds()
        self._pins = settings

    async def ping(self) -> None:
        """Ask for a sign of life.  Raises OperationalError when there is none."""
        with self._limited(COMMIT_TIMEOUT.total_seconds()):
            await AsyncCursor(self).execute("")

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        """Open a transaction with our settings; inside one, a savepoint.

        The settings fly with BEGIN; inside a pipeline, both fly with the first statement.
        """
        if self.is_inside:
            async with super().transaction(savepoint_name, force_rollback) as inner:
                yield inner
            return
        outer = AsyncTransaction(self, savepoint_name, force_rollback)
        if self._pipeline is None:
            async with self._inside(), AsyncExitStack() as ending:
                async with self.pipeline():
                    await self._begin(outer, ending, self._commit_limit_s)
                yield outer
        else:
            # As psycopg does it, but for the order: were the inner pipeline entered after BEGIN,
            # that would take a flight of its own.
            async with self._inside(), self.pipeline() as flights, AsyncExitStack() as ending:
                gathering = self.pipeline()
                await gathering.__aenter__()
                reads_wrong = self._reads_wrong()
                try:
                    await self._begin(outer, ending, self._commit_limit_s)
                finally:
                    ending.push_async_exit(gathering)
                if reads_wrong:
                    await flights.sync()
                yield outer

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run one statement in a transaction of its own: from BEGIN to COMMIT in one flight."""
        # A statement may be allowed to last for ever, its commit never: they are waited for apart.
        if self._pipeline is not None or self.limit_s is None or self._reads_wrong():
            async with self.transaction():
                yield
            return
        try:
            async with self._inside(), self.pipeline(), AsyncExitStack() as ending:
                await self._begin(AsyncTransaction(self), ending, self.limit_s)
                yield
        except BaseException:
            if not self.closed:
                await self.rollback()  # a statement that failed has the server pass COMMIT over
            raise

    async def wait(self, gen: PQGen[T], *args: Any, **named: Any) -> T:  # noqa: ANN401 - psycopg's own
        """Wait as psycopg does, but not for ever, nor for a commit that gave its standby up."""
        self._standby.is_given_up = False
        if self.limit_s is not None:
            gen = _bounded(gen, self.pgconn, self.limit_s)
        try:
            answer = await super().wait(gen, *args, **named)
        except psycopg.Error as error:
            # Where a flight's answers come in two pieces, psycopg's end of a pipeline raises what
            # the second says, "aborted", over the error that the first told.
            context = error.__context__ if isinstance(error, PipelineAborted) else None
            cause = context if isinstance(context, psycopg.Error) else error
            _require_expected(self, cause)
            if cause is not error:
                raise cause from None
            raise
        self._standby.require(self.pgconn)
        return answer

    def _reads_wrong(self) -> bool:
        """Say whether psycopg would read moments and durations in a form that we are about to end.

        It goes by the last that it heard of the session, and hears no more than once a flight.
        """
        status = self.pgconn.parameter_status
        return not (
            (status(b"DateStyle") or b"ISO").startswith(b"ISO")
            and status(b"IntervalStyle") in (None, b"postgres")
        )

    async def _begin(
        self, transaction: AsyncTransaction, ending: AsyncExitStack, commit_limit_s: float
    ) -> None:
        """Ask for BEGIN and our settings; have `ending` end the transaction."""

        async def end(
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> bool:
            self.limit_s = commit_limit_s
            return await transaction.__aexit__(kind, error, traceback)

        await transaction.__aenter__()
        ending.push_async_exit(end)
        if self._pins is not None:
            await self.execute(self._pins.transaction, prepare=True)

    @asynccontextmanager
    async def _inside(self) -> AsyncIterator[None]:
        with self._limited(self.limit_s):
            self.is_inside = True
            try:
                yield
            finally:
                self.is_inside = False

    @contextmanager
    def _limited(self, limit_s: float | None) -> Iterator[None]:
        before, self.limit_s = self.limit_s, limit_s
        try:
            yield
        finally:
            self.limit_s = before


class PinnedCursor(AsyncCursor[Row]):
    """Runs what is asked for outside a transaction in one of its own."""

    @asynccontextmanager
    async def _inside(self) -> AsyncIterator[None]:
        conn = self.connection
        if isinstance(conn, PinnedConnection) and not conn.is_inside:
            async with conn.transaction():
                yield
        else:
            yield

    async def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Execute one statement."""
        execute: Callable[..., Awaitable[Self]] = super().execute
        conn = self.connection
        if not isinstance(conn, PinnedConnection) or conn.is_inside:
            await execute(query, params, prepare=prepare, binary=binary)
        else:
            async with conn.alone():
                await execute(query, params, prepare=prepare, binary=binary)
        return self

    async def executemany(
        self, query: Query, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        """Execute one statement with each of several sets of parameters."""
        async with self._inside():
            await super().executemany(query, params_seq, returning=returning)

    async def stream(
        self,
        query: Query,
        params: Params | None = None,
        *,
        binary: bool | None = None,
        size: int = 1,
    ) -> AsyncIterator[Row]:
        """Yield a statement's rows as they come."""
        async with self._inside():
            async for row in super().stream(query, params, binary=binary, size=size):
                yield row

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AsyncIterator[AsyncCopy]:
        """Open a COPY."""
        async with self._inside(), super().copy(statement, params, writer=writer) as copy:
            yield copy


class PinnedSync(Connection[Row]):
    """The same for work outside an event loop, but that a commit has no limit of its own."""

    def __init__(self, pgconn: PGconn, *row_factory: RowFactory[Row]) -> None:
        super().__init__(pgconn, *row_factory)
        self.cursor_factory = PinnedSyncCursor
        self.pins: Pins | None = None
        self.keeps_session = True  # from one transaction to the next
        self.limit_s: float | None = None
        self._standby = _Standby()
        self.add_notice_handler(self._standby.hear)

    def pin(self, settings: Pins, *, pooler: Pooler | None = None) -> None:
        """Begin every `transaction()` from now on with `settings`, and bound every wait."""
        self.isolation_level = IsolationLevel.READ_COMMITTED
        self.read_only = False
        self.limit_s = COMMIT_TIMEOUT.total_seconds()
        plain = Cursor(self, row_factory=tuple_row)
        plain.execute(settings.first)
        while plain.nextset():
            pass
        pid, allowed_s = plain.fetchone() or (0, 0.0)
        self.keeps_session = keeps_session(pooler, pid, self.pgconn.backend_pid)
        if self.keeps_session:
            plain.execute(settings.session)
        elif pooler is not Pooler.PREPARED:
            self.prepare_threshold = None
        self.limit_s = _limit_s(allowed_s)
        self.pins = settings

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[Transaction]:
        """Open a transaction with our settings; inside one, a savepoint."""
        is_outermost = self.info.transaction_status is TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as opened:
            if is_outermost and self.pins is not None:
                self.execute(self.pins.transaction)
            yield opened

    def wait(self, gen: PQGen[T], *args: Any, **named: Any) -> T:  # noqa: ANN401 - psycopg's own
        """Wait as psycopg does, but not for ever, nor for a commit that gave its standby up."""
        self._standby.is_given_up = False
        if self.limit_s is not None:
            gen = _bounded(gen, self.pgconn, self.limit_s)
        try:
            answer = super().wait(gen, *args, **named)
        except psycopg.Error as error:
            _require_expected(self, error)
            raise
        self._standby.require(self.pgconn)
        return answer


class PinnedSyncCursor(Cursor[Row]):
    """Runs what is asked for outside a transaction in one of its own."""

    @contextmanager
    def _inside(self) -> Iterator[None]:
        if self.connection.info.transaction_status is TransactionStatus.IDLE:
            with self.connection.transaction():
                yield
        else:
            yield

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Execute one statement."""
        execute: Callable[..., Self] = super().execute
        with self._inside():
            return execute(query, params, prepare=prepare, binary=binary)

    def executemany(
        self, query: Query, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        """Execute one statement with each of several sets of parameters."""
        with self._inside():
            super().executemany(query, params_seq, returning=returning)


@asynccontextmanager
async def snapshot(conn: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Open a transaction that reads what was there at one moment, and writes nothing."""
    before = conn.isolation_level, conn.read_only
    await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await conn.set_read_only(value=True)
    try:
        async with conn.transaction():
            yield
    finally:
        if not conn.closed:
            await conn.set_isolation_level(before[0])
            await conn.set_read_only(before[1])


async def unlimit(conn: AsyncConnection[Any]) -> None:
    """Let the statements of the open transaction last as long as they take."""
    await conn.execute("set local statement_timeout = 0")
    if isinstance(conn, PinnedConnection):
        conn.limit_s = None  # until the commit


@dataclass(slots=True)
class _Standby:
    """Hears the server warn that a commit waits for its standby no longer.

    An operator who cancels such a wait has the commit answered as if all were well.
    """

    is_given_up: bool = False

    def hear(self, notice: Diagnostic) -> None:
        if notice.source_function == _WAITS_FOR_STANDBY:
            self.is_given_up = True

    def require(self, pgconn: PGconn) -> None:
        """Close the connection and raise Unreplicated if it is given up."""
        if self.is_given_up:
            pgconn.finish()
            raise Unreplicated("a commit's wait for its standby was cancelled")


def _require_expected(conn: BaseConnection[Any], error: psycopg.Error) -> None:
    """Raise Unwritable or Ended if that is what `error` says: no defect, as psycopg has them.

    What takes no writes is closed: a new connection may lead to the server that has taken over.
    """
    if isinstance(error, (IdleInTransactionSessionTimeout, TransactionTimeout)):
        raise Ended(str(error)) from error
    is_refused = isinstance(error, FeatureNotSupported) and (
        error.diag.source_function == _REFUSES_TO_WRITE
    )
    if is_refused or (isinstance(error, ReadOnlySqlTransaction) and not conn.read_only):
        conn.pgconn.finish()
        raise Unwritable("the server takes no writes: it is a standby") from error


def _limit_s(allowed_s: float) -> float | None:
    """Return how long we wait for a statement that the server gives so many seconds."""
    return allowed_s + GRACE.total_seconds() if allowed_s else None


def _bounded(gen: PQGen[T], pgconn: PGconn, limit_s: float) -> PQGen[T]:
    """Go on with an exchange for `limit_s` at most; what has come by then is read first.

    psycopg resumes an exchange ten times a second with nothing, while nothing comes.
    """
    try:
        wanted = next(gen)
        until = time.monotonic() + limit_s
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until:
                break
            wanted = gen.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value
    # Not psycopg's way, which asks the server to cancel: it would commit without its standby.
    pgconn.finish()
    with suppress(Exception):  # it would go on talking
        gen.close()
    raise Unanswered(f"the server did not answer in {limit_s:g} s")

"""A process that dies: at any exchange with PostgreSQL or over HTTP, leaving what a SIGKILL leaves.

Played within our own process, by proofs and simulations; nothing of the engine at work is here.

Every exchange is numbered as it comes, so that the places to die at are found by running, never
listed.  Between two exchanges a process changes nothing outside itself: to die after one of them
and to die before the next is the same death, seen from outside.  While several are under way it
is not, so both can be asked for.

Dying is not polite: sockets are shut at once, and every later exchange of the process fails, so
that its `except` and `finally` blocks, which do run here, can do nothing.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from psycopg import AsyncConnection, OperationalError, waiting
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import Row, TupleRow
from psycopg.waiting import Ready, Wait

import clento_engine
from clento_engine.store.connection import PinnedConnection
from clento_engine.store.database import Database

T = TypeVar("T")

PACKAGE = Path(clento_engine.__file__).parent
# whose frames say nothing about where in the engine a process stands
ROOMS_PASSED = (
    "provider/",
    "simulator/",
    "store/connection.py",
    "store/database.py",
    "store/mortal.py",
    "runtime/world.py",
    "interface/chaos/",
)


class Killed(BaseException):
    """The process is dead; nothing in the engine catches this, and nothing it tries works."""


@dataclass(frozen=True, slots=True)
class Death:
    """Where a process dies: at which exchange, and whether that one still has its effect."""

    exchange: int
    effect: bool = True

    def __str__(self) -> str:
        return f"{'after' if self.effect else 'before'} exchange {self.exchange}"


@dataclass(eq=False)
class Life:
    """What a process has done so far; `places` says where in the engine each exchange was.

    `unanswered`: the numbers of the requests that got no answer; `connections`: those it was lent.
    """

    death: Death | None = None
    places: list[str] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    dead: bool = False
    connections: "list[Mortal]" = field(default_factory=list)

    async def exchange(self, do: Callable[[], Awaitable[T]]) -> T:
        """Number an exchange and do it, unless it is the one to die at."""
        self.begin()
        self.places.append(self.place())
        number = len(self.places)
        try:
            return await do()
        finally:
            if self.death == Death(number):
                self.die()
            self.check()

    def begin(self) -> None:
        """Die, if it is before the next exchange that the process does."""
        if self.death == Death(len(self.places) + 1, effect=False):
            self.places.append(self.place())
            self.die()
        self.check()

    async def before(self, conn: "Mortal") -> None:
        """Begin an exchange with the server over a connection of this process."""
        del conn  # for those whom it matters to
        self.begin()

    async def statement(self, conn: "Mortal", do: Callable[[], Awaitable[T]]) -> T:
        """Do an exchange with the server over a connection of this process."""
        del conn  # for those whom it matters to
        return await self.exchange(do)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Return what a transaction runs inside."""
        return nullcontext()

    def place(self) -> str:
        """Return where in the engine the running task stands: module, line and function."""
        return _place()

    def check(self) -> None:
        """Raise Killed when the process is dead."""
        if self.dead:
            raise Killed

    def die(self) -> None:
        """End as SIGKILL ends a process: its sockets are closed, by the system, at once."""
        self.dead = True
        for conn in self.connections:
            if conn.closed:
                continue
            with socket.socket(fileno=os.dup(conn.fileno())) as lent:
                lent.shutdown(socket.SHUT_RDWR)

    async def bury(
        self,
        witness: AsyncConnection[Any],
        tasks: "Collection[asyncio.Task[Any]] | None" = None,
    ) -> None:
        """Throw away what is left, and wait until PostgreSQL has noticed too.

        `tasks`: those of the process; None: all but the one that runs.
        """
        left = asyncio.all_tasks() - {asyncio.current_task()} if tasks is None else tasks
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        connections, self.connections = self.connections, []
        for conn in connections:
            await ended(witness, conn)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Lend a connection of no process: it outlives them, and sees them end."""
    async with await AsyncConnection.connect(url, autocommit=True) as witness:
        yield witness


async def ended(witness: AsyncConnection[Any], conn: AsyncConnection[Any]) -> None:
    """Close a connection as if its end had vanished; return when the server's end is gone too."""
    try:
        pid = conn.info.backend_pid
    except OperationalError:  # it was ended before
        return
    conn.pgconn.finish()
    while True:
        cursor = await witness.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s", (pid,)
        )
        if await cursor.fetchone() is None:
            return


def _place() -> str:
    frame = sys._getframe(3)  # noqa: SLF001 - inspect.stack reads files
    while frame.f_back is not None:
        frame = frame.f_back
        room = _room(frame.f_code.co_filename)
        if room is not None:
            return f"{room}:{frame.f_lineno} {frame.f_code.co_name}"
    return "outside the engine"


@cache
def _room(filename: str) -> str | None:
    """Return the module of the engine that a file is, but for those that say nothing."""
    path = Path(filename)
    if not path.is_relative_to(PACKAGE):
        return None
    room = path.relative_to(PACKAGE).as_posix()
    return None if room.startswith(ROOMS_PASSED) else room


class Mortal(PinnedConnection[TupleRow]):
    """A connection whose every exchange with the server is one of its process's."""

    life: Life | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it is there, and outside any transaction."""
        return self.info.transaction_status is TransactionStatus.IDLE

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - psycopg's
        """Wait as psycopg does, if the process lives."""
        talk = super().wait
        if self.life is None:
            return await talk(gen, *args, **kwargs)
        await self.life.before(self)
        try:
            first = next(gen)
        except StopIteration as end:  # only put into, or taken from, what waits on our side
            value: T = end.value
            return value
        resumed = _resumed(gen, first)
        return await self.life.statement(self, lambda: talk(resumed, *args, **kwargs))

    @asynccontextmanager
    async def _inside(self) -> AsyncIterator[None]:
        turn = nullcontext() if self.life is None else self.life.turn()
        async with turn, super()._inside():
            yield


class _Blocking(AsyncConnection[Row]):
    """Waits without letting anybody else run: for whoever is alone, a quarter of the work."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109 - psycopg's own
        """Wait for the server."""
        return waiting.wait(gen, self.pgconn.socket, interval, timeout)


class Steady(Mortal, _Blocking[TupleRow]):
    """A connection whose exchanges are the same each time, however fast the server answers.

    In a pipeline psycopg reads, while it writes, whatever has come by then; here it reads when it
    needs to.  Every call of `wait` is one exchange, even if its answer has come with another's.
    `only_wrote`: whether the last one asked for no answer.
    """

    only_wrote = False

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - psycopg's
        """Wait as psycopg does, if the process lives."""
        talk = super(Mortal, self).wait
        if self.life is None:
            return await talk(gen, *args, **kwargs)
        await self.life.before(self)
        self.only_wrote = False
        return await self.life.statement(
            self, lambda: talk(self._written_first(gen), *args, **kwargs)
        )

    def _written_first(self, gen: PQGen[T]) -> PQGen[T]:
        """Write all there is to write before anything is read."""
        try:
            wanted = next(gen)
            while True:
                self.only_wrote = wanted is Wait.RW
                ready = Ready.W if self.only_wrote else (yield wanted)
                wanted = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value


def _resumed(gen: PQGen[T], first: Any) -> PQGen[T]:  # noqa: ANN401 - psycopg has many
    """Go on with a generator that has yielded once."""
    wanted = first
    while True:
        ready = yield wanted
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value


class MortalDatabase(Database):
    """The connections of one process, out of a stock that outlives it: to connect takes longest."""

    def __init__(
        self,
        url: str,
        life: Life,
        stock: list[Mortal],
        kind: type[Mortal] = Mortal,
        seed: int | None = None,
    ) -> None:
        """Lend `life` connections from `stock`, and more of `kind` where it is empty.

        `seed`: of what the server draws in a session.
        """
        super().__init__(url)
        self._kind = kind
        self._seed = seed
        self._life = life
        self._stock = stock

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection; one that broke, or is left inside a transaction, is not lent again."""
        life = self._life
        life.check()
        if not self._stock:
            async with life.turn():
                self._stock.append(await self._connected())
        conn = self._stock.pop()
        conn.life = life
        life.connections.append(conn)
        try:
            yield conn
        finally:
            if not life.dead:
                conn.life = None
                life.connections.remove(conn)
                if conn.is_idle:
                    self._stock.append(conn)
                else:
                    await conn.close()

    async def _connected(self) -> Mortal:
        conn = await self._kind.connect(self._conninfo, autocommit=True, prepare_threshold=1)
        await self._configure(conn)
        if self._seed is not None:
            await conn.execute("select setseed(%s)", ((self._seed % 9973) / 9973,))
        return conn

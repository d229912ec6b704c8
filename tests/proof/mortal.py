"""A process that dies: at any exchange with PostgreSQL or over HTTP, leaving what a SIGKILL leaves.

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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

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
    "runtime/world.py",
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


@dataclass(slots=True)
class Life:
    """What a process has done so far; `places` says where in the engine each exchange was.

    `unanswered`: the numbers of the requests that got no answer.
    """

    death: Death | None = None
    places: list[str] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    dead: bool = False
    connections: "list[Mortal]" = field(default_factory=list)

    async def exchange(self, do: Callable[[], Awaitable[T]]) -> T:
        """Number an exchange and do it, unless it is the one to die at."""
        self.begin()
        self.places.append(_place())
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
            self.places.append(_place())
            self.die()
        self.check()

    def check(self) -> None:
        """Raise Killed when the process is dead."""
        if self.dead:
            raise Killed

    def die(self) -> None:
        """End as SIGKILL ends a process: its sockets are closed, by the system, at once."""
        self.dead = True
        for conn in self.connections:
            with socket.socket(fileno=os.dup(conn.fileno())) as lent:
                lent.shutdown(socket.SHUT_RDWR)

    async def bury(self, witness: AsyncConnection[Any]) -> None:
        """Throw away what is left, and wait until PostgreSQL has noticed too."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        pids = [conn.info.backend_pid for conn in self.connections]
        for conn in self.connections:
            conn.pgconn.finish()
        while pids:
            cursor = await witness.execute(
                "select 1 from pg_stat_activity where pid = any(%s) limit 1", (pids,)
            )
            if await cursor.fetchone() is None:
                break


def _place() -> str:
    """Return where in the engine the running task stands: module, line and function."""
    frame = sys._getframe(2)
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

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        talk = super().wait
        if self.life is None:
            return await talk(gen, *args, **kwargs)
        self.life.begin()
        try:
            first = next(gen)
        except StopIteration as end:  # only put into, or taken from, what waits on our side
            value: T = end.value
            return value
        resumed = _resumed(gen, first)
        return await self.life.exchange(lambda: talk(resumed, *args, **kwargs))


def _resumed(gen: PQGen[T], first: Any) -> PQGen[T]:
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

    def __init__(self, url: str, life: Life, stock: list[Mortal]) -> None:
        super().__init__(url)
        self._life = life
        self._stock = stock

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        life = self._life
        life.check()
        conn = self._stock.pop() if self._stock else await self._connected()
        conn.life = life
        life.connections.append(conn)
        try:
            yield conn
        finally:
            if not life.dead:
                assert conn.info.transaction_status is TransactionStatus.IDLE
                conn.life = None
                life.connections.remove(conn)
                self._stock.append(conn)

    async def _connected(self) -> Mortal:
        conn = await Mortal.connect(self._conninfo, autocommit=True, prepare_threshold=1)
        await self._configure(conn)
        return conn


class Wire(httpx.AsyncBaseTransport):
    """A transport whose every request is an exchange of its process."""

    def __init__(self, inner: httpx.AsyncBaseTransport, life: Life) -> None:
        self._inner = inner
        self._life = life

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number = len(self._life.places) + 1
        try:
            return await self._life.exchange(lambda: self._inner.handle_async_request(request))
        except Exception:
            self._life.unanswered.append(number)
            raise

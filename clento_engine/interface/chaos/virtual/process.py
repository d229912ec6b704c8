"""A ticker's process within ours: killed, stalled and cut off at any exchange, its clock set wrong.

One transaction runs at a time, whole, and whose is next is drawn by the seed: so nobody waits for a
lock, and the order of everything is told by the seed alone.  What two transactions do to each other
half way is staged elsewhere, by tests of races.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

import httpx

from clento_engine.interface.chaos.proxy import DatabaseCut, ProviderCut
from clento_engine.interface.chaos.virtual.loop import VirtualLoop
from clento_engine.interface.chaos.wire import Wire
from clento_engine.provider.exchange import CONNECT_TIMEOUT, READ_TIMEOUT
from clento_engine.simulator.app import AnswerHeldBack
from clento_engine.store.connection import Unanswered
from clento_engine.store.database import Conn
from clento_engine.store.mortal import Life, Mortal, Steady, ended

T = TypeVar("T")

LATENCY_S = (0.05, 1.5)  # of an answer
STALLED = "ticker stalled past its lease"


class Moment(Enum):
    """Where a process is stopped."""

    COMMITTED = auto()  # after a transaction
    SENDING = auto()  # before a request is written
    LANDED = auto()  # after its effect, before its answer


class Turns:
    """Whose transaction is next; nobody's while a dead process's are being undone."""

    def __init__(self, chance: random.Random) -> None:
        """Draw by `chance`."""
        self._chance = chance
        self._waiting: list[asyncio.Future[None]] = []
        self._is_taken = False
        self._burials = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the context is open."""
        await self._take()
        try:
            yield
        finally:
            self._is_taken = False
            self._next()

    async def _take(self) -> None:
        if not self._is_taken and not self._burials:
            self._is_taken = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # it was given to somebody who is gone
                self._is_taken = False
                self._next()
            raise

    def _next(self) -> None:
        self._waiting = [each for each in self._waiting if not each.done()]
        if self._waiting and not self._is_taken and not self._burials:
            self._is_taken = True
            chosen = self._waiting.pop(self._chance.randrange(len(self._waiting)))
            chosen.set_result(None)

    def stand_still(self) -> None:
        """Give no turn until `go_on`."""
        self._burials += 1

    def go_on(self) -> None:
        """Give turns again."""
        self._burials -= 1
        self._next()


@dataclass(slots=True)
class Weather:
    """What is wrong between all processes and the provider."""

    refusing_until: float = 0.0


@dataclass(eq=False)
class Process(Life):
    """One process; what is armed happens at its next exchange of the kind.

    `cut`: how the next exchange with the database ends, `lost`: how the next request does; `stall`:
    for how long it stops, and at which moment; `jump_s`: how far its clock is off.
    """

    turns: Turns = field(kw_only=True)
    chance: random.Random = field(kw_only=True)
    witness: Conn = field(kw_only=True)
    weather: Weather = field(kw_only=True)
    counts: Counter[str] = field(kw_only=True)
    died: asyncio.Event = field(default_factory=asyncio.Event)
    cut: DatabaseCut | None = None
    lost: ProviderCut | None = None
    stall: tuple[float, Moment] | None = None
    wakes_at: float = 0.0
    jump_s: float = 0.0

    def die(self) -> None:
        """End, and let nobody touch what it left before it is undone."""
        self.turns.stand_still()
        super().die()
        self.died.set()

    def place(self) -> str:
        """Return nothing: where it stands is not asked for, and takes a twentieth of the time."""
        return ""

    async def awake(self) -> None:
        """Wait while the process is stopped."""
        loop = asyncio.get_running_loop()
        while (wait_s := self.wakes_at - loop.time()) > 0:  # noqa: ASYNC110 - it may be stopped anew
            await asyncio.sleep(wait_s)
        self.check()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Run a transaction alone."""
        await self.awake()
        async with self.turns.turn():
            yield
        self.stop(Moment.COMMITTED)
        await self.awake()

    async def before(self, conn: Mortal) -> None:
        """Begin an exchange with the server, unless the connection is cut now."""
        self.begin()
        if self.cut is DatabaseCut.ANYWHERE:
            await self._end(conn)

    async def statement(self, conn: Mortal, do: Callable[[], Awaitable[T]]) -> T:
        """Do an exchange with the server, whose answer is lost where the connection is cut."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)  # noqa: S101  nothing else plays
        try:
            answer = await self.exchange(do)
        finally:
            if not (isinstance(conn, Steady) and conn.only_wrote):
                await loop.quiet()  # everybody else has a turn
        if self.cut is (
            DatabaseCut.COMMIT_UNANSWERED if conn.is_idle else DatabaseCut.IN_TRANSACTION
        ):
            await self._end(conn)
        return answer

    async def _end(self, conn: Mortal) -> None:
        self.counts[self.cut or ""] += 1
        self.cut = None
        await ended(self.witness, conn)
        raise Unanswered("the connection was cut")

    def stop(self, at: Moment) -> None:
        """Stop, where that was armed for this moment."""
        if self.stall is not None and self.stall[1] is at:
            self.wakes_at = asyncio.get_running_loop().time() + self.stall[0]
            self.stall = None
            self.counts[STALLED] += 1


class SlowWire(Wire):
    """Requests that take their time, are refused, or whose answers are lost or late."""

    def __init__(self, inner: httpx.AsyncBaseTransport, process: Process) -> None:
        """Hand the requests of `process` on to `inner`."""
        super().__init__(inner, process)
        self._process = process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for its answer."""
        process, loop = self._process, asyncio.get_running_loop()
        began = loop.time()
        await process.awake()
        if loop.time() < process.weather.refusing_until:
            raise httpx.ConnectError("refused, on request")
        process.stop(Moment.SENDING)
        await process.awake()
        if loop.time() - began > CONNECT_TIMEOUT.total_seconds():
            raise httpx.ConnectTimeout("too late to write the request")  # as our transport does
        lost, process.lost = process.lost, None
        await self._travel()
        if lost is not None:
            process.counts[lost] += 1
        if lost in (ProviderCut.BEFORE, ProviderCut.INSIDE):
            raise httpx.ReadError("cut before the effect")
        try:
            answer = await super().handle_async_request(request)
        except AnswerHeldBack:
            await asyncio.sleep(READ_TIMEOUT.total_seconds())
            raise
        process.stop(Moment.LANDED)
        if lost is ProviderCut.LATE:
            await asyncio.sleep(READ_TIMEOUT.total_seconds())
            raise httpx.ReadTimeout("the answer came too late")
        await self._travel()
        await process.awake()
        if lost is not None:
            raise httpx.ReadError("cut after the effect")
        return answer

    async def _travel(self) -> None:
        await asyncio.sleep(self._process.chance.uniform(*LATENCY_S) / 2)

"""The tickers of a play: the real ticker's code, in processes that are born anew when they die."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

import httpx

from clento_engine.interface.api import create_app
from clento_engine.interface.chaos.provider_faults import SECRET
from clento_engine.interface.chaos.system import PASSING
from clento_engine.interface.chaos.virtual.case import drawn
from clento_engine.interface.chaos.virtual.loop import Tasks, of_process
from clento_engine.interface.chaos.virtual.process import Process, SlowWire, Turns, Weather
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import Clock, SteadyClock
from clento_engine.runtime.drive import SWEEPS_WAIT
from clento_engine.runtime.errors import ClockSkew
from clento_engine.runtime.heartbeat import Heartbeat
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.work import work
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.store.database import Conn
from clento_engine.store.mortal import Killed, Mortal, MortalDatabase, Steady

WORKSPACE = Workspace("http://simulator", is_simulated=True)
BUDGET = timedelta(minutes=10)
LONGEST_IDLE = timedelta(hours=24)
# How late a ticker comes to what is due: the first does most, the others what it left.
LATE_S = (14_400.0, 86_400.0)
# Now and then it comes at once, as most do: above all for what is doubtful, where the sooner it
# looks, the less there is to be seen.
PROMPT, PROMPT_DOUBTFUL, PROMPT_S = 0.25, 0.5, 60.0
BEATS = 0.15  # of the times that it comes
NEWS_WITHIN_S = 60.0  # after a webhook came
BORN_WITHIN_S = 900.0  # after the death of the one before
SKEW_S = 2.0  # of a clock that NTP keeps, at most
SLOTS = 20  # requests of one process at once
COUNT = len(LATE_S)
JUMPED = "clock jumped by two hours"
WAITED_S = 5.0  # for a receiver that does not answer


@dataclass(eq=False, slots=True)
class Outside:
    """What all processes share: database, provider, time, and whoever takes our notices."""

    url: str
    turns: Turns
    witness: Conn
    clock: Clock
    provider: httpx.AsyncBaseTransport
    notices: httpx.AsyncBaseTransport
    weather: Weather = field(default_factory=Weather)
    counts: Counter[str] = field(default_factory=Counter)
    stock: list[Mortal] = field(default_factory=list)
    operators: list[Mortal] = field(default_factory=list)  # their stock: sessions that draw

    def process(self, chance: random.Random) -> Process:
        """Begin a process."""
        return Process(
            turns=self.turns,
            chance=chance,
            witness=self.witness,
            weather=self.weather,
            counts=self.counts,
        )

    def world(self, process: Process, clock: Clock, seed: int | None = None) -> World:
        """Return what a process works on; `seed`: of what the server draws for it, if anything."""
        provider = UnipileClient(
            WORKSPACE.dsn, "storm", transport=SlowWire(self.provider, process), clock=clock
        )
        stock = self.stock if seed is None else self.operators
        database = MortalDatabase(self.url, process, stock, Steady, seed)
        return World(database, provider, clock, slots=SLOTS, overlapping=False, workspace=WORKSPACE)


@dataclass(eq=False)
class _Ticker:
    """A process at work."""

    process: Process
    world: World
    app: httpx.ASGITransport
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Tickers:
    """Those that work now; `defects`: how some ended that should not have."""

    def __init__(self, outside: Outside, seed: int, skew_s: float) -> None:
        """Begin none yet; their clocks differ by `skew_s` at most."""
        self.weather = outside.weather
        self.next_jump_s = 0.0  # of the clock of the next that is born
        self.defects: list[str] = []
        self.killed = 0
        self._outside = outside
        self._skew_s = skew_s
        self._chances = [drawn(seed, "ticker", number) for number in range(COUNT)]
        self._at: list[_Ticker | None] = [None] * COUNT

    def living(self) -> list[Process]:
        """Return the processes that live."""
        return [each.process for each in self._at if each is not None and not each.process.dead]

    def wake_all(self) -> None:
        """Have all of them look for work now."""
        for each in self._at:
            if each is not None:
                each.news.set()

    def calm(self) -> None:
        """Let nothing happen any more that was to."""
        self.weather.refusing_until = self.next_jump_s = 0.0
        for process in self.living():
            process.death = process.cut = process.lost = process.stall = None

    async def receive(self, request: httpx.Request) -> httpx.Response:
        """Hand a webhook to the ticker of its port."""
        ticker = self._at[request.url.port or 0]
        if ticker is None or ticker.process.dead:
            raise httpx.ConnectError("nobody listens there")
        if ticker.process.wakes_at > asyncio.get_running_loop().time():
            await asyncio.sleep(WAITED_S)
            raise httpx.ReadTimeout("it is stopped")
        try:
            answer = await ticker.app.handle_async_request(request)
        except Killed:
            raise httpx.ReadError("it died") from None
        except (ClockSkew, *PASSING):
            return httpx.Response(HTTPStatus.INTERNAL_SERVER_ERROR)
        except Exception as error:  # noqa: BLE001  as in `_work`
            self.defects.append(f"a webhook was not taken: {error!r}")
            return httpx.Response(HTTPStatus.INTERNAL_SERVER_ERROR)
        ticker.news.set()
        return answer

    async def keep(self, number: int) -> None:
        """Have a process work, and another when it has ended, for ever."""
        chance = self._chances[number]
        while True:
            tasks = Tasks()
            token = of_process.set(tasks)
            ticker = self._born(chance)
            self._at[number] = ticker
            working = asyncio.create_task(self._work(ticker, chance, LATE_S[number]))
            of_process.reset(token)
            died = asyncio.create_task(ticker.process.died.wait())
            try:
                await asyncio.wait({working, died}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                died.cancel()
                working.cancel()
            if ticker.process.dead:
                self.killed += 1
                await ticker.process.bury(self._outside.witness, list(tasks))
                self._outside.turns.go_on()
            self._at[number] = None
            await asyncio.sleep(chance.uniform(0, BORN_WITHIN_S))

    def _born(self, chance: random.Random) -> _Ticker:
        outside = self._outside
        process = outside.process(chance)
        process.jump_s, self.next_jump_s = self.next_jump_s, 0.0
        if process.jump_s:
            outside.counts[JUMPED] += 1
        skew_s = chance.uniform(-self._skew_s, self._skew_s)

        def clock() -> datetime:
            return outside.clock() + timedelta(seconds=skew_s + process.jump_s)

        world = outside.world(process, SteadyClock(clock, asyncio.get_running_loop().time))
        return _Ticker(process, world, httpx.ASGITransport(create_app(world, secret=SECRET)))

    async def _work(self, ticker: _Ticker, chance: random.Random, late_s: float) -> None:
        """Do what is due, and come again a while after what is due next, as a timer's tick does."""
        world = ticker.world
        client = httpx.AsyncClient(
            transport=SlowWire(self._outside.notices, ticker.process), trust_env=False
        )
        outbox, heartbeat = Outbox(client), Heartbeat(world, "run")
        while True:
            due, next_at = None, None
            try:
                if chance.random() < BEATS:
                    await heartbeat.beat()
                due = (await work(world, outbox, BUDGET)).due
                next_at = None if due is None else due.earliest(sweeps_wait=SWEEPS_WAIT)
                now = world.clock()
            except PASSING:
                now = self._outside.clock()
            except ClockSkew:
                return
            except Exception as error:  # noqa: BLE001  whatever it is: nobody foresaw it
                self.defects.append(f"a ticker ended by {error!r}")
                return
            latest = now + LONGEST_IDLE
            until = latest if next_at is None else min(max(next_at, now), latest)
            is_doubtful = due is not None and due.doubtful == next_at
            is_prompt = chance.random() < (PROMPT_DOUBTFUL if is_doubtful else PROMPT)
            wait_s = (until - now).total_seconds()
            wait_s += chance.uniform(1, PROMPT_S if is_prompt else late_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await ticker.news.wait()
                    await asyncio.sleep(chance.uniform(0, NEWS_WITHIN_S))
            ticker.news.clear()

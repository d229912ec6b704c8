"""Measured in a process of its own: the real ticker takes every step that is due."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from bench.figures import percentile
from bench.noop import Noop
from bench.peers.runner import peak_rss_mb
from bench.population import NOW
from clento_engine.loop import new_runner
from clento_engine.provider.port import Profile, Provider
from clento_engine.runtime.clock import Clock, SpeedClock
from clento_engine.runtime.outbox import posting
from clento_engine.runtime.ticker import Ticked, tick
from clento_engine.runtime.work import attend
from clento_engine.runtime.world import World
from clento_engine.store.database import Database

T = TypeVar("T")

SOAK_SLOTS = 100
SOAK_END_S = 1.0  # before the last lead is due
BUDGET = timedelta(minutes=8)  # far more than it takes: who meets it is told so


def noop_world(database: Database, slots: int, after_s: float) -> World:
    """Return a world whose provider answers at once, its clock running from `after_s` past NOW.

    Whoever comes second to a database must come later: its accounts were busy until then.
    """
    provider = cast("Provider", Noop())  # the port has more, of which no step here makes use
    clock = SpeedClock(NOW + timedelta(seconds=after_s), 1.0)
    return World(database, provider, clock, slots=slots)


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as the product's processes do."""
    with new_runner() as runner:
        return runner.run(work)


def drain(url: str, slots: int, after_s: float = 0) -> dict[str, Any]:
    """Take every step that is due; return what was done, in what time, by what."""
    return on_loop(_drain(url, slots, after_s))


async def _drain(url: str, slots: int, after_s: float) -> dict[str, Any]:
    async with Database(url, max_connections=4) as database:
        return await drained(noop_world(database, slots, after_s))


async def drained(world: World) -> dict[str, Any]:
    """Let the ticker do everything that is due; return what was done, in what time, by what."""
    began, cpu = time.perf_counter(), time.process_time()
    ticked = await tick(world, BUDGET)
    return {
        **_told(ticked),
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": peak_rss_mb(),
    }


def idle(url: str, slots: int, ticks: int, after_s: float = 0) -> dict[str, float]:
    """Tick when nothing is due; return how long that took."""
    return on_loop(_idle(url, slots, ticks, after_s))


async def _idle(url: str, slots: int, ticks: int, after_s: float) -> dict[str, float]:
    took: list[float] = []
    async with Database(url, max_connections=4) as database:
        world = noop_world(database, slots, after_s)
        for _ in range(ticks):
            began = time.perf_counter()
            ticked = await tick(world, BUDGET)
            took.append(1000 * (time.perf_counter() - began))
            if ticked.total:
                raise RuntimeError(f"{ticked.total} steps were due: this is no idle tick")
    return {"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99)}


class Timed(Noop):
    """Notes when each visit came."""

    def __init__(self, clock: Clock) -> None:
        """Note the instants of `clock`."""
        self._clock = clock
        self.visited_at: list[datetime] = []

    async def visit(self, account: str, identifier: str) -> Profile:
        """Answer that the profile was visited."""
        self.visited_at.append(self._clock())
        return await super().visit(account, identifier)


def lateness(url: str, slots: int, ahead_s: float) -> dict[str, float]:
    """Wait for NOW, `ahead_s` away, as `clento tick` does; return how late the steps came."""
    return on_loop(_lateness(url, slots, ahead_s))


async def _lateness(url: str, slots: int, ahead_s: float) -> dict[str, float]:
    clock = SpeedClock(NOW - timedelta(seconds=ahead_s), 1.0)
    timed = Timed(clock)
    async with Database(url, max_connections=4) as database, posting() as outbox:
        world = World(database, cast("Provider", timed), clock, slots=slots)
        # It ends by itself: what comes next is due in days.
        worked = await attend(world, outbox, BUDGET, stop=asyncio.Event())
    late = [(at - NOW).total_seconds() for at in timed.visited_at]
    return {
        "steps": worked.ticked.total,
        "lateness_p50_s": percentile(late, 0.5),
        "lateness_p99_s": percentile(late, 0.99),
        "lateness_last_s": max(late),
    }


def soak(url: str, seconds: float) -> dict[str, float]:
    """Do what becomes due for so long, as `clento tick` does; return what memory was held when."""
    return on_loop(_soak(url, seconds))


async def _soak(url: str, seconds: float) -> dict[str, float]:
    stop = asyncio.Event()
    async with Database(url, max_connections=4) as database, posting() as outbox:
        world = noop_world(database, SOAK_SLOTS, 0)
        working = asyncio.create_task(attend(world, outbox, timedelta(seconds=seconds), stop=stop))
        await asyncio.sleep(seconds / 5)
        early_mb = held_mb()
        await asyncio.sleep(seconds * 4 / 5 - SOAK_END_S)
        late_mb = held_mb()
        stop.set()
        worked = await working
    return {
        "steps_per_s": worked.ticked.total / (seconds - SOAK_END_S),
        "early_mb": early_mb,
        "late_mb": late_mb,
        "grown_mb": late_mb - early_mb,
        "rss_mb": peak_rss_mb(),
    }


def held_mb() -> float:
    """Return the memory that this process has now, in MB of a million bytes."""
    status = Path("/proc/self/status").read_text()
    held = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(held.split()[1]) * 1024 / 1e6


def shared(
    url: str, slots: int, start_at: float, after_s: float, budget_s: float
) -> dict[str, Any]:
    """Begin at `start_at` of the monotonic clock, with others; then it is `after_s` past NOW."""
    return on_loop(_shared(url, slots, start_at, after_s, budget_s))


async def _shared(
    url: str, slots: int, start_at: float, after_s: float, budget_s: float
) -> dict[str, Any]:
    async with Database(url, max_connections=4) as database:
        async with database.connection():
            pass  # connected before the others begin
        await asyncio.sleep(max(0.0, start_at - time.monotonic()))
        world = noop_world(database, slots, after_s + time.monotonic() - start_at)
        ticked = await tick(world, timedelta(seconds=budget_s))
        ended_s = time.monotonic() - start_at
    return {**_told(ticked), "ended_s": ended_s, "rss_mb": peak_rss_mb()}


def _told(ticked: Ticked) -> dict[str, Any]:
    return {
        "steps": ticked.total,
        "done": ticked.states["done"],
        "batches": ticked.batches,
        "stale": ticked.stale,
    }

"""Measured in a process of its own: the real ticker takes every step that is due."""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from bench.noop import Noop
from bench.peers.runner import peak_rss_mb
from bench.population import NOW
from clento_engine.runtime.clock import SpeedClock
from clento_engine.runtime.ticker import Ticked, tick
from clento_engine.runtime.world import World
from clento_engine.store.database import Database

if TYPE_CHECKING:
    from clento_engine.provider.port import Provider

BUDGET = timedelta(minutes=8)  # far more than it takes: who meets it is told so


def noop_world(database: Database, slots: int, now: datetime = NOW) -> World:
    """Return a world whose clock runs from `now` and whose provider answers at once."""
    provider = cast("Provider", Noop())  # the port has more, of which no step here makes use
    return World(database, provider, SpeedClock(now, 1.0), slots=slots)


def drain(url: str, slots: int) -> dict[str, Any]:
    """Take every step that is due; return what was done, in what time, by what."""
    return asyncio.run(_drain(url, slots))


async def _drain(url: str, slots: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(url, max_connections=4))
        world = noop_world(database, slots)
        began, cpu = time.perf_counter(), time.process_time()
        ticked = await tick(world, BUDGET)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return {**_told(ticked), "seconds": seconds, "cpu_s": cpu_s, "rss_mb": peak_rss_mb()}


def _told(ticked: Ticked) -> dict[str, Any]:
    return {
        "steps": ticked.total,
        "done": ticked.states["done"],
        "batches": ticked.batches,
        "stale": ticked.stale,
    }

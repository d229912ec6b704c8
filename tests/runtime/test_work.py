"""Ticks that last as long as their budget."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from play import BUSY, set_up

from clento_engine.runtime.clock import SpeedClock
from clento_engine.runtime.work import attend, work
from clento_engine.store.database import Database

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "domain/test_editor_samples/01_linear.json").read_text("utf-8")
)
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


async def test_a_tick_takes_what_becomes_due_within_its_budget(database: Database) -> None:
    play = await set_up(database, DOCUMENT, start=START, slugs=["ada", "bert", "cleo"], pace=BUSY)
    running = replace(play.world, clock=SpeedClock(START, 3600))  # a gap of a minute is 17 ms
    once = await work(running, play.outbox, timedelta(seconds=30))
    assert once.next_at is not None
    await attend(running, play.outbox, timedelta(seconds=2), stop=asyncio.Event())
    visited = [entry.slug for entry in play.entries()]
    assert sorted(visited[:3]) == ["ada", "bert", "cleo"]


async def test_a_tick_with_nothing_due_within_its_budget_ends_at_once(
    database: Database,
) -> None:
    night = START.replace(hour=1)
    play = await set_up(database, DOCUMENT, start=night, slugs=["ada"], pace=BUSY)
    running = replace(play.world, clock=SpeedClock(night, 1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    done = await attend(running, play.outbox, timedelta(hours=1), stop=asyncio.Event())
    assert loop.time() - began < 60
    assert done.next_at is not None
    assert play.entries() == []


async def test_a_tick_told_to_stop_ends_before_its_budget(database: Database) -> None:
    play = await set_up(database, DOCUMENT, start=START, slugs=["ada", "bert"], pace=BUSY)
    running = replace(play.world, clock=SpeedClock(START, 1))
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stop.set)
    await asyncio.wait_for(attend(running, play.outbox, timedelta(hours=1), stop=stop), 60)

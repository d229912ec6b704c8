"""Whatever is due, done once: what `clento tick` runs, and each job of the daemon a part of."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clento_engine.runtime.asking import MayGoOn
from clento_engine.runtime.clock import VirtualClock, speed_of
from clento_engine.runtime.heartbeat import Heartbeat
from clento_engine.runtime.inbox import apply_inbox
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.rest import probe
from clento_engine.runtime.sweep import sweep
from clento_engine.runtime.ticker import Ticked, tick
from clento_engine.runtime.witness import look_at_stamp, remember_last
from clento_engine.runtime.world import World
from clento_engine.store.campaigns import complete_campaigns
from clento_engine.store.due import Due, due

LEAST_PAUSE_S = 0.05  # between two looks, when what is due is another ticker's


@dataclass(slots=True)
class Worked:
    """What was done.  `completed`: campaigns; `due`: what is left to do, and when."""

    ticked: Ticked = field(default_factory=Ticked)
    applied: int = 0
    reconciled: int = 0
    swept: int = 0
    posted: int = 0
    completed: int = 0
    due: Due | None = None

    @property
    def next_at(self) -> datetime | None:
        """When the next thing with a time is due."""
        return None if self.due is None else self.due.earliest()


async def work(
    world: World,
    outbox: Outbox,
    budget: timedelta,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Worked:
    """Do everything that is due until nothing is, for at most `budget`.

    When it is over, or `stopping` says so, nothing more is begun, not even the next request of what
    is under way: it ends when the longest request does that was sent by then.
    News come first: a reply that waits in the inbox stops the message that is due.
    """
    worked = Worked()
    may_end = False
    until = time.monotonic() + budget.total_seconds()

    def may_go_on() -> bool:
        return time.monotonic() < until and not stopping()

    found: Due | None = None
    while True:
        now = world.clock()
        await look_at_stamp(world)
        if found is None:
            async with world.database.connection() as conn:
                found = await due(conn)
        worked.due = found
        if not may_go_on():
            break
        seen: Due | None = None
        if found.rest is not None and found.rest <= now:
            await probe(world)
            found = None
            continue
        done = await _before_steps(world, outbox, found, now, worked, may_go_on)
        if found.lanes is not None and found.lanes <= now and may_go_on():
            left = timedelta(seconds=until - time.monotonic())
            ticked = await tick(world, left, stopping=stopping)
            _add(worked.ticked, ticked)
            done += 1
            seen = ticked.due
        if not done:
            break
        may_end = bool(
            worked.ticked.finished or worked.applied or worked.swept or worked.reconciled
        )
        found = seen  # the tick came last: what it saw is what is left
    if may_end:
        worked.completed = await housekeeping(world)
    return worked


async def _before_steps(
    world: World, outbox: Outbox, found: Due, now: datetime, worked: Worked, may_go_on: MayGoOn
) -> int:
    """Do what is due beside the steps, and add it to `worked`; return how much that was."""
    done = 0
    if found.inbox:
        done += (applied := await apply_inbox(world, may_go_on=may_go_on))
        worked.applied += applied
    if found.sweep is not None and found.sweep <= now:
        done += (swept := await sweep(world, may_go_on=may_go_on))
        worked.swept += swept
    if found.doubtful is not None and found.doubtful <= now:
        done += (asked := await reconcile(world, may_go_on=may_go_on))
        worked.reconciled += asked
    if found.outbox is not None and found.outbox <= now:
        done += (posted := await outbox.deliver(world, may_go_on=may_go_on))
        worked.posted += posted
    return done


async def attend(
    world: World,
    outbox: Outbox,
    budget: timedelta,
    *,
    stop: asyncio.Event,
    heartbeat: Heartbeat | None = None,
) -> Worked:
    """Do what is due, and what becomes due within `budget`, each at its own moment.

    So a ticker that cron starts every minute acts at moments of no minute's grid.  It ends early
    when nothing more comes within the budget, or when `stop` is set.
    """
    until = time.monotonic() + budget.total_seconds()
    if heartbeat is not None:
        await heartbeat.beat()
    total = await work(world, outbox, budget, stopping=stop.is_set)
    while (pause_s := _pause_s(world, total.next_at)) is not None:
        left_s = until - time.monotonic()
        if left_s <= 0 or pause_s > left_s or stop.is_set():
            break
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(pause_s, LEAST_PAUSE_S))
        if heartbeat is not None:
            await heartbeat.beat()
        left = timedelta(seconds=max(0.0, until - time.monotonic()))
        more = await work(world, outbox, left, stopping=stop.is_set)
        _add(total.ticked, more.ticked)
        total.applied += more.applied
        total.reconciled += more.reconciled
        total.swept += more.swept
        total.posted += more.posted
        total.completed += more.completed
        total.due = more.due
    await remember_last(world)
    return total


def _pause_s(world: World, next_at: datetime | None) -> float | None:
    """Return how long, in real seconds, until `next_at`; None when no waiting brings it."""
    if next_at is None or isinstance(world.clock, VirtualClock):
        return None
    speed = speed_of(world.clock)
    return (next_at - world.clock()).total_seconds() / speed


async def housekeeping(world: World) -> int:
    """Mark campaigns whose last lead is final; return how many."""
    async with world.database.connection() as conn:
        return len(await complete_campaigns(conn, world.clock()))


def _add(total: Ticked, part: Ticked) -> None:
    total.steps.update(part.steps)
    total.states.update(part.states)
    total.stale += part.stale
    total.finished += part.finished
    total.batches += part.batches

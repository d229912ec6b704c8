"""Weeks in seconds: the real ticker on a clock that is moved to the next thing that happens."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.work import work
from clento_engine.runtime.world import World

BUDGET = timedelta(minutes=10)  # of real time, for what is due at one virtual instant

# As if a timer ran the ticker: what falls due within this of the first thing is done with it.
LATENESS = timedelta(minutes=6)

# Where nothing else is due, news are heard a while after the first of them, and lists are read a
# while after their time, which is random anyhow: most moments of a night had one of either.
NEWS_WAIT = timedelta(minutes=30)
SWEEPS_WAIT = timedelta(hours=1)

Advance = Callable[[datetime], Awaitable[datetime]]


async def drive(
    world: World,
    outbox: Outbox,
    clock: VirtualClock,
    advance: Advance,
    *,
    until: datetime,
    late: timedelta = timedelta(0),
    sweeps_wait: timedelta = timedelta(0),
    is_over: Callable[[], Awaitable[bool]],
) -> bool:
    """Work off what is due, move the clock to what comes next, and so on until `is_over`.

    `advance(to)` lets the outside world live on to `to`, or to its first news before that, and
    returns the moment reached; `world.clock` must be `clock`.  The clock stops `late` after the
    first thing that is due; for a sweep alone, when `sweeps_wait` is over too.  Returns False when
    `until` came first.
    """
    while True:
        worked = await work(world, outbox, BUDGET)
        news = worked.completed or worked.posted or worked.next_at is None
        if news and await is_over():
            return True
        now = clock()
        if now >= until:
            return False
        next_at = None if worked.due is None else worked.due.earliest(sweeps_wait=sweeps_wait)
        to = until if next_at is None else max(now, next_at) + late
        clock.move_to(await advance(min(until, to)))

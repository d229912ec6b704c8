"""Weeks in seconds: the real ticker on a clock that is moved to the next thing that happens."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.work import work
from clento_engine.runtime.world import World

BUDGET = timedelta(minutes=10)  # of real time, for what is due at one virtual instant

# The clock moves on by at least this, as if a timer ran the ticker: steps of several senders
# that fall together are taken together.
LEAST = timedelta(minutes=7)

Advance = Callable[[datetime], Awaitable[datetime]]


async def drive(
    world: World,
    outbox: Outbox,
    clock: VirtualClock,
    advance: Advance,
    *,
    until: datetime,
    least: timedelta = timedelta(0),
    is_over: Callable[[], Awaitable[bool]],
) -> bool:
    """Work off what is due, move the clock to what comes next, and so on until `is_over`.

    `advance(to)` lets the outside world live on to `to`, or to its first news before that, and
    returns the moment reached; `world.clock` must be `clock`.  The clock moves on by `least` or
    more.  Returns False when `until` came first.
    """
    while True:
        worked = await work(world, outbox, BUDGET)
        news = worked.completed or worked.posted or worked.next_at is None
        if news and await is_over():
            return True
        now = clock()
        if now >= until:
            return False
        to = max(now + least, worked.next_at or until)
        clock.move_to(await advance(min(until, to)))

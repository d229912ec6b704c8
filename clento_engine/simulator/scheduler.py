"""Lets what is planned happen, in order: as requests move the time, or while the clock runs."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.webhooks import Delivery
from clento_engine.simulator.world import World

_WORKERS = 16  # deliveries under way at once while the clock runs by itself


@dataclass(frozen=True, slots=True)
class Advance:
    """Where a driven clock came to.  `delivered`: webhooks answered with 2xx at `now`."""

    now: datetime
    delivered: int
    next_at: datetime | None


async def advance(world: World, to: datetime, linger: timedelta = timedelta(0)) -> Advance:
    """Let happenings come, in order, up to `to`; stop `linger` after the first webhook.

    All webhooks due until then are delivered, each receiver's answer awaited, before this
    returns.  For a driven clock only.
    """
    clock = world.clock
    if not isinstance(clock, DrivenClock):
        raise Refusal("invalid_request", "This clock runs by itself.")
    async with world.advancing:
        delivered = 0
        until = to
        while (happening := world.agenda.take(until)) is not None:
            clock.move(happening.at)
            delivery = happening.act()
            if delivery is not None:
                until = min(until, happening.at + linger)
                delivered += await _deliver(world, delivery)
        clock.move(until)
        return Advance(clock(), delivered, world.agenda.next_at)


def halt(world: World) -> None:
    """Stop a running clock where it is: from now on time is moved by requests."""
    if not isinstance(world.clock, DrivenClock):
        world.clock = DrivenClock(world.clock())
        world.agenda.on_earlier()  # wakes `run`, which then ends


async def run(world: World, speed: float) -> None:
    """Let happenings come by themselves while the clock runs; returns when it is halted."""
    changed = asyncio.Event()
    world.agenda.on_earlier = changed.set
    slots = asyncio.Semaphore(_WORKERS)
    async with asyncio.TaskGroup() as group:
        while not isinstance(world.clock, DrivenClock):
            changed.clear()
            while (happening := world.agenda.take(world.clock())) is not None:
                delivery = happening.act()
                if delivery is not None:
                    group.create_task(_deliver_within(world, slots, delivery))
            next_at = world.agenda.next_at
            wait = None if next_at is None else (next_at - world.clock()).total_seconds() / speed
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), wait)


async def _deliver_within(world: World, slots: asyncio.Semaphore, delivery: Delivery) -> None:
    async with slots:
        await _deliver(world, delivery)


async def _deliver(world: World, delivery: Delivery) -> bool:
    status = await world.deliver(delivery.url, delivery.headers, delivery.body)
    now = world.clock()
    if status is not None and 200 <= status < 300:  # noqa: PLR2004  # 2xx
        world.deliveries.delivered += 1
        if status != HTTPStatus.ACCEPTED:  # taken, and not kept: it told nobody
            delivery.on_delivered(now)
        return True
    world.deliveries.failed_attempts += 1
    delay = delivery.retry_after
    if delay is None:
        world.deliveries.dropped += 1
    else:
        delivery.attempt += 1
        world.agenda.plan(now + delay, lambda: delivery)
    return False

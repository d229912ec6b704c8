"""The tick: every step that is due and allowed, claimed, acted on and settled."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID
from weakref import WeakKeyDictionary

from clento_engine.runtime.act import act, event_report
from clento_engine.runtime.world import World, surely
from clento_engine.store.accounts import organizations
from clento_engine.store.claim import Wanted
from clento_engine.store.database import Conn, Database
from clento_engine.store.due import Due, due
from clento_engine.store.pick import Claimed
from clento_engine.store.settle import Report
from clento_engine.store.turn import turn

CONTENDED = 0.02  # seconds until lanes that another ticker holds are looked at again

NEW_SEEN_S = 2.0  # seconds that the list of organisations is taken to be the same

_known: WeakKeyDictionary[Database, tuple[float, list[UUID]]] = WeakKeyDictionary()

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ticked:
    """What a tick did.  `steps` counts by operation, `states` what became of the actions.

    `due`: what was due when it ended, where it looked.
    """

    steps: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    finished: int = 0
    batches: int = 0
    due: Due | None = None

    @property
    def total(self) -> int:
        """How many steps were taken."""
        return self.steps.total()


async def tick(
    world: World,
    budget: timedelta,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Ticked:
    """Take every step that is due and allowed, for at most `budget`; return what was done.

    No transaction is open while the provider is asked.  A crash in between leaves intents under a
    lease that ends: work for reconcile, never a second send.  When `budget` is over, or `stopping`
    says so, nothing more is claimed, and what is in flight is settled before this returns.
    """
    ticked = Ticked()
    until = time.monotonic() + budget.total_seconds()
    in_flight: dict[asyncio.Task[Report], Claimed] = {}
    reports: list[Report] = []
    async with world.database.connection() as conn:
        served = await _served(world, conn)
        try:
            while True:
                free = world.slots - len(in_flight)
                wanted = None
                if free > 0 and time.monotonic() < until and not stopping():
                    wanted = _wanted(world, served, free)
                elif not in_flight and not reports:
                    break
                batch = await _turn(world, conn, reports, wanted, ticked)
                ticked.steps.update(item.run.operation.value for item in batch)
                reports = [event_report(item) for item in batch if item.intent is None]
                for item in batch:
                    if item.intent is not None:
                        task = asyncio.create_task(act(world.provider, item, world.clock))
                        in_flight[task] = item
                reports += await _answers(in_flight, wait=not reports)
                if not reports:
                    ticked.due = await due(conn)
                    if wanted is None or not _has_lanes(ticked.due, world):
                        break
                    await asyncio.sleep(CONTENDED)  # another ticker holds them
                    served = await _served(world, conn)  # or they are a new organisation's
                ticked.due = None
        except BaseException:
            # what was begun keeps its intent: reconcile finds out what became of it
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)
            raise
    return ticked


def _wanted(world: World, served: Sequence[UUID], slots: int) -> Wanted:
    return Wanted(served, world.clock(), slots, world.lease, world.request_limit)


def _has_lanes(found: Due, world: World) -> bool:
    return found.lanes is not None and found.lanes <= world.clock()


async def _served(world: World, conn: Conn) -> list[UUID]:
    """List the organisations; a new one is seen after `NEW_SEEN_S`."""
    now = time.monotonic()
    known = _known.get(world.database)
    if known is None or now - known[0] > NEW_SEEN_S:
        found = [organization_id for organization_id, _ in await organizations(conn)]
        known = _known[world.database] = (now, found)
    return known[1]


async def _answers(in_flight: dict[asyncio.Task[Report], Claimed], *, wait: bool) -> list[Report]:
    """Take the reports of all requests that are answered, waiting for a first one if told to."""
    if not in_flight:
        return []
    if wait:
        await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
    done = [task for task in in_flight if task.done()]
    for task in done:
        del in_flight[task]
    return [task.result() for task in done]


async def _turn(
    world: World,
    conn: Conn,
    reports: list[Report],
    wanted: Wanted | None,
    ticked: Ticked,
) -> list[Claimed]:
    """Settle what was answered and claim what comes next."""
    now = world.clock() if wanted is None else wanted.now
    settled, claimed = await surely(lambda: turn(conn, reports, wanted, now=now, actor="ticker"))
    ticked.batches += bool(reports)
    ticked.stale += settled.stale
    ticked.finished += settled.finished
    ticked.states.update(report.state for report in reports if report.state is not None)
    return claimed

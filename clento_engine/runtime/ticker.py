"""The tick: every step that is due and allowed, claimed, acted on and settled."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID
from weakref import WeakKeyDictionary

from clento_engine.domain.failure import Wait
from clento_engine.domain.report import Report
from clento_engine.runtime.act import act, event_report, give_back
from clento_engine.runtime.errors import ClockSkew, WrongProvider
from clento_engine.runtime.guard import require_clock, require_provider
from clento_engine.runtime.listen import LOOK_AGAIN, look_first
from clento_engine.runtime.names import learn_first, look_up
from clento_engine.runtime.witness import look_at_stamp, remember
from clento_engine.runtime.world import World, surely
from clento_engine.store.accounts import organizations
from clento_engine.store.apart import settle_apart
from clento_engine.store.claim import FEW_LANES, Claim, Wanted, enough_lanes
from clento_engine.store.claimed import Claimed
from clento_engine.store.database import Conn, Database
from clento_engine.store.due import Due, due
from clento_engine.store.turn import Turned, turn

CONTENDED = 0.02  # seconds until lanes that another ticker holds are looked at again

# Seconds that answers wait for others while most slots are busy: what a batch costs the database is
# paid once for all of them, and the slots that stay busy keep the provider at work.
GATHER = 0.05

MUCH = 50  # steps of one turn that make a second one beside it worth its connection

# How long the requests of a turn take, measured in turns.  Where it is less, two rows have turns at
# once; where it is more they alternate; and where it is a lot, one row hides its turns behind them.
BRIEF, LONG = 0.5, 4.0

AT_ONCE = 4  # requests begun before the other row's turn is looked at: it must not wait for all

ROTATED = 32  # organisations that come first in one claim, in rotation

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


class Flights:
    """The requests under way, and the reports of those that were answered."""

    def __init__(self, world: World) -> None:
        """Begin with none."""
        self._world = world
        self._flying: set[asyncio.Task[Report]] = set()
        self._landed: list[asyncio.Task[Report]] = []
        self._needed = 1
        self._enough = asyncio.Event()

    def __len__(self) -> int:
        """How many slots they hold: until their report is taken."""
        return len(self._flying) + len(self._landed)

    def start(self, item: Claimed) -> None:
        """Act on a claimed step."""
        task = asyncio.create_task(_fly(self._world, item))
        self._flying.add(task)
        task.add_done_callback(self._land)

    def _land(self, task: asyncio.Task[Report]) -> None:
        self._flying.discard(task)
        self._landed.append(task)
        if len(self._landed) >= self._needed:
            self._enough.set()

    async def answers(self, *, wait: bool, left: int) -> list[Report]:
        """Take the reports that are there once, or `GATHER` later, no more than `left` are missing.

        `wait`: for a first one before that, however long it takes.
        """
        if wait and len(self):
            await self._until(1, None)
        await self._until(len(self) - left, GATHER)
        taken, self._landed = self._landed, []
        return [task.result() for task in taken]

    async def _until(self, landed: int, limit_s: float | None) -> None:
        if len(self._landed) >= landed:
            return
        self._needed = landed
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._enough.wait()

    async def abandon(self) -> None:
        """Give up what is under way."""
        flying = list(self._flying)
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, *self._landed, return_exceptions=True)


async def _fly(world: World, item: Claimed) -> Report:
    """Act, unless the person or the account's owner wrote meanwhile and nobody told."""
    try:
        held_back = await look_first(world, item)
    except ClockSkew:
        raise
    except Exception as error:  # noqa: BLE001  as in `act`: it is of this step alone
        name = type(error).__name__  # its text may hold what was written
        log.error("step not begun", extra={"error": name, "alert": True})  # noqa: TRY400
        held_back = give_back(item, Wait(f"a defect of the engine: {name}", LOOK_AGAIN, LOOK_AGAIN))
    return held_back or await act(world.provider, item, world.clock)


async def tick(
    world: World,
    budget: timedelta,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Ticked:
    """Take every step that is due and allowed, for at most `budget`; return what was done.

    No transaction is open while the provider is asked.  A crash in between leaves intents under a
    lease that ends: work for reconcile, never a second send.  When `budget` is over, or `stopping`
    says so, nothing more is claimed, and what is in flight is settled before this returns.  Raises
    WrongProvider, as `guard.require_provider` does, and ClockSkew, in the same order.
    """
    await require_provider(world)
    await look_at_stamp(world)
    await require_clock(world)
    until = time.monotonic() + budget.total_seconds()
    under_way = _Tick(world, lambda: time.monotonic() < until and not stopping())
    await under_way.run()
    if under_way.refusal is not None:
        raise under_way.refusal
    return under_way.ticked


class _Tick:
    """One tick: a row of turns and, while there is much to do, a second one beside it.

    PostgreSQL does the turn of one while Python does the requests, or the turn, of the other.  To
    the database they are two tickers, each with a connection of its own.
    """

    def __init__(self, world: World, may_claim: Callable[[], bool]) -> None:
        self.ticked = Ticked()
        self.refusal: WrongProvider | ClockSkew | None = None
        self._world = world
        self._may_claim = may_claim
        self._flights: list[Flights] = []  # of each row
        self._second: asyncio.Task[None] | None = None
        self._turning = asyncio.Lock()
        self._requests_took = LONG  # in turns
        self._rotation = int(world.clock().timestamp())  # who is next; not all tickers begin alike

    async def run(self) -> None:
        try:
            await self._turns(first=True)
            if self._second is not None:
                await self._second
                self.ticked.due = None  # it was seen before the second's end
        finally:
            if self._second is not None:
                self._second.cancel()
                await asyncio.gather(self._second, return_exceptions=True)

    async def _turns(self, *, first: bool) -> None:
        """Settle, claim and act until nothing is due or, beside the first row, nothing is had."""
        world, ticked = self._world, self.ticked
        in_flight = Flights(world)
        self._flights.append(in_flight)
        reports: list[Report] = []
        lanes = FEW_LANES
        async with world.database.connection() as conn:
            served = await _served(world, conn)
            try:
                while True:
                    free = self._free(in_flight)
                    wanted = None
                    if free > 0 and self._may_claim() and await self._may_go_on():
                        wanted = self._wanted(served, free, lanes)
                    elif not in_flight and not reports:
                        break
                    async with self._turning if self._requests_took > BRIEF else nullcontext():
                        began = time.monotonic()
                        turned = await _turn(world, conn, reports, wanted, ticked)
                        ended = time.monotonic()
                    batch = turned.claim.taken
                    lanes = lanes if wanted is None else enough_lanes(wanted, turned.claim)
                    ticked.steps.update(item.run.operation.value for item in batch)
                    reports = [event_report(item) for item in batch if item.intent is None]
                    for number, item in enumerate(batch, start=1):
                        if item.intent is not None and not item.is_doubtful:
                            in_flight.start(item)
                        if number % AT_ONCE == 0:
                            await asyncio.sleep(0)
                    # what is scarce is all in flight: a free slot would find nothing to begin
                    scarce = wanted is not None and len(batch) < wanted.slots
                    left = 0 if scarce or len(self._flights) > 1 else world.slots // 2
                    reports += await in_flight.answers(wait=not reports, left=left)
                    if len(reports) >= MUCH:
                        self._requests_took = (time.monotonic() - ended) / (ended - began)
                        self._overlap()
                    if not reports:
                        ticked.due = turned.due or await due(conn)
                        if not first or wanted is None or not _has_lanes(ticked.due, world):
                            break
                        await asyncio.sleep(CONTENDED)  # another ticker holds them
                        served = await _served(world, conn)  # or they are a new organisation's
                    ticked.due = None
            except BaseException:
                # what was begun keeps its intent: reconcile finds out what became of it
                await in_flight.abandon()
                raise
            finally:
                self._flights.remove(in_flight)

    def _wanted(self, served: Sequence[UUID], slots: int, lanes: int) -> Wanted:
        world = self._world
        first: Sequence[UUID] = []
        if len(served) > 1:
            self._rotation %= len(served)
            first = [*served[self._rotation :], *served[: self._rotation]][:ROTATED]
            self._rotation += ROTATED
        return Wanted(served, world.clock(), slots, world.lease, world.request_limit, lanes, first)

    async def _may_go_on(self) -> bool:
        """Look again: the database may have been moved to another provider, or a clock be off."""
        if self.refusal is None:
            try:
                await require_provider(self._world)
                await look_at_stamp(self._world)
                await require_clock(self._world)
            except (WrongProvider, ClockSkew) as refusal:
                self.refusal = refusal
        return self.refusal is None

    def _free(self, in_flight: Flights) -> int:
        """Return how many more requests a row may begin: beside another, half of all."""
        slots = self._world.slots
        share = slots if len(self._flights) == 1 else slots // 2
        return min(share - len(in_flight), slots - sum(map(len, self._flights)))

    def _overlap(self) -> None:
        """Begin a second row of turns, where one cannot hide them behind its requests."""
        if self._requests_took > LONG or not self._world.overlapping:
            return
        if self._second is None or self._second.done():
            if self._second is not None:
                self._second.result()  # raises what it raised
            self._second = asyncio.create_task(self._turns(first=False))


def _has_lanes(found: Due, world: World) -> bool:
    return found.rest is None and found.lanes is not None and found.lanes <= world.clock()


async def _served(world: World, conn: Conn) -> list[UUID]:
    """List the organisations; a new one is seen after `NEW_SEEN_S`."""
    now = time.monotonic()
    known = _known.get(world.database)
    if known is None or now - known[0] > NEW_SEEN_S:
        found = [organization_id for organization_id, _ in await organizations(conn)]
        known = _known[world.database] = (now, found)
    return known[1]


async def _turn(
    world: World,
    conn: Conn,
    reports: list[Report],
    wanted: Wanted | None,
    ticked: Ticked,
) -> Turned:
    """Settle what was answered and claim what comes next."""
    now = world.clock() if wanted is None else wanted.now
    reports = await look_up(conn, reports, now)
    try:
        turned = await surely(lambda: turn(conn, reports, wanted, now=now, actor="ticker"))
    except Exception as error:
        if not reports:
            raise
        turned = await _apart(conn, await learn_first(conn, reports, now), error, now)
    await remember(conn, world, reports)
    ticked.batches += bool(reports)
    ticked.stale += turned.settled.stale
    ticked.finished += turned.settled.finished
    ticked.states.update(report.state for report in reports if report.state is not None)
    return turned


async def _apart(conn: Conn, reports: Sequence[Report], error: Exception, now: datetime) -> Turned:
    """Settle each outcome by itself; raises `error` where it is not about one of them.

    Nothing is claimed: the next turn does, and fails by itself if the claim was the cause.
    """
    settled = await surely(lambda: settle_apart(conn, reports, error, now=now, actor="ticker"))
    return Turned(settled, Claim([]))

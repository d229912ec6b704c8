"""The daemon: APScheduler, inside one process, calling what `clento tick` does once.

APScheduler only says when to look; it reads the wall's clock, and no lead's time is ever its.
What is due, and for whom, stands in PostgreSQL: any number of daemons and ticks share it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from clento_engine.runtime.errors import ClockSkew, NotAsked, UnknownProvider, WrongProvider
from clento_engine.runtime.heartbeat import Heartbeat
from clento_engine.runtime.inbox import apply_inbox
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.rest import probe
from clento_engine.runtime.sweep import sweep
from clento_engine.runtime.ticker import tick
from clento_engine.runtime.work import housekeeping
from clento_engine.runtime.world import World
from clento_engine.store.database import Lost
from clento_engine.store.due import Due, due
from clento_engine.store.errors import DatabaseUnavailable

INTERVAL = timedelta(seconds=1)  # of real time, also where the world's clock runs faster
TICK = timedelta(seconds=30)  # after that a tick begins anew, and sees new organisations
HOUSEKEEPING = 60  # intervals; a campaign whose last lead no tick finished waits that long

log = logging.getLogger(__name__)


async def run(
    world: World,
    outbox: Outbox,
    *,
    stop: asyncio.Event,
    interval: timedelta = INTERVAL,
    heartbeat: Heartbeat | None = None,
) -> None:
    """Do what is due, again and again, until `stop` is set; return when nothing is under way.

    Once `stop` is set nothing more is claimed, and what is in flight is settled; what has not
    ended within a lease is cancelled, as if the process had died: reconcile finds out.  A job that
    raises is logged and tried again at its next turn.  Raises ClockSkew when the clock jumped, and
    WrongProvider or UnknownProvider when the database is not of the provider that we talk to.
    """
    daemon = _Daemon(world, outbox, stop)
    scheduler = AsyncIOScheduler(
        timezone=UTC,
        job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
    )
    # It warns whenever a turn is left out because the one before still runs: that is how it works.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    jobs = (daemon.rest, daemon.inbox, daemon.tick, daemon.reconcile, daemon.sweep, daemon.outbox)
    every_s = interval.total_seconds()
    for job in jobs:
        scheduler.add_job(daemon.turn, "interval", (job,), seconds=every_s, id=job.__name__)
    scheduler.add_job(
        daemon.turn,
        "interval",
        (daemon.housekeeping,),
        seconds=every_s * HOUSEKEEPING,
        id="housekeeping",
    )
    if heartbeat is not None:
        scheduler.add_job(
            daemon.turn, "interval", (heartbeat.beat,), seconds=every_s, id="heartbeat"
        )
    scheduler.start()
    log.info("daemon started", extra={"interval_s": every_s})
    try:
        await stop.wait()
        scheduler.pause()
        await daemon.finish(world.lease)
    finally:
        scheduler.shutdown(wait=False)
        await daemon.cancel()
        await asyncio.sleep(0)  # the scheduler ends itself in the loop's next round
    if daemon.refusal is not None:
        raise daemon.refusal
    log.info("daemon stopped")


class _Daemon:
    """The jobs, and which of their turns are under way."""

    def __init__(self, world: World, outbox: Outbox, stop: asyncio.Event) -> None:
        self._world = world
        self._outbox = outbox
        self._stop = stop
        self._turns: set[asyncio.Task[object]] = set()
        self._applying = asyncio.Lock()
        self.refusal: ClockSkew | WrongProvider | UnknownProvider | None = None

    async def turn(self, job: Callable[[], Awaitable[None]]) -> None:
        """Give a job its turn; whatever it raises, the next turn comes."""
        if self._stop.is_set():
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  APScheduler runs us in one
        self._turns.add(task)
        try:
            await job()
        except (ClockSkew, WrongProvider, UnknownProvider) as error:
            # no turn could be right: end, and be started anew
            self.refusal = error
            self._stop.set()
        except (DatabaseUnavailable, Lost, NotAsked) as error:
            # a restart, a failover, a provider that is down: no defect of ours
            log.warning("job failed", extra={"job": job.__name__, "reason": str(error)})
        except Exception:
            log.exception("job failed", extra={"job": job.__name__})
        finally:
            self._turns.discard(task)

    async def finish(self, patience: timedelta) -> None:
        """Wait for the turns under way, at most so long."""
        if self._turns:
            await asyncio.wait(self._turns, timeout=patience.total_seconds())

    async def cancel(self) -> None:
        """End the turns that are still under way."""
        turns = list(self._turns)
        if turns:
            log.warning("turns cancelled", extra={"turns": len(turns)})
        for task in turns:
            task.cancel()
        await asyncio.gather(*turns, return_exceptions=True)

    async def rest(self) -> None:
        """Probe a provider that could not be asked, when its rest is over."""
        if await self._is_due(lambda found: found.rest):
            await probe(self._world)

    async def tick(self) -> None:
        """Take the steps that are due, after what came in: a reply stops the message to follow."""
        if await self._is_due(lambda found: found.lanes):
            await self.inbox()
            ticked = await tick(self._world, TICK, stopping=self._stop.is_set)
            if ticked.finished:
                await housekeeping(self._world)

    async def inbox(self) -> None:
        """Apply what came in."""
        async with self._applying:
            if (await self._look()).inbox:
                await apply_inbox(self._world)

    async def reconcile(self) -> None:
        """Ask about actions of unknown outcome."""
        await self._while_due(
            lambda found: found.doubtful, lambda: reconcile(self._world, may_go_on=self._may_go_on)
        )

    async def sweep(self) -> None:
        """Ask accounts for what no webhook told."""
        await self._while_due(
            lambda found: found.sweep, lambda: sweep(self._world, may_go_on=self._may_go_on)
        )

    async def outbox(self) -> None:
        """Post notices."""
        await self._while_due(lambda found: found.outbox, lambda: self._outbox.deliver(self._world))

    async def housekeeping(self) -> None:
        """Complete campaigns whose last lead was finished by news, or by another process."""
        await housekeeping(self._world)

    def _may_go_on(self) -> bool:
        return not self._stop.is_set()

    async def _while_due(
        self, moment: Callable[[Due], datetime | None], do: Callable[[], Awaitable[int]]
    ) -> None:
        """Do it while it is due; none done means that another process is at it."""
        while not self._stop.is_set() and await self._is_due(moment):
            if not await do():
                return

    async def _is_due(self, moment: Callable[[Due], datetime | None]) -> bool:
        at = moment(await self._look())
        return at is not None and at <= self._world.clock()

    async def _look(self) -> Due:
        async with self._world.database.connection() as conn:
            return await due(conn)

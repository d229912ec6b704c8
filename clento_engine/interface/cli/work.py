"""`clento tick` and `clento run`: what is due, once or until stopped."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta

import click

from clento_engine.config import BadSetting, Settings, clock_for, read_settings, simulated
from clento_engine.interface.api import create_app, serve
from clento_engine.interface.cli.asked import unipile, workspace
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import answer, moment, note
from clento_engine.interface.cli.quarantine import QUARANTINED, quarantine_line
from clento_engine.interface.cli.session import json_option, opened
from clento_engine.interface.cli.session import run as run_async
from clento_engine.interface.cli.status import WARNED, sweep_warning
from clento_engine.interface.cli.values import LASTING, LISTENING, URL
from clento_engine.runtime import daemon
from clento_engine.runtime.clock import (
    Clock,
    SpeedClock,
    SteadyClock,
    VirtualClock,
    require_agreement,
    system_clock,
)
from clento_engine.runtime.errors import NotRegistered
from clento_engine.runtime.guard import require_provider
from clento_engine.runtime.heartbeat import Heartbeat
from clento_engine.runtime.marks import Marks
from clento_engine.runtime.outbox import Outbox, posting
from clento_engine.runtime.registration import register
from clento_engine.runtime.witness import look_at_stamp
from clento_engine.runtime.work import Worked, attend, housekeeping
from clento_engine.runtime.world import SLOTS, World
from clento_engine.store.database import PATIENCE, Database, server_time, unsafe_settings
from clento_engine.store.stamp import Quarantine, read_stamp
from clento_engine.store.tickers import FailingSweep, failing_sweeps

log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--budget",
    type=LASTING,
    default="50s",
    show_default=True,
    help="For how long anything is begun; it ends with the longest request under way then.",
)
@json_option
@click.pass_context
def tick(ctx: click.Context, budget: timedelta, as_json: bool) -> None:
    """Do everything that is due, then end; for cron and timers.

    For all organisations: webhooks that came in, sweeps, actions of unknown outcome, steps,
    notices; also what becomes due within the budget, at its own moment.  Ticks may overlap, on one
    host or many: none takes a step of another.  SIGTERM ends it early and in order.

    Exit status 3: all else was done, but senders could not be swept for news.  Each is named, and
    tried again within minutes where no connection came about, else within hours.  Exit status 4:
    the database is not the one it was (restored, copied, promoted); nothing is sent.

    \b
    Example, every minute in a crontab:
      * * * * * clento tick
    """
    settings = read_settings()

    async def ticked() -> tuple[Worked, list[FailingSweep], Quarantine | None]:
        async with _working(settings) as (world, outbox, stop):
            began = world.clock()
            heartbeat = Heartbeat(world, "tick")
            worked = await attend(world, outbox, budget, stop=stop, heartbeat=heartbeat)
            worked.completed += await housekeeping(world)
            async with world.database.connection() as conn:
                failing = await failing_sweeps(conn, since=began)
                return worked, failing, (await read_stamp(conn)).quarantine

    worked, failing, quarantine = run_async(ticked(), settings, level=logging.INFO)
    worked.swept = max(0, worked.swept - len(failing))
    data = {
        "steps": worked.ticked.total,
        "by_operation": worked.ticked.steps,
        "by_state": worked.ticked.states,
        "finished": worked.ticked.finished,
        "stale": worked.ticked.stale,
        "applied": worked.applied,
        "reconciled": worked.reconciled,
        "swept": worked.swept,
        "sweeps_failed": failing,
        "posted": worked.posted,
        "completed": worked.completed,
        "next_at": worked.next_at,
        "quarantine": quarantine,
    }
    answer(as_json, data, _said(worked, len(failing)))
    for each in failing:
        note(sweep_warning(each))
    if quarantine is not None:
        note(quarantine_line(quarantine))
        ctx.exit(QUARANTINED)
    if failing:
        ctx.exit(WARNED)


@click.command()
@click.option(
    "--interval",
    type=LASTING,
    default="1s",
    show_default=True,
    help="How often to look for what is due.",
)
@click.option(
    "--listen", type=LISTENING, metavar="HOST:PORT", help="Receive Unipile's webhooks there."
)
@click.option(
    "--public-url",
    type=URL,
    help="Under which address Unipile reaches it: our webhooks are registered there.",
)
@json_option
def run(
    interval: timedelta, listen: tuple[str, int] | None, public_url: str | None, as_json: bool
) -> None:
    """Do what is due until stopped; for a service.

    SIGTERM or Ctrl-C: nothing more is begun, what is in flight is settled, then it ends with
    status 0.  Any number may run, on any number of hosts.  Webhooks make it react at once; without
    them replies and acceptances are found by sweeps, a few times a day.  The receiver holds 128
    connections at most, and closes those whose request is not complete within seconds.

    \b
    Example:
      clento run --listen 127.0.0.1:8080 --public-url https://clento.example.com
    """
    settings = read_settings()
    if public_url is not None and listen is None:
        raise click.UsageError("--public-url needs --listen")
    if listen is not None and settings.webhook_secret is None:
        raise BadSetting(
            "CLENTO_WEBHOOK_SECRET is not set, so that no webhook could be told from a forged one",
            "set it to a long random word: `openssl rand -hex 32`",
        )

    async def ran() -> None:
        async with (
            _working(settings) as (world, outbox, stop),
            _receiving(world, settings, listen, public_url, stop),
        ):
            heartbeat = Heartbeat(world, "run")
            await daemon.run(world, outbox, stop=stop, interval=interval, heartbeat=heartbeat)
            await heartbeat.end()

    run_async(ran(), settings, level=logging.INFO)
    answer(as_json, {"stopped": True}, "stopped")


@asynccontextmanager
async def _receiving(
    world: World,
    settings: Settings,
    listen: tuple[str, int] | None,
    public_url: str | None,
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    """Receive webhooks while the context is open, if told where; registered if they can come."""
    if listen is None:
        yield
        return
    listening = asyncio.get_running_loop().create_future()
    app = create_app(world, secret=settings.webhook_secret)
    served = asyncio.create_task(serve(app, *listen, stop=stop, ready=listening.set_result))
    try:
        await asyncio.wait({served, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            await served  # raises why it cannot listen
        url = public_url or listening.result()
        log.info("listening", extra={"url": listening.result()})
        if public_url is not None or simulated(settings):
            await _register(world, settings, url)
        yield
    except OSError as error:
        raise Refused(
            f"{listen[0]}:{listen[1]} cannot be listened on: {error.strerror}",
            "choose another --listen",
        ) from None
    finally:
        stop.set()
        with suppress(OSError):
            await served


async def _register(world: World, settings: Settings, url: str) -> None:
    try:
        await register(world.provider, url, settings.webhook_secret or "")
    except NotRegistered as error:
        # sweeps find what no webhook tells: later, but nothing is lost
        log.warning("webhooks not registered", extra={"reason": str(error), "alert": True})


@asynccontextmanager
async def _working(settings: Settings) -> AsyncIterator[tuple[World, Outbox, asyncio.Event]]:
    """Open everything a ticker needs; the event is set by SIGTERM and SIGINT."""
    settings.unipile()  # what is missing is said before anything is opened
    stop = asyncio.Event()
    with _signals(stop.set):
        async with AsyncExitStack() as opening:
            clock, is_simulated = await asyncio.to_thread(_clock, settings)
            provider = await opening.enter_async_context(unipile(settings, clock))
            outbox = await opening.enter_async_context(posting(settings.webhooks_may_reach))
            database = await opening.enter_async_context(opened(settings, patience=PATIENCE))
            await _warn_of_trust(settings, database)
            await _require_agreement(settings, database, clock)
            slots = settings.requests_at_once or SLOTS
            place = workspace(settings, is_simulated=is_simulated)
            marks = None if settings.state_dir is None else Marks(settings.state_dir)
            world = World(database, provider, clock, slots=slots, workspace=place, marks=marks)
            await require_provider(world)
            await look_at_stamp(world)
            yield world, outbox, stop


async def _warn_of_trust(settings: Settings, database: Database) -> None:
    """Log what the operator vouches for: who reads the log may not be who set it."""
    if not settings.trust_storage:
        return
    async with database.connection() as conn:
        off = await unsafe_settings(conn)
    if off:
        log.warning(
            "storage trusted by CLENTO_TRUST_STORAGE", extra={"off": ",".join(off), "alert": True}
        )


def _clock(settings: Settings) -> tuple[Clock, bool]:
    """Return the clock to live by, and whether it is a simulator's."""
    clock = clock_for(settings)
    is_simulated = clock is not system_clock
    if settings.clock_jump is not None and isinstance(clock, SpeedClock):
        from clento_engine.interface.chaos.clock import jumping  # noqa: PLC0415 - never in earnest

        clock = jumping(clock, settings.clock_jump)
    return clock if isinstance(clock, VirtualClock) else SteadyClock(clock), is_simulated


async def _require_agreement(settings: Settings, database: Database, clock: Clock) -> None:
    """Raise ClockSkew unless our clock shows what the clock does that all tickers share.

    That is the database server's; where Unipile is simulated, the simulator's.
    """
    before = clock()
    if isinstance(clock, SteadyClock) and clock.speed == 1.0 and not simulated(settings):
        async with database.connection() as conn:
            told = await server_time(conn)
        require_agreement(clock, before, told, "the database server's")
    elif isinstance(clock, SteadyClock):
        shared = await asyncio.to_thread(clock_for, settings)
        require_agreement(clock, before, shared(), "the simulator's")


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call `stop`, where signals can be heard."""
    loop = asyncio.get_running_loop()
    heard = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
            heard.append(number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


def _said(worked: Worked, failing: int) -> str:
    """Say in one line what was done."""
    steps = worked.ticked.steps
    parts = []
    if steps:
        named = ", ".join(f"{count} {name}" for name, count in sorted(steps.items()))
        parts.append(f"{steps.total():,} steps ({named})")
    for count, what in (
        (worked.ticked.finished, "leads finished"),
        (worked.ticked.stale, "stale"),
        (worked.applied, "webhooks applied"),
        (worked.reconciled, "reconciled"),
        (worked.swept, "accounts swept"),
        (failing, "accounts not swept"),
        (worked.posted, "notices posted"),
        (worked.completed, "campaigns completed"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    then = f"next at {moment(worked.next_at)}" if worked.next_at else "nothing waits"
    return f"{', '.join(parts) or 'nothing was due'}; {then}"

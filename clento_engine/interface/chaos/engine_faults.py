"""What happens to the engine's processes, to their clocks, and to its database."""

import asyncio
import os
import signal
import time
from pathlib import Path

from clento_engine.domain.limits import LEASE
from clento_engine.interface.chaos.accidents import ELSEWHERE
from clento_engine.interface.chaos.processes import Ticker
from clento_engine.interface.chaos.proxy import DatabaseCut
from clento_engine.interface.chaos.system import System
from clento_engine.store.server import embedded_server


async def kill(system: System) -> None:
    """SIGKILL a ticker."""
    victim = _victim(
        system,
    )
    if victim is not None and signal_ticker(victim, signal.SIGKILL):
        system.done.kills += 1


async def stall(system: System) -> None:
    """SIGSTOP a ticker for longer than its lease, while everything else goes on."""
    victim = _victim(
        system,
    )
    if victim is None or not signal_ticker(victim, signal.SIGSTOP):
        return
    victim.is_stopped = True
    lease_s = LEASE.total_seconds() / system.speed
    asyncio.get_running_loop().call_later(
        lease_s * system.chance.uniform(1.1, 2.6), _wake, system, victim
    )


def _wake(system: System, ticker: Ticker) -> None:
    ticker.is_stopped = False
    if signal_ticker(ticker, signal.SIGCONT):
        system.done.stalls += 1


async def cron(system: System) -> None:
    """Start a ticker as cron does, whether or not the one before has ended."""
    system.fleet.once("tick", "tick", "--budget", f"{system.chance.randint(2, 8)}s")
    system.done.faults["tick of cron, over the one before"] += 1


async def jump_clock(system: System) -> None:
    """Start a ticker whose host's clock is two hours off, at once or in some seconds."""
    by_s = system.chance.choice((-7200, 7200))
    after_s = system.chance.choice((0.0, system.chance.uniform(0.5, 4)))
    jump = {"CLENTO_CHAOS_CLOCK_JUMP": f"{by_s}@{after_s}"}
    system.fleet.once("jumped", "run", env=jump)
    system.done.faults["clock jumped by two hours"] += 1


async def tick_elsewhere(system: System) -> None:
    """Start a ticker whose provider is another, with accounts of the same ids."""

    def ended(status: int) -> None:
        if status > 0:
            system.done.faults[ELSEWHERE] += 1
        elif status == 0:
            system.done.allowed.append("a tick against another provider ended with status 0")

    env = {"UNIPILE_DSN": system.elsewhere}
    system.fleet.once("elsewhere", "tick", "--budget", "2s", env=env, ended=ended)


def _victim(system: System) -> Ticker | None:
    """Choose a ticker that runs, and has run for long enough to do something."""
    now = asyncio.get_running_loop().time()
    ripe = [
        each
        for each in system.fleet.targets
        if now - each.began > system.chance.uniform(0.7, 1.5) and not each.is_stopped
    ]
    return system.chance.choice(ripe) if ripe else None


async def crash_database(system: System) -> None:
    """Shut PostgreSQL down in immediate mode and start it again: it recovers from its WAL."""
    await asyncio.to_thread(_crash, system.data_dir)
    system.done.db_crashes += 1


async def cut_database(system: System, kind: DatabaseCut) -> None:
    """Cut a connection as it is, or at the next moment that fits."""
    if kind is DatabaseCut.ANYWHERE:
        system.done.faults[kind] += system.database_proxy.cut_some(system.chance, 1)
    else:
        system.database_proxy.arm(kind)


def signal_ticker(ticker: Ticker, number: signal.Signals) -> bool:
    """Send a ticker a signal; say whether it was there to get it."""
    if not ticker.is_alive:
        return False
    try:
        os.kill(ticker.process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _crash(data_dir: Path) -> None:
    pid = int((data_dir / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    while _is_alive(pid):
        time.sleep(0.01)
    embedded_server(data_dir)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

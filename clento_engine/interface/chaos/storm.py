"""The storm itself: what happens to the engine, at moments drawn from a seed."""

import asyncio
import json
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from clento_engine.domain.limits import LEASE
from clento_engine.interface.chaos.gateway import Gateway
from clento_engine.interface.chaos.processes import Fleet, Ticker
from clento_engine.interface.chaos.proxy import (
    DatabaseCut,
    DatabaseProxy,
    ProviderCut,
    ProviderProxy,
)
from clento_engine.interface.chaos.stage import Campaign, Stage
from clento_engine.runtime.registration import PATH
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store.accounts import resume_account
from clento_engine.store.audit import Turned
from clento_engine.store.campaigns import (
    CannotDo,
    pause_campaign,
    resume_campaign,
    stop_campaign,
)
from clento_engine.store.database import Busy, Database, DatabaseUnavailable, Lost, Undone
from clento_engine.store.server import embedded_server
from clento_engine.store.suppressions import suppress as leave_alone
from clento_engine.store.turmoil import Troubled, acted_upon, paused_by_provider

TEN_MINUTES_S = 600.0
FAMILIES = (
    "tickers",
    "clocks",
    "database",
    "provider",
    "answers",
    "webhooks",
    "people",
    "operators",
)
ALWAYS = "always"  # the operator who puts right what the provider stopped
RESUMED = "CampaignResumed"
SECRET = "storm-webhook-secret"  # noqa: S105  both ends are this storm's
STATUSES = ("CREDENTIALS", "STOPPED", "ERROR", "PERMISSIONS", "CONNECTING")
_PASSING = (Lost, DatabaseUnavailable, httpx.HTTPError, *Busy, *Undone)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Done:
    """What was done to the engine."""

    kills: int = 0
    stalls: int = 0
    db_crashes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    # a person, by every name, and from when on they are to be left alone
    suppressed: dict[str, datetime] = field(default_factory=dict)
    # from when on campaigns were not to run (it was answered), or might again (it was asked for)
    turns: list[Turned] = field(default_factory=list)


@dataclass(slots=True)
class Storm:
    """Everything that is shaken, and what was done to it."""

    stage: Stage
    database: Database  # not through the proxy: the operator's
    simulator: RemoteSimulator
    fleet: Fleet
    provider_proxy: ProviderProxy
    database_proxy: DatabaseProxy
    gateway: Gateway
    data_dir: Path  # of the database server
    rules: Iterator[Mapping[str, Any]]
    chance: random.Random
    speed: float
    seconds: float
    families: frozenset[str]  # of faults
    done: Done = field(default_factory=Done)

    async def rage(self, until: Callable[[], bool]) -> None:
        """Do all of it, each at its own pace, until told; then leave nothing stopped."""
        tasks = [
            asyncio.create_task(self._now_and_then(what, count, until))
            for family, what, count in self._kinds()
            if family in self.families | {ALWAYS}
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for ticker in self.fleet.targets:
                _signal(ticker, signal.SIGCONT)
            self.provider_proxy.disarm()
            self.database_proxy.disarm()

    def _kinds(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]], float]]:
        """Return what is done, of which family, and how often in ten minutes."""
        return (
            ("tickers", self.kill, 370),
            ("tickers", self.stall, 80),
            ("tickers", self.cron, 280),
            ("clocks", self.jump_clock, 30),
            ("database", self.crash_database, 19),
            *(("database", lambda kind=kind: self.cut_database(kind), 60) for kind in DatabaseCut),
            *(("provider", lambda kind=kind: self.cut_provider(kind), 50) for kind in ProviderCut),
            ("answers", self.wrong, 1400),
            ("webhooks", self.stranger, 60),
            ("people", self.account_status, 40),
            ("people", self.new_slug, 60),
            ("people", self.lag, 30),
            ("people", self.reply, 120),
            ("operators", self.pause, 44),
            ("operators", self.stop, 90),
            ("operators", self.suppress, 60),
            (ALWAYS, self.repair, 200),
        )

    async def _now_and_then(
        self, what: Callable[[], Awaitable[None]], count: float, until: Callable[[], bool]
    ) -> None:
        gap = TEN_MINUTES_S / count
        loop = asyncio.get_running_loop()
        due = loop.time() + gap * self.chance.uniform(0, 1)
        while not until():
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(min(wait, 0.5))
                continue
            due += gap * self.chance.uniform(0.5, 1.5)
            try:
                await what()
            except _PASSING as error:
                log.info("the storm met itself", extra={"reason": str(error)})

    # --- processes

    async def kill(self) -> None:
        """SIGKILL a ticker."""
        victim = self._victim()
        if victim is not None and _signal(victim, signal.SIGKILL):
            self.done.kills += 1

    async def stall(self) -> None:
        """SIGSTOP a ticker for longer than its lease, while everything else goes on."""
        victim = self._victim()
        if victim is None or not _signal(victim, signal.SIGSTOP):
            return
        victim.is_stopped = True
        lease_s = LEASE.total_seconds() / self.speed
        asyncio.get_running_loop().call_later(
            lease_s * self.chance.uniform(1.1, 2.6), self._wake, victim
        )

    def _wake(self, ticker: Ticker) -> None:
        ticker.is_stopped = False
        if _signal(ticker, signal.SIGCONT):
            self.done.stalls += 1

    async def cron(self) -> None:
        """Start a ticker as cron does, whether or not the one before has ended."""
        self.fleet.once("tick", "tick", "--budget", f"{self.chance.randint(2, 8)}s")
        self.done.faults["tick of cron, over the one before"] += 1

    async def jump_clock(self) -> None:
        """Start a ticker whose host's clock is two hours off, at once or in some seconds."""
        by_s = self.chance.choice((-7200, 7200))
        after_s = self.chance.choice((0.0, self.chance.uniform(0.5, 4)))
        jump = {"CLENTO_CHAOS_CLOCK_JUMP": f"{by_s}@{after_s}"}
        self.fleet.once("jumped", "run", env=jump)
        self.done.faults["clock jumped by two hours"] += 1

    def _victim(self) -> Ticker | None:
        """Choose a ticker that runs, and has run for long enough to do something."""
        now = asyncio.get_running_loop().time()
        ripe = [
            each
            for each in self.fleet.targets
            if now - each.began > self.chance.uniform(0.7, 1.5) and not each.is_stopped
        ]
        return self.chance.choice(ripe) if ripe else None

    # --- database

    async def crash_database(self) -> None:
        """Shut PostgreSQL down in immediate mode and start it again: it recovers from its WAL."""
        await asyncio.to_thread(_crash, self.data_dir)
        self.done.db_crashes += 1

    async def cut_database(self, kind: DatabaseCut) -> None:
        """Cut a connection as it is, or at the next moment that fits."""
        if kind is DatabaseCut.ANYWHERE:
            self.done.faults[kind] += self.database_proxy.cut_some(self.chance, 1)
        else:
            self.database_proxy.arm(kind)

    # --- provider

    async def cut_provider(self, kind: ProviderCut) -> None:
        """Have it happen to one of the next requests."""
        self.provider_proxy.arm(kind)

    async def wrong(self) -> None:
        """Have the provider answer wrong once."""
        await self.simulator.add_faults([next(self.rules)])

    async def stranger(self) -> None:
        """Deliver a webhook of people, chats or accounts that nobody knows."""
        account = self.chance.choice(self.stage.senders).unipile_id
        number = self.chance.getrandbits(32)
        payload: dict[str, Any] = self.chance.choice(
            (
                {
                    "event": "new_relation",
                    "account_id": account,
                    "user_provider_id": f"ACoAAstranger{number}",
                },
                {
                    "event": "message_received",
                    "account_id": f"unknown_{number}",
                    "message_id": str(number),
                    "sender": {"attendee_provider_id": f"ACoAAstranger{number}"},
                },
                {"AccountStatus": {"account_id": f"unknown_{number}", "message": "CREDENTIALS"}},
                {"event": "message_received", "account_id": account, "message_id": str(number)},
            )
        )
        await self.gateway.post(PATH, json.dumps(payload).encode(), {"Unipile-Auth": SECRET})
        self.done.faults["webhook of somebody unknown"] += 1

    async def account_status(self) -> None:
        """Sign an account out, and in again some minutes later."""
        account = self.chance.choice(self.stage.senders).unipile_id
        await self.simulator.set_status(account, self.chance.choice(STATUSES))
        await self.simulator.set_status(account, "OK", after_s=self.chance.uniform(60, 1800))
        self.done.faults["account status changed"] += 1

    async def new_slug(self) -> None:
        """Let somebody under way change their public identifier."""
        found = await self._leads(1)
        for _, identity, _ in found:
            renamed = f"{identity}-{self.chance.randrange(10_000)}"
            await self.simulator.force(identity, new_slug=renamed)
            self.done.faults["slug changed"] += 1

    async def lag(self) -> None:
        """Change after how long the provider's store shows what was sent."""
        await self.simulator.set_reliability(
            visible_after_s=self.chance.choice((0, 5, 30, 120, 300))
        )
        self.done.faults["sent messages visible later"] += 1

    # --- people and operators

    async def pause(self) -> None:
        """Pause a campaign for a while, at whatever moment it is in."""
        campaign = self.chance.choice(self.stage.campaigns)
        if not await self._change(pause_campaign, campaign, "CampaignPaused"):
            return
        self.done.faults["campaign paused"] += 1
        await asyncio.sleep(self.chance.uniform(1, 10))
        while not await self._change(resume_campaign, campaign, RESUMED):
            if self.chance.random() < 0.1:  # noqa: PLR2004  it was stopped meanwhile
                return
            await asyncio.sleep(0.2)
        self.done.faults["campaign resumed"] += 1

    async def stop(self) -> None:
        """End a campaign for good."""
        small = self.chance.choice(self.stage.small)
        if await self._change(stop_campaign, small, "CampaignStopped"):
            self.done.faults["campaign stopped"] += 1

    async def _change(
        self, change: Callable[..., Awaitable[None]], campaign: Campaign, kind: str
    ) -> bool:
        asked_at = await self.simulator.now()
        try:
            async with self.database.connection() as conn:
                await change(conn, self.stage.organization_id, campaign.id, now=asked_at)
        except CannotDo:
            return False
        except _PASSING:
            if kind != RESUMED:
                raise
            # it may have been done: from now on nobody can say that the campaign must not run
            self.done.turns.append(Turned(campaign.id, kind, asked_at))
            return False
        at = asked_at if kind == RESUMED else await self.simulator.now()
        self.done.turns.append(Turned(campaign.id, kind, at))
        return True

    async def suppress(self) -> None:
        """Leave somebody alone from now on, best somebody who is being written to right now."""
        for _, identity, email in await self._leads(1):
            kind, value = self.chance.choice((("person", identity), ("email", email)))
            now = await self.simulator.now()
            async with self.database.connection() as conn:
                await leave_alone(
                    conn, self.stage.organization_id, kind, value, "asked for it", now
                )
            self.done.suppressed.setdefault(identity, await self.simulator.now())
            self.done.faults["suppressed"] += 1

    async def reply(self) -> None:
        """Have somebody reply who is being acted upon right now."""
        for account, identity, _ in await self._leads(1):
            with suppress(httpx.HTTPStatusError):  # never met, or their account is away
                await self.simulator.reply(identity, account)
                self.done.faults["replied at the worst moment"] += 1

    async def repair(self) -> None:
        """Be the operator who resumes a sender that the provider's refusals paused."""
        async with self.database.connection() as conn:
            for account_id in await paused_by_provider(conn, self.stage.organization_id, 1):
                now = await self.simulator.now()
                await resume_account(
                    conn, self.stage.organization_id, account_id, by="operator", now=now
                )

    async def _leads(self, most: int) -> Sequence[Troubled]:
        """Return people with an action in flight, or due next."""
        async with self.database.connection() as conn:
            return await acted_upon(conn, self.stage.organization_id, most)


def _signal(ticker: Ticker, number: signal.Signals) -> bool:
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

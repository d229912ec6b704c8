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
from uuid import UUID

import httpx

from clento_engine.domain.account import PausedBy
from clento_engine.domain.limits import LEASE
from clento_engine.interface.chaos.faults import GATEWAY_PAGES, PROBES, REQUESTS
from clento_engine.interface.chaos.gateway import Gateway
from clento_engine.interface.chaos.processes import Fleet, Ticker
from clento_engine.interface.chaos.proxy import (
    DatabaseCut,
    DatabaseProxy,
    ProviderCut,
    ProviderProxy,
)
from clento_engine.interface.chaos.stage import Campaign, Sender, Stage
from clento_engine.interface.chaos.strangers import crowd_the_door
from clento_engine.runtime.binding import Added, add
from clento_engine.runtime.errors import NotAdded
from clento_engine.runtime.registration import PATH
from clento_engine.runtime.world import World
from clento_engine.simulator.faults import FaultKind
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store.accounts import resume_account
from clento_engine.store.audit import Turned
from clento_engine.store.campaigns import (
    pause_campaign,
    resume_campaign,
    stop_campaign,
)
from clento_engine.store.database import Busy, Database, Lost, Undone
from clento_engine.store.errors import AlreadyExists, CannotDo, DatabaseUnavailable
from clento_engine.store.rests import rest
from clento_engine.store.server import embedded_server
from clento_engine.store.suppressions import suppress as leave_alone
from clento_engine.store.turmoil import (
    HAND_EDITS,
    Troubled,
    acted_upon,
    commented_upon,
    edit_by_hand,
    paused_by_provider,
)

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
    "members",
    "stores",
    "elsewhere",
    "hands",
)
ANEW = "member signed in anew"
TWICE_CONNECTED = "member connected under a second id"
COVETED = "sender of another organisation added, and refused"
EMPTY = "store empty after a reconnect"
BEHIND = "provider's stamps behind"
BY_SLUG = "pending list by public identifier alone, or by ids again"
CROWD = "comments by others after ours"
ELSEWHERE = "tick against another provider, and refused"
SLOW = "slow connections to a receiver"
GATEWAY = "a gateway's pages for a moment, instead of every answer"
UNTOLD = "reply that no webhook tells"
STORED_LATE = "reply that reaches the store hours late"
STAMPED = "reply stamped in the future"
OWNER = "owner wrote by hand"
GROUP = "message in a group"
BY_HAND = "by hand: "
ACCIDENTS = (
    ANEW,
    TWICE_CONNECTED,
    COVETED,
    EMPTY,
    BEHIND,
    BY_SLUG,
    CROWD,
    ELSEWHERE,
    SLOW,
    GATEWAY,
    UNTOLD,
    STORED_LATE,
    STAMPED,
    OWNER,
    GROUP,
    *(BY_HAND + edit for edit in HAND_EDITS),
)
ALWAYS = "always"  # the operator who puts right what the provider stopped
RESUMED = "CampaignResumed"
SECRET = "storm-webhook-secret"  # noqa: S105  both ends are this storm's
PAGES = (403, 404, 502, 200)  # what gateways say for Unipile
STATUSES = ("CREDENTIALS", "STOPPED", "ERROR", "PERMISSIONS", "CONNECTING")
_PASSING = (Lost, DatabaseUnavailable, httpx.HTTPError, *Busy, *Undone)

_STRANGE_REPLIES: Mapping[str, Mapping[str, Any]] = {
    UNTOLD: {"silent": True},
    STORED_LATE: {"stored_after_s": 7200},
    STAMPED: {"stamp": "2046-01-01T00:00:00Z"},
}

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
    # leads whose moment a hand changed: no history tells of it until they go on
    moved: set[UUID] = field(default_factory=set)
    # what was to be refused and was not, in words
    allowed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Storm:
    """Everything that is shaken, and what was done to it."""

    stage: Stage
    world: World  # not through the proxies: the operator's
    simulator: RemoteSimulator
    elsewhere: str  # another simulator, which has accounts of the same ids
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
    # the id under which each sender is connected now, where it is not the first
    unipile_ids: dict[UUID, str] = field(default_factory=dict)
    _is_by_slug: bool = False

    @property
    def database(self) -> Database:
        """The operator's way to the database."""
        return self.world.database

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
            await self.simulator.set_reliability(stamps_behind_s=0)
        for campaign in self.stage.campaigns:  # whose pause was to end a moment later
            await self._change(resume_campaign, campaign, RESUMED)

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
            ("provider", self.refuse, 45),
            ("provider", self.stray, 90),
            ("provider", self.gateway_s_moment, 50),
            ("answers", self.wrong, 2600),
            ("members", self.sign_in_anew, 70),
            ("members", self.connect_twice, 70),
            ("members", self.covet, 150),
            ("stores", self.empty, 40),
            ("stores", self.fall_behind, 30),
            ("stores", self.name_by_slug, 30),
            ("elsewhere", self.tick_elsewhere, 32),
            ("webhooks", self.stranger, 60),
            ("webhooks", self.slow, 30),
            ("people", self.account_status, 40),
            ("people", self.new_slug, 60),
            ("people", self.lag, 30),
            ("people", self.reply, 120),
            *(
                ("people", lambda kind=kind, how=how: self.strange_reply(kind, how), 50)
                for kind, how in _STRANGE_REPLIES.items()
            ),
            ("people", self.write_by_hand, 60),
            ("people", self.write_to_group, 50),
            ("people", self.crowd, 160),
            ("operators", self.pause, 44),
            ("operators", self.stop, 90),
            ("operators", self.suppress, 60),
            *(("hands", lambda edit=edit: self.edit(edit), 32) for edit in HAND_EDITS),
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

    async def refuse(self) -> None:
        """Have the provider refuse connections for a moment, and close idle ones."""
        await self.provider_proxy.refuse()

    async def stray(self) -> None:
        """Have an answer come that nobody asked for."""
        self.provider_proxy.stray(self.chance)

    async def wrong(self) -> None:
        """Have the provider answer wrong once, while anything is asked."""
        if await self._is_resting():
            return
        await self.simulator.add_faults([next(self.rules)])

    async def gateway_s_moment(self) -> None:
        """Have a gateway answer with a page of its own, some dozens of times.

        One or two of them to the probes of the rest that follows: those are few, and all of them
        would make hours of a moment.
        """
        if await self._is_resting():
            return
        page = {
            "kind": FaultKind.GATEWAY_PAGE.value,
            "status": self.chance.choice(PAGES),
            "name": GATEWAY_PAGES,
        }
        await self.simulator.add_faults(
            [
                {**page, "route": REQUESTS, "times": self.chance.randint(5, 30)},
                {**page, "route": PROBES, "times": self.chance.randint(1, 2)},
            ]
        )
        self.done.faults[GATEWAY] += 1

    async def _is_resting(self) -> bool:
        """Whether nobody asks anything: what is to strike a request would wait for those after."""
        async with self.database.connection() as conn:
            return await rest(conn) is not None

    async def stranger(self) -> None:
        """Deliver a webhook of people, chats or accounts that nobody knows."""
        account = self._unipile_id(self.chance.choice(self.stage.senders))
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

    async def slow(self) -> None:
        """Hold connections to the receivers that say next to nothing."""
        count, seconds = self.chance.randint(20, 200), self.chance.uniform(1, 6)
        ports = self.gateway.ports
        if await crowd_the_door(ports, count, seconds, self.chance):
            self.done.faults[SLOW] += 1

    async def account_status(self) -> None:
        """Sign an account out, and in again some minutes later."""
        account = self._unipile_id(self.chance.choice(self.stage.senders))
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

    # --- members and their stores

    async def sign_in_anew(self) -> None:
        """Have a member sign in under a new id of Unipile's; an operator adds it, some time on."""
        sender = self.chance.choice(self.stage.senders)
        new_id = self._new_id(sender)
        await self.simulator.sign_in_anew(
            self._unipile_id(sender),
            new_id,
            synced_after_s=self.chance.choice((0, 300, 1200)),
            silent=self.chance.random() < 0.3,  # noqa: PLR2004
        )
        self.done.faults[ANEW] += 1
        await self._readd(sender, new_id)

    async def connect_twice(self) -> None:
        """Have a member connected under a second id besides the first."""
        sender = self.chance.choice(self.stage.senders)
        new_id = self._new_id(sender)
        await self.simulator.connect_again(sender.member_id, new_id)
        self.done.faults[TWICE_CONNECTED] += 1
        await self._readd(sender, new_id)

    async def _readd(self, sender: Sender, new_id: str) -> None:
        """Be the operator who adds a sender's new id, after minutes of theirs, until it is."""
        self.unipile_ids[sender.id] = new_id
        await asyncio.sleep(self.chance.uniform(0.1, 3))
        while True:
            try:
                added = await self._add(sender, sender.organization_id, new_id)
            except (NotAdded, *_PASSING) as error:
                log.info("not added yet", extra={"account": new_id, "reason": str(error)})
                await asyncio.sleep(0.5)
                continue
            except AlreadyExists:  # its answer was lost
                return
            # one that is signed out just now waits to be looked up, and is the same one then
            if added.paused is None and added.account_id != sender.id:
                self.done.allowed.append(
                    f"{new_id} was added beside {sender.unipile_id}, whose member it is"
                )
            return

    async def covet(self) -> None:
        """Add an account of another organisation, or its member under another id: refused."""
        sender = self.chance.choice(self.stage.senders)
        other = next(each for each in self.stage.organizations if each != sender.organization_id)
        account = self._unipile_id(sender)
        if self.chance.random() < 0.5:  # noqa: PLR2004
            account = self._new_id(sender)
            await self.simulator.connect_again(sender.member_id, account)
        try:
            added = await self._add(sender, other, account)
        except (NotAdded, AlreadyExists):
            self.done.faults[COVETED] += 1
            return
        if added.paused is None:
            self.done.allowed.append(f"{account} acts for two organisations")

    async def _add(self, sender: Sender, organization_id: UUID, unipile_id: str) -> Added:
        return await add(
            self.world,
            organization_id,
            unipile_account_id=unipile_id,
            name=unipile_id,
            tier=sender.tier,
            time_zone=sender.zone,
            warmup_days=0,
        )

    def _unipile_id(self, sender: Sender) -> str:
        return self.unipile_ids.get(sender.id, sender.unipile_id)

    def _new_id(self, sender: Sender) -> str:
        return f"{sender.unipile_id}_{self.chance.getrandbits(32):x}"

    async def empty(self) -> None:
        """Have an account reconnected, its store empty for some minutes."""
        account = self._unipile_id(self.chance.choice(self.stage.senders))
        await self.simulator.resync(account, for_s=self.chance.uniform(120, 1500))
        self.done.faults[EMPTY] += 1

    async def fall_behind(self) -> None:
        """Let the provider's clock be behind for a moment; rarely so far that nothing may act."""
        by_s = self.chance.choice((10, 30, 45, 50, 300))
        await self.simulator.set_reliability(stamps_behind_s=by_s)
        self.done.faults[BEHIND] += 1
        await asyncio.sleep(self.chance.uniform(1, 4))
        await self.simulator.set_reliability(stamps_behind_s=0)

    async def name_by_slug(self) -> None:
        """Have the list of sent invitations say public identifiers alone, or ids again."""
        self._is_by_slug = not self._is_by_slug
        await self.simulator.set_reliability(pending_by_slug_only=self._is_by_slug)
        self.done.faults[BY_SLUG] += 1

    async def crowd(self) -> None:
        """Let others comment after us, where we comment just now."""
        async with self.database.connection() as conn:
            found = await commented_upon(conn, self._any_organization(), 1)
        for post in found:
            await self.simulator.others_comment(post, self.chance.choice((3, 30, 120)))
            self.done.faults[CROWD] += 1

    async def tick_elsewhere(self) -> None:
        """Start a ticker whose provider is another, with accounts of the same ids."""

        def ended(status: int) -> None:
            if status > 0:
                self.done.faults[ELSEWHERE] += 1
            elif status == 0:
                self.done.allowed.append("a tick against another provider ended with status 0")

        env = {"UNIPILE_DSN": self.elsewhere}
        self.fleet.once("elsewhere", "tick", "--budget", "2s", env=env, ended=ended)

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
                await change(conn, campaign.organization_id, campaign.id, now=asked_at)
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

    async def edit(self, edit: str) -> None:
        """Change lanes or leads by hand, as somebody with a shell does in a hurry."""
        async with self.database.connection() as conn:
            moved = await edit_by_hand(conn, self._any_organization(), edit)
        if moved is not None:
            self.done.faults[BY_HAND + edit] += 1
            self.done.moved |= moved

    async def suppress(self) -> None:
        """Leave somebody alone from now on, best somebody who is being written to right now."""
        organization_id = self._any_organization()
        for _, identity, email in await self._leads(1, organization_id):
            kind, value = self.chance.choice((("person", identity), ("email", email)))
            now = await self.simulator.now()
            async with self.database.connection() as conn:
                await leave_alone(conn, organization_id, kind, value, "asked for it", now)
            self.done.suppressed.setdefault(identity, await self.simulator.now())
            self.done.faults["suppressed"] += 1

    async def reply(self) -> None:
        """Have somebody reply who is being acted upon right now."""
        for account, identity, _ in await self._leads(1):
            with suppress(httpx.HTTPStatusError):  # never met, or their account is away
                await self.simulator.reply(identity, account)
                self.done.faults["replied at the worst moment"] += 1

    async def strange_reply(self, kind: str, how: Mapping[str, Any]) -> None:
        """Have somebody reply so that the engine has to look for it."""
        for account, identity, _ in await self._leads(1):
            with suppress(httpx.HTTPStatusError):  # as above
                await self.simulator.reply(identity, account, **how)
                self.done.faults[kind] += 1

    async def write_by_hand(self) -> None:
        """Have a sender's owner write to somebody who is being acted upon right now."""
        for account, identity, _ in await self._leads(1):
            with suppress(httpx.HTTPStatusError):  # as above
                await self.simulator.write_by_hand(identity, account)
                self.done.faults[OWNER] += 1

    async def write_to_group(self) -> None:
        """Have somebody write in a group: no answer of theirs."""
        for account, identity, _ in await self._leads(1):
            with suppress(httpx.HTTPStatusError):  # as above
                await self.simulator.write_to_group(identity, account)
                self.done.faults[GROUP] += 1

    async def repair(self) -> None:
        """Be the operator who resumes a sender that the provider's refusals paused."""
        async with self.database.connection() as conn:
            organization_id = self._any_organization()
            for account_id in await paused_by_provider(conn, organization_id, 1):
                now = await self.simulator.now()
                await resume_account(
                    conn, organization_id, account_id, by=PausedBy.OPERATOR, now=now
                )

    async def _leads(self, most: int, organization_id: UUID | None = None) -> Sequence[Troubled]:
        """Return people with an action in flight, or due next."""
        async with self.database.connection() as conn:
            return await acted_upon(conn, organization_id or self._any_organization(), most)

    def _any_organization(self) -> UUID:
        """Choose an organisation, by how many senders it has."""
        return self.chance.choice(self.stage.senders).organization_id


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

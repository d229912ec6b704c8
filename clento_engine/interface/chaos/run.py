"""A storm from the first process to the verdict."""

import asyncio
import json
import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from clento_engine.domain.reach import SETTING, read_reach
from clento_engine.interface.api import create_app, serve
from clento_engine.interface.chaos import faults
from clento_engine.interface.chaos.gateway import LATE, TWICE, Gateway
from clento_engine.interface.chaos.judge import Findings, judged
from clento_engine.interface.chaos.processes import Fleet, simulator
from clento_engine.interface.chaos.proxy import (
    REFUSED,
    STRAY,
    DatabaseCut,
    DatabaseProxy,
    ProviderCut,
    ProviderProxy,
)
from clento_engine.interface.chaos.stage import SPRING, Stage, cast, set_stage
from clento_engine.interface.chaos.storm import ACCIDENTS, FAMILIES, SECRET, Done, Storm
from clento_engine.interface.demo.processes import free_port
from clento_engine.provider.exchange import CONNECT_TIMEOUT, READ_TIMEOUT
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import SpeedClock, VirtualClock
from clento_engine.runtime.drive import LATENESS, drive
from clento_engine.runtime.heartbeat import mend
from clento_engine.runtime.outbox import posting
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store import migrate
from clento_engine.store.database import Database
from clento_engine.store.replay import Replayed, replay_walks
from clento_engine.store.schema import SCHEMA
from clento_engine.store.server import temporary_server
from clento_engine.store.turmoil import Cost, commit_lazily, cost, unsettled

# A lease is five minutes of the engine's time: five real seconds, and a request ends within two.
SPEED = 60.0
SERVICES = 4
OPERATOR_WAITS_MS = 500
LISTENING = 2
LOCAL = "127.0.0.0/8"  # where the storm's receiver of notices is
SETTLES_WITHIN = timedelta(days=12)  # of virtual time, after the storm
LOOK_EVERY_S = 1.0
# What ten minutes on two cores must hold, so that nothing found means something.
FULL_MINUTES = 10.0
LEAST_OF = {"kills": 300, "stalls": 60, "db_crashes": 15, "actions": 20_000}
LEAST_OF_EACH = 20  # kind of fault
MOST_HELD = 0.005  # of leads
LEAST_ENDED = 0.99  # of walks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard; `actions` ends the storm earlier, once so many have landed."""

    minutes: float
    seed: int
    actions: int | None = None
    keep: Path | None = None  # where logs and database stay
    families: frozenset[str] = frozenset(FAMILIES)  # of faults; none: a calm day, to compare with

    @property
    def seconds(self) -> float:
        """How long it rages, in real seconds."""
        return self.minutes * 60

    @property
    def start(self) -> datetime:
        """When it begins: the change of clocks falls into its middle."""
        return SPRING - timedelta(seconds=self.seconds * SPEED / 2)

    @property
    def senders(self) -> int:
        """How many senders there are."""
        return max(60, round(25 * self.minutes))

    @property
    def leads_each(self) -> int:
        """How many leads each sender has in each of its campaigns."""
        return max(4, round(1.2 * self.minutes))

    @property
    def leads_of_small(self) -> int:
        """How many leads each of the small campaigns has."""
        return max(8, min(30, round(4 * self.minutes)))


@dataclass(frozen=True, slots=True)
class Glimpse:
    """How things stand while it rages."""

    phase: str
    now: datetime
    actions: int
    done: Done
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What was done to the engine, and what it did."""

    done: Done
    findings: Findings
    actions: dict[str, int]
    stage: Stage
    seconds: float
    started: int
    folder: Path
    faults: Counter[str]
    replayed: Replayed
    cost: Cost  # of the storm alone

    @property
    def is_clean(self) -> bool:
        """Whether every promise held."""
        return self.findings.is_clean

    def to_json(self) -> dict[str, Any]:
        """Return the one object that `--json` prints."""
        found = self.findings.counts()
        found["disagreements"] += found.pop("unknown")  # a book that does not know is not true
        return {
            "kills": self.done.kills,
            "stalls": self.done.stalls,
            "db_crashes": self.done.db_crashes,
            "faults": dict(sorted(self.faults.items())),
            "actions": sum(self.actions.values()),
            **found,
            "held_share": round(self.held_share, 5),
            "ended_by_themselves": round(self.ended_by_themselves, 5),
            "seconds": round(self.seconds, 1),
        }

    @property
    def held_share(self) -> float:
        """The share of all leads of which only a person can tell what became of them."""
        return (self.findings.held + self.findings.unresolved) / max(self.stage.leads, 1)

    @property
    def ended_by_themselves(self) -> float:
        """The share of walks, of campaigns that nobody stopped, that ended without a person."""
        return self.findings.ended / max(self.findings.walks, 1)

    def needs_people(self) -> list[str]:
        """Say where more was left to people than may be."""
        told = []
        if self.held_share > MOST_HELD:
            told.append(f"{self.held_share:.2%} of leads held, at most {MOST_HELD:.1%} may be")
        if self.ended_by_themselves < LEAST_ENDED:
            ended = f"{self.ended_by_themselves:.2%} of walks ended by themselves"
            told.append(f"{ended}, at least {LEAST_ENDED:.0%} must")
        return told

    def too_weak(self) -> list[str]:
        """Say where the storm was no storm: what it did less often than it must to prove much."""
        told = self.to_json()
        few = [
            f"{told[kind]} {kind}, at least {least} were to be"
            for kind, least in LEAST_OF.items()
            if told[kind] < least
        ]
        return few + [
            f"{kind}: {count} times, at least {LEAST_OF_EACH} were to be"
            for kind, count in told["faults"].items()
            if count < LEAST_OF_EACH
        ]


Show = Callable[[Glimpse], None]
Say = Callable[[str], None]


async def rage(plan: Plan, *, say: Say, show: Show) -> Outcome:
    """Let a storm rage, let its dust settle, and judge."""
    began = time.monotonic()
    chance = random.Random(plan.seed)  # noqa: S311  no secret
    folder = plan.keep or Path(tempfile.mkdtemp(prefix="clento-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # root's servers run as somebody else
    outcome: Outcome | None = None
    try:
        outcome = await _rage(plan, chance, folder, began, say, show)
        return outcome
    finally:
        if plan.keep is None and outcome is not None and outcome.is_clean:
            shutil.rmtree(folder, ignore_errors=True)


async def _rage(
    plan: Plan, chance: random.Random, folder: Path, began: float, say: Say, show: Show
) -> Outcome:
    async with AsyncExitStack() as opened:
        say("starting PostgreSQL")
        data_dir = folder / "data"
        server = opened.enter_context(temporary_server(data_dir, keep=plan.keep is not None))
        say("migrating")
        await asyncio.to_thread(migrate.upgrade, server.url)
        async with (
            Database(server.url, max_connections=1) as weakened,
            weakened.connection() as conn,
        ):
            await commit_lazily(conn)
        senders = cast(plan.senders)
        told = {
            "seed": plan.seed,
            "speed": SPEED,
            "start": plan.start.isoformat(),
            "accounts": senders,
        }
        say(f"starting the provider at {plan.start:%Y-%m-%d %H:%M} UTC, {SPEED:g} times as fast")
        url = await opened.enter_async_context(simulator(told, folder / "simulator.log"))
        remote = await opened.enter_async_context(RemoteSimulator(url))
        other = await opened.enter_async_context(
            simulator({**told, "seed": plan.seed + 1}, folder / "elsewhere-simulator.log")
        )
        elsewhere = await opened.enter_async_context(RemoteSimulator(other))
        # An operator's command is written down as of when it was given: it waits for locks of a
        # stalled ticker no longer than the judge's grace, at this speed.
        operators = f"{server.url}&options=-c%20lock_timeout%3D{OPERATOR_WAITS_MS}"
        database = await opened.enter_async_context(Database(operators, max_connections=8))
        ports = [free_port() for _ in range(LISTENING)]
        gateway = Gateway(ports, random.Random(chance.random()))  # noqa: S311
        public_url = await opened.enter_async_context(gateway.listening())
        say("setting the stage")
        stage = await set_stage(
            database,
            remote,
            senders=senders,
            leads_each=plan.leads_each,
            leads_of_small=plan.leads_of_small,
            notices_url=f"{public_url}/notices",
        )
        say(f"{stage.leads:,} leads, {len(senders)} senders, {len(stage.campaigns)} campaigns")
        limit_s = (CONNECT_TIMEOUT + READ_TIMEOUT).total_seconds() / SPEED
        host, _, port = url.removeprefix("http://").partition(":")
        provider_proxy = ProviderProxy(
            lambda: asyncio.open_connection(host, int(port)), late_s=limit_s * 1.2
        )
        socket_path = _socket_path(server.data_dir)
        database_proxy = DatabaseProxy(
            lambda: asyncio.open_unix_connection(socket_path),
            chance=random.Random(chance.random()),  # noqa: S311
        )
        provider_port = await opened.enter_async_context(provider_proxy.listening())
        database_port = await opened.enter_async_context(database_proxy.listening())
        workspace = Workspace(f"http://127.0.0.1:{provider_port}", is_simulated=True)
        fleet = Fleet(
            {
                "DATABASE_URL": f"postgresql://clento@127.0.0.1:{database_port}/clento"
                "?sslmode=disable&gssencmode=disable",
                "UNIPILE_DSN": workspace.dsn,
                "UNIPILE_ACCESS_TOKEN": "storm",
                "CLENTO_SCHEMA": SCHEMA,
                "CLENTO_POOLER": "",
                "CLENTO_WEBHOOK_SECRET": SECRET,
                "CLENTO_LOG_FORMAT": "json",
                SETTING: LOCAL,
            },
            folder,
        )
        opened.push_async_callback(fleet.close)
        for number in range(SERVICES):
            listening = (
                ("--listen", f"127.0.0.1:{ports[number]}", "--public-url", public_url)
                if number < LISTENING
                else ()
            )
            fleet.keep(f"run-{number}", "run", *listening)
        provider = await opened.enter_async_context(UnipileClient(url, "storm"))
        storm = Storm(
            stage,
            World(database, provider, SpeedClock(await remote.now(), SPEED), workspace=workspace),
            remote,
            other,
            fleet,
            provider_proxy,
            database_proxy,
            gateway,
            server.data_dir,
            faults.rules(limit_s * 1.5, random.Random(chance.random())),  # noqa: S311
            random.Random(chance.random()),  # noqa: S311
            SPEED,
            plan.seconds,
            plan.families,
        )
        if "webhooks" not in plan.families:
            gateway.calm(ports)
        async with database.connection() as conn:
            before = await cost(conn)
        raging_since = time.monotonic()
        landed = Counter[str]()

        def is_over() -> bool:
            enough = plan.actions is not None and landed.total() >= plan.actions
            return enough or time.monotonic() - raging_since >= plan.seconds

        async def look(phase: str) -> None:
            state = await remote.state()
            landed.clear()
            landed.update(state["actions"])
            now = datetime.fromisoformat(state["now"])
            show(Glimpse(phase, now, landed.total(), storm.done, time.monotonic() - began))

        async with _looking(lambda: look("storm")):
            await storm.rage(is_over)
            say("the storm is over: the dust settles")
            await remote.clear_faults()
        # what was stopped wakes and finds its lease gone; then only one calm ticker is left
        await asyncio.sleep(2 * limit_s)
        await fleet.close()
        async with database.connection() as conn:
            spent = await cost(conn) - before
        async with _looking(lambda: look("dust")):
            left = await _settle(server.url, url, workspace, remote, storm)
        ledger = await remote.ledger()
        rows = (json.dumps(entry.row()) for entry in ledger.entries)
        (folder / "ledger.jsonl").write_text("\n".join(rows))  # for whoever must look into it
        say("judging")
        findings = await judged(
            database,
            ledger,
            now=await remote.now(),
            suppressed=storm.done.suppressed,
            turns=storm.done.turns,
        )
        for line in storm.done.allowed:
            findings.add("disagreements", line)
        asked_elsewhere = await elsewhere.ledger()
        if asked_elsewhere.entries or asked_elsewhere.reads:
            findings.add(
                "disagreements",
                f"the other provider saw {len(asked_elsewhere.entries)} effects and reads of"
                f" {len(asked_elsewhere.reads)} accounts",
            )
        if left:
            findings.add(
                "lost", f"{left} leads had come to no end {SETTLES_WITHIN} after the storm"
            )
        async with database.connection() as conn:
            walked = [await replay_walks(conn, each) for each in stage.organizations]
        replayed = Replayed(
            sum(each.walks for each in walked),
            sum(each.lines for each in walked),
            [differing for each in walked for differing in each.differing],
        )
        for each in replayed.differing:
            of_hand = each.difference.event is None and each.difference.field == "next_run_at"
            if of_hand and each.lead_id in storm.done.moved:
                continue
            findings.add("disagreements", f"{each.campaign} {each.lead}: {each.difference}")
        (folder / "findings.txt").write_text("\n".join(findings.lines()))
        fault_counts = Counter[str](dict.fromkeys(_fault_kinds(), 0))
        for counts in (storm.done.faults, provider_proxy.done, database_proxy.done, gateway.done):
            fault_counts.update(counts)
        for label, count in (await remote.faults())["struck"].items():
            fault_counts[faults.kind_of(label)] += count
        return Outcome(
            storm.done,
            findings,
            dict(sorted(ledger.counts().items())),
            stage,
            time.monotonic() - began,
            fleet.started,
            folder,
            fault_counts,
            replayed,
            spent,
        )


async def _settle(
    database_url: str,
    simulator_url: str,
    workspace: Workspace,
    remote: RemoteSimulator,
    storm: Storm,
) -> int:
    """Let virtual time run on, with one calm ticker, until every lead is final, held or parked.

    The database is bound to `workspace`, the proxy that the fleet knew the simulator by.  Returns
    how many were not when the patience was over.
    """
    clock = VirtualClock(await remote.halt())
    until = clock() + SETTLES_WITHIN
    stage = storm.stage
    async with (
        Database(database_url, max_connections=6) as database,
        UnipileClient(simulator_url, "storm") as provider,
        posting(read_reach(LOCAL)) as outbox,
    ):
        world = World(database, provider, clock, workspace=workspace)
        stop, listening = asyncio.Event(), asyncio.Event()
        served = asyncio.create_task(
            serve(
                create_app(world, secret=SECRET),
                "127.0.0.1",
                storm.gateway.ports[0],
                stop=stop,
                ready=lambda _url: listening.set(),
            )
        )
        await listening.wait()
        storm.gateway.calm(storm.gateway.ports[:1])

        async def left() -> int:
            async with database.connection() as conn:
                return sum([await unsettled(conn, each) for each in stage.organizations])

        async def is_over() -> bool:
            return await left() == 0

        while not await is_over() and clock() < until:
            await mend(world)  # as every ticker does now and then: a hand was there until the end
            await drive(
                world,
                outbox,
                clock,
                lambda to: remote.advance(to, LATENESS),
                until=min(until, clock() + timedelta(hours=6)),
                late=LATENESS,
                is_over=is_over,
            )
        stop.set()
        await served
        return await left()


def _fault_kinds() -> set[str]:
    """Return the kinds of faults that happen to requests: those, too, that never happened."""
    return faults.kinds() | {
        *ProviderCut,
        *DatabaseCut,
        *ACCIDENTS,
        TWICE,
        LATE,
        STRAY,
        REFUSED,
    }


class _looking:  # noqa: N801  used as a function
    """Looks now and then while the context is open."""

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with suppress(httpx.HTTPError):
                await self._look()
            await asyncio.sleep(LOOK_EVERY_S)


def _socket_path(data_dir: Path) -> str:
    lines = (data_dir / "postgresql" / "postmaster.pid").read_text().splitlines()
    return f"{lines[4]}/.s.PGSQL.{lines[3]}"

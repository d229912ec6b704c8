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

from clento_engine.domain.reach import read_reach
from clento_engine.interface.api import create_app, serve
from clento_engine.interface.chaos import faults
from clento_engine.interface.chaos.accidents import ACCIDENTS
from clento_engine.interface.chaos.findings import Findings
from clento_engine.interface.chaos.gateway import LATE, TWICE
from clento_engine.interface.chaos.judge import judged
from clento_engine.interface.chaos.operators import put_right
from clento_engine.interface.chaos.provider_faults import SECRET
from clento_engine.interface.chaos.proxy import (
    REFUSED,
    STRAY,
    DatabaseCut,
    ProviderCut,
)
from clento_engine.interface.chaos.scene import LOCAL, Plan, Say, Scene, open_scene
from clento_engine.interface.chaos.stage import Stage
from clento_engine.interface.chaos.storm import Storm
from clento_engine.interface.chaos.system import Done, System
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.drive import LATENESS, drive
from clento_engine.runtime.heartbeat import mend
from clento_engine.runtime.outbox import posting
from clento_engine.runtime.world import World
from clento_engine.simulator.ledger import Ledger
from clento_engine.store.database import Database
from clento_engine.store.replay import Replayed, replay_walks
from clento_engine.store.turmoil import Cost, cost, unsettled

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
        scene = await open_scene(opened, plan, chance, folder, say)
        system, remote = scene.system, scene.system.simulator
        async with system.database.connection() as conn:
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
            show(Glimpse(phase, now, landed.total(), system.done, time.monotonic() - began))

        async with _looking(lambda: look("storm")):
            await Storm(system, plan.families).rage(is_over)
            say("the storm is over: the dust settles")
            await remote.clear_faults()
        # what was stopped wakes and finds its lease gone; then only one calm ticker is left
        await asyncio.sleep(2 * scene.limit_s)
        await system.fleet.close()
        async with system.database.connection() as conn:
            spent = await cost(conn) - before
        async with _looking(lambda: look("dust")):
            left = await _settle(scene)
        ledger = await remote.ledger()
        rows = (json.dumps(entry.row()) for entry in ledger.entries)
        (folder / "ledger.jsonl").write_text("\n".join(rows))  # for whoever must look into it
        say("judging")
        findings = await _judged(scene, ledger, left)
        replayed = await _replayed(system, findings)
        (folder / "findings.txt").write_text("\n".join(findings.lines()))
        return Outcome(
            system.done,
            findings,
            dict(sorted(ledger.counts().items())),
            system.stage,
            time.monotonic() - began,
            system.fleet.started,
            folder,
            await _fault_counts(system),
            replayed,
            spent,
        )


async def _settle(scene: Scene) -> int:
    """Let virtual time run on, with one calm ticker, until every lead is final, held or parked.

    The database is bound to the workspace that the fleet knew the simulator by: the proxy.  Returns
    how many were not when the patience was over.
    """
    system, remote = scene.system, scene.system.simulator
    clock = VirtualClock(await remote.halt())
    until = clock() + SETTLES_WITHIN
    stage = system.stage
    async with (
        Database(scene.server_url, max_connections=6) as database,
        UnipileClient(scene.simulator_url, "storm") as provider,
        posting(read_reach(LOCAL)) as outbox,
    ):
        world = World(database, provider, clock, workspace=scene.workspace)
        stop, listening = asyncio.Event(), asyncio.Event()
        served = asyncio.create_task(
            serve(
                create_app(world, secret=SECRET),
                "127.0.0.1",
                system.gateway.ports[0],
                stop=stop,
                ready=lambda _url: listening.set(),
            )
        )
        await listening.wait()
        system.gateway.calm(system.gateway.ports[:1])

        async def left() -> int:
            async with database.connection() as conn:
                return sum([await unsettled(conn, each) for each in stage.organizations])

        async def is_over() -> bool:
            return await left() == 0

        while not await is_over() and clock() < until:
            async with database.connection() as conn:  # what was stopped late in the storm
                for organization_id in stage.organizations:
                    await put_right(conn, organization_id, most=len(stage.senders), now=clock())
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


async def _judged(scene: Scene, ledger: Ledger, left: int) -> Findings:
    """Hold the engine's books against the provider's, once `left` leads had come to no end."""
    system = scene.system
    findings = await judged(
        system.database,
        ledger,
        now=await system.simulator.now(),
        suppressed=system.done.suppressed,
        turns=system.done.turns,
    )
    for line in system.done.allowed:
        findings.add("disagreements", line)
    asked_elsewhere = await scene.elsewhere.ledger()
    if asked_elsewhere.entries or asked_elsewhere.reads:
        findings.add(
            "disagreements",
            f"the other provider saw {len(asked_elsewhere.entries)} effects and reads of"
            f" {len(asked_elsewhere.reads)} accounts",
        )
    if left:
        findings.add("lost", f"{left} leads had come to no end {SETTLES_WITHIN} after the storm")
    return findings


async def _replayed(system: System, findings: Findings) -> Replayed:
    """Decide on every walk's history again; where it comes out otherwise is added to `findings`."""
    async with system.database.connection() as conn:
        walked = [await replay_walks(conn, each) for each in system.stage.organizations]
    replayed = Replayed(
        sum(each.walks for each in walked),
        sum(each.lines for each in walked),
        [differing for each in walked for differing in each.differing],
    )
    for each in replayed.differing:
        of_hand = each.difference.event is None and each.difference.field == "next_run_at"
        if of_hand and each.lead_id in system.done.moved:
            continue
        findings.add("disagreements", f"{each.campaign} {each.lead}: {each.difference}")
    return replayed


async def _fault_counts(system: System) -> Counter[str]:
    """Count how often each kind of fault happened, whoever did it."""
    fault_counts = Counter[str](dict.fromkeys(_fault_kinds(), 0))
    for counts in (
        system.done.faults,
        system.provider_proxy.done,
        system.database_proxy.done,
        system.gateway.done,
    ):
        fault_counts.update(counts)
    for label, count in (await system.simulator.faults())["struck"].items():
        fault_counts[faults.kind_of(label)] += count
    return fault_counts


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

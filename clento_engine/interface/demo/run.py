"""The demo from the first row to the verdict."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget
from clento_engine.domain.schedule import WorkingHours
from clento_engine.interface.demo.processes import (
    OnRestart,
    free_port,
    simulator_process,
    supervise,
)
from clento_engine.interface.demo.receiver import Receiver
from clento_engine.interface.demo.stage import START, Stage, set_stage
from clento_engine.interface.demo.ticker import Role
from clento_engine.interface.demo.verdict import verdict_of
from clento_engine.simulator.judge import Verdict, peaks
from clento_engine.simulator.ledger import Ledger
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store import migrate
from clento_engine.store.budgets import limits
from clento_engine.store.campaigns import steps_recorded
from clento_engine.store.database import Conn, Database
from clento_engine.store.server import temporary_server
from clento_engine.store.status import Standing, standing

LOOK_EVERY_S = 2.0
# The demo's database is deleted at its end: its commits need not wait for the disk.
# Weeks pass in a minute: so many dead rows must not wait a minute for the vacuum.
THROWAWAY = {"synchronous_commit": "off", "autovacuum_naptime": "1s"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play."""

    leads: Path
    document: object
    days: int
    senders: int
    seed: int
    hours: WorkingHours


@dataclass(frozen=True, slots=True)
class Glimpse:
    """How things stand while it runs."""

    now: datetime
    stage: Stage
    standing: Standing
    actions: dict[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it.

    `ended`: the campaign came to its end before the plan's days were over.  `peaks`: the fullest
    that each account's sliding windows really got, by account and budget.
    """

    stage: Stage
    ended: bool
    standing: Standing
    verdict: Verdict
    caps: Mapping[str, Mapping[Budget, Caps]]  # by the provider's account id
    peaks: Mapping[tuple[str, Budget], Mapping[str, int]]
    actions: dict[str, int]
    notices: int
    steps: int
    virtual: timedelta
    seconds: float
    killed: int

    @property
    def lost(self) -> int:
        """How many leads came to no end, though the campaign did."""
        return self._under_way if self.ended else 0

    @property
    def unfinished(self) -> int:
        """How many leads were under way still when the days were over."""
        return 0 if self.ended else self._under_way

    @property
    def _under_way(self) -> int:
        return sum(count.leads for count in self.standing.counts if count.outcome is None)

    @property
    def is_clean(self) -> bool:
        """Whether every promise held."""
        return self.verdict.is_clean and self.lost == 0

    def to_json(self) -> dict[str, Any]:
        """Return the one object that `--json` prints."""
        states: dict[str, int] = {}
        outcomes: dict[str, int] = {}
        for count in self.standing.counts:
            states[count.status] = states.get(count.status, 0) + count.leads
            if count.outcome is not None:
                outcomes[count.outcome] = outcomes.get(count.outcome, 0) + count.leads
        judged = self.verdict.counts()
        return {
            "leads": self.stage.rows,
            "imported": self.stage.imported,
            "rejected_rows": len(self.stage.rejected),
            "states": states,
            "outcomes": outcomes,
            "actions": self.actions,
            "funnel": [
                {
                    "node": node_id,
                    "entered": passed.entered if passed is not None else 0,
                    "done": passed.done if passed is not None else 0,
                    "skipped": passed.skipped if passed is not None else 0,
                    "failed": passed.failed if passed is not None else 0,
                }
                for node_id in self.stage.workflow.nodes
                for passed in [self.standing.funnel.get(node_id)]
            ],
            "duplicates": judged["duplicates"],
            "over_cap": judged["over_cap"],
            "outside_hours": judged["outside_hours"],
            "after_reply": judged["after_reply"],
            "lost": self.lost,
            "unfinished": self.unfinished,
            "virtual_days": round(self.virtual / timedelta(days=1), 2),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
        }


Show = Callable[[Glimpse], None]
Say = Callable[[str], None]


async def play(plan: Plan, *, say: Say, introduce: Callable[[Stage], None], show: Show) -> Played:
    """Play the demo: `say` hears what is being set up, `show` how it goes, every second.

    Raises what `set_stage` does, and TickerFailed.
    """
    receiver = Receiver()
    say("starting PostgreSQL")
    with temporary_server(settings=THROWAWAY) as server:
        say("migrating")
        await asyncio.to_thread(migrate.upgrade, server.url)
        async with (
            Database(server.url, max_connections=4) as database,
            simulator_process(seed=plan.seed, start=START) as url,
            RemoteSimulator(url) as simulator,
            receiver.listening(free_port()) as notices_url,
        ):
            say("importing leads")
            stage = await set_stage(
                database,
                simulator,
                leads=plan.leads,
                document=plan.document,
                senders=plan.senders,
                hours=plan.hours,
                max_duration=timedelta(days=plan.days),
                webhook_url=notices_url,
            )
            introduce(stage)
            role = _role(plan, stage, server.url, url, notices_url)
            began = time.monotonic()
            restarts = OnRestart()

            async def glimpse() -> Glimpse:
                return await _glimpse(database, simulator, stage, began)

            ended = await _while_showing(supervise(role, on_restart=restarts), glimpse, show)
            last = await glimpse()
            seconds = time.monotonic() - began
            show(last)
            async with database.connection() as conn:
                caps = await _caps(conn, stage)
                steps = await steps_recorded(conn, stage.organization_id, stage.campaign_id)
            ledger = await simulator.ledger()
    return Played(
        stage,
        ended,
        last.standing,
        _verdict(ledger, stage, caps),
        caps,
        peaks(ledger),
        last.actions,
        len(receiver.ids),
        steps,
        last.now - START,
        seconds,
        restarts.killed,
    )


def _role(plan: Plan, stage: Stage, server_url: str, url: str, notices_url: str) -> Role:
    """Return what the ticker plays; it ends with the plan's last day."""
    return Role(
        server_url,
        url,
        free_port(),
        stage.organization_id,
        stage.campaign_id,
        notices_url,
        START + timedelta(days=plan.days),
    )


async def _caps(conn: Conn, stage: Stage) -> Mapping[str, Mapping[Budget, Caps]]:
    return {
        sender.unipile_account_id: await limits(conn, stage.organization_id, sender.account_id)
        for sender in stage.senders
    }


def _verdict(ledger: Ledger, stage: Stage, caps: Mapping[str, Mapping[Budget, Caps]]) -> Verdict:
    return verdict_of(
        ledger,
        stage.workflow,
        hours=stage.hours,
        zones={sender.unipile_account_id: sender.time_zone for sender in stage.senders},
        caps=caps,
    )


async def _while_showing(
    running: Awaitable[bool], glimpse: Callable[[], Awaitable[Glimpse]], show: Show
) -> bool:
    """Await `running`, showing how things stand now and then."""
    task = asyncio.ensure_future(running)
    try:
        while not task.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), LOOK_EVERY_S)
            if not task.done():
                show(await glimpse())
        return await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _glimpse(
    database: Database, simulator: RemoteSimulator, stage: Stage, began: float
) -> Glimpse:
    state = await simulator.state()
    now = await simulator.now()
    async with database.connection() as conn:
        stands = await standing(conn, stage.organization_id, stage.campaign_id, now)
    actions = {str(name): int(count) for name, count in sorted(state["actions"].items())}
    return Glimpse(now, stage, stands, actions, time.monotonic() - began)

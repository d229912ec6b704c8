"""A whole campaign in the test's own process: real ticker, real store, simulator, moved clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from psycopg.rows import dict_row

from clento_engine.domain.account import Tier
from clento_engine.domain.campaign import Pace
from clento_engine.domain.editor import read_workflow
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.lead import Identity, LeadRow
from clento_engine.domain.operation import Budget
from clento_engine.domain.person import NameKind, kind_of
from clento_engine.domain.readiness import check_ready, skip_unready
from clento_engine.domain.schedule import is_open, parse_hours
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.drive import drive
from clento_engine.runtime.inbox import receive
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.world import World
from clento_engine.simulator import scheduler
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.judge import Verdict, judge
from clento_engine.simulator.ledger import Effect, Entry
from clento_engine.simulator.people import Chances
from clento_engine.simulator.senders import Tier as SimulatedTier
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import Reliability
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.accounts import add_account, create_organization
from clento_engine.store.budgets import limits
from clento_engine.store.campaigns import create_campaign, is_over, start_campaign
from clento_engine.store.database import Database
from clento_engine.store.leads import import_leads
from clento_engine.store.outbox import add_endpoint
from clento_engine.store.workflows import save_workflow

# Nobody is odd unless a test says so; nobody accepts or replies by chance.
PLAIN = Chances(
    missing=0,
    locked=0,
    connected=0,
    open_profile=0,
    accepts=0,
    replies=0,
    takes_inmail=1,
    changed_slug=0,
    posts=1,
)
RELIABLE = Reliability(lost=0, duplicated=0, null_ids=0)
HOURS = "Mon-Fri 09:00-18:00"
# Leads begin as fast as their accounts allow.
BUSY = Pace(lead_processing_delay=timedelta(0), leads_per_day=1000)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo")


@dataclass(slots=True)
class Play:
    """A campaign on a stage; `notices` are what the customer's webhooks received, and when."""

    database: Database
    simulated: Simulated
    clock: VirtualClock
    world: World
    outbox: Outbox
    organization_id: UUID
    campaign_id: UUID
    accounts: dict[str, UUID]
    zones: dict[str, str]
    notices: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    hours: str = HOURS

    async def run(self, days: float = 90) -> bool:
        """Run to the campaign's end, or for so many days; say whether it ended."""

        async def over() -> bool:
            async with self.database.connection() as conn:
                return await is_over(conn, self.organization_id, self.campaign_id)

        async def advance(to: datetime) -> datetime:
            return (await scheduler.advance(self.simulated, to)).now

        until = self.clock() + timedelta(days=days)
        return await drive(self.world, self.outbox, self.clock, advance, until=until, is_over=over)

    def reached(self, slug: str) -> list[tuple[str, datetime]]:
        """Return what reached a person, in order."""
        return [
            (entry.operation.value, entry.at)
            for entry in self.simulated.ledger.entries
            if entry.slug == slug
        ]

    def entries(self, operation: Effect | None = None) -> list[Entry]:
        """Return what reached anybody."""
        return [
            entry
            for entry in self.simulated.ledger.entries
            if operation is None or entry.operation is operation
        ]

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Ask the database."""
        async with self.database.connection() as conn:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute(query.encode(), values)
            return await cursor.fetchall()

    async def leads(self) -> dict[str, dict[str, Any]]:
        """Return every execution by the lead's identity."""
        found = await self.rows(
            "select p.identity, e.* from campaign_executions e"
            " join leads p on p.organization_id = e.organization_id and p.id = e.lead_id"
        )
        return {row["identity"]: row for row in found}

    async def verdict(self) -> Verdict:
        """Judge by the simulator's ledger."""
        caps: dict[str, dict[Budget, dict[str, int]]] = {}
        async with self.database.connection() as conn:
            for name, account_id in self.accounts.items():
                found = await limits(conn, self.organization_id, account_id)
                caps[name] = {
                    budget: {
                        window: cap
                        for window in ("hour", "day", "week", "month")
                        if (cap := getattr(of, window)) is not None
                    }
                    for budget, of in found.items()
                }
        hours = parse_hours(self.hours)
        return judge(
            self.simulated.ledger,
            caps=lambda account: caps[account],
            is_open=lambda account, at: is_open(hours, at, self.zones[account]),
            grace=timedelta(minutes=1),
        )


async def at_once(_seconds: float) -> None:
    """Stand for the client's pause between two attempts of a read: no test waits."""


@dataclass(slots=True)
class Recorder:
    """Stands for the customer's webhook endpoint."""

    clock: VirtualClock
    notices: list[tuple[datetime, dict[str, Any]]]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.notices.append((self.clock(), json.loads(request.content)))
        return httpx.Response(200)


async def set_up(
    database: Database,
    document: Mapping[str, Any],
    *,
    slugs: Sequence[str] = ("ada", "bert", "cleo"),
    start: datetime,
    senders: int = 1,
    tier: Tier = Tier.PREMIUM,
    hours: str = HOURS,
    pace: Pace | None = None,
    chances: Chances = PLAIN,
    reliability: Reliability = RELIABLE,
    seed: int = 7,
    warmup_days: int = 0,
    stop_on_reply: bool = True,
    max_duration: timedelta = timedelta(days=60),
    people: Mapping[str, Mapping[str, Any]] | None = None,
    slots: int = 100,
) -> Play:
    """Set a campaign up and start it; `people` forces traits by slug.

    Of `slugs` some may be provider ids.
    """
    shared = DrivenClock(start)
    clock = VirtualClock(start)
    stage: dict[str, Any] = {}

    async def deliver(_url: str, _headers: Mapping[str, str], body: bytes) -> int | None:
        clock.move_to(shared())
        await receive(stage["world"], json.loads(body))
        return 200

    simulated = Simulated(
        seed=seed, clock=shared, chances=chances, reliability=reliability, deliver=deliver
    )
    for source, events in (
        ("messaging", ["message_received"]),
        ("users", ["new_relation"]),
        ("account_status", ["ok", "credentials", "error", "stopped", "permissions", "deleted"]),
    ):
        register_webhook(
            simulated, {"source": source, "request_url": "http://engine/", "events": events}
        )
    provider = UnipileClient(
        "http://simulator",
        "token",
        transport=httpx.ASGITransport(create_app(simulated)),
        pause=at_once,
    )
    world = World(database, provider, clock, slots=slots)
    compiled = read_workflow(document)
    if compiled.workflow is None:
        raise AssertionError(compiled.findings)
    ids = {node.webhook_id for node in compiled.workflow.nodes.values() if node.webhook_id}
    findings = [
        *compiled.findings,
        *check_ready(
            compiled.workflow,
            tiers={tier},
            webhooks=dict.fromkeys(ids, "https://crm.test/in"),
            columns=None,
            inmail_subject="A question",
        ),
    ]
    workflow = skip_unready(compiled.workflow, findings)
    accounts, zones = {}, {}
    async with database.connection() as conn:
        organization_id = await create_organization(conn, "Acme")
        for number in range(senders):
            name = f"acc_{number + 1}"
            member = connect_account(simulated, name, SimulatedTier(tier.value), name)
            zones[name] = ZONES[number % len(ZONES)]
            accounts[name] = await add_account(
                conn,
                organization_id,
                unipile_account_id=name,
                name=name,
                tier=tier,
                time_zone=zones[name],
                warmup_days=warmup_days,
                provider_id=member.provider_id,
            )
        for webhook_id in ids:
            await add_endpoint(conn, organization_id, webhook_id, "crm", "https://crm.test/in")
        rows = [
            LeadRow(
                number,
                list_identity(slug),
                first_name=slug.title(),
                last_name="Example",
                company="Acme",
                job_title="CTO",
                email=None,
                fields={},
                notes=(),
            )
            for number, slug in enumerate(slugs, 1)
        ]
        imported = await import_leads(conn, organization_id, "people", rows, start)
        version = await save_workflow(conn, organization_id, "w", document, workflow)
        chosen = pace or Pace()
        campaign_id = await create_campaign(
            conn,
            organization_id,
            name="c",
            workflow_version_id=version,
            list_id=imported.list_id,
            senders=list(accounts.values()),
            hours=parse_hours(hours),
            stop_on_reply=stop_on_reply,
            on_missing=OnMissing.HOLD,
            max_duration=max_duration,
            inmail_subject="A question",
            pace=chosen,
        )
        for slug, traits in (people or {}).items():
            _force(simulated, slug, traits)
        await start_campaign(
            conn,
            organization_id,
            campaign_id,
            workflow,
            workflow_version_id=version,
            pace=chosen,
            start_at=start,
            now=start,
        )
    stage.update(world=world, organization_id=organization_id)
    notices: list[tuple[datetime, dict[str, Any]]] = []
    client = httpx.AsyncClient(transport=httpx.MockTransport(Recorder(clock, notices)))
    return Play(
        database,
        simulated,
        clock,
        world,
        Outbox(client),
        organization_id,
        campaign_id,
        accounts,
        zones,
        notices,
        hours,
    )


def list_identity(name: str) -> Identity:
    """Return whom a list names so, by public identifier or by the provider's id."""
    is_id = kind_of(name) is NameKind.ID
    slug, provider_id = (None, name) if is_id else (name, None)
    return Identity(name, slug, provider_id, f"https://www.linkedin.com/in/{name}")


TRAITS = {"exists", "locked", "open_profile", "premium", "takes_inmail", "posts", "new_slug"}


def _force(simulated: Simulated, slug: str, traits: Mapping[str, Any]) -> None:
    person = simulated.person(slug)
    simulated.force(
        person,
        {name: value for name, value in traits.items() if name in TRAITS},
        {name: value for name, value in traits.items() if name not in TRAITS},
    )

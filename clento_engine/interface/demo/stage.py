"""Setting the demo's stage: an organisation, its senders, its leads, a started campaign."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from clento_engine.domain.account import Tier
from clento_engine.domain.campaign import Pace
from clento_engine.domain.editor import read_workflow
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.lead import LeadRow
from clento_engine.domain.schedule import WorkingHours
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.demo.receiver import LOCAL
from clento_engine.interface.leads.layout import layout
from clento_engine.interface.leads.reading import RejectedRow, read_leads
from clento_engine.runtime.errors import NotReady, Unready
from clento_engine.runtime.launch import Plan, Started, create, start
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.simulator.senders import Tier as SimulatedTier
from clento_engine.store.accounts import add_account, create_organization
from clento_engine.store.campaigns import find_campaign
from clento_engine.store.database import Conn, Database
from clento_engine.store.leads import import_leads
from clento_engine.store.outbox import add_endpoint
from clento_engine.store.workflows import load_workflows

START = datetime(2026, 1, 5, 5, 0, tzinfo=UTC)  # a Monday, before anybody's working hours
ZONES = ("Europe/Berlin", "Europe/London", "Europe/Athens")
TIERS = (Tier.PREMIUM, Tier.SALES_NAVIGATOR, Tier.PREMIUM)
SUBJECT = "A short question"
# Each morning's leads begin together; how many, the tightest budget on their path says.
PACE = Pace(lead_processing_delay=timedelta(0))


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender of the demo."""

    account_id: UUID
    unipile_account_id: str
    name: str
    tier: Tier
    time_zone: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What was set up."""

    organization_id: UUID
    campaign_id: UUID
    senders: tuple[Sender, ...]
    workflow: Workflow
    skipped: Mapping[str, str]  # nodes passed over, and why
    hours: WorkingHours
    rows: int
    imported: int
    enrolled: int
    rejected: tuple[RejectedRow, ...]


@dataclass(slots=True)
class _Rows:
    """Passes good rows on and keeps the bad ones for the report."""

    rejected: list[RejectedRow]
    count: int = 0

    def good(self, path: Path) -> Iterator[LeadRow]:
        for row in read_leads(path, layout(path)):
            self.count += 1
            if isinstance(row, RejectedRow):
                self.rejected.append(row)
            else:
                yield row


async def set_stage(
    database: Database,
    simulator: RemoteSimulator,
    *,
    leads: Path,
    document: object,
    senders: int,
    hours: WorkingHours,
    max_duration: timedelta,
    webhook_url: str,
) -> Stage:
    """Import, validate, set up and start, with the same functions as the commands.

    Nodes that cannot run are passed over.  Raises NotReady for a workflow with errors,
    UnreadableFile for the leads, NobodyToContact when none of them can be enrolled.
    """
    now = await simulator.now()
    read = read_workflow(document)
    if read.workflow is None:
        raise NotReady(Unready.WORKFLOW, read.findings)
    async with database.connection() as conn:
        organization_id = await create_organization(conn, "Demo")
        cast = await _cast(conn, simulator, organization_id, senders)
        for webhook_id in sorted({n.webhook_id or "" for n in read.workflow.nodes.values()} - {""}):
            await add_endpoint(conn, organization_id, webhook_id, "Demo receiver", webhook_url)
        rows = _Rows([])
        imported = await import_leads(conn, organization_id, "demo", rows.good(leads), now)
        plan = Plan(
            name="Demo campaign",
            workflow_name="demo",
            document=document,
            list_name="demo",
            senders=[sender.unipile_account_id for sender in cast],
            hours=hours,
            on_missing=OnMissing.SKIP,
            max_duration=max_duration,
            inmail_subject=SUBJECT,
        )
        started, workflow = await _start(conn, organization_id, plan, now)
    return Stage(
        organization_id,
        started.id,
        tuple(cast),
        workflow,
        started.skipped,
        hours,
        rows.count,
        imported.added,
        started.leads,
        tuple(rows.rejected),
    )


async def _cast(
    conn: Conn, simulator: RemoteSimulator, organization_id: UUID, count: int
) -> list[Sender]:
    """Connect `count` accounts to the simulator, and add each as a sender."""
    cast = []
    for number in range(count):
        tier, zone = TIERS[number % len(TIERS)], ZONES[number % len(ZONES)]
        name, unipile_id = f"Sender {number + 1}", f"demo_{number + 1}"
        await simulator.add_account(unipile_id, name, SimulatedTier(tier.value))
        account_id = await add_account(
            conn,
            organization_id,
            unipile_account_id=unipile_id,
            name=name,
            tier=tier,
            time_zone=zone,
            provider_id=await simulator.member(unipile_id),
        )
        cast.append(Sender(account_id, unipile_id, name, tier, zone))
    return cast


async def _start(
    conn: Conn, organization_id: UUID, plan: Plan, now: datetime
) -> tuple[Started, Workflow]:
    """Create and start the campaign; the workflow as it runs, without the nodes passed over."""
    await create(conn, organization_id, plan, now=now, reach=LOCAL)
    started = await start(
        conn,
        organization_id,
        plan.name,
        pace=PACE,
        begin=None,
        skip=True,
        now=now,
        reach=LOCAL,
    )
    campaign = await find_campaign(conn, organization_id, plan.name)
    version_id = campaign.workflow_version_id
    compiled = await load_workflows(conn, [(organization_id, version_id)])
    return started, compiled[version_id]

"""A campaign made and started: what must be true of its workflow before anybody is contacted.

Nothing here knows of a command line: the HTTP API makes and starts campaigns by the same two calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from clento_engine.domain.campaign import START, Pace
from clento_engine.domain.editor import NOTHING, Allowed, read_workflow
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.failure import REFUSALS_IN_A_ROW
from clento_engine.domain.finding import Finding, Severity
from clento_engine.domain.preview import needs, sources
from clento_engine.domain.reach import PUBLIC, Reach
from clento_engine.domain.readiness import check_ready, skip_unready, with_allowed
from clento_engine.domain.schedule import DEFAULT_HOURS, WorkingHours, parse_hours
from clento_engine.domain.workflow import Workflow
from clento_engine.runtime.errors import NotReady, Over, Unready
from clento_engine.store.accounts import AccountRow, find_account
from clento_engine.store.addressees import OWN, lacking
from clento_engine.store.campaigns import (
    CampaignRow,
    create_campaign,
    find_campaign,
    start_campaign,
)
from clento_engine.store.contactable import left_out
from clento_engine.store.database import Conn
from clento_engine.store.errors import LeftOut, Noun, WrongState
from clento_engine.store.lists import find_list, list_columns
from clento_engine.store.outbox import endpoints
from clento_engine.store.senders import senders
from clento_engine.store.workflows import load_workflows, save_workflow, version


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign is made of; names are those of the organisation's lists and accounts."""

    name: str
    workflow_name: str
    document: object
    list_name: str
    senders: Sequence[str]
    hours: WorkingHours = DEFAULT_HOURS
    stop_on_reply: bool = True
    stop_on_own_message: bool = True
    on_missing: OnMissing = OnMissing.HOLD
    max_duration: timedelta = timedelta(days=30)
    inmail_subject: str | None = None
    hold_after: int = REFUSALS_IN_A_ROW
    overlap: bool = False
    rest: timedelta | None = None
    allowed: Allowed = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lacking:
    """A variable of the texts for which `leads` have no value: who needs it, and who falls back."""

    variable: str
    leads: int
    needed_by: tuple[str, ...]
    replaced_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Created:
    """A draft, and what is still to be done before it can start; `leads` may be contacted now."""

    id: UUID
    name: str
    findings: tuple[Finding, ...]
    leads: int
    lacking: tuple[Lacking, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """A campaign that runs; `skipped` are the nodes passed over, with the reasons.

    `left_out`: leads of its list that are not enrolled.
    """

    id: UUID
    name: str
    leads: int
    start_at: datetime
    findings: tuple[Finding, ...]
    left_out: LeftOut
    skipped: dict[str, str] = field(default_factory=dict)


async def create(
    conn: Conn, organization_id: UUID, plan: Plan, *, now: datetime, reach: Reach = PUBLIC
) -> Created:
    """Make a draft of `plan`; `reach` is where notices may go.

    Raises NotReady for a workflow that cannot be compiled, NotFound for a list or account that is
    not there, AlreadyExists for a name that is taken: then nothing was made.
    """
    read = read_workflow(plan.document, plan.allowed)
    if read.workflow is None:
        raise NotReady(Unready.WORKFLOW, read.findings)
    async with conn.transaction():
        list_id, _ = await find_list(conn, organization_id, plan.list_name)
        accounts = [await find_account(conn, organization_id, name) for name in plan.senders]
        version_id = await save_workflow(
            conn, organization_id, plan.workflow_name, plan.document, read.workflow
        )
        campaign_id = await create_campaign(
            conn,
            organization_id,
            name=plan.name,
            workflow_version_id=version_id,
            list_id=list_id,
            senders=list(dict.fromkeys(account.id for account in accounts)),
            hours=plan.hours,
            stop_on_reply=plan.stop_on_reply,
            stop_on_own_message=plan.stop_on_own_message,
            on_missing=plan.on_missing,
            max_duration=plan.max_duration,
            inmail_subject=plan.inmail_subject,
            hold_after=plan.hold_after,
            overlap=plan.overlap,
            rest=plan.rest,
        )
        campaign = await find_campaign(conn, organization_id, str(campaign_id))
        ready = await _readiness(conn, organization_id, campaign, read.workflow, accounts, reach)
        leads, lacks = await _lacking(conn, organization_id, campaign, read.workflow, now)
    return Created(campaign_id, plan.name, (*read.findings, *ready), leads, lacks)


async def start(
    conn: Conn,
    organization_id: UUID,
    name: str,
    *,
    pace: Pace,
    begin: date | datetime | None,
    skip: bool,
    now: datetime,
    reach: Reach = PUBLIC,
    allowed: Allowed = NOTHING,
) -> Started:
    """Start a draft, unless a node of its workflow cannot run here and now.

    With `skip` such nodes are passed over, and what is `allowed` by node id is taken as it is, in a
    new version of the workflow that only this start uses; a workflow with errors starts nothing
    even then.  Raises NotReady, WrongState, NotFound,
    and Over for a `begin` that is past: then nothing was changed.
    """
    async with conn.transaction():
        campaign = await find_campaign(conn, organization_id, name)
        if campaign.status not in START.before:
            raise WrongState(Noun.CAMPAIGN, campaign.status, START.before)
        version_id = campaign.workflow_version_id
        saved = await version(conn, organization_id, version_id)
        compiled = await load_workflows(conn, [(organization_id, version_id)])
        unmarked = compiled[version_id]
        workflow = with_allowed(unmarked, allowed)
        permitted = dict(allowed) | {
            node.id: node.allowed for node in workflow.nodes.values() if node.allowed
        }
        accounts = await senders(conn, organization_id, campaign.id)
        if not accounts:
            raise NotReady(Unready.NO_SENDERS)
        findings = [
            *_unmarked(workflow, read_workflow(saved.document, permitted).findings),
            *await _readiness(conn, organization_id, campaign, workflow, accounts, reach),
        ]
        _require_ready(findings, skip=skip)
        workflow = skip_unready(workflow, findings) if skip else workflow
        if workflow != unmarked:
            version_id = await save_workflow(
                conn, organization_id, saved.name, saved.document, workflow
            )
        zone = parse_hours(campaign.working_hours).zone or accounts[0].time_zone
        start_at = starts_at(begin, zone, now)
        leads = await start_campaign(
            conn,
            organization_id,
            campaign.id,
            workflow,
            workflow_version_id=version_id,
            pace=pace,
            start_at=start_at,
            now=now,
        )
        not_enrolled = await left_out(conn, organization_id, campaign.id, now)
    skipped = {node.id: node.skip for node in workflow.nodes.values() if node.skip is not None}
    return Started(
        campaign.id, campaign.name, leads, start_at, tuple(findings), not_enrolled, skipped
    )


def starts_at(begin: date | datetime | None, zone: str, now: datetime) -> datetime:
    """Return the first moment a lead may begin: of a date, its midnight in `zone`; never the past.

    An instant without an offset is read in `zone` as well.  Raises Over.
    """
    if begin is None:
        return now
    if not isinstance(begin, datetime):
        if begin < now.astimezone(ZoneInfo(zone)).date():
            raise Over(begin)
        begin = datetime.combine(begin, time(), ZoneInfo(zone))
        return max(begin.astimezone(UTC), now)
    at = begin if begin.tzinfo is not None else begin.replace(tzinfo=ZoneInfo(zone))
    if at < now:
        raise Over(begin)
    return at.astimezone(UTC)


async def _readiness(
    conn: Conn,
    organization_id: UUID,
    campaign: CampaignRow,
    workflow: Workflow,
    accounts: Sequence[AccountRow],
    reach: Reach,
) -> list[Finding]:
    return check_ready(
        workflow,
        tiers={account.tier for account in accounts},
        webhooks={each.id: each.url for each in await endpoints(conn, organization_id)},
        columns=await list_columns(conn, organization_id, campaign.list_id),
        inmail_subject=campaign.inmail_subject,
        reach=reach,
    )


async def _lacking(
    conn: Conn, organization_id: UUID, campaign: CampaignRow, workflow: Workflow, now: datetime
) -> tuple[int, tuple[Lacking, ...]]:
    """Return how many leads there are, and the variables that some of them have no value for."""
    columns = await list_columns(conn, organization_id, campaign.list_id) or set()
    wanted = needs(workflow, columns, campaign.inmail_subject)
    leads, counts = await lacking(
        conn,
        organization_id,
        campaign.id,
        [sources(need.variable, columns | {*OWN}) for need in wanted],
        now=now,
    )
    return leads, tuple(
        Lacking(need.variable, count, need.needed_by, need.replaced_by)
        for need, count in zip(wanted, counts, strict=True)
        if count
    )


def _unmarked(workflow: Workflow, findings: Sequence[Finding]) -> list[Finding]:
    """Leave out what is said of nodes that are passed over already."""
    passed = {node.id for node in workflow.nodes.values() if node.skip is not None}
    return [finding for finding in findings if finding.node_id not in passed]


def _require_ready(findings: Sequence[Finding], *, skip: bool) -> None:
    found = {finding.severity for finding in findings}
    if Severity.ERROR in found:
        raise NotReady(Unready.CAMPAIGN, findings)
    if Severity.UNREADY in found and not skip:
        raise NotReady(Unready.NODES, findings)

"""`clento campaign`: made, started, paused, watched."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import click

from clento_engine.config import read_settings
from clento_engine.domain.campaign import CampaignStatus, Pace
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.failure import REFUSALS_IN_A_ROW
from clento_engine.domain.finding import Severity
from clento_engine.domain.schedule import parse_hours
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.cli.document import name_of, read_document
from clento_engine.interface.cli.output import Table, answer, finding_lines, moment, note
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.standing import standing_data, standing_lines
from clento_engine.interface.cli.status import silence, sweep_warning
from clento_engine.interface.cli.values import (
    A_DAY,
    BEGINNING,
    DURATION,
    LASTING,
    NAME,
    ZONE,
    zone_warnings,
)
from clento_engine.interface.cli.waiting import settled, still_in_flight
from clento_engine.runtime import launch
from clento_engine.runtime.errors import Over
from clento_engine.store.accounts import find_account
from clento_engine.store.campaigns import (
    CampaignRow,
    find_campaign,
    in_flight,
    pause_campaign,
    resume_campaign,
    stop_campaign,
)
from clento_engine.store.refusals import HeldLane, lift_lanes
from clento_engine.store.status import NodeCounts, Standing, campaign_summaries, standing
from clento_engine.store.tickers import failing_sweeps, tickers
from clento_engine.store.workflows import load_workflows

_Change = Callable[..., Awaitable[None]]


@click.command()
@click.argument("name", type=NAME)
@click.option(
    "--workflow",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="The editor's JSON file.",
)
@click.option("--list", "list_name", required=True, help="Whom it is about: a list of leads.")
@click.option(
    "--sender",
    "senders",
    required=True,
    multiple=True,
    help="An account, by name or id; may be repeated, leads are dealt out in turn.",
)
@click.option(
    "--hours",
    default="Mon-Fri 09:00-18:00",
    show_default=True,
    help='Working hours, such as "Mon-Thu 08:30-12:00,13:00-17:30; Fri 09:00-14:00" or always.',
)
@click.option("--zone", type=ZONE, help="Of the hours; without it, each sender's own.")
@click.option("--holidays", help="Closed on public holidays of a country or a part: DE, DE-BY.")
@click.option(
    "--stop-on-reply/--no-stop-on-reply",
    default=True,
    show_default=True,
    help="End a lead's walk when they write to the sender.",
)
@click.option(
    "--stop-on-own-message/--no-stop-on-own-message",
    default=True,
    show_default=True,
    help="End a lead's walk when the sender's owner writes to them by hand.",
)
@click.option(
    "--on-missing",
    type=click.Choice([each.value for each in OnMissing]),
    default=OnMissing.HOLD.value,
    show_default=True,
    help="What to do when a text lacks a lead's value.",
)
@click.option(
    "--max-duration", type=LASTING, default="30d", show_default=True, help="Of one lead's walk."
)
@click.option("--inmail-subject", help="For InMails whose node has none.")
@click.option(
    "--hold-after",
    type=click.IntRange(1, 1000),
    default=REFUSALS_IN_A_ROW,
    show_default=True,
    help="How many refusals in a row, for one reason, hold a kind of step of a sender.",
)
@org_option
@json_option
def create(
    name: str,
    file: Path,
    list_name: str,
    senders: tuple[str, ...],
    hours: str,
    zone: str | None,
    holidays: str | None,
    stop_on_reply: bool,
    stop_on_own_message: bool,
    on_missing: str,
    max_duration: timedelta,
    inmail_subject: str | None,
    hold_after: int,
    org: str | None,
    as_json: bool,
) -> None:
    """Create a campaign as a draft.

    A workflow with errors is refused; what else is to be done before a start is shown.

    \b
    Example:
      clento campaign create spring --workflow flow.json --list spring --sender Lea
    """
    named = [
        hours,
        *([f"zone {zone}"] if zone else []),
        *([f"holidays {holidays}"] * bool(holidays)),
    ]
    try:
        working_hours = parse_hours("; ".join(named))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--hours") from None
    document = read_document(file)
    plan = launch.Plan(
        name=name,
        workflow_name=name_of(document, file),
        document=document,
        list_name=list_name,
        senders=senders,
        hours=working_hours,
        stop_on_reply=stop_on_reply,
        stop_on_own_message=stop_on_own_message,
        on_missing=OnMissing(on_missing),
        max_duration=max_duration,
        inmail_subject=inmail_subject,
        hold_after=hold_after,
    )
    reach = read_settings().webhooks_may_reach
    made = within(
        org, lambda here: launch.create(here.conn, here.organization_id, plan, reach=reach)
    )
    answer(
        as_json,
        made,
        *finding_lines(made.findings),
        f"created {made.name} as a draft: `clento campaign start {made.name}` starts it",
    )
    for warning in zone_warnings(working_hours.zone):
        note(f"warning: {warning}")


@click.command()
@click.argument("name")
@click.option(
    "--max-concurrent-leads",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="The most leads processed at one moment; who waits does not count.",
)
@click.option(
    "--lead-processing-delay",
    type=DURATION,
    default="30s",
    show_default=True,
    help="The least gap between two leads' beginnings.",
)
@click.option(
    "--leads-per-day",
    type=A_DAY,
    default="auto",
    show_default=True,
    help="The most leads begun a day; auto: as many as later steps can keep up with.",
)
@click.option(
    "--start-date",
    type=BEGINNING,
    help="When the first lead may begin: a day in the campaign's zone, or an instant.",
)
@click.option("--skip-unready", is_flag=True, help="Pass over the nodes that cannot run.")
@org_option
@json_option
def start(
    name: str,
    max_concurrent_leads: int,
    lead_processing_delay: timedelta,
    leads_per_day: int | None,
    start_date: date | datetime | None,
    skip_unready: bool,
    org: str | None,
    as_json: bool,
) -> None:
    """Start a draft: every lead of its list is enrolled.

    Refused when a node cannot run with these senders, webhooks and columns, each named with its
    fix.  Nothing is sent by this command: `clento tick` or `clento run` does, in working hours.

    \b
    Example:
      clento campaign start spring --leads-per-day 20 --start-date 2026-03-02
    """
    pace = Pace(max_concurrent_leads, lead_processing_delay, leads_per_day)
    reach = read_settings().webhooks_may_reach

    async def work(here: Here) -> launch.Started:
        try:
            return await launch.start(
                here.conn,
                here.organization_id,
                name,
                pace=pace,
                begin=start_date,
                skip=skip_unready,
                now=here.clock(),
                reach=reach,
            )
        except Over as error:
            moment_or_day = "moment" if isinstance(error.begin, datetime) else "day"
            problem = f"{error.begin} is over: give a {moment_or_day} that is to come, or none"
            raise click.BadParameter(f"{problem} to start now", param_hint="--start-date") from None

    started = within(org, work)
    told = [f"  passed over: {node_id}: {reason}" for node_id, reason in started.skipped.items()]
    warnings = [f for f in started.findings if f.severity is Severity.WARNING]
    answer(
        as_json,
        started,
        *finding_lines(warnings),
        *told,
        f"{started.name} runs with {started.leads:,} leads, from {moment(started.start_at)} on",
    )


@click.command()
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait for what is in flight.")
@org_option
@json_option
def pause(name: str, no_wait: bool, org: str | None, as_json: bool) -> None:
    """Pause a running campaign.

    No step is begun after this.  Answers when the steps in flight are settled, too.

    \b
    Example:
      clento campaign pause spring
    """
    _settle(name, org, pause_campaign, CampaignStatus.PAUSED, wait=not no_wait, as_json=as_json)


@click.command()
@click.argument("name")
@org_option
@json_option
def resume(name: str, org: str | None, as_json: bool) -> None:
    """Let a paused campaign go on.

    Limits, gaps and hours hold, so that no burst follows.

    \b
    Example:
      clento campaign resume spring
    """
    _settle(name, org, resume_campaign, CampaignStatus.RUNNING, wait=False, as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait for what is in flight.")
@org_option
@json_option
def stop(name: str, no_wait: bool, org: str | None, as_json: bool) -> None:
    """End a campaign for good.

    Its leads stay where they are.  Answers when the steps in flight are settled.  It cannot be
    started again: to go on later, pause it.

    \b
    Example:
      clento campaign stop spring
    """
    _settle(name, org, stop_campaign, CampaignStatus.STOPPED, wait=not no_wait, as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--sender", help="Of this account alone, by name or id.")
@org_option
@json_option
def lift(name: str, sender: str | None, org: str | None, as_json: bool) -> None:
    """Let steps go on that a run of refusals holds.

    After a run of refusals for one reason a sender's steps of that kind are held, before a whole
    list is burnt by it: `clento campaign status` shows which and why.  No resume lifts that.  Mend
    the reason first; the run is counted anew.

    \b
    Example:
      clento campaign lift spring
    """

    async def work(here: Here) -> Sequence[HeldLane]:
        campaign = await find_campaign(here.conn, here.organization_id, name)
        account_id = None
        if sender is not None:
            account_id = (await find_account(here.conn, here.organization_id, sender)).id
        return await lift_lanes(
            here.conn,
            here.organization_id,
            campaign.id,
            account_id=account_id,
            now=here.clock(),
        )

    lifted = within(org, work)
    lines = [f"{lane.operation} of {lane.sender} goes on: {lane.reason}" for lane in lifted]
    answer(as_json, {"name": name, "lifted": lifted}, *lines)


@click.command("list")
@org_option
@json_option
def list_(org: str | None, as_json: bool) -> None:
    """List the campaigns.

    \b
    Example:
      clento campaign list --json
    """
    found = within(org, lambda here: campaign_summaries(here.conn, here.organization_id))
    columns = (
        "name",
        "status",
        "workflow",
        "list",
        "senders",
        "leads",
        "under way",
        "held",
        "done",
    )
    rows = [
        (c.name, c.status, c.workflow, c.list, c.senders, c.leads, c.under_way, c.held, c.finished)
        for c in found
    ]
    none = "there is no campaign yet: `clento campaign create --help`"
    answer(as_json, found, Table(columns, rows, empty=none))


@click.command()
@click.argument("name")
@org_option
@json_option
def status(name: str, org: str | None, as_json: bool) -> None:
    """Show how a campaign stands.

    Leads by state, what became of them at each node, what its senders used of their limits, why
    leads or kinds of steps are held, whether the provider can be asked, and when it wakes up next.

    \b
    Example:
      clento campaign status spring
    """

    async def work(here: Here) -> tuple[CampaignRow, Standing, Workflow, list[str]]:
        campaign = await find_campaign(here.conn, here.organization_id, name)
        stands = await standing(here.conn, here.organization_id, campaign.id, here.clock())
        version_id = campaign.workflow_version_id
        workflows = await load_workflows(here.conn, [(here.organization_id, version_id)])
        return campaign, stands, workflows[version_id], await _warnings(here, campaign, stands)

    campaign, stands, workflow, warnings = within(org, work)
    nodes = [stands.funnel.get(node_id, NodeCounts(node_id)) for node_id in workflow.nodes] + [
        counts for node_id, counts in stands.funnel.items() if node_id not in workflow.nodes
    ]
    answer(
        as_json,
        standing_data(campaign, stands, nodes, workflow, warnings),
        *standing_lines(campaign, stands, nodes, warnings),
    )


async def _warnings(here: Here, campaign: CampaignRow, stands: Standing) -> list[str]:
    """Say why nothing may happen: no ticker, or senders of the campaign that cannot be swept."""
    seen, now = await tickers(here.conn), here.clock()
    senders = {use.id for use in stands.senders}
    failing = await failing_sweeps(here.conn, organization_id=here.organization_id)
    return [
        *silence(seen, now, is_running=campaign.status == CampaignStatus.RUNNING),
        *(sweep_warning(each) for each in failing if each.account_id in senders),
    ]


def _settle(
    name: str, org: str | None, change: _Change, now_is: str, *, wait: bool, as_json: bool
) -> None:
    """Change a campaign's state, then wait until what was in flight is settled."""

    async def work(here: Here) -> tuple[CampaignRow, int]:
        campaign = await find_campaign(here.conn, here.organization_id, name)
        await change(here.conn, here.organization_id, campaign.id, now=here.clock())

        async def flying() -> int:
            return await in_flight(here.conn, here.organization_id, campaign.id, here.clock())

        if wait:
            return campaign, await settled(flying)
        return campaign, await flying()

    campaign, left = within(org, work)
    if wait and left:
        raise still_in_flight(f"{campaign.name} is {now_is}", left)
    told = {"id": campaign.id, "name": campaign.name, "status": now_is, "in_flight": left}
    flying = (
        f"; {left:,} actions are in flight" if left and now_is != CampaignStatus.RUNNING else ""
    )
    answer(as_json, told, f"{campaign.name} is {now_is}{flying}")

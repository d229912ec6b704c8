"""`clento campaign`: made, started, paused, watched."""

from collections.abc import Awaitable, Callable, Sequence

import click

from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.cli.output import Table, answer
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.standing import standing_data, standing_lines
from clento_engine.interface.cli.status import silence, sweep_warning
from clento_engine.interface.cli.waiting import settled, still_in_flight
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

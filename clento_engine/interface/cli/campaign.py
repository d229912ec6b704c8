"""`clento campaign`: made, started, paused, watched."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.cli.account import use_table
from clento_engine.interface.cli.output import Table, answer, moment
from clento_engine.interface.cli.provider import resting
from clento_engine.interface.cli.session import Here, json_option, org_option, within
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
        _status_data(campaign, stands, nodes, workflow, warnings),
        *_status(campaign, stands, nodes, warnings),
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


def _status_data(
    campaign: CampaignRow,
    stands: Standing,
    nodes: list[NodeCounts],
    workflow: Workflow,
    warnings: list[str],
) -> dict[str, Any]:
    operations = {node.id: node.operation for node in workflow.nodes.values()}
    return {
        "id": campaign.id,
        "name": campaign.name,
        "status": campaign.status,
        "workflow": stands.workflow,
        "list": stands.list,
        "working_hours": campaign.working_hours,
        "max_concurrent_leads": campaign.max_concurrent_leads,
        "lead_processing_delay_s": campaign.lead_processing_delay,
        "leads_per_day": campaign.leads_per_day or "auto",
        "start_at": campaign.start_at,
        "completed_at": campaign.completed_at,
        "in_flight": stands.in_flight,
        "next_at": stands.next_at,
        "warnings": warnings,
        "leads": {
            "total": sum(each.leads for each in stands.counts),
            "replied": stands.replied,
            "by_state": stands.counts,
        },
        "nodes": [
            {
                "node_id": node.node_id,
                "operation": operations.get(node.node_id),
                "entered": node.entered,
                "done": node.done,
                "skipped": node.skipped,
                "failed": node.failed,
                "here": node.here,
            }
            for node in nodes
        ],
        "held": stands.held,
        "held_lanes": stands.held_lanes,
        "rest": stands.rest,
        "senders": [
            {
                "id": use.id,
                "name": use.name,
                "status": use.status,
                "pause_reason": use.pause_reason,
                "held_back": use.held_back,
                "leads": use.leads,
                "limits": {
                    budget: {"used": use.used.get(budget, {}), "caps": caps}
                    for budget, caps in use.caps.items()
                },
            }
            for use in stands.senders
        ],
    }


def _status(
    campaign: CampaignRow, stands: Standing, nodes: list[NodeCounts], warnings: list[str]
) -> list[str | Table]:
    parts: list[str | Table] = [
        f"{campaign.name}: {campaign.status}",
        f"  workflow {stands.workflow}, list {stands.list}, {campaign.working_hours}",
    ]
    if stands.rest is not None:
        parts.append(resting(stands.rest))
    if stands.in_flight:
        parts.append(f"  {stands.in_flight:,} actions in flight")
    if stands.replied:
        parts.append(f"  {stands.replied:,} leads wrote to their senders")
    if campaign.status == CampaignStatus.RUNNING:
        waits = any(each.status in ("waiting", "awaiting") for each in stands.counts)
        nothing = "no time: `clento db mend` looks why, leads wait" if waits else "nothing waits"
        parts.append(f"  next at {moment(stands.next_at)}" if stands.next_at else f"  {nothing}")
    parts += [f"  warning: {each}" for each in warnings]
    parts += [
        Table(
            ("leads", "state", "outcome"),
            [(each.leads, each.status, each.outcome) for each in stands.counts],
            empty="no lead is enrolled yet",
        ),
        Table(
            ("node", "entered", "done", "skipped", "failed", "here"),
            [(n.node_id, n.entered, n.done, n.skipped, n.failed, n.here) for n in nodes],
        ),
        Table(("held", "reason"), [(each.leads, each.reason) for each in stands.held]),
        Table(
            ("held steps", "sender", "since", "reason"),
            [
                (each.operation, each.sender, moment(each.since), each.reason)
                for each in stands.held_lanes
            ],
        ),
    ]
    if stands.held_lanes:
        parts.append(f"  `clento campaign lift {campaign.name}` lets held steps go on")
    for use in stands.senders:
        paused = f", {use.pause_reason}" if use.pause_reason else ""
        parts.append(f"{use.name}: {use.status}{paused}, {use.leads:,} leads")
        for held in use.held_back:
            why = f": {held.reason}" if held.reason else ""
            what = held.budget or "all that it does"
            parts.append(f"  {what}: held back until {moment(held.until)}{why}")
        if use.caps:
            parts.append(use_table(use.caps, use.used))
    return parts


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

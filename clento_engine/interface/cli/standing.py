"""How a campaign stands, as `clento campaign status` shows it: for people and for machines."""

from typing import Any

from clento_engine.domain.campaign import CampaignStatus
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.cli.account import use_table
from clento_engine.interface.cli.output import Table, moment
from clento_engine.interface.cli.provider import resting
from clento_engine.store.campaigns import CampaignRow
from clento_engine.store.status import NodeCounts, Standing


def standing_data(
    campaign: CampaignRow,
    stands: Standing,
    nodes: list[NodeCounts],
    workflow: Workflow,
    warnings: list[str],
) -> dict[str, Any]:
    """Return the one object that `--json` prints; `nodes` in the order of the workflow."""
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


def standing_lines(
    campaign: CampaignRow, stands: Standing, nodes: list[NodeCounts], warnings: list[str]
) -> list[str | Table]:
    """Return what people read."""
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

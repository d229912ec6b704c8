"""`clento lead`: single leads."""

from contextlib import suppress
from uuid import UUID

import click

from clento_engine.domain.execution import Execution, Outcome, Status
from clento_engine.domain.lead import Identity, identity
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import Table, answer, cell, moment
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.runtime.release import release as lift
from clento_engine.store.campaigns import find_campaign
from clento_engine.store.executions import places
from clento_engine.store.history import Happening
from clento_engine.store.history import history as leads_history
from clento_engine.store.leads import FoundLead, find_leads
from clento_engine.store.replay import Differing, Replayed, replay_walks

_TEXT_SHOWN = 60  # characters of a message in a table


@click.command("list")
@click.option("--campaign", required=True, help="Its name or id.")
@click.option(
    "--status", type=click.Choice([each.value for each in Status]), help="Only those who stand so."
)
@click.option(
    "--outcome",
    type=click.Choice([each.value for each in Outcome]),
    help="Only those who ended so.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="The most to list, in the order of their list.",
)
@org_option
@json_option
def list_(
    campaign: str,
    status: str | None,
    outcome: str | None,
    limit: int,
    org: str | None,
    as_json: bool,
) -> None:
    """List the leads of a campaign.

    \b
    Example:
      clento lead list --campaign spring --status held
    """

    async def work(here: Here) -> tuple[list[object], Table]:
        row = await find_campaign(here.conn, here.organization_id, campaign)
        found = await places(
            here.conn, here.organization_id, row.id, status=status, outcome=outcome, limit=limit
        )
        columns = ("lead", "name", "company", "sender", "state", "node", "next", "reason")
        rows = [
            (
                each.identity,
                each.name,
                each.company,
                each.sender,
                each.outcome or each.status,
                each.node_id,
                each.next_run_at,
                each.reason,
            )
            for each in found
        ]
        return [*found], Table(columns, rows, empty="no lead stands so")

    found, table = within(org, work)
    end = [f"the first {limit:,}: --limit shows more"] if len(found) == limit else []
    answer(as_json, found, table, *end)


@click.command()
@click.argument("lead")
@click.option("--campaign", help="Only what happened in this campaign.")
@org_option
@json_option
def history(lead: str, campaign: str | None, org: str | None, as_json: bool) -> None:
    """Show everything that happened to a lead.

    LEAD is an id, a public identifier or a profile address.  Shown are the events of the lead's
    walks and, with their state, the actions of the ledger: what was done to this person, when, by
    which sender.

    \b
    Example:
      clento lead history https://www.linkedin.com/in/lea-moreau
    """

    async def work(here: Here) -> tuple[list[FoundLead], list[Happening]]:
        found, campaign_id = await _found(here, lead, campaign)
        ids = [each.id for each in found]
        return found, await leads_history(
            here.conn, here.organization_id, ids, campaign_id=campaign_id
        )

    found, happened = within(org, work)
    columns = ("at", "campaign", "what", "node", "result", "by", "settled", "detail")
    rows = [
        (
            each.at,
            each.campaign,
            each.kind,
            each.node_id or each.entered,
            each.state or each.result,
            each.actor,
            each.settled_at,
            _detail(each),
        )
        for each in happened
    ]
    heads = [
        f"{each.name or each.identity}, {each.profile_url or each.identity}: "
        f"list {each.list}, campaigns {', '.join(each.campaigns) or 'none'}"
        for each in found
    ]
    table = Table(columns, rows, empty="nothing has happened yet")
    answer(as_json, {"leads": found, "history": happened}, *heads, table)


@click.command()
@click.argument("lead")
@click.option("--campaign", required=True, help="The campaign in which the lead is held.")
@click.option("--skip", is_flag=True, help="Pass over the step instead of running it again.")
@org_option
@json_option
def release(lead: str, campaign: str, skip: bool, org: str | None, as_json: bool) -> None:
    """Lift the hold of a lead.

    Its step runs again or, with --skip, is passed over.  Where nobody could find out whether a
    message was sent, look at LinkedIn first: without --skip it is sent again.

    \b
    Example:
      clento lead release lea-moreau --campaign spring
    """

    async def work(here: Here) -> tuple[FoundLead, Execution]:
        found, campaign_id = await _found(here, lead, campaign)
        if campaign_id is None or len(found) != 1:
            raise Refused(f"{lead!r} is several leads here", "name one by its id")
        now = here.clock()
        return found[0], await lift(
            here.conn, here.organization_id, campaign_id, found[0].id, skip=skip, now=now
        )

    found, run = within(org, work)
    data = {
        "lead_id": found.id,
        "status": run.status,
        "outcome": run.outcome,
        "node_id": run.node_id,
        "next_run_at": run.next_run_at,
    }
    then = f"at {run.node_id}, {moment(run.next_run_at)}" if run.next_run_at else cell(run.outcome)
    answer(as_json, data, f"{found.name or found.identity} is {run.status.value}: {then}")


@click.command()
@click.argument("lead", required=False)
@click.option("--campaign", help="Only the walk in this campaign.")
@click.option("--all", "everyone", is_flag=True, help="Every lead of the campaign.")
@org_option
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    lead: str | None,
    campaign: str | None,
    everyone: bool,
    org: str | None,
    as_json: bool,
) -> None:
    """Decide on a lead's recorded events again, and compare.

    What happens to a lead follows from its workflow, its events and their instants alone, so that
    a replay ends where the lead stands.  Where it does not, the first difference is shown and the
    status is 1: something else than the engine changed the lead or its history, or another version
    of the engine decides otherwise.  Nothing is changed; tickers may go on.

    \b
    Example:
      clento lead replay lea-moreau
      clento lead replay --all --campaign spring
    """
    if everyone == (lead is not None):
        raise click.UsageError("name a lead, or --all of a campaign", ctx)
    if everyone and campaign is None:
        raise click.UsageError("--all needs --campaign: whose leads", ctx)

    async def work(here: Here) -> Replayed:
        leads = None
        if lead is not None:
            found, campaign_id = await _found(here, lead, campaign)
            leads = [each.id for each in found]
        else:
            campaign_id = (await find_campaign(here.conn, here.organization_id, campaign or "")).id
        return await replay_walks(
            here.conn, here.organization_id, campaign_id=campaign_id, leads=leads
        )

    replayed = within(org, work)
    if not replayed.walks:
        raise Refused("there is nothing to replay", "start the campaign: a walk begins with it")
    columns = ("campaign", "lead", "at", "event", "what", "stored", "replayed")
    table = Table(columns, [_difference(each) for each in replayed.differing])
    walks = f"{replayed.walks:,} walk{'s' if replayed.walks > 1 else ''}"
    end = f"{len(replayed.differing):,} differ" if replayed.differing else "no difference"
    answer(as_json, replayed, table, f"{walks}, {replayed.lines:,} events replayed: {end}")
    if replayed.differing:
        ctx.exit(1)


async def found_leads(here: Here, lead: str) -> list[FoundLead]:
    """Return the leads of that name, one of each list.  Raises Refused when there is none."""
    return (await _found(here, lead, None))[0]


async def _found(
    here: Here, lead: str, campaign: str | None
) -> tuple[list[FoundLead], UUID | None]:
    """Return the leads of that name, and the campaign's id.  Raises Refused when there is none."""
    campaign_id = None
    if campaign is not None:
        campaign_id = (await find_campaign(here.conn, here.organization_id, campaign)).id
    who = _named(lead)
    found = await find_leads(here.conn, here.organization_id, who, campaign_id=campaign_id)
    if not found:
        where = "" if campaign is None else f" in campaign {campaign!r}"
        raise Refused(
            f"there is no lead {lead!r}{where}",
            "`clento lead list --campaign NAME` shows whom a campaign has",
        )
    return found, campaign_id


def _named(lead: str) -> UUID | Identity:
    with suppress(ValueError):
        return UUID(lead)
    who = identity(lead)
    if isinstance(who, Identity):
        return who
    raise Refused(f"{lead!r}: {who.problem}", who.fix)


def _detail(each: Happening) -> str:
    parts = [each.reason or ""]
    if each.text:
        words = " ".join(each.text.split())
        parts.append(words if len(words) <= _TEXT_SHOWN else words[: _TEXT_SHOWN - 1] + "…")
    return "; ".join(part for part in parts if part)


def _difference(each: Differing) -> tuple[object, ...]:
    found = each.difference
    event = found.event
    at, what = (None, "as it stands") if event is None else (event.at, event.kind)
    return (each.campaign, each.lead, at, what, found.field, found.stored, found.replayed)

"""`clento campaign create`, `preview` and `start`: from a workflow and a list to a campaign."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import click

from clento_engine.config import read_settings
from clento_engine.domain.campaign import Pace
from clento_engine.domain.execution import OnMissing
from clento_engine.domain.failure import REFUSALS_IN_A_ROW
from clento_engine.domain.finding import Severity
from clento_engine.domain.preview import Preview
from clento_engine.domain.schedule import parse_hours
from clento_engine.interface.cli.allowing import allow_options, allowed
from clento_engine.interface.cli.document import name_of, read_document
from clento_engine.interface.cli.lead import found_leads
from clento_engine.interface.cli.output import answer, finding_lines, left_out_lines, moment, note
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.values import (
    A_DAY,
    BEGINNING,
    DURATION,
    LASTING,
    NAME,
    ZONE,
    zone_warnings,
)
from clento_engine.runtime import launch
from clento_engine.runtime.errors import Over
from clento_engine.runtime.previewing import LeadPreview
from clento_engine.runtime.previewing import preview as previewed


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
@click.option(
    "--allow-overlap",
    "overlap",
    is_flag=True,
    help="Contact people as well who walk in another campaign that is not over.",
)
@click.option(
    "--rest",
    type=LASTING,
    help="Leave out whom any sender contacted so shortly before the start: 30d.",
)
@allow_options
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
    overlap: bool,
    rest: timedelta | None,
    allow_text: tuple[str, ...],
    allow_saved_text: tuple[str, ...],
    allow_short_window: tuple[str, ...],
    org: str | None,
    as_json: bool,
) -> None:
    """Create a campaign as a draft.

    A workflow with errors is refused; what else is to be done before a start is shown, and how many
    leads lack a value that a text needs.

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
        overlap=overlap,
        rest=rest,
        allowed=allowed(allow_text, allow_saved_text, allow_short_window),
    )
    reach = read_settings().webhooks_may_reach
    made = within(
        org,
        lambda here: launch.create(
            here.conn, here.organization_id, plan, now=here.clock(), reach=reach
        ),
    )
    answer(
        as_json,
        made,
        *finding_lines(made.findings),
        *_lacking(made, OnMissing(on_missing)),
        f"created {made.name} as a draft: `clento campaign start {made.name}` starts it",
    )
    for warning in zone_warnings(working_hours.zone):
        note(f"warning: {warning}")


_HELD = {
    OnMissing.HOLD: "they are held there",
    OnMissing.SKIP: "the step is passed over",
    OnMissing.FAIL: "their walks fail there",
}


def _lacking(made: launch.Created, on_missing: OnMissing) -> list[str]:
    """Say for each variable of the texts how many leads lack it, and what comes of that."""
    lines = []
    for each in made.lacking:
        whom = (
            "no lead has"
            if each.leads == made.leads
            else f"{each.leads:,} of {made.leads:,} leads lack"
        )
        lines.append(f"  {whom} {each.variable}")
        if each.needed_by:
            lines.append(f"      {', '.join(each.needed_by)}: {_HELD[on_missing]}")
        if each.replaced_by:
            lines.append(f"      {', '.join(each.replaced_by)}: the fallback is sent")
    return lines


@click.command()
@click.argument("name")
@click.option(
    "--lead", "named", multiple=True, help="This lead: an id, public identifier or address."
)
@click.option(
    "-n",
    "limit",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="How many leads, the first of the list.",
)
@org_option
@json_option
def preview(name: str, named: tuple[str, ...], limit: int, org: str | None, as_json: bool) -> None:
    """Show the exact texts that leads would get, node by node.

    Before anything starts: with the values of real leads, from the senders they are dealt to, with
    lengths against what these senders may send.  Of a campaign under way, its leads' own senders.

    \b
    Example:
      clento campaign preview spring -n 3
    """

    async def work(here: Here) -> list[LeadPreview]:
        leads: list[UUID] | None = None
        if named:
            leads = [each.id for lead in named for each in await found_leads(here, lead)]
        return await previewed(
            here.conn,
            here.organization_id,
            name,
            now=here.clock(),
            limit=limit if leads is None else len(leads),
            leads=leads,
        )

    found = within(org, work)
    lines = [line for each in found for line in _previewed(each)]
    none = "the campaign would contact none of them" if named else "its list has nobody to contact"
    answer(as_json, found, *(lines or [none]))


def _previewed(lead: LeadPreview) -> Sequence[str]:
    lines = [f"{lead.name or lead.lead} ({lead.lead}), from {lead.sender} ({lead.tier}):"]
    if not lead.texts:
        lines.append("  no text is sent")
    for each in lead.texts:
        lines += [f"  {line}" for line in _text(each)]
    return [*lines, ""]


def _text(each: Preview) -> Sequence[str]:
    what = f"{each.node_id}, {each.operation.value.replace('_', ' ')}"
    lines = [f"{what}: {each.length:,} of {each.limit:,}" if each.text else f"{what}:"]
    if each.problem is not None:
        lines.append(f"  not sent: {each.problem}")
    if each.subject is not None:
        lines.append(f"  subject, {each.subject_length} of {each.subject_limit}: {each.subject}")
    if each.text == "":
        lines.append("  without a note")
    return [*lines, *(f"  | {line}" for line in (each.text or "").splitlines())]


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
@allow_options
@org_option
@json_option
def start(
    name: str,
    max_concurrent_leads: int,
    lead_processing_delay: timedelta,
    leads_per_day: int | None,
    start_date: date | datetime | None,
    skip_unready: bool,
    allow_text: tuple[str, ...],
    allow_saved_text: tuple[str, ...],
    allow_short_window: tuple[str, ...],
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
                allowed=allowed(allow_text, allow_saved_text, allow_short_window),
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
        *(f"  {line}" for line in left_out_lines(started.left_out)),
        f"{started.name} runs with {started.leads:,} leads, from {moment(started.start_at)} on",
    )

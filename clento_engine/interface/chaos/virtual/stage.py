"""A small stage: two organisations, a few senders, three campaigns with people in common."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget
from clento_engine.domain.schedule import parse_hours
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.chaos.stage import (
    HOURS,
    NOTICES,
    ORGANIZATIONS,
    SUBJECT,
    TIERS,
    WORKFLOWS,
    ZONES,
    Campaign,
    Made,
    Sender,
    Stage,
    befriend,
    lead_rows,
    place,
    start,
)
from clento_engine.interface.chaos.virtual.case import NAMES, OVERLAP, Case, drawn
from clento_engine.simulator.people import Chances
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.simulator.world import Reliability
from clento_engine.store.accounts import create_organization
from clento_engine.store.budgets import set_limit
from clento_engine.store.campaigns import create_campaign
from clento_engine.store.database import Database
from clento_engine.store.leads import import_leads
from clento_engine.store.outbox import add_endpoint
from clento_engine.store.workflows import save_workflow

START = datetime(2026, 3, 16, 7, 0, tzinfo=UTC)  # a Monday; Europe's clocks change on the 29th
OFFICE = "Mon-Fri 09:00-18:00"
# An edge of minutes, as storms have them, is one of so many times as long.
STRETCHES = (60, 240, 480)
STOPS = 0.8  # of the campaigns end a walk at a reply
LASTS = 0.7  # of the days: a walk at most
TIGHTENED = 0.7  # of the budgets
TIGHT = {
    Budget.PROFILE: (Caps(hour=1), Caps(hour=1, day=5), Caps(day=3)),
    Budget.INVITATION: (Caps(hour=1), Caps(hour=1, day=3, week=7), Caps(week=5, month=12)),
    Budget.MESSAGE: (Caps(hour=1), Caps(hour=1, day=3), Caps(day=3, week=10)),
    Budget.REACTION: (Caps(hour=1), Caps(day=2)),
}
CHANCES = Chances(
    connected=0.1,
    posts=0.95,
    open_profile=0.4,
    accepts=0.6,
    accepts_median=timedelta(hours=12),
    replies=0.25,
    changed_slug=0.1,
)


def reliability(case: Case) -> Reliability:
    """Return how well the provider serves."""
    if "webhooks" not in case.families:
        return Reliability(lost=0, duplicated=0, noticed_within=timedelta(hours=2))
    return Reliability(lost=0.1, duplicated=0.1, noticed_within=timedelta(hours=4))


def cast(case: Case) -> list[tuple[str, str, str]]:
    """Return the senders as the simulator is told of them: id, name, tier."""
    chance = drawn(case.seed, "cast")
    count = chance.choice((2, 2, 3))
    return [(f"v_{n}", f"Sender {n}", chance.choice(TIERS).value) for n in range(count)]


async def set_stage(
    case: Case, database: Database, simulator: RemoteSimulator, notices_url: str
) -> Stage:
    """Set up and start everything."""
    chance = drawn(case.seed, "stage")
    now = await simulator.now()
    async with database.connection() as conn:
        first, second = [await create_organization(conn, name) for name in ORGANIZATIONS]
        for organization_id in (first, second):
            await add_endpoint(conn, organization_id, NOTICES, NOTICES, notices_url)
        senders = cast(case)
        zones = [chance.choice(ZONES) for _ in senders]
        owners = [first] * (len(senders) - 1) + [second]  # which has one
        placed = await place(conn, simulator, owners, senders, zones)
        for sender in placed:
            for budget, choice in TIGHT.items():
                if chance.random() < TIGHTENED:
                    of = (sender.organization_id, sender.id, budget, chance.choice(choice))
                    await set_limit(conn, *of, now=now)
    leads = 0
    campaigns: list[Campaign] = []
    friends: list[tuple[str, str]] = []
    made: list[tuple[Made, int]] = []
    for number, slugs in enumerate(_lists(case)):
        own = [each for each in placed if each.organization_id == (first, first, second)[number]]
        make = chance.choice(WORKFLOWS)
        workflow = _stretched(make(number), chance.choice(STRETCHES))
        names = await _names(case, number, slugs, simulator)
        campaign = await _campaign(
            database,
            number,
            workflow,
            own,
            names,
            hours=chance.choice((OFFICE, OFFICE, *HOURS)),
            stop_on_reply=chance.random() < STOPS,
            max_duration=case.lasts * LASTS,
            now=now,
        )
        if make.__name__.strip("_") == "befriended":
            friends += [(slug, own[n % len(own)].unipile_id) for n, slug in enumerate(slugs)]
        campaigns.append(campaign[0])
        made.append((campaign, chance.choice((2, 5, 1000))))
    await befriend(simulator, friends)
    for each, leads_per_day in made:
        leads += await start(database, simulator, [each], leads_per_day)
    return Stage((first, second), tuple(placed), tuple(campaigns), (campaigns[1],), leads)


def _lists(case: Case) -> Sequence[Sequence[str]]:
    """Return who stands on which list: the second organisation has the people of the first."""
    people = [f"virtual-{number}" for number in range(2 * case.leads)]
    shared = case.leads // 2 if OVERLAP in case.families else 0
    return (
        people[: case.leads],
        people[case.leads - shared : 2 * case.leads - shared],
        people[: case.leads],
    )


async def _names(
    case: Case, number: int, slugs: Sequence[str], simulator: RemoteSimulator
) -> Sequence[str]:
    """Return the names on a list; some have a second one there, by which they are listed again."""
    if NAMES not in case.families or number > 0:
        return slugs
    return [*slugs, *[await simulator.provider_id(slug) for slug in slugs[::3]]]


async def _campaign(
    database: Database,
    number: int,
    workflow: Workflow,
    own: Sequence[Sender],
    names: Sequence[str],
    *,
    hours: str,
    stop_on_reply: bool,
    max_duration: timedelta,
    now: datetime,
) -> Made:
    organization_id, name = own[0].organization_id, f"campaign-{number}"
    async with database.connection() as conn:
        people = list(lead_rows(names))
        imported = await import_leads(conn, organization_id, name, people, now)
        made = {"made": "for a storm"}
        version_id: UUID = await save_workflow(conn, organization_id, name, made, workflow)
        campaign_id = await create_campaign(
            conn,
            organization_id,
            name=name,
            workflow_version_id=version_id,
            list_id=imported.list_id,
            senders=[sender.id for sender in own],
            hours=parse_hours(hours),
            stop_on_reply=stop_on_reply,
            max_duration=max_duration,
            inmail_subject=SUBJECT,
        )
    return Campaign(organization_id, campaign_id, name), workflow, version_id


def _stretched(workflow: Workflow, times: int) -> Workflow:
    return replace(
        workflow,
        nodes={
            name: replace(
                node,
                edges=tuple(replace(edge, delay=edge.delay * times) for edge in node.edges),
            )
            for name, node in workflow.nodes.items()
        },
    )

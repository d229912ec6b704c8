"""Setting the stage of a storm: many senders, several campaigns, every operation, short delays."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from clento_engine.domain.account import Tier
from clento_engine.domain.campaign import Pace
from clento_engine.domain.lead import PROFILE, Identity, LeadRow, identity
from clento_engine.domain.operation import Operation as Op
from clento_engine.domain.schedule import parse_hours
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store.accounts import add_account, create_organization
from clento_engine.store.campaigns import create_campaign, start_campaign
from clento_engine.store.database import Conn, Database
from clento_engine.store.leads import import_leads
from clento_engine.store.outbox import add_endpoint
from clento_engine.store.turmoil import gather_statistics
from clento_engine.store.workflows import save_workflow

# Europe's clocks go from 02:00 to 03:00 at this instant; a storm begins half its length before.
SPRING = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
ZONES = ("Europe/Berlin", "Europe/Berlin", "America/New_York", "Asia/Tokyo")
TIERS = (Tier.PREMIUM, Tier.SALES_NAVIGATOR)
# The days of a storm are weekend days.  The second closes for ten minutes of each hour, the third
# has windows that begin or end inside the hour that Berlin leaves out.
HOURS = (
    "always",
    "Mon-Sun " + ", ".join(f"{h:02}:00-{h:02}:50" for h in range(24)),
    "Mon-Sun 00:00-01:40, 02:20-03:25, 03:45-10:10, 10:30-20:40, 21:10-24:00",
)
CAMPAIGNS = 12
QUARTERS = 4  # of the senders; each has three campaigns
ORGANIZATIONS = ("Storm", "Gale")  # the second has the last quarter of the senders
SMALL = 40  # campaigns besides, that may be stopped for good
SENDERS_OF_SMALL = 6
LASTS = timedelta(days=2)  # a walk at most, so that the dust settles
NOTICES = "notices"  # the id of the webhook that nodes name
SUBJECT = "A short question, {{first_name}}"
_FIRST_NAMES = ("Lea", "Noah", "Mia", "Luis", "Ines", "Omar", "Ana", "Zoe", "Emil", "Nora")
_COMPANIES = ("Acme", "Northwind", "Globex", "Initech", "Umbra", "Hooli")
TWICE_EVERY = 12  # so many of a list's people one is listed by their id as well
_FORCED_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender of the storm; `unipile_id` is the first it has, `member_id` whose it is."""

    organization_id: UUID
    id: UUID
    unipile_id: str
    member_id: str
    name: str
    tier: Tier
    zone: str


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign of the storm."""

    organization_id: UUID
    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What was set up."""

    organizations: tuple[UUID, ...]
    senders: tuple[Sender, ...]
    campaigns: tuple[Campaign, ...]
    small: tuple[Campaign, ...]
    leads: int


Made = tuple[Campaign, Workflow, UUID]  # with the version of the workflow


def cast(count: int) -> list[tuple[str, str, str]]:
    """Return the senders as the simulator is told of them: id, name, tier."""
    return [
        (f"storm_{number}", f"Sender {number}", TIERS[number // 2 % len(TIERS)].value)
        for number in range(count)
    ]


async def set_stage(
    database: Database,
    simulator: RemoteSimulator,
    *,
    senders: Sequence[tuple[str, str, str]],
    leads_each: int,
    leads_of_small: int,
    notices_url: str,
) -> Stage:
    """Set up and start everything; a sender has `leads_each` leads in each large campaign."""
    now = await simulator.now()
    async with database.connection() as conn:
        organizations = [await create_organization(conn, name) for name in ORGANIZATIONS]
        for organization_id, name in zip(organizations, ORGANIZATIONS, strict=True):
            await add_endpoint(conn, organization_id, NOTICES, name, notices_url)
        numbers = range(len(senders))
        owners = [organizations[_is_of_second(number)] for number in numbers]
        zones = [ZONES[number // 2 % len(ZONES)] for number in numbers]
        placed = await place(conn, simulator, owners, senders, zones)
    friends: list[tuple[str, str]] = []
    campaigns: list[Made] = []
    for number in range(CAMPAIGNS + SMALL):
        make = WORKFLOWS[(number + number // QUARTERS) % len(WORKFLOWS)]
        workflow = make(number)
        own = _own_senders(number, placed, organizations)
        count = leads_each * len(placed) // QUARTERS if number < CAMPAIGNS else leads_of_small
        organization_id = own[0].organization_id
        name = f"{make.__name__.strip('_')}-{number}"
        slugs = [_slug(number, lead) for lead in range(count)]
        again = await _named_again(simulator, number, slugs)
        people = list(lead_rows([*slugs, *again]))
        async with database.connection() as conn:
            imported = await import_leads(conn, organization_id, name, people, now)
            version_id = await save_workflow(
                conn, organization_id, name, {"made": "for a storm"}, workflow
            )
            campaign_id = await create_campaign(
                conn,
                organization_id,
                name=name,
                workflow_version_id=version_id,
                list_id=imported.list_id,
                senders=[sender.id for sender in own],
                hours=parse_hours(HOURS[(number // QUARTERS + number) % len(HOURS)]),
                stop_on_reply=number != CAMPAIGNS - 1,
                max_duration=LASTS,
                inmail_subject=SUBJECT,
            )
        if make is _befriended:
            friends += [
                (slug, own[place % len(own)].unipile_id) for place, slug in enumerate(slugs)
            ]
        campaigns.append((Campaign(organization_id, campaign_id, name), workflow, version_id))
    await befriend(simulator, friends)
    leads = await start(database, simulator, campaigns)
    async with database.connection() as conn:
        await gather_statistics(conn)
    made = tuple(each[0] for each in campaigns)
    return Stage(tuple(organizations), tuple(placed), made[:CAMPAIGNS], made[CAMPAIGNS:], leads)


async def place(
    conn: Conn,
    simulator: RemoteSimulator,
    organizations: Sequence[UUID],
    senders: Sequence[tuple[str, str, str]],
    zones: Sequence[str],
) -> list[Sender]:
    """Add each sender to its organisation, in its zone."""
    placed = []
    for organization_id, (unipile_id, name, tier), zone in zip(
        organizations, senders, zones, strict=True
    ):
        member_id = await simulator.member(unipile_id)
        account_id = await add_account(
            conn,
            organization_id,
            unipile_account_id=unipile_id,
            name=name,
            tier=Tier(tier),
            time_zone=zone,
            warmup_days=0,
            provider_id=member_id,
        )
        placed.append(
            Sender(organization_id, account_id, unipile_id, member_id, name, Tier(tier), zone)
        )
    return placed


def _own_senders(
    number: int, placed: Sequence[Sender], organizations: Sequence[UUID]
) -> Sequence[Sender]:
    """Return the senders of a campaign: a quarter of all, or a few of one organisation."""
    if number < CAMPAIGNS:
        return placed[number % QUARTERS :: QUARTERS]
    of = organizations[_is_of_second(number)]
    there = [sender for sender in placed if sender.organization_id == of]
    first = number * SENDERS_OF_SMALL % len(there)
    return (there + there)[first : first + SENDERS_OF_SMALL]


async def start(
    database: Database,
    simulator: RemoteSimulator,
    campaigns: Sequence[Made],
    leads_per_day: int = 1_000_000,
) -> int:
    """Start the campaigns; return how many leads they have."""
    leads = 0
    for campaign, workflow, version_id in campaigns:
        async with database.connection() as conn:
            leads += await start_campaign(
                conn,
                campaign.organization_id,
                campaign.id,
                workflow,
                workflow_version_id=version_id,
                pace=Pace(lead_processing_delay=timedelta(0), leads_per_day=leads_per_day),
                start_at=await simulator.now(),
                now=await simulator.now(),
            )
    return leads


def _slug(campaign: int, lead: int) -> str:
    return f"storm-{campaign}-{lead}"


async def _named_again(
    simulator: RemoteSimulator, number: int, slugs: Sequence[str]
) -> Sequence[str]:
    """Return the ids by which a large campaign lists some people of its own, and of another."""
    if number >= CAMPAIGNS:
        return []
    twice = list(slugs[::TWICE_EVERY])
    if number and not _is_of_second(number) and not _is_of_second(number - 1):
        twice += [_slug(number - 1, lead) for lead in range(1, len(slugs), TWICE_EVERY)]
    return [await simulator.provider_id(slug) for slug in twice]


def _is_of_second(number: int) -> bool:
    """Whether a sender or a campaign of this number is of the second organisation."""
    return number % QUARTERS == QUARTERS - 1


async def befriend(simulator: RemoteSimulator, friends: Sequence[tuple[str, str]]) -> None:
    """Connect people with accounts, by slug and id."""
    gate = asyncio.Semaphore(_FORCED_AT_ONCE)

    async def one(slug: str, account: str) -> None:
        async with gate:
            await simulator.force(slug, connected_to=[account])

    await asyncio.gather(*(one(slug, account) for slug, account in friends))


def lead_rows(names: Sequence[str]) -> Iterator[LeadRow]:
    """Return people as a list has them, each under a name of theirs: on every list alike."""
    for number, name in enumerate(names, start=1):
        chance = random.Random(name)  # noqa: S311  no secret
        who = identity(f"{PROFILE}{name}")
        assert isinstance(who, Identity)  # noqa: S101  made by us
        company = chance.choice(_COMPANIES)
        yield LeadRow(
            number,
            who,
            first_name=chance.choice(_FIRST_NAMES),
            company=company,
            email=f"{name.lower()}@{company.lower()}.example",
        )


def _minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def _line(*steps: tuple[Op, float, str]) -> dict[str, Node]:
    """Make nodes in a row of (operation, minutes until the next, text)."""
    ids = [f"{place}-{operation.value}" for place, (operation, _, _) in enumerate(steps)]
    ends: list[str | None] = [*ids[1:], None]
    return {
        node_id: Node(
            node_id,
            operation,
            text=text,
            posts=2 if operation is Op.LIKE_POST else 1,
            recent=timedelta(days=90),
            webhook_id=NOTICES if operation is Op.WEBHOOK else None,
            edges=() if target is None else (Edge(target, _minutes(delay)),),
        )
        for (operation, delay, text), node_id, target in zip(steps, ids, ends, strict=True)
    }


def _asking(
    before: dict[str, Node], note: str, yes: dict[str, Node], no: dict[str, Node], window: float
) -> Workflow:
    """Join a way to an invitation with what follows when it is accepted, and when it is not."""
    ways = (
        {f"{way}-{name}": node for name, node in nodes.items()}
        for way, nodes in (("yes", yes), ("no", no))
    )
    accepted, refused = ({name: _renamed(name, node) for name, node in way.items()} for way in ways)
    ask = Node(
        "invite",
        Op.SEND_CONNECTION_REQUEST,
        text=note,
        edges=(
            Edge(next(iter(accepted)), _minutes(3), Branch.ACCEPTED),
            Edge(next(iter(refused)), _minutes(window), Branch.NOT_ACCEPTED),
        ),
    )
    nodes = dict(before)
    if before:
        last = next(reversed(before.values()))
        nodes[last.id] = Node(
            last.id,
            last.operation,
            text=last.text,
            posts=last.posts,
            recent=last.recent,
            webhook_id=last.webhook_id,
            edges=(Edge("invite", _minutes(2)),),
        )
    nodes |= {"invite": ask} | accepted | refused
    return Workflow(next(iter(nodes)), nodes)


def _renamed(name: str, node: Node) -> Node:
    prefix = name.removesuffix(node.id)
    return Node(
        name,
        node.operation,
        text=node.text,
        posts=node.posts,
        recent=node.recent,
        webhook_id=node.webhook_id,
        edges=tuple(Edge(f"{prefix}{edge.target}", edge.delay) for edge in node.edges),
    )


def _courted(n: int) -> Workflow:
    """Make the whole way: seen, liked, commented, invited, written to or withdrawn from."""
    return _asking(
        _line(
            (Op.PROFILE_VISIT, 2, ""),
            (Op.LIKE_POST, 3, ""),
            (Op.COMMENT_POST, 2, f"Well said, {{{{first_name}}}}. I will try this ({n})."),
        ),
        f"Hi {{{{first_name}}}}, {{{{company}}}} does fine work. Shall we connect? ({n})",
        _line(
            (Op.SEND_FOLLOWUP, 4, f"Thanks for connecting, {{{{first_name}}}} ({n}a)."),
            (Op.WEBHOOK, 2, ""),
            (Op.SEND_FOLLOWUP, 0, f"May I ask how {{{{company}}}} solved it? ({n}b)"),
        ),
        _line(
            (Op.WITHDRAW_REQUEST, 2, ""),
            (Op.SEND_INMAIL, 0, f"Dear {{{{first_name}}}}, a letter then ({n}c)."),
        ),
        60,
    )


def _befriended(n: int) -> Workflow:
    """Make a talk with those who are connected already."""
    nodes = _line(
        (Op.SEND_FOLLOWUP, 5, f"Hello {{{{first_name}}}}, long time no see ({n}d)."),
        (Op.LIKE_POST, 3, ""),
        (Op.SEND_FOLLOWUP, 5, f"I liked your post, {{{{first_name}}}} ({n}e)."),
        (Op.PROFILE_VISIT, 3, ""),
        (Op.SEND_FOLLOWUP, 2, f"Have a look at this, {{{{first_name}}}} ({n}f)."),
        (Op.WEBHOOK, 0, ""),
    )
    return Workflow(next(iter(nodes)), nodes)


def _wrote(n: int) -> Workflow:
    """Make a way by letters to those who are not connected."""
    nodes = _line(
        (Op.SEND_INMAIL, 3, f"Dear {{{{first_name}}}} of {{{{company}}}}, a letter ({n}g)."),
        (Op.PROFILE_VISIT, 2, ""),
        (Op.LIKE_POST, 2, ""),
        (Op.COMMENT_POST, 0, f"I agree, {{{{first_name}}}} ({n}h)."),
    )
    return Workflow(next(iter(nodes)), nodes)


def _invited(n: int) -> Workflow:
    """Make the shortest way: invited without a note, written to or withdrawn from."""
    return _asking(
        {},
        "",
        _line((Op.SEND_FOLLOWUP, 0, f"Glad to be connected, {{{{first_name}}}} ({n}i).")),
        _line((Op.WITHDRAW_REQUEST, 1, ""), (Op.PROFILE_VISIT, 0, "")),
        25,
    )


WORKFLOWS = (_courted, _befriended, _wrote, _invited)

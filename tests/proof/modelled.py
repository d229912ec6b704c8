"""Two campaigns on a stage of their own, a small model of what was promised, and the judge."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from psycopg.rows import dict_row

from clento_engine.domain.account import Tier
from clento_engine.domain.campaign import Pace
from clento_engine.domain.lead import Identity, LeadRow
from clento_engine.domain.limits import DAY, HOUR, MONTH, WEEK, Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Report
from clento_engine.domain.schedule import is_open, parse_hours
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.judge import duplicates, normalised
from clento_engine.simulator.ledger import Effect, Entry, Read
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.senders import Tier as SimulatedTier
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import Reliability
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.accounts import add_account, create_organization
from clento_engine.store.campaigns import create_campaign, start_campaign
from clento_engine.store.claimed import Claimed
from clento_engine.store.database import Conn, Database
from clento_engine.store.leads import import_leads
from clento_engine.store.replay import replay_walks
from clento_engine.store.tables import metadata
from clento_engine.store.workflows import save_workflow

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)
ZONES = {"acc_1": "UTC", "acc_2": "America/New_York"}
WINDOWS = {"hour": HOUR, "day": DAY, "week": WEEK, "month": MONTH}
GAP = timedelta(seconds=45)  # the least between two actions of a sender, by its default spacing

# Nobody does anything by chance: the rules say what people do.
PLAIN = Chances(
    missing=0,
    locked=0,
    connected=0,
    open_profile=0,
    accepts=0,
    replies=0,
    takes_inmail=1,
    changed_slug=0,
    posts=1,
)


# --- two campaigns that between them do everything


def _to(target: str | None, delay: timedelta, branch: Branch = Branch.NEXT) -> Edge:
    return Edge(target, delay, branch)


LONG = Workflow(
    "visit",
    {
        node.id: node
        for node in (
            Node("visit", Operation.PROFILE_VISIT, edges=(_to("like", 10 * MINUTE),)),
            Node(
                "like",
                Operation.LIKE_POST,
                recent=timedelta(days=90),
                edges=(_to("comment", 10 * MINUTE),),
            ),
            Node(
                "comment",
                Operation.COMMENT_POST,
                text="Well said",
                recent=timedelta(days=90),
                edges=(_to("ask", HOUR),),
            ),
            Node(
                "ask",
                Operation.SEND_CONNECTION_REQUEST,
                text="Hi {{first_name}}",
                edges=(
                    _to("thank", HOUR, Branch.ACCEPTED),
                    _to("withdraw", 2 * DAY, Branch.NOT_ACCEPTED),
                ),
            ),
            Node(
                "thank",
                Operation.SEND_FOLLOWUP,
                text="Thanks, {{first_name}}",
                edges=(_to("city", HOUR),),
            ),
            Node("city", Operation.SEND_FOLLOWUP, text="How is {{city}}?"),
            Node("withdraw", Operation.WITHDRAW_REQUEST, edges=(_to("mail", HOUR),)),
            Node("mail", Operation.SEND_INMAIL, text="One more thing", subject="Hello"),
        )
    },
)
SHORT = Workflow(
    "invite",
    {
        node.id: node
        for node in (
            Node(
                "invite",
                Operation.SEND_CONNECTION_REQUEST,
                edges=(
                    _to("first", timedelta(0), Branch.ACCEPTED),
                    _to("tell", DAY, Branch.NOT_ACCEPTED),
                ),
            ),
            Node("tell", Operation.WEBHOOK, webhook_url="https://crm.test/in"),
            Node(
                "first",
                Operation.SEND_FOLLOWUP,
                text="Good to meet you",
                edges=(_to("unless", HOUR),),
            ),
            Node(
                "unless",
                Operation.SEND_FOLLOWUP,
                text="Did you see this?",
                only_without_reply=True,
            ),
        )
    },
)
UNLESS_REPLIED = normalised("Did you see this?")


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign as its owner planned it."""

    workflow: Workflow
    slugs: tuple[str, ...]
    hours: str
    stop_on_reply: bool


PLANS = {
    "long": Plan(LONG, ("ada", "bert", "cleo", "dora"), "Mon-Fri 09:00-18:00", stop_on_reply=True),
    "short": Plan(SHORT, ("emil", "fay", "gus"), "always", stop_on_reply=False),
}
PEOPLE = tuple(slug for plan in PLANS.values() for slug in plan.slugs)
EFFECTS = {
    Operation.PROFILE_VISIT: Effect.VISIT,
    Operation.LIKE_POST: Effect.LIKE,
    Operation.COMMENT_POST: Effect.COMMENT,
    Operation.SEND_CONNECTION_REQUEST: Effect.INVITATION,
    Operation.SEND_FOLLOWUP: Effect.MESSAGE,
    Operation.SEND_INMAIL: Effect.INMAIL,
    Operation.WITHDRAW_REQUEST: Effect.WITHDRAW,
}
# what a person receives: at most one per node, and the ledger says exactly which
ONCE = ("comment_post", "like_post", "send_connection_request", "send_followup", "send_inmail")


# --- the model


@dataclass(slots=True)
class Model:
    """What was promised, by what was told: who may still be contacted, and how much is allowed."""

    campaign: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PLANS, "running"))
    paused: set[str] = field(default_factory=set)  # senders, by an operator
    suppressed: set[str] = field(default_factory=set)
    received: set[str] = field(default_factory=set)  # whose reply lies in the inbox
    heard: set[str] = field(default_factory=set)  # whose reply was applied
    sender: dict[str, str] = field(default_factory=dict)  # of each person
    caps: dict[tuple[str, Budget], Caps] = field(default_factory=dict)
    loosest: dict[tuple[str, Budget], Caps] = field(default_factory=dict)

    def permit(self, *, replied: Iterable[str]) -> "Permit":
        """Say for whom anything may be begun, when these are known to have replied."""
        known = frozenset(replied)
        allowed = {
            slug
            for name, plan in PLANS.items()
            if self.campaign[name] == "running"
            for slug in plan.slugs
            if self.sender[slug] not in self.paused
            and slug not in self.suppressed
            and not (plan.stop_on_reply and slug in known)
        }
        return Permit(frozenset(allowed), known)

    def allow(self, account: str, budget: Budget, caps: Caps) -> None:
        """Note new caps; what was claimed before may still land under the old ones."""
        before = self.loosest.get((account, budget), caps)
        self.caps[account, budget] = caps
        self.loosest[account, budget] = Caps(
            *(
                None if None in (old, new) else max(old, new)
                for old, new in zip(_numbers(before), _numbers(caps), strict=True)
            )
        )


def _numbers(caps: Caps) -> tuple[Any, ...]:
    return (caps.hour, caps.day, caps.week, caps.month)


@dataclass(frozen=True, slots=True)
class Permit:
    """Who may be contacted; `late`: by a ticker that had stalled, under older caps and gaps."""

    slugs: frozenset[str]
    replied: frozenset[str]
    late: bool = False


# --- the engine, in a world of its own


class Line(httpx.AsyncBaseTransport):
    """The line to the provider: refuses so many connections before it lets one through."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.refusing = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.refusing:
            self.refusing -= 1
            raise httpx.ConnectError("refused, on request")
        return await self.inner.handle_async_request(request)


async def _at_once(_seconds: float) -> None:
    """Wait for nothing: the client's pauses between reads are real seconds."""


@dataclass(slots=True)
class Stalled:
    """What a ticker held when it stopped: claimed steps, or the answers to them.

    `permit`: what was allowed at its claim, which was its last look.
    """

    claimed: list[Claimed]
    permit: Permit
    reports: list[Report] | None = None


@dataclass(slots=True)
class Stage:
    """Engine, simulator, and what is under way between them."""

    database: Database
    simulated: Simulated
    line: Line
    world: World
    outbox: Outbox
    organization_id: UUID
    accounts: dict[str, UUID]
    campaigns: dict[str, UUID]
    model: Model
    mail: list[dict[str, Any]] = field(default_factory=list)  # webhooks not yet delivered
    stalled: list[Stalled] = field(default_factory=list)
    seen: int = 0  # entries of the ledger that were judged
    seen_reads: Counter[tuple[str, Read]] = field(default_factory=Counter)
    last_act: dict[str, datetime] = field(default_factory=dict)  # of each sender, by a ticker

    @property
    def now(self) -> datetime:
        return self.simulated.clock()

    async def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        async with self.database.connection() as conn:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute(query.encode(), values)
            return await cursor.fetchall()

    async def advance(self, to: datetime) -> None:
        while self.now < to:
            await advance(self.simulated, to)


async def set_stage(database: Database, caps: Caps) -> Stage:
    """Empty the database, and start both campaigns in it; every budget has these caps."""
    clock = DrivenClock(START)
    mail: list[dict[str, Any]] = []

    async def deliver(_url: str, _headers: Mapping[str, str], body: bytes) -> int | None:
        mail.append(json.loads(body))
        return 200

    simulated = Simulated(
        clock=clock,
        chances=PLAIN,
        reliability=Reliability(
            visible_after=9 * MINUTE,
            noticed_within=30 * MINUTE,
            lost=0,
            duplicated=0,
            null_ids=0.1,
        ),
        deliver=deliver,
    )
    for source, events in (
        ("messaging", ["message_received"]),
        ("users", ["new_relation"]),
        ("account_status", ["ok", "credentials", "error", "stopped", "permissions"]),
    ):
        register_webhook(
            simulated, {"source": source, "request_url": "http://engine/", "events": events}
        )
    line = Line(httpx.ASGITransport(create_app(simulated)))
    provider = UnipileClient("http://simulator", "token", transport=line, pause=_at_once)
    world = World(database, provider, clock, slots=4)
    model = Model()
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    async with database.connection() as conn:
        await conn.execute(f"truncate {tables}".encode())
        organization_id = await create_organization(conn, "Acme")
        accounts = {}
        for name, zone in ZONES.items():
            member = connect_account(simulated, name, SimulatedTier.PREMIUM, name)
            accounts[name] = await add_account(
                conn,
                organization_id,
                unipile_account_id=name,
                name=name,
                tier=Tier.PREMIUM,
                time_zone=zone,
                warmup_days=0,
                provider_id=member.provider_id,
            )
            for budget in set(Budget) - {Budget.NONE}:
                model.allow(name, budget, caps)
        await conn.execute(
            "update rate_limits set per_hour = %s, per_day = %s, per_week = null, per_month = null"
            " where operation <> 'none'",
            (caps.hour, caps.day),
        )
        campaigns = {}
        for name, plan in PLANS.items():
            campaigns[name] = await _start(conn, organization_id, name, plan, accounts)
            for place, slug in enumerate(plan.slugs):
                model.sender[slug] = list(accounts)[place % len(accounts)]
    outbox = Outbox(httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))))
    return Stage(
        database,
        simulated,
        line,
        world,
        outbox,
        organization_id,
        accounts,
        campaigns,
        model,
        mail,
    )


async def _start(
    conn: Conn, organization_id: UUID, name: str, plan: Plan, accounts: Mapping[str, UUID]
) -> UUID:
    rows = [
        LeadRow(
            number,
            Identity(slug, slug, None, f"https://www.linkedin.com/in/{slug}"),
            first_name=slug.title(),
            last_name="Example",
            company=None,
            job_title=None,
            email=None,
            fields={"city": "Rome"} if number % 2 else {},  # the others are held
            notes=(),
        )
        for number, slug in enumerate(plan.slugs, 1)
    ]
    imported = await import_leads(conn, organization_id, name, rows, START)
    version = await save_workflow(conn, organization_id, name, {}, plan.workflow)
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=1000)
    campaign_id = await create_campaign(
        conn,
        organization_id,
        name=name,
        workflow_version_id=version,
        list_id=imported.list_id,
        senders=list(accounts.values()),
        hours=parse_hours(plan.hours),
        stop_on_reply=plan.stop_on_reply,
        max_duration=timedelta(days=365),
        pace=pace,
    )
    await start_campaign(
        conn,
        organization_id,
        campaign_id,
        plan.workflow,
        workflow_version_id=version,
        pace=pace,
        start_at=START,
        now=START,
    )
    return campaign_id


# --- the judge


def judge(stage: Stage, permit: Permit) -> None:
    """Hold what landed since the last look against what was allowed before it."""
    model, ledger = stage.model, stage.simulated.ledger
    entries = ledger.entries[stage.seen :]
    stage.seen = len(ledger.entries)
    for entry in entries:
        plan = next(plan for plan in PLANS.values() if entry.slug in plan.slugs)
        assert entry.slug in permit.slugs, f"I5, I6: {entry} though nobody may"
        if entry.slug in permit.replied:
            assert normalised(entry.text or "") != UNLESS_REPLIED, f"I6: {entry} after a reply"
        assert entry.account == model.sender[entry.slug], f"{entry} by somebody else's sender"
        zone = ZONES[entry.account]
        assert is_open(parse_hours(plan.hours), entry.at, zone), f"I4: {entry} outside hours"
        if not permit.late:
            before = stage.last_act.get(entry.account)
            assert before is None or entry.at - before >= GAP, f"I5: {entry} in a burst"
            stage.last_act[entry.account] = entry.at
    twice = list(duplicates(ledger.entries))
    assert not twice, f"I1: {twice}"
    _judge_caps(stage, entries, late=permit.late)


def _judge_caps(stage: Stage, entries: Sequence[Entry], *, late: bool) -> None:
    """Count every window that ends at something new."""
    ledger, caps = stage.simulated.ledger, stage.model.loosest if late else stage.model.caps
    fresh: dict[tuple[str, Budget], list[datetime]] = defaultdict(list)
    for entry in entries:
        fresh[entry.account, entry.operation.budget].append(entry.at)
    for account, kinds in ledger.reads.items():
        for kind, times in kinds.items():
            if kind.budget is not None:
                fresh[account, kind.budget] += times[stage.seen_reads[account, kind] :]
            stage.seen_reads[account, kind] = len(times)
    for (account, budget), times in fresh.items():
        spent = [
            *(e.at for e in ledger.entries if (e.account, e.operation.budget) == (account, budget)),
            *(
                at
                for kind, read in ledger.reads[account].items()
                if kind.budget is budget
                for at in read
            ),
        ]
        for window, length in WINDOWS.items():
            cap = getattr(caps[account, budget], window)
            for at in times if cap is not None else ():
                count = sum(at - length < other <= at for other in spent)
                assert count <= cap, f"I3: {account} {budget} {count} in a {window}, cap {cap}"


async def check(stage: Stage) -> None:
    """Look at everything that must hold at any moment."""
    lost = await stage.rows(
        """
        select p.identity, e.status, e.operation, e.next_run_at, l.ready_at, l.active
          from campaign_executions e
          join leads p on p.id = e.lead_id
          join campaigns c on c.id = e.campaign_id and c.status <> 'stopped'
          join connected_accounts s on s.id = e.account_id
          left join lanes l on l.campaign_id = e.campaign_id and l.account_id = e.account_id
                           and l.operation = e.operation
          left join actions a on a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
                             and a.state in ('intended', 'unknown')
         where e.outcome is null and a.token is null
           and not (e.status = 'held' and e.reason is not null)
           and (e.next_run_at is null or l.ready_at is null
                or e.status = 'awaiting' and s.next_sweep_at is null)
        """
    )
    assert not lost, f"I2: nothing wakes {lost}"
    wrong = await stage.rows(
        "select l.operation, l.active, c.status, s.status as sender from lanes l"
        " join campaigns c on c.id = l.campaign_id"
        " join connected_accounts s on s.id = l.account_id"
        " where l.active <> (c.status = 'running' and s.status = 'active')"
    )
    assert not wrong, f"I5: {wrong}"
    async with stage.database.connection() as conn:
        replayed = await replay_walks(conn, stage.organization_id)
    assert not replayed.differing, f"I7: {replayed.differing}"
    assert replayed.walks == len(PEOPLE)


async def settle_the_books(stage: Stage) -> None:
    """Hold our ledger against the simulator's, once nothing is open."""
    told = await stage.rows(
        "select p.identity, a.operation, a.text, a.state from actions a"
        " join leads p on p.id = a.lead_id"
    )
    assert {row["state"] for row in told} <= {"done", "refused", "absent", "released"}
    ours = Counter(
        (row["identity"], EFFECTS[Operation(row["operation"])])
        for row in told
        if row["state"] == "done" and row["operation"] in ONCE
    )
    visible = {EFFECTS[Operation(operation)] for operation in ONCE}
    theirs = Counter(
        (entry.slug, entry.operation)
        for entry in stage.simulated.ledger.entries
        if entry.operation in visible
    )
    assert ours == theirs, f"I1: the ledgers disagree: {ours - theirs} and {theirs - ours}"

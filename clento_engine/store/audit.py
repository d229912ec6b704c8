"""All that the books say, in one snapshot: to be held against what really happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from clento_engine.store.database import Conn, Database
from clento_engine.store.literals import OPEN
from clento_engine.store.moves import miscounted
from clento_engine.store.tables import metadata


@dataclass(frozen=True, slots=True)
class Written:
    """One action of the ledger; `account` is the provider's id of the sender."""

    account: str
    campaign_id: UUID
    lead_id: UUID
    node_id: str
    operation: str
    state: str
    budgets: list[str]
    bucket_at: datetime
    target: str
    text: str | None
    checks: int
    check_at: datetime | None
    intended_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a lead stands, and what is to wake it.

    `names`: every name its account may meet the person under; `is_listed`: their list says the
    provider's id, which a webhook calls them by.  `lane_ready_at` and `lane_active`
    are those of the lane it stands in, None when there is no such lane; `check_at` is of its open
    action; `connected_at` and `replied_at` are what the account knows.
    """

    organization_id: UUID
    account: str
    zone: str
    account_status: str
    paused_by: str | None
    next_sweep_at: datetime | None
    campaign_id: UUID
    campaign_status: str
    working_hours: str
    stop_on_reply: bool
    lead_id: UUID
    names: list[str]
    is_listed: bool
    status: str
    operation: str
    next_run_at: datetime | None
    outcome: str | None
    reason: str | None
    finished_at: datetime | None
    connected_at: datetime | None
    replied_at: datetime | None
    lane_ready_at: datetime | None
    lane_active: bool | None
    check_at: datetime | None


@dataclass(frozen=True, slots=True)
class Counted:
    """The units that the counters hold of one account, budget and bucket."""

    account: str
    budget: str
    bucket_at: datetime
    used: int


@dataclass(frozen=True, slots=True)
class Capped:
    """The caps of one account and budget."""

    account: str
    budget: str
    hour: int | None
    day: int | None
    week: int | None
    month: int | None


@dataclass(frozen=True, slots=True)
class Turned:
    """A campaign was paused, resumed, stopped or completed; `kind` is the event's."""

    campaign_id: UUID
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Books:
    """All of it, as it stood at one moment."""

    actions: Sequence[Written]
    executions: Sequence[Standing]
    counters: Sequence[Counted]
    caps: Sequence[Capped]
    turns: Sequence[Turned]
    waiting_webhooks: int  # stored, and not applied yet
    miscounted: Sequence[str]  # what a status would tell wrongly, and what is wrong of people


async def books(database: Database) -> Books:
    """Read the books of every organisation.

    An account that the provider knows by one id is one account here, whoever it is connected for.
    """
    async with database.snapshot() as conn:
        await conn.execute("set local enable_seqscan = on")  # all of it is read
        async with conn.cursor(row_factory=class_row(Written)) as written:
            await written.execute(_ACTIONS)
            actions = await written.fetchall()
        async with conn.cursor(row_factory=class_row(Standing)) as standing:
            await standing.execute(_EXECUTIONS)
            executions = await standing.fetchall()
        async with conn.cursor(row_factory=class_row(Counted)) as counted:
            await counted.execute(_COUNTERS)
            counters = await counted.fetchall()
        async with conn.cursor(row_factory=class_row(Capped)) as capped:
            await capped.execute(_CAPS)
            caps = await capped.fetchall()
        async with conn.cursor(row_factory=class_row(Turned)) as turned:
            await turned.execute(_TURNS)
            turns = await turned.fetchall()
        cursor = await conn.execute("select count(*) from inbox_events where applied_at is null")
        row = await cursor.fetchone()
        cursor = await conn.execute(
            "select problem, count(*) from invariants.people group by 1 order by 1"
        )
        people = [f"{problem}: {count}" for problem, count in await cursor.fetchall()]
        wrong = [*await miscounted(conn), *people]
    waiting = 0 if row is None else int(row[0])
    return Books(actions, executions, counters, caps, turns, waiting, wrong)


async def digest_of(conn: Conn) -> str:
    """Return a digest of every row of ours: equal where all was the same, ids and order included.

    But for when rows were made by the server's clock, which processes there were, and where on a
    server the database lies.
    """
    cursor = await conn.execute(_DIGEST.encode())
    row = await cursor.fetchone()
    return "" if row is None else str(row[0])


_PLACED = ("tickers", "database_stamp")
_TABLES = [table for table in metadata.sorted_tables if table.name not in _PLACED]
_DIGEST = "select md5(concat({}))".format(
    ", ".join(
        "(select json_agg(r order by r::text) from (select {} from {}) r)".format(
            ", ".join(column.name for column in table.columns if column.name != "created_at"),
            table.name,
        )
        for table in _TABLES
    )
)

_ACTIONS = """
select a.unipile_account_id as account, x.campaign_id, x.lead_id, x.node_id, x.operation,
       x.state, x.budgets, x.bucket_at, x.target, x.text, x.checks, x.check_at, x.intended_at,
       x.settled_at
  from actions x
  join connected_accounts a on a.organization_id = x.organization_id and a.id = x.account_id
 order by x.intended_at, x.lead_id
"""

_EXECUTIONS = f"""
select e.organization_id, a.unipile_account_id as account, a.time_zone as zone,
       a.status as account_status, a.paused_by, a.next_sweep_at,
       c.id as campaign_id, c.status as campaign_status, c.working_hours, c.stop_on_reply,
       e.lead_id,
       array_remove(array[e.provider_id, k.provider_id, p.provider_id, p.public_identifier,
                          p.identity], null) as names,
       p.provider_id is not null as is_listed,
       e.status, e.operation, e.next_run_at, e.outcome, e.reason, e.finished_at,
       k.connected_at, k.replied_at,
       l.ready_at as lane_ready_at, l.active as lane_active, x.check_at
  from campaign_executions e
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
  join connected_accounts a on a.organization_id = e.organization_id and a.id = e.account_id
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
  left join contacts k on k.organization_id = e.organization_id
                      and k.account_id = e.account_id and k.person_id = p.person_id
  left join lanes l on l.organization_id = e.organization_id and l.campaign_id = e.campaign_id
                   and l.account_id = e.account_id and l.operation = e.operation
  left join actions x on x.organization_id = e.organization_id
                     and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                     and x.state in {OPEN}
 order by c.id, e.lead_id
"""

_COUNTERS = """
select a.unipile_account_id as account, n.operation as budget, n.bucket_at, n.used
  from rate_counters n
  join connected_accounts a on a.organization_id = n.organization_id and a.id = n.account_id
"""

_CAPS = """
select a.unipile_account_id as account, b.operation as budget, b.per_hour as hour,
       b.per_day as day, b.per_week as week, b.per_month as month
  from rate_limits b
  join connected_accounts a on a.organization_id = b.organization_id and a.id = b.account_id
"""

_TURNS = """
select subject_id as campaign_id, kind, at from events
 where kind in ('CampaignPaused', 'CampaignResumed', 'CampaignStopped', 'CampaignCompleted')
 order by id
"""

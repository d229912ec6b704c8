"""Read-only: what listings and reports show.  Nothing is decided on what these return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from clento_engine.domain.lead import Identity
from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Ticket
from clento_engine.store.accounts import ACCOUNT, AccountRow, account_row, accounts, limits, used
from clento_engine.store.connection import snapshot
from clento_engine.store.errors import Ambiguous, NotFound, Noun
from clento_engine.store.literals import INTENDED, OPEN
from clento_engine.store.refusals import HeldLane, held_lanes
from clento_engine.store.rests import Rest, rest

# --- finding things by what people call them


@dataclass(frozen=True, slots=True)
class SavedWorkflow:
    """A version of a workflow as the editor saved it."""

    name: str
    version: int
    document: object


async def find_account(conn: AsyncConnection[Any], organization_id: UUID, name: str) -> AccountRow:
    """Return a sender by its name, its Unipile id or ours.

    Raises NotFound, and Ambiguous when several have that name.
    """
    known = await accounts(conn, organization_id)
    by_id = [a for a in known if name in (a.unipile_account_id, str(a.id))]
    found = by_id or [a for a in known if a.name == name]
    match found:
        case [account]:
            return account
        case []:
            raise NotFound(Noun.ACCOUNT, name)
        case _:
            ids = [account.unipile_account_id for account in found]
            raise Ambiguous(Noun.ACCOUNT, name, ids)


async def find_list(
    conn: AsyncConnection[Any], organization_id: UUID, name: str
) -> tuple[UUID, int]:
    """Return a list's id and how many people it has.  Raises NotFound."""
    cursor = await conn.execute(
        "select l.id, (select count(*) from leads p where p.organization_id = l.organization_id"
        " and p.list_id = l.id) from lead_lists l"
        " where l.organization_id = %s and (l.name = %s or l.id::text = %s)",
        (organization_id, name, name),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(Noun.LIST, name)
    return row[0], row[1]


async def list_columns(
    conn: AsyncConnection[Any], organization_id: UUID, list_id: UUID
) -> set[str] | None:
    """Return the columns that leads of a list have besides the fields of all; None if it is empty.

    Of at least one lead: whoever lacks the value is held when the text is written.
    """
    cursor = await conn.execute(
        """
        select exists (select from leads where organization_id = %(organization_id)s
                                           and list_id = %(list_id)s),
               exists (select from leads where organization_id = %(organization_id)s
                                           and list_id = %(list_id)s and email is not null),
               array(select distinct jsonb_object_keys(fields) from leads
                      where organization_id = %(organization_id)s and list_id = %(list_id)s)
        """,
        {"organization_id": organization_id, "list_id": list_id},
    )
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    return {*row[2], *(["email"] if row[1] else [])}


async def version(
    conn: AsyncConnection[Any], organization_id: UUID, version_id: UUID
) -> SavedWorkflow:
    """Return a version of a workflow.  Raises NotFound."""
    async with conn.cursor(row_factory=class_row(SavedWorkflow)) as cursor:
        await cursor.execute(
            "select name, version, document from workflow_versions"
            " where organization_id = %s and id = %s",
            (organization_id, version_id),
        )
        found = await cursor.fetchone()
    if found is None:
        raise NotFound(Noun.WORKFLOW_VERSION, str(version_id))
    return found


async def senders(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID
) -> list[AccountRow]:
    """List a campaign's senders, in the order in which leads are dealt out."""
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        f"select {ACCOUNT} from campaign_senders s join connected_accounts a"
        " on a.organization_id = s.organization_id and a.id = s.account_id"
        " where s.organization_id = %s and s.campaign_id = %s order by s.position",
        (organization_id, campaign_id),
    )
    return [account_row(row) for row in await cursor.fetchall()]


# --- lists of people


@dataclass(frozen=True, slots=True)
class LeadList:
    """A list; `campaigns` are the names of those that use it."""

    id: UUID
    name: str
    leads: int
    campaigns: list[str]
    created_at: datetime


async def lead_lists(conn: AsyncConnection[Any], organization_id: UUID) -> list[LeadList]:
    """List the lists by name."""
    async with conn.cursor(row_factory=class_row(LeadList)) as cursor:
        await cursor.execute(
            """
            select l.id, l.name, l.created_at,
                   (select count(*) from leads p
                     where p.organization_id = l.organization_id and p.list_id = l.id) as leads,
                   array(select c.name from campaigns c
                          where c.organization_id = l.organization_id and c.list_id = l.id
                          order by c.name) as campaigns
              from lead_lists l where l.organization_id = %s order by l.name
            """,
            (organization_id,),
        )
        return await cursor.fetchall()


# --- campaigns


@dataclass(frozen=True, slots=True)
class CampaignSummary:
    """A campaign in a listing; leads are counted once it is started."""

    id: UUID
    name: str
    status: str
    workflow: str
    list: str
    senders: int
    leads: int
    under_way: int
    held: int
    finished: int
    start_at: datetime | None
    completed_at: datetime | None


async def campaign_summaries(
    conn: AsyncConnection[Any], organization_id: UUID
) -> list[CampaignSummary]:
    """List the campaigns, oldest first."""
    async with conn.cursor(row_factory=class_row(CampaignSummary)) as cursor:
        await cursor.execute(
            """
            select c.id, c.name, c.status, w.name || ' v' || w.version as workflow,
                   l.name as list, c.start_at, c.completed_at, n.*,
                   (select count(*) from campaign_senders s
                     where s.organization_id = c.organization_id and s.campaign_id = c.id)
                   as senders
              from campaigns c
              join workflow_versions w on w.organization_id = c.organization_id
                                      and w.id = c.workflow_version_id
              join lead_lists l on l.organization_id = c.organization_id and l.id = c.list_id
             cross join lateral (
                   select coalesce(sum(f.leads), 0)::bigint as leads,
                          coalesce(sum(f.leads) filter (
                            where f.node_id <> '' and f.status <> 'held' and f.outcome = ''), 0
                            )::bigint as under_way,
                          coalesce(sum(f.leads) filter (where f.status = 'held'), 0)::bigint
                            as held,
                          coalesce(sum(f.leads) filter (where f.outcome <> ''), 0)::bigint
                            as finished
                     from campaign_moves m
                    cross join lateral (values
                          (m.to_node_id, m.to_status, m.to_outcome, m.leads),
                          (m.node_id, m.status, '', -m.leads)
                          ) f(node_id, status, outcome, leads)
                    where m.organization_id = c.organization_id and m.campaign_id = c.id
                      and f.status <> '') n
             where c.organization_id = %s
             order by c.id
            """,
            (organization_id,),
        )
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Count:
    """How many leads stand so."""

    status: str
    outcome: str | None
    leads: int


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """What became of the leads at one node; `here` are those that stand there now."""

    node_id: str
    entered: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    here: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why leads are held, and how many."""

    reason: str
    leads: int


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A budget that rests, until when and why; `budget` None: all that the sender does."""

    budget: Budget | None
    until: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class SenderUse:
    """A sender of a campaign, with the caps that the campaign's steps draw from and their use.

    `held_back`: what of it rests now.
    """

    account: AccountRow
    caps: Mapping[Budget, Caps]
    used: Mapping[Budget, Mapping[str, int]]
    leads: int
    held_back: Sequence[HeldBack] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a campaign stands, all of it at one moment.

    `replied`: leads who wrote to their senders, before or after their walks' end.
    """

    counts: list[Count]
    funnel: dict[str, NodeCounts]
    held: list[Reason]
    held_lanes: Sequence[HeldLane]
    rest: Rest | None
    senders: list[SenderUse]
    in_flight: int
    next_at: datetime | None
    workflow: str
    list: str
    replied: int


async def standing(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, now: datetime
) -> Standing:
    """Return how a campaign stands, read in one snapshot."""
    of = {"organization_id": organization_id, "campaign_id": campaign_id, "now": now}
    async with snapshot(conn):
        async with conn.cursor(row_factory=class_row(Count)) as counts:
            await counts.execute(_COUNTS, of)
            counted = await counts.fetchall()
        async with conn.cursor(row_factory=class_row(Reason)) as reasons:
            await reasons.execute(_HELD, of)
            held = await reasons.fetchall()
        async with conn.cursor(row_factory=class_row(NodeCounts)) as nodes:
            await nodes.execute(_FUNNEL, of)
            funnel = {each.node_id: each for each in await nodes.fetchall()}
        cursor = await conn.execute(_MOMENT, of)
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(Noun.CAMPAIGN, str(campaign_id))
        cursor = await conn.execute(
            "select count(*) from campaign_executions where organization_id = %s"
            " and campaign_id = %s and replied",
            (organization_id, campaign_id),
        )
        replied = (await cursor.fetchone() or (0,))[0]
        using = await _senders_use(conn, organization_id, campaign_id, now)
        lanes = await held_lanes(conn, organization_id, campaign_id)
        resting = await rest(conn)
    in_flight, next_at, workflow, list_name = row
    return Standing(
        counted,
        funnel,
        held,
        lanes,
        resting,
        using,
        in_flight,
        next_at,
        workflow,
        list_name,
        replied,
    )


async def _senders_use(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, now: datetime
) -> list[SenderUse]:
    cursor = await conn.execute(
        "select account_id, array_agg(distinct budget) from lanes where organization_id = %s"
        " and campaign_id = %s and budget <> 'none' group by account_id",
        (organization_id, campaign_id),
    )
    drawn = {row[0]: {Budget(name) for name in row[1]} for row in await cursor.fetchall()}
    cursor = await conn.execute(
        "select account_id, leads from campaign_senders where organization_id = %s"
        " and campaign_id = %s",
        (organization_id, campaign_id),
    )
    dealt = dict(await cursor.fetchall())
    found = []
    for account in await senders(conn, organization_id, campaign_id):
        caps = await limits(conn, organization_id, account.id)
        spent = await used(conn, organization_id, account.id, now)
        budgets = drawn.get(account.id, set())
        if Budget.INVITATION in budgets:
            budgets.add(Budget.NOTE)
        shown = {budget: caps[budget] for budget in caps if budget in budgets}
        rests = await _held_back(conn, organization_id, account.id, now)
        drawn_from = [each for each in rests if each.budget is None or each.budget in shown]
        found.append(SenderUse(account, shown, spent, dealt.get(account.id, 0), drawn_from))
    return found


async def _held_back(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> list[HeldBack]:
    cursor = await conn.execute(
        """
        select null, blocked_until, blocked_reason from connected_accounts
         where organization_id = %(organization_id)s and id = %(account_id)s
           and blocked_until > %(now)s
         union all
        select operation, blocked_until, blocked_reason from rate_limits
         where organization_id = %(organization_id)s and account_id = %(account_id)s
           and blocked_until > %(now)s
         order by 1 nulls first
        """,
        {"organization_id": organization_id, "account_id": account_id, "now": now},
    )
    return [
        HeldBack(None if row[0] is None else Budget(row[0]), row[1], row[2])
        for row in await cursor.fetchall()
    ]


# All of these add up moves: they cost what the workflow's size is, never the number of leads.
_COUNTS = """
select status, nullif(outcome, '') as outcome, sum(leads)::bigint as leads
  from (select m.to_status as status, m.to_outcome as outcome, m.leads from campaign_moves m
         where m.organization_id = %(organization_id)s and m.campaign_id = %(campaign_id)s
        union all
        select m.status, '', -m.leads from campaign_moves m
         where m.organization_id = %(organization_id)s and m.campaign_id = %(campaign_id)s) m
 where status <> ''
 group by status, outcome having sum(leads) <> 0 order by status, nullif(outcome, '')
"""

_HELD = """
select coalesce(reason, '') as reason, count(*) as leads from campaign_executions
 where organization_id = %(organization_id)s and campaign_id = %(campaign_id)s
   and status = 'held'
 group by reason order by leads desc, reason limit 20
"""

_FUNNEL = """
select f.node_id, sum(f.entered)::int as entered, sum(f.done)::int as done,
       sum(f.skipped)::int as skipped, sum(f.failed)::int as failed, sum(f.here)::int as here
  from campaign_moves m
 cross join lateral (values
       (m.node_id, 0, case m.result when 'done' then m.leads else 0 end,
        case m.result when 'skipped' then m.leads else 0 end,
        case m.result when 'failed' then m.leads else 0 end,
        case m.status when '' then 0 else -m.leads end),
       (m.entered, m.leads, 0, 0, 0, 0),
       (m.to_node_id, 0, 0, 0, 0, case m.to_outcome when '' then m.leads else 0 end)
       ) f(node_id, entered, done, skipped, failed, here)
 where m.organization_id = %(organization_id)s and m.campaign_id = %(campaign_id)s
   and f.node_id <> ''
 group by f.node_id order by f.node_id
"""

_MOMENT = f"""
select (select count(*) from actions a where a.organization_id = c.organization_id
           and a.campaign_id = c.id and a.state = {INTENDED} and a.check_at > %(now)s),
       (select min(l.ready_at) from lanes l where l.organization_id = c.organization_id
           and l.campaign_id = c.id and l.active),
       w.name || ' v' || w.version, p.name
  from campaigns c
  join workflow_versions w on w.organization_id = c.organization_id
                          and w.id = c.workflow_version_id
  join lead_lists p on p.organization_id = c.organization_id and p.id = c.list_id
 where c.organization_id = %(organization_id)s and c.id = %(campaign_id)s
"""


# --- leads


@dataclass(frozen=True, slots=True)
class Place:
    """A lead's place in a campaign."""

    lead_id: UUID
    identity: str
    name: str
    company: str | None
    sender: str
    status: str
    outcome: str | None
    node_id: str | None
    operation: str
    next_run_at: datetime | None
    attempt: int
    connected: bool
    replied: bool
    reason: str | None
    profile_url: str | None


async def places(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    *,
    status: str | None = None,
    outcome: str | None = None,
    limit: int = 100,
) -> list[Place]:
    """List up to `limit` leads of a campaign, in the order of their list."""
    async with conn.cursor(row_factory=class_row(Place)) as cursor:
        await cursor.execute(
            """
            select e.lead_id, p.identity, concat_ws(' ', p.first_name, p.last_name) as name,
                   p.company, a.name as sender, e.status, e.outcome, e.node_id, e.operation,
                   e.next_run_at, e.attempt, e.connected, e.replied, e.reason, p.profile_url
              from campaign_executions e
              join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
              join connected_accounts a on a.organization_id = e.organization_id
                                       and a.id = e.account_id
             where e.organization_id = %(organization_id)s and e.campaign_id = %(campaign_id)s
               and (%(status)s::text is null or e.status = %(status)s)
               and (%(outcome)s::text is null or e.outcome = %(outcome)s)
             order by p.row_number, p.id
             limit %(limit)s
            """,
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "status": status,
                "outcome": outcome,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class FoundLead:
    """A person of one list."""

    id: UUID
    identity: str
    name: str
    company: str | None
    profile_url: str | None
    campaigns: list[str]
    list: str


async def find_leads(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    who: UUID | Identity,
    *,
    campaign_id: UUID | None = None,
) -> list[FoundLead]:
    """Return the leads that are this person, one for each list that has it."""
    names: list[str] = []
    if isinstance(who, Identity):
        names = [name for name in (who.key, who.public_identifier, who.provider_id) if name]
    async with conn.cursor(row_factory=class_row(FoundLead)) as cursor:
        await cursor.execute(
            """
            select p.id, p.identity, concat_ws(' ', p.first_name, p.last_name) as name, p.company,
                   l.name as list, p.profile_url,
                   array(select c.name from campaign_executions e
                           join campaigns c on c.organization_id = e.organization_id
                                           and c.id = e.campaign_id
                          where e.organization_id = p.organization_id and e.lead_id = p.id
                            and c.list_id = p.list_id
                          order by c.id) as campaigns
              from leads p
              join lead_lists l on l.organization_id = p.organization_id and l.id = p.list_id
             where p.organization_id = %(organization_id)s
               and (p.id = %(id)s or p.identity = any(%(names)s)
                    or p.public_identifier = any(%(names)s) or p.provider_id = any(%(names)s))
               and (%(campaign_id)s::uuid is null or exists (
                    select from campaign_executions e
                     where e.organization_id = p.organization_id
                       and e.campaign_id = %(campaign_id)s and e.lead_id = p.id))
             order by p.id
            """,
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "id": who if isinstance(who, UUID) else None,
                "names": names,
            },
        )
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a lead's history: an event, or an action of the ledger (`state` is its state).

    Of an action, `at` is when it was intended and `settled_at` when its outcome was known.
    """

    at: datetime
    kind: str
    campaign: str | None
    actor: str
    node_id: str | None
    state: str | None
    result: str | None
    entered: str | None
    settled_at: datetime | None
    reference: str | None
    reason: str | None
    text: str | None
    detail: dict[str, Any]


async def history(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    leads: Sequence[UUID],
    *,
    campaign_id: UUID | None = None,
) -> list[Happening]:
    """Return everything that happened to these leads, oldest first."""
    async with conn.cursor(row_factory=class_row(Happening)) as cursor:
        await cursor.execute(
            f"""
            with told as (
                select v.at, 1 as place, v.id as number, v.kind, v.campaign_id, v.actor, v.node_id,
                       null as state, v.result, v.entered, null::timestamptz as settled_at,
                       null as reference, coalesce(v.detail -> 'cause' ->> 'reason',
                                                   v.detail ->> 'reason') as reason,
                       null as text, v.detail
                  from history v
                 where v.organization_id = %(organization_id)s
                   and v.subject_id = any(%(leads)s)
                   and (%(campaign_id)s::uuid is null or v.campaign_id = %(campaign_id)s)
                union all
                select a.intended_at, 2, 0, a.operation, a.campaign_id, s.name, a.node_id, a.state,
                       null, null, a.settled_at, a.reference, a.reason, a.text, '{{}}'::jsonb
                  from campaign_executions e
                 cross join lateral (
                       select * from actions o
                        where o.organization_id = e.organization_id
                          and o.campaign_id = e.campaign_id and o.lead_id = e.lead_id
                          and o.state in {OPEN}
                        union all
                       select * from actions o
                        where o.organization_id = e.organization_id
                          and o.campaign_id = e.campaign_id and o.lead_id = e.lead_id
                          and o.number is not null) a
                  join connected_accounts s on s.organization_id = a.organization_id
                                           and s.id = a.account_id
                 where e.organization_id = %(organization_id)s and e.lead_id = any(%(leads)s)
                   and (%(campaign_id)s::uuid is null or e.campaign_id = %(campaign_id)s)
            )
            select t.at, t.kind, c.name as campaign, t.actor, t.node_id, t.state, t.result,
                   t.entered, t.settled_at, t.reference, t.reason, t.text, t.detail
              from told t
              left join campaigns c on c.organization_id = %(organization_id)s
                                   and c.id = t.campaign_id
             order by t.at, t.place, t.number
            """,
            {
                "organization_id": organization_id,
                "leads": list(leads),
                "campaign_id": campaign_id,
            },
        )
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class WalkRow:
    """A lead's walk as whoever lifts its hold needs it; `ticket` is its open action, if any."""

    campaign_id: UUID
    lead_id: UUID
    account_id: UUID
    status: str
    reason: str | None
    ticket: Ticket | None


async def walk(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, lead_id: UUID
) -> WalkRow:
    """Return a lead's walk in a campaign.  Raises NotFound."""
    cursor = await conn.execute(
        f"""
        select e.account_id, e.status, e.reason, a.token, a.node_id, a.operation, a.budgets,
               a.bucket_at
          from campaign_executions e
          left join actions a on a.organization_id = e.organization_id
                             and a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
                             and a.state in {OPEN}
         where e.organization_id = %s and e.campaign_id = %s and e.lead_id = %s
        """,
        (organization_id, campaign_id, lead_id),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(Noun.LEAD, str(lead_id))
    account_id, status, reason, token, node_id, operation, budgets, bucket_at = row
    ticket = None
    if token is not None:
        ticket = Ticket(token, node_id, Operation(operation), tuple(budgets), bucket_at)
    return WalkRow(campaign_id, lead_id, account_id, status, reason, ticket)

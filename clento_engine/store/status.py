"""How campaigns stand.  Nothing is decided on what is read here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.store.connection import snapshot
from clento_engine.store.errors import NotFound, Noun
from clento_engine.store.lanes import drawn_and_held
from clento_engine.store.literals import INTENDED
from clento_engine.store.refusals import HeldLane, held_lanes
from clento_engine.store.rests import Rest, rest
from clento_engine.store.senders import SenderUse, senders_use


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
        drawn, is_any_held = await drawn_and_held(conn, organization_id, campaign_id)
        lanes = await held_lanes(conn, organization_id, campaign_id) if is_any_held else []
        using = await senders_use(conn, organization_id, campaign_id, drawn, now)
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

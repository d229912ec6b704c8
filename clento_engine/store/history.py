"""What happened: lines about campaigns and accounts, and leads' histories as people read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.store.literals import OPEN


async def record(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    subject_id: UUID,
    kind: str,
    actor: str,
    now: datetime,
    reason: str | None,
) -> None:
    """Add a line to the history of a campaign or an account."""
    await conn.execute(
        "insert into events (organization_id, subject_id, at, kind, actor, detail)"
        " values (%s, %s, %s, %s, %s, jsonb_strip_nulls(jsonb_build_object('reason', %s::text)))",
        (organization_id, subject_id, now, kind, actor, reason),
    )


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

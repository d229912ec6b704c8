"""Leads' places in a campaign: listed, and one as whoever lifts its hold needs it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain.operation import Operation
from clento_engine.domain.report import Ticket
from clento_engine.store.errors import NotFound, Noun
from clento_engine.store.literals import OPEN


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

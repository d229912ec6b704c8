"""What a storm asks of the database: whom to trouble right now, and who has not come to an end."""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Troubled = tuple[str, str, str]  # the account by the provider's id, the person's identity, e-mail


async def gather_statistics(conn: AsyncConnection[Any]) -> None:
    """Let the planner know what was loaded just now, as autovacuum would in its next minute."""
    for table in (
        "connected_accounts",
        "rate_limits",
        "leads",
        "lead_lists",
        "campaigns",
        "campaign_executions",
        "lanes",
    ):
        await conn.execute(f"analyze {table}".encode())


async def acted_upon(
    conn: AsyncConnection[Any], organization_id: UUID, most: int
) -> list[Troubled]:
    """Return people with an action in flight; those due next when there are none."""
    for query in (_IN_FLIGHT, _NEXT):
        cursor = await conn.execute(query.encode(), (organization_id, most))
        if found := await cursor.fetchall():
            return found
    return []


async def paused_by_provider(
    conn: AsyncConnection[Any], organization_id: UUID, most: int
) -> list[UUID]:
    """Return senders that the provider's refusals paused."""
    cursor = await conn.execute(
        "select id from connected_accounts"
        " where organization_id = %s and status = 'paused' and paused_by = 'provider'"
        " order by random() limit %s",
        (organization_id, most),
    )
    return [row[0] for row in await cursor.fetchall()]


async def unsettled(conn: AsyncConnection[Any], organization_id: UUID) -> int:
    """Count the leads that are neither final nor held nor in a campaign that somebody halted.

    One whose action is open is counted wherever it is, unless a person is asked about it.
    """
    cursor = await conn.execute(_UNSETTLED, {"organization_id": organization_id})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


_IN_FLIGHT = """
select a.unipile_account_id, p.identity, p.email
  from actions x
  join leads p on p.organization_id = x.organization_id and p.id = x.lead_id
  join connected_accounts a on a.organization_id = x.organization_id and a.id = x.account_id
 where x.organization_id = %s and x.state in ('intended', 'unknown')
   and x.operation <> 'profile_lookup'
 order by random() limit %s
"""
_NEXT = """
select a.unipile_account_id, p.identity, p.email
  from campaign_executions e
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
  join connected_accounts a on a.organization_id = e.organization_id and a.id = e.account_id
 where e.organization_id = %s and e.outcome is null and e.started_at is not null
 order by e.next_run_at limit %s
"""
_UNSETTLED = """
select count(*)
  from campaign_executions e
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
 where e.organization_id = %(organization_id)s and e.status <> 'held'
   and ((e.outcome is null and c.status in ('running', 'completed'))
        or exists (select from actions x
                    where x.organization_id = e.organization_id
                      and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                      and x.state in ('intended', 'unknown')))
"""

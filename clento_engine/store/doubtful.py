"""Actions whose outcome nobody knows: taken over for reconcile, one process at a time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from uuid_utils.compat import uuid4

from clento_engine.domain.operation import Operation
from clento_engine.store.settle import Ticket


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An action that may have happened, under a lease of ours.

    `known`: references of this lead's other actions, which are not to be mistaken for this one's.
    """

    organization_id: UUID
    campaign_id: UUID
    lead_id: UUID
    account_id: UUID
    unipile_account_id: str
    own_provider_id: str | None
    ticket: Ticket
    target: str
    text: str | None
    subject: str | None
    intended_at: datetime
    checks: int
    provider_id: str | None
    chat_id: str | None
    known: frozenset[str]


async def take_doubtful(
    conn: AsyncConnection[Any], *, now: datetime, lease: timedelta, most: int
) -> list[Doubtful]:
    """Take over actions whose lease is over or whose next question is due, oldest first.

    Their token changes: whoever held them before can settle nothing any more.
    """
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        """
        with due as materialized (  -- joined as a subquery it might be run again for each row
            select organization_id, campaign_id, lead_id from actions
             where state in ('intended', 'unknown') and check_at <= %(now)s
             order by check_at
             limit %(most)s
               for no key update skip locked),
        taken as (
            update actions a
               set state = 'unknown', token = %(token)s, check_at = %(until)s,
                   checks = a.checks + 1
              from due
             where a.organization_id = due.organization_id and a.campaign_id = due.campaign_id
               and a.lead_id = due.lead_id and a.state in ('intended', 'unknown')
            returning a.*)
        select t.organization_id, t.campaign_id, t.lead_id, t.account_id, t.token, t.node_id,
               t.operation, t.budgets, t.bucket_at, t.target, t.text, t.subject, t.intended_at,
               t.checks, o.unipile_account_id, o.provider_id as own_provider_id,
               coalesce(e.provider_id, k.provider_id) as provider_id, k.chat_id,
               array(select x.reference from actions x
                      where x.organization_id = t.organization_id
                        and x.campaign_id = t.campaign_id and x.lead_id = t.lead_id
                        and x.operation = t.operation and x.state = 'done'
                        and x.reference is not null and x.number is not null) as known
          from taken t
          join connected_accounts o on o.organization_id = t.organization_id
                                   and o.id = t.account_id
          join campaign_executions e on e.organization_id = t.organization_id
                                    and e.campaign_id = t.campaign_id and e.lead_id = t.lead_id
          left join contacts k on k.organization_id = t.organization_id
                              and k.account_id = t.account_id and k.lead_id = t.lead_id
         order by t.intended_at, t.lead_id
        """,
        {"now": now, "until": now + lease, "token": uuid4(), "most": most},
    )
    return [_doubtful(row) for row in await cursor.fetchall()]


def _doubtful(row: dict[str, Any]) -> Doubtful:
    ticket = Ticket(
        row["token"],
        row["node_id"],
        Operation(row["operation"]),
        tuple(row["budgets"]),
        row["bucket_at"],
    )
    return Doubtful(
        organization_id=row["organization_id"],
        campaign_id=row["campaign_id"],
        lead_id=row["lead_id"],
        account_id=row["account_id"],
        unipile_account_id=row["unipile_account_id"],
        own_provider_id=row["own_provider_id"],
        ticket=ticket,
        target=row["target"],
        text=row["text"],
        subject=row["subject"],
        intended_at=row["intended_at"],
        checks=row["checks"],
        provider_id=row["provider_id"],
        chat_id=row["chat_id"],
        known=frozenset(row["known"]),
    )

"""Webhooks as they came: stored once each before they are answered, applied by the ticker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

# The result of a person's message whose writer no lead of the account is known to be.  It is kept
# for the claim: the visit whose answer was lost may have told them of us, and not us who they are.
NOBODY_KNOWN = "nobody known"


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A webhook that waits to be applied."""

    organization_id: UUID
    id: int
    payload: dict[str, Any]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Walk:
    """An execution that an incoming event may be about.

    Of a finished one, `connected` says what the account already knows of the lead.  `replied_at`:
    when the newest message that the account knows of was written, in whatever campaign.
    """

    organization_id: UUID
    campaign_id: UUID
    lead_id: UUID
    account_id: UUID
    finished: bool
    connected: bool
    replied_at: datetime | None

    def is_news(self, at: datetime) -> bool:
        """Whether a message written at `at` is newer than all that were heard of."""
        return self.replied_at is None or at > self.replied_at


async def store_webhook(
    conn: AsyncConnection[Any], organization_id: UUID, key: str, payload: object, now: datetime
) -> bool:
    """Store what a webhook should have told, under its key; False when it was there already."""
    cursor = await conn.execute(
        "insert into inbox_events (organization_id, key, payload, received_at)"
        " values (%s, %s, %s, %s) on conflict (organization_id, key) do nothing",
        (organization_id, key, Jsonb(payload), now),
    )
    return cursor.rowcount == 1


async def route_webhook(
    conn: AsyncConnection[Any], unipile_account_id: str, key: str, payload: object, now: datetime
) -> bool | None:
    """Store a webhook for the organisation that has the account; False when it was there already.

    None when none has it: it is counted, and not stored.
    """
    cursor = await conn.execute(
        """
        with owner as (
            select organization_id from provider_accounts where unipile_account_id = %(account)s),
        stored as (
            insert into inbox_events (organization_id, key, payload, received_at)
            select organization_id, %(key)s, %(payload)s, %(now)s from owner
                on conflict (organization_id, key) do nothing
            returning organization_id)
        select (select count(*) from owner), (select count(*) from stored)
        """,
        {"account": unipile_account_id, "key": key, "payload": Jsonb(payload), "now": now},
    )
    owners, stored = await cursor.fetchone() or (0, 0)
    if owners == 0:
        await conn.execute(
            "insert into installation as i (unrouted_webhooks) values (1)"
            " on conflict (is_only) do update set unrouted_webhooks = i.unrouted_webhooks + 1"
        )
        return None
    return bool(stored)


async def lock_webhooks(
    conn: AsyncConnection[Any], *, most: int, after: int = 0
) -> Sequence[InboxRow]:
    """Lock and return the oldest webhooks not yet applied whose id is above `after`.

    Inside the caller's transaction.  Rows that another process works on are passed over.
    """
    cursor = await conn.execute(
        "select organization_id, id, payload, received_at from inbox_events"
        " where applied_at is null and id > %s order by id limit %s for update skip locked",
        (after, most),
    )
    return [InboxRow(*row) for row in await cursor.fetchall()]


async def mark_applied(
    conn: AsyncConnection[Any],
    rows: Sequence[InboxRow],
    now: datetime,
    *,
    result: str | None = None,
) -> None:
    """Mark webhooks as applied; `result` says what became of them, unless they were heard."""
    await conn.execute(
        "update inbox_events set applied_at = %s, result = %s"
        " where organization_id = any(%s) and id = any(%s)",
        (now, result, list({row.organization_id for row in rows}), [row.id for row in rows]),
    )


async def account_of(
    conn: AsyncConnection[Any], organization_id: UUID, unipile_account_id: str
) -> UUID | None:
    """Return our id of the provider's account."""
    cursor = await conn.execute(
        "select id from connected_accounts where organization_id = %s and unipile_account_id = %s"
        " and removed_at is null",
        (organization_id, unipile_account_id),
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def walks_with(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    *,
    provider_ids: Sequence[str],
    public_identifiers: Sequence[str] = (),
) -> dict[str, list[Walk]]:
    """Find the walks in which the account acts on these people, by the id that matched.

    By provider id as the account learned it; by public identifier where nothing was learned yet.
    Finished walks are found too: what is heard of a lead later concerns the next campaign.
    """
    cursor = await conn.execute(
        """
        select m.id, e.campaign_id, e.lead_id, e.outcome is not null,
               case when e.outcome is null then e.connected else k.connected_at is not null end,
               k.replied_at
          from (select k.provider_id as id, k.lead_id from contacts k
                 where k.organization_id = %(organization_id)s and k.account_id = %(account_id)s
                   and k.provider_id = any(%(provider_ids)s)
                 union
                select p.public_identifier, p.id from leads p
                  join campaign_senders s on s.organization_id = p.organization_id
                                         and s.account_id = %(account_id)s
                  join campaigns c on c.organization_id = s.organization_id
                                  and c.id = s.campaign_id and c.list_id = p.list_id
                 where p.organization_id = %(organization_id)s
                   and p.identity = any(%(public_identifiers)s)) m
          join campaign_senders s on s.organization_id = %(organization_id)s
                                 and s.account_id = %(account_id)s
          join campaign_executions e on e.organization_id = s.organization_id
                                    and e.campaign_id = s.campaign_id and e.lead_id = m.lead_id
                                    and e.account_id = %(account_id)s
          left join contacts k on k.organization_id = e.organization_id
                              and k.account_id = e.account_id and k.lead_id = e.lead_id
         order by e.campaign_id, e.lead_id
        """,
        {
            "organization_id": organization_id,
            "account_id": account_id,
            "provider_ids": list(provider_ids),
            "public_identifiers": list(public_identifiers),
        },
    )
    found: dict[str, list[Walk]] = {}
    for matched, campaign_id, lead_id, *known in await cursor.fetchall():
        walk = Walk(organization_id, campaign_id, lead_id, account_id, *known)
        found.setdefault(matched, []).append(walk)
    return found

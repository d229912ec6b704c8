"""Webhooks as they came: stored once each before they are answered, applied by the ticker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from clento_engine.domain.action import ActionState
from clento_engine.domain.authorship import Written
from clento_engine.store.literals import INVITE, OPEN, WRITTEN

# The result of a person's message whose writer no lead of the account is known to be.  It is kept
# for the claim: the visit whose answer was lost may have told them of us, and not us who they are.
NOBODY_KNOWN = "nobody known"


# How long before a walk's beginning a message may have been written that is a reply to it: the
# provider's clock may be behind ours, and who wrote to the sender right before is answered by them.
BEFORE = timedelta(days=1)

HEARD_EVERY = timedelta(minutes=1)  # at most: that an account was heard is written


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A webhook that waits to be applied."""

    organization_id: UUID
    id: int
    payload: dict[str, Any]
    received_at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Walk:
    """An execution that an incoming event may be about.

    Of a finished one, `connected` says what the account already knows of the lead.  `replied_at`:
    when the newest message that the account knows of was written, in whatever campaign.  `identity`
    is the lead's.
    """

    organization_id: UUID
    campaign_id: UUID
    lead_id: UUID
    account_id: UUID
    finished: bool
    connected: bool
    replied_at: datetime | None
    started_at: datetime | None
    identity: str

    def is_news(self, at: datetime) -> bool:
        """Whether a message written at `at`, not heard before, is a reply to this walk.

        It is newer than all that were heard of, and the walk had begun.  One from before is what
        made the walk no worse; one older than another that was heard changed nothing then.
        """
        is_newest = self.replied_at is None or at > self.replied_at
        return is_newest and (self.started_at is None or at >= self.started_at - BEFORE)

    def is_answered(self, at: datetime) -> bool:
        """Whether a message written at `at` answers this walk, in whatever order they are heard.

        One written at the very moment of the newest is that one, heard under another id.
        """
        if self.started_at is None:
            return self.is_news(at)
        return at >= self.started_at - BEFORE and at != self.replied_at

    def is_under_way(self, at: datetime) -> bool:
        """Whether the walk had begun, and not ended, when a message was written at `at`."""
        return not self.finished and self.started_at is not None and at >= self.started_at


async def store_webhook(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    key: str,
    payload: object,
    now: datetime,
    *,
    recipient: str | None = None,
) -> bool:
    """Store what a webhook should have told, under its key; False when it was there already.

    `recipient`: to whom the account's owner may have written it by hand.
    """
    cursor = await conn.execute(
        "insert into inbox_events (organization_id, key, payload, received_at, recipient)"
        " values (%s, %s, %s, %s, %s) on conflict (organization_id, key) do nothing",
        (organization_id, key, Jsonb(payload), now, recipient),
    )
    return cursor.rowcount == 1


async def route_webhook(
    conn: AsyncConnection[Any],
    unipile_account_id: str,
    key: str,
    payload: object,
    now: datetime,
    *,
    recipient: str | None = None,
) -> bool | None:
    """Store a webhook for the organisation that has the account; False when it was there already.

    `recipient` as in `store_webhook`.  None when none has it: it is counted, and not stored.  That
    the account was heard is written unless a claim has its row just now: the next webhook will
    tell.
    """
    cursor = await conn.execute(
        """
        with owner as (
            select organization_id, account_id from provider_accounts
             where unipile_account_id = %(account)s),
        quiet as (
            select a.organization_id, a.id from connected_accounts a
              join owner o on o.organization_id = a.organization_id and o.account_id = a.id
             where a.heard_at is null or a.heard_at <= %(now)s - %(every)s::interval
               for no key update of a skip locked),
        heard as (
            update connected_accounts a set heard_at = %(now)s from quiet q
             where a.organization_id = q.organization_id and a.id = q.id),
        stored as (
            insert into inbox_events (organization_id, key, payload, received_at, recipient)
            select organization_id, %(key)s, %(payload)s, %(now)s, %(recipient)s from owner
                on conflict (organization_id, key) do nothing
            returning organization_id)
        select (select count(*) from owner), (select count(*) from stored)
        """,
        {
            "account": unipile_account_id,
            "key": key,
            "payload": Jsonb(payload),
            "recipient": recipient,
            "now": now,
            "every": HEARD_EVERY,
        },
    )
    owners, stored = await cursor.fetchone() or (0, 0)
    if owners == 0:
        await conn.execute(
            "insert into unrouted_webhooks as u (received) values (1)"
            " on conflict (is_only) do update set received = u.received + 1"
        )
        return None
    return bool(stored)


async def unseen(
    conn: AsyncConnection[Any], organization_id: UUID, keys: Sequence[str]
) -> set[str]:
    """Return those of `keys` that are not applied: never stored, or waiting."""
    cursor = await conn.execute(
        "select k.key from unnest(%s::text[]) k(key) where not exists (select from inbox_events i"
        " where i.organization_id = %s and i.key = k.key and i.applied_at is not null)",
        (list(keys), organization_id),
    )
    return {key for (key,) in await cursor.fetchall()}


async def lock_keys(
    conn: AsyncConnection[Any], organization_id: UUID, keys: Sequence[str]
) -> Sequence[InboxRow]:
    """Lock and return the webhooks of these keys that are not applied; waits for who has them."""
    cursor = await conn.execute(
        "select organization_id, id, payload, received_at, key from inbox_events"
        " where organization_id = %s and key = any(%s) and applied_at is null"
        " order by id for update",
        (organization_id, list(keys)),
    )
    return [InboxRow(*row) for row in await cursor.fetchall()]


async def put_off(conn: AsyncConnection[Any], row: InboxRow, at: datetime) -> None:
    """Have a webhook applied at `at`, and not before."""
    await conn.execute(
        "update inbox_events set apply_at = %s where organization_id = %s and id = %s",
        (at, row.organization_id, row.id),
    )


async def written_to(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    leads: Sequence[UUID],
    *,
    but: UUID | None = None,
) -> list[Written]:
    """List the messages, InMails and invitations that the ledger has for leads, in any campaign.

    Those that never left are among them; an open one of the token `but` is not.
    """
    cursor = await conn.execute(
        f"""
        select a.reference, a.text, a.state, a.intended_at, a.settled_at,
               a.operation = {INVITE}
          from actions a
         where a.organization_id = %(organization_id)s and a.lead_id = any(%(leads)s)
           and a.number is not null
           and a.operation in {WRITTEN}
         union all
        select a.reference, a.text, a.state, a.intended_at, null,
               a.operation = {INVITE}
          from campaign_executions e
          join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
          join actions a on a.organization_id = e.organization_id
                        and a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
         where c.organization_id = %(organization_id)s and e.lead_id = any(%(leads)s)
           and a.state in {OPEN} and a.token is distinct from %(but)s
           and a.operation in {WRITTEN}
        """,
        {"organization_id": organization_id, "leads": list(leads), "but": but},
    )
    return [
        Written(reference, text, ActionState(state), *others)
        for reference, text, state, *others in await cursor.fetchall()
    ]


async def lock_webhooks(
    conn: AsyncConnection[Any], *, most: int, now: datetime, after: int = 0
) -> Sequence[InboxRow]:
    """Lock and return the oldest webhooks not yet applied whose id is above `after`.

    Inside the caller's transaction.  Rows that another process works on are passed over.
    """
    cursor = await conn.execute(
        "select organization_id, id, payload, received_at, key from inbox_events"
        " where applied_at is null and id > %s and (apply_at is null or apply_at <= %s)"
        " order by id limit %s for update skip locked",
        (after, now, most),
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
    names: Sequence[str],
) -> dict[str, list[Walk]]:
    """Find the walks in which the account acts on who has one of these names, by that name.

    A walk is found by each name of its person's.  Finished walks are found too: what is heard of a
    lead later concerns the next campaign.
    """
    cursor = await conn.execute(
        """
        select n.name, e.campaign_id, e.lead_id, e.outcome is not null,
               case when e.outcome is null then e.connected else k.connected_at is not null end,
               k.replied_at, e.started_at, p.identity
          from person_names n
          join leads p on p.organization_id = n.organization_id and p.person_id = n.person_id
          join campaigns c on c.organization_id = p.organization_id and c.list_id = p.list_id
          join campaign_executions e on e.organization_id = c.organization_id
                                    and e.campaign_id = c.id and e.lead_id = p.id
                                    and e.account_id = %(account_id)s
          left join contacts k on k.organization_id = e.organization_id
                              and k.account_id = e.account_id and k.person_id = p.person_id
         where n.organization_id = %(organization_id)s and n.name = any(%(names)s)
         order by e.campaign_id, e.lead_id
        """,
        {
            "organization_id": organization_id,
            "account_id": account_id,
            "names": list(names),
        },
    )
    found: dict[str, list[Walk]] = {}
    for matched, campaign_id, lead_id, *known in await cursor.fetchall():
        walk = Walk(organization_id, campaign_id, lead_id, account_id, *known)
        found.setdefault(matched, []).append(walk)
    return found

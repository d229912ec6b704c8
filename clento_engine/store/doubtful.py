"""Actions whose outcome nobody knows: taken over for reconcile, one process at a time.

With each comes what the ledger knows of its kind, since absence is proved by what is there: the
messages that this account sent to the person, or the comments that it wrote.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from clento_engine.domain.operation import Operation
from clento_engine.domain.report import Progress, Ticket
from clento_engine.domain.restore import Gap
from clento_engine.store.ids import uuid4
from clento_engine.store.literals import COMMENT, DONE, FOLLOWUP, MESSAGES, OPEN, STOPPED, UNKNOWN
from clento_engine.store.rests import IS_RESTING
from clento_engine.store.rows import recordset
from clento_engine.store.stamp import IS_QUARANTINED

MOST_COMMENTS = 300  # of an account that a question may meet: two weeks of the highest cap
MOST_CHATS = 5  # of other people in which the store is tested


class Known(Struct, frozen=True):
    """A message or comment of the account that the ledger has as done.

    `reference`: the provider's id of it, unless the provider left it out.
    """

    operation: Operation
    target: str
    text: str
    reference: str | None
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An action that may have happened, under a lease of ours.

    `known`: what the ledger has as done by this account, newest first, of the kind that this action
    could be mistaken for: messages and InMails to the same person, or comments.  `is_over`: its
    walk has ended meanwhile, or its campaign was stopped for good.  `gap`: when it may have been
    done, and the ledger lost it.
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
    progress: Progress
    provider_id: str | None
    chat_id: str | None
    is_over: bool
    known: tuple[Known, ...]
    is_replied: bool = False
    gap: Gap | None = None


_TAKE = f"""
with due as materialized (  -- joined as a subquery it might be run again for each row
    select organization_id, campaign_id, lead_id from actions
     where state in {OPEN} and check_at <= %(now)s
       and not {IS_RESTING} and not {IS_QUARANTINED}
     order by check_at
     limit %(most)s
       for no key update skip locked),
doubtful as (
    update actions a
       set state = {UNKNOWN}, token = %(token)s, check_at = %(until)s,
           checks = least(a.checks + 1, 32767)
      from due
     where a.organization_id = due.organization_id and a.campaign_id = due.campaign_id
       and a.lead_id = due.lead_id and a.state in {OPEN}
    returning a.*)
select t.organization_id, t.campaign_id, t.lead_id, t.account_id, t.token, t.node_id,
       t.operation, t.budgets, t.bucket_at, t.target, t.text, t.subject, t.intended_at,
       t.checks, t.progress::text as progress, o.unipile_account_id,
       o.provider_id as own_provider_id,
       coalesce(e.provider_id, k.provider_id) as provider_id, k.chat_id,
       e.outcome is not null or c.status = {STOPPED} as is_over, e.replied, e.doubted_since,
       (select restored_at from database_stamp) as restored_at
  from doubtful t
  join connected_accounts o on o.organization_id = t.organization_id and o.id = t.account_id
  join campaign_executions e on e.organization_id = t.organization_id
                            and e.campaign_id = t.campaign_id and e.lead_id = t.lead_id
  join campaigns c on c.organization_id = t.organization_id and c.id = t.campaign_id
  join leads l on l.organization_id = t.organization_id and l.id = t.lead_id
  left join contacts k on k.organization_id = t.organization_id
                      and k.account_id = t.account_id and k.person_id = l.person_id
 order by t.intended_at, t.lead_id
"""

# The person may stand on several lists: each of those leads has a history of its own.
_MESSAGES = f"""
select r.place, x.operation, x.target, x.text, x.reference, x.settled_at
  from json_to_recordset(%(rows)s) as r(place int, organization_id uuid, account_id uuid,
       lead_id uuid)
 cross join lateral (
       select p.id from leads l
         join leads p on p.organization_id = l.organization_id and p.person_id = l.person_id
        where l.organization_id = r.organization_id and l.id = r.lead_id) p(lead_id)
  join actions x on x.organization_id = r.organization_id and x.lead_id = p.lead_id
                and x.number is not null and x.account_id = r.account_id
 where x.state = {DONE} and x.operation in {MESSAGES}
 order by x.number desc
"""

_COMMENTS = f"""
select r.place, x.operation, x.target, x.text, x.reference, x.settled_at
  from json_to_recordset(%(rows)s) as r(place int, organization_id uuid, account_id uuid)
 cross join lateral (
       select x.* from actions x
        where x.organization_id = r.organization_id and x.account_id = r.account_id
          and x.operation = {COMMENT} and x.state = {DONE}
        order by x.number desc
        limit %(most)s) x
 order by x.number desc
"""

_CHATS = f"""
select k.chat_id,
       array(select x.reference from leads l
               join actions x on x.organization_id = l.organization_id and x.lead_id = l.id
              where l.organization_id = k.organization_id and l.person_id = k.person_id
                and x.number is not null and x.account_id = k.account_id
                and x.state = {DONE} and x.operation = {FOLLOWUP}
                and x.reference is not null and x.settled_at <= %(before)s
              order by x.number desc
              limit 3) as messages
  from contacts k
 where k.organization_id = %(organization_id)s and k.account_id = %(account_id)s
   and k.person_id <> (select person_id from leads
                        where organization_id = %(organization_id)s and id = %(lead_id)s)
   and k.chat_id is not null
 order by k.person_id desc
 limit %(most)s
"""


async def take_doubtful(
    conn: AsyncConnection[Any], *, now: datetime, lease: timedelta, most: int
) -> list[Doubtful]:
    """Take over actions whose lease is over or whose next question is due, oldest first.

    Their token changes: whoever held them before can settle nothing any more.
    """
    async with conn.transaction():
        cursor = conn.cursor(row_factory=dict_row)
        await cursor.execute(
            _TAKE, {"now": now, "until": now + lease, "token": uuid4(), "most": most}
        )
        rows = await cursor.fetchall()
        known = await _known(conn, rows)
    return [_doubtful(row, known[place]) for place, row in enumerate(rows)]


async def renew(conn: AsyncConnection[Any], action: Doubtful, *, until: datetime) -> bool:
    """Keep an action until then; False when another process has taken it over."""
    cursor = await conn.execute(
        "update actions set check_at = %s where organization_id = %s and campaign_id = %s"
        f" and lead_id = %s and state = {UNKNOWN} and token = %s",
        (
            until,
            action.organization_id,
            action.campaign_id,
            action.lead_id,
            action.ticket.token,
        ),
    )
    return cursor.rowcount > 0


async def known_chats(
    conn: AsyncConnection[Any], action: Doubtful, *, before: datetime
) -> list[tuple[str, frozenset[str]]]:
    """Return chats of the account with other people, and messages of ours in each.

    Those that were settled by `before`; of the people who were imported last.
    """
    cursor = await conn.execute(
        _CHATS,
        {
            "organization_id": action.organization_id,
            "account_id": action.account_id,
            "lead_id": action.lead_id,
            "before": before,
            "most": MOST_CHATS,
        },
    )
    return [(chat_id, frozenset(messages)) for chat_id, messages in await cursor.fetchall()]


async def store_since(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID
) -> datetime | None:
    """Return since when the provider's store of the account's chats may have gaps, if ever."""
    cursor = await conn.execute(
        "select store_since from connected_accounts where organization_id = %s and id = %s",
        (organization_id, account_id),
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def _known(
    conn: AsyncConnection[Any], rows: Sequence[Mapping[str, Any]]
) -> Mapping[int, list[Known]]:
    """Return what the ledger knows that each action, by its place, could be mistaken for."""
    messages, comments = [], []
    for place, row in enumerate(rows):
        account = {
            "place": place,
            "organization_id": row["organization_id"],
            "account_id": row["account_id"],
        }
        match Operation(row["operation"]):
            case Operation.SEND_FOLLOWUP | Operation.SEND_INMAIL:
                messages.append({**account, "lead_id": row["lead_id"]})
            case Operation.COMMENT_POST:
                comments.append(account)
            case _:
                pass
    known: defaultdict[int, list[Known]] = defaultdict(list)
    for query, asked in ((_MESSAGES, messages), (_COMMENTS, comments)):
        if asked:
            cursor = await conn.execute(query, {"rows": recordset(asked), "most": MOST_COMMENTS})
            for place, *values in await cursor.fetchall():
                known[place].append(_done(values))
    return known


def _done(values: Iterable[Any]) -> Known:
    operation, target, text, reference, settled_at = values
    return Known(Operation(operation), target, text or "", reference, settled_at)


def _doubtful(row: Mapping[str, Any], known: Sequence[Known]) -> Doubtful:
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
        progress=_progress(row["progress"]),
        provider_id=row["provider_id"],
        chat_id=row["chat_id"],
        is_over=row["is_over"],
        known=tuple(known),
        is_replied=row["replied"],
        gap=_gap(row),
    )


def _gap(row: Mapping[str, Any]) -> Gap | None:
    """Return when a walk may have gone on without the ledger's knowing, if it may."""
    since, restored_at = row["doubted_since"], row["restored_at"]
    if since is None or restored_at is None:
        return None
    return Gap(min(since, row["intended_at"]), restored_at)


def _progress(saved: str | None) -> Progress:
    """Read how far a search came; one that was changed by hand begins anew."""
    try:
        return msgspec.json.decode(saved or "{}", type=Progress)
    except msgspec.ValidationError:
        return Progress()

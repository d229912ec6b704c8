"""The senders of a campaign: who they are, and what they used of what they may do."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from clento_engine.domain.account import AccountStatus, Tier
from clento_engine.domain.limits import DAY, HOUR, MONTH, WEEK, Caps, counted_since
from clento_engine.domain.operation import Budget
from clento_engine.store.accounts import ACCOUNT, AccountRow, account_row


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


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A budget that rests, until when and why; `budget` None: all that the sender does."""

    budget: Budget | None
    until: datetime
    reason: str | None


class SenderUse(Struct, frozen=True, gc=False):
    """A sender of a campaign, with the caps that the campaign's steps draw from and their use.

    `used`: units by window (hour, day, week, month).  `held_back`: what of it rests now.  A
    campaign may have thousands of senders: a Struct is made in a fifth of a dataclass's time.
    """

    id: UUID
    name: str
    tier: Tier
    time_zone: str
    status: AccountStatus
    pause_reason: str | None
    leads: int
    caps: Mapping[Budget, Caps]
    used: Mapping[Budget, Mapping[str, int]]
    held_back: Sequence[HeldBack] = ()


async def senders_use(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    drawn: Collection[Budget],
    now: datetime,
) -> list[SenderUse]:
    """Return what each sender of a campaign may do and did, in the order of `senders`.

    Of the budgets that are `drawn` from.  Asks as often for thousands of senders as for one, and
    has the server count what they used while what they may do is read.
    """
    of = {
        "organization_id": organization_id,
        "campaign_id": campaign_id,
        "now": now,
        "budgets": list({*drawn, Budget.NOTE} if Budget.INVITATION in drawn else drawn),
        "hour": counted_since(HOUR, now),
        "day": counted_since(DAY, now),
        "week": counted_since(WEEK, now),
        "month": counted_since(MONTH, now),
    }
    async with conn.pipeline():
        of_senders = await conn.execute(_SENDERS, of)
        of_caps = await conn.execute(_CAPS, of)
        rows, capped = await of_senders.fetchall(), await of_caps.fetchall()
        of_use = await conn.execute(_USED, of)
        used: _Used = defaultdict(dict)
        uses = _uses(rows, capped, used)
        _add_use(used, await of_use.fetchall())
    return uses


_Used = defaultdict[int, dict[Budget, Mapping[str, int]]]  # by the sender's position

# Looked up: to make an enum's member of its value takes thirty times as long.
_TIERS, _STATUSES = (
    {each.value: each for each in Tier},
    {each.value: each for each in AccountStatus},
)


def _uses(rows: Iterable[TupleRow], capped: Iterable[TupleRow], used: _Used) -> list[SenderUse]:
    """Return the senders with their caps and what rests; `used` is theirs, to be filled in."""
    caps: dict[int, dict[Budget, Caps]] = defaultdict(dict)
    held_back: dict[int, list[HeldBack]] = defaultdict(list)
    for name, hour, day, week, month, until, reason, positions in sorted(capped, key=itemgetter(0)):
        budget, allowed = Budget(name), Caps(hour, day, week, month)
        for position in positions:
            caps[position][budget] = allowed
            if until is not None:
                held_back[position].append(HeldBack(budget, until, reason))
    return [
        SenderUse(
            account_id,
            name,
            _TIERS[tier],
            time_zone,
            _STATUSES[status],
            pause_reason,
            leads,
            caps.get(position, {}),
            used[position],
            held_back.get(position, ())
            if until is None
            else [HeldBack(None, until, reason), *held_back.get(position, ())],
        )
        for (
            position,
            leads,
            account_id,
            name,
            tier,
            time_zone,
            status,
            pause_reason,
            until,
            reason,
        ) in rows
    ]


def _add_use(used: _Used, rows: Iterable[TupleRow]) -> None:
    """Add the units that the senders used, by window."""
    for name, *columns in rows:
        budget = Budget(name)
        for position, hour, day, week, month in zip(*columns, strict=True):
            used[position][budget] = {"hour": hour, "day": day, "week": week, "month": month}


_SENDERS = """
select s.position, s.leads, a.id, a.name, a.tier, a.time_zone, a.status, a.pause_reason,
       case when a.blocked_until > %(now)s then a.blocked_until end, a.blocked_reason
  from campaign_senders s
  join connected_accounts a on a.organization_id = s.organization_id and a.id = s.account_id
 where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s
 order by s.position
"""

# A row has all senders of whom it is true, as an array of their positions: the caps of thousands
# are a handful of rows.  What each would cost as a row of its own, Python pays.
_CAPS = """
select r.operation, r.per_hour, r.per_day, r.per_week, r.per_month, b.until, b.reason,
       array_agg(s.position)
  from campaign_senders s
  join rate_limits r on r.organization_id = s.organization_id and r.account_id = s.account_id
 cross join lateral (select case when r.blocked_until > %(now)s then r.blocked_until end,
                            case when r.blocked_until > %(now)s then r.blocked_reason end
                     ) b(until, reason)
 where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s
   and r.operation = any(%(budgets)s)
 group by 1, 2, 3, 4, 5, 6, 7
"""

_USED = """
select u.operation, array_agg(u.position), array_agg(u.hour), array_agg(u.day), array_agg(u.week),
       array_agg(u.month)
  from (select s.position, n.operation,
               coalesce(sum(n.used) filter (where n.bucket_at > %(hour)s), 0) as hour,
               coalesce(sum(n.used) filter (where n.bucket_at > %(day)s), 0) as day,
               coalesce(sum(n.used) filter (where n.bucket_at > %(week)s), 0) as week,
               sum(n.used) as month
          from campaign_senders s
          join rate_counters n on n.organization_id = s.organization_id
                              and n.account_id = s.account_id
         where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s
           and n.operation = any(%(budgets)s) and n.bucket_at > %(month)s
         group by s.position, n.operation) u
 group by u.operation
"""


async def close_gaps(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_ids: list[UUID]
) -> None:
    """Number the senders of campaigns anew: leads are dealt out by their places."""
    of = {"organization_id": organization_id, "campaign_ids": campaign_ids}
    for statement in _NUMBER_ANEW:
        await conn.execute(statement, of)


_FAR = 1_000_000  # no campaign has so many senders
_NUMBER_ANEW = (
    f"""
update campaign_senders set position = position + {_FAR}
 where organization_id = %(organization_id)s and campaign_id = any(%(campaign_ids)s)
""",
    """
update campaign_senders s set position = n.place
  from (select campaign_id, account_id,
               row_number() over (partition by campaign_id order by position) - 1 as place
          from campaign_senders
         where organization_id = %(organization_id)s and campaign_id = any(%(campaign_ids)s)) n
 where s.organization_id = %(organization_id)s and s.campaign_id = n.campaign_id
   and s.account_id = n.account_id
""",
)

"""Lanes held against their first leads, and mended: edited by hand, they would sleep for ever."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain.operation import Operation
from clento_engine.store.accounts import BOTH_RUN, LANE_RUNS, lock_lanes, record
from clento_engine.store.literals import COMPLETED, PAUSED


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a lane, or with the leads that stand in it: `problem`, for people."""

    organization_id: UUID
    campaign_id: UUID
    account_id: UUID
    operation: str
    problem: str


MOST = 1_000  # looked at in one go; the next check finds the rest

_WRONG = """
select organization_id, campaign_id, account_id, operation, problem from invariants.lanes
 order by organization_id, campaign_id, account_id, operation, problem limit %(most)s
"""

_OF_CAMPAIGN = """
select organization_id, campaign_id, account_id, operation, problem from invariants.lanes
 where organization_id = %(organization_id)s and campaign_id = %(campaign_id)s
"""

_MAKE = f"""
insert into lanes (organization_id, campaign_id, account_id, operation, budget, active, ready_at)
select r.organization_id, r.campaign_id, r.account_id, r.operation, %(budget)s, {BOTH_RUN},
       %(now)s
  from (values (%(organization_id)s::uuid, %(campaign_id)s::uuid, %(account_id)s::uuid,
                %(operation)s::text)) r(organization_id, campaign_id, account_id, operation)
  join campaigns c on c.organization_id = r.organization_id and c.id = r.campaign_id
  join connected_accounts a on a.organization_id = r.organization_id and a.id = r.account_id
    on conflict do nothing
"""

_WAKE = f"""
update lanes l set active = {LANE_RUNS}, budget = %(budget)s, ready_at = %(now)s
  from campaigns c, connected_accounts a
 where c.organization_id = l.organization_id and c.id = l.campaign_id
   and a.organization_id = l.organization_id and a.id = l.account_id
   and l.organization_id = %(organization_id)s and l.campaign_id = %(campaign_id)s
   and l.account_id = %(account_id)s and l.operation = %(operation)s
"""

_REOPEN = f"""
update campaigns set status = {PAUSED}, completed_at = null
 where organization_id = %(organization_id)s and id = %(campaign_id)s and status = {COMPLETED}
"""


async def wrong_lanes(conn: AsyncConnection[Any], now: datetime) -> list[Wrong]:
    """Say which lanes are not what their first leads need; empty: nothing sleeps for ever."""
    async with conn.transaction():
        await _live_at(conn, now)
        return await _read(conn, _WRONG, {"most": MOST})


async def mend_lanes(conn: AsyncConnection[Any], now: datetime) -> list[Wrong]:
    """Make right what is wrong with lanes; return what was.

    A lane that is woken looks at its first lead anew: whatever its limits and hours say holds.  A
    campaign that was completed with leads unfinished is paused, for a person to decide on.
    """
    of_campaign: dict[tuple[UUID, UUID], list[Wrong]] = defaultdict(list)
    for each in await wrong_lanes(conn, now):
        of_campaign[each.organization_id, each.campaign_id].append(each)
    mended = []
    for (organization_id, campaign_id), found in of_campaign.items():
        async with conn.transaction():
            # lock, then look: what was found may be right by now
            await lock_lanes(conn, organization_id, campaign_id=campaign_id)
            await _live_at(conn, now)
            of: dict[str, object] = {"organization_id": organization_id, "campaign_id": campaign_id}
            still = [each for each in await _read(conn, _OF_CAMPAIGN, of) if each in found]
            for each in still:
                await _mend(conn, each, now)
        mended += still
    return mended


async def _live_at(conn: AsyncConnection[Any], now: datetime) -> None:
    await conn.execute("select set_config('clento.now', %s, true)", (now.isoformat(),))


async def _read(conn: AsyncConnection[Any], query: str, values: dict[str, object]) -> list[Wrong]:
    async with conn.cursor(row_factory=class_row(Wrong)) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()


async def _mend(conn: AsyncConnection[Any], wrong: Wrong, now: datetime) -> None:
    of = {
        "organization_id": wrong.organization_id,
        "campaign_id": wrong.campaign_id,
        "account_id": wrong.account_id,
        "operation": wrong.operation,
        "budget": Operation(wrong.operation).budget.value,
        "now": now,
    }
    cursor = await conn.execute(_REOPEN, of)
    if cursor.rowcount:
        reason = "it was completed, and leads of it were not"
        await record(
            conn, wrong.organization_id, wrong.campaign_id, "CampaignPaused", "ticker", now, reason
        )
    await conn.execute(_MAKE, of)
    await conn.execute(_WAKE, of)

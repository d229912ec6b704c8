"""Lanes: made with their campaign, locked before they are judged, switched, woken and mended.

A lane is the queue of one (campaign, account, operation).  `ready_at` is when its head may run.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.workflow import Workflow
from clento_engine.store.history import record
from clento_engine.store.literals import ACTIVE, COMPLETED, PAUSED, RUNNING, STARTS

# Whether a lane is to be active, of its campaign `c` and its account `a`: said here, and once more
# in the migration that makes the view `invariants.lanes`.
BOTH_RUN = f"c.status = {RUNNING} and a.status = {ACTIVE}"
LANE_RUNS = f"{BOTH_RUN} and l.held_reason is null"


async def make_lanes(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    workflow: Workflow,
    start_at: datetime,
) -> None:
    """Make every lane the walk may need: later, no lane is made under a pause that missed it."""
    of = {"organization_id": organization_id, "campaign_id": campaign_id, "start_at": start_at}
    needed = {Operation.START, *(each for each in Operation if each.traits.is_preparation)}
    needed |= {node.operation for node in workflow.nodes.values()}
    operations = sorted(needed)
    # In order, and as strong as the update that follows: two starts would wait for each other.
    await conn.execute(
        """
        select from connected_accounts
         where organization_id = %(organization_id)s
           and id in (select account_id from campaign_senders
                       where organization_id = %(organization_id)s
                         and campaign_id = %(campaign_id)s)
         order by id
           for no key update
        """,
        of,
    )
    await conn.execute(
        f"""
        insert into lanes (organization_id, campaign_id, account_id, operation, budget, active,
                           ready_at)
        select s.organization_id, s.campaign_id, s.account_id, o.operation, o.budget,
               a.status = {ACTIVE}, case when o.operation = {STARTS} then %(start_at)s end
          from campaign_senders s
          join connected_accounts a on a.organization_id = s.organization_id
                                   and a.id = s.account_id
         cross join unnest(%(operations)s::text[], %(budgets)s::text[]) as o(operation, budget)
         where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s
        """,
        {
            **of,
            "operations": [operation.value for operation in operations],
            "budgets": [operation.budget.value for operation in operations],
        },
    )


async def drawn_and_held(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID
) -> tuple[frozenset[Budget], bool]:
    """Return the budgets that a campaign's lanes draw from, and whether any lane is held.

    One look at them all: a campaign of thousands of senders has tens of thousands.
    """
    cursor = await conn.execute(
        "select budget, bool_or(held_reason is not null) from lanes"
        " where organization_id = %s and campaign_id = %s group by budget",
        (organization_id, campaign_id),
    )
    held_by_budget = {Budget(name): is_held for name, is_held in await cursor.fetchall()}
    return frozenset(held_by_budget.keys() - {Budget.NONE}), any(held_by_budget.values())


async def lock_lanes(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    *,
    campaign_id: UUID | None = None,
    account_id: UUID | None = None,
) -> None:
    """Lock the lanes of a campaign or an account, in the one order; waits for claims."""
    await conn.execute(
        """
        select from lanes l
         where l.organization_id = %(organization_id)s
           and (%(campaign_id)s::uuid is null or l.campaign_id = %(campaign_id)s)
           and (%(account_id)s::uuid is null or l.account_id = %(account_id)s)
         order by l.organization_id, l.campaign_id, l.account_id, l.operation
           for no key update
        """,
        {
            "organization_id": organization_id,
            "campaign_id": campaign_id,
            "account_id": account_id,
        },
    )


async def set_lanes(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    *,
    campaign_id: UUID | None = None,
    account_id: UUID | None = None,
) -> None:
    """Make the lanes of a campaign or an account active exactly where both run, and none is held.

    Waits for claims that hold them: when this is committed, no later claim takes a step there.
    """
    # lock, then look: in one statement, a pause committed while we waited would be overwritten
    await lock_lanes(conn, organization_id, campaign_id=campaign_id, account_id=account_id)
    await conn.execute(
        f"""
        update lanes l
           set active = not l.active
          from campaigns c, connected_accounts a
         where c.organization_id = l.organization_id and c.id = l.campaign_id
           and a.organization_id = l.organization_id and a.id = l.account_id
           and l.organization_id = %(organization_id)s
           and (%(campaign_id)s::uuid is null or l.campaign_id = %(campaign_id)s)
           and (%(account_id)s::uuid is null or l.account_id = %(account_id)s)
           and l.active <> ({LANE_RUNS})
        """,
        {
            "organization_id": organization_id,
            "campaign_id": campaign_id,
            "account_id": account_id,
        },
    )


async def wake_lanes(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> None:
    """Let the lanes of an account look again that wait for a moment; they are locked already."""
    await conn.execute(
        "update lanes set ready_at = %(now)s"
        " where organization_id = %(organization_id)s and account_id = %(account_id)s"
        " and ready_at > %(now)s",
        {"organization_id": organization_id, "account_id": account_id, "now": now},
    )


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

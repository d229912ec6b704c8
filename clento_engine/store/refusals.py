"""Lanes held after a run of refusals with one word of the provider's, before a list is burnt by it.

A plan without InMail, a text that LinkedIn does not take, a list of ids of the wrong kind: each
refuses one lead after the other, and each lead would go on or end by it.  The run is counted in the
lane since its last success; a lane that is held is not claimed until a person lifts it.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.store.accounts import lock_lanes, record, set_lanes
from clento_engine.store.errors import NotFound, Noun
from clento_engine.store.rows import recordset

log = logging.getLogger(__name__)

# `is_anew`: a success came before these refusals, or they are by another word than those before.
_COUNT = """
with counted as materialized (
    select l.organization_id, l.campaign_id, l.account_id, l.operation, r.word, r.reason,
           c.hold_after, l.held_reason is not null as was_held,
           least(r.refusals + case when r.is_anew or l.refused_with is distinct from r.word then 0
                                   else l.refusals end, 1000) as refusals
      from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid,
           account_id uuid, operation text, word text, reason text, refusals int, is_anew boolean)
      join lanes l using (organization_id, campaign_id, account_id, operation)
      join campaigns c on c.organization_id = l.organization_id and c.id = l.campaign_id
     order by l.organization_id, l.campaign_id, l.account_id, l.operation
       for no key update of l),
held as (
    select *, not was_held and refusals >= hold_after as is_held from counted)
update lanes l
   set refusals = h.refusals, refused_with = h.word,
       active = l.active and not h.is_held,
       held_since = case when h.is_held then %(now)s else l.held_since end,
       held_reason = case when h.is_held
                          then h.refusals || ' refusals in a row: ' || h.reason
                          else l.held_reason end
  from held h
 where l.organization_id = h.organization_id and l.campaign_id = h.campaign_id
   and l.account_id = h.account_id and l.operation = h.operation
returning l.organization_id, l.campaign_id, l.account_id, l.operation, l.held_reason, h.is_held
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """A step's outcome in its `lane` (organisation, campaign, account, operation).

    `word`: the provider's, of a refusal that counts; None of a success.  `reason` is for people.
    """

    lane: tuple[UUID, UUID, UUID, str]
    word: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class HeldLane:
    """A queue that a run of refusals has stopped; `sender`: the account's name."""

    operation: str
    sender: str
    since: datetime
    reason: str


async def count_refusals(
    conn: AsyncConnection[Any], outcomes: Iterable[Judged], *, now: datetime, actor: str
) -> None:
    """Count refusals and successes by lane, in the order they came; hold the lanes of long runs.

    A success of a lane without refusals may be left out: nothing is written for it.
    """
    rows: dict[tuple[UUID, UUID, UUID, str], dict[str, Any]] = {}
    for outcome in outcomes:
        row = rows.get(outcome.lane)
        if outcome.word is not None and row is not None and row["word"] == outcome.word:
            row["refusals"] += 1
        else:
            rows[outcome.lane] = {
                "refusals": int(outcome.word is not None),
                "word": outcome.word,
                "reason": outcome.reason,
                "is_anew": outcome.word is None or row is not None,
            }
    if not rows:
        return
    names = ("organization_id", "campaign_id", "account_id", "operation")
    told = recordset(
        {**dict(zip(names, lane, strict=True)), **row} for lane, row in sorted(rows.items())
    )
    cursor = await conn.execute(_COUNT, {"rows": told, "now": now})
    for (
        organization_id,
        campaign_id,
        account_id,
        operation,
        reason,
        is_held,
    ) in await cursor.fetchall():
        if not is_held:
            continue
        log.warning(
            "lane held",
            extra={
                "campaign_id": str(campaign_id),
                "account_id": str(account_id),
                "operation": operation,
                "reason": reason,
                "alert": True,
            },
        )
        told_as = f"{operation}: {reason}"
        await record(conn, organization_id, campaign_id, "LaneHeld", actor, now, told_as)


async def held_lanes(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID
) -> Sequence[HeldLane]:
    """List the lanes of a campaign that are held, and why."""
    async with conn.cursor(row_factory=class_row(HeldLane)) as cursor:
        await cursor.execute(
            """
            select l.operation, a.name as sender, l.held_since as since, l.held_reason as reason
              from lanes l
              join connected_accounts a on a.organization_id = l.organization_id
                                       and a.id = l.account_id
             where l.organization_id = %s and l.campaign_id = %s and l.held_reason is not null
             order by l.operation, a.name
            """,
            (organization_id, campaign_id),
        )
        return await cursor.fetchall()


async def lift_lanes(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    *,
    account_id: UUID | None = None,
    now: datetime,
    actor: str = "operator",
) -> Sequence[HeldLane]:
    """Let the held lanes of a campaign go on, or those of one account; return them.

    They run where campaign and account do; the run of refusals is counted anew.  Raises NotFound
    when none is held.
    """
    async with conn.transaction():
        await lock_lanes(conn, organization_id, campaign_id=campaign_id, account_id=account_id)
        cursor = conn.cursor(row_factory=class_row(HeldLane))
        await cursor.execute(
            """
            with held as materialized (
                select l.*, a.name as sender from lanes l
                  join connected_accounts a on a.organization_id = l.organization_id
                                           and a.id = l.account_id
                 where l.organization_id = %(organization_id)s
                   and l.campaign_id = %(campaign_id)s and l.held_reason is not null
                   and (%(account_id)s::uuid is null or l.account_id = %(account_id)s))
            update lanes l
               set refusals = 0, refused_with = null, held_since = null, held_reason = null
              from held h
             where l.organization_id = h.organization_id and l.campaign_id = h.campaign_id
               and l.account_id = h.account_id and l.operation = h.operation
            returning l.operation, h.sender, h.held_since as since, h.held_reason as reason
            """,
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "account_id": account_id,
            },
        )
        lifted = await cursor.fetchall()
        if not lifted:
            raise NotFound(Noun.HELD_LANE, str(account_id or campaign_id))
        await set_lanes(conn, organization_id, campaign_id=campaign_id, account_id=account_id)
        for lane in lifted:
            said = f"{lane.operation} of {lane.sender}"
            await record(conn, organization_id, campaign_id, "LaneLifted", actor, now, said)
    return lifted

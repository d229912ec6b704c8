"""The claim: which steps run now, written down before any of them leaves.

One transaction, lock then look.  First lock ready lanes and, with them, their account, budget and
campaign: two tickers can then never spend the same unit.  Then, under those locks and in a newer
snapshot, read what the counters allow, take that many executions from the head of each lane, and
write an intent and a unit for each.  In one statement a unit spent or a lead scheduled between
its snapshot and its locks would be invisible.

The lead's row is not written: an execution is in flight while it has an open action, of which the
schema allows one.  What each statement does, and in which order they run: `claim_statements`.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row

from clento_engine.domain.execution import Unknowable
from clento_engine.domain.lane import (
    BudgetKey,
    CampaignKey,
    Lane,
    LaneKey,
    caps_today,
    free_again_at,
    gate,
    today,
)
from clento_engine.domain.limits import (
    DAY,
    HOUR,
    LEASE,
    MONTH,
    WEEK,
    Caps,
    Used,
    allowance,
    bucket_at,
    counted_since,
    longest_window,
)
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.picking import (
    Allowance,
    Picked,
    Room,
    Starts,
    Step,
    begun_today,
    pick,
    starts_left,
)
from clento_engine.domain.workflow import Workflow
from clento_engine.store.claim_statements import (
    HOLD_LANES,
    LOCK_LANES,
    READ_ACCOUNT_LIMITS,
    READ_BUCKETS,
    READ_HEADS,
    READ_SENDERS,
    READ_USED,
    SET_NEXT_START,
    WRITE_CLAIMED,
    WRITE_STARTS,
)
from clento_engine.store.claimed import (
    Claimed,
    Front,
    claimed,
    read_fronts,
    read_lane,
    read_queue,
)
from clento_engine.store.ids import uuid4
from clento_engine.store.rows import recordset
from clento_engine.store.workflows import load_workflows

MOST_LANES = 200  # locked by one claim
FEW_LANES = 16  # locked by the first claim of a tick
LEAST_LANES = 4  # locked in any case: one that is ready may turn out to be empty

_LANE_KEY = ("organization_id", "campaign_id", "account_id", "operation")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a claim may take: at most `slots` steps of these organisations, due at `now`.

    `request_limit` is the most time that one request may take; it must end inside `lease`.
    `lanes` are the most that it locks (see `enough_lanes`), besides one of each organisation that
    comes `first`: each does, in rotation.
    """

    organizations: Sequence[UUID]
    now: datetime
    slots: int
    lease: timedelta = LEASE
    request_limit: timedelta = timedelta(seconds=110)
    lanes: int = MOST_LANES
    first: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim took, and how: of the lanes that it `locked`, `gave` had a step to give."""

    taken: list[Claimed]
    locked: int = 0
    gave: int = 0


def enough_lanes(wanted: Wanted, had: Claim) -> int:
    """Return how many lanes the next claim should lock: those that fill its slots, and no more.

    A lane has one step to give or hundreds; only experience tells.  Locked in vain it is hidden
    from other tickers, and to look at all that is ready cost five times what the steps did.
    """
    if len(had.taken) >= wanted.slots:
        return max(LEAST_LANES, min(MOST_LANES, had.gave + max(1, had.gave // 16)))
    if had.locked >= wanted.lanes:
        return min(MOST_LANES, 4 * wanted.lanes)
    return wanted.lanes


async def claim(conn: AsyncConnection[Any], wanted: Wanted) -> Claim:
    """Take the steps that are due and allowed; return them, intents committed.

    Steps that need nothing sent come back as events.  What came back must be acted on at once:
    the commit is the last look at campaign, suppression and reply.
    """
    async with conn.pipeline(), conn.transaction():
        return await take(conn, wanted, await ask(conn, wanted))


@dataclass(slots=True)
class Asked:
    """The claim's questions; the answers come in this order."""

    lanes: AsyncCursor[dict[str, Any]]
    used: AsyncCursor[Any]
    heads: AsyncCursor[dict[str, Any]]


async def ask(conn: AsyncConnection[Any], wanted: Wanted) -> Asked:
    """Lock what is ready and look at it, inside the caller's transaction and pipeline.

    All in one flight: something is due, or nobody had asked.
    """
    asked = Asked(
        conn.cursor(row_factory=dict_row), conn.cursor(), conn.cursor(row_factory=dict_row)
    )
    await asked.lanes.execute(
        LOCK_LANES,
        {
            **_since(wanted.now),
            "organizations": list(wanted.organizations),
            "now": wanted.now,
            "slots": wanted.slots,
            "lanes": min(MOST_LANES, wanted.lanes),
            "first": list(wanted.first),
        },
    )
    await look(asked, wanted.now)
    return asked


async def look(asked: Asked, now: datetime) -> None:
    """Ask what is used and in flight, and for the heads of the lanes that the lock has got."""
    await asked.used.execute(READ_USED, _since(now))
    await asked.heads.execute(READ_HEADS, {"now": now})


def _since(now: datetime) -> dict[str, datetime]:
    return {
        "hour": counted_since(HOUR, now),
        "day": counted_since(DAY, now),
        "week": counted_since(WEEK, now),
        "month": counted_since(MONTH, now),
    }


async def take(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    asked: Asked,
    *,
    without: Collection[UUID] = (),
) -> Claim:
    """Choose from the answers and write down what was chosen.

    The leads `without` are not to be had: the caller, who has not said yet what became of them,
    wakes their lanes.
    """
    now = wanted.now
    locked = await asked.lanes.fetchall()
    lanes, unreadable = _read_lanes(locked)
    if unreadable:
        await conn.execute(HOLD_LANES, {"now": now, "lanes": recordset(unreadable)})
    if not lanes:
        return Claim([], len(locked))
    used, heads = await asked.used.fetchall(), await asked.heads.fetchall()
    if heads and heads[0]["is_quarantined"]:
        return Claim([], len(locked))  # the lanes stay as they are
    allowances, in_flight = _read_used(used, lanes.values(), now)
    fronts = read_fronts(lanes, heads, now, without)
    starting = [
        lane
        for lane in lanes.values()
        if lane.operation is Operation.START and gate(lane, now) <= now
    ]
    workflows = await load_workflows(conn, _versions(starting, fronts))
    starts, left = await _look_at_starts(conn, starting, workflows, now)
    allowances |= await _find_release(conn, fronts, allowances, now)
    room = Room(
        now, wanted.slots, wanted.lease, wanted.request_limit, allowances, in_flight, starts, left
    )
    picked = pick([read_queue(front, workflows) for front in fronts], room)
    _warn(picked.steps)
    token, bucket = uuid4(), bucket_at(now)
    taken = [claimed(step, token, bucket) for step in picked.steps]
    await _write(conn, room, picked, taken, token)
    if picked.began:
        await _write_starts(conn, room, picked)
    return Claim(taken, len(lanes), picked.gave)


def _read_lanes(
    rows: Sequence[dict[str, Any]],
) -> tuple[dict[int, Lane], list[dict[str, Any]]]:
    """Read what was locked; return the lanes by place, and of others the key and why.

    Hours or a zone that somebody edited hold their own lanes, and no other.
    """
    lanes, unreadable = {}, []
    for row in rows:
        lane = read_lane(row)
        if isinstance(lane, Lane):
            lanes[row["place"]] = lane
            continue
        key = {name: row[name] for name in _LANE_KEY}
        log.warning(
            "lane held",
            extra={**{k: str(v) for k, v in key.items()}, "reason": lane.reason, "alert": True},
        )
        unreadable.append({**key, "reason": lane.reason})
    return lanes, unreadable


def _read_used(
    rows: Iterable[Sequence[Any]], lanes: Iterable[Lane], now: datetime
) -> tuple[dict[BudgetKey, Allowance], dict[CampaignKey, int]]:
    """Return what each budget may still give, and the leads that each campaign has in flight."""
    lane_of = {lane.account: lane for lane in lanes}
    allowances, in_flight = {}, {}
    for organization_id, account_id, budget, campaign_id, *numbers, flying in rows:
        if (lane := lane_of.get((organization_id, account_id))) is None:
            continue  # of lanes that cannot be read
        key = (organization_id, account_id, Budget(budget))
        caps = caps_today(lane, key[2], Caps(*numbers[:4]), now)
        allowances[key] = Allowance(allowance(caps, Used(*numbers[4:])))
        in_flight[organization_id, campaign_id] = flying
    return allowances, in_flight


def _versions(starting: Iterable[Lane], fronts: Iterable[Front]) -> set[tuple[UUID, UUID]]:
    """Return the workflow versions (organisation, version) that leads walk or begin with."""
    versions = {(lane.key[0], lane.workflow_version_id) for lane in starting}
    last = 0
    for front in fronts:
        for row in front.due:
            version_id = row["workflow_version_id"]
            if version_id.int != last:  # mostly one: a UUID is hashed and compared in Python
                versions.add((front.lane.key[0], version_id))
                last = version_id.int
    return versions


def _warn(steps: Iterable[Step]) -> None:
    """Log the leads that cannot be read, and are held for it."""
    for step in steps:
        if isinstance(step.next, Unknowable):
            log.warning(
                "step cannot be prepared",
                extra={
                    "lead_id": str(step.head.run.lead_id),
                    "reason": step.next.reason,
                    "alert": True,
                },
            )


async def _look_at_starts(
    conn: AsyncConnection[Any],
    lanes: Sequence[Lane],
    workflows: Mapping[UUID, Workflow],
    now: datetime,
) -> tuple[dict[tuple[UUID, UUID], Starts], dict[LaneKey, int]]:
    """Read how many leads each sender has begun today, and what its account can carry."""
    if not lanes:
        return {}, {}
    of = {"organizations": list({lane.key[0] for lane in lanes})}
    senders, limits = conn.cursor(), conn.cursor()
    await senders.execute(READ_SENDERS, {**of, "campaigns": [lane.key[1] for lane in lanes]})
    await limits.execute(READ_ACCOUNT_LIMITS, {**of, "accounts": [lane.key[2] for lane in lanes]})
    starts = {
        (campaign_id, account_id): Starts(day, count, zone)
        for campaign_id, account_id, _, day, count, zone in await senders.fetchall()
    }
    limits_of: dict[UUID, dict[Budget, Caps]] = defaultdict(dict)
    for account_id, budget, *caps in await limits.fetchall():
        limits_of[account_id][Budget(budget)] = Caps(*caps)
    return starts, starts_left(lanes, starts, limits_of, workflows, now)


async def _find_release(
    conn: AsyncConnection[Any],
    fronts: Iterable[Front],
    allowances: Mapping[BudgetKey, Allowance],
    now: datetime,
) -> dict[BudgetKey, Allowance]:
    """Return the budgets that are spent, with the moment when their next unit is free."""
    spent = {
        front.lane.budget: front.lane
        for front in fronts
        if front.due
        and not front.lane.operation.is_internal
        and allowances[front.lane.budget].units == 0
        and gate(front.lane, now) <= now
    }
    if not spent:
        return {}
    cursor = await conn.execute(
        READ_BUCKETS,
        {
            "organizations": [key[0] for key in spent],
            "accounts": [key[1] for key in spent],
            "operations": [key[2] for key in spent],
            "since": counted_since(max(longest_window(lane.caps) for lane in spent.values()), now),
        },
    )
    buckets: dict[tuple[UUID, UUID, str], list[tuple[datetime, int]]] = defaultdict(list)
    for organization_id, account_id, budget, start, used in await cursor.fetchall():
        buckets[organization_id, account_id, budget].append((start, used))
    return {
        key: Allowance(0, free_again_at(lane, buckets[key], now)) for key, lane in spent.items()
    }


async def _write(
    conn: AsyncConnection[Any], room: Room, picked: Picked, taken: Iterable[Claimed], token: UUID
) -> None:
    """Write intents, units, gaps and the lanes' next moments, set-wise."""
    acting = [c for c in taken if c.intent is not None and c.ticket is not None]
    budget = ("organization_id", "account_id", "operation")
    await conn.execute(
        WRITE_CLAIMED,
        {
            "now": room.now,
            "bucket": bucket_at(room.now),
            "token": token,
            "check_at": room.now + room.lease,
            "intents": recordset(_intended(item) for item in acting),
            "met": recordset(
                {
                    "organization_id": item.organization_id,
                    "account_id": item.sender.account_id,
                    "person_id": item.person_id,
                    "provider_id": item.run.provider_id,
                }
                for item in acting
                if item.run.operation.traits.is_received and item.run.provider_id is not None
            ),
            "units": recordset(
                {**dict(zip(budget, key, strict=True)), "used": used}
                for key, used in picked.spent.items()
            ),
            "accounts": recordset(
                {"organization_id": key[0], "id": key[1], "free_at": free_at}
                for key, free_at in picked.accounts_free_at.items()
            ),
            "budgets": recordset(
                {**dict(zip(budget, key, strict=True)), "free_at": free_at}
                for key, free_at in picked.budgets_free_at.items()
            ),
            "lanes": recordset(
                {**dict(zip(_LANE_KEY, key, strict=True)), "ready_at": ready_at}
                for key, ready_at in picked.ready_at.items()
            ),
        },
    )


async def _write_starts(conn: AsyncConnection[Any], room: Room, picked: Picked) -> None:
    """Write how many leads each sender began today, and when their campaigns begin the next."""
    rows = []
    for key, began in picked.began.items():
        organization_id, campaign_id, account_id, _ = key
        starts = room.starts[campaign_id, account_id]
        rows.append(
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "account_id": account_id,
                "starts_on": today(starts.zone, room.now),
                "starts": begun_today(starts, room.now) + began,
            }
        )
    await conn.execute(WRITE_STARTS, {"rows": recordset(rows)})
    await conn.execute(
        SET_NEXT_START,
        {
            "now": room.now,
            "organizations": list({key[0] for key in picked.began}),
            "campaigns": list({key[1] for key in picked.began}),
        },
    )


def _intended(item: Claimed) -> dict[str, Any]:
    assert item.intent is not None  # noqa: S101  the caller's filter
    assert item.ticket is not None  # noqa: S101
    intended = {
        "organization_id": item.organization_id,
        "campaign_id": item.run.campaign_id,
        "lead_id": item.run.lead_id,
        "account_id": item.sender.account_id,
        "node_id": item.ticket.node_id,
        "operation": item.run.operation,
        "budgets": item.ticket.budgets,
        "target": item.intent.target,
        "text": item.intent.text,
        "subject": item.intent.subject,
        "person_id": item.person_id if item.run.operation.traits.is_received else None,
    }
    return {**intended, "doubtful": True} if item.is_doubtful else intended

"""Budgets of an account: their limits, what was used of them, units taken outside a claim."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from clento_engine.domain.account import Tier
from clento_engine.domain.limits import (
    DAY,
    HOUR,
    MONTH,
    WEEK,
    Caps,
    Spacing,
    Used,
    allowance,
    bucket_at,
    counted_since,
    default_limits,
    spacing_after,
)
from clento_engine.domain.operation import Budget
from clento_engine.store.lanes import lock_lanes, wake_lanes

NO_UNIT = timedelta(hours=1)  # until an allowance that is spent is looked at again
# until an account that a claim holds is: a ticker that stopped over it keeps no question waiting
BUSY = timedelta(seconds=5)


async def add_limits(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, tier: Tier
) -> None:
    """Give a new account the limits of its tier, one for each budget."""
    for budget, limit in default_limits(tier).items():
        await conn.execute(
            "insert into rate_limits (organization_id, account_id, operation, per_hour,"
            " per_day, per_week, per_month, spacing_shortest, spacing_longest)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                organization_id,
                account_id,
                budget.value,
                limit.caps.hour,
                limit.caps.day,
                limit.caps.week,
                limit.caps.month,
                limit.spacing.shortest,
                limit.spacing.longest,
            ),
        )


async def limits(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID
) -> Mapping[Budget, Caps]:
    """Return an account's caps."""
    cursor = await conn.execute(
        "select operation, per_hour, per_day, per_week, per_month from rate_limits"
        " where organization_id = %s and account_id = %s order by operation",
        (organization_id, account_id),
    )
    return {Budget(row[0]): Caps(*row[1:]) for row in await cursor.fetchall()}


async def set_limit(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    budget: Budget,
    caps: Caps,
    *,
    now: datetime,
) -> None:
    """Replace the caps of one budget, and let its lanes look again: they may run sooner now."""
    async with conn.transaction():
        # lock, then look: a claim under the old caps may be putting a lane to sleep right now
        await lock_lanes(conn, organization_id, account_id=account_id)
        await wake_lanes(conn, organization_id, account_id, now)
        await conn.execute(
            "update rate_limits set per_hour = %s, per_day = %s, per_week = %s, per_month = %s"
            " where organization_id = %s and account_id = %s and operation = %s",
            (
                caps.hour,
                caps.day,
                caps.week,
                caps.month,
                organization_id,
                account_id,
                budget.value,
            ),
        )


async def set_spacing(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, spacing: Spacing
) -> None:
    """Set the gap between any two actions of an account, and between two of one operation."""
    async with conn.transaction():
        await conn.execute(
            "update connected_accounts set spacing_shortest = %s, spacing_longest = %s"
            " where organization_id = %s and id = %s",
            (spacing.shortest, spacing.longest, organization_id, account_id),
        )
        await conn.execute(
            "update rate_limits set spacing_shortest = %s, spacing_longest = %s"
            " where organization_id = %s and account_id = %s and operation <> 'none'",
            (spacing.shortest, spacing.longest, organization_id, account_id),
        )


async def used(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> dict[Budget, dict[str, int]]:
    """Return the units an account used, by budget and window (hour, day, week, month)."""
    cursor = await conn.execute(
        "select operation, coalesce(sum(used) filter (where bucket_at > %s), 0),"
        " coalesce(sum(used) filter (where bucket_at > %s), 0),"
        " coalesce(sum(used) filter (where bucket_at > %s), 0), coalesce(sum(used), 0)"
        " from rate_counters where organization_id = %s and account_id = %s and bucket_at > %s"
        " group by operation",
        (
            counted_since(HOUR, now),
            counted_since(DAY, now),
            counted_since(WEEK, now),
            organization_id,
            account_id,
            counted_since(MONTH, now),
        ),
    )
    names = ("hour", "day", "week", "month")
    return {
        Budget(row[0]): dict(zip(names, (int(n) for n in row[1:]), strict=True))
        for row in await cursor.fetchall()
    }


async def reserve(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    budget: Budget,
    now: datetime,
) -> datetime | None:
    """Take one unit and its gap; None when it was taken, else when it is worth asking again.

    To LinkedIn a question of ours is a read like any other: it waits for the gap after the last
    thing that the account did, and what comes next waits for the gap after it.  Judged by the
    plain caps: a question comes late or never if it must also wait for a ramp.
    """
    key = (organization_id, account_id, budget.value)
    async with conn.transaction():
        # the account's lock, as a claim takes it: who holds it alone spends any of its budgets
        cursor = conn.cursor(row_factory=dict_row)
        await cursor.execute(
            "select unipile_account_id, spacing_shortest, spacing_longest, next_free_at,"
            " blocked_until from connected_accounts where organization_id = %s and id = %s"
            " for no key update skip locked",
            key[:2],
        )
        if (account := await cursor.fetchone()) is None:
            return now + BUSY
        # from here on statements whose snapshots are newer than the lock
        await cursor.execute(
            "select per_hour, per_day, per_week, per_month, spacing_shortest, spacing_longest,"
            " next_free_at, blocked_until from rate_limits"
            " where organization_id = %s and account_id = %s and operation = %s",
            key,
        )
        limit = await cursor.fetchone()
        if limit is None:
            return now + NO_UNIT
        waits = (row[at] for row in (account, limit) for at in ("next_free_at", "blocked_until"))
        if (free_at := max((at for at in waits if at is not None), default=now)) > now:
            return free_at
        spent = await used(conn, organization_id, account_id, now)
        caps = Caps(limit["per_hour"], limit["per_day"], limit["per_week"], limit["per_month"])
        if allowance(caps, Used(**spent.get(budget, {}))) == 0:
            return now + NO_UNIT
        await _take_unit(conn, key, account, limit, now)
    return None


async def _take_unit(
    conn: AsyncConnection[Any],
    key: tuple[UUID, UUID, str],
    account: Mapping[str, Any],
    limit: Mapping[str, Any],
    now: datetime,
) -> None:
    """Count a unit of the budget `key`, and keep its gap and the account's after it."""
    await conn.execute(
        "insert into rate_counters as n (organization_id, account_id, operation, bucket_at,"
        " used) values (%s, %s, %s, %s, 1)"
        " on conflict (organization_id, account_id, operation, bucket_at)"
        " do update set used = n.used + 1",
        (*key, bucket_at(now)),
    )
    # drawn as a claim draws it
    seed = f"{account['unipile_account_id']}/{now.isoformat()}"
    await conn.execute(
        "update connected_accounts set next_free_at = %s where organization_id = %s and id = %s",
        (now + _gap(account, seed), *key[:2]),
    )
    await conn.execute(
        "update rate_limits set next_free_at = %s"
        " where organization_id = %s and account_id = %s and operation = %s",
        (now + _gap(limit, f"{seed}/{key[2]}"), *key),
    )


async def give_back(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    budget: Budget,
    taken_at: datetime,
) -> None:
    """Give a unit back that was taken at `taken_at`: the provider never saw what it was for."""
    await conn.execute(
        "update rate_counters set used = used - 1 where organization_id = %s and account_id = %s"
        " and operation = %s and bucket_at = %s and used > 0",
        (organization_id, account_id, budget.value, bucket_at(taken_at)),
    )


def _gap(row: Mapping[str, Any], seed: str) -> timedelta:
    return spacing_after(Spacing(row["spacing_shortest"], row["spacing_longest"]), seed)

"""Which accounts are due to be swept for what no webhook told."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from clento_engine.domain.account import PausedBy
from clento_engine.store.lanes import lock_lanes, wake_lanes
from clento_engine.store.literals import BY_PROVIDER, UNFINISHED
from clento_engine.store.rests import IS_RESTING
from clento_engine.store.stamp import IS_QUARANTINED

LONGEST_REASON = 300  # characters of why a sweep failed


@dataclass(frozen=True, slots=True)
class SweepRow:
    """An account to sweep, ours until `lease_end`.  `messages_since` None: never swept."""

    organization_id: UUID
    account_id: UUID
    unipile_account_id: str
    own_provider_id: str | None
    paused_by: PausedBy | None
    messages_since: datetime | None
    lease_end: datetime
    hear_since: datetime | None = None  # after a restore: it hears everything since, and then acts


async def take_sweeps(
    conn: AsyncConnection[Any], *, now: datetime, lease: timedelta, most: int
) -> list[SweepRow]:
    """Take accounts that are due; they come again after `lease` unless `swept` says when.

    Accounts without an unfinished campaign leave the round: nothing waits for their news.  Those
    whose member nobody asked for yet stay in it, unless an operator paused them.
    """
    cursor = await conn.execute(
        f"""
        with due as materialized (
            select organization_id, id from connected_accounts
             where next_sweep_at <= %(now)s and not {IS_RESTING} and not {IS_QUARANTINED}
             order by next_sweep_at, id
             limit %(most)s
               for no key update skip locked)
        update connected_accounts a
           set next_sweep_at = case when case
                   when a.provider_id is null then a.paused_by = {BY_PROVIDER}
                   else exists (
                   select 1 from campaign_senders s
                     join campaigns c on c.organization_id = s.organization_id
                                     and c.id = s.campaign_id
                    where s.organization_id = a.organization_id and s.account_id = a.id
                      and c.status in {UNFINISHED}) end
               then %(until)s::timestamptz end
          from due
         where a.organization_id = due.organization_id and a.id = due.id
        returning a.organization_id, a.id, a.unipile_account_id, a.provider_id, a.paused_by,
                  a.swept_messages_until, a.hear_since, a.next_sweep_at
        """,
        {"now": now, "until": now + lease, "most": most},
    )
    return [_row(row) for row in await cursor.fetchall() if row[-1] is not None]


def _row(row: TupleRow) -> SweepRow:
    organization_id, account_id, unipile_account_id, own_id, *times = row
    paused_by, since, hear_since, lease_end = times
    by = None if paused_by is None else PausedBy(paused_by)
    who = organization_id, account_id, unipile_account_id, own_id
    return SweepRow(*who, by, since, lease_end, hear_since)


async def swept(
    conn: AsyncConnection[Any],
    row: SweepRow,
    *,
    next_at: datetime,
    messages_until: datetime | None,
) -> None:
    """Write when the account is swept next, and until when its messages are known.

    Whoever asked for an earlier sweep meanwhile gets it.
    """
    await conn.execute(
        "update connected_accounts set"
        " next_sweep_at = case when next_sweep_at = %s then %s else next_sweep_at end,"
        " swept_messages_until = coalesce(%s, swept_messages_until)"
        " where organization_id = %s and id = %s",
        (
            row.lease_end,
            next_at,
            messages_until,
            row.organization_id,
            row.account_id,
        ),
    )


async def sweep_failed(
    conn: AsyncConnection[Any], row: SweepRow, reason: str, *, now: datetime
) -> None:
    """Count a sweep that failed, with its reason, until one succeeds."""
    await conn.execute(
        "update connected_accounts set sweep_failures = least(sweep_failures + 1, 32767),"
        " sweep_failed_at = %s, sweep_failure = %s where organization_id = %s and id = %s",
        (now, reason[:LONGEST_REASON], row.organization_id, row.account_id),
    )


async def sweep_succeeded(conn: AsyncConnection[Any], row: SweepRow) -> None:
    """Forget that sweeps of the account failed."""
    await conn.execute(
        "update connected_accounts set sweep_failures = 0, sweep_failed_at = null,"
        " sweep_failure = null where organization_id = %s and id = %s and sweep_failures > 0",
        (row.organization_id, row.account_id),
    )


async def sweep_by(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, at: datetime
) -> None:
    """Let an account that the provider stopped be swept at `at`, if not before."""
    await conn.execute(
        "update connected_accounts set next_sweep_at = least(next_sweep_at, %s)"
        f" where organization_id = %s and id = %s and paused_by = {BY_PROVIDER}",
        (at, organization_id, account_id),
    )


async def heard_again(conn: AsyncConnection[Any], row: SweepRow, now: datetime) -> None:
    """Let an account act that has heard what was written to it before a restore."""
    async with conn.transaction():
        await lock_lanes(conn, row.organization_id, account_id=row.account_id)
        await conn.execute(
            "update connected_accounts set hear_since = null"
            " where organization_id = %s and id = %s and hear_since = %s",
            (row.organization_id, row.account_id, row.hear_since),
        )
        await wake_lanes(conn, row.organization_id, row.account_id, now)

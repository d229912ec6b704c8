"""How many invitations of an account are pending: counted page by page, and what follows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain.limits import MOST_PENDING, PENDING_WARNED
from clento_engine.domain.operation import Budget, Operation
from clento_engine.store.lanes import lock_lanes
from clento_engine.store.literals import ACTIVE

FULL = f"{MOST_PENDING} invitations or more are pending"
# Without a later count: sweeps count several times a day.
FULL_FOR = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Pending:
    """An account's last count, None before the first, and the one under way since `begun_at`."""

    counted: int | None
    counted_at: datetime | None
    so_far: int
    cursor: str | None
    begun_at: datetime | None


@dataclass(frozen=True, slots=True)
class Crowded:
    """A sender with as many pending invitations as are warned of."""

    account_id: UUID
    name: str
    pending: int
    counted_at: datetime


async def pending(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID
) -> Pending | None:
    """Return what is known of an active account that invites; None for every other."""
    async with conn.cursor(row_factory=class_row(Pending)) as cursor:
        await cursor.execute(
            f"""
            select p.counted, p.counted_at, coalesce(p.so_far, 0) as so_far, p.cursor, p.begun_at
              from connected_accounts a
              left join pending_invitations p
                     on p.organization_id = a.organization_id and p.account_id = a.id
             where a.organization_id = %(organization_id)s and a.id = %(account_id)s
               and a.status = {ACTIVE}
               and exists (select from lanes l
                            where l.organization_id = a.organization_id and l.account_id = a.id
                              and l.operation = %(invites)s)
            """,
            {
                "organization_id": organization_id,
                "account_id": account_id,
                "invites": Operation.SEND_CONNECTION_REQUEST,
            },
        )
        return await cursor.fetchone()


async def count_on(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    *,
    so_far: int,
    cursor: str | None,
    begun_at: datetime | None,
) -> None:
    """Write how far a count has come, to go on at `cursor`; without one it begins anew."""
    await conn.execute(
        "insert into pending_invitations as p (organization_id, account_id, so_far, cursor,"
        " begun_at) values (%s, %s, %s, %s, %s) on conflict (organization_id, account_id)"
        " do update set so_far = excluded.so_far, cursor = excluded.cursor,"
        " begun_at = excluded.begun_at",
        (organization_id, account_id, so_far, cursor, begun_at),
    )


async def counted(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    pending: int,
    now: datetime,
) -> None:
    """Write a count that is whole: invitations wait from MOST_PENDING on, and go on below it.

    A later count stands.  Where the provider holds invitations back its word stands, until that
    is over and the next count finds as many.
    """
    of = {
        "organization_id": organization_id,
        "account_id": account_id,
        "pending": pending,
        "now": now,
        "until": now + FULL_FOR,
        "invitation": Budget.INVITATION,
        "full": FULL,
    }
    async with conn.transaction():
        await lock_lanes(conn, organization_id, account_id=account_id)  # before limits, as a claim
        newest = await conn.execute(_WRITE_COUNT, of)
        if newest.rowcount == 0:
            return
        if pending >= MOST_PENDING:
            await conn.execute(_HOLD_BACK, of)
            return
        lifted = await conn.execute(_LIFT, of)
        if lifted.rowcount > 0:
            await conn.execute(_LOOK_AGAIN, of)


_WRITE_COUNT = """
insert into pending_invitations as p (organization_id, account_id, counted, counted_at)
values (%(organization_id)s, %(account_id)s, %(pending)s, %(now)s)
    on conflict (organization_id, account_id) do update
   set counted = excluded.counted, counted_at = excluded.counted_at,
       so_far = 0, cursor = null, begun_at = null
 where p.counted_at is null or p.counted_at <= excluded.counted_at
"""

_HOLD_BACK = """
update rate_limits set blocked_until = %(until)s, blocked_reason = %(full)s
 where organization_id = %(organization_id)s and account_id = %(account_id)s
   and operation = %(invitation)s
   and (blocked_until is null or blocked_until <= %(now)s
        or blocked_reason = %(full)s)
"""

_LIFT = """
update rate_limits set blocked_until = null, blocked_reason = null
 where organization_id = %(organization_id)s and account_id = %(account_id)s
   and operation = %(invitation)s and blocked_reason = %(full)s
   and blocked_until > %(now)s
"""

_LOOK_AGAIN = """
update lanes set ready_at = %(now)s
 where organization_id = %(organization_id)s and account_id = %(account_id)s
   and budget = %(invitation)s and ready_at > %(now)s
"""


async def crowded(conn: AsyncConnection[Any], organization_id: UUID) -> list[Crowded]:
    """List the senders of an organisation with PENDING_WARNED invitations or more, by name."""
    async with conn.cursor(row_factory=class_row(Crowded)) as cursor:
        await cursor.execute(
            """
            select a.id as account_id, a.name, p.counted as pending, p.counted_at
              from pending_invitations p
              join connected_accounts a
                on a.organization_id = p.organization_id and a.id = p.account_id
             where p.organization_id = %(organization_id)s and p.counted >= %(warned)s
               and a.removed_at is null
             order by a.name, a.id
            """,
            {"organization_id": organization_id, "warned": PENDING_WARNED},
        )
        return await cursor.fetchall()

"""Organisations and the senders that belong to them: added, paused, resumed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row

from clento_engine.domain.account import AccountStatus, PausedBy, Tier
from clento_engine.domain.limits import ACCOUNT_SPACING, WARMUP_DAYS, Spacing
from clento_engine.store.budgets import add_limits
from clento_engine.store.errors import AlreadyExists, Ambiguous, NotFound, Noun
from clento_engine.store.history import record
from clento_engine.store.ids import uuid7
from clento_engine.store.lanes import lock_lanes, set_lanes, wake_lanes
from clento_engine.store.literals import (
    ACCOUNT_PAUSED,
    ACTIVE,
    BY_OPERATOR,
    BY_PROVIDER,
    INTENDED,
)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A sender as it is stored; `provider_id`: of the LinkedIn member behind it, once known."""

    id: UUID
    unipile_account_id: str
    name: str
    tier: Tier
    time_zone: str
    status: AccountStatus
    paused_by: PausedBy | None
    pause_reason: str | None
    warmup_days: int
    warmup_started_at: datetime | None
    blocked_until: datetime | None
    provider_id: str | None
    removed_at: datetime | None

    @property
    def is_bound(self) -> bool:
        """Whether Unipile has shown which member it is: only then may it act."""
        return self.provider_id is not None


# The columns of an AccountRow, of connected_accounts as `a`.
ACCOUNT = """a.id, a.unipile_account_id, a.name, a.tier, a.time_zone, a.status, a.paused_by,
       a.pause_reason, a.warmup_days, a.warmup_started_at, a.blocked_until, a.provider_id,
       a.removed_at"""
NOT_LOOKED_UP = "not yet looked up at Unipile"
_NOT_YET = (AccountStatus.PAUSED, PausedBy.PROVIDER, NOT_LOOKED_UP)
_IN_ORDER = (AccountStatus.ACTIVE, None, None)


def account_row(row: dict[str, Any]) -> AccountRow:
    """Return a row of the columns `ACCOUNT`."""
    paused_by = row["paused_by"]
    words = {
        "tier": Tier(row["tier"]),
        "status": AccountStatus(row["status"]),
        "paused_by": None if paused_by is None else PausedBy(paused_by),
    }
    return AccountRow(**{**row, **words})


async def create_organization(conn: AsyncConnection[Any], name: str) -> UUID:
    """Create an organisation; its id.  Raises AlreadyExists."""
    organization_id = uuid7()
    try:
        await conn.execute(
            "insert into organizations (id, name) values (%s, %s)", (organization_id, name)
        )
    except UniqueViolation:
        raise AlreadyExists(Noun.ORGANIZATION, name) from None
    return organization_id


async def organizations(conn: AsyncConnection[Any]) -> list[tuple[UUID, str]]:
    """List organisations by name."""
    cursor = await conn.execute("select id, name from organizations order by name")
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def add_account(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    *,
    unipile_account_id: str,
    name: str,
    tier: Tier,
    time_zone: str,
    warmup_days: int | None = None,
    provider_id: str | None = None,
    spacing: Spacing = ACCOUNT_SPACING,
) -> UUID:
    """Add a sender with the limits of its tier; its id.  Raises AlreadyExists.

    `warmup_days` None takes the tier's ramp; 0 is an established account.  Without `provider_id`,
    the id of the member behind it, it is paused until Unipile was asked for it.
    """
    account_id = uuid7()
    async with conn.transaction():
        if provider_id is not None:
            await hold_member(conn, organization_id, account_id, provider_id, unipile_account_id)
        try:
            await conn.execute(
                "insert into connected_accounts (organization_id, id, unipile_account_id, name,"
                " tier, time_zone, warmup_days, provider_id, spacing_shortest, spacing_longest,"
                " status, paused_by, pause_reason)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    organization_id,
                    account_id,
                    unipile_account_id,
                    name,
                    tier.value,
                    time_zone,
                    WARMUP_DAYS[tier] if warmup_days is None else warmup_days,
                    provider_id,
                    spacing.shortest,
                    spacing.longest,
                    *(_NOT_YET if provider_id is None else _IN_ORDER),
                ),
            )
        except UniqueViolation:
            raise AlreadyExists(Noun.ACCOUNT, unipile_account_id) from None
        await add_limits(conn, organization_id, account_id, tier)
    return account_id


async def hold_member(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    member_id: str,
    unipile_account_id: str,
) -> None:
    """Write which account a member acts by.  Raises AlreadyExists when it has one."""
    try:
        async with conn.transaction():
            await conn.execute(
                "insert into provider_accounts (member_id, unipile_account_id, organization_id,"
                " account_id) values (%s, %s, %s, %s)",
                (member_id, unipile_account_id, organization_id, account_id),
            )
    except UniqueViolation:
        raise AlreadyExists(Noun.MEMBER, unipile_account_id) from None


async def accounts(conn: AsyncConnection[Any], organization_id: UUID) -> list[AccountRow]:
    """List an organisation's senders, oldest first; not those that were removed."""
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        f"select {ACCOUNT} from connected_accounts a"
        " where a.organization_id = %s and a.removed_at is null order by a.id",
        (organization_id,),
    )
    return [account_row(row) for row in await cursor.fetchall()]


async def find_account(conn: AsyncConnection[Any], organization_id: UUID, name: str) -> AccountRow:
    """Return a sender by its name, its Unipile id or ours.

    Raises NotFound, and Ambiguous when several have that name.
    """
    known = await accounts(conn, organization_id)
    by_id = [a for a in known if name in (a.unipile_account_id, str(a.id))]
    found = by_id or [a for a in known if a.name == name]
    match found:
        case [account]:
            return account
        case []:
            raise NotFound(Noun.ACCOUNT, name)
        case _:
            ids = [account.unipile_account_id for account in found]
            raise Ambiguous(Noun.ACCOUNT, name, ids)


async def pause_account(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    *,
    by: PausedBy,
    reason: str,
    now: datetime,
) -> bool:
    """Stop an account: after this no step of it is claimed.  False when it was paused already.

    An operator's pause stands over the provider's: the provider's OK does not lift it.  Of two
    reasons of the provider's, the newer is kept.
    """
    async with conn.transaction():
        await lock_lanes(conn, organization_id, account_id=account_id)  # before accounts, as settle
        cursor = await conn.execute(
            f"update connected_accounts set status = {ACCOUNT_PAUSED}, paused_by = %(by)s,"
            " pause_reason = %(reason)s"
            " where organization_id = %(organization_id)s and id = %(account_id)s"
            f" and (status = {ACTIVE} or (paused_by = {BY_PROVIDER} and %(by)s = {BY_OPERATOR}))",
            {
                "by": by,
                "reason": reason,
                "organization_id": organization_id,
                "account_id": account_id,
            },
        )
        if cursor.rowcount == 0:
            await conn.execute(
                "update connected_accounts set pause_reason = %s"
                f" where organization_id = %s and id = %s and paused_by = {BY_PROVIDER}",
                (reason, organization_id, account_id),
            )
            return False
        await set_lanes(conn, organization_id, account_id=account_id)
        await record(conn, organization_id, account_id, "AccountPaused", by, now, reason)
    return True


async def resume_account(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    *,
    by: PausedBy,
    now: datetime,
) -> bool:
    """Let a paused account act again; its gaps and caps hold, so that no burst follows.

    The provider lifts only what the provider paused; an operator the provider's throttle, too.
    False when there was nothing to lift, or the account has no member yet.  Its store may have been
    filled anew meanwhile.
    """
    async with conn.transaction():
        await lock_lanes(conn, organization_id, account_id=account_id)  # before accounts, as settle
        is_lifted = by is PausedBy.OPERATOR and await _lift_throttle(
            conn, organization_id, account_id, now
        )
        cursor = await conn.execute(
            f"update connected_accounts set status = {ACTIVE}, paused_by = null,"
            " pause_reason = null, errors_in_a_row = 0, store_since = %(now)s"
            " where organization_id = %(organization_id)s and id = %(account_id)s"
            f" and status = {ACCOUNT_PAUSED} and provider_id is not null"
            f" and (%(by)s = {BY_OPERATOR} or paused_by = {BY_PROVIDER})",
            {"by": by, "now": now, "organization_id": organization_id, "account_id": account_id},
        )
        if cursor.rowcount == 0 and not is_lifted:
            return False
        await set_lanes(conn, organization_id, account_id=account_id)
        await record(conn, organization_id, account_id, "AccountResumed", by, now, None)
    return True


async def _lift_throttle(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> bool:
    """Forget until when the provider wanted the account to wait.  Its lanes are locked."""
    cursor = await conn.execute(
        "update connected_accounts set blocked_until = null, throttles = 0, errors_in_a_row = 0"
        " where organization_id = %(organization_id)s and id = %(account_id)s"
        " and blocked_until > %(now)s",
        {"organization_id": organization_id, "account_id": account_id, "now": now},
    )
    if cursor.rowcount == 0:
        return False
    await wake_lanes(conn, organization_id, account_id, now)
    return True


async def in_flight_of(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> int:
    """Count the actions of an account that a living ticker may be performing right now."""
    cursor = await conn.execute(
        "select count(*) from actions where organization_id = %s and account_id = %s"
        f" and state = {INTENDED} and check_at > %s",
        (organization_id, account_id, now),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])

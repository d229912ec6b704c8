"""Organisations and the senders that belong to them: limits, pausing, what they used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row
from uuid_utils.compat import uuid7

from clento_engine.domain.account import AccountStatus, PausedBy, Tier
from clento_engine.domain.limits import (
    ACCOUNT_SPACING,
    DAY,
    HOUR,
    MONTH,
    WARMUP_DAYS,
    WEEK,
    Caps,
    Spacing,
    counted_since,
    default_limits,
)
from clento_engine.domain.operation import Budget
from clento_engine.store.errors import AlreadyExists, Ambiguous, NotFound, Noun
from clento_engine.store.literals import (
    ACCOUNT_PAUSED,
    ACTIVE,
    BY_OPERATOR,
    BY_PROVIDER,
    INTENDED,
    RUNNING,
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
# Whether a lane is to be active, of its campaign `c` and its account `a`: said here, and once more
# in the migration that makes the view `invariants.lanes`.
BOTH_RUN = f"c.status = {RUNNING} and a.status = {ACTIVE}"
LANE_RUNS = f"{BOTH_RUN} and l.held_reason is null"
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
        await conn.execute(
            "update lanes set ready_at = %(now)s"
            " where organization_id = %(organization_id)s and account_id = %(account_id)s"
            " and ready_at > %(now)s",
            {"organization_id": organization_id, "account_id": account_id, "now": now},
        )
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
    of = {"organization_id": organization_id, "account_id": account_id, "now": now}
    cursor = await conn.execute(
        "update connected_accounts set blocked_until = null, throttles = 0, errors_in_a_row = 0"
        " where organization_id = %(organization_id)s and id = %(account_id)s"
        " and blocked_until > %(now)s",
        of,
    )
    if cursor.rowcount == 0:
        return False
    await conn.execute(
        "update lanes set ready_at = %(now)s where organization_id = %(organization_id)s"
        " and account_id = %(account_id)s and ready_at > %(now)s",
        of,
    )
    return True


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


async def record(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    subject_id: UUID,
    kind: str,
    actor: str,
    now: datetime,
    reason: str | None,
) -> None:
    """Add a line to the history of a campaign or an account."""
    await conn.execute(
        "insert into events (organization_id, subject_id, at, kind, actor, detail)"
        " values (%s, %s, %s, %s, %s, jsonb_strip_nulls(jsonb_build_object('reason', %s::text)))",
        (organization_id, subject_id, now, kind, actor, reason),
    )

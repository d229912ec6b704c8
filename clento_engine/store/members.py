"""Which LinkedIn member is behind an account: bound, folded into the account it had, let go.

A member has one account in all organisations, and so one budget.  Every change of that is made
here, one at a time: each begins by locking `provider_accounts` against the others.  After that,
locks are taken in the order of `settle`: actions, executions, lanes, budgets and accounts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Rollback

from clento_engine.store.accounts import NOT_LOOKED_UP
from clento_engine.store.errors import StillUnknown, StillWalked
from clento_engine.store.folding import carry, fold
from clento_engine.store.history import record
from clento_engine.store.lanes import lock_lanes, set_lanes
from clento_engine.store.literals import (
    ACCOUNT_PAUSED,
    ACTIVE,
    BY_OPERATOR,
    BY_PROVIDER,
    DRAFT,
    OPEN,
    UNFINISHED,
)
from clento_engine.store.senders import close_gaps

# Why Unipile's answer does not let an account act; none of them says who has the member.
HELD_ELSEWHERE = "its LinkedIn member is connected elsewhere already: it acts once it is free there"
ANOTHER_MEMBER = (
    "another LinkedIn member is signed in than the one it acted for: sign that one in again, or"
    " remove this account and add it anew"
)
GONE = "the account was removed"
CHANGED = "the account goes on under another Unipile id"
REFUSALS = (HELD_ELSEWHERE, ANOTHER_MEMBER)
REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Bound:
    """The account acts for its member.  `account_id`: the row that goes on.

    It is another than was asked about when the member had acted by that one before: `is_folded`.
    """

    account_id: UUID
    is_folded: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The account may not act by what Unipile says; `is_paused` says whether it was stopped."""

    reason: str
    is_paused: bool


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has a member, or had it last."""

    organization_id: UUID
    account_id: UUID
    unipile_account_id: str | None
    created_at: datetime | None
    is_released: bool


async def bind(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    *,
    member_id: str,
    unipile_account_id: str,
    created_at: datetime | None,
    now: datetime,
) -> Bound | Refused:
    """Write what Unipile says of an account: which member it is, and since when it has it.

    An account that waited for this acts from now on.  One whose member acted by another row of the
    organisation before is folded into that one.  One that Unipile shows for another member than
    before, or whose member another organisation has, is paused.  Said twice, it changes nothing.
    """
    of = {
        "organization_id": organization_id,
        "account_id": account_id,
        "member_id": member_id,
        "unipile_account_id": unipile_account_id,
        "created_at": created_at,
        "now": now,
    }
    if await _is_as_it_was(conn, of):
        return Bound(account_id, is_folded=False)
    async with conn.transaction():
        await _one_at_a_time(conn)
        cursor = await conn.execute(
            "select unipile_account_id, provider_id, removed_at is not null"
            " from connected_accounts where organization_id = %s and id = %s",
            (organization_id, account_id),
        )
        row = await cursor.fetchone()
        if row is None or row[2]:
            return Refused(GONE, is_paused=False)
        if row[0] != unipile_account_id:  # the answer is older than what we know
            return Refused(CHANGED, is_paused=False)
        if row[1] is not None and row[1] != member_id:
            await _refuse(conn, organization_id, account_id, ANOTHER_MEMBER, now)
            return Refused(ANOTHER_MEMBER, is_paused=True)
        holder = await _holder(conn, member_id)
        if await _is_of_others(conn, organization_id, member_id, unipile_account_id, holder):
            await _refuse(conn, organization_id, account_id, HELD_ELSEWHERE, now)
            return Refused(HELD_ELSEWHERE, is_paused=True)
        if holder is None or holder.is_released:
            await _take(conn, of, holder)
        elif holder.account_id == account_id:
            await _confirm(conn, of, holder)
        else:
            await _fold(conn, of, holder)
            return Bound(holder.account_id, is_folded=True)
    return Bound(account_id, is_folded=False)


async def look_up_again(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    account_id: UUID,
    *,
    reason: str = NOT_LOOKED_UP,
) -> bool:
    """Let an account without a member be asked for it at the next sweep; False for any other.

    Until then it is paused for `reason`; what an operator paused is the provider's to resume then.
    """
    cursor = await conn.execute(
        f"update connected_accounts set paused_by = {BY_PROVIDER}, pause_reason = %s,"
        # at once, by whatever clock the database lives
        " errors_in_a_row = 0, next_sweep_at = 'epoch'"
        " where organization_id = %s and id = %s and provider_id is null and removed_at is null",
        (reason, organization_id, account_id),
    )
    return cursor.rowcount == 1


async def remove_account(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> None:
    """Let the member of an account go, for any organisation to have; what it did stays written.

    Whoever has the member next carries the units that it used.  The account leaves drafts that
    name it.  Raises StillWalked while leads under way are to be walked by it, StillUnknown while
    what became of an action of it is not known: nothing is changed.
    """
    async with conn.transaction():
        await _one_at_a_time(conn)
        await lock_lanes(conn, organization_id, account_id=account_id)
        of: dict[str, Any] = {"organization_id": organization_id, "account_id": account_id}
        await conn.execute(
            "select from connected_accounts where organization_id = %(organization_id)s"
            " and id = %(account_id)s for no key update",
            of,
        )
        cursor = await conn.execute(_UNDER_WAY, of)
        row = await cursor.fetchone()
        walking, unknown = (0, 0) if row is None else row
        if walking:
            raise StillWalked(walking)
        if unknown:
            raise StillUnknown(unknown)
        cursor = await conn.execute(
            "delete from campaign_senders s using campaigns c"
            " where s.organization_id = %(organization_id)s and s.account_id = %(account_id)s"
            " and c.organization_id = s.organization_id and c.id = s.campaign_id"
            f" and c.status = {DRAFT} returning s.campaign_id",
            of,
        )
        await close_gaps(conn, organization_id, [row[0] for row in await cursor.fetchall()])
        await conn.execute(
            f"update connected_accounts set status = {ACCOUNT_PAUSED}, paused_by = {BY_OPERATOR},"
            " pause_reason = %(reason)s, provider_id = null, removed_at = %(now)s,"
            " next_sweep_at = null"
            " where organization_id = %(organization_id)s and id = %(account_id)s",
            {**of, "reason": REMOVED, "now": now},
        )
        await conn.execute(
            "update provider_accounts set released_at = %(now)s, unipile_account_id = null"
            " where organization_id = %(organization_id)s and account_id = %(account_id)s"
            " and released_at is null",
            {**of, "now": now},
        )
        await set_lanes(conn, organization_id, account_id=account_id)
        await record(conn, organization_id, account_id, "AccountRemoved", "operator", now, None)


# --- what `bind` does


async def _one_at_a_time(conn: AsyncConnection[Any]) -> None:
    """Keep every other change of who has which member out; readers and claims go on."""
    await conn.execute("lock table provider_accounts in share row exclusive mode")


_AS_IT_WAS = """
select from connected_accounts a
  join provider_accounts p on p.member_id = a.provider_id
                          and p.organization_id = a.organization_id and p.account_id = a.id
 where a.organization_id = %(organization_id)s and a.id = %(account_id)s
   and a.unipile_account_id = %(unipile_account_id)s and a.provider_id = %(member_id)s
   and a.removed_at is null and p.released_at is null
   and p.unipile_account_id = %(unipile_account_id)s
   and (%(created_at)s::timestamptz is null or p.created_at = %(created_at)s)
"""


async def _is_as_it_was(conn: AsyncConnection[Any], of: Mapping[str, Any]) -> bool:
    """Confirm an account of which nothing is new, as most are; False: there is more to write.

    Without the lock on who has which member: each sweep asks, and a process that stopped over it
    stopped the sweeps of all.  Whoever changes that locks the account's lanes or its row as well.
    """
    cursor = await conn.execute(_AS_IT_WAS, of)
    if cursor.rowcount == 0:
        return False
    is_as_it_was = False
    async with conn.transaction():
        await lock_lanes(conn, of["organization_id"], account_id=of["account_id"])
        cursor = await conn.execute(f"{_AS_IT_WAS} for no key update of a", of)
        is_as_it_was = cursor.rowcount > 0
        if not is_as_it_was:  # changed meanwhile; undone, for lanes are locked after members
            raise Rollback
        await _resume(conn, of, "AccountResumed", always_tell=False)
    return is_as_it_was


async def _holder(conn: AsyncConnection[Any], member_id: str) -> _Holder | None:
    cursor = await conn.execute(
        "select organization_id, account_id, unipile_account_id, created_at,"
        " released_at is not null from provider_accounts where member_id = %s",
        (member_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else _Holder(*row)


async def _is_of_others(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    member_id: str,
    unipile_account_id: str,
    holder: _Holder | None,
) -> bool:
    if holder is not None and not holder.is_released and holder.organization_id != organization_id:
        return True
    # the same Unipile account, by whatever member it was known for
    cursor = await conn.execute(
        "select from provider_accounts where unipile_account_id = %s and member_id <> %s",
        (unipile_account_id, member_id),
    )
    return cursor.rowcount > 0


async def _refuse(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, reason: str, now: datetime
) -> None:
    """Pause an account for what Unipile said of it; an operator's pause stands."""
    await lock_lanes(conn, organization_id, account_id=account_id)
    cursor = await conn.execute(
        f"update connected_accounts set status = {ACCOUNT_PAUSED}, paused_by = {BY_PROVIDER},"
        " pause_reason = %(reason)s"
        " where organization_id = %(organization_id)s and id = %(account_id)s"
        f" and paused_by is distinct from {BY_OPERATOR}"
        " and pause_reason is distinct from %(reason)s",
        {"reason": reason, "organization_id": organization_id, "account_id": account_id},
    )
    if cursor.rowcount:
        await set_lanes(conn, organization_id, account_id=account_id)
        await record(conn, organization_id, account_id, "AccountPaused", "provider", now, reason)


async def _take(
    conn: AsyncConnection[Any], of: Mapping[str, Any], released: _Holder | None
) -> None:
    """Bind an account to a member that nobody has."""
    await lock_lanes(conn, of["organization_id"], account_id=of["account_id"])
    await conn.execute(
        "insert into provider_accounts as p (member_id, unipile_account_id, organization_id,"
        " account_id, created_at, seen_at)"
        " values (%(member_id)s, %(unipile_account_id)s, %(organization_id)s, %(account_id)s,"
        " %(created_at)s, %(now)s)"
        " on conflict (member_id) do update set unipile_account_id = excluded.unipile_account_id,"
        " organization_id = excluded.organization_id, account_id = excluded.account_id,"
        " created_at = excluded.created_at, seen_at = excluded.seen_at, released_at = null",
        of,
    )
    await conn.execute(
        "update connected_accounts set provider_id = %(member_id)s,"
        # the store is as old as the account, as far as we know
        " store_since = least(coalesce(%(created_at)s, %(now)s), %(now)s)"
        " where organization_id = %(organization_id)s and id = %(account_id)s",
        of,
    )
    if released is not None:
        await carry(conn, of, released.organization_id, released.account_id)
    await _resume(conn, of, "AccountBound", always_tell=True)


async def _confirm(conn: AsyncConnection[Any], of: Mapping[str, Any], holder: _Holder) -> None:
    """Take note that an account is still what it was, and whether its store is a new one."""
    await conn.execute(
        "update provider_accounts set created_at = coalesce(%(created_at)s, created_at),"
        " seen_at = %(now)s where member_id = %(member_id)s",
        of,
    )
    await lock_lanes(conn, of["organization_id"], account_id=of["account_id"])
    before, after = holder.created_at, of["created_at"]
    if before is not None and after is not None and before != after:
        await _forget_store(conn, of)
    await _resume(conn, of, "AccountResumed", always_tell=False)


async def _resume(
    conn: AsyncConnection[Any], of: Mapping[str, Any], kind: str, *, always_tell: bool
) -> None:
    """Lift the provider's pause, if there is one.  Its lanes are locked."""
    cursor = await conn.execute(
        f"update connected_accounts set status = {ACTIVE}, paused_by = null, pause_reason = null,"
        " errors_in_a_row = 0"
        " where organization_id = %(organization_id)s and id = %(account_id)s"
        f" and paused_by = {BY_PROVIDER}",
        of,
    )
    is_resumed = cursor.rowcount > 0
    if is_resumed and kind == "AccountResumed":
        await young_store(conn, of["organization_id"], of["account_id"], of["now"])
    if is_resumed:
        await set_lanes(conn, of["organization_id"], account_id=of["account_id"])
    if is_resumed or always_tell:
        who = of["organization_id"], of["account_id"]
        await record(conn, *who, kind, "provider", of["now"], None)


async def young_store(
    conn: AsyncConnection[Any], organization_id: UUID, account_id: UUID, now: datetime
) -> None:
    """Take note that Unipile may be filling its store of the account's chats anew, from now on."""
    await conn.execute(
        "update connected_accounts set store_since = %s where organization_id = %s and id = %s",
        (now, organization_id, account_id),
    )


async def _forget_store(conn: AsyncConnection[Any], of: Mapping[str, Any]) -> None:
    """Forget what was known by the ids of a store that is no more."""
    await young_store(conn, of["organization_id"], of["account_id"], of["now"])
    await conn.execute(
        "update contacts set chat_id = null where organization_id = %(organization_id)s"
        " and account_id = %(account_id)s and chat_id is not null",
        of,
    )


async def _fold(conn: AsyncConnection[Any], of: Mapping[str, Any], holder: _Holder) -> None:
    """Let the account that the member acted by go on, under the Unipile id of the row given."""
    old, new = holder.account_id, of["account_id"]
    both = {**of, "old": old, "new": new, "old_unipile_account_id": holder.unipile_account_id}
    await fold(conn, both)
    into = {**of, "account_id": old}
    await conn.execute(
        "update provider_accounts set unipile_account_id = %(unipile_account_id)s,"
        " created_at = %(created_at)s, seen_at = %(now)s where member_id = %(member_id)s",
        both,
    )
    await conn.execute(
        "update connected_accounts set unipile_account_id = %(unipile_account_id)s,"
        " next_sweep_at = least(next_sweep_at, %(now)s)"
        " where organization_id = %(organization_id)s and id = %(old)s",
        both,
    )
    await _forget_store(conn, into)
    await _resume(conn, into, "AccountReconnected", always_tell=True)


_UNDER_WAY = f"""
select (select count(*) from campaign_senders s
          join campaigns c on c.organization_id = s.organization_id and c.id = s.campaign_id
                          and c.status in {UNFINISHED}
          join campaign_executions e on e.organization_id = c.organization_id
                                    and e.campaign_id = c.id and e.account_id = s.account_id
                                    and e.outcome is null
         where s.organization_id = %(organization_id)s and s.account_id = %(account_id)s),
       (select count(*) from campaign_senders s
          join actions a on a.organization_id = s.organization_id
                        and a.campaign_id = s.campaign_id and a.account_id = s.account_id
                        and a.state in {OPEN}
         where s.organization_id = %(organization_id)s and s.account_id = %(account_id)s)
"""

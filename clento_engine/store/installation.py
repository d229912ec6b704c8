"""Which provider this database is bound to: a workspace of Unipile, or a simulator."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from clento_engine.store.literals import ACCOUNT_PAUSED, BY_OPERATOR, BY_PROVIDER, OPEN

# Why accounts are paused after a move; the sweep that finds the same member lifts it.
MOVED = "the provider was moved: not yet looked up there"


@dataclass(frozen=True, slots=True)
class Binding:
    """The provider a database is bound to.  `dsn`: its origin; `bound_at`: since when."""

    dsn: str
    is_simulated: bool
    bound_at: datetime


@dataclass(frozen=True, slots=True)
class Provided:
    """How the accounts of all organisations stand with the provider.

    `bound` have a member and are not paused for being asked about it; `waiting` are; `refused`
    were shown to be another's.  `open_actions`: what became of them must be asked there; `chats`:
    how many are known by the provider's id.
    """

    bound: int
    waiting: int
    refused: int
    open_actions: int
    chats: int
    unrouted_webhooks: int


_BINDING = """
select provider_dsn, provider_kind = 'simulated', bound_at from installation
 where provider_kind is not null
"""


async def binding(conn: AsyncConnection[Any]) -> Binding | None:
    """Return what the database is bound to; None when it is not yet."""
    cursor = await conn.execute(_BINDING)
    row = await cursor.fetchone()
    return None if row is None else Binding(*row)


async def stamp(
    conn: AsyncConnection[Any], dsn: str, *, is_simulated: bool, now: datetime
) -> Binding:
    """Bind the database unless it is bound already; return what it is bound to.

    Of several processes that stamp at once, the first one's word holds.  What it is bound to stays
    until the caller's transaction ends, and no longer keeps others from the same.
    """
    cursor = await conn.execute(f"{_BINDING} for share")
    if (row := await cursor.fetchone()) is not None:
        return Binding(*row)
    await conn.execute(
        "insert into installation as i (provider_kind, provider_dsn, bound_at)"
        " values (%s, %s, %s)"
        " on conflict (is_only) do update set provider_kind = excluded.provider_kind,"
        " provider_dsn = excluded.provider_dsn, bound_at = excluded.bound_at"
        " where i.provider_kind is null",
        ("simulated" if is_simulated else "real", dsn, now),
    )
    bound = await binding(conn)
    if bound is None:
        raise RuntimeError("the database was unbound while it was bound")
    return bound


async def witnesses(conn: AsyncConnection[Any], most: int) -> list[tuple[str, str]]:
    """Return accounts by whom a provider can be recognised: Unipile's id, and the member's."""
    cursor = await conn.execute(
        "select unipile_account_id, member_id from provider_accounts where released_at is null"
        " order by seen_at desc nulls last, member_id limit %s",
        (most,),
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def provided(conn: AsyncConnection[Any], refusals: tuple[str, ...]) -> Provided:
    """Count how accounts stand with the provider; `refusals`: the reasons that refuse one."""
    cursor = await conn.execute(
        f"""
        select count(*) filter (where provider_id is not null and not is_waiting
                                  and not is_refused),
               count(*) filter (where (provider_id is null or is_waiting) and not is_refused),
               count(*) filter (where is_refused),
               (select count(*) from actions where state in {OPEN}),
               (select count(*) from contacts where chat_id is not null),
               (select coalesce(sum(received), 0)::bigint from unrouted_webhooks)
          from (select provider_id, coalesce(pause_reason = %(moved)s, false) as is_waiting,
                       coalesce(pause_reason = any(%(refusals)s), false) as is_refused
                  from connected_accounts where removed_at is null) a
        """,
        {"refusals": list(refusals), "moved": MOVED},
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a query without a table gave no row")
    return Provided(*row)


async def move(
    conn: AsyncConnection[Any],
    dsn: str,
    *,
    is_simulated: bool,
    now: datetime,
    ask_after: timedelta,
) -> None:
    """Bind the database to another provider: every account waits until it was looked up there.

    Nothing is claimed once this is committed; what is in flight ends where it began.  Accounts are
    asked about `ask_after` from now, when tickers that still talk to the old one have noticed.
    Chats are forgotten: their ids were the old one's.
    """
    async with conn.transaction():
        await conn.execute("set local statement_timeout = 0")  # every chat is forgotten
        # in the order of those who bind an account, who hold its row by `stamp` before members
        await conn.execute("select from installation for no key update")
        await conn.execute("lock table provider_accounts in share row exclusive mode")
        await conn.execute(
            "select from lanes order by organization_id, campaign_id, account_id, operation"
            " for no key update"
        )
        await conn.execute(
            f"""
            with paused as (
                update connected_accounts
                   set status = {ACCOUNT_PAUSED}, paused_by = coalesce(paused_by, {BY_PROVIDER}),
                       pause_reason = case when paused_by = {BY_OPERATOR} then pause_reason
                                           else %(moved)s end,
                       store_since = %(now)s,
                       next_sweep_at = case when next_sweep_at is not null then %(ask_at)s end
                 where removed_at is null
                returning organization_id, id, paused_by)
            insert into events (organization_id, subject_id, at, kind, actor, detail)
            select organization_id, id, %(now)s, 'AccountPaused', 'operator',
                   jsonb_build_object('reason', %(moved)s::text)
              from paused where paused_by = {BY_PROVIDER}
            """,
            {"moved": MOVED, "now": now, "ask_at": now + ask_after},
        )
        await conn.execute("update lanes set active = false where active")
        await conn.execute("update contacts set chat_id = null where chat_id is not null")
        await conn.execute(
            "insert into installation (provider_kind, provider_dsn, bound_at) values (%s, %s, %s)"
            " on conflict (is_only) do update set provider_kind = excluded.provider_kind,"
            " provider_dsn = excluded.provider_dsn, bound_at = excluded.bound_at",
            ("simulated" if is_simulated else "real", dsn, now),
        )
        await conn.execute(
            "update provider_rest set silences = 0, since = null, until = null, failures = 0,"
            " reason = null"
        )

"""What a storm asks of the database: whom to trouble, who has not come to an end, what it cost."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from clento_engine.store.literals import (
    ACCOUNT_PAUSED,
    BY_PROVIDER,
    COMMENT,
    COMPLETED,
    OPEN,
    RUNNING,
)

Troubled = tuple[str, str, str]  # the account by the provider's id, the person's identity, e-mail


@dataclass(frozen=True, slots=True)
class Cost:
    """What the server has written: transactions that changed something, bytes of WAL; our steps.

    Of the server's whole life: what a time cost is a difference.  All three survive its crashes.
    """

    transactions: int
    wal_bytes: int
    steps: int

    def __sub__(self, before: "Cost") -> "Cost":
        return Cost(
            self.transactions - before.transactions,
            self.wal_bytes - before.wal_bytes,
            self.steps - before.steps,
        )


async def cost(conn: AsyncConnection[Any]) -> Cost:
    """Read what the server has written so far; a step is an action that was intended."""
    cursor = await conn.execute(
        """
        select pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
               pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
               (select count(*) from actions)
        """
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a query without a table gave no row")
    return Cost(*row)


async def commit_lazily(conn: AsyncConnection[Any]) -> None:
    """Have the server answer this role's commits before they are on the disk, as some hosts do.

    What a session or a transaction says of `synchronous_commit` goes before it.
    """
    await conn.execute("alter role current_user set synchronous_commit = off")


async def gather_statistics(conn: AsyncConnection[Any]) -> None:
    """Let the planner know what was loaded just now, as autovacuum would in its next minute."""
    for table in (
        "connected_accounts",
        "rate_limits",
        "leads",
        "lead_lists",
        "campaigns",
        "campaign_executions",
        "lanes",
    ):
        await conn.execute(f"analyze {table}".encode())


async def acted_upon(
    conn: AsyncConnection[Any], organization_id: UUID, most: int
) -> list[Troubled]:
    """Return people with an action in flight; those due next when there are none."""
    for query in (_IN_FLIGHT, _NEXT):
        cursor = await conn.execute(query.encode(), (organization_id, most))
        if found := await cursor.fetchall():
            return found
    return []


async def commented_upon(conn: AsyncConnection[Any], organization_id: UUID, most: int) -> list[str]:
    """Return the posts, by social id, that are being commented now, or were last."""
    cursor = await conn.execute(_COMMENTED, (organization_id, most))
    return [row[0] for row in await cursor.fetchall()]


async def paused_by_provider(
    conn: AsyncConnection[Any], organization_id: UUID, most: int
) -> list[UUID]:
    """Return senders that the provider's refusals paused; not those it was not asked about yet."""
    cursor = await conn.execute(
        "select id from connected_accounts"
        f" where organization_id = %s and status = {ACCOUNT_PAUSED} and paused_by = {BY_PROVIDER}"
        "   and provider_id is not null and removed_at is null"
        " order by random() limit %s",
        (organization_id, most),
    )
    return [row[0] for row in await cursor.fetchall()]


async def with_held_lanes(
    conn: AsyncConnection[Any], organization_id: UUID, most: int
) -> list[tuple[UUID, UUID]]:
    """Return campaigns and senders of theirs that a run of refusals holds in some lane."""
    cursor = await conn.execute(
        "select campaign_id, account_id from lanes"
        " where organization_id = %s and held_reason is not null"
        " group by campaign_id, account_id order by random() limit %s",
        (organization_id, most),
    )
    return await cursor.fetchall()


async def edit_by_hand(
    conn: AsyncConnection[Any], organization_id: UUID, edit: str
) -> set[UUID] | None:
    """Change rows as somebody with a shell might, past every rule of ours; None: none was there.

    `edit` is a key of `HAND_EDITS`.  Returns the leads whose own moment was changed.
    """
    cursor = await conn.execute(HAND_EDITS[edit].encode(), {"organization_id": organization_id})
    if cursor.rowcount == 0:
        return None
    return {row[0] for row in await cursor.fetchall()} if cursor.description else set()


async def unsettled(conn: AsyncConnection[Any], organization_id: UUID) -> int:
    """Count the leads that are neither final nor held nor in a campaign that somebody halted.

    One whose action is open is counted wherever it is, unless a person is asked about it.
    """
    cursor = await conn.execute(_UNSETTLED, {"organization_id": organization_id})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


_A_LANE = """
(select campaign_id, account_id, operation from lanes
  where organization_id = %(organization_id)s and active and ready_at is not null
  order by random() limit 1)
"""
_IS_ITS = "organization_id = %(organization_id)s and (campaign_id, account_id, operation) in"
HAND_EDITS = {
    "lane deleted": f"delete from lanes where {_IS_ITS} {_A_LANE}",
    "lane switched off": f"update lanes set active = false where {_IS_ITS} {_A_LANE}",
    "lane without a time": f"update lanes set ready_at = null where {_IS_ITS} {_A_LANE}",
    "lane late": f"update lanes set ready_at = ready_at + '40 days' where {_IS_ITS} {_A_LANE}",
    "leads moved": f"""
        update campaign_executions
           set next_run_at = next_run_at + (random() - 0.7) * '20 min'::interval
         where {_IS_ITS} {_A_LANE} and outcome is null and next_run_at is not null
        returning lead_id
    """,
}
_IN_FLIGHT = f"""
select a.unipile_account_id, p.identity, p.email
  from actions x
  join leads p on p.organization_id = x.organization_id and p.id = x.lead_id
  join connected_accounts a on a.organization_id = x.organization_id and a.id = x.account_id
 where x.organization_id = %s and x.state in {OPEN}
   and x.operation <> 'profile_lookup'
 order by random() limit %s
"""
_NEXT = """
select a.unipile_account_id, p.identity, p.email
  from campaign_executions e
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
  join connected_accounts a on a.organization_id = e.organization_id and a.id = e.account_id
 where e.organization_id = %s and e.outcome is null and e.started_at is not null
 order by e.next_run_at limit %s
"""
_COMMENTED = f"""
select target
  from actions
 where organization_id = %s and operation = {COMMENT} and target <> ''
 order by state not in {OPEN}, intended_at desc
 limit %s
"""
_UNSETTLED = f"""
select count(*)
  from campaign_executions e
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
 where e.organization_id = %(organization_id)s and e.status <> 'held'
   and ((e.outcome is null and c.status in ({RUNNING}, {COMPLETED}))
        or exists (select from actions x
                    where x.organization_id = e.organization_id
                      and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                      and x.state in {OPEN}))
"""

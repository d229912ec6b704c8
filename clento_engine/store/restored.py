"""After a restore: what nobody knows any more is taken to have happened, and looked for.

Every budget counts as fully used over the gap.  Accounts hear what was written to them before they
act.  Of each walk that was under way, what reaches a person is asked about before it is sent.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain.limits import MONTH, Caps, Limit, Spacing
from clento_engine.domain.operation import Budget
from clento_engine.domain.restore import SPENT_WITH, Gap, narrower, spent_at_most
from clento_engine.store.literals import OPEN, RUNNING
from clento_engine.store.rows import recordset
from clento_engine.store.stamp import lock_alone, stamp_anew

AccountKey = tuple[UUID, UUID]  # organisation, account


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore lost, as far as it can be known, and what is looked for now.

    `walks` are asked about before anything reaches their people; `open_actions` were under way at
    the backup.  `running`: campaigns that go on; `suppressed_at`: the newest suppression that is
    known.
    """

    since: datetime
    until: datetime
    walks: int
    accounts: int
    open_actions: int
    running: int
    suppressed_at: datetime | None


# The newest moment that the ledger and the history tell of.
_NEWEST = """
select greatest((select max(intended_at) from actions), (select max(settled_at) from actions),
                (select max(at) from events), (select max(received_at) from inbox_events))
"""

_DOUBT = """
update campaign_executions set doubted_since = least(doubted_since, %(since)s)
 where outcome is null
"""

_DEAFEN = """
update connected_accounts
   set hear_since = least(hear_since, %(since)s), next_sweep_at = %(now)s, heard_at = null,
       swept_messages_until = least(swept_messages_until, %(since)s),
       next_free_at = greatest(next_free_at, %(now)s + spacing_longest)
 where removed_at is null
"""

_SPACE = """
update rate_limits set next_free_at = greatest(next_free_at, %(now)s + spacing_longest)
"""

_RECOUNT = """
update pending_invitations
   set counted = null, counted_at = null, so_far = 0, cursor = null, begun_at = null
"""

_SPEND = """
insert into rate_counters as n (organization_id, account_id, operation, bucket_at, used)
select r.organization_id, r.account_id, r.operation, r.bucket_at, r.used
  from json_to_recordset(%(rows)s) as r(organization_id uuid, account_id uuid, operation text,
       bucket_at timestamptz, used int)
 order by 1, 2, 3, 4
    on conflict (organization_id, account_id, operation, bucket_at) do update
   set used = greatest(n.used, excluded.used)
"""

_KNOWN = f"""
select %(since)s::timestamptz as since, %(now)s::timestamptz as until,
       (select count(*) from campaign_executions where outcome is null) as walks,
       (select count(*) from connected_accounts where removed_at is null) as accounts,
       (select count(*) from actions where state in {OPEN}) as open_actions,
       (select count(*) from campaigns where status = {RUNNING}) as running,
       (select max(created_at) from suppressions) as suppressed_at
"""


async def known(
    conn: AsyncConnection[Any], now: datetime, *, since: datetime | None = None
) -> Restored:
    """Say what healing the database now would mean; `since`: when the backup was made.

    None: the newest moment that the database tells of.
    """
    begun = since or await _newest(conn, now)
    async with conn.cursor(row_factory=class_row(Restored)) as cursor:
        await cursor.execute(_KNOWN, {"since": min(begun, now), "now": now})
        row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a query without a table gave no row")
    return row


async def heal(
    conn: AsyncConnection[Any], now: datetime, *, since: datetime | None = None
) -> Restored:
    """Let the database go on from what was lost since `since`, and stamp it anew.

    No claim is under way meanwhile; the next sees all of it.  Runs twice harmlessly: the gap then
    lasts until the second.
    """
    async with conn.transaction():
        await conn.execute("set local statement_timeout = 0")  # every walk is written
        await lock_alone(conn)
        restored = await known(conn, now, since=since)
        of = {"since": restored.since, "now": now}
        await conn.execute(_DOUBT, of)
        await conn.execute(_DEAFEN, of)
        await conn.execute(_SPACE, of)
        await conn.execute(_RECOUNT)
        spent = _spent(await _limits(conn), Gap(restored.since, now))
        await conn.execute(_SPEND, {"rows": recordset(spent)})
        await stamp_anew(conn, lost_since=restored.since, now=now)
    return restored


async def _newest(conn: AsyncConnection[Any], now: datetime) -> datetime:
    cursor = await conn.execute(_NEWEST)
    row = await cursor.fetchone()
    newest: datetime | None = None if row is None else row[0]
    return now - MONTH if newest is None else newest


async def _limits(conn: AsyncConnection[Any]) -> Mapping[AccountKey, Mapping[Budget, Limit]]:
    found: defaultdict[AccountKey, dict[Budget, Limit]] = defaultdict(dict)
    cursor = await conn.execute(
        "select organization_id, account_id, operation, per_hour, per_day, per_week, per_month,"
        " spacing_shortest, spacing_longest from rate_limits"
    )
    for organization_id, account_id, budget, *caps, shortest, longest in await cursor.fetchall():
        limit = Limit(Caps(*caps), Spacing(shortest, longest))
        found[organization_id, account_id][Budget(budget)] = limit
    return found


def _spent(
    limits: Mapping[AccountKey, Mapping[Budget, Limit]], gap: Gap
) -> Iterator[dict[str, Any]]:
    """Yield the units that every budget counts as used over the gap."""
    for (organization_id, account_id), budgets in limits.items():
        for budget, own in budgets.items():
            if budget is Budget.NONE:
                continue
            other = SPENT_WITH.get(budget)
            limit = own if other is None else narrower(own, budgets.get(other, Limit()))
            for start, units in spent_at_most(limit, gap.since, gap.until):
                yield {
                    "organization_id": organization_id,
                    "account_id": account_id,
                    "operation": budget,
                    "bucket_at": start,
                    "used": units,
                }

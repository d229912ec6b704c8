"""How many leads moved how: what a campaign's status is added up from.

A lead that changes its place, or leaves a node, is counted in the transaction that moves it.  A
status then costs what the workflow's size is, never the number of leads.  Nothing is decided on
these counts.

Nobody waits for anybody here: a transaction counts in a shard that it has for itself until it
ends.  Waiting could not be allowed, since it happens after lanes were locked.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from clento_engine.domain.execution import Decision, Execution
from clento_engine.store.connection import unlimit
from clento_engine.store.rows import recordset


class Move(NamedTuple):
    """From where to where a lead went, and what became of the node that it left.

    Nothing is '': a lead stands nowhere before its enrollment, and at no node before its first.
    Ids are numbers here: a UUID is hashed and compared in Python.
    """

    organization_id: int
    campaign_id: int
    node_id: str = ""
    status: str = ""
    result: str = ""
    entered: str = ""
    to_node_id: str = ""
    to_status: str = ""
    to_outcome: str = ""

    @property
    def is_none(self) -> bool:
        """Whether the lead stands as it stood, and no node was left or entered."""
        return (
            not (self.result or self.entered or self.to_outcome)
            and self.node_id == self.to_node_id
            and self.status == self.to_status
        )

    def counted(self, leads: int) -> dict[str, Any]:
        """Return the row that counts so many."""
        ids = {
            "organization_id": UUID(int=self.organization_id),
            "campaign_id": UUID(int=self.campaign_id),
        }
        return {**self._asdict(), **ids, "leads": leads}


def move(organization_id: UUID, run: Execution, decision: Decision) -> Move:
    """Return what `decision` moves."""
    after = decision.execution
    return Move(
        organization_id.int,
        run.campaign_id.int,
        run.node_id or "",
        run.status,
        decision.result or "",
        decision.entered or "",
        after.node_id or "",
        after.status,
        "" if run.outcome is not None else after.outcome or "",  # it was counted when it ended
    )


async def count(conn: AsyncConnection[Any], moves: Iterable[Move]) -> None:
    """Count what was moved in this transaction; `moves` has each lead's."""
    counted = Counter(moves)
    if rows := [each.counted(leads) for each, leads in counted.items() if not each.is_none]:
        await conn.execute(_COUNT, {"rows": recordset(rows)})


async def count_enrolled(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, leads: int
) -> None:
    """Count leads that were just enrolled: they wait, before the first node."""
    moved = Move(organization_id.int, campaign_id.int, to_status="waiting")
    await conn.execute(_COUNT, {"rows": recordset([moved.counted(leads)])})


async def miscounted(conn: AsyncConnection[Any]) -> list[str]:
    """Tell what the counts have wrong, held against the leads and their history; empty: nothing."""
    cursor = await conn.execute(f"{MISCOUNTED} order by 1, 2, 3, 4, 5, 6, 7, 8")
    return [
        f"campaign {row[1]}: {' '.join(filter(None, row[2:8]))}: {row[8]} counted, {row[9]} found"
        for row in await cursor.fetchall()
    ]


async def shortened_histories(conn: AsyncConnection[Any]) -> int:
    """Count the steps that the counts know of and the histories do not: those were cut short."""
    async with conn.transaction():
        await unlimit(conn)
        await conn.execute("set local enable_seqscan = on")
        cursor = await conn.execute(
            "select coalesce(sum(counted - found), 0)::bigint"
            f" from ({MISCOUNTED}) w where (result <> '' or entered <> '') and counted > found"
        )
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def recount(conn: AsyncConnection[Any]) -> int:
    """Add what is missing in the counts; return how many were wrong.

    Nobody waits for it: what is wrong is read in one snapshot, in which every transaction has
    moved its leads and counted them, or done neither.
    """
    async with conn.transaction():
        await unlimit(conn)  # as long as reading it all takes
        await conn.execute("set local enable_seqscan = on")
        return (await conn.execute(_MEND)).rowcount


_SHARD_LOCKS = 0x6D6F7665  # "move": the first half of the shards' keys

_KEY = (
    "organization_id, campaign_id, shard, node_id, status, result, entered, to_node_id, to_status,"
    " to_outcome"
)

# The first shard that nobody has: there are always more shards than connections.  With one for all,
# each turn waits to the other's commit for the row of their common move, its lanes locked: of four
# tickers' turns up to a quarter waited over 50 ms, with shards none.
_ADD = f"""
with free as materialized (
    select shard from (select generate_series(0, 32767) as shard offset 0) s
     where pg_try_advisory_xact_lock({_SHARD_LOCKS}, s.shard) limit 1)
insert into campaign_moves as m ({_KEY}, leads)
select r.organization_id, r.campaign_id, free.shard, r.node_id, r.status, r.result, r.entered,
       r.to_node_id, r.to_status, r.to_outcome, r.leads
  from free
 cross join {{rows}}
    on conflict ({_KEY}) do update set leads = m.leads + excluded.leads
"""

_COUNT = _ADD.format(
    rows="""json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, node_id text,
       status text, result text, entered text, to_node_id text, to_status text, to_outcome text,
       leads bigint)"""
)

# What the counts must add up to, as moves of which each does one thing.
_FOUND = """
select organization_id, campaign_id, '' as node_id, '' as status, '' as result, '' as entered,
       coalesce(node_id, '') as to_node_id, status as to_status,
       coalesce(outcome, '') as to_outcome, count(*) as leads
  from campaign_executions group by 1, 2, 7, 8, 9
union all
select organization_id, campaign_id, coalesce(node_id, '') as left_id, '',
       coalesce(result, '') as became, coalesce(entered, '') as came_to, '', '', '', count(*)
  from history
 where campaign_id is not null and (result is not null or entered is not null)
 group by 1, 2, left_id, became, came_to
"""


def _parts(moves: str) -> str:
    """Take moves apart, so that what adds up to the same is the same: results, entries, stands."""
    return f"""
    select m.organization_id, m.campaign_id, p.node_id, p.result, p.entered, p.to_node_id,
           p.to_status, p.to_outcome, sum(p.leads) as leads
      from {moves} m
     cross join lateral (values
           (m.node_id, m.result, '', '', '', '', case m.result when '' then 0 else m.leads end),
           ('', '', m.entered, '', '', '', case m.entered when '' then 0 else m.leads end),
           ('', '', '', m.to_node_id, m.to_status, m.to_outcome,
            case m.to_status when '' then 0 else m.leads end),
           ('', '', '', m.node_id, m.status, '', case m.status when '' then 0 else -m.leads end)
           ) p(node_id, result, entered, to_node_id, to_status, to_outcome, leads)
     group by 1, 2, 3, 4, 5, 6, 7, 8 having sum(p.leads) <> 0
    """


MISCOUNTED = f"""
select organization_id, campaign_id, node_id, result, entered, to_node_id, to_status, to_outcome,
       coalesce(kept.leads, 0) as counted, coalesce(found.leads, 0) as found
  from ({_parts("campaign_moves")}) kept
  full join ({_parts(f"({_FOUND})")}) found
       using (organization_id, campaign_id, node_id, result, entered, to_node_id, to_status,
              to_outcome)
 where kept.leads is distinct from found.leads
"""
"""What the counts have wrong, a row each."""

_MEND = _ADD.format(
    rows=f"(select w.*, '' as status, w.found - w.counted as leads from ({MISCOUNTED}) w) r"
)

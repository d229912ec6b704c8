"""Where a person walks: the walks that are not over, as columns, and read back as values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from clento_engine.domain.person import Walking, ahead_of, goes_on_in
from clento_engine.store.literals import HAPPENED, OPEN, RECEIVED, UNFINISHED
from clento_engine.store.rows import recordset

# The columns of a Walking, of an execution `e` in its campaign `c`.
WALKING = f"""e.campaign_id, e.lead_id,
       (select count(*) from actions x
         where x.organization_id = e.organization_id and x.campaign_id = e.campaign_id
           and x.lead_id = e.lead_id and (x.number is not null or x.state in {OPEN})
           and x.state in {HAPPENED} and x.operation in {RECEIVED})::int as contacts,
       e.started_at as began_at, c.started_at as campaign_at, c.name as campaign,
       c.overlap as is_apart"""

# The walks that are not over of leads `l`.
LIVING = f"""
  join campaigns c on c.organization_id = l.organization_id and c.list_id = l.list_id
                  and c.status in {UNFINISHED}
  join campaign_executions e on e.organization_id = l.organization_id and e.campaign_id = c.id
                            and e.lead_id = l.id and e.outcome is null"""

# Of the lead `p` in the walk `e`: all walks of the person, as JSON; null where this is the only
# one.  Most people have one, so that is asked first.
ALL_WALKS = f"""
       case when exists (
                 select from leads l
                   join campaigns c on c.organization_id = l.organization_id
                                   and c.list_id = l.list_id and c.status in {UNFINISHED}
                                   and (c.id, l.id) <> (e.campaign_id, p.id)
                   join campaign_executions o on o.organization_id = l.organization_id
                                             and o.campaign_id = c.id and o.lead_id = l.id
                                             and o.outcome is null
                  where l.organization_id = p.organization_id and l.person_id = p.person_id)
            then (select json_agg(x)
                    from (select {WALKING} from leads l {LIVING}
                           where l.organization_id = p.organization_id
                             and l.person_id = p.person_id) x)
        end"""


def walking(row: Mapping[str, Any]) -> Walking:
    """Return a row of the columns `WALKING`."""
    return Walking(
        row["campaign_id"],
        row["lead_id"],
        row["contacts"],
        row["began_at"],
        row["campaign_at"],
        row["campaign"],
        row["is_apart"],
    )


def walking_of_json(row: Mapping[str, Any]) -> Walking:
    """Return an object of `ALL_WALKS`."""
    began_at = row["began_at"]
    return walking(
        {
            **row,
            "campaign_id": UUID(row["campaign_id"]),
            "lead_id": UUID(row["lead_id"]),
            "began_at": None if began_at is None else datetime.fromisoformat(began_at),
            "campaign_at": datetime.fromisoformat(row["campaign_at"]),
        }
    )


def ahead_in(
    rows: Sequence[Mapping[str, Any]] | None, campaign_id: UUID, lead_id: UUID
) -> tuple[Walking, Walking] | None:
    """Return a walk, and which of `ALL_WALKS` goes on instead of it; None: it goes on itself."""
    walks = [walking_of_json(row) for row in rows or ()]
    for walk in walks:
        if (walk.campaign_id, walk.lead_id) == (campaign_id, lead_id):
            ahead = ahead_of(walk, walks)
            return None if ahead is None else (walk, ahead)
    return None


_LOCK_PEOPLE = """
select from people p
 where (p.organization_id, p.id) in (
         select l.organization_id, l.person_id
           from json_to_recordset(%(rows)s) as r(organization_id uuid, lead_id uuid)
           join leads l on l.organization_id = r.organization_id and l.id = r.lead_id)
 order by p.organization_id, p.id
   for no key update
"""
_WALKS_NOW = f"""
select e.campaign_id, e.lead_id, {ALL_WALKS} as walks
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid)
  join campaign_executions e using (organization_id, campaign_id, lead_id)
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
"""


async def behind(
    conn: AsyncConnection[Any], executions: Iterable[Mapping[str, UUID]]
) -> dict[tuple[UUID, UUID], str]:
    """Return those of some locked executions whose person goes on in another walk, and where."""
    return await _behind(conn, recordset(executions))


async def still_behind(
    conn: AsyncConnection[Any], executions: Iterable[Mapping[str, UUID]]
) -> dict[tuple[UUID, UUID], str]:
    """Return the same, judged one after the other, by the lock of the person.

    What puts a walk first may be over since a claim saw it, as an action that never left.  Of two
    that each saw the other go on both would end.
    """
    rows = recordset(executions)
    await conn.execute(_LOCK_PEOPLE, {"rows": rows})
    return await _behind(conn, rows)


async def _behind(conn: AsyncConnection[Any], rows: str) -> dict[tuple[UUID, UUID], str]:
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(_WALKS_NOW, {"rows": rows})
    found = {}
    for row in await cursor.fetchall():
        key = row["campaign_id"], row["lead_id"]
        if (pair := ahead_in(row["walks"], *key)) is not None:
            found[key] = goes_on_in(pair[1], pair[0])
    return found

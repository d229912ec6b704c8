"""Whom a start may enroll of its campaign's list, and why it leaves others out.

Each person once, whatever names the list has for them: nobody who is to be left alone, who walks in
another campaign of the organisation that is not over, or whom somebody contacted within the rest
that the campaign wants.  What is found out later, the claim sees to (`domain/person.py`).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from clento_engine.store.errors import LeftOut
from clento_engine.store.literals import HAPPENED, RECEIVED, UNFINISHED
from clento_engine.store.suppressions import suppressions_of

_OWN = """
select list_id, overlap, rest from campaigns
 where organization_id = %(organization_id)s and id = %(campaign_id)s"""

# The people of other campaigns' walks: read once, not for each lead of a list of a million.
_ELSEWHERE = f"""
select p.person_id, min(c.name) as campaign
  from campaigns c
  join campaign_executions e on e.organization_id = c.organization_id and e.campaign_id = c.id
                            and e.outcome is null
  join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
 where c.organization_id = %(organization_id)s and c.id <> %(campaign_id)s
   and c.status in {UNFINISHED} and not c.overlap
   and not (select overlap from own)
 group by p.person_id"""

_IS_RESTED = f"""
(own.rest is not null and exists (
    select from leads o
      join actions x on x.organization_id = o.organization_id and x.lead_id = o.id
                    and x.number is not null
     where o.organization_id = l.organization_id and o.person_id = l.person_id
       and x.operation in {RECEIVED} and x.state in {HAPPENED}
       and x.settled_at > %(now)s::timestamptz - own.rest))"""

# Each lead of the list: whether it is the first of its person, and where else that one walks.
_LISTED = """
select l.*, row_number() over (partition by l.person_id order by l.row_number, l.id) as nth,
       w.campaign as elsewhere
  from own
  join leads l on l.organization_id = %(organization_id)s and l.list_id = own.list_id
  left join elsewhere w on w.person_id = l.person_id"""

_WITH = f"with own as ({_OWN}), elsewhere as materialized ({_ELSEWHERE}), listed as ({_LISTED})"

# Whom a campaign's list has that may be contacted, each with the place at which senders are dealt.
CONTACTABLE = f"""
       ({_WITH}
        select l.organization_id, l.id, l.list_id, l.person_id,
               row_number() over (order by l.row_number, l.id) - 1 as place
          from listed l
         cross join own
         where l.nth = 1 and l.elsewhere is null
           and not exists (select from ({suppressions_of("l")}) x)
           and not {_IS_RESTED})"""


async def left_out(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, now: datetime
) -> LeftOut:
    """Say whom a campaign that was started just now left out of its list."""
    cursor = await conn.execute(
        _LEFT_OUT, {"organization_id": organization_id, "campaign_id": campaign_id, "now": now}
    )
    why: dict[str, int] = {}
    elsewhere: dict[str, int] = {}
    for reason, campaign, leads in await cursor.fetchall():
        why[reason] = why.get(reason, 0) + leads
        if reason == "elsewhere":
            elsewhere[campaign] = leads
    return LeftOut(
        why.get("repeated", 0), why.get("suppressed", 0), why.get("rested", 0), elsewhere
    )


_LEFT_OUT = f"""
{_WITH},
left_out as materialized (
    select l.* from listed l
     where not exists (select from campaign_executions e
                        where e.organization_id = l.organization_id
                          and e.campaign_id = %(campaign_id)s and e.lead_id = l.id))
select case when l.nth > 1 then 'repeated'
            when exists (select from ({suppressions_of("l")}) x) then 'suppressed'
            when l.elsewhere is not null then 'elsewhere'
            when {_IS_RESTED} then 'rested' else 'added since' end as reason,
       l.elsewhere, count(*)
  from left_out l
 cross join own
 group by 1, 2
 order by 1, 2
"""

"""Whom a campaign's texts go to: leads with their sender and values, and how many lack one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain.template import NO_VALUE
from clento_engine.store.contactable import CONTACTABLE

OWN = ("first_name", "last_name", "company", "job_title", "email")
"""The columns that every list has."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """A lead as the texts of a campaign see it; `fields` hold all that templates may say."""

    lead_id: UUID
    identity: str
    name: str
    account_id: UUID
    fields: Mapping[str, str | None]


async def addressees(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    *,
    now: datetime,
    limit: int,
    leads: Sequence[UUID] | None = None,
) -> list[Addressee]:
    """Return the first leads of a campaign, in the order of its list, or those of `leads` among it.

    Of a draft, whom its start would enroll at this moment, with the sender they would be dealt to.
    """
    async with conn.cursor(row_factory=class_row(Addressee)) as cursor:
        await cursor.execute(
            _ADDRESSEES,
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "now": now,
                "limit": limit,
                "leads": None if leads is None else list(leads),
            },
        )
        return await cursor.fetchall()


async def lacking(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    campaign_id: UUID,
    wanted: Sequence[Collection[Sequence[str]]],
    *,
    now: datetime,
) -> tuple[int, list[int]]:
    """Return how many leads a draft would enroll, and of these how many lack each value.

    A value is `wanted` by what gives it: any of these, each of one column or of several together.
    """
    of: dict[str, Any] = {
        "organization_id": organization_id,
        "campaign_id": campaign_id,
        "now": now,
        "no_value": sorted(NO_VALUE),
    }
    counts = "".join(f", count(*) filter (where not ({_has_any(ways, of)}))" for ways in wanted)
    cursor = await conn.execute(
        f"select count(*){counts} from {CONTACTABLE} p join leads l"
        " on l.organization_id = p.organization_id and l.id = p.id".encode(),
        of,
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101  an aggregate
    return row[0], list(row[1:])


def _has_any(ways: Collection[Sequence[str]], of: dict[str, Any]) -> str:
    return " or ".join(" and ".join(_has(name, of) for name in way) for way in ways) or "false"


def _has(name: str, of: dict[str, Any]) -> str:
    """Return the condition that a column has a value, by the rules of templates."""
    value = f"l.{name}"
    if name not in OWN:
        parameter = f"column_{len(of)}"
        of[parameter] = name
        value = f"(l.fields ->> %({parameter})s)"
    # white space, control characters and what spreadsheets leave are trimmed
    trimmed = (
        rf"regexp_replace({value}, '^[\s\u200b\u200e\u200f\u2060\ufeff\u0001-\u001f\u007f-\u009f]+"
        rf"|[\s\u200b\u200e\u200f\u2060\ufeff\u0001-\u001f\u007f-\u009f]+$', '', 'g')"
    )
    return (
        f"coalesce({trimmed} <> all(%(no_value)s) and position('{{{{' in {value}) = 0"
        f" and position('}}}}' in {value}) = 0, false)"
    )


_ADDRESSEES = f"""
with dealt as (
  select e.lead_id, e.account_id from campaign_executions e
   where e.organization_id = %(organization_id)s and e.campaign_id = %(campaign_id)s
     and (%(leads)s::uuid[] is null or e.lead_id = any(%(leads)s))
  union all
  select p.id, s.account_id
    from {CONTACTABLE} p
    join (select s.account_id, s.position, count(*) over () as senders from campaign_senders s
           where s.organization_id = %(organization_id)s and s.campaign_id = %(campaign_id)s) s
      on s.position = p.place %% s.senders
   where (%(leads)s::uuid[] is null or p.id = any(%(leads)s))
     and (select status from campaigns
           where organization_id = %(organization_id)s and id = %(campaign_id)s) = 'draft'
)
select l.id as lead_id, l.identity, concat_ws(' ', l.first_name, l.last_name) as name,
       d.account_id,
       l.fields || jsonb_build_object('first_name', l.first_name, 'last_name', l.last_name,
           'company', l.company, 'job_title', l.job_title, 'email', l.email) as fields
  from dealt d
  join leads l on l.organization_id = %(organization_id)s and l.id = d.lead_id
 order by l.row_number, l.id
 limit %(limit)s
"""

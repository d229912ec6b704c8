"""People never to be contacted: checked at every claim, by every name a lead has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.domain import execution as ex
from clento_engine.domain.report import Report
from clento_engine.domain.suppression import Kind
from clento_engine.store.literals import INTENDED
from clento_engine.store.settle import apply


@dataclass(frozen=True, slots=True)
class Suppression:
    """Whom to leave alone, why, and until when; None: for good."""

    kind: str
    value: str
    reason: str
    expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """`is_new`: nothing left them alone for as long before; `ended`: walks that are over by it."""

    is_new: bool
    ended: int


def _values(lead: str) -> list[tuple[str, str]]:
    """Return each kind and value of a suppression that is about what a lead's row says."""
    return [
        ("email", f"{lead}.email_key"),
        ("domain", f"split_part({lead}.email_key, '@', 2)"),
        ("company", f"{lead}.company_key"),
    ]


def suppressions_of(lead: str) -> str:
    """Return the query of what is about a lead's person under every name, or about its row.

    `lead`: the alias of its row.  Each name is looked up by the whole key, whatever the planner
    believes: with an `or`, or an `in`, it read all that the organisation has, for each lead, where
    there had been few when the plan was made.
    """
    of_person = f"""
               select x.kind, x.reason from person_names n
                cross join lateral (
                      select * from suppressions x
                       where x.organization_id = n.organization_id and x.kind = 'person'
                         and x.value = n.name
                         and (x.expires_at is null or x.expires_at > %(now)s)
                      offset 0) x
                where n.organization_id = {lead}.organization_id
                  and n.person_id = {lead}.person_id"""
    of_values = [
        f"""
               select x.kind, x.reason from suppressions x
                where x.organization_id = {lead}.organization_id and x.kind = '{kind}'
                  and x.value = {name} and (x.expires_at is null or x.expires_at > %(now)s)"""
        for kind, name in _values(lead)
    ]
    return " union all ".join([of_person, *of_values])


_ADD = """
insert into suppressions as x (organization_id, kind, value, reason, expires_at, created_at)
values (%(organization_id)s, %(kind)s, %(value)s, %(reason)s, %(expires_at)s, %(now)s)
    on conflict (organization_id, kind, value) do update
   set reason = excluded.reason, expires_at = excluded.expires_at
 where x.expires_at < coalesce(excluded.expires_at, 'infinity')
"""

_IS_OF_PERSON = """p.person_id = (
        select n.person_id from person_names n
         where n.organization_id = %(organization_id)s and n.name = %(value)s)"""
# What a lead says where a suppression of a kind is about it.
_IS_ABOUT = {Kind.PERSON.value: _IS_OF_PERSON} | {
    kind: f"{value} = %(value)s" for kind, value in _values("p")
}


def _from_walks(kind: str) -> str:
    """Return from where the walks are read that a suppression is about, of any campaign.

    To few leads by a key, and from each by the campaigns of its list.
    """
    return f"""
  from leads p
  join campaigns c on c.organization_id = p.organization_id and c.list_id = p.list_id
  join campaign_executions e on e.organization_id = p.organization_id
                            and e.campaign_id = c.id and e.lead_id = p.id
 where p.organization_id = %(organization_id)s and {_IS_ABOUT[kind]}"""


_LOCK_PERSON = """
select from people p
  join person_names n on n.organization_id = p.organization_id and n.person_id = p.id
 where n.organization_id = %(organization_id)s and n.name = %(value)s
   for key share of p
"""
MOST_TRIES = 20  # of one, whose person others merge at this moment


async def suppress(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    kind: str,
    value: str,
    reason: str,
    now: datetime,
    *,
    expires_at: datetime | None = None,
    actor: str = "operator",
) -> Recorded:
    """Leave a person, e-mail, domain or company alone from now on, and end their walks.

    `value` as `suppressed_value` gives it.  All in one transaction, which waits for a claim that
    looked just before: once it is committed nothing more is begun.  What is in flight then may
    still arrive; `in_flight` counts it.  One that holds longer is never shortened.
    """
    of = {
        "organization_id": organization_id,
        "kind": kind,
        "value": value,
        "reason": reason,
        "expires_at": expires_at,
        "now": now,
    }
    for _ in range(MOST_TRIES):
        try:
            async with conn.transaction():
                return await _suppress(conn, of, actor)
        except _MergedMeanwhile:
            continue
    raise RuntimeError("whom it is about was merged with others at every try")


class _MergedMeanwhile(Exception):
    """The suppression is about walks that nobody could see before."""


async def _suppress(conn: AsyncConnection[Any], of: dict[str, Any], actor: str) -> Recorded:
    """Add a suppression and end the walks that it is about.

    Who was made one with whom it is about, by somebody who looked before us, has walks that we
    could not see: the person is locked last, behind their walks, and those are looked at again.
    """
    added = await conn.execute(_ADD, of)
    walks = await _walks(conn, of)
    event = ex.Suppressed(f"{of['kind']}: {of['reason']}")
    reports = [Report.of_news(of["organization_id"], *walk, event) for walk in walks]
    settled = await apply(conn, reports, now=of["now"], actor=actor)
    if of["kind"] == "person":
        await conn.execute(_LOCK_PERSON, of)
        if await _walks(conn, of):
            raise _MergedMeanwhile
    return Recorded(is_new=added.rowcount > 0, ended=settled.finished)


async def _walks(conn: AsyncConnection[Any], of: dict[str, Any]) -> list[tuple[UUID, UUID, UUID]]:
    cursor = await conn.execute(
        f"select e.campaign_id, e.lead_id, e.account_id {_from_walks(of['kind'])}"
        " and e.outcome is null",
        of,
    )
    return await cursor.fetchall()


async def in_flight(
    conn: AsyncConnection[Any], organization_id: UUID, kind: str, value: str, now: datetime
) -> int:
    """Count the actions that a living ticker may be performing right now on whom it is about."""
    cursor = await conn.execute(
        f"select count(*) from actions a where (a.organization_id, a.campaign_id, a.lead_id) in"
        f" (select e.organization_id, e.campaign_id, e.lead_id {_from_walks(kind)})"
        f" and a.state = {INTENDED} and a.check_at > %(now)s",
        {"organization_id": organization_id, "kind": kind, "value": value, "now": now},
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def is_left_alone(
    conn: AsyncConnection[Any], organization_id: UUID, campaign_id: UUID, lead_id: UUID
) -> bool:
    """Whether a walk is over, so that nothing more may be done for its lead."""
    cursor = await conn.execute(
        "select outcome is not null from campaign_executions"
        " where organization_id = %s and campaign_id = %s and lead_id = %s",
        (organization_id, campaign_id, lead_id),
    )
    row = await cursor.fetchone()
    return row is None or bool(row[0])


async def suppressions(
    conn: AsyncConnection[Any], organization_id: UUID, now: datetime
) -> Sequence[Suppression]:
    """List whom an organisation leaves alone at `now`, newest first."""
    cursor = conn.cursor(row_factory=class_row(Suppression))
    await cursor.execute(
        "select kind, value, reason, expires_at, created_at from suppressions"
        " where organization_id = %s and (expires_at is null or expires_at > %s)"
        " order by created_at desc, kind, value",
        (organization_id, now),
    )
    return await cursor.fetchall()


async def lift_suppression(
    conn: AsyncConnection[Any], organization_id: UUID, kind: str, value: str
) -> bool:
    """Let them be contacted again; False when nothing forbade it.  Ended walks stay ended."""
    cursor = await conn.execute(
        "delete from suppressions where organization_id = %s and kind = %s and value = %s",
        (organization_id, kind, value),
    )
    return cursor.rowcount > 0

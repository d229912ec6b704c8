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


def _names(lead: str, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return each kind and value of a suppression that is about a lead, known by `ids` as well."""
    known_by = (f"{lead}.identity", f"{lead}.public_identifier", f"{lead}.provider_id", *ids)
    return [
        *(("person", name) for name in known_by),
        ("email", f"{lead}.email_key"),
        ("domain", f"split_part({lead}.email_key, '@', 2)"),
        ("company", f"{lead}.company_key"),
    ]


def suppressions_of(lead: str, *ids: str) -> str:
    """Return the query of what is about a lead, also known by the columns `ids`, name by name.

    `lead`: the alias of its row.  Each name is looked up by the whole key, whatever the planner
    believes: with an `or`, or an `in`, it read all that the organisation has, for each lead, where
    there had been few when the plan was made.
    """
    return " union all ".join(
        f"""
               select x.kind, x.reason from suppressions x
                where x.organization_id = {lead}.organization_id and x.kind = '{kind}'
                  and x.value = {name} and (x.expires_at is null or x.expires_at > %(now)s)"""
        for kind, name in _names(lead, ids)
    )


# Whom a campaign's list has that may be contacted, each with the place at which senders are dealt.
CONTACTABLE = f"""
       (select l.organization_id, l.id, l.list_id,
               row_number() over (order by l.row_number, l.id) - 1 as place
          from leads l
         where l.organization_id = %(organization_id)s
           and l.list_id = (select list_id from campaigns
                             where organization_id = %(organization_id)s and id = %(campaign_id)s)
           and not exists (select from ({suppressions_of("l")}) x))"""


_ADD = """
insert into suppressions as x (organization_id, kind, value, reason, expires_at, created_at)
values (%(organization_id)s, %(kind)s, %(value)s, %(reason)s, %(expires_at)s, %(now)s)
    on conflict (organization_id, kind, value) do update
   set reason = excluded.reason, expires_at = excluded.expires_at
 where x.expires_at < coalesce(excluded.expires_at, 'infinity')
"""

# What a lead and its walk say where a suppression of a kind is about them.
_IS_ABOUT = {
    kind.value: " or ".join(
        f"{name} = %(value)s" for of, name in _names("p", ["e.provider_id"]) if of == kind
    )
    for kind in Kind
}


# To few leads by a key, and from each by the campaigns of its list; a person is looked for among
# all walks, which know names that no lead has.
_BY_LIST = """
  join campaigns c on c.organization_id = p.organization_id and c.list_id = p.list_id
  join campaign_executions e on e.organization_id = p.organization_id
                            and e.campaign_id = c.id and e.lead_id = p.id"""
_BY_LEAD = """
  join campaign_executions e on e.organization_id = p.organization_id and e.lead_id = p.id"""


def _walks(kind: str) -> str:
    """Return from where the walks are read that a suppression is about, of any campaign."""
    return f"""
  from leads p {_BY_LEAD if kind == Kind.PERSON else _BY_LIST}
 where p.organization_id = %(organization_id)s and ({_IS_ABOUT[kind]})"""


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
    async with conn.transaction():
        added = await conn.execute(_ADD, of)
        cursor = await conn.execute(
            f"select e.campaign_id, e.lead_id, e.account_id {_walks(kind)} and e.outcome is null",
            of,
        )
        event = ex.Suppressed(f"{kind}: {reason}")
        reports = [
            Report.of_news(organization_id, campaign_id, lead_id, account_id, event)
            for campaign_id, lead_id, account_id in await cursor.fetchall()
        ]
        settled = await apply(conn, reports, now=now, actor=actor)
    return Recorded(is_new=added.rowcount > 0, ended=settled.finished)


async def in_flight(
    conn: AsyncConnection[Any], organization_id: UUID, kind: str, value: str, now: datetime
) -> int:
    """Count the actions that a living ticker may be performing right now on whom it is about."""
    cursor = await conn.execute(
        f"select count(*) from actions a where (a.organization_id, a.campaign_id, a.lead_id) in"
        f" (select e.organization_id, e.campaign_id, e.lead_id {_walks(kind)})"
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

"""Lists of people: found by name, with their columns, and listed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.store.errors import NotFound, Noun


@dataclass(frozen=True, slots=True)
class LeadList:
    """A list; `campaigns` are the names of those that use it."""

    id: UUID
    name: str
    leads: int
    campaigns: list[str]
    created_at: datetime


async def find_list(
    conn: AsyncConnection[Any], organization_id: UUID, name: str
) -> tuple[UUID, int]:
    """Return a list's id and how many people it has.  Raises NotFound."""
    cursor = await conn.execute(
        "select l.id, (select count(*) from leads p where p.organization_id = l.organization_id"
        " and p.list_id = l.id) from lead_lists l"
        " where l.organization_id = %s and (l.name = %s or l.id::text = %s)",
        (organization_id, name, name),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(Noun.LIST, name)
    return row[0], row[1]


async def list_columns(
    conn: AsyncConnection[Any], organization_id: UUID, list_id: UUID
) -> set[str] | None:
    """Return the columns that leads of a list have besides the fields of all; None if it is empty.

    Of at least one lead: whoever lacks the value is held when the text is written.
    """
    cursor = await conn.execute(
        """
        select exists (select from leads where organization_id = %(organization_id)s
                                           and list_id = %(list_id)s),
               exists (select from leads where organization_id = %(organization_id)s
                                           and list_id = %(list_id)s and email is not null),
               array(select distinct jsonb_object_keys(fields) from leads
                      where organization_id = %(organization_id)s and list_id = %(list_id)s)
        """,
        {"organization_id": organization_id, "list_id": list_id},
    )
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    return {*row[2], *(["email"] if row[1] else [])}


async def lead_lists(conn: AsyncConnection[Any], organization_id: UUID) -> list[LeadList]:
    """List the lists by name."""
    async with conn.cursor(row_factory=class_row(LeadList)) as cursor:
        await cursor.execute(
            """
            select l.id, l.name, l.created_at,
                   (select count(*) from leads p
                     where p.organization_id = l.organization_id and p.list_id = l.id) as leads,
                   array(select c.name from campaigns c
                          where c.organization_id = l.organization_id and c.list_id = l.id
                          order by c.name) as campaigns
              from lead_lists l where l.organization_id = %s order by l.name
            """,
            (organization_id,),
        )
        return await cursor.fetchall()


async def saved_columns(
    conn: AsyncConnection[Any], organization_id: UUID, list_id: UUID
) -> tuple[str, ...]:
    """Return the columns that the list's files had, as the claim reads them."""
    cursor = await conn.execute(
        "select columns from lead_lists where organization_id = %s and id = %s",
        (organization_id, list_id),
    )
    row = await cursor.fetchone()
    return () if row is None else tuple(row[0])

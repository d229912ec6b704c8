"""The ledger's row that a host remembers: whether it is there still."""

from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection


class Mark(Struct, frozen=True):
    """A settled action that was committed: its lead, its place in the history, its token."""

    organization_id: UUID
    lead_id: UUID
    number: int
    token: UUID


async def mark_of(
    conn: AsyncConnection[Any], organization_id: UUID, lead_id: UUID, token: UUID
) -> Mark | None:
    """Return the mark of an action; None while it is not settled."""
    cursor = await conn.execute(
        "select number from actions where organization_id = %s and lead_id = %s and token = %s"
        " and number is not null",
        (organization_id, lead_id, token),
    )
    row = await cursor.fetchone()
    return None if row is None else Mark(organization_id, lead_id, row[0], token)


async def is_there(conn: AsyncConnection[Any], mark: Mark) -> bool:
    """Whether the ledger has the action still.  None is ever deleted."""
    cursor = await conn.execute(
        "select exists (select from actions where organization_id = %s and lead_id = %s"
        " and number = %s and token = %s)",
        (mark.organization_id, mark.lead_id, mark.number, mark.token),
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])

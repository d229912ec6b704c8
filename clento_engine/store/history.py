"""What happened to a campaign or an account, and by whom: a line each in `events`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection


async def record(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    subject_id: UUID,
    kind: str,
    actor: str,
    now: datetime,
    reason: str | None,
) -> None:
    """Add a line to the history of a campaign or an account."""
    await conn.execute(
        "insert into events (organization_id, subject_id, at, kind, actor, detail)"
        " values (%s, %s, %s, %s, %s, jsonb_strip_nulls(jsonb_build_object('reason', %s::text)))",
        (organization_id, subject_id, now, kind, actor, reason),
    )

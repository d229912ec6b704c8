"""People never to be contacted: checked at every claim, by every name a lead has."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection


async def suppress(
    conn: AsyncConnection[Any],
    organization_id: UUID,
    kind: str,
    value: str,
    reason: str,
    now: datetime,
) -> bool:
    """Leave a person, e-mail, domain or company alone from now on; False when it was so already.

    `value` is normalised as leads are: lower case, trimmed; for a person an identity, public
    identifier or provider id.  What is in flight when this is committed may still arrive.
    """
    cursor = await conn.execute(
        "insert into suppressions (organization_id, kind, value, reason, created_at)"
        " values (%s, %s, %s, %s, %s) on conflict (organization_id, kind, value)"
        " do update set reason = excluded.reason, expires_at = null"
        " where suppressions.expires_at is not null",
        (organization_id, kind, value, reason, now),
    )
    return cursor.rowcount > 0

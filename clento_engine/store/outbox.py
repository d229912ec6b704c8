"""Notices to customers, saved with the state that they tell of, and sent until they arrive."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from clento_engine.store.errors import AlreadyExists, Noun


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice to send.  `attempt` counts the tries that were made."""

    organization_id: UUID
    id: UUID
    url: str
    payload: dict[str, Any]
    attempt: int


async def add_endpoint(
    conn: AsyncConnection[Any], organization_id: UUID, endpoint_id: str, name: str, url: str
) -> None:
    """Register where the webhook nodes that name `endpoint_id` deliver.  Raises AlreadyExists."""
    try:
        await conn.execute(
            "insert into webhook_endpoints (organization_id, id, name, url)"
            " values (%s, %s, %s, %s)",
            (organization_id, endpoint_id, name, url),
        )
    except UniqueViolation:
        raise AlreadyExists(Noun.WEBHOOK, endpoint_id) from None


async def endpoints(
    conn: AsyncConnection[Any], organization_id: UUID
) -> list[tuple[str, str, str]]:
    """List the registered webhooks: id, name, URL."""
    cursor = await conn.execute(
        "select id, name, url from webhook_endpoints where organization_id = %s order by name, id",
        (organization_id,),
    )
    return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]


async def take_deliveries(
    conn: AsyncConnection[Any], *, now: datetime, lease: timedelta, most: int
) -> list[Delivery]:
    """Take notices that are due; they come again after `lease` unless their end is written."""
    cursor = await conn.execute(
        """
        with due as materialized (
            select organization_id, id from webhook_deliveries
             where next_attempt_at <= %(now)s
             order by next_attempt_at, id
             limit %(most)s
               for no key update skip locked)
        update webhook_deliveries d
           set next_attempt_at = %(until)s, attempt = d.attempt + 1
          from due
         where d.organization_id = due.organization_id and d.id = due.id
        returning d.organization_id, d.id, d.url, d.payload, d.attempt
        """,
        {"now": now, "until": now + lease, "most": most},
    )
    return [Delivery(*row) for row in await cursor.fetchall()]


async def delivered(conn: AsyncConnection[Any], delivery: Delivery, now: datetime) -> None:
    """Write that a notice arrived."""
    await conn.execute(
        "update webhook_deliveries set delivered_at = %s, next_attempt_at = null, reason = null"
        " where organization_id = %s and id = %s and next_attempt_at is not null",
        (now, delivery.organization_id, delivery.id),
    )


async def not_delivered(
    conn: AsyncConnection[Any],
    delivery: Delivery,
    reason: str,
    *,
    again_at: datetime | None,
    now: datetime,
) -> None:
    """Write that a try failed; `again_at` None was the last."""
    await conn.execute(
        "update webhook_deliveries set next_attempt_at = %s, reason = %s,"
        " failed_at = case when %s::timestamptz is null then %s::timestamptz end"
        " where organization_id = %s and id = %s and attempt = %s and delivered_at is null",
        (
            again_at,
            reason,
            again_at,
            now,
            delivery.organization_id,
            delivery.id,
            delivery.attempt,
        ),
    )

"""Who looks for what is due: a heartbeat of each host and kind of process; and what went wrong."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from clento_engine.store.literals import RUNNING

FORGOTTEN = timedelta(days=30)  # after that a host's heartbeat is deleted
LANES_EVERY = timedelta(minutes=10)  # lanes are held against their heads, by one ticker of all


@dataclass(frozen=True, slots=True)
class Ticker:
    """A host's tickers of one kind, by the last that was seen; `provider`: scheme, host, port.

    `pid`: 0 once it ended in order.
    """

    host: str
    kind: str
    pid: int
    version: str
    provider: str | None
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class FailingSweep:
    """A sender whose lists could not be read: since how many tries, why, and when it is next."""

    organization_id: UUID
    account_id: UUID
    name: str
    failures: int
    failed_at: datetime
    reason: str
    again_at: datetime | None


async def beat(conn: AsyncConnection[Any], ticker: Ticker) -> bool:
    """Write that a ticker lives; return whether it is the one to look at the lanes now."""
    of = {
        "host": ticker.host,
        "kind": ticker.kind,
        "pid": ticker.pid,
        "version": ticker.version,
        "provider": ticker.provider,
        "started_at": ticker.started_at,
        "now": ticker.seen_at,
        "forgotten": ticker.seen_at - FORGOTTEN,
        "checked": ticker.seen_at - LANES_EVERY,
    }
    async with conn.pipeline(), conn.transaction():  # in one flight: the row is of the host
        await conn.execute(
            """
            insert into tickers (host, kind, pid, version, provider, started_at, seen_at)
            values (%(host)s, %(kind)s, %(pid)s, %(version)s, %(provider)s, %(started_at)s,
                    %(now)s)
                on conflict (host, kind) do update
               set pid = excluded.pid, version = excluded.version, provider = excluded.provider,
                   started_at = excluded.started_at, seen_at = excluded.seen_at
            """,
            of,
        )
        await conn.execute("delete from tickers where seen_at < %(forgotten)s", of)
        cursor = await conn.execute(
            """
            update tickers set lanes_checked_at = %(now)s
             where host = %(host)s and kind = %(kind)s
               and not exists (select from tickers
                                where lanes_checked_at > %(checked)s
                                  and lanes_checked_at <= %(now)s)
            """,
            of,
        )
    return cursor.rowcount > 0


async def ended(conn: AsyncConnection[Any], ticker: Ticker) -> None:
    """Write that a ticker ended in order, unless another of its host and kind was seen since."""
    await conn.execute(
        "update tickers set pid = 0 where host = %s and kind = %s and pid = %s",
        (ticker.host, ticker.kind, ticker.pid),
    )


async def tickers(conn: AsyncConnection[Any]) -> list[Ticker]:
    """List who looked for what is due, the last one first."""
    async with conn.cursor(row_factory=class_row(Ticker)) as cursor:
        await cursor.execute(
            "select host, kind, pid, version, provider, started_at, seen_at from tickers"
            " order by seen_at desc, host, kind"
        )
        return await cursor.fetchall()


async def failing_sweeps(
    conn: AsyncConnection[Any],
    *,
    organization_id: UUID | None = None,
    since: datetime | None = None,
) -> list[FailingSweep]:
    """List the senders whose last sweep failed, of one organisation or all, by name."""
    async with conn.cursor(row_factory=class_row(FailingSweep)) as cursor:
        await cursor.execute(
            """
            select organization_id, id as account_id, name, sweep_failures as failures,
                   sweep_failed_at as failed_at, sweep_failure as reason,
                   next_sweep_at as again_at
              from connected_accounts
             where sweep_failures > 0 and removed_at is null
               and (%(organization_id)s::uuid is null or organization_id = %(organization_id)s)
               and (%(since)s::timestamptz is null or sweep_failed_at >= %(since)s)
             order by name, id
            """,
            {"organization_id": organization_id, "since": since},
        )
        return await cursor.fetchall()


async def is_anything_running(conn: AsyncConnection[Any], organization_id: UUID) -> bool:
    """Whether an organisation has a running campaign: then there should be a ticker."""
    cursor = await conn.execute(
        f"select exists (select from campaigns where organization_id = %s and status = {RUNNING})",
        (organization_id,),
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])

"""How the database knows that it is the one it was, and its quarantine when it is not.

The inside witness: one row that says of which server, database and tables it is.  A restore makes
the tables anew, a copy is another database or server, a promoted standby has another timeline.
While it is quarantined nothing is claimed, asked, swept or posted; what comes in is stored.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import (
    FeatureNotSupported,
    InsufficientPrivilege,
    InternalError_,
    ObjectNotInPrerequisiteState,
    UndefinedFunction,
)

from clento_engine.domain.restore import Cause, Gap, Stamp

# Read once by a statement.  The row's own table tells of itself: what a restore made anew is seen
# by every statement, before anybody has looked at the stamp.
IS_QUARANTINED = (
    "exists (select from database_stamp where quarantined_at is not null"
    " or table_oid <> tableoid::bigint)"
)

# Every claim holds it shared from its first lock to its commit, and takes nothing where it cannot;
# who writes a quarantine holds it alone.  So no claim that did not see it commits after it.
_QUARANTINE_LOCK = 5_020_015
MAY_CLAIM = f"(select pg_try_advisory_xact_lock_shared({_QUARANTINE_LOCK}))"

# What a host of others may keep to itself: then the rest is compared.
_UNTOLD = (
    InsufficientPrivilege,
    UndefinedFunction,
    FeatureNotSupported,
    ObjectNotInPrerequisiteState,
    InternalError_,
)

_SERVER = """
       (select system_identifier from pg_control_system()),
       ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
"""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Since when nothing is claimed from the database, and why."""

    at: datetime
    cause: Cause


@dataclass(frozen=True, slots=True)
class Stamped:
    """The stamp as it was written, None before the first ticker; and as it would be now.

    `id` is by what hosts remember the database.
    """

    id: UUID
    stamp: Stamp | None
    found: Stamp
    quarantine: Quarantine | None


async def read_stamp(conn: AsyncConnection[Any]) -> Stamped:
    """Read the stamp, and what it would be now."""
    try:
        row = await _read(conn, _SERVER)
    except _UNTOLD:
        row = await _read(conn, "null::bigint, null::int")
    if row is None:  # a hand deleted it
        await conn.execute(
            "insert into database_stamp (id) values (gen_random_uuid()) on conflict do nothing"
        )
        return await read_stamp(conn)
    id_, stamped_at, *values, quarantined_at, cause = row
    before, now = values[:4], values[4:]
    return Stamped(
        id_,
        None if stamped_at is None else Stamp(*before),
        Stamp(now[2], now[0], now[1], now[3]),
        None if quarantined_at is None else Quarantine(quarantined_at, Cause(cause)),
    )


async def _read(conn: AsyncConnection[Any], of_server: str) -> tuple[Any, ...] | None:
    async with conn.transaction():
        cursor = await conn.execute(
            "select id, stamped_at, system_identifier, database_oid, table_oid, timeline,"
            " (select oid::bigint from pg_database where datname = current_database()),"
            f" tableoid::bigint, {of_server}, quarantined_at, quarantine_cause"
            " from database_stamp"
        )
        return await cursor.fetchone()


async def write_stamp(conn: AsyncConnection[Any], stamp: Stamp) -> bool:
    """Stamp the database unless it is stamped; whether this did."""
    cursor = await conn.execute(
        "update database_stamp set system_identifier = %s, database_oid = %s, table_oid = %s,"
        " timeline = %s, stamped_at = now() where stamped_at is null",
        (stamp.system_identifier, stamp.database_oid, stamp.table_oid, stamp.timeline),
    )
    return cursor.rowcount > 0


async def stamp_new(conn: AsyncConnection[Any]) -> None:
    """Stamp the database unless it is stamped.

    Not by a migration: databases are copied from migrated ones.  By every command: a backup of one
    that has campaigns, and no ticker yet, shall be known for what it is.
    """
    stamped = await read_stamp(conn)
    if stamped.stamp is None:
        await write_stamp(conn, stamped.found)


async def quarantine(conn: AsyncConnection[Any], cause: Cause, now: datetime) -> bool:
    """Let nothing be claimed any more; whether this was the first to say so.

    Waits for the claims that are open.  Those that commit later have seen it, and took nothing.
    """
    async with conn.transaction():
        await lock_alone(conn)
        cursor = await conn.execute(
            "update database_stamp set quarantined_at = %s, quarantine_cause = %s"
            " where quarantined_at is null",
            (now, cause),
        )
        return cursor.rowcount > 0


async def lock_alone(conn: AsyncConnection[Any]) -> None:
    """Wait for the claims that are open, and let none begin, inside the caller's transaction."""
    await conn.execute(f"select pg_advisory_xact_lock({_QUARANTINE_LOCK})")


async def stamp_anew(conn: AsyncConnection[Any], *, lost_since: datetime, now: datetime) -> None:
    """Stamp the database as what it is now, under another id: what hosts remember is of the old.

    It is out of quarantine by this, and knows since when its ledger lacks what was done until now.
    """
    found = (await read_stamp(conn)).found
    await conn.execute(
        "update database_stamp set id = gen_random_uuid(), stamped_at = null,"
        " table_oid = null, database_oid = null, quarantined_at = null, quarantine_cause = null,"
        " lost_since = %s, restored_at = %s",
        (lost_since, now),
    )
    await write_stamp(conn, found)


async def gap(conn: AsyncConnection[Any]) -> Gap | None:
    """Return the time of which the ledger lacks what was done, since a restore; None: none."""
    cursor = await conn.execute(
        "select lost_since, restored_at from database_stamp where restored_at is not null"
    )
    row = await cursor.fetchone()
    return None if row is None else Gap(*row)

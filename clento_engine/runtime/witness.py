"""Whether the database is the one it was: what stands in it, held against what this host knows.

A backup that was restored, a copy, a standby that was promoted without the last commits: none of
them knows what was done since, and would do it again.  Whoever notices quarantines the database.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakKeyDictionary

from clento_engine.domain.report import Report
from clento_engine.domain.restore import Cause, difference
from clento_engine.runtime.world import World
from clento_engine.store.database import Conn, Database
from clento_engine.store.marks import is_there
from clento_engine.store.stamp import Stamped, quarantine, read_stamp, write_stamp

CHECKED_S = 1.0  # for how long a process believes what it read, of real time
REMEMBERED_S = 30.0  # until what the host remembers is looked for again


@dataclass(slots=True)
class _Look:
    """What a process saw: `id` of the database, when, and over how many connections."""

    id: UUID
    connections: int
    at: float
    mark_at: float


_looks: WeakKeyDictionary[Database, _Look] = WeakKeyDictionary()

log = logging.getLogger(__name__)


async def look_at_stamp(world: World) -> None:
    """Quarantine the database unless it is the one that it was; stamp it where nobody has.

    The stamp every second at most, what this host remembers every half minute; both behind every
    new connection: a restart, a restore and a failover make them all anew.
    """
    database, now = world.database, time.monotonic()
    connections = database.made
    last = _looks.get(database)
    is_new = last is None or last.connections != connections
    if last is not None and not is_new and now - last.at < CHECKED_S:
        return
    look = _Look(UUID(int=0), connections, now, 0.0 if last is None else last.mark_at)
    async with database.connection() as conn:
        stamped = await read_stamp(conn)
        look.id = stamped.id
        cause = await _stamp_cause(conn, stamped)
        if cause is None and (is_new or now - look.mark_at >= REMEMBERED_S):
            look.mark_at = now
            cause = await _mark_cause(conn, world, stamped.id)
        if cause is not None and stamped.quarantine is None:
            await quarantine_for(world, cause)
    _looks[database] = look


async def _stamp_cause(conn: Conn, stamped: Stamped) -> Cause | None:
    if stamped.stamp is None:
        if await write_stamp(conn, stamped.found):
            log.info("database stamped", extra={"database": str(stamped.id)})
        return None
    return difference(stamped.stamp, stamped.found)


async def _mark_cause(conn: Conn, world: World, database_id: UUID) -> Cause | None:
    if world.marks is None:
        return None
    mark = await asyncio.to_thread(world.marks.read, database_id)
    return None if mark is None or await is_there(conn, mark) else Cause.LEDGER


async def quarantine_for(world: World, cause: Cause) -> None:
    """Quarantine the database, and say so."""
    async with world.database.connection() as conn:
        is_first = await quarantine(conn, cause, world.clock())
    if is_first:
        log.error(
            "database quarantined: nothing is sent", extra={"cause": cause.value, "alert": True}
        )


async def remember(conn: Conn, world: World, reports: Sequence[Report]) -> None:
    """Let the host remember the last of the outcomes that were committed, every few seconds."""
    look = _looks.get(world.database)
    if world.marks is not None and look is not None:
        world.marks.committed(reports)
        await world.marks.keep(conn, look.id)


async def remember_last(world: World) -> None:
    """Let the host remember what it saw committed last: its process ends."""
    look = _looks.get(world.database)
    if world.marks is not None and look is not None:
        async with world.database.connection() as conn:
            await world.marks.keep(conn, look.id, at_once=True)

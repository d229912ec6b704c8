"""Whether the database is the one it was: what stands in it, held against what this host knows.

A backup that was restored, a copy, a standby that was promoted without the last commits: none of
them knows what was done since, and would do it again.  Whoever notices quarantines the database.
"""

import logging
import time
from weakref import WeakKeyDictionary

from clento_engine.domain.restore import Cause, difference
from clento_engine.runtime.world import World
from clento_engine.store.database import Database
from clento_engine.store.stamp import Stamped, quarantine, read_stamp, write_stamp

CHECKED_S = 1.0  # for how long a process believes what it read, of real time

_checked: WeakKeyDictionary[Database, tuple[float, int]] = WeakKeyDictionary()

log = logging.getLogger(__name__)


async def look_at_stamp(world: World) -> None:
    """Quarantine the database unless it is the one that was stamped; stamp it where nobody has.

    Every second at most, and behind every new connection: a failover makes them all anew.
    """
    database = world.database
    checked_at, connections = _checked.get(database, (0.0, -1))
    if database.made == connections and time.monotonic() - checked_at < CHECKED_S:
        return
    made = database.made
    async with database.connection() as conn:
        stamped = await read_stamp(conn)
        if stamped.stamp is None:
            if await write_stamp(conn, stamped.found):
                log.info("database stamped", extra={"database": str(stamped.id)})
        elif stamped.quarantine is None and (cause := difference(stamped.stamp, stamped.found)):
            await _quarantine(world, cause, stamped)
    _checked[database] = (time.monotonic(), made)


async def _quarantine(world: World, cause: Cause, stamped: Stamped) -> None:
    async with world.database.connection() as conn:
        if await quarantine(conn, cause, world.clock()):
            log.error(
                "database quarantined: nothing is sent",
                extra={"database": str(stamped.id), "cause": cause, "alert": True},
            )

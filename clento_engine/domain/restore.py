"""What a restored backup, or a standby that lost commits, no longer knows: how that is seen.

And how it is lived with: what nobody knows is taken to have happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum


class Cause(StrEnum):
    """Why a database is quarantined: it is not, or may not be, the one that it was."""

    SERVER = "server"  # another cluster: its system identifier
    DATABASE = "database"  # another database of the cluster
    TABLES = "tables"  # made anew, as a restore makes them
    TIMELINE = "timeline"  # a standby was promoted, or a backup recovered to a moment
    LEDGER = "ledger"  # it lacks an action that a host knows was committed
    WORDS = "words"  # it lacks a message that the provider shows, in the words of a node


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a database was written; None is what this server does not tell."""

    system_identifier: int | None
    database_oid: int
    table_oid: int
    timeline: int | None


_CAUSES: Mapping[str, Cause] = {
    "system_identifier": Cause.SERVER,
    "database_oid": Cause.DATABASE,
    "table_oid": Cause.TABLES,
    "timeline": Cause.TIMELINE,
}


def difference(stamped: Stamp, found: Stamp) -> Cause | None:
    """Return in what a database is another than it was stamped as, the widest first."""
    for each in fields(Stamp):
        before, now = getattr(stamped, each.name), getattr(found, each.name)
        if before is not None and now is not None and before != now:
            return _CAUSES[each.name]
    return None

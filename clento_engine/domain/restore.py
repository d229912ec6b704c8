"""What a restored backup, or a standby that lost commits, no longer knows: how that is seen.

And how it is lived with: what nobody knows is taken to have happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum

from clento_engine.domain.limits import (
    BUCKET,
    DAY,
    HOUR,
    MONTH,
    WEEK,
    Caps,
    Limit,
    Spacing,
    bucket_at,
)
from clento_engine.domain.operation import Budget


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


# Ours, no source gives a figure: by how much the provider's stamps may be off.
STAMPS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Gap:
    """From the backup to the restore: what was done in it is not in the ledger."""

    since: datetime
    until: datetime

    def holds(self, at: datetime) -> bool:
        """Whether what the provider stamps with `at` may have happened in it."""
        return self.since - STAMPS <= at <= self.until + STAMPS


def spent_at_most(limit: Limit, since: datetime, now: datetime) -> list[tuple[datetime, int]]:
    """Return the most that may have been spent from `since` to `now`, as (bucket, units).

    As late as caps and spacing allow, so that whatever was really spent, no window holds more:
    within any last stretch of the gap each cap once, and once more for every window that it has
    room for.
    """
    caps = limit.caps
    windows = [
        (most, window)
        for most, window in (
            (caps.hour, HOUR),
            (caps.day, DAY),
            (caps.week, WEEK),
            (caps.month, MONTH),
            (1, limit.spacing.shortest),
        )
        if most is not None and window
    ]
    if not windows:
        return []
    spent, buckets = 0, []
    start, first = bucket_at(now), bucket_at(max(since, now - MONTH - DAY))
    while start >= first:
        stretch = now - max(start, since)
        most = min(cap * (stretch // window + 1) for cap, window in windows)
        if most > spent:
            buckets.append((start, most - spent))
            spent = most
        start -= BUCKET
    return buckets


def narrower(one: Limit, other: Limit) -> Limit:
    """Return the limit of what is spent under both."""

    def least(first: int | None, second: int | None) -> int | None:
        return min((cap for cap in (first, second) if cap is not None), default=None)

    caps = Caps(
        least(one.caps.hour, other.caps.hour),
        least(one.caps.day, other.caps.day),
        least(one.caps.week, other.caps.week),
        least(one.caps.month, other.caps.month),
    )
    return Limit(caps, Spacing(max(one.spacing.shortest, other.spacing.shortest)))


# A unit of these is spent only together with one of the other.
SPENT_WITH: Mapping[Budget, Budget] = {Budget.NOTE: Budget.INVITATION}

"""The workspace's rest: while the provider cannot be asked at all, nobody asks it.

One row for the whole database, which is bound to one workspace: a ticker of cron forgets all it saw
each minute.  Claims, questions and sweeps read it; one free probe at its end closes or prolongs it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from clento_engine.domain.backoff import doubled
from clento_engine.domain.failure import SILENCES_IN_A_ROW

# Ours, no source gives a figure.  Doubled with every probe that fails, and with every rest that
# begins before a step has succeeded: an outage of an hour costs eleven of them.
FIRST_REST, LONGEST_REST = timedelta(seconds=10), timedelta(minutes=10)

# Read once by a statement: nothing is to be asked until the rest is closed, its end does not count.
IS_RESTING = "exists (select from installation where rest_until is not null)"


@dataclass(frozen=True, slots=True)
class Rest:
    """The rest that the workspace takes: `since`, probed at `until`; `failures` prolonged it."""

    since: datetime
    until: datetime
    failures: int
    reason: str


async def rest(conn: AsyncConnection[Any]) -> Rest | None:
    """Return the rest under way, if there is one."""
    cursor = await conn.execute(
        "select rest_since, rest_until, rest_failures, rest_reason from installation"
        " where rest_until is not null"
    )
    row = await cursor.fetchone()
    return None if row is None else Rest(*row)


async def note_silence(
    conn: AsyncConnection[Any], silences: int, reason: str, now: datetime
) -> Rest | None:
    """Count answers that were not the provider's; return the rest that this opened, if it did.

    What was under way when a rest was opened neither prolongs it nor opens another.
    """
    cursor = await conn.execute(
        "insert into installation as i (silences) values (%(silences)s)"
        " on conflict (is_only) do update"
        " set silences = least(i.silences + excluded.silences, %(most)s)"
        " where i.rest_until is null"
        " returning silences, rest_failures",
        {"silences": min(silences, SILENCES_IN_A_ROW), "most": SILENCES_IN_A_ROW},
    )
    row = await cursor.fetchone()
    if row is None or row[0] < SILENCES_IN_A_ROW:
        return None
    until = now + doubled(FIRST_REST, LONGEST_REST, row[1])
    await conn.execute(
        "update installation set silences = 0, rest_since = %s, rest_until = %s,"
        " rest_failures = least(rest_failures + 1, 1000), rest_reason = %s",
        (now, until, reason),
    )
    return Rest(now, until, row[1] + 1, reason)


async def take_probe(conn: AsyncConnection[Any], now: datetime) -> Rest | None:
    """Take the probe that is due, if nobody has it; the rest is prolonged unless it is closed.

    A process that dies over it costs the rest's next length, no more.
    """
    async with conn.transaction():
        cursor = await conn.execute(
            "select rest_since, rest_failures, rest_reason from installation"
            " where rest_until <= %s for no key update skip locked",
            (now,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        since, failures, reason = row
        until = now + doubled(FIRST_REST, LONGEST_REST, failures)
        await conn.execute(
            "update installation set rest_until = %s,"
            " rest_failures = least(rest_failures + 1, 1000)",
            (until,),
        )
    return Rest(since, until, failures + 1, reason)


async def probed(conn: AsyncConnection[Any], taken: Rest, reason: str | None) -> bool:
    """Close the rest whose probe was `taken`, or tell why it lasts; False: it was another's.

    Its failures stay until a step has succeeded (`wake_up`): a gateway may let the probe through
    and nothing else.
    """
    end = "rest_until = null, rest_since = null, rest_reason = null"
    cursor = await conn.execute(
        f"update installation set {end if reason is None else 'rest_reason = %(reason)s'}"
        " where rest_until = %(until)s",
        {"until": taken.until, "reason": reason},
    )
    return cursor.rowcount > 0


async def wake_up(conn: AsyncConnection[Any]) -> None:
    """Forget the silences: a step or a sweep has succeeded.

    Also while a rest lasts that began in the same moment: the next one is not longer for it.
    """
    await conn.execute(
        "update installation set silences = 0, rest_failures = 0"
        " where silences > 0 or rest_failures > 0"
    )

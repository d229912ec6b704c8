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
IS_RESTING = "exists (select from provider_rest where until is not null)"


def _free(where: str) -> str:
    """Return a query for the row, if nobody holds it.

    It is of all tickers: waited for, one process that stopped over it in a transaction would stop
    every other.  What is not written for it, the next answer tells.
    """
    return f"(select is_only from provider_rest where {where} for no key update skip locked) f"


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
        "select since, until, failures, reason from provider_rest where until is not null"
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
        f"update provider_rest r set silences = least(r.silences + %(silences)s, %(most)s)"
        f" from {_free('until is null')} where r.is_only = f.is_only"
        " returning r.silences, r.failures",
        {"silences": silences, "most": SILENCES_IN_A_ROW},
    )
    row = await cursor.fetchone()
    if row is None:
        await conn.execute(  # a hand deleted it
            "insert into provider_rest (is_only) select true"
            " where not exists (select from provider_rest) on conflict do nothing"
        )
        return None
    if row[0] < SILENCES_IN_A_ROW:
        return None
    until = now + doubled(FIRST_REST, LONGEST_REST, row[1])
    await conn.execute(
        "update provider_rest set silences = 0, since = %s, until = %s,"
        " failures = least(failures + 1, 1000), reason = %s",
        (now, until, reason),
    )
    return Rest(now, until, row[1] + 1, reason)


async def take_probe(conn: AsyncConnection[Any], now: datetime) -> Rest | None:
    """Take the probe that is due, if nobody has it; the rest is prolonged unless it is closed.

    A process that dies over it costs the rest's next length, no more.
    """
    async with conn.transaction():
        cursor = await conn.execute(
            "select since, failures, reason from provider_rest"
            " where until <= %s for no key update skip locked",
            (now,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        since, failures, reason = row
        until = now + doubled(FIRST_REST, LONGEST_REST, failures)
        await conn.execute(
            "update provider_rest set until = %s, failures = least(failures + 1, 1000)",
            (until,),
        )
    return Rest(since, until, failures + 1, reason)


async def mend_rest(conn: AsyncConnection[Any], now: datetime) -> bool:
    """Let a rest that no clock of now can have made be probed at once; whether there was one."""
    cursor = await conn.execute(
        f"update provider_rest r set since = least(r.since, %(now)s), until = %(now)s"
        f" from {_free('until > %(now)s + %(longest)s')} where r.is_only = f.is_only",
        {"now": now, "longest": LONGEST_REST},
    )
    return cursor.rowcount > 0


async def probed(conn: AsyncConnection[Any], taken: Rest, reason: str | None) -> bool:
    """Close the rest whose probe was `taken`, or tell why it lasts; False: it was another's.

    Its failures stay until a step has succeeded (`wake_up`): a gateway may let the probe through
    and nothing else.
    """
    end = "until = null, since = null, reason = null"
    cursor = await conn.execute(
        f"update provider_rest set {end if reason is None else 'reason = %(reason)s'}"
        " where until = %(until)s",
        {"until": taken.until, "reason": reason},
    )
    return cursor.rowcount > 0


async def wake_up(conn: AsyncConnection[Any]) -> None:
    """Forget the silences: a step or a sweep has succeeded.

    Also while a rest lasts that began in the same moment: the next one is not longer for it.
    """
    await conn.execute(
        "update provider_rest r set silences = 0, failures = 0"
        f" from {_free('silences > 0 or failures > 0')} where r.is_only = f.is_only"
    )

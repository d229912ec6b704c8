"""What is due, and when the next thing will be: one round trip, one index probe each."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from clento_engine.store.literals import OPEN
from clento_engine.store.stamp import IS_QUARANTINED


@dataclass(frozen=True, slots=True)
class Due:
    """The earliest moment of each kind of work; None where there is none.

    `inbox` says only whether something came in.  `rest`: when the workspace's rest is probed; what
    asks the provider is not due before, and is done only when the rest was closed.  While the
    database is quarantined nothing is due but what came in.
    """

    lanes: datetime | None
    doubtful: datetime | None
    inbox: bool
    outbox: datetime | None
    sweep: datetime | None
    rest: datetime | None = None

    def earliest(self, *, sweeps_wait: timedelta = timedelta(0)) -> datetime | None:
        """Return when the next work that has a time is due; sweeps, `sweeps_wait` after theirs."""
        sweep = None if self.sweep is None else self.sweep + sweeps_wait
        times = [at for at in (self.lanes, self.doubtful, self.outbox, sweep) if at is not None]
        return min(times, default=None)


_DUE = f"""
        select (select min(ready_at) from lanes where active and ready_at is not null),
               (select min(check_at) from actions where state in {OPEN}),
               exists (select 1 from inbox_events where applied_at is null),
               (select min(next_attempt_at) from webhook_deliveries
                 where next_attempt_at is not null),
               (select min(next_sweep_at) from connected_accounts),
               (select until from provider_rest), {IS_QUARANTINED}
"""


async def due(conn: AsyncConnection[Any]) -> Due:
    """Read what is due, over all organisations."""
    return await told(await ask(conn))


async def ask(conn: AsyncConnection[Any]) -> AsyncCursor[Any]:
    """Ask what is due, without waiting for the answer where there is a pipeline."""
    return await conn.execute(_DUE)


async def told(cursor: AsyncCursor[Any]) -> Due:
    """Read the answer to `ask`."""
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a query without a table gave no row")
    lanes, doubtful, inbox, outbox, sweep, rest, is_quarantined = row
    if is_quarantined:
        return Due(None, None, inbox, None, None)
    if rest is not None:
        lanes, doubtful, sweep = (at and max(at, rest) for at in (lanes, doubtful, sweep))
    return Due(lanes, doubtful, inbox, outbox, sweep, rest)

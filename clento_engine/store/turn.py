"""A ticker's turn: the outcomes of one batch and the claim of the next, in one transaction.

One commit a batch, and two flights to the server instead of five: the intents of the next batch
still precede its requests, and the outcomes of the last are as safe as in a transaction of their
own.  What the claim looks at is read after the outcomes were written, under its own locks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from clento_engine.store.claim import Wanted, ask, claim, take
from clento_engine.store.pick import Claimed
from clento_engine.store.settle import (
    Report,
    Settled,
    guess,
    lock,
    settle,
    settle_guessed,
    write_unchanged,
)
from clento_engine.store.workflows import load_workflows


async def turn(
    conn: AsyncConnection[Any],
    reports: Sequence[Report],
    wanted: Wanted | None,
    *,
    now: datetime,
    actor: str,
) -> tuple[Settled, list[Claimed]]:
    """Settle `reports`, then claim what is `wanted`; return what was done and what was taken.

    The outcomes that may change more than their own lead (refusals, troubles, what nobody knows)
    are settled first, in a transaction of their own.  Safe to run again, as `settle` is.
    """
    workflows = await load_workflows(
        conn,
        {
            (report.organization_id, report.basis.workflow_version_id)
            for report in reports
            if report.basis is not None
        },
    )
    guesses, others = guess(reports, workflows, now)
    done = await settle(conn, others, now=now, actor=actor)
    if not guesses:
        return done, [] if wanted is None else await claim(conn, wanted)
    claimed: list[Claimed] = []
    async with conn.pipeline(), conn.transaction():
        locking = await lock(conn, [each.report for each in guesses], now)
        written = await write_unchanged(conn, guesses, now=now, actor=actor)
        asked = None if wanted is None else await ask(conn, wanted)
        saved = {row[0] for row in await written.fetchall()}
        if wanted is not None and asked is not None:
            # The claim writes first: what is decided anew then wakes the lanes as it left them.
            changed = {each.report.lead_id for each in guesses} - saved
            claimed = await take(conn, wanted, asked, without=changed)
        settled = await settle_guessed(conn, guesses, saved, locking, now=now, actor=actor)
    done.applied += settled.applied
    done.stale += settled.stale
    done.finished += settled.finished
    done.outcomes += settled.outcomes
    return done, claimed

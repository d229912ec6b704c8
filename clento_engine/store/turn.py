"""A ticker's turn: the outcomes of one batch and the claim of the next, in one transaction.

One commit a batch, and two flights to the server instead of four: the intents of the next batch
still precede its requests, and the outcomes of the last are as safe as in a transaction of their
own.  What the claim looks at is read after the outcomes were written, under its own locks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from clento_engine.domain.report import Report
from clento_engine.store.claim import Claim, Wanted, ask, claim, take
from clento_engine.store.due import Due, told
from clento_engine.store.due import ask as ask_due
from clento_engine.store.guessed import NamesTaken, guess, settle_guessed, write_unchanged
from clento_engine.store.settle import Settled, settle


@dataclass(slots=True)
class Turned:
    """What a turn did.  `due`: what is due after it, asked for only where nothing was taken."""

    settled: Settled
    claim: Claim
    due: Due | None = None


async def turn(
    conn: AsyncConnection[Any],
    reports: Sequence[Report],
    wanted: Wanted | None,
    *,
    now: datetime,
    actor: str,
) -> Turned:
    """Settle `reports`, then claim what is `wanted`; return what was done and what was taken.

    The outcomes that may change more than their own lead (refusals, troubles, what nobody knows)
    are settled first, in a transaction of their own.  Safe to run again, as `settle` is.  Raises
    NamesTaken, with nothing done, where names of the reports are to be learned first.
    """
    guesses, others = guess(reports, now)
    if any(report.new_names for report in others):
        raise NamesTaken
    done = await settle(conn, others, now=now, actor=actor)
    if not guesses:
        return Turned(done, Claim([]) if wanted is None else await claim(conn, wanted))
    claimed = Claim([])
    asked_due = None
    async with conn.pipeline(), conn.transaction():
        written = await write_unchanged(conn, guesses, now=now, actor=actor)
        asked = None if wanted is None else await ask(conn, wanted)
        rows = await written.fetchall()
        ours: dict[int, bool] = {place: is_saved for place, is_saved, _ in rows}
        named = rows[0][2] if rows else 0
        if wanted is not None and asked is not None:
            # The claim writes first: what is decided anew then wakes the lanes as it left them.
            changed = {guesses[place].report.lead_id for place in ours if not ours[place]}
            claimed = await take(conn, wanted, asked, without=changed)
        settled = await settle_guessed(conn, guesses, ours, named, now=now, actor=actor)
        if wanted is not None and not claimed.taken:
            asked_due = await ask_due(conn)  # travels with the commit
    done.applied += settled.applied
    done.stale += settled.stale
    done.finished += settled.finished
    done.outcomes += settled.outcomes
    return Turned(done, claimed, None if asked_due is None else await told(asked_due))

"""A ticker's turn: the outcomes of one batch and the claim of the next, in one transaction.

One commit a batch, and two flights to the server instead of four: the intents of the next batch
still precede its requests, and the outcomes of the last are as safe as in a transaction of their
own.  What the claim looks at is read after the outcomes were written, under its own locks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.structs import replace
from psycopg import AsyncConnection

from clento_engine.domain.report import Report
from clento_engine.store.claim import Claim, Wanted, ask, claim, take
from clento_engine.store.due import Due, told
from clento_engine.store.due import ask as ask_due
from clento_engine.store.guessed import (
    Guess,
    NamesTaken,
    guess,
    settle_guessed,
    write_unchanged,
)
from clento_engine.store.people import learn
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
    are settled first, in a transaction of their own.  Safe to run again, as `settle` is.  Names
    that somebody has by now, or that come with what is settled first, are learned before.
    """
    guesses, others = guess(reports, now)
    await learn(conn, [r.shown for r in others if r.new_names and r.shown is not None], now)
    done = await settle(conn, others, now=now, actor=actor)
    if not guesses:
        return Turned(done, Claim([]) if wanted is None else await claim(conn, wanted))
    try:
        turned = await _turn_guessed(conn, guesses, wanted, now=now, actor=actor)
    except NamesTaken:
        shown = [each.report.shown for each in guesses if each.report.shown is not None]
        await learn(conn, shown, now)
        named = [replace(each, report=replace(each.report, new_names=())) for each in guesses]
        turned = await _turn_guessed(conn, named, wanted, now=now, actor=actor)
    done.applied += turned.settled.applied
    done.stale += turned.settled.stale
    done.finished += turned.settled.finished
    done.outcomes += turned.settled.outcomes
    turned.settled = done
    return turned


async def _turn_guessed(
    conn: AsyncConnection[Any],
    guesses: Sequence[Guess],
    wanted: Wanted | None,
    *,
    now: datetime,
    actor: str,
) -> Turned:
    """Write what was guessed, and claim, in one transaction.  Raises NamesTaken."""
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
    return Turned(settled, claimed, None if asked_due is None else await told(asked_due))

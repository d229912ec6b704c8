"""The sweep: by account, a few times a day, what no webhook told.

New relations (missed acceptances), new messages (missed replies), how many invitations are
pending, and whether an account that the provider had stopped works again.  Its times are random:
LinkedIn sees lists read, and the provider advises the first page only, a few times a day, never
at fixed hours; source: its limits guide, read 2026-02.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.failure import Fail, Failure, Means, Pause, Retry, Skip, Wait
from clento_engine.domain.limits import MOST_PENDING, PENDING_WARNED, Spacing, spacing_after
from clento_engine.domain.operation import Budget
from clento_engine.domain.person import Shown, slug_of
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.restore import STAMPS
from clento_engine.provider.port import Invitation, Message, Page, Relation
from clento_engine.runtime.asking import MayGoOn, always, looking
from clento_engine.runtime.binding import confirm
from clento_engine.runtime.errors import OutOfTime, WrongProvider
from clento_engine.runtime.guard import require_provider
from clento_engine.runtime.listen import hear
from clento_engine.runtime.names import learn_relations
from clento_engine.runtime.witness import look_at_stamp
from clento_engine.runtime.world import World, settled, surely
from clento_engine.store.accounts import pause_account
from clento_engine.store.budgets import give_back, reserve
from clento_engine.store.inbox import Walk, walks_with
from clento_engine.store.pending import Pending, count_on, counted, pending
from clento_engine.store.rests import note_silence, wake_up
from clento_engine.store.sweeps import (
    SweepRow,
    heard_again,
    sweep_failed,
    sweep_succeeded,
    swept,
    take_sweeps,
)

ROUND = Spacing(timedelta(hours=4), timedelta(hours=8))
# after lists could not be read: LinkedIn may have seen that they were asked for
LISTS_AGAIN = Spacing(timedelta(hours=3), timedelta(hours=5))
LEAST = LISTS_AGAIN.shortest  # between two readings of an account's lists, whatever happens
# after an account was found out of order: the provider answers that without asking LinkedIn
ACCOUNT_AGAIN = Spacing(timedelta(hours=1), timedelta(hours=2))
# after no connection came about: nobody has seen that anything was asked
NOT_SENT_AGAIN = Spacing(timedelta(minutes=3), timedelta(minutes=6))
COUNTED_AGAIN = timedelta(hours=20)  # the pending invitations: every LEAST once warned of
COUNTED_WITHIN = timedelta(hours=2)  # a count that takes longer begins anew
LEASE = timedelta(minutes=15)
AT_ONCE = 10
# Messages reach the provider's store late, after an outage or a reconnect by days: what is news is
# told by what was not seen yet, not by when it was written.
OVERLAP = timedelta(days=7)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _News:
    """What an account's lists say."""

    relations: Sequence[Relation]
    messages: Sequence[Message]


async def sweep(world: World, *, most: int = 50, may_go_on: MayGoOn = always) -> int:
    """Sweep every account that is due; return how many were taken.

    When `may_go_on` says no, none is taken any more, and those under way are given back before
    their next request: they are due at once.  One that cannot be swept keeps no other from it, and
    comes again when its lease is over.  Raises WrongProvider, as `guard.require_provider` does.
    """
    await require_provider(world)
    await look_at_stamp(world)
    refusals: list[WrongProvider] = []

    async def look() -> None:
        if not may_go_on():
            raise OutOfTime

    in_time = replace(world, provider=looking(world.provider, look))

    async def one(row: SweepRow) -> None:
        try:
            await _sweep(in_time, row)
        except OutOfTime:
            await _come_again(world, row, world.clock())
        except WrongProvider as error:
            refusals.append(error)
        except Exception as error:
            log.exception("sweep broke off", extra={"account_id": str(row.account_id)})
            async with world.database.connection() as conn:
                reason = f"it broke off: {type(error).__name__}"
                await sweep_failed(conn, row, reason, now=world.clock())

    taken = 0
    while taken < most and may_go_on():
        wanted = min(AT_ONCE, most - taken)
        async with world.database.connection() as conn:
            rows = await take_sweeps(conn, now=world.clock(), lease=LEASE, most=wanted)
        await asyncio.gather(*(one(row) for row in rows))
        if refusals:
            raise refusals[0]
        taken += len(rows)
        if len(rows) < wanted:
            break
    return taken


async def _sweep(world: World, row: SweepRow) -> None:
    now = world.clock()
    if row.own_provider_id is None or row.paused_by is PausedBy.PROVIDER:
        failure = await confirm(world, row.organization_id, row.account_id, row.unipile_account_id)
        if failure is not None:
            await _try_later(world, row, failure, ACCOUNT_AGAIN)
            return
    if row.hear_since is not None and (failure := await _hear_again(world, row, row.hear_since)):
        await _try_later(world, row, failure, NOT_SENT_AGAIN)
        return
    if row.messages_since is not None and now - row.messages_since < LEAST:
        # its lists were read lately: what is asked is the account, or the rest of a count
        async with world.database.connection() as conn:
            known = await pending(conn, row.organization_id, row.account_id)
        if known is None or not _is_count_due(known, now):
            await _done(world, row, row.messages_since, None)
            return
        if (taken_at := await _turn(world, row)) is not None:
            await _count(world, row, known, row.messages_since, taken_at)
        return
    if (taken_at := await _turn(world, row)) is None:
        return
    news = await _news(world, row, now)
    if not isinstance(news, _News):
        await _not_read(world, row, news, taken_at)
        return
    reports = await _acceptances(world, row, news.relations, now)
    # transactions of their own, in this order: a sweep that dies between is done again, harmlessly
    await settled(world, reports, world.clock(), "sweep")
    failure = await hear(world, row.organization_id, row.unipile_account_id, news.messages)
    if failure is not None:
        await _try_later(world, row, failure, LISTS_AGAIN)
        return
    await _done(world, row, now, now)


async def _hear_again(world: World, row: SweepRow, since: datetime) -> Failure | None:
    """Hear, before the account acts, what was written to it in the time that a restore lost.

    A read of the provider's own store, which LinkedIn does not see: it waits for no unit.
    """
    account = row.unipile_account_id
    messages = await world.provider.messages(account, after=since - STAMPS)
    if isinstance(messages, Retry | Wait | Skip | Fail | Pause):
        return messages
    failure = await hear(world, row.organization_id, account, messages, most_chats=None)
    if failure is None:
        async with world.database.connection() as conn:
            await heard_again(conn, row, world.clock())
    return failure


async def _turn(world: World, row: SweepRow) -> datetime | None:
    """Take a unit for one list; when it was taken, None while the account does something else."""
    now = world.clock()
    async with world.database.connection() as conn:
        turn_at = await reserve(conn, row.organization_id, row.account_id, Budget.LIST_READ, now)
    if turn_at is None:
        return now
    await _come_again(world, row, turn_at)
    return None


async def _not_read(world: World, row: SweepRow, failure: Failure, taken_at: datetime) -> None:
    """Write that a list could not be read, its unit given back if nobody saw that it was asked."""
    if isinstance(failure, Skip | Fail) and failure.means is Means.GONE:
        # or is it the account that is not there?
        who = row.organization_id, row.account_id, row.unipile_account_id
        failure = await confirm(world, *who) or failure
    if _not_sent(failure):
        async with world.database.connection() as conn:
            await give_back(conn, row.organization_id, row.account_id, Budget.LIST_READ, taken_at)
    await _try_later(world, row, failure, LISTS_AGAIN)


async def _count(
    world: World, row: SweepRow, known: Pending, lists_read_at: datetime, taken_at: datetime
) -> None:
    """Count one page of the pending invitations, no further than it matters."""
    who = row.organization_id, row.account_id
    is_begun = known.begun_at is not None and taken_at - known.begun_at < COUNTED_WITHIN
    cursor, so_far = (known.cursor, known.so_far) if is_begun else (None, 0)
    page: Page[Invitation] | Failure = await world.provider.sent_invitations(
        row.unipile_account_id, cursor=cursor
    )
    if (
        isinstance(page, Page)
        and page.cursor is not None
        and (page.cursor == cursor or not page.items)
    ):
        page = Retry("the list of pending invitations has no end")
    if isinstance(page, Retry | Wait | Skip | Fail | Pause):
        async with world.database.connection() as conn:  # the cursor may be what was refused
            await count_on(conn, *who, so_far=0, cursor=None, begun_at=None)
        await _not_read(world, row, page, taken_at)
        return
    so_far = min(so_far + len(page.items), MOST_PENDING)  # a page may hold any number
    is_whole = page.cursor is None or so_far >= MOST_PENDING
    async with world.database.connection() as conn:
        if is_whole:
            await counted(conn, *who, so_far, taken_at)
        else:
            begun_at = known.begun_at if is_begun else taken_at
            await count_on(conn, *who, so_far=so_far, cursor=page.cursor, begun_at=begun_at)
    if is_whole and so_far >= PENDING_WARNED:
        log.warning(
            "many invitations are pending",
            extra={"account_id": str(row.account_id), "pending": so_far, "alert": True},
        )
    await _done(world, row, lists_read_at, None)


def _is_count_due(known: Pending, now: datetime) -> bool:
    if known.begun_at is not None or known.counted is None or known.counted_at is None:
        return True
    gap = LEAST if known.counted >= PENDING_WARNED else COUNTED_AGAIN
    return now - known.counted_at >= gap


async def _news(world: World, row: SweepRow, now: datetime) -> _News | Failure:
    relations = await world.provider.relations(row.unipile_account_id)
    if isinstance(relations, Retry | Wait | Skip | Fail | Pause):
        return relations
    since = (row.messages_since or now) - OVERLAP
    messages = await world.provider.messages(row.unipile_account_id, after=since)
    if isinstance(messages, Retry | Wait | Skip | Fail | Pause):
        return messages
    return _News(relations, messages)


async def _acceptances(
    world: World, row: SweepRow, relations: Sequence[Relation], now: datetime
) -> list[Report]:
    shown = [
        Shown(row.organization_id, each.provider_id, slug_of(each.public_identifier))
        for each in relations
    ]
    await learn_relations(world, row.organization_id, shown)
    since = {relation.provider_id: min(relation.connected_at or now, now) for relation in relations}
    async with world.database.connection() as conn:
        walks = await walks_with(conn, row.organization_id, row.account_id, names=list(since))
    return [
        _report(
            walk,
            ex.Accepted(since[provider_id]),
            Learned(provider_id=provider_id, connected_at=since[provider_id]),
        )
        for provider_id, found in walks.items()
        for walk in found
        if not walk.connected
    ]


def _report(walk: Walk, event: ex.Event, learned: Learned) -> Report:
    return Report.of_news(
        walk.organization_id,
        walk.campaign_id,
        walk.lead_id,
        walk.account_id,
        None if walk.finished else event,
        learned,
    )


async def _done(
    world: World, row: SweepRow, read_at: datetime, messages_until: datetime | None
) -> None:
    """Write that the lists were read at `read_at`, and when they are again; a count goes first."""
    now = world.clock()
    async with world.database.transaction() as conn:
        await sweep_succeeded(conn, row)
        await wake_up(conn)
        known = await pending(conn, row.organization_id, row.account_id)
        is_to_count = known is not None and _is_count_due(known, now)
        next_at = now if is_to_count else read_at + _gap(row, ROUND, now)
        await swept(conn, row, next_at=next_at, messages_until=messages_until)


async def _come_again(world: World, row: SweepRow, at: datetime) -> None:
    """Leave everything as it is until the account may read a list."""
    async with world.database.connection() as conn:
        await swept(conn, row, next_at=at, messages_until=None)


async def _try_later(world: World, row: SweepRow, failure: Failure, again: Spacing) -> None:
    """Write why it failed, and try again: in minutes, where nobody has seen that it was tried."""
    log.warning("sweep failed", extra={"account": str(row.account_id), "reason": failure.reason})
    now = world.clock()
    silence = failure.silence if isinstance(failure, Retry) else 0
    gap = _gap(row, NOT_SENT_AGAIN if _not_sent(failure) else again, now)
    if isinstance(failure, Wait):
        gap = max(gap, failure.delay)

    async def once() -> None:
        async with world.database.transaction() as conn:
            if isinstance(failure, Pause):
                await pause_account(
                    conn,
                    row.organization_id,
                    row.account_id,
                    by=PausedBy.PROVIDER,
                    reason=failure.reason,
                    now=now,
                )
            else:  # a paused account is shown as such
                await sweep_failed(conn, row, failure.reason, now=now)
            await swept(conn, row, next_at=now + gap, messages_until=None)
            if silence:
                await note_silence(conn, silence, failure.reason, now)

    await surely(once)


def _not_sent(failure: Failure) -> bool:
    return isinstance(failure, Retry) and not failure.left


def _gap(row: SweepRow, spacing: Spacing, now: datetime) -> timedelta:
    return spacing_after(spacing, f"{row.unipile_account_id}/{now.isoformat()}")

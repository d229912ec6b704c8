"""The sweep: by account, a few times a day, what no webhook told.

New relations (missed acceptances), new messages (missed replies), and whether an account that the
provider had stopped works again.  Its times are random: LinkedIn sees lists read, and the
provider advises the first page only, a few times a day, never at fixed hours; source: its limits
guide, read 2026-02.
"""

import logging
from datetime import datetime, timedelta

from clento_engine.domain import execution as ex
from clento_engine.domain.failure import Fail, Pause, Retry, Skip, Wait
from clento_engine.domain.limits import fraction
from clento_engine.runtime.world import World, settled
from clento_engine.store.accounts import pause_account, resume_account
from clento_engine.store.inbox import walks_with
from clento_engine.store.settle import Learned, Report
from clento_engine.store.sweeps import SweepRow, swept, take_sweeps

SHORTEST, LONGEST = timedelta(hours=4), timedelta(hours=8)
AFTER_FAILURE = timedelta(hours=1)
LEASE = timedelta(minutes=15)
OVERLAP = timedelta(hours=1)  # messages that reached the provider's store late
FIRST_LOOK = timedelta(days=1)

log = logging.getLogger(__name__)


async def sweep(world: World, *, most: int = 50) -> int:
    """Sweep every account that is due; return how many were swept."""
    async with world.database.connection() as conn:
        rows = await take_sweeps(conn, now=world.clock(), lease=LEASE, most=most)
    for row in rows:
        await _sweep(world, row)
    return len(rows)


async def _sweep(world: World, row: SweepRow) -> None:
    now = world.clock()
    own = row.own_provider_id
    if own is None or row.paused_by == "provider":
        account = await world.provider.account(row.unipile_account_id)
        if isinstance(account, Retry | Wait | Skip | Fail | Pause):
            await _try_later(world, row, account, now)
            return
        own = account.provider_id
        if account.usable and row.paused_by == "provider":
            async with world.database.connection() as conn:
                await resume_account(
                    conn, row.organization_id, row.account_id, by="provider", now=now
                )
        elif not account.usable:
            await _try_later(world, row, Pause(account.status), now)
            return
    reports = await _relations(world, row, now)
    if isinstance(reports, Retry | Wait | Skip | Fail | Pause):
        await _try_later(world, row, reports, now)
        return
    replies = await _replies(world, row, now)
    if isinstance(replies, Retry | Wait | Skip | Fail | Pause):
        await _try_later(world, row, replies, now)
        return
    # two transactions, in this order: a sweep that dies between them is done again, harmlessly
    await settled(world, reports + replies, now, "sweep")
    gap = SHORTEST + (LONGEST - SHORTEST) * fraction(f"{row.unipile_account_id}/{now.isoformat()}")
    async with world.database.connection() as conn:
        await swept(conn, row, next_at=now + gap, messages_until=now, own_provider_id=own)


async def _relations(
    world: World, row: SweepRow, now: datetime
) -> list[Report] | Retry | Wait | Skip | Fail | Pause:
    relations = await world.provider.relations(row.unipile_account_id)
    if isinstance(relations, Retry | Wait | Skip | Fail | Pause):
        return relations
    since = {relation.provider_id: relation.connected_at for relation in relations}
    async with world.database.connection() as conn:
        walks = await walks_with(
            conn, row.organization_id, row.account_id, provider_ids=list(since)
        )
    return [
        Report(
            walk.organization_id,
            walk.campaign_id,
            walk.lead_id,
            walk.account_id,
            event=ex.Accepted(since[provider_id] or now),
            learned=Learned(provider_id=provider_id, connected_at=since[provider_id] or now),
        )
        for provider_id, found in walks.items()
        for walk in found
        if not walk.connected
    ]


async def _replies(
    world: World, row: SweepRow, now: datetime
) -> list[Report] | Retry | Wait | Skip | Fail | Pause:
    since = (row.messages_since or now - FIRST_LOOK) - OVERLAP
    messages = await world.provider.messages(row.unipile_account_id, after=since)
    if isinstance(messages, Retry | Wait | Skip | Fail | Pause):
        return messages
    replies = {
        message.sender_id: message
        for message in messages
        if not message.from_us and not message.is_event and message.sender_id is not None
    }
    async with world.database.connection() as conn:
        walks = await walks_with(
            conn, row.organization_id, row.account_id, provider_ids=list(replies)
        )
    return [
        Report(
            walk.organization_id,
            walk.campaign_id,
            walk.lead_id,
            walk.account_id,
            event=ex.Replied(),
            learned=Learned(
                chat_id=replies[provider_id].chat_id, replied_at=replies[provider_id].sent_at
            ),
        )
        for provider_id, found in walks.items()
        for walk in found
        if not walk.replied
    ]


async def _try_later(
    world: World, row: SweepRow, failure: Retry | Wait | Skip | Fail | Pause, now: datetime
) -> None:
    log.info("sweep failed", extra={"account": str(row.account_id), "reason": failure.reason})
    async with world.database.connection() as conn:
        if isinstance(failure, Pause):
            await pause_account(
                conn,
                row.organization_id,
                row.account_id,
                by="provider",
                reason=failure.reason,
                now=now,
            )
        await swept(
            conn, row, next_at=now + AFTER_FAILURE, messages_until=None, own_provider_id=None
        )

"""Webhooks of the provider: stored as they come, turned into events by the ticker."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.authorship import Author, author, may_echo
from clento_engine.domain.notice import Notice
from clento_engine.domain.opt_out import is_opt_out
from clento_engine.domain.person import Shown
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.restore import Cause
from clento_engine.domain.suppression import Kind
from clento_engine.provider.webhooks import (
    NewRelation,
    OwnMessage,
    StatusChange,
    TheirMessage,
    account_in,
    delivery_key,
    is_of_read,
    read_webhook,
    recipient,
)
from clento_engine.runtime.asking import MayGoOn, always
from clento_engine.runtime.names import learn_shown
from clento_engine.runtime.witness import quarantine_for
from clento_engine.runtime.world import World, surely
from clento_engine.store.accounts import pause_account
from clento_engine.store.database import Conn, Lost
from clento_engine.store.errors import DatabaseUnavailable
from clento_engine.store.inbox import (
    NOBODY_KNOWN,
    InboxRow,
    Walk,
    account_of,
    lock_webhooks,
    mark_applied,
    put_off,
    route_webhook,
    walks_with,
    written_to,
)
from clento_engine.store.members import young_store
from clento_engine.store.opt_outs import opt_out_phrases
from clento_engine.store.outbox import News, tell
from clento_engine.store.people import known_of
from clento_engine.store.settle import apply
from clento_engine.store.stamp import gap
from clento_engine.store.suppressions import suppress
from clento_engine.store.sweeps import sweep_by
from clento_engine.store.words import is_of_a_node

PAUSING = frozenset({"CREDENTIALS", "ERROR", "STOPPED", "PERMISSIONS", "DELETED"})
RESUMING = frozenset({"OK", "RECONNECTED", "CREATION_SUCCESS", "SYNC_SUCCESS"})
BATCH = 200
MOST_LEVELS = 32  # of a payload's arrays and objects; a message has four
# A paused account is asked about that soon, in case the webhook of its recovery is lost.
ASK_AGAIN = timedelta(hours=1)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # neither PostgreSQL nor UTF-8 has these

log = logging.getLogger(__name__)


WAITS = (timedelta(minutes=1), timedelta(minutes=10))  # for who wrote a message to be clear


async def receive(world: World, payload: Mapping[str, object]) -> bool | None:
    """Store a webhook before it is answered; False when it came before.

    It is stored for the organisation that has the account it tells of.  None when none has it:
    then it is counted.  Raises ValueError when nobody can have sent this.
    """
    now = world.clock()
    kept = {_storable(key): _storable(value) for key, value in payload.items()}
    key = delivery_key(kept, now)
    async with world.database.connection() as conn:
        return await route_webhook(
            conn, account_in(kept), key, kept, now, recipient=recipient(kept)
        )


def _storable(value: Any, levels: int = MOST_LEVELS) -> Any:  # noqa: ANN401  JSON
    """Return the value without what JSON can hold and PostgreSQL cannot.  Raises ValueError."""
    if not levels:
        raise ValueError("nested too deeply")
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {_storable(key): _storable(inner, levels - 1) for key, inner in value.items()}
        case list():
            return [_storable(inner, levels - 1) for inner in value]
        case _:
            return value


async def apply_inbox(world: World, *, may_go_on: MayGoOn = always) -> int:
    """Turn what came in into events, while `may_go_on`; return how many webhooks were applied.

    One that cannot be applied is marked with the reason, and keeps no other from it.
    """
    applied = 0
    while may_go_on() and (some := await _apply_some(world)):
        applied += some
        if some < BATCH:  # there are no more, or the next round finds them
            break
    return applied


async def _apply_some(world: World) -> int:
    try:
        return await surely(lambda: _apply_batch(world))
    except DatabaseUnavailable:
        raise
    except Exception:
        log.warning("a batch of webhooks failed: each is applied by itself", exc_info=True)
    applied = after = 0
    for _ in range(BATCH):
        one = await _apply_one(world, after)
        if one is None:
            break
        after, is_applied = one
        applied += is_applied
    return applied


async def _apply_batch(world: World, *, is_learned: bool = False) -> int:
    # one transaction with the marks: an event is applied once, or comes again
    async with world.database.transaction() as conn:
        rows = await lock_webhooks(conn, most=BATCH, now=world.clock())
        # Read once they are locked: what was begun before anybody could see them is begun before
        # the walk ends, however long the way here took.
        is_applied = is_learned or not (shown := await _unlearned(conn, rows))
        lacks = is_applied and await apply_rows(conn, rows, world.clock())
    if lacks:
        await quarantine_for(world, Cause.WORDS)
    if is_applied:
        return len(rows)
    # before any walk hears of it, and not in a transaction that locks in another order
    await learn_shown(world, shown)
    return await _apply_batch(world, is_learned=True)


async def _unlearned(conn: Conn, rows: Sequence[InboxRow]) -> list[Shown]:
    """Return the names of people of ours that new relations show and nobody has learned."""
    shown = defaultdict(list)
    for row in rows:
        relation = read_webhook(row.payload, row.received_at)
        if isinstance(relation, NewRelation) and relation.provider_id is not None:
            names = relation.provider_id, relation.public_identifier
            each = Shown(row.organization_id, *names)
            shown[row.organization_id].append(each)
    return [
        each
        for organization_id, relations in shown.items()
        for each in await known_of(conn, organization_id, relations)
    ]


async def apply_rows(
    conn: Conn, rows: Sequence[InboxRow], now: datetime, *, sending: UUID | None = None
) -> bool:
    """Turn webhooks that are locked into events, and mark them, in the caller's transaction.

    `sending`: the token of a step that waits for this, so that nothing was sent by it.  Returns
    whether they show that the ledger lacks what was sent: then the caller, once this is committed,
    lets nothing more be sent (`witness.quarantine_for`).
    """
    if not rows:
        return False
    heard = await _apply(conn, rows, now, sending)
    undecided = heard.strangers | heard.unclear
    if applied := [row for row in rows if row.id not in undecided]:
        await mark_applied(conn, applied, now)
    if strangers := [row for row in rows if row.id in heard.strangers]:
        await mark_applied(conn, strangers, now, result=NOBODY_KNOWN)
    for row in rows:
        if row.id in heard.unclear:
            shortest, longest = WAITS
            await put_off(conn, row, now + min(max(now - row.received_at, shortest), longest))
    return heard.lacks


async def _apply_one(world: World, after: int) -> tuple[int, bool] | None:
    """Apply the first webhook above the id `after`; return its id and whether it is done with."""
    async with world.database.transaction() as conn:
        rows = await lock_webhooks(conn, most=1, now=world.clock(), after=after)
        if not rows:
            return None
        now, row = world.clock(), rows[0]
        told = {"organization_id": str(row.organization_id), "webhook": row.id}
        try:
            async with conn.transaction():  # undone alone: the lock is kept, for the mark
                lacks = await apply_rows(conn, rows, now)
        except Lost:  # or only a lock or a time limit, which say nothing about the webhook
            if conn.broken:
                raise
            log.warning("webhook not applied: its turn comes again", extra=told, exc_info=True)
            return row.id, False
        except Exception as error:
            log.exception("webhook cannot be applied", extra={**told, "alert": True})
            await mark_applied(conn, rows, now, result=f"failed: {type(error).__name__}")
            lacks = False
    if lacks:
        await quarantine_for(world, Cause.WORDS)
    return row.id, True


@dataclass(slots=True)
class _Heard:
    """What a batch of webhooks comes to.

    `strangers` are the ids of messages whose writer nobody is known to be, `unclear` those of ours
    of which nobody can tell yet whether the owner wrote them.  `news`: what endpoints may be told.
    `lacks`: a message is in a node's words, and not in the ledger.
    """

    reports: list[tuple[bool, Report]] = field(default_factory=list)  # whether a read showed it
    strangers: set[int] = field(default_factory=set)
    unclear: set[int] = field(default_factory=set)
    opted_out: dict[tuple[UUID, str], None] = field(default_factory=dict)  # in order
    news: list[News] = field(default_factory=list)
    lacks: bool = False


async def _apply(
    conn: Conn, rows: Sequence[InboxRow], now: datetime, sending: UUID | None
) -> _Heard:
    """Turn webhooks into events."""
    heard = _Heard()
    events = set()
    statuses: list[tuple[InboxRow, StatusChange]] = []
    for row in rows:
        incoming = read_webhook(row.payload, row.received_at)
        if incoming is None:
            continue
        if isinstance(incoming, StatusChange):
            statuses.append((row, incoming))
            continue
        found = await _reports(conn, row, incoming, heard, sending)
        if not found and isinstance(incoming, TheirMessage) and incoming.sender is not None:
            heard.strangers.add(row.id)
        for report in found:
            told = (report.campaign_id, report.lead_id, type(report.event))
            # an acceptance is told by the relation and by the note's echo: it is one event
            known = replace(report, event=None) if told in events else report
            heard.reports.append((is_of_read(row.payload), known))
            events.add(told)
    outcomes: dict[tuple[UUID, UUID], ex.Outcome | None] = {}
    for was_read in (False, True):
        reports = [report for is_read, report in heard.reports if is_read is was_read]
        settled = await apply(conn, reports, now=now, actor="sweep" if was_read else "inbox")
        outcomes |= {
            (run.campaign_id, run.lead_id): run.outcome
            for run in (decision.execution for decision in settled.outcomes)
        }
    for organization_id, name in heard.opted_out:
        reason = "asked to be left alone"
        kind = Kind.PERSON.value
        await suppress(conn, organization_id, kind, name, reason, now, actor="inbox")
    news = [
        each
        for each in heard.news
        if each.notice is not Notice.TAKEN_OVER  # unless the campaign goes on beside its owner
        or outcomes.get((each.campaign_id, each.lead_id)) is ex.Outcome.TAKEN_OVER
    ]
    await tell(conn, news, now)
    for row, status in statuses:  # after the leads: their locks come before the accounts'
        await _account_status(conn, row, status, now)
    return heard


async def _reports(
    conn: Conn,
    row: InboxRow,
    incoming: NewRelation | TheirMessage | OwnMessage,
    heard: _Heard,
    sending: UUID | None,
) -> list[Report]:
    """Hear one webhook; what it says of unknown people or accounts is passed over."""
    account_id = await account_of(conn, row.organization_id, incoming.account)
    if account_id is None:
        return []
    match incoming:
        case NewRelation():
            return await _accepted(conn, row, account_id, incoming)
        case OwnMessage():
            return await _own_message(conn, row, account_id, incoming, heard, sending)
        case TheirMessage():
            return await _message(conn, row, account_id, incoming, heard)


async def _account_status(conn: Conn, row: InboxRow, change: StatusChange, now: datetime) -> None:
    account_id = await account_of(conn, row.organization_id, change.account)
    if account_id is None:
        return
    if change.status in PAUSING:
        await pause_account(
            conn,
            row.organization_id,
            account_id,
            by=PausedBy.PROVIDER,
            reason=change.status,
            now=now,
        )
        await sweep_by(conn, row.organization_id, account_id, now + ASK_AGAIN)
    elif change.status in RESUMING:
        # believed by the next sweep, which asks the provider: this message may be an old one
        await sweep_by(conn, row.organization_id, account_id, now)
        # whatever happened to the account, its chats may be read anew now
        await young_store(conn, row.organization_id, account_id, now)


async def _accepted(
    conn: Conn, row: InboxRow, account_id: UUID, relation: NewRelation
) -> list[Report]:
    found = await walks_with(
        conn,
        row.organization_id,
        account_id,
        names=[*_known(relation.provider_id), *_known(relation.public_identifier)],
    )
    at = row.received_at  # the webhook itself carries no time
    return [
        _report(
            walk,
            None if walk.finished else ex.Accepted(at),
            Learned(provider_id=relation.provider_id, connected_at=at),
        )
        for walk in _each(found)
        if not walk.connected
    ]


async def _message(
    conn: Conn, row: InboxRow, account_id: UUID, message: TheirMessage, heard: _Heard
) -> list[Report]:
    """Read what a person wrote: a reply, and perhaps the wish to be left alone for good."""
    sender, at = message.sender, message.sent_at
    found = await walks_with(conn, row.organization_id, account_id, names=_known(sender))
    if answered := [walk for walk in _each(found) if walk.is_answered(at)]:
        heard.news.append(_news(row, Notice.REPLIED, answered, message))
    # also of somebody not known yet: a visit's answer may be under way, or lost, and what they
    # wrote is not read again
    if sender is not None and await _opts_out(conn, row, message):
        names = dict.fromkeys([sender, *(walk.identity for walk in _each(found))])
        heard.opted_out.update(dict.fromkeys((row.organization_id, name) for name in names))
        if found:
            heard.news.append(_news(row, Notice.OPTED_OUT, _each(found), message))
    learned = Learned(chat_id=message.chat_id, replied_at=at)
    return [
        _report(walk, ex.Replied() if walk.is_news(at) else None, learned) for walk in _each(found)
    ]


async def _own_message(
    conn: Conn,
    row: InboxRow,
    account_id: UUID,
    message: OwnMessage,
    heard: _Heard,
    sending: UUID | None,
) -> list[Report]:
    """Read a message of the account: the echo of a note, a step's own, or the owner's by hand."""
    people, at = message.people, message.sent_at
    walks = _each(await walks_with(conn, row.organization_id, account_id, names=people))
    running = [walk for walk in walks if walk.is_under_way(at)]
    is_owners = False
    if message.may_be_by_hand and any(not walk.finished for walk in walks):
        leads = [walk.lead_id for walk in walks]
        ledger = await written_to(conn, row.organization_id, leads, but=sending)
        if may_echo(ledger) and not message.is_inmail:
            running = [walk for walk in running if walk.connected]
        whose = author(message.ids, message.text_digest, at, ledger)
        if whose is Author.OWNER and await _is_lost(conn, row, message, walks, heard):
            whose = Author.ENGINE
        if is_owners := bool(running) and whose is Author.OWNER:
            heard.news += [_news(row, Notice.TAKEN_OVER, [walk], message) for walk in running]
        if running and whose is Author.UNCLEAR:
            heard.unclear.add(row.id)
    reports = []
    for walk in walks:
        learned = Learned(chat_id=message.chat_id)
        # InMails prove no acceptance, nor does a message that was read among old ones
        accepts = not message.is_inmail and not walk.connected and not message.was_read
        if accepts:
            accepted = ex.Accepted(at)
            event = None if walk.finished else accepted
            reports.append(_report(walk, event, replace(learned, connected_at=at)))
        if is_owners and walk in running:
            reports.append(_report(walk, ex.OwnerWrote(), learned))
        elif not accepts:
            reports.append(_report(walk, None, learned))
    return reports


async def _is_lost(
    conn: Conn, row: InboxRow, message: OwnMessage, walks: Sequence[Walk], heard: _Heard
) -> bool:
    """Whether a message that the ledger lacks may be, or is, the engine's own.

    One from before a restore may; one in the words of a node is, and this database is not the one
    that knows of it.
    """
    lost = await gap(conn)
    if lost is not None and lost.holds(message.sent_at):
        return True
    if await is_of_a_node(conn, row.organization_id, walks, message.text_digest):
        heard.lacks = True
        return True
    return False


def _news(
    row: InboxRow, notice: Notice, walks: Sequence[Walk], message: TheirMessage | OwnMessage
) -> News:
    """Make the notice of a message: one, though several walks of the person may hear it.

    It names the one under way that began last.
    """
    walk = max(walks, key=lambda each: (not each.finished, each.started_at or row.received_at))
    key = (
        f"{walk.campaign_id}/{walk.lead_id}"  # a walk is taken over once …
        if isinstance(message, OwnMessage)
        # … and each message told of once, though a store that was filled anew names it otherwise
        else f"{walk.account_id}/{message.sender}/{message.sent_at.isoformat()}"
    )
    return News(
        row.organization_id,
        notice,
        key,
        walk.campaign_id,
        walk.lead_id,
        walk.account_id,
        message.message_id,
        message.sent_at,
    )


async def _opts_out(conn: Conn, row: InboxRow, message: TheirMessage) -> bool:
    """Whether a message asks to be left alone for good."""
    if message.was_read:
        return message.is_opt_out
    if message.text is None:
        return False
    return is_opt_out(message.text, await opt_out_phrases(conn, row.organization_id))


def _each(found: Mapping[str, list[Walk]]) -> list[Walk]:
    """Return every walk once, by however many names its lead was found."""
    return list(
        {(walk.campaign_id, walk.lead_id): walk for of in found.values() for walk in of}.values()
    )


def _report(walk: Walk, event: ex.Event | None, learned: Learned) -> Report:
    return Report.of_news(
        walk.organization_id, walk.campaign_id, walk.lead_id, walk.account_id, event, learned
    )


def _known(value: str | None) -> list[str]:
    return [] if value is None else [value]

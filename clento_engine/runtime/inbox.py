"""Webhooks of the provider: stored as they come, turned into events by the ticker."""

import hashlib
import json
import logging
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.authorship import Author, Written, author, digest, may_echo
from clento_engine.domain.lead import Identity, identity
from clento_engine.domain.notice import Notice
from clento_engine.domain.opt_out import is_opt_out
from clento_engine.domain.outside import is_id
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.suppression import Kind
from clento_engine.provider.port import Message
from clento_engine.runtime.asking import MayGoOn, always
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
from clento_engine.store.settle import apply
from clento_engine.store.suppressions import suppress
from clento_engine.store.sweeps import sweep_by

PAUSING = frozenset({"CREDENTIALS", "ERROR", "STOPPED", "PERMISSIONS", "DELETED"})
RESUMING = frozenset({"OK", "RECONNECTED", "CREATION_SUCCESS", "SYNC_SUCCESS"})
BATCH = 200
LONGEST_KEY = 400
MOST_LEVELS = 32  # of a payload's arrays and objects; a message has four
# A paused account is asked about that soon, in case the webhook of its recovery is lost.
ASK_AGAIN = timedelta(hours=1)
OLDEST = timedelta(days=366)  # a message from before, or from the future, has no time at all

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # neither PostgreSQL nor UTF-8 has these

Json = dict[str, Any]

log = logging.getLogger(__name__)


READ = "was_read"  # of a payload: what no webhook told, and a read of the store showed
OWN_KINDS = ("MESSAGE", "INMAIL", "INMAIL_REPLY", None)  # that an owner writes by hand
WAITS = (timedelta(minutes=1), timedelta(minutes=10))  # for who wrote a message to be clear


def message_key(account: str, message: Message) -> str:
    """Return the key of the webhook that should have told of a message."""
    return _key(
        {"event": "message_received", "account_id": account, "message_id": message.id},
        message.sent_at,
    )


def of_message(
    account: str, message: Message, phrases: Collection[str], *, person: str | None = None
) -> Json:
    """Return the payload of the webhook that should have told of a message that was read.

    `person`: the other one in its chat, where that is known.  What was written is left out: what
    matters is whether it asks to be left alone and, of ours, whether it is the engine's.
    """
    payload: Json = {
        "event": "message_received",
        READ: True,
        "account_id": account,
        "chat_id": message.chat_id,
        "message_id": message.id,
        "timestamp": message.sent_at.isoformat(),
        "is_sender": message.from_us,
        "message_type": message.kind,
        "sender": {
            "attendee_provider_id": message.sender_id
            if message.from_us
            else person or message.sender_id
        },
    }
    if message.from_us:
        payload["attendees"] = [{"attendee_provider_id": person}]
        payload["text_digest"] = digest(message.text)
    elif is_opt_out(message.text, phrases):
        payload["is_opt_out"] = True
    return payload


async def receive(world: World, payload: Mapping[str, Any]) -> bool | None:
    """Store a webhook before it is answered; False when it came before.

    It is stored for the organisation that has the account it tells of.  None when none has it:
    then it is counted.  Raises ValueError when nobody can have sent this.
    """
    now = world.clock()
    kept = {_storable(key): _storable(value) for key, value in payload.items()}
    key = _key(kept, now)
    async with world.database.connection() as conn:
        return await route_webhook(
            conn, account_in(kept), key, kept, now, recipient=recipient(kept)
        )


def account_in(payload: Mapping[str, Any]) -> str:
    """Return Unipile's id of the account that a webhook tells of; empty when it names none."""
    account = _mapping(payload.get("AccountStatus")).get("account_id", payload.get("account_id"))
    return _id(account) or ""


def recipient(payload: Mapping[str, Any]) -> str | None:
    """Return to whom alone the account wrote, where its owner may have done so by hand."""
    if (
        payload.get("event") != "message_received"
        or payload.get("message_type") not in OWN_KINDS
        or _is_of_nobody(payload)
        or not _is_ours(payload)
    ):
        return None
    others = set(_attendees(payload)) - {_own(payload), _sender(payload) or ""}
    return others.pop() if len(others) == 1 else None


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


def _key(payload: Mapping[str, Any], now: datetime) -> str:
    """Return what makes two deliveries the same; source: Unipile's guide, section 4 of our sheet.

    A relation is reported once per account and person, a message by its id, a status by the
    minute in which it came: it carries neither id nor time.
    """
    status = payload.get("AccountStatus")
    kind, account = payload.get("event"), payload.get("account_id")
    person = payload.get("user_provider_id") or payload.get("user_public_identifier")
    message = payload.get("message_id")
    if isinstance(status, Mapping):
        minute = now.strftime("%Y-%m-%dT%H:%M")
        key = f"status/{status.get('account_id')}/{status.get('message')}/{minute}"
    elif kind == "new_relation" and person:
        key = f"relation/{account}/{person}"
    elif kind != "new_relation" and message:
        key = f"{kind}/{account}/{message}"
    else:
        key = f"other/{_digest(json.dumps(payload, sort_keys=True))}"
    return key if len(key) <= LONGEST_KEY else f"long/{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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


async def _apply_batch(world: World) -> int:
    # one transaction with the marks: an event is applied once, or comes again
    async with world.database.transaction() as conn:
        rows = await lock_webhooks(conn, most=BATCH, now=world.clock())
        # Read once they are locked: what was begun before anybody could see them is begun before
        # the walk ends, however long the way here took.
        await apply_rows(conn, rows, world.clock())
    return len(rows)


async def apply_rows(
    conn: Conn, rows: Sequence[InboxRow], now: datetime, *, sending: UUID | None = None
) -> None:
    """Turn webhooks that are locked into events, and mark them, in the caller's transaction.

    `sending`: the token of a step that waits for this, so that nothing was sent by it.
    """
    if not rows:
        return
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
                await apply_rows(conn, rows, now)
        except Lost:  # or only a lock or a time limit, which say nothing about the webhook
            if conn.broken:
                raise
            log.warning("webhook not applied: its turn comes again", extra=told, exc_info=True)
            return row.id, False
        except Exception as error:
            log.exception("webhook cannot be applied", extra={**told, "alert": True})
            await mark_applied(conn, rows, now, result=f"failed: {type(error).__name__}")
    return row.id, True


@dataclass(slots=True)
class _Heard:
    """What a batch of webhooks comes to.

    `strangers` are the ids of messages whose writer nobody is known to be, `unclear` those of ours
    of which nobody can tell yet whether the owner wrote them.  `news`: what endpoints may be told.
    """

    reports: list[tuple[bool, Report]] = field(default_factory=list)  # whether a read showed it
    strangers: set[int] = field(default_factory=set)
    unclear: set[int] = field(default_factory=set)
    opted_out: dict[tuple[UUID, str], None] = field(default_factory=dict)  # in order
    news: list[News] = field(default_factory=list)


async def _apply(
    conn: Conn, rows: Sequence[InboxRow], now: datetime, sending: UUID | None
) -> _Heard:
    """Turn webhooks into events."""
    heard = _Heard()
    events = set()
    statuses: list[tuple[InboxRow, Mapping[str, Any]]] = []
    for row in rows:
        status = row.payload.get("AccountStatus")
        if isinstance(status, Mapping):
            statuses.append((row, status))
            continue
        found = await _reports(conn, row, heard, sending)
        if not found and _is_theirs(row.payload):
            heard.strangers.add(row.id)
        for report in found:
            told = (report.campaign_id, report.lead_id, type(report.event))
            # an acceptance is told by the relation and by the note's echo: it is one event
            known = replace(report, event=None) if told in events else report
            heard.reports.append((row.payload.get(READ) is True, known))
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


async def _reports(conn: Conn, row: InboxRow, heard: _Heard, sending: UUID | None) -> list[Report]:
    """Read one webhook; what it says of unknown people, accounts or kinds is passed over."""
    payload = row.payload
    account_id = await account_of(conn, row.organization_id, str(payload.get("account_id")))
    if account_id is None:
        return []
    match payload.get("event"):
        case "new_relation":
            return await _accepted(conn, row, account_id, payload)
        case "message_received" if _is_of_nobody(payload):
            return []
        case "message_received" if _is_ours(payload):
            return await _own_message(conn, row, account_id, heard, sending)
        case "message_received":
            return await _message(conn, row, account_id, heard)
        case _:
            return []


async def _account_status(
    conn: Conn, row: InboxRow, status: Mapping[str, Any], now: datetime
) -> None:
    account_id = await account_of(conn, row.organization_id, str(status.get("account_id")))
    message = str(status.get("message")).upper()
    if account_id is None:
        return
    if message in PAUSING:
        await pause_account(
            conn, row.organization_id, account_id, by=PausedBy.PROVIDER, reason=message, now=now
        )
        await sweep_by(conn, row.organization_id, account_id, now + ASK_AGAIN)
    elif message in RESUMING:
        # believed by the next sweep, which asks the provider: this message may be an old one
        await sweep_by(conn, row.organization_id, account_id, now)
        # whatever happened to the account, its chats may be read anew now
        await young_store(conn, row.organization_id, account_id, now)


async def _accepted(
    conn: Conn, row: InboxRow, account_id: UUID, payload: Mapping[str, Any]
) -> list[Report]:
    provider_id = _id(payload.get("user_provider_id"))
    found = await walks_with(
        conn,
        row.organization_id,
        account_id,
        provider_ids=_known(provider_id),
        public_identifiers=_known(_slug(payload.get("user_public_identifier"))),
    )
    at = row.received_at  # the webhook itself carries no time
    return [
        _report(
            walk,
            None if walk.finished else ex.Accepted(at),
            Learned(provider_id=provider_id, connected_at=at),
        )
        for walk in _each(found)
        if not walk.connected
    ]


async def _message(conn: Conn, row: InboxRow, account_id: UUID, heard: _Heard) -> list[Report]:
    """Read what a person wrote: a reply, and perhaps the wish to be left alone for good."""
    payload, sender = row.payload, _sender(row.payload)
    found = await walks_with(conn, row.organization_id, account_id, provider_ids=_known(sender))
    at = _time(payload.get("timestamp"), row.received_at)
    if answered := [walk for walk in _each(found) if walk.is_answered(at)]:
        heard.news.append(_news(row, Notice.REPLIED, answered, at))
    # also of somebody not known yet: a visit's answer may be under way, or lost, and what they
    # wrote is not read again
    if sender is not None and await _opts_out(conn, row):
        names = dict.fromkeys([sender, *(walk.identity for walk in _each(found))])
        heard.opted_out.update(dict.fromkeys((row.organization_id, name) for name in names))
        if found:
            heard.news.append(_news(row, Notice.OPTED_OUT, _each(found), at))
    learned = Learned(chat_id=_chat_id(payload), replied_at=at)
    return [
        _report(walk, ex.Replied() if walk.is_news(at) else None, learned) for walk in _each(found)
    ]


async def _own_message(
    conn: Conn, row: InboxRow, account_id: UUID, heard: _Heard, sending: UUID | None
) -> list[Report]:
    """Read a message of the account: the echo of a note, a step's own, or the owner's by hand."""
    payload, own = row.payload, _own(row.payload)
    ids = [each for each in _attendees(payload) if each != own]
    walks = _each(await walks_with(conn, row.organization_id, account_id, provider_ids=ids))
    at = _time(payload.get("timestamp"), row.received_at)
    running = [walk for walk in walks if walk.is_under_way(at)]
    is_owners = False
    if running and payload.get("message_type") in OWN_KINDS:
        leads = [walk.lead_id for walk in walks]
        ledger = await written_to(conn, row.organization_id, leads, but=sending)
        if may_echo(ledger) and not _is_inmail(payload):
            running = [walk for walk in running if walk.connected]
        if running:
            whose = _author(payload, at, ledger)
            if is_owners := whose is Author.OWNER:
                heard.news += [_news(row, Notice.TAKEN_OVER, [walk], at) for walk in running]
            if whose is Author.UNCLEAR:
                heard.unclear.add(row.id)
    reports = []
    for walk in walks:
        learned = Learned(chat_id=_chat_id(payload))
        # InMails prove no acceptance, nor does a message that was read among old ones
        accepts = not _is_inmail(payload) and not walk.connected and READ not in payload
        if accepts:
            accepted = ex.Accepted(at)
            event = None if walk.finished else accepted
            reports.append(_report(walk, event, replace(learned, connected_at=at)))
        if is_owners and walk in running:
            reports.append(_report(walk, ex.OwnerWrote(), learned))
        elif not accepts:
            reports.append(_report(walk, None, learned))
    return reports


def _news(row: InboxRow, notice: Notice, walks: Sequence[Walk], at: datetime) -> News:
    """Make the notice of a message: one, though several walks of the person may hear it.

    It names the one under way that began last.
    """
    walk = max(walks, key=lambda each: (not each.finished, each.started_at or row.received_at))
    key = (
        f"{walk.campaign_id}/{walk.lead_id}"  # a walk is taken over once …
        if notice is Notice.TAKEN_OVER
        # … and each message told of once, though a store that was filled anew names it otherwise
        else f"{walk.account_id}/{_sender(row.payload)}/{at.isoformat()}"
    )
    return News(
        row.organization_id,
        notice,
        key,
        walk.campaign_id,
        walk.lead_id,
        walk.account_id,
        _id(row.payload.get("message_id")),
        at,
    )


def _author(payload: Mapping[str, Any], at: datetime, ledger: Sequence[Written]) -> Author:
    ids = (_id(payload.get(name)) for name in ("message_id", "provider_message_id"))
    text_digest = payload.get("text_digest") or digest(str(payload.get("message") or ""))
    return author({each for each in ids if each is not None}, str(text_digest), at, ledger)


async def _opts_out(conn: Conn, row: InboxRow) -> bool:
    """Whether a message asks to be left alone for good."""
    if READ in row.payload:
        return row.payload.get("is_opt_out") is True
    text = row.payload.get("message")
    if not isinstance(text, str):
        return False
    return is_opt_out(text, await opt_out_phrases(conn, row.organization_id))


def _is_inmail(payload: Mapping[str, Any]) -> bool:
    return (
        payload.get("message_type") not in ("MESSAGE", "INVITATION", None)
        or payload.get("chat_content_type") == "inmail"
    )


def _chat_id(payload: Mapping[str, Any]) -> str | None:
    """Return the chat in which messages of ours can follow: an InMail's takes none."""
    return None if _is_inmail(payload) else _id(payload.get("chat_id"))


def _is_of_nobody(payload: Mapping[str, Any]) -> bool:
    """Whether a message is between more than two, or was written by the provider."""
    return bool(payload.get("is_group") or payload.get("is_event")) or _is_crowded(payload)


def _is_crowded(payload: Mapping[str, Any]) -> bool:
    """Whether more than one other person is in the chat; where we are unknown, more than two."""
    own, people = _own(payload), set[str | None](_attendees(payload))
    if not people:
        return False
    people |= {_sender(payload)} - {own} if not _is_ours(payload) else set()
    others = people - {None, own}
    return len(others) > (1 if own is not None else 2)


def _is_ours(payload: Mapping[str, Any]) -> bool:
    """Whether our account wrote it; older servers leave the word out."""
    from_us = payload.get("is_sender")
    if from_us is None:
        sender = _sender(payload)
        return sender is not None and sender == _own(payload)
    return bool(from_us)


def _is_theirs(payload: Mapping[str, Any]) -> bool:
    """Whether a webhook brings what a person wrote to us."""
    return (
        payload.get("event") == "message_received"
        and _sender(payload) is not None
        and not _is_of_nobody(payload)
        and not _is_ours(payload)
    )


def _sender(payload: Mapping[str, Any]) -> str | None:
    return _id(_mapping(payload.get("sender")).get("attendee_provider_id"))


def _attendees(payload: Mapping[str, Any]) -> list[str]:
    attendees = payload.get("attendees")
    people = attendees if isinstance(attendees, list) else []
    ids = (_id(_mapping(each).get("attendee_provider_id")) for each in people)
    return [each for each in ids if each is not None]


def _own(payload: Mapping[str, Any]) -> str | None:
    return _id(_mapping(payload.get("account_info")).get("user_id"))


def _each(found: Mapping[str, list[Walk]]) -> list[Walk]:
    """Return every walk once, by however many names its lead was found."""
    return list(
        {(walk.campaign_id, walk.lead_id): walk for of in found.values() for walk in of}.values()
    )


def _report(walk: Walk, event: ex.Event | None, learned: Learned) -> Report:
    return Report.of_news(
        walk.organization_id, walk.campaign_id, walk.lead_id, walk.account_id, event, learned
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and is_id(value) else None


def _slug(value: object) -> str | None:
    """Return a public identifier in the one spelling that leads are stored in."""
    named = identity(_id(value))
    return named.public_identifier if isinstance(named, Identity) else None


def _known(value: str | None) -> list[str]:
    return [] if value is None else [value]


def _time(value: object, received_at: datetime) -> datetime:
    """Read when a message was sent; what cannot be is as old as its webhook."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return received_at
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return at if received_at - OLDEST <= at <= received_at else received_at

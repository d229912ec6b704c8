"""Webhooks of the provider: stored as they come, turned into events by the ticker."""

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from clento_engine.domain import execution as ex
from clento_engine.runtime.world import World, surely
from clento_engine.store.accounts import pause_account
from clento_engine.store.database import Conn
from clento_engine.store.inbox import (
    InboxRow,
    account_of,
    new_webhooks,
    store_webhook,
    walks_with,
)
from clento_engine.store.settle import Learned, Report, apply
from clento_engine.store.sweeps import sweep_soon

PAUSING = frozenset({"CREDENTIALS", "ERROR", "STOPPED", "PERMISSIONS", "DELETED"})
RESUMING = frozenset({"OK", "RECONNECTED"})

log = logging.getLogger(__name__)


async def receive(world: World, organization_id: UUID, payload: Mapping[str, Any]) -> bool:
    """Store a webhook before it is answered; False when it came before."""
    now = world.clock()
    async with world.database.connection() as conn:
        return await store_webhook(conn, organization_id, _key(payload, now), payload, now)


def _key(payload: Mapping[str, Any], now: datetime) -> str:
    """Return what makes two deliveries the same; source: Unipile's guide, section 4 of our sheet.

    A relation is reported once per account and person, a message by its id, a status by the
    minute in which it came: it carries neither id nor time.
    """
    status = payload.get("AccountStatus")
    if isinstance(status, Mapping):
        minute = now.strftime("%Y-%m-%dT%H:%M")
        return f"status/{status.get('account_id')}/{status.get('message')}/{minute}"
    kind, account = payload.get("event"), payload.get("account_id")
    if kind == "new_relation":
        return f"relation/{account}/{payload.get('user_provider_id')}"
    if payload.get("message_id") is not None:
        return f"{kind}/{account}/{payload['message_id']}"
    body = json.dumps(payload, sort_keys=True, default=str)
    return f"other/{hashlib.sha256(body.encode()).hexdigest()}"


async def apply_inbox(world: World) -> int:
    """Turn what came in into events; return how many webhooks were applied."""
    applied = 0
    while batch := await surely(lambda: _apply_batch(world)):
        applied += batch
    return applied


async def _apply_batch(world: World) -> int:
    now = world.clock()
    async with world.database.connection() as conn, new_webhooks(conn, now=now) as rows:
        reports: list[Report] = []
        for row in rows:
            reports += await _reports(conn, row, now)
        # one transaction with the marks: an event is applied once, or comes again
        await apply(conn, reports, now=now, actor="inbox")
    return len(rows)


async def _reports(conn: Conn, row: InboxRow, now: datetime) -> list[Report]:
    """Read one webhook; what it says of unknown people, accounts or kinds is passed over."""
    payload = row.payload
    status = payload.get("AccountStatus")
    if isinstance(status, Mapping):
        await _account_status(conn, row, status, now)
        return []
    account_id = await account_of(conn, row.organization_id, str(payload.get("account_id")))
    if account_id is None:
        return []
    match payload.get("event"):
        case "new_relation":
            return await _accepted(conn, row, account_id, payload)
        case "message_received":
            return await _message(conn, row, account_id, payload)
        case _:
            return []


async def _account_status(
    conn: Conn, row: InboxRow, status: Mapping[str, Any], now: datetime
) -> None:
    account_id = await account_of(conn, row.organization_id, str(status.get("account_id")))
    message = str(status.get("message", "")).upper()
    if account_id is None:
        return
    if message in PAUSING:
        await pause_account(
            conn, row.organization_id, account_id, by="provider", reason=message, now=now
        )
    elif message in RESUMING:
        # believed by the next sweep, which asks the provider: this message may be an old one
        await sweep_soon(conn, row.organization_id, account_id, now)


async def _accepted(
    conn: Conn, row: InboxRow, account_id: UUID, payload: Mapping[str, Any]
) -> list[Report]:
    provider_id = str(payload.get("user_provider_id"))
    slug = payload.get("user_public_identifier")
    walks = await walks_with(
        conn,
        row.organization_id,
        account_id,
        provider_ids=[provider_id],
        public_identifiers=[slug] if isinstance(slug, str) else [],
    )
    at = row.received_at  # the webhook itself carries no time
    return [
        Report(
            walk.organization_id,
            walk.campaign_id,
            walk.lead_id,
            walk.account_id,
            event=ex.Accepted(at),
            learned=Learned(provider_id=provider_id, connected_at=at),
        )
        for found in walks.values()
        for walk in found
        if not walk.connected
    ]


async def _message(
    conn: Conn, row: InboxRow, account_id: UUID, payload: Mapping[str, Any]
) -> list[Report]:
    """Read a message: the lead's is a reply; ours, to somebody awaited, the echo of the note."""
    if payload.get("is_group") or payload.get("is_event"):
        return []
    sender = _mapping(payload.get("sender")).get("attendee_provider_id")
    own = _mapping(payload.get("account_info")).get("user_id")
    from_us = payload.get("is_sender")
    if from_us is None:
        from_us = sender is not None and sender == own
    if from_us:
        attendees = payload.get("attendees")
        people = [
            _mapping(each).get("attendee_provider_id")
            for each in (attendees if isinstance(attendees, list) else [])
        ]
    else:
        people = [sender]
    ids = [each for each in people if isinstance(each, str) and each != own]
    walks = await walks_with(conn, row.organization_id, account_id, provider_ids=ids)
    at = _time(payload.get("timestamp"), row.received_at)
    chat = payload.get("chat_id")
    chat_id = chat if isinstance(chat, str) else None
    # our InMails are echoed too, and prove no acceptance
    proves = payload.get("message_type") in ("MESSAGE", "INVITATION", None)
    reports = []
    for walk in (each for found in walks.values() for each in found):
        event: ex.Event | None = None
        if from_us and proves and not walk.connected:
            event = ex.Accepted(at)
        elif not from_us and not walk.replied:
            event = ex.Replied()
        learned = Learned(chat_id=chat_id, replied_at=None if from_us else at)
        reports.append(
            Report(
                walk.organization_id,
                walk.campaign_id,
                walk.lead_id,
                walk.account_id,
                event=event,
                learned=learned,
            )
        )
    return reports


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _time(value: object, otherwise: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return otherwise
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

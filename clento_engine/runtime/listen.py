"""Messages that were read rather than told: heard like webhooks, each once.

Reads of chats and messages are of Unipile's own store: LinkedIn sees none of them.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from clento_engine.domain.failure import Fail, Failure, Pause, Retry, Skip, Wait
from clento_engine.domain.report import Report
from clento_engine.domain.restore import Cause
from clento_engine.provider.port import Chat, Message
from clento_engine.provider.webhooks import message_key, of_message, recipient
from clento_engine.runtime.act import give_back
from clento_engine.runtime.inbox import apply_rows
from clento_engine.runtime.witness import quarantine_for
from clento_engine.runtime.world import World, surely
from clento_engine.store.claimed import Claimed
from clento_engine.store.database import Lost
from clento_engine.store.errors import DatabaseUnavailable
from clento_engine.store.inbox import lock_keys, store_webhook, unseen
from clento_engine.store.opt_outs import opt_out_phrases
from clento_engine.store.suppressions import is_left_alone

# An account of which no webhook told anything for so long may have none: its chat is read before a
# message.  Our own messages are told too, so an account that writes is heard while webhooks come.
HEARD_LATELY = timedelta(minutes=15)
LOOK_AGAIN = timedelta(minutes=10)  # after the chat could not be read
MOST_CHATS = 5  # with one person, that are read before a message
MOST_NEW_CHATS = 300  # of which one hearing asks whose they are; the others are for the next
AT_ONCE = 8

log = logging.getLogger(__name__)


async def hear(
    world: World,
    organization_id: UUID,
    account: str,
    messages: Sequence[Message],
    *,
    most_chats: int | None = MOST_NEW_CHATS,
) -> Failure | None:
    """Hear those of an account's messages that were not heard before; or say why it cannot be.

    A group's are nobody's.  Whose a chat is, is asked of those with something new, `most_chats` of
    them (None: all); the answers of people come first.
    """
    keys = {
        message_key(account, message): message
        for message in sorted(messages, key=lambda message: (message.from_us, message.sent_at))
        if not message.is_event and (message.from_us or message.sender_id is not None)
    }
    async with world.database.connection() as conn:
        new = await unseen(conn, organization_id, list(keys))
    news = {key: message for key, message in keys.items() if key in new}
    if not news:
        return None
    chat_ids = list(dict.fromkeys(message.chat_id for message in news.values()))
    if most_chats is not None and len(chat_ids) > most_chats:
        log.warning("more chats with news than one sweep asks about", extra={"account": account})
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(chat_id: str) -> Chat | Failure:
        async with gate:
            return await world.provider.chat(account, chat_id)

    asked = chat_ids[:most_chats]
    chats = dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))
    for chat in chats.values():
        if isinstance(chat, Retry | Wait | Pause):
            return chat
    known = {chat_id: chat for chat_id, chat in chats.items() if isinstance(chat, Chat)}
    heard = {
        key: message
        for key, message in news.items()
        if message.chat_id in chats
        and not (message.chat_id in known and known[message.chat_id].is_group)
        and (message.chat_id in known or not message.from_us)
    }
    people = {chat_id: chat.provider_id for chat_id, chat in known.items()}
    await surely(lambda: _hear(world, organization_id, account, heard, people))
    return None


async def _hear(
    world: World,
    organization_id: UUID,
    account: str,
    news: dict[str, Message],
    people: dict[str, str | None],
    sending: UUID | None = None,
) -> bool:
    """Store what no webhook told, and turn it into events; whether the ledger lacks some of it."""
    async with world.database.transaction() as conn:
        now = world.clock()
        phrases = await opt_out_phrases(conn, organization_id)
        for key in sorted(news):  # in one order: two processes may hear the same
            message = news[key]
            person = people.get(message.chat_id)
            payload = of_message(account, message, phrases, person=person)
            await store_webhook(
                conn, organization_id, key, payload, now, recipient=recipient(payload)
            )
        rows = await lock_keys(conn, organization_id, list(news))
        lacks = await apply_rows(conn, rows, world.clock(), sending=sending)
    if lacks:
        await quarantine_for(world, Cause.WORDS)
    return lacks


async def look_first(world: World, item: Claimed) -> Report | None:
    """Look whether somebody wrote, before a message that must not follow it; None: go on.

    Only where webhooks may be missing, and where the campaign stops at what could be found.  Where
    nothing can be found out the step waits, its unit given back.
    """
    rules, intent, ticket = item.run.rules, item.intent, item.ticket
    if intent is None or ticket is None or not intent.operation.traits.is_message:
        return None
    if not (rules.stop_on_reply or rules.stop_on_own_message):
        return None
    heard_at = item.sender.heard_at
    if heard_at is not None and world.clock() - heard_at <= HEARD_LATELY:
        return None
    messages = await _written(world, item, intent.chat_id)
    match messages:
        case Pause() | Wait():
            return give_back(item, messages)
        case Retry(reason) | Skip(reason) | Fail(reason):
            return give_back(item, Wait(f"its chat: {reason}", LOOK_AGAIN, LOOK_AGAIN))
        case _:
            pass
    account = item.sender.unipile_account_id
    news = {
        message_key(account, message): message
        for message in messages
        if not message.is_event and (message.from_us or message.sender_id is not None)
    }
    if not news:
        return None
    person = item.run.provider_id
    people = {message.chat_id: person for message in news.values()}
    try:
        async with world.database.connection() as conn:
            new = await unseen(conn, item.organization_id, list(news))
        news = {key: message for key, message in news.items() if key in new}
        if not news:
            return None
        if await surely(
            lambda: _hear(world, item.organization_id, account, news, people, ticket.token)
        ):
            return give_back(item, Wait("the ledger lacks a message", LOOK_AGAIN, LOOK_AGAIN))
        async with world.database.connection() as conn:
            leave = await is_left_alone(
                conn, item.organization_id, item.run.campaign_id, item.run.lead_id
            )
    except (DatabaseUnavailable, Lost):
        log.warning("not known whether somebody wrote: the step waits", exc_info=True)
        return give_back(item, Wait("the database could not be asked", LOOK_AGAIN, LOOK_AGAIN))
    return give_back(item, Wait("somebody wrote", _NOW, _NOW)) if leave else None


_NOW = timedelta(0)


async def _written(world: World, item: Claimed, chat_id: str | None) -> list[Message] | Failure:
    """Read the newest messages of the chat, or of the chats with the person."""
    account, person = item.sender.unipile_account_id, item.run.provider_id
    if chat_id is not None:
        found = await world.provider.newest_messages(account, chat_id)
        if not isinstance(found, Retry | Wait | Skip | Fail | Pause):
            return list(found)
        if isinstance(found, Retry | Wait | Pause):
            return found
    if person is None:
        return []
    chats = await world.provider.chats_with(account, person)  # that one is gone, or none is known
    if isinstance(chats, Retry | Wait | Skip | Fail | Pause):
        return chats
    messages: list[Message] = []
    for chat in [chat for chat in chats if not chat.is_group][:MOST_CHATS]:
        found = await world.provider.newest_messages(account, chat.id)
        if isinstance(found, Retry | Wait | Skip | Fail | Pause):
            return found
        messages += found
    return messages

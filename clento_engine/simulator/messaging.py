"""What senders and people write to each other: messages, InMails, replies."""

from datetime import datetime, timedelta

from clento_engine.simulator.accounts import need_patience
from clento_engine.simulator.chance import hexadecimal
from clento_engine.simulator.ledger import Effect, Signal
from clento_engine.simulator.messages import Chat, Kind, Message
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account, Member, Tie, Tier
from clento_engine.simulator.webhook_events import tell_message
from clento_engine.simulator.world import World

MESSAGE_LENGTH = 8000
INMAIL_LENGTH = 1900
SUBJECT_LENGTH = 200

_SENT = (Kind.MESSAGE, Kind.INMAIL)  # what a sender wrote just now, which the store sees later


def send_message(world: World, account: Account, identifier: str, text: str) -> Message:
    """Send a message to a connection, in the chat there is or a new one."""
    account.need_usable()
    _need_text(text, MESSAGE_LENGTH)
    person = world.recipient(identifier)
    tie = world.tie(account, person)
    if tie.connected_at is None:
        raise Refusal("no_connection_with_recipient", "Not a first-degree connection.")
    chat = tie.chat or open_chat(world, account, tie, is_inmail=False)
    return _send(world, account, tie, chat, text, Kind.MESSAGE)


def send_in_chat(world: World, account: Account, chat: Chat, text: str) -> Message:
    """Send a message in a chat; an InMail's only once it was answered."""
    account.need_usable()
    _need_text(text, MESSAGE_LENGTH)
    tie = world.tie(account, chat.person)
    if tie.connected_at is None and not chat.answered:
        raise Refusal("no_connection_with_recipient", "Not a first-degree connection.")
    return _send(world, account, tie, chat, text, Kind.MESSAGE)


def send_inmail(
    world: World, account: Account, identifier: str, text: str, subject: str | None, *, sales: bool
) -> Message:
    """Send an InMail, by Sales Navigator or by Premium."""
    account.need_usable()
    if account.tier is not (Tier.SALES_NAVIGATOR if sales else Tier.PREMIUM):
        raise Refusal("feature_not_subscribed", "The account has no such subscription.")
    _need_text(text, INMAIL_LENGTH)
    if subject and len(subject) > SUBJECT_LENGTH:
        raise Refusal("too_many_characters", f"At most {SUBJECT_LENGTH} characters.")
    person = world.recipient(identifier, sales=sales)
    tie = world.tie(account, person)
    now = world.clock()
    if not person.traits.open_profile:
        if not person.traits.takes_inmail:
            raise Refusal("not_allowed_inmail", "This member takes no InMail.")
        if account.member.inmail_credits(now) <= 0:
            raise Refusal("insufficient_credits", "No InMail credits are left.")
    need_patience(world, account, "inmail", now)
    if not person.traits.open_profile:
        account.member.credits_spent.append((now, tie))
    chat = tie.inmail_chat or open_chat(world, account, tie, is_inmail=True)
    return _send(world, account, tie, chat, text, Kind.INMAIL, subject=subject)


def reply(
    world: World,
    account: Account,
    tie: Tie,
    text: str,
    *,
    stored_after: timedelta = timedelta(0),
    stamp: datetime | None = None,
    is_silent: bool = False,
) -> Message:
    """Have a person write back.

    `stored_after`: how late the message comes to the store, as if it had always been there;
    `stamp`: the moment that the store shows, when it is a wrong one; `is_silent`: no webhook
    tells of it.
    """
    answered = tie.inmail_chat if tie.connected_at is None or tie.chat is None else tie.chat
    chat = answered or tie.chat or open_chat(world, account, tie, is_inmail=False)
    chat.answered = True
    kind = Kind.INMAIL_REPLY if chat.is_inmail else Kind.MESSAGE
    message = write(world, chat, text, kind, from_us=False)
    message.signal = _signal(world, account, tie)
    message.visible_at += stored_after
    message.stamp = stamp
    world.ledger.replies.append(message.signal)
    tie.reply = tie.reply or message.signal
    if not is_silent and not stored_after:
        tell_message(world, account.member, tie, message)
    elif not is_silent:
        world.foresee(
            account.member,
            message.visible_at,
            lambda one: tell_message(world, one.member, tie, message),
        )
    return message


def write_by_hand(world: World, account: Account, tie: Tie, text: str) -> Message:
    """Have the owner of an account write to a person on LinkedIn itself: no effect of ours."""
    chat = tie.chat or open_chat(world, account, tie, is_inmail=False)
    message = write(world, chat, text, Kind.MESSAGE, from_us=True)
    message.visible_at = world.clock()
    message.signal = _signal(world, account, tie)
    world.ledger.by_hand.append(message.signal)
    tell_message(world, account.member, tie, message)
    return message


def write_to_group(world: World, account: Account, tie: Tie, text: str) -> Message:
    """Have a person write in a group that the account is in."""
    name = ("group", account.member.key, tie.person.slug)
    chat = Chat(
        ids={},
        provider_id=f"2-{hexadecimal(world.seed, 'provider', *name, length=40)}",
        member_id=account.provider_id,
        person=tie.person,
        is_inmail=False,
        is_group=True,
    )
    _keep(world, account.member, chat)
    message = write(world, chat, text, Kind.MESSAGE, from_us=False)
    tell_message(world, account.member, tie, message)
    return message


def open_chat(world: World, account: Account, tie: Tie, *, is_inmail: bool) -> Chat:
    """Open the chat of a tie."""
    member = account.member
    name = ("inmail" if is_inmail else "chat", member.key, tie.person.slug)
    chat = Chat(
        ids={},
        provider_id=f"2-{hexadecimal(world.seed, 'provider', *name, length=40)}",
        member_id=member.provider_id,
        person=tie.person,
        is_inmail=is_inmail,
    )
    if is_inmail:
        tie.inmail_chat = chat
    else:
        tie.chat = chat
    _keep(world, member, chat)
    return chat


def write(
    world: World, chat: Chat, text: str, kind: Kind, *, from_us: bool, subject: str | None = None
) -> Message:
    """Write a message in a chat; whoever calls says what follows from it."""
    now = world.clock()
    member = world.members[chat.member_id]
    number = len(chat.messages) + 1
    sent = hexadecimal(world.seed, "sent", chat.provider_id, number, length=40)
    message = Message(
        seq=len(world.store.log) + 1,
        number=number,
        ids={},
        provider_id=f"2-{sent}",
        chat=chat,
        text=text,
        from_us=from_us,
        at=world.stamp(),
        visible_at=now + world.reliability.visible_after if kind in _SENT and from_us else now,
        kind=kind,
        subject=subject,
    )
    chat.messages.append(message)
    member.messages.append(message)
    world.store.log.append(message)
    world.store.messages[message.provider_id] = message
    for account in member.accounts:
        world.store.keep_message(account.id, message)
    return message


def _send(
    world: World,
    account: Account,
    tie: Tie,
    chat: Chat,
    text: str,
    kind: Kind,
    *,
    subject: str | None = None,
) -> Message:
    now = world.clock()
    what, effect = ("inmail", Effect.INMAIL) if kind is Kind.INMAIL else ("message", Effect.MESSAGE)
    if kind is Kind.MESSAGE:
        need_patience(world, account, what, now)
    account.member.spend(what, now)
    message = write(world, chat, text, kind, from_us=True, subject=subject)
    world.land(effect, account, tie.person, target=chat.ids[account.id], text=text)
    tie.messages += 1
    world.foresee(
        account.member,
        message.visible_at,
        lambda one: tell_message(world, one.member, tie, message, at_once=True),
    )
    mood = world.temper(account, tie.person)
    if (
        mood.replies_after is not None
        and tie.messages == mood.replies_to_message
        and not tie.reply_planned
    ):
        tie.reply_planned = True
        world.foresee(
            account.member,
            now + mood.replies_after,
            lambda one: reply(world, one, tie, mood.reply),
        )
    return message


def _keep(world: World, member: Member, chat: Chat) -> None:
    world.store.chats[chat.provider_id] = chat
    member.chats.append(chat)
    for each in member.accounts:
        world.store.keep_chat(each.id, chat)


def _signal(world: World, account: Account, tie: Tie) -> Signal:
    return Signal(
        world.clock(),
        account.id,
        tie.person.provider_id,
        tie.person.slug,
        member=account.provider_id,
    )


def _need_text(text: str, most: int) -> None:
    if not text.strip():
        raise Refusal("invalid_message", "A message needs a text.")
    if len(text) > most:
        raise Refusal("too_many_characters", f"At most {most} characters.")

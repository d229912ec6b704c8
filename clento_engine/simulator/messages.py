"""Chats and messages, as the provider's store keeps them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from clento_engine.simulator.chance import hexadecimal
from clento_engine.simulator.ledger import Signal
from clento_engine.simulator.people import Person


class Kind(StrEnum):
    """The provider's word for what a message is."""

    MESSAGE = "MESSAGE"
    INVITATION = "INVITATION"
    INMAIL = "INMAIL"
    INMAIL_REPLY = "INMAIL_REPLY"


@dataclass(slots=True)
class Message:
    """One message.  It is in the store, for reads and webhooks, from `visible_at` on."""

    seq: int  # over all chats
    number: int  # in its chat
    ids: dict[str, str]  # in each account's store
    provider_id: str
    chat: "Chat"
    text: str
    from_us: bool
    at: datetime
    visible_at: datetime
    kind: Kind
    subject: str | None = None
    signal: Signal | None = None  # the ledger's, when this is a reply or the owner's own
    stamp: datetime | None = None  # that the store shows, where it is a wrong one

    @property
    def shown_at(self) -> datetime:
        """When it was written, as the store says."""
        return self.stamp or self.at


@dataclass(slots=True)
class Chat:
    """A chat between a member and a person; of a group, the one who writes to it."""

    ids: dict[str, str]  # in each account's store
    provider_id: str
    member_id: str  # the sender's own provider id
    person: Person
    is_inmail: bool
    answered: bool = False
    is_group: bool = False
    messages: list[Message] = field(default_factory=list)  # oldest first

    def latest(self, now: datetime) -> Message | None:
        """Return the last message that is in the store."""
        return next((one for one in reversed(self.messages) if one.visible_at <= now), None)


class MessageStore:
    """Chats and messages by every id they have: the provider's, and one in each account's store."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.chats: dict[str, Chat] = {}
        self.messages: dict[str, Message] = {}
        self.log: list[Message] = []  # oldest first

    def keep_chat(self, account_id: str, chat: Chat) -> None:
        """Give a chat its id in an account's store."""
        kind = "inmail" if chat.is_inmail else "group" if chat.is_group else "chat"
        chat_id = hexadecimal(self._seed, kind, account_id, chat.person.slug)
        chat.ids[account_id] = chat_id
        self.chats[chat_id] = chat

    def keep_message(self, account_id: str, message: Message) -> None:
        """Give a message its id in an account's store."""
        chat_id = message.chat.ids[account_id]
        message_id = hexadecimal(self._seed, "message", chat_id, message.number)
        message.ids[account_id] = message_id
        self.messages[message_id] = message

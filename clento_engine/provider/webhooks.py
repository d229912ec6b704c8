"""What a webhook of Unipile says, read at one place into values of ours.

Like every answer of the provider it may lack fields, or have them of any type: an id, a time or a
text that cannot be one is as if it were not there.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from clento_engine.domain.authorship import digest
from clento_engine.domain.opt_out import is_opt_out
from clento_engine.domain.outside import is_id
from clento_engine.domain.person import slug_of
from clento_engine.provider.port import Message

LONGEST_KEY = 400
OLDEST = timedelta(days=366)  # a message from before, or from the future, has no time at all
READ = "was_read"  # of a payload: what no webhook told, and a read of the store showed
OWN_KINDS = ("MESSAGE", "INMAIL", "INMAIL_REPLY", None)  # that an owner writes by hand

Json = Mapping[str, object]


class StatusChange(Struct, frozen=True):
    """An account of Unipile's is in another state, in its word, in capitals."""

    account: str
    status: str


class NewRelation(Struct, frozen=True):
    """A person and the account are connected: since when, is not said."""

    account: str
    provider_id: str | None
    public_identifier: str | None


class TheirMessage(Struct, frozen=True):
    """A person wrote to the account alone.  `sender`: who, where it is said.

    Of a message `was_read` there is no text, but whether it `is_opt_out`.
    """

    account: str
    sender: str | None
    message_id: str | None
    chat_id: str | None
    sent_at: datetime
    text: str | None
    was_read: bool
    is_opt_out: bool


class OwnMessage(Struct, frozen=True):
    """The account wrote to `people`: by a step, or its owner by hand if it `may_be_by_hand`.

    `ids`: all that the provider calls the message.
    """

    account: str
    people: list[str]
    message_id: str | None
    ids: frozenset[str]
    chat_id: str | None
    sent_at: datetime
    text_digest: str
    is_inmail: bool
    may_be_by_hand: bool
    was_read: bool


Incoming = StatusChange | NewRelation | TheirMessage | OwnMessage


def read_webhook(payload: Json, received_at: datetime) -> Incoming | None:
    """Return what a webhook says; None where it is of nobody, or of a kind that nobody reads."""
    status = payload.get("AccountStatus")
    if isinstance(status, Mapping):
        return StatusChange(str(status.get("account_id")), str(status.get("message")).upper())
    match payload.get("event"):
        case "new_relation":
            return NewRelation(
                str(payload.get("account_id")),
                _id(payload.get("user_provider_id")),
                slug_of(_id(payload.get("user_public_identifier"))),
            )
        case "message_received" if _is_of_nobody(payload):
            return None
        case "message_received" if _is_ours(payload):
            return _own_message(payload, received_at)
        case "message_received":
            return _their_message(payload, received_at)
        case _:
            return None


def is_of_read(payload: Json) -> bool:
    """Whether a payload is of `of_message`: no webhook told of it."""
    return payload.get(READ) is True


def _their_message(payload: Json, received_at: datetime) -> TheirMessage:
    text = payload.get("message")
    return TheirMessage(
        str(payload.get("account_id")),
        _sender(payload),
        _id(payload.get("message_id")),
        _chat_id(payload),
        _time(payload.get("timestamp"), received_at),
        text if isinstance(text, str) else None,
        READ in payload,  # whatever it says there
        payload.get("is_opt_out") is True,
    )


def _own_message(payload: Json, received_at: datetime) -> OwnMessage:
    own = _own(payload)
    ids = (_id(payload.get(name)) for name in ("message_id", "provider_message_id"))
    text_digest = payload.get("text_digest") or digest(str(payload.get("message") or ""))
    return OwnMessage(
        str(payload.get("account_id")),
        [each for each in _attendees(payload) if each != own],
        _id(payload.get("message_id")),
        frozenset(each for each in ids if each is not None),
        _chat_id(payload),
        _time(payload.get("timestamp"), received_at),
        str(text_digest),
        _is_inmail(payload),
        payload.get("message_type") in OWN_KINDS,
        READ in payload,  # whatever it says there
    )


def message_key(account: str, message: Message) -> str:
    """Return the key of the webhook that should have told of a message."""
    return delivery_key(
        {"event": "message_received", "account_id": account, "message_id": message.id},
        message.sent_at,
    )


def of_message(
    account: str, message: Message, phrases: Collection[str], *, person: str | None = None
) -> dict[str, object]:
    """Return the payload of the webhook that should have told of a message that was read.

    `person`: the other one in its chat, where that is known.  What was written is left out: what
    matters is whether it asks to be left alone and, of ours, whether it is the engine's.
    """
    payload: dict[str, object] = {
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


def account_in(payload: Json) -> str:
    """Return Unipile's id of the account that a webhook tells of; empty when it names none."""
    account = _mapping(payload.get("AccountStatus")).get("account_id", payload.get("account_id"))
    return _id(account) or ""


def recipient(payload: Json) -> str | None:
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


def delivery_key(payload: Json, now: datetime) -> str:
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


def _is_inmail(payload: Json) -> bool:
    return (
        payload.get("message_type") not in ("MESSAGE", "INVITATION", None)
        or payload.get("chat_content_type") == "inmail"
    )


def _chat_id(payload: Json) -> str | None:
    """Return the chat in which messages of ours can follow: an InMail's takes none."""
    return None if _is_inmail(payload) else _id(payload.get("chat_id"))


def _is_of_nobody(payload: Json) -> bool:
    """Whether a message is between more than two, or was written by the provider."""
    return bool(payload.get("is_group") or payload.get("is_event")) or _is_crowded(payload)


def _is_crowded(payload: Json) -> bool:
    """Whether more than one other person is in the chat; where we are unknown, more than two."""
    own, people = _own(payload), set[str | None](_attendees(payload))
    if not people:
        return False
    people |= {_sender(payload)} - {own} if not _is_ours(payload) else set()
    others = people - {None, own}
    return len(others) > (1 if own is not None else 2)


def _is_ours(payload: Json) -> bool:
    """Whether our account wrote it; older servers leave the word out."""
    from_us = payload.get("is_sender")
    if from_us is None:
        sender = _sender(payload)
        return sender is not None and sender == _own(payload)
    return bool(from_us)


def _sender(payload: Json) -> str | None:
    return _id(_mapping(payload.get("sender")).get("attendee_provider_id"))


def _attendees(payload: Json) -> list[str]:
    attendees = payload.get("attendees")
    people = attendees if isinstance(attendees, list) else []
    ids = (_id(_mapping(each).get("attendee_provider_id")) for each in people)
    return [each for each in ids if each is not None]


def _own(payload: Json) -> str | None:
    return _id(_mapping(payload.get("account_info")).get("user_id"))


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and is_id(value) else None


def _time(value: object, received_at: datetime) -> datetime:
    """Read when a message was sent; what cannot be is as old as its webhook."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return received_at
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return at if received_at - OLDEST <= at <= received_at else received_at

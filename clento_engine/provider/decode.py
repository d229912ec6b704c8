"""Turns the JSON of Unipile's API v1 into the values of the port.

Unknown fields are ignored and optional ones may be missing or of any type; NotUnderstood is
raised only where a value makes no sense without the field.  An id that cannot be one, or is longer
than an index holds, makes no sense: nothing is learned from the answer that it is in.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar, cast
from urllib.parse import unquote

from clento_engine.domain.lead import MAX_SLUG
from clento_engine.domain.outside import is_id
from clento_engine.provider.port import (
    Account,
    Chat,
    Comment,
    Invitation,
    Message,
    Page,
    Post,
    Profile,
    Relation,
    Sent,
    Webhook,
)

T = TypeVar("T")
Json = Mapping[str, object]

ROUTES = frozenset({"me", "relations", "invite"})  # under /users/: no member's id is one
LONGEST_CURSOR = 4_096  # it travels in the URL of the next page, and may be kept till then
LONGEST_SLUG = 12 * MAX_SLUG  # each sign percent-encoded, of which the longest have four bytes
LONGEST_WORD = 500  # a name, a state, an address: what people read and nothing is sent to

# LinkedIn's ids of a member begin like this, one for each product; no public identifier does.
# source: unipile.md, section 1; domain/lead.py
_MEMBER_ID = re.compile(r"A(?:(?P<classic>[CD]o)|(?P<sales>Cw)|(?P<recruiter>E[A-Za-z]))AA")


class NotUnderstood(Exception):
    """A read's answer lacks what it was asked for."""

    def __init__(self, field: str) -> None:
        super().__init__(f"answer not understood: {field}")


def understood(body: object) -> Json:
    """Return a body as the JSON object that every answer is."""
    if not isinstance(body, dict):
        raise NotUnderstood("not a JSON object")
    return body


def kind(body: object) -> str | None:
    """Return the tag that says what an answer is, if it has one."""
    return _text(body, "object") if isinstance(body, dict) else None


def error_type(body: object) -> str | None:
    """Return the type of an error, without its `errors/`; None when it is not Unipile's.

    A gateway's JSON has none, or the URL of a page as RFC 9457 wants it.
    """
    if not isinstance(body, dict) or not isinstance(given := body.get("type"), str):
        return None
    word = clean(given).removeprefix("errors/").strip()
    return None if not word or ":" in word else word


def page(item: Callable[[Json], T], body: Json) -> Page[T]:
    items = body.get("items")
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        raise NotUnderstood("field items")
    # GET /posts/{post_id}/reactions documents its cursor inside `paging`: read both places.
    cursor = _text(body, "cursor") or _text(_part(body, "paging"), "cursor")
    if cursor is not None and len(cursor) > LONGEST_CURSOR:
        raise NotUnderstood("field cursor")
    return Page(tuple(item(one) for one in items), cursor)


def profile(body: Json) -> Profile:
    invitation = _part(body, "invitation")
    pending = invitation.get("type") == "SENT" and invitation.get("status") == "PENDING"
    near = body.get("network_distance") == "FIRST_DEGREE"
    return Profile(
        provider_id=_member(body, "provider_id"),
        public_identifier=_slug(body, "public_identifier"),
        connected=_flag(body, "is_relationship") is True or near,
        invitation_pending=pending,
    )


def profile_of(identifier: str, body: Json, *, by_product: bool = False) -> Profile:
    """Read the profile of whom was asked for, if it was by an id; a public identifier may change.

    `by_product`: with Sales Navigator's own id, which cannot be held against the classic one.
    """
    found = profile(body)
    asked_product, product = _product(identifier), _product(found.provider_id)
    if by_product and product not in ("sales", "recruiter"):
        raise NotUnderstood("no id of the product that was asked for")
    comparable = product == asked_product or not by_product
    if asked_product is not None and comparable and found.provider_id != identifier:
        raise NotUnderstood("it is about another person")
    return found


def posts_of(provider_id: str, body: Json) -> Page[Post]:
    """Read a person's posts, without those that others wrote and that are no reposts.

    If none of the person's own is among them, it is another's list.
    """
    everything = page(_authored, body)
    written = [author for author, one in everything.items if not one.is_repost]
    of_others = [author for author in written if _is_another(provider_id, author)]
    if of_others and provider_id not in written:
        raise NotUnderstood("it is about another person")
    posts = tuple(
        one
        for author, one in everything.items
        if one.is_repost or not _is_another(provider_id, author)
    )
    return Page(posts, everything.cursor)


def _authored(body: Json) -> tuple[str | None, Post]:
    return _id(_part(body, "author"), "id"), post(body)


def post_of(social_id: str, body: Json) -> Post:
    """Read the post that was asked for; its id may be written as any of LinkedIn's three urns."""
    found = post(body)
    number = _number_of(social_id)
    if number not in (_number_of(found.social_id), _number_of(_id(body, "id") or "")):
        raise NotUnderstood("it is about another post")
    return found


def _number_of(urn: str) -> str:
    return urn.rpartition(":")[2]


def post(body: Json) -> Post:
    permissions = _part(body, "permissions")
    return Post(
        social_id=_required(body, "social_id"),
        posted_at=_instant(body, "parsed_datetime"),
        reacted=bool(body.get("user_reacted")),
        is_repost=_flag(body, "is_repost") is True,
        can_react=_flag(permissions, "can_react") is not False,
        can_comment=_flag(permissions, "can_post_comments") is not False,
    )


def comment(body: Json) -> Comment:
    """Read a comment; its text must be one, or none, or reconcile could miss it."""
    return Comment(
        text=_written(body, "text"),
        id=_id(body, "id"),
        post_id=_id(body, "post_id"),
        post_urn=_id(body, "post_urn"),
    )


def own_comment(own_id: str, body: Json) -> Comment:
    if _is_another(own_id, _id(_part(body, "author_details"), "id")):
        raise NotUnderstood("it is about another person")
    return comment(body)


def invitation(body: Json) -> Invitation:
    return Invitation(
        id=_required(body, "id"),
        provider_id=_id(body, "invited_user_id"),
        public_identifier=_slug(body, "invited_user_public_id"),
    )


def relation(body: Json) -> Relation:
    return Relation(
        provider_id=_member(body, "member_id"),
        public_identifier=_slug(body, "public_identifier"),
        connected_at=_instant(body, "created_at"),
    )


def chat(body: Json) -> Chat:
    one_to_one = body.get("type") in (0, None)
    return Chat(
        id=_required(body, "id"),
        provider_id=_id(body, "attendee_provider_id") if one_to_one else None,
        is_group=not one_to_one,
    )


def chat_of(account_id: str, body: Json) -> Chat:
    _need_account(account_id, body)
    return chat(body)


def chat_asked(account_id: str, chat_id: str, body: Json) -> Chat:
    """Read the chat that was asked for by Unipile's id or by LinkedIn's."""
    found = chat_of(account_id, body)
    if chat_id not in (found.id, _text(body, "provider_id")):
        raise NotUnderstood("it is about another chat")
    return found


def chat_with(account_id: str, provider_id: str, body: Json) -> Chat:
    found = chat_of(account_id, body)
    if _is_another(provider_id, found.provider_id):
        raise NotUnderstood("it is about another person")
    return found


def message_of(account_id: str, body: Json) -> Message:
    _need_account(account_id, body)
    return message(body)


def message_in(chat_id: str, body: Json) -> Message:
    """Read a message of the chat that was asked for by Unipile's id or by LinkedIn's."""
    found = message(body)
    if chat_id not in (found.chat_id, _text(body, "chat_provider_id")):
        raise NotUnderstood("it is about another chat")
    return found


def message(body: Json) -> Message:
    """Read a message; who sent what and when must be known, or reconcile could miss it."""
    from_us = _flag(body, "is_sender")
    sent_at = _instant(body, "timestamp")
    if from_us is None:
        raise NotUnderstood("field is_sender")
    if sent_at is None:
        raise NotUnderstood("field timestamp")
    return Message(
        id=_required(body, "id"),
        chat_id=_required(body, "chat_id"),
        sender_id=_id(body, "sender_id"),
        from_us=from_us,
        text=_written(body, "text"),
        sent_at=sent_at,
        kind=_word(body, "message_type") or "MESSAGE",
        is_event=_flag(body, "is_event") is True,
    )


def account_of(account_id: str, body: Json) -> Account:
    found = account(body)
    if found.id != account_id:
        raise NotUnderstood("it is about another account")
    return found


def account(body: Json) -> Account:
    im = _part(_part(body, "connection_params"), "im")
    sources = body.get("sources")
    states = (
        [_word(one, "status") or "UNKNOWN" for one in sources if isinstance(one, dict)]
        if isinstance(sources, list)
        else []
    )
    worst = next((state for state in states if state != "OK"), "OK" if states else "UNKNOWN")
    return Account(
        id=_required(body, "id"),
        name=_word(body, "name") or "",
        provider_id=_id(im, "id"),
        usable=worst == "OK",
        status=worst,
        created_at=_instant(body, "created_at"),
    )


def webhook(body: Json) -> Webhook:
    return Webhook(
        id=_required(body, "id"),
        name=_text(body, "name"),
        url=_text(body, "request_url") or "",
        events=_words(body, "events"),
    )


def webhook_id(body: Json) -> str:
    return _required(body, "webhook_id")


def sent(body: Json, reference: str | None = None) -> Sent:
    """Read the answer to a write that worked; nothing in it is certain to be there.

    Raises NotUnderstood where an id is none.
    """
    return Sent(
        reference=None if reference is None else _id(body, reference),
        chat_id=_id(body, "chat_id"),
        usage=_number(body, "usage"),
    )


def _product(provider_id: str) -> str | None:
    """Return whose id of a member this is; None for what is no such id."""
    fits = _MEMBER_ID.match(provider_id)
    return None if fits is None else fits.lastgroup


def _is_another(asked: str, found: str | None) -> bool:
    """Whether two ids are of two members: of one product, and not the same."""
    if found is None or found == asked:
        return False
    product = _product(asked)
    return product is not None and product == _product(found)


def _need_account(account_id: str, body: Json) -> None:
    if _text(body, "account_id") not in (None, account_id):
        raise NotUnderstood("it is about another account")


def clean(text: str) -> str:
    """Drop what neither PostgreSQL nor UTF-8 can hold: NUL, and halves of emoji cut apart."""
    if not text.isascii():
        text = text.encode(errors="ignore").decode()
    return text.replace("\0", "") if "\0" in text else text


def _part(body: Json, field: str) -> Json:
    value = body.get(field)
    return cast("Json", value) if isinstance(value, dict) else {}


def _text(body: Json, field: str) -> str | None:
    value = body.get(field)
    if isinstance(value, str):
        return clean(value) or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _written(body: Json, field: str) -> str:
    """Read what somebody wrote: nothing where there is no text, never where it is no text."""
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise NotUnderstood(f"field {field}")
    return _text(body, field) or ""


def _word(body: Json, field: str) -> str | None:
    """Read what is shown to people, cut where no word of the kind is that long."""
    value = _text(body, field)
    return None if value is None else value[:LONGEST_WORD]


def _id(body: Json, field: str) -> str | None:
    """Read an id, if there is one.  What PostgreSQL cannot hold is in none: not cleaned away."""
    value = body.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "" or not isinstance(value, str):
        return None
    if not is_id(value):
        raise NotUnderstood(f"field {field}")
    return value


def _slug(body: Json, field: str) -> str | None:
    """Read a public identifier: people choose it, so one that cannot be used is none."""
    value = _text(body, field)
    fits = value is not None and len(value) <= LONGEST_SLUG and is_id(unquote(value))
    return value if fits else None


def _member(body: Json, field: str) -> str:
    value = _required(body, field)
    if value in ROUTES:
        raise NotUnderstood(f"field {field}")
    return value


def _required(body: Json, field: str) -> str:
    value = _id(body, field)
    if value is None:
        raise NotUnderstood(f"field {field}")
    return value


def _flag(body: Json, field: str) -> bool | None:
    """Read a yes or no, which REST writes as true, 1 or (in forms) a word."""
    match body.get(field):
        case bool() as value:
            return value
        case 1 | "true":
            return True
        case 0 | "false":
            return False
        case _:
            return None


def _number(body: Json, field: str) -> float | None:
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _instant(body: Json, field: str) -> datetime | None:
    """Read ISO 8601 (UTC when it names no zone) or milliseconds since 1970."""
    value = body.get(field)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        if isinstance(value, str):
            instant = datetime.fromisoformat(value)
            return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _words(body: Json, field: str) -> tuple[str, ...]:
    value = body.get(field)
    words = value if isinstance(value, list) else []
    return tuple(clean(word) for word in words if isinstance(word, str))

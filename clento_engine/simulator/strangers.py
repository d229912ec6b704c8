"""Answers about somebody else than was asked for, as a confused cache gives them."""

from typing import Any

from clento_engine.simulator.chance import hexadecimal
from clento_engine.simulator.people import provider_id

Json = dict[str, Any]

_LISTS = {
    "PostList": "Post",
    "ChatList": "Chat",
    "MessageList": "Message",
    "CommentList": "Comment",
}


def of_somebody_else(body: Json, number: int) -> Json:
    """Return an answer as it would be about the `number`th stranger; others stay as they are.

    Profiles, posts, chats, messages and comments, alone or in lists, by their `object` tag.  Every
    second stranger is connected to whoever asks, and had their post liked.
    """
    kind = str(body.get("object"))
    if kind in _LISTS:
        items = [of_somebody_else(one, number * 1000 + at) for at, one in enumerate(body["items"])]
        return {**body, "items": items}
    body = dict(body)
    return body | _stranger(kind, body, number)


def _stranger(kind: str, body: Json, number: int) -> Json:
    """Take out what is the asked one's own, and return what is different about a stranger."""
    slug = f"stranger-{number}"
    member, name = provider_id(number, slug), f"Sam Stranger {number}"
    is_close = number % 2 == 1
    match kind:
        case "UserProfile":
            for name in ("invitation", "connected_at", "contact_info"):
                body.pop(name, None)
            return {
                "provider_id": member,
                "public_identifier": slug,
                "first_name": "Sam",
                "last_name": f"Stranger {number}",
                "public_profile_url": f"https://www.linkedin.com/in/{slug}",
                "network_distance": "FIRST_DEGREE" if is_close else "SECOND_DEGREE",
                "is_relationship": is_close,
            }
        case "Post":
            body.pop("user_reacted", None)
            author = {**body["author"], "id": member, "public_identifier": slug, "name": name}
            return {
                "id": _digits(number, "post"),
                "social_id": f"urn:li:ugcPost:{_digits(number, 'social')}",
                "share_url": f"https://www.linkedin.com/posts/{slug}",
                "text": "What a stranger posted",
                "author": author,
            } | ({"user_reacted": "LIKE"} if is_close else {})
        case "Chat":
            return {
                "id": hexadecimal("stranger", "chat", number),
                "provider_id": f"2-{hexadecimal('stranger', 'provider chat', number)}",
                "attendee_provider_id": member,
            }
        case "Message":
            return {
                "id": hexadecimal("stranger", "message", number),
                "provider_id": f"2-{hexadecimal('stranger', 'provider message', number)}",
                "chat_id": hexadecimal("stranger", "chat", number // 1000),
                "chat_provider_id": f"2-{hexadecimal('stranger', 'provider chat', number // 1000)}",
                "sender_id": member,
                "text": "What a stranger wrote",
            }
        case "Comment":
            return {
                "id": _digits(number, "comment"),
                "post_id": _digits(number, "post"),
                "post_urn": f"urn:li:ugcPost:{_digits(number, 'social')}",
                "author": name,
                "author_details": {**body["author_details"], "id": member},
                "text": "What a stranger commented",
            }
        case _:
            return {}


def _digits(number: int, what: str) -> str:
    return str(7_500_000_000_000_000_000 + int(hexadecimal("stranger", what, number), 16) % 10**17)

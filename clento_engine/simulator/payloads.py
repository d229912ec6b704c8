"""The JSON that Unipile shows: what answers hold, and what webhooks are told."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from clento_engine.simulator.chance import hexadecimal
from clento_engine.simulator.clock import iso_ms
from clento_engine.simulator.messages import Chat, Message
from clento_engine.simulator.people import Person, Post, Remark
from clento_engine.simulator.senders import (
    FEATURES,
    INMAIL_CREDITS,
    Account,
    Invitation,
    Member,
    Status,
    Tie,
    Tier,
)
from clento_engine.simulator.webhooks import Webhook

Json = dict[str, Any]

_encoder = json.JSONEncoder(separators=(",", ":"))

# The word LinkedIn keeps for the word of the request; source: unipile.md 2.9
REACTIONS = {
    "like": "LIKE",
    "celebrate": "PRAISE",
    "support": "APPRECIATION",
    "love": "EMPATHY",
    "insightful": "INTEREST",
    "funny": "ENTERTAINMENT",
}
_FOLDERS = ["INBOX", "INBOX_LINKEDIN_CLASSIC"]


def encode(body: Mapping[str, Any]) -> bytes:
    """Write JSON."""
    return _encoder.encode(body).encode()


def account(one: Account) -> Json:
    """Return a connected account."""
    status = Status.ERROR if one.status is Status.RESTRICTED else one.status
    return {
        "object": "Account",
        "id": one.id,
        "type": "LINKEDIN",
        "name": one.name,
        "created_at": iso_ms(one.created_at),
        "groups": [],
        "connection_params": {
            "im": {
                "id": one.provider_id,
                "publicIdentifier": one.slug,
                "username": one.name,
                "premiumId": None,
                "premiumContractId": None,
                "premiumFeatures": list(FEATURES[one.tier]),
                "organizations": [],
            }
        },
        "sources": [{"id": f"{one.id}_MESSAGING", "status": status.value}],
    }


def owner(one: Account) -> Json:
    """Return the profile of the sender itself."""
    first, _, last = one.name.partition(" ")
    return {
        "object": "AccountOwnerProfile",
        "provider": "LINKEDIN",
        "provider_id": one.provider_id,
        "entity_urn": f"urn:li:fsd_profile:{one.provider_id}",
        "object_urn": "urn:li:member:1",
        "first_name": first,
        "last_name": last,
        "profile_picture_url": "https://media.licdn.com/dms/image/sender",
        "public_profile_url": f"https://www.linkedin.com/in/{one.slug}",
        "public_identifier": one.slug,
        "headline": "Sales",
        "location": "Lyon",
        "email": f"{one.slug}@example.com",
        "premium": one.tier is not Tier.FREE,
        "open_profile": False,
        "occupation": "Sales",
        "organizations": [],
        "recruiter": None,
        "sales_navigator": (
            {"contract_id": "1", "owner_seat_id": "1"} if one.tier is Tier.SALES_NAVIGATOR else None
        ),
    }


def self_profile(one: Account) -> Json:
    """Return the sender as a profile like others."""
    first, _, last = one.name.partition(" ")
    return {
        "object": "UserProfile",
        "provider": "LINKEDIN",
        "provider_id": one.provider_id,
        "public_identifier": one.slug,
        "first_name": first,
        "last_name": last,
        "headline": "Sales",
        "location": "Lyon",
        "websites": [],
        "is_relationship": False,
        "is_self": True,
        "is_premium": one.tier is not Tier.FREE,
        "is_open_profile": False,
        "public_profile_url": f"https://www.linkedin.com/in/{one.slug}",
    }


def profile(tie: Tie, *, withdrawn_for: timedelta, now: datetime, sales: bool = False) -> Json:
    """Return a person as one account sees them."""
    person = tie.person
    traits = person.traits
    connected = tie.connected_at is not None
    body: Json = {
        "object": "UserProfile",
        "provider": "LINKEDIN",
        "provider_id": person.sales_id if sales else person.provider_id,
        "public_identifier": person.public_identifier,
        "first_name": traits.first_name,
        "last_name": traits.last_name,
        "headline": traits.headline,
        "location": traits.location,
        "websites": [],
        "network_distance": "FIRST_DEGREE" if connected else "SECOND_DEGREE",
        "is_relationship": connected,
        "is_self": False,
        "is_premium": traits.premium,
        "is_open_profile": traits.open_profile,
        "can_send_inmail": traits.takes_inmail or traits.open_profile,
        "work_experience": [
            {
                "position": traits.headline.partition(" at ")[0],
                "company": traits.company,
                "current": True,
                "start": "1/1/2023",
                "end": None,
            }
        ],
        "public_profile_url": f"https://www.linkedin.com/in/{person.public_identifier}",
    }
    if tie.connected_at is not None:
        body["connected_at"] = _epoch_ms(tie.connected_at)
        body["contact_info"] = {"emails": [f"{person.slug}@example.com"]}
    if tie.invitation is not None:
        body["invitation"] = {"type": "SENT", "status": "PENDING"}
    elif tie.withdrawn_at is not None and not connected and now < tie.withdrawn_at + withdrawn_for:
        body["invitation"] = {"type": "SENT", "status": "WITHDRAWN"}
    return body


def relation(person: Person, at: datetime) -> Json:
    """Return a first-degree connection."""
    return {
        "object": "UserRelation",
        "member_id": person.provider_id,
        "public_identifier": person.public_identifier,
        "first_name": person.traits.first_name,
        "last_name": person.traits.last_name,
        "headline": person.traits.headline,
        "public_profile_url": f"https://www.linkedin.com/in/{person.public_identifier}/",
        "created_at": _epoch_ms(at),
        "member_urn": f"urn:li:fsd_profile:{person.provider_id}",
        "connection_urn": f"urn:li:fsd_connection:{person.provider_id}",
    }


def invitation(one: Invitation, now: datetime, *, by_slug: bool = False) -> Json:
    """Return a pending invitation.  Its instant is as coarse as LinkedIn's words for it.

    `by_slug`: whom it is to is said by public identifier alone.
    """
    days = max((now - one.at) // timedelta(days=1), 0)
    return {
        "object": "InvitationSent",
        "id": one.id,
        "invited_user": one.person.name,
        "invited_user_id": None if by_slug else one.person.provider_id,
        "invited_user_public_id": one.person.public_identifier,
        "invited_user_description": one.person.traits.headline,
        "date": "Sent today" if days == 0 else f"Sent {days} days ago",
        "parsed_datetime": iso_ms(now - timedelta(days=days)),
        "invitation_text": one.note,
    }


def post(one: Post, viewer: Account, now: datetime) -> Json:
    """Return a post as one account sees it."""
    author = one.author
    body: Json = {
        "object": "Post",
        "provider": "LINKEDIN",
        "id": one.id,
        "social_id": one.social_id,
        "share_url": f"https://www.linkedin.com/posts/{author.public_identifier}_{one.id}",
        "text": one.text,
        "date": _ago(now - one.at),
        "parsed_datetime": iso_ms(one.at),
        "reaction_counter": one.likes + len(one.reactions),
        "comment_counter": len(one.comments),
        "repost_counter": 0,
        "impressions_counter": 0,
        "is_repost": one.is_repost,
        "attachments": [],
        "author": {
            "id": author.provider_id,
            "public_identifier": author.public_identifier,
            "name": author.name,
            "is_company": False,
            "headline": author.traits.headline,
        },
        "permissions": {
            "can_react": True,
            "can_share": True,
            "can_post_comments": not one.comments_off,
        },
    }
    reaction = one.reactions.get(viewer.provider_id)
    if reaction is not None:
        body["user_reacted"] = reaction
    return body


def comment(one: Remark, now: datetime) -> Json:
    """Return a comment."""
    return {
        "object": "Comment",
        "id": one.id,
        "post_id": one.post.id,
        "post_urn": one.post.social_id,
        "author": one.author,
        "author_details": {
            "id": one.author_id,
            "is_company": False,
            "headline": None,
            "profile_url": None,
            "network_distance": None,
        },
        "date": _ago(now - one.at),
        "text": one.text,
        "reaction_counter": 0,
        "reply_counter": sum(1 for other in one.post.comments if other.answers == one.id),
    }


def reaction(social_id: str, value: str, author: Member) -> Json:
    """Return a reaction."""
    return {
        "object": "PostReaction",
        "value": value,
        "post_id": social_id,
        "author": {"id": author.provider_id, "type": "INDIVIDUAL", "name": author.name},
    }


def chat(sender: Account, one: Chat, now: datetime) -> Json:
    """Return a chat.  An InMail cannot be followed up before it was answered."""
    latest = one.latest(now)
    body: Json = {
        "object": "Chat",
        "id": one.ids[sender.id],
        "account_id": sender.id,
        "account_type": "LINKEDIN",
        "provider_id": one.provider_id,
        "attendee_provider_id": None if one.is_group else one.person.provider_id,
        "name": "A group" if one.is_group else None,
        "type": int(one.is_group),
        "timestamp": iso_ms(latest.at) if latest else None,
        "unread_count": 0,
        "archived": 0,
        "muted_until": None,
        "read_only": 0,
        "disabledFeatures": ["reply"] if one.is_inmail and not one.answered else [],
        "folder": _FOLDERS,
    }
    if one.is_inmail:
        body["content_type"] = "inmail"
    return body


def message(one: Message, sender: Account) -> Json:
    """Return a message as reads show it: the text is `text`, `is_sender` is 0 or 1."""
    person = one.chat.person
    return {
        "object": "Message",
        "id": one.ids[sender.id],
        "account_id": sender.id,
        "chat_id": one.chat.ids[sender.id],
        "chat_provider_id": one.chat.provider_id,
        "provider_id": one.provider_id,
        "text": one.text,
        "is_sender": int(one.from_us),
        "sender_id": sender.provider_id if one.from_us else person.provider_id,
        "sender_attendee_id": (
            _own_attendee_id(sender) if one.from_us else attendee_id(sender, one.chat)
        ),
        "message_type": one.kind.value,
        "subject": one.subject,
        "timestamp": iso_ms(one.shown_at),
        "seen": 0,
        "seen_by": {},
        "delivered": 1,
        "hidden": 0,
        "deleted": 0,
        "edited": 0,
        "is_event": 0,
        "behavior": None,
        "original": "",
        "attachments": [],
        "reactions": [],
    }


def attendees(one: Chat, sender: Account) -> list[Json]:
    """Return who is in a chat."""
    return [
        {
            "object": "ChatAttendee",
            "id": attendee_id(sender, one),
            "account_id": sender.id,
            "provider_id": one.person.provider_id,
            "name": one.person.name,
            "is_self": 0,
            "hidden": 0,
            "profile_url": f"https://www.linkedin.com/in/{one.person.provider_id}",
        },
        {
            "object": "ChatAttendee",
            "id": _own_attendee_id(sender),
            "account_id": sender.id,
            "provider_id": sender.provider_id,
            "name": sender.name,
            "is_self": 1,
            "hidden": 0,
            "profile_url": f"https://www.linkedin.com/in/{sender.provider_id}",
        },
    ]


def attendee_id(sender: Account, one: Chat) -> str:
    """Return the store's id of the other person of a chat: one per account and person."""
    return hexadecimal("attendee", sender.id, one.person.provider_id)


def _own_attendee_id(sender: Account) -> str:
    return hexadecimal("attendee", sender.id, "self")


def inmail_balance(one: Account, now: datetime) -> Json:
    """Return the InMail credits left; null where nothing is subscribed."""
    left = one.member.inmail_credits(now) if INMAIL_CREDITS[one.tier] else None
    return {
        "object": "LinkedinInmailBalance",
        "premium": left if one.tier is Tier.PREMIUM else None,
        "recruiter": None,
        "sales_navigator": left if one.tier is Tier.SALES_NAVIGATOR else None,
    }


def webhook(one: Webhook) -> Json:
    """Return a registered webhook."""
    return {
        "object": "Webhook",
        "id": one.id,
        "type": "AUTO",
        "name": one.name or "",
        "request_url": one.url,
        "source": one.source,
        "enabled": one.enabled,
        "events": list(one.events),
        "headers": [{"key": key, "value": value} for key, value in one.headers],
        "format": one.format,
        "account_ids": list(one.account_ids),
        "data": [{"name": name, "key": key} for name, key in one.data],
    }


def new_relation(sender: Account, person: Person, webhook_name: str | None) -> Json:
    """Tell of a new connection: no instant, no invitation id."""
    return {
        "event": "new_relation",
        "account_id": sender.id,
        "account_type": "LINKEDIN",
        "webhook_name": webhook_name or "",
        "user_full_name": person.name,
        "user_provider_id": person.provider_id,
        "user_public_identifier": person.public_identifier,
        "user_profile_url": f"https://www.linkedin.com/in/{person.public_identifier}/",
        "user_picture_url": f"https://media.licdn.com/dms/image/{person.provider_id}",
    }


def message_received(sender: Account, one: Message, webhook_name: str | None) -> Json:
    """Tell of a message, ours or theirs: the text is `message`, `is_sender` is a bool."""
    person = one.chat.person
    theirs = {
        "attendee_id": attendee_id(sender, one.chat),
        "attendee_provider_id": person.provider_id,
        "attendee_name": person.name,
    }
    ours = {
        "attendee_id": _own_attendee_id(sender),
        "attendee_provider_id": sender.provider_id,
        "attendee_name": sender.name,
    }
    author = ours if one.from_us else theirs
    return {
        "event": "message_received",
        "event_type": None,
        "account_id": sender.id,
        "account_type": "LINKEDIN",
        "webhook_name": webhook_name or "",
        "account_info": {
            "type": "LINKEDIN",
            "feature": "classic",
            "user_id": sender.provider_id,
        },
        "chat_id": one.chat.ids[sender.id],
        "message_id": one.ids[sender.id],
        "message": one.text,
        "timestamp": iso_ms(one.shown_at),
        "is_sender": one.from_us,
        "is_event": 0,
        "is_group": one.chat.is_group,
        "message_type": one.kind.value,
        "subject": one.subject,
        "provider_chat_id": one.chat.provider_id,
        "provider_message_id": one.provider_id,
        "chat_content_type": "inmail" if one.chat.is_inmail else None,
        "folder": _FOLDERS,
        "quoted": None,
        "attachments": [],
        "sender": {
            **author,
            "attendee_profile_url": (
                f"https://www.linkedin.com/in/{author['attendee_provider_id']}"
            ),
            "attendee_specifics": {
                "provider": "LINKEDIN",
                "network_distance": "SELF" if one.from_us else "DISTANCE_1",
            },
        },
        "attendees": [theirs],
    }


def account_status(one: Account, word: str) -> Json:
    """Tell of an account's new state: nested, upper case, without an instant."""
    return {"AccountStatus": {"account_id": one.id, "account_type": "LINKEDIN", "message": word}}


def _epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _ago(age: timedelta) -> str:
    """Return an age in LinkedIn's words."""
    for unit, length in (
        ("mo", timedelta(days=30)),
        ("w", timedelta(weeks=1)),
        ("d", timedelta(days=1)),
        ("h", timedelta(hours=1)),
    ):
        if age >= length:
            return f"{age // length}{unit}"
    return f"{max(age // timedelta(minutes=1), 1)}m"

"""The JSON of the fact sheet's examples, and a stub of Unipile that answers with it."""

import json
import re
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.message import Message as Mail

import httpx

from clento_engine.provider.unipile import UnipileClient

Json = Mapping[str, object]

ACCOUNT_ID = "acc_1"
DSN = "api8.unipile.com:13443"
TOKEN = "s3cr3t-token"  # noqa: S105 - invented

PROFILE: Json = {
    "object": "UserProfile",
    "provider": "LINKEDIN",
    "provider_id": "ACoAAB1",
    "public_identifier": "lea-example",
    "first_name": "Lea",
    "last_name": "Example",
    "headline": "CTO at Acme",
    "location": "Lyon",
    "websites": [],
    "network_distance": "SECOND_DEGREE",
    "is_relationship": False,
    "is_self": False,
    "is_premium": False,
    "is_open_profile": False,
    "can_send_inmail": True,
    "invitation": {"type": "SENT", "status": "PENDING"},
    "work_experience": [
        {"position": "CTO", "company": "Acme", "current": True, "start": "1/1/2023", "end": None}
    ],
    "public_profile_url": "https://www.linkedin.com/in/lea-example",
}
ACCOUNT: Json = {
    "object": "Account",
    "id": "acc_1",
    "type": "LINKEDIN",
    "name": "Sender One",
    "created_at": "2026-01-02T03:04:05.678Z",
    "groups": [],
    "connection_params": {
        "im": {
            "id": "ACoAAA0",
            "publicIdentifier": "sender-one",
            "username": "Sender One",
            "premiumId": None,
            "premiumContractId": None,
            "premiumFeatures": ["sales_navigator"],
            "organizations": [],
        }
    },
    "sources": [{"id": "acc_1_MESSAGING", "status": "OK"}],
}
RELATION: Json = {
    "object": "UserRelation",
    "member_id": "ACoAAB1",
    "public_identifier": "lea-example",
    "first_name": "Lea",
    "last_name": "Example",
    "headline": "CTO",
    "public_profile_url": "https://www.linkedin.com/in/lea-example/",
    "created_at": 1782818741000,
    "member_urn": "urn:li:fsd_profile:ACoAAB1",
    "connection_urn": "urn:li:fsd_connection:x",
}
INVITATION: Json = {
    "object": "InvitationSent",
    "id": "7449262477600571392",
    "invited_user": "Lea Example",
    "invited_user_id": "ACoAAB1",
    "invited_user_public_id": "lea-example",
    "invited_user_description": "CTO",
    "date": "Sent today",
    "parsed_datetime": "2026-10-09T08:00:00.000Z",
    "invitation_text": None,
}
POST: Json = {
    "object": "Post",
    "provider": "LINKEDIN",
    "id": "7332661864792854528",
    "social_id": "urn:li:ugcPost:7332661863920324609",
    "share_url": "https://www.linkedin.com/posts/x",
    "text": "We are hiring",
    "date": "2d",
    "parsed_datetime": "2026-10-07T09:00:00.000Z",
    "reaction_counter": 3,
    "comment_counter": 1,
    "repost_counter": 0,
    "impressions_counter": 0,
    "user_reacted": "LIKE",
    "is_repost": False,
    "attachments": [],
    "author": {
        "id": "ACoAAB1",
        "public_identifier": "lea-example",
        "name": "Lea Example",
        "is_company": False,
        "headline": "CTO",
    },
    "permissions": {"can_react": True, "can_share": True, "can_post_comments": True},
}
COMMENT: Json = {
    "object": "Comment",
    "id": "7333",
    "post_id": "7332661864792854528",
    "post_urn": "urn:li:ugcPost:7332661863920324609",
    "author": "Sender One",
    "author_details": {
        "id": "ACoAAA0",
        "headline": None,
        "profile_url": None,
        "network_distance": None,
    },
    "date": "1m",
    "text": "Great point",
    "reaction_counter": 0,
    "reply_counter": 0,
}
CHAT: Json = {
    "object": "Chat",
    "id": "chat1",
    "account_id": "acc_1",
    "account_type": "LINKEDIN",
    "provider_id": "2-abc",
    "attendee_provider_id": "ACoAAB1",
    "name": None,
    "type": 0,
    "timestamp": "2026-10-09T08:00:00.000Z",
    "unread_count": 0,
    "archived": 0,
    "muted_until": None,
    "read_only": 0,
    "disabledFeatures": [],
    "folder": ["INBOX", "INBOX_LINKEDIN_CLASSIC"],
}
MESSAGE: Json = {
    "object": "Message",
    "id": "msg1",
    "account_id": "acc_1",
    "chat_id": "chat1",
    "chat_provider_id": "2-abc",
    "provider_id": "2-xyz",
    "text": "Hello Lea",
    "is_sender": 1,
    "sender_id": "ACoAAA0",
    "sender_attendee_id": "att0",
    "message_type": "MESSAGE",
    "subject": None,
    "timestamp": "2026-10-09T08:00:00.123Z",
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
WEBHOOK: Json = {
    "object": "Webhook",
    "id": "wh1",
    "name": "clento",
    "request_url": "https://example.com/hook",
    "enabled": True,
    "events": ["message_received"],
    "headers": [],
    "format": "json",
    "account_ids": [],
    "data": [],
    "type": "AUTO",
}


def listed(*items: Json, cursor: str | None = None, **more: object) -> Json:
    return {"object": "List", "items": list(items), "cursor": cursor, **more}


# Method and path (as a pattern), status, body: the first that fits answers.
ROUTES: list[tuple[str, int, Json]] = [
    ("GET /users/relations", 200, listed(RELATION)),
    ("GET /users/invite/sent", 200, listed(INVITATION)),
    (
        "POST /users/invite",
        200,
        {"object": "UserInvitationSent", "invitation_id": "7449262477600571392", "usage": 75},
    ),
    ("DELETE /users/invite/sent/[^/]+", 200, {"object": "InvitationCanceled"}),
    ("GET /users/[^/]+/comments", 200, listed(COMMENT, total_items=1)),
    ("GET /users/[^/]+/posts", 200, listed(POST, paging={"page_count": 1})),
    ("GET /users/[^/]+", 200, PROFILE),
    ("POST /posts/reaction", 201, {"object": "ReactionAdded"}),
    ("POST /posts/[^/]+/comments", 201, {"object": "CommentSent", "comment_id": "7333"}),
    ("GET /posts/[^/]+", 200, POST),
    ("GET /chats", 200, listed(CHAT)),
    ("GET /chats/[^/]+", 200, CHAT),
    ("POST /chats", 201, {"object": "ChatStarted", "chat_id": "chat1", "message_id": "msg1"}),
    ("POST /chats/[^/]+/messages", 201, {"object": "MessageSent", "message_id": "msg2"}),
    ("GET /chat_attendees/[^/]+/chats", 200, listed(CHAT)),
    ("GET /chats/[^/]+/messages", 200, listed(MESSAGE)),
    ("GET /messages", 200, listed(MESSAGE)),
    ("GET /accounts/[^/]+", 200, ACCOUNT),
    ("GET /accounts", 200, listed(ACCOUNT)),
    ("GET /webhooks", 200, listed(WEBHOOK)),
    ("POST /webhooks", 201, {"object": "WebhookCreated", "webhook_id": "wh1"}),
    ("DELETE /webhooks/[^/]+", 200, {"object": "WebhookDeleted"}),
]


def sample(request: httpx.Request) -> httpx.Response:
    """Answer as the fact sheet says Unipile does."""
    path = request.url.raw_path.decode().partition("?")[0].removeprefix("/api/v1")
    for route, status, body in ROUTES:
        if re.fullmatch(route, f"{request.method} {path}"):
            return httpx.Response(status, json=body)
    raise AssertionError(f"no such route: {request.method} {path}")


def problem(kind: str, status: int, **headers: str) -> httpx.Response:
    """Answer with an error in Unipile's shape."""
    body = {"status": status, "type": f"errors/{kind}", "title": kind, "detail": "text"}
    return httpx.Response(status, json=body, headers=headers)


Answerer = Callable[[httpx.Request], httpx.Response]


class Stub:
    """Answers in Unipile's place, and remembers what it was asked."""

    def __init__(self, answer: Answerer = sample) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.client = UnipileClient(
            DSN, TOKEN, transport=httpx.MockTransport(self._handle), pause=self._pause
        )

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def request(self) -> httpx.Request:
        """The only request there was."""
        (request,) = self.requests
        return request

    def asked(self) -> str:
        """Return method, path and query as they were sent."""
        return f"{self.request.method} {self.request.url.raw_path.decode()}"

    def sent_json(self) -> object:
        assert self.request.headers["content-type"] == "application/json"
        return json.loads(self.request.content)

    def sent_form(self) -> list[tuple[str | None, str]]:
        """Return the multipart fields in their order."""
        kind = self.request.headers["content-type"]
        assert kind.startswith("multipart/form-data; boundary=")
        parts = message_from_bytes(
            f"Content-Type: {kind}\r\n\r\n".encode() + self.request.content
        ).get_payload()
        assert isinstance(parts, list)
        return [_field(part) for part in parts if isinstance(part, Mail)]


def _field(part: Mail) -> tuple[str | None, str]:
    value = part.get_payload(decode=True)
    assert isinstance(value, bytes)
    assert part.get_filename() is None
    name = part.get_param("name", header="content-disposition")
    assert isinstance(name, str)
    return name, value.decode()

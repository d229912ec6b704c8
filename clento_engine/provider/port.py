"""What the runtime needs from a provider: reads and writes, with failures as values.

Held against Unipile's v2 (source: unipile.md, section 1; its official client, still in beta), of
which a second adapter could be.  It fits that accounts are named in paths, that lists are read by
offset (a cursor is the adapter's own word), that errors have other words and that the address is
fixed.  What does not fit yet, so that whoever writes it need not find out:

- Webhooks come past the port and are stored as they came: `provider/webhooks.py` makes values of
  v1's JSON, but statements of the store (claim, campaigns, outbox, members) read it themselves.  v2
  signs each by a secret of its endpoint; the receiver compares one header with one secret.
- `register_webhook` and `Webhook` speak of v1's sources and events (`runtime/registration.py`).
- A visit is two requests: a profile brings the token by which the second notifies.  `visit` may
  send both, but takes one unit, and the first is a read that LinkedIn counts as well.
- v2 also limits the requests of a token.  `Wait` holds back a lead, a budget or an account; nobody
  but the workspace's rest (`Retry.silence`) holds back everyone for a while.
- A database is bound to its workspace by the address, which all workspaces of v2 share.
- Ids of accounts, chats and messages are another's there.  A sender that changes over is bound
  anew with none of its open intents: what v1 sent, v2's ids cannot prove absent.
- `Message.kind` and `Account.status` are v1's words; reconcile reads INVITATION and INMAIL.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from clento_engine.domain.failure import Failure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ask for the next with its cursor.  No cursor: it is the last."""

    items: tuple[T, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as one account sees them.  `invitation`: status of ours to them, if there is one."""

    provider_id: str
    public_identifier: str | None
    connected: bool
    invitation_pending: bool


@dataclass(frozen=True, slots=True)
class Post:
    """A post; act on `social_id`."""

    social_id: str
    posted_at: datetime | None
    reacted: bool  # our account already did
    is_repost: bool
    can_react: bool
    can_comment: bool


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment; `post_urn` is the post's `social_id`."""

    text: str = field(repr=False)  # what people write stays out of logs
    id: str | None = None
    post_id: str | None = None
    post_urn: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A write that had its effect.

    `reference`: the id of the invitation, comment or message; the provider may leave it out.
    `usage`: percent of LinkedIn's allowance, given only when a threshold was crossed.
    """

    reference: str | None = None
    chat_id: str | None = None
    usage: float | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """A pending invitation that the account sent."""

    id: str
    provider_id: str | None
    public_identifier: str | None


@dataclass(frozen=True, slots=True)
class Relation:
    """A first-degree connection of the account."""

    provider_id: str
    public_identifier: str | None
    connected_at: datetime | None


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat.  `is_group`: it is of more than two."""

    id: str
    provider_id: str | None  # the other person, of a 1:1 chat
    is_group: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a chat; `kind` is the provider's word (MESSAGE, INVITATION, INMAIL, …)."""

    id: str
    chat_id: str
    sender_id: str | None
    from_us: bool
    text: str = field(repr=False)
    sent_at: datetime
    kind: str
    is_event: bool


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of a chat, newest first.  `is_whole`: they go back to the chat's start."""

    items: tuple[Message, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Account:
    """A connected account as the provider sees it; `usable` when every source says OK.

    `provider_id`: whose LinkedIn account it is.  `created_at`: when it was connected under `id`.
    """

    id: str
    name: str
    provider_id: str | None
    usable: bool
    status: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook registered with the provider."""

    id: str
    name: str | None
    url: str
    events: tuple[str, ...]


class Provider(Protocol):
    """One provider of LinkedIn access; `account` is always the provider's own id of the sender.

    Every call answers with its value or with a `Failure`.  Reads of the provider's own store
    (chats, messages, accounts, webhooks) may be repeated inside the call.  Those that LinkedIn
    sees, and so counts, reach the provider once at most: a profile, posts, a post, own comments,
    sent invitations, relations.  Writes (visit, react, comment, invite, withdraw, start_chat,
    send_message, inmail and the two of webhooks) are sent once and raise `OutcomeUnknown` when the
    effect may have happened.  A failed connection is `Retry`: nothing left.  Instants are aware
    UTC.  An answer about another person, post, chat or account than was asked for by id, or to
    another question, is not understood: `Retry` to a read, unknown to a write.
    """

    @property
    def skew(self) -> timedelta | None:
        """How far our clock is ahead of the provider's at least; negative when it is behind.

        None until three answers agree about it, or where nothing is measured.
        """

    async def probe(self) -> Failure | None:
        """Ask once for what costs nothing; None when the provider itself answered, with any word.

        Else the Retry that says why it cannot be asked.
        """

    async def profile(
        self, account: str, identifier: str, *, sales_navigator: bool = False
    ) -> Profile | Failure:
        """Read the profile of a provider id or public identifier, unseen by the person.

        With `sales_navigator` the profile's `provider_id` is that product's own (`ACw…`), which
        an InMail of that product must be sent to.
        """

    async def visit(self, account: str, identifier: str) -> Profile | Failure:
        """Visit the profile so that the person is notified."""

    async def posts(
        self, account: str, provider_id: str, *, limit: int
    ) -> Sequence[Post] | Failure:
        """Read the person's newest posts, newest first."""

    async def post(self, account: str, social_id: str) -> Post | Failure:
        """Read one post."""

    async def react(self, account: str, social_id: str) -> Sent | Failure:
        """Like a post."""

    async def comment(self, account: str, social_id: str, text: str) -> Sent | Failure:
        """Comment a post."""

    async def own_comments(
        self, account: str, own_id: str, *, cursor: str | None = None
    ) -> Page[Comment] | Failure:
        """Read one page of what the account itself commented, presumed newest first.

        `own_id` is the account's own provider id.
        """

    async def invite(self, account: str, provider_id: str, note: str | None) -> Sent | Failure:
        """Ask to connect; the reference is the invitation's id."""

    async def sent_invitations(
        self, account: str, *, cursor: str | None = None
    ) -> Page[Invitation] | Failure:
        """Read one page of the pending invitations.  Absence is proved by all pages, not by one."""

    async def withdraw(self, account: str, invitation_id: str) -> Sent | Failure:
        """Withdraw a pending invitation.

        When there is none under this id, only the profile says whether one is pending: unknown.
        """

    async def start_chat(self, account: str, provider_id: str, text: str) -> Sent | Failure:
        """Send a message to a connection, in the chat that exists or a new one."""

    async def send_message(self, account: str, chat_id: str, text: str) -> Sent | Failure:
        """Send a message in a known chat."""

    async def inmail(
        self, account: str, provider_id: str, text: str, subject: str, *, sales_navigator: bool
    ) -> Sent | Failure:
        """Send an InMail."""

    async def chats_with(self, account: str, provider_id: str) -> Sequence[Chat] | Failure:
        """Find the 1:1 chats with a person; none is no proof that there is no connection."""

    async def has_chats(self, account: str) -> bool | Failure:
        """Ask whether the provider's store shows any chat of the account."""

    async def chat_messages(
        self, account: str, chat_id: str, *, back_to: Collection[str] = ()
    ) -> Messages | Failure:
        """Read a chat's messages back to one whose id is in `back_to`, else to the chat's start.

        Newest first, whole pages: what is older than that message may come with it.
        """

    async def newest_messages(self, account: str, chat_id: str) -> Sequence[Message] | Failure:
        """Read the first page of a chat's messages, newest first."""

    async def chat(self, account: str, chat_id: str) -> Chat | Failure:
        """Read whose chat it is."""

    async def messages(self, account: str, *, after: datetime) -> Sequence[Message] | Failure:
        """Read the account's messages over all chats since `after`, every page."""

    async def relations(self, account: str) -> Sequence[Relation] | Failure:
        """Read the first page of the account's relations, presumed newest first."""

    async def account(self, account: str) -> Account | Failure:
        """Read the state of a connected account; causes no LinkedIn traffic."""

    async def webhooks(self) -> Sequence[Webhook] | Failure:
        """Read the webhooks registered with the provider, every page."""

    async def register_webhook(
        self, source: str, url: str, *, events: Sequence[str], secret: str, name: str
    ) -> str | Failure:
        """Register a webhook that proves itself by `secret`; its id."""

    async def delete_webhook(self, webhook_id: str) -> Sent | Failure:
        """Remove a registered webhook."""

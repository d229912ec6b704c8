"""Speaks Unipile's API v1: what each call of the port asks, and of whom.

Requests are written in `encode`, sent in `exchange` over `transport`, and read in `decode` and
`answers`; `calls` is how one is made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import httpx

from clento_engine.domain.failure import Fail, Failure, Means, Retry, Skip
from clento_engine.domain.outside import bounded_moment, is_id
from clento_engine.provider import answers, bodies, decode
from clento_engine.provider.answers import NO_SUCH_CHAT, Call
from clento_engine.provider.calls import READ_ATTEMPTS, Calls, wanted
from clento_engine.provider.decode import clean
from clento_engine.provider.encode import json_content, multipart, page_of, segment, timestamp
from clento_engine.provider.exchange import CONNECT_TIMEOUT, READ_TIMEOUT, ROOM, Exchange, Success
from clento_engine.provider.port import (
    Account,
    Chat,
    Comment,
    Invitation,
    Message,
    Messages,
    Page,
    Post,
    Profile,
    Relation,
    Sent,
    Webhook,
)
from clento_engine.provider.skew import TOLERANCE

_NO_PROFILE = decode.ROUTES | {"", ".", ".."}


class UnipileClient:
    """A Provider over Unipile's API v1, for all accounts of one access token.

    Safe for any number of tasks of one event loop.  Close it with `aclose` or `async with`.
    """

    def __init__(
        self,
        dsn: str,
        access_token: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        connect_timeout: timedelta = CONNECT_TIMEOUT,
        read_timeout: timedelta = READ_TIMEOUT,
        read_attempts: int = READ_ATTEMPTS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], datetime] | None = None,
        tolerance: timedelta = TOLERANCE,
        room: bodies.Room = ROOM,
    ) -> None:
        """Prepare the client; nothing is opened before the first request.

        `pause` waits some seconds between the attempts of a read.  `clock` is compared with the
        provider's at each answer, and a difference of more than `tolerance` is warned about; on a
        clock that runs faster than real time it should be as many times as much.  No message is of
        a moment later than it shows.  `room`: for the bodies of answers, usually the process's.
        Raises ValueError when DSN or token cannot be right.
        """
        self._exchange = Exchange(
            dsn,
            access_token,
            transport=transport,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            clock=clock,
            tolerance=tolerance,
            room=room,
        )
        self._calls = Calls(self._exchange, read_attempts=read_attempts, pause=pause)

    def __repr__(self) -> str:
        """Show the address, never the token."""
        return f"UnipileClient({self._exchange.address!r})"

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exchange.aclose()

    @property
    def skew(self) -> timedelta | None:
        """How far our clock is ahead of Unipile's at least; None while that is not known."""
        return self._exchange.skew.ahead

    # -- people

    async def profile(
        self, account: str, identifier: str, *, sales_navigator: bool = False
    ) -> Profile | Failure:
        """Read the profile of a provider id or public identifier, unseen by the person."""
        if _is_no_profile(identifier):
            return Fail("no such profile: this is not an identifier")
        query = {"account_id": account, "notify": "false"}
        if sales_navigator:
            query["linkedin_api"] = "sales_navigator"
        path = f"/users/{segment(identifier)}"
        read = partial(decode.profile_of, identifier, by_product=sales_navigator)
        return await self._calls.read(Call.PROFILE, path, query, read)

    async def visit(self, account: str, identifier: str) -> Profile | Failure:
        """Visit the profile so that the person is notified."""
        if _is_no_profile(identifier):
            return Fail("no such profile: this is not an identifier")
        query = {"account_id": account, "notify": "true"}
        reply = await self._exchange.ask(Call.VISIT, f"/users/{segment(identifier)}", query)
        return wanted(Call.VISIT, reply, partial(decode.profile_of, identifier))

    async def posts(
        self, account: str, provider_id: str, *, limit: int
    ) -> Sequence[Post] | Failure:
        """Read the person's newest posts, newest first: one page, of which a unit was taken."""
        query = {"account_id": account, "limit": str(max(1, min(limit, 100)))}
        path = f"/users/{segment(provider_id)}/posts"
        page = await self._calls.read(
            Call.POSTS, path, query, partial(decode.posts_of, provider_id)
        )
        return page.items[:limit] if isinstance(page, Page) else page

    async def post(self, account: str, social_id: str) -> Post | Failure:
        """Read one post."""
        query = {"account_id": account}
        read = partial(decode.post_of, social_id)
        return await self._calls.read(Call.POST, f"/posts/{segment(social_id)}", query, read)

    async def react(self, account: str, social_id: str) -> Sent | Failure:
        """Like a post."""
        content = json_content(
            {"account_id": account, "post_id": social_id, "reaction_type": "like"}
        )
        return await self._calls.write(Call.REACT, "/posts/reaction", content=content)

    async def comment(self, account: str, social_id: str, text: str) -> Sent | Failure:
        """Comment a post."""
        if "{{" in text:  # Unipile reads {{0}} as a mention
            reason = "the comment holds a placeholder that was not filled in"
            return Skip(reason, means=Means.OURS, alert=True)
        content = json_content({"account_id": account, "text": clean(text)})
        path = f"/posts/{segment(social_id)}/comments"
        return await self._calls.write(Call.COMMENT, path, content=content, reference="comment_id")

    async def own_comments(
        self, account: str, own_id: str, *, cursor: str | None = None
    ) -> Page[Comment] | Failure:
        """Read one page of what the account itself commented, presumed newest first."""
        path = f"/users/{segment(own_id)}/comments"
        item = partial(decode.page, partial(decode.own_comment, own_id))
        return await self._calls.read(Call.OWN_COMMENTS, path, page_of(account, cursor), item)

    async def relations(self, account: str) -> Sequence[Relation] | Failure:
        """Read the first page of the account's relations, presumed newest first."""
        query = {"account_id": account, "limit": "100"}
        item = partial(decode.page, decode.relation)
        first = await self._calls.read(Call.RELATIONS, "/users/relations", query, item)
        return first.items if isinstance(first, Page) else first

    # -- invitations

    async def invite(self, account: str, provider_id: str, note: str | None) -> Sent | Failure:
        """Ask to connect; the reference is the invitation's id."""
        fields = {"account_id": account, "provider_id": provider_id}
        if note:  # an empty one would count as a note, of which free accounts have few
            fields["message"] = clean(note)
        return await self._calls.write(
            Call.INVITE, "/users/invite", content=json_content(fields), reference="invitation_id"
        )

    async def sent_invitations(
        self, account: str, *, cursor: str | None = None
    ) -> Page[Invitation] | Failure:
        """Read one page of the pending invitations.  Absence is proved by all pages, not by one."""
        path = "/users/invite/sent"
        item = partial(decode.page, decode.invitation)
        return await self._calls.read(Call.SENT_INVITATIONS, path, page_of(account, cursor), item)

    async def withdraw(self, account: str, invitation_id: str) -> Sent | Failure:
        """Withdraw a pending invitation; whether it is gone if it is not there, nobody knows."""
        path = f"/users/invite/sent/{segment(invitation_id)}"
        return await self._calls.write(Call.WITHDRAW, path, {"account_id": account})

    # -- messages

    async def start_chat(self, account: str, provider_id: str, text: str) -> Sent | Failure:
        """Send a message to a connection, in the chat that exists or a new one."""
        content = multipart(account_id=account, attendees_ids=provider_id, text=text)
        return await self._calls.write(
            Call.START_CHAT, "/chats", content=content, reference="message_id"
        )

    async def send_message(self, account: str, chat_id: str, text: str) -> Sent | Failure:
        """Send a message in a known chat."""
        if not is_id(chat_id):  # learned before ids were looked at: it names no chat
            return NO_SUCH_CHAT
        # With `account_id` Unipile refuses a chat of another account.
        content = multipart(account_id=account, text=text)
        path = f"/chats/{segment(chat_id)}/messages"
        return await self._calls.write(
            Call.SEND_MESSAGE, path, content=content, reference="message_id"
        )

    async def inmail(
        self, account: str, provider_id: str, text: str, subject: str, *, sales_navigator: bool
    ) -> Sent | Failure:
        """Send an InMail."""
        # Without `linkedin[api]` this would be an ordinary message.  Sales Navigator was seen to
        # work without `linkedin[inmail]`, and the official SDK leaves it out too.
        product = (
            {"linkedin[api]": "sales_navigator"}
            if sales_navigator
            else {"linkedin[api]": "classic", "linkedin[inmail]": "true"}
        )
        content = multipart(
            account_id=account, attendees_ids=provider_id, text=text, subject=subject, **product
        )
        return await self._calls.write(
            Call.INMAIL, "/chats", content=content, reference="message_id"
        )

    async def chats_with(self, account: str, provider_id: str) -> Sequence[Chat] | Failure:
        """Find the 1:1 chats with a person; none is no proof that there is no connection."""
        query = {"account_id": account, "limit": "250"}
        path = f"/chat_attendees/{segment(provider_id)}/chats"
        item = partial(decode.chat_with, account, provider_id)
        chats = await self._calls.all(Call.CHATS_WITH, path, query, item)
        return () if chats == answers.NO_CHAT else chats

    async def has_chats(self, account: str) -> bool | Failure:
        """Ask whether Unipile's store shows any chat of the account."""
        query = {"account_id": account, "limit": "1"}
        item = partial(decode.chat_of, account)
        chats = await self._calls.pages(Call.CHATS, "/chats", query, item, until=lambda _: True)
        return bool(chats.items) if isinstance(chats, Page) else chats

    async def chat_messages(
        self,
        account: str,  # noqa: ARG002  v1 knows a chat's account by its id
        chat_id: str,
        *,
        back_to: Collection[str] = (),
    ) -> Messages | Failure:
        """Read a chat's messages back to one whose id is in `back_to`, else to the chat's start."""
        if not is_id(chat_id):
            return NO_SUCH_CHAT
        pages = await self._calls.pages(
            Call.CHAT_MESSAGES,
            f"/chats/{segment(chat_id)}/messages",
            {"limit": "250"},
            lambda body: self._in_time(decode.message_in(chat_id, body)),
            until=lambda message: message.id in back_to,
        )
        if not isinstance(pages, Page):
            return pages
        return Messages(pages.items, is_whole=pages.cursor is None)

    async def newest_messages(
        self,
        account: str,  # noqa: ARG002  v1 knows a chat's account by its id
        chat_id: str,
    ) -> Sequence[Message] | Failure:
        """Read the first page of a chat's messages, newest first."""
        if not is_id(chat_id):
            return NO_SUCH_CHAT
        path = f"/chats/{segment(chat_id)}/messages"
        item = partial(decode.message_in, chat_id)
        page = await self._calls.pages(
            Call.CHAT_MESSAGES, path, {"limit": "100"}, item, until=lambda _: True
        )
        return page.items if isinstance(page, Page) else page

    async def chat(self, account: str, chat_id: str) -> Chat | Failure:
        """Read whose chat it is."""
        if not is_id(chat_id):
            return NO_SUCH_CHAT
        read = partial(decode.chat_asked, account, chat_id)
        return await self._calls.read(Call.CHAT, f"/chats/{segment(chat_id)}", {}, read)

    async def messages(self, account: str, *, after: datetime) -> Sequence[Message] | Failure:
        """Read the account's messages over all chats since `after`, every page."""
        query = {"account_id": account, "after": timestamp(after), "limit": "250"}
        return await self._calls.all(
            Call.MESSAGES,
            "/messages",
            query,
            lambda body: self._in_time(decode.message_of(account, body)),
        )

    # -- accounts and webhooks

    async def account(self, account: str) -> Account | Failure:
        """Read the state of a connected account; causes no LinkedIn traffic."""
        read = partial(decode.account_of, account)
        return await self._calls.read(Call.ACCOUNT, f"/accounts/{segment(account)}", {}, read)

    async def probe(self) -> Failure | None:
        """Ask for one account, once; None when it is Unipile that answers, with any word."""
        reply = await self._exchange.ask(Call.ACCOUNTS, "/accounts", {"limit": "1"})
        if isinstance(reply, Success):
            return None
        failure = answers.failure(reply)
        return failure if isinstance(failure, Retry) and failure.silence else None

    async def webhooks(self) -> Sequence[Webhook] | Failure:
        """Read the webhooks registered with the provider, every page."""
        return await self._calls.all(Call.WEBHOOKS, "/webhooks", {"limit": "250"}, decode.webhook)

    async def register_webhook(
        self, source: str, url: str, *, events: Sequence[str], secret: str, name: str
    ) -> str | Failure:
        """Register a webhook that carries `secret` in the header `Unipile-Auth`; its id."""
        content = json_content(
            {
                "source": source,
                "request_url": url,
                "name": name,
                "format": "json",
                "enabled": True,
                "events": list(events),
                "headers": [
                    {"key": "Unipile-Auth", "value": secret},
                    # Without it the events come as JSON that does not say so.
                    {"key": "Content-Type", "value": "application/json"},
                ],
            }
        )
        reply = await self._exchange.ask(Call.REGISTER_WEBHOOK, "/webhooks", content=content)
        return wanted(Call.REGISTER_WEBHOOK, reply, decode.webhook_id)

    async def delete_webhook(self, webhook_id: str) -> Sent | Failure:
        """Remove a registered webhook."""
        return await self._calls.write(Call.DELETE_WEBHOOK, f"/webhooks/{segment(webhook_id)}")

    def _in_time(self, message: Message) -> Message:
        """Return a message that was sent at a moment that there was already."""
        now = self._exchange.now()
        if now is None or message.sent_at == (at := bounded_moment(message.sent_at, now)):
            return message
        return replace(message, sent_at=at)


def _is_no_profile(identifier: str) -> bool:
    return clean(unquote(identifier)) in _NO_PROFILE

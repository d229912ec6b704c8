"""Speaks Unipile's API v1 over httpx: requests are built here, read in `decode` and `answers`.

Requests go to the httpx *transport* itself, not through `httpx.AsyncClient`, which would log every
URL at INFO, keep cookies from one account to the next, carry the access token along redirects, and
double the time a request takes (measured: 150 against 300 µs).  None of its services is missed.
"""

import asyncio
import json
import logging
import math
import select
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from secrets import token_hex
from time import perf_counter
from traceback import format_tb
from types import TracebackType
from typing import Self, TypeVar, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from httpx_aiohttp import AiohttpTransport
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

from clento_engine.domain.failure import Fail, Failure, Means, OutcomeUnknown, Retry, Skip
from clento_engine.domain.outside import bounded_moment, is_id
from clento_engine.provider import answers, bodies, decode
from clento_engine.provider.answers import NO_SUCH_CHAT, Call, Refusal, Silence
from clento_engine.provider.decode import Json, NotUnderstood
from clento_engine.provider.port import (
    Account,
    Chat,
    Comment,
    InmailBalance,
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
from clento_engine.provider.skew import TOLERANCE, Skew, Span, parsed_date

log = logging.getLogger(__name__)

T = TypeVar("T")

BASE_PATH = "/api/v1"
CONNECT_TIMEOUT = timedelta(seconds=10)
READ_TIMEOUT = timedelta(seconds=90)  # calls go on to LinkedIn and can be slow
READ_ATTEMPTS = 3
MAX_PAGES = 100
LIST_LIMITS = 3  # time limits of a request that all pages of a list may take
MAX_REDIRECTS = 3
# A POST written while the server drops an idle connection has an unknown outcome, so connections
# are dropped before the server does: Node's default is 5 s, nginx's 75 s.
KEEP_ALIVE = timedelta(seconds=4)
# Bytes of an answer that are taken before they are asked for, by the kernel (which doubles it) and
# by aiohttp: at 30 ms from the server they still let 2 MB a second through.
RECEIVE_AHEAD, READ_AHEAD = 1 << 15, 1 << 14

_MAX_RETRY_AFTER = timedelta(days=30)
_NO_PROFILE = decode.ROUTES | {"", ".", ".."}

_ROOM = bodies.Room(bodies.ROOM, usual=bodies.USUAL)  # of the process, whatever clients it has


def normalise_dsn(text: str) -> str:
    """Return scheme, host and port of Unipile, in whichever spelling the DSN was given.

    A server behind the query `?port=NNNNN` keeps it.  Raises ValueError with the fix in words.
    """
    example = "; UNIPILE_DSN should be host and port, like api8.unipile.com:13443"
    bare = text.strip().strip("\"'").strip()
    if not bare:
        raise ValueError(f"the address of Unipile is empty{example}")
    try:
        url = urlsplit(bare if "://" in bare else f"https://{bare}")
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise ValueError(f"the address of Unipile cannot be read ({error}){example}") from None
    if url.scheme not in ("https", "http"):
        raise ValueError(f"the address of Unipile must begin with https://{example}")
    if url.username is not None or url.password is not None:
        raise ValueError(f"the address of Unipile must hold no user or password{example}")
    if not host or any(c.isspace() or c in "\"'\\%" or not c.isprintable() for c in host):
        raise ValueError(f"the address of Unipile names no host{example}")
    if url.path.rstrip("/") not in ("", BASE_PATH):
        raise ValueError(f"leave {url.path!r} out, {BASE_PATH} is added by the engine{example}")
    query, behind = url.query, url.query.removeprefix("port=")
    if url.fragment or (query and not (query.startswith("port=") and behind.isdecimal())):
        raise ValueError(f"leave out what follows the host, except ?port=NNNNN{example}")
    netloc = f"[{host}]" if ":" in host else host
    netloc = netloc if port is None else f"{netloc}:{port}"
    dsn = f"{url.scheme}://{netloc}" + (f"?{query}" if query else "")
    try:
        httpx.URL(dsn)
    except httpx.InvalidURL as error:
        raise ValueError(f"the address of Unipile cannot be read ({error}){example}") from None
    return dsn


# By when (perf_counter) the request under way must be written, or is not written at all.
_WRITTEN_BY: ContextVar[float] = ContextVar("written_by")


def _need_time() -> None:
    """Raise what says that nothing left, when the time to write is over.

    A process that was stopped wakes with a lease that may be over, and would notice its time-outs
    only after the request was written.
    """
    if perf_counter() > _WRITTEN_BY.get(math.inf):
        raise aiohttp.ConnectionTimeoutError("too late to write the request")


class _Request(aiohttp.ClientRequest):
    """Looks at the time where the bytes of a body, and with them all others, are written.

    On Python 3.11 that is a task of its own: every other task may have a turn before it.
    """

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: aiohttp.connector.Connection,
        content_length: int | None = None,
    ) -> None:
        try:
            _need_time()
        except aiohttp.ConnectionTimeoutError as late:
            assert conn.protocol is not None  # noqa: S101  only a released one has none
            conn.protocol.set_exception(late)  # for whoever waits for the answer
            conn.close()
            return
        await super().write_bytes(writer, conn, content_length)


def _is_tainted(protocol: ResponseHandler | None) -> bool:
    """Whether anything came on a connection since its last answer: bytes, or its end.

    The next request would be given them as its answer.  They are in the protocol, or still in the
    kernel.  (Of TLS they may be no more than a session ticket: then a connection is lost, no
    request.)
    """
    if protocol is None or protocol.transport is None or protocol.should_close:
        return True
    sock = protocol.transport.get_extra_info("socket")
    if sock is None or (descriptor := sock.fileno()) < 0:  # it has ended
        return True
    readable = select.poll()  # not `select.select`, which knows the first 1,024 files only
    readable.register(descriptor, select.POLLIN)
    return bool(readable.poll(0))


class _Connector(aiohttp.TCPConnector):
    """Gives connections on which nothing came while they were idle, and nothing is written late.

    What comes on an idle connection answers no request of ours, and aiohttp would hand it to the
    next one as its answer: an invitation would be "sent" that the server never read.
    For late writes see `_need_time`.
    """

    async def _get(
        self, key: ConnectionKey, traces: list[aiohttp.tracing.Trace]
    ) -> aiohttp.connector.Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if not _is_tainted(kept.protocol):
                return kept
            if kept.transport is not None:
                kept.transport.abort()  # nobody is left to end it politely with
            kept.close()
        return None

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        super()._release(key, protocol, should_close=should_close)
        # Without a parser the protocol keeps all that comes, half an answer too, and says so by
        # `should_close`.  The next request brings a parser of its own.
        protocol._parser = None  # noqa: SLF001

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as aiohttp names it
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            _need_time()
        except aiohttp.ConnectionTimeoutError:
            connection.close()
            raise
        return connection


def _small_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that takes little ahead of its reader: the loop hands on all that it has.

    300 answers that are waiting for room held 77 MB in the loop's buffers, where 256 KB fit each.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_AHEAD)
    return made


def aiohttp_transport() -> httpx.AsyncBaseTransport:
    """Make the transport that is used by default: never queues, never sends anything twice."""
    context = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        # No limit: a request that waited for a free connection would be sent on a stale look at
        # campaign and suppression.  (httpx-aiohttp reads `Limits(max_connections=None)` as 100.)
        connector = _Connector(
            limit=0,
            ssl=context,
            keepalive_timeout=KEEP_ALIVE.total_seconds(),
            socket_factory=_small_socket,
        )
        made = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            read_bufsize=READ_AHEAD,
        )
        # aiohttp repeats GET and DELETE by itself when a kept connection turns out to be dead: a
        # visit is a GET, a withdrawal a DELETE.  There is no public switch; a test watches it.
        made._retry_connection = False  # noqa: SLF001
        return made

    return AiohttpTransport(verify=context, client=session)


@dataclass(frozen=True, slots=True)
class _Success:
    """A 2xx answer of Unipile's: JSON with its tag `object`.

    `flaw`: why its body is not believed, and None: it is too long, packed in an unknown way.
    """

    body: object
    flaw: str | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """The body of a request."""

    type: str
    data: bytes = field(repr=False)


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
        room: bodies.Room = _ROOM,
    ) -> None:
        """Prepare the client; nothing is opened before the first request.

        `pause` waits some seconds between the attempts of a read.  `clock` is compared with the
        provider's at each answer, and a difference of more than `tolerance` is warned about; on a
        clock that runs faster than real time it should be as many times as much.  No message is of
        a moment later than it shows.  `room`: for the bodies of answers, usually the process's.
        Raises ValueError when DSN or token cannot be right.
        """
        token = access_token.strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError("set UNIPILE_ACCESS_TOKEN to the access token of Unipile's dashboard")
        origin, _, self._port_query = normalise_dsn(dsn).partition("?")
        self._base = origin + BASE_PATH
        self._transport = aiohttp_transport() if transport is None else transport
        self._headers = [
            (b"x-api-key", token.encode()),
            (b"accept", b"application/json"),
            (b"accept-encoding", bodies.ENCODINGS),
            (b"user-agent", b"clento-engine"),
        ]
        connect_s, read_s = connect_timeout.total_seconds(), read_timeout.total_seconds()
        # httpx-aiohttp takes `pool` as aiohttp's limit for name look-up, connect and TLS together.
        timeouts = {"connect": connect_s, "read": read_s, "write": read_s, "pool": connect_s}
        self._extensions = {"timeout": timeouts}
        self.time_limit = connect_timeout + read_timeout  # of a write, from call to answer
        self._limit_s = self.time_limit.total_seconds()
        self._connect_s = connect_s
        self._clock = clock
        self._room = room
        self._skew = Skew(tolerance)
        self._patience = AsyncRetrying(
            stop=stop_after_attempt(read_attempts),
            wait=wait_exponential(multiplier=1, max=4) + wait_random(0, 0.5),
            retry=retry_if_result(_is_transient),
            retry_error_callback=_last_reply,
            sleep=pause,
        )

    def __repr__(self) -> str:
        """Show the address, never the token."""
        return f"UnipileClient({self._base!r})"

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
        await self._transport.aclose()

    @property
    def skew(self) -> timedelta | None:
        """How far our clock is ahead of Unipile's at least; None while that is not known."""
        return self._skew.ahead

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
        path = f"/users/{_segment(identifier)}"
        read = partial(decode.profile_of, identifier, by_product=sales_navigator)
        return await self._read(Call.PROFILE, path, query, read)

    async def visit(self, account: str, identifier: str) -> Profile | Failure:
        """Visit the profile so that the person is notified."""
        if _is_no_profile(identifier):
            return Fail("no such profile: this is not an identifier")
        query = {"account_id": account, "notify": "true"}
        reply = await self._exchange(Call.VISIT, f"/users/{_segment(identifier)}", query)
        return _wanted(Call.VISIT, reply, partial(decode.profile_of, identifier))

    async def posts(
        self, account: str, provider_id: str, *, limit: int
    ) -> Sequence[Post] | Failure:
        """Read the person's newest posts, newest first: one page, of which a unit was taken."""
        query = {"account_id": account, "limit": str(max(1, min(limit, 100)))}
        path = f"/users/{_segment(provider_id)}/posts"
        page = await self._read(Call.POSTS, path, query, partial(decode.posts_of, provider_id))
        return page.items[:limit] if isinstance(page, Page) else page

    async def post(self, account: str, social_id: str) -> Post | Failure:
        """Read one post."""
        query = {"account_id": account}
        read = partial(decode.post_of, social_id)
        return await self._read(Call.POST, f"/posts/{_segment(social_id)}", query, read)

    async def react(self, account: str, social_id: str) -> Sent | Failure:
        """Like a post."""
        content = _json({"account_id": account, "post_id": social_id, "reaction_type": "like"})
        return await self._write(Call.REACT, "/posts/reaction", content=content)

    async def comment(self, account: str, social_id: str, text: str) -> Sent | Failure:
        """Comment a post."""
        if "{{" in text:  # Unipile reads {{0}} as a mention
            reason = "the comment holds a placeholder that was not filled in"
            return Skip(reason, means=Means.OURS, alert=True)
        content = _json({"account_id": account, "text": decode.clean(text)})
        path = f"/posts/{_segment(social_id)}/comments"
        return await self._write(Call.COMMENT, path, content=content, reference="comment_id")

    async def own_comments(
        self, account: str, own_id: str, *, cursor: str | None = None
    ) -> Page[Comment] | Failure:
        """Read one page of what the account itself commented, presumed newest first."""
        path = f"/users/{_segment(own_id)}/comments"
        item = partial(decode.page, partial(decode.own_comment, own_id))
        return await self._read(Call.OWN_COMMENTS, path, _page_of(account, cursor), item)

    async def relations(self, account: str) -> Sequence[Relation] | Failure:
        """Read the first page of the account's relations, presumed newest first."""
        query = {"account_id": account, "limit": "100"}
        item = partial(decode.page, decode.relation)
        first = await self._read(Call.RELATIONS, "/users/relations", query, item)
        return first.items if isinstance(first, Page) else first

    # -- invitations

    async def invite(self, account: str, provider_id: str, note: str | None) -> Sent | Failure:
        """Ask to connect; the reference is the invitation's id."""
        fields = {"account_id": account, "provider_id": provider_id}
        if note:  # an empty one would count as a note, of which free accounts have few
            fields["message"] = decode.clean(note)
        return await self._write(
            Call.INVITE, "/users/invite", content=_json(fields), reference="invitation_id"
        )

    async def sent_invitations(
        self, account: str, *, cursor: str | None = None
    ) -> Page[Invitation] | Failure:
        """Read one page of the pending invitations.  Absence is proved by all pages, not by one."""
        path = "/users/invite/sent"
        item = partial(decode.page, decode.invitation)
        return await self._read(Call.SENT_INVITATIONS, path, _page_of(account, cursor), item)

    async def withdraw(self, account: str, invitation_id: str) -> Sent | Failure:
        """Withdraw a pending invitation; whether it is gone if it is not there, nobody knows."""
        path = f"/users/invite/sent/{_segment(invitation_id)}"
        return await self._write(Call.WITHDRAW, path, {"account_id": account})

    # -- messages

    async def start_chat(self, account: str, provider_id: str, text: str) -> Sent | Failure:
        """Send a message to a connection, in the chat that exists or a new one."""
        content = _multipart(account_id=account, attendees_ids=provider_id, text=text)
        return await self._write(Call.START_CHAT, "/chats", content=content, reference="message_id")

    async def send_message(self, account: str, chat_id: str, text: str) -> Sent | Failure:
        """Send a message in a known chat."""
        if not is_id(chat_id):  # learned before ids were looked at: it names no chat
            return NO_SUCH_CHAT
        # With `account_id` Unipile refuses a chat of another account.
        content = _multipart(account_id=account, text=text)
        path = f"/chats/{_segment(chat_id)}/messages"
        return await self._write(Call.SEND_MESSAGE, path, content=content, reference="message_id")

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
        content = _multipart(
            account_id=account, attendees_ids=provider_id, text=text, subject=subject, **product
        )
        return await self._write(Call.INMAIL, "/chats", content=content, reference="message_id")

    async def inmail_balance(self, account: str) -> InmailBalance | Failure:
        """Read the InMail credits that are left."""
        query = {"account_id": account}
        return await self._read(
            Call.INMAIL_BALANCE, "/linkedin/inmail_balance", query, decode.inmail_balance
        )

    async def chats_with(self, account: str, provider_id: str) -> Sequence[Chat] | Failure:
        """Find the 1:1 chats with a person; none is no proof that there is no connection."""
        query = {"account_id": account, "limit": "250"}
        path = f"/chat_attendees/{_segment(provider_id)}/chats"
        item = partial(decode.chat_with, account, provider_id)
        chats = await self._all(Call.CHATS_WITH, path, query, item)
        return () if chats == answers.NO_CHAT else chats

    async def has_chats(self, account: str) -> bool | Failure:
        """Ask whether Unipile's store shows any chat of the account."""
        query = {"account_id": account, "limit": "1"}
        item = partial(decode.chat_of, account)
        chats = await self._pages(Call.CHATS, "/chats", query, item, until=lambda _: True)
        return bool(chats.items) if isinstance(chats, Page) else chats

    async def chat_messages(
        self, chat_id: str, *, back_to: Collection[str] = ()
    ) -> Messages | Failure:
        """Read a chat's messages back to one whose id is in `back_to`, else to the chat's start."""
        if not is_id(chat_id):
            return NO_SUCH_CHAT
        pages = await self._pages(
            Call.CHAT_MESSAGES,
            f"/chats/{_segment(chat_id)}/messages",
            {"limit": "250"},
            lambda body: self._in_time(decode.message_in(chat_id, body)),
            until=lambda message: message.id in back_to,
        )
        if not isinstance(pages, Page):
            return pages
        return Messages(pages.items, is_whole=pages.cursor is None)

    async def newest_messages(self, chat_id: str) -> Sequence[Message] | Failure:
        """Read the first page of a chat's messages, newest first."""
        if not is_id(chat_id):
            return NO_SUCH_CHAT
        path = f"/chats/{_segment(chat_id)}/messages"
        item = partial(decode.message_in, chat_id)
        page = await self._pages(
            Call.CHAT_MESSAGES, path, {"limit": "100"}, item, until=lambda _: True
        )
        return page.items if isinstance(page, Page) else page

    async def chat(self, account: str, chat_id: str) -> Chat | Failure:
        """Read whose chat it is."""
        if not is_id(chat_id):
            return NO_SUCH_CHAT
        read = partial(decode.chat_asked, account, chat_id)
        return await self._read(Call.CHAT, f"/chats/{_segment(chat_id)}", {}, read)

    async def messages(self, account: str, *, after: datetime) -> Sequence[Message] | Failure:
        """Read the account's messages over all chats since `after`, every page."""
        query = {"account_id": account, "after": _timestamp(after), "limit": "250"}
        return await self._all(
            Call.MESSAGES,
            "/messages",
            query,
            lambda body: self._in_time(decode.message_of(account, body)),
        )

    # -- accounts and webhooks

    async def account(self, account: str) -> Account | Failure:
        """Read the state of a connected account; causes no LinkedIn traffic."""
        read = partial(decode.account_of, account)
        return await self._read(Call.ACCOUNT, f"/accounts/{_segment(account)}", {}, read)

    async def probe(self) -> Failure | None:
        """Ask for one account, once; None when it is Unipile that answers, with any word."""
        reply = await self._exchange(Call.ACCOUNTS, "/accounts", {"limit": "1"})
        if isinstance(reply, _Success):
            return None
        failure = answers.failure(reply)
        return failure if isinstance(failure, Retry) and failure.silence else None

    async def accounts(self) -> Sequence[Account] | Failure:
        """Read all connected accounts, every page."""
        query = {"limit": "250"}
        found = await self._all(Call.ACCOUNTS, "/accounts", query, decode.linkedin_account)
        if isinstance(found, tuple):
            return tuple(one for one in found if one is not None)
        return found

    async def webhooks(self) -> Sequence[Webhook] | Failure:
        """Read the webhooks registered with the provider, every page."""
        return await self._all(Call.WEBHOOKS, "/webhooks", {"limit": "250"}, decode.webhook)

    async def register_webhook(
        self, source: str, url: str, *, events: Sequence[str], secret: str, name: str
    ) -> str | Failure:
        """Register a webhook that carries `secret` in the header `Unipile-Auth`; its id."""
        content = _json(
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
        reply = await self._exchange(Call.REGISTER_WEBHOOK, "/webhooks", content=content)
        return _wanted(Call.REGISTER_WEBHOOK, reply, decode.webhook_id)

    async def delete_webhook(self, webhook_id: str) -> Sent | Failure:
        """Remove a registered webhook."""
        return await self._write(Call.DELETE_WEBHOOK, f"/webhooks/{_segment(webhook_id)}")

    # -- how a call is made

    async def _read(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str],
        read: Callable[[Json], T],
        share: bodies.Share | None = None,
    ) -> T | Failure:
        """Ask, again and again while nothing but transport is in the way.

        What LinkedIn sees is asked once: the engine pays a unit for each time, so it asks again.
        `share`: of the room for bodies, where this one is kept for longer.
        """
        arrived = False

        async def ask() -> _Success | Refusal | Silence:
            nonlocal arrived
            reply = await self._exchange(call, path, query, share=share)
            arrived |= not isinstance(reply, Silence) or reply.left
            return reply

        # A copy, as tenacity's own decorator makes: the object holds the state of one call.
        reply: _Success | Refusal | Silence = await self._patience.copy()(ask)
        if isinstance(reply, Silence) and arrived:  # the provider saw one of the attempts
            reply = replace(reply, left=True)
        return _wanted(call, reply, read)

    async def _pages(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str],
        item: Callable[[Json], T],
        *,
        until: Callable[[T], bool] | None = None,
    ) -> Page[T] | Failure:
        """Read a list of Unipile's store through the page with an item that fits `until`.

        To its end if there is none, and then without a cursor; Retry if it has no end.  Lists that
        LinkedIn sees are read by their callers: each page has its price.
        """
        found: list[T] = []
        cursors: set[str] = set()
        asked = dict(query)
        ends = perf_counter() + LIST_LIMITS * self._limit_s
        with self._room.share() as share:  # what was read is kept till all of it is
            for _ in range(MAX_PAGES):
                page = await self._read(call, path, asked, partial(decode.page, item), share)
                if isinstance(page, Retry) and cursors:  # the provider saw us ask for the first one
                    return replace(page, left=True)
                if not isinstance(page, Page):
                    return page
                found += page.items
                if page.cursor is None or (until is not None and any(map(until, page.items))):
                    return Page(tuple(found), page.cursor)
                if page.cursor in cursors or share.held > bodies.LONGEST_LIST:
                    break
                try:
                    async with asyncio.timeout(self._limit_s):
                        await share.take(len(page.items) * bodies.ITEM)
                except (bodies.Refused, TimeoutError):
                    return Retry("no room for more answers")
                if perf_counter() > ends:  # others wait for its room
                    return Retry("the list took too long")
                cursors.add(page.cursor)
                asked["cursor"] = page.cursor
        # What was read so far must not pass for all there is: absence is taken as proof.
        return Retry("answer not understood: a list without end")

    async def _all(
        self, call: Call, path: str, query: Mapping[str, str], item: Callable[[Json], T]
    ) -> tuple[T, ...] | Failure:
        """Read a list of Unipile's store to its end; Retry if it has none."""
        pages = await self._pages(call, path, query, item)
        return pages.items if isinstance(pages, Page) else pages

    async def _write(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        content: _Content | None = None,
        reference: str | None = None,
    ) -> Sent | Failure:
        """Ask once.  Unipile's 2xx is sent, whatever else its body holds.

        Unless it is an answer to something else: then nobody knows what became of the write.
        """
        reply = await self._exchange(call, path, query, content=content)
        if isinstance(reply, _Success):
            if answers.is_of_another_call(call, decode.kind(reply.body)):
                raise OutcomeUnknown(str(NotUnderstood("it answers another question")))
            try:
                if reply.flaw is not None:
                    raise NotUnderstood(reply.flaw)  # noqa: TRY301  as what decoding raises
                return decode.sent(reply.body if isinstance(reply.body, dict) else {}, reference)
            except NotUnderstood as error:
                raise OutcomeUnknown(str(error)) from None
        return answers.already(reply) or answers.failure(reply)

    async def _exchange(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        content: _Content | None = None,
        share: bodies.Share | None = None,
    ) -> _Success | Refusal | Silence:
        """Send one request, follow its redirects if it is a GET, and read the answer.

        Without a `share` of its own the body gives its room back once it was read.
        """
        if share is None:
            with self._room.share() as own:
                return await self._exchange(call, path, query, content=content, share=own)
        started = perf_counter()
        sent_at = self._now()
        _WRITTEN_BY.set(started + self._connect_s)
        try:
            request = self._request(call, path, query, content)
        except httpx.InvalidURL:  # longer than httpx allows: an identifier or cursor gone wrong
            return Refusal(call, httpx.codes.REQUEST_URI_TOO_LONG, "invalid_url")
        response: httpx.Response | None = None
        body: object = None
        broken: BaseException | None = None
        try:
            async with asyncio.timeout(self._limit_s):
                response = await self._follow(request)
                try:
                    body = _parsed(await self._body(call, response, share))
                finally:
                    await response.aclose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the request may have left
            broken = bodies.without_frames(error)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "unipile method=%s route=%r status=%s ms=%.1f",
                call.method,
                call.value,
                type(broken).__name__ if response is None else response.status_code,
                (perf_counter() - started) * 1000,
            )
        if response is None:
            return _silence(call, broken)
        if sent_at is not None and isinstance(body, dict):
            self._compare(sent_at, response.headers)
        if response.is_success:
            if isinstance(broken, bodies.Refused):
                return _Success(None, str(broken))
            if broken is not None:
                return _silence(call, broken)
            if decode.kind(body) is None:  # a page of a gateway's, or half an answer
                return Refusal(call, response.status_code)
            return _Success(body)
        return Refusal(
            call, response.status_code, decode.error_type(body), _retry_after(response.headers)
        )

    async def _body(self, call: Call, response: httpx.Response, share: bodies.Share) -> bytearray:
        """Read a body that may be trusted to fit.  Raises bodies.Refused."""
        body = await bodies.read_body(
            cast("httpx.AsyncByteStream", response.stream),
            response.headers.get("content-encoding", ""),
            longest=bodies.LONGEST_WRITE if call.is_write else bodies.LONGEST_READ,
            share=share,
        )
        bodies.require_few_values(body)
        return body

    def _in_time(self, message: Message) -> Message:
        """Return a message that was sent at a moment that there was already."""
        now = self._now()
        if now is None or message.sent_at == (at := bounded_moment(message.sent_at, now)):
            return message
        return replace(message, sent_at=at)

    def _now(self) -> datetime | None:
        """Read the clock, if there is one; no answer is lost because it cannot be read."""
        if self._clock is None:
            return None
        try:
            return self._clock()
        except Exception:  # noqa: BLE001  a clock that jumped: whoever needs the time is told so
            return None

    def _compare(self, sent_at: datetime, headers: httpx.Headers) -> None:
        """Learn from an answer's `Date`, unless a cache kept the answer: its Date is of then.

        Only where the body is JSON, and so Unipile's: a gateway's page has the gateway's time.
        """
        date = None if "age" in headers else parsed_date(headers.get("date", ""))
        read_at = self._now()
        if date is not None and read_at is not None:
            span = Span.measured(sent_at, date, read_at)
            if span is not None:
                self._skew.learn(span)

    def _request(
        self, call: Call, path: str, query: Mapping[str, str] | None, content: _Content | None
    ) -> httpx.Request:
        words = self._port_query
        if query:
            asked = urlencode({k: decode.clean(v) for k, v in query.items()}, quote_via=quote)
            words = f"{words}&{asked}" if words else asked
        url = f"{self._base}{path}?{words}" if words else f"{self._base}{path}"
        if content is None:
            return httpx.Request(
                call.method, url, headers=self._headers, extensions=self._extensions
            )
        return httpx.Request(
            call.method,
            url,
            headers=[*self._headers, (b"content-type", content.type.encode())],
            content=content.data,
            extensions=self._extensions,
        )

    async def _follow(self, request: httpx.Request) -> httpx.Response:
        """Send a request; follow redirects of a GET within the host, which holds our token."""
        response = await self._transport.handle_async_request(request)
        for _ in range(MAX_REDIRECTS):
            if request.method != "GET" or not response.has_redirect_location:
                break
            with suppress(httpx.InvalidURL):
                target = request.url.join(response.headers["location"])
                if _origin(target) == _origin(request.url):
                    await response.aclose()
                    request = httpx.Request(
                        "GET", target, headers=self._headers, extensions=self._extensions
                    )
                    response = await self._transport.handle_async_request(request)
                    continue
            break
        return response


def _wanted(
    call: Call, reply: _Success | Refusal | Silence, read: Callable[[Json], T]
) -> T | Failure:
    """Read the value that was asked for, or say what it means that there is none."""
    if not isinstance(reply, _Success):
        return answers.failure(reply)
    try:
        if reply.flaw is not None:
            raise NotUnderstood(reply.flaw)  # noqa: TRY301  as all below
        if answers.is_of_another_call(call, decode.kind(reply.body)):
            raise NotUnderstood("it answers another question")  # noqa: TRY301
        return read(decode.understood(reply.body))
    except (NotUnderstood, ArithmeticError, LookupError, TypeError, ValueError) as error:
        if not isinstance(error, NotUnderstood):  # a defect of ours, and no reason to stop
            log.error(  # noqa: TRY400  its text may hold what somebody wrote
                "answer not understood",
                extra={
                    "route": call.value,
                    "error": type(error).__name__,
                    "trace": "".join(format_tb(error.__traceback__)),
                    "alert": True,
                },
            )
            error = NotUnderstood(type(error).__name__)
        if call.is_write:  # it happened, and what it brought is lost
            raise OutcomeUnknown(str(error)) from None
        return Retry(str(error))


def _is_transient(reply: _Success | Refusal | Silence) -> bool:
    """Whether asking again at once may help: transport errors and 5xx that mean Retry.

    Not for a read that LinkedIn may have seen: the engine asks again, with a unit for each time.
    """
    if isinstance(reply, _Success):
        return False
    if reply.call.is_counted and not (isinstance(reply, Silence) and not reply.left):
        return False
    if isinstance(reply, Refusal) and not httpx.codes.is_server_error(reply.status):
        return False
    return isinstance(answers.failure(reply), Retry)


def _last_reply(state: RetryCallState) -> _Success | Refusal | Silence:
    if state.outcome is None:
        raise RuntimeError("tenacity gave up before the first attempt")
    reply: _Success | Refusal | Silence = state.outcome.result()
    return reply


def _silence(call: Call, error: BaseException | None) -> Silence:
    """Say whether a request that was not answered can have left, and when in doubt that it has.

    httpx-aiohttp makes a ConnectTimeout of nearly everything, a connection that breaks after the
    request was written included (tried on sockets), so aiohttp's own error behind it decides.
    """
    cause = error.__cause__ if error is not None else None
    if isinstance(cause, aiohttp.ClientError):
        left = not isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    else:
        left = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        cause = error
    name = type(cause).__name__  # not its text, which may hold the URL and so a person
    return Silence(call, f"no answer: {name}" if left else f"no connection: {name}", left)


def _parsed(raw: bytearray) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # HTML of a gateway, half an answer, nothing
        return None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _retry_after(headers: httpx.Headers) -> timedelta | None:
    """Read `Retry-After`: seconds, or a date, which is held against the answer's own `Date`."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            return min(timedelta(seconds=int(value)), _MAX_RETRY_AFTER)
        wanted = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wanted, timedelta()), _MAX_RETRY_AFTER)


def _page_of(account: str, cursor: str | None) -> dict[str, str]:
    """Ask for a hundred of a list, the most that every list of LinkedIn's gives.  [oas]"""
    query = {"account_id": account, "limit": "100"}
    return query if cursor is None else {**query, "cursor": cursor}


def _is_no_profile(identifier: str) -> bool:
    return decode.clean(unquote(identifier)) in _NO_PROFILE


def _segment(text: str) -> str:
    """Percent-encode a path segment once, even if it came encoded; `urn:li:…` keeps its colons."""
    bare = decode.clean(unquote(text))
    if bare in ("", ".", ".."):  # would be another route
        raise ValueError(f"{text!r} is no identifier")
    return quote(bare, safe=":")


def _timestamp(instant: datetime) -> str:
    """Write an instant as Unipile wants it: without milliseconds and Z it answers 400."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(fields: Mapping[str, object]) -> _Content:
    return _Content("application/json", json.dumps(fields).encode())


def _multipart(**fields: str) -> _Content:
    """Write form fields as multipart, which Unipile wants for messages even without files."""
    boundary = token_hex(16)  # random, so that no text can hold it
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        f"{decode.clean(value)}\r\n"
        for name, value in fields.items()
    ]
    data = f"{''.join(lines)}--{boundary}--\r\n".encode()
    return _Content(f"multipart/form-data; boundary={boundary}", data)

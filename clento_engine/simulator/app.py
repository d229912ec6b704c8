"""Unipile's v1 HTTP over the world, as unipile.md describes it."""

from asyncio import sleep, wait_for
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from re import fullmatch
from typing import Any, TypeVar

import httpx

from clento_engine.simulator import payloads
from clento_engine.simulator.asgi import (
    Answer,
    App,
    Handler,
    Receive,
    Request,
    Route,
    Router,
    Scope,
    Send,
    read_body,
    write,
)
from clento_engine.simulator.chance import Draw, hexadecimal
from clento_engine.simulator.control import Control
from clento_engine.simulator.faults import LOOPING_CURSOR, FaultKind, Rule, spoiled
from clento_engine.simulator.ledger import Read
from clento_engine.simulator.messages import Chat, Message
from clento_engine.simulator.payloads import Json
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account, Status
from clento_engine.simulator.world import WITHDRAWN_FOR, SignIn, World, looks_like_provider_id

PREFIX = "/api/v1"
ABORT = "clento.abort"  # in the scope's extensions: tears the connection down
HELD_BACK_S = 600.0  # how long a timeout keeps a connection when the rule does not say

_INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

T = TypeVar("T")


class ConnectionDropped(httpx.ReadError):
    """In-process stand-in for a connection that broke before an answer came."""


class AnswerHeldBack(httpx.ReadTimeout):
    """In-process stand-in for an answer that did not come in time."""


def create_app(world: World, *, api_key: str | None = None) -> App:
    """Return the ASGI application; with `api_key` None any key will do, but one is needed."""
    unipile = Unipile(world)
    control = Control(world)
    key = None if api_key is None else api_key.encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        request = Request(scope, await read_body(receive))
        path = request.path
        if path.startswith("/simulator"):
            await write(send, await _controlled(control, request), world.stamp())
            return
        rule, answer = _answered(world, unipile, request, key)
        match rule.kind if rule else None:
            case FaultKind.RESET:
                await _reset(scope, receive)
            case FaultKind.TIMEOUT:
                await _hold_back(scope, receive, rule.delay_s if rule else None)
            case FaultKind.SLOW:
                await sleep((rule.delay_s if rule else None) or 0.0)
                await write(send, answer, world.stamp())
            case _:
                await write(send, answer, world.stamp())

    return app


def _answered(
    world: World, unipile: "Unipile", request: Request, key: bytes | None
) -> tuple[Rule | None, Answer]:
    """Answer a request and count it; the fault that strikes it is for whoever writes the answer."""
    world.requests.seq += 1
    path = request.path.removeprefix(PREFIX)
    ours = request.path.startswith(f"{PREFIX}/")
    found = unipile.router.find(request.method, path) if ours else None
    template = found[0].template if found else "unknown"
    rule: Rule | None = None
    try:
        _need_key(request, key)
        handler, parameters = _need_route(found)
        if world.faults.rules:
            rule = world.faults.strike(template, f"{request.method} {path}", request.identity)
        if rule is None:
            answer = _call(handler, request, parameters)
        else:
            number = world.faults.applied[rule.kind.value]
            answer = _struck(rule, number, handler, request, parameters)
    except Refusal as refusal:
        answer = refused(refusal, request.path)
    world.requests.counts[template, answer.status] += 1
    return rule, answer


def _need_key(request: Request, key: bytes | None) -> None:
    given = request.header(b"x-api-key")
    if not given or (key is not None and given != key):
        raise Refusal("missing_credentials", "The X-API-KEY header is missing or wrong.")


def _need_route(found: tuple[Route, list[str]] | None) -> tuple[Handler, list[str]]:
    if found is None:
        raise Refusal("resource_not_found", "No such route.")
    return found[0].handler, found[1]


def _call(handler: Handler, request: Request, parameters: list[str]) -> Answer:
    answer = handler(request, *parameters)
    assert isinstance(answer, Answer)  # noqa: S101  # only control routes are awaited
    return answer


def _struck(
    rule: Rule, number: int, handler: Handler, request: Request, parameters: list[str]
) -> Answer:
    """Answer with a fault: after the effect, or instead of it."""
    if rule.kind.needs_answer:
        answer = _call(handler, request, parameters)
        if isinstance(answer.body, bytes):
            return answer
        return Answer(spoiled(rule.kind, dict(answer.body), number), answer.status)
    if rule.after_effect:
        try:
            _call(handler, request, parameters)
        except Refusal:  # there was no effect to come after
            if rule.kind is FaultKind.REFUSAL:  # "already done", say, would be a lie then
                raise
    match rule.kind:
        case FaultKind.RESET | FaultKind.TIMEOUT:
            return Answer(b"", status=0)  # never written
        case FaultKind.BAD_GATEWAY:
            page = b"<html><head><title>502 Bad Gateway</title></head><body></body></html>"
            return Answer(page, 502, b"text/html")
        case FaultKind.GATEWAY_PAGE:
            page = b"<html><head><title>One moment</title></head><body></body></html>"
            return Answer(page, rule.status or 200, b"text/html")
        case _:
            return refused(rule.refusal(), request.path)


def refused(refusal: Refusal, instance: str) -> Answer:
    """Return the answer of a refusal."""
    headers = (
        ((b"retry-after", str(refusal.retry_after_s).encode()),)
        if refusal.retry_after_s is not None
        else ()
    )
    return Answer(refusal.body(instance), refusal.status, headers=headers)


async def _controlled(control: Control, request: Request) -> Answer:
    try:
        handler, parameters = _need_route(control.router.find(request.method, request.path))
        answer = handler(request, *parameters)
        return answer if isinstance(answer, Answer) else await answer
    except Refusal as refusal:
        return refused(refusal, request.path)


async def _reset(scope: Scope, receive: Receive) -> None:
    """Tear the connection down without an answer."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
    if abort is None:
        raise ConnectionDropped("the simulator dropped the connection")
    abort()
    await receive()  # http.disconnect: only then is the server done with this request


async def _hold_back(scope: Scope, receive: Receive, delay_s: float | None) -> None:
    """Keep the caller waiting until it goes away, or for so many real seconds."""
    if ABORT not in scope.get("extensions", {}):
        raise AnswerHeldBack("the simulator holds its answer back")
    with suppress(TimeoutError):
        await wait_for(receive(), HELD_BACK_S if delay_s is None else delay_s)
        return
    await _reset(scope, receive)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class Unipile:
    """The operations, each named by its route."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.router = Router()
        routes: dict[str, Callable[..., Answer]] = {
            "GET /accounts": self.accounts,
            "GET /accounts/{id}": self.account,
            "DELETE /accounts/{id}": self.delete_account,
            "POST /accounts/{id}/restart": self.restart_account,
            "GET /users/me": self.me,
            "GET /users/relations": self.relations,
            "POST /users/invite": self.invite,
            "GET /users/invite/sent": self.sent_invitations,
            "DELETE /users/invite/sent/{id}": self.withdraw,
            "GET /users/{identifier}": self.profile,
            "GET /users/{identifier}/posts": self.posts,
            "GET /users/{identifier}/comments": self.comments_of,
            "GET /users/{identifier}/reactions": self.reactions_of,
            "POST /posts/reaction": self.react,
            "GET /posts/{id}": self.post,
            "POST /posts/{id}/comments": self.comment,
            "GET /posts/{id}/comments": self.comments,
            "GET /posts/{id}/reactions": self.reactions,
            "POST /chats": self.start_chat,
            "GET /chats": self.chats,
            "GET /chats/{id}": self.chat,
            "POST /chats/{id}/messages": self.send_message,
            "GET /chats/{id}/messages": self.chat_messages,
            "GET /chats/{id}/attendees": self.chat_attendees,
            "GET /chat_attendees/{id}/chats": self.chats_with,
            "GET /messages": self.messages,
            "GET /messages/{id}": self.message,
            "GET /linkedin/inmail_balance": self.inmail_balance,
            "POST /hosted/accounts/link": self.hosted_link,
            "POST /webhooks": self.create_webhook,
            "GET /webhooks": self.webhooks,
            "DELETE /webhooks/{id}": self.delete_webhook,
        }
        for template, handler in routes.items():
            self.router.add(template, handler)

    # --- accounts

    def accounts(self, request: Request) -> Answer:
        """List the connected accounts."""
        accounts = list(self.world.accounts.values())
        page, cursor = _page(request, accounts, default=100, most=250)
        return _list("AccountList", map(payloads.account, page), cursor)

    def account(self, _request: Request, account_id: str) -> Answer:
        """Show a connected account; causes no LinkedIn traffic."""
        return Answer(payloads.account(self.world.account(account_id)))

    def delete_account(self, _request: Request, account_id: str) -> Answer:
        """Disconnect an account."""
        self.world.delete_account(self.world.account(account_id))
        return Answer({"object": "AccountDeleted"})

    def restart_account(self, _request: Request, account_id: str) -> Answer:
        """Un-freeze an account's sources; what needs a person stays as it is."""
        account = self.world.account(account_id)
        if account.status in (Status.STOPPED, Status.ERROR, Status.CONNECTING):
            self.world.set_status(account, Status.OK)
        restarted = account.status is Status.OK
        return Answer({"object": "AccountRestarted" if restarted else "AccountFailedToRestart"})

    def me(self, request: Request) -> Answer:
        """Show the sender's own profile."""
        account = self._account(request)
        self.world.read(account, Read.OWN_PROFILE)
        return Answer(payloads.owner(account))

    # --- people

    def profile(self, request: Request, identifier: str) -> Answer:
        """Look a profile up; with `notify=true` it is a visit the person sees."""
        account = self._account(request)
        api = request.query.get("linkedin_api")
        if api not in (None, "sales_navigator", "recruiter"):
            raise Refusal("invalid_parameters", "linkedin_api is recruiter or sales_navigator.")
        if api is not None and api != account.tier:
            raise Refusal("feature_not_subscribed", "The account has no such subscription.")
        notify = _flag(request, "notify")
        if identifier in (account.provider_id, account.slug):
            self.world.read(account, Read.OWN_PROFILE)
            return Answer(payloads.self_profile(account))
        sales = api is not None
        person = self.world.profile(account, identifier, notify=notify, sales=sales)
        tie = self.world.tie(account, person)
        return Answer(
            payloads.profile(tie, withdrawn_for=WITHDRAWN_FOR, now=self.world.clock(), sales=sales)
        )

    def relations(self, request: Request) -> Answer:
        """List first-degree connections, newest first."""
        account = self._account(request)
        self.world.read(account, Read.RELATIONS)
        now = self.world.clock()
        known = [account.member.ties[slug] for _, slug in reversed(account.member.relations)]
        wanted = request.query.get("filter")
        if wanted:
            known = [tie for tie in known if wanted.casefold() in tie.person.name.casefold()]
        page, cursor = _page(request, known, default=100, most=1000)
        items = []
        for tie in page:
            if tie.connected_at is None:
                continue
            if tie.acceptance is not None:
                tie.acceptance.learn(now)
            items.append(payloads.relation(tie.person, tie.connected_at))
        return _list("UserRelationsList", items, cursor)

    def invite(self, request: Request) -> Answer:
        """Ask to connect."""
        fields = request.json
        account = self.world.account(_text(fields, "account_id"))
        invitation, usage = self.world.invite(
            account, _text(fields, "provider_id"), _optional_text(fields, "message")
        )
        body: Json = {"object": "UserInvitationSent", "invitation_id": invitation.id}
        if usage is not None:
            body["usage"] = usage
        return Answer(body)

    def sent_invitations(self, request: Request) -> Answer:
        """List pending invitations, newest first; ten a page unless asked otherwise."""
        account = self._account(request)
        self.world.read(account, Read.INVITATIONS)
        now = self.world.stamp()
        pending = list(reversed(account.member.pending.values()))
        page, cursor = _page(request, pending, default=10, most=250)
        by_slug = self.world.reliability.pending_by_slug_only
        items = (payloads.invitation(invitation, now, by_slug=by_slug) for invitation in page)
        return _list("InvitationList", items, cursor)

    def withdraw(self, request: Request, invitation_id: str) -> Answer:
        """Take a pending invitation back."""
        self.world.withdraw(self._account(request), invitation_id)
        return Answer({"object": "InvitationCanceled"})

    # --- posts

    def posts(self, request: Request, identifier: str) -> Answer:
        """List a person's posts, newest first."""
        account = self._account(request)
        if not looks_like_provider_id(identifier):
            raise Refusal("invalid_recipient", "Posts are found by provider id.")
        posts = self.world.posts_of(account, identifier)
        page, cursor = _page(request, posts, default=100, most=100)
        now = self.world.stamp()
        items = [payloads.post(post, account, now) for post in page]
        return _list("PostList", items, cursor, paging={"page_count": len(items)})

    def post(self, request: Request, post_id: str) -> Answer:
        """Show one post."""
        account = self._account(request)
        self.world.read(account, Read.POSTS, "posts")
        return Answer(payloads.post(self.world.post(post_id), account, self.world.stamp()))

    def react(self, request: Request) -> Answer:
        """React to a post."""
        fields = request.json
        account = self.world.account(_text(fields, "account_id"))
        word = _optional_text(fields, "reaction_type") or "like"
        value = payloads.REACTIONS.get(word)
        if value is None:
            raise Refusal("invalid_parameters", f"Unknown reaction {word!r}.")
        self.world.react(account, _text(fields, "post_id"), value)
        return Answer({"object": "ReactionAdded"}, 201)

    def reactions(self, request: Request, post_id: str) -> Answer:
        """List the senders' reactions to a post."""
        account = self._account(request)
        self.world.read(account, Read.REACTIONS)
        post = self.world.post(post_id)
        given = [
            payloads.reaction(post.social_id, value, self.world.members[by])
            for by, value in post.reactions.items()
        ]
        page, cursor = _page(request, given, default=100, most=100)
        return Answer(
            {
                "object": "PostReactionList",
                "items": page,
                "paging": {"cursor": cursor, "page_count": len(page)},
            }
        )

    def reactions_of(self, request: Request, identifier: str) -> Answer:
        """List a member's reactions; invented people keep theirs to themselves."""
        account = self._account(request)
        self.world.read(account, Read.REACTIONS)
        given = [
            payloads.reaction(social_id, value, account.member)
            for social_id, value, _ in reversed(account.member.reactions)
            if identifier == account.provider_id
        ]
        page, cursor = _page(request, given, default=100, most=100)
        return _list("PostReactionList", page, cursor)

    def comment(self, request: Request, post_id: str) -> Answer:
        """Comment a post; JSON, as the SDK sends it, or multipart, as the newer pages show it."""
        fields: dict[str, Any] = (
            {name: values[-1] for name, values in request.form.items()}
            if request.is_multipart
            else request.json
        )
        account = self.world.account(_text(fields, "account_id"))
        remark = self.world.comment(
            account, post_id, _text(fields, "text"), _optional_text(fields, "comment_id")
        )
        return Answer({"object": "CommentSent", "comment_id": remark.id}, 201)

    def comments(self, request: Request, post_id: str) -> Answer:
        """List a post's comments, newest first, or the replies to one of them."""
        account = self._account(request)
        self.world.read(account, Read.COMMENTS)
        answers = request.query.get("comment_id")
        remarks = [
            one for one in reversed(self.world.post(post_id).comments) if one.answers == answers
        ]
        return self._comments(request, remarks)

    def comments_of(self, request: Request, identifier: str) -> Answer:
        """List a member's comments; invented people keep theirs to themselves."""
        account = self._account(request)
        self.world.read(account, Read.COMMENTS)
        own = account.member.remarks if identifier == account.provider_id else []
        return self._comments(request, own[::-1])

    def _comments(self, request: Request, remarks: list[Any]) -> Answer:
        page, cursor = _page(request, remarks, default=100, most=100)
        now = self.world.stamp()
        paging = {"start": 0, "page_count": len(page), "total_count": len(remarks)}
        return _list(
            "CommentList",
            (payloads.comment(one, now) for one in page),
            cursor,
            total_items=len(remarks),
            paging=paging,
        )

    # --- messages

    def start_chat(self, request: Request) -> Answer:
        """Send a first message or an InMail."""
        form = request.form
        account = self.world.account(_part(form, "account_id"))
        attendees = form.get("attendees_ids", [])
        if len(attendees) != 1:
            raise Refusal("invalid_parameters", "The simulator knows chats of two.")
        text = _part(form, "text") or ""
        api = _part(form, "linkedin[api]") or "classic"
        if api not in ("classic", "sales_navigator", "recruiter"):
            raise Refusal("invalid_parameters", "Unknown linkedin[api].")
        if api == "recruiter":
            raise Refusal("feature_not_subscribed", "The account has no such subscription.")
        sales = api == "sales_navigator"
        if sales or _part(form, "linkedin[inmail]") == "true":
            subject = _part(form, "subject")
            message = self.world.inmail(account, attendees[0], text, subject, sales=sales)
        else:
            message = self.world.message(account, attendees[0], text)
        chat_id, message_id = self._told_ids(account, message)
        return Answer({"object": "ChatStarted", "chat_id": chat_id, "message_id": message_id}, 201)

    def send_message(self, request: Request, chat_id: str) -> Answer:
        """Send a message in a known chat."""
        form = request.form
        given = _part(form, "account_id")
        account, chat = self._chat(chat_id, self.world.account(given) if given else None)
        message = self.world.message_in(account, chat, _part(form, "text") or "")
        message_id = self._told_ids(account, message)[1]
        return Answer({"object": "MessageSent", "message_id": message_id}, 201)

    def chats(self, request: Request) -> Answer:
        """List chats, latest first."""
        wanted = request.query.get("account_id")
        accounts = (
            [self.world.account(one) for one in wanted.split(",")]
            if wanted
            else self.world.accounts.values()
        )
        return self._chats(
            request,
            (
                (account, chat)
                for account in accounts
                if self._is_synced(account)
                for chat in account.member.chats
            ),
        )

    def chats_with(self, request: Request, attendee: str) -> Answer:
        """List the 1:1 chats with a person, by provider id or by the store's id of them."""
        account_id = request.query.get("account_id")
        person = self.world.by_provider_id.get(attendee)
        accounts = list(
            filter(
                self._is_synced,
                [self.world.account(account_id)] if account_id else self.world.accounts.values(),
            )
        )
        if person is not None:
            ties = ((account, account.member.ties.get(person.slug)) for account in accounts)
            chats = [(account, chat) for account, tie in ties if tie for chat in tie.chats]
        else:
            chats = [
                (account, chat)
                for account in accounts
                for chat in account.member.chats
                if payloads.attendee_id(account, chat) == attendee
            ]
        is_empty = not any(chat.latest(self.world.clock()) for _, chat in chats)
        if is_empty and not self.world.reliability.empty_lists:
            raise Refusal("resource_not_found", "Attendee not found.")
        return self._chats(request, chats)

    def _chats(self, request: Request, chats: Iterable[tuple[Account, Chat]]) -> Answer:
        now = self.world.clock()
        after, before = _span(request)
        dated = [
            (latest.at, latest.seq, account, chat)
            for account, chat in chats
            if (latest := chat.latest(now)) and after < latest.at < before
        ]
        dated.sort(key=lambda one: one[:2], reverse=True)
        page, cursor = _page(request, dated, default=100, most=250)
        items = (payloads.chat(account, chat, now) for *_, account, chat in page)
        return _list("ChatList", items, cursor)

    def chat(self, _request: Request, chat_id: str) -> Answer:
        """Show a chat with its last message."""
        account, chat = self._stored_chat(chat_id)
        now = self.world.clock()
        latest = chat.latest(now)
        shown = payloads.message(latest, account) if latest else None
        return Answer({**payloads.chat(account, chat, now), "lastMessage": shown})

    def chat_attendees(self, _request: Request, chat_id: str) -> Answer:
        """List who is in a chat."""
        account, chat = self._stored_chat(chat_id)
        people = payloads.attendees(chat, account)
        return Answer({"object": "ChatAttendeeList", "items": people, "cursor": None})

    def chat_messages(self, request: Request, chat_id: str) -> Answer:
        """List a chat's messages, newest first."""
        account, chat = self._chat(chat_id)
        return self._messages(request, account, chat.messages)

    def messages(self, request: Request) -> Answer:
        """List messages over all chats, newest first."""
        account_id = request.query.get("account_id")
        account = self.world.account(account_id) if account_id else None
        return self._messages(
            request, account, account.member.messages if account else self.world.message_log
        )

    def _messages(
        self, request: Request, account: Account | None, messages: list[Message]
    ) -> Answer:
        """List from a log kept oldest first; the cursor is the number of the last one shown.

        Without an account each message is shown once, as its member's latest account has it.
        """
        after, before = _span(request)
        oldest = after  # where a log ends whose stamps may have gone back on the way
        if request.query.get("after"):
            oldest -= self.world.furthest_behind
        limit = _limit(request, default=100, most=250)
        sender = request.query.get("sender_id")
        now = self.world.clock()
        cursor = _cursor(request)
        end = len(messages)
        if cursor is not None:
            end = bisect_left(messages, cursor, key=lambda one: one.seq)
        items: list[Json] = []
        last = 0
        for index in range(end - 1, -1, -1):
            message = messages[index]
            if message.at <= oldest or len(items) == limit:
                more = message.at > oldest
                break
            keeper = account or self._keeper(message.chat)
            if message.visible_at > now or not after < message.at < before:
                continue
            if keeper is None or not self._is_synced(keeper):
                continue
            shown = payloads.message(message, keeper)
            if sender and shown["sender_id"] != sender:
                continue
            if message.signal is not None:
                message.signal.learn(now)
            items.append(shown)
            last = message.seq
        else:
            more = False
        return _list("MessageList", items, _encoded(last) if more and items else None)

    def message(self, _request: Request, message_id: str) -> Answer:
        """Show one message."""
        message = self.world.messages.get(message_id)
        now = self.world.clock()
        account = None if message is None else self._keeper(message.chat, message.ids, message_id)
        is_stored = account is not None and self._is_synced(account)
        if message is None or account is None or not is_stored or message.visible_at > now:
            raise Refusal("resource_not_found", "No such message.")
        if message.signal is not None:
            message.signal.learn(now)
        return Answer(payloads.message(message, account))

    def inmail_balance(self, request: Request) -> Answer:
        """Show the InMail credits left."""
        account = self._account(request)
        self.world.read(account, Read.INMAIL_BALANCE)
        return Answer(payloads.inmail_balance(account, self.world.clock()))

    # --- sign-in and webhooks

    def hosted_link(self, request: Request) -> Answer:
        """Make a link by which a person signs in; opening it is the signing in."""
        fields = request.json
        kind = _text(fields, "type")
        reconnect = _optional_text(fields, "reconnect_account")
        if kind not in ("create", "reconnect") or (kind == "reconnect") is not bool(reconnect):
            raise Refusal("invalid_parameters", "type is create, or reconnect with its account.")
        if reconnect:
            self.world.account(reconnect)
        token = hexadecimal(self.world.seed, "sign-in", len(self.world.sign_ins), length=32)
        self.world.sign_ins[token] = SignIn(
            expires_at=_instant(_text(fields, "expiresOn")),
            account_id=reconnect,
            name=_optional_text(fields, "name"),
            notify_url=_optional_text(fields, "notify_url"),
        )
        base = _text(fields, "api_url").rstrip("/")
        return Answer({"object": "HostedAuthUrl", "url": f"{base}/simulator/sign-in/{token}"})

    def create_webhook(self, request: Request) -> Answer:
        """Register a webhook."""
        webhook = self.world.register(request.json)
        return Answer({"object": "WebhookCreated", "webhook_id": webhook.id}, 201)

    def webhooks(self, request: Request) -> Answer:
        """List the webhooks."""
        known = list(self.world.webhooks.values())
        page, cursor = _page(request, known, default=100, most=250)
        return _list("WebhookList", map(payloads.webhook, page), cursor)

    def delete_webhook(self, _request: Request, webhook_id: str) -> Answer:
        """Remove a webhook."""
        if self.world.webhooks.pop(webhook_id, None) is None:
            raise Refusal("resource_not_found", "No such webhook.")
        return Answer({"object": "WebhookDeleted"})

    # --- inside

    def _account(self, request: Request) -> Account:
        return self.world.account(request.query.get("account_id"))

    def _chat(self, chat_id: str, account: Account | None = None) -> tuple[Account, Chat]:
        """Return a chat, and the account whose it is: the given one, or that of the store's id."""
        chat = self.world.chats.get(chat_id)
        if chat is not None:
            keeper = self._keeper(chat, chat.ids, chat_id)
            if keeper is not None and account in (None, keeper):
                return keeper, chat
            if account is not None and chat_id == chat.provider_id and account.id in chat.ids:
                return account, chat
        raise Refusal("resource_not_found", "No such chat of this account.")

    def _stored_chat(self, chat_id: str) -> tuple[Account, Chat]:
        """Return a chat that the store of its account has by now."""
        account, chat = self._chat(chat_id)
        if not self._is_synced(account):
            raise Refusal("resource_not_found", "No such chat.")
        return account, chat

    def _is_synced(self, account: Account) -> bool:
        return account.synced_at <= self.world.clock()

    def _keeper(
        self, chat: Chat, ids: Mapping[str, str] | None = None, store_id: str | None = None
    ) -> Account | None:
        """Return the connected account whose store knows by this id, else the member's latest."""
        of_id = next((one for one, own in (ids or {}).items() if own == store_id), None)
        if of_id is not None:
            return self.world.accounts.get(of_id)
        connected = self.world.members[chat.member_id].accounts
        return connected[-1] if connected else None

    def _told_ids(self, account: Account, message: Message) -> tuple[str | None, str | None]:
        """Return the ids as the answer tells them: now and then they are left out."""
        message_id = message.ids[account.id]
        draw = Draw(self.world.seed, "null ids", message_id)
        if draw.happens(self.world.reliability.null_ids):
            return None, None
        return message.chat.ids[account.id], message_id


def _list(
    name: str,
    items: Iterable[Json],
    cursor: str | None,
    **more: Any,  # noqa: ANN401  # JSON
) -> Answer:
    return Answer({"object": name, "items": list(items), "cursor": cursor, **more})


def _page(
    request: Request, items: list[T], *, default: int, most: int
) -> tuple[list[T], str | None]:
    """Return one page and the cursor of the next; the cursor is how many were shown."""
    limit = _limit(request, default=default, most=most)
    start = _cursor(request) or 0
    end = start + limit
    return items[start:end], _encoded(end) if end < len(items) else None


def _limit(request: Request, *, default: int, most: int) -> int:
    raw = request.query.get("limit")
    if raw is None:
        return default
    if not raw.isdecimal() or int(raw) < 1:
        raise Refusal("invalid_parameters", "limit must be a positive number.")
    if int(raw) > most:
        raise Refusal("limit_too_high", f"limit is at most {most}.")
    return int(raw)


def _cursor(request: Request) -> int | None:
    raw = request.query.get("cursor")
    if not raw or raw == LOOPING_CURSOR:
        return None
    try:
        return int(b64decode(raw, validate=True))
    except (NotBase64, ValueError) as error:
        raise Refusal("invalid_parameters", "Not a cursor of ours.") from error


def _encoded(number: int) -> str:
    return b64encode(str(number).encode()).decode()


def _span(request: Request) -> tuple[datetime, datetime]:
    """Return the instants that `after` and `before` exclude."""
    after, before = request.query.get("after"), request.query.get("before")
    return (
        _instant(after) if after else datetime.min.replace(tzinfo=UTC),
        _instant(before) if before else datetime.max.replace(tzinfo=UTC),
    )


def _instant(text: str) -> datetime:
    """Read an instant as Unipile wants it: UTC, with milliseconds, and Z."""
    if not fullmatch(_INSTANT, text):
        raise Refusal("invalid_parameters", "Instants are like 2026-10-09T08:00:00.000Z.")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal("invalid_parameters", str(error)) from error


def _flag(request: Request, name: str) -> bool:
    word = request.query.get(name, "false")
    if word not in ("true", "false"):
        raise Refusal("invalid_parameters", f"{name} is true or false.")
    return word == "true"


def _text(fields: dict[str, Any], name: str) -> str:
    value = _optional_text(fields, name)
    if not value:
        raise Refusal("missing_parameters", f"{name} is required.")
    return value


def _optional_text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal("invalid_parameters", f"{name} must be text.")
    return value


def _part(form: dict[str, list[str]], name: str) -> str | None:
    values = form.get(name)
    return values[-1] if values else None

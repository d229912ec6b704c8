"""Routes of chats and messages."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from clento_engine.simulator import payloads
from clento_engine.simulator.asgi import Answer, Handler, Request
from clento_engine.simulator.chance import Draw
from clento_engine.simulator.messages import Chat, Message
from clento_engine.simulator.messaging import send_in_chat, send_inmail, send_message
from clento_engine.simulator.payloads import Json
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.routes.paging import (
    cursor_of,
    encoded_cursor,
    list_answer,
    page_limit,
    page_of,
)
from clento_engine.simulator.routes.parameters import form_value, span
from clento_engine.simulator.senders import Account
from clento_engine.simulator.world import World


class MessageRoutes:
    """Chats and messages: sent, and read from the provider's store."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handlers: dict[str, Handler] = {
            "POST /chats": self.start_chat,
            "GET /chats": self.chats,
            "GET /chats/{id}": self.chat,
            "POST /chats/{id}/messages": self.send_message,
            "GET /chats/{id}/messages": self.chat_messages,
            "GET /chats/{id}/attendees": self.chat_attendees,
            "GET /chat_attendees/{id}/chats": self.chats_with,
            "GET /messages": self.messages,
            "GET /messages/{id}": self.message,
        }

    def start_chat(self, request: Request) -> Answer:
        """Send a first message or an InMail."""
        form = request.form
        account = self.world.account(form_value(form, "account_id"))
        attendees = form.get("attendees_ids", [])
        if len(attendees) != 1:
            raise Refusal("invalid_parameters", "The simulator knows chats of two.")
        text = form_value(form, "text") or ""
        api = form_value(form, "linkedin[api]") or "classic"
        if api not in ("classic", "sales_navigator", "recruiter"):
            raise Refusal("invalid_parameters", "Unknown linkedin[api].")
        if api == "recruiter":
            raise Refusal("feature_not_subscribed", "The account has no such subscription.")
        sales = api == "sales_navigator"
        if sales or form_value(form, "linkedin[inmail]") == "true":
            subject = form_value(form, "subject")
            message = send_inmail(self.world, account, attendees[0], text, subject, sales=sales)
        else:
            message = send_message(self.world, account, attendees[0], text)
        chat_id, message_id = self._told_ids(account, message)
        return Answer({"object": "ChatStarted", "chat_id": chat_id, "message_id": message_id}, 201)

    def send_message(self, request: Request, chat_id: str) -> Answer:
        """Send a message in a known chat."""
        form = request.form
        given = form_value(form, "account_id")
        account, chat = self._chat(chat_id, self.world.account(given) if given else None)
        message = send_in_chat(self.world, account, chat, form_value(form, "text") or "")
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
        after, before = span(request)
        dated = [
            (latest.at, latest.seq, account, chat)
            for account, chat in chats
            if (latest := chat.latest(now)) and after < latest.at < before
        ]
        dated.sort(key=lambda one: one[:2], reverse=True)
        page, cursor = page_of(request, dated, default=100, most=250)
        items = (payloads.chat(account, chat, now) for *_, account, chat in page)
        return list_answer("ChatList", items, cursor)

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
            request, account, account.member.messages if account else self.world.store.log
        )

    def _messages(
        self, request: Request, account: Account | None, messages: list[Message]
    ) -> Answer:
        """List from a log kept oldest first; the cursor is the number of the last one shown.

        Without an account each message is shown once, as its member's latest account has it.
        """
        after, before = span(request)
        oldest = after  # where a log ends whose stamps may have gone back on the way
        if request.query.get("after"):
            oldest -= self.world.furthest_behind
        limit = page_limit(request, default=100, most=250)
        sender = request.query.get("sender_id")
        now = self.world.clock()
        cursor = cursor_of(request)
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
        return list_answer("MessageList", items, encoded_cursor(last) if more and items else None)

    def message(self, _request: Request, message_id: str) -> Answer:
        """Show one message."""
        message = self.world.store.messages.get(message_id)
        now = self.world.clock()
        account = None if message is None else self._keeper(message.chat, message.ids, message_id)
        is_stored = account is not None and self._is_synced(account)
        if message is None or account is None or not is_stored or message.visible_at > now:
            raise Refusal("resource_not_found", "No such message.")
        if message.signal is not None:
            message.signal.learn(now)
        return Answer(payloads.message(message, account))

    def _chat(self, chat_id: str, account: Account | None = None) -> tuple[Account, Chat]:
        """Return a chat, and the account whose it is: the given one, or that of the store's id."""
        chat = self.world.store.chats.get(chat_id)
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

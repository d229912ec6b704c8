"""Every call of the client, by its name, as the fact sheet's examples answer it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from unipile_samples import ACCOUNT_ID

from clento_engine.provider.unipile import UnipileClient

HUSH = "hush"
T0 = datetime(2026, 10, 9, 8, tzinfo=UTC)

Ask = Callable[[UnipileClient], Awaitable[object]]

READS: dict[str, Ask] = {
    "profile": lambda c: c.profile(ACCOUNT_ID, "ACoAAB1"),
    "posts": lambda c: c.posts(ACCOUNT_ID, "ACoAAB1", limit=5),
    "post": lambda c: c.post(ACCOUNT_ID, "urn:li:ugcPost:7332661863920324609"),
    "own_comments": lambda c: c.own_comments(ACCOUNT_ID, "ACoAAA0"),
    "sent_invitations": lambda c: c.sent_invitations(ACCOUNT_ID),
    "chats_with": lambda c: c.chats_with(ACCOUNT_ID, "ACoAAB1"),
    "has_chats": lambda c: c.has_chats(ACCOUNT_ID),
    "newest_messages": lambda c: c.newest_messages(ACCOUNT_ID, "chat1"),
    "chat": lambda c: c.chat(ACCOUNT_ID, "chat1"),
    "chat_messages": lambda c: c.chat_messages(ACCOUNT_ID, "chat1"),
    "messages": lambda c: c.messages(ACCOUNT_ID, after=T0),
    "relations": lambda c: c.relations(ACCOUNT_ID),
    "account": lambda c: c.account(ACCOUNT_ID),
    "webhooks": lambda c: c.webhooks(),
}
SENDS: dict[str, Ask] = {  # writes answered with Sent
    "react": lambda c: c.react(ACCOUNT_ID, "urn:li:ugcPost:1"),
    "comment": lambda c: c.comment(ACCOUNT_ID, "urn:li:ugcPost:1", "Great point"),
    "invite": lambda c: c.invite(ACCOUNT_ID, "ACoAAB1", "Hello"),
    "withdraw": lambda c: c.withdraw(ACCOUNT_ID, "744"),
    "start_chat": lambda c: c.start_chat(ACCOUNT_ID, "ACoAAB1", "Hello"),
    "send_message": lambda c: c.send_message(ACCOUNT_ID, "chat1", "Hello"),
    "inmail": lambda c: c.inmail(ACCOUNT_ID, "ACoAAB1", "Hello", "Hi", sales_navigator=False),
    "delete_webhook": lambda c: c.delete_webhook("wh1"),
}
WRITES: dict[str, Ask] = {
    **SENDS,
    "visit": lambda c: c.visit(ACCOUNT_ID, "ACoAAB1"),
    "register_webhook": lambda c: c.register_webhook(
        "users", "https://x", events=["new_relation"], secret=HUSH, name="relations"
    ),
}
ALL = READS | WRITES

"""What a node of a saved workflow is configured to do, read into one form for all editors."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from clento_engine.domain import review, template
from clento_engine.domain.account import Tier
from clento_engine.domain.finding import Allowance, Report
from clento_engine.domain.operation import Operation
from clento_engine.domain.reach import masked
from clento_engine.domain.saved import flag, number, shown
from clento_engine.domain.workflow import RECENT, Node

# keys of a node's `data.config`: the production editor's first, which goes before the older one's
_COUNT = ("numberOfPosts", "postCount")
_AGE = ("recentPostDays", "recentPostWithin")
_AI = ("configureWithAI", "useAI")
_WITHOUT_REPLY = ("smartFollowups", "isFollowUp")
TEXTS = {
    Operation.COMMENT_POST: ("customComment",),
    Operation.SEND_CONNECTION_REQUEST: ("customMessage", "message"),
    Operation.SEND_FOLLOWUP: ("customMessage", "message"),
    Operation.SEND_INMAIL: ("customMessage", "message"),
}


OPERATIONS = {
    "profile_visit": Operation.PROFILE_VISIT,
    "like_post": Operation.LIKE_POST,
    "comment_post": Operation.COMMENT_POST,
    "send_connection_request": Operation.SEND_CONNECTION_REQUEST,
    "send_invite": Operation.SEND_CONNECTION_REQUEST,
    "send_followup": Operation.SEND_FOLLOWUP,
    "send_inmail": Operation.SEND_INMAIL,
    "withdraw_request": Operation.WITHDRAW_REQUEST,
    "webhook": Operation.WEBHOOK,
    "notify_webhook": Operation.WEBHOOK,
}

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # neither PostgreSQL nor UTF-8 has these
_LIKELY_VALUE = 15  # code units of a value, to warn before a lead's text is too long
_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)


def text_keys(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a node's config whose values are texts to send."""
    kind = data.get("type")
    operation = OPERATIONS.get(kind) if isinstance(kind, str) else None
    keys = TEXTS.get(operation, ()) if operation is not None else ()
    return (*keys, "subject") if operation is Operation.SEND_INMAIL else keys


@dataclass(frozen=True, slots=True)
class Config:
    """The `data.config` of one node.  A `config` nested in it is stale, and never read."""

    name: str
    values: Mapping[str, Any]
    report: Report
    allowed: Collection[Allowance] = ()

    def node(self, operation: Operation) -> Node:
        node = Node(self.name, operation, allowed=tuple(sorted(self.allowed)))
        match operation:
            case Operation.LIKE_POST:
                return self.on_posts(node)
            case Operation.COMMENT_POST:
                return replace(self.on_posts(node), text=self.text(operation))
            case Operation.SEND_CONNECTION_REQUEST:
                return replace(node, text=self.text(operation))
            case Operation.SEND_FOLLOWUP | Operation.SEND_INMAIL:
                return replace(
                    node,
                    text=self.text(operation),
                    subject=self.subject() if operation is Operation.SEND_INMAIL else "",
                    only_without_reply=any(self.is_set(key) for key in _WITHOUT_REPLY),
                )
            case Operation.WEBHOOK:
                return self.webhook(node)
            case _:
                return node  # a withdrawal is saved with a message's settings: they mean nothing

    def on_posts(self, node: Node) -> Node:
        days = self.whole(_AGE, 365, RECENT.days)
        return replace(node, posts=self.whole(_COUNT, 10, 1), recent=timedelta(days=days))

    def text(self, operation: Operation) -> str:
        """Return the template; without one, the node cannot run unless it is an invitation."""
        keys = TEXTS[operation]
        ai = any(self.is_set(key) for key in _AI)
        key, text = next(((k, t) for k in keys if (t := self.words(k)) is not None), (keys[0], ""))
        if text:
            limit = template.text_limit(operation, Tier.SALES_NAVIGATOR)
            warn_over = template.INMAIL_WARNING if operation is Operation.SEND_INMAIL else limit
            self.check(key, text, limit, warn_over)
            if ai:
                self.report.unready(
                    self.name,
                    _of(key),
                    "AI is to write this, and the text beside it is a preview that it showed",
                    "switch AI off in the editor and write the text, or pass over the node",
                    Allowance.SAVED_TEXT,
                    allowed=self.allowed,
                )
        elif ai:
            problem = "AI is to write this text, and the engine writes none"
            fix = "write the text in the editor, or pass over the node"
            self.report.unready(self.name, _of(key), problem, fix)
        elif operation is not Operation.SEND_CONNECTION_REQUEST:
            fix = "write the text in the editor, or pass over the node"
            self.report.unready(self.name, _of(key), "the text is missing", fix)
        return text

    def subject(self) -> str:
        """Return an InMail's subject, which no editor has so far."""
        subject = self.words("subject") or ""
        self.check("subject", subject, template.SUBJECT_LIMIT, template.SUBJECT_LIMIT)
        return subject

    def webhook(self, node: Node) -> Node:
        webhook_id, url = self.words("webhookId"), self.words("targetUrl")
        for key, value in (("webhookId", webhook_id), ("targetUrl", url)):
            self.check_storable(key, value or "")
        if url is not None and not _URL.fullmatch(url):
            fix = "give the whole address, beginning with https://"
            self.report.unready(
                self.name, _of("targetUrl"), f"{shown(masked(url))} is no web address", fix
            )
        if url is None and webhook_id is None:
            fix = "choose a registered webhook in the editor, or pass over the node"
            self.report.unready(self.name, _of("webhookId"), "no webhook is chosen", fix)
        delay = self.values.get("timeDelay")
        if isinstance(delay, Mapping) and delay.get("value") not in (None, "", 0, "0"):
            fix = "set the delay on the edge that leads here"
            self.report.warn(self.name, _of("timeDelay"), "a webhook has no delay of its own", fix)
        return replace(node, webhook_id=webhook_id, webhook_url=url)

    def words(self, key: str) -> str | None:
        """Return the text of a key as it is saved; None without one, or with white space only."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            self.report.error(self.name, _of(key), f"it is {shown(value)}", "save it as text")
            return None
        return value if value and value.strip() else None

    def is_set(self, key: str) -> bool:
        return flag(self.values.get(key), self.name, _of(key), self.report) or False

    def whole(self, keys: Sequence[str], most: int, default: int) -> int:
        """Return the whole number of the first key that has one, from 1 to `most`."""
        key = next((k for k in keys if self.values.get(k) not in (None, "")), None)
        if key is None:
            return default
        count = number(self.values[key])
        if count is not None and 1 <= count <= most and count == math.floor(count):
            return int(count)
        fix = f"choose a whole number from 1 to {most}"
        self.report.error(self.name, _of(key), f"it is {shown(self.values[key])}", fix)
        return default

    def check(self, key: str, text: str, limit: int, warn_over: int) -> None:
        """Report what keeps a text from being sent to any lead, or may to some."""
        if not self.check_storable(key, text):
            return
        found = review.leftovers(text)
        for each in review.by_kind(found):
            self.report.error(
                self.name,
                _of(key),
                review.problem(each),
                review.fix(each),
                Allowance.TEXT,
                allowed=self.allowed,
            )
        known = "".join(each.piece for each in found)
        if leftover := [each for each in template.unfilled(text) if each not in known]:
            problem = f"{shown(leftover[0])} is no variable, and would stand in the text as it is"
            self.report.error(
                self.name,
                _of(key),
                problem,
                "write variables as {{first_name}}, other text without",
            )
        least, longest = template.extent(text, 0)
        likely = max(longest, template.extent(text, _LIKELY_VALUE)[1])
        if least > limit:
            problem = f"the text has {least} characters, and {limit} are allowed"
            self.report.error(self.name, _of(key), problem, f"shorten it to {limit} characters")
        elif likely > warn_over:
            problem = f"with values filled in, the text may reach {likely} of {limit} characters"
            fix = "shorten it: where it is longer than allowed, it is not sent"
            self.report.warn(self.name, _of(key), problem, fix)

    def check_storable(self, key: str, text: str) -> bool:
        """Return whether a text can be stored; report why not."""
        if UNSTORABLE.search(text) is None:
            return True
        problem = "it contains a broken character (NUL, or half of a surrogate pair)"
        self.report.error(self.name, _of(key), problem, "delete the character, type it again")
        return False


def _of(key: str) -> str:
    return f"data.config.{key}"

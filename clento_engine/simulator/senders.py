"""The accounts that act: their plan, their state, and how much of them LinkedIn puts up with."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from clento_engine.simulator.ledger import Signal
from clento_engine.simulator.messages import Chat, Message
from clento_engine.simulator.people import Person, Remark
from clento_engine.simulator.refusal import Refusal

DAY = timedelta(days=1)
WEEK = timedelta(days=7)
MONTH = timedelta(days=30)


class Tier(StrEnum):
    """What the sender pays LinkedIn for."""

    FREE = "free"
    PREMIUM = "premium"
    SALES_NAVIGATOR = "sales_navigator"


class Status(StrEnum):
    """State of an account's sources; RESTRICTED is LinkedIn's, shown as ERROR."""

    OK = "OK"
    STOPPED = "STOPPED"
    ERROR = "ERROR"
    CREDENTIALS = "CREDENTIALS"
    PERMISSIONS = "PERMISSIONS"
    CONNECTING = "CONNECTING"
    RESTRICTED = "RESTRICTED"


# How the tools below answer when the account cannot act; source: unipile.md section 3
_UNUSABLE = {
    Status.STOPPED: "no_client_session",
    Status.ERROR: "no_client_session",
    Status.CREDENTIALS: "disconnected_account",
    Status.PERMISSIONS: "insufficient_permissions",
    Status.CONNECTING: "no_client_session",
    Status.RESTRICTED: "account_restricted",
}

FEATURES: dict[Tier, tuple[str, ...]] = {
    Tier.FREE: (),
    Tier.PREMIUM: ("premium",),
    Tier.SALES_NAVIGATOR: ("sales_navigator",),
}
# Credits a month; source: unipile.md section 5 (Career 5, Sales Navigator 50)
INMAIL_CREDITS = {Tier.FREE: 0, Tier.PREMIUM: 5, Tier.SALES_NAVIGATOR: 50}
NOTE_LENGTH = {Tier.FREE: 200, Tier.PREMIUM: 300, Tier.SALES_NAVIGATOR: 300}
# Invitations in a rolling week; source: unipile.md section 5 (150 free, about 200 paid)
WEEKLY_INVITATIONS = {Tier.FREE: 150, Tier.PREMIUM: 200, Tier.SALES_NAVIGATOR: 200}
USAGE_MARKS = (50, 75, 90, 95)  # percent at which an invitation's answer tells the usage
PENDING_CEILING = 700  # source: limits.md, "pending under 500 (hard 700)"
RESTRICTED_AT = 5  # times the limit, refused attempts included: then LinkedIn restricts the sender


@dataclass(frozen=True, slots=True)
class Patience:
    """How much of one thing LinkedIn bears within a window, and what it says beyond."""

    limit: int
    window: timedelta
    kind: str  # of the refusal


# LinkedIn publishes none of these.  They lie well above the engine's own caps: who keeps those
# never meets them.
PATIENCE = {
    "invitation": Patience(200, WEEK, "cannot_resend_yet"),
    "note": Patience(15, WEEK, "limit_exceeded"),  # free accounts only
    "profile": Patience(150, DAY, "too_many_requests"),
    "message": Patience(150, DAY, "limit_exceeded"),
    "inmail": Patience(80, DAY, "limit_exceeded"),
    "reaction": Patience(150, DAY, "too_many_requests"),
    "comment": Patience(150, DAY, "too_many_requests"),
    "withdrawal": Patience(150, DAY, "too_many_requests"),
    "posts": Patience(300, DAY, "too_many_requests"),
    "list": Patience(500, DAY, "too_many_requests"),
}


@dataclass(slots=True)
class Rolling:
    """Instants within a sliding window."""

    window: timedelta
    times: deque[datetime] = field(default_factory=deque)

    def count(self, now: datetime) -> int:
        """Return how many lie within the window that ends now."""
        times = self.times
        since = now - self.window
        while times and times[0] <= since:
            times.popleft()
        return len(times)

    def add(self, now: datetime) -> None:
        """Add this instant."""
        self.times.append(now)


@dataclass(slots=True)
class Invitation:
    """A pending invitation."""

    id: str
    person: Person
    note: str | None
    at: datetime


@dataclass(slots=True)
class Tie:
    """What there is between one member and one person."""

    person: Person
    connected_at: datetime | None = None
    invitation: Invitation | None = None
    withdrawn_at: datetime | None = None
    invitations: int = 0
    messages: int = 0  # ours that they read, InMails included
    reply_planned: bool = False
    reply: Signal | None = None  # the first
    acceptance: Signal | None = None
    chat: Chat | None = None
    inmail_chat: Chat | None = None

    @property
    def chats(self) -> list[Chat]:
        """The 1:1 chats with the person."""
        return [chat for chat in (self.chat, self.inmail_chat) if chat is not None]


@dataclass(slots=True)
class Member:
    """Somebody on LinkedIn who sends: what is theirs, under whatever ids Unipile connects them."""

    provider_id: str
    slug: str
    name: str
    tier: Tier
    key: str  # what people's ways with them are drawn from: the id they were first connected under
    accounts: list["Account"] = field(default_factory=list)  # connected now, oldest first
    ties: dict[str, Tie] = field(default_factory=dict)  # by the person's slug
    pending: dict[str, Invitation] = field(default_factory=dict)  # by id, oldest first
    relations: list[tuple[datetime, str]] = field(default_factory=list)  # oldest first, with slug
    chats: list[Chat] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    reactions: list[tuple[str, str, datetime]] = field(default_factory=list)  # post, value
    credits_spent: deque[tuple[datetime, Tie]] = field(default_factory=deque)
    landed: dict[str, Rolling] = field(default_factory=dict)
    refused: dict[str, Rolling] = field(default_factory=dict)

    def need_patience(self, what: str, now: datetime) -> None:
        """Refuse with LinkedIn's own throttling; a refused attempt is remembered too."""
        patience = PATIENCE[what]
        landed = self._rolling(self.landed, what).count(now)
        if landed < patience.limit and (what != "invitation" or self._within_week(landed)):
            return
        refused = self._rolling(self.refused, what)
        refused.add(now)
        if landed + refused.count(now) >= patience.limit * RESTRICTED_AT:
            raise Refusal("account_restricted", "LinkedIn restricted this account.")
        raise Refusal(patience.kind, "LinkedIn throttles this account.")

    def spend(self, what: str, now: datetime) -> None:
        """Count one thing done."""
        self._rolling(self.landed, what).add(now)

    def spent(self, what: str, now: datetime) -> int:
        """Return how much was done within the window of LinkedIn's patience."""
        return self._rolling(self.landed, what).count(now)

    def forgive(self) -> None:
        """Start LinkedIn's counts anew, as after a restriction was lifted."""
        self.landed.clear()
        self.refused.clear()

    def usage_crossed(self, now: datetime) -> int | None:
        """Return the mark of the weekly allowance that the last invitation crossed, if it did."""
        used = self.spent("invitation", now)
        weekly = WEEKLY_INVITATIONS[self.tier]
        before, after = (used - 1) * 100 / weekly, used * 100 / weekly
        return next((mark for mark in reversed(USAGE_MARKS) if before < mark <= after), None)

    def inmail_credits(self, now: datetime) -> int:
        """Return the InMails left: a month's credits, given back for those that were answered."""
        while self.credits_spent and self.credits_spent[0][0] <= now - MONTH:
            self.credits_spent.popleft()
        spent = sum(1 for _, tie in self.credits_spent if tie.reply is None)
        return INMAIL_CREDITS[self.tier] - spent

    def _within_week(self, landed: int) -> bool:
        return landed < WEEKLY_INVITATIONS[self.tier]

    def _rolling(self, book: dict[str, Rolling], what: str) -> Rolling:
        rolling = book.get(what)
        if rolling is None:
            rolling = book[what] = Rolling(PATIENCE[what].window)
        return rolling


@dataclass(slots=True)
class Account:
    """A member's account as Unipile keeps it: connected, in some state, with a store of its own."""

    id: str
    member: Member
    created_at: datetime
    synced_at: datetime  # from when its store shows chats and messages
    status: Status = Status.OK
    transitions: int = 0  # of the status, told so far

    @property
    def provider_id(self) -> str:
        """The member's id on LinkedIn."""
        return self.member.provider_id

    @property
    def slug(self) -> str:
        """The member's public identifier."""
        return self.member.slug

    @property
    def name(self) -> str:
        """The member's name."""
        return self.member.name

    @property
    def tier(self) -> Tier:
        """What the member pays LinkedIn for."""
        return self.member.tier

    def need_usable(self) -> None:
        """Refuse to act in a state in which LinkedIn cannot be reached."""
        if self.status is not Status.OK:
            raise Refusal(_UNUSABLE[self.status], f"The account is {self.status}.")

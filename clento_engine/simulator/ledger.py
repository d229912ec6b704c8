"""What really reached whom, and when: the truth that the engine's own records are held against."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from clento_engine.domain.operation import Budget
from clento_engine.simulator.clock import iso_exact


class Effect(StrEnum):
    """Something a person can see."""

    VISIT = "visit"
    LIKE = "like"
    COMMENT = "comment"
    INVITATION = "invitation"
    MESSAGE = "message"
    INMAIL = "inmail"
    WITHDRAW = "withdraw"

    @property
    def budget(self) -> Budget:
        """The allowance it is judged against."""
        return _EFFECT_BUDGETS[self]


class Read(StrEnum):
    """Something an account reads on LinkedIn, seen by nobody."""

    PROFILE = "profile_read"
    OWN_PROFILE = "own_profile_read"
    POSTS = "posts_read"
    COMMENTS = "comments_read"
    REACTIONS = "reactions_read"
    RELATIONS = "relations_read"
    INVITATIONS = "invitations_read"
    INMAIL_BALANCE = "inmail_balance_read"

    @property
    def budget(self) -> Budget | None:
        """The allowance it is judged against; None where the engine keeps none."""
        return _READ_BUDGETS.get(self)


_EFFECT_BUDGETS = {
    Effect.VISIT: Budget.PROFILE,
    Effect.LIKE: Budget.REACTION,
    Effect.COMMENT: Budget.COMMENT,
    Effect.INVITATION: Budget.INVITATION,
    Effect.MESSAGE: Budget.MESSAGE,
    Effect.INMAIL: Budget.INMAIL,
    Effect.WITHDRAW: Budget.WITHDRAWAL,
}
_READ_BUDGETS = {
    Read.PROFILE: Budget.PROFILE,
    Read.POSTS: Budget.POST_READ,
    Read.COMMENTS: Budget.POST_READ,
    Read.RELATIONS: Budget.LIST_READ,
    Read.INVITATIONS: Budget.LIST_READ,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One effect.  `target`: the post, invitation or chat; `request_seq`: what it came by."""

    seq: int
    at: datetime
    account: str
    operation: Effect
    provider_id: str
    slug: str
    target: str | None
    text: str | None
    request_seq: int
    member: str | None = None  # the provider id of whose account it is

    @property
    def sender(self) -> str:
        """Whose it is: the member, or the account where nobody said whose that is."""
        return self.member or self.account

    def row(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "seq": self.seq,
            "at": iso_exact(self.at),
            "account": self.account,
            "member": self.member,
            "operation": self.operation.value,
            "provider_id": self.provider_id,
            "slug": self.slug,
            "target": self.target,
            "text": self.text,
            "request_seq": self.request_seq,
            "outcome": "landed",
        }


@dataclass(slots=True)
class Signal:
    """An acceptance or a reply: what a person lets the sender know.

    `known_at`: when the engine could first know, by a webhook that was answered with 2xx or by a
    read that showed it; None while it could not.  `told_at`: when by a webhook.  What a read showed
    may have been lost on its way; what was answered with 2xx is in the engine's hands for good.
    """

    at: datetime
    account: str
    provider_id: str
    slug: str
    known_at: datetime | None = None
    told_at: datetime | None = None
    member: str | None = None  # the provider id of whose account it is

    @property
    def sender(self) -> str:
        """Whom it is to: the member, or the account where nobody said whose that is."""
        return self.member or self.account

    def tell(self, at: datetime) -> None:
        """Note that a webhook told the engine at `at`."""
        if self.told_at is None or at < self.told_at:
            self.told_at = at
        self.learn(at)

    def learn(self, at: datetime) -> None:
        """Note that the engine was told at `at`."""
        if self.known_at is None or at < self.known_at:
            self.known_at = at

    def row(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "at": iso_exact(self.at),
            "account": self.account,
            "member": self.member,
            "provider_id": self.provider_id,
            "slug": self.slug,
            "known_at": iso_exact(self.known_at) if self.known_at else None,
            "told_at": iso_exact(self.told_at) if self.told_at else None,
        }


@dataclass(slots=True)
class Ledger:
    """All effects in order, all reads by account, all signals of people.  Append-only.

    `members`: whose each account is, by provider id, in the order in which they were connected.
    """

    entries: list[Entry] = field(default_factory=list)
    reads: dict[str, dict[Read, list[datetime]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    replies: list[Signal] = field(default_factory=list)
    acceptances: list[Signal] = field(default_factory=list)
    by_hand: list[Signal] = field(default_factory=list)  # messages of the accounts' owners
    members: dict[str, str] = field(default_factory=dict)

    def sender(self, account: str) -> str:
        """Return whose an account is: the member, or the account where nobody said."""
        return self.members.get(account, account)

    def land(
        self,
        operation: Effect,
        *,
        at: datetime,
        account: str,
        provider_id: str,
        slug: str,
        request_seq: int,
        target: str | None = None,
        text: str | None = None,
    ) -> Entry:
        """Note that something reached a person."""
        seq = len(self.entries) + 1
        member = self.members.get(account)
        entry = Entry(
            seq, at, account, operation, provider_id, slug, target, text, request_seq, member
        )
        self.entries.append(entry)
        return entry

    def read(self, kind: Read, *, at: datetime, account: str) -> None:
        """Note that an account read something."""
        self.reads[account][kind].append(at)

    def counts(self) -> Counter[str]:
        """Return how many effects of each kind there were."""
        return Counter(entry.operation.value for entry in self.entries)

    def page(self, after: int, limit: int) -> dict[str, Any]:
        """Return entries after a sequence number, as JSON; `next` is None at the end."""
        entries = self.entries[after : after + limit]
        end = after + len(entries)
        return {
            "object": "SimulatorLedger",
            "entries": [entry.row() for entry in entries],
            "total": len(self.entries),
            "next": end if end < len(self.entries) else None,
        }

    def reads_page(self) -> dict[str, Any]:
        """Return all reads as JSON: instants by account and kind."""
        return {
            "object": "SimulatorReads",
            "reads": {
                account: {kind.value: list(map(iso_exact, times)) for kind, times in kinds.items()}
                for account, kinds in self.reads.items()
            },
            "members": dict(self.members),
        }

    def signals_page(self) -> dict[str, Any]:
        """Return all acceptances, replies and messages by hand as JSON."""
        return {
            "object": "SimulatorSignals",
            "replies": [signal.row() for signal in self.replies],
            "acceptances": [signal.row() for signal in self.acceptances],
            "by_hand": [signal.row() for signal in self.by_hand],
        }


def load(
    rows: Iterable[Mapping[str, Any]],
    reads: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
    signals: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    members: Mapping[str, str] | None = None,
) -> Ledger:
    """Rebuild a ledger from what the simulator served.

    `rows`: the `entries` of all pages, in order; `reads` and `members`: those of
    /simulator/ledger/reads;
    `signals`: the body of /simulator/ledger/signals.
    """
    ledger = Ledger()
    ledger.entries.extend(
        Entry(
            row["seq"],
            datetime.fromisoformat(row["at"]),
            row["account"],
            Effect(row["operation"]),
            row["provider_id"],
            row["slug"],
            row["target"],
            row["text"],
            row["request_seq"],
            row["member"],
        )
        for row in rows
    )
    for account, kinds in (reads or {}).items():
        for kind, times in kinds.items():
            ledger.reads[account][Read(kind)].extend(map(datetime.fromisoformat, times))
    ledger.members.update(members or {})
    signals = signals or {}
    ledger.replies.extend(map(_signal, signals.get("replies", ())))
    ledger.acceptances.extend(map(_signal, signals.get("acceptances", ())))
    ledger.by_hand.extend(map(_signal, signals.get("by_hand", ())))
    return ledger


def _signal(row: Mapping[str, Any]) -> Signal:
    known, told = (
        datetime.fromisoformat(row[name]) if row.get(name) else None
        for name in ("known_at", "told_at")
    )
    return Signal(
        datetime.fromisoformat(row["at"]),
        row["account"],
        row["provider_id"],
        row["slug"],
        known,
        told,
        row["member"],
    )

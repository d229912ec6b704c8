"""The verdict over a ledger: was anybody contacted twice, too often, too late or after a reply?

Pure functions of what really landed; nothing here knows what the engine believes it did.
"""

import re
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from clento_engine.domain.operation import Budget
from clento_engine.simulator.ledger import Effect, Entry, Ledger, Read, Signal

WINDOWS = {
    "hour": timedelta(minutes=60),
    "day": timedelta(hours=24),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}

Allowed = Callable[[Effect, str | None], int]
Caps = Mapping[Budget, Mapping[str, int]]
IsOpen = Callable[[str, datetime], bool]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same thing landed on the same person more often than the workflow asks for.

    `account`: the first of it was by; all were by accounts of one member.
    """

    account: str
    slug: str
    operation: Effect
    target: str | None
    text: str | None
    count: int
    allowed: int
    at: datetime  # of the first one too many
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Excess:
    """A member did more within one sliding window than its cap; `account`: one of theirs.

    `count` is the fullest that the window got, `at` the instant of that action; `breaches` says how
    many actions found the window over its cap.
    """

    account: str
    budget: Budget
    window: str
    count: int
    cap: int
    at: datetime
    breaches: int


@dataclass(frozen=True, slots=True)
class Crowded:
    """LinkedIn saw two things of a member closer together than their spacing allows."""

    account: str  # one of the member's
    first: str
    second: str
    gap: timedelta
    least: timedelta
    at: datetime  # of the second


@dataclass(frozen=True, slots=True)
class Untimely:
    """Something visible landed when it should not have: outside hours, or after a message.

    `since`: when the person's reply, or the owner's message by hand, was known; None for what was
    outside hours.
    """

    entry: Entry
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings; none is what the product promises."""

    duplicates: tuple[Duplicate, ...] = ()
    over_cap: tuple[Excess, ...] = ()
    outside_hours: tuple[Untimely, ...] = ()
    after_reply: tuple[Untimely, ...] = ()
    crowded: tuple[Crowded, ...] = ()
    after_owner: tuple[Untimely, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not any(self.counts().values())

    def counts(self) -> dict[str, int]:
        """Return how many findings there are of each kind."""
        return {
            "duplicates": len(self.duplicates),
            "over_cap": len(self.over_cap),
            "outside_hours": len(self.outside_hours),
            "after_reply": len(self.after_reply),
            "crowded": len(self.crowded),
            "after_owner": len(self.after_owner),
        }


def once(_operation: Effect, _text: str | None) -> int:
    """Allow everything once: no two nodes of the workflow carry the same text."""
    return 1


def judge(
    ledger: Ledger,
    *,
    caps: Caps | Callable[[str], Caps] | None = None,
    allowed: Allowed | Mapping[tuple[Effect, str | None], int] = once,
    is_open: IsOpen | None = None,
    grace: timedelta = timedelta(0),
    spacing: timedelta | Callable[[str], timedelta] | None = None,
) -> Verdict:
    """Return the whole verdict; what is not given (`caps`, `is_open`, `spacing`) is not judged.

    A member is one sender, under however many accounts: theirs are judged together.
    """
    return Verdict(
        duplicates=tuple(duplicates(ledger.entries, allowed)),
        over_cap=tuple(over_cap(ledger, caps)) if caps is not None else (),
        outside_hours=tuple(outside_hours(ledger.entries, is_open)) if is_open else (),
        after_reply=tuple(after_reply(ledger.entries, ledger.replies, grace)),
        crowded=tuple(crowded(ledger, spacing)) if spacing is not None else (),
        after_owner=tuple(after_reply(ledger.entries, ledger.by_hand, grace)),
    )


def normalised(text: str) -> str:
    """Return a text as it is compared: NFC, trimmed, white space collapsed."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def duplicates(
    entries: Iterable[Entry], allowed: Allowed | Mapping[tuple[Effect, str | None], int] = once
) -> Iterator[Duplicate]:
    """Find what landed on one person more often than `allowed(operation, normalised text)` says.

    `allowed` may also be a mapping, with 1 for what is not in it: how many nodes carry that text.
    It is asked about texts only: messages, InMails and, under one post, comments.  An invitation
    counts whatever its note says, a like by its post, a withdrawal by its invitation, each once;
    visits may repeat.
    """
    ask = allowed if callable(allowed) else _asking(allowed)
    groups: dict[tuple[str, str, Effect, str | None, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        what: tuple[str | None, str | None]
        match entry.operation:
            case Effect.VISIT:
                continue
            case Effect.INVITATION:
                what = (None, None)
            case Effect.LIKE | Effect.WITHDRAW:
                what = (entry.target, None)
            case Effect.COMMENT:
                what = (entry.target, normalised(entry.text or ""))
            case Effect.MESSAGE | Effect.INMAIL:  # the chat's id says nothing: it may differ
                what = (None, normalised(entry.text or ""))
        groups[(entry.sender, entry.provider_id, entry.operation, *what)].append(entry)
    for (_, _, operation, target, text), same in groups.items():
        most = 1 if text is None else ask(operation, text)
        if len(same) > most:
            yield Duplicate(
                same[0].account,
                same[0].slug,
                operation,
                target,
                text,
                len(same),
                most,
                same[most].at,
                tuple(entry.seq for entry in same),
            )


def over_cap(ledger: Ledger, caps: Caps | Callable[[str], Caps]) -> Iterator[Excess]:
    """Find every member, budget and window whose cap was passed, in windows that slide.

    `caps`: budget → {"hour" | "day" | "week" | "month": cap}, or a function of the account giving
    that; of a member with several it is asked about the first to be connected.  A window of one
    hour holds what lies less than 60 minutes apart.  The profile budget holds visits and lookups,
    an invitation with a note counts for the note's budget too.
    """
    for (account, budget), times in spent(ledger).items():
        limits = (caps(account) if callable(caps) else caps).get(budget, {})
        times.sort()
        for window, cap in limits.items():
            breaches = [(count, at) for count, at in _fill(times, WINDOWS[window]) if count > cap]
            if breaches:
                count, at = max(breaches, key=lambda breach: breach[0])
                yield Excess(account, budget, window, count, cap, at, len(breaches))


def peaks(ledger: Ledger) -> dict[tuple[str, Budget], dict[str, int]]:
    """Return the fullest that each member's sliding windows got, by first account and budget."""
    return {
        key: {
            name: max((count for count, _ in _fill(sorted(times), window)), default=0)
            for name, window in WINDOWS.items()
        }
        for key, times in spent(ledger).items()
    }


def crowded(
    ledger: Ledger,
    spacing: timedelta | Callable[[str], timedelta],
    kinds: Collection[Effect | Read] = (*Effect, *Read),
) -> Iterator[Crowded]:
    """Find effects and reads of one member that LinkedIn saw closer together than `spacing`.

    `spacing`: the shortest gap, or a function of the member's first account giving it.  `kinds`:
    those between which it is to be kept.  Reads of Unipile's own store are in no ledger.
    """
    first = first_accounts(ledger)
    times: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for entry in ledger.entries:
        if entry.operation in kinds:
            times[first(entry.account)].append((entry.at, entry.operation.value))
    for account, kind, read_at in _reads(ledger):
        if kind in kinds:
            times[first(account)] += [(at, kind.value) for at in read_at]
    for account, each in times.items():
        least = spacing(account) if callable(spacing) else spacing
        for (before, one), (after, other) in pairwise(sorted(each)):
            if after - before < least:
                yield Crowded(account, one, other, after - before, least, after)


def outside_hours(entries: Iterable[Entry], is_open: IsOpen) -> Iterator[Untimely]:
    """Find what a person could see landing while `is_open(account, at)` is false."""
    return (Untimely(entry) for entry in entries if not is_open(entry.account, entry.at))


def after_reply(
    entries: Iterable[Entry], replies: Iterable[Signal], grace: timedelta = timedelta(0)
) -> Iterator[Untimely]:
    """Find what landed on a person more than `grace` after the engine knew of their reply.

    Given those, of what the account's owner wrote to them by hand.  A reply counts from when a
    webhook or a read brought it, not from when it was written.
    """
    known: dict[tuple[str, str], datetime] = {}
    for reply in replies:
        if reply.known_at is not None:
            key = (reply.sender, reply.provider_id)
            known[key] = min(reply.known_at, known.get(key, reply.known_at))
    for entry in entries:
        since = known.get((entry.sender, entry.provider_id))
        if since is not None and entry.at > since + grace:
            yield Untimely(entry, since)


def as_rows(verdict: Verdict) -> dict[str, Any]:
    """Return the findings as JSON-ready rows."""
    rows: dict[str, Any] = asdict(verdict)
    return {
        kind: [{key: _plain(value) for key, value in finding.items()} for finding in findings]
        for kind, findings in rows.items()
    }


def _plain(value: Any) -> Any:  # noqa: ANN401  # the leaves of a dataclass
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case _:
            return value


def _asking(allowed: Mapping[tuple[Effect, str | None], int]) -> Allowed:
    """Turn a mapping by text into a function of the normalised text."""
    by_text = {(effect, normalised(text or "")): count for (effect, text), count in allowed.items()}
    return lambda effect, text: by_text.get((effect, text or ""), 1)


def spent(ledger: Ledger) -> dict[tuple[str, Budget], list[datetime]]:
    """Return the instants at which each member spent from each budget, by their first account."""
    spent: dict[tuple[str, Budget], list[datetime]] = defaultdict(list)
    first = first_accounts(ledger)
    for entry in ledger.entries:
        account = first(entry.account)
        spent[account, entry.operation.budget].append(entry.at)
        if entry.operation is Effect.INVITATION and entry.text:
            spent[account, Budget.NOTE].append(entry.at)
    for account, kind, times in _reads(ledger):
        if kind.budget is not None:
            spent[first(account), kind.budget].extend(times)
    return spent


def _reads(ledger: Ledger) -> Iterator[tuple[str, Read, Sequence[datetime]]]:
    for account, kinds in ledger.reads.items():
        for kind, times in kinds.items():
            yield account, kind, times


def first_accounts(ledger: Ledger) -> Callable[[str], str]:
    """Return what says of an account which of its member's was connected first."""
    first: dict[str, str] = {}
    for account, member in ledger.members.items():
        first.setdefault(member, account)
    return lambda account: first.get(ledger.sender(account), account)


def _fill(times: Sequence[datetime], window: timedelta) -> Iterator[tuple[int, datetime]]:
    """Say for each instant how much the window ending there holds, itself included."""
    oldest = 0
    for index, at in enumerate(times):
        oldest = bisect_right(times, at - window, lo=oldest)
        yield index + 1 - oldest, at

"""Whether what we wrote is there: what the provider shows, held against what the ledger knows.

Absence is proved by what is there.  A message that is not in a chat is absent only where the chat
shows what the ledger knows of it; a comment only where our own list shows one that the ledger
knows.  Nothing here compares instants of the provider's with ours: clocks differ.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from clento_engine.domain.template import collapsed


@dataclass(frozen=True, slots=True)
class Shown:
    """A message or comment of ours that the provider shows; `place`: its chat or post."""

    id: str | None
    text: str
    places: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Known:
    """A message or comment that the ledger has as done.

    `reference`: the provider's id of it, unless the provider left it out; `place`: the post of a
    comment; `is_before`: it was settled before the action in question was begun.
    """

    reference: str | None
    text: str
    is_before: bool
    place: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """It is there: the newest that the ledger does not know."""

    shown: Shown


@dataclass(frozen=True, slots=True)
class Absent:
    """It is not there, and what must be there is."""


@dataclass(frozen=True, slots=True)
class Unproved:
    """Neither is proved, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class More:
    """Not on the pages read so far.  `is_known`: one of them showed what the ledger knows."""

    is_known: bool


def anchors(known: Iterable[Known], text: str) -> frozenset[str]:
    """Return the references at which reading a chat back may stop: nothing older is in question.

    None where the ledger knows an equal text without its reference: all of them must be counted.
    """
    wanted = collapsed(text)
    listed = list(known)
    if any(each.reference is None and collapsed(each.text) == wanted for each in listed):
        return frozenset()
    return frozenset(
        each.reference for each in listed if each.is_before and each.reference is not None
    )


def message(
    shown: Sequence[Shown], known: Sequence[Known], text: str, *, is_whole: bool
) -> Found | Absent | Unproved:
    """Judge by the messages of ours in all chats with a person; both lists newest first.

    `is_whole`: every chat was read to its start; else each that was not was read back to one of
    the `anchors`.  Equal texts are counted against those that the ledger knows: one more is ours.
    """
    wanted = collapsed(text)
    references = {each.reference for each in known}
    ids = {each.id for each in shown}
    if not is_whole:  # what was settled before the oldest that is shown is further back
        reached = [place for place, each in enumerate(known) if each.reference in ids]
        known = known[: max(reached, default=len(known)) + 1]
    unshown = [each for each in known if each.reference is None or each.reference not in ids]
    equal = [each for each in shown if each.id not in references and collapsed(each.text) == wanted]
    others = sum(collapsed(each.text) == wanted for each in unshown) if is_whole else 0
    if len(equal) > others:
        return Found(equal[0])
    if _are_lacking(shown, unshown, references):
        return Unproved("the chat lacks messages that are known to have been sent")
    return Absent()


def unknown(shown: Sequence[Shown], known: Iterable[Known]) -> Shown | None:
    """Return the first (oldest) of `shown`, newest first, that the ledger does not know at all."""
    listed = list(known)
    references = {each.reference for each in listed if each.reference is not None}
    nameless = Counter(collapsed(each.text) for each in listed if each.reference is None)
    found = None
    for each in shown:
        if each.id in references:
            continue
        words = collapsed(each.text)
        if nameless[words] > 0:
            nameless[words] -= 1
        else:
            found = each
    return found


def _are_lacking(
    shown: Iterable[Shown], unshown: Iterable[Known], references: Collection[str | None]
) -> bool:
    """Whether something known is there neither by its id nor, under a new one, by its text."""
    texts = Counter(collapsed(each.text) for each in shown if each.id not in references)
    texts.subtract(collapsed(each.text) for each in unshown)
    return any(count < 0 for count in texts.values())


def comment(
    page: Sequence[Shown],
    known: Sequence[Known],
    place: str,
    text: str,
    *,
    is_known: bool,
    is_last: bool,
) -> Found | Absent | Unproved | More:
    """Judge by one page of our own comments, newest first.

    `is_known`: a page before it showed one that the ledger knows; `is_last`: there is no further
    page.  Proved is absence where the list shows one from before the action, or all of it was read
    and some of it is known: a list without any is perhaps not ours, or not filled.
    """
    wanted = collapsed(text)
    references = {each.reference for each in known if each.reference is not None}
    unreferenced = Counter(
        (each.place, collapsed(each.text)) for each in known if each.reference is None
    )
    before = {each.reference for each in known if each.is_before and each.reference is not None}
    later = {(each.place, collapsed(each.text)) for each in known if not each.is_before}
    for each in page:
        words = collapsed(each.text)
        keys = [(where, words) for where in each.places]
        nameless = next((key for key in keys if unreferenced[key] > 0), None)
        if each.id in references or nameless is not None:
            is_known = True
            if each.id in before or (nameless is not None and nameless not in later):
                return Absent()
            if nameless is not None:
                unreferenced[nameless] -= 1
        elif words == wanted:
            if place in each.places:
                return Found(each)
            return Unproved("a comment says what ours does, and under what post is not clear")
    if not is_last:
        return More(is_known)
    if is_known:
        return Absent()
    return Unproved("none of the comments that are shown is one that was sent from here")

"""What we wrote is absent only where what must be there is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.absence import (
    Absent,
    Found,
    Known,
    More,
    Shown,
    Unproved,
    anchors,
    comment,
    message,
)

OURS = "Hello Lea"
TEXTS = st.sampled_from([OURS, "Another word", "A third"])


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[Shown], list[Known]]:
    """Draw what the account sent to a person, newest first, and what the ledger knows of it."""
    count = draw(st.integers(0, 6))
    after = draw(st.integers(0, count))  # so many of them were settled after the intent
    shown, known = [], []
    for place in range(count):
        text, has_reference = draw(TEXTS), draw(st.booleans())
        shown.append(Shown(f"m{place}", text))
        reference = f"m{place}" if has_reference else None
        known.append(Known(reference, text, is_before=place >= after))
    return shown, known


def read_back(shown: list[Shown], back_to: frozenset[str]) -> tuple[list[Shown], bool]:
    """Read a chat as the provider's client does, one message a page."""
    for place, each in enumerate(shown):
        if each.id in back_to:
            return shown[: place + 1], False
    return shown, True


@given(chats(), st.integers(0, 6))
def test_a_message_that_landed_is_found_wherever_it_stands(
    drawn: tuple[list[Shown], list[Known]], place: int
) -> None:
    shown, known = drawn
    newer = sum(not each.is_before for each in known)
    landed = [*shown]
    landed.insert(min(place, newer), Shown("ours", OURS))

    read, is_whole = read_back(landed, anchors(known, OURS))
    verdict = message(read, known, OURS, is_whole=is_whole)

    assert isinstance(verdict, Found)


@given(chats())
def test_a_message_that_did_not_land_is_absent_from_a_chat_that_shows_the_others(
    drawn: tuple[list[Shown], list[Known]],
) -> None:
    shown, known = drawn
    read, is_whole = read_back(shown, anchors(known, OURS))

    assert message(read, known, OURS, is_whole=is_whole) == Absent()


@given(chats(), st.data())
def test_a_chat_that_lost_something_known_proves_nothing(
    drawn: tuple[list[Shown], list[Known]], data: st.DataObject
) -> None:
    """What a store that fills anew does not show yet is its newest messages, or all of them."""
    shown, known = drawn
    lost = data.draw(st.integers(min(1, len(shown)), len(shown)))
    read, is_whole = read_back(shown[lost:], anchors(known, OURS))

    verdict = message(read, known, OURS, is_whole=is_whole)

    assert lost == 0 or isinstance(verdict, Unproved)


@given(chats())
def test_messages_under_new_ids_are_known_by_their_texts(
    drawn: tuple[list[Shown], list[Known]],
) -> None:
    """A store that was filled anew gave every message another id."""
    shown, known = drawn
    renamed = [replace(each, id=f"new-{each.id}") for each in shown]
    read, is_whole = read_back(renamed, anchors(known, OURS))

    assert is_whole
    assert message(read, known, OURS, is_whole=True) == Absent()
    landed = [Shown("ours", OURS), *read]
    assert isinstance(message(landed, known, OURS, is_whole=True), Found)


POST = "urn:li:ugcPost:1"
HERE = frozenset({POST, "1"})
ELSEWHERE = frozenset({"urn:li:ugcPost:2", "2"})
BEFORE = Known("c1", "Well said", is_before=True, place="urn:li:ugcPost:2")
AFTER = replace(BEFORE, reference="c2", is_before=False)
NAMELESS = Known(None, "Well said", is_before=True, place="urn:li:ugcPost:2")
OLD = Shown("c1", "Well said", ELSEWHERE)
YOUNG = Shown("c2", "Well said", ELSEWHERE)
BY_HAND = Shown("c9", "I was there too", ELSEWHERE)
THERE = Shown("c5", OURS, HERE)
UNDER_ANOTHER = Shown("c6", OURS, ELSEWHERE)


@pytest.mark.parametrize(
    ("page", "known", "verdict"),
    [
        ([BY_HAND, THERE, OLD], [BEFORE], Found(THERE)),
        ([BY_HAND, OLD, THERE], [BEFORE], Absent()),  # older than one from before: not this one
        ([BY_HAND, OLD], [BEFORE], Absent()),
        ([YOUNG, BY_HAND], [AFTER], Absent()),  # all that there is, and it is our list
        ([YOUNG, THERE], [AFTER], Found(THERE)),
        ([OLD], [NAMELESS], Absent()),
        ([THERE, OLD], [replace(NAMELESS, place=POST, text=OURS), BEFORE], Absent()),
        ([THERE, THERE, OLD], [replace(NAMELESS, place=POST, text=OURS)], Absent()),
        (
            [THERE, THERE, OLD],
            [replace(NAMELESS, place=POST, text=OURS, is_before=False), BEFORE],
            Found(THERE),
        ),
    ],
)
def test_a_comment_is_looked_for_back_to_one_that_the_ledger_knows(
    page: list[Shown], known: list[Known], verdict: object
) -> None:
    assert comment(page, known, POST, OURS, is_known=False, is_last=True) == verdict


@pytest.mark.parametrize("page", [[], [BY_HAND]])
def test_a_list_of_comments_that_shows_nothing_known_proves_nothing(page: list[Shown]) -> None:
    verdict = comment(page, [BEFORE], POST, OURS, is_known=False, is_last=True)
    assert isinstance(verdict, Unproved)


def test_our_text_under_a_post_that_is_called_otherwise_proves_nothing() -> None:
    verdict = comment([UNDER_ANOTHER, OLD], [BEFORE], POST, OURS, is_known=False, is_last=True)
    assert isinstance(verdict, Unproved)


def test_the_search_goes_on_while_there_are_pages() -> None:
    page = [BY_HAND] * 100
    assert comment(page, [BEFORE], POST, OURS, is_known=False, is_last=False) == More(
        is_known=False
    )
    assert comment([YOUNG], [AFTER], POST, OURS, is_known=False, is_last=False) == More(
        is_known=True
    )
    assert comment([BY_HAND], [AFTER], POST, OURS, is_known=True, is_last=True) == Absent()

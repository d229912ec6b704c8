"""What comes from outside is bounded before anything is done with it."""

import unicodedata
from datetime import UTC, datetime, timedelta
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain import outside
from clento_engine.domain.absence import Absent, Shown, message
from clento_engine.domain.lead import Rejected, identity
from clento_engine.domain.outside import LONGEST_ID, bounded_moment, decomposed, is_id, normalised
from clento_engine.domain.suppression import Kind, suppressed_value
from clento_engine.domain.template import collapsed

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PILE = "a" + "\u0301\u0316" * 19_000  # of other classes: each must pass the ones before it
SOON_S = 0.5  # of processor time; the pile took two seconds, and sixteen times as long it took 112


@pytest.mark.parametrize(
    "text",
    [
        *("ACoAAB1", "7449262477600571392", "urn:li:ugcPost:7332661863920324609", "lea-éxample"),
        *(
            "urn:li:comment:(urn:li:activity:1,2)",
            "2-MTcxMA==_100",
            "j%C3%BCrgen",
            "x" * LONGEST_ID,
        ),
    ],
)
def test_what_a_provider_names_things_by_is_an_id(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "%2e", "%2E%2e", "a/b", "..%2Fusers", "a\\b", "a?b", "a#b", "a b", "a\nb"),
        *("a\0b", "\ud83d", "a%00b", "\u2028x", "x" * (LONGEST_ID + 1), "x" * 8_192),
    ],
)
def test_what_changes_a_route_or_cannot_be_stored_is_no_id(text: str) -> None:
    assert not is_id(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_nothing_happened_after_now_or_before_linkedin(stamp: datetime) -> None:
    assert outside.EARLIEST <= bounded_moment(stamp, NOW) <= NOW


def test_a_moment_that_can_be_is_kept() -> None:
    assert bounded_moment(NOW - timedelta(days=900), NOW) == NOW - timedelta(days=900)


@given(st.text(max_size=60))
def test_a_text_that_somebody_writes_is_normalised(text: str) -> None:
    assert normalised(text) in (text, unicodedata.normalize("NFC", text))
    if not any(map(unicodedata.combining, text)):
        assert normalised(text) == unicodedata.normalize("NFC", text)


def test_words_of_any_language_are_normalised() -> None:
    for word in (
        "Zoe\u0308",
        "Tie\u0302\u0301ng Vie\u0302\u0323t",
        "\u1112\u1161\u11ab",
        "e" * 500 + "\u0301",
    ):
        assert normalised(word) == unicodedata.normalize("NFC", word)


@pytest.mark.parametrize("length", [1, 16], ids=["40 KB", "600 KB"])
def test_a_pile_of_combining_signs_takes_no_time(length: int) -> None:
    pile = PILE * length
    began = process_time()
    assert collapsed(pile) == pile
    assert decomposed(pile) == pile
    assert isinstance(identity(f"https://www.linkedin.com/in/{pile}"), Rejected)
    assert isinstance(identity(pile), Rejected)
    assert suppressed_value(Kind.DOMAIN, f"{'a.' * 200_000}") != ""
    shown = [Shown("m1", pile)]
    assert message(shown, [], "Hello", is_whole=True) == Absent()
    assert process_time() - began < SOON_S


def test_without_a_look_at_its_length_the_pile_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "_is_left", lambda text: text.isascii())
    began = process_time()
    collapsed(PILE)
    assert process_time() - began > SOON_S

"""What the provider's `Date` says about our clock, and how many answers it takes."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.provider.skew import Skew, Span, parsed_date

T0 = datetime(2026, 10, 9, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NONE = timedelta()


def span(least_s: float, most_s: float) -> Span:
    return Span(timedelta(seconds=least_s), timedelta(seconds=most_s))


def after(*spans: Span) -> Skew:
    skew = Skew()
    for one in spans:
        skew.learn(one)
    return skew


def honest(ahead: timedelta, at: datetime, *, out: timedelta, back: timedelta, old: bool) -> Span:
    """Return what an answer of an honest server says, written at `at` by its own clock.

    The request was `out` on its way, the answer `back`; an `old` Date was written a second ago.
    """
    date = at.replace(microsecond=0) - (SECOND if old else NONE)
    measured = Span.measured(at + ahead - out, date, at + ahead + back)
    assert measured is not None
    return measured


delays = st.timedeltas(NONE, timedelta(seconds=100))
instants = st.timedeltas(NONE, timedelta(days=2)).map(lambda passed: T0 + passed)


@st.composite
def answers(draw: st.DrawFn, ahead: timedelta) -> Span:
    return honest(
        ahead, draw(instants), out=draw(delays), back=draw(delays), old=draw(st.booleans())
    )


@given(st.data(), st.timedeltas(-timedelta(days=400), timedelta(days=400)), st.integers(3, 12))
def test_what_is_believed_of_honest_answers_is_never_more_than_the_truth(
    data: st.DataObject, ahead: timedelta, count: int
) -> None:
    skew = after(*(data.draw(answers(ahead)) for _ in range(count)))
    assert skew.ahead is not None
    assert min(ahead, NONE) <= skew.ahead <= max(ahead, NONE)


@given(st.timedeltas(-timedelta(days=400), timedelta(days=400)), st.lists(instants, min_size=3))
def test_quick_answers_tell_a_skew_to_two_seconds(ahead: timedelta, at: list[datetime]) -> None:
    quick = timedelta(milliseconds=40)
    skew = after(*(honest(ahead, one, out=quick, back=quick, old=False) for one in at))
    assert skew.ahead is not None
    assert abs(skew.ahead - ahead) <= 2 * SECOND + 2 * quick


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_answers_are_not_believed(count: int) -> None:
    assert after(*[span(300, 302)] * count).ahead is None


@given(st.permutations([0, 1, 2]), st.integers(0, 2))
def test_three_answers_that_disagree_are_not_believed(order: list[int], odd: int) -> None:
    spans = [span(0, 2)] * 3
    spans[odd] = span(300, 302)
    assert after(*(spans[one] for one in order)).ahead is None


def test_a_skew_is_what_all_three_leave_possible_nearest_to_none() -> None:
    assert after(span(10, 20), span(5, 14), span(12, 30)).ahead == 12 * SECOND
    assert after(span(-20, -10), span(-14, -5), span(-30, -12)).ahead == -12 * SECOND
    assert after(span(-3, 4), span(-1, 9), span(-9, 1)).ahead == NONE


def test_slow_answers_do_not_make_a_known_skew_uncertain() -> None:
    skew = after(*[span(70, 72)] * 3)
    for _ in range(9):
        skew.learn(span(-20, 90))
    assert skew.ahead == 70 * SECOND


def test_one_or_two_answers_that_contradict_change_nothing() -> None:
    skew = after(*[span(0, 2)] * 3)
    for _ in range(5):
        skew.learn(span(300, 302))
        skew.learn(span(301, 303))
        assert skew.ahead == NONE
        skew.learn(span(0, 2))
    assert skew.ahead == NONE


def test_three_answers_that_contradict_it_and_agree_take_its_place() -> None:
    skew = after(*[span(0, 2)] * 3, span(300, 302), span(301, 303), span(299, 301.5))
    assert skew.ahead == 301 * SECOND


def test_a_skew_that_three_contradict_each_in_another_way_is_given_up() -> None:
    skew = after(*[span(0, 2)] * 3, span(300, 302), span(600, 602), span(-302, -300))
    assert skew.ahead is None


def test_a_slow_answer_between_those_that_contradict_does_not_save_it() -> None:
    skew = after(*[span(0, 2)] * 3, span(300, 302), span(-10, 400), span(300, 302))
    assert skew.ahead == 300 * SECOND


def test_an_answer_during_which_our_clock_went_back_says_nothing() -> None:
    assert Span.measured(T0, T0, T0 - SECOND) is None
    assert Span.measured(T0, T0, T0) == span(-2, 0)


@pytest.mark.parametrize(
    "date", ["", "soon", "Fri, 09 Oct 2026", "Fri, 99 Oct 2026 08:00:00 GMT", "2026-10-09T08:00:00"]
)
def test_a_date_that_is_none_is_no_parsed_date(date: str) -> None:
    assert parsed_date(date) is None


def test_a_date_is_an_instant_with_its_zone() -> None:
    assert parsed_date("Fri, 09 Oct 2026 08:00:00 GMT") == T0


@given(st.text())
def test_no_date_raises(date: str) -> None:
    at = parsed_date(date)
    assert at is None or at.tzinfo is not None


def test_a_skew_is_warned_about_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    skew = Skew(tolerance=5 * SECOND)
    for least in (4, 300, 300.5, 302, 900, 0):
        for _ in range(5):
            skew.learn(span(least, least + 1))
    lines = [(record.levelname, getattr(record, "skew_s", None)) for record in caplog.records]
    assert lines == [("WARNING", 300), ("WARNING", 900), ("INFO", None)]


@pytest.mark.parametrize(("tolerance_s", "warnings"), [(5, 1), (500, 0)])
def test_a_faster_clock_has_more_tolerance(
    tolerance_s: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    skew = Skew(tolerance=timedelta(seconds=tolerance_s))
    for _ in range(3):
        skew.learn(span(-400, -300))
    assert skew.ahead == -300 * SECOND
    assert len(caplog.records) == warnings

"""What a restore lost is taken to have happened: what was spent at most, and what is unknown."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.absence import Known, Shown, unknown
from clento_engine.domain.limits import (
    DAY,
    HOUR,
    LEASE,
    WEEK,
    Caps,
    Limit,
    Spacing,
    allowance,
    bucket_at,
    used_at,
)
from clento_engine.domain.restore import Gap, narrower, spent_at_most

NOW = datetime(2026, 3, 2, 9, 3, tzinfo=UTC)
CAPS = Caps(hour=20, day=60, week=100)
LIMITS = [Limit(CAPS), Limit(CAPS, Spacing(timedelta(minutes=5), timedelta(minutes=9)))]

moments = st.integers(1, 60 * 60 * 24 * 10).map(lambda s: NOW - timedelta(seconds=s))


@given(
    st.lists(moments, max_size=300), moments, st.integers(0, 60 * 24 * 8), st.sampled_from(LIMITS)
)
def test_whatever_was_really_spent_in_the_gap_no_window_holds_more(
    attempts: list[datetime], since: datetime, minutes: int, limit: Limit
) -> None:
    """An engine that kept its caps spent what it could of `attempts`; none is known any more."""
    really: list[datetime] = []
    for at in sorted(each for each in attempts if each >= since):
        if really and at - really[-1] < limit.spacing.shortest:
            continue
        if all(
            sum(each > at - window for each in really) < cap
            for cap, window in ((20, HOUR), (60, DAY), (100, WEEK))
        ):
            really.append(at)
    counted = sorted(spent_at_most(limit, since, NOW))
    later = NOW + timedelta(minutes=minutes)
    for window, cap in (("hour", 20), ("day", 60), ("week", 100)):
        span = {"hour": HOUR, "day": DAY, "week": WEEK}[window]
        truly = sum(each > later - span for each in really)
        assert getattr(used_at(counted, later), window) >= truly, (window, cap)


def test_a_budget_is_fully_used_right_after_a_gap_and_free_again_when_that_is_over() -> None:
    counted = sorted(spent_at_most(Limit(CAPS), NOW - timedelta(hours=5), NOW))
    assert allowance(CAPS, used_at(counted, NOW)) == 0
    assert allowance(CAPS, used_at(counted, NOW + DAY + LEASE + timedelta(minutes=20))) > 0
    assert sum(units for _, units in counted) == 60


def test_a_budget_without_caps_is_not_counted() -> None:
    assert spent_at_most(Limit(), NOW - DAY, NOW) == []


def test_counts_begin_with_the_gap() -> None:
    since = NOW - timedelta(minutes=90)
    counted = spent_at_most(Limit(CAPS), since, NOW)
    assert min(start for start, _ in counted) >= bucket_at(since)
    assert list(accumulate(units for _, units in counted)) == [20, 40]


def test_notes_are_bound_by_the_invitations_that_carry_them() -> None:
    gap = Spacing(timedelta(minutes=2), timedelta(minutes=5))
    notes, invitations = Limit(Caps(month=5)), Limit(Caps(hour=20, day=10), gap)
    both = narrower(notes, invitations)
    assert both.caps == Caps(hour=20, day=10, month=5)
    assert both.spacing.shortest == gap.shortest


def test_a_gap_of_a_moment_costs_a_unit() -> None:
    """As of a synchronous standby that was promoted."""
    spaced = Limit(CAPS, Spacing(timedelta(minutes=2), timedelta(minutes=5)))
    counted = spent_at_most(spaced, NOW - timedelta(seconds=20), NOW)
    assert [units for _, units in counted] == [1]


def test_of_what_is_shown_the_oldest_that_the_ledger_lacks_is_found() -> None:
    shown = [Shown("m3", "three"), Shown("m2", "two"), Shown("m1", "one")]
    known = [Known("m1", "one", is_before=True)]
    assert unknown(shown, known) == Shown("m2", "two")
    nameless = [Known(None, "two", is_before=True), *known]
    assert unknown(shown, nameless) == Shown("m3", "three")
    assert unknown(shown[1:], nameless) is None


def test_a_gap_is_as_wide_as_the_stamps_may_be_off() -> None:
    gap = Gap(NOW - DAY, NOW)
    assert gap.holds(NOW - DAY - timedelta(minutes=5))
    assert not gap.holds(NOW - DAY - timedelta(hours=2))
    assert not gap.holds(NOW + timedelta(hours=2))

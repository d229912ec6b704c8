"""How long to wait before the next try."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.backoff import LONGEST, backoff, doubled

some_delay = st.timedeltas(timedelta(0), timedelta.max)


@given(st.integers(1, 10_000), st.text())
def test_backoff_is_half_to_all_of_the_doubled_seconds(attempt: int, seed: str) -> None:
    ceiling = min(timedelta(seconds=2 ** min(attempt - 1, 10)), LONGEST)
    assert ceiling / 2 <= backoff(attempt, seed) <= ceiling


@given(st.integers(1, 10_000), st.text())
def test_backoff_is_the_same_when_a_history_is_replayed(attempt: int, seed: str) -> None:
    assert backoff(attempt, seed) == backoff(attempt, seed)


def test_backoff_does_not_change_between_processes_and_releases() -> None:
    waits = [backoff(attempt, "execution 1").total_seconds() for attempt in (1, 2, 3, 9)]
    assert waits == [0.876269, 1.754623, 3.540821, 45.953139]


def test_leads_that_fail_together_come_back_apart() -> None:
    waits = [backoff(3, f"execution {number}") for number in range(1_000)]
    assert len(set(waits)) > 990
    for low in range(4):  # each half second of the range has its share
        start = timedelta(seconds=2 + low / 2)
        share = sum(start <= wait < start + timedelta(seconds=0.5) for wait in waits)
        assert 200 < share < 300


@given(some_delay, some_delay, st.integers(0, 10**9))
def test_doubling_stops_at_the_longest_and_never_overflows(
    delay: timedelta, longest: timedelta, times: int
) -> None:
    exact = (delay // timedelta(microseconds=1)) * 2 ** min(times, 100)
    expected = min(exact, longest // timedelta(microseconds=1)) * timedelta(microseconds=1)
    assert doubled(delay, longest, times) == expected


@given(some_delay, st.integers(-5, 0))
def test_a_delay_not_doubled_stays(delay: timedelta, times: int) -> None:
    assert doubled(delay, timedelta.max, times) == delay

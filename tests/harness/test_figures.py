"""Several runs become one figure, and a figure becomes words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Spread, number, percentile, ratio, spreads

VALUES = st.lists(st.floats(0.001, 1e9), min_size=1, max_size=50)


def test_a_figure_is_the_median_with_the_least_and_the_most() -> None:
    spread = Spread((5.0, 1.0, 3.0))
    assert (spread.median, spread.least, spread.most) == (3.0, 1.0, 5.0)
    assert str(spread) == "3.00 (1.00-5.00)"
    assert str(Spread((3.0,))) == "3.00"


def test_no_run_is_no_figure() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        Spread(())
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 0.5)


@given(VALUES)
def test_a_median_lies_between_the_least_and_the_most(values: list[float]) -> None:
    spread = Spread(tuple(values))
    assert spread.least <= spread.median <= spread.most


@given(VALUES, st.floats(0.01, 1.0))
def test_a_percentile_is_a_value_that_the_share_of_them_does_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


def test_runs_become_figures_by_name() -> None:
    found = spreads([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    assert found == {"a": Spread((1.0, 3.0)), "b": Spread((2.0,))}


def test_ours_is_compared_with_theirs_of_the_same_round() -> None:
    # the machine was slow in the second round, for both of them
    assert ratio([100.0, 50.0], [50.0, 25.0]).runs == (2.0, 2.0)
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.00004, "4.0e-05"),
        (0.0032, "0.0032"),
        (0.1234, "0.123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (-12345.6, "-12,346"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float, words: str) -> None:
    assert number(value) == words

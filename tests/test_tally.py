"""What was proved is counted from the tests' reports, wherever they ran."""

from typing import Any, Literal

import pytest
from tally import CONTROL, Deaths, told


def report(
    *notes: tuple[str, object], outcome: Literal["passed", "failed"] = "passed"
) -> pytest.TestReport:
    return pytest.TestReport(
        "a test", ("test.py", 1, "test"), {}, outcome, None, "call", user_properties=notes
    )


def died(scenario: str, outcome: str, single: int, double: int, *places: str) -> pytest.TestReport:
    notes: list[tuple[str, Any]] = []
    deaths = Deaths(scenario, ["send_followup"], outcome, single, double, 10, set(places))
    deaths.noted(lambda name, value: notes.append((name, value)))
    return report(*notes)


def test_deaths_are_added_up_over_scenarios_and_outcomes() -> None:
    *_, visit, total = told(
        [
            died("visit", "answered", 3, 1, "act.py:1", "act.py:2"),
            died("visit", "landed", 4, 2, "act.py:2"),
            died("like", "landed", 5, 3, "act.py:3"),
        ]
    )
    assert visit.split() == ["visit", "3", "4", "0", "3", "of", "20"]
    assert total == (
        "crash points: 3 places of the engine, at 1 operations, with 2 outcomes: 12 kills, all"
        " there are; 6 of 30 pairs of kills; every one judged"
    )


def test_kills_left_to_the_play_whose_answers_all_come_are_not_said_to_be_done() -> None:
    notes: list[tuple[str, Any]] = []
    deaths = Deaths("visit", ["profile_visit"], "landed", 4, 2, 10, {"act.py:2"}, elsewhere=6)
    deaths.noted(lambda name, value: notes.append((name, value)))
    *_, total = told([report(*notes)])
    assert "4 kills, of 10 there are; 2 of 10 pairs" in total


def test_a_control_that_failed_was_not_caught() -> None:
    caught = report((CONTROL, "lease"))
    quiet = report((CONTROL, "budget"), outcome="failed")
    assert list(told([caught, quiet])) == ["controls: 1 of 2 caught"]


def test_of_other_tests_nothing_is_told() -> None:
    assert list(told([report(), report(("xfail", "?"))])) == []

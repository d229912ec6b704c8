"""What the tests of tests/proof proved, counted for whoever reads the log: crash points, controls.

A test notes its counts on its own report, which comes to one place however many processes the
tests run in; tests/conftest.py prints the lines when the tests are over.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pytest

DEATHS, CONTROL = "deaths", "control"  # names of the notes
Note = Callable[[str, object], None]  # pytest's record_property
OUTCOMES = ("answered", "landed", "vanished")


@dataclass(slots=True)
class Deaths:
    """How one play of a scenario was killed: plain values, since they travel between processes.

    `single`: plays in which one process died; `elsewhere`: exchanges that only the play of the same
    scenario whose answers all come is killed at; `double`: plays in which two died, one after the
    other, of `pairs` that there are.  Deaths that leave the same are one first death of a pair:
    what follows them is the same.
    """

    scenario: str
    operations: Sequence[str]
    outcome: str
    single: int = 0
    double: int = 0
    pairs: int = 0
    places: set[str] = field(default_factory=set)
    elsewhere: int = 0

    def noted(self, note: Note) -> None:
        """Keep it on the test's report."""
        values = {name: getattr(self, name) for name in Deaths.__slots__}
        note(DEATHS, values | {"places": sorted(self.places)})


def told(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Say in a few lines what these tests proved; nothing when they were others."""
    deaths, controls = [], []
    for report in reports:
        for name, value in report.user_properties:
            if name == DEATHS and isinstance(value, Mapping):
                deaths.append(value)
            elif name == CONTROL:
                controls.append(report.passed)
    if deaths:
        yield from _deaths(deaths)
    if controls:
        yield f"controls: {sum(controls)} of {len(controls)} caught"


def _deaths(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'crash points':<34}{''.join(f'{name:>10}' for name in OUTCOMES)}    twice in a row"
    of_scenario = sorted(found, key=lambda each: str(each["scenario"]))
    for name, plays in groupby(of_scenario, key=lambda each: each["scenario"]):
        of = list(plays)
        by_outcome = Counter({each["outcome"]: each["single"] for each in of})
        counts = "".join(f"{by_outcome[outcome]:>10}" for outcome in OUTCOMES)
        yield f"{name:<34}{counts}{_total(of, 'double'):>10} of {_total(of, 'pairs')}"
    operations = {operation for each in found for operation in each["operations"]}
    outcomes = {each["outcome"] for each in found}
    places = {place for each in found for place in each["places"]}
    single, double = _total(found, "single"), _total(found, "double")
    elsewhere = _total(found, "elsewhere")
    all_of = f", of {single + elsewhere} there are" if elsewhere else ", all there are"
    yield (
        f"crash points: {len(places)} places of the engine, at {len(operations)} operations, with"
        f" {len(outcomes)} outcomes: {single} kills{all_of}; {double} of"
        f" {_total(found, 'pairs')} pairs of kills; every one judged"
    )


def _total(found: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(int(each[name]) for each in found)

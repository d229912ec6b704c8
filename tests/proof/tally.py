"""How many deaths were died: a plugin of pytest that tells it when the tests are over."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from scenes import Outcome, Played, Scenario


@dataclass(slots=True)
class Tally:
    """`single` and `double`: plays by scenario and outcome, `pairs`: how many of two there are.

    Deaths that leave the same are one first death of a pair: what follows them is the same.
    """

    single: Counter[tuple[str, str]] = field(default_factory=Counter)
    double: Counter[tuple[str, str]] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)

    def once(self, scenario: Scenario, outcome: Outcome, played: Played) -> None:
        """Count a play in which one process died."""
        key = scenario.name, outcome.value
        self.single[key] += 1
        self.places.add(played.lives[0].places[-1])
        if played.is_new:
            self.states[key] += 1
            self.pairs[key] += len(played.lives[-1].places)

    def twice(self, scenario: Scenario, outcome: Outcome) -> None:
        """Count a play in which two died, one after the other."""
        self.double[scenario.name, outcome.value] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell it when the tests are over, a line for each scenario."""
        terminalreporter.section("crash points")
        for line in self._lines():
            terminalreporter.write_line(line)

    def _lines(self) -> list[str]:
        rows = []
        for name in dict.fromkeys(name for name, _ in self.single):
            counts = "".join(f"{self.single[name, of.value]:>10}" for of in Outcome)
            rows.append(
                f"{name:<28}{counts}{_of(self.states, name):>10}"
                f"{_of(self.double, name):>10} of {_of(self.pairs, name)}"
            )
        heads = "".join(f"{head:>10}" for head in ("answered", "landed", "lost", "states"))
        everywhere = f"{len(self.places)} places of the engine"
        return [
            f"{'deaths, by outcome':<28}{heads}     twice in a row",
            *rows,
            f"killed once: {self.single.total()}, at every exchange, in {everywhere}",
            f"killed twice in a row: {self.double.total()} of {self.pairs.total()} pairs",
        ]


def _of(counts: Counter[tuple[str, str]], name: str) -> int:
    return sum(count for (of, _), count in counts.items() if of == name)

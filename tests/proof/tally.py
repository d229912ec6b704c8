"""How many deaths were died, counted over all scenes and told when the tests are over."""

from collections import Counter
from dataclasses import dataclass, field

from scenes import Outcome, Played, Scenario


@dataclass(slots=True)
class Tally:
    """`single` and `double`: plays by scenario and outcome; `pairs`: how many of two there are."""

    single: Counter[tuple[str, str]] = field(default_factory=Counter)
    double: Counter[tuple[str, str]] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)

    def once(self, scenario: Scenario, outcome: Outcome, played: Played) -> None:
        """Count a play in which one process died."""
        self.single[scenario.name, outcome.value] += 1
        self.pairs[scenario.name, outcome.value] += len(played.lives[-1].places)
        self.places.add(played.lives[0].places[-1])

    def twice(self, scenario: Scenario, outcome: Outcome) -> None:
        """Count a play in which two died, one after the other."""
        self.double[scenario.name, outcome.value] += 1

    def lines(self) -> list[str]:
        """Tell it, a line for each scenario."""
        scenarios = list(dict.fromkeys(name for name, _ in self.single))
        rows = []
        for name in scenarios:
            counts = [f"{self.single[name, of]:>9}" for of in Outcome]
            twice = sum(n for (of, _), n in self.double.items() if of == name)
            pairs = sum(n for (of, _), n in self.pairs.items() if of == name)
            rows.append(f"{name:<28}{''.join(counts)}{twice:>11} of {pairs:>6}")
        heads = "".join(f"{word:>9}" for word in ("answered", "landed", "lost"))
        return [
            f"{'killed once, by outcome':<28}{heads}   killed twice",
            *rows,
            f"{self.single.total()} deaths at {len(self.places)} places of the engine, all there"
            f" are; {self.double.total()} of {self.pairs.total()} pairs of deaths",
        ]

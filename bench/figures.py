"""Several runs of one measurement, told as one figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Measured = Mapping[str, float]  # one run: the value of each thing measured, its unit in the name


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, with the least and the most; `runs` as they came."""

    runs: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse no run at all."""
        if not self.runs:
            raise ValueError("a figure needs at least one run")

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return median(self.runs)

    @property
    def least(self) -> float:
        """The lowest run."""
        return min(self.runs)

    @property
    def most(self) -> float:
        """The highest run."""
        return max(self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return it as `results.json` holds it."""
        return {
            "median": self.median,
            "min": self.least,
            "max": self.most,
            "runs": list(self.runs),
        }

    def __str__(self) -> str:
        """Return the median and, of several runs, the range: `1,240 (1,100-1,310)`."""
        if len(self.runs) == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(self.least)}-{number(self.most)})"


def spreads(runs: Sequence[Measured]) -> dict[str, Spread]:
    """Turn runs into figures, by name; a run may lack what others have."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: Spread(tuple(run[name] for run in runs if name in run)) for name in names}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours over theirs, round by round: the two of a round met the same machine."""
    return Spread(tuple(o / t for o, t in zip(ours, theirs, strict=True)))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of `values` do not exceed: one of them, no mean."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def number(value: float) -> str:
    """Write a figure with three digits that count, and no more."""
    size = abs(value)
    if size >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    if size >= 10:  # noqa: PLR2004
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}" if size >= 0.0005 else f"{value:.1e}" if value else "0"  # noqa: PLR2004

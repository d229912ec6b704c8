"""What a scenario tells: a table of figures, and the bars they are held against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Spread, number

Rows = Mapping[str, Mapping[str, Spread]]  # by what was measured: the figures


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, and the figure that is held against it; `measured` None: it was not measured."""

    text: str
    limit: float
    measured: float | None
    unit: str = ""
    at_least: bool = False  # else at most

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps to the bar; None when there is none."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def verdict(self) -> str:
        """The verdict as people read it."""
        return {True: "met", False: "NOT met", None: "not measured"}[self.met]

    def told(self) -> tuple[str, str, str]:
        """Return what is needed, what was measured, and the verdict."""
        sign = "≥" if self.at_least else "≤"
        measured = "–" if self.measured is None else f"{number(self.measured)}{self.unit}"
        return f"{sign} {number(self.limit)}{self.unit}", measured, self.verdict

    def to_json(self) -> dict[str, Any]:
        """Return it as `results.json` holds it."""
        return {
            "text": self.text,
            "limit": self.limit,
            "measured": self.measured,
            "unit": self.unit,
            "at_least": self.at_least,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario: its name and title, how it was measured, its figures and bars.

    `notes` are what the figures do not say: a peer that is missing, a plan that was bad.
    """

    name: str
    title: str
    how: str
    rows: Rows
    bars: tuple[Bar, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as `results.json` holds it."""
        return {
            "title": self.title,
            "how": self.how,
            "rows": {
                name: {each: spread.to_json() for each, spread in figures.items()}
                for name, figures in self.rows.items()
            },
            "bars": [bar.to_json() for bar in self.bars],
            "notes": list(self.notes),
        }


def from_json(name: str, saved: Mapping[str, Any]) -> Result:
    """Return the result that `to_json` wrote."""
    bars = (
        Bar(each["text"], each["limit"], each["measured"], each["unit"], each["at_least"])
        for each in saved["bars"]
    )
    rows = {
        row: {each: Spread(tuple(spread["runs"])) for each, spread in figures.items()}
        for row, figures in saved["rows"].items()
    }
    return Result(name, saved["title"], saved["how"], rows, tuple(bars), tuple(saved["notes"]))

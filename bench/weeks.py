"""Scenario 7, Simulated weeks: `clento demo` as a whole, from the file to the verdict."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from sys import executable

from bench.figures import Measured, spreads
from bench.operators import CLENTO
from bench.result import Bar, Result, Rows
from bench.worker import PROJECT, answer_of

LIMIT_S = 1_500


@dataclass(frozen=True, slots=True)
class Demo:
    """How many people and senders, and how long it may take."""

    leads: int
    senders: int
    most_s: float


DEMOS: Mapping[str, Demo] = {
    "1,000 leads": Demo(1_000, 3, 30.0),
    "10,000 leads": Demo(10_000, 30, 240.0),
}


def weeks(*, rounds: int, demos: Mapping[str, Demo] = DEMOS) -> Result:
    """Play the demos in turn."""
    runs: dict[str, list[Measured]] = {label: [] for label in demos}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for label, demo in demos.items():
                runs[label].append(_played(demo, Path(folder) / f"{demo.leads}.csv"))
    return result({label: spreads(each) for label, each in runs.items()})


def _played(demo: Demo, file: Path) -> Measured:
    """Play one demo to its verdict; a promise that broke is an error, not a figure."""
    if not file.exists():
        make = PROJECT / "scripts" / "make_leads.py"
        rows = ("--rows", str(demo.leads), "--out", str(file))
        run([executable, str(make), *rows], check=True, capture_output=True)  # noqa: S603
    told = answer_of(
        [CLENTO, "demo", "--leads", str(file), "--senders", str(demo.senders), "--json"],
        environment={},
        limit_s=LIMIT_S,
    )
    return {
        "seconds": told["seconds"],
        "virtual_days_per_s": told["virtual_days"] / told["seconds"],
        "steps_per_s": told["steps"] / told["seconds"],
    }


def result(rows: Rows) -> Result:
    """Hold each demo against the time it may take."""
    return Result(
        "weeks",
        "Simulated weeks",
        "`clento demo` to its verdict: the simulator, the ticker and PostgreSQL share the machine.",
        rows,
        tuple(
            Bar(
                f"Demo: {label}",
                demo.most_s,
                rows[label]["seconds"].median if label in rows else None,
                " s",
            )
            for label, demo in DEMOS.items()
        ),
    )

"""The short bench fails for what is counted, whatever the machine's speed was."""

import pytest
from click.testing import CliRunner

from bench import __main__ as command
from bench.figures import Spread
from bench.race import OURS
from bench.result import Bar, Result
from bench.server import BenchServer
from bench.short import core_bars, growth_bars

LEAN = {"commits": 0.004, "rows_written": 3.2, "rss_mb": 80.0, "steps_per_s": 3000.0}
FLAT = LEAN | {"executions_written": 1.0, "blocks_to_first": 1.1}


def figures(**values: float) -> dict[str, Spread]:
    return {name: Spread((value,)) for name, value in values.items()}


def missed(bars: list[Bar]) -> list[str]:
    return [bar.text for bar in bars if not bar.met]


def test_a_slow_machine_fails_nobody() -> None:
    assert missed(core_bars({OURS: figures(**(LEAN | {"steps_per_s": 1.0}))})) == []
    slow = figures(**(FLAT | {"steps_per_s": 1.0}))
    assert missed(growth_bars({"first": figures(**FLAT), "larger": slow})) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("commits", 0.011, "commits a step"),
        ("rows_written", 5.1, "rows written a step"),
        ("rss_mb", 151.0, "memory of a ticker"),
    ],
)
def test_a_step_that_costs_more_is_found(name: str, value: float, told: str) -> None:
    assert missed(core_bars({OURS: figures(**(LEAN | {name: value}))})) == [told]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("executions_written", 1.001, "larger: leads' rows written a step"),
        ("rows_written", 3.4, "larger: rows written a step, to the first's"),
        ("blocks_to_first", 1.3, "larger: blocks looked at a step, to the first's"),
        ("rss_mb", 151.0, "larger: memory of a ticker"),
    ],
)
def test_a_cost_that_follows_the_waiting_leads_is_found(name: str, value: float, told: str) -> None:
    rows = {"first": figures(**FLAT), "larger": figures(**(FLAT | {name: value}))}
    assert missed(growth_bars(rows)) == [told]


@pytest.mark.parametrize(("commits", "status"), [(0.01, 0), (0.02, 1)])
def test_the_status_is_the_verdict(
    monkeypatch: pytest.MonkeyPatch, commits: float, status: int
) -> None:
    rows = {OURS: figures(**(LEAN | {"commits": commits}))}

    def measured(server: BenchServer) -> list[Result]:
        return [Result("core", "Core", "", rows, tuple(core_bars(rows)))]

    monkeypatch.setattr(command, "short", measured)
    ran = CliRunner().invoke(command.main, ["short"])
    assert ran.exit_code == status
    assert ("NOT met" in ran.output) is bool(status)

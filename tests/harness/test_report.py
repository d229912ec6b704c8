"""A result is saved, read back, written as a page, and held against its bars."""

import json
from dataclasses import replace

import pytest

from bench.figures import Spread
from bench.report import markdown, page, table
from bench.result import Bar, Result, from_json

FASTER = Bar("our speed to theirs", 0.5, 0.75, "×", at_least=True)
LEAN = Bar("bytes a step", 1500.0, 3000.0, " B")
RESULT = Result(
    "core",
    "Core",
    "How it was done.",
    {
        "ours": {"steps_per_s": Spread((10.0, 30.0, 20.0)), "commits": Spread((0.5,))},
        "theirs": {"steps_per_s": Spread((40.0,)), "ours_over_theirs": Spread((0.5,))},
    },
    (FASTER, LEAN),
    ("a peer is missing: no network",),
)
SLOW = Result("slow", "Slow", "How it was done.", {}, (Bar("memory", 150.0, None, " MB"),))
ABOUT = {
    "when": "2026-03-02 10:00 UTC",
    "minutes": 2.5,
    "commit": "abc1234",
    "postgresql": {"server_version": "18.6", "fsync": "on"},
    "cpu": "2 × CPU",
    "memory": "25 GB",
    "system": "Linux",
    "python": "3.11",
}


@pytest.mark.parametrize(
    ("bar", "measured", "met", "verdict"),
    [
        (FASTER, 0.5, True, "met"),
        (FASTER, 0.49, False, "NOT met"),
        (LEAN, 1500.0, True, "met"),
        (LEAN, 1500.1, False, "NOT met"),
        (LEAN, None, None, "not measured"),
    ],
)
def test_a_bar_is_met_up_to_its_limit(
    bar: Bar, measured: float | None, met: bool | None, verdict: str
) -> None:
    held = replace(bar, measured=measured)
    assert held.met is met
    assert held.verdict == verdict


def test_a_bar_says_what_is_needed_and_what_was_found() -> None:
    assert FASTER.told() == ("≥ 0.5×", "0.75×", "met")
    assert LEAN.told() == ("≤ 1,500 B", "3,000 B", "NOT met")
    assert replace(LEAN, measured=None).told()[1:] == ("–", "not measured")


def test_a_result_is_read_back_as_it_was_saved() -> None:
    assert from_json("core", json.loads(json.dumps(RESULT.to_json()))) == RESULT


def test_a_table_has_a_column_for_every_figure_and_a_gap_where_there_is_none() -> None:
    head, rows = table(RESULT)
    assert head == ["", "a second", "commits each", "ours / theirs"]
    assert rows == [
        ["ours", "20.0 (10.0-30.0)", "0.5", ""],
        ["theirs", "40.0", "", "0.5"],
    ]
    assert markdown((head, rows)).splitlines()[:2] == [
        "|  | a second | commits each | ours / theirs |",
        "| --- | ---: | ---: | ---: |",
    ]


def test_the_page_has_bars_tables_notes_and_where_it_was_measured() -> None:
    written = page({"core": {"about": ABOUT, **RESULT.to_json()}}, {"core": RESULT, "slow": SLOW})
    assert "| bytes a step | ≤ 1,500 B | 3,000 B | NOT met |" in written
    assert "| ours | 20.0 (10.0-30.0) | 0.5 |  |" in written
    assert "\n- a peer is missing: no network\n" in written
    assert "Measured 2026-03-02 10:00 UTC at abc1234 in 2.5 minutes." in written
    assert "server_version 18.6, fsync on" in written
    assert "| memory | ≤ 150 MB | – | not measured |" in written
    assert "## Slow" not in written

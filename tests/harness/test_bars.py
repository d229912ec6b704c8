"""Every scenario holds its figures against its bars, and says what was not measured."""

import sys
from collections.abc import Mapping

import pytest

from bench import fleet, operators, sends, soak, timers
from bench.__main__ import EMPTY
from bench.figures import Spread
from bench.operators import STARTS, run
from bench.race import OURS
from bench.result import Result
from bench.worker import WorkerFailed, answer_of


def rows(label: str, **figures: float) -> dict[str, Mapping[str, Spread]]:
    return {label: {name: Spread((value,)) for name, value in figures.items()}}


def verdicts(result: Result) -> dict[str, str]:
    return {bar.text: bar.verdict for bar in result.bars}


@pytest.mark.parametrize(
    "empty",
    EMPTY.values(),
    ids=EMPTY,
)
def test_nothing_measured_meets_nothing(empty: Result) -> None:
    assert set(verdicts(empty).values()) == {"not measured"}


def test_the_latest_timers_are_judged_whatever_is_parked() -> None:
    found = rows("alone", lateness_p99_s=0.5) | rows("parked", lateness_p99_s=1.1)
    assert set(verdicts(timers.result(found)).values()) == {"NOT met"}


def test_a_fleet_is_judged_by_its_worst_waits_and_its_last_small_tenant() -> None:
    calm = rows("1 ticker", waits_share=0.0)
    tenants = rows("tenants", waits_share=0.02, small_last_s=1.9)
    found = verdicts(fleet.result({**calm, **tenants}))
    assert sorted(found.values()) == ["NOT met", "met"]


def test_a_command_is_judged_by_what_it_cannot_do_without() -> None:
    tick, imports, told, click = (rows(label, whole_s=0.3) for label in STARTS)
    assert list(STARTS) == [
        *("clento tick, nothing due", "import sqlalchemy, psycopg"),
        *("clento --help", "import click"),
    ]
    slow = rows("clento tick, nothing due", whole_s=0.91) | dict(
        rows("clento --help", whole_s=0.71)
    )
    quick = verdicts(operators.result({**tick, **imports, **told, **click}))
    late = verdicts(operators.result({**imports, **click, **slow}))
    names = [text for text in quick if text.startswith("clento")]
    assert [quick[name] for name in names] == ["met", "met"]
    assert [late[name] for name in names] == ["NOT met", "NOT met"]


def test_the_memory_of_an_import_must_not_follow_its_rows() -> None:
    found = rows("100 k leads", import_mb=50.0) | rows("1 M leads", import_mb=56.0)
    assert verdicts(operators.result(found))["Memory of an import, 1 M leads to 100 k"] == "NOT met"


@pytest.mark.parametrize(("took_ms", "verdict"), [(49.0, "met"), (51.0, "NOT met")])
def test_a_status_of_many_senders_has_the_time_that_one_of_many_leads_has(
    took_ms: float, verdict: str
) -> None:
    found = verdicts(operators.result(rows("2,000 senders", status_ms=took_ms)))
    assert found["2,000 senders: status"] == verdict


@pytest.mark.parametrize(
    ("name", "value", "bar"),
    [
        ("commits", 0.011, "Core that sends: commits a step"),
        ("rows_written", 5.6, "Core that sends: rows written a step"),
        ("wal_bytes", 3401.0, "Core that sends: WAL a step"),
    ],
)
def test_a_step_that_sends_is_judged_by_what_it_writes(name: str, value: float, bar: str) -> None:
    lean = {"commits": 0.01, "rows_written": 5.5, "wal_bytes": 3400.0, "steps_per_s": 1.0}
    assert set(verdicts(sends.result(rows(OURS, **lean))).values()) == {"met"}
    found = verdicts(sends.result(rows(OURS, **(lean | {name: value}))))
    assert [text for text, verdict in found.items() if verdict != "met"] == [bar]


def test_a_short_soak_says_nothing_of_growth() -> None:
    found = rows(soak.LABEL, rss_mb=60.0, grown_mb=2.5)
    assert list(verdicts(soak.result(found)).values()) == ["met", "NOT met"]
    assert list(verdicts(soak.result(found, minutes=5)).values()) == ["met", "not measured"]


def test_a_process_is_told_with_its_output_seconds_and_peak_memory() -> None:
    grow = (
        "import time; x = bytearray(60_000_000)\n"
        "while time.process_time() < 0.2: pass\n"  # works, for so long that it is seen to
        "print('over')"
    )
    said, seconds, peak_mb = run((sys.executable, "-c", grow), {})
    assert said == "over\n"
    assert seconds >= 0.2
    assert 60 < peak_mb < 120


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(WorkerFailed, match="ended with 3"):
        run((sys.executable, "-c", "import sys; sys.exit(3)"), {})
    with pytest.raises(WorkerFailed, match="of no use"):
        answer_of([sys.executable, "-c", "raise SystemExit('of no use')"], environment={})
    endless = "import threading; threading.Event().wait()"
    with pytest.raises(WorkerFailed, match="did not end in 0 s"):
        answer_of([sys.executable, "-c", endless], environment={}, limit_s=0.01)

"""Another checkout's engine is measured beside this one's, by this bench, round by round."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import __main__ as command
from bench.against import RATIO, Form, NoCheckout, against, forms, other_checkout, result
from bench.figures import Spread
from bench.server import BenchServer, bench_server
from bench.worker import PROJECT, WorkerFailed, measured

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
FORMS = forms()


@pytest.fixture(scope="module")
def bench() -> Iterator[BenchServer]:
    with bench_server(FAST) as server:
        yield server


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a checkout whose engine says which it is, and does nothing."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "clento_engine").mkdir()
    (tmp_path / "clento_engine" / "__init__.py").write_text("raise OSError('the other engine')")
    return tmp_path


def tiny(form: Form) -> Form:
    """Return the form as it is measured with 300 leads."""
    return next(each for each in forms(0.006).values() if each.title == form.title)


def figures(**values: tuple[float, ...]) -> dict[str, Spread]:
    return {name: Spread(runs) for name, runs in values.items()}


def test_the_engine_of_the_other_checkout_is_what_runs_there(broken: Path) -> None:
    with (
        other_checkout(broken) as other,
        pytest.raises(WorkerFailed, match="the other engine"),
    ):
        measured("drain", checkout=other, url="postgresql://nowhere", slots=1)


def test_a_folder_without_an_engine_is_refused_by_name(tmp_path: Path) -> None:
    with (
        pytest.raises(NoCheckout, match="has no clento_engine: name the root of a checkout"),
        other_checkout(tmp_path),
    ):
        pass
    ran = CliRunner().invoke(command.main, ["against", str(tmp_path), "core"])
    assert ran.exit_code == 1
    assert "name the root of a checkout" in ran.output


@pytest.mark.parametrize("name", FORMS)
def test_a_checkout_against_itself_writes_the_same(bench: BenchServer, name: str) -> None:
    found = against(bench, PROJECT, name, tiny(FORMS[name]), rounds=2)
    ratios = found.rows[RATIO]
    assert len(ratios["steps_per_s"].runs) == 2
    if name != "end-to-end":  # there the answers' times decide how many are settled at once
        assert ratios["rows_written"].median == pytest.approx(1, abs=0.05)
        assert ratios["wal_bytes"].median == pytest.approx(1, abs=0.1)
    with bench.admin() as conn:
        left = conn.execute(
            "select datname from pg_database where datname in ('this', 'other', 'measured')"
        ).fetchall()
    assert left == []


def test_a_ratio_is_taken_round_by_round_and_held_against_its_bar() -> None:
    # the machine was slow in the second round, for both of them
    rows = {
        "this": figures(steps_per_s=(94.0, 47.0), wal_bytes=(1601.0, 1601.0), waits=(1.0, 1.0)),
        "other": figures(steps_per_s=(100.0, 50.0), wal_bytes=(1601.0, 1601.0), waits=(0.0, 1.0)),
    }
    found = result("core", FORMS["core"], rows)
    assert found.rows[RATIO] == figures(steps_per_s=(0.94, 0.94), wal_bytes=(1.0, 1.0))
    assert [bar.verdict for bar in found.bars] == ["NOT met", "NOT met"]
    sends = result("core-sends", FORMS["core-sends"], rows)
    assert [bar.verdict for bar in sends.bars] == ["met"]


def test_a_short_run_says_nothing_of_the_log_of_a_first_visit() -> None:
    rows = {name: figures(steps_per_s=(100.0,), wal_bytes=(1700.0,)) for name in ("this", "other")}
    core = FORMS["core"]
    short = replace(core, size=replace(core.size, leads=5_000))
    assert [bar.verdict for bar in result("core", core, rows).bars] == ["met", "NOT met"]
    assert [bar.verdict for bar in result("core", short, rows).bars] == ["met", "not measured"]

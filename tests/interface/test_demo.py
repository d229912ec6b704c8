"""`clento demo` as a process: the same numbers for the same seed, and a ticker that is killed."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CLENTO = [sys.executable, "-c", "from clento_engine.interface.cli import main; main()"]
KEYS = {
    "leads",
    "imported",
    "rejected_rows",
    "states",
    "outcomes",
    "actions",
    "funnel",
    "duplicates",
    "over_cap",
    "outside_hours",
    "lost",
    "virtual_days",
    "steps",
    "seconds",
}
KILLS = 6
BROKEN = ("duplicates", "over_cap", "outside_hours", "after_reply", "lost")


@pytest.fixture
def leads(tmp_path: Path) -> Path:
    return leads_file(tmp_path, 90)


@pytest.fixture
def many_leads(tmp_path: Path) -> Path:
    """People enough for a campaign that outlives the killing."""
    return leads_file(tmp_path, 240)


def leads_file(folder: Path, rows: int) -> Path:
    file = folder / "leads.csv"
    script = str(ROOT / "scripts" / "make_leads.py")
    make = [sys.executable, script, "--rows", str(rows), "--seed", "5", "--out", str(file)]
    subprocess.run(make, check=True)
    return file


def demo(*arguments: str | Path) -> dict[str, Any]:
    ran = subprocess.run(
        [*CLENTO, "demo", "--json", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(leads: Path) -> None:
    first, second, other = (demo("--leads", leads, "--seed", seed) for seed in ("7", "7", "8"))
    for told in (first, second, other):
        assert told.pop("seconds") > 0
        assert told.keys() >= KEYS - {"seconds"}
        assert [told[name] for name in BROKEN] == [0] * len(BROKEN)
    assert first == second
    assert first != other
    assert first["imported"] + first["rejected_rows"] == first["leads"] == 90
    assert sum(first["states"].values()) == first["imported"]
    assert first["unfinished"] == 0
    assert first["funnel"][0]["entered"] == first["imported"]


def test_leads_under_way_when_the_days_are_over_are_not_lost(leads: Path) -> None:
    command = [*CLENTO, "demo", "--leads", str(leads), "--days", "3"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    assert "were still under way when the days were over" in ran.stdout
    told = demo("--leads", leads, "--days", "3")
    assert told["unfinished"] > 0
    assert [told[name] for name in BROKEN] == [0] * len(BROKEN)


def test_a_ticker_killed_at_random_moments_breaks_no_promise(many_leads: Path) -> None:
    chance = random.Random(11)  # noqa: S311  of moments, not of secrets
    running = psutil.Popen(
        [*CLENTO, "demo", "--json", "--leads", str(many_leads), "--senders", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    kills = 0
    while kills < KILLS and running.poll() is None:
        ticker = ticker_of(running)
        if ticker is not None and kill_within(ticker, chance.uniform(0, 0.15)):
            kills += 1
    out, said = running.communicate(timeout=240)
    assert running.returncode == 0, said
    told = json.loads(out)
    assert [told[name] for name in BROKEN] == [0] * len(BROKEN)
    assert kills == KILLS, "the campaign was over before the killing was"


def test_sigterm_leaves_no_process_and_no_database_behind(leads: Path, tmp_path: Path) -> None:
    # A name no socket fits into, on any machine: a temporary folder may be as long as it likes.
    temporary = tmp_path / ("long" * 30)
    temporary.mkdir()
    place = {"TMPDIR": str(temporary)}
    running = psutil.Popen(
        [*CLENTO, "demo", "--json", "--leads", str(leads)],
        env=os.environ | place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    ticker = None
    while ticker is None and running.poll() is None:
        ticker = ticker_of(running)
    if ticker is None:
        pytest.fail(f"the demo ended before its ticker was there: {running.communicate()[1]}")
    servers = [one for one in psutil.process_iter(["cmdline"]) if of_folder(one, temporary)]
    children = running.children(recursive=True)
    running.terminate()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert servers
    _, alive = psutil.wait_procs([*servers, *children], timeout=10)
    assert alive == []
    assert not list(temporary.glob("clento-*"))


def of_folder(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or ())


def ticker_of(running: psutil.Popen) -> psutil.Process | None:
    """Return the demo's ticker once it has begun to work."""
    try:
        for child in running.children():
            if "clento_engine.interface.demo" in child.cmdline():
                return child
    except psutil.NoSuchProcess:
        pass
    return None


def kill_within(ticker: psutil.Process, work_s: float) -> bool:
    """SIGKILL the ticker once it has worked for so long since it came up; False if it ended."""
    start_up_s = 0.8  # of the processor, to import and connect
    try:
        while ticker.cpu_times().user < start_up_s + work_s:
            try:
                ticker.wait(timeout=0.01)
            except psutil.TimeoutExpired:
                continue
            return False
        ticker.kill()
        ticker.wait(timeout=10)
    except psutil.NoSuchProcess:
        return False
    return True


def test_a_broken_workflow_starts_nothing_and_names_the_node(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    document = json.loads((ROOT / "examples" / "outreach.json").read_text(encoding="utf-8"))
    document["nodes"][1]["data"]["type"] = "send_fax"
    file.write_text(json.dumps(document), encoding="utf-8")
    ran = subprocess.run(
        [*CLENTO, "demo", "--workflow", str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    assert document["nodes"][1]["id"] in ran.stderr
    assert "Traceback" not in ran.stderr

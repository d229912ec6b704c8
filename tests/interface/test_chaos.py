"""`clento chaos` as a process: a short storm, what it says of itself, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLENTO = [sys.executable, "-c", "from clento_engine.interface.cli import main; main()"]
MINUTES = 1  # besides, half a minute to set the stage, and one for the dust to settle
KEYS = [
    "kills",
    "stalls",
    "db_crashes",
    "faults",
    "actions",
    "duplicates",
    "lost",
    "over_cap",
    "outside_hours",
    "after_stop",
    "disagreements",
    "held",
    "seconds",
]
MUST_BE_ZERO = KEYS[KEYS.index("duplicates") : KEYS.index("seconds")]
LEAST_ACTIONS = 500


def chaos(*arguments: str, timeout_s: float = 230) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLENTO, "chaos", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def test_a_short_storm_breaks_no_promise(tmp_path: Path) -> None:
    ran = chaos(
        "--minutes", str(MINUTES), "--seed", "11", "--json", "--keep", str(tmp_path / "kept")
    )
    assert ran.stdout, ran.stderr
    told = json.loads(ran.stdout)
    assert list(told) == KEYS
    assert {kind: told[kind] for kind in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0), ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert min(told["kills"], told["stalls"], told["db_crashes"]) > 0
    assert told["actions"] >= LEAST_ACTIONS
    assert sum(count > 0 for count in told["faults"].values()) > len(told["faults"]) // 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--minutes", "0"], "0 is not in the range"),
        (["--minutes", "soon"], "'soon' is not a valid float"),
        (["--fault", "gremlins"], "'gremlins' is not one of 'tickers'"),
        (["--actions", "0"], "0 is not in the range"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_started(
    arguments: list[str], said: str
) -> None:
    ran = chaos(*arguments, timeout_s=60)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr

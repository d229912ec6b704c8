"""`clento chaos` as a process: a short storm, what it says of itself, and what it refuses."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from clento_engine.interface.chaos.findings import Findings
from clento_engine.interface.chaos.run import LEAST_ENDED, MOST_HELD, Outcome
from clento_engine.interface.chaos.stage import Stage
from clento_engine.interface.chaos.system import Done
from clento_engine.store.replay import Replayed
from clento_engine.store.turmoil import Cost

CLENTO = [sys.executable, "-c", "from clento_engine.interface.cli import main; main()"]
MINUTES = 0.75  # 90 seconds with the stage to set before and the dust to settle after
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
    "unresolved",
    "held_share",
    "ended_by_themselves",
    "seconds",
]
MUST_BE_ZERO = KEYS[KEYS.index("duplicates") : KEYS.index("held")]
LEAST_ACTIONS = 500


def outcome(**values: Any) -> Outcome:
    """Return what a storm of full length that broke nothing did."""
    done = Done(**{kind: values.pop(kind, 1000) for kind in ("kills", "stalls", "db_crashes")})
    told: dict[str, Any] = {
        "findings": Findings(),
        "actions": {"message": 15_000, "like": 5_000},
        "stage": Stage((uuid4(),), (), (), (), leads=1000),
        "seconds": 601.25,
        "started": 1,
        "folder": Path(),
        "faults": Counter({"reset": 20}),
        "replayed": Replayed(),
        "cost": Cost(1, 1, 1),
    }
    return Outcome(done, **told | values)


def test_an_action_that_nobody_found_out_about_is_a_disagreement() -> None:
    found = outcome(findings=Findings(unknown=2, disagreements=1, held=3))
    assert list(found.to_json()) == KEYS
    assert found.to_json()["disagreements"] == 3
    assert found.to_json()["actions"] == 20_000
    assert not found.is_clean
    assert outcome(findings=Findings(held=3, unresolved=2)).is_clean
    assert outcome(findings=Findings(held=3, unresolved=2)).held_share == 0.005


@pytest.mark.parametrize(
    "weakness",
    [
        {"kills": 299},
        {"stalls": 59},
        {"db_crashes": 14},
        {"actions": {"message": 19_999}},
        {"faults": Counter({"reset": 20, "timeout": 19})},
    ],
    ids=str,
)
def test_a_storm_that_did_too_little_proves_too_little(weakness: dict[str, Any]) -> None:
    assert outcome().too_weak() == []
    assert len(outcome(**weakness).too_weak()) == 1


def test_a_storm_may_leave_few_leads_to_people() -> None:
    good = Findings(held=5, walks=1000, ended=990)
    assert outcome(findings=good).needs_people() == []
    assert outcome(findings=good).to_json()["held_share"] == 0.005
    assert outcome(findings=good).to_json()["ended_by_themselves"] == 0.99
    assert outcome(findings=replace(good, held=6)).needs_people() == [
        "0.60% of leads held, at most 0.5% may be"
    ]
    assert outcome(findings=replace(good, ended=989)).needs_people() == [
        "98.90% of walks ended by themselves, at least 99% must"
    ]


def chaos(*arguments: str, timeout_s: float = 570) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLENTO, "chaos", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@pytest.mark.timeout(600)
def test_a_short_storm_breaks_no_promise() -> None:
    ran = chaos("--minutes", str(MINUTES), "--seed", "11", "--json")
    assert ran.stdout, ran.stderr
    told = json.loads(ran.stdout)
    assert list(told) == KEYS
    assert {kind: told[kind] for kind in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0), ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert told["held_share"] <= MOST_HELD
    assert told["ended_by_themselves"] >= LEAST_ENDED
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

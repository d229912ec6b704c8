"""A peer is installed once, and one that cannot be is named with the reason."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import core, environments, race
from bench.core import Core
from bench.environments import NODE, PEERS, RUNNERS, Missing, Peer, install
from bench.figures import Measured
from bench.server import BenchServer
from bench.worker import WorkerFailed

NOBODY = Peer("nobody", "with_nobody.py", 10, "none", python=("./nowhere",))
# never connected to: what would ask it is replaced
SERVER: BenchServer = BenchServer.__new__(BenchServer)
RUN: Measured = {"steps_per_s": 1000.0, "commits": 0.01, "wal_bytes": 900.0}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    return tmp_path


def test_a_peer_that_cannot_be_installed_is_missing_with_a_reason(folder: Path) -> None:
    with pytest.raises(Missing, match=r"^pip failed: ERROR: ") as told:
        install(NOBODY)
    assert str(folder) not in str(told.value)
    assert not (folder / "nobody" / "made.json").exists()


def test_an_environment_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def call(command: Sequence[str], peer: Peer, limit_s: float) -> None:
        made.append(peer.name)
        assert limit_s == 5

    monkeypatch.setattr(environments, "_call", call)
    peer = replace(NOBODY, npm=("somebody@1",))
    for _ in range(2):
        install(peer, 5)
    assert made == ["nobody"] * 3  # venv, pip, npm
    told = json.loads((folder / "nobody" / "made.json").read_text())
    assert told == [["./nowhere"], ["somebody@1"], NODE]
    install(replace(peer, npm=("somebody@2",)), 5)
    assert made == ["nobody"] * 6


def test_a_reason_names_no_host_and_no_file_of_this_machine() -> None:
    said = (
        "npm error 404 Not Found - GET https://registry.example/nobody\n"
        "npm error A complete log of this run can be found in: /root/log\n"
        "npm error code E404\n"
    )
    assert environments._reason(said) == "npm error code E404"
    assert environments._reason("") == "no word"


def test_every_peer_has_its_runner_and_pinned_versions() -> None:
    for peer in PEERS:
        assert (RUNNERS / peer.runner).is_file()
        assert all("==" in each for each in peer.python)
        assert all(each.rpartition("@")[2][0].isdigit() for each in peer.npm)
        assert bool(peer.python) != bool(peer.npm)


def test_a_peer_that_is_missing_or_fails_is_named_and_its_bar_not_met(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def installed(peer: Peer, limit_s: float) -> None:
        if peer.name == "DBOS":
            raise Missing("pip failed: no such thing")

    def done(server: BenchServer, peer: Peer, jobs: int) -> Measured:
        if peer.name == "Absurd":
            raise WorkerFailed("it ended with 1")
        return {**RUN, "steps_per_s": float(jobs)}

    def ours(server: BenchServer, size: Core) -> Measured:
        return RUN

    monkeypatch.setattr(environments, "install", installed)
    monkeypatch.setattr(environments, "once", done)
    monkeypatch.setattr(core, "prepare", lambda *_: None)
    monkeypatch.setattr(core, "once", ours)
    monkeypatch.setattr(BenchServer, "drop", lambda *_: None)
    chosen = [peer for peer in PEERS if peer.name in ("DBOS", "Absurd", "PgQueuer")]

    result = race.race(SERVER, Core(), chosen, rounds=2, share=0.1)

    assert list(result.rows) == [race.OURS, "PgQueuer"]
    assert result.rows["PgQueuer"]["ours_over_theirs"].runs == (0.5, 0.5)
    assert "DBOS is missing: pip failed: no such thing" in result.notes
    assert "Absurd failed: it ended with 1" in result.notes
    by_peer = {bar.text: bar.verdict for bar in result.bars}
    assert by_peer["Core: our steps to DBOS's jobs, a second"] == "not measured"
    assert by_peer["Core: our steps to Absurd's jobs, a second"] == "not measured"
    assert by_peer["Core: our steps to PgQueuer's jobs, a second"] == "met"

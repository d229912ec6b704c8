"""Scenario 1, Core: our steps and the peers' jobs, round robin, in one run on one server."""

from collections.abc import Sequence

from bench import core as core_
from bench import environments
from bench.core import Core
from bench.environments import Missing, Peer
from bench.figures import Measured, ratio, spreads
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import WorkerFailed

OURS = "clento_engine"

# How many times as fast as a peer we must be; the first is the target, the others the least.
LEAST = {
    "graphile-worker": 1.0,
    "PgQueuer": 0.5,
    "Absurd": 10.0,
    "Procrastinate": 10.0,
    "DBOS": 50.0,
}
MOST_COMMITS = 0.01
MOST_WAL_BYTES = 1_600.0


def race(
    server: BenchServer,
    core: Core,
    peers: Sequence[Peer],
    *,
    rounds: int,
    share: float = 1.0,
    install_s: float = environments.INSTALL_LIMIT_S,
) -> Result:
    """Measure all of them in turn, `rounds` times; `share` of the peers' jobs.

    A peer that cannot be installed, each step within `install_s`, is named as missing.
    """
    notes = []
    ready = []
    for peer in peers:
        try:
            environments.install(peer, install_s)
        except Missing as why:
            notes.append(f"{peer.name} is missing: {why}")
        else:
            ready.append(peer)
    core_.prepare(server, core)
    runs: dict[str, list[Measured]] = {OURS: [], **{peer.name: [] for peer in ready}}
    for _ in range(rounds):
        runs[OURS].append(core_.once(server, core))
        for peer in list(ready):
            try:
                runs[peer.name].append(environments.once(server, peer, int(peer.jobs * share)))
            except WorkerFailed as why:
                notes.append(f"{peer.name} failed: {why}")
                ready.remove(peer)
                del runs[peer.name]
    server.drop(core_.TEMPLATE)
    rows = {name: spreads(measured) for name, measured in runs.items()}
    ours = rows[OURS]["steps_per_s"].runs
    for name in runs:
        if name != OURS:
            rows[name]["ours_over_theirs"] = ratio(ours, rows[name]["steps_per_s"].runs)
    told = (f"{peer.name}: {peer.versions}; {peer.settings}" for peer in ready)
    return result(rows, core, peers, (*notes, *told))


def result(rows: Rows, core: Core, peers: Sequence[Peer], notes: Sequence[str] = ()) -> Result:
    """Hold our figures against the peers' and against the bars."""
    ours = rows.get(OURS)
    return Result(
        "core",
        "Core",
        f"{core.leads:,} due leads over {core.senders:,} senders and {core.campaigns} campaigns, "
        f"{core.parked:,} parked beside them, {core.slots:,} at once; a provider in process that "
        "answers at once; one process. A step of ours, a first visit, reserves a unit, writes an "
        "intent, decides, and writes the next state, what was learned and the history; a peer's "
        "job is a no-op.",
        rows,
        (
            *_faster(rows, peers),
            Bar(
                "Core: commits a step",
                MOST_COMMITS,
                None if ours is None else ours["commits"].median,
            ),
            Bar(
                "Core: WAL a step",
                MOST_WAL_BYTES,
                None if ours is None else ours["wal_bytes"].median,
                " B",
            ),
        ),
        tuple(notes),
    )


def _faster(rows: Rows, peers: Sequence[Peer]) -> list[Bar]:
    bars = []
    for peer in peers:
        if peer.name not in LEAST:
            continue
        found = rows.get(peer.name, {}).get("ours_over_theirs")
        bars.append(
            Bar(
                f"Core: our steps to {peer.name}'s jobs, a second",
                LEAST[peer.name],
                None if found is None else found.median,
                "×",
                at_least=True,
            )
        )
    return bars

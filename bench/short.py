"""The short bench: what CI judges in minutes, by figures that are counted and never timed.

A machine under load is slower; it does not write more rows.  So the speeds are shown, beside two
peers', and the verdict is on what a step writes, commits, looks at and keeps in memory, and on
whether that follows the leads that wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.core import Core
from bench.environments import PEERS
from bench.growth import BASE, group
from bench.population import Population
from bench.race import MOST_COMMITS, OURS, race
from bench.result import Bar, Result, Rows
from bench.server import BenchServer

COUNTED_ALONE = {"autovacuum": "off"}  # it looks at blocks too, whenever it likes
CORE = Core(leads=10_000, senders=400, campaigns=4)
BESIDE = ("PgQueuer", "Procrastinate")  # both come as wheels, in seconds
INSTALL_S = 60.0  # for each step of it: CI does not wait for a registry that is down
SHARE = 0.2  # of the jobs that the peers are given in the long run
DUE = 4_000
SMALL = replace(BASE, senders=200, campaigns=4)
RUNGS: Mapping[str, Population] = {
    "parked 10 k": SMALL,
    "parked 100 k": replace(SMALL, parked=100_000),
    "backlog 20 k": replace(SMALL, barred=20_000),
}
# A step writes its intent, its end and the lead, and a first visit the name that it learned; the
# rows of its sender and lanes are shared with the other steps of a batch.
MOST_ROWS = 5.0
MOST_GROWTH = 1.25  # of the blocks looked at, where ten times as many leads wait
MOST_MEMORY_MB = 150.0


def short(server: BenchServer) -> list[Result]:
    """Measure the core beside two peers, and growth in three rungs, once each.

    The server must have been started with COUNTED_ALONE.
    """
    beside = [peer for peer in PEERS if peer.name in BESIDE]
    core = race(server, CORE, beside, rounds=1, share=SHARE, install_s=INSTALL_S)
    rows = group(server, "short", RUNGS, rounds=1, due=DUE)
    how = "As in the long run, smaller, once: only what is counted is judged."
    return [
        replace(core, how=how, bars=tuple(core_bars(core.rows))),
        Result("growth", "Growth", how, rows, tuple(growth_bars(rows))),
    ]


def core_bars(rows: Rows) -> list[Bar]:
    """Hold one step against what it may write, commit and keep."""
    ours = rows[OURS]
    return [
        Bar("commits a step", MOST_COMMITS, ours["commits"].median),
        Bar("rows written a step", MOST_ROWS, ours["rows_written"].median),
        Bar("memory of a ticker", MOST_MEMORY_MB, ours["rss_mb"].median, " MB"),
    ]


def growth_bars(rows: Rows) -> list[Bar]:
    """Hold the larger rungs against the first."""
    labels: Sequence[str] = list(rows)
    first = rows[labels[0]]
    bars = []
    for label in labels[1:]:
        row = rows[label]
        more = row["rows_written"].median / first["rows_written"].median
        bars += [
            Bar(f"{label}: leads' rows written a step", 1.0, row["executions_written"].median),
            Bar(f"{label}: rows written a step, to the first's", 1.05, more, "×"),
            Bar(
                f"{label}: blocks looked at a step, to the first's",
                MOST_GROWTH,
                row["blocks_to_first"].median,
                "×",
            ),
            Bar(f"{label}: memory of a ticker", MOST_MEMORY_MB, row["rss_mb"].median, " MB"),
        ]
    return bars

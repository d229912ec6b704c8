"""Scenario 3, Growth: what a step and a look cost when there is more of everything else."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.core import Wrong
from bench.figures import Measured, Spread, ratio, spreads
from bench.population import Population, add_due, faults, lift_caps, populate
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import measured

DUE = 20_000  # leads made due for each measurement
SLOTS = 1_000
CLAIM = 200  # steps a claim, where the claim itself is timed
IDLE_TICKS = 300
ROUND_S = 3600.0  # of the engine's time, from one round in a database to the next
TOO_LARGE_TO_COPY = 1_000_000  # leads; the few that a round adds change nothing there

BASE = Population(parked=10_000, senders=1_000, campaigns=20)

# What grows, in groups: only the rungs of one group are compared, round by round.
GROUPS: Mapping[str, Mapping[str, Population]] = {
    "parked": {
        "parked 10 k": BASE,
        "parked 100 k": replace(BASE, parked=100_000),
        "parked 1 M": replace(BASE, parked=1_000_000),
        "parked 5 M": replace(BASE, parked=5_000_000),
    },
    "backlog": {
        "backlog 0": BASE,
        "backlog 10 k": replace(BASE, barred=10_000),
        "backlog 1 M": replace(BASE, barred=1_000_000),
    },
    "senders": {
        "senders 10": replace(BASE, senders=10, campaigns=10),
        "senders 1 k": BASE,
        "senders 20 k": replace(BASE, senders=20_000),
    },
    # of each of ten senders: as many leads in other lanes, or queued behind those that are due
    "lanes": {
        "lane 0": replace(BASE, senders=10, campaigns=10, parked=510_000),
        "lane 50 k": replace(BASE, senders=10, campaigns=10, queued=500_000),
    },
    "suppressions": {
        "suppressions 0": BASE,
        "suppressions 10 k": replace(BASE, suppressions=10_000),
    },
    "campaigns": {
        "campaigns 1": replace(BASE, campaigns=1),
        "campaigns 1 k": replace(BASE, campaigns=1_000),
    },
    "history": {
        "history 0": replace(BASE, parked=1_000_000),
        "history 10 M": replace(BASE, parked=1_000_000, actions=10_000_000),
    },
}


@dataclass(frozen=True, slots=True)
class Rung:
    """One size, and the database that holds it."""

    label: str
    who: Population
    database: str

    @property
    def is_copied(self) -> bool:
        """Whether each round starts from a copy, or goes on in the same database.

        In a copy of a large one the due leads fill the gaps of its pages, one in each, and every
        first write of such a page after the checkpoint logs the page.
        """
        return self.who.parked + self.who.queued + self.who.barred < TOO_LARGE_TO_COPY


def growth(
    server: BenchServer,
    groups: Mapping[str, Mapping[str, Population]] = GROUPS,
    *,
    rounds: int,
    due: int = DUE,
) -> Result:
    """Measure every rung of every group."""
    rows: dict[str, dict[str, Spread]] = {}
    for name, rungs in groups.items():
        rows |= group(server, name, rungs, rounds=rounds, due=due)
    return result(rows, due=due)


def group(
    server: BenchServer, name: str, rungs: Mapping[str, Population], *, rounds: int, due: int = DUE
) -> dict[str, dict[str, Spread]]:
    """Measure the rungs of one group in turn, `rounds` times; the figures of each."""
    ladder = [
        Rung(label, who, f"growth_{name}_{place}")
        for place, (label, who) in enumerate(rungs.items())
    ]
    for rung in ladder:
        _prepare(server, rung)
    runs: dict[str, list[Measured]] = {rung.label: [] for rung in ladder}
    for number in range(rounds):
        for rung in ladder:
            since_s = 0.0 if rung.is_copied else number * ROUND_S
            runs[rung.label].append(_once(server, rung, due, since_s))
    for rung in ladder:
        server.drop(rung.database)
    rows = {label: spreads(measured) for label, measured in runs.items()}
    first = rows[ladder[0].label]
    for rung in ladder[1:]:
        row = rows[rung.label]
        row["claim_to_first"] = ratio(row["claim_p50_ms"].runs, first["claim_p50_ms"].runs)
        row["blocks_to_first"] = ratio(row["blocks"].runs, first["blocks"].runs)
        row["speed_to_first"] = ratio(row["steps_per_s"].runs, first["steps_per_s"].runs)
    return rows


def _prepare(server: BenchServer, rung: Rung) -> None:
    url = server.create_ours(rung.database)
    with server.admin(rung.database) as conn:
        populate(conn, rung.who)
        lift_caps(conn)
        if found := faults(conn):
            raise Wrong(f"{rung.label} is not as the engine leaves it: {found}")
    measured("drain", url=url, slots=SLOTS)  # lanes that are barred are put to sleep: once, here


def _once(server: BenchServer, rung: Rung, due: int, since_s: float) -> Measured:
    """Measure one rung once: a drain, single claims, ticks that find nothing."""
    later_s, last_s = since_s + ROUND_S / 3, since_s + ROUND_S * 2 / 3
    database = "measured" if rung.is_copied else rung.database
    url = server.create(database, rung.database) if rung.is_copied else server.url(database)
    _make_due(server, database, due)
    before, written = server.count(database), server.updated(database, "campaign_executions")
    drained = measured("drain", url=url, slots=SLOTS, after_s=since_s)
    counted = server.count(database).since(before)
    written = server.updated(database, "campaign_executions") - written
    _expect(rung, due, drained["done"])
    _make_due(server, database, due)
    claims = measured("claims", url=url, slots=CLAIM, after_s=later_s)
    _expect(rung, due, claims["steps"])
    idle = measured("idle", url=url, slots=SLOTS, ticks=IDLE_TICKS, after_s=last_s)
    if rung.is_copied:
        server.drop(database)
    return {
        "claim_p50_ms": claims["claim_p50_ms"],
        "claim_p99_ms": claims["claim_p99_ms"],
        "settle_p50_ms": claims["settle_p50_ms"],
        "idle_tick_p50_ms": idle["p50_ms"],
        "idle_tick_p99_ms": idle["p99_ms"],
        "steps_per_s": drained["steps"] / drained["seconds"],
        "rows_written": counted.rows / due,
        "executions_written": written / due,
        "blocks": counted.blocks / due,
        "wal_bytes": counted.wal_bytes / due,
        "rss_mb": drained["rss_mb"],
    }


def _make_due(server: BenchServer, database: str, due: int) -> None:
    with server.admin(database) as conn:
        add_due(conn, due)
    server.settle_down(database)


def _expect(rung: Rung, due: int, done: int) -> None:
    if done != due:
        raise Wrong(f"{rung.label}: {done} steps were done, {due} were due")


def result(rows: Rows, *, due: int = DUE) -> Result:
    """Hold the figures of the rungs against the bars; rungs that were not measured have none."""
    steady = [
        row["rows_written"].median
        for label, row in rows.items()
        if label.split()[0] in ("parked", "backlog", "history")
    ]
    idle = [row["idle_tick_p50_ms"].median for row in rows.values()]
    rss = [row["rss_mb"].median for row in rows.values()]
    return Result(
        "growth",
        "Growth",
        f"{due:,} leads made due for each measurement, {SLOTS:,} at once, {CLAIM} a claim where "
        f"the claim is timed, {IDLE_TICKS} ticks that find nothing.  Everything else as told: "
        f"{BASE.parked:,} parked leads, {BASE.senders:,} senders, {BASE.campaigns} campaigns.",
        rows,
        (
            Bar(
                "Growth: claim p50 at 5 M parked to that at 10 k",
                2.5,
                _median(rows, "parked 5 M", "claim_to_first"),
                "×",
            ),
            Bar(
                "Growth: claim p50 with 50 k leads queued in each lane to that with none",
                1.2,
                _median(rows, "lane 50 k", "claim_to_first"),
                "×",
            ),
            Bar(
                "Growth: claim p50 with 10 k suppressions to that with none",
                1.2,
                _median(rows, "suppressions 10 k", "claim_to_first"),
                "×",
            ),
            Bar("Growth: idle tick, p50, at any size", 5.0, max(idle, default=None), " ms"),
            Bar(
                "Growth: steps a second with 1 M leads not allowed, to none",
                0.9,
                _median(rows, "backlog 1 M", "speed_to_first"),
                "×",
                at_least=True,
            ),
            Bar(
                "Growth: leads' rows written a step, with 1 M leads not allowed",
                1.0,
                _median(rows, "backlog 1 M", "executions_written"),
            ),
            Bar(
                "Growth: rows written a step, the most to the least over leads and history",
                1.05,
                max(steady) / min(steady) if steady else None,
                "×",
            ),
            Bar("Ticker memory at any size", 150.0, max(rss, default=None), " MB"),
        ),
    )


def _median(rows: Rows, label: str, name: str) -> float | None:
    found = rows.get(label, {}).get(name)
    return None if found is None else found.median

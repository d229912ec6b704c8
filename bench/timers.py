"""Scenario 4, Timers: many leads due at one instant, and how late each is taken up."""

from dataclasses import replace

from bench.core import Wrong
from bench.figures import Measured, Spread, spreads
from bench.population import Population, faults, make_due_at_once, populate
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import measured

ALONE = Population(due=10_000, senders=1_000, campaigns=20)
RUNGS = {"nothing parked": ALONE, "1 M parked": replace(ALONE, parked=1_000_000)}
SLOTS = 1_000
AHEAD_S = 3.0  # the ticker waits that long for the instant


def timers(server: BenchServer, *, rounds: int) -> Result:
    """Measure the lateness of each rung, in turn."""
    for place, (label, who) in enumerate(RUNGS.items()):
        _prepare(server, f"timers_{place}", label, who)
    runs: dict[str, list[Measured]] = {label: [] for label in RUNGS}
    for _ in range(rounds):
        for place, label in enumerate(RUNGS):
            runs[label].append(_once(server, f"timers_{place}", RUNGS[label].due))
    for place in range(len(RUNGS)):
        server.drop(f"timers_{place}")
    return result({label: spreads(each) for label, each in runs.items()})


def _prepare(server: BenchServer, database: str, label: str, who: Population) -> None:
    server.create_ours(database)
    with server.admin(database) as conn:
        populate(conn, who)
        make_due_at_once(conn)
        if found := faults(conn):
            raise Wrong(f"{label} is not as the engine leaves it: {found}")


def _once(server: BenchServer, template: str, due: int) -> Measured:
    url = server.create("measured", template)
    server.settle_down("measured")
    found = measured("lateness", url=url, slots=SLOTS, ahead_s=AHEAD_S)
    server.drop("measured")
    if found.pop("steps") != due:
        raise Wrong("not every lead was taken up")
    return found


def result(rows: Rows) -> Result:
    """Hold the lateness against its bar, whatever is parked."""
    late: list[Spread] = [row["lateness_p99_s"] for row in rows.values()]
    return Result(
        "timers",
        "Timers",
        f"{ALONE.due:,} leads of {ALONE.senders:,} senders, due at one instant for which the "
        "ticker waits; lateness is the time from there to the request, whose answer comes at once.",
        rows,
        (
            Bar(
                "Timers: lateness, p99, of 10,000 leads due at one instant",
                1.0,
                max((each.median for each in late), default=None),
                " s",
            ),
        ),
    )

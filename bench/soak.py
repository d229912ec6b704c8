"""Scenario 8, Soak: a ticker that works at an even pace for half an hour, and what it keeps."""

from dataclasses import replace

from bench.core import Wrong
from bench.figures import Measured, spreads
from bench.population import Population, faults, lift_caps, make_due_evenly, populate
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import measured

MINUTES = 30.0
STEPS_PER_S = 20
WHO = Population(parked=100_000, senders=1_000, campaigns=20)
LABEL = "one ticker"
MOST_GROWTH_MB = 2.0  # an allocator's, not a leak's


def soak(server: BenchServer, *, minutes: float = MINUTES) -> Result:
    """Measure a ticker's memory, from the end of its first fifth to the last moment."""
    seconds = 60 * minutes
    url = server.create_ours("soak")
    with server.admin("soak") as conn:
        populate(conn, replace(WHO, due=round(seconds * STEPS_PER_S)))
        lift_caps(conn)
        make_due_evenly(conn, seconds)
        if found := faults(conn):
            raise Wrong(f"the population is not as the engine leaves it: {found}")
    server.settle_down("soak")
    run: Measured = measured("soak", limit_s=seconds + 120, url=url, seconds=seconds)
    server.drop("soak")
    return result({LABEL: spreads([run])}, minutes=minutes)


def result(rows: Rows, *, minutes: float = MINUTES) -> Result:
    """Hold what a ticker keeps against its bars; a shorter run says nothing of the growth."""
    row = rows.get(LABEL, {})
    peak, grown = row.get("rss_mb"), row.get("grown_mb")
    return Result(
        "soak",
        "Soak",
        f"{STEPS_PER_S} leads due each second for {minutes:g} minutes, {WHO.parked:,} parked; the "
        "ticker waits for each moment as clento tick does.  Growth is from the end of the first "
        "fifth to the last moment.",
        rows,
        (
            Bar(
                "Ticker memory after half an hour",
                150.0,
                None if peak is None else peak.median,
                " MB",
            ),
            Bar(
                "Ticker memory: growth over half an hour",
                MOST_GROWTH_MB,
                grown.median if grown is not None and minutes >= MINUTES else None,
                " MB",
            ),
        ),
    )

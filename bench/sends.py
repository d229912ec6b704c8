"""Scenario 1 in its second form, Core that sends: invitations with a note and first messages."""

from bench import core as core_
from bench.core import Core
from bench.figures import spreads
from bench.population import MESSAGE_LENGTH, NOTE_LENGTH
from bench.race import MOST_COMMITS, OURS
from bench.result import Bar, Result, Rows
from bench.server import BenchServer

SENDS = Core(sends=True)

# An invitation writes its intent, its end and the lead, and a contact twice; a message four of
# these.  Their texts are in the log too: 390 B of the mean step.
MOST_ROWS = 5.5
MOST_WAL_BYTES = 3_400.0


def sends(server: BenchServer, core: Core = SENDS, *, rounds: int) -> Result:
    """Measure it `rounds` times; nobody is beside it."""
    core_.prepare(server, core)
    runs = [core_.once(server, core) for _ in range(rounds)]
    server.drop(core_.TEMPLATE)
    return result({OURS: spreads(runs)}, core)


def result(rows: Rows, core: Core = SENDS) -> Result:
    """Hold what a step that sends writes against the bars."""
    ours = rows.get(OURS)

    def median(name: str) -> float | None:
        return None if ours is None else ours[name].median

    return Result(
        "core-sends",
        "Core that sends",
        f"As the core scenario, {core.leads:,} due leads over {core.senders:,} senders, but half "
        f"of the leads are invited with a note of {NOTE_LENGTH} characters, and half are sent a "
        f"first message of {MESSAGE_LENGTH}.  A step of these writes its text into the intent, and "
        "what the account knows of the person: once for a message, twice for an invitation.",
        rows,
        (
            Bar("Core that sends: commits a step", MOST_COMMITS, median("commits")),
            Bar("Core that sends: rows written a step", MOST_ROWS, median("rows_written")),
            Bar("Core that sends: WAL a step", MOST_WAL_BYTES, median("wal_bytes"), " B"),
        ),
    )

"""This checkout's engine against another's, in turn on one server: how much a change costs.

Both are driven by this bench, so the other may be of a time when a form was not known yet.  Each
has databases with the schema of its own migrations, processes of its own, and, over HTTP, its own
simulator.  The server has the settings of this checkout.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import core as core_
from bench import end_to_end as end_to_end_
from bench.core import Core
from bench.end_to_end import Trial
from bench.figures import Measured, ratio, spreads
from bench.race import MOST_WAL_BYTES
from bench.report import commit
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import PROJECT
from clento_engine.runtime.world import SLOTS

RATIO = "this / the other"
ENGINE = ("clento_engine", "migrations")  # what is taken from the other checkout
VISITS = "core"


class NoCheckout(Exception):
    """A folder holds no engine; the message says what to name instead."""


@dataclass(frozen=True, slots=True)
class Form:
    """One thing to measure: `once` from a copy of the database of that name, for a checkout.

    `least`: how many times as fast as the other this checkout must be.
    """

    title: str
    size: Core
    once: Callable[[BenchServer, str, Path], Measured]
    least: float


def forms(share: float = 1.0) -> Mapping[str, Form]:
    """Return what can be measured, with a `share` of the leads and senders of the long run."""

    def smaller(size: Core) -> Core:
        leads, senders = (max(1, round(share * each)) for each in (size.leads, size.senders))
        return replace(size, leads=leads, senders=senders)

    visits, sends = smaller(Core()), smaller(Core(sends=True))
    # as the trial itself asks for it: no parked leads beside them
    wired = smaller(Core(Trial().leads, Trial().senders, Trial().campaigns, parked=0))
    return {
        VISITS: Form("Core", visits, partial(_once, visits), 0.95),
        "core-sends": Form("Core that sends", sends, partial(_once, sends), 0.93),
        "end-to-end": Form("End to end", wired, partial(_over_http, wired), 0.95),
    }


def _once(size: Core, server: BenchServer, template: str, checkout: Path) -> Measured:
    return core_.once(server, size, template=template, checkout=checkout)


def _over_http(size: Core, server: BenchServer, template: str, checkout: Path) -> Measured:
    trial = Trial(leads=size.leads, senders=size.senders)
    return end_to_end_.engine(server, trial, template, SLOTS, checkout=checkout)


@contextmanager
def other_checkout(path: Path) -> Iterator[Path]:
    """Make a folder in which `python -m` finds this bench and the engine in `path`.

    Raises NoCheckout.
    """
    path = path.resolve()
    if missing := [name for name in ENGINE if not (path / name).is_dir()]:
        raise NoCheckout(f"{path} has no {missing[0]}: name the root of a checkout of the engine")
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        (folder / "bench").symlink_to(PROJECT / "bench")
        for name in ENGINE:
            (folder / name).symlink_to(path / name)
        yield folder


def against(server: BenchServer, path: Path, name: str, form: Form, *, rounds: int) -> Result:
    """Measure a form in both checkouts, `rounds` times, the first of a round last in the next.

    Raises NoCheckout.
    """
    runs: tuple[list[Measured], list[Measured]] = ([], [])
    with other_checkout(path) as other:
        checkouts = ((0, "this", PROJECT), (1, "other", other))
        for _, template, checkout in checkouts:
            core_.prepare(server, form.size, template, checkout)
        for number in range(rounds):
            for place, template, checkout in checkouts[:: -1 if number % 2 else 1]:
                runs[place].append(form.once(server, template, checkout))
        for _, template, _ in checkouts:
            server.drop(template)
    commits = (f"this, {commit()}", f"other, {commit(path / ENGINE[0])}")
    return result(name, form, dict(zip(commits, map(spreads, runs), strict=True)))


def result(name: str, form: Form, rows: Rows) -> Result:
    """Put the ratios, round by round, under this checkout's figures and the other's.

    A figure that was zero in some round has no ratio.
    """
    ours, theirs = rows.values()
    ratios = {
        each: ratio(ours[each].runs, theirs[each].runs)
        for each in ours
        if each in theirs and all(theirs[each].runs)
    }
    bars = [
        Bar(
            f"{form.title}: steps a second, to the other's",
            form.least,
            ratios["steps_per_s"].median,
            "×",
            at_least=True,
        )
    ]
    if name == VISITS:
        # of a shorter run more of the log is what follows every checkpoint: full pages
        is_long = form.size.leads >= Core().leads
        wal_bytes = ours["wal_bytes"].median if is_long else None
        bars.append(Bar("WAL of a first visit", MOST_WAL_BYTES, wal_bytes, " B"))
    return Result(
        name,
        f"{form.title}, against another checkout",
        f"{form.size.leads:,} due leads over {form.size.senders:,} senders.",
        {**rows, RATIO: ratios},
        tuple(bars),
    )

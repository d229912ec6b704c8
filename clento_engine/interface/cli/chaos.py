"""`clento chaos`: a hostile world, real processes, and a judge."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from clento_engine.config import read_settings
from clento_engine.interface.chaos.run import FULL_MINUTES, Glimpse, Outcome, rage
from clento_engine.interface.chaos.scene import Plan
from clento_engine.interface.chaos.storm import FAMILIES
from clento_engine.interface.chaos.virtual.case import DAYS, LEADS, Case
from clento_engine.interface.chaos.virtual.case import FAMILIES as VIRTUAL
from clento_engine.interface.cli.chaos_virtual import play_seeds
from clento_engine.interface.cli.output import Table, answer, note
from clento_engine.interface.cli.session import json_option, run

if TYPE_CHECKING:
    from rich.status import Status

SAID_EVERY_S = 5.0  # where no terminal can show a moving picture
MOST_TOLD = 5  # findings of a kind

PROMISES = (
    ("duplicates", "I1 once", "reached twice by one node"),
    ("lost", "I2 all", "neither final nor ever woken"),
    ("over_cap", "I3 caps", "sliding windows over their cap"),
    ("outside_hours", "I4 hours", "outside working hours"),
    ("after_stop", "I5 stop, I6 leave alone", "after a pause, stop, reply or suppression"),
    ("disagreements", "I7, the books", "where books, counters, replay and truth differ"),
)


@click.command()
@click.option(
    "--virtual",
    "is_virtual",
    is_flag=True,
    help="In virtual time and one process: the same seed is the same storm, to the byte.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, help="With --virtual: so many, from --seed on."
)
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    default=DAYS,
    show_default=True,
    help="With --virtual: how long each storm rages.",
)
@click.option(
    "--leads",
    type=click.IntRange(1, 500),
    default=LEADS,
    show_default=True,
    help="With --virtual: on each of three lists.",
)
@click.option(
    "--small/--no-small",
    "smaller",
    default=True,
    help="With --virtual: whether the first seed that fails is made small.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.2, 24 * 60),
    default=10.0,
    show_default=True,
    help="How long the storm rages; setting up, settling and judging come on top.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of people and accidents.")
@click.option("--actions", type=click.IntRange(1), help="End it when so many have landed.")
@click.option(
    "--fault",
    "chosen",
    type=click.Choice([*dict.fromkeys([*FAMILIES, *VIRTUAL]), "none"]),
    multiple=True,
    help="Only faults of this family; may be given again.  none: a calm day, to compare with.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for logs and database, which stay there.",
)
@json_option
@click.pass_context
def chaos(
    ctx: click.Context,
    is_virtual: bool,
    seeds: int,
    days: int,
    leads: int,
    smaller: bool,
    minutes: float,
    seed: int,
    actions: int | None,
    chosen: tuple[str, ...],
    keep: Path | None,
    as_json: bool,
) -> None:
    """See that nobody is contacted twice or lost, by killing it.

    With --virtual a month takes seconds: one process, a real PostgreSQL and the real ticker, its
    time, its accidents and whose turn it is told by the seed.  Each seed has three quarters of the
    families of accidents, or those of --fault.  One that fails is told with the command that
    replays it, and made small: fewer families, leads and days that fail all the same.  Without it:

    Real tickers of two organisations, a PostgreSQL of its own and a simulated provider; tickers are
    killed, stalled and started, the database crashes, connections are cut, answers are lost, wrong
    or about somebody else, members sign in anew, their stores are empty for a while, and tickers
    are started against another provider.  Then what really reached whom is held against our books.
    Status 1 if any promise was broken, and for a storm of full length also if it was too weak to
    say so, or left too much to people: more than 0.5 % of leads held, or less than 99 % of walks
    ended by themselves.

    \b
    Example:
      clento chaos --minutes 1.5 --seed 11
      clento chaos --virtual --seeds 100
    """
    if is_virtual:
        only = frozenset(chosen) - {"none"} if chosen else None
        cases = [Case(each, days, leads, only) for each in range(seed, seed + seeds)]
        play_seeds(ctx, cases, PROMISES, smaller=smaller, as_json=as_json)
        return
    picture = _Silence() if as_json else (_Live() if sys.stderr.isatty() else _Lines())
    families = frozenset(chosen or FAMILIES) - {"none"}
    plan = Plan(minutes, seed, actions, keep, families)
    # our own connections are lost, too: that is what is played; psycopg sets its level by itself
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    with picture:
        outcome = run(
            rage(plan, say=picture.say, show=picture.show),
            read_settings(),
            level=logging.ERROR,
        )
    answer(as_json, outcome.to_json(), *_report(outcome))
    is_full = minutes >= FULL_MINUTES and actions is None and families == frozenset(FAMILIES)
    too_weak = outcome.too_weak() if is_full else []
    left_to_people = outcome.needs_people() if is_full else []
    for line in [
        *_told(outcome),
        *(f"too weak: {each}" for each in too_weak),
        *(f"left to people: {each}" for each in left_to_people),
    ]:
        note(line)
    if not outcome.is_clean:
        note(f"logs and all findings are in {outcome.folder}")
    if too_weak or left_to_people or not outcome.is_clean:
        ctx.exit(1)


class _Silence:
    """Shows nothing: the answer alone is wanted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""

    def say(self, what: str) -> None:
        """Hear what is being done."""

    def show(self, seen: Glimpse) -> None:
        """See how it goes."""


class _Lines(_Silence):
    """Writes a line now and then, for logs and pipes."""

    def __init__(self) -> None:
        self._said_at = -SAID_EVERY_S

    def say(self, what: str) -> None:
        """Write it."""
        note(f"… {what}")

    def show(self, seen: Glimpse) -> None:
        """Write a line, unless one was written just now."""
        if seen.seconds - self._said_at >= SAID_EVERY_S:
            self._said_at = seen.seconds
            note(_line(seen))


class _Live(_Silence):
    """One line that moves."""

    def __init__(self) -> None:
        self._status: Status | None = None

    def __enter__(self) -> Self:
        from rich.console import Console  # noqa: PLC0415 - slow to import

        self._status = Console(stderr=True).status("")
        self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()

    def say(self, what: str) -> None:
        """Show it."""
        if self._status is not None:
            self._status.console.print(f"… {what}")

    def show(self, seen: Glimpse) -> None:
        """Show how it goes."""
        if self._status is not None:
            self._status.update(_line(seen))


def _line(seen: Glimpse) -> str:
    done = seen.done
    return (
        f"{seen.phase} {seen.seconds:4.0f} s, there {seen.now:%a %H:%M}: {seen.actions:,} actions,"
        f" {done.kills} kills, {done.stalls} stalls, {done.db_crashes} database crashes"
    )


def _report(outcome: Outcome) -> list[str | Table]:
    told = outcome.to_json()
    shaken = Table(
        ("what was done to it", "times"),
        [
            ("tickers killed", told["kills"]),
            ("tickers stalled past their lease", told["stalls"]),
            ("database crashed", told["db_crashes"]),
            *told["faults"].items(),
        ],
    )
    reached = Table(
        ("operation", "landed"), list(outcome.actions.items()), title="What reached people"
    )
    verdict = Table(
        ("promise", "broken", "meaning", "verdict"),
        [
            (promise, told[kind], meaning, "held" if told[kind] == 0 else "BROKEN")
            for kind, promise, meaning in PROMISES
        ],
        title="Verdict: the simulator's ledger against our books",
    )
    cost, replayed = outcome.cost, outcome.replayed
    steps = max(1, cost.steps)
    return [
        shaken,
        reached,
        verdict,
        (
            f"{told['actions']:,} actions for {outcome.stage.leads:,} leads by {outcome.started}"
            f" ticker processes in {told['seconds']} s; {told['held']} leads held for a person,"
            f" {told['unresolved']} actions closed unresolved ({outcome.held_share:.2%}),"
            f" {outcome.ended_by_themselves:.2%} of walks ended by themselves"
        ),
        f"{replayed.walks:,} walks replayed from {replayed.lines:,} lines of history",
        (
            f"cost of a step: {cost.transactions / steps:.2f} transactions that write,"
            f" {cost.wal_bytes / steps:,.0f} bytes of WAL ({cost.steps:,} steps)"
        ),
    ]


def _told(outcome: Outcome) -> list[str]:
    """Write the first findings of each kind, for whoever must look into it."""
    return [
        f"{kind}: {line}"
        for kind, lines in outcome.findings.details.items()
        for line in lines[:MOST_TOLD]
    ]

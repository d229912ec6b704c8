"""`clento demo`: the whole engine on invented people, and the verdict."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from clento_engine.config import read_settings
from clento_engine.domain.operation import Budget
from clento_engine.domain.schedule import WorkingHours, parse_hours
from clento_engine.interface.cli.document import read_document
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import Table, answer, note
from clento_engine.interface.cli.session import json_option, run
from clento_engine.interface.cli.values import Value
from clento_engine.interface.demo.processes import TickerFailed
from clento_engine.interface.demo.run import Glimpse, Plan, Played, play
from clento_engine.interface.demo.stage import START, Stage
from clento_engine.interface.leads.layout import layout

if TYPE_CHECKING:
    from rich.console import Group

SAID_EVERY_S = 5.0  # where no terminal can show a moving picture
MOST_DAYS = 90
_PACKAGE = Path(__file__).resolve().parents[2]
EXAMPLES = next(  # inside an installed package, beside it in a checkout
    folder for folder in (_PACKAGE / "examples", _PACKAGE.parent / "examples") if folder.is_dir()
)


@click.command()
@click.option(
    "--leads",
    type=click.Path(path_type=Path),
    default=EXAMPLES / "first-look.csv",
    show_default="examples/first-look.csv",
    help="CSV file of people; examples/leads.csv has a thousand.",
)
@click.option(
    "--workflow",
    type=click.Path(path_type=Path),
    default=EXAMPLES / "outreach.json",
    show_default="examples/outreach.json",
    help="Workflow file, as an editor exported it.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=MOST_DAYS,
    show_default=True,
    help="Virtual days at most.",
)
@click.option(
    "--senders", type=click.IntRange(1, 1000), default=2, show_default=True, help="How many."
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of the invented people.")
@click.option(
    "--hours",
    type=Value("hours", parse_hours),
    default="Mon-Fri 09:00-17:00",
    show_default=True,
    help="Working hours, in each sender's zone.",
)
@json_option
@click.pass_context
def demo(
    ctx: click.Context,
    leads: Path,
    workflow: Path,
    days: int,
    senders: int,
    seed: int,
    hours: WorkingHours,
    as_json: bool,
) -> None:
    """Watch a whole campaign run in a simulated LinkedIn.

    Imports the leads, starts the campaign on a database of its own, and lets the real ticker work
    through the weeks on a clock that jumps from one event to the next.  The verdict is read from
    the simulator's own ledger.  Status 1 if anybody was contacted twice or lost, a cap was passed
    or something happened outside working hours.  Leads still under way after --days are not lost.

    Example: clento demo --seed 11 --senders 5
    """
    layout(leads)  # an unreadable file is refused before anything is started
    plan = Plan(leads, read_document(workflow), days, senders, seed, hours)
    picture = _Silence() if as_json else (_Live() if sys.stdout.isatty() else _Lines())
    try:
        with picture:
            played = run(
                play(plan, say=picture.say, introduce=picture.introduce, show=picture.show),
                read_settings(),
            )
    except TickerFailed as error:
        raise Refused(f"the ticker failed: {error}", "this is a defect: please report it") from None
    answer(as_json, played.to_json(), *_report(played))
    if not played.is_clean:
        ctx.exit(1)


class _Silence:
    """Shows nothing: the answer alone is wanted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""

    def say(self, what: str) -> None:
        """Hear what is being set up."""

    def introduce(self, stage: Stage) -> None:
        """Hear what was set up."""

    def show(self, seen: Glimpse) -> None:
        """See how it goes."""


class _Lines(_Silence):
    """Writes a line now and then, for logs and pipes."""

    def __init__(self) -> None:
        self._said_at = -SAID_EVERY_S

    def say(self, what: str) -> None:
        """Write it."""
        note(f"… {what}")

    def introduce(self, stage: Stage) -> None:
        """Write what was set up."""
        for line in _introduction(stage):
            note(line)

    def show(self, seen: Glimpse) -> None:
        """Write a line, unless one was written just now."""
        if seen.seconds - self._said_at < SAID_EVERY_S:
            return
        self._said_at = seen.seconds
        states = ", ".join(f"{count} {state}" for state, count in _states(seen).items())
        done = sum(seen.actions.values())
        note(f"  day {(seen.now - START).days:3}  {seen.now:%a %d %b}  {states}; {done} actions")


class _Live(_Silence):
    """Draws a moving picture on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - slow to import, and pipes need none
        from rich.live import Live  # noqa: PLC0415

        self._console = Console()
        self._live = Live(console=self._console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the picture away: the report follows."""
        self._live.stop()

    def say(self, what: str) -> None:
        """Show it in the place of the picture."""
        self._live.update(f"… {what}", refresh=True)

    def introduce(self, stage: Stage) -> None:
        """Print what was set up, above the picture."""
        for line in _introduction(stage):
            self._console.print(line, markup=False, highlight=False)

    def show(self, seen: Glimpse) -> None:
        """Draw how it goes."""
        self._live.update(_picture(seen), refresh=True)


def _picture(seen: Glimpse) -> "Group":
    from rich.console import Group  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415

    states = _states(seen)
    over = sum(count.leads for count in seen.standing.counts if count.outcome is not None)
    heading = Grid.grid(padding=(0, 2))
    heading.add_row(
        f"{seen.now:%a %d %b %Y %H:%M} UTC",
        f"day {(seen.now - START).days}",
        f"{seen.seconds:.0f} s",
        ProgressBar(total=max(1, seen.stage.enrolled), completed=over, width=40),
        f"{over} of {seen.stage.enrolled} leads at an end",
    )
    counts = Grid.grid(padding=(0, 3))
    counts.add_row("leads", *(f"{state} {count}" for state, count in states.items()))
    counts.add_row("actions", *(f"{name} {count}" for name, count in seen.actions.items()))
    uses = Grid(box=None, padding=(0, 2), pad_edge=False)
    for column in ("sender", "zone", *(budget.value for budget in CAPPED)):
        uses.add_column(column)
    for row in _use(seen):
        uses.add_row(*row)
    return Group(heading, counts, uses)


CAPPED = (
    Budget.INVITATION,
    Budget.MESSAGE,
    Budget.PROFILE,
    Budget.REACTION,
    Budget.COMMENT,
)


def _use(seen: Glimpse) -> list[list[str]]:
    """Write each sender's use of its caps: today and in the last seven days."""
    rows = []
    for use in seen.standing.senders:
        row = [f"{use.name} ({use.tier})", use.time_zone]
        for budget in CAPPED:
            limits = use.caps.get(budget)
            if limits is None:
                row.append("")
                continue
            spent = use.used.get(budget, {})
            day = f"{spent.get('day', 0)}/{limits.day}"
            week = "" if limits.week is None else f"  {spent.get('week', 0)}/{limits.week} a week"
            row.append(day + week)
        rows.append(row)
    return rows


def _states(seen: Glimpse) -> dict[str, int]:
    states: Counter[str] = Counter()
    for count in seen.standing.counts:
        states[count.status] += count.leads
    return dict(sorted(states.items()))


def _introduction(stage: Stage) -> list[str]:
    """Say what was imported, what was wrong with each row, and what will be passed over."""
    rejected = [row for row in stage.rejected if row.duplicate_of is None]
    again = [
        f"{row.row_number} (as {row.duplicate_of})" for row in stage.rejected if row.duplicate_of
    ]
    read = f"{stage.rows} rows read: {stage.imported} leads, {len(rejected)} rejected"
    lines = [f"{read}, {len(again)} that name somebody again"]
    lines += [
        (
            f"  row {row.row_number} (line {row.line_number}), {row.field} {row.value!r}:"
            f" {row.problem}; {row.fix}"
        )
        for row in rejected
    ]
    if again:
        lines.append(f"  rows that name somebody again: {', '.join(again)}")
    lines += [f"  passing over {node}: {why}" for node, why in stage.skipped.items()]
    zones = ", ".join(f"{sender.name} in {sender.time_zone}" for sender in stage.senders[:3])
    more = "" if len(stage.senders) <= 3 else f" and {len(stage.senders) - 3} more"  # noqa: PLR2004
    lines.append(f"{stage.enrolled} leads enrolled; {zones}{more}; hours {stage.hours}")
    return lines


def _report(played: Played) -> list[str | Table]:
    """Write the funnel, the senders, the verdict."""
    told = played.to_json()
    funnel = Table(
        ["node", "entered", "done", "skipped", "failed"],
        [
            [row[name] for name in ("node", "entered", "done", "skipped", "failed")]
            for row in told["funnel"]
        ],
        title="Funnel",
    )
    reached = Table(
        ["operation", "landed"],
        [[name, count] for name, count in told["actions"].items()],
        title="What reached people",
    )
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(told["outcomes"].items()))
    judged = [
        ("I1 once", told["duplicates"], "contacted twice"),
        ("I2 all", told["lost"], "leads lost"),
        ("I3 caps", told["over_cap"], "caps passed in a sliding window"),
        ("I4 hours", told["outside_hours"], "contacts outside working hours"),
        ("I6 leave alone", told["after_reply"], "contacts after a reply"),
    ]
    verdict = Table(
        ["promise", "broken", "meaning", "verdict"],
        [[name, count, what, "held" if count == 0 else "BROKEN"] for name, count, what in judged],
        title="Verdict, from the simulator's own ledger",
    )
    killed = f", the ticker killed {played.killed} times" if played.killed else ""
    return [
        funnel,
        reached,
        _use_of_caps(played),
        f"Leads: {outcomes}",
        (
            f"{played.notices} webhook notices delivered, {told['steps']} steps,"
            f" {told['virtual_days']} virtual days in {told['seconds']} s{killed}"
        ),
        verdict,
        *_findings(played),
        *_next_steps(played),
    ]


def _next_steps(played: Played) -> list[str]:
    """Say what is left of the campaign, if anything is, and what to try next."""
    left = played.unfinished
    unfinished = (
        f"{left} leads were still under way when the days were over: none is lost, give them more"
        " time with --days or more senders with --senders"
    )
    return [
        *([unfinished] if left else []),
        "Next: a thousand people with --leads examples/leads.csv, others with --seed 11,",
        "      your own with --leads and --workflow;",
        "      then `clento --help`, and the README on running it for real.",
    ]


def _use_of_caps(played: Played) -> Table:
    """Write the fullest that each sender's sliding windows got, beside their caps."""
    rows = []
    for sender in played.stage.senders:
        caps = played.caps[sender.unipile_account_id]
        row = [f"{sender.name} ({sender.tier})", sender.time_zone]
        for budget in CAPPED:
            peak = played.peaks.get((sender.unipile_account_id, budget), {})
            limits = caps[budget]
            day = "" if limits.day is None else f"{peak.get('day', 0)}/{limits.day} a day"
            week = "" if limits.week is None else f", {peak.get('week', 0)}/{limits.week} a week"
            row.append(day + week)
        rows.append(row)
    return Table(
        ["sender", "zone", *(budget.value for budget in CAPPED)],
        rows,
        title="Use of caps, in the fullest sliding window",
    )


def _findings(played: Played) -> list[str]:
    """Write the first findings of each kind, for whoever must look into it."""
    found = played.verdict
    kinds = (found.duplicates, found.over_cap, found.outside_hours, found.after_reply)
    return [json.dumps(str(finding)) for kind in kinds for finding in kind[:3]]

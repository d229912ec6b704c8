"""`python -m bench`: measure, print, and write results.json and README.md."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bench import core as core_
from bench import end_to_end as end_to_end_
from bench import fleet as fleet_
from bench import growth as growth_
from bench import operators as operators_
from bench import pooling, report
from bench import race as race_
from bench import sends as sends_
from bench import soak as soak_
from bench import timers as timers_
from bench import weeks as weeks_
from bench.against import NoCheckout, against, forms
from bench.core import Core, Wrong
from bench.end_to_end import end_to_end
from bench.environments import PEERS
from bench.figures import Spread, spreads
from bench.fleet import TELLING, fleet
from bench.growth import growth
from bench.operators import operators
from bench.race import race
from bench.result import Result
from bench.sends import sends
from bench.server import BenchServer, bench_server
from bench.short import COUNTED_ALONE, short
from bench.soak import soak
from bench.timers import timers
from bench.weeks import weeks
from bench.worker import WorkerFailed, end_in_order_on_sigterm
from clento_engine.runtime.clock import system_clock

FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a scenario is measured, in so many rounds, and what its server is told besides.

    `empty` has its bars while nothing is measured; one that `is_asked_for` runs only when named.
    """

    measure: Callable[[BenchServer, int], Result]
    empty: Result
    settings: Mapping[str, str] | None = None
    is_asked_for: bool = False


SCENARIOS: Mapping[str, Scenario] = {
    "core": Scenario(
        lambda server, rounds: race(server, Core(), PEERS, rounds=rounds),
        race_.result({}, Core(), PEERS),
    ),
    "core-sends": Scenario(lambda server, rounds: sends(server, rounds=rounds), sends_.result({})),
    "end-to-end": Scenario(
        lambda server, rounds: end_to_end(server, rounds=rounds), end_to_end_.result({})
    ),
    "growth": Scenario(lambda server, rounds: growth(server, rounds=rounds), growth_.result({})),
    "timers": Scenario(lambda server, rounds: timers(server, rounds=rounds), timers_.result({})),
    "fleet": Scenario(
        lambda server, rounds: fleet(server, rounds=rounds), fleet_.result({}), TELLING
    ),
    "operators": Scenario(
        lambda server, rounds: operators(server, rounds=rounds), operators_.result({})
    ),
    "weeks": Scenario(lambda _, rounds: weeks(rounds=rounds), weeks_.result({})),
    # Half an hour by the clock, whatever the machine: as long as all the others together.
    "soak": Scenario(lambda server, _: soak(server), soak_.result({}), is_asked_for=True),
}
EMPTY = {name: scenario.empty for name, scenario in SCENARIOS.items()}


@click.group()
def main() -> None:
    """Measure the engine, alone or beside its peers."""
    end_in_order_on_sigterm()


@main.command("all")
@click.argument("names", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--rounds", default=3, show_default=True, help="Of each measurement, in turn.")
def all_(names: Sequence[str], rounds: int) -> None:
    """Measure every scenario but the soak, or those NAMED; write results.json and README.md."""
    usual = [name for name, scenario in SCENARIOS.items() if not scenario.is_asked_for]
    for name in names or usual:
        scenario = SCENARIOS[name]
        began = time.perf_counter()
        with bench_server(scenario.settings) as server:
            click.echo(f"{name} …", err=True)
            result = scenario.measure(server, rounds)
            report.save(
                result,
                EMPTY,
                now=system_clock(),
                minutes=(time.perf_counter() - began) / 60,
                settings=server.settings(),
            )
        say(result)


@main.command("against")
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("names", nargs=-1, type=click.Choice(list(forms())))
@click.option("--rounds", default=5, show_default=True, help="Of each measurement, in turn.")
@click.option(
    "--share",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Of the leads and senders of `all`.",
)
def against_(checkout: Path, names: Sequence[str], rounds: int, share: float) -> None:
    """Measure the engine here against the one in CHECKOUT, an older commit's worktree, in turn.

    All of what can be measured so, or the NAMED; writes nothing.
    """
    for name, form in forms(share).items():
        if names and name not in names:
            continue
        click.echo(f"{name} …", err=True)
        try:
            with bench_server() as server:
                result = against(server, checkout, name, form, rounds=rounds)
        except (NoCheckout, WorkerFailed, Wrong) as why:
            raise click.ClickException(str(why)) from why
        click.echo(f"{result.title}: {result.how}")
        say(result)


@main.command("short")
def short_() -> None:
    """Measure in minutes what cannot be noise; the status is 1 when a bar is not met."""
    with bench_server(COUNTED_ALONE) as server:
        results = short(server)
    for result in results:
        click.echo(f"{result.title}")
        say(result)
    missed = [bar.text for result in results for bar in result.bars if not bar.met]
    if missed:
        raise click.ClickException(f"not met: {'; '.join(missed)}")


def _sized(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the core scenario; it takes them as a Core and the rest."""

    @wraps(command)
    def with_core(
        leads: int,
        senders: int,
        campaigns: int,
        parked: int,
        slots: int,
        **rest: Any,  # noqa: ANN401  whatever click hands on
    ) -> None:
        command(Core(leads, senders, campaigns, parked, slots), **rest)

    for option in reversed(
        (
            click.option("--leads", default=50_000, show_default=True, help="Due leads."),
            click.option("--senders", default=2_000, show_default=True),
            click.option("--campaigns", default=20, show_default=True),
            click.option("--parked", default=10_000, show_default=True, help="Leads that wait."),
            click.option("--slots", default=1_000, show_default=True, help="Requests at once."),
            click.option("--rounds", default=3, show_default=True),
            click.option("--profile", type=FILE, help="Write cProfile's of one more round there."),
            click.option(
                "--pooler",
                is_flag=True,
                help="Through a PgBouncer in transaction mode, and direct.",
            ),
            click.option("--json", "as_json", is_flag=True, help="One JSON object."),
        )
    ):
        with_core = option(with_core)
    return with_core


@main.command()
@_sized
def core(size: Core, **rest: Any) -> None:  # noqa: ANN401  the options
    """Scenario 1 alone, and ours alone: steps a second in one process, no provider to wait for."""
    _run_core(size, **rest)


@main.command("core-sends")
@_sized
def core_sends(size: Core, **rest: Any) -> None:  # noqa: ANN401  the options
    """The same with steps that send: half are invitations with a note, half first messages."""
    _run_core(replace(size, sends=True), **rest)


def _run_core(
    size: Core, *, rounds: int, profile: Path | None, pooler: bool, as_json: bool
) -> None:
    if pooler and pooling.program() is None:
        raise click.ClickException("PgBouncer is not installed (Debian: apt install pgbouncer)")
    with bench_server() as server:
        core_.prepare(server, size)
        if pooler:
            figures = core_.pooled(server, size, rounds)
            _show(figures, {"postgresql": server.settings()}, as_json=as_json)
            return
        runs = [core_.once(server, size) for _ in range(rounds)]
        if profile is not None:
            core_.once(server, size, profile=profile)
        _show(spreads(runs), {"postgresql": server.settings()}, as_json=as_json)


def say(result: Result) -> None:
    """Print a result's figures, and its bars with their verdicts."""
    head, rows = report.table(result)
    for line in rows:
        told = (f"{name} {value}" for name, value in zip(head[1:], line[1:], strict=True) if value)
        click.echo(f"{line[0]:18} {'; '.join(told)}")
    for bar in result.bars:
        needed, measured, verdict = bar.told()
        click.echo(f"{verdict:12} {bar.text}: {measured}, needed {needed}")
    for note in result.notes:
        click.echo(f"  {note}")


def _show(figures: Mapping[str, Spread], told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**told, **{name: each.to_json() for name, each in figures.items()}}))
        return
    for name, each in figures.items():
        click.echo(f"{name:16} {each}")


if __name__ == "__main__":
    main()

"""Scenario 2, End to end: steps over real HTTP to the simulator, beside the bare client."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import core as core_
from bench.core import Core, Wrong
from bench.figures import Measured, ratio, spreads
from bench.population import NOW
from bench.result import Bar, Result, Rows
from bench.server import BenchServer, cpu_s
from bench.wire import OWN_TRANSPORT
from bench.worker import PROJECT, measured, running
from clento_engine.runtime.world import SLOTS

FEW = 100  # at once, besides as many as a ticker has unless told otherwise
ENGINE, BARE = "engine", "bare client"
ENGINE_FEW, BARE_FEW = f"engine, {FEW} at once", f"bare client, {FEW} at once"
OWN = f"engine, {FEW} at once, httpx's own transport"
# One in a hundred people does not exist, one in a hundred profiles cannot be read.
LEAST_DONE = 0.95


@dataclass(frozen=True, slots=True)
class Trial:
    """How much of it.  httpx's own transport is so slow that it is given `few` leads.

    Those have as many senders for their number: as many requests at once.
    """

    leads: int = 50_000
    few: int = 1_500
    senders: int = 2_000
    few_senders: int = 60
    campaigns: int = 20


def end_to_end(server: BenchServer, *, rounds: int, trial: Trial = Trial()) -> Result:
    """Measure the five in turn, each with a simulator of its own."""
    for template, leads, senders in (
        ("many", trial.leads, trial.senders),
        ("few", trial.few, trial.few_senders),
    ):
        core_.prepare(server, Core(leads, senders, trial.campaigns, 0), template)
    runs: dict[str, list[Measured]] = {
        name: [] for name in (ENGINE, BARE, ENGINE_FEW, BARE_FEW, OWN)
    }
    for _ in range(rounds):
        runs[BARE].append(_bare(trial, SLOTS))
        runs[ENGINE].append(engine(server, trial, "many", SLOTS))
        runs[BARE_FEW].append(_bare(trial, FEW))
        runs[ENGINE_FEW].append(engine(server, trial, "many", FEW))
        runs[OWN].append(
            engine(server, trial, "few", FEW, leads=trial.few, transport=OWN_TRANSPORT)
        )
    rows = {name: spreads(measured_) for name, measured_ in runs.items()}
    for ours, theirs in ((ENGINE, BARE), (ENGINE_FEW, BARE_FEW), (ENGINE_FEW, OWN)):
        rows[theirs]["ours_over_theirs"] = ratio(
            rows[ours]["steps_per_s"].runs, rows[theirs]["steps_per_s"].runs
        )
    return result(rows, trial)


def result(rows: Rows, trial: Trial = Trial()) -> Result:
    """Hold the engine against its client, and against itself on httpx's own transport."""
    bare, own = (rows.get(name, {}).get("ours_over_theirs") for name in (BARE, OWN))
    return Result(
        "end-to-end",
        "End to end",
        f"{trial.leads:,} due leads over {trial.senders:,} senders, to the simulator in another "
        f"process; {SLOTS} requests at once, as many as a ticker has unless told otherwise, and "
        f"{FEW}.  The bare client sends the same requests, as many at once, and does nothing else. "
        f"httpx's own transport is given {trial.few:,} leads of {trial.few_senders} senders.",
        rows,
        (
            Bar(
                "End to end: the engine to its bare client, steps to requests a second",
                0.8,
                None if bare is None else bare.median,
                "×",
                at_least=True,
            ),
            Bar(
                "End to end: the engine to itself on httpx's own transport",
                8.0,
                None if own is None else own.median,
                "×",
                at_least=True,
            ),
        ),
    )


def engine(
    server: BenchServer,
    trial: Trial,
    template: str,
    at_once: int,
    *,
    leads: int | None = None,
    transport: str = "",
    checkout: Path = PROJECT,
) -> Measured:
    """Take every due step of a copy of the database over HTTP; return the figures of one step.

    The template has as many due `leads`, the trial's unless told otherwise.  Engine and simulator
    are the `checkout`'s.
    """
    leads = trial.leads if leads is None else leads
    url = server.create("measured", template)
    server.settle_down("measured")
    before = server.count("measured")
    with simulator(checkout) as (simulator_url, simulator_process):
        measured("add_senders", checkout=checkout, simulator=simulator_url, senders=trial.senders)
        busy = cpu_s(simulator_process)
        done = measured(
            "over_http",
            checkout=checkout,
            url=url,
            simulator=simulator_url,
            slots=at_once,
            transport=transport,
        )
        busy = cpu_s(simulator_process) - busy
    counted = server.count("measured").since(before)
    server.drop("measured")
    _require_done(done, leads)
    return {
        "steps_per_s": done["steps"] / done["seconds"],
        "client_cpu_ms": 1000 * done["cpu_s"] / leads,
        "server_cpu_ms": 1000 * counted.cpu_s / leads,
        "simulator_cpu_ms": 1000 * busy / leads,
        "commits": counted.commits / leads,
        "rss_mb": done["rss_mb"],
    }


def _bare(trial: Trial, at_once: int) -> Measured:
    with simulator() as (url, process):
        measured("add_senders", simulator=url, senders=trial.senders)
        busy = cpu_s(process)
        done = measured(
            "bare",
            simulator=url,
            requests=trial.leads,
            at_once=at_once,
            senders=trial.senders,
        )
        busy = cpu_s(process) - busy
    _require_done(done, trial.leads)
    return {
        "steps_per_s": done["steps"] / done["seconds"],
        "client_cpu_ms": 1000 * done["cpu_s"] / trial.leads,
        "simulator_cpu_ms": 1000 * busy / trial.leads,
        "rss_mb": done["rss_mb"],
    }


def _require_done(done: Measured, leads: int) -> None:
    if done["steps"] != leads or done["done"] < LEAST_DONE * leads:
        raise Wrong(f"of {leads} steps {done['steps']} were taken and {done['done']} done")


@contextmanager
def simulator(checkout: Path = PROJECT) -> Iterator[tuple[str, int]]:
    """Run a simulator, its clock as fast as ours; its URL and process id."""
    command = [
        *(sys.executable, "-m", "clento_engine.simulator", "--port", "0", "--accounts", "0"),
        *("--speed", "1", "--start", NOW.isoformat()),
    ]
    streams = {"stdout": subprocess.PIPE}
    with running(command, environment={}, checkout=checkout, **streams) as process:
        assert process.stdout is not None  # noqa: S101  it was asked for
        yield json.loads(process.stdout.readline())["url"], process.pid

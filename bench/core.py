"""Scenario 1, Core: due leads, a provider that answers at once, one process; ours alone.

In one of two forms: first visits, or steps that send.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bench.figures import Measured, Spread, ratio, spreads
from bench.pooling import pgbouncer, through
from bench.population import Population
from bench.server import BenchServer
from bench.worker import PROJECT, measured

TEMPLATE = "core"


@dataclass(frozen=True, slots=True)
class Core:
    """How much of it: `leads` due over `senders`, `parked` beside them, `slots` at once.

    The leads are to be visited; where it `sends`, half of them are to be invited, with a note, and
    half to be sent a first message: 40 leads a sender at most, of whom its caps let it invite 20.
    """

    leads: int = 50_000
    senders: int = 2_000
    campaigns: int = 20
    parked: int = 10_000
    slots: int = 1_000
    sends: bool = False

    @property
    def population(self) -> Population:
        """Who is in its database."""
        beside = Population(
            parked=self.parked, senders=self.senders, campaigns=self.campaigns, slots=self.slots
        )
        if not self.sends:
            return replace(beside, due=self.leads)
        invitations = self.leads // 2
        return replace(beside, invitations=invitations, messages=self.leads - invitations)


class Wrong(Exception):
    """What was measured did not do what it should have: its speed says nothing."""


def prepare(
    server: BenchServer, core: Core, template: str = TEMPLATE, checkout: Path = PROJECT
) -> None:
    """Make the database that each round starts from, and see that it is as the engine's."""
    url = server.create(template)
    found = measured(
        "prepare",
        checkout=checkout,
        url=url,
        admin_url=server.url(template, "postgres"),
        who=asdict(core.population),
    )
    if found:
        raise Wrong(f"the population is not as the engine leaves it: {found}")


def once(
    server: BenchServer,
    core: Core,
    *,
    template: str = TEMPLATE,
    profile: Path | None = None,
    checkout: Path = PROJECT,
    reached: Callable[[str], str] = str,
) -> Measured:
    """Take every due step once, in a copy of the database; return the figures of one step.

    `reached`: the URL by which the engine reaches the database of a URL.
    """
    url = reached(server.create("measured", template))
    server.settle_down("measured")
    before = server.count("measured")
    done = measured("drain", url=url, slots=core.slots, profile=profile, checkout=checkout)
    counted = server.count("measured").since(before)
    if done["done"] != core.leads:
        raise Wrong(f"{done['done']} of {core.leads} steps were done: {done}")
    steps = done["steps"]
    server.drop("measured")
    return {
        "steps_per_s": steps / done["seconds"],
        "client_cpu_ms": 1000 * done["cpu_s"] / steps,
        "server_cpu_ms": 1000 * counted.cpu_s / steps,
        "commits": counted.commits / steps,
        "wal_bytes": counted.wal_bytes / steps,
        "rows_written": counted.rows / steps,
        "blocks": counted.blocks / steps,
        "batches": done["batches"],
        "rss_mb": done["rss_mb"],
    }


def pooled(server: BenchServer, core: Core, rounds: int) -> dict[str, Spread]:
    """Measure directly and through a PgBouncer in transaction mode, in turn.

    Return the figures of a step through it, and the ratio of each to that of the direct way.
    """
    direct: list[Measured] = []
    runs: list[Measured] = []
    with pgbouncer(server.embedded.url) as folder:
        for _ in range(rounds):
            direct.append(once(server, core))
            runs.append(once(server, core, reached=partial(through, folder=folder)))
    figures: Mapping[str, Spread] = spreads(runs)
    return {
        **figures,
        **{
            f"{name} to direct": ratio(figure.runs, [run[name] for run in direct])
            for name, figure in figures.items()
        },
    }

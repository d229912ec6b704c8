"""Everything that a storm needs, started: servers, simulators, proxies and the fleet of tickers."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from clento_engine.domain.reach import SETTING
from clento_engine.interface.chaos import faults
from clento_engine.interface.chaos.gateway import Gateway
from clento_engine.interface.chaos.processes import Fleet, simulator
from clento_engine.interface.chaos.provider_faults import SECRET
from clento_engine.interface.chaos.proxy import DatabaseProxy, ProviderProxy
from clento_engine.interface.chaos.stage import SPRING, cast, set_stage
from clento_engine.interface.chaos.storm import FAMILIES
from clento_engine.interface.chaos.system import System
from clento_engine.interface.demo.processes import free_port
from clento_engine.provider.exchange import CONNECT_TIMEOUT, READ_TIMEOUT
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import SpeedClock
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store import migrate
from clento_engine.store.database import Database
from clento_engine.store.schema import SCHEMA
from clento_engine.store.server import EmbeddedServer, temporary_server
from clento_engine.store.turmoil import commit_lazily

# A lease is five minutes of the engine's time: five real seconds, and a request ends within two.
SPEED = 60.0
SERVICES = 4
OPERATOR_WAITS_MS = 500
LISTENING = 2
LOCAL = "127.0.0.0/8"  # where the storm's receiver of notices is

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard; `actions` ends the storm earlier, once so many have landed."""

    minutes: float
    seed: int
    actions: int | None = None
    keep: Path | None = None  # where logs and database stay
    families: frozenset[str] = frozenset(FAMILIES)  # of faults; none: a calm day, to compare with

    @property
    def seconds(self) -> float:
        """How long it rages, in real seconds."""
        return self.minutes * 60

    @property
    def start(self) -> datetime:
        """When it begins: the change of clocks falls into its middle."""
        return SPRING - timedelta(seconds=self.seconds * SPEED / 2)

    @property
    def senders(self) -> int:
        """How many senders there are."""
        return max(60, round(25 * self.minutes))

    @property
    def leads_each(self) -> int:
        """How many leads each sender has in each of its campaigns."""
        return max(4, round(1.2 * self.minutes))

    @property
    def leads_of_small(self) -> int:
        """How many leads each of the small campaigns has."""
        return max(8, min(30, round(4 * self.minutes)))


@dataclass(frozen=True, slots=True)
class Scene:
    """What a storm can shake, and what it is to be judged by.

    `workspace`: how the fleet knows the simulator, by its proxy; `limit_s`: the longest request.
    """

    system: System
    server_url: str
    simulator_url: str
    elsewhere: RemoteSimulator
    workspace: Workspace
    limit_s: float


async def open_scene(
    opened: AsyncExitStack, plan: Plan, chance: random.Random, folder: Path, say: Say
) -> Scene:
    """Start everything, to end when `opened` does; the tickers run from then on."""
    server = await _server(opened, plan, folder, say)
    senders = cast(plan.senders)
    (url, remote), (other, elsewhere) = await _simulators(opened, plan, senders, folder, say)
    # An operator's command is written down as of when it was given: it waits for locks of a
    # stalled ticker no longer than the judge's grace, at this speed.
    operators = f"{server.url}&options=-c%20lock_timeout%3D{OPERATOR_WAITS_MS}"
    database = await opened.enter_async_context(Database(operators, max_connections=8))
    ports = [free_port() for _ in range(LISTENING)]
    gateway = Gateway(ports, random.Random(chance.random()))  # noqa: S311
    public_url = await opened.enter_async_context(gateway.listening())
    say("setting the stage")
    stage = await set_stage(
        database,
        remote,
        senders=senders,
        leads_each=plan.leads_each,
        leads_of_small=plan.leads_of_small,
        notices_url=f"{public_url}/notices",
    )
    say(f"{stage.leads:,} leads, {len(senders)} senders, {len(stage.campaigns)} campaigns")
    limit_s = (CONNECT_TIMEOUT + READ_TIMEOUT).total_seconds() / SPEED
    provider_proxy, database_proxy = _proxies(url, server, limit_s, chance)
    provider_port = await opened.enter_async_context(provider_proxy.listening())
    database_port = await opened.enter_async_context(database_proxy.listening())
    workspace = Workspace(f"http://127.0.0.1:{provider_port}", is_simulated=True)
    fleet = _fleet(opened, workspace, database_port, ports, public_url, folder)
    provider = await opened.enter_async_context(UnipileClient(url, "storm"))
    system = System(
        stage=stage,
        world=World(database, provider, SpeedClock(await remote.now(), SPEED), workspace=workspace),
        simulator=remote,
        gateway=gateway,
        rules=faults.rules(limit_s * 1.5, random.Random(chance.random())),  # noqa: S311
        chance=random.Random(chance.random()),  # noqa: S311
        elsewhere=other,
        fleet=fleet,
        provider_proxy=provider_proxy,
        database_proxy=database_proxy,
        data_dir=server.data_dir,
        speed=SPEED,
    )
    if "webhooks" not in plan.families:
        gateway.calm(ports)
    return Scene(system, server.url, url, elsewhere, workspace, limit_s)


async def _server(opened: AsyncExitStack, plan: Plan, folder: Path, say: Say) -> EmbeddedServer:
    say("starting PostgreSQL")
    data_dir = folder / "data"
    server = opened.enter_context(temporary_server(data_dir, keep=plan.keep is not None))
    say("migrating")
    await asyncio.to_thread(migrate.upgrade, server.url)
    async with (
        Database(server.url, max_connections=1) as weakened,
        weakened.connection() as conn,
    ):
        await commit_lazily(conn)
    return server


class _Simulated(NamedTuple):
    url: str
    remote: RemoteSimulator


async def _simulators(
    opened: AsyncExitStack,
    plan: Plan,
    senders: Sequence[tuple[str, str, str]],
    folder: Path,
    say: Say,
) -> tuple[_Simulated, _Simulated]:
    """Start the provider, and another that has accounts of the same ids."""
    told = {
        "seed": plan.seed,
        "speed": SPEED,
        "start": plan.start.isoformat(),
        "accounts": senders,
    }
    say(f"starting the provider at {plan.start:%Y-%m-%d %H:%M} UTC, {SPEED:g} times as fast")
    url = await opened.enter_async_context(simulator(told, folder / "simulator.log"))
    remote = await opened.enter_async_context(RemoteSimulator(url))
    other = await opened.enter_async_context(
        simulator({**told, "seed": plan.seed + 1}, folder / "elsewhere-simulator.log")
    )
    elsewhere = await opened.enter_async_context(RemoteSimulator(other))
    return _Simulated(url, remote), _Simulated(other, elsewhere)


def _proxies(
    simulator_url: str, server: EmbeddedServer, limit_s: float, chance: random.Random
) -> tuple[ProviderProxy, DatabaseProxy]:
    host, _, port = simulator_url.removeprefix("http://").partition(":")
    provider_proxy = ProviderProxy(
        lambda: asyncio.open_connection(host, int(port)), late_s=limit_s * 1.2
    )
    socket_path = _socket_path(server.data_dir)
    database_proxy = DatabaseProxy(
        lambda: asyncio.open_unix_connection(socket_path),
        chance=random.Random(chance.random()),  # noqa: S311
    )
    return provider_proxy, database_proxy


def _socket_path(data_dir: Path) -> str:
    lines = (data_dir / "postgresql" / "postmaster.pid").read_text().splitlines()
    return f"{lines[4]}/.s.PGSQL.{lines[3]}"


def _fleet(
    opened: AsyncExitStack,
    workspace: Workspace,
    database_port: int,
    ports: Sequence[int],
    public_url: str,
    folder: Path,
) -> Fleet:
    """Start the tickers that run all the time; those that have a port hear webhooks."""
    fleet = Fleet(
        {
            "DATABASE_URL": f"postgresql://clento@127.0.0.1:{database_port}/clento"
            "?sslmode=disable&gssencmode=disable",
            "UNIPILE_DSN": workspace.dsn,
            "UNIPILE_ACCESS_TOKEN": "storm",
            "CLENTO_SCHEMA": SCHEMA,
            "CLENTO_POOLER": "",
            "CLENTO_WEBHOOK_SECRET": SECRET,
            "CLENTO_LOG_FORMAT": "json",
            SETTING: LOCAL,
        },
        folder,
    )
    opened.push_async_callback(fleet.close)
    for number in range(SERVICES):
        listening = (
            ("--listen", f"127.0.0.1:{ports[number]}", "--public-url", public_url)
            if number < LISTENING
            else ()
        )
        fleet.keep(f"run-{number}", "run", *listening)
    return fleet

"""The demo's ticker: the real one, in a process of its own that may be killed and started again."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clento_engine.interface.api import create_app, serve
from clento_engine.interface.demo.receiver import LOCAL
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.drive import LATENESS, NEWS_WAIT, SWEEPS_WAIT, drive
from clento_engine.runtime.outbox import posting
from clento_engine.runtime.registration import register
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.simulator.remote import RemoteSimulator
from clento_engine.store.campaigns import is_over
from clento_engine.store.database import Database

TOKEN = "demo"  # noqa: S105  the simulator takes any
SECRET = "demo-webhook-secret"  # noqa: S105  both ends are this demo's

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """What one ticker process is told."""

    database_url: str
    simulator_url: str
    listen_port: int
    organization_id: UUID
    campaign_id: UUID
    notices_url: str
    until: datetime


async def run_ticker(role: Role) -> bool:
    """Run the campaign to its end on the simulator's clock; False when `until` came first.

    Every notice goes to `notices_url`, whatever the workflow names: the demo calls no other host.
    """
    async with (
        Database(role.database_url, max_connections=6) as database,
        RemoteSimulator(role.simulator_url) as simulator,
        UnipileClient(role.simulator_url, TOKEN) as provider,
        posting(LOCAL, redirect=role.notices_url) as outbox,
    ):
        clock = VirtualClock(await simulator.now())
        # the same seed must give the same numbers: no turn may overtake another
        world = World(
            database,
            provider,
            clock,
            overlapping=False,
            workspace=Workspace(role.simulator_url, is_simulated=True),
        )
        stop = asyncio.Event()
        listening = asyncio.Event()
        app = create_app(world, secret=SECRET)
        served = asyncio.create_task(
            serve(
                app,
                "127.0.0.1",
                role.listen_port,
                stop=stop,
                ready=lambda _url: listening.set(),
            )
        )
        await asyncio.wait(
            {served, asyncio.ensure_future(listening.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        if served.done():
            await served  # raises why it does not listen
        await register(provider, f"http://127.0.0.1:{role.listen_port}", SECRET)

        async def over() -> bool:
            async with database.connection() as conn:
                return await is_over(conn, role.organization_id, role.campaign_id)

        ended = await drive(
            world,
            outbox,
            clock,
            lambda to: simulator.advance(to, NEWS_WAIT),
            until=role.until,
            late=LATENESS,
            sweeps_wait=SWEEPS_WAIT,
            is_over=over,
        )
        stop.set()
        await served
    return ended

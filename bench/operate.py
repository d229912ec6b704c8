"""Measured in a process of its own: what a campaign answers to its operator."""

import time
from collections.abc import Awaitable, Callable
from statistics import median

from bench.drain import on_loop
from clento_engine.runtime.clock import system_clock
from clento_engine.store.accounts import organizations
from clento_engine.store.campaigns import (
    campaigns,
    find_campaign,
    pause_campaign,
    resume_campaign,
    stop_campaign,
)
from clento_engine.store.database import Database
from clento_engine.store.status import standing

REPEATS = 15
SLOW_REPEATS = 3  # of what may take seconds


def operate(url: str, campaign: str) -> dict[str, float]:
    """Ask for a campaign's status, pause and resume it, and stop it; how long each took."""
    return on_loop(_operate(url, campaign))


def stand(url: str) -> dict[str, float]:
    """Ask how the only campaign of a database stands; how long that took."""
    return on_loop(_stand(url))


async def _stand(url: str) -> dict[str, float]:
    took = []
    async with Database(url, max_connections=2) as database, database.connection() as conn:
        organization_id = (await organizations(conn))[0][0]
        [campaign] = await campaigns(conn, organization_id)
        for _ in range(REPEATS):
            began = time.perf_counter()
            await standing(conn, organization_id, campaign.id, system_clock())
            took.append(1000 * (time.perf_counter() - began))
    return {"status_ms": median(took)}


async def _operate(url: str, name: str) -> dict[str, float]:
    took: dict[str, list[float]] = {}

    async def timed(what: str, do: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        await do()
        took.setdefault(f"{what}_ms", []).append(1000 * (time.perf_counter() - began))

    async with Database(url, max_connections=2) as database, database.connection() as conn:
        organization_id = (await organizations(conn))[0][0]
        campaign_id = (await find_campaign(conn, organization_id, name)).id

        def changed(change: Callable[..., Awaitable[None]]) -> Callable[[], Awaitable[None]]:
            return lambda: change(conn, organization_id, campaign_id, now=system_clock())

        for _ in range(SLOW_REPEATS):
            await timed(
                "status", lambda: standing(conn, organization_id, campaign_id, system_clock())
            )
        for _ in range(REPEATS):
            await timed("pause", changed(pause_campaign))
            await timed("resume", changed(resume_campaign))
        await timed("stop", changed(stop_campaign))
    return {name: median(each) for name, each in took.items()}

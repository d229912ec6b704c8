"""Nothing is done by a clock that is known to be wrong: ours, or the provider's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from play import BUSY, RELIABLE, Play, set_up
from test_accidents import CONNECTED, MESSAGE

from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime import guard
from clento_engine.runtime.errors import ClockSkew
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.ticker import tick
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.simulator.app import create_app
from clento_engine.store.database import Database

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WORKSPACE = Workspace("http://simulator", is_simulated=True)


async def play_behind(database: Database, behind: timedelta) -> tuple[Play, World]:
    """Set a campaign up beside a provider whose clock is so far behind ours."""
    play = await set_up(
        database,
        MESSAGE,
        slugs=list(CONNECTED),
        people=CONNECTED,
        start=START,
        hours="always",
        pace=BUSY,
        reliability=replace(RELIABLE, stamps_behind=behind),
    )
    transport = httpx.ASGITransport(create_app(play.simulated))
    client = UnipileClient("http://simulator", "token", transport=transport, clock=play.clock)
    return play, World(database, client, play.clock, workspace=WORKSPACE)


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("behind", [5 * MINUTE, -5 * MINUTE], ids=["behind", "ahead"])
async def test_nobody_is_acted_for_by_a_clock_minutes_away_from_the_provider_s(
    database: Database, monkeypatch: pytest.MonkeyPatch, behind: timedelta, is_on: bool
) -> None:
    play, world = await play_behind(database, behind)
    if not is_on:
        monkeypatch.setattr(guard, "MOST_SKEW", timedelta(days=1))
    try:
        await tick(world, MINUTE)
        await tick(world, MINUTE)  # the first began the lead
        has_acted = True
    except ClockSkew:
        has_acted = False

    assert has_acted is not is_on
    assert bool(play.simulated.ledger.reads) is not is_on  # what LinkedIn saw of it


async def test_nothing_is_asked_about_by_such_a_clock_either(database: Database) -> None:
    _, world = await play_behind(database, 5 * MINUTE)
    with pytest.raises(ClockSkew, match=r"differs from the provider's by \+2\d\d s"):
        await reconcile(world)


async def test_seconds_between_the_clocks_stop_nothing(database: Database) -> None:
    _, world = await play_behind(database, timedelta(seconds=30))
    await tick(world, MINUTE)
    assert await reconcile(world) == 0

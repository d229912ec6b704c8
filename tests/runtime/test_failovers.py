"""Standbys that are promoted under a running campaign, judged by the simulator's own ledger."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from backups import cut_off, either, promote, standby, wait_for_standby
from conftest import FAST
from play import Play
from test_accidents import TWO_MESSAGES, times_reached
from test_restores import CONNECTED, healed, play_of, unhealthy

from clento_engine.runtime import witness
from clento_engine.simulator.ledger import Effect
from clento_engine.store import migrate
from clento_engine.store.copies import in_memory
from clento_engine.store.database import Database, Lost
from clento_engine.store.errors import DatabaseUnavailable
from clento_engine.store.server import EmbeddedServer, stop, temporary_server

FEW = dict(list(CONNECTED.items())[:12])
ALIKE = "select count(*) from actions where state = 'done' and operation = 'send_followup'"


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "CHECKED_S", 0.0)


@contextmanager
def folders() -> Iterator[Path]:
    """Lend a folder with a short name: sockets are in it."""
    place = in_memory() or Path(tempfile.mkdtemp(prefix="clento-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        shutil.rmtree(place)


@asynccontextmanager
async def pair(*, synchronous: bool) -> AsyncIterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """Lend a primary with our schema, and its standby."""
    with folders() as place, temporary_server(place / "one", settings=FAST) as primary:
        migrate.upgrade(primary.url)
        with standby(primary, place / "two", FAST) as other:
            if synchronous:
                wait_for_standby(primary)
            yield primary, other


async def fail_over(play: Play, primary: EmbeddedServer, other: EmbeddedServer) -> None:
    """Let the primary end while the campaign runs, and its standby take over."""
    running = asyncio.create_task(play.run(days=1))
    await asyncio.to_thread(stop, primary.data_dir)
    with suppress(Lost, DatabaseUnavailable):
        await running
    await asyncio.to_thread(promote, other)


@pytest.mark.parametrize("synchronous", [False, True], ids=["asynchronous", "synchronous"])
async def test_after_a_failover_nobody_is_written_to_twice_and_nobody_is_lost(
    synchronous: bool,
) -> None:
    async with (
        pair(synchronous=synchronous) as (primary, other),
        Database(either(primary, other)) as database,
    ):
        play = await play_of(database, TWO_MESSAGES, FEW)
        await play.run(days=0.005)
        if not synchronous:
            cut_off(other)  # further behind than any network is
        await play.run(days=0.01)
        await fail_over(play, primary, other)
        sent = len(play.entries(Effect.MESSAGE))
        [known] = await play.rows(ALIKE)
        assert (sent - known["count"] <= 1) is synchronous  # one may have been under way

        await play.run(days=0.1)
        assert len(play.entries(Effect.MESSAGE)) == sent
        assert await play.rows("select quarantine_cause from database_stamp") == [
            {"quarantine_cause": "timeline"}
        ]
        await healed(play)
        assert await play.run(days=30)

        assert times_reached(play, Effect.MESSAGE) == dict.fromkeys(FEW, 2)
        assert (await play.verdict()).is_clean
        assert await unhealthy(play) == []

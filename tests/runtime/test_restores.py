"""Backups that are restored under a running campaign, judged by the simulator's own ledger.

Before the database knew where it was written, all of 30 people were written to again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backups import dump
from play import BUSY, Play, set_up
from test_accidents import MESSAGE, times_reached

from clento_engine.runtime import witness
from clento_engine.simulator.ledger import Effect
from clento_engine.store.database import Database

START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
PEOPLE = [f"person-{number}" for number in range(30)]
CONNECTED = {slug: {"connected_for": timedelta(days=100)} for slug in PEOPLE}

guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "CHECKED_S", 0.0)


async def play_of(
    database: Database,
    document: Mapping[str, Any],
    people: Mapping[str, Mapping[str, Any]] = CONNECTED,
    **values: Any,
) -> Play:
    return await set_up(
        database,
        document,
        slugs=list(people),
        start=START,
        pace=BUSY,
        hours="always",
        people=people,
        **values,
    )


async def forget_stamp(play: Play) -> None:
    """Have the database look as if it had never been stamped: nobody notices what it is."""
    async with play.database.connection() as conn:
        await conn.execute(
            "update database_stamp set stamped_at = null, table_oid = null, database_oid = null"
        )


@guard
async def test_a_backup_that_is_restored_in_mid_campaign_writes_to_nobody_again(
    database: Database, dsn: str, tmp_path: Path, is_on: bool
) -> None:
    play = await play_of(database, MESSAGE)
    await play.run(days=0.001)  # the first of them are being written to
    backup = dump(dsn, tmp_path)
    await play.run(days=1.5)
    before = times_reached(play, Effect.MESSAGE)
    assert before == dict.fromkeys(PEOPLE, 1)

    backup.restore()
    if not is_on:
        await forget_stamp(play)
    await play.run(days=2)

    if is_on:
        assert times_reached(play, Effect.MESSAGE) == before  # nothing is sent at all
        assert await play.rows("select quarantine_cause from database_stamp") == [
            {"quarantine_cause": "tables"}
        ]
    else:
        again = [slug for slug, times in times_reached(play, Effect.MESSAGE).items() if times == 2]
        assert len(again) >= len(PEOPLE) - 1  # one was open at the backup, and is asked about

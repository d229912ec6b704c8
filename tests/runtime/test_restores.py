"""Backups that are restored under a running campaign, judged by the simulator's own ledger.

Before the database knew where it was written, all of 30 people were written to again.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backups import dump
from play import BUSY, Play, set_up
from test_accidents import MESSAGE, TWO_MESSAGES, line, times_reached

from clento_engine.runtime import witness
from clento_engine.runtime.marks import Marks
from clento_engine.runtime.witness import _looks, remember_last
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.people import Chances
from clento_engine.simulator.world import Reliability
from clento_engine.store import words
from clento_engine.store.database import Database
from clento_engine.store.restored import Restored, heal

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


@guard
async def test_what_takes_its_stamp_back_with_it_is_known_by_what_the_host_remembers(
    database: Database, dsn: str, tmp_path: Path, is_on: bool
) -> None:
    """As a copy of the stopped data folder does: the same server, database and tables."""
    play = await play_of(database, MESSAGE)
    if is_on:
        play.world = replace(play.world, marks=Marks(tmp_path / "state"))
    await play.run(days=0.001)
    backup = dump(dsn, tmp_path)
    await play.run(days=1)
    await remember_last(play.world)
    before = times_reached(play, Effect.MESSAGE)

    backup.restore()
    await stamp_as_it_is(play)
    _looks.clear()  # another process
    await play.run(days=2)

    if is_on:
        assert times_reached(play, Effect.MESSAGE) == before
        assert await play.rows("select quarantine_cause from database_stamp") == [
            {"quarantine_cause": "ledger"}
        ]
        await healed(play)
        assert await play.run(days=10)
        assert times_reached(play, Effect.MESSAGE) == before
    else:
        assert times_reached(play, Effect.MESSAGE) != before


async def stamp_as_it_is(play: Play) -> None:
    async with play.database.connection() as conn:
        await conn.execute("update database_stamp set table_oid = tableoid::bigint")


@guard
async def test_a_message_in_a_nodes_words_that_the_ledger_lacks_is_noticed(
    database: Database,
    dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_on: bool,
) -> None:
    """A whole machine was taken back: its stamp fits, and what it remembered went back with it."""
    play = await play_of(database, LONG_MESSAGE)
    await play.run(days=0.001)
    backup = dump(dsn, tmp_path)
    await play.run(days=1)
    before = times_reached(play, Effect.MESSAGE)

    backup.restore()
    await stamp_as_it_is(play)
    if not is_on:
        monkeypatch.setattr(words, "SHORTEST", 10_000)
    await play.run(days=2)

    if is_on:
        assert times_reached(play, Effect.MESSAGE) == before
        assert await play.rows("select quarantine_cause from database_stamp") == [
            {"quarantine_cause": "words"}
        ]
        async with database.connection() as conn:
            await heal(conn, play.clock(), since=START)
        assert await play.run(days=10)
        assert times_reached(play, Effect.MESSAGE) == before
    else:
        assert times_reached(play, Effect.MESSAGE) != before


LONG_MESSAGE = line(
    (
        "send_followup",
        {"customMessage": "Hello {{first_name}}, may I ask how your team plans its outreach?"},
    )
)


async def healed(play: Play) -> Restored:
    """Do what an operator does after a restore."""
    async with play.database.connection() as conn:
        return await heal(conn, play.clock())


async def unhealthy(play: Play) -> list[dict[str, Any]]:
    """Return the walks that did not come to their end by themselves."""
    return await play.rows("select * from campaign_executions where outcome is null")


@guard
async def test_after_a_restore_leads_go_on_where_they_really_were(
    database: Database, dsn: str, tmp_path: Path, is_on: bool
) -> None:
    play = await play_of(database, TWO_MESSAGES)
    await play.run(days=0.02)
    backup = dump(dsn, tmp_path)
    await play.run(days=0.3)
    assert len(play.entries(Effect.MESSAGE)) > len(PEOPLE)

    backup.restore()
    await play.run(days=0.1)
    await healed(play)
    if not is_on:
        async with database.connection() as conn:
            await conn.execute("update campaign_executions set doubted_since = null")
    assert await play.run(days=30)

    once_each = times_reached(play, Effect.MESSAGE) == dict.fromkeys(PEOPLE, 2)
    assert once_each is is_on
    assert await unhealthy(play) == []
    assert (await play.verdict()).is_clean is is_on


TREE: dict[str, Any] = json.loads(
    (
        Path(__file__).parents[1] / "domain/test_editor_samples/02_accepted_not_accepted_tree.json"
    ).read_text(encoding="utf-8")
)


@pytest.mark.parametrize(("days", "lost_days"), [(0.34, 1.6), (3.3, 7)], ids=["early", "late"])
async def test_a_whole_campaign_goes_on_by_itself_after_a_restore(
    database: Database, dsn: str, tmp_path: Path, days: float, lost_days: float
) -> None:
    """Comments and invitations are lost, or acceptances, replies and messages."""
    play = await set_up(
        database,
        TREE,
        slugs=[f"person-{number:04}" for number in range(30)],
        start=START,
        senders=2,
        pace=BUSY,
        chances=Chances(),
        reliability=Reliability(),
    )
    await play.run(days=days)
    backup = dump(dsn, tmp_path)
    at_backup = len(play.entries())
    await play.run(days=lost_days)
    assert len(play.entries()) - at_backup > len(PEOPLE) / 2

    backup.restore()
    await play.run(days=0.1)
    await healed(play)
    assert await play.run(days=120)

    verdict = await play.verdict()
    assert verdict.is_clean, verdict
    assert await unhealthy(play) == []

"""A database that is not the one it was: how the stamp tells, and that no claim passes it."""

import asyncio

import pytest
from builders import NOW, VISIT, Conn, begun
from psycopg import AsyncConnection
from psycopg.errors import CheckViolation

from clento_engine.domain.operation import Operation
from clento_engine.domain.restore import Cause, Stamp, difference
from clento_engine.store import claim as claiming
from clento_engine.store.claim_statements import LOCK_LANES, READ_HEADS
from clento_engine.store.due import due
from clento_engine.store.stamp import (
    IS_QUARANTINED,
    quarantine,
    read_stamp,
    stamp_new,
    write_stamp,
)

HERE = Stamp(system_identifier=7, database_oid=5, table_oid=3, timeline=1)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (HERE, None),
        (Stamp(8, 5, 3, 1), Cause.SERVER),
        (Stamp(7, 6, 4, 1), Cause.DATABASE),
        (Stamp(7, 5, 4, 1), Cause.TABLES),
        (Stamp(7, 5, 3, 2), Cause.TIMELINE),
        (Stamp(None, 5, 3, None), None),
    ],
    ids=["the same", "server", "database", "tables", "timeline", "untold"],
)
def test_what_differs_is_told(found: Stamp, cause: Cause | None) -> None:
    assert difference(HERE, found) is cause


async def test_a_database_is_stamped_once(conn: Conn) -> None:
    await stamp_new(conn)
    stamped = await read_stamp(conn)
    assert stamped.stamp == stamped.found
    assert stamped.found.system_identifier is not None
    assert stamped.found.timeline is not None
    assert not await write_stamp(conn, HERE)


async def test_a_row_that_a_hand_deleted_comes_back(conn: Conn) -> None:
    await conn.execute("delete from database_stamp")
    await stamp_new(conn)
    assert (await read_stamp(conn)).stamp is not None


async def test_nothing_is_claimed_nor_due_where_the_tables_were_made_anew(conn: Conn) -> None:
    """Nobody has looked at the stamp yet: the claim sees it by itself."""
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await stamp_new(conn)
    await conn.execute("update database_stamp set table_oid = table_oid + 1")
    found = await due(conn)
    assert (found.lanes, found.doubtful, found.sweep, found.outbox) == (None, None, None, None)
    assert await stage.claim() == []
    await conn.execute("update database_stamp set table_oid = table_oid - 1")
    assert len(await stage.claim()) > 0


@pytest.mark.direct
async def test_a_quarantine_waits_for_the_claims_that_are_open_and_lets_no_other_commit(
    conn: Conn, dsn: str
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=2)
    async with (
        await AsyncConnection.connect(dsn, autocommit=True) as one,
        await AsyncConnection.connect(dsn, autocommit=True) as other,
    ):
        async with one.transaction():
            assert len(await stage.claim(1, conn=one)) == 1
            quarantining = asyncio.create_task(quarantine(other, Cause.LEDGER, NOW))
            await until_it_waits(conn)
            assert await stage.claim() == []  # not waited for, and nothing taken
            assert not quarantining.done()
        assert await quarantining
    assert await stage.claim() == []


async def until_it_waits(conn: Conn) -> None:
    """Return once somebody waits for an advisory lock."""
    query = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    while (await (await conn.execute(query)).fetchone()) != (1,):
        pass


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
async def test_a_claim_that_locked_before_it_saw_the_quarantine_takes_nothing(
    conn: Conn, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """Its first statement's snapshot is from before: the second one's is not."""
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    lanes = await stage.rows("select operation, ready_at from lanes order by operation")
    await quarantine(conn, Cause.LEDGER, NOW)
    blind = LOCK_LANES.replace(f"and not {IS_QUARANTINED}", "")
    assert blind != LOCK_LANES
    monkeypatch.setattr(claiming, "LOCK_LANES", blind)
    if not is_on:
        heads = READ_HEADS.replace(f"{IS_QUARANTINED} as", "false as")
        monkeypatch.setattr(claiming, "READ_HEADS", heads)
    assert (await stage.claim() == []) is is_on
    after = await stage.rows("select operation, ready_at from lanes order by operation")
    assert (after == lanes) is is_on


async def test_a_quarantine_has_a_cause(conn: Conn) -> None:
    with pytest.raises(CheckViolation):
        await conn.execute("update database_stamp set quarantined_at = now()")

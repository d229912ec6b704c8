"""The rows that are of the whole database: whoever stops over one of them stops nobody."""

from datetime import timedelta

import pytest
from builders import NOW, Conn, set_stage, workflow
from psycopg import AsyncConnection
from psycopg.errors import CheckViolation, LockNotAvailable

from clento_engine.domain.failure import SILENCES_IN_A_ROW
from clento_engine.domain.operation import Operation
from clento_engine.domain.workflow import Node
from clento_engine.store.database import Database
from clento_engine.store.inbox import route_webhook
from clento_engine.store.installation import binding, stamp
from clento_engine.store.rests import FIRST_REST, mend_rest, note_silence, rest, take_probe, wake_up

DSN = "https://api1.unipile.com:13111"


async def work_beside(conn: Conn) -> None:
    """Write all that is of the whole database; raises where one would wait for another."""
    await conn.execute("set lock_timeout = '50ms'")
    assert (await stamp(conn, DSN, is_simulated=False, now=NOW)).dsn == DSN
    await note_silence(conn, 1, "no answer", NOW)
    await wake_up(conn)
    payload = {"event": "message_received", "account_id": "nobody", "message_id": "m"}
    assert await route_webhook(conn, "nobody", "k", payload, NOW, recipient=None) is None


@pytest.mark.direct
async def test_a_process_that_stopped_while_it_bound_an_account_stops_nobody(
    conn: Conn, database: Database
) -> None:
    await set_stage(conn, workflow([Node("n", Operation.PROFILE_VISIT)]))
    await stamp(conn, DSN, is_simulated=False, now=NOW)
    async with database.transaction() as stopped:
        await stamp(stopped, DSN, is_simulated=False, now=NOW)
        async with database.connection() as other:
            await work_beside(other)


@pytest.mark.direct
async def test_a_process_that_stopped_while_it_settled_stops_nobody(
    conn: Conn, database: Database
) -> None:
    await stamp(conn, DSN, is_simulated=False, now=NOW)
    async with database.transaction() as stopped:
        await note_silence(stopped, 1, "no answer", NOW)
        async with database.connection() as other:
            await work_beside(other)


@pytest.mark.direct
async def test_who_binds_keeps_the_provider_from_being_moved(
    conn: Conn, database: Database
) -> None:
    """What an account was looked up at is what the database is bound to when that is written."""
    await stamp(conn, DSN, is_simulated=False, now=NOW)
    async with database.transaction() as binder:
        await stamp(binder, DSN, is_simulated=False, now=NOW)
        async with database.connection() as other:
            await other.execute("set lock_timeout = '50ms'")
            with pytest.raises(LockNotAvailable):
                await other.execute("update installation set provider_dsn = 'https://other'")
    bound = await binding(conn)
    assert bound is not None
    assert bound.dsn == DSN


async def test_three_answers_in_a_row_open_a_rest_and_a_success_begins_anew(
    conn: AsyncConnection[object],
) -> None:
    for _ in range(SILENCES_IN_A_ROW - 1):
        assert await note_silence(conn, 1, "no answer", NOW) is None
    await wake_up(conn)
    for _ in range(SILENCES_IN_A_ROW - 1):
        assert await note_silence(conn, 1, "no answer", NOW) is None
    opened = await note_silence(conn, 1, "no answer", NOW)
    assert opened is not None
    assert opened.until == NOW + FIRST_REST
    await wake_up(conn)  # of a step that was under way: the rest goes on, the next is no longer
    found = await rest(conn)
    assert found is not None
    assert (found.until, found.failures) == (NOW + FIRST_REST, 0)


async def test_a_row_that_somebody_deleted_comes_back(conn: Conn) -> None:
    await conn.execute("delete from provider_rest")
    for _ in range(SILENCES_IN_A_ROW + 1):  # the first of them makes it
        await note_silence(conn, 1, "no answer", NOW)
    assert await rest(conn) is not None


async def test_a_rest_that_a_wrong_clock_made_ends(conn: Conn) -> None:
    ahead = NOW + timedelta(days=365)
    for _ in range(SILENCES_IN_A_ROW):
        await note_silence(conn, 1, "no answer", ahead)
    assert await take_probe(conn, NOW) is None
    assert await mend_rest(conn, NOW)
    assert await take_probe(conn, NOW) is not None
    assert not await mend_rest(conn, NOW)  # one of today is left alone


@pytest.mark.parametrize(
    "edit",
    [
        "update provider_rest set since = now(), until = 'infinity', reason = 'x'",
        "update provider_rest set failures = -5",
        "update provider_rest set silences = -1",
    ],
)
async def test_what_nobody_can_read_is_kept_out_of_the_rest(conn: Conn, edit: str) -> None:
    with pytest.raises(CheckViolation):
        await conn.execute(edit.encode())

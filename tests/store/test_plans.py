"""Plans: a session's statements are planned anew while the tables grow under them."""

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL

from clento_engine.store.database import Conn, Database
from clento_engine.store.plans import refresh

STRANGER = "00000000-0000-0000-0000-000000000000"


@pytest.mark.direct
async def test_a_plan_of_an_empty_table_is_given_up_when_the_table_has_grown(dsn: str) -> None:
    by_size = make_conninfo(dsn, options="-c enable_seqscan=on")  # and by nothing else
    async with Database(by_size) as database, database.connection() as conn:
        await conn.execute("analyze events")
        await conn.execute(
            "prepare history as select from events where organization_id = $1 and subject_id = $2"
        )
        assert "Seq Scan" in await plan(conn)
        await conn.execute(
            "insert into events (organization_id, subject_id, at, kind, actor)"
            " select gen_random_uuid(), gen_random_uuid(), now(), 'Began', 'test'"
            "   from generate_series(1, 5000)"
        )
        assert "Seq Scan" in await plan(conn), "what is tested has been mended by others"
        await refresh(conn)
        assert "events_pkey" in await plan(conn)


async def plan(conn: Conn) -> str:
    told = SQL("explain execute history ({0}, {0})").format(STRANGER)
    return "\n".join(row[0] for row in await (await conn.execute(told)).fetchall())

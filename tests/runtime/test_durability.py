"""Every write of a whole campaign is on the disk when it is answered, whatever a session is set to.

The witness is a trigger on each table: it notes under which settings the table was written.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from play import BUSY, Play, set_up
from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.rows import TupleRow

from clento_engine.simulator.faults import Rule
from clento_engine.simulator.people import Chances
from clento_engine.simulator.world import Reliability
from clento_engine.store.database import Database

DOCUMENT: dict[str, Any] = json.loads(
    (
        Path(__file__).parents[1] / "domain/test_editor_samples/02_accepted_not_accepted_tree.json"
    ).read_text(encoding="utf-8")
)
START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
HOSTILE = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "statement_timeout": "50ms",
    "lock_timeout": "50ms",
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "on",
}
PINNED = {
    "synchronous_commit": "on",
    "transaction_isolation": "read committed",
    "statement_timeout": "1min",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
}
# what a campaign in which people answer, and answers are lost, writes
WRITTEN = {
    "actions",
    "campaign_executions",
    "campaign_moves",
    "campaigns",
    "connected_accounts",
    "contacts",
    "events",
    "inbox_events",
    "lanes",
    "rate_counters",
}


class Pooled(Database):
    """Lends each connection as another client of a pooler left it."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        async with super().connection() as conn:
            plain = AsyncCursor(conn)
            for name, value in HOSTILE.items():
                await plain.execute("select set_config(%s, %s, false)", (name, value))
            yield conn


def watch(dsn: str) -> None:
    """Have every table note under which settings it is written."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        tables = conn.execute(
            "select relname from pg_class where relkind in ('r', 'p')"
            " and relnamespace = 'clento'::regnamespace"
        ).fetchall()
        asked = ", ".join(f"'{name}', current_setting('{name}')" for name in PINNED)
        conn.execute(
            "create table witness (of_table text, settings jsonb, unique (of_table, settings))"
        )
        conn.execute(
            sql.SQL(
                "create function witness() returns trigger language plpgsql as $$ begin"
                " insert into witness values (tg_table_name, jsonb_build_object({}))"
                " on conflict do nothing; return null; end $$"
            ).format(sql.SQL(asked))
        )
        for (table,) in tables:
            conn.execute(
                sql.SQL(
                    "create trigger witness after insert or update or delete on {}"
                    " for each statement execute function witness()"
                ).format(sql.Identifier(table))
            )


async def whole_campaign(database: Database) -> Play:
    play = await set_up(
        database,
        DOCUMENT,
        start=START,
        slugs=[f"person-{number}" for number in range(8)],
        pace=BUSY,
        chances=Chances(),
        reliability=Reliability(),
    )
    for after in (False, True):
        rule = {"kind": "reset", "route": "POST *", "share": 0.3, "after_effect": after}
        play.simulated.faults.rules.append(Rule.parse(rule))
    assert await play.run(days=120)
    verdict = await play.verdict()
    assert verdict.is_clean, verdict
    return play


async def test_every_write_has_our_settings_though_a_pooler_lends_another_s_session(
    dsn: str,
) -> None:
    watch(dsn)
    async with Pooled(dsn) as database:
        play = await whole_campaign(database)
        await judge(play)


async def test_every_write_has_our_settings_though_role_and_database_have_others(
    dsn: str,
) -> None:
    watch(dsn)
    with psycopg.connect(dsn, autocommit=True) as conn:
        for setting, value in HOSTILE.items():
            for whose in ("database {}", "role current_user in database {}"):
                words = sql.SQL(f"alter {whose} set {{}} = {{}}").format(
                    sql.Identifier(conn.info.dbname), sql.Identifier(setting), value
                )
                conn.execute(words)
    async with Database(dsn) as database:
        play = await whole_campaign(database)
        await judge(play)


async def judge(play: Play) -> None:
    rows = await play.rows("select * from witness")
    assert {row["of_table"] for row in rows} >= WRITTEN
    for row in rows:
        assert row["settings"] == PINNED, row["of_table"]

"""The migrations make exactly the schema that store/tables.py describes."""

import threading

from sqlalchemy import Column, MetaData, Table, Text

from clento_engine.store import migrate
from clento_engine.store.database import Database, connect, newest_revision, schema_revision
from clento_engine.store.tables import metadata


def test_a_migrated_database_is_what_tables_py_describes(dsn: str) -> None:
    assert migrate.check(dsn) == []


def test_there_is_one_newest_revision_and_its_file_is_named_after_it() -> None:
    assert migrate.heads() == [newest_revision()]


def test_upgrading_an_empty_database_applies_everything_and_again_nothing(empty_dsn: str) -> None:
    assert migrate.current(empty_dsn) is None
    applied = migrate.upgrade(empty_dsn)
    assert applied[0] == "0001"
    assert applied[-1] == newest_revision()
    assert migrate.upgrade(empty_dsn) == []
    assert migrate.current(empty_dsn) == newest_revision()


def test_of_two_upgrades_at_once_one_works_and_the_other_finds_nothing_to_do(
    empty_dsn: str,
) -> None:
    both_ready = threading.Barrier(2)
    applied: list[list[str]] = []

    def upgrade() -> None:
        both_ready.wait()
        applied.append(migrate.upgrade(empty_dsn))

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, applied)) == [False, True]


def test_an_upgrade_waits_for_the_one_under_way(empty_dsn: str) -> None:
    """Staged: the lock is held by a connection of the test until the upgrade has asked for it."""
    asked = threading.Event()
    released = threading.Event()
    applied: list[str] = []

    def wait(_: object) -> float:
        asked.set()
        assert released.wait(timeout=30)
        return 0

    def upgrade() -> None:
        applied.extend(migrate.upgrade(empty_dsn, wait=wait))

    with connect(empty_dsn) as other:
        other.execute("select pg_advisory_lock(%s)", (migrate.UPGRADE_LOCK,))
        upgrading = threading.Thread(target=upgrade)
        upgrading.start()
        assert asked.wait(timeout=30)
        assert migrate.current(empty_dsn) is None
    released.set()
    upgrading.join()
    assert applied[-1] == newest_revision()


def test_every_kind_of_difference_is_told(dsn: str) -> None:
    planted = {
        "create table strangers (id int primary key)": "table strangers: only in the database",
        "alter table lanes set (fillfactor = 17)": "table lanes: the database has fillfactor=17",
        "alter table leads add mood text": "column leads.mood: only in the database (text)",
        "alter table lanes drop active cascade": "column lanes.active: missing in the database",
        "alter table campaigns alter name type varchar(20)": (
            "column campaigns.name: the database has character varying(20) not null, "
            "tables.py says text not null"
        ),
        "alter table organizations alter name drop not null": (
            "column organizations.name: the database has text, tables.py says text not null"
        ),
        "alter table api_keys alter name set default 'x'": (
            "column api_keys.name: the database has text not null default 'x'::text"
        ),
        "alter table leads add constraint short check (id is not null) not valid": (
            "constraint leads.short: only in the database (CHECK ((id IS NOT NULL)) NOT VALID)"
        ),
        "alter table api_keys drop constraint api_keys_key_hash_key": (
            "constraint api_keys.api_keys_key_hash_key: missing in the database (UNIQUE"
        ),
        "create index extra on campaigns (name) where name <> ''": (
            "index extra: only in the database"
        ),
        # the same index but for its predicate
        "drop index actions_check; create index actions_check on actions (check_at)": (
            "index actions_check: the database has"
        ),
    }
    with connect(dsn) as conn:
        for change in planted:
            conn.execute(change)
    told = migrate.check(dsn)
    for expected in planted.values():
        assert any(line.startswith(expected) for line in told), (expected, told)


def test_a_table_only_in_tables_py_is_told(dsn: str) -> None:
    expected = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(expected)
    Table("forgotten", expected, Column("id", Text, primary_key=True))
    told = [line for line in migrate.check(dsn, expected) if "forgotten" in line]
    assert told == [
        "column forgotten.id: missing in the database (text not null)",
        "constraint forgotten.forgotten_pkey: missing in the database (PRIMARY KEY (id))",
        "table forgotten: missing in the database",
    ]


async def test_the_code_knows_which_revision_a_database_is_at(
    database: Database, empty_dsn: str
) -> None:
    async with database.connection() as conn:
        assert await schema_revision(conn) == newest_revision()
    async with Database(empty_dsn) as empty, empty.connection() as conn:
        assert await schema_revision(conn) is None

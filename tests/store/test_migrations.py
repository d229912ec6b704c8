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


# An execution, its open action, and one that was settled before: nothing else of 0006 is moved.
OF_0006 = """
alter table campaign_executions
    drop constraint campaign_executions_leads_fkey,
    drop constraint campaign_executions_campaigns_fkey,
    drop constraint campaign_executions_connected_accounts_fkey,
    drop constraint campaign_executions_workflow_versions_fkey;
insert into campaign_executions (organization_id, campaign_id, lead_id, account_id,
       workflow_version_id, status, node_id, operation, next_run_at)
select id, id, id, id, id, 'waiting', 'n0', 'send_followup', now()
  from (select gen_random_uuid() as id) e;
insert into actions (organization_id, id, campaign_id, lead_id, account_id, node_id, operation,
       budgets, bucket_at, state, token, check_at, checks, target, text, intended_at, settled_at)
select e.organization_id, gen_random_uuid(), e.campaign_id, e.lead_id, e.account_id, 'n0',
       'send_followup', '{message}', now(), a.state, gen_random_uuid(), a.check_at, a.checks,
       a.target, 'Hello', now(), a.settled_at
  from campaign_executions e,
       (values ('unknown', now(), 3, 'two', null), ('done', null, 0, 'one', now()))
         a(state, check_at, checks, target, settled_at);
insert into events (organization_id, subject_id, campaign_id, at, kind, actor, node_id, result)
select organization_id, lead_id, campaign_id, now(), 'Done', 'ticker', 'n0', 'done'
  from campaign_executions
"""


def test_the_ledger_of_a_database_under_way_is_kept(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0006")
    with connect(empty_dsn) as conn:
        conn.execute(OF_0006)
        kept = (
            "select organization_id, campaign_id, lead_id, account_id, node_id, operation, budgets,"
            " bucket_at, state, token, check_at, checks, target, text, intended_at, settled_at"
            " from actions order by target"
        )
        before = conn.execute(kept).fetchall()

        migrate.upgrade(empty_dsn)

        assert conn.execute(kept).fetchall() == before
        assert len(before) == 2
        numbered = "select state from actions where number is not null and kind is null"
        assert conn.execute(numbered).fetchall() == [("done",)]
        assert conn.execute("select kind, node_id from history").fetchall() == [("Done", "n0")]
        [(lane,)] = conn.execute("select lane from campaign_executions").fetchall()
        assert lane is not None


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
        "drop index actions_settled; create unique index actions_settled on actions"
        " (organization_id, lead_id, number)": "index actions_settled: the database has",
        "alter table actions replica identity nothing": "table actions: the database has",
        "create or replace view history as select * from events": (
            "view history: the database has"
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

"""The migrations make exactly the schema that store/tables.py describes."""

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest
from sqlalchemy import Column, MetaData, Table, Text

from clento_engine.runtime.clock import system_clock
from clento_engine.runtime.heartbeat import Heartbeat
from clento_engine.runtime.world import World
from clento_engine.store import migrate
from clento_engine.store.database import Database, connect
from clento_engine.store.errors import SchemaAhead, TickersAlive
from clento_engine.store.schema import migrations_folder, newest_revision, schema_revision
from clento_engine.store.tables import metadata
from clento_engine.store.tickers import tickers

pytestmark = pytest.mark.direct


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
insert into organizations (id, name) select lead_id, 'Org' from campaign_executions;
insert into lead_lists (organization_id, id, name) select id, id, 'l' from organizations;
insert into leads (organization_id, id, list_id, identity, public_identifier, row_number)
select id, id, id, 'ada', 'ada', 1 from organizations;
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


# Four organisations; u-1 is in two of them, m-3 under two of Unipile's accounts in one.
OF_0007 = """
insert into organizations (id, name)
select ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'Org ' || n from generate_series(1, 4) n;
insert into connected_accounts (organization_id, id, unipile_account_id, name, tier, time_zone,
       provider_id, warmup_days, spacing_shortest, spacing_longest, next_free_at, status, paused_by)
select ('00000000-0000-0000-0000-00000000000' || o)::uuid,
       ('00000000-0000-0000-0000-0000000000a' || n)::uuid, u, 'Account ' || n, 'premium', 'UTC',
       m, 0, '0', '0', '2026-03-01Z'::timestamptz + n * interval '1 day', s,
       case s when 'paused' then 'operator' end
  from (values (1, 1, 'u-1', 'm-1', 'active'), (2, 2, 'u-1', null, 'active'),
               (3, 3, 'u-3', 'm-3', 'paused'), (3, 4, 'u-4', 'm-3', 'active'),
               (3, 5, 'u-5', 'm-5', 'active'), (4, 6, 'u-6', null, 'active')) v(o, n, u, m, s);
insert into rate_limits (organization_id, account_id, operation, spacing_shortest, spacing_longest)
select organization_id, id, 'invitation', '0', '0' from connected_accounts;
insert into workflow_versions (organization_id, id, name, version, document, compiled)
select id, id, 'w', 1, '{}', '{}' from organizations;
insert into lead_lists (organization_id, id, name) select id, id, 'l' from organizations;
insert into campaigns (organization_id, id, name, status, started_at, workflow_version_id, list_id,
       working_hours, max_duration, max_concurrent_leads, lead_processing_delay)
select id, id, 'c', 'running', now(), id, id, 'always', '30 days', 1, '0' from organizations;
insert into lanes (organization_id, campaign_id, account_id, operation, budget, active)
select organization_id, organization_id, id, 'send_connection_request', 'invitation',
       status = 'active'
  from connected_accounts;
insert into rate_counters (organization_id, account_id, operation, bucket_at, used)
select organization_id, id, 'invitation', b::timestamptz, 10 + right(name, 1)::int
  from connected_accounts, unnest('{2026-03-01Z,2026-03-02Z}'::text[]) b
 where name <> 'Account 2' or b = '2026-03-02Z';
insert into inbox_events (organization_id, key, payload, received_at)
select id, k, p::jsonb, now()
  from organizations, (values ('a', '{"account_id": "u-5"}'), ('b', '{"account_id": "u-1"}'),
       ('c', '{"AccountStatus": {"account_id": "u-6"}}'), ('d', '{"account_id": "nobody"}'),
       ('e', '[1]')) v(k, p)
"""


def test_accounts_that_are_there_twice_are_paused_and_listed_and_carry_what_all_did(
    empty_dsn: str,
) -> None:
    migrate.upgrade(empty_dsn, "0007")
    notes: list[str] = []
    with connect(empty_dsn) as conn:
        conn.execute(OF_0007)

        migrate.upgrade(empty_dsn, say=notes.append)

        accounts = conn.execute(
            "select right(name, 1)::int, status, paused_by, provider_id, next_free_at,"
            " pause_reason like 'connected more than once%' from connected_accounts order by 1"
        ).fetchall()
        day = [datetime(2026, 3, 1 + n, tzinfo=UTC) for n in range(7)]
        assert accounts == [
            (1, "paused", "operator", None, day[2], True),
            (2, "paused", "operator", None, day[2], True),
            (3, "paused", "operator", None, day[4], True),
            (4, "paused", "operator", None, day[4], True),
            (5, "active", None, "m-5", day[5], None),
            (6, "paused", "provider", None, day[6], False),
        ]
        used = conn.execute(
            "select right(a.name, 1)::int, n.used from rate_counters n"
            " join connected_accounts a on a.id = n.account_id order by 1, n.bucket_at"
        ).fetchall()
        assert used == [
            *((1, 11), (1, 23), (2, 11), (2, 23)),
            *((3, 27), (3, 27), (4, 27), (4, 27), (5, 15), (5, 15), (6, 16), (6, 16)),
        ]
        held = "select member_id, unipile_account_id, account_id::text from provider_accounts"
        assert conn.execute(held).fetchall() == [
            ("m-5", "u-5", "00000000-0000-0000-0000-0000000000a5")
        ]
        active = (
            "select a.name from lanes l join connected_accounts a on a.id = l.account_id"
            " where l.active"
        )
        assert conn.execute(active).fetchall() == [("Account 5",)]
        asked_at_once = "select name from connected_accounts where next_sweep_at < '2000-01-01'"
        assert conn.execute(asked_at_once).fetchall() == [("Account 6",)]
    listed = [line.strip() for line in notes if line.startswith("  ")]
    assert listed == [
        "Account 1 (u-1) of Org 1",
        "Account 2 (u-1) of Org 2",
        "Account 3 (u-3) of Org 3",
        "Account 4 (u-4) of Org 3",
    ]


def test_webhooks_that_were_stored_for_others_than_the_accounts_owner_are_deleted(
    empty_dsn: str,
) -> None:
    migrate.upgrade(empty_dsn, "0007")
    notes: list[str] = []
    with connect(empty_dsn) as conn:
        conn.execute(OF_0007)

        migrate.upgrade(empty_dsn, say=notes.append)

        left = conn.execute(
            "select right(o.name, 1) || i.key from inbox_events i"
            " join organizations o on o.id = i.organization_id order by 1"
        ).fetchall()
    unknown = [f"{organization}{key}" for organization in range(1, 5) for key in "de"]
    assert [row[0] for row in left] == sorted(["3a", "1b", "2b", "4c", *unknown])
    assert notes[0].startswith("8 webhooks deleted")


def test_an_upgrade_of_thousands_of_stray_webhooks_goes_by_batches(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0007")
    with connect(empty_dsn) as conn:
        conn.execute(OF_0007)
        conn.execute(
            "insert into inbox_events (organization_id, key, payload, received_at)"
            ' select id, n::text, \'{"account_id": "u-5"}\', now()'
            " from organizations, generate_series(1, 12000) n where name in ('Org 2', 'Org 3')"
        )
        migrate.upgrade(empty_dsn)
        assert conn.execute("select count(*) from inbox_events").fetchall() == [(12_000 + 12,)]


# As versions before 0.1.0 compared: by `lower()` on a database of Turkish, and on one of C.
OF_0018 = """
insert into organizations (id, name)
select gen_random_uuid(), n from unnest('{Acme,Bolt}'::text[]) n;
insert into lead_lists (organization_id, id, name) select id, id, 'l' from organizations;
insert into leads (organization_id, id, list_id, identity, public_identifier, row_number, email,
       company)
select o.id, gen_random_uuid(), o.id, 'p-' || n, 'p-' || n, n, e, c
  from organizations o, (values (1, 'ida@xn--ko-eka.example', null), (2, null, 'ÖKO  Häuser'),
       (3, null, null), (4, 'Ida@Ikea.example', '')) v(n, e, c);
insert into suppressions (organization_id, kind, value, reason, expires_at, created_at)
select o.id, k, v, r, x::timestamptz, c::timestamptz
  from organizations o, (values
       ('company', 'ıkea', 'newer', '2027-01-01Z', '2026-02-02Z'),
       ('company', 'ikea', 'older', '2026-06-01Z', '2026-02-01Z'),
       ('company', 'Öko  hÄuser', 'first', '2027-01-01Z', '2026-02-03Z'),
       ('company', 'öko häuser', 'second', null, '2026-02-04Z'),
       ('domain', 'xn--ko-eka.example', 'a', null, '2026-02-05Z'),
       ('domain', 'what it is', 'b', null, '2026-02-06Z'),
       ('email', 'ida@ikea.example', 'c', null, '2026-02-07Z'),
       ('person', 'ACoAAB1', 'd', null, '2026-02-08Z')) v(k, v, r, x, c)
 where o.name = 'Acme' or v.r in ('newer', 'c')
"""


def test_what_was_suppressed_is_spelt_anew_and_what_is_the_same_is_one(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0018")
    notes: list[str] = []
    with connect(empty_dsn) as conn:
        conn.execute(OF_0018)

        migrate.upgrade(empty_dsn, say=notes.append)

        found = conn.execute(
            "select o.name, s.kind, s.value, s.reason, s.expires_at::text, s.created_at::date::text"
            " from suppressions s join organizations o on o.id = s.organization_id"
            " order by o.name, s.created_at"
        ).fetchall()
        keys = "select email, email_key, company, company_key from leads order by row_number"
        leads = conn.execute(keys).fetchall()
    assert found == [
        ("Acme", "company", "ikea", "older", "2027-01-01 00:00:00+00", "2026-02-01"),
        ("Acme", "company", "öko häuser", "first", None, "2026-02-03"),
        ("Acme", "domain", "öko.example", "a", None, "2026-02-05"),
        ("Acme", "domain", "what it is", "b", None, "2026-02-06"),
        ("Acme", "email", "ida@ikea.example", "c", None, "2026-02-07"),
        ("Acme", "person", "ACoAAB1", "d", None, "2026-02-08"),
        ("Bolt", "company", "ikea", "newer", "2027-01-01 00:00:00+00", "2026-02-02"),
        ("Bolt", "email", "ida@ikea.example", "c", None, "2026-02-07"),
    ]
    assert leads[::2] == [
        ("ida@xn--ko-eka.example", "ida@öko.example", None, None),
        (None, None, "ÖKO  Häuser", "öko häuser"),
        (None, None, None, None),
        ("Ida@Ikea.example", "ida@ikea.example", "", ""),
    ]
    assert notes == ["2 suppressions were of the same as an older one, and are one with it now"]


def test_the_keys_of_many_leads_are_written_by_batches(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0018")
    with connect(empty_dsn) as conn:
        conn.execute(OF_0018)
        conn.execute(
            "insert into leads (organization_id, id, list_id, identity, public_identifier, company,"
            " row_number) select id, gen_random_uuid(), id, 'm-' || n, 'm-' || n, 'Öko ' || n, n"
            " from organizations, generate_series(1, 6000) n"
        )
        migrate.upgrade(empty_dsn)
        written = "select count(*) from leads where company_key = 'öko ' || row_number"
        assert conn.execute(written).fetchall() == [(12_000,)]


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


# Of 0018: one member listed by slug, by id, and by another id that is known to be the same; and a
# slug that two members had.  Two accounts act; the first two leads were reached at one node.
PEOPLE_OF_0018 = """
alter table campaign_executions
    drop constraint campaign_executions_leads_fkey,
    drop constraint campaign_executions_campaigns_fkey,
    drop constraint campaign_executions_connected_accounts_fkey,
    drop constraint campaign_executions_workflow_versions_fkey;
create function pg_temp.uid(kind text, name text) returns uuid language sql
    return md5(kind || name)::uuid;
insert into organizations (id, name) values (pg_temp.uid('o', ''), 'Org');
insert into lead_lists (organization_id, id, name)
select pg_temp.uid('o', ''), pg_temp.uid('l', n::text), 'list ' || n from generate_series(1, 2) n;
insert into leads (organization_id, id, list_id, identity, public_identifier, provider_id,
       row_number, created_at)
select pg_temp.uid('o', ''), pg_temp.uid('lead', name), pg_temp.uid('l', list::text),
       coalesce(slug, id), slug, id, row_number() over (), now()
  from (values ('slug', 1, 'ada', null), ('id', 2, null, 'ACoAA1'), ('sales', 1, null, 'ADoAA2'),
               ('both', 2, 'bert', 'ACoAA3'), ('given', 1, 'bert', 'ACoAA4'),
               ('nobody', 1, 'cleo', null), ('again', 2, 'cleo', null)) v(name, list, slug, id);
insert into campaign_executions (organization_id, campaign_id, lead_id, account_id,
       workflow_version_id, status, node_id, operation, next_run_at, provider_id)
select organization_id, pg_temp.uid('c', ''), id, pg_temp.uid('a', '1'), id, 'waiting', 'n1',
       'send_followup', now(), case identity when 'ada' then 'ACoAA1' end
  from leads where list_id = pg_temp.uid('l', '1');
insert into contacts (organization_id, account_id, lead_id, provider_id, chat_id, connected_at,
       replied_at)
select pg_temp.uid('o', ''), pg_temp.uid('a', account), pg_temp.uid('lead', lead), id, chat,
       at::timestamptz, at::timestamptz
  from (values ('1', 'slug', 'ACoAA1', 'chat', '2026-03-01Z'),
               ('1', 'id', 'ACoAA1', null, '2026-03-02Z'),
               ('2', 'slug', 'ADoAA2', null, null)) v(account, lead, id, chat, at);
insert into actions (organization_id, campaign_id, lead_id, account_id, node_id, operation, budgets,
       bucket_at, state, token, target, text, intended_at, settled_at, number)
select pg_temp.uid('o', ''), pg_temp.uid('c', ''), pg_temp.uid('lead', lead),
       pg_temp.uid('a', '1'), 'n0', operation, '{message}', now(), 'done', gen_random_uuid(), 'x',
       'Hello', at::timestamptz, at::timestamptz, nextval('events_id_seq')
  from (values ('slug', 'send_followup', '2026-03-02Z'), ('id', 'send_followup', '2026-03-01Z'),
               ('id', 'profile_visit', '2026-03-01Z'), ('both', 'send_followup', '2026-03-01Z'))
         v(lead, operation, at)
"""


def test_who_is_the_same_is_one_person_from_the_start(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0018")
    with connect(empty_dsn) as conn:
        conn.execute(PEOPLE_OF_0018)

        migrate.upgrade(empty_dsn)

        named = conn.execute(
            "select array_agg(name order by name) from person_names group by person_id order by 1"
        ).fetchall()
        assert [row[0] for row in named] == [
            ["ACoAA1", "ADoAA2", "ada"],
            ["ACoAA3"],
            ["ACoAA4", "bert"],
            ["cleo"],
        ]
        leads = conn.execute(
            "select count(*)::int, count(distinct person_id)::int from leads"
        ).fetchone()
        assert leads == (7, 4)
        reached = conn.execute(
            "select l.identity, a.operation, a.twin, a.person_id = l.person_id from actions a"
            " join leads l on l.id = a.lead_id order by 1, 2"
        ).fetchall()
        assert reached == [
            ("ACoAA1", "profile_visit", 0, None),
            ("ACoAA1", "send_followup", 0, True),
            ("ada", "send_followup", 1, True),
            ("bert", "send_followup", 0, True),
        ]
        known = conn.execute(
            "select provider_id, chat_id, connected_at, replied_at from contacts order by 1"
        ).fetchall()
        first, second = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
        assert known == [("ACoAA1", "chat", first, second), ("ADoAA2", None, None, None)]
        assert conn.execute("select * from invariants.people").fetchall() == []


# --- beside tickers ------------------------------------------------------------------------------

LATER = "9999"
A_LATER_ONE = f"""
revision, down_revision = "{LATER}", "{newest_revision()}"


def upgrade() -> None:
    pass
"""


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a newer revision than that of the tests' databases."""
    folder = tmp_path / "migrations"
    copytree(migrations_folder(), folder)
    (folder / "versions" / f"{LATER}_later.py").write_text(A_LATER_ONE)
    monkeypatch.setattr(migrate, "migrations_folder", lambda: folder)


BEAT = """
insert into tickers (host, kind, pid, version, started_at, seen_at)
values ('far-away', %s, %s, '0', now() - interval '1 day', now() - %s)
"""


async def refused(dsn: str) -> str:
    """Return why an upgrade of `dsn` is refused; nothing is applied."""
    before = migrate.current(dsn)
    with pytest.raises(TickersAlive) as refusal:
        await asyncio.to_thread(migrate.upgrade, dsn)
    assert migrate.current(dsn) == before
    return str(refusal.value)


@pytest.mark.parametrize("name", ["", "&application_name=outreach"])
async def test_a_schema_is_not_upgraded_beside_a_session_of_a_ticker(
    empty_dsn: str, name: str
) -> None:
    dsn = empty_dsn + name if "?" in empty_dsn else empty_dsn + name.replace("&", "?")
    async with Database(dsn):  # an empty one has no ticker that could know it
        await asyncio.to_thread(migrate.upgrade, dsn, "0012")
    async with Database(dsn) as ticker, ticker.connection() as conn:
        said = await refused(dsn)
        assert f"backend {conn.info.backend_pid}" in said
        assert ("outreach" if name else "clento") in said
    assert migrate.upgrade(dsn)[-1] == newest_revision()
    async with Database(dsn):
        assert await asyncio.to_thread(migrate.upgrade, dsn) == []  # nothing is to do


async def test_whoever_knows_that_tickers_have_ended_may_say_so(empty_dsn: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_dsn, "0012")
    async with Database(empty_dsn):
        await refused(empty_dsn)
        upgrade = partial(migrate.upgrade, empty_dsn, tickers_have_ended=True)
        assert (await asyncio.to_thread(upgrade))[-1] == newest_revision()


def test_without_the_look_a_schema_is_upgraded_beside_a_ticker(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the two above."""
    migrate.upgrade(empty_dsn, "0012")
    monkeypatch.setattr(migrate, "_require_no_tickers", lambda *_: None)

    async def judged() -> None:
        async with Database(empty_dsn):
            await refused(empty_dsn)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        asyncio.run(judged())
    assert migrate.current(empty_dsn) == newest_revision()


@pytest.mark.usefixtures("later")
async def test_where_a_pooler_hides_sessions_a_heartbeat_tells_of_them(dsn: str) -> None:
    with connect(dsn) as conn:
        conn.execute(BEAT, ("run", 4711, timedelta(seconds=30)))
        said = await refused(dsn)
        assert "clento run on host far-away, process 4711, seen at " in said
        for kind, pid, ago in (
            ("run", 4711, migrate.SILENT_AFTER + timedelta(seconds=1)),  # it was killed
            ("run", 0, timedelta(seconds=30)),  # it ended in order
            ("tick", 4711, timedelta(seconds=30)),  # it had a session, and has none any more
        ):
            conn.execute("delete from tickers")
            conn.execute(BEAT, (kind, pid, ago))
            conn.execute("update alembic_version set version_num = %s", (newest_revision(),))
            assert await asyncio.to_thread(migrate.upgrade, dsn) == [LATER]


async def test_a_run_that_ended_in_order_is_not_waited_for(dsn: str, database: Database) -> None:
    world = World(database, None, system_clock)  # type: ignore[arg-type]  # nothing is asked
    heartbeat, other = Heartbeat(world, "run"), Heartbeat(world, "tick")
    await heartbeat.beat()
    await other.beat()
    await heartbeat.end()
    async with database.connection() as conn:
        pids = {each.kind: each.pid for each in await tickers(conn)}
    assert pids == {"run": 0, "tick": os.getpid()}


@pytest.mark.usefixtures("later")
async def test_two_upgrades_do_not_take_each_other_for_tickers(dsn: str) -> None:
    both = await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, dsn) for _ in range(2)))
    assert sorted(both) == [[], [LATER]]


def test_a_schema_that_a_newer_version_has_upgraded_is_let_alone(dsn: str) -> None:
    with connect(dsn) as conn:
        conn.execute("update alembic_version set version_num = '9999'")
    known = newest_revision()
    with pytest.raises(SchemaAhead, match=f"9999, not {known}"):
        migrate.upgrade(dsn)

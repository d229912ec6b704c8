"""Our tables stand in a schema of their own, whatever else the database holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from clento_engine.store import migrate
from clento_engine.store.accounts import create_organization, organizations
from clento_engine.store.database import Database, connect
from clento_engine.store.errors import DatabaseUnavailable, NoRight, SchemaTaken
from clento_engine.store.schema import (
    FORMER,
    is_schema_name,
    newest_revision,
    require_schema,
    schema_revision,
)

pytestmark = pytest.mark.direct

# Another program's: its migrations, and tables of our names with columns of its own.
FOREIGN = """
create table public.alembic_version (version_num varchar(32) primary key);
insert into public.alembic_version values ('0017');
create table public.leads (email text);
create table public.lanes (number int);
create table public.campaigns (title text);
create table public.users (id int primary key);
"""
OF_FORMER = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
PLACES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'clento') and c.relkind in ('r', 'v', 'S')
"""


@contextmanager
def admin(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect as one who may make roles; skip where the test's server has none such."""
    parts = urlsplit(dsn)
    url = parts._replace(netloc=f"postgres@{parts.netloc.rpartition('@')[2]}").geturl()
    try:
        conn = psycopg.connect(url, autocommit=True)
    except psycopg.OperationalError:
        pytest.skip("no superuser `postgres` of the given server answers")
    with conn:
        yield conn


def role(conn: psycopg.Connection[Any], name: str) -> None:
    if not conn.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone():
        conn.execute(f"create role {name} login".encode())


def as_role(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *(("clento", True), ("outreach_2", True), ("_own", True), ("user", True)),
        *(("public", False), ("pg_own", False), ("information_schema", False)),
        *(("invariants", False), ("Clento", False), ("a-b", False), ("", False), ('a"b', False)),
        *(("a" * 63, True), ("a" * 64, False), ("2nd", False), ("clentö", False)),
    ],
)
def test_a_schema_of_ours_has_a_plain_name(name: str, *, is_one: bool) -> None:
    assert is_schema_name(name) is is_one


def test_a_new_database_gets_nothing_into_public(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn)
    with connect(empty_dsn) as conn:
        assert conn.execute(OF_FORMER).fetchone() == (0,)
    assert migrate.check(empty_dsn) == []


@pytest.mark.parametrize("schema", ["outreach_2", "user"])
async def test_the_schema_may_have_another_name(empty_dsn: str, schema: str) -> None:
    with connect(empty_dsn) as conn:
        conn.execute("create schema clento")
        conn.execute("create table clento.leads (email text)")
    migrate.upgrade(empty_dsn, schema=schema)
    assert migrate.current(empty_dsn, schema) == newest_revision()
    assert migrate.check(empty_dsn, schema=schema) == []
    async with Database(empty_dsn, schema=schema) as database, database.connection() as conn_:
        await require_schema(conn_)
        await create_organization(conn_, "Acme")
    with connect(empty_dsn, schema=schema) as conn:
        assert conn.execute("select name from organizations").fetchall() == [("Acme",)]
        assert conn.execute("select current_schema()").fetchall() == [(schema,)]
        assert conn.execute(OF_FORMER).fetchone() == (0,)


async def test_a_foreign_program_s_tables_and_versions_are_let_alone(empty_dsn: str) -> None:
    with connect(empty_dsn) as conn:
        conn.execute(FOREIGN.encode())
        before = conn.execute(PLACES.encode()).fetchall()
    async with Database(empty_dsn) as database, database.connection() as conn_:
        assert await schema_revision(conn_) is None
    assert migrate.current(empty_dsn) is None
    assert migrate.upgrade(empty_dsn)[-1] == newest_revision()
    with connect(empty_dsn) as conn:
        after = conn.execute(PLACES.encode()).fetchall()
        assert sorted(each for each in after if each[0] == "public") == sorted(before)
        assert conn.execute("table public.alembic_version").fetchall() == [("0017",)]
    async with Database(empty_dsn) as database, database.connection() as conn_:
        await create_organization(conn_, "Acme")
        assert [name for _, name in await organizations(conn_)] == ["Acme"]
    assert migrate.check(empty_dsn) == []


async def test_what_stands_in_public_is_moved_and_only_what_is_ours(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0017", schema=FORMER)
    with connect(empty_dsn, schema=FORMER) as conn:
        conn.execute("create table users (id int primary key)")
        conn.execute("create view leads_of_theirs as select first_name from leads")
        conn.execute("insert into organizations (id, name) values (gen_random_uuid(), 'Acme')")
        conn.execute(
            "insert into events (organization_id, subject_id, at, kind, actor)"
            " select id, id, now(), 'Done', 'ticker' from organizations"
        )
    async with Database(empty_dsn) as database, database.connection() as conn_:
        assert await schema_revision(conn_) == "0017"
    assert migrate.current(empty_dsn) == "0017"

    assert migrate.upgrade(empty_dsn)[0] == "0018"

    assert migrate.current(empty_dsn) == newest_revision()
    assert migrate.check(empty_dsn) == []
    with connect(empty_dsn) as conn:
        left = conn.execute(PLACES.encode()).fetchall()
        assert sorted(name for place, name in left if place == "public") == [
            "leads_of_theirs",
            "users",
        ]
        assert conn.execute("select name from organizations").fetchall() == [("Acme",)]
        assert conn.execute("select kind from history").fetchall() == [("Done",)]
        assert conn.execute("table public.leads_of_theirs").fetchall() == []
        conn.execute(  # its number comes from a sequence that came along
            "insert into events (organization_id, subject_id, at, kind, actor)"
            " select id, id, now(), 'Done', 'ticker' from organizations"
        )
    assert migrate.upgrade(empty_dsn) == []


def test_a_move_that_fails_half_way_moves_nothing(empty_dsn: str) -> None:
    migrate.upgrade(empty_dsn, "0017", schema=FORMER)
    impatient = make_conninfo(empty_dsn, options="-c lock_timeout=50ms")
    with connect(empty_dsn, schema=FORMER) as conn:
        before = conn.execute(PLACES.encode()).fetchall()
        with conn.transaction():
            conn.execute("lock table workflow_versions")  # the last to be moved
            with pytest.raises(DatabaseUnavailable, match="in use by a long transaction"):
                migrate.upgrade(impatient)
        assert sorted(conn.execute(PLACES.encode()).fetchall()) == sorted(before)
        assert conn.execute("select count(*) from organizations").fetchone() == (0,)
    assert migrate.current(empty_dsn) == "0017"
    assert migrate.upgrade(empty_dsn)[0] == "0018"


def test_a_schema_of_another_program_is_not_entered(empty_dsn: str) -> None:
    with connect(empty_dsn) as conn:
        conn.execute("create schema clento")
        conn.execute("create table clento.leads (email text)")
    with pytest.raises(SchemaTaken, match="schema clento holds"):
        migrate.upgrade(empty_dsn)
    with connect(empty_dsn) as conn:
        conn.execute("create table clento.alembic_version (version_num varchar(32) primary key)")
        conn.execute("insert into clento.alembic_version values ('1f2e3d4c5b6a')")
    with pytest.raises(SchemaTaken, match="schema clento holds"):
        migrate.upgrade(empty_dsn)
    migrate.upgrade(empty_dsn, schema="outreach")
    with pytest.raises(SchemaTaken, match="schema invariants holds"):
        migrate.upgrade(empty_dsn, schema="second_engine")


GRANTS = """
select c.relname, a.grantee::regrole from pg_class c cross join aclexplode(c.relacl) a
 where c.relnamespace in ('clento'::regnamespace, 'invariants'::regnamespace)
   and a.grantee <> c.relowner
union all
select n.nspname, case when a.grantee <> 0 then a.grantee::regrole end
  from pg_namespace n cross join aclexplode(n.nspacl) a
 where n.nspname in ('clento', 'invariants') and a.grantee <> n.nspowner
"""


@pytest.mark.parametrize("is_former", [False, True])
def test_nothing_is_granted_to_everybody_whatever_the_host_s_defaults_are(
    empty_dsn: str, *, is_former: bool
) -> None:
    with admin(empty_dsn) as conn:
        for name in ("anon", "authenticated", "reporting"):
            role(conn, name)
        for what in ("tables", "sequences", "functions"):
            conn.execute(
                f"alter default privileges for role clento grant all on {what}"
                " to public, anon, authenticated".encode()
            )
        conn.execute(
            "alter default privileges for role clento grant usage on schemas to public, anon"
        )
        conn.execute("alter default privileges for role clento grant select on tables to reporting")
        if is_former:
            migrate.upgrade(empty_dsn, "0017", schema=FORMER)
        migrate.upgrade(empty_dsn)
        grants = conn.execute(GRANTS.encode()).fetchall()
        assert {whom for _, whom in grants} == {"reporting"}
        if is_former:  # who could read a table still can
            assert ("clento", "reporting") in grants
            with psycopg.connect(as_role(empty_dsn, "reporting")) as reader:
                assert reader.execute("select count(*) from clento.history").fetchone() == (0,)
        conn.execute("drop owned by anon, authenticated, reporting")


async def test_a_role_without_a_right_on_the_schema_is_told_so(dsn: str) -> None:
    with admin(dsn) as conn:
        role(conn, "stranger")
    stranger = as_role(dsn, "stranger")
    async with Database(stranger) as database, database.connection() as conn_:
        with pytest.raises(NoRight, match="schema clento"):
            await require_schema(conn_)
    with pytest.raises(NoRight, match="schema clento"):
        migrate.upgrade(stranger)
    with pytest.raises(NoRight, match="schema clento"):
        migrate.current(stranger)


async def test_a_temporary_table_of_another_client_hides_none_of_ours(dsn: str) -> None:
    async with Database(dsn) as database, database.connection() as conn:
        await create_organization(conn, "Acme")
        await conn.execute("create temporary table organizations (name text, id uuid)")
        assert [name for _, name in await organizations(conn)] == ["Acme"]


async def test_neither_role_database_nor_url_say_where_our_tables_are(dsn: str) -> None:
    with connect(dsn) as conn:
        conn.execute(FOREIGN.encode())
        plain = psycopg.Cursor(conn)
        name = conn.info.dbname
        for whose in (f'database "{name}"', f'role current_user in database "{name}"'):
            plain.execute(f"alter {whose} set search_path = public, pg_catalog".encode())
    for options in ("", "-c search_path=public"):
        url = make_conninfo(dsn, options=options)
        async with Database(url) as database, database.connection() as conn_:
            await require_schema(conn_)
            await create_organization(conn_, f"Acme {options}")
            another_s = "select set_config('search_path', 'public', false)"
            await psycopg.AsyncCursor(conn_).execute(another_s)
            assert "Acme " in [name for _, name in await organizations(conn_)]
        assert migrate.current(url) == newest_revision()
        assert migrate.check(url) == []

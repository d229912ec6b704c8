"""Connections are what the rest relies on: set alike, never dead, and clear when there are none."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from tenacity import RetryCallState

from clento_engine.store.address import connection_string, passwords
from clento_engine.store.database import (
    Database,
    connect,
    require_server,
    require_storage,
    unsafe_settings,
)
from clento_engine.store.errors import (
    BadDatabaseUrl,
    DatabaseUnavailable,
    SchemaAhead,
    SchemaBehind,
    ServerTooOld,
    UnsafeStorage,
)
from clento_engine.store.schema import newest_revision, require_schema

pytestmark = pytest.mark.direct  # it watches sessions from beside

NO_PATIENCE = timedelta(0)


def never(_: RetryCallState) -> float:
    raise AssertionError("tried again")


def socket_dir(dsn: str) -> str:
    (where,) = parse_qs(urlsplit(dsn).query).get("host", [""])
    if not where:
        pytest.skip("the given server is not reached through a socket")
    return where


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@db.example/outreach",
        "postgres://ann:secret@db.example/outreach",
        "postgresql+psycopg://ann:secret@db.example/outreach",
        "host=db.example user=ann password=secret dbname=outreach",
    ],
)
def test_a_url_is_understood_in_every_usual_spelling(url: str) -> None:
    found = conninfo_to_dict(connection_string(url))
    assert (found["host"], found["user"], found["password"], found["dbname"]) == (
        "db.example",
        "ann",
        "secret",
        "outreach",
    )
    assert "target_session_attrs" not in found


def test_what_the_url_says_wins_over_our_defaults() -> None:
    found = conninfo_to_dict(
        connection_string("postgresql://db/x?application_name=mine&connect_timeout=3")
    )
    assert (found["application_name"], found["connect_timeout"]) == ("mine", "3")


def test_of_several_hosts_the_one_that_takes_writes_is_wanted() -> None:
    both = conninfo_to_dict(connection_string("postgresql://a:5432,b:5433/x"))
    assert (both["host"], both["port"]) == ("a,b", "5432,5433")
    assert both["target_session_attrs"] == "read-write"
    chosen = connection_string("postgresql://a,b/x?target_session_attrs=any")
    assert conninfo_to_dict(chosen)["target_session_attrs"] == "any"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://ann:secret@db/x",
        "ann:secret@db",
        "postgresql://ann:secret@[db/x",
        "postgresql://ann:secret@db/x?no_such_setting=1",
        "mysql://ann:secret@db/x?a=b",
        "postgresql://ann:secret%@db/x",
        "postgresql://ann:secret%zz@db/x",
        "postgresql://ann:secret%00@db/x",
        'postgresql://ann:secret%"secret@db/x',
        "postgresql://ann:word@secret@db/x",
        "postgresql://ann:secret/word@db/x",
        "postgresql://ann:1/secret@db/x",
        "postgresql://ann:se cret secret@[db/x",
        "host=db password=word secret dbname=x",
        "host=db password='secret dbname=x",
        "host=db port=secret",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(BadDatabaseUrl, match="DATABASE_URL") as refusal:
        Database(url)
    assert "secret" not in str(refusal.value)
    assert passwords(url) == ()


@pytest.mark.parametrize(
    ("url", "encoded"),
    [
        ("postgresql://ann:50%off@db/x", "write % as %25, @ as %40"),
        ("postgresql://ann:a@b@db/x", "write % as %25, @ as %40"),
        ("postgresql://ann:a/b@db/x", "/ as %2F"),
        ("host=db password=a b dbname=x", "put values with spaces or quotes in '…'"),
    ],
)
def test_a_url_that_cannot_be_read_says_which_characters_to_encode(url: str, encoded: str) -> None:
    with pytest.raises(BadDatabaseUrl) as refusal:
        connection_string(url)
    assert encoded in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("postgresql://ann:p%40ss%25word@db/x", ("p@ss%word",)),
        ("postgresql://db/x?user=ann@tenant&password=secret", ("secret",)),
        ("host=db user=ann password='se cret' sslpassword=key", ("se cret", "key")),
        ("postgresql://ann@db/x", ()),
        ("postgresql://ann:word?secret=1@db/x", ("word?secret=1",)),
        ("postgresql://ann:a:b#c@[::1]:5432,db:/x", ("a:b#c",)),
    ],
)
def test_a_url_s_passwords_are_known_so_that_no_log_has_them(
    url: str, known: tuple[str, ...]
) -> None:
    assert passwords(url) == known


async def test_every_session_is_set_alike_in_the_pool_and_alone(dsn: str) -> None:
    names = (
        "TimeZone",
        "transaction_isolation",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "application_name",
    )
    asked = "select " + ", ".join(f"current_setting('{name}')" for name in names)
    expected = ("UTC", "read committed", "1min", "10s", "1min", "clento")
    async with Database(dsn) as database, database.connection() as conn:
        assert await (await conn.execute(asked)).fetchone() == expected
        assert conn.autocommit
    with connect(dsn) as alone:
        assert alone.execute(asked).fetchone() == (*expected[:-1], "clento db")
        assert alone.autocommit


async def test_the_url_s_own_options_win_over_our_settings(dsn: str) -> None:
    options = "&options=-c%20statement_timeout%3D7s%20-c%20timezone%3DAsia/Tokyo"
    async with Database(dsn + options) as database, database.connection() as conn:
        cursor = await conn.execute("select current_setting('statement_timeout')")
        assert await cursor.fetchone() == ("7s",)
        cursor = await conn.execute("select current_setting('timezone')")
        assert await cursor.fetchone() == ("Asia/Tokyo",)


async def test_the_limit_of_a_statement_is_the_caller_s_choice(dsn: str) -> None:
    async with (
        Database(dsn, statement_timeout=timedelta(seconds=3)) as database,
        database.connection() as conn,
    ):
        cursor = await conn.execute("select current_setting('statement_timeout')")
        assert await cursor.fetchone() == ("3s",)


async def test_storage_that_may_forget_is_refused_unless_trusted_or_simulated(
    database: Database, server: str
) -> None:
    async with database.connection() as conn:
        off = await unsafe_settings(conn)
        for name in ("fsync", "full_page_writes"):
            cursor = await conn.execute("select current_setting(%s)", (name,))
            assert await cursor.fetchone() == ("off" if name in off else "on",)
        if not off:
            pytest.skip("the given server keeps what it commits")
        with pytest.raises(UnsafeStorage, match="fsync and full_page_writes off") as refusal:
            await require_storage(conn, is_trusted=False, is_simulated=False)
        assert refusal.value.settings == tuple(off)
        await require_storage(conn, is_trusted=True, is_simulated=False)
        await require_storage(conn, is_trusted=False, is_simulated=True)


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    async with database.transaction() as conn:
        await conn.execute("create table kept as select 1 as one")

    async def interrupted() -> None:
        async with database.transaction() as conn:
            await conn.execute("delete from kept")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await interrupted()
    async with database.connection() as conn:
        assert await (await conn.execute("table kept")).fetchall() == [(1,)]


async def test_a_connection_that_died_is_not_lent_again(database: Database, dsn: str) -> None:
    async with database.connection() as conn:
        died = conn.info.backend_pid
    with connect(dsn) as operator:
        operator.execute("select pg_terminate_backend(%s, 5000)", (died,))
    async with database.transaction() as conn:
        assert conn.info.backend_pid != died


async def test_opening_waits_for_a_server_that_is_starting(dsn: str, tmp_path: Path) -> None:
    """Staged: the server's socket appears while we wait for the second try."""
    where = socket_dir(dsn)
    soon = tmp_path / "soon"
    tries: list[int] = []

    def wait(state: RetryCallState) -> float:
        tries.append(state.attempt_number)
        if len(tries) == 2:
            soon.symlink_to(where)
        return 0

    async with (
        Database(dsn.replace(where, str(soon)), wait=wait) as database,
        database.connection() as conn,
    ):
        await conn.execute("select")
    assert tries == [1, 2]


async def test_opening_does_not_wait_for_what_waiting_will_not_change(dsn: str) -> None:
    missing = urlsplit(dsn)._replace(path="/no_such_database").geturl()
    with pytest.raises(DatabaseUnavailable, match='"no_such_database" does not exist'):
        await Database(missing, wait=never).open()


async def test_a_server_that_never_answers_is_reported_with_the_reason(tmp_path: Path) -> None:
    url = f"postgresql://ann:secret@/x?host={tmp_path}"
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as refusal:
        await Database(url, patience=NO_PATIENCE).open()
    assert "secret" not in str(refusal.value)
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        connect(url, patience=NO_PATIENCE)


async def test_a_caller_is_told_when_every_connection_is_busy(dsn: str) -> None:
    async with Database(dsn, max_connections=1) as database:
        async with database.connection():
            database._pool.timeout = 0.01
            with pytest.raises(DatabaseUnavailable, match="all 1 connections are busy"):
                async with database.connection():
                    pass
        database._pool.timeout = 30
        async with database.connection() as conn:  # and nothing was lost by it
            await conn.execute("select")


async def test_the_host_that_lives_is_found_behind_the_one_that_does_not(
    dsn: str, tmp_path: Path
) -> None:
    where = socket_dir(dsn)
    pair = dsn.replace(f"host={where}", f"host={tmp_path},{where}").replace("5432", "5432,5432")
    async with Database(pair, wait=never) as database, database.connection() as conn:
        await conn.execute("select")


def test_a_server_before_15_is_refused() -> None:
    require_server(150000)
    with pytest.raises(ServerTooOld, match="PostgreSQL 14, not 15 or later"):
        require_server(140012)


async def test_a_schema_behind_the_code_or_ahead_of_it_is_refused(
    conn: AsyncConnection[TupleRow], empty_dsn: str
) -> None:
    await require_schema(conn)
    await conn.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(SchemaAhead, match=f"9999, not {newest_revision()}"):
        await require_schema(conn)
    await conn.execute("update alembic_version set version_num = '0000'")
    with pytest.raises(SchemaBehind, match=f"0000, not {newest_revision()}"):
        await require_schema(conn)
    async with await AsyncConnection.connect(empty_dsn) as empty:
        with pytest.raises(SchemaBehind, match="schema none"):
            await require_schema(empty)

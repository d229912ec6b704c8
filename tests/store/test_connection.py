"""What a session was set to is not relied upon, what was committed is there, no wait is endless."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import FAST
from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from clento_engine.store import connection, migrate
from clento_engine.store.connection import Unanswered, Unreplicated, snapshot, unlimit
from clento_engine.store.database import Database, Lost, connect
from clento_engine.store.server import EmbeddedServer, embedded_server, temporary_server

pytestmark = pytest.mark.direct

Conn = AsyncConnection[Any]

# What a role, a database or another client of a pooler may have set.
HOSTILE = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "on",
    "enable_memoize": "on",
    "client_min_messages": "error",
    "search_path": "pg_catalog",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "default_tablespace": "pg_default",
    "temp_tablespaces": "pg_default",
    "idle_session_timeout": "77s",
    # last: what poisons a session is under them as well
    "statement_timeout": "77ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "77ms",
}
# What a server knows from a version on only.
NEWER = {"transaction_timeout": "777ms"}
PINNED = {
    "synchronous_commit": "on",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "statement_timeout": "1min",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "1min",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_memoize": "off",
    "client_min_messages": "warning",
    "search_path": '"clento", pg_temp',
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "idle_session_timeout": "0",
}
ASKED = "select " + ", ".join(f"current_setting('{name}') as \"{name}\"" for name in PINNED)

Reading = Callable[[Conn], Awaitable[TupleRow | None]]


def found(row: TupleRow | None) -> dict[str, str]:
    assert row is not None
    return dict(zip(PINNED, row, strict=True))


async def poison(conn: Conn) -> None:
    """Set the session as the client did that a pooler lent it to before."""
    plain = AsyncCursor(conn)
    for name, value in HOSTILE.items():
        await plain.execute("select set_config(%s, %s, false)", (name, value))


async def alone(conn: Conn) -> TupleRow | None:
    return await (await conn.execute(ASKED.encode())).fetchone()


async def inside(conn: Conn) -> TupleRow | None:
    async with conn.transaction():
        return await alone(conn)


async def in_a_savepoint(conn: Conn) -> TupleRow | None:
    async with conn.transaction(), conn.transaction():
        return await alone(conn)


async def in_a_pipeline(conn: Conn) -> TupleRow | None:
    async with conn.pipeline(), conn.transaction():
        return await alone(conn)


async def alone_in_a_pipeline(conn: Conn) -> TupleRow | None:
    async with conn.pipeline():
        return await alone(conn)


async def after_another_in_a_pipeline(conn: Conn) -> TupleRow | None:
    async with conn.pipeline():
        async with conn.transaction():
            await conn.execute("select 1")
        async with conn.transaction():
            return await alone(conn)


async def of_several(conn: Conn) -> TupleRow | None:
    cursor = conn.cursor()
    await cursor.executemany(ASKED.encode() + b" where %s", [(True,), (True,)], returning=True)
    return await cursor.fetchone()


async def streamed(conn: Conn) -> TupleRow | None:
    rows = [row async for row in conn.cursor().stream(ASKED.encode())]
    return tuple(rows[0])


async def copied(conn: Conn) -> TupleRow | None:
    async with conn.cursor().copy(f"copy ({ASKED}) to stdout".encode()) as copy:
        rows = [row async for row in copy.rows()]
    return tuple(rows[0])


READINGS: tuple[Reading, ...] = (
    alone,
    inside,
    in_a_savepoint,
    in_a_pipeline,
    alone_in_a_pipeline,
    after_another_in_a_pipeline,
    of_several,
    streamed,
    copied,
)


@pytest.mark.parametrize("reading", READINGS, ids=lambda each: each.__name__)
async def test_whatever_is_run_has_our_settings_though_a_pooler_lends_another_s_session(
    database: Database, reading: Reading
) -> None:
    async with database.connection() as conn:
        await poison(conn)
        assert found(await reading(conn)) == PINNED
        assert conn.info.transaction_status is TransactionStatus.IDLE
        assert found(await reading(conn)) == PINNED  # planned once, and prepared


@pytest.mark.parametrize("reading", READINGS, ids=lambda each: each.__name__)
async def test_whatever_is_run_has_our_settings_though_role_and_database_have_others(
    dsn: str, reading: Reading
) -> None:
    hostile(dsn)
    async with Database(dsn) as database, database.connection() as conn:
        assert found(await reading(conn)) == PINNED


@pytest.mark.parametrize("in_pipeline", [False, True])
async def test_moments_and_durations_are_read_right_in_another_s_session(
    database: Database, *, in_pipeline: bool
) -> None:
    asked = "select timestamptz '2026-02-01 06:30+00', interval '90 minutes'"
    said = (datetime(2026, 2, 1, 6, 30, tzinfo=UTC), timedelta(minutes=90))
    async with database.connection() as conn:
        await poison(conn)
        for _ in range(3):
            assert await (await conn.execute(asked)).fetchone() == said
            async with AsyncExitStack() as opened:
                if in_pipeline:
                    await opened.enter_async_context(conn.pipeline())
                async with conn.transaction():
                    assert await (await conn.execute(asked)).fetchone() == said


async def test_values_mean_the_same_whatever_role_and_database_are_set_to(dsn: str) -> None:
    hostile(dsn)
    asked = (
        r"select %s::text[], '\d+', (select null = (select null)), 'a\b' ~ '\\', %s::bytea,"
        " %s::float8::text, 1 / 3::float8, %s::timestamptz::text, %s::interval::text, %s"
    )
    moment, lasting = datetime(2026, 2, 1, 6, 30, tzinfo=UTC), timedelta(days=3, minutes=90)
    sent = (["a", None, "null", ""], b"\0\xff\\", 0.1 + 0.2, moment, lasting, "Zoë 🎈 \\ '")
    async with Database(dsn) as database, database.connection() as conn:
        assert conn.info.encoding == "utf-8"
        for _ in range(2):
            row = await (await conn.execute(asked, sent)).fetchone()
            assert row == (
                *(["a", None, "null", ""], r"\d+", None, True, b"\0\xff\\"),
                *("0.30000000000000004", 1 / 3, "2026-02-01 06:30:00+00", "3 days 01:30:00"),
                "Zoë 🎈 \\ '",
            )
    with connect(dsn) as sync:
        assert sync.info.encoding == "utf-8"


def test_an_upgrade_and_a_comparison_are_the_same_whatever_role_and_database_are_set_to(
    empty_dsn: str,
) -> None:
    hostile(empty_dsn)
    assert migrate.upgrade(empty_dsn)[-1] == migrate.heads()[0]
    assert migrate.check(empty_dsn) == []


def test_at_least_25_settings_are_hostile() -> None:
    assert len({**HOSTILE, **NEWER, "client_encoding": ""}) >= 25


def hostile(dsn: str) -> None:
    """Give the test's own database other defaults, and the role within it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        others = NEWER if conn.info.server_version >= 170000 else {}
        for setting, value in {**HOSTILE, **others, "client_encoding": "LATIN1"}.items():
            for whose in (
                sql.SQL("alter database {}").format(name),
                sql.SQL("alter role current_user in database {}").format(name),
            ):
                words = sql.SQL("{} set {} = {}").format(whose, sql.Identifier(setting), value)
                # what was set before counts in a session that begins after it only
                conn.execute(words)


def test_work_outside_an_event_loop_has_the_same_settings(dsn: str) -> None:
    hostile(dsn)
    with connect(dsn) as conn:
        assert found(conn.execute(ASKED.encode()).fetchone()) == PINNED
        plain = psycopg.Cursor(conn)
        for name, value in HOSTILE.items():
            plain.execute("select set_config(%s, %s, false)", (name, value))
        assert found(conn.execute(ASKED.encode()).fetchone()) == PINNED
        with conn.transaction(), conn.transaction():
            assert found(conn.execute(ASKED.encode()).fetchone()) == PINNED
        cursor = conn.cursor()
        cursor.executemany(ASKED.encode() + b" where %s", [(True,)], returning=True)
        assert found(cursor.fetchone()) == PINNED


def test_a_migration_commits_to_the_disk_though_a_pooler_lends_another_s_session(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty_dsn, "0004")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(
            "create table witness (revision text, synchronous_commit text, isolation text)"
        )
        conn.execute(
            "create function witness() returns trigger language plpgsql as $$ begin"
            " insert into witness values (new.version_num, current_setting('synchronous_commit'),"
            " current_setting('transaction_isolation')); return null; end $$"
        )
        conn.execute(
            "create trigger witness after update on alembic_version"
            " for each row execute function witness()"
        )

    def poisoned(url: str, **given: Any) -> Any:
        conn = connect(url, **given)
        plain = psycopg.Cursor(conn)
        for name in ("synchronous_commit", "default_transaction_isolation"):
            plain.execute("select set_config(%s, %s, false)", (name, HOSTILE[name]))
        return conn

    monkeypatch.setattr(migrate, "connect", poisoned)
    applied = migrate.upgrade(empty_dsn)
    assert applied
    with psycopg.connect(empty_dsn) as conn:
        rows = conn.execute("table witness order by 1").fetchall()
    assert rows == [(revision, "on", "read committed") for revision in applied]


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ("-c synchronous_commit=off", "on"),
        ("-c synchronous_commit=local", "on"),
        ("--synchronous-commit=remote_write", "on"),
        ("-csynchronous_commit=remote_apply", "remote_apply"),
    ],
)
async def test_a_url_may_ask_for_more_durable_commits_and_never_for_less(
    dsn: str, options: str, held: str
) -> None:
    asked = "select current_setting('synchronous_commit')"
    url = make_conninfo(dsn, options=options)
    async with Database(url) as database, database.connection() as conn:
        assert await (await conn.execute(asked)).fetchone() == (held,)
        await poison(conn)
        assert await (await conn.execute(asked)).fetchone() == (held,)
    with connect(url) as sync:
        assert sync.execute(asked).fetchone() == (held,)


async def test_a_role_that_asks_for_more_durable_commits_has_them(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            sql.SQL("alter database {} set synchronous_commit = remote_apply").format(
                sql.Identifier(conn.info.dbname)
            )
        )
    async with Database(dsn) as database, database.transaction() as conn:
        cursor = await conn.execute("select current_setting('synchronous_commit')")
        assert await cursor.fetchone() == ("remote_apply",)


async def test_what_the_url_sets_holds_in_another_s_session_too(dsn: str) -> None:
    options = r"-c statement_timeout=7s --lock-timeout=3s -cTimeZone=Asia/Kolkata -c a.b=x\ y"
    async with (
        Database(make_conninfo(dsn, options=options)) as database,
        database.connection() as conn,
    ):
        await poison(conn)
        settings = found(await inside(conn))
    assert settings == PINNED | {
        "statement_timeout": "7s",
        "lock_timeout": "3s",
        "TimeZone": "Asia/Kolkata",
    }


# --- failures


async def test_a_statement_that_fails_alone_leaves_nothing_open(database: Database) -> None:
    async with database.connection() as conn:
        await conn.execute("create table kept as select 1 as one")
        for _ in range(3):  # also once it is prepared
            with pytest.raises(psycopg.errors.DivisionByZero):
                await conn.execute("insert into kept select 1 / (one - 1) from kept")
            assert conn.info.transaction_status is TransactionStatus.IDLE
        with pytest.raises(psycopg.ProgrammingError, match="cannot adapt"):
            await conn.execute("select %s", (object(),))
        assert conn.info.transaction_status is TransactionStatus.IDLE
        cursor = await conn.execute("update kept set one = 2 returning one")
        assert await cursor.fetchall() == [(2,)]
        assert cursor.rowcount == 1


async def unread(conn: Conn) -> None:
    async with conn.pipeline(), conn.transaction():
        await conn.execute("delete from kept")
        await conn.execute("select 1 / 0")
        await conn.execute("select 2")


async def read(conn: Conn) -> None:
    async with conn.pipeline(), conn.transaction():
        await conn.execute("delete from kept")
        cursor = await conn.execute("select 1 / 0")
        await conn.execute("select 2")
        await cursor.fetchone()


async def raised(conn: Conn) -> None:
    async with conn.pipeline(), conn.transaction():
        await conn.execute("delete from kept")
        raise ZeroDivisionError


async def test_a_transaction_in_a_pipeline_is_undone_by_a_statement_that_failed(
    database: Database,
) -> None:
    async with database.connection() as conn:
        await conn.execute("create table kept as select 1 as one")
        for failure in (unread, read, raised):
            with pytest.raises((psycopg.errors.DivisionByZero, ZeroDivisionError)):
                await failure(conn)
            assert conn.info.transaction_status is TransactionStatus.IDLE
        async with conn.pipeline(), conn.transaction():
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with conn.transaction():
                    await conn.execute("select 1 / 0")
            await conn.execute("insert into kept values (2)")
        cursor = await conn.execute("select one from kept order by 1")
        assert await cursor.fetchall() == [(1,), (2,)]


async def test_a_snapshot_reads_one_moment_and_writes_nothing(dsn: str) -> None:
    async with Database(dsn) as database:
        async with database.connection() as conn:
            await conn.execute("create table kept as select 1 as one")
        async with database.snapshot() as conn:
            assert await (await conn.execute("table kept")).fetchall() == [(1,)]
            async with database.connection() as other:
                await other.execute("insert into kept values (2)")
            assert await (await conn.execute("table kept")).fetchall() == [(1,)]
            await poison(conn)
        async with database.connection() as conn:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                async with snapshot(conn):
                    await conn.execute("delete from kept")
            assert found(await inside(conn)) == PINNED


# --- what was answered is on the disk


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Lend a folder for a server of the test's own."""
    place = tmp_path / "data"
    with temporary_server(place, settings=FAST, keep=True):
        pass
    yield place
    with temporary_server(place):
        pass


def crash(folder: Path) -> None:
    """End a server as a power cut does, but for what the system still writes."""
    pid = int((folder / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    while Path(f"/proc/{pid}").exists():
        os.sched_yield()


async def test_what_was_answered_outlives_a_crash_though_the_role_asks_for_less(
    folder: Path,
) -> None:
    """Only what was committed asynchronously is lost: the log is written when 10 s have passed."""
    settings = {"wal_writer_delay": "10s", "fsync": "off"}
    server = embedded_server(folder, settings=settings)
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute("alter role clento set synchronous_commit = off")
        admin.execute("alter database clento set synchronous_commit = off")
    with psycopg.connect(server.url, autocommit=True) as plain:
        plain.execute("create schema clento")
        plain.execute("create table clento.kept (what text)")
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute("checkpoint")
    async with Database(server.url) as database:
        async with database.transaction() as conn:
            await conn.execute("insert into kept values ('in a transaction')")
        crash(folder)
    embedded_server(folder, settings=settings)
    async with Database(server.url) as database:
        async with database.connection() as conn:
            await conn.execute("insert into kept values ('alone')")
        crash(folder)
    embedded_server(folder, settings=settings)
    async with Database(server.url) as database:
        async with database.connection() as conn, conn.pipeline(), conn.transaction():
            await conn.execute("insert into kept values ('in a pipeline')")
        crash(folder)
    embedded_server(folder, settings=settings)
    with connect(server.url) as reader:
        kept = reader.execute("select what from kept order by what").fetchall()
    assert kept == [("alone",), ("in a pipeline",), ("in a transaction",)]


# --- no wait is endless


@pytest.fixture
def standing_alone(folder: Path) -> EmbeddedServer:
    """Lend a server whose commits wait for a standby that does not exist."""
    server = embedded_server(folder, settings=FAST)
    with psycopg.connect(server.url, autocommit=True) as plain:
        plain.execute("create schema clento")
        plain.execute("create table clento.kept (what text)")
    with temporary_server(folder, keep=True):
        pass  # ended, to begin anew with the setting: a reload reaches some processes late
    return embedded_server(folder, settings={**FAST, "synchronous_standby_names": "nobody"})


SOON = timedelta(milliseconds=300)


def insert(what: str) -> bytes:
    return f"insert into kept values ('{what}')".encode()


async def in_a_transaction(database: Database, what: str) -> None:
    async with database.transaction() as conn:
        await conn.execute(insert(what))


async def in_the_pipeline_of_a_turn(database: Database, what: str) -> None:
    async with database.connection() as conn, conn.pipeline(), conn.transaction():
        await conn.execute(insert(what))


async def by_itself(database: Database, what: str) -> None:
    async with database.connection() as conn:
        await conn.execute(insert(what))


async def by_itself_in_a_pipeline(database: Database, what: str) -> None:
    async with database.connection() as conn, conn.pipeline():
        await conn.execute(insert(what))


WRITES = (in_a_transaction, in_the_pipeline_of_a_turn, by_itself, by_itself_in_a_pipeline)


async def test_a_commit_that_waits_for_a_dead_standby_ends_as_a_lost_connection(
    standing_alone: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its outcome is unknown: it is there as soon as the standby is not waited for."""
    monkeypatch.setattr(connection, "GRACE", SOON)
    for timeout in (timedelta(seconds=1), timedelta(0)):  # which is none
        async with Database(
            standing_alone.url, statement_timeout=timeout, commit_timeout=SOON
        ) as database:
            for write in WRITES:
                with pytest.raises(Unanswered) as lost:
                    await write(database, write.__name__)
                assert isinstance(lost.value, Lost)
    with connect(standing_alone.url, statement_timeout=timedelta(seconds=1)) as conn:
        with pytest.raises(Unanswered):
            conn.execute(insert("outside an event loop"))
        assert conn.closed
    stand_on_its_own(standing_alone)
    with psycopg.connect(standing_alone.url) as conn:
        conn.execute("lock kept in exclusive mode")  # had when all of them are committed
        kept = conn.execute("select what, count(*) from kept group by what").fetchall()
    assert dict(kept) == {"outside an event loop": 1, **{write.__name__: 2 for write in WRITES}}


def stand_on_its_own(server: EmbeddedServer) -> None:
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute("alter system set synchronous_standby_names = ''")
        admin.execute("select pg_reload_conf()")


@pytest.mark.parametrize("write", WRITES, ids=lambda each: each.__name__)
async def test_a_commit_whose_wait_for_a_standby_is_cancelled_counts_as_lost(
    standing_alone: EmbeddedServer, write: Callable[[Database, str], Coroutine[Any, Any, None]]
) -> None:
    """PostgreSQL answers it as if all were well, and warns."""
    async with (
        Database(standing_alone.url) as database,
        await AsyncConnection.connect(standing_alone.admin_url, autocommit=True) as operator,
    ):
        writing = asyncio.create_task(write(database, "cancelled"))
        cancelled = 0
        while not cancelled:
            assert not writing.done()
            cursor = await operator.execute(
                "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
            )
            cancelled = cursor.rowcount
        with pytest.raises(Unreplicated) as lost:
            await writing
        assert isinstance(lost.value, Lost)
        async with database.connection() as conn:  # another one
            assert await (await conn.execute("table kept")).fetchall() == [("cancelled",)]


async def test_a_server_that_no_longer_answers_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is stopped, as a host that hangs: the connection stays, and is silent."""
    monkeypatch.setattr(connection, "GRACE", SOON)
    server = embedded_server(folder, settings=FAST)
    async with Database(
        server.url, statement_timeout=timedelta(seconds=1), max_connections=1
    ) as database:
        async with database.connection() as conn:
            silent = conn.info.backend_pid
            os.kill(silent, signal.SIGSTOP)
            try:
                with pytest.raises(Unanswered, match=r"did not answer in 1\.3 s"):
                    await conn.execute("select 1")
                assert conn.closed
            finally:
                os.kill(silent, signal.SIGCONT)
        async with database.connection() as conn:
            assert conn.info.backend_pid != silent


async def test_a_statement_that_may_take_its_time_is_waited_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE", timedelta(0))
    long = "select count(*) from generate_series(1, 4000000)"
    async with Database(dsn, statement_timeout=timedelta(milliseconds=100)) as database:
        async with database.transaction() as conn:
            await unlimit(conn)
            assert await (await conn.execute(long)).fetchone() == (4_000_000,)
        async with database.connection() as conn:
            with pytest.raises((psycopg.errors.QueryCanceled, Unanswered)):
                await conn.execute(long)


@pytest.mark.parametrize("in_pipeline", [False, True])
async def test_who_gives_up_waiting_has_the_statement_cancelled_and_the_connection_goes_on(
    database: Database, dsn: str, *, in_pipeline: bool
) -> None:
    async def wait(conn: Conn) -> None:
        if in_pipeline:
            async with conn.pipeline(), conn.transaction():
                await conn.execute("select pg_sleep(600)")
        else:
            await conn.execute("select pg_sleep(600)")

    async with (
        database.connection() as conn,
        await AsyncConnection.connect(dsn, autocommit=True) as watcher,
    ):
        pid = conn.info.backend_pid
        waiting = asyncio.create_task(wait(conn))
        state = None
        while state != ("PgSleep",):
            cursor = await watcher.execute(
                "select wait_event from pg_stat_activity where pid = %s", (pid,)
            )
            state = await cursor.fetchone()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert conn.info.transaction_status is TransactionStatus.IDLE
        assert found(await inside(conn)) == PINNED


async def test_a_flight_whose_answers_come_in_two_pieces_fails_by_its_own_error(
    database: Database,
) -> None:
    """With the second piece psycopg says only that all behind the error was passed over."""

    def exchange() -> PQGen[None]:  # as the end of a pipeline does it
        try:
            raise psycopg.errors.UniqueViolation("the first piece")
        finally:
            raise psycopg.errors.PipelineAborted("the second piece")
        yield  # type: ignore[unreachable]  # a generator nevertheless

    async with database.connection() as conn:
        with pytest.raises(psycopg.errors.UniqueViolation):
            await conn.wait(exchange())

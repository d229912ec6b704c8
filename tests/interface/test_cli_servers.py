"""What operators meet with their databases ends in one sentence and a fix."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from commanded import TRUSTING, Clento, Said
from conftest import FAST, Servers
from psycopg.conninfo import make_conninfo

from bench.pooling import program, through
from clento_engine.interface.cli import session
from clento_engine.store import migrate
from clento_engine.store.server import temporary_server

PROVIDER = {"UNIPILE_DSN": "http://127.0.0.1:9", "UNIPILE_ACCESS_TOKEN": "any"}


def clento_at(url: str, folder: Path, **more: str) -> Clento:
    return Clento({"DATABASE_URL": url, **PROVIDER, **more}, folder)


def sentence(said: Said) -> tuple[str, str]:
    """Return the error and the fix, one line each, which are all that was said last."""
    assert said.out == ""
    lines = said.err.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    error, fix = lines[at:]
    assert fix.startswith("  Fix: ")
    return error, fix


@contextmanager
def superuser(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        conn = psycopg.connect(of_role(dsn, "postgres"), autocommit=True)
    except psycopg.OperationalError:
        pytest.skip("no superuser `postgres` of the given server answers")
    with conn:
        yield conn


def of_role(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl()


@pytest.fixture
def limited(dsn: str) -> Iterator[str]:
    """Lend the URL of a role that may do nothing but connect."""
    with superuser(dsn) as conn:
        if not conn.execute("select 1 from pg_roles where rolname = 'limited'").fetchone():
            conn.execute("create role limited login")
        yield of_role(dsn, "limited")
        conn.execute("drop owned by limited")
        conn.execute("alter role limited connection limit -1")


def test_no_right_on_the_schema(limited: str, tmp_path: Path) -> None:
    for words in (("tick",), ("org", "list"), ("db", "upgrade"), ("db", "current")):
        error, fix = sentence(clento_at(limited, tmp_path)(*words, status=1))
        assert "our role may not use the schema clento" in error
        assert "grant usage on schema clento" in fix


def test_no_right_on_a_table(dsn: str, limited: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("grant usage on schema clento to limited")
    for words in (("tick",), ("org", "list")):
        error, fix = sentence(clento_at(limited, tmp_path)(*words, status=1))
        assert "our role lacks a right: permission denied for table" in error
        assert "the role that upgraded the database" in fix


def test_no_right_to_create_the_schema(empty_dsn: str, limited: str, tmp_path: Path) -> None:
    url = of_role(empty_dsn, "limited")
    error, fix = sentence(clento_at(url, tmp_path)("db", "upgrade", status=1))
    assert "may not create the schema" in error
    assert "grant create on database" in fix


def test_no_createdb_for_a_comparison(limited: str, tmp_path: Path) -> None:
    error, fix = sentence(clento_at(limited, tmp_path)("db", "check", status=1))
    assert "may not create a database" in error
    assert "createdb" in fix


def test_too_many_connections(
    limited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PATIENCE", timedelta(0))
    with superuser(limited) as conn:
        conn.execute("alter role limited connection limit 1")
        with psycopg.connect(limited):
            error, fix = sentence(clento_at(limited, tmp_path)("tick", status=1))
    assert "too many connections for role" in error
    assert "max_connections" in fix


# By the state and the words with which a server says it, which its full disk is not needed for.
FULL = """
create function full_disk() returns trigger language plpgsql as $$ begin
    raise exception 'could not extend file "base/5/1259": No space left on device'
        using errcode = 'disk_full', hint = 'Check free disk space.';
end $$;
create trigger full_disk before insert on organizations
    for each row execute function full_disk()
"""


def test_a_full_disk(dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(FULL)
    error, fix = sentence(clento_at(dsn, tmp_path)("org", "create", "Acme", status=1))
    assert "the database server's disk is full: could not extend file" in error
    assert "make room" in fix


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-c statement_timeout=50ms", "canceling statement due to statement timeout"),
        ("-c lock_timeout=50ms", "canceling statement due to lock timeout"),
    ],
)
def test_time_outs(dsn: str, tmp_path: Path, options: str, words: str) -> None:
    url = make_conninfo(dsn, options=options)
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table organizations")
        error, fix = sentence(clento_at(url, tmp_path)("org", "list", status=1))
    assert f"the database is busy: {words}" in error
    assert "try again" in fix


def test_a_server_that_a_failover_made_read_only(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="clento-standby-"))
    folder.chmod(0o711)  # root's servers run as somebody else
    with temporary_server(folder, keep=True, settings=FAST) as server:
        migrate.upgrade(server.url)
    (folder / "postgresql" / "standby.signal").write_text("")
    with temporary_server(folder, settings=FAST) as standby:
        for words in (("tick",), ("org", "list"), ("db", "upgrade")):
            error, fix = sentence(clento_at(standby.url, tmp_path)(*words, status=1))
            assert "the server takes no writes: it is a standby" in error
            assert "DATABASE_URL" in fix


@pytest.mark.skipif(program() is None, reason="no pgbouncer is installed")
def test_what_needs_a_session_asks_for_the_database_s_own_address(
    direct_dsn: str, servers: Servers, server: str, tmp_path: Path
) -> None:
    pooled = clento_at(through(direct_dsn, servers.pooler(server)), tmp_path)
    for words in (("db", "upgrade"), ("db", "check")):
        error, fix = sentence(pooled(*words, status=1))
        assert "through a pooler" in error
        assert "the database's own address" in fix
    pooled("org", "create", "Acme")
    assert pooled.json("org", "list")[0]["name"] == "Acme"
    pooled("db", "current")
    error, fix = sentence(
        clento_at(
            make_conninfo(pooled.environment["DATABASE_URL"], options="-c jit=off"), tmp_path
        )("org", "list", status=1)
    )
    assert "unsupported startup parameter" in error
    assert "`options`" in fix


def test_a_password_that_is_not_encoded(tmp_path: Path) -> None:
    for password in ("50%off", "a@secret", "1/secret"):
        url = f"postgresql://ann:{password}@localhost/x"
        for words in (("tick",), ("db", "upgrade")):
            error, _ = sentence(clento_at(url, tmp_path)(*words, status=1))
            assert "write % as %25, @ as %40, / as %2F" in error
            assert "off" not in error
            assert "secret" not in error


# --- a process of its own


def ran(dsn: str, redirected: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = "from clento_engine.interface.cli import main; main()"
    command = f'exec "$0" -c "$1" "${{@:2}}" {redirected}'
    environment = os.environ | TRUSTING | {"DATABASE_URL": dsn, **PROVIDER}
    return subprocess.run(
        ["bash", "-c", command, sys.executable, code, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_end_nothing(dsn: str, redirected: str) -> None:
    for words in (("org", "create", "Acme"), ("tick", "--budget", "1s")):
        done = ran(dsn, redirected, *words)
        assert done.returncode == 0, done
        assert "Traceback" not in done.stderr + done.stdout


def test_an_answer_that_cannot_be_written_is_said_to_be_so(dsn: str) -> None:
    done = ran(dsn, "> /dev/full", "org", "create", "Acme")
    assert done.returncode == 1
    error, fix = done.stderr.splitlines()
    assert "all was done, and the answer cannot be written: No space left on device" in error
    assert fix.startswith("  Fix: ")
    assert "Acme" in ran(dsn, "", "org", "list").stdout

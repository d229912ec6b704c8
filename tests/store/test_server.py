"""The embedded PostgreSQL starts by itself, once, keeps its promises, and says what stops it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from clento_engine.store.server import (
    ServerError,
    embedded_server,
    stop,
    temporary_server,
)


@pytest.fixture
def home() -> Iterator[Path]:
    """Lend an empty folder; a server left in it is stopped.

    Not pytest's: root's is closed to the user whom the server runs as.
    """
    folder = Path(tempfile.mkdtemp(prefix="clento-home-"))
    folder.chmod(0o711)
    yield folder
    for pid_file in folder.glob("**/postmaster.pid"):
        stop(pid_file.parent.parent)
    shutil.rmtree(folder)


def test_a_first_call_makes_a_server_that_stays_until_it_is_stopped(home: Path) -> None:
    code = (
        "import sys, pathlib; from clento_engine.store.server import embedded_server;"
        "print(embedded_server(pathlib.Path(sys.argv[1])).url)"
    )
    command = [sys.executable, "-c", code, str(home / "data")]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with psycopg.connect(first) as conn:
        conn.execute("create table kept ()")
    assert embedded_server(home / "data").url == first
    assert stop(home / "data")
    assert not stop(home / "data")
    with psycopg.connect(embedded_server(home / "data").url) as conn:
        conn.execute("table kept")


def test_what_was_answered_survives_a_power_cut_and_we_are_no_superuser(home: Path) -> None:
    with (
        temporary_server(home / "data") as server,
        psycopg.connect(server.url) as conn,
    ):
        names = (
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "listen_addresses",
            "is_superuser",
        )
        asked = ", ".join(f"current_setting('{name}')" for name in names)
        assert conn.execute(f"select {asked}").fetchone() == ("on", "on", "on", "", "off")


def test_many_processes_that_call_at_once_get_the_same_server(home: Path) -> None:
    code = (
        "import sys, pathlib; from clento_engine.store.server import embedded_server;"
        "sys.stdin.read(); print(embedded_server(pathlib.Path(sys.argv[1])).url)"
    )
    command = [sys.executable, "-c", code, str(home / "data")]
    callers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for caller in callers:  # all are loaded and wait for this
        assert caller.stdin is not None
        caller.stdin.close()
        caller.stdin = None
    urls = {caller.communicate()[0] for caller in callers}
    assert [caller.returncode for caller in callers] == [0] * 4
    assert len(urls) == 1


def test_a_server_killed_hard_is_recovered_with_what_it_had_committed(home: Path) -> None:
    server = embedded_server(home / "data")
    with psycopg.connect(server.url) as conn:
        conn.execute("create table kept as select 7 as seven")
    pid_file = home / "data" / "postgresql" / "postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    with psycopg.connect(embedded_server(home / "data").url) as conn:
        assert conn.execute("table kept").fetchone() == (7,)


def test_a_start_that_died_half_way_is_begun_again(home: Path) -> None:
    half = home / "data" / "postgresql.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with psycopg.connect(embedded_server(home / "data").url) as conn:
        conn.execute("select")
    assert not half.exists()


@pytest.mark.parametrize("name", ["it's a folder, 100% ours; yes", "long" * 30])
def test_a_folder_of_any_name_will_do(home: Path, name: str) -> None:
    with temporary_server(home / name, keep=True) as server, psycopg.connect(server.url) as conn:
        conn.execute("select")
    with temporary_server(home / name) as server, psycopg.connect(server.url) as conn:
        conn.execute("select")
    assert not (home / name).exists()


def test_a_temporary_folder_too_long_for_a_socket_is_passed_over(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = home / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with temporary_server() as server, psycopg.connect(server.url) as conn:
        conn.execute("select")
        (where,) = parse_qs(urlsplit(server.url).query)["host"]
        assert server.data_dir.is_relative_to(long)
    assert not Path(where).exists()


@pytest.mark.parametrize("name", ["$HOME", 'the "best"', "back`tick", "back\\slash"])
def test_a_folder_the_shell_would_misread_is_refused(home: Path, name: str) -> None:
    with pytest.raises(ServerError, match="its name may hold none of"):
        embedded_server(home / name)


def test_an_operator_s_own_setting_outlives_a_restart(home: Path) -> None:
    with (
        temporary_server(home / "data", keep=True) as server,
        psycopg.connect(server.admin_url, autocommit=True) as conn,
    ):
        conn.execute("alter system set work_mem = '17MB'")
        conn.execute("alter system set jit = on")
    with temporary_server(home / "data") as server, psycopg.connect(server.url) as conn:
        found = conn.execute("select current_setting('work_mem'), current_setting('jit')")
        assert found.fetchone() == ("17MB", "on")


def test_the_shell_s_pg_variables_do_not_reach_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "7777")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with temporary_server(home / "data") as server, psycopg.connect(server.url) as conn:
        assert conn.execute("show port").fetchone() == ("5432",)


def test_without_the_wheel_it_says_to_set_database_url(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match="set DATABASE_URL"):
        embedded_server(home / "data")


def test_a_folder_of_somebody_else_is_refused_with_his_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "postgresql").mkdir()
    owner = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ServerError, match=f"belongs to {owner}: run as that user"):
        embedded_server(home)


def test_a_folder_where_a_file_is_is_refused(home: Path) -> None:
    (home / "data").write_text("")
    with pytest.raises(ServerError, match=r"data folder .* cannot be used"):
        embedded_server(home / "data")


def test_data_of_another_version_is_left_alone(home: Path) -> None:
    with temporary_server(home / "data", keep=True):
        pass
    (home / "data" / "postgresql" / "PG_VERSION").write_text("12\n")
    with pytest.raises(ServerError, match="was made by PostgreSQL 12 and this is 18"):
        embedded_server(home / "data")


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ("initdb: error: could not write: No space left on device", "The disk is full"),
        ("FATAL: could not map anonymous shared memory", "asks for 256 MB"),
        ("something new", "initdb failed\n  something new"),
    ],
)
def test_a_program_that_fails_is_quoted_and_explained(home: Path, says: str, advice: str) -> None:
    for name in ("initdb", "postgres"):
        program = home / "bin" / name
        program.parent.mkdir(exist_ok=True)
        answer = (
            "echo 'postgres (PostgreSQL) 18.6'" if name == "postgres" else f"echo '{says}'; exit 1"
        )
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
    with pytest.raises(ServerError, match=advice):
        embedded_server(home / "data", binaries=home / "bin")


def test_a_link_planted_where_the_socket_would_go_is_not_followed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = home / ("long" * 30)
    shared, theirs = home / "shared", home / "theirs"
    shared.mkdir()
    theirs.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with temporary_server(data_dir, keep=True) as server:
        (where,) = parse_qs(urlsplit(server.url).query)["host"]
    assert Path(where).parent == shared
    Path(where).symlink_to(theirs)
    with pytest.raises(ServerError, match="was made by somebody else"):
        embedded_server(data_dir)
    assert theirs.stat().st_uid == os.geteuid()


def test_programs_of_another_machine_say_to_set_database_url(home: Path) -> None:
    (home / "bin").mkdir()
    with pytest.raises(ServerError, match="set DATABASE_URL"):
        embedded_server(home / "data", binaries=home / "bin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root opens a way for another user")
def test_root_s_closed_folders_are_opened_for_passing_through_only(home: Path) -> None:
    home.chmod(0o700)
    with temporary_server(home / "data") as server, psycopg.connect(server.url) as conn:
        conn.execute("select")
        assert (home / "data" / "postgresql").stat().st_mode & 0o777 == 0o700
    assert home.stat().st_mode & 0o777 == 0o701

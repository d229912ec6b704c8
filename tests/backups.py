"""Backups and standbys of a test's database, as operators make them: with PostgreSQL's programs."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

from clento_engine.store.server import EmbeddedServer, temporary_server, wheel_binaries


@dataclass(frozen=True, slots=True)
class Backup:
    """What `pg_dump` wrote of the database at `dsn`."""

    dsn: str
    file: Path

    def restore(self) -> None:
        """Put it back over what is there, under whoever is connected."""
        _run("pg_restore", "--clean", "--if-exists", "--dbname", self.dsn, self.file)


def dump(dsn: str, folder: Path) -> Backup:
    file = folder / "backup"
    _run("pg_dump", "--format=custom", "--file", file, dsn)
    return Backup(dsn, file)


@contextmanager
def standby(
    primary: EmbeddedServer, folder: Path, settings: Mapping[str, str]
) -> Iterator[EmbeddedServer]:
    """Run a standby of `primary` that streams from it, in `folder`."""
    folder.mkdir()
    folder.chmod(0o711)  # root's servers run as somebody else
    data = folder / "postgresql"
    _run("pg_basebackup", "-R", "--checkpoint=fast", "--pgdata", data, "-d", primary.admin_url)
    (data / ".s.PGSQL.5432.lock").unlink()  # the embedded server's socket is beside its data
    owner = (primary.data_dir / "postgresql").stat()
    subprocess.run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", str(data)], check=True)
    with temporary_server(folder, settings=settings) as server:
        yield server


def wait_for_standby(server: EmbeddedServer) -> None:
    """Let each commit of a primary be its standby's too before it is answered."""
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute("alter system set synchronous_standby_names = '*'")
        conn.execute("select pg_reload_conf()")


def cut_off(server: EmbeddedServer) -> None:
    """Let a standby receive nothing any more: what its primary commits from now on is lost."""
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute("alter system set primary_conninfo = ''")
        conn.execute("select pg_reload_conf()")
        while conn.execute("select from pg_stat_wal_receiver").fetchone() is not None:
            pass


def promote(server: EmbeddedServer) -> None:
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        assert conn.execute("select pg_promote(wait_seconds => 120)").fetchone() == (True,)


def either(one: EmbeddedServer, other: EmbeddedServer) -> str:
    """Return the URL of whichever of the two can be written to."""
    folders = [parse_qs(urlsplit(each.url).query)["host"][0] for each in (one, other)]
    hosts = ",".join(map(quote, folders))
    return f"postgresql://clento@/clento?host={hosts}&port=5432&target_session_attrs=read-write"


def _run(program: str, *words: object) -> None:
    command = [str(wheel_binaries() / program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

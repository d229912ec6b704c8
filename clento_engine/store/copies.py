"""Databases for plays: made once with our schema, then copied, which takes milliseconds."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from clento_engine.store import migrate
from clento_engine.store.server import temporary_server

# A server whose databases are thrown away: nothing waits for a disk, and nothing goes on by itself,
# so that the same statements find the same rows in the same places.
THROWAWAY: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_connections": "40",
    "file_copy_method": "clone",
}
_TEMPLATE = "clento_template"

# Making the files of a database takes 15 ms of the processor in memory, and 240 ms on ext4.
_MEMORY = Path("/dev/shm")  # noqa: S108  a folder in it is ours and closed
_ROOM_BYTES = 2**30


def in_memory(room_bytes: int = _ROOM_BYTES) -> Path | None:
    """Make a folder that no disk is behind; None where there is no room for it."""
    if not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return None
    if shutil.disk_usage(_MEMORY).free < room_bytes:
        return None
    folder = Path(tempfile.mkdtemp(prefix="clento-", dir=_MEMORY))
    folder.chmod(0o711)  # root's servers run as somebody else
    return folder


@contextmanager
def template_server(folder: Path | None = None) -> Iterator[str]:
    """Run a server while the context is open that has a database to copy; its URL."""
    with temporary_server(folder, settings=THROWAWAY) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
        migrate.upgrade(_beside(server.url, _TEMPLATE))
        yield server.url


@contextmanager
def copied(url: str, name: str) -> Iterator[str]:
    """Lend a new database of our schema on that server; its URL."""
    with psycopg.connect(url, autocommit=True) as conn:
        copy = sql.Identifier(name)
        conn.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                copy, sql.Identifier(_TEMPLATE)
            )
        )
        try:
            yield _beside(url, name)
        finally:
            conn.execute(sql.SQL("drop database {} with (force)").format(copy))


def _beside(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()

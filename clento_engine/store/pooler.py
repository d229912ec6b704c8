"""Whether a pooler stands before the server, and what it leaves of a session."""

from enum import StrEnum
from typing import Any

from psycopg import BaseConnection

from clento_engine.store.errors import NeedsSession


class Pooler(StrEnum):
    """What stands before the server, where it is told rather than seen."""

    SESSION = "session"  # a client has its session to itself
    TRANSACTION = "transaction"  # and keeps nothing of it from one transaction to the next
    PREPARED = "prepared"  # nothing but its prepared statements


def keeps_session(pooler: Pooler | None, server_pid: int, told_pid: int) -> bool:
    """Say whether what a session is set to and has prepared is there in the next transaction.

    `server_pid` is the server's process as it says itself, `told_pid` as it was told when the
    connection was made: a pooler tells an invented one there, for it must know who cancels.
    """
    if pooler is None:
        return server_pid == told_pid
    return pooler is Pooler.SESSION


def require_session(conn: BaseConnection[Any], what: str) -> None:
    """Raise NeedsSession for `what` unless `conn` has a session to itself."""
    if not getattr(conn, "keeps_session", True):
        raise NeedsSession(what)

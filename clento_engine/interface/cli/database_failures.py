"""What an operator meets with a database, each in one sentence with a fix."""

from clento_engine.interface.cli.failure import Failure
from clento_engine.store.connection import Unwritable
from clento_engine.store.database import Busy, Denied, Full, Lost
from clento_engine.store.errors import (
    BadDatabaseUrl,
    DatabaseUnavailable,
    MayNotCreate,
    NoRight,
    SchemaAhead,
    SchemaBehind,
    SchemaTaken,
    ServerTooOld,
    TickersAlive,
    UnsafeStorage,
)
from clento_engine.store.met import NotKept
from clento_engine.store.schema import VIEWS
from clento_engine.store.server import ServerError


def of_database(error: BaseException) -> Failure | None:
    """Say what a failure of the database means; None for anything else."""
    return _of_schema(error) or _of_server(error)


def _of_schema(error: BaseException) -> Failure | None:
    match error:
        case SchemaAhead():
            return Failure(
                f"the database is at revision {error.found} and this version knows {error.known}",
                "install the version that upgraded it",
            )
        case SchemaBehind(found=None):
            return Failure("the database is empty", "run `clento db upgrade`")
        case SchemaBehind():
            return Failure(
                f"the database is at revision {error.found} and {error.needed} is needed",
                "run `clento db upgrade`",
            )
        case SchemaTaken():
            return Failure(
                f"the schema {error.schema} of this database holds what is not ours",
                "set CLENTO_SCHEMA to another name"
                if error.schema != VIEWS
                else "use a database of its own: one holds one engine",
            )
        case NoRight():
            return Failure(
                f"our role may not use the schema {error.schema}",
                f"have its owner run: grant usage on schema {error.schema} to the role that"
                " DATABASE_URL names, or connect as the role that upgraded it",
            )
        case MayNotCreate(what="database"):
            return Failure(
                "our role may not create a database, and what is expected is made in one",
                "run it as a role that may, or have an administrator run: alter role NAME createdb",
            )
        case MayNotCreate():
            return Failure(
                "our role may not create the schema that our tables stand in",
                "have the database's owner run: grant create on database NAME to ROLE, or run the"
                " upgrade as a role that may",
            )
        case TickersAlive():
            return Failure(
                f"tickers seem alive, and an upgrade needs that all have ended: {error}",
                "end every `clento run`, stop cron and timers of `clento tick`, then try again; or"
                " say --tickers-have-ended where you know that they have",
            )
        case _:
            return None


def _of_server(error: BaseException) -> Failure | None:
    match error:
        case ServerTooOld():
            return Failure(
                f"this server is PostgreSQL {error.found}", f"{error.needed} or later is needed"
            )
        case UnsafeStorage():
            names = " and ".join(error.settings)
            return Failure(
                f"the server runs with {names} off: a power cut makes it forget what was done, and"
                " people would be contacted twice",
                f"set {' and '.join(f'{name} = on' for name in error.settings)} in postgresql.conf"
                " and reload it, or set CLENTO_TRUST_STORAGE=1 where the storage beneath the"
                " server keeps every commit",
            )
        case BadDatabaseUrl():
            return Failure(str(error), "set DATABASE_URL, or leave it out for a server of our own")
        case DatabaseUnavailable():
            return Failure(str(error), _reachable(str(error)))
        case Unwritable():
            return Failure(
                str(error),
                "let DATABASE_URL name the server that has taken over, or both"
                " (host=first,second): then the one that takes writes is used",
            )
        case ServerError():
            return Failure(str(error), None)
        case NotKept():
            problem = f"whom the file names cannot be noted: {_first_line(error)}"
            return Failure(
                problem, "make room for temporary files, or set TMPDIR to another folder"
            )
        case _:
            return _of_statement(error)


def _of_statement(error: BaseException) -> Failure | None:
    match error:
        case _ if isinstance(error, Busy):
            return Failure(f"the database is busy: {_first_line(error)}", "try again")
        case Denied():
            return Failure(
                f"our role lacks a right: {_first_line(error)}",
                "connect as the role that upgraded the database, or have it grant what is missing",
            )
        case Full():
            return Failure(
                f"the database server's disk is full: {_first_line(error)}",
                "make room on the server: what was committed is kept, and the rest is undone",
            )
        case Lost():
            return Failure(f"the database failed: {_first_line(error)}", "try again")
        case _:
            return None


def _reachable(reason: str) -> str:
    """Say what to do where no connection came about; the server gives such a failure no code."""
    if "startup parameter" in reason:
        return "leave `options` out of DATABASE_URL, which the pooler refuses"
    if any(words in reason for words in ("too many", "connection slots", "no more connections")):
        return "end sessions that nobody needs, or let the server have more: max_connections"
    return "see that the server runs and DATABASE_URL names it"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Where a database is, as DATABASE_URL says it: read with care, for it holds a password."""

import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clento_engine.store.errors import BadDatabaseUrl

OURS = "clento"  # the name of our sessions, where the URL says no other

_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")

# What ends a name or a password in a URL, and how it is written inside one.
_ENCODED = "% as %25, @ as %40, / as %2F, ? as %3F, # as %23, a space as %20"
_IN_URL = f"in a user or a password write {_ENCODED}"
_IN_PAIRS = r"put values with spaces or quotes in '…', with \' and \\ for ' and \ in them"


def connection_string(url: str) -> str:
    """Return what libpq is given for `url`: the same, with our defaults where it says nothing.

    Accepts postgresql:// and postgres://, with or without SQLAlchemy's "+driver", and libpq's
    own "host=… dbname=…".
    Several hosts mean a failover pair: the one that takes writes is used.
    Raises BadDatabaseUrl, whose words hold nothing that may be part of the password.
    """
    given = _read(url)
    defaults: dict[str, Any] = {
        "application_name": OURS,
        "client_encoding": "utf8",  # a role may have another, which cannot say every name
        "connect_timeout": 10,
        # A host that vanished without a word is noticed in about 30 s, not in 2 hours.
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds
    }
    if "," in str(given.get("host", "")):
        defaults["target_session_attrs"] = "read-write"
    return make_conninfo(**(defaults | given))


def application_name(url: str) -> str:
    """Return how the sessions of a process are named at `url`."""
    return str(conninfo_to_dict(connection_string(url))["application_name"])


def passwords(url: str) -> tuple[str, ...]:
    """Return the passwords in `url`, so that they can be kept out of logs; none of a wrong one."""
    try:
        given = _read(url)
    except BadDatabaseUrl:
        return ()
    return tuple(str(given[name]) for name in ("password", "sslpassword") if given.get(name))


def _read(url: str) -> dict[str, Any]:
    is_url, is_pairs = _SCHEME.match(url), "=" in url and "://" not in url
    if not is_url and not is_pairs:
        raise BadDatabaseUrl("DATABASE_URL must look like postgresql://user:password@host/database")
    rule = _IN_URL if is_url else _IN_PAIRS
    try:
        given = conninfo_to_dict(_SCHEME.sub("postgresql://", url))
    except psycopg.ProgrammingError as error:
        # libpq quotes what it could not read, which may be the password or what follows a part
        reason = re.sub('".*"', '"…"', str(error).strip(), flags=re.DOTALL)
        raise BadDatabaseUrl(f"DATABASE_URL cannot be read, {rule} ({reason})") from None
    # Where a password holds what would end it, the rest of it is read as host, port or database.
    port, host, database = (str(given.get(name, "")) for name in ("port", "host", "dbname"))
    is_port = re.fullmatch("[0-9]{0,5}(,[0-9]{0,5})*", port) is not None
    if not is_port or "@" in host or (is_url and "@" in database):
        raise BadDatabaseUrl(f"DATABASE_URL names no host and port that can be read: {rule}")
    return given

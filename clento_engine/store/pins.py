"""The statements that a transaction begins with: all that we rely on of a session, said anew."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

# A commit is durable where it was answered: `off` answers before the disk has it, `local` and
# `remote_write` before a standby has.  What waits for more than we ask goes on waiting.
_DURABLE = sql.SQL(
    "set_config('synchronous_commit', case current_setting('synchronous_commit')"
    " when 'remote_apply' then 'remote_apply' else {} end, {})"
)
_SET = sql.SQL("set_config({name}, {value}, {is_local})")
_NEWER_ONES = frozenset({"transaction_timeout"})  # that PostgreSQL 15 and 16 do not know
_NEWER = sql.SQL(
    "case when current_setting({name}, true) is not null"
    " then set_config({name}, {value}, {is_local}) end"
)
_NEVER_CHOSEN = frozenset({"search_path"})  # it has a setting of its own
# Whose process answers, and for how many seconds it lets a statement last; 0 is for ever.
_ANSWERER = sql.SQL(
    "select pg_backend_pid(),"
    " extract(epoch from current_setting('statement_timeout')::interval)::float8"
)

# Of what cannot run inside a transaction that we begin: an index made beside those who write.
_OUTSIDE = sql.SQL(
    "select set_config('default_transaction_read_only', 'off', false),"
    " set_config('default_transaction_isolation', 'read committed', false),"
    " set_config('default_transaction_deferrable', 'off', false)"
)

_WORD = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)  # of `options`: a backslash keeps a space


@dataclass(frozen=True, slots=True)
class Pins:
    """What every transaction of a connection begins with, and the same for its whole session.

    `first` is a transaction of its own, whose last answer tells of the server: see `_ANSWERER`.
    """

    first: bytes
    transaction: bytes
    session: bytes


def pins(settings: Mapping[str, str], conninfo: str) -> Pins:
    """Return the statements that set `settings`, or what the URL's own `options` say of them.

    They say nothing of where our tables are.  `synchronous_commit` is set as well, and is never
    weakened by them.
    """
    chosen = _options(conninfo)
    known = {
        name: value if name in _NEVER_CHOSEN else chosen.get(name.lower(), value)
        for name, value in settings.items()
    }
    durable = "remote_apply" if chosen.get("synchronous_commit") == "remote_apply" else "on"

    def statement(*, is_local: bool) -> sql.Composed:
        each = [
            (_NEWER if name in _NEWER_ONES else _SET).format(
                name=name, value=value, is_local=is_local
            )
            for name, value in known.items()
        ]
        each.append(_DURABLE.format(durable, is_local))
        return sql.SQL("select {}").format(sql.SQL(", ").join(each))

    # By itself and first: the rest may take longer than a role's default allows.
    limit = sql.SQL("set {}statement_timeout = {}")
    local = limit.format(sql.SQL("local "), known["statement_timeout"])
    first = sql.SQL("; ").join([local, statement(is_local=True), _ANSWERER])
    lasting = limit.format(sql.SQL(""), known["statement_timeout"])
    session = sql.SQL("; ").join([lasting, statement(is_local=False), _OUTSIDE])
    return Pins(
        first.as_bytes(None), statement(is_local=True).as_bytes(None), session.as_bytes(None)
    )


def _options(conninfo: str) -> dict[str, str]:
    """Return what the URL's own `options` set, by its name in small letters.

    Read as the server reads them: "-c name=value" and "--name=value", where a dash in a name
    stands for an underscore.
    """
    given = str(conninfo_to_dict(conninfo).get("options") or "")
    words = iter([re.sub(r"\\(.)", r"\1", word) for word in _WORD.findall(given)])
    chosen = {}
    for word in words:
        if not word.startswith(("-c", "--")):
            continue
        name, is_set, value = (word[2:] or next(words, "")).partition("=")
        if is_set:
            chosen[name.strip().replace("-", "_").lower()] = value.strip()
    return chosen

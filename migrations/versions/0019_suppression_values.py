"""Suppressions are compared equal to equal, with what Python made of a value, once.

They were compared with `lower()`, which is the affair of a database's locale: on C it knows no Ö,
on tr-TR it makes ıkea of IKEA, and whoever was to be left alone was contacted.  The keys of all
leads are written, and the values of suppressions anew.  Two that are one now hold as long as the
longer of them, for the reason of the older.

Tickers of the version before must have ended: they write leads without keys, and compare otherwise.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from alembic import context, op
from sqlalchemy import Connection, text

from clento_engine.domain.lead import Rejected
from clento_engine.domain.suppression import Kind, company_key, email_key, suppressed_value

revision = "0019"
down_revision = "0018"

BATCH = 5_000  # leads that are held at one time

_NEXT = """
select organization_id, id, email, company from leads
 where (organization_id, id) > (:organization_id, :id)
 order by organization_id, id limit :batch
"""

_WRITE_KEYS = """
update leads l set email_key = k.email_key, company_key = k.company_key
  from unnest(cast(:organization_ids as uuid[]), cast(:ids as uuid[]), cast(:emails as text[]),
              cast(:companies as text[])) k(organization_id, id, email_key, company_key)
 where l.organization_id = k.organization_id and l.id = k.id
   and (k.email_key is not null or k.company_key is not null)
"""

_INDEXES = {
    "email_key": "email_key",
    "email_domain": "split_part(email_key, '@', 2)",
    "company_key": "company_key",
}

_SUPPRESSIONS = """
select organization_id, kind, value, reason, expires_at, created_at from suppressions
 order by created_at, value
"""
_DELETE = """
delete from suppressions where organization_id = :organization_id and kind = :kind
   and value = any(:values)
"""
_INSERT = """
insert into suppressions (organization_id, kind, value, reason, expires_at, created_at)
values (:organization_id, :kind, :value, :reason, :expires_at, :created_at)
"""


def upgrade() -> None:
    say: Callable[[str], None] = context.config.attributes.get("say", print)
    op.execute("alter table leads add email_key text, add company_key text")
    _write_keys(op.get_bind())
    op.execute(
        "alter table leads add constraint leads_keys_check check"
        " ((email is null) = (email_key is null) and (company is null) = (company_key is null))"
    )
    for name, column in _INDEXES.items():
        op.execute(
            f"create index leads_{name} on leads (organization_id, {column})"
            f" where {name.replace('domain', 'key')} is not null"
        )
    if joined := _rewrite_suppressions(op.get_bind()):
        say(f"{joined:,} suppressions were of the same as an older one, and are one with it now")


def _write_keys(conn: Connection) -> None:
    last = {"organization_id": UUID(int=0), "id": UUID(int=0)}
    while rows := conn.execute(text(_NEXT), {**last, "batch": BATCH}).all():
        keys = {
            "organization_ids": [row.organization_id for row in rows],
            "ids": [row.id for row in rows],
            "emails": [None if row.email is None else email_key(row.email) for row in rows],
            "companies": [
                None if row.company is None else company_key(row.company) for row in rows
            ],
        }
        conn.execute(text(_WRITE_KEYS), keys)
        last = {"organization_id": rows[-1].organization_id, "id": rows[-1].id}


def _rewrite_suppressions(conn: Connection) -> int:
    """Spell every value as leads are compared with it; return how many became part of another."""
    same: dict[tuple[UUID, str, str], list[Any]] = defaultdict(list)
    for row in conn.execute(text(_SUPPRESSIONS)):
        named = suppressed_value(Kind(row.kind), row.value)
        value = row.value if isinstance(named, Rejected) else named
        same[row.organization_id, row.kind, value].append(row)
    changed = {key: rows for key, rows in same.items() if [row.value for row in rows] != [key[2]]}
    for (organization_id, kind, _), rows in changed.items():
        of = {"organization_id": organization_id, "kind": kind}
        conn.execute(text(_DELETE), {**of, "values": [row.value for row in rows]})
    for (organization_id, kind, value), rows in changed.items():
        added = {
            "organization_id": organization_id,
            "kind": kind,
            "value": value,
            "reason": rows[0].reason,
            "expires_at": _longest([row.expires_at for row in rows]),
            "created_at": rows[0].created_at,
        }
        conn.execute(text(_INSERT), added)
    return sum(len(rows) - 1 for rows in changed.values())


def _longest(expiries: list[datetime | None]) -> datetime | None:
    """Return the latest of them; None, for good, where one of them is."""
    dated = [each for each in expiries if each is not None]
    return max(dated) if len(dated) == len(expiries) else None

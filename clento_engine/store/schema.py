"""The schema that our tables stand in, which revision it is at, and which one this version needs.

It is ours alone: foreign tables of our names, another program's `alembic_version` and what a host
grants on `public` are none of our concern.  No statement names it; `search_path` does, which each
transaction begins with.
"""

import re
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from clento_engine.store.errors import NoRight, SchemaAhead, SchemaBehind

SCHEMA = "clento"  # where no other is named
VIEWS = "invariants"  # the schema of the views that must be empty
FORMER = "public"  # where our tables stood before they had a schema of their own

_NAME = re.compile("[a-z_][a-z0-9_]{0,62}")  # what no quoting, folding or cutting off changes
_TAKEN = re.compile(f"pg_.*|information_schema|{FORMER}|{VIEWS}")


def is_schema_name(name: str) -> bool:
    """Say whether our tables may stand in a schema of that name."""
    return _NAME.fullmatch(name) is not None and _TAKEN.fullmatch(name) is None


def search_path(schema: str) -> str:
    """Return where names are looked up when our tables stand in `schema`.

    Temporary tables come last, where they are said at all: a pooler hands on a session with those
    of another client, and they would come first.
    """
    return f'"{schema}", pg_temp'


# Our version table is visible; old tables of ours stand in `public`, by columns that no other
# program has beside its `alembic_version`; our schema is there and closed to us.
STANDING = f"""
select to_regclass('alembic_version') is not null,
       to_regclass('{FORMER}.alembic_version') is not null and 4 = (
         select count(*) from pg_attribute a
          where not a.attisdropped and (a.attrelid, a.attname) in (
                (to_regclass('{FORMER}.lanes'), 'ready_at'),
                (to_regclass('{FORMER}.rate_counters'), 'bucket_at'),
                (to_regclass('{FORMER}.campaign_executions'), 'next_run_at'),
                (to_regclass('{FORMER}.campaign_executions'), 'workflow_version_id'))),
       (select n.nspname from pg_namespace n
         where n.nspname = trim('"' from split_part(current_setting('search_path'), ',', 1))
           and not has_schema_privilege(n.oid, 'usage'))
"""


def migrations_folder() -> Path:
    """Return where the migrations are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def newest_revision() -> str:
    """Return the revision this version of the code was written for.

    Read from the files' names (0007_what_it_does.py): Alembic is too slow to import at each tick.
    """
    return max(path.name[:4] for path in migrations_folder().glob("versions/[0-9]*.py"))


async def schema_revision(conn: AsyncConnection[TupleRow]) -> str | None:
    """Return the revision the database is at; None when it has no schema of ours.

    Raises NoRight when there is one that we may not enter.
    """
    row = await (await conn.execute(STANDING)).fetchone()
    if row is None:
        return None
    is_here, is_former, closed = row
    if closed is not None:
        raise NoRight(closed)
    if not is_here and not is_former:
        return None
    where = "" if is_here else f"{FORMER}."
    cursor = await conn.execute(f"select max(version_num) from {where}alembic_version".encode())
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def require_schema(conn: AsyncConnection[TupleRow]) -> None:
    """Raise SchemaBehind or SchemaAhead unless the schema is the one of this version of the code.

    Ahead is refused as well: what the newer version promises, the older one does not know.
    """
    found, needed = await schema_revision(conn), newest_revision()
    if found is None or found < needed:
        raise SchemaBehind(found, needed)
    if found > needed:
        raise SchemaAhead(found, needed)

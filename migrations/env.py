"""Alembic's entry: called by clento_engine/store/migrate.py, or by its own command line.

`DATABASE_URL=… alembic revision --autogenerate --rev-id 0002 -m "what it does"` drafts a migration.
"""

import os

from alembic import context
from sqlalchemy import Connection

from clento_engine.store import migrate
from clento_engine.store.schema import SCHEMA
from clento_engine.store.tables import metadata


def run(connection: Connection) -> None:
    context.configure(connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("migrations run on a database: `--sql` is not supported")
if (given := context.config.attributes.get("connection")) is not None:
    run(given)
elif url := os.environ.get("DATABASE_URL"):
    with migrate.connection(url, os.environ.get("CLENTO_SCHEMA") or SCHEMA) as opened:
        run(opened)
else:
    raise SystemExit("set DATABASE_URL, or use `clento db upgrade`")

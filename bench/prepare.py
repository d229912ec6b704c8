"""Done in a process of its own: a database as the engine of that process's checkout leaves it."""

from typing import Any

import psycopg

from bench.population import Population, faults, populate
from clento_engine.store import migrate


def prepare(url: str, admin_url: str, who: dict[str, Any]) -> dict[str, int]:
    """Migrate a new database and write a population; return its faults, see `faults`."""
    migrate.upgrade(url)
    with psycopg.connect(admin_url, autocommit=True) as conn:
        populate(conn, Population(**who))
        return faults(conn)

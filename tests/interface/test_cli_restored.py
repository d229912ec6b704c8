"""A database that is not the one it was, as an operator sees it, and goes on from it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from commanded import Clento, Simulated, simulating

from clento_engine.simulator.server import Settings


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    settings = Settings()
    with simulating(settings.world(), settings) as server:
        yield server


@pytest.fixture
def clento(dsn: str, tmp_path: Path, simulated: Simulated) -> Clento:
    environment = {"DATABASE_URL": dsn, "UNIPILE_ACCESS_TOKEN": "any"}
    made = Clento({**environment, "UNIPILE_DSN": simulated.url}, tmp_path)
    made("org", "create", "Acme")
    return made


def restore(clento: Clento) -> None:
    """Have the tables be others than those that were stamped."""
    with psycopg.connect(clento.environment["DATABASE_URL"], autocommit=True) as conn:
        conn.execute("update database_stamp set table_oid = table_oid + 1")


def test_a_restored_database_is_said_with_its_fix_until_it_is_healed(clento: Clento) -> None:
    clento("tick", "--budget", "1s")
    restore(clento)
    said = clento("tick", "--budget", "1s", status=4)
    assert "quarantined" in said.err
    assert "`clento db restored`" in said.err
    assert clento.json("tick", "--budget", "1s", status=4)["quarantine"]["cause"] == "tables"
    assert "quarantined" in clento("status", status=3).out

    clento("db", "restored", stdin=b"n\n", status=130)
    clento("db", "restored", "--json", status=1)
    clento("tick", "--budget", "1s", status=4)
    healed = clento.json("db", "restored", "--yes")
    assert (healed["walks"], healed["accounts"]) == (0, 0)
    clento("tick", "--budget", "1s")
    assert clento.json("status")["quarantine"] is None


def test_one_that_worked_on_after_its_restore_cannot_tell_when_it_was(clento: Clento) -> None:
    with psycopg.connect(clento.environment["DATABASE_URL"], autocommit=True) as conn:
        conn.execute("update database_stamp set quarantined_at = now(), quarantine_cause = 'words'")
    assert "--since" in clento("db", "restored", "--yes", status=1).err
    clento("db", "restored", "--yes", "--since", "2026-01-04T02:00:00+01:00")

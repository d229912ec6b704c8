"""Backups of a test's database, as operators make and restore them: with PostgreSQL's programs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from clento_engine.store.server import wheel_binaries


@dataclass(frozen=True, slots=True)
class Backup:
    """What `pg_dump` wrote of the database at `dsn`."""

    dsn: str
    file: Path

    def restore(self) -> None:
        """Put it back over what is there, under whoever is connected."""
        _run("pg_restore", "--clean", "--if-exists", "--dbname", self.dsn, self.file)


def dump(dsn: str, folder: Path) -> Backup:
    file = folder / "backup"
    _run("pg_dump", "--format=custom", "--file", file, dsn)
    return Backup(dsn, file)


def _run(program: str, *words: object) -> None:
    command = [str(wheel_binaries() / program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Who was met in a file already: kept on disk, so that a file of any size takes the same memory.

A temporary database of SQLite's own, which goes to disk beyond its cache of a few megabytes: a
dictionary of a million names took 110 MB.
"""

import sqlite3
from collections.abc import Sequence
from typing import Self

# There is no room for it, or no folder that may be written to.
NotKept = sqlite3.OperationalError

CACHE_KIB = 4000


class Met:
    """The names met in a file, and the row in which each person was met first."""

    def __enter__(self) -> Self:
        """Begin with none."""
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.execute(f"pragma cache_size = -{CACHE_KIB}")
        self._kept.execute("create table met (name text primary key, row integer) without rowid")
        self._kept.execute("begin")  # one for all: it is never committed, only dropped
        return self

    def __exit__(self, *_error: object) -> None:
        """Forget them."""
        self._kept.close()

    def first(self, names: Sequence[str], row: int) -> int:
        """Note the names of a row's person; return the row in which that person was met first."""
        known = []
        for name in names:
            added = self._kept.execute("insert or ignore into met values (?, ?)", (name, row))
            if not added.rowcount:
                found = self._kept.execute("select row from met where name = ?", (name,))
                known.append(int(found.fetchone()[0]))
        first = min(known, default=row)
        if 0 < len(known) < len(names):  # the name added now is theirs as well
            renamed = ((first, name, row) for name in names)
            self._kept.executemany("update met set row = ? where name = ? and row = ?", renamed)
        return first

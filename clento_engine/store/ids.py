"""Ids of rows and tokens of leases: where all of them are made.

A simulation has to make the same ones each time it is played: `made_from` puts others in their
place.  Nothing else of the engine makes an id.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import uuid_utils.compat as made_by

_numbered: "_Numbered | None" = None


class _Numbered:
    """Ids in rising order, as those of version 7 are, whose other bits are drawn."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._count = 0

    def __call__(self) -> UUID:
        self._count += 1
        return UUID(int=(self._count << 80) | self._chance.getrandbits(80))


def uuid7() -> UUID:
    """Return the id of a new row: greater than those made before."""
    return made_by.uuid7() if _numbered is None else _numbered()


def uuid4() -> UUID:
    """Return a token that nobody has."""
    return made_by.uuid4() if _numbered is None else _numbered()


@contextmanager
def made_from(chance: random.Random) -> Iterator[None]:
    """Draw every id of this process from `chance` while the context is open."""
    global _numbered  # noqa: PLW0603  a process has one source of ids
    before, _numbered = _numbered, _Numbered(chance)
    try:
        yield
    finally:
        _numbered = before

"""A piece of a text that is not meant for people, and what to write instead."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from clento_engine.domain.variable import field_of, key, keys


class Kind(StrEnum):
    """What a piece of a text was."""

    VARIABLE = "variable"  # in another tool's spelling
    FALLBACK = "fallback"  # in another tool's spelling: of what stands in for a missing value
    CHOICE = "choice"  # spintax of a field's name, or in a lead's value
    GAP = "gap"  # to be filled by whoever wrote the text
    MARKUP = "markup"
    DAMAGE = "damage"  # of characters: an encoding was taken for another


@dataclass(frozen=True, slots=True)
class Leftover:
    """A piece of a text, and where it stands; `instead` None: only who wrote it can say."""

    kind: Kind
    piece: str
    start: int
    instead: str | None = None

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.piece)


@dataclass(frozen=True, slots=True)
class Look:
    """What is known while a text is looked at.

    `columns` are keys; None: they are not known yet, so that a name in square brackets may be one.
    In a text that `is_rendered` nothing is a variable any more.
    """

    columns: frozenset[str] | None
    is_rendered: bool

    @classmethod
    def at(cls, columns: Collection[str] | None, *, is_rendered: bool) -> "Look":
        """Look at a text of a list with `columns`."""
        return cls(None if columns is None else keys(columns), is_rendered)

    def has(self, name: str) -> bool:
        """Whether a name is a field of every lead or a column of the list."""
        return field_of(name) is not None or key(name) in (self.columns or ())

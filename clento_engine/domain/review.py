"""A second look at a text: what other tools, editors and exports leave in one, and nobody means.

Each piece is named with what to write instead, where that is plain.  Ordinary texts pass:
`20 % off`, `I <3 this`, `AT&T`, `#hiring`, `{ }` in code.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from clento_engine.domain.dialects import choices, foreign_variables, own_variables
from clento_engine.domain.leftover import Kind, Leftover, Look
from clento_engine.domain.outside import LONGEST_TEXT
from clento_engine.domain.residue import damage, gaps, markup

# without any of these nothing is left over but damage
_TRIGGER = re.compile(r"[{}\[\]<>«|]|[%#*&$@~^§:_(-](?!\s)|default|fallback", re.IGNORECASE)


def leftovers(
    text: str, columns: Collection[str] | None = None, *, is_rendered: bool = False
) -> tuple[Leftover, ...]:
    """Return the pieces of a text that are not meant for people, in the order they stand.

    `columns` are those of the list, besides the fields; None where they are not known yet.  In a
    text that `is_rendered` nothing is a variable any more: our own spelling is left over, too.
    """
    known = None if columns is None else frozenset(columns)
    return _found(text, known, is_rendered=True) if is_rendered else _in_template(text, known)


@lru_cache(maxsize=1024)
def _in_template(text: str, columns: frozenset[str] | None) -> tuple[Leftover, ...]:
    return _found(text, columns, is_rendered=False)


def _found(text: str, columns: frozenset[str] | None, *, is_rendered: bool) -> tuple[Leftover, ...]:
    text = text[:LONGEST_TEXT]
    if _TRIGGER.search(text) is None:  # most texts: what follows costs more than rendering
        return _apart([*damage(text)])
    look = Look.at(columns, is_rendered=is_rendered)
    found, masked = own_variables(text, look) if "{" in text or "[" in text else ([], text)
    if "|" in text and "{" in text:
        found += choices(text, look)
    for each in (*foreign_variables(masked, look), *gaps(masked, look), *markup(masked)):
        found.append(Leftover(each.kind, text[each.start : each.end], each.start, each.instead))
    found += damage(text)
    return _apart(found)


def _apart(found: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """Return the findings in order; of those that overlap, the one found first."""
    kept: list[Leftover] = []
    taken: set[int] = set()
    for each in found:
        places = range(each.start, each.end)
        if taken.isdisjoint(places):
            kept.append(each)
            taken.update(places)
    return tuple(sorted(kept, key=lambda each: each.start))


_PROBLEMS = {
    Kind.VARIABLE: ("is another tool's variable", "are other tools' variables"),
    Kind.FALLBACK: ("falls back as another tool would", "fall back as other tools would"),
    Kind.CHOICE: (
        "is a choice at random, and has the name of a field in it",
        "are choices at random, and have names of fields in them",
    ),
    Kind.GAP: ("is a gap that nobody filled", "are gaps that nobody filled"),
    Kind.MARKUP: (
        "is markup, which people would see as it stands",
        "are markup, which people would see as it stands",
    ),
    Kind.DAMAGE: ("is damaged", "are damaged"),
}
_FIXES = {
    Kind.VARIABLE: "write variables as {{first_name}}, and take other pieces out",
    Kind.FALLBACK: "write a fallback as {{first_name|there}}",
    Kind.CHOICE: "write a fallback as {{first_name|there}}, a choice of words as {Hi|Hello}",
    Kind.GAP: "write what is meant, or a variable such as {{company}}",
    Kind.MARKUP: "write plain text, with line breaks as they are to be",
    Kind.DAMAGE: "type it again",
}
_MOST_SHOWN = 4
_LONGEST_SHOWN = 60


def by_kind(found: Sequence[Leftover]) -> list[tuple[Leftover, ...]]:
    """Return what was found of each kind, in the order of the first of each."""
    kinds = dict.fromkeys(each.kind for each in found)
    return [tuple(each for each in found if each.kind is kind) for kind in kinds]


def problem(found: Sequence[Leftover]) -> str:
    """Say what pieces of a text are; for each kind of them."""
    return "; ".join(_problem(each) for each in by_kind(found))


def fix(found: Sequence[Leftover]) -> str:
    """Say what to write instead of pieces of one kind."""
    plain = {each.piece: each.instead for each in found if each.instead and each.instead.strip()}
    if not plain:
        return _FIXES[found[0].kind]
    if len({each.piece for each in found}) == 1:
        return f"write {next(iter(plain.values()))}"
    shown = [f"{instead} for {_shown(piece)}" for piece, instead in plain.items()]
    return f"write {_listed(shown)}"


def _problem(found: Sequence[Leftover]) -> str:
    names = [f'"{piece}"' for piece in dict.fromkeys(_shown(each.piece) for each in found)]
    one, several = _PROBLEMS[found[0].kind]
    return f"{_listed(names)} {one if len(names) == 1 else several}"


def _listed(items: Sequence[str]) -> str:
    if len(items) > _MOST_SHOWN:
        return f"{', '.join(items[:_MOST_SHOWN])} and {len(items) - _MOST_SHOWN} more"
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else items[0]


def _shown(piece: str) -> str:
    cut = piece if len(piece) <= _LONGEST_SHOWN else piece[: _LONGEST_SHOWN - 1] + "…"
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in cut)

"""What a cell says: visible text, and no value where it only looks like one."""

import re
from collections.abc import Callable, Sequence

import ftfy.badness  # noqa: F401 - `damage` asks it; here, so that no row waits for the import

from clento_engine.domain.missing_value import (
    damage,
    damage_of_name,
    damage_of_title,
    is_hidden_member,
    is_nothing,
    is_plainly_a_name,
    without_emoji,
)
from clento_engine.domain.outside import normalised

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)

# What a template fills in: a greeting with a rocket in it was written by nobody.
NAMED: dict[str, Callable[[str], str | None]] = {
    "first_name": damage_of_name,
    "last_name": damage_of_name,
    "full_name": damage_of_name,
    "company": damage_of_title,
    "job_title": damage_of_title,
}


def line(value: str) -> str | None:
    """Return a cell as one line of visible text, or None."""
    text = block(value)
    return text if text is None or text.isprintable() else " ".join(text.split())


def block(value: str) -> str | None:
    """Return a cell without what cannot be seen, line breaks kept, or None if nothing is left."""
    text = value.strip()
    if text.isprintable() and text.isascii():
        return text or None
    if not text.isprintable():
        text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not text.isascii():
        text = normalised(text)
    return text or None


def may_be_damaged(cells: Sequence[str]) -> bool:
    """Whether any cell of a row has a sign by which damage is told; most rows have none."""
    row = "\n".join(cells)
    return (
        not row.isascii()
        or "&" in row
        or "=" in row
        or "<" in row
        or "{" in row
        or "}" in row
        or "%%" in row
        or "*|" in row
        or "[obj" in row
    )


def named_value(
    field: str, value: str, notes: list[str], *, may_be_damaged: bool, emoji: bool
) -> str | None:
    """Return what a cell says for one of the fields that texts fill in, or None with a note."""
    text = value.strip()
    if not may_be_damaged and is_plainly_a_name(text) and "  " not in text:
        return text
    text = line(value) or ""
    if not text:
        return None
    if is_nothing(text):
        notes.append(f"{field}: {shown(text)} is no value: left empty")
        return None
    why = damage(value) if may_be_damaged else None
    if why is None and not emoji and not text.isascii():
        plain = without_emoji(text)
        if plain != " ".join(text.split()):
            notes.append(f"{field}: the emoji of {shown(text)} were left out")
            if not plain:
                return None
            text = plain
    why = why or NAMED[field](text)
    if why is None:
        return " ".join(text.split()) if "  " in text else text
    notes.append(f"{field}: {shown(text)} is left empty: {why}")
    return None


def own_value(key: str, value: str, notes: list[str], *, may_be_damaged: bool) -> str | None:
    """Return what a cell says for a field of the list's own, or None, with a note if damaged."""
    text = block(value)
    if text is None or is_nothing(text):
        return None
    if may_be_damaged and (why := damage(value)) is not None:
        notes.append(f"{key}: {shown(text)} is left empty: {why}")
        return None
    return text


def without_hidden_member(values: dict[str, str], notes: list[str]) -> None:
    """Take out a first and last name that are, together, LinkedIn's placeholder."""
    first, last = values.get("first_name", ""), values.get("last_name", "")
    if ("inked" in first or "inked" in last) and is_hidden_member(f"{first} {last}"):
        del values["first_name"], values["last_name"]
        notes.append(f"{shown(f'{first} {last}')} is LinkedIn's own placeholder: left empty")


def shown(text: str) -> str:
    """Return a value as a note quotes it."""
    return repr(text if len(text) <= _SHORT else text[: _SHORT - 1] + "…")


_SHORT = 60

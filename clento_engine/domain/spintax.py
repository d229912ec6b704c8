"""Spintax: `{Hi|Hello} Ann` reads one way for one person, another for the next.

A group is what stands between single braces with a bar in it, and may lie in another group.
Variables in double braces are opaque here: `{Hi {{first_name|there}}|Hello}` is a group of two.
Braces without a bar, and such with `||` as code has, are ordinary text.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import groupby

_TOKEN = re.compile(r"\{\{[^{}]*\}\}|\[[^\[\]{}|\n]*\|[^\[\]{}\n]*\]|[{}|]")
_DEEPEST = 8  # groups in groups; what is deeper is text


@dataclass(frozen=True, slots=True)
class Group:
    """Alternatives, of which one is taken; `start` and `end` are where it stands."""

    start: int
    end: int
    alternatives: tuple["Pieces", ...]


Pieces = tuple[str | Group, ...]


@dataclass(slots=True)
class _Open:
    """A brace that is not closed yet."""

    start: int
    bars: list[int]
    alternatives: list[list[str | Group]]


@lru_cache(maxsize=1024)
def pieces(text: str) -> Pieces:
    """Cut a text into what is said as it stands and its groups."""
    if "{" not in text or "|" not in text:
        return (text,) if text else ()
    outer: list[str | Group] = []
    stack: list[_Open] = []
    too_deep = at = 0

    def here() -> list[str | Group]:
        return stack[-1].alternatives[-1] if stack else outer

    for token in _TOKEN.finditer(text):
        here().append(text[at : token.start()])
        at = token.end()
        match token[0]:
            case "{" if len(stack) < _DEEPEST:
                stack.append(_Open(token.start(), [], [[]]))
            case "|" if stack and not too_deep:
                stack[-1].bars.append(token.start())
                stack[-1].alternatives.append([])
            case "}" if stack and not too_deep:
                closed = stack.pop()
                here().extend(_closed(text, closed, at))
            case literal:
                too_deep += {"{": 1, "}": -1}.get(literal, 0) if stack else 0
                here().append(literal)
    here().append(text[at:])
    for opened in stack:  # never closed: the brace is text, and so are its bars
        outer.extend(_as_text(opened))
    return _joined(outer)


def spun(text: str, seed: str) -> str:
    """Take one alternative of each group; the same text and seed give the same every time."""
    numbers = iter(range(len(text)))

    def taken(group: Group) -> Pieces:
        return group.alternatives[_number(seed, next(numbers)) % len(group.alternatives)]

    def said(parts: Pieces) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield part
            else:
                yield from said(taken(part))

    return "".join(said(pieces(text)))


def groups(text: str) -> Iterator[Group]:
    """Return every group of a text, the outer before those in it."""
    yield from _groups(pieces(text))


def extent(text: str, size: Callable[[str], int]) -> tuple[int, int]:
    """Return the least and the most that a text may measure, where `size` measures a piece."""
    return _extent(pieces(text), size)


def literals(text: str) -> Iterator[str]:
    """Return every piece that is said as it stands, of all alternatives."""

    def each(parts: Pieces) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield part
            else:
                for alternative in part.alternatives:
                    yield from each(alternative)

    return each(pieces(text))


def _groups(parts: Pieces) -> Iterator[Group]:
    for part in parts:
        if isinstance(part, Group):
            yield part
            for alternative in part.alternatives:
                yield from _groups(alternative)


def _extent(parts: Pieces, size: Callable[[str], int]) -> tuple[int, int]:
    least = most = 0
    for part in parts:
        if isinstance(part, str):
            least += size(part)
            most += size(part)
        else:
            extents = [_extent(alternative, size) for alternative in part.alternatives]
            least += min(low for low, _ in extents)
            most += max(high for _, high in extents)
    return least, most


def _closed(text: str, group: _Open, end: int) -> list[str | Group]:
    """Return a closed brace as a group, or as the text that it is."""
    is_code = any(text[bar + 1] == "|" for bar in group.bars)
    if not group.bars or is_code:
        return [*_as_text(group), "}"]
    alternatives = [_joined(each) for each in group.alternatives]
    if text[group.start + 1].isspace() and text[end - 2].isspace():  # { Hi | Hello }
        alternatives = [_stripped(each) for each in alternatives]
    return [Group(group.start, end, tuple(alternatives))]


def _as_text(group: _Open) -> list[str | Group]:
    first, *rest = group.alternatives
    parts: list[str | Group] = ["{", *first]
    for each in rest:
        parts += ["|", *each]
    return parts


def _joined(parts: list[str | Group]) -> Pieces:
    """Return the parts with strings side by side made one, so that a variable is in one piece."""
    joined: list[str | Group] = []
    for is_text, run in groupby(parts, key=lambda part: isinstance(part, str)):
        if not is_text:
            joined += run
        elif text := "".join(part for part in run if isinstance(part, str)):
            joined.append(text)
    return tuple(joined)


def _stripped(parts: Pieces) -> Pieces:
    def side(part: str | Group, *, is_first: bool, is_last: bool) -> str | Group:
        if isinstance(part, Group):
            return part
        part = part.lstrip() if is_first else part
        return part.rstrip() if is_last else part

    last = len(parts) - 1
    return tuple(
        side(part, is_first=place == 0, is_last=place == last) for place, part in enumerate(parts)
    )


def _number(seed: str, place: int) -> int:
    digest = blake2b(f"{place}/{seed}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)

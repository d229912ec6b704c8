"""Texts with variables: what they become for one lead, and how long they may be.

Two spellings, as the editors wrote them: `{{first_name}}` and `[first_name]`, in any letter case,
each with an optional fallback after a bar: `{{first_name|there}}`.  Between double braces every
name is a variable, so that one nobody knows is a missing value and never sent.  Square brackets
are ordinary punctuation ("[sic]"), so there only the fields every lead has and the columns of its
list are variables.  A value is data: what it contains is never read as a template.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from clento_engine.domain import spintax
from clento_engine.domain.account import Tier
from clento_engine.domain.leftover import Leftover
from clento_engine.domain.operation import Operation
from clento_engine.domain.outside import normalised
from clento_engine.domain.review import leftovers
from clento_engine.domain.variable import ALIASES, INVISIBLE, field_of
from clento_engine.domain.variable import key as _key
from clento_engine.domain.variable import keys as _keys

SUBJECT_LIMIT = 200  # an InMail's subject; source: LinkedIn help, read 2026-02
INMAIL_WARNING = 1900  # close enough to the limit that a long company name may cross it

_NOTE_LIMITS = {Tier.PREMIUM: 300, Tier.SALES_NAVIGATOR: 300}
_NOTE_LIMIT = 200  # without a subscription; source: provider's invite reference, read 2026-02
_TEXT_LIMITS = {
    Operation.COMMENT_POST: 1250,  # source: provider's comment reference
    Operation.SEND_FOLLOWUP: 8000,  # source: Hyperscale's limits; the provider names none
    Operation.SEND_INMAIL: 2000,  # source: LinkedIn help
}

_VARIABLE = re.compile(
    r"\{\{(?P<braced>[^{}|]*)(?:\|(?P<else_braced>[^{}]*))?\}\}"
    r"|\[(?P<squared>[^\[\]{}|\n]*)(?:\|(?P<else_squared>[^\[\]{}\n]*))?\]"
)
_LEFTOVER = re.compile(r"\{\{[^{}]*\}\}|\{\{|\}\}")

# What a program writes where it has no value; as a name, `Null` and `Nan` are somebody's
NO_VALUE = frozenset(
    {"", "None", "none", "null", "NULL", "undefined", "nan", "NaN", "N/A", "n/a", "#N/A"}
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in a template; `fallback` None means that without a value nothing is sent."""

    name: str
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """What to send; "" when every part of the text fell back to nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing may be sent: these variables have no value; braces left over stand for themselves."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TooLong:
    """Nothing may be sent: the text has `length` UTF-16 code units, and `limit` are allowed."""

    limit: int
    length: int


@dataclass(frozen=True, slots=True)
class Unfit:
    """Nothing may be sent: the text would have these pieces, which are not meant for people."""

    leftovers: tuple[Leftover, ...]


def render(
    template: str,
    fields: Mapping[str, str | None],
    columns: Collection[str] = (),
    *,
    seed: str = "",
) -> Rendered | Missing:
    """Put a lead's values into a template, and take one alternative of each group of its spintax.

    Which one follows from `seed`: the same for the same lead and node, however often it is asked.

    `columns` are the names in square brackets that are variables even where this lead's `fields`
    lack them.  A value is trimmed, and line breaks and control characters in it become a space;
    one that contains `{{` or `}}` counts as missing: it is a template nobody filled, and to the
    provider `{{0}}` in a comment is a mention.
    """
    values = _values(fields)
    parts: list[str] = []
    missing: dict[str, None] = {}
    for part in _parts(spintax.spun(template, seed), _keys((*fields, *columns))):
        match part:
            case str():
                parts.append(part)
            case Variable(name, fallback):
                value = values.get(name) or values.get(ALIASES.get(name, name)) or fallback
                if value is None:
                    missing[name] = None
                else:
                    parts.append(value)
    text = "".join(parts)
    missing.update(dict.fromkeys(_LEFTOVER.findall(text)))
    return Missing(tuple(missing)) if missing else Rendered(text)


def compose(
    template: str,
    fields: Mapping[str, str | None],
    *,
    operation: Operation,
    tier: Tier,
    columns: Collection[str] = (),
    seed: str = "",
    is_allowed: bool = False,
) -> Rendered | Missing | TooLong | Unfit:
    """Render what `operation` sends from a sender of `tier`, and judge whether it may be sent.

    Template and text are looked at once more for what is not meant for people, unless the operator
    allowed the text as it is.  A text of nothing but white space is Missing all its variables,
    except as the note of an invitation, which then goes without one: `Rendered("")`.  Raises
    ValueError for an operation that sends no text.
    """
    match render(template, fields, columns, seed=seed):
        case Rendered(text) if not is_allowed and (
            found := _unfit(template, text, (*fields, *columns))
        ):
            return Unfit(found)
        case Rendered(text) if not text.strip():
            if operation is Operation.SEND_CONNECTION_REQUEST:
                return Rendered("")
            return Missing(variables(template, (*fields, *columns)) or ("text",))
        case Rendered(text) if (size := length(text)) > (limit := text_limit(operation, tier)):
            return TooLong(limit, size)
        case result:
            return result


def proofread(
    template: str,
    fields: Mapping[str, str | None],
    columns: Collection[str] = (),
    *,
    seed: str = "",
) -> Rendered | Missing | Unfit:
    """Render a text, and look at it once more: see `compose`."""
    match render(template, fields, columns, seed=seed):
        case Rendered(text) if found := _unfit(template, text, (*fields, *columns)):
            return Unfit(found)
        case result:
            return result


def _unfit(template: str, text: str, columns: Collection[str]) -> tuple[Leftover, ...]:
    """Return what is wrong with a template, or else with what it became for one lead."""
    return leftovers(template, columns) or leftovers(text, columns, is_rendered=True)


def variables(template: str, columns: Collection[str] = ()) -> tuple[str, ...]:
    """Name the variables of a template, each once, in the order they appear.

    Names are lower case with underscores; aliases are kept as they were written, because a column
    of exactly that name goes before the field it stands for.
    """
    return tuple(dict.fromkeys(part.name for part in placed(template, columns)))


def placed(template: str, columns: Collection[str] = ()) -> tuple[Variable, ...]:
    """Return each place where a variable stands, in order, with its fallback."""
    keys = _keys(columns)
    return tuple(part for part in _parts(template, keys) if isinstance(part, Variable))


def is_known(name: str, columns: Collection[str]) -> bool:
    """Whether a variable is a field of every lead or one of the list's columns."""
    return _is_known(_key(name), _keys(columns))


def unfilled(template: str, columns: Collection[str] = ()) -> tuple[str, ...]:
    """Return braces that are no variable: never closed, without a name, or a mention's `{{0}}`."""
    keys = _keys(columns)
    found: dict[str, None] = {}
    for piece in spintax.literals(template):
        text = "".join("x" if isinstance(part, Variable) else part for part in _parts(piece, keys))
        found.update(dict.fromkeys(_LEFTOVER.findall(text)))
    return tuple(found)


def text_limit(operation: Operation, tier: Tier) -> int:
    """Return how many UTF-16 code units the text of `operation` may have for a sender of `tier`.

    Raises ValueError for an operation that sends no text.
    """
    if operation is Operation.SEND_CONNECTION_REQUEST:
        return _NOTE_LIMITS.get(tier, _NOTE_LIMIT)
    if operation not in _TEXT_LIMITS:
        raise ValueError(f"{operation} sends no text")
    return _TEXT_LIMITS[operation]


def length(text: str) -> int:
    """Count UTF-16 code units: an emoji is two or more.

    LinkedIn does not say what it counts.  Its page and its servers hold text in UTF-16, and no
    other way of counting characters gives a larger number, so what fits here fits there.
    """
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def extent(template: str, value_length: int, columns: Collection[str] = ()) -> tuple[int, int]:
    """Return the least and the most units of the text when values have `value_length` each.

    The two differ where the text has spintax.
    """
    keys = _keys(columns)

    def size(piece: str) -> int:
        parts = _parts(piece, keys)
        return sum(value_length if isinstance(part, Variable) else length(part) for part in parts)

    return spintax.extent(template, size)


def collapsed(text: str) -> str:
    """Return a text as it is compared: NFC, with all white space collapsed; see `normalised`."""
    return " ".join(normalised(text).split())


def _parts(template: str, keys: Collection[str]) -> Iterator[str | Variable]:
    """Cut a template into literal text and variables; `keys` are the columns' keys."""
    template = template.replace("\r\n", "\n").replace("\r", "\n")
    end = 0
    for found in _VARIABLE.finditer(template):
        if (braced := found["braced"]) is not None:
            name, fallback = _key(braced), found["else_braced"]
            if not name or name.isdigit():
                continue
        else:
            name, fallback = _key(found["squared"]), found["else_squared"]
            if not _is_known(name, keys):
                continue
        if end < found.start():
            yield template[end : found.start()]
        yield Variable(name, None if fallback is None else fallback.strip())
        end = found.end()
    if end < len(template):
        yield template[end:]


def _is_known(key: str, keys: Collection[str]) -> bool:
    return key in keys or field_of(key) is not None


def _values(fields: Mapping[str, str | None]) -> dict[str, str]:
    """Return the values there are by key, and under the name of the field a key stands for."""
    own: dict[str, str] = {}
    for name, raw in fields.items():
        if value := _clean(raw or ""):
            own.setdefault(_key(name), value)
    values = {ALIASES.get(key, key): value for key, value in reversed(own.items())} | own
    if "first_name" in values and "last_name" in values:
        values.setdefault("full_name", f"{values['first_name']} {values['last_name']}")
    return values


def _clean(value: str) -> str:
    """Return a value as one line of text, or "" for one that must not be sent."""
    if _LEFTOVER.search(value) or value.strip() in NO_VALUE:
        return ""
    if value.isascii() and value.isprintable():  # with the cache of keys 1.19 times the steps
        return value.strip()
    pieces = "".join("\n" if _breaks(char) else char for char in value).split("\n")
    trimmed = (piece.strip().strip(INVISIBLE).strip() for piece in pieces)
    return " ".join(piece for piece in trimmed if piece)


def _breaks(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}

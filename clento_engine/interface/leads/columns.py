"""Which column of a file is which field of a lead: by what it holds, and by what it is called."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from clento_engine.domain.lead import Identity, email_address, identity, member_id
from clento_engine.domain.missing_value import is_nothing
from clento_engine.interface.leads.headers import WHO, is_of_others, known, squashed
from clento_engine.interface.leads.source import UnreadableFile

NO_COLUMN = "-"  # mapped to it, a field has none
_BY_NUMBER = re.compile(r"#\s*(\d{1,6})")

# What an address of anybody looks like, one that cannot be invited as well.
ADDRESS = re.compile(
    r"linkedin\.com/(?:[\w/]{0,20}/)?(?:in|pub|sales|profile|talent|recruiter)/"
    r"|\burn:li:\w*(?:profile|member)|(?:^|/)in/[\w%]|^A(?:[CD]o|Cw|E\w)AA[\w-]{3,}$",
    re.IGNORECASE,
)
# How a value begins that is an address, and does not only tell of one somewhere.
_BEGINS = re.compile(
    r"""[\s"'(<]*(?:(?:https?:/*|//)?(?:[\w-]+\.)*linkedin\.com|/?in/|urn:li:|A[CD]oAA)"""
    r"""|\[[^\]]*\]\(|=\s*(?:HYPERLINK\(\s*)?["']http|<a\s""",
    re.IGNORECASE,
)
_NO_NAME = re.compile(r"https?://|www\.|[+\d\s().,/-]+$|[^\s@]+@[^\s@]+$", re.IGNORECASE)
_SALUTATIONS = frozenset(
    {"mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "herr", "frau", "mme", "m", "mlle"}
    | {"sr", "sra", "sig", "sig.ra", "dott", "hr", "fr", "monsieur", "madame"}
)


@dataclass(frozen=True)
class Column:
    """A column: its place, counted from 0, its name, and what the first rows have in it."""

    position: int
    name: str
    values: tuple[str, ...]  # those that are something

    @cached_property
    def squashed(self) -> str:
        return squashed(self.name)

    @cached_property
    def shown(self) -> str:
        return repr(self.name) if self.squashed else f"#{self.position + 1}, which has no name"

    def count(self, is_so: Callable[[str], bool]) -> int:
        return sum(map(is_so, self.values))

    @cached_property
    def people(self) -> int:
        """How many values are the address or id of somebody who can be invited."""
        return self.count(_is_address)

    @cached_property
    def is_mostly_people(self) -> bool:
        """Whether it holds people's addresses, and not one person's alone."""
        mostly = self.people > 0 and self.people * 2 >= len(self.values)
        return mostly and (len(self.values) < _MANY or len(set(self.values)) > 1)

    @cached_property
    def emails(self) -> int:
        return self.count(lambda value: email_address(value) is not None)


_MANY = 3  # rows: the same address in so many is not the leads'


@dataclass(slots=True)
class Assigned:
    """Which position is which field, why, and what else is to be said about the columns."""

    fields: dict[str, int] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    addresses: list[int] = field(default_factory=list)  # the likeliest first
    remarks: list[str] = field(default_factory=list)

    def take(self, name: str, column: Column, why: str) -> None:
        self.fields[name] = column.position
        self.why[name] = why

    def is_taken(self, column: Column) -> bool:
        return column.position in self.fields.values() or column.position in self.addresses


def assigned(columns: Sequence[Column], mapping: Mapping[str, str]) -> Assigned:
    """Say which column is which field.

    What `mapping` says is never judged.  A name is believed where the column's values do not speak
    against it; addresses, ids and e-mails are found under any name.  Raises UnreadableFile where
    two columns may be the people's addresses, or the mapping names none or several.
    """
    done = Assigned()
    for name, text in mapping.items():
        if text.strip() != NO_COLUMN:
            done.take(name, mapped(text, name, columns), "as --map says")
    free = [column for column in columns if not done.is_taken(column)]
    if "profile_url" in mapping:
        done.addresses = [done.fields[name] for name in ("profile_url",) if name in done.fields]
    else:
        _find_addresses(done, free)
    _find_ids(done, free, mapping)
    for name in ("first_name", "last_name", "company", "job_title"):
        if name not in mapping:
            _find_by_name(done, free, name, _may_be_named)
    if "full_name" not in mapping:
        _find_full_name(done, free, mapping)
    if "email" not in mapping:
        _find_email(done, free)
    return done


def mapped(text: str, name: str, columns: Sequence[Column]) -> Column:
    """Return the column that a mapping means: by its name, else by its number, `#3`."""
    found = named(text, [column.name for column in columns])
    seen = f"the columns are {listed(columns)}"
    if len(found) > 1:
        numbers = " or ".join(f"--map {name}=#{position + 1}" for position in found)
        raise UnreadableFile(f"more than one column is named {text!r}", f"say {numbers}")
    if found:
        return columns[found[0]]
    if 1 <= (number := number_of(text)) <= len(columns):
        return columns[number - 1]
    raise UnreadableFile(f"there is no column {text!r} for {name}", seen)


def named(text: str, names: Sequence[str]) -> list[int]:
    """Return the positions of the names that are `text`, else of those that are spelled alike."""
    exact = [position for position, name in enumerate(names) if name == text.strip()]
    alike = squashed(text)
    return exact or [
        position for position, name in enumerate(names) if alike and squashed(name) == alike
    ]


def number_of(text: str) -> int:
    """Return the number by which a mapping names its column, from 1; 0 if it does not."""
    number = _BY_NUMBER.fullmatch(text.strip())
    return 0 if number is None else int(number[1])


def listed(columns: Iterable[Column]) -> str:
    """Name columns in a sentence."""
    return ", ".join(column.shown for column in columns)


def _find_addresses(done: Assigned, free: Sequence[Column]) -> None:
    by_name = list(_by_name(free, "profile_url"))
    found = [column for column in by_name if column.people]
    why = "by its name"
    if not found and (held := _holding_people(free)) is not None:
        found = [held]
        why = "by what it holds: " + _share(held.people, held, "profile addresses")
    for column in [*found, *(column for column in by_name if column not in found)]:
        if not done.addresses:
            done.take("profile_url", column, why)
        done.addresses.append(column.position)
    others = [
        column
        for column in free
        if column.is_mostly_people and column.position not in done.addresses
    ]
    done.remarks += [
        f"{column.shown} holds profile addresses too, and is not read for them: "
        "if it is the lead's, --map profile_url=COLUMN says so"
        for column in others
        if done.addresses and not _is_known(column, "public_identifier", "provider_id")
    ]


def _holding_people(free: Sequence[Column]) -> Column | None:
    """Return the one column that holds the leads' addresses, by whatever name; None if none does.

    Raises UnreadableFile where several may.
    """
    held = [
        column
        for column in free
        if column.is_mostly_people
        and column.count(lambda value: "/" in value) > 0
        and not is_of_others(column.name)
    ]
    best = max(map(_sounds_right, held), default=0)
    held = [column for column in held if _sounds_right(column) == best]
    if len(held) > 1 and not all(_agree(held[0], other) for other in held[1:]):
        raise UnreadableFile(
            f"several columns hold profile addresses: {listed(held)}",
            "say which is the lead's: --map profile_url=COLUMN",
        )
    return held[0] if held else None


def _sounds_right(column: Column) -> int:
    return sum(word in column.squashed for word in ("linkedin", "profil", "perfil"))


def _agree(one: Column, other: Column) -> bool:
    """Whether two columns name the same people, in each row that the sample has."""
    if len(one.values) != len(other.values):
        return False
    return all(
        isinstance(a, Identity) and isinstance(b, Identity) and _may_be_one(a, b)
        for a, b in zip(map(identity, one.values), map(identity, other.values), strict=True)
    )


def _may_be_one(a: Identity, b: Identity) -> bool:
    return a.key == b.key or (a.provider_id is None) != (b.provider_id is None)


def _find_ids(done: Assigned, free: Sequence[Column], mapping: Mapping[str, str]) -> None:
    for name, is_one, what in (
        ("public_identifier", _is_identifier, "public identifiers"),
        ("provider_id", _is_member_id, "LinkedIn's ids of members"),
    ):
        if name in mapping:
            continue
        for column in _by_name(free, name):
            if done.is_taken(column):
                continue
            if column.values and not column.count(is_one):
                done.remarks.append(
                    f"{column.shown} holds none of {what}: it is kept as a field of its own"
                )
            elif name not in done.fields:
                done.take(name, column, "by its name")
    if not done.addresses and not {*WHO} & done.fields.keys() and not {*WHO} & mapping.keys():
        held = [
            column for column in free if column.is_mostly_people and not is_of_others(column.name)
        ]
        if len(held) == 1:
            why = "by what it holds: " + _share(held[0].people, held[0], "LinkedIn's ids")
            done.take("provider_id", held[0], why)


def _find_by_name(
    done: Assigned, free: Sequence[Column], name: str, may_be: Callable[[Column], bool]
) -> None:
    for column in _by_name(free, name):
        if done.is_taken(column):
            continue
        if may_be(column):
            done.take(name, column, "by its name")
            return
        done.remarks.append(
            f"{column.shown} is not read as {name}: "
            f"{column.values[0]!r} is none; --map {name}=COLUMN says otherwise"
        )


def _find_full_name(done: Assigned, free: Sequence[Column], mapping: Mapping[str, str]) -> None:
    """Find whole names, and whole names that are called a first or a last name."""
    for column in _by_name(free, "full_name"):
        if done.is_taken(column):
            continue
        first = _column_of(done, free, "first_name")
        pairs = [] if first is None else list(zip(first.values, column.values, strict=False))
        if pairs and not any(one.casefold() in whole.casefold() for one, whole in pairs):
            # a last name, as in “Name, Vorname”; or the name of something else
            if first is not None and "last_name" not in {*done.fields, *mapping}:
                done.take("last_name", column, f"by its name, beside {first.shown}")
            continue
        if _may_be_named(column):
            done.take("full_name", column, "by its name")
            return
    for name, other in (("first_name", "last_name"), ("last_name", "first_name")):
        alone = _column_of(done, free, name)
        has_other = not {other, "full_name"}.isdisjoint(done.fields)
        if alone is None or has_other or name in mapping or alone.squashed not in _MAY_BE_BOTH:
            continue
        if alone.count(lambda value: " " in value) * 2 > len(alone.values):
            del done.fields[name], done.why[name]
            done.take("full_name", alone, "by its name, and by what it holds: whole names")


# Words that are a first or last name beside the other, and a whole name where they stand alone.
_MAY_BE_BOTH = frozenset({"nombre", "nome", "nom", "adi"})


def _find_email(done: Assigned, free: Sequence[Column]) -> None:
    by_name = [column for column in _by_name(free, "email") if not done.is_taken(column)]
    if by_name:
        done.take("email", next((c for c in by_name if c.emails), by_name[0]), "by its name")
        return
    held = [
        column
        for column in free
        if column.emails * 2 > len(column.values)
        and not done.is_taken(column)
        and not is_of_others(column.name)
        and (len(column.values) < _MANY or len(set(column.values)) > 1)
    ]
    if len(held) == 1:
        why = "by what it holds: " + _share(held[0].emails, held[0], "e-mail addresses")
        done.take("email", held[0], why)


def _by_name(free: Sequence[Column], name: str) -> Iterator[Column]:
    """Yield the columns that are called so, the likeliest first."""
    ranked = []
    for column in free:
        found = known(column.squashed)
        if found is not None and found[0] == name and not is_of_others(column.name):
            ranked.append((found[1], column.position, column))
    for _, _, column in sorted(ranked, key=lambda each: each[:2]):
        yield column


def _is_known(column: Column, *names: str) -> bool:
    found = known(column.squashed)
    return found is not None and found[0] in names


def _column_of(done: Assigned, free: Sequence[Column], name: str) -> Column | None:
    return next((c for c in free if c.position == done.fields.get(name)), None)


def _may_be_named(column: Column) -> bool:
    """Whether a column may hold names: not addresses, numbers or salutations alone."""
    return not column.values or not all(
        _NO_NAME.match(value) or value.strip(" .").casefold() in _SALUTATIONS
        for value in column.values
    )


def _is_identifier(value: str) -> bool:
    return isinstance(identity(value), Identity)


def _is_address(value: str) -> bool:
    """Whether a value is the address or id of somebody who can be invited, and no mere word."""
    who = identity(value) if _BEGINS.match(value) else None
    return isinstance(who, Identity) and ("/" in value or who.provider_id is not None)


def _is_member_id(value: str) -> bool:
    who = member_id(value)
    return isinstance(who, Identity) and who.provider_id is not None


def _share(count: int, column: Column, what: str) -> str:
    return f"{count:,} of {len(column.values):,} values are {what}"


def values_of(cells: Iterable[str]) -> tuple[str, ...]:
    """Return the cells of a column that are something."""
    return tuple(cell.strip() for cell in cells if cell.strip() and not is_nothing(cell.strip()))

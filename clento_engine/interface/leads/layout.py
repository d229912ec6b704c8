"""How a file of leads is to be read: its encoding, delimiter, header and columns."""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from clento_engine.domain.lead import Rejected
from clento_engine.interface.leads.cells import NAMED, line
from clento_engine.interface.leads.columns import (
    ADDRESS,
    NO_COLUMN,
    Assigned,
    Column,
    assigned,
    listed,
    named,
    number_of,
    values_of,
)
from clento_engine.interface.leads.headers import FIELDS, WHO, key, known, squashed
from clento_engine.interface.leads.records import records
from clento_engine.interface.leads.source import UnreadableFile, encoding_of

HEADER_WITHIN = 60  # records from the file's start
MOST_COLUMNS = 16_384  # Excel's
_SAMPLE_LINES = 300
_SAMPLE_SIZE = 4 << 20  # characters
_DELIMITERS = ",;\t|"
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is to be read; positions count columns from 0."""

    encoding: str
    delimiter: str
    header_lines: int  # how many lines come before the first data row
    columns: tuple[str, ...]  # as the file names them
    addresses: tuple[int, ...]  # where a profile address may be, the likeliest first
    fields: Mapping[str, int]  # where each of `FIELDS` is, of those that the file has
    custom: tuple[tuple[int, str], ...]  # all other columns, with the keys they get
    why: Mapping[str, str] = field(default_factory=dict)  # of each field: why that column
    remarks: tuple[str, ...] = ()  # what else whoever imports it wants to know

    named: tuple[tuple[str, int], ...] = field(init=False)  # the fields that texts fill in

    def __post_init__(self) -> None:
        named = tuple(each for each in self.fields.items() if each[0] in NAMED)
        object.__setattr__(self, "named", named)

    @property
    def has_profiles(self) -> bool:
        """Whether a column says who each row is."""
        return not self.fields.keys().isdisjoint(WHO)


@dataclass(frozen=True, slots=True)
class _Header:
    """The record that names the columns; `number` 0: there is none, and they have no names.

    `last_line` is the line before the first row.
    """

    number: int
    last_line: int
    names: tuple[str, ...]


def layout(
    path: Path, mapping: Mapping[str, str] | None = None, *, encoding: str | None = None
) -> Layout:
    """Return how the CSV file at `path` is to be read.

    `mapping` names the column of a field where the header would be misread, for instance
    `{"profile_url": "Person"}`, or its number, `#3`.  `encoding` is for files that are not UTF-8.
    The file is decoded once, so that a wrong encoding is known before anything is imported, and
    read again for its rows: of what can be read only once, lend it a copy (`source.kept`).

    Raises UnreadableFile when the file as a whole has no meaning: not a CSV, not UTF-8, no column
    that says who is meant.
    """
    mapping = mapping or {}
    for name in mapping:
        if name not in FIELDS:
            raise UnreadableFile(
                f"there is no field {name!r}", f"the fields are {', '.join(FIELDS)}"
            )
    encoding, remark = encoding_of(path, encoding)
    with path.open(encoding=encoding, newline="") as text:
        lines = _sample(text)
    sep = _SEP_LINE.fullmatch(lines[0]) if lines else None  # Excel's way to name the delimiter
    readings = [
        _Reading.of(lines, delimiter, 1 if sep else 0, mapping, encoding)
        for delimiter in (sep[1] if sep else _DELIMITERS)
    ]
    found = [reading for reading in readings if reading is not None]
    if not found:
        raise UnreadableFile("the file is empty", "export it again, with its header row")
    best = max(found, key=lambda each: each.likelihood(mapping))
    done = best.assigned(mapping)
    return Layout(
        encoding,
        best.delimiter,
        best.header.last_line,
        tuple(column.name for column in best.columns),
        tuple(done.addresses),
        done.fields,
        tuple(_custom(best.columns, done)),
        done.why,
        (*([remark] if remark else []), *done.remarks),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """The file's first rows, read with one delimiter."""

    delimiter: str
    header: _Header
    columns: tuple[Column, ...]
    address: tuple[int, str] | None  # the first cell that looks like one, and its position

    @classmethod
    def of(
        cls,
        lines: Sequence[str],
        delimiter: str,
        skip: int,
        mapping: Mapping[str, str],
        encoding: str,
    ) -> "_Reading | None":
        """Read the lines behind the first `skip`; None if there is nothing in them."""
        rows = [
            (last, record)
            for _, last, record in records(iter(lines[skip:]), delimiter, skip)
            if not isinstance(record, Rejected)
        ]
        header = _header(rows, skip, mapping, encoding)
        if header is None:
            return None
        cells = [record for last, record in rows if last > header.last_line]
        return cls(
            delimiter,
            header,
            tuple(
                Column(
                    position,
                    name,
                    values_of(row[position] for row in cells if position < len(row)),
                )
                for position, name in enumerate(header.names)
            ),
            next(
                (
                    (position, cell)
                    for row in cells
                    for position, cell in enumerate(row)
                    if ADDRESS.search(cell)
                ),
                None,
            ),
        )

    def likelihood(self, mapping: Mapping[str, str]) -> tuple[int, ...]:
        """Return how likely the delimiter is: the one that finds what is mapped, then people."""
        names = [column.name for column in self.columns]
        by_name = [known(column.squashed) for column in self.columns]
        return (
            _mapped(mapping, names),
            any(column.is_mostly_people for column in self.columns),
            any(found is not None and found[0] in WHO for found in by_name),
            sum(found is not None for found in by_name),
            len(names),
        )

    def assigned(self, mapping: Mapping[str, str]) -> Assigned:
        """Say which column is which field.  Raises UnreadableFile where none says who is meant."""
        if self.header.number == 0 and not _are_numbers(mapping):
            position, value = self.address or (0, "")
            raise UnreadableFile(
                f"the first row is not a header: {shortened(value)!r} is in its column "
                f"{position + 1}",
                "put the names of the columns above it, for instance “LinkedIn URL”, or name "
                f"columns by number: --map profile_url=#{position + 1}",
            )
        done = assigned(self.columns, mapping)
        if not {*WHO} & done.fields.keys():
            raise self._without_people()
        return done

    def _without_people(self) -> UnreadableFile:
        problem = (
            f"no column with profile addresses was found; row {self.header.number} was taken for "
            f"the header: the columns are {listed(self.columns)}"
        )
        if self.address is None:
            return UnreadableFile(problem, "name it with --map profile_url=COLUMN")
        position, value = self.address
        return UnreadableFile(
            f"{problem}; values of column {position + 1} look like addresses: {shortened(value)!r}",
            f"if they are the leads', say --map profile_url=#{position + 1};"
            " if not, name theirs with --map profile_url=COLUMN",
        )


def _sample(text: Iterator[str]) -> list[str]:
    """Return the first lines of a file, in bounded memory."""
    lines: list[str] = []
    size = 0
    for each in islice(text, _SAMPLE_LINES):
        lines.append(each)
        size += len(each)
        if size > _SAMPLE_SIZE:
            break
    return lines


def _header(
    rows: Sequence[tuple[int, Sequence[str]]],
    skip: int,
    mapping: Mapping[str, str],
    encoding: str,
) -> _Header | None:
    """Return the record that names the columns; None if no record has anything in it.

    It stands above the first record with an address in it, and has names that are known, or as
    many cells as the rows below.  Notes above it have one or two, padded by a spreadsheet or not.
    """
    candidates: list[_Header] = []
    scores: list[int] = []
    width = max((len(record) for _, record in rows), default=0)
    least = min(width, max(map(number_of, mapping.values()), default=0))
    for number, (last, record) in enumerate(rows[:HEADER_WITHIN], start=1):
        if any(ADDRESS.search(cell) for cell in record):
            break
        names = _names(record, encoding)
        filled = sum(1 for name in names if squashed(name))
        if filled and len(names) >= least:
            candidates.append(_Header(number, last, names))
            scores.append(filled + 2 * _fields_named(names) + 100 * _mapped(mapping, names))
    if not candidates:
        return _no_header(rows, skip, max(least, 1))
    enough = max(scores) * 0.6
    found = next(h for h, score in zip(candidates, scores, strict=True) if score >= enough)
    if len(found.names) > MOST_COLUMNS:
        raise UnreadableFile(
            f"the header has {len(found.names):,} columns, and {MOST_COLUMNS:,} are the most",
            "leave out columns that nobody needs",
        )
    return found


def _no_header(rows: Sequence[tuple[int, Sequence[str]]], skip: int, least: int) -> _Header | None:
    """Return that the first record as wide as `least` is data; None if there is none."""
    before = skip
    for last, record in rows:
        if len(record) >= least and any(map(squashed, record)):
            return _Header(0, before, tuple("" for _ in record))
        before = last
    return None


def _names(record: Sequence[str], encoding: str) -> tuple[str, ...]:
    """Return a record as columns' names, without what padding leaves at its end."""
    mark = codecs.BOM_UTF8.decode(encoding, "ignore")  # of a file that is not what its mark says
    names = [line(cell.removeprefix(mark) if mark else cell) or "" for cell in record]
    while len(names) > 1 and not names[-1]:
        names.pop()
    return tuple(names)


def _fields_named(names: Sequence[str]) -> int:
    return len({found[0] for name in names if (found := known(squashed(name))) is not None})


def _mapped(mapping: Mapping[str, str], names: Sequence[str]) -> int:
    return sum(
        1 for text in mapping.values() if named(text, names) or 0 < number_of(text) <= len(names)
    )


def _are_numbers(mapping: Mapping[str, str]) -> bool:
    """Whether a mapping needs no header: it names columns by number alone."""
    said = [text for text in mapping.values() if text.strip() != NO_COLUMN]
    return bool(said) and all(map(number_of, said))


def _custom(columns: Sequence[Column], done: Assigned) -> Iterator[tuple[int, str]]:
    """Yield the columns that are no field, each with a key of its own."""
    taken = {*FIELDS}
    numbers: dict[str, int] = {}
    fields = {*done.fields.values()}
    for column in columns:
        if column.position in fields:
            continue
        base = key(column.name) or f"column_{column.position + 1}"
        free = base
        number = numbers.get(base, 2)
        while free in taken:
            free = f"{base}_{number}"
            number += 1
        numbers[base] = number
        taken.add(free)
        yield column.position, free


def shortened(value: str) -> str:
    """Return a value as it can be shown on a line."""
    seen = "".join(sign if sign.isprintable() else " " for sign in value[: 2 * _SHORT])
    seen = " ".join(seen.split())
    return seen if len(seen) <= _SHORT else seen[: _SHORT - 1] + "…"


_SHORT = 80  # characters of a value shown in the report

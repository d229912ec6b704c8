"""The file of leads: a CSV as people export it, read into rows.

What is certain is put right without asking (addresses, spaces, a byte order mark); what would be
a guess is reported with its row and a fix, because a guessed name is sent to a real person.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from clento_engine.domain.lead import (
    Identity,
    LeadRow,
    Rejected,
    email_address,
    identity,
)
from clento_engine.domain.outside import decomposed, normalised
from clento_engine.store.met import Met


class UnreadableFile(Exception):
    """The file as a whole cannot be read: `problem` says why, `fix` what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is no lead, for the report.

    `row_number` counts data rows from 1; `line_number` is the line of the file on which the row
    starts, which is not the same once a cell holds a line break.  `duplicate_of` is the earlier
    row of the same person: such a row is reported, but nobody is lost by it.
    """

    row_number: int
    line_number: int
    field: str
    value: str  # shortened, printable
    problem: str
    fix: str
    duplicate_of: int | None = None


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

    @property
    def has_profiles(self) -> bool:
        """Whether a column says who each row is."""
        return not self.fields.keys().isdisjoint(_WHO)


FIELDS = (
    "profile_url",
    "public_identifier",
    "provider_id",
    "first_name",
    "last_name",
    "company",
    "job_title",
    "email",
)

_WHO = FIELDS[:3]

# Header names with case, accents and punctuation taken off; the likeliest first.  Learned from the
# exports of LinkedIn itself, Apollo, Phantombuster, Waalaxy, Evaboot, HubSpot and from spreadsheets
# in French, German and Spanish.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "profile_url": (
        *(
            "linkedinurl",
            "linkedinprofileurl",
            "personlinkedinurl",
            "profileurl",
            "linkedinprofile",
        ),
        *("defaultprofileurl", "publicprofileurl", "linkedinpublicurl", "linkedinpublicprofileurl"),
        *("contactlinkedinurl", "leadlinkedinurl", "prospectlinkedinurl", "memberlinkedinurl"),
        *("linkedinlink", "linkedinaddress", "linkedin", "personlinkedin", "contactlinkedin"),
        *("linkedinpersonalurl", "linkedinprofilelink", "profilelink", "liurl", "liprofileurl"),
        *("urllinkedin", "lienlinkedin", "profillinkedin", "urlduprofil", "linkedinprofil"),
        *("perfillinkedin", "perfildelinkedin", "salesnavigatorurl", "salesnavigatorprofileurl"),
        *("linkedinsalesnavigatorurl", "salesnavurl", "url", "link", "lien"),
    ),
    "public_identifier": (
        *("publicidentifier", "linkedinpublicidentifier", "publicid", "linkedinpublicid"),
        *("linkedinslug", "linkedinusername", "linkedinhandle", "vanityname", "profileslug"),
    ),
    "provider_id": ("providerid", "linkedinproviderid", "linkedinprofileid", "profileid"),
    "first_name": (
        *("firstname", "first", "givenname", "forename", "contactfirstname", "leadfirstname"),
        *("prenom", "vorname", "nombre"),
    ),
    "last_name": (
        *("lastname", "last", "surname", "familyname", "contactlastname", "leadlastname"),
        *("nom", "nomdefamille", "nachname", "apellido", "apellidos"),
    ),
    "company": (
        *("company", "companyname", "organization", "organisation", "organizationname"),
        *("organisationname", "employer", "currentcompany", "currentcompanyname", "accountname"),
        *("account", "entreprise", "societe", "firma", "unternehmen", "empresa"),
    ),
    "job_title": (
        *("jobtitle", "title", "position", "role", "jobrole", "currenttitle", "currentposition"),
        *("currentjobtitle", "occupation", "job", "poste", "fonction", "intituledeposte"),
        *("berufsbezeichnung", "puesto", "cargo"),
    ),
    "email": (
        *("email", "emailaddress", "workemail", "businessemail", "professionalemail", "mail"),
        *("contactemail", "leademail", "primaryemail", "email1", "personalemail"),
        *("adresseemail", "adressemail", "courriel", "correo", "correoelectronico"),
    ),
}

MAX_KEY = 60  # characters of a custom field's key
_SHORT = 80  # characters of a value shown in the report
_SAMPLE_LINES = 40
_DELIMITERS = ",;\t|"
_CHUNK = 1 << 20  # bytes

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_NO_VALUE = frozenset(
    {"", "#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "N/A", "n/a", "NULL", "null"}
)
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SAVE_AS_CSV = "save it as CSV (in Excel: “CSV UTF-8 (comma delimited)”)"


def read_leads(
    path: Path, mapping: Mapping[str, str] | None = None, *, encoding: str | None = None
) -> Iterator[LeadRow | RejectedRow]:
    """Return the rows of the CSV file at `path`, in its order, each as a lead or with a reason.

    `mapping` names the column of a field where the header would be misread, for instance
    `{"profile_url": "Person"}`.  `encoding` is for files that are not UTF-8; a byte order mark is
    always believed.  Of a person met twice the first row counts.  Rows are read as they are asked
    for, and the identities met are kept on disk: a file of any size takes the same memory.

    Raises UnreadableFile, at once and not at the first row, when the file as a whole has no
    meaning: not a CSV, not UTF-8, no column that says who is meant.
    """
    return _rows(path, layout(path, mapping, encoding=encoding))


def layout(
    path: Path, mapping: Mapping[str, str] | None = None, *, encoding: str | None = None
) -> Layout:
    """Return how `read_leads` will read the file: what a dry run shows first.

    The whole file is decoded once, so that a wrong encoding is known before anything is imported.
    Raises UnreadableFile.
    """
    mapping = mapping or {}
    for name in mapping:
        if name not in FIELDS:
            raise UnreadableFile(
                f"there is no field {name!r}", f"the fields are {', '.join(FIELDS)}"
            )
    try:
        with path.open("rb") as file:
            encoding = _encoding(file, encoding)
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read: {error.strerror}", "give a CSV file"
        ) from None
    with path.open(encoding=encoding, newline="") as text:
        lines = list(islice(text, _SAMPLE_LINES))
    sep = _SEP_LINE.fullmatch(lines[0]) if lines else None  # Excel's way to name the delimiter
    layouts = [
        _layout(encoding, delimiter, number, names, mapping)
        for delimiter in (sep[1] if sep else _DELIMITERS)
        for number, names in _headers(lines, 1 if sep else 0, delimiter)
    ]
    if not layouts:
        raise UnreadableFile("the file is empty", "export it again, with its header row")
    # The delimiter that finds people is the right one; then the one that finds most columns.
    best = max(layouts, key=lambda each: (each.has_profiles, len(each.columns)))
    _check(best, mapping)
    return best


def _encoding(file: BinaryIO, chosen: str | None) -> str:
    """Return the name of the encoding in which all of `file` can be read."""
    start = file.read(_CHUNK)
    file.seek(0)
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile("this is an Excel workbook, not a CSV file", _SAVE_AS_CSV)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's “Unicode text”
        name = "utf-16"
    elif start.startswith(codecs.BOM_UTF8) or chosen is None:
        name = "utf-8"
    else:
        name = chosen
    if name != "utf-16" and start.count(0) * 4 > len(start):
        raise UnreadableFile("this is not a text file, or UTF-16 without its mark", _SAVE_AS_CSV)
    try:
        "".encode(name)
    except LookupError:
        raise UnreadableFile(
            f"there is no encoding {name!r}", "leave it out for UTF-8, or give one such as cp1252"
        ) from None
    decoder = codecs.getincrementaldecoder(name)()
    read = lines = 0
    while chunk := file.read(_CHUNK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            # Guessing would be silent: cp1252, cp1250 and Mac Roman accept each other's bytes, and
            # a first name with a wrong letter in it would be sent to its owner.
            at = error.start - pending
            raise UnreadableFile(
                f"the file is not {name.upper()}: byte 0x{error.object[error.start]:02X} at offset "
                f"{read + at} (line {lines + chunk[: max(at, 0)].count(10) + 1})",
                f"{_SAVE_AS_CSV}, or name its encoding, for instance --encoding cp1252 "
                "for a file from Excel on Windows in Western Europe",
            ) from None
        read += len(chunk)
        lines += chunk.count(10)
    if decoder.getstate()[0]:
        raise UnreadableFile(
            f"the file is not {name.upper()}: it ends within a character", "export it again"
        )
    return "utf-8-sig" if name == "utf-8" else name


def _headers(
    lines: Sequence[str], skip: int, delimiter: str
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield which records may be the header, each with the number of its last line.

    That is the first record or, where notes come before it as in LinkedIn's own export of
    connections, the first with more than one cell.
    """
    reader = csv.reader(lines[skip:], delimiter=delimiter, skipinitialspace=True)
    first = True
    try:
        for record in reader:
            names = tuple(_line(name) or "" for name in record)
            if any(map(_squashed, names)) and (first or len(names) > 1):
                yield skip + reader.line_num, names
                first = False
            if len(names) > 1:
                return
    except csv.Error:
        return


def _layout(
    encoding: str,
    delimiter: str,
    header_lines: int,
    names: tuple[str, ...],
    mapping: Mapping[str, str],
) -> Layout:
    squashed = [_squashed(name) for name in names]
    found = {field: _named(column, names) for field, column in mapping.items()}
    mapped = {position for positions in found.values() for position in positions}
    for field in FIELDS:
        if field not in mapping:
            found[field] = [
                position
                for spelling in _SPELLINGS[field]
                for position, name in enumerate(squashed)
                if name == spelling and position not in mapped
            ]
    fields = {field: positions[0] for field, positions in found.items() if positions}
    taken = {*FIELDS}
    custom = []
    for position, name in enumerate(names):
        if position not in fields.values():
            key = base = _key(name) or f"column_{position + 1}"
            number = 2
            while key in taken:
                key = f"{base}_{number}"
                number += 1
            taken.add(key)
            custom.append((position, key))
    return Layout(
        encoding,
        delimiter,
        header_lines,
        names,
        tuple(found["profile_url"]),
        fields,
        tuple(custom),
    )


def _check(layout: Layout, mapping: Mapping[str, str]) -> None:
    """Raise UnreadableFile where the header does not say all that is needed."""
    seen = f"the columns are {', '.join(repr(name) for name in layout.columns)}"
    for field, column in mapping.items():
        match len(_named(column, layout.columns)):
            case 0:
                raise UnreadableFile(f"there is no column {column!r} for {field}", seen)
            case 1:
                continue
            case _:
                raise UnreadableFile(f"more than one column is named {column!r}", "rename one")
    if layout.has_profiles:
        return
    if any(isinstance(identity(name), Identity) and "/" in name for name in layout.columns):
        raise UnreadableFile(
            f"the first row is not a header: {_shortened(', '.join(layout.columns))}",
            "put the names of the columns above it, for instance “LinkedIn URL”",
        )
    raise UnreadableFile(
        f"no column with profile addresses was found; {seen}",
        "name it with --map profile_url=COLUMN",
    )


def _named(column: str, names: Sequence[str]) -> list[int]:
    exact = [position for position, name in enumerate(names) if name == column.strip()]
    alike = _squashed(column)
    return exact or [
        position for position, name in enumerate(names) if alike and _squashed(name) == alike
    ]


def _rows(path: Path, layout: Layout) -> Iterator[LeadRow | RejectedRow]:
    width = len(layout.columns)
    with Met() as met, path.open(encoding=layout.encoding, newline="") as text:
        for _ in islice(text, layout.header_lines):
            pass
        for row_number, line_number, record in _records(text, layout):
            if isinstance(record, Rejected):
                yield _rejected(row_number, line_number, "", record)
                continue
            if not any(cell and not cell.isspace() for cell in record):
                continue  # nobody: what spreadsheets leave below their last row
            cells, notes = record, []
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                yield _rejected(
                    row_number,
                    line_number,
                    layout.delimiter.join(record),
                    Rejected(
                        "row",
                        f"{len(cells)} cells where the header has {width}",
                        "put quotes around the cell that holds the delimiter or a line break",
                    ),
                )
                continue
            if len(cells) < width:
                notes.append(f"{len(cells)} cells where the header has {width}: the rest is empty")
                cells = [*cells, *[""] * (width - len(cells))]
            who, value = _who(cells, layout)
            if isinstance(who, Rejected):
                yield _rejected(row_number, line_number, value, who)
                continue
            names = [name for name in (who.key, who.provider_id) if name is not None]
            first = met.first(names, row_number)
            if first != row_number:
                yield RejectedRow(
                    row_number,
                    line_number,
                    "profile_url",
                    _shortened(value),
                    f"same person as row {first}",
                    "nothing to do: the first of the rows is used",
                    duplicate_of=first,
                )
                continue
            yield _lead(row_number, who, cells, layout, notes)


def _records(
    text: Iterator[str], layout: Layout
) -> Iterator[tuple[int, int, list[str] | Rejected]]:
    """Yield the records with their number and first line; one that cannot be parsed as a reason.

    Quoting is read strictly: with a stray quote nobody knows which words belong to which cell.
    Such a record costs only its first line.  What was read beyond, looking for the closing quote,
    is read again as records of its own.
    """
    lines = _Lines(text, layout.header_lines)
    # With a space kept after the delimiter, the quote behind it would open nothing.
    reader = csv.reader(lines, delimiter=layout.delimiter, skipinitialspace=True, strict=True)
    row_number = 0
    while True:
        line_number = lines.next_record()
        row_number += 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.again()
            if "limit" in str(error):
                problem = f"a cell has more than {csv.field_size_limit():,} characters"
                fix = "shorten it, or close the quote that opens it"
            else:
                problem = "a quote is not closed, or stands inside a quoted cell"
                fix = 'write a quote inside a quoted cell twice: ""'
            yield row_number, line_number, Rejected("row", problem, fix)
        else:
            yield row_number, line_number, record


class _Lines:
    """Lines of the file, counted, which can be read again from the record's second on."""

    def __init__(self, text: Iterator[str], number: int) -> None:
        self._text = text
        self._number = number
        self._record: list[str] = []
        self._repeated: deque[str] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._repeated.popleft() if self._repeated else next(self._text)
        self._number += 1
        self._record.append(line)
        return line

    def next_record(self) -> int:
        """Return the number of the line on which the next record starts."""
        self._record.clear()
        return self._number + 1

    def again(self) -> None:
        """Go back to the second line of the record read last."""
        rest = self._record[1:]
        self._repeated.extendleft(reversed(rest))
        self._number -= len(rest)


def _who(cells: Sequence[str], layout: Layout) -> tuple[Identity | Rejected, str]:
    """Return the person whom a row names, by any of its columns, and the value that says so."""
    found: tuple[Identity, str] | None = None
    refused: tuple[Rejected, str] | None = None
    for position in layout.addresses:
        value = cells[position]
        who = identity(value)
        if isinstance(who, Identity) and who.public_identifier and "/" not in value:
            # a word in the wrong column would be somebody's profile, and that person be invited
            who = Rejected(
                "profile_url",
                "this is not an address",
                "if the column holds public identifiers, say --map public_identifier=COLUMN",
            )
        if isinstance(who, Rejected):
            if refused is None or not refused[1].strip():
                refused = who, value
        elif found is None:
            found = who, value
        else:
            found = found[0].known_also_as(who), found[1]
    for field in ("public_identifier", "provider_id"):
        if field in layout.fields and (value := cells[layout.fields[field]]):
            who = identity(value)
            if isinstance(who, Rejected):
                refused = refused or (replace(who, field=field), value)
            else:
                found = (found[0].known_also_as(who), found[1]) if found else (who, value)
    return (
        found or refused or (Rejected("profile_url", "the row names nobody", "add an address"), "")
    )


def _lead(
    row_number: int,
    who: Identity,
    cells: Sequence[str],
    layout: Layout,
    notes: list[str],
) -> LeadRow:
    values = {
        field: text
        for field, position in layout.fields.items()
        if field not in _WHO and (cell := cells[position]) and (text := _line(cell))
    }
    if written := values.pop("email", None):
        if (email := email_address(written)) is None:  # the person is reached without it
            notes.append(f"{_shortened(written)!r} is not an e-mail address: left out")
        else:
            values["email"] = email
    custom = {
        key: text
        for position, key in layout.custom
        if (cell := cells[position]) and (text := _text(cell))
    }
    return LeadRow(row_number, who, fields=custom, notes=tuple(notes), **values)


def _line(value: str) -> str | None:
    """Return a cell as one line of visible text, or None."""
    text = _text(value)
    return text if text is None or text.isprintable() else " ".join(text.split())


def _text(value: str) -> str | None:
    """Return a cell without what cannot be seen, line breaks kept, or None if nothing is left."""
    text = value.strip()
    if not text.isprintable():
        text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not text.isascii():
        text = normalised(text)
    return None if text in _NO_VALUE else text


def _rejected(row_number: int, line_number: int, value: str, why: Rejected) -> RejectedRow:
    return RejectedRow(row_number, line_number, why.field, _shortened(value), why.problem, why.fix)


def _shortened(value: str) -> str:
    seen = "".join(sign if sign.isprintable() else " " for sign in value[: 2 * _SHORT])
    seen = " ".join(seen.split())
    return seen if len(seen) <= _SHORT else seen[: _SHORT - 1] + "…"


def _squashed(name: str) -> str:
    """Return a column's name as its spellings have it in common: letters and digits alone."""
    plain = decomposed(name.casefold(), compatible=True)
    return "".join(sign for sign in plain if sign.isalnum())


def _key(name: str) -> str:
    """Return the key of a custom field: `Connected On` and `connectedOn` are `connected_on`."""
    words = re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])",
        "_",
        normalised(name).replace("LinkedIn", "Linkedin"),
    )
    return re.sub(r"[\W_]+", "_", words.lower()).strip("_")[:MAX_KEY].strip("_")

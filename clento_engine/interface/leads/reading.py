"""The rows of a file of leads: each a lead, or the reason why it is none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from clento_engine.domain.lead import (
    Identity,
    LeadRow,
    Rejected,
    email_address,
    identity,
    member_id,
)
from clento_engine.domain.missing_value import NOTHING
from clento_engine.interface.leads.cells import (
    line,
    may_be_damaged,
    named_value,
    own_value,
    shown,
    without_hidden_member,
)
from clento_engine.interface.leads.layout import Layout, shortened
from clento_engine.interface.leads.records import records
from clento_engine.store.met import Met


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


def read_leads(
    path: Path, layout: Layout, *, keep_emoji: bool = False
) -> Iterator[LeadRow | RejectedRow]:
    """Yield the rows of the CSV file at `path`, in its order, each as a lead or with a reason.

    Of a person met twice the first row counts.  Rows are read as they are asked for, and the
    identities met are kept on disk: a file of any size takes the same memory.
    """
    width = len(layout.columns)
    with Met() as met, path.open(encoding=layout.encoding, newline="") as text:
        for _ in islice(text, layout.header_lines):
            pass
        row_number = 0
        for line_number, _, record in records(text, layout.delimiter, layout.header_lines):
            row_number += 1
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
                    shortened(value),
                    f"same person as row {first}",
                    "nothing to do: the first of the rows is used",
                    duplicate_of=first,
                )
                continue
            yield _lead(row_number, who, cells, layout, notes, keep_emoji=keep_emoji)


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
    for field, read in (("public_identifier", identity), ("provider_id", member_id)):
        if field in layout.fields and (value := cells[layout.fields[field]]):
            who = read(value)
            if isinstance(who, Rejected):
                refused = refused or (Rejected(field, who.problem, who.fix), value)
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
    *,
    keep_emoji: bool,
) -> LeadRow:
    damaged = may_be_damaged(cells)
    values = {
        field: text
        for field, position in layout.named
        if (cell := cells[position])
        and (
            text := cell  # one plain word, as most first names are
            if not damaged and cell.isalpha() and cell.lower() not in NOTHING
            else named_value(field, cell, notes, may_be_damaged=damaged, emoji=keep_emoji)
        )
    }
    email = None
    if "email" in layout.fields and (written := line(cells[layout.fields["email"]])):
        email = email_address(written)
        if email is None:  # the person is reached without it
            notes.append(f"{shown(written)} is not an e-mail address: left out")
    without_hidden_member(values, notes)
    own = {
        key: text
        for position, key in layout.custom
        if (cell := cells[position])
        and (text := own_value(key, cell, notes, may_be_damaged=damaged))
    }
    if full_name := values.pop("full_name", None):
        own["full_name"] = full_name  # to texts it is a field; leads have no column for it
    return LeadRow(row_number, who, fields=own, notes=tuple(notes), email=email, **values)


def _rejected(row_number: int, line_number: int, value: str, why: Rejected) -> RejectedRow:
    return RejectedRow(row_number, line_number, why.field, shortened(value), why.problem, why.fix)

"""`clento leads`: lists of people, from CSV files."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Generic, TypeVar

import click

from clento_engine.domain.lead import LeadRow
from clento_engine.interface.cli.output import Table, answer
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.values import MAPPED, NAME
from clento_engine.interface.leads.layout import Layout, layout
from clento_engine.interface.leads.reading import RejectedRow, read_leads
from clento_engine.interface.leads.source import kept
from clento_engine.store.leads import Imported, import_leads
from clento_engine.store.lists import lead_lists

T = TypeVar("T")

_SHOWN = 20  # rows of a report for people; JSON has them all


_KEPT = 10_000  # of each kind, for JSON: a file of any size takes the same memory


@dataclass(slots=True)
class _Kept(Generic[T]):
    """The first of many, and how many there were."""

    first: list[T] = field(default_factory=list)
    count: int = 0

    def add(self, each: T) -> None:
        self.count += 1
        if self.count <= _KEPT:
            self.first.append(each)

    def more(self, what: str) -> list[str]:
        """Say how many are not shown to people."""
        left = self.count - min(_SHOWN, len(self.first))
        return [f"… and {left:,} more{what}"] if left else []


@dataclass(slots=True)
class _Sorted:
    """The rows of a file: leads handed on, the rest kept for the report."""

    rows: Iterable[LeadRow | RejectedRow]
    rejected: _Kept[RejectedRow] = field(default_factory=_Kept)
    duplicates: _Kept[RejectedRow] = field(default_factory=_Kept)
    notes: _Kept[tuple[int, str]] = field(default_factory=_Kept)
    good: int = 0

    def leads(self) -> Iterator[LeadRow]:
        for row in self.rows:
            if isinstance(row, RejectedRow):
                kind = self.rejected if row.duplicate_of is None else self.duplicates
                kind.add(row)
            else:
                self.good += 1
                for text in row.notes:
                    self.notes.add((row.row_number, text))
                yield row


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--list", "list_name", required=True, type=NAME, help="The list; made if need be.")
@click.option(
    "--map",
    "mapping",
    type=MAPPED,
    multiple=True,
    help="Which column holds a field, by its name or its number (#3); - for none; repeatable.",
)
@click.option("--encoding", help="Of a file that is not UTF-8, such as cp1252.")
@click.option("--keep-emoji", is_flag=True, help="In names, companies and positions.")
@click.option("--update", is_flag=True, help="Also bring people who are in the list up to date.")
@click.option("--dry-run", is_flag=True, help="Read and report only.")
@org_option
@json_option
def import_(
    file: Path,
    list_name: str,
    mapping: Sequence[tuple[str, str]],
    encoding: str | None,
    keep_emoji: bool,
    update: bool,
    dry_run: bool,
    org: str | None,
    as_json: bool,
) -> None:
    """Bring the people of a CSV file into a list.

    FILE - reads standard input.  Columns are found by what they hold and by what LinkedIn, Apollo,
    HubSpot and others call them; the rest become custom fields, which texts may use.  A row that
    names nobody is reported with its line and the fix, and the rest is imported: status 1 only
    when nothing could be.  A value that is damaged or means “none” is left empty, with a note.
    Safe to run again: nobody is added twice.

    \b
    Example:
      clento leads import leads.csv --list spring --map profile_url="Person Linkedin Url"
    """
    columns = dict(mapping)
    with kept(file) as path:
        read_as = layout(path, columns, encoding=encoding)
        rows = _Sorted(read_leads(path, read_as, keep_emoji=keep_emoji))
        leads = rows.leads()
        if dry_run:
            for _ in leads:
                pass
            done = None
        else:
            done = _imported(leads, list_name, org, update=update, quiet=as_json)
    _report(rows, read_as, list_name, done, as_json=as_json)
    if rows.good == 0:
        click.get_current_context().exit(1)


@click.command()
@org_option
@json_option
def lists(org: str | None, as_json: bool) -> None:
    """List the lists, with how many people each has.

    \b
    Example:
      clento leads lists
    """
    found = within(org, lambda here: lead_lists(here.conn, here.organization_id))
    rows = [(each.name, each.leads, ", ".join(each.campaigns)) for each in found]
    none = "there is no list yet: `clento leads import FILE --list NAME`"
    answer(as_json, found, Table(("name", "leads", "campaigns"), rows, empty=none))


def _imported(
    leads: Iterator[LeadRow], list_name: str, org: str | None, *, update: bool, quiet: bool
) -> Imported | None:
    first = next(leads, None)
    if first is None:
        return None  # a list that nobody is in is not made

    async def work(here: Here) -> Imported:
        with _progress(quiet=quiet) as progress:
            return await import_leads(
                here.conn,
                here.organization_id,
                list_name,
                chain([first], leads),
                here.clock(),
                update=update,
                progress=progress,
            )

    return within(org, work)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """Show how many rows were read, where somebody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and cron watches nothing
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("importing …")
        yield lambda count: bar.update(task, description=f"{count:,} people read")


def _report(
    rows: _Sorted, read_as: Layout, list_name: str, done: Imported | None, *, as_json: bool
) -> None:
    named = {name: read_as.columns[position] for name, position in read_as.fields.items()}
    custom = {key: read_as.columns[position] for position, key in read_as.custom}
    data = {
        "list": list_name,
        "imported": done is not None,
        "good": rows.good,
        "added": done.added if done else 0,
        "updated": done.updated if done else 0,
        "unchanged": done.unchanged if done else 0,
        "rejected": rows.rejected.first,
        "rejected_rows": rows.rejected.count,
        "duplicates": rows.duplicates.first,
        "duplicate_rows": rows.duplicates.count,
        "notes": [{"row_number": number, "note": text} for number, text in rows.notes.first],
        "note_count": rows.notes.count,
        "columns": named,
        "columns_why": read_as.why,
        "custom_fields": custom,
        "remarks": read_as.remarks,
        "encoding": read_as.encoding,
        "header_line": read_as.header_lines,
    }
    left_out = f"{rows.rejected.count:,} rejected, {rows.duplicates.count:,} duplicates"
    if done is not None:
        end = (
            f"{list_name}: {done.added:,} added, {done.updated:,} updated,"
            f" {done.unchanged:,} unchanged; {left_out}"
        )
    else:
        end = f"nothing was imported: {rows.good:,} good rows; {left_out}"
    answer(as_json, data, *_columns(read_as), *_rows_left_out(rows), end)


def _columns(read_as: Layout) -> list[str | Table]:
    """Say which column became which field, and why."""
    names = read_as.columns
    table = Table(
        ("field", "column", "why"),
        [
            (name, names[position] or f"#{position + 1}", read_as.why[name])
            for name, position in read_as.fields.items()
        ],
    )
    own = [key for _, key in read_as.custom]
    more = f" and {len(own) - _SHOWN:,} more" if len(own) > _SHOWN else ""
    fields = [f"custom fields: {', '.join(own[:_SHOWN])}{more}"] if own else []
    return [table, *fields, *read_as.remarks]


def _rows_left_out(rows: _Sorted) -> list[str | Table]:
    table = Table(
        ("row", "line", "field", "value", "problem", "fix"),
        [
            (row.row_number, row.line_number, row.field, row.value, row.problem, row.fix)
            for row in rows.rejected.first[:_SHOWN]
        ],
        title="rows that were not imported",
    )
    return [
        table,
        *rows.rejected.more(": --json shows them"),
        *(f"row {number}: {text}" for number, text in rows.notes.first[:_SHOWN]),
        *rows.notes.more(" notes"),
    ]

"""`clento leads`: lists of people, from CSV files."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import click

from clento_engine.domain.lead import LeadRow
from clento_engine.interface.cli.output import Table, answer
from clento_engine.interface.cli.session import Here, json_option, org_option, within
from clento_engine.interface.cli.values import MAPPED, NAME
from clento_engine.interface.leads_file import Layout, RejectedRow, layout, read_leads
from clento_engine.store.leads import Imported, import_leads
from clento_engine.store.lists import lead_lists

_SHOWN = 20  # rows of a report for people; JSON has them all


@dataclass(slots=True)
class _Sorted:
    """The rows of a file: leads handed on, the rest kept for the report."""

    rows: Iterable[LeadRow | RejectedRow]
    rejected: list[RejectedRow] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    good: int = 0

    def leads(self) -> Iterator[LeadRow]:
        for row in self.rows:
            if isinstance(row, RejectedRow):
                self.rejected.append(row)
            else:
                self.good += 1
                self.notes += [(row.row_number, text) for text in row.notes]
                yield row


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_name", required=True, type=NAME, help="The list; made if need be.")
@click.option(
    "--map",
    "mapping",
    type=MAPPED,
    multiple=True,
    help="Which column holds a field, where the header would be misread; may be repeated.",
)
@click.option("--encoding", help="Of a file that is not UTF-8, such as cp1252.")
@click.option("--update", is_flag=True, help="Also bring people who are in the list up to date.")
@click.option("--dry-run", is_flag=True, help="Read and report only.")
@org_option
@json_option
def import_(
    file: Path,
    list_name: str,
    mapping: Sequence[tuple[str, str]],
    encoding: str | None,
    update: bool,
    dry_run: bool,
    org: str | None,
    as_json: bool,
) -> None:
    """Bring the people of a CSV file into a list.

    Columns are recognised as LinkedIn, Apollo, HubSpot and others name them; those that are not
    become custom fields, which texts may use.  A row that names nobody is reported with its line
    and the fix, and the rest is imported: status 1 only when nothing could be.  Safe to run again:
    nobody is added twice.

    \b
    Example:
      clento leads import leads.csv --list spring --map profile_url="Person Linkedin Url"
    """
    columns = dict(mapping)
    read_as = layout(file, columns, encoding=encoding)
    rows = _Sorted(read_leads(file, columns, encoding=encoding))
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
    duplicates = [row for row in rows.rejected if row.duplicate_of is not None]
    rejected = [row for row in rows.rejected if row.duplicate_of is None]
    named = {name: read_as.columns[position] for name, position in read_as.fields.items()}
    custom = {key: read_as.columns[position] for position, key in read_as.custom}
    data = {
        "list": list_name,
        "imported": done is not None,
        "good": rows.good,
        "added": done.added if done else 0,
        "updated": done.updated if done else 0,
        "unchanged": done.unchanged if done else 0,
        "rejected": rejected,
        "duplicates": duplicates,
        "notes": [{"row_number": number, "note": text} for number, text in rows.notes],
        "columns": named,
        "custom_fields": custom,
    }
    table = Table(
        ("row", "line", "field", "value", "problem", "fix"),
        [
            (row.row_number, row.line_number, row.field, row.value, row.problem, row.fix)
            for row in rejected[:_SHOWN]
        ],
        title="rows that were not imported",
    )
    parts: list[str | Table] = [table]
    if len(rejected) > _SHOWN:
        parts.append(f"… and {len(rejected) - _SHOWN:,} more: --json shows them all")
    parts += [f"row {number}: {text}" for number, text in rows.notes[:_SHOWN]]
    if len(rows.notes) > _SHOWN:
        parts.append(f"… and {len(rows.notes) - _SHOWN:,} more notes")
    if done is None:
        parts += [f"{name}: column {column!r}" for name, column in named.items()]
        if custom:
            parts.append(f"custom fields: {', '.join(custom)}")
    left_out = f"{len(rejected):,} rejected, {len(duplicates):,} duplicates"
    if done is not None:
        parts.append(
            f"{list_name}: {done.added:,} added, {done.updated:,} updated,"
            f" {done.unchanged:,} unchanged; {left_out}"
        )
    else:
        parts.append(f"nothing was imported: {rows.good:,} good rows; {left_out}")
    answer(as_json, data, *parts)

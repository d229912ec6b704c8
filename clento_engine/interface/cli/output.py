"""Answers: tables and lines for people, JSON for machines."""

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from clento_engine.domain.finding import Finding
from clento_engine.domain.workflow import duration
from clento_engine.interface.cli.allowing import option_for
from clento_engine.store.errors import LeftOut

WIDTH_OF_A_FILE = 200  # columns, where no terminal says how many it has


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `empty` is said when there are none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    empty: str = ""


class Unprinted(Exception):
    """What was done cannot be told: standard output takes nothing any more."""


def answer(as_json: bool, data: object, *parts: str | Table) -> None:
    """Print `data` as JSON, or `parts` for people.  Raises Unprinted."""
    try:
        _answer(as_json, data, *parts)
        sys.stdout.flush()
    except OSError as error:
        # what is left of it would be tried again, and fail, when the process ends
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unprinted(error.strerror or str(error)) from error


def _answer(as_json: bool, data: object, *parts: str | Table) -> None:
    if as_json:
        click.echo(json.dumps(plain(data), ensure_ascii=False))
        return
    for part in parts:
        match part:
            case Table(rows=[]) as table:
                if table.empty:
                    click.echo(table.empty)
            case Table() as table:
                _print(table)
            case text:
                click.echo(printable(text, keep="\n"))


def plain(value: object) -> Any:  # noqa: ANN401  JSON
    """Return `value` as JSON values: instants in ISO 8601, durations in seconds."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case str() | UUID() | Path():
            return str(value)
        case Mapping():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case _ if is_dataclass(value):
            return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        case Iterable():
            return [plain(item) for item in value]
        case _:
            return str(value)


def cell(value: object) -> str:
    """Write a value as a cell of a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return moment(value)
        case timedelta():
            return duration(value)
        case Enum():
            return str(value.value)
        case int():
            return f"{value:,}"
        case _:
            return printable(str(value))


def moment(at: datetime | None) -> str:
    """Write an instant for people."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` without what a terminal would obey: names come from other people's files."""
    return "".join(c if c.isprintable() or c in keep else "�" for c in text)


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Write each finding: how bad and where, what, and the fix."""
    lines = []
    for finding in findings:
        where = "" if finding.node_id is None else f"{finding.node_id}, "
        lines.append(f"  {finding.severity.value}: {where}{finding.field}: {finding.problem}")
        lines.append(f"      fix: {_fix(finding)}")
    return lines


def _fix(finding: Finding) -> str:
    """Say what to do, by the command that does it where there is one."""
    if finding.field == "webhookId" and finding.subject is not None:
        return f"run: clento webhook add --id {shlex.quote(finding.subject)} --url https://…"
    if (option := option_for(finding)) is not None:
        return f"{finding.fix}; where it is meant, say {option}"
    return finding.fix


def note(text: str) -> None:
    """Say something beside the answer: on stderr, so that JSON stays JSON."""
    click.echo(printable(text), file=sys.stderr)


def _print(table: Table) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to import, and JSON needs none of it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = RichTable(box=SIMPLE_HEAD, title=table.title or None, title_justify="left")
    numeric = [
        all(isinstance(row[position], int | None) for row in table.rows)
        for position in range(len(table.columns))
    ]
    for name, is_number in zip(table.columns, numeric, strict=True):
        drawn.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell(value)) for value in row))
    plainly = partial(Console, markup=False, highlight=False, emoji=False)
    console = plainly()
    if not console.is_terminal:
        console = plainly(width=WIDTH_OF_A_FILE)
    elif console.no_color:
        console = plainly(color_system=None)  # not even bold
    console.print(drawn)


def left_out_lines(left_out: LeftOut) -> list[str]:
    """Say how many of the list are not enrolled, and why."""
    lines = [
        f"{leads:,} walk in {campaign}, which is not over (--allow-overlap at `create` takes them)"
        for campaign, leads in left_out.elsewhere.items()
    ]
    for leads, why in (
        (left_out.repeated, "are on the list before, under another name"),
        (left_out.suppressed, "are to be left alone"),
        (left_out.rested, "were contacted too lately"),
    ):
        if leads:
            lines.append(f"{leads:,} {why}")
    return [f"left out: {line}" for line in lines]

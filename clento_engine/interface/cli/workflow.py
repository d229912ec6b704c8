"""`clento workflow`: what a workflow file says, and what is wrong with it."""

import json
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

import click

from clento_engine.config import read_settings
from clento_engine.domain import conversion
from clento_engine.domain.editor import read_workflow
from clento_engine.domain.finding import Allowance
from clento_engine.domain.reach import masked
from clento_engine.domain.readiness import check_targets
from clento_engine.domain.workflow import Workflow, to_json, tree
from clento_engine.interface.cli.allowing import allow_options, allowed
from clento_engine.interface.cli.document import read_document
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import answer, finding_lines
from clento_engine.interface.cli.session import json_option
from clento_engine.interface.cli.status import WARNED
from clento_engine.runtime.errors import NotReady, Unready

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_FILE
@allow_options
@json_option
@click.pass_context
def validate(
    ctx: click.Context,
    file: Path,
    allow_text: tuple[str, ...],
    allow_saved_text: tuple[str, ...],
    allow_short_window: tuple[str, ...],
    as_json: bool,
) -> None:
    """Report every problem of a workflow file.

    Each with its node, field and fix.  `error`: no campaign can start; `unready`: a node cannot
    run, and may be passed over; `warning`: it runs, perhaps not as meant.  Status 1 on errors.
    What depends on the campaign (senders, webhooks, columns) is checked when it is created.

    \b
    Example:
      clento workflow validate flow.json
    """
    reach = read_settings().webhooks_may_reach
    permitted = allowed(allow_text, allow_saved_text, allow_short_window)
    read = read_workflow(read_document(file), permitted)
    findings = list(read.findings)
    if read.workflow is not None:
        findings += check_targets(read.workflow, reach)
    nodes = 0 if read.workflow is None else len(read.workflow.nodes)
    data = {"valid": read.workflow is not None, "nodes": nodes, "findings": findings}
    summary = f"{file}: {nodes} nodes" if read.workflow else f"{file}: has errors"
    answer(as_json, data, *finding_lines(findings), summary)
    if read.workflow is None:
        ctx.exit(1)


@click.command()
@_FILE
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write what it becomes; without it, beside FILE as NAME.converted.json.",
)
@click.option(
    "--allow-text", multiple=True, metavar="NODE", help="Leave this node's text as it is."
)
@json_option
@click.pass_context
def convert(
    ctx: click.Context,
    file: Path,
    output: Path | None,
    allow_text: tuple[str, ...],
    as_json: bool,
) -> None:
    """Rewrite what other tools left in a file's texts.

    Fields in other spellings, tags, entities and broken letters, as far as it is plain what is
    meant; the difference is shown, and FILE stays as it is.  What only a person can say is named,
    and the status is then 3.

    \b
    Example:
      clento workflow convert flow.json
    """
    document = read_document(file)
    made = conversion.convert(document, allow_text)
    permitted = allowed(allow_text, (), ())
    findings = [
        finding
        for finding in read_workflow(made.document, permitted).findings
        if finding.allowance is Allowance.TEXT
    ]
    written = None
    if made.changes:
        written = output or file.with_name(f"{file.stem}.converted.json")
        _write(made.document, written, file)
    data = {"written": written, "changes": made.changes, "findings": findings}
    summary = f"written to {written}" if written else f"{file}: nothing is to be rewritten"
    lines = [line for change in made.changes for line in _difference(change)]
    answer(as_json, data, *lines, *finding_lines(findings), summary)
    if findings:
        ctx.exit(WARNED)


def _write(document: object, path: Path, source: Path) -> None:
    fix = "name another with --output"
    if path.exists() and path.samefile(source):
        raise Refused(f"{path} is what is converted", fix)
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.write("\n")
    except FileExistsError:
        raise Refused(f"{path} is there already", fix) from None
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}", fix) from None
    except UnicodeEncodeError:
        path.unlink()
        problem = f"{source} has half a surrogate pair in a text, which no file can hold"
        raise Refused(problem, "`clento workflow validate` names the node") from None


def _difference(change: conversion.Change) -> list[str]:
    lines = unified_diff(change.before.splitlines(), change.after.splitlines(), n=1000, lineterm="")
    return [f"{change.node_id}, {change.key}:", *(f"  {line}" for line in [*lines][3:])]


@click.command()
@_FILE
@json_option
def show(file: Path, as_json: bool) -> None:
    """Draw a workflow file as a tree.

    \b
    Example:
      clento workflow show flow.json
    """
    read = read_workflow(read_document(file))
    if read.workflow is None:
        raise NotReady(Unready.WORKFLOW, read.findings)
    answer(as_json, to_json(_masked(read.workflow)), *map(str, tree(read.workflow, read.findings)))


def _masked(workflow: Workflow) -> Workflow:
    """Return the workflow without the passwords in its webhooks' addresses."""
    nodes = {
        node.id: node
        if node.webhook_url is None
        else replace(node, webhook_url=masked(node.webhook_url))
        for node in workflow.nodes.values()
    }
    return Workflow(workflow.first, nodes)

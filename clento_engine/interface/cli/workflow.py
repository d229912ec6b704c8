"""`clento workflow`: what a workflow file says, and what is wrong with it."""

from dataclasses import replace
from pathlib import Path

import click

from clento_engine.config import read_settings
from clento_engine.domain.editor import read_workflow
from clento_engine.domain.reach import masked
from clento_engine.domain.readiness import check_targets
from clento_engine.domain.workflow import Workflow, to_json, tree
from clento_engine.interface.cli.document import read_document
from clento_engine.interface.cli.output import answer, finding_lines
from clento_engine.interface.cli.session import json_option
from clento_engine.runtime.errors import NotReady, Unready

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_FILE
@json_option
@click.pass_context
def validate(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Report every problem of a workflow file.

    Each with its node, field and fix.  `error`: no campaign can start; `unready`: a node cannot
    run, and may be passed over; `warning`: it runs, perhaps not as meant.  Status 1 on errors.
    What depends on the campaign (senders, webhooks, columns) is checked when it is created.

    \b
    Example:
      clento workflow validate flow.json
    """
    reach = read_settings().webhooks_may_reach
    read = read_workflow(read_document(file))
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

"""What an operator takes as it is, node by node: `--allow-text NODE` and its kin."""

import shlex
from collections.abc import Callable
from typing import Any

import click

from clento_engine.domain.finding import Allowance, Finding

_OPTIONS = {
    Allowance.TEXT: "--allow-text",
    Allowance.SAVED_TEXT: "--allow-saved-text",
    Allowance.SHORT_WINDOW: "--allow-short-window",
}
_HELP = {
    Allowance.TEXT: "Send this node's text as it is: what looks left over in it is meant.",
    Allowance.SAVED_TEXT: "Send the text saved at this node, although AI is switched on there.",
    Allowance.SHORT_WINDOW: "Wait less than a day for acceptance after this node.",
}


def allow_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets `allow_text`, `allow_saved_text`, `allow_short_window`."""
    for allowance, option in reversed(_OPTIONS.items()):
        add = click.option(option, multiple=True, metavar="NODE", help=_HELP[allowance])
        command = add(command)
    return command


def allowed(
    text: tuple[str, ...], saved_text: tuple[str, ...], short_window: tuple[str, ...]
) -> dict[str, set[Allowance]]:
    """Return what is allowed, by node id."""
    by_node: dict[str, set[Allowance]] = {}
    for allowance, nodes in zip(_OPTIONS, (text, saved_text, short_window), strict=True):
        for node in nodes:
            by_node.setdefault(node, set()).add(allowance)
    return by_node


def option_for(finding: Finding) -> str | None:
    """Return the option that allows what a finding is about, if it may be allowed."""
    if finding.allowance is None or finding.node_id is None:
        return None
    return f"{_OPTIONS[finding.allowance]} {shlex.quote(finding.node_id)}"

"""What each node would send to one lead, before anything starts."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Tier
from clento_engine.domain.intent import Person, subject_for, text_for
from clento_engine.domain.operation import Operation
from clento_engine.domain.template import SUBJECT_LIMIT, length, placed, text_limit
from clento_engine.domain.variable import ALIASES, key
from clento_engine.domain.workflow import Node, Workflow


@dataclass(frozen=True, slots=True)
class Preview:
    """A text of a node as a lead would get it, or the `problem` for which it is not sent.

    Lengths count as LinkedIn does (see `template.length`); the subject's are None but of an InMail.
    """

    node_id: str
    operation: Operation
    text: str | None
    length: int | None
    limit: int
    subject: str | None = None
    subject_length: int | None = None
    subject_limit: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """A variable that texts use: the nodes that need its value, and those that fall back."""

    variable: str
    needed_by: tuple[str, ...]
    replaced_by: tuple[str, ...]


def previews(
    workflow: Workflow, lead_id: UUID, person: Person, *, tier: Tier, subject: str | None
) -> list[Preview]:
    """Return every text of the workflow for one lead, in the order of the walk.

    `subject` is the campaign's.  A node that is passed over sends nothing, nor does an invitation
    without a note.
    """
    return [
        _preview(node, lead_id, person, tier, subject)
        for node in written(workflow)
        if node.text or node.operation is not Operation.SEND_CONNECTION_REQUEST
    ]


def written(workflow: Workflow) -> Iterator[Node]:
    """Return the nodes that send a text, those that are passed over left out."""
    for node in workflow.nodes.values():
        if node.operation.traits.sends_text and node.skip is None and node.unsupported is None:
            yield node


def needs(workflow: Workflow, columns: set[str], subject: str | None) -> list[Need]:
    """Return the variables that the texts use, in the order of the walk."""
    needed: dict[
        str, dict[str, bool]
    ] = {}  # by variable and node: whether one place has to have it
    for node in written(workflow):
        texts = [node.text]
        if node.operation is Operation.SEND_INMAIL:
            texts.append(node.subject or subject or "")
        for place in (place for text in texts for place in placed(text, columns)):
            nodes = needed.setdefault(place.name, {})
            nodes[node.id] = nodes.get(node.id, False) or place.fallback is None
    return [
        Need(
            name,
            tuple(node for node, must in nodes.items() if must),
            tuple(node for node, must in nodes.items() if not must),
        )
        for name, nodes in needed.items()
    ]


def sources(variable: str, columns: set[str]) -> list[tuple[str, ...]]:
    """Return what gives a variable its value: any of these; of several columns all are needed."""
    field = ALIASES.get(variable, variable)
    found: list[tuple[str, ...]] = [(name,) for name in sorted(columns) if _field(name) == field]
    if field == "full_name":
        firsts = [name for name in sorted(columns) if _field(name) == "first_name"]
        lasts = [name for name in sorted(columns) if _field(name) == "last_name"]
        found += [(first, last) for first in firsts for last in lasts]
    return found


def _field(name: str) -> str:
    return ALIASES.get(key(name), key(name))


def _preview(node: Node, lead_id: UUID, person: Person, tier: Tier, subject: str | None) -> Preview:
    text = text_for(node, lead_id, person, tier)
    headed: str | ex.Missing | None = None
    if node.operation is Operation.SEND_INMAIL:
        headed = subject_for(node, lead_id, person, subject)
    reasons = [each.reason for each in (headed, text) if isinstance(each, ex.Missing)]
    words = None if isinstance(text, ex.Missing) else text
    head = None if isinstance(headed, ex.Missing) else headed
    return Preview(
        node.id,
        node.operation,
        words,
        None if words is None else length(words),
        text_limit(node.operation, tier),
        subject=head,
        subject_length=None if head is None else length(head),
        subject_limit=None if headed is None else SUBJECT_LIMIT,
        problem="; ".join(reasons) or None,
    )

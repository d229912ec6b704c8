"""The workflow graph: what the editors saved, compiled to one form."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from clento_engine.domain.finding import Allowance, Finding, Severity
from clento_engine.domain.operation import Operation
from clento_engine.domain.reach import masked

WAITING_WINDOW = timedelta(days=10)  # for acceptance, when the workflow names none
RECENT = timedelta(days=30)  # how old a post may be, when the workflow does not say
PREVIEW = 60  # characters of a text that `tree` shows


class Branch(StrEnum):
    """Which edge is taken when a node is left."""

    NEXT = "next"
    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"


@dataclass(frozen=True, slots=True)
class Edge:
    """What joins two nodes; `target` None ends the path."""

    target: str | None
    delay: timedelta
    branch: Branch = Branch.NEXT

    @property
    def is_conditional(self) -> bool:
        """Whether acceptance decides if this edge is taken."""
        return self.branch is not Branch.NEXT


@dataclass(frozen=True, slots=True)
class Node:
    """One operation in the graph, with what it needs to run.

    A node saved with a type that no operation serves has it in `unsupported`; such a node never
    runs, and its operation is WEBHOOK only because that one sends nothing to the person.
    """

    id: str
    operation: Operation
    text: str = (
        ""  # template of the note, comment, message or InMail; "" is an invitation without note
    )
    subject: str = ""  # template of an InMail's subject; "" takes the campaign's
    posts: int = 1  # how many posts are liked or commented
    recent: timedelta = RECENT  # how old these may be
    only_without_reply: bool = False
    webhook_id: str | None = None
    webhook_url: str | None = None
    skip: str | None = None  # why the operator lets this node be passed without running
    edges: tuple[Edge, ...] = ()
    unsupported: str | None = None
    allowed: tuple[Allowance, ...] = ()

    def edge(self, branch: Branch) -> Edge | None:
        """Return the edge taken for `branch`, if the node has one."""
        return next((edge for edge in self.edges if edge.branch is branch), None)

    @property
    def branches(self) -> bool:
        """Whether the node waits for acceptance before it is left."""
        return any(edge.is_conditional for edge in self.edges)


@dataclass(frozen=True, slots=True)
class Workflow:
    """An immutable graph; `nodes` in the order of the walk, `first` where it begins."""

    first: str
    nodes: Mapping[str, Node]


_DEFAULTS: dict[str, Any] = {
    "text": "",
    "subject": "",
    "posts": 1,
    "recent_s": RECENT.total_seconds(),
    "only_without_reply": False,
    "webhook_id": None,
    "webhook_url": None,
    "skip": None,
    "edges": [],
    "unsupported": None,
    "allowed": [],
}


def to_json(workflow: Workflow) -> dict[str, Any]:
    """Return the compiled form as JSON values, without what is the default.

    Nodes are an array, since a JSON object in PostgreSQL does not keep the order of the walk.
    """
    return {
        "first": workflow.first,
        "nodes": [_node_to_json(node) for node in workflow.nodes.values()],
    }


def from_json(document: Mapping[str, Any]) -> Workflow:
    """Return the workflow that `to_json` wrote.

    Raises KeyError, TypeError or ValueError for anything else: a defect, since only compiled
    workflows are stored in this form.
    """
    nodes = (_node_from_json(node) for node in document["nodes"])
    return Workflow(first=document["first"], nodes={node.id: node for node in nodes})


def _node_to_json(node: Node) -> dict[str, Any]:
    values = {
        "text": node.text,
        "subject": node.subject,
        "posts": node.posts,
        "recent_s": _seconds(node.recent),
        "only_without_reply": node.only_without_reply,
        "webhook_id": node.webhook_id,
        "webhook_url": node.webhook_url,
        "skip": node.skip,
        "edges": [_edge_to_json(edge) for edge in node.edges],
        "unsupported": node.unsupported,
        "allowed": [each.value for each in node.allowed],
    }
    return {"id": node.id, "operation": node.operation.value} | {
        name: value for name, value in values.items() if value != _DEFAULTS[name]
    }


def _node_from_json(saved: Mapping[str, Any]) -> Node:
    values = {**_DEFAULTS, **saved}
    return Node(
        id=values["id"],
        operation=Operation(values["operation"]),
        text=values["text"],
        subject=values["subject"],
        posts=values["posts"],
        recent=timedelta(seconds=values["recent_s"]),
        only_without_reply=values["only_without_reply"],
        webhook_id=values["webhook_id"],
        webhook_url=values["webhook_url"],
        skip=values["skip"],
        edges=tuple(map(_edge_from_json, values["edges"])),
        unsupported=values["unsupported"],
        allowed=tuple(map(Allowance, values["allowed"])),
    )


def _edge_to_json(edge: Edge) -> dict[str, Any]:
    saved: dict[str, Any] = {"delay_s": _seconds(edge.delay)}
    if edge.target is not None:
        saved["target"] = edge.target
    if edge.branch is not Branch.NEXT:
        saved["branch"] = edge.branch.value
    return saved


def _edge_from_json(saved: Mapping[str, Any]) -> Edge:
    return Edge(
        target=saved.get("target"),
        delay=timedelta(seconds=saved["delay_s"]),
        branch=Branch(saved.get("branch", Branch.NEXT)),
    )


def _seconds(duration: timedelta) -> float:
    seconds = duration.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a workflow drawn as a tree.

    `number` counts the nodes drawn; a line without one is the end of a branch or a reference to a
    node drawn before.  `when` is "" for the first node, `marks` say why a node does not run.
    """

    depth: int
    when: str
    what: str
    number: int | None = None
    node_id: str | None = None
    marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Draw the line, indented by its depth."""
        number = "" if self.number is None else f"{self.number}. "
        when = f"{self.when}: " if self.when else ""
        marks = "".join(f" [{mark}]" for mark in self.marks)
        return f"{'   ' * self.depth}{number}{when}{self.what}{marks}"


def tree(workflow: Workflow, findings: Collection[Finding] = ()) -> list[Line]:
    """Draw the graph from the first node on, for people: what happens, and when.

    The nodes of one path stand under each other, what follows a branch is indented.  A node that
    two branches reach is drawn once, and referred to by its number after that.  `findings` mark
    their nodes.
    """
    lines: list[Line] = []
    numbers: dict[str, int] = {}
    todo: list[tuple[Edge | None, int]] = [(None, 0)]  # a stack: the next to draw is the last
    while todo:
        edge, depth = todo.pop()
        target = workflow.first if edge is None else edge.target
        when = "" if edge is None else _when(edge)
        if target is None:
            lines.append(Line(depth, when, "end"))
        elif target in numbers:
            what = f"on to {numbers[target]}, {_what(workflow.nodes[target])}"
            lines.append(Line(depth, when, what, node_id=target))
        else:
            node = workflow.nodes[target]
            numbers[target] = number = len(numbers) + 1
            lines.append(
                Line(depth, when, _described(node), number, target, _marks(node, findings))
            )
            inner = depth + int(node.branches or (edge is not None and edge.is_conditional))
            todo.extend((out, inner) for out in reversed(_ways_on(node)))
    return lines


def duration(time: timedelta) -> str:
    """Say how long a time is in the largest unit that gives a whole number: 90 min, 2 days."""
    seconds = _seconds(time)
    for unit_s, one, many in ((86400, "day", "days"), (3600, "h", "h"), (60, "min", "min")):
        if seconds and seconds % unit_s == 0:
            count = int(seconds // unit_s)
            return f"{count} {one if count == 1 else many}"
    return f"{seconds} s"


def _ways_on(node: Node) -> list[Edge]:
    """Return the edges to draw: both of a branch, even one nobody drew; no end of a plain path."""
    if not node.branches:
        return [edge for edge in node.edges if edge.target is not None]
    return [
        node.edge(Branch.ACCEPTED) or Edge(None, timedelta(0), Branch.ACCEPTED),
        node.edge(Branch.NOT_ACCEPTED) or Edge(None, WAITING_WINDOW, Branch.NOT_ACCEPTED),
    ]


def _when(edge: Edge) -> str:
    later = f"{duration(edge.delay)} later" if edge.delay else "at once"
    match edge.branch:
        case Branch.NEXT:
            return f"after {duration(edge.delay)}" if edge.delay else "at once"
        case Branch.ACCEPTED:
            return f"if accepted, {later}" if edge.target is not None else "if accepted"
        case Branch.NOT_ACCEPTED:
            return f"if not accepted within {duration(edge.delay)}"


_NAMES = {
    Operation.PROFILE_VISIT: "visit the profile",
    Operation.LIKE_POST: "like",
    Operation.COMMENT_POST: "comment on",
    Operation.SEND_CONNECTION_REQUEST: "ask to connect",
    Operation.SEND_FOLLOWUP: "send a message",
    Operation.SEND_INMAIL: "send an InMail",
    Operation.WITHDRAW_REQUEST: "withdraw the request",
    Operation.WEBHOOK: "webhook",
}


def _what(node: Node) -> str:
    if node.unsupported is not None:
        return node.unsupported
    name = _NAMES.get(node.operation, node.operation.value)
    match node.operation:
        case Operation.LIKE_POST | Operation.COMMENT_POST:
            posts = "a post" if node.posts == 1 else f"{node.posts} posts"
            return f"{name} {posts} of the last {duration(node.recent)}"
        case Operation.SEND_CONNECTION_REQUEST if not node.text:
            return f"{name}, without a note"
        case Operation.WEBHOOK:
            return f"{name} {node.webhook_id or masked(node.webhook_url or '')}".strip()
        case _:
            return name


def _described(node: Node) -> str:
    what = _what(node)
    if node.only_without_reply:
        what += " unless they replied"
    if node.text and node.unsupported is None:
        words = " ".join(node.text.split())
        cut = words if len(words) <= PREVIEW else words[: PREVIEW - 1].rstrip() + "…"
        what += f': "{cut}"'
    return what


def _marks(node: Node, findings: Collection[Finding]) -> tuple[str, ...]:
    def reported() -> Iterator[str]:
        if node.skip is not None:
            yield f"skipped: {node.skip}"
            return
        for finding in findings:
            if finding.node_id == node.id and finding.severity is not Severity.WARNING:
                kind = "error" if finding.severity is Severity.ERROR else "not ready"
                yield f"{kind}: {finding.problem}"

    return tuple(reported())

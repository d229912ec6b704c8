"""What the workflow editors saved, read into one graph, with every problem named.

Three editors have written these documents; their keys differ, the graph is the same.  Nothing
that JSON can hold raises here: what cannot be read becomes a finding.

What is read, and what is not: a node runs when its outer `type` is `action`, since placeholders
carry their parent's `data.type`.  The branch of an edge is read where it leaves a connection
request; elsewhere the same flags only say on which path it lies, as `pathType` does for nodes.
Labels, layout, ids and the settings of the AI writer mean nothing to the engine.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from clento_engine.domain.edges import links, ways_on
from clento_engine.domain.finding import Allowance, Finding, Report, Severity
from clento_engine.domain.node_config import OPERATIONS, UNSTORABLE, Config
from clento_engine.domain.operation import Operation
from clento_engine.domain.saved import shown
from clento_engine.domain.soundness import connected
from clento_engine.domain.workflow import Node, Workflow

_UNSUPPORTED = frozenset({"follow_profile", "follow_company"})  # no operation does these

_LONGEST_ID = 200  # ids stand in indexes; the editors' have 60 characters at most


Allowed = Mapping[str, Collection[Allowance]]  # by node id
NOTHING: Allowed = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a document; `workflow` is None exactly when a finding is an error."""

    workflow: Workflow | None
    findings: tuple[Finding, ...]


def read_workflow(document: object, allowed: Allowed = NOTHING) -> Compiled:
    """Read a document of any of the editors, parsed from JSON.

    `allowed` says by node id what the operator takes as it is: the workflow keeps it.

    The graph has no cycle, every node is reachable from `first`, every target exists, and nodes
    are in the order of the walk with the accepted branch first.  An edge into a placeholder has
    the target None; its delay is not read, which for the not-accepted branch leaves the usual
    waiting window (the editor gives such edges 15 minutes by default).  Where a graph contradicts
    itself, what follows from that is not reported as well.
    """
    report = Report()
    workflow = _read(document, allowed, report)
    failed = any(finding.severity is Severity.ERROR for finding in report.findings)
    return Compiled(None if failed else workflow, tuple(report.findings))


def _read(document: object, allowed: Allowed, report: Report) -> Workflow | None:
    if not isinstance(document, Mapping):
        fix = "give the object with nodes and edges that the editor exports"
        report.error(None, "document", f"it is {shown(document)}", fix)
        return None
    raw_nodes = _array(document, "nodes", report)
    raw_edges = _array(document, "edges", report)
    if raw_nodes is None or raw_edges is None:
        return None
    nodes, placeholders = _nodes(raw_nodes, allowed, report)
    for name in allowed:
        if name not in nodes:
            problem, fix = f"there is no step {shown(name)} to allow anything at", "correct its id"
            report.error(None, "nodes", problem, fix)
    before = len(report.findings)
    leaving = links(raw_edges, nodes, placeholders, report)
    if not nodes:
        report.error(None, "nodes", "no node is an action", "add a step to the workflow")
        return None
    graph = {
        name: replace(
            node,
            edges=ways_on(node, leaving[name], allowed=allowed.get(name, ()), report=report),
        )
        for name, node in nodes.items()
    }
    is_whole = all(each.severity is not Severity.ERROR for each in report.findings[before:])
    return connected(graph, report, is_whole=is_whole)


def _array(document: Mapping[str, Any], key: str, report: Report) -> list[Any] | None:
    value = document.get(key)
    if isinstance(value, list):
        return value
    report.error(None, key, f"it is {shown(value)}", f"save {key} as an array")
    return None


# Nodes


def _nodes(
    raw_nodes: Sequence[Any], allowed: Allowed, report: Report
) -> tuple[dict[str, Node], set[str]]:
    """Return the nodes that run, in the order of the document, and the ids of placeholders."""
    nodes: dict[str, Node] = {}
    placeholders: set[str] = set()
    for index, raw in enumerate(raw_nodes):
        where = f"nodes[{index}]"
        if not isinstance(raw, Mapping):
            report.error(None, where, f"it is {shown(raw)}", "save each node as an object")
            continue
        name = raw.get("id")
        if not isinstance(name, str) or not _is_id(name):
            fix = f"give the node a text id of at most {_LONGEST_ID} characters"
            report.error(None, f"{where}.id", f"it is {shown(name)}", fix)
            continue
        if name in nodes or name in placeholders:
            problem, fix = "another node has the same id", "give each node an id of its own"
            report.error(name, f"{where}.id", problem, fix)
            continue
        match raw.get("type"):
            case "addStep":
                placeholders.add(name)
            case "action":
                nodes[name] = _node(name, raw.get("data"), allowed, report)
            case other:
                fix = "save the node as an action, or as an addStep placeholder"
                report.error(name, "type", f"it is {shown(other)}", fix)
                nodes[name] = Node(name, Operation.WEBHOOK, unsupported=shown(other))
    return nodes, placeholders


def _is_id(name: str) -> bool:
    return 0 < len(name.strip()) <= len(name) <= _LONGEST_ID and not UNSTORABLE.search(name)


def _node(name: str, data: object, allowed: Allowed, report: Report) -> Node:
    if not isinstance(data, Mapping):
        report.error(name, "data", f"it is {shown(data)}", "save an object with type and config")
        return Node(name, Operation.WEBHOOK, unsupported=shown(data))
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in OPERATIONS:
        if isinstance(kind, str) and kind in _UNSUPPORTED:
            fix = "remove the step, or pass over it"
            report.unready(name, "data.type", f"the engine cannot do {kind}", fix)
        else:
            fix = f"use one of {', '.join(OPERATIONS)}"
            report.error(name, "data.type", f"no action is called {shown(kind)}", fix)
        return Node(
            name, Operation.WEBHOOK, unsupported=kind if isinstance(kind, str) else shown(kind)
        )
    config = data.get("config")
    if config is None:
        config = {}
    if not isinstance(config, Mapping):
        report.error(name, "data.config", f"it is {shown(config)}", "save the config as an object")
        config = {}
    return Config(name, config, report, allowed.get(name, ())).node(OPERATIONS[kind])

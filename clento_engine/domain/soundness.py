"""Whether a graph can be walked: one beginning, no circles, nothing lost, nothing senseless."""

from collections.abc import Iterator, Mapping
from enum import Enum, auto

from clento_engine.domain.finding import Report
from clento_engine.domain.operation import Operation
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow


def connected(
    graph: Mapping[str, Node], report: Report, *, is_whole: bool = True
) -> Workflow | None:
    """Return the graph in the order of the walk; None when it does not hang together.

    Of a graph that is not `is_whole`, whose edges are reported already, only cycles are reported:
    what else is amiss follows from that.
    """
    entered = {edge.target for node in graph.values() for edge in node.edges}
    starts = [name for name in graph if name not in entered]
    if not starts:
        problem = "no node is the first: an edge leads to each of them"
        report.error(None, "edges", problem, "delete the edge that leads back to the first step")
    if not _is_acyclic(graph, report) or not starts:
        return None
    first, *others = starts
    walk = _walk(graph, first)
    workflow = Workflow(first=first, nodes={name: graph[name] for name in walk})
    if not is_whole:
        return workflow
    for name in others:  # what follows these alone is lost by the same fault
        problem = f"no edge leads to this node, and the workflow begins at {first}"
        fix = "in the editor, delete it, and add it again where it belongs"
        report.error(name, "edges", problem, fix)
    if not others:
        _check_story(workflow, report)
    return workflow


def _targets(node: Node) -> Iterator[str]:
    return (edge.target for edge in node.edges if edge.target is not None)


def _is_acyclic(graph: Mapping[str, Node], report: Report) -> bool:
    """Whether no path comes back to a node it passed; report each edge that closes a cycle."""
    acyclic = True
    finished: set[str] = set()
    for start in graph:
        path: dict[str, Iterator[str]] = {}  # the nodes of the present path, and what is ahead
        if start not in finished:
            path[start] = _targets(graph[start])
        while path:
            name = next(reversed(path))
            target = next(path[name], None)
            if target is None:
                finished.add(name)
                del path[name]
            elif target in path:
                acyclic = False
                problem = f"the edge to {target} closes a cycle: that step comes before this one"
                report.error(name, "edges", problem, "delete this edge: each step is taken once")
            elif target not in finished:
                path[target] = _targets(graph[target])
    return acyclic


def _walk(graph: Mapping[str, Node], first: str) -> list[str]:
    """Return the nodes reached from `first`, each after all that lead to it, first edges first."""
    left: list[str] = []
    seen = {first}
    path = [(first, _targets_last_first(graph[first]))]
    while path:
        name, ahead = path[-1]
        target = next(ahead, None)
        if target is None:
            left.append(name)
            path.pop()
        elif target not in seen:
            seen.add(target)
            path.append((target, _targets_last_first(graph[target])))
    return left[::-1]


def _targets_last_first(node: Node) -> Iterator[str]:
    return reversed(list(_targets(node)))


class _Standing(Enum):
    """How a lead may stand to the sender, as far as the graph tells."""

    AS_FOUND = auto()
    ASKED = auto()  # without waiting for the answer
    CONNECTED = auto()
    PENDING = auto()
    WITHDRAWN = auto()


def _check_story(workflow: Workflow, report: Report) -> None:
    """Report steps that make no sense where they stand: what comes before tells."""
    standings: dict[str, set[_Standing]] = {name: set() for name in workflow.nodes}
    standings[workflow.first].add(_Standing.AS_FOUND)
    for node in workflow.nodes.values():
        here = standings[node.id]
        _check_step(node, here, report)
        for edge in node.edges:
            if edge.target is not None:
                standings[edge.target] |= _after(node, edge, here)


def _after(node: Node, edge: Edge, here: set[_Standing]) -> set[_Standing]:
    match node.operation, edge.branch:
        case Operation.SEND_CONNECTION_REQUEST, Branch.ACCEPTED:
            return {_Standing.CONNECTED}
        case Operation.SEND_CONNECTION_REQUEST, Branch.NOT_ACCEPTED:
            return {_Standing.PENDING}
        case Operation.SEND_CONNECTION_REQUEST, _:
            return {_Standing.ASKED}
        case Operation.WITHDRAW_REQUEST, _:
            pending = {_Standing.PENDING, _Standing.ASKED}
            return here - pending | ({_Standing.WITHDRAWN} if here & pending else set())
        case _:
            return here


def _check_step(node: Node, here: set[_Standing], report: Report) -> None:
    match node.operation:
        case Operation.WITHDRAW_REQUEST if here == {_Standing.AS_FOUND}:
            problem = "no connection request comes before it, so that there is none to withdraw"
            fix = "put it on the not-accepted path, or pass over the node"
            report.unready(node.id, "data.type", problem, fix)
        case Operation.WITHDRAW_REQUEST if not here & {_Standing.PENDING, _Standing.ASKED}:
            problem = "no request is pending here: it was accepted or withdrawn before"
            report.warn(node.id, "data.type", problem, "put it on the not-accepted path")
        case Operation.SEND_FOLLOWUP if here & {_Standing.PENDING, _Standing.WITHDRAWN}:
            problem = "it is on the not-accepted path, and messages go to connections only"
            fix = "move it to the accepted path, or send an InMail"
            report.warn(node.id, "data.type", problem, fix)
        case Operation.SEND_FOLLOWUP if _Standing.ASKED in here:
            problem = "the connection request before it is left without waiting for acceptance"
            fix = "make the edge out of the request conditional, for accepted"
            report.warn(node.id, "data.type", problem, fix)
        case Operation.SEND_CONNECTION_REQUEST if here != {_Standing.AS_FOUND}:
            problem = "a request comes before it, and LinkedIn refuses another for up to 3 weeks"
            report.warn(node.id, "data.type", problem, "ask to connect once on each path")
        case _:
            pass

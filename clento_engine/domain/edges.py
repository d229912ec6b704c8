"""What joins the nodes of a saved workflow: which edges are meant, which branch each is, how long.

An edge into a placeholder ends its path, and is nothing beside a real one of the same branch.  A
placeholder with steps behind it is passed through.  An edge to or from a node that is gone cannot
be seen in an editor, let alone deleted.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from clento_engine.domain.finding import Allowance, Report
from clento_engine.domain.operation import Operation
from clento_engine.domain.saved import flag, number, shown
from clento_engine.domain.workflow import WAITING_WINDOW, Branch, Edge, Node, duration

REQUEST = Operation.SEND_CONNECTION_REQUEST
USUAL_DELAY = timedelta(minutes=15)  # what the editors show where they saved no delay
SHORT_WINDOW = timedelta(days=1)  # many people look at their invitations less often than this

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_DELAY = timedelta(days=365)
_BRANCHES = list(Branch)
_FLAGS = ("isConditionalPath", "isPositive")
_PLACEHOLDER_ID = re.compile(r"add-?step", re.IGNORECASE)  # as the editors name them
_ANEW = "in the editor, delete the step that it leads to, and add it again on the path it is for"


@dataclass(frozen=True, slots=True)
class Link:
    """An edge of the document; `target` None is the path's end.

    `beyond` are the edges that lead on from the placeholders it passes through.
    """

    where: str
    source: str
    target: str | None
    data: Mapping[str, Any]
    beyond: tuple["Link", ...] = ()


def links(
    raw_edges: Sequence[Any],
    nodes: Mapping[str, Node],
    placeholders: Collection[str],
    report: Report,
) -> dict[str, list[Link]]:
    """Return the edges that leave each node, each to another node or to the path's end."""
    leaving: dict[str, list[Link]] = {name: [] for name in (*nodes, *placeholders)}
    for index, raw in enumerate(raw_edges):
        if (link := _link(f"edges[{index}]", raw, leaving, report)) is not None:
            leaving[link.source].append(link)
    onward = _Onward(nodes, leaving, report)
    return {
        name: [_followed(link, onward, nodes[name], report) for link in leaving[name]]
        for name in nodes
    }


def _link(where: str, raw: object, known: Collection[str], report: Report) -> Link | None:
    if not isinstance(raw, Mapping):
        report.error(None, where, f"it is {shown(raw)}", "save each edge as an object")
        return None
    source, target = raw.get("source"), raw.get("target")
    if not isinstance(source, str):
        fix = "delete the edge, or draw it from and to a node"
        report.error(None, f"{where}.source", f"there is no node {shown(source)}", fix)
        return None
    if source not in known:
        fix = "nothing is to be done: an edge from nowhere is nothing, and the editor shows none"
        report.warn(None, f"{where}.source", f"there is no node {shown(source)}", fix)
        return None
    data = raw.get("data")
    if data is not None and not isinstance(data, Mapping):
        problem, fix = f"it is {shown(data)}", "save the edge's data as an object"
        report.error(source, f"{where}.data", problem, fix)
        data = None
    if not isinstance(target, str):
        fix = "delete the edge, or draw it from and to a node"
        report.error(source, f"{where}.target", f"there is no node {shown(target)}", fix)
        target = None
    return Link(where, source, target, data or {})


@dataclass(slots=True)
class _Onward:
    """The nodes that come behind placeholders."""

    nodes: Collection[str]
    leaving: Mapping[str, Sequence[Link]]
    report: Report
    known: dict[str, tuple[str, tuple[Link, ...]] | None] = field(default_factory=dict)

    def from_(self, placeholder: str) -> tuple[str, tuple[Link, ...]] | None:
        """Return the node behind a placeholder, and the edges that lead to it."""
        if placeholder not in self.known:
            self.known[placeholder] = self._looked_for(placeholder)
        return self.known[placeholder]

    def _looked_for(self, placeholder: str) -> tuple[str, tuple[Link, ...]] | None:
        behind: dict[str, Link] = {}  # how each place is come to
        todo = [placeholder]
        found: list[str] = []
        while todo:
            for link in self.leaving[todo.pop()]:
                if link.target is None or link.target in behind or link.target == placeholder:
                    continue
                behind[link.target] = link
                if link.target in self.nodes:
                    found.append(link.target)
                elif link.target in self.leaving:
                    todo.append(link.target)
        if not found:
            return None
        if len(found) > 1:
            problem = f"several steps follow this placeholder: {', '.join(found[:3])}"
            fix = "in the editor, put one of them there, and delete the others"
            self.report.error(placeholder, "edges", problem, fix)
        else:
            problem = f"{found[0]} follows this placeholder, so that it is passed through"
            fix = "if a step is missing here, add it in the editor"
            self.report.warn(placeholder, "edges", problem, fix)
        way = [behind[found[0]]]
        while way[-1].source != placeholder:
            way.append(behind[way[-1].source])
        return found[0], tuple(reversed(way))


def _followed(link: Link, onward: _Onward, node: Node, report: Report) -> Link:
    """Return the edge as it leads to a node or to the path's end."""
    if link.target is None or link.target in onward.nodes:
        return link
    if link.target in onward.leaving:
        behind = onward.from_(link.target)
        return (
            replace(link, target=None)
            if behind is None
            else replace(link, target=behind[0], beyond=behind[1])
        )
    where, problem = f"{link.where}.target", f"there is no node {shown(link.target)}"
    beside = [
        each
        for each in onward.leaving[link.source]
        if each.target in onward.leaving
        and (_flags(each) == _flags(link) or node.operation is not REQUEST)
    ]
    if beside:
        fix = f"nothing is to be done: the path goes on to {beside[0].target}"
        report.warn(node.id, where, problem, fix)
    elif _PLACEHOLDER_ID.match(link.target):
        fix = "nothing is to be done, if the path is to end here"
        report.warn(node.id, where, problem, fix)
    else:
        fix = "in the editor, add the step again that was there, or delete this one and add it anew"
        report.error(node.id, where, problem, fix)
    return replace(link, target=None)


def _flags(link: Link) -> tuple[bool, bool]:
    return tuple(link.data.get(key) in (True, "true") for key in _FLAGS)  # type: ignore[return-value]


def ways_on(
    node: Node, leaving: Sequence[Link], *, allowed: Collection[Allowance], report: Report
) -> tuple[Edge, ...]:
    """Return the edges of a node, the accepted branch first; report those that contradict."""
    if node.operation is REQUEST:
        branches = _branches(node, leaving, report)
    else:
        branches = [(link, Branch.NEXT) for link in leaving]
    real = {branch for link, branch in branches if link.target is not None}
    drawn = [
        Edge(link.target, _delay(link, branch, allowed, report), branch)
        for link, branch in branches
        if link.target is not None or branch not in real
    ]
    edges = sorted(dict.fromkeys(drawn), key=lambda edge: _BRANCHES.index(edge.branch))
    for edge, times in Counter(drawn).items():
        if times > 1 and edge.target is not None:
            problem = f"the edge to {edge.target} is drawn {times} times"
            report.warn(node.id, "edges", problem, "nothing is to be done: once is meant")
    _check_single(node, edges, report)
    return tuple(edges)


def _check_single(node: Node, edges: Sequence[Edge], report: Report) -> None:
    """Report that more than one edge would be taken."""
    for branch, many in Counter(edge.branch for edge in edges).items():
        if many > 1:
            targets = [edge.target for edge in edges if edge.branch is branch]
            names = " and ".join(str(target) for target in targets)
            kind = {Branch.NEXT: ""}.get(branch, f" if {branch.value.replace('_', ' ')}")
            rule = "" if node.operation is REQUEST else ", and only a connection request branches"
            report.error(
                node.id,
                "edges",
                f"{many} steps follow this one{kind}: {names}{rule}",
                "in the editor, delete all of them but one and what comes after these",
            )


def _branches(node: Node, leaving: Sequence[Link], report: Report) -> list[tuple[Link, Branch]]:
    """Return which branch each edge out of a connection request is."""
    read = [(link, _branch(link, report)) for link in leaving]
    flagged = [(link, branch) for link, branch in read if branch is not None]
    others = [link for link, branch in read if branch is None]
    unclear = [link for link in others if any(_flags(link))]
    kinds = {branch for _, branch in flagged}
    to_nodes = dict.fromkeys(link.target for link in others if link.target is not None)
    if not kinds and not unclear:
        return [(link, Branch.NEXT) for link in others]
    if not to_nodes:  # ends, beside branches
        return flagged
    if len(kinds) == 1 and len(to_nodes) == 1:
        other = next(iter({Branch.ACCEPTED, Branch.NOT_ACCEPTED} - kinds))
        words = other.value.replace("_", "-")
        link = next(link for link in others if link.target is not None)
        problem = f"the edge to {link.target} says no branch: it is taken for the {words} one"
        report.warn(node.id, f"{link.where}.data", problem, f"if that is wrong: {_ANEW}")
        return [*flagged, *((each, other) for each in others)]
    where = unclear[0].where if unclear else "edges"
    names = " and ".join(str(name) for name in to_nodes)
    problem = f"nothing says whether {names} is for accepted or for not accepted"
    report.error(node.id, f"{where}.data" if unclear else where, problem, _ANEW)
    return [*flagged, *((each, Branch.NEXT) for each in others[:1])]


def _branch(link: Link, report: Report) -> Branch | None:
    """Return which branch an edge says it is, if it does."""
    conditional, positive = (
        flag(link.data.get(key), link.source, f"{link.where}.data.{key}", report) for key in _FLAGS
    )
    if not conditional or positive is None:
        return None
    return Branch.ACCEPTED if positive else Branch.NOT_ACCEPTED


def _delay(link: Link, branch: Branch, allowed: Collection[Allowance], report: Report) -> timedelta:
    """Return how long an edge takes; for the not-accepted branch, how long acceptance may take."""
    is_window = branch is Branch.NOT_ACCEPTED
    usual = WAITING_WINDOW if is_window else USUAL_DELAY
    if link.target is None:
        return usual if is_window else timedelta(0)
    where, delay = _saved_delay(link, usual, report)
    if delay is None:
        delay = usual
    elif is_window and not delay:
        problem = "acceptance would be waited for not at all"
        fix = f"set how long to wait; {duration(usual)} are taken"
        report.warn(link.source, where, problem, fix)
        delay = usual
    for each in link.beyond:
        further = _saved_delay(each, USUAL_DELAY, report)[1]
        delay += USUAL_DELAY if further is None else further
    if is_window and delay < SHORT_WINDOW:
        problem = f"acceptance is waited for only {duration(delay)}"
        fix = "wait some days: most people answer later, and the editor's own delay is no wish"
        report.unready(link.source, where, problem, fix, Allowance.SHORT_WINDOW, allowed=allowed)
    return delay


def _saved_delay(link: Link, usual: timedelta, report: Report) -> tuple[str, timedelta | None]:
    """Return where an edge's delay is saved and what it is; None, and a finding, without one."""
    where, saved = f"{link.where}.data.delayData", link.data.get("delayData")
    if saved is not None and not isinstance(saved, Mapping):
        fix = "save an object with delay and unit"
        report.error(link.source, where, f"it is {shown(saved)}", fix)
        return where, None
    if saved and saved.get("delay") not in (None, ""):
        where += ".delay"
        return where, _time(saved["delay"], saved.get("unit"), link.source, where, report)
    if (text := link.data.get("delay")) not in (None, ""):
        where = f"{link.where}.data.delay"
        return where, _time(*_cut(text), link.source, where, report)
    fix = f"set one, or leave it: {duration(usual)} is taken"
    report.warn(link.source, where, "no delay is saved", fix)
    return where, None


def _cut(text: object) -> tuple[object, object]:
    """Cut `15m` into its number and its unit."""
    if not isinstance(text, str) or not text.strip()[-1:].isalpha():
        return text, None
    return text.strip()[:-1], text.strip()[-1]


def _time(raw: object, unit: object, source: str, where: str, report: Report) -> timedelta | None:
    """Return a delay as a time; None, and a finding, for one that cannot be."""

    def impossible(problem: str, fix: str) -> None:
        report.error(source, where, problem, fix)

    count = number(raw)
    if count is None:
        impossible(f"{shown(raw)} is no number", "give a number and a unit, such as 15 and m")
        return None
    if count < 0:
        impossible(f"{shown(raw)} is negative", "give 0 or more")
        return None
    if count == 0:
        return timedelta(0)
    key = unit.strip().casefold() if isinstance(unit, str) else ""
    if key not in _UNITS_S:
        impossible(f"the unit is {shown(unit)}", f"use one of {', '.join(_UNITS_S)}")
        return None
    seconds = count * _UNITS_S[key]
    if seconds > _LONGEST_DELAY.total_seconds():
        impossible("it is longer than a year", f"give at most {_LONGEST_DELAY.days} days")
        return None
    return timedelta(seconds=seconds)

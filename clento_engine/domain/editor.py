"""What the workflow editors saved, read into one graph, with every problem named.

Three editors have written these documents; their keys differ, the graph is the same.  Nothing
that JSON can hold raises here: what cannot be read becomes a finding.

What is read, and what is not: a node runs when its outer `type` is `action`, since placeholders
carry their parent's `data.type`.  The branch of an edge is read where it leaves a connection
request; elsewhere the same flags only say on which path it lies, as `pathType` does for nodes.
Labels, layout, ids and the settings of the AI writer mean nothing to the engine.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from clento_engine.domain import template
from clento_engine.domain.account import Tier
from clento_engine.domain.finding import Finding, Report, Severity
from clento_engine.domain.operation import Operation
from clento_engine.domain.reach import masked
from clento_engine.domain.soundness import connected
from clento_engine.domain.workflow import (
    RECENT,
    WAITING_WINDOW,
    Branch,
    Edge,
    Node,
    Workflow,
    duration,
)

_OPERATIONS = {
    "profile_visit": Operation.PROFILE_VISIT,
    "like_post": Operation.LIKE_POST,
    "comment_post": Operation.COMMENT_POST,
    "send_connection_request": Operation.SEND_CONNECTION_REQUEST,
    "send_invite": Operation.SEND_CONNECTION_REQUEST,
    "send_followup": Operation.SEND_FOLLOWUP,
    "send_inmail": Operation.SEND_INMAIL,
    "withdraw_request": Operation.WITHDRAW_REQUEST,
    "webhook": Operation.WEBHOOK,
    "notify_webhook": Operation.WEBHOOK,
}
_UNSUPPORTED = frozenset({"follow_profile", "follow_company"})  # no operation does these

# keys of a node's `data.config`: the production editor's first, which goes before the older one's
_COUNT = ("numberOfPosts", "postCount")
_AGE = ("recentPostDays", "recentPostWithin")
_AI = ("configureWithAI", "useAI")
_WITHOUT_REPLY = ("smartFollowups", "isFollowUp")
_TEXTS = {
    Operation.COMMENT_POST: ("customComment",),
    Operation.SEND_CONNECTION_REQUEST: ("customMessage", "message"),
    Operation.SEND_FOLLOWUP: ("customMessage", "message"),
    Operation.SEND_INMAIL: ("customMessage", "message"),
}

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NUMBER = re.compile(r"[+-]?\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_LONGEST_DELAY = timedelta(days=365)
_SHORT_WINDOW = timedelta(days=1)  # many people look at their invitations less often than this
_LONGEST_ID = 200  # ids stand in indexes; the editors' have 60 characters at most
_LIKELY_VALUE = 15  # code units of a value, to warn before a lead's text is too long
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # neither PostgreSQL nor UTF-8 has these
_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_BRANCHES = list(Branch)
_SHOWN = 40  # characters of a wrong value that a finding repeats


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a document; `workflow` is None exactly when a finding is an error."""

    workflow: Workflow | None
    findings: tuple[Finding, ...]


def read_workflow(document: object) -> Compiled:
    """Read a document of any of the editors, parsed from JSON.

    The graph has no cycle, every node is reachable from `first`, every target exists, and nodes
    are in the order of the walk with the accepted branch first.  An edge into a placeholder has
    the target None; its delay is not read, which for the not-accepted branch leaves the usual
    waiting window (the editor gives such edges 15 minutes by default).
    """
    report = Report()
    workflow = _read(document, report)
    failed = any(finding.severity is Severity.ERROR for finding in report.findings)
    return Compiled(None if failed else workflow, tuple(report.findings))


@dataclass(frozen=True, slots=True)
class _Link:
    """An edge of the document whose ends exist; `target` None is a placeholder."""

    where: str
    source: str
    target: str | None
    data: Mapping[str, Any]


def _read(document: object, report: Report) -> Workflow | None:
    if not isinstance(document, Mapping):
        fix = "give the object with nodes and edges that the editor exports"
        report.error(None, "document", f"it is {_shown(document)}", fix)
        return None
    raw_nodes = _array(document, "nodes", report)
    raw_edges = _array(document, "edges", report)
    if raw_nodes is None or raw_edges is None:
        return None
    nodes, placeholders = _nodes(raw_nodes, report)
    links = _links(raw_edges, nodes, placeholders, report)
    if not nodes:
        report.error(None, "nodes", "no node is an action", "add a step to the workflow")
        return None
    graph = {
        name: replace(node, edges=_ways_on(node, links[name], report))
        for name, node in nodes.items()
    }
    return connected(graph, report)


def _array(document: Mapping[str, Any], key: str, report: Report) -> list[Any] | None:
    value = document.get(key)
    if isinstance(value, list):
        return value
    report.error(None, key, f"it is {_shown(value)}", f"save {key} as an array")
    return None


# Nodes


def _nodes(raw_nodes: Sequence[Any], report: Report) -> tuple[dict[str, Node], set[str]]:
    """Return the nodes that run, in the order of the document, and the ids of placeholders."""
    nodes: dict[str, Node] = {}
    placeholders: set[str] = set()
    for index, raw in enumerate(raw_nodes):
        where = f"nodes[{index}]"
        if not isinstance(raw, Mapping):
            report.error(None, where, f"it is {_shown(raw)}", "save each node as an object")
            continue
        name = raw.get("id")
        if not isinstance(name, str) or not _is_id(name):
            fix = f"give the node a text id of at most {_LONGEST_ID} characters"
            report.error(None, f"{where}.id", f"it is {_shown(name)}", fix)
            continue
        if name in nodes or name in placeholders:
            problem, fix = "another node has the same id", "give each node an id of its own"
            report.error(name, f"{where}.id", problem, fix)
            continue
        match raw.get("type"):
            case "addStep":
                placeholders.add(name)
            case "action":
                nodes[name] = _node(name, raw.get("data"), report)
            case other:
                fix = "save the node as an action, or as an addStep placeholder"
                report.error(name, "type", f"it is {_shown(other)}", fix)
                nodes[name] = Node(name, Operation.WEBHOOK, unsupported=_shown(other))
    return nodes, placeholders


def _is_id(name: str) -> bool:
    return 0 < len(name.strip()) <= len(name) <= _LONGEST_ID and not _UNSTORABLE.search(name)


def _node(name: str, data: object, report: Report) -> Node:
    if not isinstance(data, Mapping):
        report.error(name, "data", f"it is {_shown(data)}", "save an object with type and config")
        return Node(name, Operation.WEBHOOK, unsupported=_shown(data))
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in _OPERATIONS:
        if isinstance(kind, str) and kind in _UNSUPPORTED:
            fix = "remove the step, or pass over it"
            report.unready(name, "data.type", f"the engine cannot do {kind}", fix)
        else:
            fix = f"use one of {', '.join(_OPERATIONS)}"
            report.error(name, "data.type", f"no action is called {_shown(kind)}", fix)
        return Node(
            name, Operation.WEBHOOK, unsupported=kind if isinstance(kind, str) else _shown(kind)
        )
    config = data.get("config")
    if config is None:
        config = {}
    if not isinstance(config, Mapping):
        report.error(name, "data.config", f"it is {_shown(config)}", "save the config as an object")
        config = {}
    return _Config(name, config, report).node(_OPERATIONS[kind])


@dataclass(frozen=True, slots=True)
class _Config:
    """The `data.config` of one node.  A `config` nested in it is stale, and never read."""

    name: str
    values: Mapping[str, Any]
    report: Report

    def node(self, operation: Operation) -> Node:
        node = Node(self.name, operation)
        match operation:
            case Operation.LIKE_POST:
                return self.on_posts(node)
            case Operation.COMMENT_POST:
                return replace(self.on_posts(node), text=self.text(operation))
            case Operation.SEND_CONNECTION_REQUEST:
                return replace(node, text=self.text(operation))
            case Operation.SEND_FOLLOWUP | Operation.SEND_INMAIL:
                return replace(
                    node,
                    text=self.text(operation),
                    subject=self.subject() if operation is Operation.SEND_INMAIL else "",
                    only_without_reply=any(self.flag(key) for key in _WITHOUT_REPLY),
                )
            case Operation.WEBHOOK:
                return self.webhook(node)
            case _:
                return node  # a withdrawal is saved with a message's settings: they mean nothing

    def on_posts(self, node: Node) -> Node:
        days = self.whole(_AGE, 365, RECENT.days)
        return replace(node, posts=self.whole(_COUNT, 10, 1), recent=timedelta(days=days))

    def text(self, operation: Operation) -> str:
        """Return the template; without one, the node cannot run unless it is an invitation."""
        keys = _TEXTS[operation]
        ai = any(self.flag(key) for key in _AI)
        key, text = next(((k, t) for k in keys if (t := self.words(k)) is not None), (keys[0], ""))
        if text:
            limit = template.text_limit(operation, Tier.SALES_NAVIGATOR)
            warn_over = template.INMAIL_WARNING if operation is Operation.SEND_INMAIL else limit
            self.check(key, text, limit, warn_over)
            if ai:
                problem = "AI is to write this, but a text is saved beside it"
                self.report.warn(
                    self.name,
                    _of(key),
                    problem,
                    "nothing is generated: check that the text is meant",
                )
        elif ai:
            problem = "AI is to write this text, and the engine writes none"
            fix = "write the text in the editor, or pass over the node"
            self.report.unready(self.name, _of(key), problem, fix)
        elif operation is not Operation.SEND_CONNECTION_REQUEST:
            fix = "write the text in the editor, or pass over the node"
            self.report.unready(self.name, _of(key), "the text is missing", fix)
        return text

    def subject(self) -> str:
        """Return an InMail's subject, which no editor has so far."""
        subject = self.words("subject") or ""
        self.check("subject", subject, template.SUBJECT_LIMIT, template.SUBJECT_LIMIT)
        return subject

    def webhook(self, node: Node) -> Node:
        webhook_id, url = self.words("webhookId"), self.words("targetUrl")
        for key, value in (("webhookId", webhook_id), ("targetUrl", url)):
            self.check_storable(key, value or "")
        if url is not None and not _URL.fullmatch(url):
            fix = "give the whole address, beginning with https://"
            self.report.unready(
                self.name, _of("targetUrl"), f"{_shown(masked(url))} is no web address", fix
            )
        if url is None and webhook_id is None:
            fix = "choose a registered webhook in the editor, or pass over the node"
            self.report.unready(self.name, _of("webhookId"), "no webhook is chosen", fix)
        delay = self.values.get("timeDelay")
        if isinstance(delay, Mapping) and delay.get("value") not in (None, "", 0, "0"):
            fix = "set the delay on the edge that leads here"
            self.report.warn(self.name, _of("timeDelay"), "a webhook has no delay of its own", fix)
        return replace(node, webhook_id=webhook_id, webhook_url=url)

    def words(self, key: str) -> str | None:
        """Return the text of a key as it is saved; None without one, or with white space only."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            self.report.error(self.name, _of(key), f"it is {_shown(value)}", "save it as text")
            return None
        return value if value and value.strip() else None

    def flag(self, key: str) -> bool:
        return _flag(self.values.get(key), self.name, _of(key), self.report) or False

    def whole(self, keys: Sequence[str], most: int, default: int) -> int:
        """Return the whole number of the first key that has one, from 1 to `most`."""
        key = next((k for k in keys if self.values.get(k) not in (None, "")), None)
        if key is None:
            return default
        number = _number(self.values[key])
        if number is not None and 1 <= number <= most and number == math.floor(number):
            return int(number)
        fix = f"choose a whole number from 1 to {most}"
        self.report.error(self.name, _of(key), f"it is {_shown(self.values[key])}", fix)
        return default

    def check(self, key: str, text: str, limit: int, warn_over: int) -> None:
        """Report what keeps a text from being sent to any lead, or may to some."""
        self.check_storable(key, text)
        if leftover := template.unfilled(text):
            problem = f"{_shown(leftover[0])} is no variable, and would stand in the text as it is"
            self.report.error(
                self.name,
                _of(key),
                problem,
                "write variables as {{first_name}}, other text without",
            )
        least = template.length_with(text, 0)
        likely = template.length_with(text, _LIKELY_VALUE)
        if least > limit:
            problem = f"the text has {least} characters, and {limit} are allowed"
            self.report.error(self.name, _of(key), problem, f"shorten it to {limit} characters")
        elif likely > warn_over:
            problem = f"with values filled in, the text may reach {likely} of {limit} characters"
            fix = "shorten it: where it is longer than allowed, it is not sent"
            self.report.warn(self.name, _of(key), problem, fix)

    def check_storable(self, key: str, text: str) -> None:
        if _UNSTORABLE.search(text):
            problem = "it contains a broken character (NUL, or half of a surrogate pair)"
            self.report.error(self.name, _of(key), problem, "delete the character, type it again")


def _of(key: str) -> str:
    return f"data.config.{key}"


# Edges


def _links(
    raw_edges: Sequence[Any], nodes: Mapping[str, Node], placeholders: set[str], report: Report
) -> dict[str, list[_Link]]:
    """Return the edges that leave each node.  What leaves a placeholder leads nowhere."""
    links: dict[str, list[_Link]] = {name: [] for name in nodes}
    for index, raw in enumerate(raw_edges):
        where = f"edges[{index}]"
        if not isinstance(raw, Mapping):
            report.error(None, where, f"it is {_shown(raw)}", "save each edge as an object")
            continue
        ends: list[str | None] = []
        for end in ("source", "target"):
            name = raw.get(end)
            if isinstance(name, str) and (name in nodes or name in placeholders):
                ends.append(name)
            else:
                ends.append(None)
                problem = f"there is no node {_shown(name)}"
                fix = "delete the edge, or draw it from and to a node"
                report.error(ends[0], f"{where}.{end}", problem, fix)
        source, target = ends
        if source is None or target is None or source not in nodes:
            continue
        data = raw.get("data")
        if data is not None and not isinstance(data, Mapping):
            problem, fix = f"it is {_shown(data)}", "save the edge's data as an object"
            report.error(source, f"{where}.data", problem, fix)
            data = None
        to = target if target in nodes else None
        links[source].append(_Link(where, source, to, data or {}))
    return links


def _ways_on(node: Node, links: Sequence[_Link], report: Report) -> tuple[Edge, ...]:
    """Return the edges of a node, the accepted branch first; report those that contradict."""
    is_request = node.operation is Operation.SEND_CONNECTION_REQUEST
    drawn = [
        Edge(link.target, _delay(link, branch, report), branch)
        for link in links
        for branch in [_branch(link, report) if is_request else Branch.NEXT]
    ]
    edges = sorted(dict.fromkeys(drawn), key=lambda edge: _BRANCHES.index(edge.branch))
    for edge, times in Counter(drawn).items():
        if times > 1 and edge.target is not None:
            problem = f"the edge to {edge.target} is drawn {times} times"
            report.warn(node.id, "edges", problem, "delete all but one")
    count = Counter(edge.branch for edge in edges)
    if not is_request and len(edges) > 1:
        flags = {
            str((link.data.get("isConditionalPath") is True, link.data.get("isPositive") is True))
            for link in links
        }
        mixed = ", some of them marked as branches," if len(flags) > 1 else ""
        report.error(
            node.id,
            "edges",
            f"{len(edges)} edges{mixed} leave this node, and only a connection request branches",
            "keep one edge; the editor leaves several when a node between is deleted",
        )
    elif is_request:
        if count[Branch.NEXT] and len(count) > 1:
            report.error(
                node.id,
                "edges",
                "plain and conditional edges leave this connection request",
                "delete the plain edge, or both conditional ones",
            )
        for branch, many in count.items():
            if many > 1:
                kind = "plain" if branch is Branch.NEXT else branch.value.replace("_", "-")
                problem = f"{many} {kind} edges leave this connection request"
                report.error(node.id, "edges", problem, f"keep one {kind} edge")
    return tuple(edges)


def _branch(link: _Link, report: Report) -> Branch:
    """Return which branch an edge out of a connection request is."""
    conditional, positive = (
        _flag(link.data.get(key), link.source, f"{link.where}.data.{key}", report)
        for key in ("isConditionalPath", "isPositive")
    )
    match conditional, positive:
        case True, True:
            return Branch.ACCEPTED
        case True, False:
            return Branch.NOT_ACCEPTED
        case True, None:
            problem = "the edge is conditional, but not said to be for accepted or not accepted"
        case _, True:
            problem = "the edge is positive, but not conditional"
        case _:
            return Branch.NEXT
    fix = "set isConditionalPath and isPositive: both true if accepted, true and false if not"
    report.error(link.source, f"{link.where}.data", problem, fix)
    return Branch.NEXT


def _delay(link: _Link, branch: Branch, report: Report) -> timedelta:
    """Return how long an edge takes; for the not-accepted branch, how long acceptance may take."""
    is_window = branch is Branch.NOT_ACCEPTED
    usual = WAITING_WINDOW if is_window else timedelta(0)
    if link.target is None:
        return usual
    where, saved = f"{link.where}.data.delayData", link.data.get("delayData")
    if saved is not None and not isinstance(saved, Mapping):
        fix = "save an object with delay and unit"
        report.error(link.source, where, f"it is {_shown(saved)}", fix)
        return usual
    if saved and saved.get("delay") not in (None, ""):
        where += ".delay"
        delay = _time(saved["delay"], saved.get("unit"), link.source, where, report)
    elif (text := link.data.get("delay")) not in (None, ""):
        where = f"{link.where}.data.delay"
        delay = _time(*_cut(text), link.source, where, report)
    else:
        fix = f"set one, or leave it: {duration(usual) if usual else 'none'} is taken"
        report.warn(link.source, where, "no delay is saved", fix)
        return usual
    if delay is None:
        return usual
    if is_window and not delay:
        problem = "acceptance would be waited for not at all"
        fix = f"set how long to wait; {duration(usual)} are taken"
        report.warn(link.source, where, problem, fix)
        return usual
    if is_window and delay < _SHORT_WINDOW:
        problem = f"acceptance is waited for only {duration(delay)}"
        report.warn(link.source, where, problem, "wait some days: most people answer later")
    return delay


def _cut(text: object) -> tuple[object, object]:
    """Cut `15m` into its number and its unit."""
    if not isinstance(text, str) or not text.strip()[-1:].isalpha():
        return text, None
    return text.strip()[:-1], text.strip()[-1]


def _time(raw: object, unit: object, source: str, where: str, report: Report) -> timedelta | None:
    """Return a delay as a time; None, and a finding, for one that cannot be."""

    def impossible(problem: str, fix: str) -> None:
        report.error(source, where, problem, fix)

    number = _number(raw)
    if number is None:
        impossible(f"{_shown(raw)} is no number", "give a number and a unit, such as 15 and m")
        return None
    if number < 0:
        impossible(f"{_shown(raw)} is negative", "give 0 or more")
        return None
    if number == 0:
        return timedelta(0)
    key = unit.strip().casefold() if isinstance(unit, str) else ""
    if key not in _UNITS_S:
        impossible(f"the unit is {_shown(unit)}", f"use one of {', '.join(_UNITS_S)}")
        return None
    seconds = number * _UNITS_S[key]
    if seconds > _LONGEST_DELAY.total_seconds():
        impossible("it is longer than a year", f"give at most {_LONGEST_DELAY.days} days")
        return None
    return timedelta(seconds=seconds)


# Values


def _flag(value: object, node_id: str, where: str, report: Report) -> bool | None:
    """Return a flag; None when it is not saved.  The stored form may hold values as text."""
    match value:
        case bool() | None:
            return value
        case "true":
            return True
        case "false":
            return False
        case _:
            report.error(node_id, where, f"it is {_shown(value)}", "save it as true or false")
            return None


def _number(value: object) -> int | float | None:
    """Return a finite number, also one saved as text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value) if "." in value else int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if isinstance(value, int) or math.isfinite(value) else None
    return None


def _shown(value: object) -> str:
    """Show any JSON value, short and printable, in the middle of a sentence."""
    match value:
        case None:
            return "missing"
        case bool():
            return str(value).lower()
        case str():
            cut = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
            return '"' + "".join(char if char.isprintable() else "\ufffd" for char in cut) + '"'
        case int() if abs(value) >= 10**15:  # Python writes no more than 4,300 digits
            return "a very large number"
        case int() | float():
            return str(value)
        case Mapping():
            return "an object"
        case list():
            return "an array"
        case _:
            return "no JSON value"

"""Whatever JSON comes as a workflow, it is read without raising, and what passes can be walked."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clento_engine.domain.account import Tier
from clento_engine.domain.editor import read_workflow
from clento_engine.domain.finding import Severity
from clento_engine.domain.readiness import check_ready, skip_unready
from clento_engine.domain.workflow import Branch, from_json, to_json, tree

SAMPLES = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "test_editor_samples").glob("*.json"))
]

numbers = st.integers() | st.floats() | st.just(10**400)  # the last is too large for a float
words = st.sampled_from(
    [
        "",
        "0",
        "15m",
        "-3d",
        "true",
        "{{",
        "[first_name]",
        "\0",
        "\ud800",
        "action",
        "addStep",
        "webhook",
        "send_connection_request",
        "withdraw_request",
        "send_followup",
        "x" * 10_000,
    ]
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=10) | words
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)

rarely = st.integers(0, 9).map(lambda dice: dice == 0)
kinds = st.sampled_from(
    [
        "profile_visit",
        "like_post",
        "comment_post",
        "send_connection_request",
        "send_invite",
        "send_followup",
        "send_inmail",
        "withdraw_request",
        "webhook",
        "follow_profile",
    ]
)
keys = st.sampled_from(
    [
        "customMessage",
        "message",
        "customComment",
        "useAI",
        "configureWithAI",
        "subject",
        "config",
        "numberOfPosts",
        "postCount",
        "recentPostDays",
        "webhookId",
        "targetUrl",
        "smartFollowups",
        "timeDelay",
        "isFollowUp",
    ]
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container of a document with each of its keys."""
    found = []
    todo = [value]
    while todo:
        here = todo.pop()
        inside: Any = here.items() if isinstance(here, dict) else enumerate(here)
        for key, part in inside:
            found.append((here, key))
            if isinstance(part, dict | list):
                todo.append(part)
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Change a sample at a few places: other values, missing keys, repeated or moved parts."""
    document = deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        container, key = draw(st.sampled_from(places(document)))
        match draw(st.sampled_from(["replace", "delete", "copy", "swap"])):
            case "replace":
                container[key] = draw(any_json)
            case "delete":
                del container[key]
            case "copy" if isinstance(container, list):
                container.append(deepcopy(container[key]))
            case _:
                other, place = draw(st.sampled_from(places(document)))
                container[key] = deepcopy(other[place])
        if not document:
            break
    return document


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """Draw any kinds of nodes, with edges that lead onwards, most of them to the next node."""
    count = draw(st.integers(1, 7))
    nodes: list[Any] = [{"id": "end", "type": "addStep"}]
    edges: list[Any] = []
    for place in range(count):
        kind = draw(kinds)
        config: dict[str, Any] = {"customMessage": "Hi", "customComment": "Hi", "webhookId": "crm"}
        config |= draw(st.dictionaries(keys, any_json, max_size=1)) if draw(rarely) else {}
        data = {"type": kind, "config": config}
        nodes.append({"id": str(place), "type": "action", "data": data})
        is_request = kind in ("send_connection_request", "send_invite")
        for positive in (True, False) if is_request else (None,):
            onwards = place + 1 if not draw(rarely) else draw(st.integers(0, count))
            delay: Any = {"delay": draw(st.integers(0, 9)), "unit": "d"}
            edges.append(
                {
                    "source": str(place),
                    "target": str(onwards) if onwards < count else "end",
                    "data": {
                        "delayData": delay,
                        "isConditionalPath": positive is not None,
                        "isPositive": positive,
                    },
                }
            )
    return {"nodes": draw(st.permutations(nodes)), "edges": draw(st.permutations(edges))}


def check(document: Any) -> None:
    """Read a document twice, and hold what comes out to what is promised."""
    before = deepcopy(document)
    result = read_workflow(document)
    again = read_workflow(document)
    assert repr(document) == repr(before)  # NaN is not equal to itself
    assert result == again
    assert all(finding.field and finding.problem and finding.fix for finding in result.findings)
    "".join(map(str, result.findings)).encode()  # printable anywhere
    failed = any(finding.severity is Severity.ERROR for finding in result.findings)
    assert (result.workflow is None) == failed
    workflow = result.workflow
    if workflow is None:
        return
    walked: set[str] = set()
    ways = [edge.target for node in workflow.nodes.values() for edge in node.edges]
    assert set(ways) - {None} == set(workflow.nodes) - {
        workflow.first
    }  # all reached, none dangling
    assert next(iter(workflow.nodes)) == workflow.first
    for name, node in workflow.nodes.items():
        walked.add(name)
        assert name == node.id
        # each edge leads onwards in the order of the nodes: no cycle
        assert not walked & {edge.target for edge in node.edges}
        branches = [edge.branch for edge in node.edges]
        assert len(set(branches)) == len(branches)
        assert Branch.NEXT not in branches or len(branches) == 1
    unready = [
        *result.findings,
        *check_ready(workflow, tiers=list(Tier), webhooks={}, columns=["x"], inmail_subject="{{x"),
    ]
    skipped = skip_unready(workflow, unready)
    marked = {finding.node_id for finding in unready if finding.severity is Severity.UNREADY}
    assert {node.id for node in skipped.nodes.values() if node.skip} == marked
    assert from_json(json.loads(json.dumps(to_json(skipped)))) == skipped
    drawn = {line.node_id for line in tree(skipped, unready)}
    assert drawn - {None} == set(workflow.nodes)


@given(any_json)
def test_any_json_is_read(document: Any) -> None:
    check(document)


@given(st.fixed_dictionaries({"nodes": any_json, "edges": any_json}))
def test_any_nodes_and_edges_are_read(document: Any) -> None:
    check(document)


@settings(max_examples=300)
@given(graphs())
def test_any_graph_is_read(document: Any) -> None:
    check(document)


@settings(max_examples=300)
@given(mutated())
def test_a_sample_changed_anywhere_is_read(document: Any) -> None:
    check(document)


def test_depth_does_no_harm() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert read_workflow(deep).workflow is None
    node = {"id": "a", "type": "action", "data": {"type": deep, "config": {"useAI": deep}}}
    assert read_workflow({"nodes": [node, deep], "edges": [deep]}).workflow is None

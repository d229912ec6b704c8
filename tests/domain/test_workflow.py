"""The compiled form in JSON and back, and the graph drawn as a tree."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.finding import Finding, Severity
from clento_engine.domain.operation import Operation
from clento_engine.domain.workflow import (
    Branch,
    Edge,
    Node,
    Workflow,
    duration,
    from_json,
    to_json,
    tree,
)

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
delays = st.timedeltas(timedelta(0), timedelta(days=365))
edges = st.builds(Edge, st.none() | texts, delays, st.sampled_from(Branch))
nodes = st.builds(
    Node,
    id=texts,
    operation=st.sampled_from(Operation),
    text=texts,
    subject=texts,
    posts=st.integers(1, 10),
    recent=st.timedeltas(DAY, timedelta(days=365)),
    only_without_reply=st.booleans(),
    webhook_id=st.none() | texts,
    webhook_url=st.none() | texts,
    skip=st.none() | texts,
    edges=st.lists(edges, max_size=3).map(tuple),
    unsupported=st.none() | texts,
)
workflows = st.builds(
    Workflow,
    first=texts,
    nodes=st.lists(nodes, max_size=5).map(lambda many: {node.id: node for node in many}),
)


def workflow(*many: Node) -> Workflow:
    return Workflow(many[0].id, {node.id: node for node in many})


def drawn(graph: Workflow, *findings: Finding) -> list[str]:
    return [str(line) for line in tree(graph, findings)]


@given(workflows)
def test_the_compiled_form_comes_back_from_json_as_it_was(graph: Workflow) -> None:
    saved = json.loads(json.dumps(to_json(graph)))
    again = from_json(saved)
    assert again == graph
    assert list(again.nodes) == list(graph.nodes)


def test_json_leaves_out_what_is_the_default() -> None:
    graph = workflow(Node("a", Operation.PROFILE_VISIT))
    assert to_json(graph) == {"first": "a", "nodes": [{"id": "a", "operation": "profile_visit"}]}


def test_anything_but_the_compiled_form_is_refused() -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json({"first": "a", "nodes": [{"id": "a", "operation": "dance"}]})


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=90), "90 s"),
        (15 * MINUTE, "15 min"),
        (90 * MINUTE, "90 min"),
        (60 * MINUTE, "1 h"),
        (DAY, "1 day"),
        (timedelta(weeks=1), "7 days"),
        (timedelta(days=1.5), "36 h"),
        (timedelta(milliseconds=1500), "1.5 s"),
    ],
)
def test_a_duration_is_said_in_its_largest_whole_unit(time: timedelta, words: str) -> None:
    assert duration(time) == words


def test_a_path_is_drawn_step_under_step_with_delays() -> None:
    graph = workflow(
        Node("v", Operation.PROFILE_VISIT, edges=(Edge("l", 15 * MINUTE),)),
        Node("l", Operation.LIKE_POST, posts=3, edges=(Edge("f", timedelta(0)),)),
        Node(
            "f",
            Operation.SEND_FOLLOWUP,
            text="Hi,\n\n" + "word " * 30,
            only_without_reply=True,
            edges=(Edge(None, DAY),),
        ),
    )
    assert drawn(graph) == [
        "1. visit the profile",
        "2. after 15 min: like 3 posts of the last 30 days",
        '3. at once: send a message unless they replied: "Hi,' + " word" * 11 + '…"',
    ]


def test_both_branches_are_drawn_also_one_that_ends_at_once() -> None:
    accepted = Edge("f", 15 * MINUTE, Branch.ACCEPTED)
    graph = workflow(
        Node("r", Operation.SEND_CONNECTION_REQUEST, edges=(accepted,)),
        Node("f", Operation.SEND_FOLLOWUP, text="Hi", edges=(Edge("w", DAY),)),
        Node("w", Operation.WEBHOOK, webhook_id="crm"),
    )
    assert drawn(graph) == [
        "1. ask to connect, without a note",
        '   2. if accepted, 15 min later: send a message: "Hi"',
        "      3. after 1 day: webhook crm",
        "   if not accepted within 10 days: end",
    ]


def test_branches_that_meet_again_are_drawn_once_and_referred_to() -> None:
    graph = workflow(
        Node(
            "r",
            Operation.SEND_CONNECTION_REQUEST,
            text="Hello",
            edges=(
                Edge("w", timedelta(0), Branch.ACCEPTED),
                Edge("d", 7 * DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        Node("d", Operation.WITHDRAW_REQUEST, edges=(Edge("w", DAY),)),
        Node("w", Operation.WEBHOOK, webhook_url="https://crm.example.com"),
    )
    assert drawn(graph) == [
        '1. ask to connect: "Hello"',
        "   2. if accepted, at once: webhook https://crm.example.com",
        "   3. if not accepted within 7 days: withdraw the request",
        "      after 1 day: on to 2, webhook https://crm.example.com",
    ]


def test_a_diamond_of_many_merges_is_drawn_in_as_many_lines_as_edges() -> None:
    many = [
        Node(
            f"r{i}",
            Operation.SEND_CONNECTION_REQUEST,
            edges=(
                Edge(f"r{i + 1}", DAY, Branch.ACCEPTED),
                Edge(f"r{i + 1}", DAY, Branch.NOT_ACCEPTED),
            ),
        )
        for i in range(2000)
    ]
    end = Node("r2000", Operation.WEBHOOK)
    assert len(tree(workflow(*many, end))) == 1 + 2 * 2000


def test_nodes_that_do_not_run_are_marked() -> None:
    graph = workflow(
        Node("a", Operation.WEBHOOK, unsupported="follow_profile", edges=(Edge("b", DAY),)),
        Node("b", Operation.SEND_INMAIL, text="Hi", skip="no credits"),
    )
    unready = Finding("a", "data.type", "no operation", "remove it", Severity.UNREADY)
    warning = Finding("a", "edges", "odd", "look", Severity.WARNING)
    hidden = Finding("b", "subject", "no subject", "give one", Severity.UNREADY)
    assert drawn(graph, unready, warning, hidden) == [
        "1. follow_profile [not ready: no operation]",
        '2. after 1 day: send an InMail: "Hi" [skipped: no credits]',
    ]

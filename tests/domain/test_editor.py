"""Documents of all the editors become one graph, and every problem is named with node and field.

`test_editor_samples` holds one document for each shape in real use, as the editors save them.
"""

import json
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clento_engine.domain.account import Tier
from clento_engine.domain.editor import Compiled, read_workflow
from clento_engine.domain.finding import Allowance, Severity
from clento_engine.domain.operation import Operation
from clento_engine.domain.readiness import check_ready
from clento_engine.domain.template import Rendered, compose, render
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow, from_json, to_json

SAMPLES = Path(__file__).parent / "test_editor_samples"
OUTREACH = Path(__file__).parents[2] / "examples" / "outreach.json"

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HUGE = pytest.param(10**5000, id="huge")  # has more digits than Python writes

VISIT, LIKE = Operation.PROFILE_VISIT, Operation.LIKE_POST
COMMENT, REQUEST = Operation.COMMENT_POST, Operation.SEND_CONNECTION_REQUEST
MESSAGE, INMAIL = Operation.SEND_FOLLOWUP, Operation.SEND_INMAIL
WITHDRAW, WEBHOOK = Operation.WITHDRAW_REQUEST, Operation.WEBHOOK

Json = dict[str, Any]
Problems = list[tuple[Severity, str | None, str]]


def load(path: Path) -> Json:
    document: Json = json.loads(path.read_text(encoding="utf-8"))
    return document


def document(nodes: list[Json], edges: list[Json]) -> Json:
    return {"nodes": nodes, "edges": edges}


def action(name: str, kind: str = "profile_visit", **config: object) -> Json:
    """Return a node as the editors save it, with a text where it needs one."""
    needed: Json = {
        "comment_post": {"customComment": "Nice"},
        "send_followup": {"customMessage": "Hi"},
        "send_inmail": {"customMessage": "Hi"},
        "webhook": {"webhookId": "crm"},
    }.get(kind, {})
    return {"id": name, "type": "action", "data": {"type": kind, "config": needed | config}}


def placeholder(name: str, kind: str = "send_followup") -> Json:
    return {"id": name, "type": "addStep", "data": {"type": kind, "config": {}}}


def edge(source: str, target: str, delay: object = 1, unit: object = "d", **flags: object) -> Json:
    data = {"delayData": {"delay": delay, "unit": unit}} | flags
    return {"source": source, "target": target, "data": data}


def accepted(source: str, target: str, delay: object = 1, unit: object = "d") -> Json:
    return edge(source, target, delay, unit, isConditionalPath=True, isPositive=True)


def not_accepted(source: str, target: str, delay: object = 7, unit: object = "d") -> Json:
    return edge(source, target, delay, unit, isConditionalPath=True, isPositive=False)


def compiled(document: Json) -> Workflow:
    result = read_workflow(document)
    assert result.workflow is not None, result.findings
    return result.workflow


def alone(node: Json) -> Compiled:
    return read_workflow(document([node], []))


def only(node: Json) -> Node:
    workflow = alone(node).workflow
    assert workflow is not None
    return workflow.nodes[workflow.first]


def problems(result: Compiled) -> Problems:
    assert all(finding.problem and finding.fix for finding in result.findings)
    is_error = any(finding.severity is Severity.ERROR for finding in result.findings)
    assert (result.workflow is None) == is_error
    return [(finding.severity, finding.node_id, finding.field) for finding in result.findings]


def errors(document: Json) -> list[tuple[str | None, str]]:
    """Return node and field of each finding, all of which are errors."""
    found = problems(read_workflow(document))
    assert all(severity is Severity.ERROR for severity, _, _ in found), found
    return [(node, where) for _, node, where in found]


def operations(workflow: Workflow) -> list[Operation]:
    return [node.operation for node in workflow.nodes.values()]


def way(workflow: Workflow, branch: Branch = Branch.NEXT) -> list[tuple[timedelta, Operation]]:
    """Return what happens after the first node, or on a branch after the request, with delays."""
    start = workflow.first
    if branch is not Branch.NEXT:
        start = next(node.id for node in workflow.nodes.values() if node.branches)
    taken = []
    edge = workflow.nodes[start].edge(branch)
    while edge is not None and edge.target is not None:
        node = workflow.nodes[edge.target]
        taken.append((edge.delay, node.operation))
        edge = node.edge(Branch.NEXT)
    return taken


# The documents in real use


def test_the_linear_sample_is_five_actions_with_their_delays() -> None:
    result = read_workflow(load(SAMPLES / "01_linear.json"))
    workflow = result.workflow
    assert result.findings == ()
    assert workflow is not None
    assert operations(workflow) == [VISIT, LIKE, COMMENT, MESSAGE, WEBHOOK]
    assert way(workflow) == [
        (15 * MINUTE, LIKE),
        (DAY, COMMENT),
        (2 * DAY, MESSAGE),
        (timedelta(0), WEBHOOK),
    ]
    visit, like, comment, message, webhook = workflow.nodes.values()
    assert not any(node.branches for node in workflow.nodes.values())
    assert (like.posts, like.recent, comment.recent) == (1, 14 * DAY, 7 * DAY)
    assert message.only_without_reply
    assert message.text.startswith("Hi {{first_name}},\n\nwe have been connected")
    assert webhook.webhook_id == "6f1d2c34-8a57-4b9e-9c11-2f0a7d5e4b01"
    assert webhook.edges == (Edge(None, timedelta(0)),)
    assert visit.id == workflow.first


def test_the_tree_sample_runs_on_after_withdrawing() -> None:
    result = read_workflow(load(SAMPLES / "02_accepted_not_accepted_tree.json"))
    workflow = result.workflow
    assert result.findings == ()
    assert workflow is not None
    assert way(workflow) == [(15 * MINUTE, LIKE), (90 * MINUTE, COMMENT), (DAY, REQUEST)]
    assert way(workflow, Branch.ACCEPTED) == [
        (15 * MINUTE, MESSAGE),
        (2 * DAY, MESSAGE),
        (7 * DAY, MESSAGE),
        (timedelta(0), WEBHOOK),
    ]
    assert way(workflow, Branch.NOT_ACCEPTED) == [
        (7 * DAY, WITHDRAW),
        (2 * DAY, VISIT),
        (timedelta(0), WEBHOOK),
    ]
    assert [node.branches for node in workflow.nodes.values()].count(True) == 1


def test_the_inmail_sample_sends_it_eleven_days_after_the_request() -> None:
    result = read_workflow(load(SAMPLES / "03_inmail_fallback.json"))
    workflow = result.workflow
    by_ai = "send_followup-1768207216844"
    assert problems(result) == [(Severity.UNREADY, by_ai, "data.config.customMessage")]
    assert workflow is not None
    assert way(workflow) == [(4 * HOUR, REQUEST)]
    assert way(workflow, Branch.ACCEPTED) == [(DAY, MESSAGE), (4 * DAY, MESSAGE)]
    assert way(workflow, Branch.NOT_ACCEPTED) == [
        (10 * DAY, WITHDRAW),
        (DAY, INMAIL),
        (5 * DAY, WEBHOOK),
    ]


def test_the_older_sample_reads_like_the_others_and_reports_the_step_nobody_can_do() -> None:
    result = read_workflow(load(SAMPLES / "04_older_editor_dialect.json"))
    workflow = result.workflow
    assert problems(result) == [(Severity.UNREADY, "follow_profile-1756000000707", "data.type")]
    assert workflow is not None
    assert way(workflow) == [(15 * MINUTE, LIKE), (HOUR, REQUEST)]
    assert way(workflow, Branch.ACCEPTED) == [(15 * MINUTE, WEBHOOK), (15 * MINUTE, MESSAGE)]
    follow = workflow.nodes["follow_profile-1756000000707"]
    assert way(workflow, Branch.NOT_ACCEPTED) == [(7 * DAY, WITHDRAW), (15 * MINUTE, WEBHOOK)]
    assert follow.unsupported == "follow_profile"
    assert workflow.nodes["send-invite-1756000000303"].text.startswith("Hi [first_name], your")
    assert workflow.nodes["send_followup-1756000000505"].only_without_reply
    notice = workflow.nodes["notify_webhook-1756000000404"]
    assert (notice.webhook_id, notice.webhook_url) == (None, "https://hooks.example.com/outreach")


def form(workflow: Workflow) -> list[Node]:
    """Return the nodes with ids, spelling of variables and address of the webhook set aside."""
    lead = {"first_name": "Ann", "job_title": "Engineer", "company": "Acme"}
    place = {name: str(index) for index, name in enumerate(workflow.nodes)}
    assert place[workflow.first] == "0"

    def aside(node: Node) -> Node:
        text = render(node.text, lead)
        assert isinstance(text, Rendered)
        edges = tuple(replace(e, target=place[e.target] if e.target else None) for e in node.edges)
        bare = replace(node, id=place[node.id], text=text.text, edges=edges)
        return replace(bare, webhook_id=None, webhook_url=None)

    return [aside(node) for node in workflow.nodes.values()]


def test_the_older_dialect_compiles_to_the_same_graph_as_the_production_dialect() -> None:
    words = "your work as {{job_title}} at {{company}} is close to what we build."
    note = f"Hi {{{{first_name}}}}, {words} Open to connecting?"
    thanks = "Thanks for connecting, {{First_Name}}."
    production = document(
        [
            action("visit"),
            action("like", "like_post", numberOfPosts=1, recentPostDays=7),
            action("request", "send_connection_request", useAI=False, customMessage=note),
            action("hook", "webhook", webhookId="6f1d2c34"),
            action("thanks", "send_followup", smartFollowups=True, customMessage=thanks),
            action("withdraw", "withdraw_request", smartFollowups=True, messagePurpose=""),
            action("follow", "follow_profile"),
            placeholder("end-accepted"),
            placeholder("end-not-accepted"),
        ],
        [
            edge("visit", "like", 15, "m"),
            edge("like", "request", 60, "m"),
            accepted("request", "hook", 15, "m"),
            accepted("hook", "thanks", 15, "m"),
            not_accepted("request", "withdraw", 1, "w"),
            not_accepted("withdraw", "follow", 15, "m"),
            accepted("thanks", "end-accepted", 3, "d"),
            not_accepted("follow", "end-not-accepted", 3, "d"),
        ],
    )
    older = load(SAMPLES / "04_older_editor_dialect.json")
    assert form(compiled(older)) == form(compiled(production))


def test_the_example_is_ready_for_every_sender() -> None:
    result = read_workflow(load(OUTREACH))
    assert result.findings == ()
    assert result.workflow is not None
    hooks = [n.webhook_id for n in result.workflow.nodes.values() if n.webhook_id is not None]
    findings = check_ready(
        result.workflow,
        tiers=list(Tier),
        webhooks=dict.fromkeys(hooks, "https://crm.test/in"),
        columns=["first_name", "company"],
        inmail_subject=None,
    )
    assert findings == []


def test_the_example_is_the_whole_tree() -> None:
    workflow = compiled(load(OUTREACH))
    assert operations(workflow)[:4] == [VISIT, LIKE, COMMENT, REQUEST]
    after_yes = [operation for _, operation in way(workflow, Branch.ACCEPTED)]
    assert after_yes == [MESSAGE, MESSAGE, MESSAGE, WEBHOOK]
    after_no = way(workflow, Branch.NOT_ACCEPTED)
    assert after_no[0] == (7 * DAY, WITHDRAW)
    assert [operation for _, operation in after_no] == [WITHDRAW, VISIT, WEBHOOK]


def test_no_text_of_the_example_is_too_long_for_a_long_name_and_company() -> None:
    lead = {"first_name": "Wolfeschlegelstein", "company": "Llanfair Pumpworks and Sons Limited"}
    for node in compiled(load(OUTREACH)).nodes.values():
        if node.text:
            sent = compose(node.text, lead, operation=node.operation, tier=Tier.NEW)
            assert isinstance(sent, Rendered)


# What each field means


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("profile_visit", VISIT),
        ("like_post", LIKE),
        ("comment_post", COMMENT),
        ("send_connection_request", REQUEST),
        ("send_invite", REQUEST),
        ("send_followup", MESSAGE),
        ("send_inmail", INMAIL),
        ("webhook", WEBHOOK),
    ],
)
def test_every_type_is_an_operation(kind: str, operation: Operation) -> None:
    result = alone(action("a", kind))
    assert result.findings == ()
    assert result.workflow is not None
    assert result.workflow.nodes["a"].operation is operation


def test_only_the_outer_type_action_runs() -> None:
    workflow = compiled(document([action("a"), placeholder("b", "webhook")], [edge("a", "b")]))
    assert list(workflow.nodes) == ["a"]


def test_an_edge_into_a_placeholder_ends_the_path_whatever_its_delay() -> None:
    ends = document([action("a"), placeholder("b")], [edge("a", "b", "never", "x")])
    assert compiled(ends).nodes["a"].edges == (Edge(None, timedelta(0)),)


def test_a_not_accepted_edge_into_a_placeholder_waits_the_usual_window() -> None:
    nodes = [action("r", "send_connection_request"), action("m", "send_followup")]
    edges = [accepted("r", "m", 15, "m"), not_accepted("r", "p", 15, "m")]
    workflow = compiled(document([*nodes, placeholder("p")], edges))
    assert workflow.nodes["r"].edges == (
        Edge("m", 15 * MINUTE, Branch.ACCEPTED),
        Edge(None, 10 * DAY, Branch.NOT_ACCEPTED),
    )


def test_flags_are_labels_where_no_request_is_left() -> None:
    workflow = compiled(document([action("a"), action("b")], [not_accepted("a", "b", 0)]))
    assert workflow.nodes["a"].edges == (Edge("b", timedelta(0)),)


@pytest.mark.parametrize(
    "flags", [{}, {"isConditionalPath": None}, {"isConditionalPath": False, "isPositive": False}]
)
def test_a_request_with_one_plain_edge_does_not_wait(flags: Json) -> None:
    nodes = [action("r", "send_connection_request"), action("v")]
    workflow = compiled(document(nodes, [edge("r", "v", 2, "h", **flags)]))
    assert workflow.nodes["r"].edges == (Edge("v", 2 * HOUR),)


def test_flags_may_be_saved_as_text() -> None:
    nodes = [action("r", "send_connection_request"), action("v")]
    saved = edge("r", "v", isConditionalPath="true", isPositive="false")
    assert compiled(document(nodes, [saved])).nodes["r"].branches


@pytest.mark.parametrize(
    ("data", "delay"),
    [
        ({"delayData": {"delay": 90, "unit": "m"}}, 90 * MINUTE),
        ({"delayData": {"delay": "90", "unit": "m"}, "delay": "3d"}, 90 * MINUTE),
        ({"delayData": {"delay": 1.5, "unit": "h"}}, 90 * MINUTE),
        ({"delayData": {"delay": "1.5", "unit": " H "}}, 90 * MINUTE),
        ({"delayData": {"delay": 30, "unit": "s"}}, timedelta(seconds=30)),
        ({"delayData": {"delay": 1, "unit": "w"}}, 7 * DAY),
        ({"delayData": {"delay": 365, "unit": "d"}}, 365 * DAY),
        ({"delayData": {"delay": 0}}, timedelta(0)),
        ({"delayData": None, "delay": "15m"}, 15 * MINUTE),
        ({"delayData": {}, "delay": "7d"}, 7 * DAY),
        ({"delay": " 2 h "}, 2 * HOUR),
        ({"delay": "0"}, timedelta(0)),
        ({"delay": 0}, timedelta(0)),
    ],
)
def test_delays_are_read_in_every_form(data: Json, delay: timedelta) -> None:
    saved = {"source": "a", "target": "b", "data": data}
    result = read_workflow(document([action("a"), action("b")], [saved]))
    assert result.findings == ()
    assert result.workflow is not None
    assert result.workflow.nodes["a"].edges == (Edge("b", delay),)


@pytest.mark.parametrize("data", [{}, None, {"delay": None}, {"delayData": {"unit": "d"}}])
def test_a_missing_delay_is_what_the_editor_shows_and_for_a_waiting_window_ten_days(
    data: Json | None,
) -> None:
    nodes = [action("v"), action("r", "send_connection_request"), action("w", "withdraw_request")]
    flags = {"isConditionalPath": True, "isPositive": False}
    edges: list[Json] = [
        {"source": "v", "target": "r", "data": data},
        {"source": "r", "target": "w", "data": (data or {}) | flags},
    ]
    result = read_workflow(document(nodes, edges))
    assert problems(result) == [
        (Severity.WARNING, "v", "edges[0].data.delayData"),
        (Severity.WARNING, "r", "edges[1].data.delayData"),
    ]
    assert result.workflow is not None
    assert result.workflow.nodes["v"].edges == (Edge("r", 15 * MINUTE),)
    assert result.workflow.nodes["r"].edges == (Edge("w", 10 * DAY, Branch.NOT_ACCEPTED),)


def test_a_waiting_window_of_nothing_is_taken_for_a_missing_one() -> None:
    nodes = [action("r", "send_connection_request"), action("w", "withdraw_request")]
    result = read_workflow(document(nodes, [not_accepted("r", "w", 0, "m")]))
    assert problems(result) == [(Severity.WARNING, "r", "edges[0].data.delayData.delay")]
    assert result.workflow is not None
    assert result.workflow.nodes["r"].edges == (Edge("w", 10 * DAY, Branch.NOT_ACCEPTED),)


@pytest.mark.parametrize(("delay", "unit"), [(15, "m"), (23, "h"), (1, "s")])
def test_a_waiting_window_of_less_than_a_day_is_unready_unless_it_is_allowed(
    delay: int, unit: str
) -> None:
    nodes = [action("r", "send_connection_request"), action("w", "withdraw_request")]
    saved = document(nodes, [not_accepted("r", "w", delay, unit)])
    result = read_workflow(saved)
    assert problems(result) == [(Severity.UNREADY, "r", "edges[0].data.delayData.delay")]
    assert result.findings[0].allowance is Allowance.SHORT_WINDOW
    told = read_workflow(saved, {"r": [Allowance.SHORT_WINDOW]})
    assert problems(told) == [(Severity.WARNING, "r", "edges[0].data.delayData.delay")]
    assert told.workflow is not None
    assert told.workflow.nodes["r"].edges[0].delay < DAY


def test_a_waiting_window_of_a_day_is_ready() -> None:
    nodes = [action("r", "send_connection_request"), action("w", "withdraw_request")]
    assert read_workflow(document(nodes, [not_accepted("r", "w", 24, "h")])).findings == ()


@pytest.mark.parametrize(
    ("config", "posts", "days"),
    [
        ({}, 1, 30),
        ({"numberOfPosts": 3, "recentPostDays": 14}, 3, 14),
        ({"numberOfPosts": "3", "recentPostDays": "14"}, 3, 14),
        ({"postCount": 10, "recentPostWithin": 365}, 10, 365),
        ({"numberOfPosts": None, "postCount": 2.0}, 2, 30),
        ({"numberOfPosts": 2, "postCount": 4}, 2, 30),
    ],
)
def test_posts_are_read_from_both_dialects(config: Json, posts: int, days: int) -> None:
    node = only(action("a", "like_post", **config))
    assert (node.posts, node.recent) == (posts, days * DAY)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("comment_post", "customComment"),
        ("send_connection_request", "customMessage"),
        ("send_invite", "message"),
        ("send_followup", "customMessage"),
        ("send_followup", "message"),
        ("send_inmail", "customMessage"),
        ("send_inmail", "message"),
    ],
)
def test_the_text_is_read_from_the_key_of_type_and_dialect(kind: str, key: str) -> None:
    node = action("a", kind)
    node["data"]["config"] = {key: "Hello\r\n{{first_name}}"}
    assert only(node).text == "Hello\r\n{{first_name}}"


def test_an_empty_text_of_one_dialect_leaves_the_other() -> None:
    assert only(action("a", "send_followup", customMessage=" ", message="Hi")).text == "Hi"


def test_a_stale_nested_config_is_ignored() -> None:
    stale = {"useAI": True, "message": "old", "customMessage": "old"}
    result = alone(action("a", "send_invite", useAI=False, config=stale))
    assert result.findings == ()
    assert result.workflow is not None
    assert result.workflow.nodes["a"].text == ""


def test_an_invitation_without_a_note_is_allowed() -> None:
    assert alone(action("a", "send_connection_request", useAI=False)).findings == ()


@pytest.mark.parametrize("flag", ["useAI", "configureWithAI"])
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("comment_post", "customComment"),
        ("send_connection_request", "customMessage"),
        ("send_invite", "message"),
        ("send_followup", "customMessage"),
        ("send_inmail", "message"),
    ],
)
def test_a_text_beside_an_ai_flag_is_a_preview_until_it_is_allowed(
    kind: str, key: str, flag: str
) -> None:
    saved = action("a", kind)
    saved["data"]["config"] = {key: "Hi", flag: True}
    result = alone(saved)
    assert problems(result) == [(Severity.UNREADY, "a", f"data.config.{key}")]
    assert result.findings[0].allowance is Allowance.SAVED_TEXT
    allowed = read_workflow(document([saved], []), {"a": [Allowance.SAVED_TEXT]})
    assert problems(allowed) == [(Severity.WARNING, "a", f"data.config.{key}")]
    assert allowed.workflow is not None
    assert allowed.workflow.nodes["a"].text == "Hi"


def test_what_is_allowed_at_one_node_is_not_at_another() -> None:
    saved = document(
        [
            action("a", "send_followup", customMessage="Hi", useAI=True),
            action("b", "send_followup", customMessage="Hi", useAI=True),
        ],
        [edge("a", "b")],
    )
    result = read_workflow(saved, {"b": [Allowance.SAVED_TEXT, Allowance.TEXT]})
    assert [(f.severity, f.node_id) for f in result.findings] == [
        (Severity.UNREADY, "a"),
        (Severity.WARNING, "b"),
    ]
    assert result.workflow is not None
    kept = from_json(to_json(result.workflow))
    assert kept == result.workflow
    assert [node.allowed for node in kept.nodes.values()] == [
        (),
        (Allowance.SAVED_TEXT, Allowance.TEXT),
    ]


def test_an_allowance_for_a_node_that_is_not_there_is_an_error() -> None:
    result = read_workflow(document([action("a")], []), {"b": [Allowance.TEXT]})
    assert problems(result) == [(Severity.ERROR, None, "nodes")]


def test_the_unused_ai_assistant_means_nothing() -> None:
    assert alone(action("a", "send_followup", aiWritingAssistant=True)).findings == ()


@pytest.mark.parametrize("key", ["smartFollowups", "isFollowUp"])
@pytest.mark.parametrize("kind", ["send_followup", "send_inmail"])
def test_only_without_reply_is_read_from_both_dialects(kind: str, key: str) -> None:
    assert only(action("a", kind, **{key: True})).only_without_reply
    assert not only(action("a", kind, **{key: False})).only_without_reply
    assert not only(action("a", kind)).only_without_reply


def test_a_subject_is_read_where_a_document_has_one() -> None:
    assert only(action("a", "send_inmail", subject="Hello")).subject == "Hello"


def test_nodes_come_in_the_order_of_the_walk_accepted_first() -> None:
    nodes = [
        action("end"),
        action("no", "withdraw_request"),
        action("yes"),
        action("r", "send_connection_request"),
        action("a"),
    ]
    edges = [
        edge("no", "end"),
        not_accepted("r", "no"),
        edge("yes", "end"),
        accepted("r", "yes"),
        edge("a", "r"),
    ]
    workflow = compiled(document(nodes, edges))
    assert list(workflow.nodes) == ["a", "r", "yes", "no", "end"]
    assert [edge.branch for edge in workflow.nodes["r"].edges] == ["accepted", "not_accepted"]


def test_layout_labels_and_unknown_keys_mean_nothing() -> None:
    saved = load(SAMPLES / "02_accepted_not_accepted_tree.json")
    bare = deepcopy(saved)
    del bare["timestamp"]
    for node in bare["nodes"]:
        for key in ("position", "measured", "selected", "deletable"):
            del node[key]
        for key in ("label", "isConfigured"):
            del node["data"][key]
        node["data"].pop("pathType", None)
    for drawn in bare["edges"]:
        for key in ("id", "type", "animated"):
            del drawn[key]
        del drawn["data"]["delay"]
    assert read_workflow(bare) == read_workflow(saved)


# What stops a campaign from starting


@pytest.mark.parametrize("saved", [None, [], "nodes", 3, True])
def test_a_document_that_is_no_object_is_an_error(saved: object) -> None:
    assert problems(read_workflow(saved)) == [(Severity.ERROR, None, "document")]


@pytest.mark.parametrize("wrong", [None, {}, "x", 0])
def test_nodes_and_edges_must_be_arrays(wrong: object) -> None:
    found = errors({"nodes": wrong, "edges": wrong})
    assert found == [(None, "nodes"), (None, "edges")]
    assert errors({"nodes": [], "edges": wrong}) == [(None, "edges")]


@pytest.mark.parametrize("nodes", [[], [placeholder("a")]])
def test_a_workflow_without_an_action_is_an_error(nodes: list[Json]) -> None:
    assert errors(document(nodes, [])) == [(None, "nodes")]


def test_nodes_and_edges_that_are_no_objects_are_errors() -> None:
    saved: Json = {"nodes": ["x", action("a"), None], "edges": [3]}
    assert errors(saved) == [(None, "nodes[0]"), (None, "nodes[2]"), (None, "edges[0]")]


@pytest.mark.parametrize("name", [None, 5, "", " ", "x" * 201, "a\0", "\ud800"])
def test_an_id_that_is_no_usable_text_is_an_error(name: object) -> None:
    assert errors(document([action("a"), action("b") | {"id": name}], [])) == [
        (None, "nodes[1].id")
    ]


def test_two_nodes_with_one_id_are_an_error() -> None:
    assert errors(document([action("a"), placeholder("a")], [])) == [("a", "nodes[1].id")]


@pytest.mark.parametrize("outer", [None, "Action", "custom", 1])
def test_a_node_that_is_neither_action_nor_placeholder_is_an_error(outer: object) -> None:
    assert errors(document([action("a") | {"type": outer}], [])) == [("a", "type")]


@pytest.mark.parametrize("kind", [None, "", "send_sms", "Webhook", 7, []])
def test_an_unknown_type_is_an_error(kind: Any) -> None:
    assert errors(document([action("a", "x") | {"data": {"type": kind}}], [])) == [
        ("a", "data.type")
    ]


def test_data_and_config_that_are_no_objects_are_errors() -> None:
    assert errors(document([action("a") | {"data": "x"}], [])) == [("a", "data")]
    saved = action("a") | {"data": {"type": "profile_visit", "config": []}}
    assert errors(document([saved], [])) == [("a", "data.config")]
    wrong = {"source": "a", "target": "p", "data": 1}
    assert errors(document([action("a"), placeholder("p")], [wrong])) == [("a", "edges[0].data")]


def test_an_edge_to_nowhere_is_an_error_and_one_from_nowhere_is_nothing() -> None:
    edges = [edge("a", "gone"), edge("gone", "a"), {"source": "a"}, {"target": "a"}]
    assert problems(read_workflow(document([action("a")], edges))) == [
        (Severity.WARNING, None, "edges[1].source"),
        (Severity.ERROR, "a", "edges[2].target"),
        (Severity.ERROR, None, "edges[3].source"),
        (Severity.ERROR, "a", "edges[0].target"),
    ]


def test_a_cycle_is_an_error_at_the_edge_that_closes_it() -> None:
    nodes = [action("a"), action("b"), action("c")]
    edges = [edge("a", "b"), edge("b", "c"), edge("c", "b")]
    assert errors(document(nodes, edges)) == [("c", "edges")]


def test_a_cycle_through_every_node_leaves_no_first_one() -> None:
    edges = [edge("a", "b"), edge("b", "a")]
    found = errors(document([action("a"), action("b")], edges))
    assert found == [(None, "edges"), ("b", "edges")]
    assert errors(document([action("a")], [edge("a", "a")])) == [(None, "edges"), ("a", "edges")]


def test_a_second_first_node_is_an_error() -> None:
    nodes = [action("a"), action("b"), action("c")]
    assert errors(document(nodes, [edge("a", "b"), edge("c", "b")])) == [("c", "edges")]


def test_of_nodes_no_path_reaches_the_first_is_the_error() -> None:
    nodes = [action("a"), action("b"), action("c"), action("d")]
    edges = [edge("b", "c"), edge("c", "d")]
    assert errors(document(nodes, edges)) == [("b", "edges")]


def test_two_plain_edges_out_of_one_node_are_an_error() -> None:
    nodes = [action("a"), action("b"), action("c")]
    assert errors(document(nodes, [edge("a", "b"), edge("a", "c")])) == [("a", "edges")]


def test_mixed_flags_out_of_a_node_that_is_no_request_are_an_error_that_says_so() -> None:
    nodes = [action("a"), action("b"), action("c")]
    result = read_workflow(document(nodes, [accepted("a", "b"), not_accepted("a", "c")]))
    assert problems(result) == [(Severity.ERROR, "a", "edges")]
    assert "b and c, and only a connection request branches" in result.findings[0].problem


def test_an_end_beside_a_step_is_nothing() -> None:
    nodes = [action("a"), action("b"), placeholder("p")]
    result = read_workflow(document(nodes, [edge("a", "p"), edge("a", "b")]))
    assert result.findings == ()
    assert result.workflow is not None
    assert result.workflow.nodes["a"].edges == (Edge("b", DAY),)


def test_two_ends_after_one_node_are_one() -> None:
    nodes = [action("a"), placeholder("p"), placeholder("q")]
    saved = document(nodes, [accepted("a", "p"), not_accepted("a", "q")])
    assert read_workflow(saved).findings == ()


def test_an_edge_drawn_twice_is_a_warning() -> None:
    result = read_workflow(document([action("a"), action("b")], [edge("a", "b"), edge("a", "b")]))
    assert problems(result) == [(Severity.WARNING, "a", "edges")]


@pytest.mark.parametrize("branch", [accepted, not_accepted])
def test_two_edges_for_one_branch_are_an_error(branch: Any) -> None:
    nodes = [action("r", "send_connection_request"), action("a"), action("b")]
    assert errors(document(nodes, [branch("r", "a"), branch("r", "b")])) == [("r", "edges")]


def test_two_plain_edges_out_of_a_request_are_an_error() -> None:
    nodes = [action("r", "send_connection_request"), action("a"), action("b")]
    assert errors(document(nodes, [edge("r", "a"), edge("r", "b")])) == [("r", "edges")]


@pytest.mark.parametrize(
    ("flagged", "other"),
    [(accepted, Branch.NOT_ACCEPTED), (not_accepted, Branch.ACCEPTED)],
)
def test_an_unflagged_edge_beside_one_branch_is_the_other(flagged: Any, other: Branch) -> None:
    nodes = [action("r", "send_connection_request"), action("a"), action("b")]
    result = read_workflow(document(nodes, [edge("r", "a", 3), flagged("r", "b", 4)]))
    assert problems(result) == [(Severity.WARNING, "r", "edges[0].data")]
    assert result.workflow is not None
    assert result.workflow.nodes["r"].edge(other) == Edge("a", 3 * DAY, other)


def test_an_unflagged_edge_beside_both_branches_is_an_error() -> None:
    nodes = [
        action(name, "send_connection_request" if name == "r" else "webhook") for name in "rabc"
    ]
    edges = [edge("r", "a"), accepted("r", "b"), not_accepted("r", "c")]
    assert errors(document(nodes, edges)) == [("r", "edges")]


def test_an_unflagged_end_beside_a_branch_is_nothing() -> None:
    nodes = [action("r", "send_connection_request"), action("b"), placeholder("p")]
    result = read_workflow(document(nodes, [edge("r", "p"), accepted("r", "b")]))
    assert result.findings == ()
    assert result.workflow is not None
    assert [edge.branch for edge in result.workflow.nodes["r"].edges] == [Branch.ACCEPTED]


@pytest.mark.parametrize(
    ("conditional", "positive", "field"),
    [
        (True, None, ""),
        (False, True, ""),
        (None, True, ""),
        (True, "perhaps", ".isPositive"),
        (1, True, ".isConditionalPath"),
    ],
)
def test_flags_at_a_request_that_say_no_branch_are_errors(
    conditional: object, positive: object, field: str
) -> None:
    nodes = [action("r", "send_connection_request"), action("a")]
    saved = edge("r", "a", isConditionalPath=conditional, isPositive=positive)
    assert ("r", f"edges[0].data{field}") in errors(document(nodes, [saved]))


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"delayData": {"delay": -1, "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": "-1", "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": "soon", "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": float("nan"), "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": float("inf"), "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": True, "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": [1], "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": 1, "unit": "y"}}, "delayData.delay"),
        ({"delayData": {"delay": 1, "unit": None}}, "delayData.delay"),
        ({"delayData": {"delay": 1}}, "delayData.delay"),
        ({"delayData": {"delay": 366, "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": 53, "unit": "w"}}, "delayData.delay"),
        ({"delayData": {"delay": HUGE.values[0], "unit": "d"}}, "delayData.delay"),
        ({"delayData": {"delay": "1e3", "unit": "s"}}, "delayData.delay"),
        ({"delayData": 15}, "delayData"),
        ({"delay": "15"}, "delay"),
        ({"delay": 15}, "delay"),
        ({"delay": "NaN"}, "delay"),
        ({"delay": "15 minutes"}, "delay"),
        ({"delay": "m"}, "delay"),
    ],
)
def test_impossible_delays_are_errors(data: Json, field: str) -> None:
    saved = {"source": "a", "target": "b", "data": data}
    found = errors(document([action("a"), action("b")], [saved]))
    assert found == [("a", f"edges[0].data.{field}")]


@pytest.mark.parametrize("count", [0, 11, -1, 1.5, "many", True, [], float("nan"), HUGE])
@pytest.mark.parametrize("key", ["numberOfPosts", "postCount"])
def test_a_count_of_posts_outside_1_to_10_is_an_error(key: str, count: object) -> None:
    assert errors(document([action("a", "like_post", **{key: count})], [])) == [
        ("a", f"data.config.{key}")
    ]


@pytest.mark.parametrize("days", [0, 366, "1.5", False])
@pytest.mark.parametrize("key", ["recentPostDays", "recentPostWithin"])
def test_an_age_of_posts_outside_1_to_365_days_is_an_error(key: str, days: object) -> None:
    assert errors(document([action("a", "comment_post", **{key: days})], [])) == [
        ("a", f"data.config.{key}")
    ]


@pytest.mark.parametrize(
    ("kind", "key", "limit"),
    [
        ("send_connection_request", "customMessage", 300),
        ("send_invite", "message", 300),
        ("comment_post", "customComment", 1250),
        ("send_followup", "customMessage", 8000),
        ("send_inmail", "customMessage", 2000),
        ("send_inmail", "subject", 200),
    ],
)
def test_a_text_too_long_for_any_lead_is_an_error(kind: str, key: str, limit: int) -> None:
    assert errors(document([action("a", kind, **{key: "x" * (limit + 1)})], [])) == [
        ("a", f"data.config.{key}")
    ]
    within = alone(action("a", kind, **{key: "x" * limit}))
    assert within.workflow is not None


def test_a_text_that_values_may_lengthen_too_far_is_warned_of() -> None:
    text = "x" * 290 + "{{company}}"
    result = alone(action("a", "send_connection_request", customMessage=text))
    assert problems(result) == [(Severity.WARNING, "a", "data.config.customMessage")]


def test_an_inmail_near_its_limit_is_warned_of() -> None:
    result = alone(action("a", "send_inmail", customMessage="x" * 1901))
    assert problems(result) == [(Severity.WARNING, "a", "data.config.customMessage")]


@pytest.mark.parametrize("text", ["Hi {{first_name", "Hi {{}}", "Hi {{0}}", "Hi first_name}}"])
def test_braces_that_are_no_variable_are_errors(text: str) -> None:
    assert errors(document([action("a", "comment_post", customComment=text)], [])) == [
        ("a", "data.config.customComment")
    ]


@pytest.mark.parametrize("text", [5, ["Hi"], True])
def test_a_text_that_is_no_text_is_an_error(text: object) -> None:
    found = problems(alone(action("a", "send_followup", customMessage=text)))
    assert (Severity.ERROR, "a", "data.config.customMessage") in found


@pytest.mark.parametrize("broken", ["\0", "\ud83d"])
def test_a_character_that_cannot_be_stored_is_an_error(broken: str) -> None:
    field = "data.config.customMessage"
    assert errors(document([action("a", "send_followup", customMessage=broken)], [])) == [
        ("a", field)
    ]
    assert errors(document([action("a", "webhook", webhookId=broken)], [])) == [
        ("a", "data.config.webhookId")
    ]


def test_a_setting_that_is_neither_true_nor_false_is_an_error() -> None:
    assert errors(document([action("a", "send_followup", smartFollowups="yes")], [])) == [
        ("a", "data.config.smartFollowups")
    ]


# What keeps a node from running


@pytest.mark.parametrize("kind", ["follow_profile", "follow_company"])
def test_a_step_the_engine_cannot_do_is_unready(kind: str) -> None:
    assert problems(alone(action("a", kind))) == [(Severity.UNREADY, "a", "data.type")]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("comment_post", "customComment"),
        ("send_followup", "customMessage"),
        ("send_inmail", "customMessage"),
    ],
)
@pytest.mark.parametrize("text", [None, "", " \n"])
def test_a_missing_text_is_unready(kind: str, key: str, text: object) -> None:
    result = alone(action("a", kind, **{key: text}))
    assert problems(result) == [(Severity.UNREADY, "a", f"data.config.{key}")]


@pytest.mark.parametrize("flag", ["useAI", "configureWithAI"])
@pytest.mark.parametrize("kind", ["send_connection_request", "send_followup", "comment_post"])
def test_a_text_that_ai_is_to_write_is_unready(kind: str, flag: str) -> None:
    node = action("a", kind)
    node["data"]["config"] = {flag: True}
    [(severity, name, _)] = problems(alone(node))
    assert (severity, name) == (Severity.UNREADY, "a")


def test_a_webhook_without_any_address_is_unready() -> None:
    result = alone(action("a", "webhook", webhookId=""))
    assert problems(result) == [(Severity.UNREADY, "a", "data.config.webhookId")]


@pytest.mark.parametrize("url", ["crm", "ftp://x.example.com", "https://", "https://a b", "http:"])
def test_a_webhook_whose_address_is_none_is_unready(url: str) -> None:
    result = alone(action("a", "notify_webhook", targetUrl=url))
    assert problems(result) == [(Severity.UNREADY, "a", "data.config.targetUrl")]


def test_a_withdrawal_before_any_request_is_unready() -> None:
    assert problems(alone(action("a", "withdraw_request"))) == [
        (Severity.UNREADY, "a", "data.type")
    ]


# What may not be meant


def warnings(nodes: list[Json], edges: list[Json]) -> list[str | None]:
    found = problems(read_workflow(document(nodes, edges)))
    assert all((s, where) == (Severity.WARNING, "data.type") for s, _, where in found), found
    return [name for _, name, _ in found]


def test_a_message_on_the_not_accepted_path_is_warned_of() -> None:
    nodes = [
        action("r", "send_connection_request"),
        action("w", "withdraw_request"),
        action("m", "send_followup"),
    ]
    assert warnings(nodes, [not_accepted("r", "w"), edge("w", "m")]) == ["m"]


def test_a_message_after_a_request_that_does_not_wait_is_warned_of() -> None:
    nodes = [action("r", "send_connection_request"), action("m", "send_followup")]
    assert warnings(nodes, [edge("r", "m")]) == ["m"]


def test_a_message_to_people_connected_before_is_not_warned_of() -> None:
    assert warnings([action("v"), action("m", "send_followup")], [edge("v", "m")]) == []


def test_a_withdrawal_on_the_accepted_path_is_warned_of() -> None:
    nodes = [action("r", "send_connection_request"), action("w", "withdraw_request")]
    assert warnings(nodes, [accepted("r", "w")]) == ["w"]


def test_a_second_request_on_a_path_is_warned_of() -> None:
    nodes = [action("r", "send_connection_request"), action("s", "send_connection_request")]
    assert warnings(nodes, [not_accepted("r", "s")]) == ["s"]


def test_a_step_where_the_branches_meet_knows_both_ways() -> None:
    nodes = [
        action("r", "send_connection_request"),
        action("w", "withdraw_request"),
        action("m", "send_followup"),
    ]
    edges = [accepted("r", "m"), not_accepted("r", "w"), edge("w", "m")]
    assert warnings(nodes, edges) == ["m"]


def test_a_delay_of_a_webhook_itself_is_warned_of() -> None:
    late = action("a", "notify_webhook", targetUrl="https://x.example.com", timeDelay={"value": 5})
    assert problems(alone(late)) == [(Severity.WARNING, "a", "data.config.timeDelay")]


def test_a_finding_reads_as_a_sentence_with_its_place_and_fix() -> None:
    [finding] = alone(action("a", "send_sms")).findings
    assert str(finding).startswith(
        'error: a, data.type: no action is called "send_sms"; use one of'
    )


def test_a_document_of_very_many_nodes_is_read_without_recursion() -> None:
    names = [f"n{i}" for i in range(20_000)]
    edges = [edge(a, b) for a, b in pairwise(names)]
    workflow = compiled(document([action(name) for name in names], edges))
    assert list(workflow.nodes) == names

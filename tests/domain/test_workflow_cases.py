"""Documents as people really have them run, or are refused with one finding and its fix."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_editor import (
    DAY,
    MINUTE,
    accepted,
    action,
    document,
    edge,
    not_accepted,
    placeholder,
    problems,
)

from clento_engine.domain.conversion import convert
from clento_engine.domain.editor import Compiled, read_workflow
from clento_engine.domain.finding import Allowance, Severity
from clento_engine.domain.operation import Operation
from clento_engine.domain.workflow import Branch, Edge

CASES = Path(__file__).parent / "test_workflow_cases"
Json = dict[str, Any]


def case(name: str) -> Any:
    return json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))


def one(result: Compiled) -> tuple[Severity, str | None, str]:
    """Return the only finding."""
    [found] = problems(result)
    return found


def request(name: str = "r", **config: object) -> Json:
    return action(name, "send_connection_request", **config)


def message(name: str, text: str = "Hi") -> Json:
    return action(name, "send_followup", customMessage=text)


# Texts


@pytest.mark.parametrize(
    ("name", "pieces", "fixes"),
    [
        ("text_single_brace", ["{first_name}", "{company}"], ["{{first_name}}", "{{company}}"]),
        ("text_percent", ["%FIRST_NAME%"], ["{{first_name}}"]),
        ("text_mailchimp", ["*|FNAME|*"], ["{{first_name}}"]),
        ("text_liquid_default", ["{{ first_name | default: 'there' }}"], ["{{first_name|there}}"]),
        ("text_html", ["<p>", "&nbsp;", "</p>", "<br>"], ["plain text"]),
        ("text_ai_placeholder", ["[Your Name]", "[specific detail]"], ["write what is meant"]),
    ],
)
def test_a_text_of_another_tool_is_one_error_unless_it_is_allowed(
    name: str, pieces: list[str], fixes: list[str]
) -> None:
    saved = case(name)
    result = read_workflow(saved)
    assert one(result) == (Severity.ERROR, "c1", "data.config.customMessage")
    [finding] = result.findings
    assert all(f'"{piece}"' in finding.problem for piece in pieces)
    assert all(fix in finding.fix for fix in fixes)
    allowed = read_workflow(saved, {"c1": [Allowance.TEXT]})
    assert one(allowed) == (Severity.WARNING, "c1", "data.config.customMessage")
    assert allowed.workflow is not None


@pytest.mark.parametrize(
    "name",
    ["text_single_brace", "text_percent", "text_mailchimp", "text_liquid_default", "text_html"],
)
def test_a_text_of_another_tool_is_right_once_it_is_converted(name: str) -> None:
    assert read_workflow(convert(case(name)).document).findings == ()


def test_each_kind_of_leftover_in_each_text_is_a_finding_of_its_own() -> None:
    inmail = action("i", "send_inmail", customMessage="<b>{x}</b> {y}", subject="[Your Name]")
    found = problems(read_workflow(document([inmail], [])))
    text, subject = "data.config.customMessage", "data.config.subject"
    assert found == [(Severity.ERROR, "i", where) for where in (text, text, subject)]


# Edges


def test_an_edge_to_a_removed_placeholder_is_a_warning() -> None:
    result = read_workflow(case("edge_to_a_removed_placeholder"))
    assert one(result) == (Severity.WARNING, "like_post-12", "edges[1].target")
    assert result.workflow is not None
    assert result.workflow.nodes["like_post-12"].edges == (Edge("send_invite-13", 15 * MINUTE),)


@pytest.mark.parametrize("gone", ["add-step", "add-step-accepted-5", "addStep-7", "Add-Step-x"])
def test_an_edge_to_a_removed_placeholder_alone_ends_the_path(gone: str) -> None:
    result = read_workflow(document([action("a")], [edge("a", gone)]))
    assert one(result) == (Severity.WARNING, "a", "edges[0].target")
    assert result.workflow is not None
    assert result.workflow.nodes["a"].edges == (Edge(None, 0 * DAY),)


def test_an_edge_to_a_removed_placeholder_leaves_a_branch_as_it_is() -> None:
    nodes = [request(), message("m")]
    edges = [accepted("r", "m"), accepted("r", "add-step-1"), not_accepted("r", "add-step-2", 15)]
    result = read_workflow(document(nodes, edges))
    assert [severity for severity, _, _ in problems(result)] == [Severity.WARNING] * 2
    assert result.workflow is not None
    assert result.workflow.nodes["r"].edges == (
        Edge("m", DAY, Branch.ACCEPTED),
        Edge(None, 10 * DAY, Branch.NOT_ACCEPTED),
    )


def test_an_edge_to_a_step_that_is_gone_is_nothing_beside_another_of_its_branch() -> None:
    result = read_workflow(document([action("a"), action("b")], [edge("a", "x"), edge("a", "b")]))
    assert one(result) == (Severity.WARNING, "a", "edges[0].target")


def test_an_edge_to_a_step_that_is_gone_is_one_error_beside_the_other_branch() -> None:
    nodes = [request(), message("m")]
    result = read_workflow(document(nodes, [accepted("r", "m"), not_accepted("r", "gone")]))
    assert one(result) == (Severity.ERROR, "r", "edges[1].target")
    assert "in the editor" in result.findings[0].fix


def test_a_deleted_request_leaves_labels_and_an_end_beside_a_step() -> None:
    result = read_workflow(case("request_deleted_step_added"))
    assert result.findings == ()
    assert result.workflow is not None
    assert list(result.workflow.nodes) == ["profile_visit-21", "like_post-22", "send_followup-24"]
    assert result.workflow.nodes["like_post-22"].edges == (Edge("send_followup-24", 15 * MINUTE),)


def test_a_deleted_request_that_leaves_two_paths_is_one_error() -> None:
    nodes = [action("a"), message("yes"), action("no", "withdraw_request"), placeholder("p")]
    edges = [accepted("a", "yes"), not_accepted("a", "no"), accepted("yes", "p")]
    result = read_workflow(document(nodes, edges))
    assert one(result) == (Severity.ERROR, "a", "edges")
    assert "yes and no" in result.findings[0].problem
    assert "in the editor, delete" in result.findings[0].fix


def test_an_unflagged_edge_out_of_a_request_is_the_other_branch() -> None:
    result = read_workflow(case("unflagged_edge_out_of_a_request"))
    name = "send_connection_request-32"
    assert problems(result) == [
        (Severity.WARNING, name, "edges[2].data"),
        (Severity.WARNING, name, "edges[2].data.delayData.delay"),  # 0: the usual 10 days
    ]
    assert "taken for the not-accepted one" in result.findings[0].problem
    assert result.workflow is not None
    assert result.workflow.nodes[name].edges == (
        Edge("send_followup-33", DAY, Branch.ACCEPTED),
        Edge("profile_visit-34", 10 * DAY, Branch.NOT_ACCEPTED),
    )


@pytest.mark.parametrize("flags", [{"isConditionalPath": True}, {"isPositive": True}])
def test_an_edge_with_half_of_its_flags_is_the_other_branch_too(flags: Json) -> None:
    nodes = [request(), message("m"), action("v")]
    edges = [not_accepted("r", "v"), edge("r", "m", **flags)]
    result = read_workflow(document(nodes, edges))
    assert one(result) == (Severity.WARNING, "r", "edges[1].data")
    assert result.workflow is not None
    assert result.workflow.nodes["r"].edge(Branch.ACCEPTED) == Edge("m", DAY, Branch.ACCEPTED)


def test_two_unflagged_edges_beside_a_branch_are_one_error() -> None:
    nodes = [request(), message("m"), action("v"), action("w"), message("n")]
    edges = [accepted("r", "m"), edge("r", "v"), edge("r", "w"), edge("v", "n")]
    assert one(read_workflow(document(nodes, edges))) == (Severity.ERROR, "r", "edges")


def test_a_placeholder_on_the_way_is_passed_through_with_a_warning() -> None:
    result = read_workflow(case("placeholder_on_the_way"))
    assert one(result) == (Severity.WARNING, "add-step-42", "edges")
    assert result.workflow is not None
    visit = result.workflow.nodes["profile_visit-41"]
    assert visit.edges == (Edge("send_connection_request-43", 30 * MINUTE),)
    operations = [node.operation for node in result.workflow.nodes.values()]
    assert operations == [
        Operation.PROFILE_VISIT,
        Operation.SEND_CONNECTION_REQUEST,
        Operation.SEND_FOLLOWUP,
    ]


def test_placeholders_in_a_row_are_passed_through_with_all_their_delays() -> None:
    nodes = [action("a"), placeholder("p"), placeholder("q"), action("b"), action("c")]
    edges = [edge("a", "p", 1), edge("p", "q", 2), edge("q", "b", 3), edge("b", "c", 4)]
    result = read_workflow(document(nodes, edges))
    assert one(result) == (Severity.WARNING, "p", "edges")
    assert result.workflow is not None
    assert result.workflow.nodes["a"].edges == (Edge("b", 6 * DAY),)


def test_a_placeholder_on_a_branch_adds_to_the_waiting_window() -> None:
    nodes = [request(), placeholder("p"), action("w", "withdraw_request")]
    edges = [not_accepted("r", "p", 15, "m"), not_accepted("p", "w", 7)]
    result = read_workflow(document(nodes, edges))
    assert one(result) == (Severity.WARNING, "p", "edges")
    assert result.workflow is not None
    assert result.workflow.nodes["r"].edges == (
        Edge("w", 7 * DAY + 15 * MINUTE, Branch.NOT_ACCEPTED),
    )


def test_a_placeholder_before_two_steps_is_one_error() -> None:
    nodes = [action("a"), placeholder("p"), action("b"), message("c"), message("d")]
    edges = [edge("a", "p"), edge("p", "b"), edge("p", "c"), edge("c", "d")]
    result = read_workflow(document(nodes, edges))
    assert one(result) == (Severity.ERROR, "p", "edges")


def test_placeholders_in_a_circle_end_the_path() -> None:
    nodes = [action("a"), placeholder("p"), placeholder("q")]
    edges = [edge("a", "p"), edge("p", "q"), edge("q", "p")]
    assert read_workflow(document(nodes, edges)).findings == ()


def test_a_step_behind_a_placeholder_that_leads_back_is_a_circle() -> None:
    nodes = [action("v"), action("a"), action("b"), placeholder("p")]
    edges = [edge("v", "a"), edge("a", "b"), edge("b", "p"), edge("p", "a")]
    found = problems(read_workflow(document(nodes, edges)))
    assert [severity for severity, _, _ in found] == [Severity.WARNING, Severity.ERROR]


def test_an_edge_from_a_node_that_is_gone_is_nothing() -> None:
    nodes = [action("a"), action("b")]
    result = read_workflow(document(nodes, [edge("gone", "b"), edge("a", "b")]))
    assert one(result) == (Severity.WARNING, None, "edges[0].source")


def test_an_edge_drawn_twice_says_that_nothing_is_to_be_done() -> None:
    result = read_workflow(document([action("a"), action("b")], [edge("a", "b"), edge("a", "b")]))
    assert one(result) == (Severity.WARNING, "a", "edges")
    assert "nothing is to be done" in result.findings[0].fix


def test_of_a_path_that_hangs_in_the_air_the_first_step_is_the_error() -> None:
    nodes = [action("a"), request(), message("m"), action("w", "withdraw_request")]
    edges = [accepted("r", "m"), not_accepted("r", "w")]
    result = read_workflow(document(nodes, edges))
    assert one(result) == (Severity.ERROR, "r", "edges")
    assert "in the editor" in result.findings[0].fix


# What the editor set by itself


def test_a_window_of_a_quarter_of_an_hour_is_unready_until_it_is_told() -> None:
    saved = case("window_of_a_quarter_hour")
    name = "send_connection_request-52"
    result = read_workflow(saved)
    assert one(result) == (Severity.UNREADY, name, "edges[2].data.delayData.delay")
    told = read_workflow(saved, {name: [Allowance.SHORT_WINDOW]})
    assert one(told)[0] is Severity.WARNING
    assert told.workflow is not None
    window = told.workflow.nodes[name].edge(Branch.NOT_ACCEPTED)
    assert window == Edge("withdraw_request-53", 15 * MINUTE, Branch.NOT_ACCEPTED)


def test_a_preview_that_an_ai_showed_is_unready_until_it_is_accepted() -> None:
    saved = case("ai_with_a_preview_text")
    result = read_workflow(saved)
    assert one(result) == (Severity.UNREADY, "comment_post-62", "data.config.customComment")
    accepted_text = read_workflow(saved, {"comment_post-62": [Allowance.SAVED_TEXT]})
    assert one(accepted_text)[0] is Severity.WARNING
    other = read_workflow(saved, {"comment_post-62": [Allowance.TEXT]})
    assert one(other)[0] is Severity.UNREADY


def test_without_a_delay_an_accepted_edge_waits_as_long_as_the_editor_shows() -> None:
    nodes = [request(), message("m")]
    saved = accepted("r", "m")
    del saved["data"]["delayData"]
    result = read_workflow(document(nodes, [saved]))
    assert one(result) == (Severity.WARNING, "r", "edges[0].data.delayData")
    assert result.workflow is not None
    assert result.workflow.nodes["r"].edges == (Edge("m", 15 * MINUTE, Branch.ACCEPTED),)

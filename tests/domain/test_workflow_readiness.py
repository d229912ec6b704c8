"""Whether a workflow can run with the senders, webhooks and columns of a campaign."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from clento_engine.domain.account import Tier
from clento_engine.domain.finding import Allowance, Finding, Severity
from clento_engine.domain.operation import Operation
from clento_engine.domain.reach import PUBLIC, Reach, read_reach
from clento_engine.domain.readiness import check_ready, skip_unready
from clento_engine.domain.workflow import Edge, Node, Workflow

HOOK = Node("w", Operation.WEBHOOK, webhook_id="crm")
INMAIL = Node("i", Operation.SEND_INMAIL, text="Hi", subject="Hello")


def check(
    node: Node,
    *,
    tiers: Collection[Tier] = (Tier.PREMIUM,),
    webhooks: Mapping[str, str] | None = None,
    columns: Collection[str] | None = None,
    inmail_subject: str | None = None,
    reach: Reach = PUBLIC,
) -> list[tuple[Severity, str, str]]:
    found = check_ready(
        Workflow(node.id, {node.id: node}),
        tiers=tiers,
        webhooks=webhooks or {},
        reach=reach,
        columns=columns,
        inmail_subject=inmail_subject,
    )
    assert all(finding.node_id == node.id and finding.fix for finding in found)
    return [(finding.severity, finding.field, finding.problem) for finding in found]


def note(text: str) -> Node:
    return Node("r", Operation.SEND_CONNECTION_REQUEST, text=text)


def message(text: str) -> Node:
    return Node("m", Operation.SEND_FOLLOWUP, text=text)


def test_a_webhook_nobody_registered_is_unready_and_the_fix_is_the_command() -> None:
    node = Node("w", Operation.WEBHOOK, webhook_id="my crm")
    findings = check_ready(
        Workflow("w", {"w": node}),
        tiers=[],
        webhooks={"other": "https://crm.example.com"},
        columns=None,
        inmail_subject=None,
    )
    assert findings == [
        Finding(
            "w",
            "webhookId",
            "nobody registered the webhook my crm",
            "register it, with the address it is to go to",
            Severity.UNREADY,
            subject="my crm",
        )
    ]


def test_a_registered_webhook_or_one_with_its_own_address_is_ready() -> None:
    assert check(HOOK, webhooks={"crm": "https://crm.example.com"}) == []
    assert check(Node("w", Operation.WEBHOOK, webhook_url="https://crm.example.com")) == []


@pytest.mark.parametrize("tier", [Tier.NEW, Tier.FREE])
def test_a_note_over_200_characters_is_unready_for_senders_without_subscription(
    tier: Tier,
) -> None:
    problem = f"the note has 201 characters and senders of tier {tier} may send 200"
    found = check(note("x" * 201), tiers=[Tier.PREMIUM, tier])
    assert found == [(Severity.UNREADY, "text", problem)]
    assert check(note("x" * 200), tiers=[tier]) == []
    assert check(note("x" * 300), tiers=[Tier.PREMIUM, Tier.SALES_NAVIGATOR]) == []


def test_a_note_that_long_values_would_lengthen_too_far_is_warned_of() -> None:
    [(severity, _, problem)] = check(note("x" * 190 + "{{company}}"), tiers=[Tier.FREE])
    assert severity is Severity.WARNING
    assert "may reach 205 characters" in problem


@pytest.mark.parametrize("tier", [Tier.NEW, Tier.FREE])
def test_inmail_is_unready_with_a_sender_who_has_none(tier: Tier) -> None:
    found = check(INMAIL, tiers=[Tier.PREMIUM, tier])
    assert found == [(Severity.UNREADY, "sender", f"senders of tier {tier} cannot send InMail")]


def test_inmail_needs_a_subject_of_the_node_or_the_campaign() -> None:
    bare = Node("i", Operation.SEND_INMAIL, text="Hi")
    [(severity, field, _)] = check(bare, inmail_subject=" ")
    assert (severity, field) == (Severity.UNREADY, "subject")
    assert check(bare, inmail_subject="Hello {{first_name}}") == []
    assert check(INMAIL) == []


def test_the_campaigns_subject_is_checked_like_a_text() -> None:
    bare = Node("i", Operation.SEND_INMAIL, text="Hi")
    assert [s for s, _, _ in check(bare, inmail_subject="x" * 201)] == [Severity.ERROR]
    assert [s for s, _, _ in check(bare, inmail_subject="Hi {{first")] == [Severity.ERROR]
    assert [s for s, _, _ in check(bare, inmail_subject="{{nick}}", columns=[])] == [Severity.ERROR]


def test_a_variable_no_lead_has_is_an_error_that_names_it() -> None:
    found = check(message("Hi {{Nick Name}} of {{company_name}} {{team}}"), columns=["Team"])
    problem = "no lead of this list has nick_name: the text can never be sent"
    assert found == [(Severity.ERROR, "text", problem)]


def test_variables_are_not_checked_while_the_columns_are_not_known() -> None:
    assert check(message("Hi {{nick}}"), columns=None) == []


def test_an_unknown_variable_with_a_fallback_everywhere_is_only_a_warning() -> None:
    assert [s for s, _, _ in check(message("{{nick|you}}"), columns=[])] == [Severity.WARNING]
    both = check(message("{{nick|you}} {{nick}}"), columns=[])
    assert [severity for severity, _, _ in both] == [Severity.ERROR]


def test_square_brackets_that_look_like_a_variable_are_an_error_once_no_column_is_called_so() -> (
    None
):
    text = "Hi [frist_name] [sic] [first_name] [city]"
    [(severity, _, problem), (_, _, gap)] = check(message(text), columns=[])
    assert severity is Severity.ERROR
    assert problem == '"[frist_name]" is another tool\'s variable'
    assert gap == '"[city]" is a gap that nobody filled'
    assert check(message(text), columns=["Frist name", "city"]) == []
    assert check(message(text), columns=None) == []
    allowed = replace(message(text), allowed=(Allowance.TEXT,))
    assert {severity for severity, _, _ in check(allowed, columns=[])} == {Severity.WARNING}


def test_a_node_that_is_passed_over_is_not_checked() -> None:
    assert check(Node("w", Operation.WEBHOOK, webhook_id="crm", skip="no CRM")) == []


def test_skipping_marks_exactly_the_unready_nodes_with_the_reasons() -> None:
    visit = Node("v", Operation.PROFILE_VISIT, edges=(Edge("w", timedelta(0)),))
    workflow = Workflow("v", {"v": visit, "w": HOOK})
    findings = [
        Finding("w", "a", "one", "fix", Severity.UNREADY),
        Finding("w", "b", "two", "fix", Severity.UNREADY),
        Finding("v", "c", "three", "fix", Severity.WARNING),
        Finding("v", "d", "four", "fix", Severity.ERROR),
    ]
    skipped = skip_unready(workflow, findings)
    assert {node.id: node.skip for node in skipped.nodes.values()} == {"v": None, "w": "one; two"}
    assert list(skipped.nodes) == ["v", "w"]
    assert skip_unready(skipped, [findings[0]]) == skipped


def test_a_webhook_that_nothing_is_posted_to_is_named_with_its_field_and_fix() -> None:
    inside = Node("w", Operation.WEBHOOK, webhook_url="http://169.254.169.254/latest/meta-data")
    [(severity, field, problem)] = check(inside)
    assert (severity, field) == (Severity.UNREADY, "targetUrl")
    assert "169.254.169.254 is not a public address" in problem
    [(_, field, problem)] = check(HOOK, webhooks={"crm": "http://10.0.0.1/in"})
    assert (field, "10.0.0.1" in problem) == ("webhookId", True)
    assert check(inside, reach=read_reach("169.254.169.254")) == []


def test_a_password_in_a_workflow_is_refused_and_not_repeated() -> None:
    [(severity, field, problem)] = check(
        Node("w", Operation.WEBHOOK, webhook_url="https://user:Pw@crm.example.com")
    )
    assert (severity, field) == (Severity.UNREADY, "targetUrl")
    assert "Pw" not in problem

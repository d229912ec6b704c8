"""What is about to be sent, in full, or why it is not."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Tier
from clento_engine.domain.execution import Event, Execution
from clento_engine.domain.failure import Means, Skip
from clento_engine.domain.finding import Allowance
from clento_engine.domain.intent import Intent, Person, intent
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.workflow import Node

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CONNECT = Operation.SEND_CONNECTION_REQUEST
ADA = Person("ada-moss", "ACoAALISTED", {"first_name": "Ada", "company": None}, chat_id="chat")
RUN = Execution(
    UUID(int=1),
    UUID(int=2),
    node_id="n",
    provider_id="ACoAAOWN",
    posts=("post-1", "post-2"),
    expires_at=NOW + timedelta(days=1),
)


def made(
    operation: Operation,
    text: str = "Hello {{first_name}}",
    *,
    run: Execution = RUN,
    person: Person = ADA,
    at: Operation | None = None,
    now: datetime = NOW,
    notes_left: bool = True,
    subject: str | None = "For {{first_name}}",
    node: Mapping[str, object] | None = None,
) -> Intent | Event:
    of = Node("n", operation, text=text, **(node or {}))  # type: ignore[arg-type]
    return intent(
        of,
        replace(run, operation=at or operation),
        person,
        tier=Tier.PREMIUM,
        subject=subject,
        notes_left=notes_left,
        now=now,
    )


ANY = [operation for operation in Operation if operation is not Operation.START]


@pytest.mark.parametrize("operation", ANY)
def test_nothing_is_done_to_someone_suppressed(operation: Operation) -> None:
    suppressed = replace(ADA, suppressed="person: asked us to")
    assert made(operation, person=suppressed) == ex.Suppressed("person: asked us to")


@pytest.mark.parametrize("operation", ANY)
def test_nothing_is_done_once_the_maximal_duration_is_over(operation: Operation) -> None:
    assert RUN.expires_at is not None
    assert made(operation, now=RUN.expires_at) == ex.Overdue()
    assert made(operation, now=RUN.expires_at - timedelta(seconds=1)) != ex.Overdue()


def test_a_suppressed_person_is_suppressed_even_when_overdue() -> None:
    suppressed = replace(ADA, suppressed="asked us to")
    late = NOW + timedelta(days=9)
    assert made(CONNECT, person=suppressed, now=late) == ex.Suppressed("asked us to")


@pytest.mark.parametrize("at", [Operation.PROFILE_LOOKUP, CONNECT])
def test_a_node_that_the_operator_skips_does_nothing_not_even_a_lookup(at: Operation) -> None:
    assert made(CONNECT, at=at, node={"skip": "no webhook"}) == ex.Failed(Skip("no webhook"))


def test_the_accounts_own_id_of_the_person_is_best_then_the_lists_then_the_public_one() -> None:
    unknown = replace(RUN, provider_id=None)
    unlisted = replace(ADA, provider_id=None)
    lookup = Operation.PROFILE_LOOKUP
    assert made(CONNECT, at=lookup) == Intent(lookup, "ACoAAOWN")
    assert made(CONNECT, at=lookup, run=unknown) == Intent(lookup, "ACoAALISTED")
    assert made(CONNECT, at=lookup, run=unknown, person=unlisted) == Intent(lookup, "ada-moss")


def test_a_refused_id_is_not_looked_up_by_itself() -> None:
    refused = replace(RUN, provider_id=None, relooked=True)
    lookup = Operation.PROFILE_LOOKUP
    assert made(CONNECT, at=lookup, run=refused) == Intent(lookup, "ada-moss")
    nameless = replace(ADA, public_identifier=None)
    assert made(CONNECT, at=lookup, run=refused, person=nameless) == Intent(lookup, "ACoAALISTED")


def test_someone_without_any_name_is_missing_one() -> None:
    nobody = Person(None, None, {})
    assert isinstance(made(CONNECT, run=replace(RUN, provider_id=None), person=nobody), ex.Missing)


def test_a_note_is_written_out_and_takes_a_unit_of_its_own() -> None:
    made_one = made(CONNECT)
    assert isinstance(made_one, Intent)
    assert (made_one.target, made_one.text) == ("ACoAAOWN", "Hello Ada")
    assert made_one.budgets == (Budget.INVITATION, Budget.NOTE)


@pytest.mark.parametrize(
    ("text", "notes_left"), [("", True), ("Hello", False), ("{{company}}", False)]
)
def test_without_a_note_or_without_notes_left_an_invitation_goes_bare(
    text: str, notes_left: bool
) -> None:
    made_one = made(CONNECT, text, notes_left=notes_left)
    assert isinstance(made_one, Intent)
    assert (made_one.text, made_one.budgets) == (None, (Budget.INVITATION,))


@pytest.mark.parametrize(
    "operation", [CONNECT, Operation.SEND_FOLLOWUP, Operation.SEND_INMAIL, Operation.COMMENT_POST]
)
def test_a_missing_value_keeps_a_text_from_being_sent(operation: Operation) -> None:
    missing = made(operation, "{{company}} is great")
    assert isinstance(missing, ex.Missing)
    assert "company" in missing.reason


def test_a_text_that_is_too_long_is_not_cut() -> None:
    too_long = made(CONNECT, "x" * 301)
    assert isinstance(too_long, ex.Missing)
    assert "301" in too_long.reason


def test_someone_connected_is_not_asked_again() -> None:
    assert made(CONNECT, run=replace(RUN, connected=True)) == ex.Failed(
        Skip("already connected", means=Means.CONNECTED)
    )


def test_an_invitation_that_was_accepted_is_not_withdrawn() -> None:
    connected = made(Operation.WITHDRAW_REQUEST, run=replace(RUN, connected=True))
    assert isinstance(connected, ex.Failed)
    assert isinstance(connected.cause, Skip)


def test_a_withdrawal_names_the_invitation() -> None:
    invited = replace(ADA, invitation_id="invitation-1")
    assert made(Operation.WITHDRAW_REQUEST, person=invited) == Intent(
        Operation.WITHDRAW_REQUEST, "ACoAAOWN", invitation_id="invitation-1"
    )


@pytest.mark.parametrize("operation", [Operation.SEND_FOLLOWUP, Operation.SEND_INMAIL])
def test_what_is_only_for_the_silent_is_not_sent_after_a_reply(operation: Operation) -> None:
    replied = replace(RUN, replied=True)
    only: dict[str, object] = {"only_without_reply": True}
    assert isinstance(made(operation, run=replied, node=only), ex.Failed)
    assert isinstance(made(operation, run=replied), Intent)
    assert isinstance(made(operation, node=only), Intent)


def test_a_message_goes_into_the_chat_there_is() -> None:
    made_one = made(Operation.SEND_FOLLOWUP)
    assert isinstance(made_one, Intent)
    assert (made_one.text, made_one.chat_id) == ("Hello Ada", "chat")


def test_an_inmail_has_the_nodes_subject_or_the_campaigns() -> None:
    own = made(Operation.SEND_INMAIL, node={"subject": "Own"})
    campaigns = made(Operation.SEND_INMAIL)
    assert isinstance(own, Intent)
    assert isinstance(campaigns, Intent)
    assert (own.subject, campaigns.subject) == ("Own", "For Ada")
    assert isinstance(made(Operation.SEND_INMAIL, subject="x" * 201), ex.Missing)


@pytest.mark.parametrize("operation", [Operation.LIKE_POST, Operation.COMMENT_POST])
def test_the_first_post_left_is_acted_on(operation: Operation) -> None:
    made_one = made(operation, "Nice")
    assert isinstance(made_one, Intent)
    assert made_one.target == "post-1"


@pytest.mark.parametrize(
    "at", [Operation.PROFILE_LOOKUP, Operation.FIND_POSTS, Operation.CHECK_ACCEPTANCE]
)
def test_a_preparation_carries_no_text_and_one_unit(at: Operation) -> None:
    made_one = made(Operation.COMMENT_POST, "{{company}}", at=at)
    assert made_one == Intent(at, "ACoAAOWN")
    assert isinstance(made_one, Intent)
    assert made_one.budgets == (at.budget,)


def test_a_webhook_sends_nothing_to_the_person() -> None:
    assert made(Operation.WEBHOOK) == ex.Done()


# A second look


WRITES = [operation for operation in ANY if operation.traits.sends_text]


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("Hi {first_name}", "{first_name}"),  # saved before anybody looked
        ("Hi {{first_name}} <b>there</b>", "<b>"),
        ("#{{first_name}}#", "#{{first_name}}#"),
    ],
)
def test_what_is_left_over_in_a_text_is_not_sent(
    operation: Operation, text: str, piece: str
) -> None:
    found = made(operation, text)
    assert isinstance(found, ex.Missing)
    assert found.reason.startswith("the text is not as it is meant: ")
    assert piece in found.reason


def test_what_a_leads_value_leaves_in_a_text_or_subject_is_not_sent() -> None:
    damaged = replace(ADA, fields={"first_name": "JosÃ©"})
    assert made(Operation.SEND_FOLLOWUP, person=damaged) == ex.Missing(
        'the text is not as it is meant: "JosÃ©" is damaged'
    )
    assert made(Operation.SEND_INMAIL, "Hello", person=damaged) == ex.Missing(
        'the subject is not as it is meant: "JosÃ©" is damaged'
    )


def test_a_text_that_is_allowed_is_sent_as_it_is() -> None:
    allowed = {"allowed": (Allowance.TEXT,)}
    sent = made(Operation.SEND_INMAIL, "echo %PATH%", subject="<b>", node=allowed)
    assert isinstance(sent, Intent)
    assert (sent.text, sent.subject) == ("echo %PATH%", "<b>")
    other = made(Operation.SEND_FOLLOWUP, "echo %PATH%", node={"allowed": (Allowance.SAVED_TEXT,)})
    assert isinstance(other, ex.Missing)


def test_spintax_reads_the_same_for_a_lead_at_every_try_and_differs_between_leads() -> None:
    text = "{Hi|Hello|Hey} {{first_name}}, {a|b|c}"
    tries = [made(Operation.SEND_FOLLOWUP, text, run=replace(RUN, attempt=n)) for n in range(3)]
    assert len({each.text for each in tries if isinstance(each, Intent)}) == 1
    leads = [
        made(Operation.SEND_FOLLOWUP, text, run=replace(RUN, lead_id=UUID(int=n)))
        for n in range(60)
    ]
    assert len({each.text for each in leads if isinstance(each, Intent)}) == 9

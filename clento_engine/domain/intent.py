"""What is about to be done for a lead, in full, before it is done: or why it is not."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Tier
from clento_engine.domain.execution import Event, Execution
from clento_engine.domain.failure import Means, Skip
from clento_engine.domain.finding import Allowance
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.review import problem
from clento_engine.domain.template import (
    SUBJECT_LIMIT,
    Missing,
    Rendered,
    TooLong,
    Unfit,
    compose,
    length,
    proofread,
    render,
)
from clento_engine.domain.workflow import Node

MAX_POSTS_READ = 20  # newest posts looked at when a node chooses its own


class Person(Struct, frozen=True):
    """Whom an execution is about, as the sender's account knows them."""

    public_identifier: str | None
    provider_id: str | None  # as the list gave it
    fields: Mapping[str, str | None]  # what templates may say
    columns: tuple[str, ...] = ()  # names that are variables even where this lead has no value
    chat_id: str | None = None
    invitation_id: str | None = None
    suppressed: str | None = None  # the reason, when the person must not be contacted


class Intent(Struct, frozen=True):
    """One request in full: what reconcile needs to find it again.

    `target` is the person's provider id or public identifier, or the post's id.
    """

    operation: Operation
    target: str
    text: str | None = None
    subject: str | None = None
    chat_id: str | None = None
    invitation_id: str | None = None
    tier: Tier = Tier.FREE

    @property
    def post(self) -> str:
        """The post that it is about; "" where it is about the person."""
        return self.target if self.operation.traits.on_posts else ""

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """What it takes one unit from each of."""
        if self.operation is Operation.SEND_CONNECTION_REQUEST and self.text:
            return (Budget.INVITATION, Budget.NOTE)
        if self.operation is Operation.SEND_INMAIL and self.tier is Tier.SALES_NAVIGATOR:
            return (Budget.INMAIL, Budget.PROFILE)  # that product's own id is looked up first
        return (self.operation.budget,)


def intent(
    node: Node,
    run: Execution,
    person: Person,
    *,
    tier: Tier,
    subject: str | None,
    notes_left: bool,
    now: datetime,
) -> Intent | Event:
    """Say what is to be sent for `run` at `node` now, or the event that happens instead of it.

    `subject` is the campaign's, for InMails whose node has none.  Without `notes_left` an
    invitation goes without its note: better than a month late.
    """
    if person.suppressed is not None:
        return ex.Suppressed(person.suppressed)
    if run.expires_at is not None and now >= run.expires_at:
        return ex.Overdue()
    if node.skip is not None:
        return ex.Failed(Skip(node.skip))
    listed = (person.provider_id, person.public_identifier)
    if run.relooked:  # the id was refused: the same one from the list would be, too
        listed = listed[::-1]
    target = run.provider_id or listed[0] or listed[1]
    if target is None:
        return ex.Missing("neither a public identifier nor a provider id is known")
    match run.operation:
        case Operation.WEBHOOK:
            return ex.Done()
        case Operation.LIKE_POST:
            return Intent(run.operation, run.posts[0])
        case Operation.SEND_CONNECTION_REQUEST if run.connected:
            return ex.Failed(Skip("already connected", means=Means.CONNECTED))
        case Operation.WITHDRAW_REQUEST if run.connected:
            return ex.Failed(Skip("connected meanwhile: nothing to withdraw"))
        case Operation.WITHDRAW_REQUEST:
            return Intent(run.operation, target, invitation_id=person.invitation_id)
        case Operation.SEND_FOLLOWUP | Operation.SEND_INMAIL if (
            node.only_without_reply and run.replied
        ):
            return ex.Failed(Skip("the lead replied already"))
        case Operation.SEND_CONNECTION_REQUEST if node.text == "" or not notes_left:
            return Intent(run.operation, target)
        case Operation.SEND_CONNECTION_REQUEST:
            return _written(node, run, person, target, tier)
        case Operation.COMMENT_POST:
            return _written(node, run, person, run.posts[0], tier)
        case Operation.SEND_FOLLOWUP:
            return _written(node, run, person, target, tier, chat_id=person.chat_id)
        case Operation.SEND_INMAIL:
            headed = subject_for(node, run.lead_id, person, subject)
            if isinstance(headed, ex.Missing):
                return headed
            return _written(node, run, person, target, tier, subject=headed)
        case _:  # reads and visits: nothing is written
            return Intent(run.operation, target)


def _written(
    node: Node,
    run: Execution,
    person: Person,
    target: str,
    tier: Tier,
    *,
    subject: str | None = None,
    chat_id: str | None = None,
) -> Intent | ex.Missing:
    match text_for(node, run.lead_id, person, tier):
        case str(words):
            return Intent(run.operation, target, words, subject, chat_id, tier=tier)
        case missing:
            return missing


def text_for(node: Node, lead_id: UUID, person: Person, tier: Tier) -> str | ex.Missing:
    """Return what `node` says to a person from a sender of `tier`, or why it says nothing."""
    text = compose(
        node.text,
        person.fields,
        operation=node.operation,
        tier=tier,
        columns=person.columns,
        seed=_seed(lead_id, node),
        is_allowed=Allowance.TEXT in node.allowed,
    )
    match text:
        case Rendered(words):
            return words
        case Missing(names):
            return ex.Missing(f"no value for {', '.join(names)}")
        case TooLong(limit, characters):
            return ex.Missing(f"the text has {characters} characters, {limit} are allowed")
        case Unfit(leftovers):
            return ex.Missing(f"the text is not as it is meant: {problem(leftovers)}")


def subject_for(node: Node, lead_id: UUID, person: Person, subject: str | None) -> str | ex.Missing:
    """Return what heads an InMail, or why it is not sent; `subject` is the campaign's."""
    template = node.subject or subject or ""
    look = render if Allowance.TEXT in node.allowed else proofread
    match look(template, person.fields, person.columns, seed=_seed(lead_id, node)):
        case Rendered(words) if length(words) <= SUBJECT_LIMIT:
            return words
        case Rendered(words):
            return ex.Missing(
                f"the subject has {length(words)} characters, {SUBJECT_LIMIT} are allowed"
            )
        case Missing(names):
            return ex.Missing(f"no value for {', '.join(names)} in the subject")
        case Unfit(leftovers):
            return ex.Missing(f"the subject is not as it is meant: {problem(leftovers)}")


def _seed(lead_id: UUID, node: Node) -> str:
    """Return what decides how spintax reads: the same at every try of one lead's one node."""
    return f"{lead_id}/{node.id}"

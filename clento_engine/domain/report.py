"""Reports: what happened to one execution, as whoever met it tells those who decide and write.

One constructor for each kind: of a step that was claimed, of a question about a doubtful action, of
news that came by themselves, of a hold that a person lifts.
"""

from datetime import datetime
from typing import Self, TypedDict, Unpack
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.execution import Execution
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.person import Shown
from clento_engine.domain.workflow import Workflow


class Ticket(Struct, frozen=True):
    """What ties an outcome to its lead's open action: the token that proves it ours."""

    token: UUID
    node_id: str
    operation: Operation
    budgets: tuple[Budget, ...]
    bucket_at: datetime


class Basis(Struct, frozen=True):
    """An execution as the claim read it; `row_version` tells whether it was changed since."""

    run: Execution
    workflow: Workflow
    row_version: int


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far the questions about an action have come.

    `absent_since`: when it was first not there.  Where a list is read page by page, a page a
    question, `cursor` is the provider's of the page to read next (None: the first), and `is_known`
    tells whether a page showed something that the ledger knows.  `is_searching`: the profile was
    asked, and the pending invitations are; `slug` is the public identifier that the profile gave.
    `never_left`: it was not sent under this action, only perhaps before a restore.
    """

    absent_since: datetime | None = None
    cursor: str | None = None
    is_known: bool = False
    is_searching: bool = False
    slug: str | None = None
    never_left: bool = False

    def anew(self, absent_since: datetime | None = None) -> "Progress":
        """Return the progress of a search that begins anew."""
        return Progress(absent_since or self.absent_since, never_left=self.never_left)


FORGOTTEN = ""  # as a chat's id: it is gone, and what was known of it with it


class Learned(Struct, frozen=True):
    """What an account came to know of a lead; None keeps what was known.

    Nothing was connected or written later than when it is settled, whatever its stamp says.
    `connected_at`: the earliest that was told; `replied_at`: the newest message of theirs.
    """

    provider_id: str | None = None
    chat_id: str | None = None
    invitation_id: str | None = None
    connected_at: datetime | None = None
    replied_at: datetime | None = None


class Findings(TypedDict, total=False):
    """What an answer may tell beside the event, as the fields of Report say it."""

    check_at: datetime | None
    progress: Progress | None
    reference: str | None
    reason: str | None
    learned: Learned | None
    errors: int
    silence: int
    word: str | None
    hold_budget_until: datetime | None
    shown: Shown | None
    gives_back: bool


class Report(Struct, frozen=True):
    """What happened to one execution, to be decided on and written.

    `state` is what becomes of the ticket's action: done, refused, unknown, absent or released;
    None leaves it as it is.  `event` None changes no execution; an event of a step is heard only
    while the lead stands where the step began, at `stood` (node, operation).  `check_at`: when
    reconcile shall ask about an unknown action; `progress`: how far it has come.  `errors`:
    provider errors of the kind that hides a throttle.  `silence`: how far it tells that nobody can
    ask the provider; `word`: its refusal, where a run of them holds the lane.
    `hold_budget_until`: the provider said that the allowance is nearly used up.  `shown`: names
    that the answer gave the person, to be learned before it is settled; `new_names`: those of them
    that nobody has, to be written with it.
    `recovering`: whether account, budget, lane or workspace had troubles that a success now ends.
    `basis`: what the step was begun on, if it may be decided on while its row is still that.
    `gives_back`: its units, for nothing left under the ticket.
    """

    organization_id: UUID
    campaign_id: UUID
    lead_id: UUID
    account_id: UUID
    event: ex.Event | None = None
    stood: tuple[str | None, Operation] | None = None
    ticket: Ticket | None = None
    state: ActionState | None = None
    check_at: datetime | None = None
    progress: Progress | None = None
    reference: str | None = None
    reason: str | None = None
    learned: Learned | None = None
    errors: int = 0
    silence: int = 0
    word: str | None = None
    hold_budget_until: datetime | None = None
    shown: Shown | None = None
    new_names: tuple[str, ...] = ()
    recovering: bool = True
    basis: Basis | None = None
    gives_back: bool = False

    @classmethod
    def of_step(
        cls,
        organization_id: UUID,
        account_id: UUID,
        basis: Basis,
        event: ex.Event | None,
        *,
        ticket: Ticket | None = None,
        state: ActionState | None = None,
        recovering: bool = True,
        **findings: Unpack[Findings],
    ) -> Self:
        """Report a claimed step: of an action by its `ticket`, or of one that needed nothing sent.

        `recovering`: whether its sender had troubles when it was claimed.
        """
        run = basis.run
        return cls(
            organization_id,
            run.campaign_id,
            run.lead_id,
            account_id,
            event=event,
            stood=(run.node_id, run.operation),
            ticket=ticket,
            state=state,
            recovering=recovering,
            basis=basis,
            **findings,
        )

    @classmethod
    def of_question(
        cls,
        organization_id: UUID,
        campaign_id: UUID,
        lead_id: UUID,
        account_id: UUID,
        ticket: Ticket,
        state: ActionState,
        event: ex.Event | None,
        *,
        recovering: bool = True,
        **findings: Unpack[Findings],
    ) -> Self:
        """Report what is known now of an action whose outcome nobody knew.

        `recovering`: False where nobody said so, and it only counts as what `state` says.
        """
        return cls(
            organization_id,
            campaign_id,
            lead_id,
            account_id,
            event=event,
            stood=(ticket.node_id, ticket.operation),
            ticket=ticket,
            state=state,
            recovering=recovering,
            **findings,
        )

    @classmethod
    def of_news(
        cls,
        organization_id: UUID,
        campaign_id: UUID,
        lead_id: UUID,
        account_id: UUID,
        event: ex.Event | None,
        learned: Learned | None = None,
    ) -> Self:
        """Report what came by itself: it is heard wherever the lead stands."""
        return cls(organization_id, campaign_id, lead_id, account_id, event=event, learned=learned)

    @classmethod
    def of_release(
        cls,
        organization_id: UUID,
        campaign_id: UUID,
        lead_id: UUID,
        account_id: UUID,
        ticket: Ticket | None,
        *,
        skip: bool,
    ) -> Self:
        """Report that a person lifts a hold.

        The word of a person settles the open action, if there is one: to pass over its step counts
        it as done, as it may be; to run the step again says that it did not happen.
        """
        report = cls(
            organization_id, campaign_id, lead_id, account_id, event=ex.Released(skip=skip)
        )
        if ticket is None:
            return report
        state = ActionState.DONE if skip else ActionState.ABSENT
        return replace(
            report,
            ticket=ticket,
            state=state,
            reason="by the word of an operator",
            recovering=False,
        )


Effected = tuple[Report, ex.Effect, Execution]
"""An effect that deciding asks for: the report that was decided on, the effect, the next state."""

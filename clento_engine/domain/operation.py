"""What the engine can do for a lead: one table of what each operation needs and does."""

from dataclasses import dataclass
from enum import StrEnum

from clento_engine.domain.account import Tier


class Operation(StrEnum):
    """What an execution's next step does; also the last part of its lane's key."""

    START = "start"  # leave the queue of leads not yet begun; nothing is sent
    PROFILE_LOOKUP = "profile_lookup"  # read a profile unseen: provider id, connected or not
    FIND_POSTS = "find_posts"  # choose the posts that the node will act on
    PROFILE_VISIT = "profile_visit"
    LIKE_POST = "like_post"
    COMMENT_POST = "comment_post"
    SEND_CONNECTION_REQUEST = "send_connection_request"
    CHECK_ACCEPTANCE = "check_acceptance"  # read a profile to decide the branch
    SEND_FOLLOWUP = "send_followup"
    SEND_INMAIL = "send_inmail"
    WITHDRAW_REQUEST = "withdraw_request"
    WEBHOOK = "webhook"  # put a notice into the outbox; nothing is sent to the person

    @property
    def traits(self) -> "Traits":
        """What the operation needs and does."""
        return TRAITS[self]

    @property
    def budget(self) -> "Budget":
        """The allowance that one unit of this operation is taken from."""
        return TRAITS[self].budget

    @property
    def is_internal(self) -> bool:
        """Whether nothing leaves the engine: no intent, no unit, no working hours."""
        return TRAITS[self].budget is Budget.NONE

    @property
    def priority(self) -> int:
        """Which lane of an account goes first when its spacing allows one action: least first."""
        return _PRIORITIES[self]

    def second_budget(self, tier: Tier) -> "Budget | None":
        """Return another allowance that an account of `tier` may spend with one unit of it."""
        traits = TRAITS[self]
        return traits.second_budget if traits.second_of in (None, tier) else None


class Budget(StrEnum):
    """An allowance that an account spends; the `operation` of `rate_limits` and `rate_counters`."""

    PROFILE = "profile_visit"  # every profile retrieval, seen by the person or not
    INVITATION = "invitation"
    NOTE = "invitation_note"  # spent besides INVITATION when the invitation carries a note
    MESSAGE = "message"
    INMAIL = "inmail"
    COMMENT = "post_comment"
    REACTION = "post_reaction"
    POST_READ = "post_read"  # posts and comments, a page at a time
    LIST_READ = "list_read"  # relations and sent invitations, a page at a time
    WITHDRAWAL = "withdrawal"
    NONE = "none"  # internal operations: never exhausted


@dataclass(frozen=True, slots=True)
class Traits:
    """What an operation needs and does.

    `second_budget`: besides `budget`, of accounts of `second_of` alone where that is given.
    `writes`: doing it twice could be noticed, so that an unknown outcome is reconciled.
    `is_received`: by the person, who may connect or write to us because of it; a node does it to
    them at most once.  `is_message`: of a chat, where the answer of the other one is seen before.
    `sends_text`: what a template makes.  `needs_id`: the person's at the provider.  `on_posts`: on
    the person's posts, one after the other.  `reads_profile`: what comes back is a profile, or may
    be when it is reconciled.  `is_preparation`: for another operation, never a node's own.
    `is_passed_over`: a lead does not end because it could not be done.
    """

    budget: Budget
    second_budget: Budget | None = None
    second_of: Tier | None = None
    writes: bool = False
    is_received: bool = False
    is_message: bool = False
    sends_text: bool = False
    needs_id: bool = False
    on_posts: bool = False
    reads_profile: bool = False
    is_preparation: bool = False
    is_passed_over: bool = False


# In the order of their priority: leads far along their path come before new ones, so that someone
# visited today is invited in days, and an accepted invitation is answered while it is fresh.
TRAITS = {
    Operation.WEBHOOK: Traits(Budget.NONE),
    Operation.SEND_FOLLOWUP: Traits(
        Budget.MESSAGE,
        writes=True,
        is_received=True,
        is_message=True,
        sends_text=True,
        needs_id=True,
    ),
    Operation.SEND_INMAIL: Traits(
        Budget.INMAIL,
        second_budget=Budget.PROFILE,  # that product's own id of the person is looked up
        second_of=Tier.SALES_NAVIGATOR,
        writes=True,
        is_received=True,
        is_message=True,
        sends_text=True,
        needs_id=True,
    ),
    Operation.CHECK_ACCEPTANCE: Traits(Budget.PROFILE, reads_profile=True, is_preparation=True),
    Operation.WITHDRAW_REQUEST: Traits(
        Budget.WITHDRAWAL, writes=True, needs_id=True, is_passed_over=True
    ),
    Operation.SEND_CONNECTION_REQUEST: Traits(
        Budget.INVITATION,
        second_budget=Budget.NOTE,
        writes=True,
        is_received=True,
        sends_text=True,
        needs_id=True,
        reads_profile=True,  # reconcile asks the profile
    ),
    Operation.COMMENT_POST: Traits(
        Budget.COMMENT,
        writes=True,
        is_received=True,
        sends_text=True,
        needs_id=True,
        on_posts=True,
        is_passed_over=True,
    ),
    Operation.LIKE_POST: Traits(
        Budget.REACTION,
        writes=True,
        is_received=True,
        needs_id=True,
        on_posts=True,
        is_passed_over=True,
    ),
    Operation.FIND_POSTS: Traits(
        Budget.POST_READ, needs_id=True, is_preparation=True, is_passed_over=True
    ),
    Operation.PROFILE_LOOKUP: Traits(Budget.PROFILE, reads_profile=True, is_preparation=True),
    Operation.PROFILE_VISIT: Traits(
        Budget.PROFILE, writes=True, reads_profile=True, is_passed_over=True
    ),
    Operation.START: Traits(Budget.NONE),
}

_PRIORITIES = {operation: place for place, operation in enumerate(TRAITS)}

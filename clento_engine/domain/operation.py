"""What the engine can do for a lead, and which allowance each operation draws from."""

from enum import StrEnum


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
    def budget(self) -> "Budget":
        """The allowance that one unit of this operation is taken from."""
        return _BUDGETS[self]

    @property
    def is_internal(self) -> bool:
        """Whether nothing leaves the engine: no intent, no unit, no working hours."""
        return self in (Operation.START, Operation.WEBHOOK)

    @property
    def is_write(self) -> bool:
        """Whether doing it twice could be noticed, so that an unknown outcome is reconciled."""
        return self in _WRITES

    @property
    def can_be_answered(self) -> bool:
        """Whether the person may connect or write to us because of it."""
        return self in _ANSWERABLE

    @property
    def priority(self) -> int:
        """Which lane of an account goes first when its spacing allows one action: least first.

        Leads far along their path come before new ones, so that someone visited today is
        invited in days, and an accepted invitation is answered while it is fresh.
        """
        return _PRIORITIES.index(self)


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


_BUDGETS = {
    Operation.START: Budget.NONE,
    Operation.PROFILE_LOOKUP: Budget.PROFILE,
    Operation.FIND_POSTS: Budget.POST_READ,
    Operation.PROFILE_VISIT: Budget.PROFILE,
    Operation.LIKE_POST: Budget.REACTION,
    Operation.COMMENT_POST: Budget.COMMENT,
    Operation.SEND_CONNECTION_REQUEST: Budget.INVITATION,
    Operation.CHECK_ACCEPTANCE: Budget.PROFILE,
    Operation.SEND_FOLLOWUP: Budget.MESSAGE,
    Operation.SEND_INMAIL: Budget.INMAIL,
    Operation.WITHDRAW_REQUEST: Budget.WITHDRAWAL,
    Operation.WEBHOOK: Budget.NONE,
}

_WRITES = frozenset(
    {
        Operation.PROFILE_VISIT,
        Operation.LIKE_POST,
        Operation.COMMENT_POST,
        Operation.SEND_CONNECTION_REQUEST,
        Operation.SEND_FOLLOWUP,
        Operation.SEND_INMAIL,
        Operation.WITHDRAW_REQUEST,
    }
)

_ANSWERABLE = _WRITES - {Operation.PROFILE_VISIT, Operation.WITHDRAW_REQUEST}

_PRIORITIES = (
    Operation.WEBHOOK,
    Operation.SEND_FOLLOWUP,
    Operation.SEND_INMAIL,
    Operation.CHECK_ACCEPTANCE,
    Operation.WITHDRAW_REQUEST,
    Operation.SEND_CONNECTION_REQUEST,
    Operation.COMMENT_POST,
    Operation.LIKE_POST,
    Operation.FIND_POSTS,
    Operation.PROFILE_LOOKUP,
    Operation.PROFILE_VISIT,
    Operation.START,
)

"""An action: one thing done to a person, from its intent to what became of it."""

from collections.abc import Mapping
from enum import StrEnum


class ActionState(StrEnum):
    """Where an action of the ledger stands."""

    INTENDED = "intended"  # written down; a living lease may be performing it right now
    UNKNOWN = "unknown"  # it may have happened: the provider is asked
    DONE = "done"  # it happened
    REFUSED = "refused"  # the provider said no: nothing happened
    ABSENT = "absent"  # it was looked for and is not there: nothing happened
    RELEASED = "released"  # it never left: its units are given back
    # Nobody can find out whether it happened, and its walk is over: it is asked about no more.  It
    # counts as received, and proves nothing of others.
    UNRESOLVED = "unresolved"


# What may become of an action; a settled one goes nowhere.  One that may have left is never
# released: what it spent is spent.
ARROWS: Mapping[ActionState, frozenset[ActionState]] = {
    ActionState.INTENDED: frozenset(
        {
            ActionState.UNKNOWN,
            ActionState.DONE,
            ActionState.REFUSED,
            ActionState.ABSENT,
            ActionState.RELEASED,
        }
    ),
    ActionState.UNKNOWN: frozenset(
        {ActionState.UNKNOWN, ActionState.DONE, ActionState.ABSENT, ActionState.UNRESOLVED}
    ),
}

OPEN = tuple(ARROWS)
HAPPENED = (
    *OPEN,
    ActionState.DONE,
    ActionState.UNRESOLVED,
)  # or may have: a node reaches a person once

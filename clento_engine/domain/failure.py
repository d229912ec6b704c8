"""What a failure means for a lead: the five things that can follow from one."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Scope(StrEnum):
    """Whom a wait holds back."""

    LEAD = "lead"
    BUDGET = "budget"  # the account's allowance for this operation
    ACCOUNT = "account"


class Means(StrEnum):
    """What a refusal tells about the world, where that changes the lead's path."""

    NOTHING = "nothing"
    CONNECTED = "connected"  # the goal of an invitation is reached
    INVITED = "invited"  # an invitation exists or existed lately: ask the profile which
    WRONG_ID = "wrong_id"  # the provider id may be stale: resolve it once more
    OURS = "ours"  # the request was wrong, by a defect of ours: the step is held, not passed over
    GONE = "gone"  # the person, post or chat does not exist: what was to be seen there is not


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after a backoff, up to the last attempt.  Only when the request had no effect.

    `left` is False when no connection came about: the provider never saw the request.
    """

    reason: str
    left: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """Our turn has not come: wait, without counting an attempt.

    With a scope wider than the lead, each further refusal doubles `delay`, up to `longest`.
    """

    reason: str
    delay: timedelta
    longest: timedelta
    scope: Scope = Scope.LEAD


@dataclass(frozen=True, slots=True)
class Skip:
    """This step is over without its effect; the lead goes on.

    Unless it `means` that the request itself was wrong: then the lead is held for a person.
    `alert` marks refusals that point at a defect of ours or at something unknown.
    """

    reason: str
    means: Means = Means.NOTHING
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """This lead's walk is over; `reason` is for people."""

    reason: str
    means: Means = Means.NOTHING


@dataclass(frozen=True, slots=True)
class Pause:
    """The account must stop until a person or the provider clears it.

    `everyone`: the engine's own access is refused, so every account of the organisation stops.
    """

    reason: str
    everyone: bool = False


Failure = Retry | Wait | Skip | Fail | Pause


class OutcomeUnknown(Exception):
    """The request may have had its effect: work for reconcile, never a reason to repeat.

    `throttled` marks answers (HTTP 500 `provider_error`) that also show exceeded limits when
    they come in a row on one account.
    """

    def __init__(self, reason: str, *, throttled: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.throttled = throttled

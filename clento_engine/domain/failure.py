"""What a failure means for a lead: the five things that can follow from one."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

# Answers in a row that show that the provider as a whole cannot be asked: connections refused,
# time-outs, the words of a gateway, which are not the provider's.  One of them shows little.
SILENCES_IN_A_ROW = 3
# Refusals by one word since the last success that hold a lane, unless its campaign says otherwise.
REFUSALS_IN_A_ROW = 5


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

    `left` is False when no connection came about: the provider never saw the request.  `silence`:
    how many of SILENCES_IN_A_ROW it counts; above 0 nothing was said of the lead or the account.
    """

    reason: str
    left: bool = True
    silence: int = 0


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
    `alert` marks refusals that point at a defect of ours or at something unknown.  `word`: the
    provider's, where a run of it tells of the account, the request or the list: its lane is held.
    """

    reason: str
    means: Means = Means.NOTHING
    alert: bool = False
    word: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """This lead's walk is over; `reason` is for people.  `word`: as a Skip's."""

    reason: str
    means: Means = Means.NOTHING
    word: str | None = None


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
    they come in a row on one account.  `silence`: as a Retry's.
    """

    def __init__(self, reason: str, *, throttled: bool = False, silence: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.throttled = throttled
        self.silence = silence

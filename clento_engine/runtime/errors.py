"""What the runtime refuses, each with the fields that a door needs to say it."""

from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum

from clento_engine.domain.finding import Finding
from clento_engine.runtime.workspace import Workspace


class Unready(StrEnum):
    """What keeps a campaign from being made or started."""

    WORKFLOW = "workflow"  # it has errors: nothing is made of it
    CAMPAIGN = "campaign"  # its workflow has errors, and it was made before they were found
    NODES = "nodes"  # some cannot run here and now, and nobody said to pass over them
    NO_SENDERS = "no senders"  # they were removed


class NotReady(Exception):
    """A campaign must not run as it is: `unready`, and the `findings` that say why."""

    def __init__(self, unready: Unready, findings: Sequence[Finding] = ()) -> None:
        super().__init__(unready.value)
        self.unready = unready
        self.findings = tuple(findings)


class Over(ValueError):
    """The day or moment `begin`, at which a campaign was to begin, is in the past."""

    def __init__(self, begin: date) -> None:
        super().__init__(f"{begin} is over")
        self.begin = begin


class WrongProvider(Exception):
    """The database is bound to another provider than this process talks to: `bound`, `given`."""

    def __init__(self, bound: Workspace, given: Workspace) -> None:
        super().__init__(f"the database is bound to {bound}, not to {given}")
        self.bound = bound
        self.given = given


class UnknownProvider(Exception):
    """The provider does not know an account that the database has: nothing may be bound to it.

    `given`: the provider; `account`: Unipile's id of one of them.
    """

    def __init__(self, given: Workspace, account: str) -> None:
        super().__init__(f"{given} does not know the account {account} as we do")
        self.given = given
        self.account = account


class NotAsked(Exception):
    """The provider cannot be asked whether it is the one that the accounts are from: `reason`."""

    def __init__(self, given: Workspace, reason: str) -> None:
        super().__init__(f"{given} cannot be asked: {reason}")
        self.given = given
        self.reason = reason


class NotAdded(Exception):
    """A sender cannot be added: `reason`; `is_unknown`: the provider does not know the account."""

    def __init__(self, reason: str, *, is_unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_unknown = is_unknown


class OutOfTime(Exception):
    """What is under way needs another request, and the tick's budget is over."""


class NotRegistered(Exception):
    """The provider did not do `what` with a webhook, or not for sure: `reason`.

    To register again is harmless.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


class ClockSkew(Exception):
    """The clock cannot be trusted: it is `skew` ahead of `whose`; None: it was set while we ran."""

    def __init__(self, skew: timedelta, whose: str | None = None) -> None:
        how = "jumped" if whose is None else f"differs from {whose}"
        super().__init__(f"this host's clock {how} by {skew.total_seconds():+.0f} s")
        self.skew = skew
        self.whose = whose

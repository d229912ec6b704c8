"""A lead's walk through a workflow: its state, the events it hears, the effects it asks for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from clento_engine.domain.failure import Failure, Scope
from clento_engine.domain.operation import Operation


class Status(StrEnum):
    """Where an execution stands."""

    WAITING = "waiting"  # for its time, its lane's turn, or the outcome of its open action
    AWAITING = "awaiting"  # acceptance; its time is the deadline
    HELD = "held"  # until a person looks; the reason says why
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen any more."""
        return self in FINAL

    @property
    def has_time(self) -> bool:
        """Whether an execution in this status has a next run."""
        return self in (Status.WAITING, Status.AWAITING)


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.STOPPED})


class Outcome(StrEnum):
    """How a walk ended."""

    FINISHED = "finished"  # the path's end
    ACCEPTED = "accepted"  # connected, and nothing follows
    NOT_ACCEPTED = "not_accepted"  # not connected in time, and nothing follows
    REPLIED = "replied"
    TAKEN_OVER = "taken_over"  # the account's owner wrote to the person by hand
    EXPIRED = "expired"  # longer than the campaign's maximal duration
    SUPPRESSED = "suppressed"
    DUPLICATE = "duplicate"  # the same person goes on in another walk
    SKIPPED = "skipped"  # a value was missing, and the campaign passes over such leads
    FAILED = "failed"
    STOPPED = "stopped"


class OnMissing(StrEnum):
    """What a campaign does with a lead for whom a template's value is missing."""

    HOLD = "hold"
    SKIP = "skip"  # the step, not the lead
    FAIL = "fail"


class Result(StrEnum):
    """What became of a node when it was left; the columns of the funnel."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the campaign says about every one of its walks."""

    stop_on_reply: bool = True
    on_missing: OnMissing = OnMissing.HOLD
    max_duration: timedelta = timedelta(days=30)
    stop_on_own_message: bool = True


class Execution(Struct, frozen=True):
    """One lead's place in one campaign.  Instants are aware UTC.

    `next_run_at` is set exactly while the status has a time; `node_id` is None before the first
    node; `attempt` counts tries of the present operation that counted; `posts` are those still
    to be acted on at this node; `relooked` says that the provider id was resolved anew here.
    """

    campaign_id: UUID
    lead_id: UUID
    rules: Rules = Rules()
    status: Status = Status.WAITING
    node_id: str | None = None
    operation: Operation = Operation.START
    next_run_at: datetime | None = None
    attempt: int = 0
    posts: tuple[str, ...] = ()
    relooked: bool = False
    provider_id: str | None = None
    connected: bool = False
    replied: bool = False
    started_at: datetime | None = None
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    finished_at: datetime | None = None


# --- events: what happened -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Began:
    """The campaign lets the lead begin."""


@dataclass(frozen=True, slots=True)
class ProfileRead:
    """A profile was read, or visited: who it is to the sender."""

    provider_id: str
    connected: bool = False
    invitation_pending: bool = False


@dataclass(frozen=True, slots=True)
class PostsFound:
    """The posts that the node shall act on, best first; none when nothing fits."""

    posts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The operation had its effect."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The operation had no effect, for a known cause."""

    cause: Failure


@dataclass(frozen=True, slots=True)
class Absent:
    """Reconcile found that an action of unknown outcome did not happen."""


@dataclass(frozen=True, slots=True)
class Unknowable:
    """Nothing can tell whether the action happened: a person must look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The text cannot be written: values are missing, or it is too long."""

    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The person accepted the invitation at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Replied:
    """The person wrote to the sender."""


@dataclass(frozen=True, slots=True)
class OwnerWrote:
    """The sender's owner wrote to the person by hand."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The person must not be contacted any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same person goes on in another walk, of this campaign or of one beside it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """The campaign's maximal duration is over for this lead."""


@dataclass(frozen=True, slots=True)
class Released:
    """A person lifts the hold: the step runs again, or is passed over."""

    skip: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """An operator ends this lead's walk."""

    reason: str


Event = (
    Began
    | ProfileRead
    | PostsFound
    | Done
    | Failed
    | Absent
    | Unknowable
    | Missing
    | Accepted
    | Replied
    | OwnerWrote
    | Suppressed
    | Duplicate
    | Overdue
    | Released
    | Stopped
)


# --- effects: what is to be done besides saving the execution ------------------------------------


@dataclass(frozen=True, slots=True)
class PauseAccount:
    """Stop the account; `everyone`: all accounts of the organisation."""

    reason: str
    everyone: bool


@dataclass(frozen=True, slots=True)
class Throttle:
    """Hold the account or its budget back; `delay` doubles with every further refusal."""

    scope: Scope
    reason: str
    delay: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class Notify:
    """Put the notice of this webhook node into the outbox."""

    node_id: str


Effect = PauseAccount | Throttle | Notify


class Decision(Struct, frozen=True):
    """What an execution becomes.

    `result`: what became of the node that was left, when one was; `entered`: the node that the
    execution came to, when it moved.
    """

    execution: Execution
    effects: tuple[Effect, ...] = ()
    result: Result | None = None
    entered: str | None = None


class IllegalTransition(Exception):
    """An event that cannot happen in this status: a defect, never a retry."""

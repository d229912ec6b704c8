"""A lane as a claim sees it: what account, budget and campaign say, and when it may run.

A lane is the queue of one (campaign, account, operation).
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from clento_engine.domain.account import Sender
from clento_engine.domain.campaign import Pace
from clento_engine.domain.execution import Rules
from clento_engine.domain.limits import DAY, Caps, Spacing, effective, frees_at, ramp
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import WorkingHours, opens_at

LaneKey = tuple[UUID, UUID, UUID, Operation]  # organisation, campaign, account, operation
AccountKey = tuple[UUID, UUID]  # organisation, account
CampaignKey = tuple[UUID, UUID]  # organisation, campaign
BudgetKey = tuple[UUID, UUID, Budget]  # organisation, account, budget


class Spaced(Struct, frozen=True):
    """The gap after each action of an account or of a budget, and until when none may follow."""

    spacing: Spacing = Spacing()
    free_at: datetime | None = None  # the gap after the last one is over
    blocked_until: datetime | None = None  # the provider's own back-off


class Warmup(Struct, frozen=True):
    """How an account grows into its caps: over `days`, from its first real send on."""

    days: int = 0
    started_at: datetime | None = None


class Lane(Struct, frozen=True):
    """A locked lane, with what its account, budget and campaign say about it."""

    key: LaneKey
    account: AccountKey
    campaign: CampaignKey
    budget: BudgetKey
    operation: Operation
    sender: Sender
    zone: str  # the sender's
    hours: WorkingHours
    warmup: Warmup
    caps: Caps  # of the budget, without ramp
    account_spaced: Spaced
    budget_spaced: Spaced
    pace: Pace
    next_start_at: datetime | None  # when the campaign's next lead may begin
    rules: Rules
    workflow_version_id: UUID  # what leads begin with
    inmail_subject: str | None = None  # for nodes that have none
    columns: tuple[str, ...] = ()  # of the list: what templates may name
    take: int = 1  # how many of its leads were looked at, and one more
    comes_first: bool = False  # it is the organisation's place in the rotation


def gate(lane: Lane, now: datetime) -> datetime:
    """Return the first moment from `now` on at which the lane may run, whatever was counted."""
    if lane.operation is Operation.WEBHOOK:
        return now
    account, budget = lane.account_spaced, lane.budget_spaced
    closed: tuple[datetime | None, ...] = (account.blocked_until,)
    if lane.operation is Operation.START:
        closed += (lane.next_start_at,)
    else:
        closed += (account.free_at, budget.free_at, budget.blocked_until)
    free = max((at for at in closed if at is not None), default=now)
    return opens_at(lane.hours, max(now, free), lane.zone)


def caps_today(lane: Lane, budget: Budget, caps: Caps, now: datetime) -> Caps:
    """Return what is left of `caps`, of a budget of the lane's account, by its ramp and the day."""
    return effective(
        caps,
        ramp=ramp(lane.warmup.started_at, now, lane.warmup.days),
        seed=f"{lane.sender.unipile_account_id}/{budget}",
        day=today(lane.zone, now),
    )


def free_again_at(lane: Lane, buckets: Sequence[tuple[datetime, int]], now: datetime) -> datetime:
    """Return when the lane's budget, which is spent, may have a unit again.

    `buckets` are (start, units), oldest first, at least those of its longest window.
    """
    frees = frees_at(caps_today(lane, lane.budget[2], lane.caps, now), buckets, now)
    changes = caps_change_at(lane, now)  # never sleep past larger caps
    return changes if frees is None else min(frees, changes)


def caps_change_at(lane: Lane, now: datetime) -> datetime:
    """Return when `caps_today` may say something else: on the next day, or as the ramp goes on."""
    next_day, started_at = tomorrow(lane.zone, now), lane.warmup.started_at
    if started_at is None or ramp(started_at, now, lane.warmup.days) >= 1:
        return next_day
    passed = max(0, (now - started_at) // DAY)
    return min(next_day, started_at + (passed + 1) * DAY)


def second_budget(lane: Lane) -> BudgetKey | None:
    """Return the other allowance that a step of the lane may spend."""
    budget = lane.operation.second_budget(lane.sender.tier)
    return None if budget is None else (*lane.account, budget)


def today(zone: str, now: datetime) -> date:
    return now.astimezone(ZoneInfo(zone)).date()


def tomorrow(zone: str, now: datetime) -> datetime:
    """Return when the next day begins in the zone."""
    midnight = datetime.combine(
        today(zone, now) + timedelta(days=1), datetime.min.time(), ZoneInfo(zone)
    )
    return max(midnight.astimezone(now.tzinfo), now + timedelta(seconds=1))

"""What a claim may take of what waits in its lanes, and when each lane is to be looked at again.

Pure: the locks have been taken, and what is asked here was read under them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from uuid import UUID

from msgspec import Struct

from clento_engine.domain import execution as ex
from clento_engine.domain.execution import Execution
from clento_engine.domain.intent import Intent, Person, intent
from clento_engine.domain.lane import (
    AccountKey,
    BudgetKey,
    CampaignKey,
    Lane,
    LaneKey,
    caps_change_at,
    caps_today,
    gate,
    second_budget,
    today,
    tomorrow,
)
from clento_engine.domain.limits import Caps, carried_per_day, spacing_after
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import closes_at, opens_at
from clento_engine.domain.workflow import Node, Workflow

# until a lane is looked at again whose head is locked, or whose campaign has its most in flight
AGAIN = timedelta(seconds=5)
NO_LOOK = timedelta(hours=1)  # until an InMail that needs a profile retrieval looks for one again

NO_ZONE = (KeyError, ValueError, OSError)  # what a zone that cannot be read raises


class Unreadable(Struct, frozen=True):
    """A stored value that cannot be what was written: `reason` names the place, not the value."""

    reason: str


class Head(Struct, frozen=True):
    """An execution that is due at the front of its lane, and whom it is about.

    `row_version`: of the row it was read from, given back with the step; `wrote_at`: when the
    person wrote and nobody knew who they were; `done_to`: the posts that the node has done this to
    already, "" where it is about the person; `ahead`: why another walk goes on with the person.
    `absent_from`: of a walk that may have gone on before a restore, whom it was found not to have
    reached; None where nothing is doubted.
    """

    run: Execution
    due_at: datetime
    workflow: Workflow
    person: Person | Unreadable
    row_version: int
    wrote_at: datetime | None = None
    done_to: Sequence[str] = ()
    ahead: str | None = None
    person_id: UUID | None = None
    absent_from: Sequence[str] | None = None


class Queue(Struct, frozen=True):
    """What waits at the front of a lane: the `heads` that are due, the earliest first.

    `next_at`: when the first one after them is due; `locked_at`: when the first of those is that
    cannot be had now, because others hold it or news of it is unheard; `is_cut`: there may be more
    than was looked at.
    """

    lane: Lane
    heads: Sequence[Head] = ()
    next_at: datetime | None = None
    locked_at: datetime | None = None
    is_cut: bool = False


class Allowance(Struct, frozen=True):
    """The units that a budget may still give; `frees_at`: when the next is free, if none is."""

    units: int
    frees_at: datetime | None = None


class Starts(Struct, frozen=True):
    """How many leads a sender of a campaign began on `day`, as its own zone counts days."""

    day: date | None
    count: int
    zone: str


@dataclass(frozen=True, slots=True)
class Room:
    """What one claim may take at `now`, over all its lanes.

    A request begins before `lease` is over by `request_limit`, and so ends within it.  `starts`:
    what each sender of each campaign (campaign, account) began; `starts_left`: how many leads each
    lane may still begin today.
    """

    now: datetime
    slots: int
    lease: timedelta
    request_limit: timedelta
    allowances: Mapping[BudgetKey, Allowance]
    in_flight: Mapping[CampaignKey, int] = field(default_factory=dict)
    starts: Mapping[tuple[UUID, UUID], Starts] = field(default_factory=dict)
    starts_left: Mapping[LaneKey, int] = field(default_factory=dict)


class Step(Struct, frozen=True):
    """What runs now: what is to be sent before `act_before`, or the event that happens instead.

    `is_doubtful`: it may have been sent before a restore, and is asked about first.
    """

    lane: Lane
    head: Head
    node: Node | None
    next: Intent | ex.Event
    act_before: datetime
    is_doubtful: bool = False


@dataclass(slots=True)
class Picked:
    """What a claim takes, what that spends, and when each lane is to be looked at again."""

    steps: list[Step] = field(default_factory=list)
    spent: dict[BudgetKey, int] = field(default_factory=dict)
    accounts_free_at: dict[AccountKey, datetime] = field(default_factory=dict)
    budgets_free_at: dict[BudgetKey, datetime] = field(default_factory=dict)
    began: dict[LaneKey, int] = field(default_factory=dict)
    gave: int = 0  # lanes that had a step to give
    ready_at: dict[LaneKey, datetime | None] = field(default_factory=dict)  # None: nothing waits


def begun_today(starts: Starts, now: datetime) -> int:
    """Return how many leads a sender began today, each sender's day being its own zone's."""
    try:
        is_today = starts.day == today(starts.zone, now)
    except NO_ZONE:  # another sender's: its own lanes wait for that
        is_today = starts.day is not None
    return starts.count if is_today else 0


def starts_left(
    lanes: Iterable[Lane],
    starts: Mapping[tuple[UUID, UUID], Starts],
    limits: Mapping[UUID, Mapping[Budget, Caps]],
    workflows: Mapping[UUID, Workflow],
    now: datetime,
) -> dict[LaneKey, int]:
    """Return how many more leads each lane may begin today; `limits` are those of each account."""
    left = {}
    for lane in lanes:
        _, campaign_id, account_id, _ = lane.key
        begun = {
            sender: begun_today(each, now)
            for (campaign, sender), each in starts.items()
            if campaign == campaign_id
        }
        if lane.pace.leads_per_day is not None:
            left[lane.key] = max(0, lane.pace.leads_per_day - sum(begun.values()))
            continue
        caps = {
            budget: caps_today(lane, budget, each, now)
            for budget, each in limits.get(account_id, {}).items()
        }
        workflow = workflows[lane.workflow_version_id]
        carried = carried_per_day(workflow, caps, lane.hours.open_days)
        left[lane.key] = max(0, carried - begun.get(account_id, 0))
    return left


def pick(queues: Sequence[Queue], room: Room) -> Picked:
    """Choose which heads run now, within every allowance at once.

    First those of the organisations whose place in the rotation it is; then those nearest to a
    path's end; among lanes that begin leads, those whose senders began the fewest today.
    """
    picker = _Picker(room)
    gates = [gate(queue.lane, room.now) for queue in queues]
    ready = [
        queue for queue, at in zip(queues, gates, strict=True) if at <= room.now and queue.heads
    ]
    takings = {queue.lane.key: _Taking(picker, queue) for queue in sorted(ready, key=picker.order)}
    for taking in takings.values():
        taking.take_all()
    picked = picker.picked()
    picked.gave = sum(1 for taking in takings.values() if taking.passed)
    for queue, at in zip(queues, gates, strict=True):
        key = queue.lane.key
        picked.ready_at[key] = at if at > room.now else picker.ready_at(queue, takings.get(key))
    return picked


@dataclass(slots=True)
class _Budget:
    """What a budget may still give, and when the gap is over after what it gave now."""

    units: int
    frees_at: datetime | None = None
    free_at: datetime | None = None
    spent: int = 0


@dataclass(slots=True)
class _Account:
    free_at: datetime | None = None  # when the gap is over after what it did now


@dataclass(slots=True)
class _Campaign:
    in_flight: int
    next_start: datetime | None = None  # when a lead may begin after the one that began now


class _Picker:
    """What the lanes of one claim share: the slots, and what they spend together."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.slots = room.slots
        self.steps: list[Step] = []
        self.began: dict[LaneKey, int] = {}
        self.starts_left = dict(room.starts_left)
        self._budgets: dict[BudgetKey, _Budget] = {}
        self._accounts: dict[AccountKey, _Account] = {}
        self._campaigns: dict[CampaignKey, _Campaign] = {}
        self._next_days: dict[UUID, datetime] = {}

    def picked(self) -> Picked:
        """Add up what was taken."""
        spending = [(key, budget) for key, budget in self._budgets.items() if budget.spent]
        return Picked(
            self.steps,
            {key: budget.spent for key, budget in spending},
            {key: each.free_at for key, each in self._accounts.items() if each.free_at is not None},
            {key: each.free_at for key, each in spending if each.free_at is not None},
            self.began,
        )

    def budget(self, key: BudgetKey) -> _Budget | None:
        """Return the budget; None where it was not looked at, as of steps that spend nothing."""
        if key not in self._budgets:
            if (given := self.room.allowances.get(key)) is None:
                return None
            self._budgets[key] = _Budget(given.units, given.frees_at)
        return self._budgets[key]

    def account(self, key: AccountKey) -> _Account:
        return self._accounts.setdefault(key, _Account())

    def campaign(self, key: CampaignKey) -> _Campaign:
        if key not in self._campaigns:
            self._campaigns[key] = _Campaign(self.room.in_flight.get(key, 0))
        return self._campaigns[key]

    def next_starts_at(self, lane: Lane) -> datetime:
        """Return when a lane that has begun its leads of today may begin more."""
        now, campaign_id = self.room.now, lane.key[1]
        if lane.pace.leads_per_day is None:
            return caps_change_at(lane, now)
        # the number is the campaign's: what other senders began counts until their own days end
        if campaign_id not in self._next_days:
            zones = {each.zone for (of, _), each in self.room.starts.items() if of == campaign_id}
            days = [tomorrow(lane.zone, now)]
            for zone in zones:
                with suppress(*NO_ZONE):
                    days.append(tomorrow(zone, now))
            self._next_days[campaign_id] = min(days)
        return self._next_days[campaign_id]

    def order(self, queue: Queue) -> tuple[bool, int, int, datetime, UUID]:
        lane, first = queue.lane, queue.heads[0]
        begun = None
        if lane.operation is Operation.START:
            begun = self.room.starts.get((lane.key[1], lane.key[2]))
        return (
            not lane.comes_first,
            lane.operation.priority,
            0 if begun is None else begun_today(begun, self.room.now),
            first.due_at,
            first.run.lead_id,
        )

    def ready_at(self, queue: Queue, taking: "_Taking | None") -> datetime | None:
        """Return when an open lane must be looked at again; None when nothing waits in it."""
        now, lane = self.room.now, queue.lane
        passed = 0 if taking is None else taking.passed
        waiting_at = queue.heads[passed].due_at if passed < len(queue.heads) else queue.next_at
        times = []
        if waiting_at is not None:
            binding = None if taking is None else taking.binding
            times.append(self._later(lane, max(waiting_at, binding or now)))
        elif passed and queue.is_cut:
            # it may have more than was asked for; the account's gap applies to those too
            times.append(self._later(lane, now))
        if queue.locked_at is not None:
            times.append(self._later(lane, max(queue.locked_at, now + AGAIN)))
        if taking is not None and taking.has_event:
            # should we die before the event is settled, no open action would tell of it
            times.append(now + self.room.lease)
        return min(times, default=None)

    def _later(self, lane: Lane, at: datetime) -> datetime:
        """Return the first moment from `at` on that is open, behind the gaps that began now."""
        if lane.operation is Operation.WEBHOOK:
            return at
        if lane.operation is Operation.START:
            at = max(at, self.campaign(lane.campaign).next_start or at)
        elif (budget := self.budget(lane.budget)) is not None:
            at = max(at, self.account(lane.account).free_at or at, budget.free_at or at)
        return opens_at(lane.hours, at, lane.zone)


class _Terms(Struct, frozen=True):
    """What is the same for every step of a lane in one claim."""

    act_before: datetime
    account_free_at: datetime
    budget_free_at: datetime


class _Taking:
    """The taking of one lane's heads: all that they share is looked up once."""

    def __init__(self, picker: _Picker, queue: Queue) -> None:
        self.passed = 0  # heads taken
        self.binding: datetime | None = None  # what keeps its next head from running, until when
        self.has_event = False  # a head came back as an event, of which nothing is written yet
        self._picker = picker
        self._queue = queue
        self._lane = lane = queue.lane
        self._now = picker.room.now
        self._account = picker.account(lane.account)
        self._campaign = picker.campaign(lane.campaign)
        self._budget = picker.budget(lane.budget) or _Budget(0)
        self._second_key = second_budget(lane)
        self._second = None if self._second_key is None else picker.budget(self._second_key)

    @cached_property
    def _terms(self) -> _Terms:
        lane, now, room = self._lane, self._now, self._picker.room
        lease_end = now + room.lease - room.request_limit
        closing = closes_at(lane.hours, now, lane.zone)
        # the same account at the same moment draws the same gap, in every run
        seed = f"{lane.sender.unipile_account_id}/{now.isoformat()}"
        return _Terms(
            lease_end if closing is None else min(lease_end, closing),
            now + spacing_after(lane.account_spaced.spacing, seed),
            now + spacing_after(lane.budget_spaced.spacing, f"{seed}/{lane.budget[2]}"),
        )

    def take_all(self) -> None:
        """Take what may run, in order; the rest waits behind the first that may not."""
        for head in self._queue.heads:
            self.binding = self._wait()
            if self.binding is not None:
                return
            self._take(head)
            self.passed += 1

    def _wait(self) -> datetime | None:
        """Return until when the lane's next head may not run; None when it may."""
        lane, picker, now = self._lane, self._picker, self._now
        if picker.slots <= 0:
            return now
        if lane.operation is Operation.WEBHOOK:
            return None
        if lane.operation is Operation.START:
            if (next_start := self._campaign.next_start) is not None and next_start > now:
                return next_start
            return picker.next_starts_at(lane) if picker.starts_left.get(lane.key, 0) <= 0 else None
        if self._campaign.in_flight >= lane.pace.max_concurrent_leads:
            return now + AGAIN
        for free_at in (self._account.free_at, self._budget.free_at):
            if free_at is not None and free_at > now:
                return free_at
        if self._budget.units <= 0:
            return self._budget.frees_at or now
        if (
            lane.operation is Operation.SEND_INMAIL
            and self._second is not None
            and self._second.units <= 0
        ):
            return now + NO_LOOK
        return None

    def _take(self, head: Head) -> None:
        lane, picker, run = self._lane, self._picker, head.run
        node = None if run.node_id is None else head.workflow.nodes.get(run.node_id)
        next_step = self._next_step(head, node)
        picker.slots -= 1
        is_doubtful = head.absent_from is not None and _may_have_reached(head, next_step)
        picker.steps.append(Step(lane, head, node, next_step, self._terms.act_before, is_doubtful))
        if isinstance(next_step, Intent):
            self._spend(next_step)
            return
        self.has_event = True
        if isinstance(next_step, ex.Began):
            self._begin()

    def _next_step(self, head: Head, node: Node | None) -> Intent | ex.Event:
        """Return the step; a lead of which something cannot be read is held, and no other."""
        run, person = head.run, head.person
        if not head.workflow.nodes:
            return ex.Unknowable("the saved workflow cannot be read: put it right")
        if node is None and run.node_id is not None:
            return ex.Unknowable(f"its workflow has no node {run.node_id[:80]!r}")
        if head.wrote_at is not None and (run.rules.stop_on_reply or not run.replied):
            return ex.Replied()
        if isinstance(person, Unreadable):
            return ex.Unknowable(person.reason)
        if head.ahead is not None:
            return ex.Duplicate(head.ahead)
        if node is None:
            return ex.Began() if person.suppressed is None else ex.Suppressed(person.suppressed)
        try:
            next_step = self._intent(run, node, person)
        except Exception as error:  # noqa: BLE001  whatever a hand can write into a row
            return ex.Unknowable(unreadable(error).reason)
        if isinstance(next_step, Intent) and next_step.post in head.done_to:
            return ex.Done()  # it reached them: never twice, and never a poisoned claim
        return next_step

    def _intent(self, run: Execution, node: Node, person: Person) -> Intent | ex.Event:
        second, key = self._second, self._second_key
        is_note = key is not None and key[2] is Budget.NOTE
        return intent(
            node,
            run,
            person,
            tier=self._lane.sender.tier,
            subject=self._lane.inmail_subject,
            notes_left=not is_note or second is None or second.units > 0,
            now=self._now,
        )

    def _spend(self, taken: Intent) -> None:
        for budget in taken.budgets:
            is_second = self._second_key is not None and self._second_key[2] is budget
            given = self._second if is_second and self._second is not None else self._budget
            given.units -= 1
            given.spent += 1
        self._campaign.in_flight += 1
        self._account.free_at = self._terms.account_free_at
        self._budget.free_at = self._terms.budget_free_at

    def _begin(self) -> None:
        """Note that a lead of the lane begins now."""
        lane, began = self._lane, self._picker.began
        began[lane.key] = began.get(lane.key, 0) + 1
        self._campaign.next_start = self._now + lane.pace.lead_processing_delay
        left = self._picker.starts_left
        if lane.pace.leads_per_day is None:
            left[lane.key] -= 1
            return
        for key in left:  # the number is the campaign's, over all its senders
            if key[:2] == lane.key[:2]:
                left[key] -= 1


def _may_have_reached(head: Head, next_step: Intent | ex.Event) -> bool:
    """Whether it reaches a person, and nobody has asked yet whether it did before a restore."""
    return (
        isinstance(next_step, Intent)
        and next_step.operation.traits.is_received
        and next_step.target not in (head.absent_from or ())
    )


def unreadable(error: Exception) -> Unreadable:
    """Say why a step cannot be prepared, without a word of what a row holds."""
    name = type(error).__name__
    return Unreadable(f"lead, list or workflow cannot be read ({name}): put them right")

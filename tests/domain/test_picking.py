"""What a claim takes: never past a cap, a gap or the pace; and its lanes sleep neither too long
nor in vain.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Sender, Tier
from clento_engine.domain.campaign import Pace
from clento_engine.domain.execution import Execution, Rules
from clento_engine.domain.intent import Intent, Person
from clento_engine.domain.lane import (
    BudgetKey,
    Lane,
    LaneKey,
    Spaced,
    Warmup,
    caps_today,
    free_again_at,
    gate,
    second_budget,
    today,
)
from clento_engine.domain.limits import (
    DAY,
    LEASE,
    Caps,
    Spacing,
    allowance,
    bucket_at,
    used_at,
)
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.picking import (
    AGAIN,
    NO_LOOK,
    Allowance,
    Head,
    Picked,
    Queue,
    Room,
    Starts,
    Unreadable,
    pick,
    starts_left,
)
from clento_engine.domain.schedule import is_open, parse_hours
from clento_engine.domain.workflow import Node, Workflow

NOW = datetime(2026, 3, 4, 9, 3, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REQUEST_LIMIT = timedelta(seconds=110)
ORGANIZATION, VERSION = UUID(int=1), UUID(int=2)
WORKFLOW = Workflow(
    Operation.PROFILE_VISIT.value,
    {
        operation.value: Node(operation.value, operation, text="Hello", subject="Hello")
        for operation in Operation
    },
)
KINDS = (
    Operation.START,
    Operation.PROFILE_VISIT,
    Operation.SEND_CONNECTION_REQUEST,
    Operation.SEND_INMAIL,
    Operation.SEND_FOLLOWUP,
    Operation.WEBHOOK,
)


@dataclass
class Campaign:
    hours: str
    most: int
    in_flight: int
    delay: timedelta
    per_day: int | None
    next_start_at: datetime | None = None


@dataclass
class Account:
    zone: str
    caps: dict[Budget, Caps]
    spacing: Spacing
    warmup: Warmup
    free_at: datetime | None = None


@dataclass
class Fleet:
    """Claims as the store does, with every step done at once."""

    campaigns: list[Campaign]
    accounts: list[Account]
    waiting: dict[tuple[int, int, Operation], list[datetime]]  # by campaign, account, operation
    suppressed: frozenset[int]
    spacings: dict[Budget, Spacing]
    take: int = 1
    counters: defaultdict[BudgetKey, Counter[datetime]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    budgets_free_at: dict[BudgetKey, datetime] = field(default_factory=dict)
    starts: dict[tuple[UUID, UUID], Starts] = field(default_factory=dict)
    ready_at: dict[LaneKey, datetime | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = {
            (ORGANIZATION, UUID(int=100 + c), UUID(int=200 + a), operation): (c, a, operation)
            for c, a, operation in self.waiting
        }
        self.ready_at = dict.fromkeys(self.keys, NOW)
        for _, campaign, account, _ in self.keys:
            zone = self.accounts[account.int - 200].zone
            self.starts[campaign, account] = Starts(None, 0, zone)

    def lane(self, key: LaneKey) -> Lane:
        c, a, operation = self.keys[key]
        campaign, account = self.campaigns[c], self.accounts[a]
        budget = (ORGANIZATION, key[2], operation.budget)
        return Lane(
            key=key,
            account=(ORGANIZATION, key[2]),
            campaign=(ORGANIZATION, key[1]),
            budget=budget,
            operation=operation,
            sender=Sender(key[2], f"account {a}", Tier.SALES_NAVIGATOR, None, troubled=False),
            zone=account.zone,
            hours=parse_hours(campaign.hours),
            warmup=account.warmup,
            caps=account.caps.get(operation.budget, Caps()),
            account_spaced=Spaced(account.spacing, account.free_at),
            budget_spaced=Spaced(
                self.spacings.get(operation.budget, Spacing()), self.budgets_free_at.get(budget)
            ),
            pace=Pace(campaign.most, campaign.delay, campaign.per_day),
            next_start_at=campaign.next_start_at,
            rules=Rules(),
            workflow_version_id=VERSION,
            take=self.take,
        )

    def queue(self, lane: Lane, now: datetime) -> Queue:
        waiting = sorted(self.waiting[self.keys[lane.key]])[: self.take + 1]
        due = [at for at in waiting if at <= now]
        return Queue(
            lane,
            [head(lane.operation, at, place in self.suppressed) for place, at in enumerate(due)],
            next((at for at in waiting if at > now), None),
            is_cut=len(waiting) > self.take,
        )

    def claim(self, keys: Iterable[LaneKey], slots: int, now: datetime) -> Picked:
        lanes = [self.lane(key) for key in keys]
        room = self.room(lanes, slots, now)
        picked = pick([self.queue(lane, now) for lane in lanes], room)
        self.check(picked, room)
        self.write(picked, now)
        return picked

    def room(self, lanes: list[Lane], slots: int, now: datetime) -> Room:
        allowances: dict[BudgetKey, Allowance] = {}
        for lane in lanes:
            for key in (lane.budget, second_budget(lane)):
                if key is None or key[2] is Budget.NONE:
                    continue
                buckets = sorted(self.counters[key].items())
                caps = self.accounts[key[1].int - 200].caps.get(key[2], Caps())
                units = allowance(caps_today(lane, key[2], caps, now), used_at(buckets, now))
                frees = free_again_at(lane, buckets, now) if key == lane.budget else None
                if key not in allowances or frees is not None:
                    allowances[key] = Allowance(units, frees if units == 0 else None)
        starting = [lane for lane in lanes if lane.operation is Operation.START]
        limits = {lane.key[2]: self.accounts[lane.key[2].int - 200].caps for lane in starting}
        return Room(
            now,
            slots,
            LEASE,
            REQUEST_LIMIT,
            allowances,
            {lane.campaign: self.campaigns[lane.key[1].int - 100].in_flight for lane in lanes},
            self.starts,
            starts_left(starting, self.starts, limits, {VERSION: WORKFLOW}, now),
        )

    def check(self, picked: Picked, room: Room) -> None:
        """No cap, gap or pace is passed by what was picked."""
        now, steps = room.now, picked.steps
        assert len(steps) <= room.slots
        acting = [step for step in steps if isinstance(step.next, Intent)]
        units = Counter(
            (ORGANIZATION, step.lane.key[2], budget)
            for step in acting
            if isinstance(step.next, Intent)
            for budget in step.next.budgets
        )
        assert units == Counter(picked.spent)
        assert all(used <= room.allowances[key].units for key, used in units.items())
        for campaign, flying in Counter(step.lane.campaign for step in acting).items():
            of = self.campaigns[campaign[1].int - 100]
            assert of.in_flight + flying <= of.most
        for account, done in Counter(step.lane.account for step in acting).items():
            spacing = self.accounts[account[1].int - 200].spacing
            assert done == 1 or spacing.longest == timedelta(0)
            gap = picked.accounts_free_at[account] - now
            assert spacing.shortest <= gap <= spacing.longest
        for budget, done in Counter(step.lane.budget for step in acting).items():
            assert done == 1 or self.spacings.get(budget[2], Spacing()).longest == timedelta(0)
        began = Counter(step.lane.campaign for step in steps if isinstance(step.next, ex.Began))
        for campaign, leads in began.items():
            of = self.campaigns[campaign[1].int - 100]
            assert leads == 1 or of.delay == timedelta(0)
            assert of.per_day is None or self.begun(campaign[1], now) + leads <= of.per_day
        for key, leads in picked.began.items():
            assert leads <= room.starts_left[key]
        for step in steps:
            assert step.head.due_at <= now
            assert gate(step.lane, now) <= now < step.act_before <= now + LEASE - REQUEST_LIMIT
            if step.lane.operation is not Operation.WEBHOOK:
                assert is_open(step.lane.hours, now, step.lane.zone)

    def begun(self, campaign: UUID, now: datetime) -> int:
        return sum(
            starts.count
            for (of, _), starts in self.starts.items()
            if of == campaign and starts.day == today(starts.zone, now)
        )

    def write(self, picked: Picked, now: datetime) -> None:
        for key, used in picked.spent.items():
            self.counters[key][bucket_at(now)] += used
        for account, free_at in picked.accounts_free_at.items():
            of = self.accounts[account[1].int - 200]
            of.free_at = free_at
            of.warmup = Warmup(of.warmup.days, of.warmup.started_at or now)
        self.budgets_free_at.update(picked.budgets_free_at)
        for (_, campaign_id, account_id, _), began in picked.began.items():
            starts = self.starts[campaign_id, account_id]
            day = today(starts.zone, now)
            before = starts.count if starts.day == day else 0
            self.starts[campaign_id, account_id] = Starts(day, before + began, starts.zone)
            campaign = self.campaigns[campaign_id.int - 100]
            if campaign.delay:
                campaign.next_start_at = now + campaign.delay
        for step in picked.steps:
            self.waiting[self.keys[step.lane.key]].remove(step.head.due_at)
        self.ready_at.update(picked.ready_at)


def head(operation: Operation, due_at: datetime, is_suppressed: bool) -> Head:
    node_id = None if operation is Operation.START else operation.value
    run = Execution(
        UUID(int=3), UUID(int=4), operation=operation, node_id=node_id, next_run_at=due_at
    )
    person = Person("ada", None, {}, suppressed="by hand" if is_suppressed else None)
    return Head(run, due_at, WORKFLOW, person, 1)


some_cap = st.none() | st.integers(1, 6)
some_caps = st.builds(Caps, some_cap, some_cap, some_cap, some_cap)
some_spacing = st.just(Spacing()) | st.builds(
    lambda shortest, more: Spacing(shortest, shortest + more),
    st.timedeltas(timedelta(0), 2 * MINUTE),
    st.timedeltas(timedelta(seconds=1), 3 * MINUTE),
)
some_zone = st.sampled_from(["Europe/Berlin", "America/New_York", "Pacific/Auckland"])


def some_accounts(caps: st.SearchStrategy[Caps]) -> st.SearchStrategy[list[Account]]:
    return st.lists(
        st.builds(
            Account,
            some_zone,
            st.dictionaries(st.sampled_from([kind.budget for kind in KINDS]), caps),
            some_spacing,
            st.builds(
                Warmup,
                st.sampled_from([0, 14]),
                st.none()
                | st.timedeltas(timedelta(0), timedelta(days=7)).map(lambda age: NOW - age),
            ),
        ),
        min_size=1,
        max_size=2,
    )


some_campaigns = st.lists(
    st.builds(
        Campaign,
        st.sampled_from(["always", "Mon-Fri 09:00-18:00", "Mon-Sun 22:00-24:00"]),
        st.integers(1, 6),
        st.integers(0, 2),
        st.sampled_from([timedelta(0), timedelta(seconds=30), 45 * MINUTE]),
        st.none() | st.integers(1, 5),
    ),
    min_size=1,
    max_size=2,
)
some_dues = st.lists(
    st.timedeltas(timedelta(days=-2), timedelta(0))
    | st.timedeltas(timedelta(0), timedelta(days=2)),
    max_size=6,
    unique=True,
)


@st.composite
def fleets(draw: st.DrawFn, caps: st.SearchStrategy[Caps] = some_caps) -> Fleet:
    campaigns, accounts = draw(some_campaigns), draw(some_accounts(caps))
    waiting = {
        (c, a, operation): [NOW + after for after in draw(some_dues)]
        for c in range(len(campaigns))
        for a in range(len(accounts))
        for operation in draw(st.sets(st.sampled_from(KINDS), min_size=1, max_size=4))
    }
    return Fleet(
        campaigns,
        accounts,
        waiting,
        draw(st.frozensets(st.integers(0, 3), max_size=1)),
        draw(st.dictionaries(st.sampled_from([kind.budget for kind in KINDS]), some_spacing)),
        draw(st.integers(1, 4)),
    )


def _play(
    fleet: Fleet, slots: int, rounds: int
) -> Iterable[tuple[datetime, list[LaneKey], Picked]]:
    """Claim whenever a lane is ready, as a ticker does that sleeps in between."""
    now = NOW
    for _ in range(rounds):
        times = [at for at in fleet.ready_at.values() if at is not None]
        if not times:
            return
        now = max(now, min(times))
        keys = [key for key, at in fleet.ready_at.items() if at is not None and at <= now]
        yield now, keys, fleet.claim(keys, slots, now)


@given(fleets(), st.integers(1, 8))
@settings(deadline=None)
def test_no_batch_passes_a_cap_a_gap_or_the_pace(fleet: Fleet, slots: int) -> None:
    for _ in _play(fleet, slots, 20):
        pass  # each claim is checked


@given(fleets(), st.integers(1, 8), st.data())
@settings(deadline=None)
def test_a_lane_never_sleeps_past_the_first_moment_at_which_its_head_may_run(
    fleet: Fleet, slots: int, data: st.DataObject
) -> None:
    for now, _, _ in _play(fleet, slots, 6):
        for key, ready_at in fleet.ready_at.items():
            end = datetime.max.replace(tzinfo=UTC) if ready_at is None else ready_at
            if ready_at is not None and ready_at - now <= AGAIN:
                continue
            if key[3] is Operation.SEND_INMAIL and end - now <= NO_LOOK:
                continue
            end = min(end, now + timedelta(days=10))
            early = now + (end - now) * data.draw(st.floats(0, 1, exclude_max=True))
            if early >= end:
                continue
            picked = copy.deepcopy(fleet).claim([key], slots, early)
            assert picked.steps == [], (now, ready_at, early)


@given(fleets(), st.integers(1, 8))
@settings(deadline=None)
def test_a_look_in_vain_moves_the_moment_on(fleet: Fleet, slots: int) -> None:
    for now, keys, picked in _play(fleet, slots, 200):
        if not picked.steps:
            for key in keys:
                at = fleet.ready_at[key]
                assert at is None or at > now


@given(fleets(st.builds(Caps, some_cap, some_cap)), st.integers(1, 8))
@settings(deadline=None, max_examples=30)
def test_nothing_waits_for_ever(fleet: Fleet, slots: int) -> None:
    for campaign in fleet.campaigns:
        campaign.in_flight = 0
    for _ in _play(fleet, slots, 2000):
        pass
    assert not any(fleet.waiting.values())


def alone(
    operation: Operation, leads: int, *, campaign: Campaign | None = None, **account: Any
) -> Fleet:
    """A fleet of one lane, of which all leads are due."""
    values = {"zone": "UTC", "caps": {}, "spacing": Spacing(), "warmup": Warmup(), **account}
    return Fleet(
        [campaign or Campaign("always", 100, 0, timedelta(0), None)],
        [Account(**values)],
        {(0, 0, operation): [NOW - place * MINUTE for place in range(leads)]},
        frozenset(),
        {},
        take=100,
    )


def test_a_lane_whose_allowance_is_spent_is_looked_at_when_the_cap_of_the_next_day_holds() -> None:
    fleet = alone(Operation.SEND_FOLLOWUP, 100, caps={Budget.MESSAGE: Caps(day=40)})
    (key,) = fleet.keys
    lane = fleet.lane(key)
    day = {
        place: caps_today(lane, Budget.MESSAGE, Caps(day=40), NOW + place * DAY).day or 0
        for place in range(30)
    }
    at = next(NOW + place * DAY for place in range(29) if day[place + 1] > day[place])
    taken = fleet.claim([key], 100, at)
    assert len(taken.steps) == caps_today(lane, Budget.MESSAGE, Caps(day=40), at).day
    fleet.claim([key], 100, at)
    midnight = (at + DAY).replace(hour=0, minute=0, second=0)
    assert fleet.ready_at[key] == midnight
    assert fleet.claim([key], 100, midnight).steps != []


def test_a_lane_whose_allowance_is_spent_is_looked_at_when_the_ramp_goes_on() -> None:
    fleet = alone(
        Operation.SEND_FOLLOWUP,
        100,
        caps={Budget.MESSAGE: Caps(week=70)},
        warmup=Warmup(14, NOW - timedelta(hours=20)),
    )
    (key,) = fleet.keys
    fleet.claim([key], 100, NOW)
    fleet.claim([key], 100, NOW)
    assert fleet.ready_at[key] == NOW + timedelta(hours=4)
    assert fleet.claim([key], 100, NOW + timedelta(hours=4)).steps != []


def test_a_campaign_begins_leads_again_when_the_first_of_its_senders_has_a_new_day() -> None:
    campaign = Campaign("always", 100, 0, timedelta(0), 2)
    fleet = alone(Operation.START, 5, campaign=campaign, zone="America/New_York")
    (key,) = fleet.keys
    elsewhere = UUID(int=299)
    fleet.starts[key[1], elsewhere] = Starts(NOW.date(), 2, "Europe/Berlin")
    fleet.claim([key], 100, NOW)
    midnight = datetime(2026, 3, 4, 23, tzinfo=UTC)
    assert fleet.ready_at[key] == midnight
    assert len(fleet.claim([key], 100, midnight).steps) == 2


def test_the_sender_who_began_the_fewest_leads_today_comes_first() -> None:
    fleet = Fleet(
        [Campaign("always", 100, 0, timedelta(0), None)],
        [Account("UTC", {}, Spacing(), Warmup()), Account("UTC", {}, Spacing(), Warmup())],
        {(0, account, Operation.START): [NOW] for account in range(2)},
        frozenset(),
        {},
    )
    (busy_yesterday, busy_today) = fleet.keys
    yesterday = NOW.date() - DAY
    fleet.starts[busy_yesterday[1], busy_yesterday[2]] = Starts(yesterday, 9, "UTC")
    fleet.starts[busy_today[1], busy_today[2]] = Starts(NOW.date(), 1, "UTC")
    (step,) = fleet.claim(fleet.keys, 1, NOW).steps
    assert step.lane.key == busy_yesterday


@pytest.mark.parametrize(
    "change",
    [
        {"person": Unreadable("the lead's fields cannot be read")},
        {"workflow": Workflow("", {})},
        {"workflow": Workflow("x", {"x": Node("x", Operation.PROFILE_VISIT)})},
        {"run": Execution(UUID(int=3), UUID(int=4), node_id="comment_post",
                          operation=Operation.COMMENT_POST)},
    ],
)  # fmt: skip
def test_a_lead_that_cannot_be_read_is_held_and_no_other(change: dict[str, Any]) -> None:
    fleet = alone(Operation.SEND_FOLLOWUP, 2)
    (key,) = fleet.keys
    queue = fleet.queue(fleet.lane(key), NOW)
    bad = replace(queue.heads[0], **change)
    picked = pick([replace(queue, heads=[bad, queue.heads[1]])], fleet.room([queue.lane], 9, NOW))
    held, other = picked.steps
    assert isinstance(held.next, ex.Unknowable)
    assert isinstance(other.next, Intent)
    assert sum(picked.spent.values()) == 1

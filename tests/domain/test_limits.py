"""Caps over sliding windows, warm-up and spacing; what a path can carry."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clento_engine.domain.account import Tier
from clento_engine.domain.limits import (
    ACCOUNT_SPACING,
    BUCKET,
    DAY,
    ESTABLISHED,
    HOUR,
    LEASE,
    MONTH,
    UNLIMITED,
    WARMUP_DAYS,
    WEEK,
    Caps,
    Spacing,
    Used,
    allowance,
    bucket_at,
    carried_per_day,
    counted_since,
    default_limits,
    effective,
    fraction,
    frees_at,
    ramp,
    spacing_after,
    used_at,
)
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow

MICROSECOND = timedelta(microseconds=1)
START = datetime(2026, 3, 2, 9, 3, 7, tzinfo=UTC)

some_cap = st.none() | st.integers(1, 8)
some_caps = st.builds(Caps, some_cap, some_cap, some_cap, some_cap)
some_gap = (
    st.timedeltas(timedelta(0), timedelta(minutes=20))
    | st.timedeltas(timedelta(0), timedelta(hours=3))
    | st.timedeltas(timedelta(0), timedelta(days=9))
)


@dataclass
class Account:
    """Claims units as the store does, and keeps what LinkedIn would see."""

    caps: Caps
    now: datetime = START
    counters: Counter[datetime] = field(default_factory=Counter)
    sent: list[datetime] = field(default_factory=list)

    @property
    def buckets(self) -> list[tuple[datetime, int]]:
        return sorted(self.counters.items())

    def allowance(self, at: datetime) -> int:
        return allowance(self.caps, used_at(self.buckets, at))

    def claim(self, wanted: int, sent_after: list[timedelta]) -> None:
        units = min(wanted, self.allowance(self.now))
        self.counters[bucket_at(self.now)] += units
        self.sent += [self.now + sent_after[unit % len(sent_after)] for unit in range(units)]


some_delays = st.lists(
    st.sampled_from([timedelta(0), LEASE]) | st.timedeltas(timedelta(0), LEASE),
    min_size=1,
    max_size=4,
)


@st.composite
def some_account(draw: st.DrawFn) -> Account:
    """An account that claimed for a while; often as early as it may, and sent as late as it may.

    Often at a bucket's end, too: only there is the width that a bucket adds not a gift.
    """
    account = Account(draw(some_caps))
    for _ in range(draw(st.integers(1, 25))):
        gap = draw(st.sampled_from(["when free", "at the bucket's end"]) | some_gap)
        if isinstance(gap, timedelta):
            account.now += gap
        elif gap == "at the bucket's end":
            account.now = bucket_at(account.now) + BUCKET - MICROSECOND
        else:
            free = frees_at(account.caps, account.buckets, account.now)
            assert free is not None
            account.now = free
        account.claim(draw(st.integers(1, 8)), draw(some_delays))
    return account


@given(some_account())
def test_no_sliding_window_over_the_instants_of_sending_holds_more_than_its_cap(
    account: Account,
) -> None:
    sent = sorted(account.sent)
    caps = account.caps
    for cap, window in ((caps.hour, HOUR), (caps.day, DAY), (caps.week, WEEK), (caps.month, MONTH)):
        if cap is None:
            continue
        for first, one_too_many in zip(sent, sent[cap:], strict=False):
            assert one_too_many - first > window  # so not even a window closed at both ends


def test_a_unit_sent_at_the_end_of_its_lease_still_counts_a_window_later() -> None:
    account = Account(Caps(hour=1), now=bucket_at(START) + BUCKET - MICROSECOND)
    account.claim(1, [LEASE])
    account.now += HOUR + LEASE  # an hour after it was sent, to the instant
    account.claim(1, [timedelta(0)])
    assert len(account.sent) == 1


@given(some_account(), some_gap)
def test_a_unit_is_free_from_the_instant_promised_and_not_before(
    account: Account, gap: timedelta
) -> None:
    now = account.now + gap
    free = frees_at(account.caps, account.buckets, now)
    assert free is not None
    assert free >= now
    assert account.allowance(free) >= 1
    if free > now:
        assert account.allowance(free - MICROSECOND) == 0
        assert account.allowance(now) == 0


def test_a_cap_of_zero_is_never_free() -> None:
    assert frees_at(Caps(day=0), [], START) is None
    assert allowance(Caps(day=0), Used()) == 0


@given(some_account(), st.integers(0, 9))
def test_a_cap_lowered_below_what_is_used_leaves_nothing(account: Account, cap: int) -> None:
    lower = Caps(hour=cap, day=cap, week=cap, month=cap)
    left = allowance(lower, used_at(account.buckets, account.now))
    assert 0 <= left <= cap
    free = frees_at(lower, account.buckets, account.now)
    assert (free is None) == (cap == 0)
    if free is not None:
        assert allowance(lower, used_at(account.buckets, free)) >= 1


def test_allowance_is_the_least_left_of_all_windows() -> None:
    used = Used(hour=2, day=9, week=40, month=40)
    assert allowance(Caps(hour=20, day=15, week=80), used) == 6
    assert allowance(Caps(hour=5, day=15, week=80), used) == 3
    assert allowance(Caps(month=45), used) == 5
    assert allowance(Caps(week=39), used) == 0
    assert allowance(Caps(), used) == UNLIMITED


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_bucket_starts_on_the_ten_minutes_at_most_a_bucket_ago(now: datetime) -> None:
    start = bucket_at(now)
    assert start <= now < start + BUCKET
    assert (start.minute % 10, start.second, start.microsecond) == (0, 0, 0)
    assert bucket_at(start) == start


def test_a_bucket_is_one_of_utc_whatever_zone_the_instant_is_in() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    start = bucket_at(datetime(2026, 3, 2, 12, 4, tzinfo=kathmandu))
    assert start == datetime(2026, 3, 2, 6, 10, tzinfo=UTC)
    assert start.tzinfo is UTC


def test_a_window_is_wider_by_a_lease_and_a_bucket() -> None:
    assert counted_since(HOUR, START) == START - timedelta(minutes=75)
    assert used_at([(START - timedelta(minutes=75), 3)], START).hour == 0
    assert used_at([(START - timedelta(minutes=75) + MICROSECOND, 3)], START).hour == 3


# --- defaults


@pytest.mark.parametrize("tier", Tier)
def test_every_budget_has_limits_that_agree_with_each_other(tier: Tier) -> None:
    limits = default_limits(tier)
    assert set(limits) == set(Budget)
    for limit in limits.values():
        caps = limit.caps
        sizes = [cap for cap in (caps.day, caps.week, caps.month) if cap is not None]
        assert sizes == sorted(sizes)
        assert limit.spacing.shortest <= limit.spacing.longest
    assert limits[Budget.NONE].caps == Caps()
    assert limits[Budget.NONE].spacing.longest == timedelta(0)


def test_a_higher_tier_never_allows_less() -> None:
    tiers = [default_limits(tier) for tier in Tier]
    for lower, higher in pairwise(tiers):
        for budget in Budget:
            for window in ("hour", "day", "week", "month"):
                low, high = (getattr(tier[budget].caps, window) for tier in (lower, higher))
                assert high is None or low <= high


@pytest.mark.parametrize(
    ("tier", "invitations", "notes", "a_day"),
    [
        (Tier.NEW, (10, 50), 5, (20, 25, 0, 15, 5, 15)),
        (Tier.FREE, (15, 80), 5, (40, 50, 0, 25, 10, 25)),
        (Tier.PREMIUM, (20, 100), None, (60, 80, 10, 30, 15, 30)),
        (Tier.SALES_NAVIGATOR, (30, 180), None, (80, 90, 30, 40, 20, 40)),
    ],
)
def test_default_limits_are_those_of_the_table(
    tier: Tier, invitations: tuple[int, int], notes: int | None, a_day: tuple[int, ...]
) -> None:
    caps = {budget: limit.caps for budget, limit in default_limits(tier).items()}
    assert (caps[Budget.INVITATION].day, caps[Budget.INVITATION].week) == invitations
    assert caps[Budget.NOTE] == Caps(month=notes)
    assert a_day == (
        caps[Budget.MESSAGE].day,
        caps[Budget.PROFILE].day,
        caps[Budget.INMAIL].day,
        caps[Budget.REACTION].day,
        caps[Budget.COMMENT].day,
        caps[Budget.WITHDRAWAL].day,
    )
    assert [
        caps[budget].hour
        for budget in (
            Budget.PROFILE,
            Budget.INVITATION,
            Budget.MESSAGE,
            Budget.COMMENT,
            Budget.REACTION,
        )
    ] == [100, 20, 50, 30, 100]


# --- warm-up and a day's caps


def test_a_ramp_goes_from_a_fifth_to_all() -> None:
    days = WARMUP_DAYS[Tier.FREE]
    assert ramp(None, START, days) == pytest.approx(0.2)
    assert ramp(START, START, days) == pytest.approx(0.2)
    assert ramp(START, START + 7 * DAY, days) == pytest.approx(0.6)
    assert ramp(START, START + 14 * DAY, days) == 1.0
    assert ramp(START, START + 14 * DAY, WARMUP_DAYS[Tier.NEW]) == pytest.approx(0.6)
    assert ramp(None, START, ESTABLISHED) == 1.0


@given(
    st.timedeltas(timedelta(days=-5), timedelta(days=90)),
    st.timedeltas(timedelta(0), timedelta(days=90)),
    st.integers(0, 60),
)
def test_a_ramp_never_falls_and_stays_between_a_fifth_and_one(
    age: timedelta, later: timedelta, days: int
) -> None:
    early, late = ramp(START, START + age, days), ramp(START, START + age + later, days)
    assert 0.2 <= early <= late <= 1.0


def test_a_ramp_steps_once_a_day() -> None:
    assert ramp(START, START + DAY - MICROSECOND, 14) == ramp(START, START, 14)
    assert ramp(START, START + DAY, 14) > ramp(START, START, 14)


some_size = st.none() | st.integers(0, 500)
any_caps = st.builds(Caps, some_size, some_size, some_size, some_size)


@given(any_caps, st.floats(0, 1), st.text(), st.dates())
def test_effective_caps_are_never_above_the_caps_nor_stop_an_account(
    caps: Caps, share: float, seed: str, day: date
) -> None:
    found = effective(caps, ramp=share, seed=seed, day=day)
    assert found == effective(caps, ramp=share, seed=seed, day=day)
    for window in ("hour", "day", "week", "month"):
        cap, now = getattr(caps, window), getattr(found, window)
        assert (cap is None) == (now is None)
        if cap is not None and window != "hour":
            assert now <= cap
            assert (now == 0) == (cap == 0)
    if found.hour is not None and caps.hour is not None:
        assert found.hour <= min(caps.hour, caps.hour if found.day is None else found.day)


@given(st.integers(1, 500), st.text(), st.dates())
def test_a_day_is_varied_down_by_at_most_15_percent(cap: int, seed: str, day: date) -> None:
    found = effective(Caps(day=cap), ramp=1.0, seed=seed, day=day).day
    assert found is not None
    assert cap * 85 <= found * 100 <= cap * 100


def test_a_day_s_cap_differs_from_day_to_day_and_reaches_both_ends() -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(200)]
    found = {effective(Caps(day=20), ramp=1.0, seed="account", day=day).day for day in days}
    assert found == {17, 18, 19, 20}


@given(any_caps, st.integers(0, 27), st.text(), st.dates())
def test_a_week_s_cap_grows_with_the_ramp(caps: Caps, passed: int, seed: str, day: date) -> None:
    early, late = (ramp(START, START + number * DAY, 28) for number in (passed, passed + 1))
    before = effective(caps, ramp=early, seed=seed, day=day)
    after = effective(caps, ramp=late, seed=seed, day=day)
    assert (before.week or 0) <= (after.week or 0)
    assert (before.day or 0) <= (after.day or 0)


def test_a_ramp_of_29_hundredths_of_100_is_29() -> None:
    assert effective(Caps(week=100), ramp=0.29, seed="", day=date(2026, 1, 1)).week == 29


def test_notes_of_a_month_are_not_ramped() -> None:
    caps = effective(Caps(month=5), ramp=0.2, seed="", day=date(2026, 1, 1))
    assert caps == Caps(month=5)


# --- spacing


@given(st.timedeltas(timedelta(0), HOUR), st.timedeltas(timedelta(0), HOUR), st.text())
@example(timedelta(seconds=45), timedelta(seconds=45), "")
def test_spacing_is_within_its_range_and_the_same_for_the_same_seed(
    shortest: timedelta, more: timedelta, seed: str
) -> None:
    spacing = Spacing(shortest, shortest + more)
    assert shortest <= spacing_after(spacing, seed) <= shortest + more
    assert spacing_after(spacing, seed) == spacing_after(spacing, seed)


def test_spacing_fills_its_range_evenly() -> None:
    waits = [spacing_after(ACCOUNT_SPACING, f"account/{number}") for number in range(3_000)]
    assert len(set(waits)) > 2_990
    for third in range(3):
        start = timedelta(seconds=45 + 15 * third)
        share = sum(start <= wait < start + timedelta(seconds=15) for wait in waits)
        assert 900 < share < 1_100


def test_chance_does_not_change_between_processes_and_releases() -> None:
    assert fraction("account/1") == 0.8691817429454074


# --- what a path can carry


def step(
    name: str,
    operation: Operation,
    *targets: str | None,
    posts: int = 1,
    skip: str | None = None,
) -> Node:
    """A node; a connection request with two targets branches to accepted and not accepted."""
    if operation is Operation.SEND_CONNECTION_REQUEST and len(targets) == 2:
        branches = [Branch.ACCEPTED, Branch.NOT_ACCEPTED]
    else:
        branches = [Branch.NEXT] * len(targets)
    edges = tuple(
        Edge(target, timedelta(days=1), branch)
        for target, branch in zip(targets, branches, strict=True)
    )
    return Node(name, operation, posts=posts, skip=skip, edges=edges)


def flow(*nodes: Node) -> Workflow:
    return Workflow(nodes[0].id, {node.id: node for node in nodes})


FULL = flow(
    step("visit", Operation.PROFILE_VISIT, "like"),
    step("like", Operation.LIKE_POST, "invite", posts=3),
    step("invite", Operation.SEND_CONNECTION_REQUEST, "hello", "withdraw"),
    step("hello", Operation.SEND_FOLLOWUP, "again"),
    step("again", Operation.SEND_FOLLOWUP, None),
    step("withdraw", Operation.WITHDRAW_REQUEST, "look"),
    step("look", Operation.PROFILE_VISIT, "tell"),
    step("tell", Operation.WEBHOOK, None),
)


@pytest.mark.parametrize(
    ("budget", "units"),
    [
        (Budget.PROFILE, 3),  # two visits and the look at the deadline
        (Budget.REACTION, 3),
        (Budget.POST_READ, 1),
        (Budget.INVITATION, 1),
        (Budget.MESSAGE, 2),
        (Budget.WITHDRAWAL, 1),
    ],
)
def test_a_path_carries_what_its_dearest_way_through_leaves(budget: Budget, units: int) -> None:
    assert carried_per_day(FULL, {budget: Caps(day=60)}, 5) == 60 // units


@pytest.mark.parametrize("budget", [Budget.NOTE, Budget.INMAIL, Budget.COMMENT, Budget.NONE])
def test_a_budget_that_is_not_on_the_path_does_not_hold_it_back(budget: Budget) -> None:
    assert carried_per_day(FULL, {budget: Caps(day=1, month=1)}, 5) == UNLIMITED


def test_the_tightest_budget_decides() -> None:
    caps = {budget: limit.caps for budget, limit in default_limits(Tier.FREE).items()}
    assert carried_per_day(FULL, caps, 5) == 8  # 25 likes a day, three for each lead


@pytest.mark.parametrize(
    ("caps", "open_days", "carried"),
    [
        (Caps(day=20, week=100), 5, 20),
        (Caps(day=20, week=80), 5, 16),
        (Caps(day=20, week=80), 7, 11),
        (Caps(month=300), 5, 14),
        (Caps(hour=2), 5, UNLIMITED),
        (Caps(day=0), 5, 1),
    ],
)
def test_weeks_and_months_are_spread_over_open_days(
    caps: Caps, open_days: int, carried: int
) -> None:
    workflow = flow(
        step("visit", Operation.PROFILE_VISIT, "invite"),
        step("invite", Operation.SEND_CONNECTION_REQUEST, None),
    )
    assert carried_per_day(workflow, {Budget.INVITATION: caps}, open_days) == carried


@pytest.mark.parametrize(
    ("nodes", "units"),
    [
        ([step("a", Operation.SEND_FOLLOWUP, None)], 1),
        ([step("a", Operation.WEBHOOK, "b"), step("b", Operation.LIKE_POST, None)], 1),
        (
            [
                step("a", Operation.PROFILE_VISIT, "b", skip="no"),
                step("b", Operation.LIKE_POST, None),
            ],
            1,
        ),
        ([step("a", Operation.PROFILE_VISIT, "b"), step("b", Operation.LIKE_POST, None)], 1),
        ([step("a", Operation.LIKE_POST, "b"), step("b", Operation.PROFILE_VISIT, None)], 2),
        (
            [
                step("a", Operation.SEND_CONNECTION_REQUEST, "b", "c"),
                step("b", Operation.SEND_FOLLOWUP, None),
                step("c", Operation.WITHDRAW_REQUEST, None),
            ],
            2,
        ),
    ],
    ids=[
        "message",
        "webhook, like",
        "skipped visit, like",
        "visit, like",
        "like, visit",
        "invitation",
    ],
)
def test_a_profile_not_visited_before_it_is_needed_is_looked_up(
    nodes: list[Node], units: int
) -> None:
    assert carried_per_day(flow(*nodes), {Budget.PROFILE: Caps(day=60)}, 5) == 60 // units


def test_paths_that_meet_again_are_not_added_up() -> None:
    workflow = flow(
        step("invite", Operation.SEND_CONNECTION_REQUEST, "hello", "visit"),
        step("hello", Operation.SEND_FOLLOWUP, "end"),
        step("visit", Operation.PROFILE_VISIT, "end"),
        step("end", Operation.SEND_FOLLOWUP, None),
    )
    assert carried_per_day(workflow, {Budget.MESSAGE: Caps(day=60)}, 5) == 30


def test_skipped_steps_and_webhooks_cost_nothing() -> None:
    workflow = flow(
        step("a", Operation.COMMENT_POST, "b", skip="the operator lets it pass"),
        step("b", Operation.WEBHOOK, None),
    )
    caps = {budget: Caps(day=1) for budget in Budget}
    assert carried_per_day(workflow, caps, 5) == UNLIMITED

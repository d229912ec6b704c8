"""How much an account may do: caps over sliding windows, warm-up, spacing, and what can be carried.

Every number here is a default and a setting.  LinkedIn publishes hardly any and changes them
silently, so each has its source; where that is another tool, it is what this tool allows.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from graphlib import TopologicalSorter
from hashlib import blake2b
from types import MappingProxyType

from clento_engine.domain.account import Tier
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.workflow import Node, Workflow

HOUR = timedelta(minutes=60)
DAY = timedelta(hours=24)
WEEK = timedelta(days=7)
MONTH = timedelta(days=30)
BUCKET = timedelta(
    minutes=10
)  # units are counted per bucket, so that a month is 4,320 rows at most
LEASE = timedelta(minutes=5)  # a claimed action is ours this long, and sent within it or not at all

# Invitations that nobody answered, those by hand among them.  Source: Linked API's guide, under
# 500 and never 700; LinkedIn's help: with too many, none may be sent for up to a month.
PENDING_WARNED = 400
MOST_PENDING = 500

UNLIMITED = 1_000_000_000  # the allowance without a cap; one more still fits an SQL integer


@dataclass(frozen=True, slots=True)
class Caps:
    """The most units an account may spend in each sliding window; None is no cap, 0 is never."""

    hour: int | None = None
    day: int | None = None
    week: int | None = None
    month: int | None = None


@dataclass(frozen=True, slots=True)
class Spacing:
    """How long to wait after an action before the next: at random from `shortest` to `longest`."""

    shortest: timedelta = timedelta(0)
    longest: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Limit:
    """What is allowed of one budget: its caps, and the spacing between two of its actions."""

    caps: Caps = Caps()
    spacing: Spacing = Spacing()


@dataclass(frozen=True, slots=True)
class Used:
    """Units counted in each window, as wide as `counted_since` draws it."""

    hour: int = 0
    day: int = 0
    week: int = 0
    month: int = 0


def _spacing(shortest_s: int, longest_s: int) -> Spacing:
    return Spacing(timedelta(seconds=shortest_s), timedelta(seconds=longest_s))


# Source: Unipile's provider limits: calls about 1 minute apart, at random, in working hours.
ACCOUNT_SPACING = _spacing(45, 90)  # between any two actions of an account, whatever they are

_TYPED = _spacing(45, 90)  # the same advice, for what a person writes or clicks
# Reading goes faster than writing: mean 52 s, 68 an hour; under the burst ceiling of 100 visits.
_READ = _spacing(30, 75)
# Source: Unipile's page on inviting, 2 to 5 minutes between invitations.  Mean 210 s, 17 an hour;
# under the burst ceiling of 20.
_INVITED = _spacing(120, 300)


def _defaults(
    *,
    invitations_day: int,
    invitations_week: int,
    notes_month: int | None,
    messages_day: int,
    visits_day: int,
    inmails_day: int,
    likes_day: int,
    comments_day: int,
    withdrawals_day: int,
) -> Mapping[Budget, Limit]:
    """Put a row of the table under the burst ceilings, which are the same for every tier.

    The product's contract, per account and 60 minutes: visits 100, invitations 20, messages 50,
    comments 30, reactions 100.  It names no ceiling for InMails and withdrawals; they take that
    of messages and of invitations, the nearest thing a person does on the same page.
    """
    invitation = Caps(hour=20, day=invitations_day, week=invitations_week)
    return MappingProxyType(
        {
            Budget.PROFILE: Limit(Caps(hour=100, day=visits_day), _READ),
            Budget.INVITATION: Limit(invitation, _INVITED),
            # Spent together with an invitation, so the invitation's spacing is also the note's.
            Budget.NOTE: Limit(Caps(month=notes_month)),
            Budget.MESSAGE: Limit(Caps(hour=50, day=messages_day), _TYPED),
            Budget.INMAIL: Limit(Caps(hour=50, day=inmails_day), _TYPED),
            Budget.COMMENT: Limit(Caps(hour=30, day=comments_day), _TYPED),
            Budget.REACTION: Limit(Caps(hour=100, day=likes_day), _TYPED),
            # Source: Unipile's provider limits, other routes about 100 a day.  60 an hour is ours,
            # so that a day's reads are never one burst.
            Budget.POST_READ: Limit(Caps(hour=60, day=100), _READ),
            # Source: Unipile's provider limits, relations and sent invitations a few times a day;
            # a time is up to as many pages as a big account's list has.
            Budget.LIST_READ: Limit(Caps(hour=20, day=60), _READ),
            Budget.WITHDRAWAL: Limit(Caps(hour=20, day=withdrawals_day), _TYPED),
            Budget.NONE: Limit(),
        }
    )


# The cautious middle of some twenty tools and guides; those nearest to a number are beside it.
_DEFAULTS: Mapping[Tier, Mapping[Budget, Limit]] = {
    Tier.NEW: _defaults(
        invitations_day=10,  # Linked API: new accounts 10-15 a day, 50-75 a week
        invitations_week=50,
        notes_month=5,  # LinkedIn help: free accounts send 5 notes a month
        messages_day=20,  # Salesflow's default
        visits_day=25,  # Salesflow's default is 20
        inmails_day=0,  # no credits
        likes_day=15,
        comments_day=5,  # Overloop starts at 5 per action and day
        withdrawals_day=15,
    ),
    Tier.FREE: _defaults(
        invitations_day=15,  # Salesflow's default; LinkedNav allows free accounts 20
        invitations_week=80,  # Unipile and LinkedNav allow 150, Outboundry 80-100
        notes_month=5,  # LinkedIn help
        messages_day=40,  # Grinfi 35-50
        visits_day=50,  # Salesflow: 50 for basic accounts
        inmails_day=0,  # no credits
        likes_day=25,  # Grinfi 21-30
        comments_day=10,
        withdrawals_day=25,  # Salesflow's default is 40
    ),
    Tier.PREMIUM: _defaults(
        invitations_day=20,  # Linked API: established accounts 20-25 a day, 100 a week
        invitations_week=100,  # Salesflow, Outboundry, Hyperscale
        notes_month=None,
        messages_day=60,  # Unipile allows 100-150, Salesflow up to 100
        visits_day=80,  # Unipile 80-100, Captain Data 80
        inmails_day=10,  # lemlist's example 8; 5-15 credits a month besides open profiles
        likes_day=30,  # Grinfi
        comments_day=15,
        withdrawals_day=30,
    ),
    Tier.SALES_NAVIGATOR: _defaults(
        invitations_day=30,  # Linked API: trusted accounts 30-40 a day; LinkedNav 30
        invitations_week=180,  # Funkel 175, Outboundry 150-200, hard limit about 200
        notes_month=None,
        messages_day=80,
        visits_day=90,  # Unipile 80-100
        inmails_day=30,  # Unipile 30-50, Salesflow 30-50
        likes_day=40,
        comments_day=20,
        withdrawals_day=40,  # Salesflow's default
    ),
}


def default_limits(tier: Tier) -> Mapping[Budget, Limit]:
    """Return the limits of an account about which nothing else was decided; every budget is in."""
    return _DEFAULTS[tier]


def bucket_at(now: datetime) -> datetime:
    """Return the start of the counter bucket that `now` falls in, on the ten minutes of UTC."""
    now = now.astimezone(UTC)
    return now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0)


def counted_since(window: timedelta, now: datetime) -> datetime:
    """Return the instant after which a bucket's start counts against `window`, at `now`.

    A unit is counted when claimed but seen by LinkedIn when sent, up to a lease later: one claimed
    just over a window ago may have been sent inside it.  And a bucket's start is up to a bucket
    before the claim.  So the window is wider by both, and the cap holds over the instants of
    sending, whenever in their leases they were sent.
    """
    return now - window - LEASE - BUCKET


def used_at(buckets: Sequence[tuple[datetime, int]], now: datetime) -> Used:
    """Add up the units of `buckets` (start, units) that count in each window at `now`."""

    def counted(window: timedelta) -> int:
        since = counted_since(window, now)
        return sum(units for start, units in buckets if start > since)

    return Used(counted(HOUR), counted(DAY), counted(WEEK), counted(MONTH))


def allowance(caps: Caps, used: Used) -> int:
    """Return how many units may be spent now: the least that is left in any window, at least 0.

    UNLIMITED where nothing is capped.
    """
    left = UNLIMITED
    if caps.hour is not None:
        left = min(left, caps.hour - used.hour)
    if caps.day is not None:
        left = min(left, caps.day - used.day)
    if caps.week is not None:
        left = min(left, caps.week - used.week)
    if caps.month is not None:
        left = min(left, caps.month - used.month)
    return max(left, 0)


def frees_at(caps: Caps, buckets: Sequence[tuple[datetime, int]], now: datetime) -> datetime | None:
    """Return the first instant from `now` on at which a unit is free, if nothing more is spent.

    `buckets` are (start, units), oldest first, at least those of the longest capped window.
    None when a cap is 0: no waiting helps, only a changed limit.
    """
    frees = now
    for cap, window in _windows(caps):
        if cap <= 0:
            return None
        since = counted_since(window, now)
        counted = [(start, units) for start, units in buckets if start > since]
        used = sum(units for _, units in counted)
        for start, units in counted:
            if used < cap:
                break
            used -= units
            # the inverse of `counted_since`: from here on the bucket counts no more
            frees = max(frees, start + window + LEASE + BUCKET)
    return frees


def _windows(caps: Caps) -> list[tuple[int, timedelta]]:
    """Return the windows that have a cap."""
    pairs = ((caps.hour, HOUR), (caps.day, DAY), (caps.week, WEEK), (caps.month, MONTH))
    return [(cap, window) for cap, window in pairs if cap is not None]


# Source: Funkel, 20 % on day 0 to 100 % on day 14; WarmySender takes 4-6 weeks for new accounts.
RAMP_FROM = 0.2
WARMUP_DAYS: Mapping[Tier, int] = MappingProxyType(
    {Tier.NEW: 28, Tier.FREE: 14, Tier.PREMIUM: 14, Tier.SALES_NAVIGATOR: 14}
)
ESTABLISHED = 0  # as `days` of a ramp: the account is warm already


def ramp(started_at: datetime | None, now: datetime, days: int) -> float:
    """Return the share of its caps that an account may use, from 0.2 to 1.0, a step each 24 hours.

    `started_at` is the first real send of this warm-up (a later one after a restriction or 14 idle
    days); None before it.  `days` 0 (ESTABLISHED) needs no warm-up.
    """
    if days <= ESTABLISHED:
        return 1.0
    passed = 0 if started_at is None else (now - started_at) // DAY
    share = min(max(passed, 0), days) / days  # divided first, so that the last day is 1.0 exactly
    return RAMP_FROM + (1.0 - RAMP_FROM) * share


VARIED_PERCENT = 15  # ours: the same number every day is what a machine does


def effective(caps: Caps, *, ramp: float, seed: str, day: date) -> Caps:
    """Return the caps of an account on `day` (in its own zone), none above `caps`.

    - day: ramped, then varied down by up to 15 %, the same way for the same seed and day.
    - week: ramped too, so that five days' worth is not spread over seven, and so that a ramp
      begun again after a restriction also rests from the week before it.  Not varied: its days
      are already.
    - month: as it is.  What is capped by month are entitlements (notes) that LinkedIn hands out
      whole; and a ramp is over before such a window is.
    - hour: a burst ceiling, as it is, but never above the day.

    A cap of at least 1 stays at least 1: a ramp slows an account, it never stops one.
    """
    day_cap = None if caps.day is None else _varied(_ramped(caps.day, ramp), f"{seed}/{day}")
    week_cap = None if caps.week is None else _ramped(caps.week, ramp)
    hour_cap = caps.hour
    if hour_cap is not None and day_cap is not None:
        hour_cap = min(hour_cap, day_cap)
    return Caps(hour_cap, day_cap, week_cap, caps.month)


def _ramped(cap: int, share: float) -> int:
    # the small addend: 100 x 0.29 is 28.999999999999996 in floating point, and means 29
    return min(cap, max(1, math.floor(cap * share + 1e-9)))


def _varied(cap: int, seed: str) -> int:
    """Choose a whole number from 85 % of `cap` to `cap`, each as likely as the other."""
    least = math.ceil(cap * (100 - VARIED_PERCENT) / 100)
    return least + math.floor((cap - least + 1) * fraction(seed))


def fraction(seed: str) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same seed.

    A hash, not `random.Random(seed)`: the same in every process and Python version, and faster.
    """
    digest = blake2b(seed.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # as many bits as a float holds


def spacing_after(spacing: Spacing, seed: str) -> timedelta:
    """Return the wait after one action, uniform in the range, the same for the same seed."""
    return spacing.shortest + (spacing.longest - spacing.shortest) * fraction(seed)


def carried_per_day(
    workflow: Workflow, caps_by_budget: Mapping[Budget, Caps], open_days_per_week: int
) -> int:
    """Return how many leads a sender can start a day so that each later step keeps up; at least 1.

    For each budget: what it gives on an open day (1 to 7 of them a week), over the units that one
    lead takes of it on its worst path.  Notes are not counted: without one left, the invitation
    goes without.  UNLIMITED when no budget on the path is capped by day, week or month.
    """
    carried = UNLIMITED
    for budget, units in _units(workflow).items():
        caps = caps_by_budget.get(budget, Caps())
        if caps.day is not None:
            carried = min(carried, caps.day // units)
        if caps.week is not None:
            carried = min(carried, caps.week // (open_days_per_week * units))
        if caps.month is not None:
            carried = min(carried, caps.month * 7 // (30 * open_days_per_week * units))
    return max(carried, 1)


def _units(workflow: Workflow) -> Counter[Budget]:
    """Count what one lead takes of each budget, at worst: of all its paths, the dearest for each.

    A walk knows the person's profile after its first step that reaches out; a step before which
    nothing did so looks the profile up, unless it is a visit.  So each node has two prices.
    Raises graphlib.CycleError (a ValueError) for a graph that parsing would have refused.
    """
    targets = {
        node.id: [edge.target for edge in node.edges if edge.target is not None]
        for node in workflow.nodes.values()
    }
    from_here: dict[tuple[str, bool], Counter[Budget]] = {}
    for name in TopologicalSorter(targets).static_order():  # a node comes after those it leads to
        node = workflow.nodes[name]
        reaches_out = node.skip is None and not node.operation.is_internal
        for known in (False, True):
            dearest = Counter[Budget]()
            for target in targets[name]:
                dearest |= from_here[target, known or reaches_out]
            price = _price(node) if reaches_out else Counter[Budget]()
            if reaches_out and not known and node.operation is not Operation.PROFILE_VISIT:
                price[Operation.PROFILE_LOOKUP.budget] += 1
            from_here[name, known] = price + dearest
    return from_here[workflow.first, False]


def _price(node: Node) -> Counter[Budget]:
    """Count the units that the node itself takes."""
    operation = node.operation
    match operation:
        case Operation.LIKE_POST | Operation.COMMENT_POST:
            return Counter({operation.budget: node.posts, Operation.FIND_POSTS.budget: 1})
        case Operation.SEND_CONNECTION_REQUEST if node.branches:  # at the deadline, a look who did
            return Counter({operation.budget: 1, Operation.CHECK_ACCEPTANCE.budget: 1})
        case _:
            return Counter({operation.budget: 1})

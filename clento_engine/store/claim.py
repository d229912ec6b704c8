"""The claim: which steps run now, written down before any of them leaves.

One transaction, lock then look.  First lock ready lanes and, with them, their account, budget and
campaign: two tickers can then never spend the same unit.  Then, under those locks and in a newer
snapshot, read what the counters allow, take that many executions from the head of each lane, and
write an intent and a unit for each.  In one statement a unit spent or a lead scheduled between
its snapshot and its locks would be invisible.

The lead's row is not written: an execution is in flight while it has an open action, of which the
schema allows one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from uuid_utils.compat import uuid4, uuid7

from clento_engine.domain import execution as ex
from clento_engine.domain.execution import Execution, Rules
from clento_engine.domain.intent import Intent, Person, intent
from clento_engine.domain.limits import (
    DAY,
    HOUR,
    LEASE,
    MONTH,
    UNLIMITED,
    WEEK,
    Caps,
    Spacing,
    Tier,
    Used,
    allowance,
    bucket_at,
    carried_per_day,
    counted_since,
    effective,
    frees_at,
    ramp,
    spacing_after,
)
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import WorkingHours, closes_at, opens_at, parse_hours
from clento_engine.domain.workflow import Node, Workflow
from clento_engine.store.inbox import NOBODY_KNOWN
from clento_engine.store.rows import EXECUTION, execution, recordset, rules
from clento_engine.store.settle import Ticket
from clento_engine.store.suppressions import is_about
from clento_engine.store.workflows import load_workflows

MOST_LANES = 200  # looked at in one claim
# until a lane is looked at again whose head is locked, or whose campaign has its most in flight
AGAIN = timedelta(seconds=5)
NO_LOOK = timedelta(hours=1)  # until an InMail that needs a profile retrieval looks for one again

LaneKey = tuple[UUID, UUID, UUID, str]  # organisation, campaign, account, operation
AccountKey = tuple[UUID, UUID]
BudgetKey = tuple[UUID, UUID, str]


@dataclass(frozen=True, slots=True)
class Sender:
    """The account that acts, as the provider and the templates know it."""

    account_id: UUID
    unipile_account_id: str
    tier: Tier
    provider_id: str | None
    troubled: bool  # errors or throttles are counted against the account or its budget


@dataclass(frozen=True, slots=True)
class Claimed:
    """One step that is ours: an intent to act on before `act_before`, or an event to settle.

    `replied_at`: when the person wrote, of which the event tells.
    """

    organization_id: UUID
    run: Execution
    node: Node | None
    sender: Sender
    act_before: datetime
    intent: Intent | None = None
    ticket: Ticket | None = None
    event: ex.Event | None = None
    replied_at: datetime | None = None


_LOCK = """
select l.organization_id, l.campaign_id, l.account_id, l.operation, l.budget, l.ready_at,
       a.unipile_account_id, a.tier, a.time_zone, a.provider_id, a.warmup_days,
       a.warmup_started_at, a.spacing_shortest as account_shortest,
       a.spacing_longest as account_longest, a.next_free_at as account_free_at,
       a.blocked_until as account_blocked_until,
       a.errors_in_a_row > 0 or a.throttles > 0 or b.throttles > 0 as troubled,
       b.per_hour, b.per_day, b.per_week, b.per_month, b.spacing_shortest, b.spacing_longest,
       b.next_free_at, b.blocked_until,
       c.working_hours, c.max_concurrent_leads, c.lead_processing_delay, c.leads_per_day,
       c.next_start_at, c.workflow_version_id, c.stop_on_reply, c.on_missing, c.max_duration,
       c.inmail_subject, t.columns
  from lanes l
  join connected_accounts a on a.organization_id = l.organization_id and a.id = l.account_id
  join rate_limits b on b.organization_id = l.organization_id and b.account_id = l.account_id
                    and b.operation = l.budget
  join campaigns c on c.organization_id = l.organization_id and c.id = l.campaign_id
  join lead_lists t on t.organization_id = c.organization_id and t.id = c.list_id
 where l.organization_id = any(%(organizations)s) and l.active and l.ready_at <= %(now)s
   and a.status = 'active' and c.status = 'running'
 order by l.ready_at
 limit %(lanes)s
   for no key update of l, b, a, c skip locked
"""

# What each budget gave, what it is capped at, and how many leads its campaign has in flight.
_USED = """
select k.organization_id, k.account_id, k.operation, k.campaign_id,
       b.per_hour, b.per_day, b.per_week, b.per_month, u.hour, u.day, u.week, u.month,
       (select count(*) from actions x
         where x.organization_id = k.organization_id and x.campaign_id = k.campaign_id
           and x.state = 'intended') as in_flight
  from unnest(%(organizations)s::uuid[], %(accounts)s::uuid[], %(operations)s::text[],
              %(campaigns)s::uuid[], %(since)s::timestamptz[])
       as k(organization_id, account_id, operation, campaign_id, since)
  join rate_limits b on b.organization_id = k.organization_id and b.account_id = k.account_id
                    and b.operation = k.operation
 cross join lateral (
       select coalesce(sum(n.used) filter (where n.bucket_at > %(hour)s), 0) as hour,
              coalesce(sum(n.used) filter (where n.bucket_at > %(day)s), 0) as day,
              coalesce(sum(n.used) filter (where n.bucket_at > %(week)s), 0) as week,
              coalesce(sum(n.used), 0) as month
         from rate_counters n
        where n.organization_id = k.organization_id and n.account_id = k.account_id
          and n.operation = k.operation and n.bucket_at > k.since) u
"""

_SENDERS = """
select s.campaign_id, s.account_id, s.position, s.starts_on, s.starts, a.time_zone
  from campaign_senders s
  join connected_accounts a on a.organization_id = s.organization_id and a.id = s.account_id
 where s.organization_id = any(%(organizations)s) and s.campaign_id = any(%(campaigns)s)
"""

_ACCOUNT_LIMITS = """
select account_id, operation, per_hour, per_day, per_week, per_month from rate_limits
 where organization_id = any(%(organizations)s) and account_id = any(%(accounts)s)
"""

# As many heads as may run, and one more: its time is when the lane must be looked at again.
# Asking once more for "what is left" would cost thirty times as much.  A head that somebody else
# has locked comes back without a lead: its holder wakes the lane when it commits, but nobody does
# when it is rolled back.  `done_to` is the ledger's word on whom the node has reached already.
# What the person wrote and nobody has heard: `is_unheard`, it waits in the inbox; `wrote_at`, it
# came since the walk began, and nobody knew then who they were.
_HEADS = f"""
select k.lane, h.due_at, e.organization_id, e.workflow_version_id, {EXECUTION},
       p.public_identifier, p.provider_id as listed_id, p.first_name, p.last_name, p.company,
       p.job_title, p.email, p.fields, t.chat_id, t.invitation_id,
       (select x.kind || ': ' || x.reason from suppressions x
         where x.organization_id = e.organization_id
           and (x.expires_at is null or x.expires_at > %(now)s)
           and {is_about("p", "e.provider_id")}
         limit 1) as suppressed,
       array(select x.target from actions x
              where x.organization_id = e.organization_id and x.campaign_id = e.campaign_id
                and x.lead_id = e.lead_id and x.node_id = e.node_id
                and x.operation = e.operation
                and x.state in ('intended', 'unknown', 'done')
                and x.operation in ('comment_post', 'like_post', 'send_connection_request',
                                    'send_followup', 'send_inmail')) as done_to,
       i.is_unheard, i.wrote_at
  from unnest(%(organizations)s::uuid[], %(campaigns)s::uuid[], %(accounts)s::uuid[],
              %(operations)s::text[], %(takes)s::int[]) with ordinality
       as k(organization_id, campaign_id, account_id, operation, take, lane)
 cross join lateral (
       select e.lead_id, e.next_run_at as due_at from campaign_executions e
        where e.organization_id = k.organization_id and e.campaign_id = k.campaign_id
          and e.account_id = k.account_id and e.operation = k.operation
          and e.outcome is null and e.next_run_at is not null
          and not exists (select 1 from actions x
                           where x.organization_id = e.organization_id
                             and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                             and x.state in ('intended', 'unknown'))
        order by e.next_run_at, e.lead_id
        limit k.take + 1) h
  left join lateral (
       select * from campaign_executions e
        where e.organization_id = k.organization_id and e.campaign_id = k.campaign_id
          and e.lead_id = h.lead_id and e.account_id = k.account_id and e.operation = k.operation
          and e.outcome is null and e.next_run_at is not null
          for no key update skip locked) e on true
  left join leads p on p.organization_id = e.organization_id and p.id = e.lead_id
  left join connected_accounts a on a.organization_id = e.organization_id and a.id = e.account_id
  left join contacts t on t.organization_id = e.organization_id and t.account_id = e.account_id
                      and t.lead_id = e.lead_id
 cross join lateral (
       select coalesce(bool_or(i.applied_at is null), false) as is_unheard,
              max(i.received_at) filter (where i.received_at >= e.started_at) as wrote_at
         from inbox_events i
        where i.organization_id = e.organization_id
          and i.payload -> 'sender' ->> 'attendee_provider_id' = e.provider_id
          and i.payload ->> 'account_id' = a.unipile_account_id
          and (i.applied_at is null or i.result = '{NOBODY_KNOWN}')) i
 order by k.lane, h.due_at, h.lead_id
"""

_BUCKETS = """
select organization_id, account_id, operation, bucket_at, used
  from rate_counters n
 where (organization_id, account_id, operation) in (
         select * from unnest(%(organizations)s::uuid[], %(accounts)s::uuid[],
                              %(operations)s::text[]))
   and bucket_at > %(since)s and used > 0
 order by bucket_at
"""

# Intents, units, gaps and the lanes' next moments, all at once: every row but the counters' is
# locked already, so their order does not matter.
_WRITE = """
with intended as (
    insert into actions (organization_id, id, campaign_id, lead_id, account_id, node_id, operation,
                         budgets, bucket_at, state, token, check_at, target, text, subject,
                         intended_at)
    select r.organization_id, r.id, r.campaign_id, r.lead_id, r.account_id, r.node_id, r.operation,
           r.budgets, %(bucket)s, 'intended', %(token)s, %(check_at)s, r.target, r.text, r.subject,
           %(now)s
      from json_to_recordset(%(intents)s) as r(organization_id uuid, id uuid, campaign_id uuid,
           lead_id uuid, account_id uuid, node_id text, operation text, budgets text[],
           target text, text text, subject text)),
counted as (
    insert into rate_counters as n (organization_id, account_id, operation, bucket_at, used)
    select r.organization_id, r.account_id, r.operation, %(bucket)s, r.used
      from json_to_recordset(%(units)s) as r(organization_id uuid, account_id uuid, operation text,
           used int)
     order by 1, 2, 3
        on conflict (organization_id, account_id, operation, bucket_at) do update
       set used = n.used + excluded.used),
spaced as (
    update connected_accounts a
       set next_free_at = r.free_at, warmup_started_at = coalesce(a.warmup_started_at, %(now)s)
      from json_to_recordset(%(accounts)s) as r(organization_id uuid, id uuid, free_at timestamptz)
     where a.organization_id = r.organization_id and a.id = r.id),
spaced_budgets as (
    update rate_limits b set next_free_at = r.free_at
      from json_to_recordset(%(budgets)s) as r(organization_id uuid, account_id uuid,
           operation text, free_at timestamptz)
     where b.organization_id = r.organization_id and b.account_id = r.account_id
       and b.operation = r.operation)
update lanes l set ready_at = r.ready_at
  from json_to_recordset(%(lanes)s) as r(organization_id uuid, campaign_id uuid, account_id uuid,
       operation text, ready_at timestamptz)
 where l.organization_id = r.organization_id and l.campaign_id = r.campaign_id
   and l.account_id = r.account_id and l.operation = r.operation
   and l.ready_at is distinct from r.ready_at
"""

_PACE = """
update campaigns c set next_start_at = %(now)s + c.lead_processing_delay
 where c.organization_id = any(%(organizations)s) and c.id = any(%(campaigns)s)
   and c.lead_processing_delay > '0'
"""

_STARTS = """
update campaign_senders s set starts_on = r.starts_on, starts = r.starts
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, account_id uuid,
       starts_on date, starts int)
 where s.organization_id = r.organization_id and s.campaign_id = r.campaign_id
   and s.account_id = r.account_id
"""


@dataclass(slots=True)
class _Lane:
    """A locked lane, with what its account, budget and campaign say about it."""

    row: Mapping[str, Any]
    hours: WorkingHours
    operation: Operation
    gate: datetime  # before then it may not run
    take: int = 0  # how many heads to ask for
    binding: datetime | None = None  # what kept its next head from running, until when
    heads: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0  # heads, with those that others have locked
    locked_at: datetime | None = None  # when the first of those is due
    passed: int = 0  # heads taken or settled
    told: bool = False  # a head came back as an event, of which nothing is written down yet

    @property
    def key(self) -> LaneKey:
        row = self.row
        return row["organization_id"], row["campaign_id"], row["account_id"], row["operation"]

    @property
    def account(self) -> AccountKey:
        return self.row["organization_id"], self.row["account_id"]

    @property
    def budget(self) -> BudgetKey:
        return (*self.account, self.row["budget"])

    @property
    def campaign(self) -> AccountKey:
        return self.row["organization_id"], self.row["campaign_id"]

    @property
    def account_spacing(self) -> Spacing:
        return Spacing(self.row["account_shortest"], self.row["account_longest"])

    @property
    def spacing(self) -> Spacing:
        return Spacing(self.row["spacing_shortest"], self.row["spacing_longest"])


async def claim(
    conn: AsyncConnection[Any],
    *,
    organizations: Sequence[UUID],
    now: datetime,
    slots: int,
    lease: timedelta = LEASE,
    request_limit: timedelta = timedelta(seconds=110),
) -> list[Claimed]:
    """Take at most `slots` steps that are due and allowed; return them, intents committed.

    Steps that need nothing sent come back as events.  What came back must be acted on at once:
    the commit is the last look at campaign, suppression and reply.  `request_limit` is the most
    time that one request may take; it must end inside the lease.
    """
    async with conn.pipeline(), conn.transaction():
        lanes = await _lock(conn, organizations, now)
        if not lanes:
            return []
        open_lanes = [lane for lane in lanes if lane.gate <= now]
        picker = _Picker(now, slots, lease, request_limit)
        if open_lanes:
            await _look(conn, open_lanes, picker)
            picker.pick(open_lanes)
        await _write(conn, lanes, picker)
    return picker.claimed


async def _lock(
    conn: AsyncConnection[Any], organizations: Sequence[UUID], now: datetime
) -> list[_Lane]:
    cursor = conn.cursor(row_factory=dict_row)
    await cursor.execute(
        _LOCK, {"organizations": list(organizations), "now": now, "lanes": MOST_LANES}
    )
    lanes = []
    for row in await cursor.fetchall():
        hours = parse_hours(row["working_hours"])
        operation = Operation(row["operation"])
        lanes.append(_Lane(row, hours, operation, _gate(row, hours, operation, now)))
    return lanes


def _gate(
    row: Mapping[str, Any], hours: WorkingHours, operation: Operation, now: datetime
) -> datetime:
    """Return the first moment from `now` on that needs no look at the counters."""
    if operation is Operation.WEBHOOK:
        return now
    closed = [row["account_blocked_until"]]
    if operation is Operation.START:
        closed.append(row["next_start_at"])
    else:
        closed += [row["account_free_at"], row["next_free_at"], row["blocked_until"]]
    free = max((at for at in closed if at is not None), default=now)
    return opens_at(hours, max(now, free), row["time_zone"])


async def _look(conn: AsyncConnection[Any], lanes: Sequence[_Lane], picker: "_Picker") -> None:
    """Read, under the locks, what is used, in flight and begun, and the heads of the lanes.

    In the caller's pipeline: all questions travel together.
    """
    now = picker.now
    # an action may take a unit of a second budget; its account is locked, so nobody else spends it
    asked = {
        (key, lane.key[1]): lane
        for lane in lanes
        if not lane.operation.is_internal
        for key in (lane.budget, *_second_budgets(lane))
    }
    starting = [lane for lane in lanes if lane.operation is Operation.START]
    for lane in lanes:
        gaps = (
            (lane.row["lead_processing_delay"],)
            if lane.operation is Operation.START
            else (lane.account_spacing.longest, lane.spacing.longest)
        )
        spaced = lane.operation is not Operation.WEBHOOK and max(gaps) > timedelta(0)
        lane.take = 1 if spaced else min(picker.slots, lane.row["per_hour"] or picker.slots)
    of = {"organizations": list({lane.key[0] for lane in lanes})}
    used, heads = conn.cursor(), conn.cursor(row_factory=dict_row)
    senders, limits = conn.cursor(row_factory=dict_row), conn.cursor()
    if asked:
        await used.execute(
            _USED,
            {
                "organizations": [key[0] for key, _ in asked],
                "accounts": [key[1] for key, _ in asked],
                "operations": [key[2] for key, _ in asked],
                "campaigns": [campaign_id for _, campaign_id in asked],
                "since": [
                    counted_since(_longest(lane.row) if key == lane.budget else MONTH, now)
                    for (key, _), lane in asked.items()
                ],
                "hour": counted_since(HOUR, now),
                "day": counted_since(DAY, now),
                "week": counted_since(WEEK, now),
            },
        )
    if starting:
        begun = [lane.key[1] for lane in starting]
        await senders.execute(_SENDERS, {**of, "campaigns": begun})
        await limits.execute(_ACCOUNT_LIMITS, {**of, "accounts": [x.account[1] for x in starting]})
    await heads.execute(
        _HEADS,
        {
            "organizations": [lane.key[0] for lane in lanes],
            "campaigns": [lane.key[1] for lane in lanes],
            "accounts": [lane.key[2] for lane in lanes],
            "operations": [lane.key[3] for lane in lanes],
            "takes": [lane.take for lane in lanes],
            "now": now,
        },
    )
    for row in await heads.fetchall():
        lane = lanes[row["lane"] - 1]
        lane.seen += 1
        if row["lead_id"] is not None and not row["is_unheard"]:
            lane.heads.append(row)
        elif lane.locked_at is None:
            lane.locked_at = row["due_at"]
    for organization_id, account_id, budget, campaign_id, *numbers, flying in (
        await used.fetchall() if asked else []
    ):
        key = (organization_id, account_id, budget)
        lane = asked[key, campaign_id]
        caps = _ramped(lane.row, budget, Caps(*numbers[:4]), now)
        picker.allowance[key] = allowance(caps, Used(*numbers[4:]))
        concurrent: int = lane.row["max_concurrent_leads"]
        picker.room[lane.campaign] = max(0, concurrent - flying)
    versions = await load_workflows(
        conn,
        {(head["organization_id"], head["workflow_version_id"]) for x in lanes for head in x.heads}
        | {(lane.key[0], lane.row["workflow_version_id"]) for lane in starting},
    )
    picker.workflows = versions
    if starting:
        picker.senders = {
            (row["campaign_id"], row["account_id"]): row for row in await senders.fetchall()
        }
        limits_of: dict[UUID, dict[Budget, tuple[int | None, ...]]] = defaultdict(dict)
        for account_id, budget, *caps_row in await limits.fetchall():
            limits_of[account_id][Budget(budget)] = tuple(caps_row)
        picker.starts = _starts(starting, picker, limits_of)
    spending = {lane.budget: lane for lane in lanes if not lane.operation.is_internal}
    await _find_release(conn, spending, picker)


async def _find_release(
    conn: AsyncConnection[Any], budgets: Mapping[BudgetKey, _Lane], picker: "_Picker"
) -> None:
    """For budgets that are spent, find when the next unit is free."""
    spent = [key for key in budgets if picker.allowance[key] == 0]
    if not spent:
        return
    cursor = await conn.execute(
        _BUCKETS,
        {
            "organizations": [key[0] for key in spent],
            "accounts": [key[1] for key in spent],
            "operations": [key[2] for key in spent],
            "since": counted_since(max(_longest(budgets[key].row) for key in spent), picker.now),
        },
    )
    buckets: dict[BudgetKey, list[tuple[datetime, int]]] = defaultdict(list)
    for organization_id, account_id, operation, start, used in await cursor.fetchall():
        buckets[organization_id, account_id, operation].append((start, used))
    for key in spent:
        caps = _effective(budgets[key].row, picker.now)
        frees = frees_at(caps, buckets[key], picker.now)
        # caps vary by day: never sleep past the next one's
        tomorrow = picker.now + DAY
        picker.frees[key] = tomorrow if frees is None else min(frees, tomorrow)


def _second_budgets(lane: _Lane) -> list[BudgetKey]:
    match lane.operation:
        case Operation.SEND_CONNECTION_REQUEST:
            return [(*lane.account, Budget.NOTE.value)]
        case Operation.SEND_INMAIL if lane.row["tier"] == Tier.SALES_NAVIGATOR:
            return [(*lane.account, Budget.PROFILE.value)]  # that product's own id is looked up
        case _:
            return []


def _longest(row: Mapping[str, Any]) -> timedelta:
    """Return the longest window in which the budget has a cap."""
    if row["per_month"] is not None:
        return MONTH
    if row["per_week"] is not None:
        return WEEK
    return DAY if row["per_day"] is not None else HOUR


def _effective(row: Mapping[str, Any], now: datetime) -> Caps:
    caps = Caps(row["per_hour"], row["per_day"], row["per_week"], row["per_month"])
    return _ramped(row, row["budget"], caps, now)


def _ramped(row: Mapping[str, Any], budget: str, caps: Caps, now: datetime) -> Caps:
    warm = ramp(row["warmup_started_at"], now, row["warmup_days"])
    seed = f"{row['unipile_account_id']}/{budget}"
    return effective(caps, ramp=warm, seed=seed, day=_today(row, now))


def _today(row: Mapping[str, Any], now: datetime) -> date:
    return now.astimezone(ZoneInfo(row["time_zone"])).date()


def _starts(
    lanes: Iterable[_Lane],
    picker: "_Picker",
    limits_of: Mapping[UUID, Mapping[Budget, tuple[int | None, ...]]],
) -> dict[LaneKey, int]:
    """Return how many more leads each lane may begin today."""
    left = {}
    for lane in lanes:
        row, (organization_id, campaign_id, account_id, _) = lane.row, lane.key
        begun = {  # each in its own zone: where one sender's day is over, another's is not
            sender: values["starts"] if values["starts_on"] == _today(values, picker.now) else 0
            for (campaign, sender), values in picker.senders.items()
            if campaign == campaign_id
        }
        if row["leads_per_day"] is not None:
            left[lane.key] = max(0, row["leads_per_day"] - sum(begun.values()))
            continue
        caps = {
            budget: _ramped(row, budget, Caps(*numbers), picker.now)
            for budget, numbers in limits_of[account_id].items()
        }
        workflow = picker.workflows[row["workflow_version_id"]]
        carried = carried_per_day(workflow, caps, lane.hours.open_days)
        left[organization_id, campaign_id, account_id, lane.key[3]] = max(
            0, carried - begun.get(account_id, 0)
        )
    return left


@dataclass(slots=True)
class _Picker:
    """Chooses which heads run, within every allowance at once."""

    now: datetime
    slots: int
    lease: timedelta
    request_limit: timedelta
    room: dict[AccountKey, int] = field(default_factory=dict)  # by campaign: leads in flight
    allowance: dict[BudgetKey, int] = field(default_factory=dict)
    frees: dict[BudgetKey, datetime] = field(default_factory=dict)
    senders: dict[tuple[UUID, UUID], dict[str, Any]] = field(default_factory=dict)
    starts: dict[LaneKey, int] = field(default_factory=dict)
    workflows: dict[UUID, Workflow] = field(default_factory=dict)
    claimed: list[Claimed] = field(default_factory=list)
    account_free: dict[AccountKey, datetime] = field(default_factory=dict)
    budget_free: dict[BudgetKey, datetime] = field(default_factory=dict)
    units: dict[BudgetKey, int] = field(default_factory=dict)
    began: dict[LaneKey, int] = field(default_factory=dict)
    next_start: dict[AccountKey, datetime] = field(default_factory=dict)
    token: UUID = field(default_factory=uuid4)

    def pick(self, lanes: Iterable[_Lane]) -> None:
        """Go through the lanes, those nearest to a path's end first, and take what may run."""
        for lane in sorted(lanes, key=self._order):
            for head in lane.heads:
                if head["next_run_at"] > self.now or not self._may(lane):
                    break
                self._take(lane, head)
                lane.passed += 1

    def _order(self, lane: _Lane) -> tuple[int, int, datetime, UUID]:
        first = lane.heads[0] if lane.heads else None
        starting = lane.operation is Operation.START
        begun = self.senders.get((lane.key[1], lane.key[2])) if starting else None
        return (
            lane.operation.priority,
            0 if begun is None else begun["starts"],
            self.now if first is None else first["next_run_at"],
            lane.key[1] if first is None else first["lead_id"],
        )

    def _may(self, lane: _Lane) -> bool:
        """Whether the lane's next head may run now; when not, note what it waits for."""
        if self.slots <= 0:
            lane.binding = self.now
        elif lane.operation is Operation.WEBHOOK:
            return True
        elif lane.operation is Operation.START:
            if self.next_start.get(lane.campaign, self.now) > self.now:
                lane.binding = self.next_start[lane.campaign]
            elif self.starts.get(lane.key, 0) <= 0:
                lane.binding = self._tomorrow(lane)
            else:
                return True
        elif self.room[lane.campaign] <= 0:
            lane.binding = self.now + AGAIN
        elif self.account_free.get(lane.account, self.now) > self.now:
            lane.binding = self.account_free[lane.account]
        elif self.budget_free.get(lane.budget, self.now) > self.now:
            lane.binding = self.budget_free[lane.budget]
        elif self.allowance[lane.budget] <= 0:
            lane.binding = self.frees.get(lane.budget, self.now)
        elif lane.operation is Operation.SEND_INMAIL and any(
            self.allowance[key] <= 0 for key in _second_budgets(lane)
        ):
            lane.binding = self.now + NO_LOOK
        else:
            return True
        return False

    def _tomorrow(self, lane: _Lane) -> datetime:
        """Return when the next day begins in the sender's zone."""
        zone = ZoneInfo(lane.row["time_zone"])
        midnight = datetime.combine(
            self.now.astimezone(zone).date() + timedelta(days=1), datetime.min.time(), zone
        )
        return max(midnight.astimezone(self.now.tzinfo), self.now + timedelta(seconds=1))

    def _take(self, lane: _Lane, head: dict[str, Any]) -> None:
        row = lane.row
        lasting: Rules = rules(row["stop_on_reply"], row["on_missing"], row["max_duration"])
        run = execution(head, lasting)
        workflow = self.workflows[head["workflow_version_id"]]
        node = None if run.node_id is None else workflow.nodes[run.node_id]
        tier = Tier(row["tier"])
        sender = Sender(
            row["account_id"],
            row["unipile_account_id"],
            tier,
            row["provider_id"],
            row["troubled"],
        )
        person = _person(head, row["columns"])
        next_step: Intent | ex.Event
        if head["wrote_at"] is not None and (lasting.stop_on_reply or not run.replied):
            next_step = ex.Replied()
        elif node is None:
            next_step = (
                ex.Began() if person.suppressed is None else ex.Suppressed(person.suppressed)
            )
        else:
            next_step = intent(
                node,
                run,
                person,
                tier=tier,
                subject=row["inmail_subject"],
                notes_left=self.allowance.get((*lane.account, Budget.NOTE.value), UNLIMITED) > 0,
                now=self.now,
            )
            if isinstance(next_step, Intent) and next_step.target in head["done_to"]:
                next_step = ex.Done()  # it reached them: never twice, and never a poisoned claim
        lease_end = self.now + self.lease - self.request_limit
        closing = closes_at(lane.hours, self.now, row["time_zone"])
        act_before = lease_end if closing is None else min(lease_end, closing)
        claimed = (row["organization_id"], run, node, sender, act_before)
        self.slots -= 1
        if isinstance(next_step, Intent) and node is not None:
            ticket = Ticket(
                uuid7(),
                self.token,
                node.id,
                run.operation,
                tuple(budget.value for budget in next_step.budgets),
                bucket_at(self.now),
            )
            self._spend(lane, next_step)
            self.claimed.append(Claimed(*claimed, intent=next_step, ticket=ticket))
        elif not isinstance(next_step, Intent):
            lane.told = True
            if isinstance(next_step, ex.Began):
                self._begin(lane)
            self.claimed.append(Claimed(*claimed, event=next_step, replied_at=head["wrote_at"]))

    def _spend(self, lane: _Lane, taken: Intent) -> None:
        for budget in taken.budgets:
            key = (*lane.account, budget.value)
            self.units[key] = self.units.get(key, 0) + 1
            self.allowance[key] -= 1
        self.room[lane.campaign] -= 1
        # the same account at the same moment draws the same gap, in every run
        seed = f"{lane.row['unipile_account_id']}/{self.now.isoformat()}"
        gap = spacing_after(lane.account_spacing, seed)
        self.account_free[lane.account] = self.now + gap
        own = spacing_after(lane.spacing, f"{seed}/{lane.row['budget']}")
        self.budget_free[lane.budget] = self.now + own

    def _begin(self, lane: _Lane) -> None:
        self.began[lane.key] = self.began.get(lane.key, 0) + 1
        delay: timedelta = lane.row["lead_processing_delay"]
        self.next_start[lane.campaign] = self.now + delay
        if lane.row["leads_per_day"] is None:
            self.starts[lane.key] -= 1
            return
        for key in self.starts:  # the number is the campaign's, over all its senders
            if key[:2] == lane.key[:2]:
                self.starts[key] -= 1

    def ready_at(self, lane: _Lane) -> datetime | None:
        """Return when the lane must be looked at again; None when nothing waits in it."""
        if lane.gate > self.now:
            return lane.gate
        times = []
        if rest := lane.heads[lane.passed :]:
            times.append(self._later(lane, max(rest[0]["next_run_at"], lane.binding or self.now)))
        elif lane.passed and lane.seen > lane.take:
            # it may have more than was asked for; the account's gap applies to those too
            times.append(self._later(lane, self.now))
        if lane.locked_at is not None:
            times.append(self._later(lane, max(lane.locked_at, self.now + AGAIN)))
        if lane.told:
            # should we die before the event is settled, no open action would tell of it
            times.append(self.now + self.lease)
        return min(times, default=None)

    def _later(self, lane: _Lane, at: datetime) -> datetime:
        if lane.operation is Operation.WEBHOOK:
            return at
        if lane.operation is Operation.START:
            at = max(at, self.next_start.get(lane.campaign, at))
        else:
            at = max(
                at,
                self.account_free.get(lane.account, at),
                self.budget_free.get(lane.budget, at),
            )
        return opens_at(lane.hours, at, lane.row["time_zone"])


def _person(head: Mapping[str, Any], columns: Sequence[str]) -> Person:
    named = {
        "first_name": head["first_name"],
        "last_name": head["last_name"],
        "company": head["company"],
        "job_title": head["job_title"],
        "email": head["email"],
    }
    return Person(
        public_identifier=head["public_identifier"],
        provider_id=head["listed_id"],
        fields={**head["fields"], **named},
        columns=tuple(columns),
        chat_id=head["chat_id"],
        invitation_id=head["invitation_id"],
        suppressed=head["suppressed"],
    )


async def _write(conn: AsyncConnection[Any], lanes: Sequence[_Lane], picker: _Picker) -> None:
    """Write intents, units, gaps and the lanes' next moments, set-wise."""
    now = picker.now
    acting = [c for c in picker.claimed if c.intent is not None and c.ticket is not None]
    budget = ("organization_id", "account_id", "operation")
    lane_key = ("organization_id", "campaign_id", "account_id", "operation")
    await conn.execute(
        _WRITE,
        {
            "now": now,
            "bucket": bucket_at(now),
            "token": picker.token,
            "check_at": now + picker.lease,
            "intents": recordset(_intended(item) for item in acting),
            "units": recordset(
                {**dict(zip(budget, key, strict=True)), "used": units}
                for key, units in picker.units.items()
            ),
            "accounts": recordset(
                {"organization_id": key[0], "id": key[1], "free_at": at}
                for key, at in picker.account_free.items()
            ),
            "budgets": recordset(
                {**dict(zip(budget, key, strict=True)), "free_at": at}
                for key, at in picker.budget_free.items()
            ),
            "lanes": recordset(
                {**dict(zip(lane_key, lane.key, strict=True)), "ready_at": picker.ready_at(lane)}
                for lane in lanes
            ),
        },
    )
    if picker.began:
        await _write_starts(conn, lanes, picker)


async def _write_starts(
    conn: AsyncConnection[Any], lanes: Iterable[_Lane], picker: _Picker
) -> None:
    starting = [lane for lane in lanes if lane.key in picker.began]
    rows = []
    for lane in starting:
        sender = picker.senders[lane.key[1], lane.key[2]]
        today = _today(lane.row, picker.now)
        before = sender["starts"] if sender["starts_on"] == today else 0
        rows.append(
            {
                "organization_id": lane.key[0],
                "campaign_id": lane.key[1],
                "account_id": lane.key[2],
                "starts_on": today,
                "starts": before + picker.began[lane.key],
            }
        )
    await conn.execute(_STARTS, {"rows": recordset(rows)})
    await conn.execute(
        _PACE,
        {
            "now": picker.now,
            "organizations": list({lane.key[0] for lane in starting}),
            "campaigns": list({lane.key[1] for lane in starting}),
        },
    )


def _intended(item: Claimed) -> dict[str, Any]:
    assert item.intent is not None  # noqa: S101  the caller's filter
    assert item.ticket is not None  # noqa: S101
    return {
        "organization_id": item.organization_id,
        "id": item.ticket.action_id,
        "campaign_id": item.run.campaign_id,
        "lead_id": item.run.lead_id,
        "account_id": item.sender.account_id,
        "node_id": item.ticket.node_id,
        "operation": item.run.operation,
        "budgets": item.ticket.budgets,
        "target": item.intent.target,
        "text": item.intent.text,
        "subject": item.intent.subject,
    }

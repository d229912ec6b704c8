"""The claim: which steps run now, written down before any of them leaves.

One transaction, lock then look.  First lock ready lanes and, with them, their account, budget and
campaign: two tickers can then never spend the same unit.  Then, under those locks and in a newer
snapshot, read what the counters allow, take that many executions from the head of each lane, and
write an intent and a unit for each.  In one statement a unit spent or a lead scheduled between
its snapshot and its locks would be invisible.

The lead's row is not written: an execution is in flight while it has an open action, of which the
schema allows one.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row
from uuid_utils.compat import uuid4

from clento_engine.domain.execution import Unknowable
from clento_engine.domain.lane import (
    BudgetKey,
    CampaignKey,
    Lane,
    LaneKey,
    caps_today,
    free_again_at,
    gate,
    today,
)
from clento_engine.domain.limits import (
    DAY,
    HOUR,
    LEASE,
    MONTH,
    WEEK,
    Caps,
    Used,
    allowance,
    bucket_at,
    counted_since,
    longest_window,
)
from clento_engine.domain.operation import TRAITS, Budget, Operation
from clento_engine.domain.picking import (
    Allowance,
    Picked,
    Room,
    Starts,
    Step,
    begun_today,
    pick,
    starts_left,
)
from clento_engine.domain.workflow import Workflow
from clento_engine.store.claimed import (
    Claimed,
    Front,
    claimed,
    read_fronts,
    read_lane,
    read_queue,
)
from clento_engine.store.inbox import NOBODY_KNOWN
from clento_engine.store.literals import (
    ACTIVE,
    HAPPENED,
    INTENDED,
    OPEN,
    RECEIVED,
    RUNNING,
    STARTS,
    WEBHOOK,
    literal,
)
from clento_engine.store.rests import IS_RESTING
from clento_engine.store.rows import EXECUTION, RULES, recordset
from clento_engine.store.suppressions import suppressions_of
from clento_engine.store.workflows import load_workflows

MOST_LANES = 200  # locked by one claim
FEW_LANES = 16  # locked by the first claim of a tick
LEAST_LANES = 4  # locked in any case: one that is ready may turn out to be empty
# leads in flight that no fleet reaches: a campaign that may have more is bound by its senders only
MANY_LEADS = 10_000

# A campaign is locked so that its newest row is read, and nobody passed over.  What it spends
# itself, its next start and its leads in flight, needs it `alone`: its lanes that start leads, and
# all of a campaign whose most in flight may be reached, go to one claim at a time.  Neither holds
# up the other lanes, nor a stop: that locks every lane of the campaign, behind the claims that
# have them.
_READY = f"""
    select l.organization_id, l.campaign_id, l.account_id, l.operation, l.lane, l.budget,
           l.ready_at,
           a.unipile_account_id, a.tier, a.time_zone, a.provider_id, a.warmup_days,
           a.warmup_started_at, a.spacing_shortest as account_shortest,
           a.spacing_longest as account_longest, a.next_free_at as account_free_at,
           a.blocked_until as account_blocked_until, a.heard_at,
           a.errors_in_a_row > 0 or a.throttles > 0 or b.throttles > 0 or l.refusals > 0
               or (select silences > 0 or failures > 0 from provider_rest) is true as troubled,
           b.per_hour, b.per_day, b.per_week, b.per_month, b.spacing_shortest, b.spacing_longest,
           b.next_free_at, b.blocked_until,
           c.working_hours, c.max_concurrent_leads, c.lead_processing_delay, c.leads_per_day,
           c.workflow_version_id, {RULES}, c.inmail_subject, t.columns,
           l.operation = {STARTS} or c.max_concurrent_leads < {MANY_LEADS} as is_alone,
           case when l.operation = {WEBHOOK} then false
                when l.operation = {STARTS} then c.lead_processing_delay > '0'
                else greatest(a.spacing_longest, b.spacing_longest) > '0' end as spaced
      from lanes l
      join connected_accounts a on a.organization_id = l.organization_id and a.id = l.account_id
      join rate_limits b on b.organization_id = l.organization_id
                        and b.account_id = l.account_id and b.operation = l.budget
      join campaigns c on c.organization_id = l.organization_id and c.id = l.campaign_id
      join lead_lists t on t.organization_id = c.organization_id and t.id = c.list_id
     where l.active and l.ready_at <= %(now)s and a.status = {ACTIVE} and c.status = {RUNNING}
       and not {IS_RESTING}
"""

# What is asked next in the same flight reads which lanes are ours from the transaction's own
# setting: it must not wait for this answer, and must not touch a lane that another ticker holds.
# `take` is how many heads may run at once: one where there is a gap between two, else the lane's
# share of twice the slots.
#
# The lanes that have waited longest are taken, whoever's they are; and before them the oldest of
# each organisation that comes first: behind all the lanes of a tenant with a million leads it would
# wait for long.
_LOCK = f"""
with rotated as materialized (
    select k.* from unnest(%(first)s::uuid[]) o(id)
     cross join lateral ({_READY}
       and l.organization_id = o.id
     order by l.ready_at
     limit 1
       for no key update of l, b, a skip locked
       for key share of c skip locked) k),
oldest as materialized ({_READY}
       and l.organization_id = any(%(organizations)s)
     order by l.ready_at
     limit %(lanes)s
       for no key update of l, b, a skip locked
       for key share of c skip locked),
locked as (
    select *, true as comes_first from rotated
     union all
    select k.*, false from oldest k
     where not exists (select 1 from rotated t
                        where t.organization_id = k.organization_id
                          and t.campaign_id = k.campaign_id and t.account_id = k.account_id
                          and t.operation = k.operation)),
alone as materialized (
    select c.organization_id, c.id as campaign_id, c.next_start_at from campaigns c
     where (c.organization_id, c.id) in (
             select organization_id, campaign_id from locked where is_alone)
       for no key update skip locked),
taken as materialized (
    select k.*, x.next_start_at, row_number() over () as place,
           case when spaced then 1
                else least(%(slots)s, coalesce(per_hour, %(slots)s),
                           greatest(1, 2 * %(slots)s / count(*) over ())) end::int as take
      from locked k
      left join alone x using (organization_id, campaign_id)
     where not k.is_alone or x.campaign_id is not null),
told as (
    select set_config('clento.lanes', coalesce(json_agg(k), '[]')::text, true)
      from (select place, organization_id, campaign_id, account_id, operation, lane, budget, take,
                   tier, unipile_account_id, is_alone,
                   case when per_month is not null then %(month)s::timestamptz
                        when per_week is not null then %(week)s
                        when per_day is not null then %(day)s
                        else %(hour)s end as since
              from taken) k)
select taken.* from taken, told
"""

# not set when there was nothing to lock; empty once a transaction set it
_LANES = "json_to_recordset(nullif(current_setting('clento.lanes', true), '')::json)"

_SECOND = " ".join(
    f"when k.operation = {literal(operation)}"
    + (f" and k.tier = {literal(traits.second_of)}" if traits.second_of is not None else "")
    + f" then {literal(traits.second_budget)}"
    for operation, traits in TRAITS.items()
    if traits.second_budget is not None
)

# What each budget gave, what it is capped at, and how many leads its campaign has in flight, where
# their most may be reached: counting them reads what was in flight lately as well.
# An action may take a unit of a second budget; its account is locked, so nobody else spends it.
_USED = f"""
with asked as materialized (
    select organization_id, account_id, x.budget, campaign_id, is_alone, min(x.since) as since
      from {_LANES} as k(organization_id uuid, campaign_id uuid, account_id uuid, operation text,
           budget text, tier text, since timestamptz, is_alone boolean)
     cross join lateral (values
           (k.budget, k.since),
           (case {_SECOND} end, %(month)s)) x(budget, since)
     where x.budget <> '{Budget.NONE.value}'
     group by 1, 2, 3, 4, 5),
flying as materialized (
    select organization_id, campaign_id, count(*) as leads
      from (select distinct organization_id, campaign_id from asked where is_alone) k
      join actions x using (organization_id, campaign_id)
     where x.state = {INTENDED}
     group by 1, 2)
select k.organization_id, k.account_id, k.budget, k.campaign_id,
       b.per_hour, b.per_day, b.per_week, b.per_month, u.hour, u.day, u.week, u.month,
       coalesce(f.leads, 0) as in_flight
  from asked k
  left join flying f using (organization_id, campaign_id)
  join rate_limits b on b.organization_id = k.organization_id and b.account_id = k.account_id
                    and b.operation = k.budget
 cross join lateral (
       select coalesce(sum(n.used) filter (where n.bucket_at > %(hour)s), 0) as hour,
              coalesce(sum(n.used) filter (where n.bucket_at > %(day)s), 0) as day,
              coalesce(sum(n.used) filter (where n.bucket_at > %(week)s), 0) as week,
              coalesce(sum(n.used), 0) as month
         from rate_counters n
        where n.organization_id = k.organization_id and n.account_id = k.account_id
          and n.operation = k.budget and n.bucket_at > k.since) u
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
# Asking once more for "what is left" would cost thirty times as much.  They are found by the lane's
# number alone, one after the other in its order: asked for all at once, the planner may sort the
# whole lane for them, and with the key asked for beside it all leads of a campaign were looked up
# for each lane.  Whether it is in flight is asked of each head (`offset 0`): a join reads all that
# the campaign has open, for every lane.  So are its lead and contact: for some hundred rows a join
# may read the whole table; and of what is unheard, all that waits in the inbox would be hashed.
# A head that somebody else has locked comes back without a lead: its holder wakes the lane when it
# commits, but nobody does when it is rolled back.  `done_to` is the ledger's word on whom the node
# has reached already; `seen` tells
# settle whether the row is still the one that was decided on.  What the person wrote and nobody has
# heard: `is_unheard`, it waits in the inbox; `wrote_at`, it came since the walk began, and nobody
# knew then who they were.  What the account wrote to them, and may be its owner's by hand:
# `is_unheard_own`, within a day, for of a step that nobody can find out about it stays unclear.
_HEADS = f"""
select k.place, h.due_at, e.seen, e.workflow_version_id, {EXECUTION},
       p.public_identifier, p.provider_id as listed_id, p.first_name, p.last_name, p.company,
       p.job_title, p.email, p.fields::text as fields, t.chat_id, t.invitation_id,
       (select x.kind || ': ' || x.reason
          from ({suppressions_of("p", "e.provider_id")}) x
         limit 1) as suppressed,
       array(select x.target from actions x
              where x.organization_id = e.organization_id and x.campaign_id = e.campaign_id
                and x.lead_id = e.lead_id and x.node_id = e.node_id
                and x.operation = e.operation
                and x.state in {HAPPENED}
                and x.operation in {RECEIVED}) as done_to,
       i.is_unheard, i.wrote_at,
       exists (select from inbox_events o
                where o.organization_id = e.organization_id and o.recipient = e.provider_id
                  and o.applied_at is null
                  and o.payload ->> 'account_id' = k.unipile_account_id
                  and o.received_at > %(now)s - interval '1 day'
               offset 0) as is_unheard_own
  from {_LANES} as k(place int, organization_id uuid, campaign_id uuid, account_id uuid,
       operation text, lane bigint, take int, unipile_account_id text)
  left join lateral (
       with recursive queue as (
           select '-infinity'::timestamptz as due_at, '{UUID(int=0)}'::uuid as lead_id,
                  false as is_head, 0 as heads
            union all
           select n.due_at, n.lead_id, n.is_head, q.heads + n.is_head::int
             from queue q
            cross join lateral (
                  select e.next_run_at as due_at, e.lead_id,
                         e.organization_id = k.organization_id and e.campaign_id = k.campaign_id
                         and e.account_id = k.account_id and e.operation = k.operation
                         and not exists (
                             select from actions x
                              where x.organization_id = e.organization_id
                                and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                                and x.state in {OPEN}
                             offset 0) as is_head
                    from campaign_executions e
                   where e.lane = k.lane and e.outcome is null
                     and (e.next_run_at, e.lead_id) > (q.due_at, q.lead_id)
                   order by e.next_run_at, e.lead_id
                   limit 1) n
            where q.heads <= k.take)
       select due_at, lead_id from queue where is_head) h on true
  left join lateral (
       select e.*, e.xmin as seen from campaign_executions e
        where e.organization_id = k.organization_id and e.campaign_id = k.campaign_id
          and e.lead_id = h.lead_id and e.account_id = k.account_id and e.operation = k.operation
          and e.outcome is null and e.next_run_at is not null
          for no key update skip locked) e on true
  left join lateral (
       select * from leads p
        where p.organization_id = e.organization_id and p.id = e.lead_id
       offset 0) p on true
  left join lateral (
       select * from contacts t
        where t.organization_id = e.organization_id and t.account_id = e.account_id
          and t.lead_id = e.lead_id
       offset 0) t on true
 cross join lateral (
       select coalesce(bool_or(i.applied_at is null), false) as is_unheard,
              max(i.received_at) filter (where i.received_at >= e.started_at) as wrote_at
         from inbox_events i
        where i.organization_id = e.organization_id
          and i.payload -> 'sender' ->> 'attendee_provider_id' = e.provider_id
          and i.payload ->> 'account_id' = k.unipile_account_id
          and (i.applied_at is null or i.result = '{NOBODY_KNOWN}')) i
 order by h.due_at, h.lead_id
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

# Intents, units, gaps and the lanes' next moments, all at once: every row but the counters' and the
# contacts' is locked already, so their order does not matter.
#
# Whoever may answer what is about to be done is known by the provider's id before it is done.  A
# mere visit is not worth a row: the few who write because of one are heard by `wrote_at`.
_WRITE = f"""
with intended as (
    insert into actions (organization_id, campaign_id, lead_id, account_id, node_id, operation,
                         budgets, bucket_at, state, token, check_at, target, text, subject,
                         intended_at)
    select r.organization_id, r.campaign_id, r.lead_id, r.account_id, r.node_id, r.operation,
           r.budgets, %(bucket)s, {INTENDED}, %(token)s, %(check_at)s, r.target, r.text, r.subject,
           %(now)s
      from json_to_recordset(%(intents)s) as r(organization_id uuid, campaign_id uuid,
           lead_id uuid, account_id uuid, node_id text, operation text, budgets text[],
           target text, text text, subject text)),
met as (
    insert into contacts as k (organization_id, account_id, lead_id, provider_id)
    select distinct on (r.account_id, r.lead_id)
           r.organization_id, r.account_id, r.lead_id, r.provider_id
      from json_to_recordset(%(met)s) as r(organization_id uuid, account_id uuid, lead_id uuid,
           provider_id text)
     where not exists (select from contacts k
                        where k.organization_id = r.organization_id
                          and k.account_id = r.account_id and k.lead_id = r.lead_id
                          and k.provider_id = r.provider_id)
     order by r.account_id, r.lead_id
        on conflict (organization_id, account_id, lead_id) do update
       set provider_id = excluded.provider_id),
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


_LANE_KEY = ("organization_id", "campaign_id", "account_id", "operation")

_HOLD = """
update lanes l set active = false, held_since = %(now)s, held_reason = r.reason
  from json_to_recordset(%(lanes)s) as r(organization_id uuid, campaign_id uuid, account_id uuid,
       operation text, reason text)
 where l.organization_id = r.organization_id and l.campaign_id = r.campaign_id
   and l.account_id = r.account_id and l.operation = r.operation
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a claim may take: at most `slots` steps of these organisations, due at `now`.

    `request_limit` is the most time that one request may take; it must end inside `lease`.
    `lanes` are the most that it locks (see `enough_lanes`), besides one of each organisation that
    comes `first`: each does, in rotation.
    """

    organizations: Sequence[UUID]
    now: datetime
    slots: int
    lease: timedelta = LEASE
    request_limit: timedelta = timedelta(seconds=110)
    lanes: int = MOST_LANES
    first: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim took, and how: of the lanes that it `locked`, `gave` had a step to give."""

    taken: list[Claimed]
    locked: int = 0
    gave: int = 0


def enough_lanes(wanted: Wanted, had: Claim) -> int:
    """Return how many lanes the next claim should lock: those that fill its slots, and no more.

    A lane has one step to give or hundreds; only experience tells.  Locked in vain it is hidden
    from other tickers, and to look at all that is ready cost five times what the steps did.
    """
    if len(had.taken) >= wanted.slots:
        return max(LEAST_LANES, min(MOST_LANES, had.gave + max(1, had.gave // 16)))
    if had.locked >= wanted.lanes:
        return min(MOST_LANES, 4 * wanted.lanes)
    return wanted.lanes


async def claim(conn: AsyncConnection[Any], wanted: Wanted) -> Claim:
    """Take the steps that are due and allowed; return them, intents committed.

    Steps that need nothing sent come back as events.  What came back must be acted on at once:
    the commit is the last look at campaign, suppression and reply.
    """
    async with conn.pipeline(), conn.transaction():
        return await take(conn, wanted, await ask(conn, wanted))


@dataclass(slots=True)
class Asked:
    """The claim's questions; the answers come in this order."""

    lanes: AsyncCursor[dict[str, Any]]
    used: AsyncCursor[Any]
    heads: AsyncCursor[dict[str, Any]]


async def ask(conn: AsyncConnection[Any], wanted: Wanted) -> Asked:
    """Lock what is ready and look at it, inside the caller's transaction and pipeline.

    All in one flight: something is due, or nobody had asked.
    """
    asked = Asked(
        conn.cursor(row_factory=dict_row), conn.cursor(), conn.cursor(row_factory=dict_row)
    )
    await asked.lanes.execute(
        _LOCK,
        {
            **_since(wanted.now),
            "organizations": list(wanted.organizations),
            "now": wanted.now,
            "slots": wanted.slots,
            "lanes": min(MOST_LANES, wanted.lanes),
            "first": list(wanted.first),
        },
    )
    await look(asked, wanted.now)
    return asked


async def look(asked: Asked, now: datetime) -> None:
    """Ask what is used and in flight, and for the heads of the lanes that the lock has got."""
    await asked.used.execute(_USED, _since(now))
    await asked.heads.execute(_HEADS, {"now": now})


def _since(now: datetime) -> dict[str, datetime]:
    return {
        "hour": counted_since(HOUR, now),
        "day": counted_since(DAY, now),
        "week": counted_since(WEEK, now),
        "month": counted_since(MONTH, now),
    }


async def take(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    asked: Asked,
    *,
    without: Collection[UUID] = (),
) -> Claim:
    """Choose from the answers and write down what was chosen.

    The leads `without` are not to be had: the caller, who has not said yet what became of them,
    wakes their lanes.
    """
    now = wanted.now
    locked = await asked.lanes.fetchall()
    lanes, unreadable = _read_lanes(locked)
    if unreadable:
        await conn.execute(_HOLD, {"now": now, "lanes": recordset(unreadable)})
    if not lanes:
        return Claim([], len(locked))
    allowances, in_flight = _read_used(await asked.used.fetchall(), lanes.values(), now)
    fronts = read_fronts(lanes, await asked.heads.fetchall(), now, without)
    starting = [
        lane
        for lane in lanes.values()
        if lane.operation is Operation.START and gate(lane, now) <= now
    ]
    workflows = await load_workflows(conn, _versions(starting, fronts))
    starts, left = await _look_at_starts(conn, starting, workflows, now)
    allowances |= await _find_release(conn, fronts, allowances, now)
    room = Room(
        now, wanted.slots, wanted.lease, wanted.request_limit, allowances, in_flight, starts, left
    )
    picked = pick([read_queue(front, workflows) for front in fronts], room)
    _warn(picked.steps)
    token, bucket = uuid4(), bucket_at(now)
    taken = [claimed(step, token, bucket) for step in picked.steps]
    await _write(conn, room, picked, taken, token)
    if picked.began:
        await _write_starts(conn, room, picked)
    return Claim(taken, len(lanes), picked.gave)


def _read_lanes(
    rows: Sequence[dict[str, Any]],
) -> tuple[dict[int, Lane], list[dict[str, Any]]]:
    """Read what was locked; return the lanes by place, and of others the key and why.

    Hours or a zone that somebody edited hold their own lanes, and no other.
    """
    lanes, unreadable = {}, []
    for row in rows:
        lane = read_lane(row)
        if isinstance(lane, Lane):
            lanes[row["place"]] = lane
            continue
        key = {name: row[name] for name in _LANE_KEY}
        log.warning(
            "lane held",
            extra={**{k: str(v) for k, v in key.items()}, "reason": lane.reason, "alert": True},
        )
        unreadable.append({**key, "reason": lane.reason})
    return lanes, unreadable


def _read_used(
    rows: Iterable[Sequence[Any]], lanes: Iterable[Lane], now: datetime
) -> tuple[dict[BudgetKey, Allowance], dict[CampaignKey, int]]:
    """Return what each budget may still give, and the leads that each campaign has in flight."""
    lane_of = {lane.account: lane for lane in lanes}
    allowances, in_flight = {}, {}
    for organization_id, account_id, budget, campaign_id, *numbers, flying in rows:
        if (lane := lane_of.get((organization_id, account_id))) is None:
            continue  # of lanes that cannot be read
        key = (organization_id, account_id, Budget(budget))
        caps = caps_today(lane, key[2], Caps(*numbers[:4]), now)
        allowances[key] = Allowance(allowance(caps, Used(*numbers[4:])))
        in_flight[organization_id, campaign_id] = flying
    return allowances, in_flight


def _versions(starting: Iterable[Lane], fronts: Iterable[Front]) -> set[tuple[UUID, UUID]]:
    """Return the workflow versions (organisation, version) that leads walk or begin with."""
    versions = {(lane.key[0], lane.workflow_version_id) for lane in starting}
    last = 0
    for front in fronts:
        for row in front.due:
            version_id = row["workflow_version_id"]
            if version_id.int != last:  # mostly one: a UUID is hashed and compared in Python
                versions.add((front.lane.key[0], version_id))
                last = version_id.int
    return versions


def _warn(steps: Iterable[Step]) -> None:
    """Log the leads that cannot be read, and are held for it."""
    for step in steps:
        if isinstance(step.next, Unknowable):
            log.warning(
                "step cannot be prepared",
                extra={
                    "lead_id": str(step.head.run.lead_id),
                    "reason": step.next.reason,
                    "alert": True,
                },
            )


async def _look_at_starts(
    conn: AsyncConnection[Any],
    lanes: Sequence[Lane],
    workflows: Mapping[UUID, Workflow],
    now: datetime,
) -> tuple[dict[tuple[UUID, UUID], Starts], dict[LaneKey, int]]:
    """Read how many leads each sender has begun today, and what its account can carry."""
    if not lanes:
        return {}, {}
    of = {"organizations": list({lane.key[0] for lane in lanes})}
    senders, limits = conn.cursor(), conn.cursor()
    await senders.execute(_SENDERS, {**of, "campaigns": [lane.key[1] for lane in lanes]})
    await limits.execute(_ACCOUNT_LIMITS, {**of, "accounts": [lane.key[2] for lane in lanes]})
    starts = {
        (campaign_id, account_id): Starts(day, count, zone)
        for campaign_id, account_id, _, day, count, zone in await senders.fetchall()
    }
    limits_of: dict[UUID, dict[Budget, Caps]] = defaultdict(dict)
    for account_id, budget, *caps in await limits.fetchall():
        limits_of[account_id][Budget(budget)] = Caps(*caps)
    return starts, starts_left(lanes, starts, limits_of, workflows, now)


async def _find_release(
    conn: AsyncConnection[Any],
    fronts: Iterable[Front],
    allowances: Mapping[BudgetKey, Allowance],
    now: datetime,
) -> dict[BudgetKey, Allowance]:
    """Return the budgets that are spent, with the moment when their next unit is free."""
    spent = {
        front.lane.budget: front.lane
        for front in fronts
        if front.due
        and not front.lane.operation.is_internal
        and allowances[front.lane.budget].units == 0
        and gate(front.lane, now) <= now
    }
    if not spent:
        return {}
    cursor = await conn.execute(
        _BUCKETS,
        {
            "organizations": [key[0] for key in spent],
            "accounts": [key[1] for key in spent],
            "operations": [key[2] for key in spent],
            "since": counted_since(max(longest_window(lane.caps) for lane in spent.values()), now),
        },
    )
    buckets: dict[tuple[UUID, UUID, str], list[tuple[datetime, int]]] = defaultdict(list)
    for organization_id, account_id, budget, start, used in await cursor.fetchall():
        buckets[organization_id, account_id, budget].append((start, used))
    return {
        key: Allowance(0, free_again_at(lane, buckets[key], now)) for key, lane in spent.items()
    }


async def _write(
    conn: AsyncConnection[Any], room: Room, picked: Picked, taken: Iterable[Claimed], token: UUID
) -> None:
    """Write intents, units, gaps and the lanes' next moments, set-wise."""
    acting = [c for c in taken if c.intent is not None and c.ticket is not None]
    budget = ("organization_id", "account_id", "operation")
    await conn.execute(
        _WRITE,
        {
            "now": room.now,
            "bucket": bucket_at(room.now),
            "token": token,
            "check_at": room.now + room.lease,
            "intents": recordset(_intended(item) for item in acting),
            "met": recordset(
                {
                    "organization_id": item.organization_id,
                    "account_id": item.sender.account_id,
                    "lead_id": item.run.lead_id,
                    "provider_id": item.run.provider_id,
                }
                for item in acting
                if item.run.operation.traits.is_received and item.run.provider_id is not None
            ),
            "units": recordset(
                {**dict(zip(budget, key, strict=True)), "used": used}
                for key, used in picked.spent.items()
            ),
            "accounts": recordset(
                {"organization_id": key[0], "id": key[1], "free_at": free_at}
                for key, free_at in picked.accounts_free_at.items()
            ),
            "budgets": recordset(
                {**dict(zip(budget, key, strict=True)), "free_at": free_at}
                for key, free_at in picked.budgets_free_at.items()
            ),
            "lanes": recordset(
                {**dict(zip(_LANE_KEY, key, strict=True)), "ready_at": ready_at}
                for key, ready_at in picked.ready_at.items()
            ),
        },
    )


async def _write_starts(conn: AsyncConnection[Any], room: Room, picked: Picked) -> None:
    """Write how many leads each sender began today, and when their campaigns begin the next."""
    rows = []
    for key, began in picked.began.items():
        organization_id, campaign_id, account_id, _ = key
        starts = room.starts[campaign_id, account_id]
        rows.append(
            {
                "organization_id": organization_id,
                "campaign_id": campaign_id,
                "account_id": account_id,
                "starts_on": today(starts.zone, room.now),
                "starts": begun_today(starts, room.now) + began,
            }
        )
    await conn.execute(_STARTS, {"rows": recordset(rows)})
    await conn.execute(
        _PACE,
        {
            "now": room.now,
            "organizations": list({key[0] for key in picked.began}),
            "campaigns": list({key[1] for key in picked.began}),
        },
    )


def _intended(item: Claimed) -> dict[str, Any]:
    assert item.intent is not None  # noqa: S101  the caller's filter
    assert item.ticket is not None  # noqa: S101
    return {
        "organization_id": item.organization_id,
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

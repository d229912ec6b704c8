"""The statements of a claim, in the order in which they run.

1. `LOCK_LANES` locks ready lanes with their account, budget and campaign.  In one flight with it:
2. `READ_USED`: what their budgets gave and may give, and how many leads are in flight;
3. `READ_HEADS`: each lane's first leads, locked, with all that a step needs.
4. `HOLD_LANES` stops lanes whose hours or zone nobody can read.
5. `READ_SENDERS`, `READ_ACCOUNT_LIMITS`: what senders began today and may carry on, for starts.
6. `READ_BUCKETS`: when budgets that are spent have a unit again.
   Then Python chooses (`domain/picking.py`).
7. `WRITE_CLAIMED` writes intents, units, gaps and the lanes' next moments.
8. `WRITE_STARTS`, `SET_NEXT_START`: what senders began, and when campaigns begin the next lead.

**How 2 and 3 know what 1 has locked.**  A statement's snapshot is older than its locks: what is
spent or due must be read by another statement than the one that locks.  All three leave in one
flight, before any answer is back, so the first's answer cannot be a parameter of the others.
Therefore it writes its lanes, as JSON, into a setting that ends with the transaction
(`clento.lanes`), and the others read them from there.  Plainer would be to wait for the answer, one
flight more a turn, or a temporary table, which each session would have to make and a pooler loses.
"""

from uuid import UUID

from clento_engine.domain.operation import TRAITS, Budget
from clento_engine.store.inbox import NOBODY_KNOWN
from clento_engine.store.literals import (
    ABSENT,
    ACTIVE,
    HAPPENED,
    INTENDED,
    OPEN,
    POST,
    RECEIVED,
    RUNNING,
    STARTS,
    UNKNOWN,
    WEBHOOK,
    literal,
)
from clento_engine.store.rests import IS_RESTING
from clento_engine.store.rows import EXECUTION, RULES
from clento_engine.store.stamp import IS_QUARANTINED, MAY_CLAIM
from clento_engine.store.suppressions import suppressions_of
from clento_engine.store.walking import ALL_WALKS

# After a restore an account hears first what was written to it; its lanes are woken then.
HEARS_FIRST = "interval '5 minutes'"

# leads in flight that no fleet reaches: a campaign that may have more is bound by its senders only
MANY_LEADS = 10_000

# --- 1: lock what is ready ------------------------------------------------------------------------

# A campaign is locked so that its newest row is read, and nobody passed over.  What it spends
# itself, its next start and its leads in flight, needs it `alone`: its lanes that start leads, and
# all of a campaign whose most in flight may be reached, go to one claim at a time.  Neither holds
# up the other lanes, nor a stop: that locks every lane of the campaign, behind the claims that
# have them.
_READY_LANES = f"""
    select l.organization_id, l.campaign_id, l.account_id, l.operation, l.lane, l.budget,
           l.ready_at,
           a.unipile_account_id, a.tier, a.time_zone, a.provider_id, a.warmup_days,
           a.warmup_started_at, a.spacing_shortest as account_shortest,
           a.spacing_longest as account_longest, a.next_free_at as account_free_at,
           case when a.hear_since is null then a.blocked_until
                else greatest(a.blocked_until, %(now)s + {HEARS_FIRST})
            end as account_blocked_until,
           a.heard_at,
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
       and not {IS_RESTING} and {MAY_CLAIM} and not {IS_QUARANTINED}
"""

# What is asked next in the same flight reads which lanes are ours from the transaction's own
# setting: it must not wait for this answer, and must not touch a lane that another ticker holds.
# `take` is how many heads may run at once: one where there is a gap between two, else the lane's
# share of twice the slots.
#
# The lanes that have waited longest are taken, whoever's they are; and before them the oldest of
# each organisation that comes first: behind all the lanes of a tenant with a million leads it would
# wait for long.
LOCK_LANES = f"""
with rotated as materialized (
    select k.* from unnest(%(first)s::uuid[]) o(id)
     cross join lateral ({_READY_LANES}
       and l.organization_id = o.id
     order by l.ready_at
     limit 1
       for no key update of l, b, a skip locked
       for key share of c skip locked) k),
oldest as materialized ({_READY_LANES}
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

# --- 2: look at the budgets -----------------------------------------------------------------------

_SECOND_BUDGET = " ".join(
    f"when k.operation = {literal(operation)}"
    + (f" and k.tier = {literal(traits.second_of)}" if traits.second_of is not None else "")
    + f" then {literal(traits.second_budget)}"
    for operation, traits in TRAITS.items()
    if traits.second_budget is not None
)

# What each budget gave, what it is capped at, and how many leads its campaign has in flight, where
# their most may be reached: counting them reads what was in flight lately as well.
# An action may take a unit of a second budget; its account is locked, so nobody else spends it.
READ_USED = f"""
with asked as materialized (
    select organization_id, account_id, x.budget, campaign_id, is_alone, min(x.since) as since
      from {_LANES} as k(organization_id uuid, campaign_id uuid, account_id uuid, operation text,
           budget text, tier text, since timestamptz, is_alone boolean)
     cross join lateral (values
           (k.budget, k.since),
           (case {_SECOND_BUDGET} end, %(month)s)) x(budget, since)
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

# --- 3: look at each lane's first leads -----------------------------------------------------------

# As many heads as may run, and one more: its time is when the lane must be looked at again.
# Asking once more for "what is left" would cost thirty times as much.  They are found by the lane's
# number alone, one after the other in its order: asked for all at once, the planner may sort the
# whole lane for them, and with the key asked for beside it all leads of a campaign were looked up
# for each lane.  Whether it is in flight is asked of each head (`offset 0`): a join reads all that
# the campaign has open, for every lane.  So are its lead and contact: for some hundred rows a join
# may read the whole table; and of what is unheard, all that waits in the inbox would be hashed.
# A head that somebody else has locked comes back without a lead: its holder wakes the lane when it
# commits, but nobody does when it is rolled back.  So does one that was changed since this snapshot
# (`row_version`): what was read beside it may be older than that, as when two people were merged.
# `done_to` is the ledger's word on what the node has done to the person already, whichever lead it
# was for; `walks`, all of the person, where there are several; `absent_from`, of a walk that may
# have gone on before a restore, whom it was found not to have reached; `seen` tells settle whether
# the row is still the one that was decided on.
# What the person wrote and nobody has heard: `is_unheard`, it waits in the inbox; `wrote_at`, it
# came since the walk began, and nobody knew then who they were.  What the account wrote to
# them, and may be its owner's by hand: `is_unheard_own`, within a day, for of a step that nobody
# can find out about it stays unclear.  `is_quarantined` is read behind the claim's lock of it: a
# quarantine that was written while the lanes were looked for is seen here.
READ_HEADS = f"""
select k.place, {IS_QUARANTINED} as is_quarantined, h.due_at, e.seen, e.workflow_version_id,
       {EXECUTION}, p.public_identifier, p.provider_id as listed_id,
       p.first_name, p.last_name, p.company, p.job_title, p.email,
       p.fields::text as fields, t.chat_id, t.invitation_id,
       (select x.kind || ': ' || x.reason
          from ({suppressions_of("p")}) x
         limit 1) as suppressed,
       p.person_id,
       array(select {POST} from actions x
              where x.organization_id = e.organization_id and x.campaign_id = e.campaign_id
                and x.person_id = p.person_id and x.node_id = e.node_id
                and x.operation = e.operation
                and x.state in {HAPPENED}
                and x.operation in {RECEIVED}) as done_to,
       {ALL_WALKS} as walks,
       case when e.doubted_since is not null then array(
            select x.target from actions x
             where x.organization_id = e.organization_id and x.campaign_id = e.campaign_id
               and x.lead_id = e.lead_id and x.node_id = e.node_id
               and x.operation = e.operation and x.number is not null and x.state = {ABSENT}
               and x.intended_at >= (select restored_at from database_stamp)) end as absent_from,
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
                  null::xid as row_version, false as is_head, 0 as heads
            union all
           select n.due_at, n.lead_id, n.row_version, n.is_head, q.heads + n.is_head::int
             from queue q
            cross join lateral (
                  select e.next_run_at as due_at, e.lead_id, e.xmin as row_version,
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
       select due_at, lead_id, row_version from queue where is_head) h on true
  left join lateral (
       select e.*, e.xmin as seen from campaign_executions e
        where e.organization_id = k.organization_id and e.campaign_id = k.campaign_id
          and e.lead_id = h.lead_id and e.account_id = k.account_id and e.operation = k.operation
          and e.outcome is null and e.next_run_at is not null
          and e.xmin = h.row_version
          for no key update skip locked) e on true
  left join lateral (
       select * from leads p
        where p.organization_id = e.organization_id and p.id = e.lead_id
       offset 0) p on true
  left join lateral (
       select * from contacts t
        where t.organization_id = e.organization_id and t.account_id = e.account_id
          and t.person_id = p.person_id
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

# --- 4: stop what cannot be read ------------------------------------------------------------------

HOLD_LANES = """
update lanes l set active = false, held_since = %(now)s, held_reason = r.reason
  from json_to_recordset(%(lanes)s) as r(organization_id uuid, campaign_id uuid, account_id uuid,
       operation text, reason text)
 where l.organization_id = r.organization_id and l.campaign_id = r.campaign_id
   and l.account_id = r.account_id and l.operation = r.operation
"""

# --- 5: what may be started -----------------------------------------------------------------------

# How many leads the senders of these campaigns have begun, and on which day of theirs.
READ_SENDERS = """
select s.campaign_id, s.account_id, s.position, s.starts_on, s.starts, a.time_zone
  from campaign_senders s
  join connected_accounts a on a.organization_id = s.organization_id and a.id = s.account_id
 where s.organization_id = any(%(organizations)s) and s.campaign_id = any(%(campaigns)s)
"""

# What their accounts may do: no more is started than can be carried on.
READ_ACCOUNT_LIMITS = """
select account_id, operation, per_hour, per_day, per_week, per_month from rate_limits
 where organization_id = any(%(organizations)s) and account_id = any(%(accounts)s)
"""

# --- 6: when a spent budget has a unit again ------------------------------------------------------

READ_BUCKETS = """
select organization_id, account_id, operation, bucket_at, used
  from rate_counters n
 where (organization_id, account_id, operation) in (
         select * from unnest(%(organizations)s::uuid[], %(accounts)s::uuid[],
                              %(operations)s::text[]))
   and bucket_at > %(since)s and used > 0
 order by bucket_at
"""

# --- 7: write what was chosen ---------------------------------------------------------------------

# Intents, units, gaps and the lanes' next moments, all at once: every row but the counters' and the
# contacts' is locked already, so their order does not matter.
#
# Whoever may answer what is about to be done is known by the provider's id before it is done.  A
# mere visit is not worth a row: the few who write because of one are heard by `wrote_at`.
WRITE_CLAIMED = f"""
with intended as (
    insert into actions (organization_id, campaign_id, lead_id, account_id, node_id, operation,
                         budgets, bucket_at, state, token, check_at, target, text, subject,
                         person_id, intended_at, progress)
    select r.organization_id, r.campaign_id, r.lead_id, r.account_id, r.node_id, r.operation,
           r.budgets, %(bucket)s, case when r.doubtful then {UNKNOWN} else {INTENDED} end,
           %(token)s, case when r.doubtful then %(now)s else %(check_at)s end, r.target, r.text,
           r.subject, r.person_id, %(now)s,
           case when r.doubtful then '{{"never_left": true}}'::jsonb end
      from json_to_recordset(%(intents)s) as r(organization_id uuid, campaign_id uuid,
           lead_id uuid, account_id uuid, node_id text, operation text, budgets text[],
           target text, text text, subject text, person_id uuid, doubtful boolean)),
met as (
    insert into contacts as k (organization_id, account_id, person_id, provider_id)
    select distinct on (r.account_id, r.person_id)
           r.organization_id, r.account_id, r.person_id, r.provider_id
      from json_to_recordset(%(met)s) as r(organization_id uuid, account_id uuid, person_id uuid,
           provider_id text)
     where not exists (select from contacts k
                        where k.organization_id = r.organization_id
                          and k.account_id = r.account_id and k.person_id = r.person_id
                          and k.provider_id = r.provider_id)
     order by r.account_id, r.person_id
        on conflict (organization_id, account_id, person_id) do update
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

# --- 8: count what was started --------------------------------------------------------------------

WRITE_STARTS = """
update campaign_senders s set starts_on = r.starts_on, starts = r.starts
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, account_id uuid,
       starts_on date, starts int)
 where s.organization_id = r.organization_id and s.campaign_id = r.campaign_id
   and s.account_id = r.account_id
"""

SET_NEXT_START = """
update campaigns c set next_start_at = %(now)s + c.lead_processing_delay
 where c.organization_id = any(%(organizations)s) and c.id = any(%(campaigns)s)
   and c.lead_processing_delay > '0'
"""

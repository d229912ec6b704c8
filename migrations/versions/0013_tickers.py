"""Nothing stands still, and it shows: tickers' heartbeats, lanes against their heads.

Moments that no client can read (infinity, years before 1970 or after 2999), set by hand, would stop
every ticker: they become now, and CHECKs keep them out.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

_TICKERS = """
create table tickers (
    host text not null,
    kind text not null,
    pid integer not null,
    version text not null,
    provider text,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    lanes_checked_at timestamptz,
    constraint tickers_pkey primary key (host, kind),
    constraint tickers_kind_check check (kind in ('tick', 'run'))
);
alter table connected_accounts
    add sweep_failures smallint not null default '0',
    add sweep_failed_at timestamptz,
    add sweep_failure text,
    add blocked_reason text,
    add constraint connected_accounts_sweep_failure_check check (
        (sweep_failures > 0) = (sweep_failed_at is not null)
        and (sweep_failures > 0) = (sweep_failure is not null));
alter table rate_limits add blocked_reason text
"""

# Which lanes are to be active is said once more in store/accounts.py, as `LANE_RUNS`.
_LANES = """
create view invariants.lanes with (security_invoker) as
with recursive clock(at) as (
    select coalesce(nullif(current_setting('clento.now', true), '')::timestamptz, now())),
numbers(lane) as (
    (select lane from campaign_executions where outcome is null order by lane limit 1)
    union all
    select (select e.lane from campaign_executions e
             where e.outcome is null and e.lane > n.lane order by e.lane limit 1)
      from numbers n where n.lane is not null),
budgets(operation, budget) as (values
        ('start', 'none'), ('profile_lookup', 'profile_visit'), ('find_posts', 'post_read'),
        ('profile_visit', 'profile_visit'), ('like_post', 'post_reaction'),
        ('comment_post', 'post_comment'), ('send_connection_request', 'invitation'),
        ('check_acceptance', 'profile_visit'), ('send_followup', 'message'),
        ('send_inmail', 'inmail'), ('withdraw_request', 'withdrawal'), ('webhook', 'none'))
select e.organization_id, e.campaign_id, e.account_id, e.operation, p.problem
  from numbers n
 cross join lateral (
       select x.* from campaign_executions x
        where x.lane = n.lane and x.outcome is null limit 1) e
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
 cross join lateral (
       select 'completed with leads unfinished' as problem where c.status = 'completed'
       union all
       select 'no such lane'
        where c.status in ('running', 'paused')
          and not exists (select from lanes l
                           where l.organization_id = e.organization_id
                             and l.campaign_id = e.campaign_id
                             and l.account_id = e.account_id and l.operation = e.operation)) p
union all
select l.organization_id, l.campaign_id, l.account_id, l.operation, p.problem
  from lanes l
  join campaigns c on c.organization_id = l.organization_id and c.id = l.campaign_id
  join connected_accounts a on a.organization_id = l.organization_id and a.id = l.account_id
  join rate_limits b on b.organization_id = l.organization_id and b.account_id = l.account_id
                    and b.operation = l.budget
  join budgets g on g.operation = l.operation
 cross join clock
  left join lateral (
       select e.next_run_at
         from (select * from campaign_executions e
                where e.lane = l.lane and e.outcome is null and e.next_run_at is not null
                order by e.next_run_at, e.lead_id
               offset 0) e
        where e.organization_id = l.organization_id and e.campaign_id = l.campaign_id
          and e.account_id = l.account_id and e.operation = l.operation
          and not exists (select from actions x
                           where x.organization_id = e.organization_id
                             and x.campaign_id = e.campaign_id and x.lead_id = e.lead_id
                             and x.state in ('intended', 'unknown')
                          offset 0)
        limit 1) h on c.status in ('running', 'paused')
 cross join lateral (
       select 'active, though campaign or account does not run' as problem
        where l.active and not (c.status = 'running' and a.status = 'active' and l.held_reason is null)
       union all
       select 'not active, though campaign and account run' where not l.active and (c.status = 'running' and a.status = 'active' and l.held_reason is null)
       union all
       select 'another budget than its operation''s' where l.budget <> g.budget
       union all
       select 'asleep past its first lead'
        where h.next_run_at is not null
          and (l.ready_at is null
               or l.ready_at > greatest(h.next_run_at, clock.at, a.next_free_at,
                                        a.blocked_until, b.next_free_at, b.blocked_until,
                                        case l.operation when 'start' then c.next_start_at end)
                               + case c.working_hours when 'always' then interval '1 day'
                                      else interval '9 days' end)) p
"""

_MOMENTS = (
    ("campaign_executions", "next_run_at"),
    ("lanes", "ready_at"),
    ("actions", "check_at"),
    ("connected_accounts", "next_free_at"),
    ("connected_accounts", "blocked_until"),
    ("connected_accounts", "next_sweep_at"),
    ("rate_limits", "next_free_at"),
    ("rate_limits", "blocked_until"),
    ("campaigns", "next_start_at"),
    ("webhook_deliveries", "next_attempt_at"),
)


def upgrade() -> None:
    op.execute(_TICKERS)
    for table, column in _MOMENTS:
        readable = f"{column} >= '1970-01-01 00:00+00' and {column} < '3000-01-01 00:00+00'"
        op.execute(f"update {table} set {column} = now() where not ({readable})")
        op.execute(
            f"alter table {table} add constraint {table}_{column}_readable_check check ({readable})"
        )
    op.execute("create schema invariants")
    op.execute(_LANES)

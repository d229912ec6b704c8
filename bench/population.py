"""Databases as the engine leaves them, made set-wise: senders, campaigns, leads, lanes, history.

Five million leads through the command line would take hours.  What is written here is what the
engine would have written, column by column; `faults` says where it is not.

It writes for the schema that it finds, so that this bench can measure another checkout's engine:
a table that not every schema has is looked for.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from clento_engine.domain import limits
from clento_engine.domain.limits import bucket_at, default_limits
from clento_engine.domain.operation import Operation
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow, to_json
from clento_engine.store.moves import MISCOUNTED

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)  # a Monday, in working hours
HOURS = "Mon-Fri 09:00-18:00"
# As many leads at once as bind no campaign: MANY_LEADS of the claim, which stands elsewhere in an
# older checkout.
UNBOUND = 10_000
# Its ninety visits a day leave room for what is due.  Named so that an older checkout, which has
# the class elsewhere, can be measured as well.
TIER: Any = vars(limits)["Tier"]("sales_navigator")

# What is measured is the visit: an intent, a unit, a request, what was learned, the next state
# and its history.  The delay parks the lead in the next lane.
WORKFLOW = Workflow(
    "visit",
    {
        "visit": Node("visit", Operation.PROFILE_VISIT, edges=(Edge("invite", timedelta(days=2)),)),
        "invite": Node(
            "invite",
            Operation.SEND_CONNECTION_REQUEST,
            edges=(
                Edge("follow-up", timedelta(days=1), Branch.ACCEPTED),
                Edge(None, timedelta(days=10), Branch.NOT_ACCEPTED),
            ),
        ),
        "follow-up": Node(
            "follow-up",
            Operation.SEND_FOLLOWUP,
            text="Hello {{first_name}}, good to meet somebody of {{company}}.",
        ),
    },
)


# The same walk with texts: a note near the 300 characters that an invitation may have, and messages
# as long as people write them.  After the first message comes another, so that a step of either
# kind has a next state, as a visit has.
NOTE_LENGTH, MESSAGE_LENGTH = 280, 500  # with the values of the people below
NOTE = (
    "Hello {{first_name}}, I came across your work as {{job_title}} and liked how plainly you "
    "write about it. My team helps people in the same seat to spend less of their week on reports "
    "that nobody reads. I would be very glad to stay in touch, and to hear how you go about it "
    "these days. Robin"
)
MESSAGE = (
    "Thank you for connecting, {{first_name}}! You are {{job_title}}, so I assume that the "
    "reports of your team end on your desk sooner or later. We asked forty people in the same "
    "seat what those cost them: most named half a day a week, and only two could say who reads "
    "the result. We wrote down what the others changed, on three pages, with no form to fill in. "
    "Shall I send them to you here? And if somebody else in your company looks after this, I "
    "would be glad to know whom I should ask about it. Regards, Robin"
)
SENDING = Workflow(
    "visit",
    {
        **WORKFLOW.nodes,
        "invite": replace(WORKFLOW.nodes["invite"], text=NOTE),
        "follow-up": Node(
            "follow-up",
            Operation.SEND_FOLLOWUP,
            text=MESSAGE,
            edges=(Edge("last", timedelta(days=3)),),
        ),
        "last": Node("last", Operation.SEND_FOLLOWUP, text="One last question, {{first_name}}."),
    },
)


@dataclass(frozen=True, slots=True)
class Population:
    """Who is in a database.

    `due`: leads to be visited now.  `invitations`, `messages`: leads to be invited with a note, and
    to be sent a first message.  `parked`: leads that wait for a day to come.  `queued`: the same,
    in the lanes of those to be visited.  `barred`: leads that are due, but their account has spent
    that budget.  `suppressions`: of people on no list, in each organisation.  `actions`: of the
    past, with the events they left, dealt out to the parked.  Senders and campaigns are paired in
    turn, so that each has at least one of the other.
    """

    due: int = 0
    invitations: int = 0
    messages: int = 0
    parked: int = 0
    queued: int = 0
    barred: int = 0
    suppressions: int = 0
    actions: int = 0
    senders: int = 1
    campaigns: int = 1
    organizations: int = 1
    slots: int = 1000

    @property
    def workflow(self) -> Workflow:
        """What its campaigns run: texts are written only where something is sent."""
        return SENDING if self.invitations or self.messages else WORKFLOW


def populate(conn: psycopg.Connection, who: Population, now: datetime = NOW) -> None:
    """Write a population, in one transaction, of organisations of its own beside any there are.

    `conn` is a superuser's: foreign keys are checked at the end, set-wise, and not row by row.
    """
    with conn.transaction():
        conn.execute("set local session_replication_role = replica")
        conn.execute("set local work_mem = '256MB'")
        has_people = _has(conn, "people")
        for statement, values in _statements(who, now, has_people=has_people):
            conn.execute(statement, values)
        if _has(conn, "provider_accounts"):
            conn.execute(_MEMBERS)
    for table in ("campaign_executions", "leads", "actions", "events", "contacts", "lanes"):
        conn.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(table)))
    conn.execute("analyze")


def add_due(conn: psycopg.Connection, leads: int, now: datetime = NOW) -> None:
    """Add leads that are due to a populated database, dealt out to all pairs."""
    with conn.transaction():
        conn.execute("set local session_replication_role = replica")
        for statement, values in _leads("due", leads, now, has_people=_has(conn, "people")):
            conn.execute(statement, values)
    conn.execute("analyze campaign_executions")


def make_due_at_once(conn: psycopg.Connection, now: datetime = NOW) -> None:
    """Let every lead to be visited, of the population written last, be due at one instant."""
    with conn.transaction():
        for statement in _AT_ONCE:
            conn.execute(statement, {"now": now})


def make_due_evenly(conn: psycopg.Connection, seconds: float, now: datetime = NOW) -> None:
    """Let the leads to be visited, of the population written last, be due one after the other."""
    with conn.transaction():
        for statement in _EVENLY:
            conn.execute(statement, {"now": now, "seconds": seconds})


_EVENLY = (
    """
    with placed as (
        select e.organization_id, e.campaign_id, e.lead_id,
               row_number() over (order by e.lead_id) as n, count(*) over () as leads
          from campaign_executions e
          join bench_organizations o on o.id = e.organization_id
         where e.operation = 'profile_visit')
    update campaign_executions e
       set next_run_at = %(now)s::timestamptz + interval '1 second' * (%(seconds)s * p.n / p.leads)
      from placed p
     where e.organization_id = p.organization_id and e.campaign_id = p.campaign_id
       and e.lead_id = p.lead_id
    """,
    """
    update lanes l set ready_at = first
      from (select organization_id, campaign_id, account_id, operation, min(next_run_at) as first
              from campaign_executions where operation = 'profile_visit' group by 1, 2, 3, 4) e
     where l.organization_id = e.organization_id and l.campaign_id = e.campaign_id
       and l.account_id = e.account_id and l.operation = e.operation
    """,
)

_AT_ONCE = (
    """
    update campaign_executions set next_run_at = %(now)s
     where operation = 'profile_visit' and organization_id in (select id from bench_organizations)
    """,
    """
    update lanes set ready_at = %(now)s
     where operation = 'profile_visit' and ready_at is not null
       and organization_id in (select id from bench_organizations)
    """,
)


def lift_caps(conn: psycopg.Connection) -> None:
    """Let nobody's visits end before the due leads do: the counters are read all the same."""
    conn.execute(
        "update rate_limits set per_hour = 1000000, per_day = 1000000"
        " where operation = 'profile_visit'"
    )


def _statements(
    who: Population, now: datetime, *, has_people: bool
) -> Iterator[tuple[str, dict[str, object]]]:
    yield from _setting(who, now)
    for kind, leads in (
        ("due", who.due),
        ("invitation", who.invitations),
        ("message", who.messages),
        ("barred", who.barred),
        ("queued", who.queued),
        ("parked", who.parked),
    ):
        if leads:
            yield from _leads(kind, leads, now, has_people=has_people)
    if who.suppressions:
        yield _SUPPRESSIONS, {"suppressions": who.suppressions}
    if who.barred:
        yield _SPENT, {"bucket": bucket_at(now - timedelta(minutes=20))}
    if who.actions:  # of the parked, whom `bench_leads` holds now
        yield _ACTIONS, {"actions": who.actions, "now": now}
        yield _LEFT, {}


def _setting(who: Population, now: datetime) -> Iterator[tuple[str, dict[str, object]]]:
    limits = default_limits(TIER)
    yield "drop table if exists bench_organizations, bench_pairs", {}
    yield (
        """
        create table bench_organizations as
        select uuidv7() as id, g.n - 1 as n from generate_series(1, %(n)s) g(n)
        """,
        {"n": who.organizations},
    )
    yield (
        """
        insert into organizations (id, name)
        select id, 'organisation ' || id from bench_organizations
        """,
        {},
    )
    yield (
        """
        insert into workflow_versions (organization_id, id, name, version, document, compiled)
        select id, uuidv7(), 'visit', 1, %(compiled)s, %(compiled)s from bench_organizations
        """,
        {"compiled": json.dumps(to_json(who.workflow))},
    )
    # Established senders, without gaps: the gaps of one account are not what is measured.  Numbers
    # go on where those before ended: a member has one account in all organisations.
    yield (
        """
        insert into connected_accounts (organization_id, id, unipile_account_id, provider_id, name,
               tier, time_zone, warmup_days, warmup_started_at, spacing_shortest, spacing_longest,
               next_sweep_at, swept_messages_until)
        select o.id, uuidv7(), 'bench_' || b.base + g.n, 'member_' || b.base + g.n,
               'Sender ' || b.base + g.n, %(tier)s, 'Europe/Berlin', 0,
               %(now)s::timestamptz - interval '90 days', '0', '0',
               %(now)s::timestamptz + interval '3 hours', %(now)s
          from (select count(*) as base from connected_accounts) b,
               generate_series(0, %(senders)s - 1) g(n)
          join bench_organizations o on o.n = mod(g.n, %(organizations)s)
         order by g.n
        """,
        {
            "tier": TIER.value,
            "now": now,
            "senders": who.senders,
            "organizations": who.organizations,
        },
    )
    # Webhooks come: no chat is read before a message.  An older checkout has no such column.
    yield (
        """
        do $$ begin
            if exists (select from information_schema.columns
                        where table_name = 'connected_accounts' and column_name = 'heard_at') then
                update connected_accounts set heard_at = swept_messages_until + interval '10 years';
            end if;
        end $$
        """,
        {},
    )
    yield (
        """
        insert into rate_limits (organization_id, account_id, operation, per_hour, per_day,
               per_week, per_month, spacing_shortest, spacing_longest)
        select a.organization_id, a.id, b.*, '0', '0'
          from connected_accounts a
          join bench_organizations o on o.id = a.organization_id
         cross join unnest(%(budgets)s::text[], %(hour)s::int[], %(day)s::int[], %(week)s::int[],
                           %(month)s::int[]) b
        """,
        {
            "budgets": [budget.value for budget in limits],
            "hour": [limit.caps.hour for limit in limits.values()],
            "day": [limit.caps.day for limit in limits.values()],
            "week": [limit.caps.week for limit in limits.values()],
            "month": [limit.caps.month for limit in limits.values()],
        },
    )
    yield (
        """
        insert into lead_lists (organization_id, id, name)
        select o.id, uuidv7(), 'list ' || g.n
          from generate_series(0, %(campaigns)s - 1) g(n)
          join bench_organizations o on o.n = mod(g.n, %(organizations)s)
         order by g.n
        """,
        {"campaigns": who.campaigns, "organizations": who.organizations},
    )
    yield (
        """
        insert into campaigns (organization_id, id, name, status, workflow_version_id, list_id,
               working_hours, max_duration, max_concurrent_leads, lead_processing_delay, start_at,
               next_start_at, started_at)
        select l.organization_id, uuidv7(), l.name, 'running', w.id, l.id, %(hours)s, '30 days',
               %(slots)s, '0', at, at, at
          from lead_lists l
          join bench_organizations o on o.id = l.organization_id
          join workflow_versions w using (organization_id)
         cross join lateral (select %(now)s::timestamptz - interval '5 days' as at) t
         order by l.id
        """,
        # the campaign's own most in flight binds nobody: the senders' caps do
        {"hours": HOURS, "slots": max(who.slots, UNBOUND), "now": now},
    )
    yield (
        """
        create table bench_pairs as
        select row_number() over (order by p.n) - 1 as n, c.organization_id, c.id as campaign_id,
               c.list_id, c.workflow_version_id, a.id as account_id
          from generate_series(0, greatest(%(senders)s, %(campaigns)s) - 1) p(n)
          join (select c.*, row_number() over (order by c.id) - 1 as n from campaigns c
                  join bench_organizations o on o.id = c.organization_id) c
            on c.n = mod(p.n, %(campaigns)s)
          join (select a.*, row_number() over (order by a.id) - 1 as n from connected_accounts a
                  join bench_organizations o on o.id = a.organization_id) a
            on a.n = mod(p.n, %(senders)s) and a.organization_id = c.organization_id
        """,
        {"senders": who.senders, "campaigns": who.campaigns},
    )
    yield (
        """
        insert into campaign_senders (organization_id, campaign_id, account_id, position)
        select organization_id, campaign_id, account_id,
               row_number() over (partition by campaign_id order by n) - 1
          from bench_pairs
        """,
        {},
    )
    lanes = sorted(
        {Operation.START, Operation.PROFILE_LOOKUP, Operation.FIND_POSTS}
        | {Operation.CHECK_ACCEPTANCE}
        | {node.operation for node in who.workflow.nodes.values()}
    )
    yield (
        """
        insert into lanes (organization_id, campaign_id, account_id, operation, budget, active)
        select p.organization_id, p.campaign_id, p.account_id, o.operation, o.budget, true
          from bench_pairs p, unnest(%(operations)s::text[], %(budgets)s::text[])
               as o(operation, budget)
        """,
        {
            "operations": [operation.value for operation in lanes],
            "budgets": [operation.budget.value for operation in lanes],
        },
    )


def _has(conn: psycopg.Connection, table: str) -> bool:
    """Whether the schema is so new that it has a table: also an older one is measured."""
    row = conn.execute("select to_regclass(%s) is not null", (table,)).fetchone()
    return row is not None and bool(row[0])


_MEMBERS = """
insert into provider_accounts (member_id, unipile_account_id, organization_id, account_id)
select a.provider_id, a.unipile_account_id, a.organization_id, a.id
  from connected_accounts a
  join bench_organizations o on o.id = a.organization_id
"""


def _leads(
    kind: str, leads: int, now: datetime, *, has_people: bool
) -> Iterator[tuple[str, dict[str, object]]]:
    """Write people and their executions, as they stand in that kind of waiting."""
    yield "drop table if exists bench_leads", {}
    # Row numbers go on where those before ended, so that every person is another.
    yield (
        """
        create unlogged table bench_leads as
        select p.organization_id, p.campaign_id, p.list_id, p.workflow_version_id, p.account_id,
               uuidv7() as lead_id, g.n, b.base + g.n as number
          from (select count(*) as pairs from bench_pairs) c,
               (select coalesce(max(row_number), 0) as base from leads) b,
               generate_series(1, %(leads)s) g(n)
          join bench_pairs p on p.n = mod(g.n, (select count(*) from bench_pairs))
        """,
        {"leads": leads},
    )
    if has_people:
        yield _PERSONS, {}
        yield _NAMES.format(is_seen=str(kind not in _UNSEEN).lower()), {}
    yield _PEOPLE.format(*_OF_PEOPLE if has_people else ("", "")), {}
    yield _EXECUTIONS[kind], {"now": now}
    if kind in _CONTACTS:
        who = "person_id" if has_people else "lead_id"
        yield _CONTACTS[kind].format(who=who), {"now": now}
    yield _WAKE, {}
    yield _ENROLLED, {}
    yield _DEALT, {}


# Each is somebody of the lead's own id, known by the names that the list and an answer gave them.
_PERSONS = """
insert into people (organization_id, id) select organization_id, lead_id from bench_leads
"""
_NAMES = """
insert into person_names (organization_id, name, kind, person_id, learned_at)
select b.organization_id, x.name, x.kind, b.lead_id, now()
  from bench_leads b
 cross join lateral (values ('person-' || b.number, 'slug'),
                            (case when {is_seen} then 'ACoAA' || b.number end, 'id')) x(name, kind)
 where x.name is not null
"""
_UNSEEN = ("due", "queued")  # nobody looked at their profiles yet

_PEOPLE = """
insert into leads (organization_id, id, list_id, identity, public_identifier, first_name,
                   last_name, company, job_title, email, profile_url, fields, row_number{})
select organization_id, lead_id, list_id, 'person-' || number, 'person-' || number, 'Ada',
       'Moss ' || number, 'Company ' || mod(number, 5000), 'Head of Example',
       'person-' || number || '@company-' || mod(number, 5000) || '.example',
       'https://www.linkedin.com/in/person-' || number, '{{"city": "Lyon"}}', number{}
  from bench_leads
"""
_OF_PEOPLE = (
    ", person_id, email_key, company_key",
    """, lead_id, 'person-' || number || '@company-' || mod(number, 5000) || '.example',
       'company ' || mod(number, 5000)""",
)

# Each stands where the engine would have left it: `started_at` and `expires_at` from its start,
# `provider_id` once its profile was seen, `connected` where only acceptance leads.  Times differ
# by microseconds, as real ones do.
_STANDING = """
insert into campaign_executions (organization_id, campaign_id, lead_id, account_id,
       workflow_version_id, status, node_id, operation, next_run_at, provider_id, connected,
       started_at, expires_at, deadline_at)
select b.organization_id, b.campaign_id, b.lead_id, b.account_id, b.workflow_version_id,
       s.status, s.node_id, s.operation, s.at, s.provider_id, s.node_id = 'follow-up',
       s.started_at, s.started_at + interval '30 days', s.deadline_at
  from bench_leads b,
       lateral ({standing}) s
"""

_DUE_SEND = _STANDING.format(
    standing="""
    select 'waiting' as status, '{node}' as node_id, '{operation}' as operation,
           %(now)s::timestamptz - interval '1 second' * mod(b.n, 3000)
             - interval '1 microsecond' * mod(b.n, 997) as at, 'ACoAA' || b.number as provider_id,
           %(now)s::timestamptz - interval '4 days' as started_at,
           null::timestamptz as deadline_at
    """
)

_EXECUTIONS = {
    "due": _STANDING.format(
        standing="""
        select 'waiting' as status, 'visit' as node_id, 'profile_visit' as operation,
               %(now)s::timestamptz - interval '1 second' * mod(b.n, 3000)
                 - interval '1 microsecond' * mod(b.n, 997) as at, null as provider_id,
               %(now)s::timestamptz - interval '1 hour' as started_at,
               null::timestamptz as deadline_at
        """
    ),
    "invitation": _DUE_SEND.format(node="invite", operation="send_connection_request"),
    "message": _DUE_SEND.format(node="follow-up", operation="send_followup"),
    # half wait for their day to be invited, half for an answer to their invitation
    "parked": _STANDING.format(
        standing="""
        select case when odd then 'waiting' else 'awaiting' end as status, 'invite' as node_id,
               case when odd then 'send_connection_request' else 'check_acceptance' end
                 as operation,
               p.at, 'ACoAA' || b.number as provider_id,
               %(now)s::timestamptz - interval '4 days' as started_at,
               case when odd then null else p.at end as deadline_at
          from (select mod(b.n / (select count(*) from bench_pairs), 2) = 1 as odd,
                       %(now)s::timestamptz + interval '1 day'
                         + interval '1 millisecond' * mod(b.n::bigint * 7919, 700000000) as at) p
        """
    ),
    "queued": _STANDING.format(
        standing="""
        select 'waiting' as status, 'visit' as node_id, 'profile_visit' as operation,
               %(now)s::timestamptz + interval '1 day' + interval '1 millisecond' * b.n as at,
               null as provider_id, %(now)s::timestamptz - interval '1 hour' as started_at,
               null::timestamptz as deadline_at
        """
    ),
    # invitations that were due at some time this morning; the account has sent its last one
    "barred": _STANDING.format(
        standing="""
        select 'waiting' as status, 'invite' as node_id, 'send_connection_request' as operation,
               %(now)s::timestamptz - interval '1 millisecond' * mod(b.n, 3600000) as at,
               'ACoAA' || b.number as provider_id,
               %(now)s::timestamptz - interval '4 days' as started_at,
               null::timestamptz as deadline_at
        """
    ),
}

_KNOWN = """
insert into contacts (organization_id, account_id, {who}, provider_id)
select organization_id, account_id, lead_id, 'ACoAA' || number from bench_leads
"""
_CONNECTED = """
insert into contacts (organization_id, account_id, {who}, provider_id, invitation_id,
       connected_at)
select organization_id, account_id, lead_id, 'ACoAA' || number, 'invitation-ACoAA' || number,
       %(now)s::timestamptz - interval '1 day'
  from bench_leads
"""
# whoever is visited or invited is no contact yet: their first invitation writes it
_CONTACTS = {"message": _CONNECTED, "barred": _KNOWN, "parked": _KNOWN}

# They were counted as enrolled where they stand; how they came there is not told.
_ENROLLED = """
insert into campaign_moves as m (organization_id, campaign_id, shard, node_id, status, result,
       entered, to_node_id, to_status, to_outcome, leads)
select e.organization_id, e.campaign_id, 0, '', '', '', '', e.node_id, e.status, '', count(*)
  from campaign_executions e
  join bench_leads b using (organization_id, campaign_id, lead_id)
 group by 1, 2, 8, 9
    on conflict (organization_id, campaign_id, shard, node_id, status, result, entered, to_node_id,
                 to_status, to_outcome) do update
   set leads = m.leads + excluded.leads
"""

_DEALT = """
update campaign_senders s set leads = s.leads + b.leads
  from (select organization_id, campaign_id, account_id, count(*) as leads from bench_leads
         group by 1, 2, 3) b
 where s.organization_id = b.organization_id and s.campaign_id = b.campaign_id
   and s.account_id = b.account_id
"""

# A lane that has leads is looked at when its first is due: what settle says of them.
_WAKE = """
update lanes l set ready_at = least(l.ready_at, w.at)
  from (select e.organization_id, e.campaign_id, e.account_id, e.operation,
               min(e.next_run_at) as at
          from campaign_executions e
          join bench_leads b using (organization_id, campaign_id, lead_id)
         group by 1, 2, 3, 4) w
 where l.organization_id = w.organization_id and l.campaign_id = w.campaign_id
   and l.account_id = w.account_id and l.operation = w.operation
   and (l.ready_at is null or l.ready_at > w.at)
"""

# The day's last invitation was counted a while ago: the counters bar the lanes, not the lanes us.
_SPENT = """
insert into rate_counters (organization_id, account_id, operation, bucket_at, used)
select organization_id, account_id, operation, %(bucket)s, per_day from rate_limits
 where operation = 'invitation'
"""

_SUPPRESSIONS = """
insert into suppressions (organization_id, kind, value, reason)
select o.id, (array['person', 'email', 'domain', 'company'])[1 + mod(g.n, 4)],
       'stranger-' || g.n, 'asked us to'
  from bench_organizations o, generate_series(1, %(suppressions)s) g(n)
"""

# One visit after another, long ago: what the ledger holds after months.
_ACTIONS = """
insert into actions (organization_id, campaign_id, lead_id, account_id, node_id, operation,
       budgets, bucket_at, state, token, target, intended_at, settled_at, number, kind, result,
       entered, detail)
select b.organization_id, b.campaign_id, b.lead_id, b.account_id,
       'visit', 'profile_visit', '{profile_visit}', date_trunc('hour', t.at), 'done', uuidv4(),
       'ACoAA' || b.number, t.at, t.at + interval '1 second', nextval('events_id_seq'),
       'ProfileRead', 'done', 'invite',
       jsonb_build_object('provider_id', 'ACoAA' || b.number)
  from (select *, count(*) over () as leads from bench_leads) b,
       lateral (select %(now)s::timestamptz - interval '40 days'
                       + interval '10 second' * g.n as at
                  from generate_series(b.n, %(actions)s, b.leads) g(n)) t
"""

_LEFT = """
insert into campaign_moves
select organization_id, campaign_id, 0, node_id, '', result, entered, '', '', '', count(*)
  from history where result is not null group by 1, 2, 4, 6, 7
"""


def faults(conn: psycopg.Connection) -> dict[str, int]:
    """Count what the engine would not have left so, by what is wrong: empty when all is well.

    The foreign keys that `populate` did not check row by row, and what no constraint can say: a
    lane sleeps past none of its leads, and every lead that waits for time stands in a lane.
    """
    found = {}
    for name, query in (
        _FAULTS | (_MEMBER_FAULTS if _has(conn, "provider_accounts") else {})
    ).items():
        row = conn.execute(query).fetchone()
        if row is not None and row[0]:
            found[name] = int(row[0])
    return found


_FAULTS = {
    "executions without campaign, lead, account or workflow": """
        select count(*) from campaign_executions e
         where not exists (select 1 from campaigns c where c.organization_id = e.organization_id
                              and c.id = e.campaign_id)
            or not exists (select 1 from leads p where p.organization_id = e.organization_id
                              and p.id = e.lead_id)
            or not exists (select 1 from connected_accounts a
                            where a.organization_id = e.organization_id and a.id = e.account_id)
            or not exists (select 1 from workflow_versions w
                            where w.organization_id = e.organization_id
                              and w.id = e.workflow_version_id)
    """,
    "actions without execution": """
        select count(*) from actions x
          left join campaign_executions e using (organization_id, campaign_id, lead_id)
         where e.lead_id is null
    """,
    "lanes without campaign or budget": """
        select count(*) from lanes l
         where not exists (select 1 from campaigns c where c.organization_id = l.organization_id
                              and c.id = l.campaign_id)
            or not exists (select 1 from rate_limits b where b.organization_id = l.organization_id
                              and b.account_id = l.account_id and b.operation = l.budget)
    """,
    "lanes that sleep past their first lead": """
        select count(*) from lanes l
          join (select organization_id, campaign_id, account_id, operation,
                       min(next_run_at) as first
                  from campaign_executions
                 where outcome is null and next_run_at is not null
                 group by 1, 2, 3, 4) e using (organization_id, campaign_id, account_id, operation)
         where l.ready_at is null
    """,
    "leads that wait in no lane": """
        select count(*) from campaign_executions e
          left join lanes l using (organization_id, campaign_id, account_id, operation)
         where e.next_run_at is not null and l.operation is null
    """,
    "facts about a campaign, miscounted": f"select count(*) from ({MISCOUNTED}) m",
}

_MEMBER_FAULTS = {
    "accounts that act for no member": """
        select count(*) from connected_accounts a
         where a.status = 'active'
           and not exists (select 1 from provider_accounts m
                            where m.member_id = a.provider_id
                              and m.organization_id = a.organization_id and m.account_id = a.id
                              and m.unipile_account_id = a.unipile_account_id)
    """,
}

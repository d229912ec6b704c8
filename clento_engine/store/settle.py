"""Writing back what became of a batch: every change of an execution goes through here.

One transaction: fence by token, lock the executions as they are *now*, decide on those, and write
set-wise.  A row that changed since the claim (a reply came in, an operator stopped it) is decided
on as it is, never overwritten.

Locks are taken in one order, so that no two transactions wait for each other: actions, executions
(by key), lanes (by key), budgets and accounts, counters.  A claim never waits for any but the last.
Out of this order, at the end of a turn, are only lanes that slept when it began (`_WAKE_LAST`), and
rows that changed meanwhile (`settle_guessed`): should two wait for each other there, PostgreSQL
undoes one, which runs again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from msgspec import Struct
from msgspec.structs import replace
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row
from uuid_utils.compat import uuid7

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.backoff import doubled
from clento_engine.domain.execution import Decision, Execution, IllegalTransition
from clento_engine.domain.failure import Scope
from clento_engine.domain.history import recorded
from clento_engine.domain.operation import Operation
from clento_engine.domain.report import Basis, Learned, Report
from clento_engine.domain.transition import decide
from clento_engine.domain.workflow import Workflow
from clento_engine.store.accounts import lock_lanes, set_lanes
from clento_engine.store.literals import (
    ABSENT,
    ACCOUNT_PAUSED,
    ACTIVE,
    BY_PROVIDER,
    OPEN,
    STARTS,
    UNKNOWN,
)
from clento_engine.store.moves import Move, count, move
from clento_engine.store.outbox import CAMPAIGN, LEAD, tell_late
from clento_engine.store.refusals import Judged, count_refusals
from clento_engine.store.rests import note_silence, wake_up
from clento_engine.store.rows import EXECUTION, RULES, execution, recordset, rules
from clento_engine.store.workflows import load_workflows

# provider errors on one account that hide an exceeded limit; source: Unipile's limits guide
ERRORS_IN_A_ROW = 3
THROTTLE = timedelta(hours=2)
LONGEST_THROTTLE = timedelta(hours=48)


RunKey = tuple[UUID, UUID]  # campaign, lead

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Settled:
    """`stale`: outcomes whose token another process had taken over; they changed nothing."""

    applied: int = 0
    stale: int = 0
    finished: int = 0
    outcomes: list[Decision] = field(default_factory=list)


# The sequence that numbers the history.
_NUMBER = "nextval('events_id_seq')"

_FENCE = f"""
update actions a
   set state = r.state, check_at = r.check_at, reference = coalesce(r.reference, a.reference),
       reason = r.reason, settled_at = case when r.state = {UNKNOWN} then null else %(now)s end,
       progress = case when r.state = {UNKNOWN} then coalesce(r.progress, a.progress) end,
       number = case when r.state = {UNKNOWN} then null else {_NUMBER} end
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid,
       token uuid, state text, check_at timestamptz, progress jsonb, reference text, reason text)
 where a.organization_id = r.organization_id and a.campaign_id = r.campaign_id
   and a.lead_id = r.lead_id and a.token = r.token and a.state in {OPEN}
returning a.campaign_id, a.lead_id, a.token
"""

_LOCK = f"""
select e.organization_id, e.account_id, e.workflow_version_id,
       {RULES}, {EXECUTION}
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid)
  join campaign_executions e using (organization_id, campaign_id, lead_id)
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
 order by e.campaign_id, e.lead_id
   for no key update of e
"""

# What a batch writes of each execution, and how.
_COLUMNS = """organization_id uuid, campaign_id uuid,
           lead_id uuid, account_id uuid, status text, node_id text, operation text,
           next_run_at timestamptz, attempt smallint, posts text[], relooked boolean,
           provider_id text, connected boolean, replied boolean, started_at timestamptz,
           expires_at timestamptz, deadline_at timestamptz, outcome text, reason text,
           finished_at timestamptz"""

# What a step seldom changes, and never to null, is left out of most rows.
_SELDOM = ("attempt", "relooked", "connected", "replied", "started_at", "expires_at")
_SAVE = f"""
    update campaign_executions e
       set status = r.status, node_id = r.node_id, operation = r.operation,
           next_run_at = r.next_run_at, posts = r.posts, provider_id = r.provider_id,
           deadline_at = r.deadline_at, outcome = r.outcome, reason = r.reason,
           finished_at = r.finished_at,
           {", ".join(f"{name} = coalesce(r.{name}, e.{name})" for name in _SELDOM)}"""

_RECORD = """
    insert into events (organization_id, subject_id, campaign_id, at, kind, actor, node_id, result,
                        entered, detail)
    select r.organization_id, r.lead_id, r.campaign_id, %(now)s, r.kind, %(actor)s, r.left_node_id,
           r.result, r.entered, r.detail"""

_LEARN = """
    insert into contacts as k (organization_id, account_id, lead_id, provider_id, chat_id,
                               invitation_id, connected_at, replied_at)
    select r.organization_id, r.account_id, r.lead_id, r.learned_id, r.chat_id, r.invitation_id,
           case when r.connected_at > %(now)s then %(now)s else r.connected_at end,
           case when r.replied_at > %(now)s then %(now)s else r.replied_at end"""
_OR_ADD = """
     order by r.account_id, r.lead_id
        on conflict (organization_id, account_id, lead_id) do update
       set provider_id = coalesce(excluded.provider_id, k.provider_id),
           chat_id = nullif(coalesce(excluded.chat_id, k.chat_id), ''),
           invitation_id = coalesce(excluded.invitation_id, k.invitation_id),
           connected_at = coalesce(k.connected_at, excluded.connected_at),
           replied_at = greatest(k.replied_at, excluded.replied_at)"""

_HISTORY_COLUMNS = "left_node_id text, kind text, result text, entered text, detail jsonb"
_LEARNED_COLUMNS = """learned_id text, chat_id text, invitation_id text, connected_at timestamptz,
           replied_at timestamptz"""

# The lanes that the executions `held` now stand in, or some of them.
#
# Whoever leaves an execution in a lane says so there: a claim that could not see the execution,
# because we hold its lock, has put the lane to sleep without it.  A moment before the account is
# free again would only be looked at in vain.  The lane's moment is compared as the lock found it:
# the update's own scan still sees what stood there before a claim that we waited for.
_WAKE_SOME = """
stood as (
    select organization_id, campaign_id, account_id, operation, min(next_run_at) as at
      from held
     where next_run_at is not null
     group by 1, 2, 3, 4),
touched as materialized (
    select l.organization_id, l.campaign_id, l.account_id, l.operation, l.ready_at as before,
           case when l.budget = 'none' then t.at else greatest(t.at, a.next_free_at) end as at
      from stood t
      join lanes l using (organization_id, campaign_id, account_id, operation)
      join connected_accounts a on a.organization_id = l.organization_id and a.id = l.account_id
     where {some}
     order by l.organization_id, l.campaign_id, l.account_id, l.operation
       for no key update of l),
woken as (
    update lanes l
       set ready_at = t.at
      from touched t
     where l.organization_id = t.organization_id and l.campaign_id = t.campaign_id
       and l.account_id = t.account_id and l.operation = t.operation
       and (t.before is null or t.before > t.at))"""
_WAKE = _WAKE_SOME.format(some="true")

# Those that another claim may have, or that our own should see.  All others are woken right before
# the commit: whoever moves leads of the same senders has no turn of ours to wait for.
_WAKE_READY = _WAKE_SOME.format(some="l.ready_at <= %(now)s or t.at <= %(now)s")
_WAKE_LAST = f"""
with held as (
    select * from json_to_recordset(%(stands)s) as r(organization_id uuid, campaign_id uuid,
           account_id uuid, operation text, next_run_at timestamptz)),
{_WAKE}
select 1
"""

# Executions that we have locked, their history, and what the accounts learned.
_WRITE = f"""
with held as (
    select * from json_to_recordset(%(executions)s) as r({_COLUMNS}, told boolean)),
saved as ({_SAVE}
      from held r
     where e.organization_id = r.organization_id and e.campaign_id = r.campaign_id
       and e.lead_id = r.lead_id and r.told),
recorded as ({_RECORD}
      from json_to_recordset(%(history)s) as r(organization_id uuid, lead_id uuid,
           campaign_id uuid, {_HISTORY_COLUMNS})),
learned as ({_LEARN}
      from json_to_recordset(%(learned)s) as r(organization_id uuid, account_id uuid,
           lead_id uuid, {_LEARNED_COLUMNS}){_OR_ADD}),
{_WAKE}
select 1
"""

# Steps that were decided on before their rows were locked: all at once, of those whose action is
# still ours and whose row is still the one that was decided on.  Where it is not, the action is
# settled all the same, and the step is told as not saved.  Actions first, then executions by key.
#
# What became of the lead is told with its action: one row less, and one index entry, for each step.
_WRITE_UNCHANGED = f"""
with decided as (
    select * from json_to_recordset(%(steps)s) as r({_COLUMNS}, place int, seen xid, token uuid,
           state text, reference text, refusal text, {_HISTORY_COLUMNS},
           learned boolean, {_LEARNED_COLUMNS})),
fenced as (
    update actions a
       set state = r.state, check_at = null, reference = coalesce(r.reference, a.reference),
           reason = r.refusal, settled_at = %(now)s, number = {_NUMBER}, kind = r.kind,
           result = r.result, entered = r.entered, detail = r.detail
      from decided r
     where a.organization_id = r.organization_id and a.campaign_id = r.campaign_id
       and a.lead_id = r.lead_id and a.token = r.token and a.state in {OPEN}
    returning r.place),
ours as materialized (
    select r.* from decided r
      left join fenced f using (place)
     where r.token is null or f.place is not null
     order by r.campaign_id, r.lead_id),
saved as ({_SAVE}
      from ours r
     where e.organization_id = r.organization_id and e.campaign_id = r.campaign_id
       and e.lead_id = r.lead_id and e.xmin = r.seen
    returning r.*),
held as materialized (
    select * from saved),
recorded as ({_RECORD}
      from held r where r.token is null),
learned as ({_LEARN}
      from held r where r.learned{_OR_ADD}),
{_WAKE_READY}
select r.place, h.place is not null as is_saved
  from ours r left join held h using (place)
"""

# Of steps that were not saved: what becomes of their leads is another line of the history.
_UNTELL = """
update actions a
   set kind = null, result = null, entered = null, detail = null
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid,
       token uuid)
 where a.organization_id = r.organization_id and a.lead_id = r.lead_id
   and a.campaign_id = r.campaign_id and a.token = r.token and a.number is not null
"""

_WELL = """
update connected_accounts a
   set errors_in_a_row = 0, throttles = 0
 where a.organization_id = any(%(organizations)s) and a.id = any(%(accounts)s)
   and (a.errors_in_a_row > 0 or a.throttles > 0)
   and (a.blocked_until is null or a.blocked_until <= %(now)s)
"""

_WELL_BUDGET = """
update rate_limits b
   set throttles = 0
  from json_to_recordset(%(rows)s) as r(organization_id uuid, account_id uuid, budget text)
 where b.organization_id = r.organization_id and b.account_id = r.account_id
   and b.operation = r.budget and b.throttles > 0
   and (b.blocked_until is null or b.blocked_until <= %(now)s)
"""

_ERRORS = """
update connected_accounts a
   set errors_in_a_row = a.errors_in_a_row + r.errors
  from json_to_recordset(%(rows)s) as r(organization_id uuid, account_id uuid, errors int)
 where a.organization_id = r.organization_id and a.id = r.account_id
returning a.organization_id, a.id, a.errors_in_a_row
"""

_PAUSE = f"""
with chosen as materialized (
    select organization_id, id from connected_accounts
     where organization_id = %(organization_id)s and (%(everyone)s or id = %(account_id)s)
       and status = {ACTIVE}
     order by id
       for no key update),
paused as (
    update connected_accounts a
       set status = {ACCOUNT_PAUSED}, paused_by = {BY_PROVIDER}, pause_reason = %(reason)s
      from chosen
     where a.organization_id = chosen.organization_id and a.id = chosen.id
    returning a.organization_id, a.id)
insert into events (organization_id, subject_id, at, kind, actor, detail)
select p.organization_id, p.id, %(now)s, 'AccountPaused', %(actor)s,
       jsonb_build_object('reason', %(reason)s::text)
  from paused p
"""

# A hold that a person lifted: what nobody could find out about is settled by that word.
_LIFT = f"""
update actions a
   set state = {ABSENT}, check_at = null, settled_at = %(now)s, reason = 'released by a person',
       number = {_NUMBER}
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid)
 where a.organization_id = r.organization_id and a.campaign_id = r.campaign_id
   and a.lead_id = r.lead_id and a.state = {UNKNOWN}
"""

_NOTIFY = f"""
insert into webhook_deliveries (organization_id, id, campaign_id, lead_id, node_id, url, payload,
                                next_attempt_at)
select r.organization_id, r.id, r.campaign_id, r.lead_id, r.node_id, coalesce(w.url, r.url),
       jsonb_build_object(
         'event', 'lead.step', 'id', r.id, 'at', %(now)s, 'organizationId', r.organization_id,
         'campaign', {CAMPAIGN},
         'nodeId', r.node_id,
         'execution', r.execution,
         'lead', {LEAD}),
       %(now)s
  from json_to_recordset(%(rows)s) as r(organization_id uuid, id uuid, campaign_id uuid,
       lead_id uuid, node_id text, webhook_id text, url text, execution jsonb)
  join campaigns c on c.organization_id = r.organization_id and c.id = r.campaign_id
  join leads p on p.organization_id = r.organization_id and p.id = r.lead_id
  left join webhook_endpoints w
    on w.organization_id = r.organization_id and w.id = r.webhook_id
 where coalesce(w.url, r.url) is not null
    on conflict (organization_id, campaign_id, lead_id, node_id) do nothing
"""

# A start writes nothing on its lead before it is settled, so that two claims may take one: it was
# counted twice, and begins once.  Should midnight be between, the new day has one start more.
# Lanes of the campaign that found the day's number used up look again: they are locked first, as a
# claim does.
_WAKE_STARTS = f"""
update lanes l set ready_at = %(now)s
  from (select organization_id, campaign_id, account_id, operation from lanes
         where operation = {STARTS} and ready_at > %(now)s
           and (organization_id, campaign_id) in (
                 select organization_id, campaign_id
                   from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid))
         order by organization_id, campaign_id, account_id
           for no key update) k
 where l.organization_id = k.organization_id and l.campaign_id = k.campaign_id
   and l.account_id = k.account_id and l.operation = k.operation
"""
_GIVE_BACK_STARTS = """
update campaign_senders s set starts = greatest(s.starts - r.starts, 0)
  from (select organization_id, campaign_id, account_id, count(*) as starts
          from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid,
               account_id uuid)
         group by 1, 2, 3) r
 where s.organization_id = r.organization_id and s.campaign_id = r.campaign_id
   and s.account_id = r.account_id
"""

_GIVE_BACK = """
with back as (
    select r.organization_id, r.account_id, r.operation, r.bucket_at, count(*) as units
      from json_to_recordset(%(rows)s) as r(organization_id uuid, account_id uuid, operation text,
           bucket_at timestamptz)
     group by 1, 2, 3, 4),
locked as materialized (
    select n.organization_id, n.account_id, n.operation, n.bucket_at, back.units
      from rate_counters n join back using (organization_id, account_id, operation, bucket_at)
     order by 1, 2, 3, 4
       for no key update of n)
update rate_counters n
   set used = n.used - l.units
  from locked l
 where n.organization_id = l.organization_id and n.account_id = l.account_id
   and n.operation = l.operation and n.bucket_at = l.bucket_at
"""


async def settle(
    conn: AsyncConnection[Any], reports: Sequence[Report], *, now: datetime, actor: str
) -> Settled:
    """Decide on every report and write what follows, in one transaction; return what was done.

    Runs twice harmlessly: a token is spent by its first use, and reports without a ticket are
    events that a later status no longer hears.
    """
    if not reports:
        return Settled()
    async with conn.pipeline(), conn.transaction():
        return await apply(conn, reports, now=now, actor=actor)


async def settle_apart(
    conn: AsyncConnection[Any],
    reports: Sequence[Report],
    error: Exception,
    *,
    now: datetime,
    actor: str,
) -> Settled:
    """Settle each report by itself, after a batch failed of `error`.

    What the database cannot take of one (a value too long for an index, a number out of range)
    holds its lead, with the reason; of the others nothing is lost.  Raises `error` itself where it
    is not about what a report says: a connection that was lost, a lock, a disk that is full.
    """
    if not _is_of_a_report(error):
        raise error
    log.warning("a batch failed: each outcome is settled by itself", extra=_words(error))
    settled = Settled()
    for report in reports:
        try:
            one = await settle(conn, [report], now=now, actor=actor)
        except Exception as culprit:
            if not _is_of_a_report(culprit):
                raise
            log.error(  # noqa: TRY400  its text has the row, and so what is sent
                "an outcome cannot be stored",
                extra={"lead_id": str(report.lead_id), "alert": True, **_words(culprit)},
            )
            held = _without_words(report, _words(culprit)["error"])
            try:
                one = await settle(conn, [held], now=now, actor=actor)
            except Exception as again:
                if not _is_of_a_report(again):
                    raise
                # not even that: its lease ends, and reconcile asks what became of it
                log.error("a lead cannot be held", extra=_words(again))  # noqa: TRY400  as above
                continue
        settled.applied += one.applied
        settled.stale += one.stale
        settled.finished += one.finished
        settled.outcomes += one.outcomes
    return settled


def _without_words(report: Report, error: str) -> Report:
    """Return a report without anything that came from outside: its lead is held."""
    reason = f"the step is {report.state or 'over'}, but what it brought cannot be stored: {error}"
    hears = report.event is not None or report.ticket is not None
    event = ex.Unknowable(reason) if hears else None
    return replace(
        report,
        event=event,
        reference=None,
        reason=reason,
        learned=None,
        progress=None,
        hold_budget_until=None,
        errors=0,
        basis=None,
    )


# SQLSTATE classes that are about a value: data, integrity, a limit of the program's.
_ABOUT_VALUES = ("22", "23", "54")


def _is_of_a_report(error: Exception) -> bool:
    """Whether an error can be due to what one report says, not to the server or the way to it."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "")[:2] in _ABOUT_VALUES
    return isinstance(error, ArithmeticError | LookupError | TypeError | ValueError)


def _words(error: Exception) -> dict[str, str]:
    """Name an error, without the values that its text may hold."""
    named = {"error": type(error).__name__}
    if isinstance(error, psycopg.Error) and error.diag.constraint_name:
        named["constraint"] = error.diag.constraint_name
    return named


async def apply(
    conn: AsyncConnection[Any], reports: Sequence[Report], *, now: datetime, actor: str
) -> Settled:
    """Do what `settle` does, inside the caller's transaction; fastest inside a pipeline too."""
    tickets = [
        {
            **_action(r),
            "state": r.state,
            "check_at": r.check_at,
            "progress": r.progress,
            "reference": r.reference,
            "reason": r.reason,
        }
        for r in reports
        if r.ticket is not None and r.state is not None
    ]
    lifted = [r for r in reports if isinstance(r.event, ex.Released) and r.ticket is None]
    fence = None
    if tickets:
        fence = await conn.execute(_FENCE, {"rows": recordset(tickets), "now": now})
    if lifted:
        of = recordset(_walk(r) for r in lifted)
        await conn.execute(_LIFT, {"rows": of, "now": now})
    locking = await _lock(conn, reports)  # the answers come later
    fenced = set() if fence is None else set(await fence.fetchall())
    held = [
        r
        for r in reports
        if r.ticket is None
        or r.state is None
        or (r.campaign_id, r.lead_id, r.ticket.token) in fenced
    ]
    settled = await decide_all(conn, held, await _locked(locking), now=now, actor=actor)
    settled.stale += len(reports) - len(held)
    return settled


async def _lock(
    conn: AsyncConnection[Any], reports: Iterable[Report]
) -> AsyncCursor[dict[str, Any]]:
    """Lock the executions that the reports tell of; the answer is their rows."""
    heard = [_walk(r) for r in reports if r.event is not None]
    rows = conn.cursor(row_factory=dict_row)
    await rows.execute(_LOCK, {"rows": recordset(heard)})
    return rows


def _walk(report: Report) -> dict[str, Any]:
    """Return the key of the execution that a report is of."""
    return {
        "organization_id": report.organization_id,
        "campaign_id": report.campaign_id,
        "lead_id": report.lead_id,
    }


def _action(report: Report) -> dict[str, Any]:
    """Return the key of the action that a report is of, while it is open: none without a ticket."""
    return {**_walk(report), "token": report.ticket and report.ticket.token}


async def _locked(rows: AsyncCursor[dict[str, Any]]) -> dict[RunKey, dict[str, Any]]:
    return {(row["campaign_id"], row["lead_id"]): row for row in await rows.fetchall()}


async def decide_all(
    conn: AsyncConnection[Any],
    held: Sequence[Report],
    locked: Mapping[RunKey, dict[str, Any]],
    *,
    now: datetime,
    actor: str,
) -> Settled:
    """Decide on reports whose tokens are spent, as the rows `locked` are, and write it."""
    settled = Settled(applied=len(held))
    versions = await load_workflows(
        conn, {(row["organization_id"], row["workflow_version_id"]) for row in locked.values()}
    )

    runs = {key: execution(row, rules(row)) for key, row in locked.items()}
    told = set()
    repeated: list[dict[str, UUID]] = []
    history: list[dict[str, Any]] = []
    moves: list[Move] = []
    effects: list[tuple[Report, ex.Effect, Execution]] = []
    late_replies: list[dict[str, UUID]] = []
    for report in held:
        key = (report.campaign_id, report.lead_id)
        run = runs.get(key)
        if report.event is None or run is None or _has_left(run, report):
            if isinstance(report.event, ex.Began):
                repeated.append(_sender(report))
            continue
        workflow = versions[locked[key]["workflow_version_id"]]
        event, decision = _decided(workflow, run, report, report.event, now)
        runs[key] = decision.execution
        told.add(key)
        settled.outcomes.append(decision)
        effects += [(report, effect, decision.execution) for effect in decision.effects]
        history.append(_recorded(report, run, event, decision))
        if isinstance(event, ex.Replied) and report.stood is not None:  # the claim found it
            late_replies.append({**_walk(report), "account_id": report.account_id})
        if not run.status.is_final:  # what is heard after the end moves nobody
            moves.append(move(report.organization_id, run, decision))
        settled.finished += decision.execution.status.is_final and not run.status.is_final

    await conn.execute(
        _WRITE,
        {
            "now": now,
            "actor": actor,
            # A lane may have slept while its execution was in flight, even if the row stays as is.
            # Where something is told it is saved anyhow: a step that waits for it was decided
            # before, and must not be told as if it had come first.
            "executions": recordset(
                {
                    **_saved(locked[key]["organization_id"], locked[key]["account_id"], run),
                    "told": key in told,
                }
                for key, run in runs.items()
            ),
            "history": recordset(history),
            "learned": recordset(_learned(held)),
        },
    )
    await count(conn, moves)
    await _notify(
        conn,
        effects,
        lambda report: versions[locked[report.campaign_id, report.lead_id]["workflow_version_id"]],
        now,
    )
    if late_replies:
        await tell_late(conn, late_replies, now)
    for report, effect, _ in effects:
        if isinstance(effect, ex.PauseAccount):
            await _pause(conn, report, effect, now, actor)
    await count_refusals(conn, _judged(held), now=now, actor=actor)
    await _recover(conn, held, now)
    await _throttle(conn, held, effects, now)
    await _rest(conn, held, now)
    if released := _released(held):
        await conn.execute(_GIVE_BACK, {"rows": recordset(released)})
    if repeated:
        await conn.execute(_WAKE_STARTS, {"now": now, "rows": recordset(repeated)})
        await conn.execute(_GIVE_BACK_STARTS, {"rows": recordset(repeated)})
    return settled


class Guess(Struct, frozen=True):
    """What a report comes to, decided on the row as the claim read it."""

    report: Report
    basis: Basis
    event: ex.Event
    decision: Decision

    def row(self, place: int) -> dict[str, Any]:
        """Return what `_WRITE_UNCHANGED` is told of it: null is what is not said."""
        report, basis, run = self.report, self.basis, self.decision.execution
        row = _recorded(report, basis.run, self.event, self.decision)
        row["account_id"] = report.account_id
        row["place"] = place
        row["seen"] = basis.row_version
        row["status"] = run.status
        row["node_id"] = run.node_id
        row["operation"] = run.operation
        row["next_run_at"] = run.next_run_at
        row["provider_id"] = run.provider_id
        for name in ("posts", "deadline_at", "outcome", "reason", "finished_at"):
            if value := getattr(run, name):
                row[name] = value
        for name in _SELDOM:
            if (value := getattr(run, name)) != getattr(basis.run, name):
                row[name] = value
        if report.ticket is not None:
            row["token"] = report.ticket.token
            row["state"] = report.state
            row["reference"] = report.reference
            row["refusal"] = report.reason
        if report.learned is not None:
            row["learned"] = True
            row |= _told(report.learned)
        return row


def guess(reports: Sequence[Report], now: datetime) -> tuple[list[Guess], list[Report]]:
    """Decide on what nothing but a change of its row can upset; return that, and the others.

    A step of an account without troubles that succeeded, or was refused for what its person is,
    changes nothing but its own lead.
    """
    # numbers: a UUID is hashed and compared in Python
    leads = Counter([report.lead_id.int for report in reports])
    guesses, others = [], []
    for report in reports:
        basis = report.basis
        if (
            basis is None
            or report.event is None
            or isinstance(report.event, ex.Replied)  # somebody may have asked to be told
            or not (
                report.ticket is None or report.state in (ActionState.DONE, ActionState.REFUSED)
            )
            or (report.ticket is not None and report.recovering)
            or report.errors
            or report.silence
            or report.word is not None
            or report.hold_budget_until is not None
            or leads[report.lead_id.int] > 1
        ):
            others.append(report)
            continue
        event, decision = _decided(basis.workflow, basis.run, report, report.event, now)
        if all(isinstance(effect, ex.Notify) for effect in decision.effects):
            guesses.append(Guess(report, basis, event, decision))
        else:
            others.append(report)
    return guesses, others


async def write_unchanged(
    conn: AsyncConnection[Any], guesses: Sequence[Guess], *, now: datetime, actor: str
) -> AsyncCursor[Any]:
    """Spend the tokens, and save what was guessed of executions whose rows are as they were.

    Inside the caller's transaction and pipeline.  The answer to this one is of which of them (by
    place) the action was ours, and whether they were saved.
    """
    rows = (each.row(place) for place, each in enumerate(guesses))
    return await conn.execute(
        _WRITE_UNCHANGED, {"now": now, "actor": actor, "steps": recordset(rows)}
    )


async def settle_guessed(
    conn: AsyncConnection[Any],
    guesses: Sequence[Guess],
    ours: Mapping[int, bool],
    *,
    now: datetime,
    actor: str,
) -> Settled:
    """Finish what `write_unchanged` began; what it had to leave is decided on as it is now.

    `ours`: the places of those whose action was ours, and whether they were saved.  What was not
    is locked only here, behind lanes: whoever holds it and waits for one of those is undone by
    PostgreSQL, or we are, and runs again.
    """
    settled, changed = Settled(), []
    effects: list[tuple[Report, ex.Effect, Execution]] = []
    saved: list[Guess] = []
    workflows = {}
    for place, each in enumerate(guesses):
        report, run = each.report, each.decision.execution
        is_saved = ours.get(place)
        if is_saved is None:
            settled.stale += 1
            continue
        if not is_saved:
            changed.append(report)
            continue
        settled.applied += 1
        settled.finished += run.status.is_final
        settled.outcomes.append(each.decision)
        saved.append(each)
        if each.decision.effects:
            effects += [(report, effect, run) for effect in each.decision.effects]
            workflows[report.lead_id] = each.basis.workflow
    await count(
        conn, [move(each.report.organization_id, each.basis.run, each.decision) for each in saved]
    )
    await _notify(conn, effects, lambda report: workflows[report.lead_id], now)
    if changed:
        await conn.execute(_UNTELL, {"rows": recordset(map(_action, changed))})
        locked = await _locked(await _lock(conn, changed))
        late = await decide_all(conn, changed, locked, now=now, actor=actor)
        settled.applied += late.applied
        settled.finished += late.finished
        settled.outcomes += late.outcomes
    if stands := _later_stands(saved, now):
        await conn.execute(_WAKE_LAST, {"stands": recordset(stands)})
    return settled


def _later_stands(saved: Iterable[Guess], now: datetime) -> list[dict[str, Any]]:
    """Return when, after `now`, the first of those saved is due in each lane."""
    first: dict[tuple[int, int, Operation], tuple[datetime, Guess]] = {}
    for each in saved:
        run = each.decision.execution
        if (at := run.next_run_at) is not None and at > now:
            lane = (run.campaign_id.int, each.report.account_id.int, run.operation)
            if lane not in first or at < first[lane][0]:
                first[lane] = (at, each)
    return [
        {
            "organization_id": each.report.organization_id,
            "campaign_id": each.report.campaign_id,
            "account_id": each.report.account_id,
            "operation": each.decision.execution.operation,
            "next_run_at": at,
        }
        for at, each in first.values()
    ]


def _recorded(
    report: Report, run: Execution, event: ex.Event, decision: Decision
) -> dict[str, Any]:
    kind, detail = recorded(event)
    return {
        "organization_id": report.organization_id,
        "lead_id": report.lead_id,
        "campaign_id": report.campaign_id,
        "kind": kind,
        "left_node_id": run.node_id,
        "result": decision.result,
        "entered": decision.entered,
        "detail": detail,
    }


def _decided(
    workflow: Workflow, run: Execution, report: Report, event: ex.Event, now: datetime
) -> tuple[ex.Event, Decision]:
    """Decide; a step's event that cannot happen here is a defect, and its lead held for a person.

    It must cost nobody else in the batch their outcome, nor this lead its place.  What a person
    asked for is refused instead: IllegalTransition.
    """
    try:
        return event, decide(workflow, run, event, now)
    except IllegalTransition as defect:
        if report.stood is None:
            raise
        log.exception("impossible event", extra={"lead_id": str(run.lead_id), "alert": True})
        held = ex.Unknowable(f"a defect of the engine: {defect}")
        return held, decide(workflow, run, held, now)


def _sender(report: Report) -> dict[str, UUID]:
    return {
        "organization_id": report.organization_id,
        "campaign_id": report.campaign_id,
        "account_id": report.account_id,
    }


def _has_left(run: Execution, report: Report) -> bool:
    """Whether the lead is no longer where the step was begun: its outcome comes too late."""
    return report.stood is not None and report.stood != (run.node_id, run.operation)


def _saved(organization_id: UUID, account_id: UUID, run: Execution) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "account_id": account_id,
        "campaign_id": run.campaign_id,
        "lead_id": run.lead_id,
        "status": run.status,
        "node_id": run.node_id,
        "operation": run.operation,
        "next_run_at": run.next_run_at,
        "attempt": run.attempt,
        "posts": list(run.posts) or None,
        "relooked": run.relooked,
        "provider_id": run.provider_id,
        "connected": run.connected,
        "replied": run.replied,
        "started_at": run.started_at,
        "expires_at": run.expires_at,
        "deadline_at": run.deadline_at,
        "outcome": run.outcome,
        "reason": run.reason,
        "finished_at": run.finished_at,
    }


def _learned(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Merge what was learned, one row for each account and lead."""
    merged: dict[tuple[UUID, UUID], dict[str, Any]] = {}
    for report in reports:
        if report.learned is None:
            continue
        row = merged.setdefault(
            (report.account_id, report.lead_id),
            {
                "organization_id": report.organization_id,
                "account_id": report.account_id,
                "lead_id": report.lead_id,
            },
        )
        row |= _told(report.learned)
    return list(merged.values())


def _told(learned: Learned) -> dict[str, Any]:
    """Return what is known of a contact, as the columns of `_LEARN`."""
    told = {
        "learned_id": learned.provider_id,
        "chat_id": learned.chat_id,
        "invitation_id": learned.invitation_id,
        "connected_at": learned.connected_at,
        "replied_at": learned.replied_at,
    }
    return {name: value for name, value in told.items() if value is not None}


async def _notify(
    conn: AsyncConnection[Any],
    effects: Iterable[tuple[Report, ex.Effect, Execution]],
    workflow_of: Callable[[Report], Workflow],
    now: datetime,
) -> None:
    """Put the notices of webhook nodes into the outbox."""
    notices = []
    for report, effect, run in effects:
        if not isinstance(effect, ex.Notify):
            continue
        node = workflow_of(report).nodes[effect.node_id]
        notices.append(
            {
                "organization_id": report.organization_id,
                "id": uuid7(),
                "campaign_id": report.campaign_id,
                "lead_id": report.lead_id,
                "node_id": effect.node_id,
                "webhook_id": node.webhook_id,
                "url": node.webhook_url,
                "execution": {
                    "status": run.status,
                    "outcome": run.outcome,
                    "connected": run.connected,
                    "replied": run.replied,
                    "startedAt": run.started_at,
                    "accountId": report.account_id,
                },
            }
        )
    if notices:
        await conn.execute(_NOTIFY, {"rows": recordset(notices), "now": now})


async def _pause(
    conn: AsyncConnection[Any],
    report: Report,
    effect: ex.PauseAccount,
    now: datetime,
    actor: str,
) -> None:
    account_id = None if effect.everyone else report.account_id
    values = {
        "organization_id": report.organization_id,
        "account_id": report.account_id,
        "everyone": effect.everyone,
        "reason": effect.reason,
        "now": now,
        "actor": actor,
    }
    await lock_lanes(conn, report.organization_id, account_id=account_id)
    await conn.execute(_PAUSE, values)
    # again, and only now: a campaign may have been started or resumed while we waited
    await set_lanes(conn, report.organization_id, account_id=account_id)


async def _recover(conn: AsyncConnection[Any], reports: Iterable[Report], now: datetime) -> None:
    """Forget the errors and throttles of accounts and budgets that work again."""
    done = [
        r for r in reports if r.recovering and r.state is ActionState.DONE and r.ticket is not None
    ]
    if not done:
        return
    organizations = list({r.organization_id for r in done})
    accounts = sorted({r.account_id for r in done})
    await conn.execute(_WELL, {"organizations": organizations, "accounts": accounts, "now": now})
    budgets = {
        (r.organization_id, r.account_id, r.ticket.operation.budget.value)
        for r in done
        if r.ticket is not None
    }
    names = ("organization_id", "account_id", "budget")
    rows = recordset(dict(zip(names, budget, strict=True)) for budget in sorted(budgets))
    await conn.execute(_WELL_BUDGET, {"rows": rows, "now": now})
    await wake_up(conn)


def _judged(reports: Iterable[Report]) -> list[Judged]:
    """Return what counts for the lanes: refusals by a word, and successes where one may be over."""
    return [
        Judged(
            (r.organization_id, r.campaign_id, r.account_id, r.ticket.operation.value),
            r.word,
            r.reason,
        )
        for r in reports
        if r.ticket is not None
        and (r.word is not None or (r.state is ActionState.DONE and r.recovering))
    ]


async def _rest(conn: AsyncConnection[Any], reports: Sequence[Report], now: datetime) -> None:
    """Let the workspace rest where its answers are not the provider's: last of all locks."""
    silent = [report for report in reports if report.silence]
    if not silent:
        return
    reason = silent[-1].reason or "no answer"
    opened = await note_silence(conn, sum(report.silence for report in silent), reason, now)
    if opened is not None:
        log.warning(
            "the provider cannot be asked: everything rests",
            extra={"reason": reason, "until": opened.until.isoformat(), "alert": True},
        )


async def _throttle(
    conn: AsyncConnection[Any],
    reports: Sequence[Report],
    effects: Iterable[tuple[Report, ex.Effect, Execution]],
    now: datetime,
) -> None:
    """Hold back accounts and budgets that the provider refused, longer each time."""
    throttles: dict[tuple[UUID, UUID, str | None], ex.Throttle] = {}
    for report, effect, run in effects:
        if isinstance(effect, ex.Throttle):
            budget = run.operation.budget.value if effect.scope is Scope.BUDGET else None
            throttles[report.organization_id, report.account_id, budget] = effect
    for key in await _count_errors(conn, reports):
        throttles.setdefault(
            (*key, None),
            ex.Throttle(Scope.ACCOUNT, "errors in a row", THROTTLE, LONGEST_THROTTLE),
        )
    for (organization_id, account_id, budget), throttle in sorted(
        throttles.items(), key=lambda item: (item[0][1], item[0][2] or "")
    ):
        await _hold_back(conn, (organization_id, account_id), budget, throttle, now)
    for report in reports:
        if report.hold_budget_until is not None and report.ticket is not None:
            await conn.execute(
                "update rate_limits set blocked_until = greatest(blocked_until, %s),"
                " blocked_reason = 'the provider says that no allowance is left'"
                " where organization_id = %s and account_id = %s and operation = %s",
                (
                    report.hold_budget_until,
                    report.organization_id,
                    report.account_id,
                    report.ticket.operation.budget.value,
                ),
            )


async def _count_errors(
    conn: AsyncConnection[Any], reports: Iterable[Report]
) -> list[tuple[UUID, UUID]]:
    """Count provider errors by account; return the accounts that had too many in a row."""
    errors: dict[tuple[UUID, UUID], int] = {}
    for report in reports:
        if report.errors:
            key = (report.organization_id, report.account_id)
            errors[key] = errors.get(key, 0) + report.errors
    if not errors:
        return []
    rows = recordset(
        {"organization_id": organization_id, "account_id": account_id, "errors": count}
        for (organization_id, account_id), count in sorted(errors.items())
    )
    cursor = await conn.execute(_ERRORS, {"rows": rows})
    return [(row[0], row[1]) for row in await cursor.fetchall() if row[2] >= ERRORS_IN_A_ROW]


async def _hold_back(
    conn: AsyncConnection[Any],
    account: tuple[UUID, UUID],
    budget: str | None,
    throttle: ex.Throttle,
    now: datetime,
) -> None:
    table, where = (
        ("connected_accounts", "organization_id = %s and id = %s")
        if budget is None
        else ("rate_limits", "organization_id = %s and account_id = %s and operation = %s")
    )
    key = [*account] if budget is None else [*account, budget]
    cursor = await conn.execute(
        f"select throttles, blocked_until from {table} where {where} for no key update", key
    )
    row = await cursor.fetchone()
    if row is None or (row[1] is not None and row[1] > now):
        return  # several actions in flight heard the same refusal: it counts once
    until = now + doubled(throttle.delay, throttle.longest, row[0])
    forget = ", errors_in_a_row = 0" if budget is None else ""
    await conn.execute(
        f"update {table} set throttles = least(throttles + 1, 32767), blocked_until = %s,"
        f" blocked_reason = %s{forget} where {where}",
        [until, throttle.reason, *key],
    )


def _released(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """List the units to give back: of actions that never left."""
    return [
        {
            "organization_id": r.organization_id,
            "account_id": r.account_id,
            "operation": budget,
            "bucket_at": r.ticket.bucket_at,
        }
        for r in reports
        if r.state is ActionState.RELEASED and r.ticket is not None
        for budget in r.ticket.budgets
    ]

"""Writing back what became of a batch: lock, decide, write.

One transaction: fence by token, lock the executions as they are *now*, decide on those, and write
set-wise.  A row that changed since the claim (a reply came in, an operator stopped it) is decided
on as it is, never overwritten.  Most steps of a ticker go the quicker way of `guessed`, whose
changed rows end here; every other change of an execution comes here at once.

Locks are taken in one order, so that no two transactions wait for each other: actions, executions
(by key), people of walks that end for another's sake, lanes (by key), budgets and accounts,
counters.  A claim never waits for any but the last.
Out of this order, at the end of a turn, are only lanes that slept when it began and rows that
changed meanwhile (`guessed.settle_guessed`): should two wait for each other there, PostgreSQL
undoes one, which runs again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.execution import Decision, Execution
from clento_engine.domain.report import Effected, Report
from clento_engine.domain.transition import decide
from clento_engine.domain.workflow import Workflow
from clento_engine.store.literals import ABSENT, OPEN, STARTS, UNKNOWN
from clento_engine.store.moves import Move, count, move
from clento_engine.store.outbox import tell_late, tell_nodes
from clento_engine.store.rows import EXECUTION, RULES, execution, recordset, rules
from clento_engine.store.troubles import write_troubles
from clento_engine.store.walking import behind, still_behind
from clento_engine.store.workflows import load_workflows
from clento_engine.store.writing import (
    COLUMNS,
    HISTORY_COLUMNS,
    LEARN,
    LEARNED_COLUMNS,
    NUMBER,
    OF_LEADS,
    OR_ADD,
    RECORD,
    SAVE,
    WAKE,
    action_key,
    contact_rows,
    decided,
    execution_key,
    execution_row,
    history_row,
)

RunKey = tuple[UUID, UUID]  # campaign, lead


@dataclass(slots=True)
class Settled:
    """`stale`: outcomes whose token another process had taken over; they changed nothing."""

    applied: int = 0
    stale: int = 0
    finished: int = 0
    outcomes: list[Decision] = field(default_factory=list)


# 1: spend the tokens.  Only an action that is open and whose token is ours becomes what it became;
# an unknown one stays open, with what the questions about it have found so far.
_FENCE = f"""
update actions a
   set state = r.state, check_at = r.check_at, reference = coalesce(r.reference, a.reference),
       reason = r.reason, settled_at = case when r.state = {UNKNOWN} then null else %(now)s end,
       progress = case when r.state = {UNKNOWN} then coalesce(r.progress, a.progress) end,
       number = case when r.state = {UNKNOWN} then null else {NUMBER} end
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid,
       token uuid, state text, check_at timestamptz, progress jsonb, reference text, reason text)
 where a.organization_id = r.organization_id and a.campaign_id = r.campaign_id
   and a.lead_id = r.lead_id and a.token = r.token and a.state in {OPEN}
returning a.campaign_id, a.lead_id, a.token
"""

# A hold that a person lifted, told without a ticket: what nobody could find out about is settled by
# that word.
_LIFT = f"""
update actions a
   set state = {ABSENT}, check_at = null, settled_at = %(now)s, reason = 'released by a person',
       number = {NUMBER}
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid)
 where a.organization_id = r.organization_id and a.campaign_id = r.campaign_id
   and a.lead_id = r.lead_id and a.state = {UNKNOWN}
"""

# 2: lock the executions, by key, and read them as they are now.
_LOCK = f"""
select e.organization_id, e.account_id, e.workflow_version_id,
       {RULES}, {EXECUTION}
  from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid, lead_id uuid)
  join campaign_executions e using (organization_id, campaign_id, lead_id)
  join campaigns c on c.organization_id = e.organization_id and c.id = e.campaign_id
 order by e.campaign_id, e.lead_id
   for no key update of e
"""

# 3: write what was decided of the executions that we have locked, their history, and what the
# accounts learned; wake the lanes that they now stand in.
_WRITE = f"""
with held as (
    select * from json_to_recordset(%(executions)s) as r({COLUMNS}, told boolean)),
saved as ({SAVE}
      from held r
     where e.organization_id = r.organization_id and e.campaign_id = r.campaign_id
       and e.lead_id = r.lead_id and r.told),
recorded as ({RECORD}
      from json_to_recordset(%(history)s) as r(organization_id uuid, lead_id uuid,
           campaign_id uuid, {HISTORY_COLUMNS})),
learned as ({LEARN}
      from json_to_recordset(%(learned)s) as r(organization_id uuid, account_id uuid,
           lead_id uuid, {LEARNED_COLUMNS})
      {OF_LEADS}{OR_ADD}),
{WAKE}
select 1
"""

# Units of actions that never left go back to the counters that they were taken from, locked by key.
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

# The second start of a lead that two claims took is taken off what its sender began.
_GIVE_BACK_STARTS = """
update campaign_senders s set starts = greatest(s.starts - r.starts, 0)
  from (select organization_id, campaign_id, account_id, count(*) as starts
          from json_to_recordset(%(rows)s) as r(organization_id uuid, campaign_id uuid,
               account_id uuid)
         group by 1, 2, 3) r
 where s.organization_id = r.organization_id and s.campaign_id = r.campaign_id
   and s.account_id = r.account_id
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


async def apply(
    conn: AsyncConnection[Any], reports: Sequence[Report], *, now: datetime, actor: str
) -> Settled:
    """Do what `settle` does, inside the caller's transaction; fastest inside a pipeline too."""
    tickets = [
        {
            **action_key(r),
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
        of = recordset(execution_key(r) for r in lifted)
        await conn.execute(_LIFT, {"rows": of, "now": now})
    locking = await lock(conn, reports)  # the answers come later
    fenced = set() if fence is None else set(await fence.fetchall())
    held = [
        r
        for r in reports
        if r.ticket is None
        or r.state is None
        or (r.campaign_id, r.lead_id, r.ticket.token) in fenced
    ]
    locked = await locked_rows(locking)
    held = await _without_the_last_walks(conn, held)
    settled = await decide_all(conn, held, locked, now=now, actor=actor)
    settled.stale += len(reports) - len(held)
    return settled


async def _without_the_last_walks(conn: AsyncConnection[Any], held: list[Report]) -> list[Report]:
    """Leave out what a claim saw of walks that are to end for another one, which does not go on.

    Their rows are locked; what a merge says is decided under all locks already.
    """
    ends = [r for r in held if r.stood is not None and isinstance(r.event, ex.Duplicate)]
    if not ends:
        return held
    ending = await still_behind(conn, map(execution_key, ends))
    go_on = {key for r in ends if (key := (r.campaign_id, r.lead_id)) not in ending}
    return [
        r
        for r in held
        if (r.campaign_id, r.lead_id) not in go_on or not isinstance(r.event, ex.Duplicate)
    ]


async def _to_end(conn: AsyncConnection[Any], held: Sequence[Report]) -> dict[RunKey, str]:
    """Return the walks of settled steps that are to end, for their person goes on in another.

    Whoever found that out left a walk alone while its action was under way.
    """
    steps = [execution_key(r) for r in held if r.ticket is not None and r.event is not None]
    if not steps:
        return {}
    found = await behind(conn, steps)
    if not found:
        return {}
    return await still_behind(
        conn, [each for each in steps if (each["campaign_id"], each["lead_id"]) in found]
    )


async def lock(
    conn: AsyncConnection[Any], reports: Iterable[Report]
) -> AsyncCursor[dict[str, Any]]:
    """Lock the executions that the reports tell of; the answer is their rows."""
    # what an account learns of a person is written under the lock that whoever merges them takes
    heard = [execution_key(r) for r in reports if r.event is not None or r.learned is not None]
    rows = conn.cursor(row_factory=dict_row)
    await rows.execute(_LOCK, {"rows": recordset(heard)})
    return rows


async def locked_rows(rows: AsyncCursor[dict[str, Any]]) -> dict[RunKey, dict[str, Any]]:
    """Return the answer to `lock`, by execution."""
    return {(row["campaign_id"], row["lead_id"]): row for row in await rows.fetchall()}


@dataclass(slots=True)
class _Decided:
    """What a batch came to, decided on rows under our locks."""

    runs: dict[RunKey, Execution]  # every one locked, as it is now
    heard: set[RunKey] = field(default_factory=set)  # those that an event reached
    history: list[dict[str, Any]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    effects: list[Effected] = field(default_factory=list)
    begun_twice: list[dict[str, UUID]] = field(default_factory=list)
    late_replies: list[dict[str, UUID]] = field(default_factory=list)


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
    workflows = {key: versions[row["workflow_version_id"]] for key, row in locked.items()}
    ending = await _to_end(conn, held)
    batch = _decide(held, locked, workflows, ending, settled, now)
    await _write(conn, held, locked, batch, now=now, actor=actor)
    await count(conn, batch.moves)
    await tell_nodes(conn, batch.effects, workflows, now)
    if batch.late_replies:
        await tell_late(conn, batch.late_replies, now)
    await write_troubles(conn, held, batch.effects, now=now, actor=actor)
    if released := _released(held):
        await conn.execute(_GIVE_BACK, {"rows": recordset(released)})
    if batch.begun_twice:
        rows = recordset(batch.begun_twice)
        await conn.execute(_WAKE_STARTS, {"now": now, "rows": rows})
        await conn.execute(_GIVE_BACK_STARTS, {"rows": rows})
    return settled


def _decide(
    held: Sequence[Report],
    locked: Mapping[RunKey, dict[str, Any]],
    workflows: Mapping[RunKey, Workflow],
    ending: Mapping[RunKey, str],
    settled: Settled,
    now: datetime,
) -> _Decided:
    """Decide on each report in its order, on what the one before it made of its execution.

    The walks that are `ending`, with the reason, do so behind the outcome of their step.
    """
    batch = _Decided({key: execution(row, rules(row)) for key, row in locked.items()})
    for report in held:
        key = (report.campaign_id, report.lead_id)
        run = batch.runs.get(key)
        if report.event is None or run is None or _has_left(run, report):
            if isinstance(report.event, ex.Began):
                batch.begun_twice.append(_sender(report))
            continue
        event, decision = decided(workflows[key], run, report, report.event, now)
        batch.runs[key] = decision.execution
        batch.heard.add(key)
        settled.outcomes.append(decision)
        batch.effects += [(report, effect, decision.execution) for effect in decision.effects]
        batch.history.append(history_row(report, run, event, decision))
        if isinstance(event, ex.Replied) and report.stood is not None:  # the claim found it
            batch.late_replies.append({**execution_key(report), "account_id": report.account_id})
        if not run.status.is_final:  # what is heard after the end moves nobody
            batch.moves.append(move(report.organization_id, run, decision))
        settled.finished += decision.execution.status.is_final and not run.status.is_final
        if report.ticket is not None and key in ending and not decision.execution.status.is_final:
            run, event = decision.execution, ex.Duplicate(ending[key])
            last = decide(workflows[key], run, event, now)
            batch.runs[key] = last.execution
            batch.history.append(history_row(report, run, event, last))
            batch.moves.append(move(report.organization_id, run, last))
            settled.outcomes.append(last)
            settled.finished += 1
    return batch


async def _write(
    conn: AsyncConnection[Any],
    held: Sequence[Report],
    locked: Mapping[RunKey, dict[str, Any]],
    batch: _Decided,
    *,
    now: datetime,
    actor: str,
) -> None:
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
                    **execution_row(locked[key]["organization_id"], locked[key]["account_id"], run),
                    "told": key in batch.heard,
                }
                for key, run in batch.runs.items()
            ),
            "history": recordset(batch.history),
            "learned": recordset(contact_rows(held)),
        },
    )


def _sender(report: Report) -> dict[str, UUID]:
    return {
        "organization_id": report.organization_id,
        "campaign_id": report.campaign_id,
        "account_id": report.account_id,
    }


def _has_left(run: Execution, report: Report) -> bool:
    """Whether the lead is no longer where the step was begun: its outcome comes too late."""
    return report.stood is not None and report.stood != (run.node_id, run.operation)


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
        if (r.state is ActionState.RELEASED or r.gives_back) and r.ticket is not None
        for budget in r.ticket.budgets
    ]

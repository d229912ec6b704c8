"""The optimistic path: decide on rows as the claim read them, write where they are still those.

Without it each batch locks and reads anew what its claim has read a moment before: two statements,
a flight and the building of every execution more.  What changed meanwhile goes the way of `settle`,
on the row as it is.  Both paths leave the same database (tests/store/test_two_paths.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection, AsyncCursor

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.execution import Decision
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import kind_of
from clento_engine.domain.report import Basis, Effected, Report
from clento_engine.store.literals import OPEN
from clento_engine.store.moves import count, move
from clento_engine.store.outbox import tell_nodes
from clento_engine.store.rows import recordset
from clento_engine.store.settle import Settled, decide_all, lock, locked_rows
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
    SELDOM,
    WAKE,
    WAKE_SOME,
    action_key,
    contact_columns,
    decided,
    history_row,
)

# Lanes that another claim may have, or that our own should see, are woken with the save; those that
# sleep right before the commit: else whoever moves leads of the same senders waits for our turn.
_WAKE_READY = WAKE_SOME.format(some="l.ready_at <= %(now)s or t.at <= %(now)s")

# Steps that were decided on before their rows were locked: all at once, of those whose action is
# still ours and whose row is still the one that was decided on.  Where it is not, the action is
# settled all the same, and the step is told as not saved.  Actions first, then executions by key.
#
# What became of the lead is told with its action: one row less, and one index entry, for each step.
#
# Names that nobody had are written here, not by themselves before: with a statement of its own for
# them a first visit cost the server twice as much.  Under the lock of the walk, whose row is as the
# claim found it, its person is who they were then.  Where another walk took a name meanwhile, less
# are written than there were, and nothing of this is kept (`NamesTaken`).
_WRITE_UNCHANGED = f"""
with decided as (
    select * from json_to_recordset(%(steps)s) as r({COLUMNS}, place int, seen xid, token uuid,
           state text, reference text, refusal text, {HISTORY_COLUMNS},
           learned boolean, {LEARNED_COLUMNS}, person_id uuid, new_names text[], kinds text[])),
fenced as (
    update actions a
       set state = r.state, check_at = null, reference = coalesce(r.reference, a.reference),
           reason = r.refusal, settled_at = %(now)s, number = {NUMBER}, kind = r.kind,
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
saved as ({SAVE}
      from ours r
     where e.organization_id = r.organization_id and e.campaign_id = r.campaign_id
       and e.lead_id = r.lead_id and e.xmin = r.seen
    returning r.*),
held as materialized (
    select * from saved),
recorded as ({RECORD}
      from held r where r.token is null),
named as (
    insert into person_names (organization_id, name, kind, person_id, learned_at)
    select h.organization_id, x.name, x.kind, h.person_id, %(now)s
      from held h cross join lateral unnest(h.new_names, h.kinds) x(name, kind)
     order by 1, 2
        on conflict do nothing
    returning name),
learned as ({LEARN}
      from held r {OF_LEADS} where r.learned{OR_ADD}),
{_WAKE_READY}
select r.place, h.place is not null as is_saved, (select count(*) from named) as named
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

# Wake the lanes that slept when the turn began: the last statement before the commit.
_WAKE_LAST = f"""
with held as (
    select * from json_to_recordset(%(stands)s) as r(organization_id uuid, campaign_id uuid,
           account_id uuid, operation text, next_run_at timestamptz)),
{WAKE}
select 1
"""


class Guess(Struct, frozen=True):
    """What a report comes to, decided on the row as the claim read it."""

    report: Report
    basis: Basis
    event: ex.Event
    decision: Decision

    def row(self, place: int) -> dict[str, Any]:
        """Return what `_WRITE_UNCHANGED` is told of it: null is what is not said."""
        report, basis, run = self.report, self.basis, self.decision.execution
        row = history_row(report, basis.run, self.event, self.decision)
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
        for name in SELDOM:
            if (value := getattr(run, name)) != getattr(basis.run, name):
                row[name] = value
        if report.ticket is not None:
            row["token"] = report.ticket.token
            row["state"] = report.state
            row["reference"] = report.reference
            row["refusal"] = report.reason
        if report.new_names and report.shown is not None:
            row["person_id"] = report.shown.person_id
            row["new_names"] = report.new_names
            row["kinds"] = [kind_of(name) for name in report.new_names]
        if report.learned is not None:
            row["learned"] = True
            row |= contact_columns(report.learned)
        return row


class NamesTaken(Exception):
    """Names that answers showed are somebody's by now: they must be learned before a settle."""


def guess(reports: Sequence[Report], now: datetime) -> tuple[list[Guess], list[Report]]:
    """Decide on what nothing but a change of its row can upset; return that, and the others.

    A step of an account without troubles that succeeded, or was refused for what its person is,
    changes nothing but its own lead.
    """
    # by number: a UUID is hashed and compared in Python
    leads = Counter([report.lead_id.int for report in reports])
    guesses, others = [], []
    for report in reports:
        basis = report.basis
        if (
            basis is None
            or report.event is None
            or leads[report.lead_id.int] > 1
            or not _is_of_its_lead_alone(report)
        ):
            others.append(report)
            continue
        event, decision = decided(basis.workflow, basis.run, report, report.event, now)
        if all(isinstance(effect, ex.Notify) for effect in decision.effects):
            guesses.append(Guess(report, basis, event, decision))
        else:
            others.append(report)
    return guesses, others


def _is_of_its_lead_alone(report: Report) -> bool:
    """Whether nothing else counts: account, budget or lane, whom replies are told, another walk."""
    if isinstance(report.event, ex.Replied | ex.Duplicate) or report.hold_budget_until is not None:
        return False
    if report.errors or report.silence or report.word is not None:
        return False
    if report.ticket is None:
        return True
    return report.state in (ActionState.DONE, ActionState.REFUSED) and not report.recovering


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
    named: int,
    *,
    now: datetime,
    actor: str,
) -> Settled:
    """Finish what `write_unchanged` began; what it had to leave is decided on as it is now.

    `ours`: the places of those whose action was ours, and whether they were saved; `named`: how
    many names were written.  Raises NamesTaken when those are not all.  What was not saved
    is locked only here, behind lanes: whoever holds it and waits for one of those is undone by
    PostgreSQL, or we are, and runs again.
    """
    settled, changed = Settled(), []
    saved: list[Guess] = []
    if (
        sum(len(each.report.new_names) for place, each in enumerate(guesses) if place in ours)
        != named
    ):
        raise NamesTaken
    for place, each in enumerate(guesses):
        is_saved = ours.get(place)
        if is_saved is None:
            settled.stale += 1
        elif is_saved:
            saved.append(each)
            settled.applied += 1
            settled.finished += each.decision.execution.status.is_final
            settled.outcomes.append(each.decision)
        else:
            changed.append(each.report)
    await _follow_up(conn, saved, now)
    if changed:
        await conn.execute(_UNTELL, {"rows": recordset(map(action_key, changed))})
        locked = await locked_rows(await lock(conn, changed))
        late = await decide_all(conn, changed, locked, now=now, actor=actor)
        settled.applied += late.applied
        settled.finished += late.finished
        settled.outcomes += late.outcomes
    if stands := _later_stands(saved, now):
        await conn.execute(_WAKE_LAST, {"stands": recordset(stands)})
    return settled


async def _follow_up(conn: AsyncConnection[Any], saved: Iterable[Guess], now: datetime) -> None:
    """Count the moves of what was saved, and put the notices of webhook nodes into the outbox."""
    moves, workflows = [], {}
    effects: list[Effected] = []
    for each in saved:
        report, run = each.report, each.decision.execution
        moves.append(move(report.organization_id, each.basis.run, each.decision))
        if each.decision.effects:
            effects += [(report, effect, run) for effect in each.decision.effects]
            workflows[report.campaign_id, report.lead_id] = each.basis.workflow
    await count(conn, moves)
    await tell_nodes(conn, effects, workflows, now)


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

"""What a decision writes: an execution, its history, what its account learned, its lane's moment.

The parts of statements and their rows that both ways to settle are made of: `settle`, which decides
on rows under its locks, and `guessed`, which decides before and writes where nothing has changed.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from clento_engine.domain import execution as ex
from clento_engine.domain.execution import Decision, Execution, IllegalTransition
from clento_engine.domain.history import recorded
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.transition import decide
from clento_engine.domain.workflow import Workflow

log = logging.getLogger(__name__)


# The sequence that numbers the history.
NUMBER = "nextval('events_id_seq')"

# What a batch writes of each execution, and how.
COLUMNS = """organization_id uuid, campaign_id uuid,
           lead_id uuid, account_id uuid, status text, node_id text, operation text,
           next_run_at timestamptz, attempt smallint, posts text[], relooked boolean,
           provider_id text, connected boolean, replied boolean, started_at timestamptz,
           expires_at timestamptz, deadline_at timestamptz, outcome text, reason text,
           finished_at timestamptz"""

# What a step seldom changes, and never to null, is left out of most rows.
SELDOM = ("attempt", "relooked", "connected", "replied", "started_at", "expires_at")

# Write the row `r` of each over its execution.
SAVE = f"""
    update campaign_executions e
       set status = r.status, node_id = r.node_id, operation = r.operation,
           next_run_at = r.next_run_at, posts = r.posts, provider_id = r.provider_id,
           deadline_at = r.deadline_at, outcome = r.outcome, reason = r.reason,
           finished_at = r.finished_at,
           {", ".join(f"{name} = coalesce(r.{name}, e.{name})" for name in SELDOM)}"""

# The history of each: a line says what was left, with which result, and what was entered.
RECORD = """
    insert into events (organization_id, subject_id, campaign_id, at, kind, actor, node_id, result,
                        entered, detail)
    select r.organization_id, r.lead_id, r.campaign_id, %(now)s, r.kind, %(actor)s, r.left_node_id,
           r.result, r.entered, r.detail"""

# What the account came to know of each, added to what it knew: nothing is later than now.
LEARN = """
    insert into contacts as k (organization_id, account_id, person_id, provider_id, chat_id,
                               invitation_id, connected_at, replied_at)
    select r.organization_id, r.account_id, l.person_id, max(r.learned_id), max(r.chat_id),
           max(r.invitation_id),
           case when min(r.connected_at) > %(now)s then %(now)s else min(r.connected_at) end,
           case when max(r.replied_at) > %(now)s then %(now)s else max(r.replied_at) end"""
OF_LEADS = "join leads l on l.organization_id = r.organization_id and l.id = r.lead_id"
OR_ADD = """
     group by r.organization_id, r.account_id, l.person_id
     order by r.account_id, l.person_id
        on conflict (organization_id, account_id, person_id) do update
       set provider_id = coalesce(excluded.provider_id, k.provider_id),
           chat_id = nullif(coalesce(excluded.chat_id, k.chat_id), ''),
           invitation_id = coalesce(excluded.invitation_id, k.invitation_id),
           connected_at = coalesce(k.connected_at, excluded.connected_at),
           replied_at = greatest(k.replied_at, excluded.replied_at)"""

# The columns of rows that say what `RECORD` and `LEARN` write.
HISTORY_COLUMNS = "left_node_id text, kind text, result text, entered text, detail jsonb"
LEARNED_COLUMNS = """learned_id text, chat_id text, invitation_id text, connected_at timestamptz,
           replied_at timestamptz"""

# The lanes that the executions `held` now stand in, or some of them.
#
# Whoever leaves an execution in a lane says so there: a claim that could not see the execution,
# because we hold its lock, has put the lane to sleep without it.  A moment before the account is
# free again would only be looked at in vain.  The lane's moment is compared as the lock found it:
# the update's own scan still sees what stood there before a claim that we waited for.
WAKE_SOME = """
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
WAKE = WAKE_SOME.format(some="true")


def decided(
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


def history_row(
    report: Report, run: Execution, event: ex.Event, decision: Decision
) -> dict[str, Any]:
    """Return the line of the history that `event` is, as `RECORD` reads it."""
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


def execution_row(organization_id: UUID, account_id: UUID, run: Execution) -> dict[str, Any]:
    """Return the columns `COLUMNS` of an execution, each of them said."""
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


def contact_rows(reports: Iterable[Report]) -> list[dict[str, Any]]:
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
        row |= contact_columns(report.learned)
    return list(merged.values())


def contact_columns(learned: Learned) -> dict[str, Any]:
    """Return what is known of a contact, as the columns of `LEARN`."""
    columns = {
        "learned_id": learned.provider_id,
        "chat_id": learned.chat_id,
        "invitation_id": learned.invitation_id,
        "connected_at": learned.connected_at,
        "replied_at": learned.replied_at,
    }
    return {name: value for name, value in columns.items() if value is not None}


def execution_key(report: Report) -> dict[str, Any]:
    """Return the key of the execution that a report is of."""
    return {
        "organization_id": report.organization_id,
        "campaign_id": report.campaign_id,
        "lead_id": report.lead_id,
    }


def action_key(report: Report) -> dict[str, Any]:
    """Return the key of the action that a report is of, while it is open: none without a ticket."""
    return {**execution_key(report), "token": report.ticket and report.ticket.token}

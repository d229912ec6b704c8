"""Troubles of accounts and budgets: counted, held back, paused, and forgotten when all is well.

Written in the transaction that settles what told of them, after executions and lanes.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.backoff import doubled
from clento_engine.domain.failure import SILENCES_IN_A_ROW, Scope
from clento_engine.domain.report import Effected, Report
from clento_engine.store.lanes import lock_lanes, set_lanes
from clento_engine.store.literals import ACCOUNT_PAUSED, ACTIVE, BY_PROVIDER
from clento_engine.store.pending import FULL
from clento_engine.store.refusals import Judged, count_refusals
from clento_engine.store.rests import note_silence, wake_up
from clento_engine.store.rows import recordset

# provider errors on one account that hide an exceeded limit; source: Unipile's limits guide
ERRORS_IN_A_ROW = 3
THROTTLE = timedelta(hours=2)
LONGEST_THROTTLE = timedelta(hours=48)

log = logging.getLogger(__name__)


# A success ends the run of errors and throttles of its account, unless it is held back still …
_WELL = """
update connected_accounts a
   set errors_in_a_row = 0, throttles = 0
 where a.organization_id = any(%(organizations)s) and a.id = any(%(accounts)s)
   and (a.errors_in_a_row > 0 or a.throttles > 0)
   and (a.blocked_until is null or a.blocked_until <= %(now)s)
"""

# … and those of its budget.
_WELL_BUDGET = """
update rate_limits b
   set throttles = 0
  from json_to_recordset(%(rows)s) as r(organization_id uuid, account_id uuid, budget text)
 where b.organization_id = r.organization_id and b.account_id = r.account_id
   and b.operation = r.budget and b.throttles > 0
   and (b.blocked_until is null or b.blocked_until <= %(now)s)
"""

# Errors are counted by account since its last success; the answer is how many there are now.
_ERRORS = """
update connected_accounts a
   set errors_in_a_row = a.errors_in_a_row + r.errors
  from json_to_recordset(%(rows)s) as r(organization_id uuid, account_id uuid, errors int)
 where a.organization_id = r.organization_id and a.id = r.account_id
returning a.organization_id, a.id, a.errors_in_a_row
"""

# A budget whose allowance the provider says is nearly used up waits, never shorter than before.
_HOLD_BUDGET = (
    "update rate_limits set blocked_until = greatest(blocked_until, %s),"
    " blocked_reason = 'the provider says that no allowance is left'"
    " where organization_id = %s and account_id = %s and operation = %s"
)

# Accounts stop until somebody resumes them; of one that was paused before, the reason stays.
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


async def write_troubles(
    conn: AsyncConnection[Any],
    reports: Sequence[Report],
    effects: Sequence[Effected],
    *,
    now: datetime,
    actor: str,
) -> None:
    """Write what `reports`, and the `effects` of deciding on them, tell of accounts and budgets.

    After their executions were written: lanes are locked first, then accounts and budgets, and
    the workspace's rest last of all.
    """
    for report, effect, _ in effects:
        if isinstance(effect, ex.PauseAccount):
            await _pause(conn, report, effect, now, actor)
    await count_refusals(conn, _judged(reports), now=now, actor=actor)
    await _recover(conn, reports, now)
    await _throttle(conn, reports, effects, now)
    await _rest(conn, reports, now)


async def _pause(
    conn: AsyncConnection[Any],
    report: Report,
    effect: ex.PauseAccount,
    now: datetime,
    actor: str,
) -> None:
    """Pause an account, or all of the organisation where its access itself is refused."""
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
    silences = sum(report.silence for report in silent)
    if any(r.state in (ActionState.DONE, ActionState.REFUSED) and not r.silence for r in reports):
        # the provider spoke meanwhile: which of them came last is not known, so the next one tells
        silences = min(silences, SILENCES_IN_A_ROW - 1)
    opened = await note_silence(conn, silences, reason, now)
    if opened is not None:
        log.warning(
            "the provider cannot be asked: everything rests",
            extra={"reason": reason, "until": opened.until.isoformat(), "alert": True},
        )


async def _throttle(
    conn: AsyncConnection[Any],
    reports: Sequence[Report],
    effects: Iterable[Effected],
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
                _HOLD_BUDGET,
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
    """Hold back an account, or one of its budgets, twice as long as the last time."""
    table, where = (
        ("connected_accounts", "organization_id = %s and id = %s")
        if budget is None
        else ("rate_limits", "organization_id = %s and account_id = %s and operation = %s")
    )
    key = [*account] if budget is None else [*account, budget]
    cursor = await conn.execute(
        f"select throttles, blocked_until, blocked_reason from {table} where {where}"
        " for no key update",
        key,
    )
    row = await cursor.fetchone()
    if row is None:
        return
    throttles, blocked_until, blocked_reason = row
    until = now + doubled(throttle.delay, throttle.longest, throttles)
    if blocked_until is not None and blocked_until > now:
        if blocked_reason != FULL:
            return  # several actions in flight heard the same refusal: it counts once
        until = max(
            until, blocked_until
        )  # a count of ours, which a later one lifts, is not its word
    forget = ", errors_in_a_row = 0" if budget is None else ""
    await conn.execute(
        f"update {table} set throttles = least(throttles + 1, 32767), blocked_until = %s,"
        f" blocked_reason = %s{forget} where {where}",
        [until, throttle.reason, *key],
    )

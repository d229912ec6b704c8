"""Settling each report by itself, where the database refuses their batch for a value of one."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from msgspec.structs import replace
from psycopg import AsyncConnection

from clento_engine.domain import execution as ex
from clento_engine.domain.report import Report
from clento_engine.store.settle import Settled, settle

log = logging.getLogger(__name__)


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
    if not is_of_a_report(error):
        raise error
    log.warning("a batch failed: each outcome is settled by itself", extra=_words(error))
    settled = Settled()
    for report in reports:
        try:
            one = await settle(conn, [report], now=now, actor=actor)
        except Exception as culprit:
            if not is_of_a_report(culprit):
                raise
            log.error(  # noqa: TRY400  its text has the row, and so what is sent
                "an outcome cannot be stored",
                extra={"lead_id": str(report.lead_id), "alert": True, **_words(culprit)},
            )
            held = held_apart(report, culprit)
            try:
                one = await settle(conn, [held], now=now, actor=actor)
            except Exception as again:
                if not is_of_a_report(again):
                    raise
                # not even that: its lease ends, and reconcile asks what became of it
                log.error("a lead cannot be held", extra=_words(again))  # noqa: TRY400  as above
                continue
        settled.applied += one.applied
        settled.stale += one.stale
        settled.finished += one.finished
        settled.outcomes += one.outcomes
    return settled


def held_apart(report: Report, culprit: Exception) -> Report:
    """Return a report without anything that came from outside: its lead is held."""
    error = _words(culprit)["error"]
    reason = f"the step is {report.state or 'over'}, but what it brought cannot be stored: {error}"
    hears = report.event is not None or report.ticket is not None
    event = ex.Unknowable(reason) if hears else None
    return replace(
        report,
        event=event,
        reference=None,
        reason=reason,
        learned=None,
        shown=None,
        new_names=(),
        progress=None,
        hold_budget_until=None,
        errors=0,
        basis=None,
    )


# SQLSTATE classes that are about a value: data, integrity, a limit of the program's.
_ABOUT_VALUES = ("22", "23", "54")


def is_of_a_report(error: Exception) -> bool:
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

"""Parts of the engine switched off, one at a time: each breaks a promise that a proof must see.

Here and nowhere else: a test replaces a function or edits a statement on its way.
"""

import itertools
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain import transition
from clento_engine.domain.action import ActionState
from clento_engine.domain.report import Report
from clento_engine.runtime import act as acting
from clento_engine.runtime import question, ticker
from clento_engine.store import suppressions

NEVER = datetime.max.replace(tzinfo=UTC)


def edit(monkeypatch: pytest.MonkeyPatch, statement: str, what: str, into: str) -> None:
    """Change a statement of the store; AssertionError when there is nothing to change."""
    module, _, name = statement.rpartition(".")
    before = getattr(import_module(f"clento_engine.store.{module}"), name)
    assert what in before, f"{statement} has changed: what shall the control break now?"
    monkeypatch.setattr(f"clento_engine.store.{statement}", before.replace(what, into))


def absence_is_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = dict.fromkeys(question.SETTLES, timedelta(0))
    monkeypatch.setattr(question, "SETTLES", hasty)


def a_lost_answer_is_taken_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        acting, "_unknown", lambda item, *_of: acting._report(item, ActionState.ABSENT, ex.Absent())
    )


def settle_wakes_no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    for statement in ("settle._WRITE", "guessed._WRITE_UNCHANGED"):
        edit(monkeypatch, statement, "(t.before is null or t.before > t.at)", "false")


def units_are_not_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    edit(monkeypatch, "claim.WRITE_CLAIMED", "n.used + excluded.used", "n.used")


def windows_are_not_judged_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("claim", "budgets"):
        monkeypatch.setattr(
            f"clento_engine.store.{module}.counted_since", lambda window, now: now - window
        )


def it_is_always_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lane", "picking"):
        monkeypatch.setattr(f"clento_engine.domain.{module}.opens_at", lambda _hours, at, _zone: at)
    monkeypatch.setattr("clento_engine.domain.picking.closes_at", lambda _hours, _at, _zone: None)


def a_pause_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unset(*_args: object, **_named: object) -> None: ...

    monkeypatch.setattr("clento_engine.store.campaigns.set_lanes", unset)
    edit(monkeypatch, "claim.LOCK_LANES", "and c.status = 'running'", "")


def a_suppression_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    edit(monkeypatch, "claim.READ_HEADS", "x.kind = 'person'", "false")
    monkeypatch.setitem(suppressions._IS_ABOUT, "person", "false")


def replies_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = transition.decide

    def deaf(workflow: Any, run: Any, event: Any, now: datetime) -> Any:
        heard = not isinstance(event, ex.Replied)
        return decide(workflow, run, event, now) if heard else ex.Decision(run)

    for module in ("store.writing", "domain.replay"):  # else the replay would see it first
        monkeypatch.setattr(f"clento_engine.{module}.decide", deaf)


def backoff_is_thrown_by_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    throws = itertools.count()
    monkeypatch.setattr(
        transition, "backoff", lambda _attempt, _seed: timedelta(seconds=next(throws))
    )


BROKEN = [
    (absence_is_believed_at_once, "I1"),
    (a_lost_answer_is_taken_for_a_no, "I1"),
    (settle_wakes_no_lane, "I2"),
    (units_are_not_added_up, "I3"),
    (windows_are_not_judged_wider, "I3"),
    (it_is_always_open, "I4"),
    (a_pause_is_not_looked_at, "I5"),
    (a_suppression_is_not_looked_at, "I6"),
    (replies_are_not_heard, "I6"),
    (backoff_is_thrown_by_dice, "I7"),
]


# --- what a storm in virtual time sees besides ----------------------------------------------------


def absence_is_taken_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconcile asks nobody, and lets the step run again."""

    async def blindly(asked: question.Question) -> Report:
        now = asked.world.clock()
        return question.action_report(asked.action, ActionState.ABSENT, ex.Absent(), now)

    monkeypatch.setattr(question.Question, "ask", blindly)


def nobody_learns_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers show of who is who is not looked at: two names stay two people."""

    async def as_they_are(_conn: object, reports: list[Report], _now: datetime) -> list[Report]:
        return [replace(each, shown=None) for each in reports]

    monkeypatch.setattr(ticker, "look_up", as_they_are)


def two_walks_of_a_person_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who is enrolled nor who is claimed is held against the person's other walks."""
    edit(monkeypatch, "campaigns._ENROLL", "l.nth = 1 and l.elsewhere is null", "true")
    monkeypatch.setattr("clento_engine.store.walking.ahead_of", lambda _walk, _others: None)


# Not the dice: steps seldom back off there, and the model sees them.
VIRTUAL = [
    *(each for each in BROKEN if each[0] is not backoff_is_thrown_by_dice),
    (nobody_learns_a_name, "I1"),
    (two_walks_of_a_person_go_on, "I1"),
    (absence_is_taken_for_granted, "I1"),
]

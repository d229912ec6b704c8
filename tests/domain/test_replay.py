"""A history replayed gives the row it led to; what was changed in either is found and named."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import structs
from test_transition import events, rules, workflows

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.execution import (
    Event,
    Execution,
    IllegalTransition,
    Outcome,
    Result,
    Status,
)
from clento_engine.domain.history import recorded
from clento_engine.domain.operation import Operation
from clento_engine.domain.replay import Difference, Recorded, replay
from clento_engine.domain.transition import decide
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FIRST = Execution(UUID(int=1), UUID(int=2), next_run_at=NOW)
STORED = [name for name in Execution.__struct_fields__ if name not in ("campaign_id", "lead_id")]


@dataclass(slots=True)
class Walk:
    """A walk as `settle` writes it: decided, recorded, stored."""

    workflow: Workflow
    first: Execution = FIRST
    now: datetime = NOW
    history: list[Recorded] = field(default_factory=list)
    last: Execution = FIRST

    def hear(self, event: Event, after: timedelta = MINUTE) -> bool:
        """Decide on an event; False when it cannot happen here, which nobody records."""
        now = self.now + after
        try:
            decision = decide(self.workflow, self.last, event, now)
        except IllegalTransition:
            return False
        kind, detail = recorded(event)
        kept: dict[str, Any] = json.loads(json.dumps(detail))  # as PostgreSQL keeps it
        at_node, number = self.last.node_id, len(self.history)
        self.history.append(
            Recorded(number, now, kind, kept, at_node, decision.result, decision.entered)
        )
        self.last, self.now = decision.execution, now
        return True

    def replay(
        self, history: Sequence[Recorded] | None = None, last: Execution | None = None
    ) -> Difference | None:
        return replay(self.workflow, self.first, history or self.history, last or self.last)

    def with_line(self, number: int, **values: Any) -> list[Recorded]:
        """Return the history with one line changed."""
        return [replace(line, **values) if line.number == number else line for line in self.history]


def likely(run: Execution) -> Event:
    """Return what happens next to a lead with whom all goes well."""
    match run.operation:
        case Operation.START:
            return ex.Began()
        case Operation.PROFILE_LOOKUP | Operation.PROFILE_VISIT | Operation.CHECK_ACCEPTANCE:
            return ex.ProfileRead("ACoAAB", connected=False, invitation_pending=False)
        case Operation.FIND_POSTS:
            return ex.PostsFound(("post-1", "post-2"))
        case _:
            return ex.Done()


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    """Draw any walk: mostly on its way, with everything that may happen in between."""
    first = structs.replace(
        FIRST,
        rules=draw(rules),
        provider_id=draw(st.none() | st.just("ACoAAB")),
        connected=draw(st.booleans()),
        replied=draw(st.booleans()),
    )
    walk = Walk(draw(workflows()), first, last=first)
    for anything in draw(st.lists(st.none() | events, max_size=25)):
        after = draw(st.timedeltas(timedelta(0), 2 * DAY))
        walk.hear(likely(walk.last) if anything is None else anything, after)
    return walk


@given(walks())
def test_any_walk_is_replayed_without_difference(walk: Walk) -> None:
    assert walk.replay() is None


@given(walks(), st.data())
def test_a_changed_result_node_or_entry_is_found_where_it_was_changed(
    walk: Walk, data: st.DataObject
) -> None:
    assume(walk.history)
    line = data.draw(st.sampled_from(walk.history))
    name = data.draw(st.sampled_from(["node_id", "result", "entered"]))
    words = [None, *Result, *walk.workflow.nodes]
    planted = data.draw(st.sampled_from([word for word in words if word != getattr(line, name)]))
    found = walk.replay(walk.with_line(line.number, **{name: planted}))
    assert found is not None
    assert found.event is not None
    assert (found.event.number, found.field) == (line.number, name)
    assert (found.stored, found.replayed) == (planted, getattr(line, name))


OTHERS: dict[str, Sequence[Any]] = {
    "rules": [ex.Rules(max_duration=timedelta(days=1)), ex.Rules(stop_on_reply=False)],
    "status": list(Status),
    "node_id": [None, "elsewhere"],
    "operation": list(Operation),
    "next_run_at": [None, NOW - DAY],
    "attempt": [0, 7],
    "posts": [(), ("post-9",)],
    "relooked": [False, True],
    "provider_id": [None, "ACoAAZ"],
    "connected": [False, True],
    "replied": [False, True],
    "started_at": [None, NOW - DAY],
    "expires_at": [None, NOW - DAY],
    "deadline_at": [None, NOW - DAY],
    "outcome": [None, *Outcome],
    "reason": [None, "somebody's"],
    "finished_at": [None, NOW - DAY],
}


@pytest.mark.parametrize("name", STORED)
@given(walk=walks(), data=st.data())
def test_a_changed_row_is_found_and_its_column_named(
    name: str, walk: Walk, data: st.DataObject
) -> None:
    assert OTHERS.keys() == set(STORED), "every column has other values to plant"
    true = getattr(walk.last, name)
    planted = data.draw(st.sampled_from([value for value in OTHERS[name] if value != true]))
    found = walk.replay(last=structs.replace(walk.last, **{name: planted}))
    assert found == Difference(name, planted, true)


# --- one by one, on a walk that everybody can follow

CONNECT = Workflow(
    "ask",
    {
        "ask": Node(
            "ask",
            Operation.SEND_CONNECTION_REQUEST,
            edges=(
                Edge("thank", timedelta(hours=2), Branch.ACCEPTED),
                Edge(None, 5 * DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        "thank": Node("thank", Operation.SEND_FOLLOWUP, text="Thanks"),
    },
)


def accepted() -> Walk:
    walk = Walk(CONNECT, structs.replace(FIRST, provider_id="ACoAAB"))
    walk.last = walk.first
    assert walk.hear(ex.Began())
    assert walk.hear(ex.Failed(on.Retry("the connection broke")))
    assert walk.hear(ex.Done())
    assert walk.hear(ex.Accepted(walk.now))
    return walk


def test_a_line_that_is_missing_is_found_at_the_next_that_depends_on_it() -> None:
    walk = accepted()
    found = walk.replay([line for line in walk.history if line.kind != "Began"])
    assert found is not None
    assert found.event is not None
    assert (found.event.kind, found.field) == ("Failed", "node_id")


def test_a_line_at_another_moment_gives_another_next_run() -> None:
    walk = accepted()
    last = walk.history[-1]
    at = walk.now - MINUTE / 2
    found = walk.replay(walk.with_line(last.number, detail={"at": at.isoformat()}))
    assert found == Difference("next_run_at", walk.last.next_run_at, at + timedelta(hours=2))


def test_a_line_in_the_wrong_place_is_impossible() -> None:
    walk = accepted()
    planted = Recorded(99, walk.now, *recorded(ex.PostsFound(("post-1",))), node_id="thank")
    found = walk.replay([*walk.history, planted])
    assert found is not None
    assert (found.field, found.stored, found.event) == ("kind", "PostsFound", planted)
    assert str(found.replayed).startswith("impossible: PostsFound")


@pytest.mark.parametrize("detail", [{}, {"at": None}, {"at": "soon"}, {"cause": {"failure": "x"}}])
def test_a_line_that_cannot_be_read_is_named(detail: dict[str, Any]) -> None:
    walk = accepted()
    found = walk.replay(walk.with_line(walk.history[-1].number, detail=detail))
    assert found is not None
    assert (found.field, found.stored) == ("detail", detail)
    assert str(found.replayed).startswith("unreadable")


def test_another_first_state_is_a_difference() -> None:
    walk = accepted()
    found = replay(CONNECT, structs.replace(walk.first, provider_id=None), walk.history, walk.last)
    assert found is not None
    assert found.event is not None, "without a provider id the profile is looked up first"


def test_what_is_no_event_of_the_walk_is_passed_over() -> None:
    walk = accepted()
    told = [Recorded(-1, NOW, kind, {}) for kind in ("Enrolled", "CampaignPaused", "AccountPaused")]
    assert walk.replay([*told, *walk.history, *told]) is None


def test_a_late_event_changes_nothing_and_is_no_difference() -> None:
    walk = accepted()
    assert walk.hear(ex.Replied())
    assert walk.last.outcome is Outcome.REPLIED
    assert walk.hear(ex.Accepted(walk.now))
    assert walk.replay() is None

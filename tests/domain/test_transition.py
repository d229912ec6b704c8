"""What an execution becomes: the properties that hold for every walk, and the rules one by one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain import transition
from clento_engine.domain.backoff import MAX_ATTEMPTS
from clento_engine.domain.execution import (
    Decision,
    Event,
    Execution,
    IllegalTransition,
    OnMissing,
    Outcome,
    Result,
    Rules,
    Status,
)
from clento_engine.domain.operation import Operation
from clento_engine.domain.transition import (
    CHECK_AGAIN,
    REST,
    ROUNDS,
    decide,
)
from clento_engine.domain.workflow import WAITING_WINDOW, Branch, Edge, Node, Workflow

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CAMPAIGN, LEAD = UUID(int=1), UUID(int=2)
CONNECT = Operation.SEND_CONNECTION_REQUEST
CHECK = Operation.CHECK_ACCEPTANCE
ON_NODES = [
    Operation.PROFILE_VISIT,
    Operation.LIKE_POST,
    Operation.COMMENT_POST,
    CONNECT,
    Operation.SEND_FOLLOWUP,
    Operation.SEND_INMAIL,
    Operation.WITHDRAW_REQUEST,
    Operation.WEBHOOK,
]


# --- workflows, executions and events, any -------------------------------------------------------


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Draw a graph as reading one gives it: no circles, branches at requests only, maybe merged."""
    count = draw(st.integers(1, 6))
    names = [f"n{place}" for place in range(count)]
    delays = st.sampled_from([timedelta(0), 15 * MINUTE, DAY, 7 * DAY])
    nodes = {}
    for place, name in enumerate(names):
        operation = draw(st.sampled_from(ON_NODES))
        later = st.none() | st.sampled_from(names[place + 1 :]) if names[place + 1 :] else st.none()
        branches = [Branch.NEXT]
        if operation is CONNECT and draw(st.booleans()):
            branches = draw(
                st.sampled_from(
                    [
                        [Branch.ACCEPTED, Branch.NOT_ACCEPTED],
                        [Branch.ACCEPTED],
                        [Branch.NOT_ACCEPTED],
                    ]
                )
            )
        elif draw(st.integers(0, 4)) == 0:
            branches = []
        edges = tuple(Edge(draw(later), draw(delays), branch) for branch in branches)
        skip = draw(st.sampled_from([None, None, None, "not ready"]))
        nodes[name] = Node(name, operation, text="Hello", posts=3, skip=skip, edges=edges)
    return Workflow(names[0], nodes)


ids = st.sampled_from(["ACoAAB", "ACoAAC"])
reasons = st.sampled_from(["so it is", "a reason"])
waits = st.timedeltas(timedelta(0), 3 * DAY)
failures = st.one_of(
    st.builds(on.Retry, reasons, st.booleans()),
    st.builds(on.Wait, reasons, waits, waits, st.sampled_from(on.Scope)),
    st.builds(on.Skip, reasons, st.sampled_from(on.Means), st.booleans()),
    st.builds(on.Fail, reasons, st.sampled_from(on.Means)),
    st.builds(on.Pause, reasons, st.booleans()),
)
instants = st.timedeltas(-60 * DAY, 60 * DAY).map(lambda since: NOW + since)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(ex.Began),
    st.builds(ex.ProfileRead, ids, st.booleans(), st.booleans()),
    st.builds(ex.PostsFound, st.lists(reasons, max_size=3, unique=True).map(tuple)),
    st.builds(ex.Done),
    st.builds(ex.Failed, failures),
    st.builds(ex.Absent),
    st.builds(ex.Unknowable, reasons),
    st.builds(ex.OwnerWrote),
    st.builds(ex.Missing, reasons),
    st.builds(ex.Accepted, instants),
    st.builds(ex.Replied),
    st.builds(ex.Suppressed, reasons),
    st.builds(ex.Duplicate, reasons),
    st.builds(ex.Overdue),
    st.builds(ex.Released, st.booleans()),
    st.builds(ex.Stopped, reasons),
)
rules = st.builds(
    Rules,
    st.booleans(),
    st.sampled_from(OnMissing),
    st.sampled_from([DAY, 30 * DAY, 365 * DAY]),
    st.booleans(),
)


def standing(node: Node) -> list[Operation]:
    """List the operations a lead may wait for at a node."""
    match node.operation:
        case Operation.LIKE_POST | Operation.COMMENT_POST:
            first = [Operation.PROFILE_LOOKUP, Operation.FIND_POSTS]
        case Operation.PROFILE_VISIT | Operation.WEBHOOK:
            first = []
        case _:
            first = [Operation.PROFILE_LOOKUP]
    return [*first, node.operation, *([CHECK] if node.branches else [])]


@st.composite
def executions(draw: st.DrawFn, graph: Workflow) -> Execution:
    """Draw any execution that the schema's checks allow and `decide` can have made."""
    status = draw(st.sampled_from(Status))
    branching = [node for node in graph.nodes.values() if node.branches]
    run = Execution(
        CAMPAIGN,
        LEAD,
        rules=draw(rules),
        status=status,
        provider_id=draw(st.none() | ids),
        connected=draw(st.booleans()),
        replied=draw(st.booleans()),
        relooked=draw(st.booleans()),
        attempt=draw(st.integers(0, MAX_ATTEMPTS * ROUNDS - 1)),
    )
    if status is Status.AWAITING and not branching:
        status = Status.WAITING
    if status is Status.AWAITING:
        node = draw(st.sampled_from(branching))
        operation = CHECK
    elif status is not Status.HELD and draw(st.integers(0, 5)) == 0:
        node, operation = None, Operation.START
    else:
        node = draw(st.sampled_from(list(graph.nodes.values())))
        operation = draw(st.sampled_from(standing(node)))
    started = None if node is None else NOW - draw(st.timedeltas(timedelta(0), 20 * DAY))
    expires = None if started is None else started + run.rules.max_duration
    posts = ("p1", "p2", "p3")[: draw(st.integers(1, 3))]
    at = NOW - draw(st.timedeltas(timedelta(0), DAY))
    return replace(
        run,
        status=status,
        node_id=None if node is None else node.id,
        operation=operation,
        posts=posts if operation in (Operation.LIKE_POST, Operation.COMMENT_POST) else (),
        next_run_at=(at if expires is None else min(at, expires)) if status.has_time else None,
        started_at=started,
        expires_at=expires,
        deadline_at=at if operation is CHECK else None,
        reason="held" if status is Status.HELD else None,
        outcome=Outcome.FINISHED if status.is_final else None,
        finished_at=NOW if status.is_final else None,
    )


any_case = workflows().flatmap(lambda graph: st.tuples(st.just(graph), executions(graph), events))


def decided(graph: Workflow, run: Execution, event: Event, now: datetime = NOW) -> Decision | None:
    try:
        return decide(graph, run, event, now)
    except IllegalTransition:
        return None


def check(run: Execution) -> None:
    """Check what must hold of every execution."""
    assert (run.next_run_at is not None) == run.status.has_time
    assert run.status is not Status.HELD or run.reason is not None
    assert (run.outcome is not None) == run.status.is_final
    assert (run.finished_at is not None) == run.status.is_final
    if run.next_run_at is not None and run.expires_at is not None:
        assert run.next_run_at <= run.expires_at
    if run.status is Status.AWAITING:
        assert run.operation is CHECK
        assert run.deadline_at is not None
    if not run.status.is_final and run.operation in (Operation.LIKE_POST, Operation.COMMENT_POST):
        assert run.posts


# --- properties ----------------------------------------------------------------------------------


def test_every_event_is_drawn() -> None:
    """So that an event added later is met here."""
    drawn = {kind.__name__ for kind in get_args(Event)}
    assert drawn == {
        "Began",
        "ProfileRead",
        "PostsFound",
        "Done",
        "Failed",
        "Absent",
        "Unknowable",
        "Missing",
        "Accepted",
        "Replied",
        "OwnerWrote",
        "Suppressed",
        "Duplicate",
        "Overdue",
        "Released",
        "Stopped",
    }


@given(any_case)
def test_a_decision_keeps_the_row_whole_and_never_loses_the_lead(
    case: tuple[Workflow, Execution, Event],
) -> None:
    graph, run, event = case
    decision = decided(graph, run, event)
    if decision is not None:
        check(decision.execution)
        if decision.entered is not None:
            assert decision.execution.node_id == decision.entered


@given(any_case)
def test_a_decision_is_the_same_each_time(case: tuple[Workflow, Execution, Event]) -> None:
    graph, run, event = case
    assert decided(graph, run, event) == decided(graph, run, event)


@given(any_case)
def test_a_final_execution_hears_nothing_but_that_the_person_wrote(
    case: tuple[Workflow, Execution, Event],
) -> None:
    graph, run, event = case
    if run.status.is_final:
        told = replace(run, replied=run.replied or isinstance(event, ex.Replied))
        assert decide(graph, run, event, NOW) == Decision(told)


def may_happen(run: Execution, event: Event) -> bool:
    """Say which events can happen when: the table of what is no defect."""
    waiting = run.status is Status.WAITING
    asked = run.status in (Status.WAITING, Status.AWAITING, Status.HELD)
    match event:
        case (
            ex.Stopped()
            | ex.Suppressed()
            | ex.Duplicate()
            | ex.Overdue()
            | ex.Replied()
            | ex.OwnerWrote()
            | ex.Accepted()
            | ex.Unknowable()
            | ex.Missing()
        ):
            return True
        case ex.Began():
            return waiting and run.node_id is None
        case ex.Released():
            return run.status is Status.HELD
        case ex.PostsFound():
            return waiting and run.operation is Operation.FIND_POSTS
        case ex.ProfileRead():
            return asked and run.operation in (
                Operation.PROFILE_LOOKUP,
                Operation.PROFILE_VISIT,
                CONNECT,
                CHECK,
            )
        case ex.Done():
            return asked and (run.operation.traits.writes or run.operation is Operation.WEBHOOK)
        case ex.Failed() | ex.Absent():
            return asked


@given(any_case)
def test_only_what_cannot_happen_is_illegal(case: tuple[Workflow, Execution, Event]) -> None:
    graph, run, event = case
    if run.status.is_final or (run.node_id is None and not isinstance(event, ex.Began)):
        return  # before the first node only what comes from outside is heard: see below
    assert (decided(graph, run, event) is not None) == may_happen(run, event), (run, event)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (ex.Replied(), Status.COMPLETED),
        (ex.Suppressed("asked us to"), Status.STOPPED),
        (ex.Duplicate("the same person goes on elsewhere"), Status.STOPPED),
        (ex.Stopped("by hand"), Status.STOPPED),
        (ex.Overdue(), Status.COMPLETED),
        (ex.Accepted(NOW), Status.WAITING),
    ],
)
def test_a_lead_not_begun_hears_what_comes_from_outside(event: Event, status: Status) -> None:
    run = Execution(CAMPAIGN, LEAD, next_run_at=NOW)
    assert decide(path(CONNECT), run, event, NOW).execution.status is status


def test_a_walk_begins_once() -> None:
    graph = path(Operation.PROFILE_VISIT, CONNECT)
    run = after(
        graph, ex.Began(), ex.ProfileRead("ACoAAB", connected=False, invitation_pending=False)
    )
    with pytest.raises(IllegalTransition):
        decide(graph, run, ex.Began(), NOW)


def answers(run: Execution) -> st.SearchStrategy[Event]:
    """Draw what may become of the step that an execution waits for."""
    cause = failures.map(ex.Failed)
    match run.operation:
        case Operation.START:
            return st.just(ex.Began())
        case Operation.PROFILE_LOOKUP | Operation.PROFILE_VISIT | Operation.CHECK_ACCEPTANCE:
            good: st.SearchStrategy[Event] = st.builds(
                ex.ProfileRead, ids, st.booleans(), st.booleans()
            )
        case Operation.FIND_POSTS:
            good = st.builds(ex.PostsFound, st.lists(ids, max_size=3, unique=True).map(tuple))
        case _:
            good = st.just(ex.Done())
    outside = st.one_of(
        st.builds(ex.Accepted, st.just(NOW)),
        st.just(ex.Replied()),
        st.just(ex.Missing("no value for company")),
        st.just(ex.Absent()),
        st.just(ex.Unknowable("nobody can tell")),
    )
    return st.one_of(good, good, good, cause, outside)


@given(workflows(), rules, st.data())
def test_every_walk_ends_whatever_befalls_it(
    graph: Workflow, rule: Rules, data: st.DataObject
) -> None:
    run = Execution(CAMPAIGN, LEAD, rules=rule, next_run_at=NOW)
    now = NOW
    entered: list[str] = []
    for step in range(300):
        now = max(now, run.next_run_at or now) + MINUTE
        luck = step > 100  # fate was unkind for long enough: from here on all goes well
        if run.status is Status.HELD:
            event: Event = ex.Released(skip=luck or data.draw(st.booleans()))
        elif run.expires_at is not None and now >= run.expires_at:
            event = ex.Overdue()
        else:
            event = happy(run) if luck else data.draw(answers(run))
        decision = decide(graph, run, event, now)
        run = decision.execution
        check(run)
        entered += [] if decision.entered is None else [decision.entered]
        if run.status.is_final:
            break
    assert run.status.is_final
    assert len(entered) == len(set(entered)), "a node was passed twice"


def happy(run: Execution, *, accepted: bool = False) -> Event:
    """Return what happens when all goes well."""
    match run.operation:
        case Operation.START:
            return ex.Began()
        case Operation.PROFILE_LOOKUP | Operation.PROFILE_VISIT | Operation.CHECK_ACCEPTANCE:
            connected = accepted and run.operation is CHECK
            return ex.ProfileRead("ACoAAB", connected=connected, invitation_pending=False)
        case Operation.FIND_POSTS:
            return ex.PostsFound(("p1", "p2"))
        case _:
            return ex.Done()


# --- the rules, one by one -----------------------------------------------------------------------


def path(*operations: Operation, delay: timedelta = timedelta(0)) -> Workflow:
    last = len(operations) - 1
    nodes = {
        f"n{place}": Node(
            f"n{place}",
            operation,
            edges=() if place == last else (Edge(f"n{place + 1}", delay),),
        )
        for place, operation in enumerate(operations)
    }
    return Workflow("n0", nodes)


def branching(
    *, accepted: Edge | None = None, refused: Edge | None = None, merged: bool = False
) -> Workflow:
    """Make: ask; if accepted, write after a day; if not within a week, withdraw."""
    end = () if not merged else (Edge("end", HOUR),)
    nodes = [
        Node(
            "ask",
            CONNECT,
            edges=(
                accepted or Edge("write", DAY, Branch.ACCEPTED),
                refused or Edge("withdraw", 7 * DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        Node("write", Operation.SEND_FOLLOWUP, edges=end),
        Node("withdraw", Operation.WITHDRAW_REQUEST, edges=end),
        Node("end", Operation.WEBHOOK),
    ]
    return Workflow("ask", {node.id: node for node in nodes})


def after(graph: Workflow, *heard: Event, now: datetime = NOW, **known: object) -> Execution:
    """Return an execution that has heard these events, all of them now."""
    run = Execution(CAMPAIGN, LEAD, next_run_at=now, **known)  # type: ignore[arg-type]
    for event in heard:
        run = decide(graph, run, event, now).execution
    return run


LOOKED = ex.ProfileRead("ACoAAB", connected=False, invitation_pending=False)
ASKED = (ex.Began(), LOOKED, ex.Done())


def test_a_delay_counts_from_the_step_before() -> None:
    run = after(path(Operation.PROFILE_VISIT, CONNECT, delay=90 * MINUTE), ex.Began(), LOOKED)
    assert (run.node_id, run.operation) == ("n1", CONNECT)
    assert run.next_run_at == NOW + 90 * MINUTE


def test_nobody_is_written_to_before_they_are_looked_up() -> None:
    run = after(path(CONNECT), ex.Began())
    assert run.operation is Operation.PROFILE_LOOKUP
    known = decide(path(CONNECT), run, LOOKED, NOW).execution
    assert (known.operation, known.provider_id, known.attempt) == (CONNECT, "ACoAAB", 0)


def test_a_sent_request_waits_for_the_window_of_its_not_accepted_edge() -> None:
    run = after(branching(), *ASKED)
    assert (run.status, run.operation) == (Status.AWAITING, CHECK)
    assert run.next_run_at == run.deadline_at == NOW + 7 * DAY


def test_the_window_is_ten_days_where_no_edge_names_one() -> None:
    node = Node("ask", CONNECT, edges=(Edge(None, DAY, Branch.ACCEPTED),))
    run = after(Workflow("ask", {"ask": node}), *ASKED)
    assert run.next_run_at == NOW + WAITING_WINDOW == NOW + 10 * DAY


def test_the_delay_of_the_not_accepted_edge_is_not_slept_again() -> None:
    graph = branching()
    late = NOW + 7 * DAY
    run = decide(graph, after(graph, *ASKED), LOOKED, late).execution
    assert (run.node_id, run.next_run_at) == ("withdraw", late)


def test_the_delay_after_acceptance_counts_from_its_instant() -> None:
    graph = branching()
    heard_at = NOW + 8 * HOUR
    run = decide(graph, after(graph, *ASKED), ex.Accepted(NOW + HOUR), heard_at).execution
    assert (run.node_id, run.connected) == ("write", True)
    assert run.next_run_at == NOW + HOUR + DAY


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
def test_an_acceptance_stamped_2046_delays_nobody(
    monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    if not is_on:
        monkeypatch.setattr(transition, "bounded_moment", lambda stamp, _now: stamp)
    graph = branching()
    run = decide(graph, after(graph, *ASKED), ex.Accepted(NOW + 7_300 * DAY), NOW).execution
    assert (run.next_run_at == NOW + DAY) is is_on


def test_an_acceptance_heard_late_is_followed_at_once() -> None:
    graph = branching()
    heard_at = NOW + 5 * DAY
    run = decide(graph, after(graph, *ASKED), ex.Accepted(NOW + HOUR), heard_at).execution
    assert run.next_run_at == heard_at


def test_an_acceptance_is_remembered_until_it_is_of_use() -> None:
    graph = branching()
    run = after(graph, ex.Began(), LOOKED, ex.Accepted(NOW), ex.Done())
    assert (run.node_id, run.connected) == ("write", True)


def test_an_acceptance_counts_while_the_profile_is_asked_about_an_earlier_invitation() -> None:
    graph = branching()
    invited = ex.Failed(on.Skip("already invited", on.Means.INVITED))
    run = after(graph, ex.Began(), LOOKED, invited, ex.Accepted(NOW))
    assert (run.node_id, run.connected) == ("write", True)


def test_a_request_refused_to_someone_who_accepted_meanwhile_takes_the_accepted_way() -> None:
    graph = branching()
    refused = ex.Failed(on.Skip("cannot be invited"))
    run = after(graph, ex.Began(), LOOKED, ex.Accepted(NOW), refused)
    assert run.node_id == "write"


def test_the_check_at_the_deadline_finds_a_missed_acceptance() -> None:
    graph = branching()
    seen = ex.ProfileRead("ACoAAB", connected=True, invitation_pending=False)
    run = decide(graph, after(graph, *ASKED), seen, NOW + 7 * DAY).execution
    assert (run.node_id, run.connected) == ("write", True)


def test_a_pending_invitation_is_awaited_until_its_deadline() -> None:
    graph = branching()
    pending = ex.ProfileRead("ACoAAB", connected=False, invitation_pending=True)
    run = decide(graph, after(graph, *ASKED), pending, NOW + DAY).execution
    assert (run.status, run.next_run_at) == (Status.AWAITING, NOW + 7 * DAY)
    over = decide(graph, run, pending, NOW + 7 * DAY).execution
    assert over.node_id == "withdraw"


def test_someone_connected_already_takes_the_accepted_branch() -> None:
    refused = ex.Failed(on.Skip("already connected", on.Means.CONNECTED))
    decision = decide(branching(), after(branching(), ex.Began(), LOOKED), refused, NOW)
    assert (decision.execution.node_id, decision.execution.connected) == ("write", True)
    assert decision.result is Result.SKIPPED


def test_someone_connected_already_goes_on_where_nothing_branches() -> None:
    refused = ex.Failed(on.Skip("already connected", on.Means.CONNECTED))
    run = after(path(CONNECT, Operation.WEBHOOK), ex.Began(), LOOKED, refused)
    assert (run.node_id, run.connected) == ("n1", True)


def test_someone_invited_recently_is_looked_at_before_anything_is_believed() -> None:
    graph = branching()
    invited = ex.Failed(on.Skip("already invited", on.Means.INVITED))
    asked = after(graph, ex.Began(), LOOKED, invited)
    assert (asked.status, asked.operation, asked.next_run_at) == (Status.WAITING, CHECK, NOW)
    pending = ex.ProfileRead("ACoAAB", connected=False, invitation_pending=True)
    waiting = decide(graph, asked, pending, NOW).execution
    assert (waiting.status, waiting.next_run_at) == (Status.AWAITING, NOW + 7 * DAY)
    gone = decide(graph, asked, LOOKED, NOW).execution
    assert gone.node_id == "withdraw"


def test_an_unsent_request_that_is_skipped_goes_the_not_accepted_way_at_once() -> None:
    graph = branching()
    decision = decide(
        graph, after(graph, ex.Began(), LOOKED), ex.Failed(on.Skip("locked profile")), NOW
    )
    assert (decision.execution.node_id, decision.execution.next_run_at) == ("withdraw", NOW)
    assert decision.result is Result.SKIPPED


@pytest.mark.parametrize("answer", [on.Skip("hidden"), on.Fail("no such profile")])
def test_a_check_that_is_refused_ends_the_waiting(answer: on.Failure) -> None:
    graph = branching()
    run = decide(graph, after(graph, *ASKED), ex.Failed(answer), NOW + 7 * DAY).execution
    assert run.node_id == "withdraw"


def test_a_check_that_fails_is_never_taken_for_a_no() -> None:
    graph = branching()
    run = after(graph, *ASKED)
    now = NOW + 7 * DAY
    for _ in range(MAX_ATTEMPTS * ROUNDS):
        run = decide(graph, run, ex.Failed(on.Retry("no answer")), now).execution
        assert run.status is Status.AWAITING
    assert run.next_run_at == now + CHECK_AGAIN


def test_merged_branches_meet_at_one_node() -> None:
    graph = branching(merged=True)
    yes = after(graph, *ASKED, ex.Accepted(NOW), ex.Done())
    no = after(graph, *ASKED, LOOKED, ex.Done())
    assert (yes.node_id, no.node_id) == ("end", "end")


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (ex.Accepted(NOW), Outcome.ACCEPTED),
        (LOOKED, Outcome.NOT_ACCEPTED),
    ],
)
def test_a_branch_that_nobody_drew_ends_with_its_name(event: Event, outcome: Outcome) -> None:
    other = Branch.NOT_ACCEPTED if outcome is Outcome.ACCEPTED else Branch.ACCEPTED
    node = Node("ask", CONNECT, edges=(Edge(None, DAY, other),))
    run = after(Workflow("ask", {"ask": node}), *ASKED, event)
    assert (run.status, run.outcome) == (Status.COMPLETED, outcome)


def test_several_posts_are_several_actions_of_one_pass() -> None:
    graph = path(Operation.LIKE_POST, Operation.WEBHOOK)
    run = after(graph, ex.Began(), LOOKED, ex.PostsFound(("p1", "p2", "p3")))
    passed = []
    for left in (("p2", "p3"), ("p3",), ()):
        decision = decide(graph, run, ex.Done(), NOW)
        run = decision.execution
        passed.append(decision.result)
        assert run.posts == left
    assert passed == [None, None, Result.DONE]
    assert run.node_id == "n1"


def test_a_post_that_is_gone_is_passed_over_alone() -> None:
    graph = path(Operation.COMMENT_POST, Operation.WEBHOOK)
    run = after(graph, ex.Began(), LOOKED, ex.PostsFound(("p1", "p2")))
    run = decide(graph, run, ex.Failed(on.Skip("is not there")), NOW).execution
    assert (run.node_id, run.operation, run.posts) == ("n0", Operation.COMMENT_POST, ("p2",))


def test_nobody_without_posts_is_kept_waiting() -> None:
    decision = decide(
        path(Operation.LIKE_POST, Operation.WEBHOOK),
        after(path(Operation.LIKE_POST, Operation.WEBHOOK), ex.Began(), LOOKED),
        ex.PostsFound(()),
        NOW,
    )
    assert (decision.execution.node_id, decision.result) == ("n1", Result.SKIPPED)


WRONG = ex.Failed(on.Fail("LinkedIn does not know this person", on.Means.WRONG_ID))


@pytest.mark.parametrize("operation", [CONNECT, Operation.SEND_FOLLOWUP, Operation.SEND_INMAIL])
def test_a_wrong_id_is_resolved_anew_once(operation: Operation) -> None:
    graph = path(operation)
    run = after(graph, ex.Began(), LOOKED, WRONG)
    assert (run.operation, run.provider_id) == (Operation.PROFILE_LOOKUP, None)
    run = decide(graph, run, LOOKED, NOW).execution
    assert run.operation is operation
    run = decide(graph, run, WRONG, NOW).execution
    assert (run.status, run.outcome) == (Status.FAILED, Outcome.FAILED)


def test_a_wrong_id_met_while_looking_for_posts_is_resolved_anew() -> None:
    run = after(path(Operation.LIKE_POST), ex.Began(), LOOKED, WRONG)
    assert (run.status, run.operation) == (Status.WAITING, Operation.PROFILE_LOOKUP)


def test_posts_acted_on_already_are_not_chosen_again_after_a_second_look() -> None:
    graph = path(Operation.COMMENT_POST)
    found = ex.PostsFound(("p1", "p2", "p3"))
    run = after(graph, ex.Began(), LOOKED, found, ex.Done(), WRONG, LOOKED)
    assert (run.operation, run.posts) == (Operation.COMMENT_POST, ("p2", "p3"))


def tries(
    graph: Workflow, run: Execution, count: int, event: Event | None = None
) -> Iterator[tuple[Decision, datetime]]:
    now = NOW
    for _ in range(count):
        decision = decide(graph, run, event or ex.Failed(on.Retry("no answer")), now)
        yield decision, now
        run = decision.execution
        if run.next_run_at is None:
            return
        now = run.next_run_at


def test_a_failed_try_waits_longer_each_time_and_rests_after_each_round() -> None:
    graph = path(Operation.SEND_FOLLOWUP)
    run = after(graph, ex.Began(), LOOKED)
    waits = []
    rests = []
    for decision, now in tries(graph, run, MAX_ATTEMPTS * ROUNDS - 1):
        assert decision.execution.status is Status.WAITING
        assert decision.execution.next_run_at is not None
        waits.append(decision.execution.next_run_at - now)
        rests.append([effect for effect in decision.effects if isinstance(effect, ex.Throttle)])
    assert [index for index, wait in enumerate(waits) if wait == REST] == [2, 5]
    assert all(timedelta(0) < wait <= MINUTE for wait in waits if wait != REST)
    assert [len(rest) for rest in rests] == [0, 0, 1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (Operation.SEND_FOLLOWUP, Status.FAILED),
        (CONNECT, Status.FAILED),
        (Operation.WITHDRAW_REQUEST, Status.WAITING),
        (Operation.PROFILE_VISIT, Status.WAITING),
    ],
)
def test_after_the_last_try_a_small_step_is_passed_over_and_a_large_one_ends_the_walk(
    operation: Operation, status: Status
) -> None:
    graph = path(operation, Operation.WEBHOOK)
    run = after(graph, ex.Began())
    if run.operation is Operation.PROFILE_LOOKUP:
        run = decide(graph, run, LOOKED, NOW).execution
    *_, (last, _) = tries(graph, run, MAX_ATTEMPTS * ROUNDS)
    assert last.execution.status is status
    assert last.result is Result.FAILED
    if status is Status.WAITING:
        assert (last.execution.node_id, last.execution.attempt) == ("n1", 0)


def test_an_absent_action_is_not_repeated_for_ever() -> None:
    graph = path(Operation.SEND_FOLLOWUP)
    run = after(graph, ex.Began(), LOOKED)
    *_, (last, _) = tries(graph, run, 100, ex.Absent())
    assert last.execution.status is Status.FAILED


@pytest.mark.parametrize("scope", [on.Scope.BUDGET, on.Scope.ACCOUNT])
def test_a_wait_of_the_account_keeps_the_leads_place_and_counts_no_try(scope: on.Scope) -> None:
    graph = path(CONNECT)
    wait = on.Wait("throttled", DAY, 3 * DAY, scope)
    decision = decide(graph, after(graph, ex.Began(), LOOKED), ex.Failed(wait), NOW)
    assert (decision.execution.attempt, decision.execution.next_run_at) == (0, NOW)
    assert decision.effects == (ex.Throttle(scope, "throttled", DAY, 3 * DAY),)


def test_a_wait_of_the_lead_moves_the_lead_alone() -> None:
    graph = path(CONNECT)
    wait = on.Wait("a day's pause", DAY, DAY)
    decision = decide(graph, after(graph, ex.Began(), LOOKED), ex.Failed(wait), NOW)
    assert (decision.execution.next_run_at, decision.effects) == (NOW + DAY, ())


def test_a_refused_account_stops_and_the_lead_stays_where_it_is() -> None:
    graph = path(CONNECT)
    run = after(graph, ex.Began(), LOOKED)
    decision = decide(graph, run, ex.Failed(on.Pause("signed out")), NOW)
    assert decision.execution == run
    assert decision.effects == (ex.PauseAccount("signed out", everyone=False),)


@pytest.mark.parametrize(
    "cause",
    [
        on.Wait("throttled", DAY, DAY, on.Scope.ACCOUNT),
        on.Pause("signed out"),
        on.Retry("no answer"),
        on.Wait("given back", DAY, DAY),
    ],
)
def test_nothing_is_put_off_beyond_the_maximal_duration(cause: on.Failure) -> None:
    graph = path(CONNECT)
    run = after(graph, ex.Began(), LOOKED)
    assert run.expires_at is not None
    late = run.expires_at + HOUR
    assert decide(graph, run, ex.Failed(cause), late).execution.next_run_at == run.expires_at


def test_a_step_that_would_come_too_late_ends_the_walk() -> None:
    graph = path(Operation.PROFILE_VISIT, CONNECT, delay=31 * DAY)
    run = after(graph, ex.Began(), LOOKED)
    assert (run.status, run.outcome) == (Status.COMPLETED, Outcome.EXPIRED)


def test_a_reply_ends_the_walk_unless_the_campaign_says_otherwise() -> None:
    graph = path(CONNECT)
    run = after(graph, ex.Began())
    assert decide(graph, run, ex.Replied(), NOW).execution.outcome is Outcome.REPLIED
    lasting = replace(run, rules=Rules(stop_on_reply=False))
    assert decide(graph, lasting, ex.Replied(), NOW) == Decision(replace(lasting, replied=True))


@pytest.mark.parametrize(
    ("on_missing", "status"),
    [
        (OnMissing.HOLD, Status.HELD),
        (OnMissing.SKIP, Status.WAITING),
        (OnMissing.FAIL, Status.FAILED),
    ],
)
def test_a_missing_value_does_what_the_campaign_says(on_missing: OnMissing, status: Status) -> None:
    graph = path(CONNECT, Operation.WEBHOOK)
    run = after(graph, ex.Began(), LOOKED, rules=Rules(on_missing=on_missing))
    run = decide(graph, run, ex.Missing("no value for company"), NOW).execution
    assert run.status is status
    if status is not Status.WAITING:
        assert run.reason == "no value for company"


def held(graph: Workflow) -> Execution:
    return after(graph, ex.Began(), LOOKED, ex.Missing("no value for company"))


def test_a_lifted_hold_runs_the_step_again_or_passes_it_over() -> None:
    graph = branching()
    again = decide(graph, held(graph), ex.Released(), NOW).execution
    assert (again.status, again.operation, again.next_run_at) == (Status.WAITING, CONNECT, NOW)
    on_it_goes = decide(graph, held(graph), ex.Released(skip=True), NOW).execution
    assert on_it_goes.node_id == "withdraw"


@pytest.mark.parametrize(
    "event",
    [ex.Missing("no value for company"), ex.Unknowable("nobody can tell")],
)
def test_a_hold_heard_of_twice_is_one_hold(event: Event) -> None:
    """Two tickers may find the same value missing: nothing that is not sent is leased."""
    run = held(branching())
    assert decide(branching(), run, event, NOW) == Decision(run)


@pytest.mark.parametrize(
    ("event", "node_id"),
    [(ex.Done(), "ask"), (ex.Failed(on.Skip("locked")), "withdraw"), (ex.Absent(), "ask")],
)
def test_what_is_found_out_about_a_held_lead_lifts_the_hold(event: Event, node_id: str) -> None:
    graph = branching()
    run = after(graph, ex.Began(), LOOKED, ex.Unknowable("nobody can tell"))
    known = decide(graph, run, event, NOW).execution
    assert known.status.has_time
    assert (known.node_id, known.reason) == (node_id, None)


def test_a_webhook_node_asks_for_one_notice() -> None:
    graph = path(Operation.WEBHOOK, Operation.WEBHOOK)
    decision = decide(graph, after(graph, ex.Began()), ex.Done(), NOW)
    assert decision.effects == (ex.Notify("n0"),)


def test_the_sample_of_all_steps_ends_whichever_way_the_lead_decides() -> None:
    graph = branching(merged=True)
    for accepted in (False, True):
        run = Execution(CAMPAIGN, LEAD, next_run_at=NOW)
        while not run.status.is_final:
            assert run.next_run_at is not None
            run = decide(graph, run, happy(run, accepted=accepted), run.next_run_at).execution
        assert (run.node_id, run.outcome) == ("end", Outcome.FINISHED)

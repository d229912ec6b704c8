"""Writing back what became of a batch: who may, on what it is decided, and what follows."""

from datetime import timedelta

import pytest
from builders import (
    NOW,
    VISIT,
    Stage,
    add_sender,
    begun,
    done,
    line,
    report,
    set_stage,
    workflow,
)
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from uuid_utils.compat import uuid4

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.account import PausedBy
from clento_engine.domain.history import recalled
from clento_engine.domain.limits import LEASE
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Learned
from clento_engine.domain.transition import decide
from clento_engine.domain.workflow import Branch, Edge, Node
from clento_engine.store.accounts import create_organization, pause_account, resume_account
from clento_engine.store.campaigns import complete_campaigns
from clento_engine.store.doubtful import take_doubtful
from clento_engine.store.rows import execution

Conn = AsyncConnection[TupleRow]
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
CONNECT = Operation.SEND_CONNECTION_REQUEST
VISITING = Operation.PROFILE_VISIT
FOLLOWUP = Operation.SEND_FOLLOWUP
CHECK = Operation.CHECK_ACCEPTANCE
BRANCHING = workflow(
    [
        Node(
            "ask",
            CONNECT,
            edges=(
                Edge("write", HOUR, Branch.ACCEPTED),
                Edge("withdraw", 7 * DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        Node("write", FOLLOWUP, text="Hello"),
        Node("withdraw", Operation.WITHDRAW_REQUEST),
    ]
)


async def action(stage: Stage) -> dict[str, object]:
    newest = "select * from actions order by intended_at desc, number desc nulls first limit 1"
    return (await stage.rows(newest))[0]


# --- whose outcome counts ------------------------------------------------------------------------


async def test_an_outcome_is_written_with_its_reference(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    settled = await stage.settle(done(item, reference="message-1"))
    assert (settled.applied, settled.stale, settled.finished) == (1, 0, 1)
    row = await action(stage)
    assert (row["state"], row["reference"], row["settled_at"]) == ("done", "message-1", NOW)
    assert (await stage.run())["outcome"] == "finished"


async def test_a_stale_token_changes_nothing_and_says_so(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    stage.now += LEASE
    [doubtful] = await take_doubtful(conn, now=stage.now, lease=LEASE, most=10)
    before = await stage.run(), await action(stage)
    late = done(item, learned=Learned(chat_id="chat"), errors=1, hold_budget_until=NOW + DAY)
    settled = await stage.settle(late)
    assert (settled.applied, settled.stale) == (0, 1)
    assert (await stage.run(), await action(stage)) == before
    assert await stage.value("select count(*) from contacts where chat_id is not null") == 0
    assert (
        await stage.value("select count(*) from history where subject_id = %s", stage.leads[0]) == 0
    )
    assert await stage.value("select sum(errors_in_a_row) from connected_accounts") == 0
    assert doubtful.ticket.token != (item.ticket and item.ticket.token)


async def test_a_token_is_spent_once(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP, FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    await stage.settle(done(item))
    before = await stage.run()
    settled = await stage.settle(done(item))
    assert (settled.applied, settled.stale) == (0, 1)
    assert await stage.run() == before


async def test_an_outcome_of_a_step_that_the_lead_has_left_changes_only_the_action(
    conn: Conn,
) -> None:
    stage = await begun(conn, BRANCHING, CONNECT)
    await stage.stand(CHECK, "ask", status="awaiting", deadline_at=NOW)
    [check] = await stage.claim()
    await stage.event(ex.Accepted(NOW))
    before = await stage.run()
    settled = await stage.settle(
        done(check, ex.ProfileRead("ACoAAX", connected=False, invitation_pending=False))
    )
    assert settled.applied == 1
    assert (await stage.run(), before["node_id"]) == (before, "write")
    assert (await action(stage))["state"] == "done"


async def test_what_came_in_between_is_decided_on_never_overwritten(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP, FOLLOWUP), FOLLOWUP, stop_on_reply=False)
    [item] = await stage.claim()
    await stage.event(ex.Replied())
    await stage.settle(done(item))
    run = await stage.run()
    assert (run["node_id"], run["replied"]) == ("n1", True)


async def test_a_lead_that_replied_while_its_step_was_in_flight_stays_final(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP, FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    await stage.event(ex.Replied())
    await stage.settle(done(item))
    assert (await stage.run())["outcome"] == "replied"
    assert (await action(stage))["state"] == "done"


async def test_a_step_taken_by_two_tickers_as_an_event_happens_once(conn: Conn) -> None:
    """Nothing is sent for an event, so nothing keeps a second ticker from claiming it as well."""
    hook = line(Operation.WEBHOOK, Operation.WEBHOOK)
    stage = await set_stage(conn, hook)
    await stage.stand(Operation.WEBHOOK)
    taken = await stage.claim()
    await stage.change("lanes", ready_at=NOW)
    taken += await stage.claim()
    assert len(taken) == 2
    for item in taken:
        await stage.settle(done(item))
    assert (await stage.run())["node_id"] == "n1"
    assert await stage.value("select count(*) from webhook_deliveries") == 1


async def test_a_missing_value_found_by_two_tickers_is_one_hold(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP, text="{{nickname}}"), FOLLOWUP)
    taken = await stage.claim()
    await stage.change("lanes", ready_at=NOW)
    taken += await stage.claim()
    assert [type(item.event) for item in taken] == [ex.Missing, ex.Missing]
    for item in taken:
        await stage.settle(done(item))
    assert (await stage.run())["status"] == "held"


# --- units ---------------------------------------------------------------------------------------


async def test_a_released_action_gives_its_units_back(conn: Conn) -> None:
    graph = workflow([Node("n0", CONNECT, text="Hello")])
    stage = await begun(conn, graph, CONNECT, leads=2)
    first, second = await stage.claim()
    given_back = ex.Failed(on.Wait("given back", timedelta(0), timedelta(0)))
    stage.now += 20 * MINUTE  # in another bucket by now
    await stage.settle(report(first, "released", given_back), done(second))
    assert await stage.used(Budget.INVITATION) == await stage.used(Budget.NOTE) == 1
    assert [item.run.lead_id for item in await stage.claim()] == [first.run.lead_id]


async def test_units_of_several_are_given_back_in_one_batch(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=5)
    taken = await stage.claim()
    never_left = ex.Failed(on.Retry("connection refused", left=False))
    await stage.settle(*(report(item, "released", never_left) for item in taken[:3]))
    assert await stage.used(Budget.PROFILE) == 2


async def test_an_unknown_outcome_leaves_the_lead_where_it_is(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    before = await stage.run()
    await stage.settle(report(item, "unknown", None, check_at=NOW + MINUTE, reason="timed out"))
    assert await stage.run() == before
    row = await action(stage)
    assert (row["state"], row["check_at"], row["settled_at"]) == ("unknown", NOW + MINUTE, None)
    assert await stage.used(Budget.MESSAGE) == 1


async def test_what_is_found_absent_is_done_again_with_another_unit(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    await stage.settle(report(item, "absent", ex.Absent()))
    stage.now += MINUTE
    await stage.walk()
    states = await stage.rows("select state from actions order by intended_at")
    assert [row["state"] for row in states] == ["absent", "done"]
    assert await stage.used(Budget.MESSAGE) == 2


# --- holds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
async def test_lifting_a_hold_lets_the_lead_go_on_though_nobody_knows_what_happened(
    conn: Conn, skip: bool
) -> None:
    stage = await begun(conn, line(FOLLOWUP, FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    unknowable = ex.Unknowable("nobody can tell")
    await stage.settle(report(item, "unknown", unknowable, check_at=NOW + DAY))
    assert (await stage.run())["status"] == "held"
    await stage.event(ex.Released(skip=skip))
    [again] = await stage.claim()
    assert again.intent is not None
    assert again.run.node_id == ("n1" if skip else "n0")


async def test_a_lead_that_is_not_held_cannot_be_released(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP)
    [item] = await stage.claim()
    await stage.settle(report(item, "unknown", None, check_at=NOW + DAY))
    with pytest.raises(ex.IllegalTransition):
        await stage.event(ex.Released())
    assert (await action(stage))["state"] == "unknown"


async def test_an_impossible_event_costs_nobody_else_their_outcome(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP, leads=2)
    taken = await stage.claim()
    await stage.settle(done(taken[0]), report(taken[1], "done", ex.Began()))
    assert (await stage.run(taken[0].run.lead_id))["outcome"] == "finished"


# --- accounts ------------------------------------------------------------------------------------


def wait(scope: on.Scope, delay: timedelta = HOUR, longest: timedelta = 3 * HOUR) -> ex.Failed:
    return ex.Failed(on.Wait("throttled", delay, longest, scope))


async def blocked_until(stage: Stage, scope: on.Scope) -> object:
    if scope is on.Scope.ACCOUNT:
        return await stage.value("select blocked_until from connected_accounts")
    return await stage.value(
        "select blocked_until from rate_limits where operation = 'profile_visit'"
    )


@pytest.mark.parametrize("scope", [on.Scope.ACCOUNT, on.Scope.BUDGET])
async def test_refusals_in_flight_together_hold_back_once_and_later_ones_longer(
    conn: Conn, scope: on.Scope
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=3)
    first, second, third = await stage.claim()
    await stage.settle(
        report(first, "refused", wait(scope)), report(second, "refused", wait(scope))
    )
    assert await blocked_until(stage, scope) == NOW + HOUR
    stage.now += MINUTE
    await stage.settle(report(third, "refused", wait(scope)))
    assert await blocked_until(stage, scope) == NOW + HOUR
    for expected in (2 * HOUR, 3 * HOUR, 3 * HOUR):  # doubled, up to the longest
        until = await blocked_until(stage, scope)
        assert await stage.claim() == []
        assert (await stage.lane(VISITING))["ready_at"] == until
        stage.now = until  # type: ignore[assignment]
        [item, *_] = await stage.claim(slots=1)
        await stage.settle(report(item, "refused", wait(scope)))
        assert await blocked_until(stage, scope) == stage.now + expected


@pytest.mark.parametrize("scope", [on.Scope.ACCOUNT, on.Scope.BUDGET])
async def test_success_after_the_pause_forgets_the_refusals(conn: Conn, scope: on.Scope) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=3)
    one, two, three = await stage.claim()
    await stage.settle(report(one, "refused", wait(scope)))
    table = "connected_accounts" if scope is on.Scope.ACCOUNT else "rate_limits"
    throttles = f"select max(throttles) from {table}"
    await stage.settle(
        done(two, recovering=True)
    )  # in flight when the refusal came: proves nothing
    assert await stage.value(throttles) == 1
    stage.now += HOUR
    await stage.settle(done(three, recovering=True))
    assert await stage.value(throttles) == 0


async def test_errors_in_a_row_hold_the_account_back(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=6)
    taken = await stage.claim()
    unknown = [report(item, "unknown", None, check_at=NOW + MINUTE, errors=1) for item in taken]
    await stage.settle(*unknown[:2])
    await stage.settle(done(taken[2], recovering=True))  # not in a row
    await stage.settle(*unknown[3:5])
    assert await blocked_until(stage, on.Scope.ACCOUNT) is None
    await stage.settle(unknown[5])
    assert await blocked_until(stage, on.Scope.ACCOUNT) == NOW + 2 * HOUR
    assert await stage.value("select errors_in_a_row from connected_accounts") == 0


async def test_an_allowance_that_is_nearly_used_up_is_left_alone(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    one, two = await stage.claim()
    await stage.settle(done(one, hold_budget_until=NOW + DAY))
    await stage.settle(done(two, hold_budget_until=NOW + HOUR))
    assert await blocked_until(stage, on.Scope.BUDGET) == NOW + DAY


async def test_a_refused_account_stops_with_all_its_lanes_and_says_so_once(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=4, senders=2)
    taken = await stage.claim()
    stopped = taken[0].sender.account_id
    refused = [item for item in taken if item.sender.account_id == stopped]
    signed_out = ex.Failed(on.Pause("signed out"))
    await stage.settle(*(report(item, "refused", signed_out) for item in refused))
    accounts = await stage.rows(
        "select id, status, paused_by, pause_reason from connected_accounts"
    )
    assert {
        row["id"]: (row["status"], row["paused_by"], row["pause_reason"]) for row in accounts
    } == {
        stopped: ("paused", "provider", "signed out"),
        next(each for each in stage.accounts if each != stopped): ("active", None, None),
    }
    active = "select bool_or(active), bool_and(active) from lanes where account_id = %s"
    for account in stage.accounts:
        found = (await stage.rows(active, account))[0]
        assert set(found.values()) == {account != stopped}
    told = "select count(*) from events where subject_id = %s and kind = 'AccountPaused'"
    assert await stage.value(told, stopped) == 1
    assert await stage.claim() == []
    await resume_account(conn, stage.organization_id, stopped, by=PausedBy.PROVIDER, now=NOW)
    assert len(await stage.claim()) == len(refused)


async def test_when_the_engine_is_refused_every_account_of_the_organisation_stops(
    conn: Conn,
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=4, senders=2)
    other = await begun(conn, VISIT, VISITING, name="other")
    item, *_ = await stage.claim()
    await stage.settle(report(item, "refused", ex.Failed(on.Pause("bad token", everyone=True))))
    statuses = (
        "select array_agg(distinct status) from connected_accounts where organization_id = %s"
    )
    lanes = "select bool_or(active) from lanes where organization_id = %s"
    assert await stage.value(statuses, stage.organization_id) == ["paused"]
    assert await stage.value(lanes, stage.organization_id) is False
    assert await stage.value(statuses, other.organization_id) == ["active"]
    assert await stage.value(lanes, other.organization_id) is True
    told = "select count(distinct subject_id) from events where kind = 'AccountPaused'"
    assert await stage.value(told) == 2
    assert len(await other.claim()) == 1


async def test_the_operators_pause_stands_over_the_providers(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    item, _ = await stage.claim()
    await stage.settle(report(item, "refused", ex.Failed(on.Pause("signed out"))))
    of = conn, stage.organization_id, stage.account
    assert not await pause_account(*of, by=PausedBy.PROVIDER, reason="again", now=NOW)
    assert await pause_account(*of, by=PausedBy.OPERATOR, reason="holiday", now=NOW)
    assert not await resume_account(*of, by=PausedBy.PROVIDER, now=NOW)
    assert await resume_account(*of, by=PausedBy.OPERATOR, now=NOW)


# --- notices, contacts, history ------------------------------------------------------------------


async def test_a_webhook_node_makes_one_notice_and_only_one(conn: Conn) -> None:
    stage = await set_stage(conn, line(Operation.WEBHOOK), fields={"first_name": "Ada"})
    await stage.walk(2)
    [delivery] = await stage.rows("select * from webhook_deliveries")
    assert (delivery["url"], delivery["next_attempt_at"]) == ("https://hooks.example/x", NOW)
    assert delivery["payload"]["lead"]["firstName"] == "Ada"
    assert delivery["payload"]["execution"]["outcome"] == "finished"
    await stage.stand(Operation.WEBHOOK, outcome=None, finished_at=None)
    await stage.walk(1)
    assert await stage.value("select count(*) from webhook_deliveries") == 1


async def test_a_registered_webhook_goes_where_it_was_registered(conn: Conn) -> None:
    node = Node("n0", Operation.WEBHOOK, webhook_id="crm", webhook_url="https://old.example")
    stage = await set_stage(conn, workflow([node]))
    await conn.execute(
        "insert into webhook_endpoints (organization_id, id, name, url)"
        " values (%s, 'crm', 'CRM', 'https://crm.example')",
        (stage.organization_id,),
    )
    await stage.walk(2)
    assert await stage.value("select url from webhook_deliveries") == "https://crm.example"


async def test_several_events_of_one_lead_in_a_batch_are_heard_in_order(conn: Conn) -> None:
    stage = await begun(conn, BRANCHING, CONNECT, stop_on_reply=False)
    await stage.stand(CHECK, "ask", status="awaiting", deadline_at=NOW + DAY, at=NOW + DAY)
    accepted = stage.heard(
        ex.Accepted(NOW), learned=Learned(provider_id="ACoAAX", connected_at=NOW)
    )
    replied = stage.heard(ex.Replied(), learned=Learned(chat_id="chat", replied_at=NOW))
    settled = await stage.settle(accepted, replied)
    assert settled.applied == 2
    run = await stage.run()
    assert (run["node_id"], run["connected"], run["replied"]) == ("write", True, True)
    [contact] = await stage.rows("select * from contacts")
    assert (contact["provider_id"], contact["chat_id"]) == ("ACoAAX", "chat")
    assert (contact["connected_at"], contact["replied_at"]) == (NOW, NOW)


async def test_what_is_learned_later_is_added_and_the_newest_reply_is_kept(conn: Conn) -> None:
    stage = await begun(conn, BRANCHING, CONNECT, stop_on_reply=False)
    await stage.settle(
        stage.heard(ex.Replied(), learned=Learned(provider_id="ACoAAX", replied_at=NOW))
    )
    stage.now += DAY
    later = Learned(chat_id="chat", replied_at=NOW + DAY, invitation_id="invitation")
    await stage.settle(stage.heard(ex.Replied(), learned=later))
    [contact] = await stage.rows("select * from contacts")
    assert (contact["provider_id"], contact["chat_id"]) == ("ACoAAX", "chat")
    assert (contact["invitation_id"], contact["replied_at"]) == ("invitation", NOW + DAY)
    old = stage.heard(ex.Replied(), learned=Learned(replied_at=NOW))  # told late
    await stage.settle(old)
    [contact] = await stage.rows("select * from contacts")
    assert contact["replied_at"] == NOW + DAY


async def test_a_message_stamped_2046_makes_no_contact_deaf(conn: Conn) -> None:
    stage = await begun(conn, BRANCHING, CONNECT, stop_on_reply=False)
    stamp = NOW + 20 * 365 * DAY
    await stage.settle(
        stage.heard(ex.Replied(), learned=Learned(replied_at=stamp, connected_at=stamp))
    )
    [contact] = await stage.rows("select * from contacts")
    assert (contact["connected_at"], contact["replied_at"]) == (NOW, NOW)


async def test_the_history_tells_each_step_and_replays_to_the_same_place(conn: Conn) -> None:
    stage = await set_stage(conn, BRANCHING, stop_on_reply=False)
    await stage.walk(3)
    await stage.event(ex.Accepted(NOW))
    stage.now += HOUR
    await stage.walk()
    rows = await stage.rows(
        "select * from history where subject_id = %s order by id", stage.leads[0]
    )
    assert [(row["kind"], row["node_id"], row["result"], row["entered"]) for row in rows] == [
        ("Began", None, None, "ask"),
        ("ProfileRead", "ask", None, None),
        ("Done", "ask", None, None),
        ("Accepted", "ask", "done", "write"),
        ("Done", "write", "done", None),
    ]
    run = ex.Execution(
        stage.campaign_id,
        stage.leads[0],
        rules=ex.Rules(stop_on_reply=False),
        next_run_at=NOW,
    )
    for row in rows:
        run = decide(BRANCHING, run, recalled(row["kind"], row["detail"]), row["at"]).execution
    stored = execution(await stage.run(), ex.Rules(stop_on_reply=False))
    assert stored == run


async def test_a_campaign_is_completed_with_its_last_lead(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, leads=2)
    await stage.walk()
    [one, two] = await stage.claim()
    await stage.settle(done(one))
    assert await complete_campaigns(conn, NOW) == []
    await stage.settle(done(two))
    assert await complete_campaigns(conn, NOW) == [stage.campaign_id]
    assert await complete_campaigns(conn, NOW) == []
    assert await stage.value("select completed_at from campaigns") == NOW
    assert await stage.value("select bool_or(active) from lanes") is False


async def test_a_campaign_with_a_held_lead_is_not_completed(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP, text="{{nickname}}"), FOLLOWUP)
    await stage.walk()
    assert (await stage.run())["status"] == "held"
    assert await complete_campaigns(conn, NOW) == []


@pytest.mark.parametrize("state", ["done", "refused", "released", "absent"])
async def test_a_settled_step_wakes_the_lane_that_the_lead_stands_in(
    conn: Conn, state: str
) -> None:
    stage = await begun(conn, line(VISITING, VISITING), VISITING)
    [item] = await stage.claim()
    assert (await stage.lane(VISITING))["ready_at"] is None
    events: dict[str, ex.Event] = {
        "done": ex.ProfileRead("ACoAAX", connected=False, invitation_pending=False),
        "refused": ex.Failed(on.Skip("hidden")),
        "released": ex.Failed(on.Wait("given back", timedelta(0), timedelta(0))),
        "absent": ex.Absent(),
    }
    await stage.settle(report(item, state, events[state]))
    ready_at = (await stage.lane(VISITING))["ready_at"]
    assert ready_at is not None
    assert ready_at <= (await stage.run())["next_run_at"]


async def test_a_lane_is_not_woken_before_its_account_is_free(conn: Conn) -> None:
    stage = await begun(conn, line(VISITING, VISITING), VISITING)
    await stage.change("connected_accounts", spacing_shortest=MINUTE, spacing_longest=MINUTE)
    [item] = await stage.claim()
    await stage.settle(done(item))
    assert (await stage.lane(VISITING))["ready_at"] == NOW + MINUTE


@pytest.mark.parametrize(
    "text",
    [
        "nul\0",
        "half an emoji \ud83d",
        "back\\slash \\u0000 'quoted' \"twice\" 🙂",
    ],
)
async def test_whatever_the_provider_calls_things_is_stored(conn: Conn, text: str) -> None:
    stage = await begun(conn, VISIT, VISITING)
    [item] = await stage.claim()
    await stage.settle(done(item, reference=text, learned=Learned(chat_id=text)))
    assert (await stage.run())["outcome"] == "finished"


async def test_a_new_sender_of_another_campaign_changes_nothing_here(conn: Conn) -> None:
    organization_id = await create_organization(conn, "Brumelle")
    sender = await add_sender(conn, organization_id)
    one = await begun(
        conn, VISIT, VISITING, name="one", organization_id=organization_id, senders=[sender]
    )
    two = await begun(
        conn, VISIT, VISITING, name="two", organization_id=organization_id, senders=[sender]
    )
    [mine] = [item for item in await one.claim() if item.run.campaign_id == one.campaign_id]
    assert mine.ticket is not None
    forged = replace(mine, ticket=replace(mine.ticket, token=uuid4()))
    assert (await two.settle(done(forged))).stale == 1
    assert (await one.run())["outcome"] is None

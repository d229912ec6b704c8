"""What a claim takes, what it leaves, and when it looks again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from builders import (
    AT_ONCE,
    DAY,
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
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.campaign import Pace
from clento_engine.domain.limits import BUCKET, LEASE, Caps, Spacing, bucket_at
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.picking import AGAIN
from clento_engine.domain.workflow import Node
from clento_engine.store.accounts import create_organization, pause_account
from clento_engine.store.campaigns import pause_campaign
from clento_engine.store.claim import LEAST_LANES, MOST_LANES, Claim, Wanted, claim, enough_lanes
from clento_engine.store.claimed import Claimed
from clento_engine.store.workflows import load_workflows

Conn = AsyncConnection[TupleRow]
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
CONNECT = Operation.SEND_CONNECTION_REQUEST
VISITING = Operation.PROFILE_VISIT
FOLLOWUP = Operation.SEND_FOLLOWUP
MIDNIGHT = NOW.replace(hour=0) + DAY  # the senders are in UTC
WIDER = LEASE + BUCKET  # than its window is what a cap counts


def leads(claimed: list[Claimed]) -> list[UUID]:
    return [item.run.lead_id for item in claimed]


# --- which heads ---------------------------------------------------------------------------------


async def test_a_claim_writes_an_intent_for_each_step_and_counts_its_unit(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    taken = await stage.claim()
    actions = await stage.rows("select * from actions order by lead_id")
    assert [row["lead_id"] for row in actions] == sorted(stage.leads)
    assert {row["state"] for row in actions} == {"intended"}
    assert {row["check_at"] for row in actions} == {NOW + LEASE}
    assert {row["token"] for row in actions} == {item.ticket.token for item in taken if item.ticket}
    assert await stage.used(Budget.PROFILE) == 2


async def test_a_claim_takes_the_longest_due_first_then_by_lead(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=4)
    first, second, third, fourth = stage.leads
    await stage.stand(VISITING, at=NOW - MINUTE, leads=[third, second])
    await stage.stand(VISITING, at=NOW - HOUR, leads=[fourth])
    await stage.stand(VISITING, at=NOW + MINUTE, leads=[first])
    assert leads(await stage.claim()) == [fourth, *sorted([second, third])]


async def test_what_is_not_due_held_finished_or_in_flight_is_left(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=4)
    future, held, final, flying = stage.leads
    await stage.stand(VISITING, at=NOW + MINUTE, leads=[future])
    of = "where lead_id = %s"
    await conn.execute(
        f"update campaign_executions set status = 'held', reason = '?', next_run_at = null {of}",
        (held,),
    )
    await conn.execute(
        "update campaign_executions set status = 'completed', outcome = 'finished',"
        f" finished_at = %s, next_run_at = null {of}",
        (NOW, final),
    )
    assert leads(await stage.claim()) == [flying]
    stage.now += MINUTE
    assert leads(await stage.claim()) == [future]


async def test_an_execution_has_one_open_action_at_most(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    [item] = await stage.claim()
    await stage.settle(report(item, "unknown", None, check_at=NOW + HOUR))
    await stage.change("lanes", ready_at=NOW)
    assert await stage.claim() == []


@pytest.mark.parametrize("paused", ["campaign", "account"])
async def test_nothing_paused_is_claimed(conn: Conn, paused: str) -> None:
    stage = await begun(conn, VISIT, VISITING)
    if paused == "campaign":
        await pause_campaign(conn, stage.organization_id, stage.campaign_id, now=NOW)
    else:
        await pause_account(
            conn, stage.organization_id, stage.account, by=PausedBy.OPERATOR, reason="?", now=NOW
        )
    assert await stage.claim() == []


async def test_another_organisation_is_not_served_unasked(conn: Conn) -> None:
    one = await begun(conn, VISIT, VISITING, name="one")
    two = await begun(conn, VISIT, VISITING, name="two")
    assert leads(await one.claim()) == one.leads
    assert leads(await two.claim()) == two.leads


async def test_slots_bound_a_claim_and_leave_the_rest_ready(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=5)
    assert len(await stage.claim(slots=2)) == 2
    assert (await stage.lane(VISITING))["ready_at"] == NOW
    assert len(await stage.claim(slots=2)) == 2
    assert len(await stage.claim(slots=2)) == 1
    assert await stage.claim(slots=2) == []


async def test_leads_far_along_their_path_go_first(conn: Conn) -> None:
    stage = await begun(conn, line(VISITING, FOLLOWUP), VISITING, leads=2)
    ahead = stage.leads[1]
    await stage.stand(FOLLOWUP, "n1", leads=[ahead], at=NOW)
    assert leads(await stage.claim(slots=1)) == [ahead]


async def test_most_concurrent_leads_bound_what_is_in_flight(conn: Conn) -> None:
    pace = replace(AT_ONCE, max_concurrent_leads=2)
    stage = await begun(conn, VISIT, VISITING, leads=3, pace=pace)
    taken = await stage.claim()
    assert len(taken) == 2
    assert (await stage.lane(VISITING))["ready_at"] == NOW + AGAIN
    stage.now += AGAIN
    assert await stage.claim() == []
    await stage.settle(*(done(item) for item in taken))
    stage.now += AGAIN
    assert len(await stage.claim()) == 1


async def test_a_step_must_be_sent_inside_the_lease_and_the_working_hours(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, hours="Mon-Fri 09:00-18:00")
    [item] = await stage.claim()
    assert item.act_before == NOW + LEASE - timedelta(seconds=110)
    stage.now = NOW.replace(hour=17, minute=59)
    await stage.settle(report(item, "absent", ex.Absent()))
    stage.now += timedelta(seconds=5)
    [item] = await stage.claim()
    assert item.act_before == NOW.replace(hour=18)


# --- what comes back without an action -----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("person", "person-1"),
        ("email", "person-1@mail.example"),
        ("domain", "mail.example"),
        ("company", "acme"),
    ],
)
@pytest.mark.parametrize("operation", [Operation.START, VISITING])
async def test_someone_suppressed_becomes_final_without_an_action(
    conn: Conn, kind: str, value: str, operation: Operation
) -> None:
    stage = await set_stage(conn, VISIT)
    if operation is VISITING:
        await stage.stand(VISITING)
    await conn.execute(
        "insert into suppressions (organization_id, kind, value, reason) values (%s, %s, %s, '?')",
        (stage.organization_id, kind, value),
    )
    await stage.walk()
    assert (await stage.run())["outcome"] == "suppressed"
    assert await stage.value("select count(*) from actions") == 0
    assert await stage.used(Budget.PROFILE) == 0


async def test_a_suppression_that_is_over_holds_nobody_back(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await conn.execute(
        "insert into suppressions (organization_id, kind, value, reason, expires_at)"
        " values (%s, 'person', 'person-1', '?', %s)",
        (stage.organization_id, NOW),
    )
    [item] = await stage.claim()
    assert item.intent is not None


async def test_a_lead_whose_time_is_over_becomes_final_without_an_action(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await stage.stand(VISITING, expires_at=NOW)
    await stage.walk()
    assert (await stage.run())["outcome"] == "expired"
    assert await stage.value("select count(*) from actions") == 0


async def test_a_claim_that_dies_with_an_event_in_hand_loses_no_lead(conn: Conn) -> None:
    """Nothing is sent for an event, so there is no open action for reconcile to find."""
    stage = await set_stage(conn, VISIT)
    [began] = await stage.claim()
    assert began.event == ex.Began()  # and the ticker dies here
    ready_at = (await stage.lane(Operation.START))["ready_at"]
    assert ready_at is not None
    stage.now = ready_at
    assert leads(await stage.claim()) == stage.leads


async def test_what_the_ledger_knows_as_done_is_not_done_again_and_stops_nobody_else(
    conn: Conn,
) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP, leads=2)
    again, other = stage.leads
    taken = {item.run.lead_id: item for item in await stage.claim()}
    await stage.settle(*(done(item) for item in taken.values()))
    await stage.stand(FOLLOWUP, leads=[again], status="waiting", outcome=None, finished_at=None)
    [item] = await stage.claim()
    assert (item.run.lead_id, item.intent, item.event) == (again, None, ex.Done())
    await stage.settle(done(item))
    assert (await stage.run(again))["outcome"] == (await stage.run(other))["outcome"] == "finished"


# --- caps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caps", "window"),
    [
        (Caps(hour=2), HOUR),
        (Caps(day=2), DAY),
        (Caps(week=2), 7 * DAY),
        (Caps(month=2), 30 * DAY),
        (Caps(hour=5, day=2, week=9, month=20), DAY),
    ],
)
async def test_no_window_holds_more_than_its_cap(conn: Conn, caps: Caps, window: timedelta) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=5)
    # more than 85 % of 2 is 2: the daily variation changes nothing here
    await stage.cap(Budget.PROFILE, caps)
    assert len(await stage.claim()) == 2
    stage.now += timedelta(seconds=1)
    await stage.change("lanes", ready_at=stage.now)
    assert await stage.claim() == []
    frees = bucket_at(NOW) + window + WIDER
    ready_at = (await stage.lane(VISITING))["ready_at"]
    assert ready_at == min(frees, MIDNIGHT)  # caps vary by day: looked at each day
    await stage.stand(VISITING, expires_at=None)
    stage.now = frees - timedelta(seconds=1)
    await stage.change("lanes", ready_at=stage.now)
    assert await stage.claim() == []
    stage.now = frees
    await stage.change("lanes", ready_at=stage.now)
    assert len(await stage.claim()) == 2


async def test_a_budget_is_shared_by_all_its_lanes_and_campaigns(conn: Conn) -> None:
    one = await begun(conn, VISIT, VISITING, leads=3, name="one")
    two = await begun(
        conn,
        VISIT,
        VISITING,
        leads=3,
        name="two",
        organization_id=one.organization_id,
        senders=one.accounts,
    )
    await one.cap(Budget.PROFILE, Caps(hour=4))
    taken = await one.claim()
    assert len(taken) == 4
    assert {item.run.campaign_id for item in taken} == {one.campaign_id, two.campaign_id}


async def test_a_cap_of_nothing_is_looked_at_once_a_day(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await stage.cap(Budget.PROFILE, Caps(day=0))
    assert await stage.claim() == []
    assert (await stage.lane(VISITING))["ready_at"] == MIDNIGHT


async def test_without_notes_left_an_invitation_goes_bare(conn: Conn) -> None:
    graph = workflow([Node("n0", CONNECT, text="Hello")])
    stage = await begun(conn, graph, CONNECT, leads=3)
    await stage.cap(Budget.NOTE, Caps(month=2))
    taken = await stage.claim()
    assert [item.intent.text for item in taken if item.intent] == ["Hello", "Hello", None]
    assert await stage.used(Budget.INVITATION) == 3
    assert await stage.used(Budget.NOTE) == 2


@pytest.mark.parametrize("caps", [Caps(hour=1), Caps(day=1), Caps(week=1), Caps(month=1)])
async def test_notes_may_be_capped_over_any_window(conn: Conn, caps: Caps) -> None:
    graph = workflow([Node("n0", CONNECT, text="Hello")])
    stage = await begun(conn, graph, CONNECT, leads=2)
    await stage.cap(Budget.NOTE, caps)
    taken = await stage.claim()
    assert [item.intent.text for item in taken if item.intent] == ["Hello", None]


# --- when a lane is looked at again --------------------------------------------------------------

GAP = Spacing(MINUTE, MINUTE)


async def _nothing_left(stage: Stage) -> datetime | None:
    return None


async def _future_head(stage: Stage) -> datetime | None:
    await stage.stand(VISITING, at=NOW + HOUR, leads=stage.leads[1:])
    return NOW + HOUR


async def _future_head_after_closing(stage: Stage) -> datetime | None:
    await stage.change("campaigns", working_hours="Mon-Fri 09:00-18:00")
    await stage.stand(VISITING, at=NOW + 10 * HOUR, leads=stage.leads[1:])
    return NOW + DAY


async def _closed(stage: Stage) -> datetime | None:
    await stage.change("campaigns", working_hours="Tue 10:00-11:00")
    return NOW + DAY + HOUR


async def _budget_spent(stage: Stage) -> datetime | None:
    await stage.cap(Budget.PROFILE, Caps(hour=1))
    await conn_count(stage, 1)
    return bucket_at(NOW) + HOUR + WIDER


async def _account_gap(stage: Stage) -> datetime | None:
    await stage.change("connected_accounts", spacing_shortest=MINUTE, spacing_longest=MINUTE)
    return NOW + MINUTE


async def _budget_gap(stage: Stage) -> datetime | None:
    await stage.change("rate_limits", spacing_shortest=2 * MINUTE, spacing_longest=2 * MINUTE)
    return NOW + 2 * MINUTE


async def _account_blocked(stage: Stage) -> datetime | None:
    await stage.change("connected_accounts", blocked_until=NOW + HOUR)
    return NOW + HOUR


async def _budget_blocked(stage: Stage) -> datetime | None:
    await stage.change("rate_limits", blocked_until=NOW + HOUR)
    return NOW + HOUR


async def conn_count(stage: Stage, used: int) -> None:
    await stage.conn.execute(
        "insert into rate_counters values (%s, %s, 'profile_visit', %s, %s)",
        (stage.organization_id, stage.account, bucket_at(stage.now), used),
    )


@pytest.mark.parametrize(
    ("leads", "slots", "taken", "expected"),
    [
        (1, 100, 1, _nothing_left),
        (3, 100, 1, _future_head),
        (3, 100, 1, _future_head_after_closing),
        (3, 100, 0, _closed),
        (3, 100, 0, _budget_spent),
        (3, 100, 1, _account_gap),
        (2, 100, 1, _account_gap),
        (3, 100, 1, _budget_gap),
        (3, 100, 0, _account_blocked),
        (3, 100, 0, _budget_blocked),
    ],
)
async def test_a_lane_is_looked_at_when_its_head_may_run(
    conn: Conn,
    leads: int,
    slots: int,
    taken: int,
    expected: Callable[[Stage], Any],
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=leads)
    ready_at = await expected(stage)
    assert len(await stage.claim(slots)) == taken
    assert (await stage.lane(VISITING))["ready_at"] == ready_at


async def test_a_lane_with_more_than_was_asked_for_stays_ready(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=5)
    await stage.cap(Budget.PROFILE, Caps(hour=2))  # asked for: two, and one more
    assert len(await stage.claim()) == 2
    assert (await stage.lane(VISITING))["ready_at"] == NOW  # two may have been all it had room for
    assert await stage.claim() == []
    assert (await stage.lane(VISITING))["ready_at"] == bucket_at(NOW) + HOUR + WIDER


async def test_an_account_acts_on_one_lane_at_a_time_when_it_keeps_a_gap(conn: Conn) -> None:
    stage = await begun(conn, line(VISITING, FOLLOWUP), VISITING, leads=4)
    await stage.stand(FOLLOWUP, "n1", leads=stage.leads[2:])
    await stage.change("connected_accounts", spacing_shortest=MINUTE, spacing_longest=MINUTE)
    [item] = await stage.claim()
    assert item.run.operation is FOLLOWUP
    assert await stage.claim() == []
    for operation in (FOLLOWUP, VISITING):
        assert (await stage.lane(operation))["ready_at"] == NOW + MINUTE


async def test_claims_that_take_nothing_put_every_lane_to_sleep(conn: Conn) -> None:
    """A lane that stayed ready without giving anything would keep the ticker spinning."""
    stage = await begun(conn, line(VISITING, CONNECT, FOLLOWUP), VISITING, leads=6)
    await stage.stand(CONNECT, "n1", leads=stage.leads[2:4])
    await stage.stand(FOLLOWUP, "n2", leads=stage.leads[4:])
    await stage.cap(Budget.PROFILE, Caps(hour=1))
    await stage.cap(Budget.INVITATION, Caps(day=0))
    await stage.cap(Budget.MESSAGE, Caps(week=1))
    while await stage.claim():
        pass
    late = await stage.rows("select * from lanes where ready_at <= %s", NOW)
    assert late == []


# --- leads begin ---------------------------------------------------------------------------------

START = Operation.START


async def test_leads_of_a_campaign_begin_with_the_gap_that_it_asks_for(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(seconds=30), leads_per_day=100)
    stage = await set_stage(conn, VISIT, leads=6, senders=2, pace=pace)
    starts = []
    for _ in range(4):
        taken = [item for item in await stage.walk() if item.run.operation is START]
        starts.append([item.sender.account_id for item in taken])
        stage.now += timedelta(seconds=30)
    assert [len(some) for some in starts] == [1, 1, 1, 1]
    assert {sender for some in starts for sender in some} == set(stage.accounts)


async def test_the_sender_that_began_fewest_leads_today_is_next(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(seconds=30), leads_per_day=100)
    stage = await set_stage(conn, VISIT, leads=6, senders=2, pace=pace)
    began = "update campaign_senders set starts_on = %s, starts = %s where account_id = %s"
    idle, busy = stage.accounts
    await conn.execute(began, ((NOW - DAY).date(), 5, idle))  # of yesterday nothing counts
    await conn.execute(began, (NOW.date(), 1, busy))
    [item] = await stage.walk()
    assert item.sender.account_id == idle


async def test_no_second_lead_begins_before_the_gap_is_over(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(seconds=30), leads_per_day=100)
    stage = await set_stage(conn, VISIT, leads=6, senders=2, pace=pace)
    begun_now = [item for item in await stage.walk(3) if item.run.operation is START]
    assert len(begun_now) == 1
    for account in stage.accounts:
        assert (await stage.lane(START, account))["ready_at"] == NOW + timedelta(seconds=30)


async def test_a_start_looks_at_no_more_heads_than_may_begin(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(seconds=30), leads_per_day=100)
    stage = await set_stage(conn, VISIT, leads=50, pace=pace)
    async with conn.transaction():
        await stage.claim()
        locked = await stage.value(
            "select count(*) from campaign_executions where xmax::text <> '0'"
        )
    assert locked <= 2


async def test_leads_per_day_count_over_all_senders_until_their_midnight(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=3)
    stage = await set_stage(conn, VISIT, leads=10, senders=2, pace=pace)
    await stage.walk(3)
    began = "select count(*) from campaign_executions where started_at is not null"
    assert await stage.value(began) == 3
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    stage.now += LEASE
    assert await stage.claim() == []
    for account in stage.accounts:
        assert (await stage.lane(START, account))["ready_at"] == midnight
    stage.now = midnight
    await stage.walk(3)
    assert await stage.value(began) == 6


async def test_a_start_that_two_claims_took_is_counted_once(conn: Conn) -> None:
    stage = await set_stage(conn, leads=4)
    first, second = await stage.claim(slots=2), await stage.claim(slots=2)
    assert [item.run.lead_id for item in first] == [item.run.lead_id for item in second]
    for batch in (first, second):
        await stage.settle(*map(done, batch))
    cursor = await conn.execute("select sum(starts)::int from campaign_senders")
    assert await cursor.fetchone() == (2,)


async def test_the_day_of_starts_is_the_senders(conn: Conn) -> None:
    organization_id = await create_organization(conn, "Brumelle")
    tokyo = await add_sender(conn, organization_id, "tokyo", time_zone="Asia/Tokyo")
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=1)
    stage = await set_stage(
        conn, VISIT, leads=3, senders=[tokyo], pace=pace, organization_id=organization_id
    )
    await stage.walk(2)
    stage.now += LEASE
    assert await stage.claim() == []
    assert (await stage.lane(START))["ready_at"] == datetime(2026, 3, 2, 15, tzinfo=UTC)


async def test_senders_on_two_dates_share_the_number_of_a_day(conn: Conn) -> None:
    organization_id = await create_organization(conn, "Brumelle")
    auckland = await add_sender(conn, organization_id, "auckland", time_zone="Pacific/Auckland")
    hawaii = await add_sender(conn, organization_id, "hawaii", time_zone="Pacific/Honolulu")
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=4)
    stage = await set_stage(
        conn,
        VISIT,
        leads=20,
        senders=[auckland, hawaii],
        pace=pace,
        organization_id=organization_id,
    )
    for _ in range(4):  # one after the other, so that each sees what the other began
        await stage.walk(1, slots=1)
    await stage.walk(4)
    assert (
        await stage.value("select count(*) from campaign_executions where started_at is not null")
        == 4
    )


async def test_without_a_number_as_many_begin_as_the_tightest_step_carries(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=None)
    stage = await set_stage(conn, line(VISITING, CONNECT), leads=30, senders=2, pace=pace)
    await stage.cap(Budget.INVITATION, Caps(week=35))  # five a day, every day
    await stage.cap(Budget.INVITATION, Caps(week=14), stage.accounts[1])
    await stage.walk(2)
    began = (
        "select count(*) from campaign_executions where started_at is not null and account_id=%s"
    )
    assert await stage.value(began, stage.accounts[0]) == 5
    assert await stage.value(began, stage.accounts[1]) == 2


async def test_a_path_that_a_budget_forbids_lets_one_lead_a_day_begin(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=None)
    stage = await set_stage(conn, line(Operation.SEND_INMAIL), leads=5, pace=pace)
    await stage.cap(Budget.INMAIL, Caps(day=0))
    taken = await stage.claim()
    assert len(taken) == 1


async def test_nobody_begins_outside_working_hours_or_before_the_campaign_starts(
    conn: Conn,
) -> None:
    stage = await set_stage(conn, VISIT, hours="Mon-Fri 10:00-18:00", start_at=NOW + 10 * HOUR)
    assert await stage.claim() == []
    stage.now += 10 * HOUR
    assert await stage.claim() == []
    assert (await stage.lane(START))["ready_at"] == NOW.replace(hour=10) + DAY


async def test_a_suppressed_lead_takes_no_place_of_the_day(conn: Conn) -> None:
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=1)
    stage = await set_stage(conn, VISIT, leads=2, pace=pace)
    await conn.execute(
        "insert into suppressions (organization_id, kind, value, reason)"
        " select organization_id, 'person', identity, '?' from leads where id = %s",
        (min(stage.leads),),
    )
    taken = await stage.claim()
    assert [type(item.event) for item in taken] == [ex.Suppressed, ex.Began]


async def test_the_first_send_begins_the_warm_up_and_bounds_the_day(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=30)
    await stage.change("connected_accounts", warmup_days=10)
    await stage.cap(Budget.PROFILE, Caps(day=50))
    taken = await stage.claim()
    assert 8 <= len(taken) <= 10  # a fifth, less up to 15 %
    assert await stage.value("select warmup_started_at from connected_accounts") == NOW


# --- cost ----------------------------------------------------------------------------------------


async def updates(conn: Conn, table: str) -> int:
    await conn.execute("select pg_stat_force_next_flush()")
    await conn.execute("select pg_stat_clear_snapshot()")
    cursor = await conn.execute(
        "select n_tup_upd from pg_stat_user_tables where relname = %s", (table,)
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.direct  # of what its own session did
async def test_a_backlog_costs_nothing(conn: Conn) -> None:
    """With 5,000 leads due at once, a claim writes no lead, and settling only those it took."""
    stage = await begun(conn, VISIT, VISITING, leads=5000)
    await stage.cap(Budget.PROFILE, Caps(hour=3))
    leads_before = await updates(conn, "campaign_executions")
    lanes_before = await updates(conn, "lanes")
    taken = await stage.claim()
    assert len(taken) == 3
    assert await stage.claim() == []
    assert await updates(conn, "campaign_executions") == leads_before
    assert await updates(conn, "lanes") - lanes_before <= 2
    await stage.settle(*(done(item) for item in taken))
    assert await updates(conn, "campaign_executions") - leads_before == 3
    assert await updates(conn, "lanes") - lanes_before <= 3
    before = await updates(conn, "lanes")
    for _ in range(10):
        assert await stage.claim() == []
    assert await updates(conn, "lanes") == before


async def test_workflows_are_found_however_many_there_are(
    conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await set_stage(conn, VISIT)
    version = await stage.value("select id from workflow_versions")
    key = (stage.organization_id, version)
    assert version in await load_workflows(conn, [key])
    monkeypatch.setattr("clento_engine.store.workflows._MOST_KEPT", 0)
    other = await set_stage(conn, line(FOLLOWUP), name="other")
    another = await other.value("select id from workflow_versions where name = 'other'")
    found = await load_workflows(conn, [key, (other.organization_id, another)])
    assert set(found) == {version, another}


async def test_a_spent_budget_that_another_lane_takes_from_as_well_lets_both_sleep(
    conn: Conn,
) -> None:
    """An InMail of a Sales Navigator account takes a profile retrieval besides."""
    stage = await begun(conn, line(VISITING, Operation.SEND_INMAIL), VISITING, leads=4)
    await stage.stand(VISITING, at=NOW - MINUTE, leads=stage.leads[:2])
    await stage.stand(Operation.SEND_INMAIL, "n1", leads=stage.leads[2:])
    await stage.cap(Budget.PROFILE, Caps(hour=1))
    await conn_count(stage, 1)
    assert await stage.claim() == []
    assert (await stage.lane(VISITING))["ready_at"] == bucket_at(NOW) + HOUR + WIDER
    assert (await stage.lane(Operation.SEND_INMAIL))["ready_at"] > NOW


@pytest.mark.parametrize(
    ("lanes", "taken", "locked", "gave", "enough"),
    [
        (48, 100, 48, 32, 34),  # they filled the slots: as many, and few more
        (200, 100, 200, 1, LEAST_LANES),  # most of them for nothing
        (16, 40, 16, 16, 64),  # too few
        (64, 90, 64, 60, MOST_LANES),
        (64, 40, 50, 40, 64),  # there were no more
        (64, 0, 0, 0, 64),
    ],
)
def test_a_claim_locks_the_lanes_that_the_one_before_it_had_use_for(
    lanes: int, taken: int, locked: int, gave: int, enough: int
) -> None:
    wanted = Wanted([], NOW, slots=100, lanes=lanes)
    had: list[Any] = [None] * taken
    assert enough_lanes(wanted, Claim(had, locked, gave)) == enough


async def test_a_claim_locks_no_more_lanes_than_it_is_told(conn: Conn) -> None:
    stage = await begun(conn, line(FOLLOWUP), FOLLOWUP, leads=3, senders=3)
    had = await claim(conn, Wanted([stage.organization_id], stage.now, 100, lanes=2))
    assert had.locked == 2


@pytest.mark.parametrize(("comes_first", "served"), [(False, "big"), (True, "small")])
async def test_who_comes_first_is_served_before_the_older_lanes_of_others(
    conn: Conn, *, comes_first: bool, served: str
) -> None:
    big = await set_stage(conn, VISIT, leads=3, senders=3, name="big")
    await big.stand(VISITING, at=NOW - HOUR)
    small = await set_stage(conn, VISIT, name="small")
    await small.stand(VISITING, at=NOW - MINUTE)
    everybody = [big.organization_id, small.organization_id]
    first = [small.organization_id] if comes_first else []
    had = await claim(conn, Wanted(everybody, NOW, slots=1, lanes=1, first=first))
    of = {"big": big, "small": small}[served]
    assert [item.organization_id for item in had.taken] == [of.organization_id]


async def test_a_lane_is_taken_once_by_rotation_and_by_age(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    cursor = await conn.execute(
        "select count(*) from lanes where active and ready_at <= %s", (NOW,)
    )
    ready = await cursor.fetchone()
    organization = [stage.organization_id]
    had = await claim(conn, Wanted(organization, stage.now, 100, first=organization))
    assert (had.locked,) == ready

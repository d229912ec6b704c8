"""Campaigns are started, paused, resumed and stopped without touching a lead that waits."""

import time
from datetime import timedelta
from uuid import UUID

import pytest
from builders import (
    AT_ONCE,
    NOW,
    VISIT,
    Stage,
    add_leads,
    add_sender,
    begun,
    done,
    line,
    set_stage,
)
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import parse_hours
from clento_engine.store.accounts import (
    create_organization,
    pause_account,
    resume_account,
)
from clento_engine.store.budgets import NO_UNIT, reserve, set_limit, used
from clento_engine.store.campaigns import (
    campaigns,
    create_campaign,
    find_campaign,
    in_flight,
    is_over,
    pause_campaign,
    resume_campaign,
    start_campaign,
    stop_campaign,
)
from clento_engine.store.due import due
from clento_engine.store.errors import AlreadyExists, CannotDo, NobodyToContact, NotFound
from clento_engine.store.workflows import save_workflow

Conn = AsyncConnection[TupleRow]
VISITING = Operation.PROFILE_VISIT
DAY = timedelta(days=1)


async def start(stage: Stage) -> int:
    version = await stage.value(
        "select workflow_version_id from campaigns where id = %s", stage.campaign_id
    )
    return await start_campaign(
        stage.conn,
        stage.organization_id,
        stage.campaign_id,
        stage.workflow,
        workflow_version_id=version,
        pace=AT_ONCE,
        start_at=stage.now,
        now=stage.now,
    )


# --- start ---------------------------------------------------------------------------------------


async def test_starting_enrolls_every_lead_once_and_deals_them_out_in_turn(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, leads=7, senders=3, start=False)
    assert await start(stage) == 7
    rows = await stage.rows(
        "select e.account_id from campaign_executions e join leads p on p.id = e.lead_id"
        " order by p.row_number"
    )
    assert [row["account_id"] for row in rows] == (stage.accounts * 3)[:7]


async def test_a_campaign_is_started_once(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT)
    with pytest.raises(CannotDo, match="running"):
        await start(stage)


async def test_a_campaign_without_anybody_to_contact_stays_a_draft(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, leads=0, start=False)
    with pytest.raises(NobodyToContact):
        await start(stage)
    assert (await find_campaign(conn, stage.organization_id, "campaign")).status == "draft"
    assert await stage.value("select count(*) from lanes") == 0


async def test_someone_suppressed_is_not_enrolled(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, leads=4, start=False)
    await conn.execute(
        "insert into suppressions (organization_id, kind, value, reason, expires_at) values"
        " (%(o)s, 'person', 'person-1', '?', null),"
        " (%(o)s, 'email', 'person-2@mail.example', '?', null),"
        " (%(o)s, 'person', 'person-3', '?', %(now)s)",
        {"o": stage.organization_id, "now": NOW},
    )
    assert await start(stage) == 2


async def test_what_the_account_knows_of_a_lead_comes_along(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, start=False)
    await conn.execute(
        "insert into contacts (organization_id, account_id, person_id, provider_id, connected_at)"
        " select %s, %s, person_id, 'ACoAAX', %s from leads",
        (stage.organization_id, stage.account, NOW),
    )
    await start(stage)
    run = await stage.run()
    assert (run["provider_id"], run["connected"], run["replied"]) == ("ACoAAX", True, False)


async def test_every_lane_that_a_walk_may_need_is_there_from_the_start(conn: Conn) -> None:
    stage = await set_stage(conn, line(VISITING, Operation.LIKE_POST), senders=2)
    lanes = await stage.rows("select operation, account_id, ready_at, active from lanes")
    assert {row["operation"] for row in lanes} == {
        "start",
        "profile_lookup",
        "find_posts",
        "check_acceptance",
        "profile_visit",
        "like_post",
    }
    assert len(lanes) == 12
    assert all(row["active"] for row in lanes)
    assert {row["operation"] for row in lanes if row["ready_at"] == NOW} == {"start"}


async def test_a_sender_that_is_paused_begins_when_it_is_resumed(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, start=False)
    of = conn, stage.organization_id, stage.account
    await pause_account(*of, by=PausedBy.OPERATOR, reason="holiday", now=NOW)
    await start(stage)
    assert await stage.claim() == []
    await resume_account(*of, by=PausedBy.OPERATOR, now=NOW)
    assert len(await stage.claim()) == 1


async def test_100_000_leads_are_enrolled_by_one_statement(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, leads=100_000, senders=3, start=False)
    began = time.perf_counter()
    assert await start(stage) == 100_000
    print(f"\n100,000 leads enrolled in {time.perf_counter() - began:.2f} s")  # noqa: T201
    counts = await stage.rows("select count(*) from campaign_executions group by account_id")
    assert sorted(row["count"] for row in counts) == [33_333, 33_333, 33_334]


# --- pause, resume, stop -------------------------------------------------------------------------


async def test_pause_touches_no_lead_and_resume_goes_on_where_it_was(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=3)
    rows = "select xmin::text, lead_id from campaign_executions order by lead_id"
    before = await stage.rows(rows)
    of = conn, stage.organization_id, stage.campaign_id
    await pause_campaign(*of, now=NOW)
    assert await stage.claim() == []
    assert (await due(conn)).lanes is None
    await resume_campaign(*of, now=NOW)
    assert await stage.rows(rows) == before
    assert len(await stage.claim()) == 3


async def test_resume_makes_no_burst(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=9)
    await stage.cap(Budget.PROFILE, Caps(hour=2))
    assert len(await stage.claim()) == 2
    of = conn, stage.organization_id, stage.campaign_id
    await pause_campaign(*of, now=NOW)
    stage.now += timedelta(minutes=30)
    await resume_campaign(*of, now=stage.now)
    await stage.change("lanes", ready_at=stage.now)
    assert await stage.claim() == []


async def test_what_is_in_flight_when_a_campaign_pauses_is_counted_until_it_is_settled(
    conn: Conn,
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    one, two = await stage.claim()
    of = conn, stage.organization_id, stage.campaign_id
    await pause_campaign(*of, now=NOW)
    assert await in_flight(*of, NOW) == 2
    await stage.settle(done(one))
    assert await in_flight(*of, NOW) == 1
    assert await in_flight(*of, NOW + DAY) == 0  # nobody may act under a lease that is over
    await stage.settle(done(two))
    assert await in_flight(*of, NOW) == 0
    assert (await stage.run())["outcome"] == "finished"


async def test_a_lead_that_moves_on_during_a_pause_is_found_after_it(conn: Conn) -> None:
    stage = await begun(conn, line(VISITING, Operation.SEND_FOLLOWUP), VISITING)
    [item] = await stage.claim()
    of = conn, stage.organization_id, stage.campaign_id
    await pause_campaign(*of, now=NOW)
    await stage.settle(done(item))
    assert await stage.claim() == []
    await resume_campaign(*of, now=NOW)
    [item] = await stage.claim()
    assert item.run.operation is Operation.SEND_FOLLOWUP


async def test_a_stopped_campaign_stays_stopped(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    of = conn, stage.organization_id, stage.campaign_id
    await stop_campaign(*of, now=NOW)
    assert await stage.claim() == []
    for change in (pause_campaign, resume_campaign, stop_campaign):
        with pytest.raises(CannotDo, match="stopped"):
            await change(*of, now=NOW)
    await stage.event(ex.Replied())
    assert await stage.claim() == []


async def test_a_resumed_campaign_leaves_the_lanes_of_paused_accounts_alone(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2, senders=2)
    of = conn, stage.organization_id, stage.campaign_id
    await pause_campaign(*of, now=NOW)
    await pause_account(
        conn, stage.organization_id, stage.account, by=PausedBy.OPERATOR, reason="?", now=NOW
    )
    await resume_campaign(*of, now=NOW)
    [item] = await stage.claim()
    assert item.sender.account_id == stage.accounts[1]
    await pause_campaign(*of, now=NOW)
    await resume_account(conn, stage.organization_id, stage.account, by=PausedBy.OPERATOR, now=NOW)
    assert await stage.value("select bool_or(active) from lanes") is False
    await resume_campaign(*of, now=NOW)
    assert await stage.value("select bool_and(active) from lanes") is True


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        (pause_campaign, {"running"}),
        (resume_campaign, {"paused"}),
        (stop_campaign, {"running", "paused"}),
    ],
)
@pytest.mark.parametrize("status", ["draft", "running", "paused", "stopped"])
async def test_a_change_that_the_status_does_not_allow_says_so(
    conn: Conn, status: str, change: object, allowed: set[str]
) -> None:
    stage = await set_stage(conn, VISIT)
    await stage.change("campaigns", status=status)
    of = conn, stage.organization_id, stage.campaign_id
    if status in allowed:
        await change(*of, now=NOW)  # type: ignore[operator]
    else:
        with pytest.raises(CannotDo, match=status):
            await change(*of, now=NOW)  # type: ignore[operator]
        assert await stage.value("select status from campaigns") == status


async def test_a_campaign_of_another_organisation_cannot_be_touched(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    other = await create_organization(conn, "other")
    with pytest.raises(CannotDo, match="gone"):
        await pause_campaign(conn, other, stage.campaign_id, now=NOW)
    with pytest.raises(NotFound):
        await find_campaign(conn, other, str(stage.campaign_id))
    assert len(await stage.claim()) == 1


# --- the rest ------------------------------------------------------------------------------------


async def draft(conn: Conn, organization_id: UUID, name: str) -> UUID:
    list_id, _ = await add_leads(conn, organization_id, 1, name=f"list of {name}")
    version = await save_workflow(conn, organization_id, name, {}, VISIT)
    sender = await add_sender(conn, organization_id, name)
    return await create_campaign(
        conn,
        organization_id,
        name=name,
        workflow_version_id=version,
        list_id=list_id,
        senders=[sender],
        hours=parse_hours("always"),
    )


async def test_campaigns_are_listed_and_found_by_name_or_id(conn: Conn) -> None:
    organization_id = await create_organization(conn, "Brumelle")
    one = await draft(conn, organization_id, "one")
    two = await draft(conn, organization_id, "two")
    assert [row.id for row in await campaigns(conn, organization_id)] == [one, two]
    assert (await find_campaign(conn, organization_id, "two")).id == two
    assert (await find_campaign(conn, organization_id, str(one))).name == "one"


async def test_a_name_is_taken_once(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT)
    row = await find_campaign(conn, stage.organization_id, "campaign")
    with pytest.raises(AlreadyExists, match="campaign"):
        await create_campaign(
            conn,
            stage.organization_id,
            name="campaign",
            workflow_version_id=row.workflow_version_id,
            list_id=row.list_id,
            senders=row.senders,
            hours=parse_hours(row.working_hours),
        )


async def test_a_raised_cap_lets_its_lanes_run_at_once(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await stage.cap(Budget.PROFILE, Caps(day=0))
    assert await stage.claim() == []
    of = conn, stage.organization_id, stage.account
    await set_limit(*of, Budget.PROFILE, Caps(day=5), now=NOW)
    assert len(await stage.claim()) == 1


async def test_a_question_takes_a_unit_only_while_one_is_left(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await stage.cap(Budget.PROFILE, Caps(day=2))
    of = conn, stage.organization_id, stage.account
    assert await reserve(*of, Budget.PROFILE, NOW) is None
    assert len(await stage.claim()) == 1
    assert await reserve(*of, Budget.PROFILE, NOW) == NOW + NO_UNIT
    assert (await used(*of, NOW))[Budget.PROFILE] == {"hour": 2, "day": 2, "week": 2, "month": 2}


async def test_a_campaign_is_over_when_its_last_notice_has_arrived(conn: Conn) -> None:
    stage = await set_stage(conn, line(Operation.WEBHOOK))
    await stage.walk(2)
    of = conn, stage.organization_id, stage.campaign_id
    await stage.change("campaigns", status="completed", completed_at=NOW)
    assert not await is_over(*of)
    await stage.change("webhook_deliveries", delivered_at=NOW, next_attempt_at=None)
    assert await is_over(*of)

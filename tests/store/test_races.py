"""Two at once: each race is staged with open transactions, never hoped for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import copytree
from typing import Any, TypeVar
from uuid import UUID

import pytest
from builders import (
    AT_ONCE,
    NOW,
    VISIT,
    Stage,
    begun,
    done,
    line,
    member_of,
    report,
    set_stage,
)
from psycopg import AsyncConnection, AsyncCursor

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.account import PausedBy
from clento_engine.domain.campaign import Pace
from clento_engine.domain.limits import LEASE, Caps, bucket_at
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.picking import AGAIN
from clento_engine.store import claim as claiming
from clento_engine.store import database, migrate
from clento_engine.store.accounts import (
    pause_account,
    resume_account,
)
from clento_engine.store.budgets import BUSY, NO_UNIT, reserve, set_limit
from clento_engine.store.campaigns import (
    pause_campaign,
    resume_campaign,
    start_campaign,
    stop_campaign,
)
from clento_engine.store.claim_statements import MANY_LEADS
from clento_engine.store.claimed import Claimed
from clento_engine.store.database import Undone
from clento_engine.store.doubtful import take_doubtful
from clento_engine.store.errors import DatabaseUnavailable
from clento_engine.store.guessed import Guess, guess, settle_guessed, write_unchanged
from clento_engine.store.installation import binding, move, stamp
from clento_engine.store.members import Bound, bind
from clento_engine.store.schema import migrations_folder, newest_revision, schema_revision
from clento_engine.store.suppressions import in_flight, suppress
from clento_engine.store.tables import metadata
from clento_engine.store.turn import turn

pytestmark = pytest.mark.direct  # it watches sessions from beside

Conn = AsyncConnection[Any]
Connect = Callable[[], Awaitable[Conn]]
T = TypeVar("T")
VISITING = Operation.PROFILE_VISIT
FOLLOWUP = Operation.SEND_FOLLOWUP
LINE = line(VISITING, FOLLOWUP)
SOON, LONG = timedelta(seconds=1), timedelta(hours=1)
IN_AN_HOUR = line(VISITING, FOLLOWUP, delay=LONG)
SIGNED_OUT = ex.Failed(on.Pause("signed out"))


@pytest.fixture
async def connect(dsn: str) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connect() -> Conn:
            conn = await AsyncConnection.connect(dsn, autocommit=True)
            return await stack.enter_async_context(conn)

        yield connect


@asynccontextmanager
async def while_open(conn: Conn, *work: Awaitable[Any]) -> AsyncIterator[list[Any]]:
    """Do `work` on `conn`, and keep its transaction open inside the block; then commit."""
    async with conn.transaction():
        yield [await each for each in work]


async def waiting(watch: Conn, conn: Conn, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Begin `work` on `conn` and return once it waits for a lock that somebody holds."""
    task = asyncio.create_task(work)
    while True:
        cursor = await watch.execute(
            "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s",
            (conn.info.backend_pid,),
        )
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return task
        if task.done():
            raise AssertionError(f"waited for nobody: {await task}")
        await asyncio.sleep(0)


def of(stage: Stage) -> tuple[UUID, UUID]:
    return stage.organization_id, stage.campaign_id


async def idle_lanes(stage: Stage) -> list[dict[str, Any]]:
    """Return lanes that are active although their account or campaign does not run."""
    return await stage.rows(
        "select l.* from lanes l join connected_accounts a on a.id = l.account_id"
        " join campaigns c on c.id = l.campaign_id"
        " where l.active <> (a.status = 'active' and c.status = 'running')"
    )


# --- two claims ----------------------------------------------------------------------------------


async def test_two_claims_never_take_the_same_lead(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=4)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(slots=2, conn=one)) as [first]:
        assert len(first) == 2
        assert await stage.claim(conn=two) == []  # passed over, not waited for
    second = await stage.claim(conn=two)
    assert {item.run.lead_id for item in [*first, *second]} == set(stage.leads)
    assert len(first) + len(second) == 4


async def test_two_claims_of_one_account_never_share_a_unit(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=3, name="one")
    other = await begun(
        conn,
        VISIT,
        VISITING,
        leads=3,
        name="two",
        organization_id=stage.organization_id,
        senders=stage.accounts,
    )
    await stage.cap(Budget.PROFILE, Caps(hour=4))
    # the first claim sees one campaign only, as when the other's lane is not yet ready
    await conn.execute(
        "update lanes set ready_at = %s where campaign_id = %s and operation = 'profile_visit'",
        (NOW + timedelta(minutes=1), other.campaign_id),
    )
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [first]:
        assert len(first) == 3
        stage.now += timedelta(minutes=1)
        assert await stage.claim(conn=two) == []
    assert len(await stage.claim(conn=two)) == 1
    assert await stage.used(Budget.PROFILE) == 4


async def test_two_claims_never_share_a_campaigns_place_of_the_day(
    conn: Conn, connect: Connect
) -> None:
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=1)
    stage = await set_stage(conn, VISIT, leads=4, senders=2, pace=pace)
    await sleep_a_minute(stage, stage.accounts[1])
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [first]:
        assert len(first) == 1
        stage.now += timedelta(minutes=1)
        assert await stage.claim(conn=two) == []
    assert await stage.claim(conn=two) == []


async def two_senders(conn: Conn, most: int) -> Stage:
    """Set a stage of a lead for each of two senders, the second's a minute later.

    `most` leads may be in flight.
    """
    pace = replace(AT_ONCE, max_concurrent_leads=most)
    stage = await begun(conn, VISIT, VISITING, leads=2, senders=2, pace=pace)
    await sleep_a_minute(stage, stage.accounts[1])
    return stage


async def sleep_a_minute(stage: Stage, account: UUID) -> None:
    """Let a claim now see no lane of the account, as when they are not yet ready."""
    await stage.conn.execute(
        "update lanes set ready_at = %s where account_id = %s and ready_at is not null",
        (NOW + timedelta(minutes=1), account),
    )


async def test_two_claims_serve_the_senders_of_one_campaign_side_by_side(
    conn: Conn, connect: Connect
) -> None:
    stage = await two_senders(conn, MANY_LEADS)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [first]:
        stage.now += timedelta(minutes=1)
        second = await stage.claim(conn=two)
    assert [item.sender.account_id for item in [*first, *second]] == stage.accounts


async def test_two_claims_never_share_a_campaigns_place_in_flight(
    conn: Conn, connect: Connect
) -> None:
    stage = await two_senders(conn, 1)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [first]:
        stage.now += timedelta(minutes=1)
        assert await stage.claim(conn=two) == []
    assert len(first) == 1
    assert await stage.claim(conn=two) == []


async def test_a_claim_that_starts_leads_holds_up_none_that_are_under_way(
    conn: Conn, connect: Connect
) -> None:
    pace = Pace(MANY_LEADS, timedelta(minutes=2), leads_per_day=9)
    stage = await set_stage(conn, VISIT, leads=4, senders=2, pace=pace)
    lead = await stage.value(
        "select lead_id from campaign_executions where account_id = %s limit 1", stage.accounts[1]
    )
    await stage.stand(VISITING, stage.workflow.first, leads=[lead])
    await sleep_a_minute(stage, stage.accounts[1])
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [[begins]]:
        assert begins.run.operation is Operation.START
        stage.now += timedelta(minutes=1)
        [visit] = await stage.claim(conn=two)  # and no start: the campaign's next is being spent
        assert visit.run.lead_id == lead
    assert await stage.claim(conn=two) == []  # nor is it time for another one


async def test_a_question_and_a_claim_never_share_a_unit(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await stage.cap(Budget.PROFILE, Caps(hour=1))
    one, two = await connect(), await connect()
    question = stage.organization_id, stage.account, Budget.PROFILE, NOW
    async with while_open(one, stage.claim(conn=one)) as [first]:
        # it waits for nobody: a ticker that stopped over the account would stop its questions
        assert await reserve(two, *question) == NOW + BUSY
    assert len(first) == 1
    assert await reserve(two, *question) == NOW + NO_UNIT


async def test_a_move_of_the_provider_waits_for_who_binds_an_account_and_both_get_through(
    conn: Conn, connect: Connect
) -> None:
    stage = await set_stage(conn, VISIT)
    await stamp(conn, "https://one", is_simulated=False, now=NOW)
    one, two = await connect(), await connect()
    async with while_open(one, stamp(one, "https://one", is_simulated=False, now=NOW)):
        moving = await waiting(
            conn,
            two,
            move(two, "https://two", is_simulated=False, now=NOW, ask_after=timedelta(0)),
        )
        bound = await bind(
            one,
            stage.organization_id,
            stage.account,
            member_id=member_of("unipile-campaign-1"),
            unipile_account_id="unipile-campaign-1",
            created_at=NOW,
            now=NOW,
        )
        assert bound == Bound(stage.account, is_folded=False)
    await moving
    found = await binding(conn)
    assert found is not None
    assert found.dsn == "https://two"


async def test_a_claim_waits_only_for_a_unit_that_is_just_given_back(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    [item] = await stage.claim(slots=1)
    one, two = await connect(), await connect()
    given_back = report(item, "released", ex.Failed(on.Wait("?", AGAIN, AGAIN)))
    async with while_open(one, stage.settle(given_back, conn=one)):
        taken = await stage.claim(conn=two)  # the lane was woken: it is passed over
        assert taken == []
        await two.execute("set lock_timeout = '5s'")
        counting = await waiting(
            conn,
            two,
            two.execute(
                "update rate_counters set used = used + 0 where bucket_at = %s", (bucket_at(NOW),)
            ),
        )
    await counting
    assert len(await stage.claim(conn=two)) == 1
    assert await stage.used(Budget.PROFILE) == 1


# --- between a claim's lock and its look ---------------------------------------------------------


def between(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Let something happen after a claim has locked its lanes, before it looks at the leads."""
    look = claiming.look

    async def looks(asked: Any, *args: Any) -> None:
        # an answer to what comes after the lock in the same flight: the locks are held by now
        await (await asked.lanes.connection.execute("select 1")).fetchone()
        await happens()
        await look(asked, *args)

    monkeypatch.setattr(claiming, "look", looks)


async def test_a_suppression_that_comes_after_the_lock_is_seen(
    conn: Conn, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    other = await connect()
    between(
        monkeypatch,
        lambda: other.execute(
            "insert into suppressions (organization_id, kind, value, reason)"
            " values (%s, 'person', 'person-1', '?')",
            (stage.organization_id,),
        ),
    )
    [item] = await stage.claim()
    assert isinstance(item.event, ex.Suppressed)


async def test_a_reply_that_comes_after_the_lock_is_seen(
    conn: Conn, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    other = await connect()
    between(monkeypatch, lambda: stage.settle(stage.heard(ex.Replied()), conn=other))
    assert await stage.claim() == []


async def test_a_unit_spent_after_the_lock_is_seen(
    conn: Conn, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    await stage.cap(Budget.PROFILE, Caps(hour=2))
    other = await connect()
    between(
        monkeypatch,
        lambda: other.execute(
            "insert into rate_counters values (%s, %s, 'profile_visit', %s, 1)",
            (stage.organization_id, stage.account, bucket_at(NOW)),
        ),
    )
    assert len(await stage.claim()) == 1


# --- a claim against what stops it ---------------------------------------------------------------


async def pauses_campaign(stage: Stage, conn: Conn) -> None:
    await pause_campaign(conn, *of(stage), now=NOW)


async def stops_campaign(stage: Stage, conn: Conn) -> None:
    await stop_campaign(conn, *of(stage), now=NOW)


async def pauses_account(stage: Stage, conn: Conn) -> None:
    await pause_account(
        conn, stage.organization_id, stage.account, by=PausedBy.OPERATOR, reason="?", now=NOW
    )


STOPS = [pauses_campaign, stops_campaign, pauses_account]


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("most", [100, MANY_LEADS])
async def test_a_stop_waits_for_a_claim_and_none_follows_it(
    conn: Conn,
    connect: Connect,
    stop: Callable[[Stage, Conn], Coroutine[Any, Any, None]],
    most: int,
) -> None:
    pace = replace(AT_ONCE, max_concurrent_leads=most)
    stage = await begun(conn, VISIT, VISITING, leads=4, pace=pace)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(slots=1, conn=one)) as [first]:
        stopped = await waiting(conn, two, stop(stage, two))
    await stopped
    assert len(first) == 1
    assert await stage.claim() == []
    assert await stage.value("select count(*) from actions where state = 'intended'") == 1


@pytest.mark.parametrize("stop", [pauses_campaign, stops_campaign])
async def test_a_stop_waits_for_every_claim_of_its_campaign(
    conn: Conn, connect: Connect, stop: Callable[[Stage, Conn], Coroutine[Any, Any, None]]
) -> None:
    stage = await two_senders(conn, MANY_LEADS)
    one, two, three = await connect(), await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)):
        stage.now += timedelta(minutes=1)
        async with while_open(two, stage.claim(conn=two)) as [second]:
            assert len(second) == 1
            stopped = await waiting(conn, three, stop(stage, three))
        assert not stopped.done()  # the first still has its lane
    await stopped
    assert await stage.value("select count(*) from actions where state = 'intended'") == 2


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("most", [100, MANY_LEADS])
async def test_a_claim_passes_over_what_is_being_stopped(
    conn: Conn,
    connect: Connect,
    stop: Callable[[Stage, Conn], Coroutine[Any, Any, None]],
    most: int,
) -> None:
    pace = replace(AT_ONCE, max_concurrent_leads=most)
    stage = await begun(conn, VISIT, VISITING, leads=4, pace=pace)
    one, two = await connect(), await connect()
    async with while_open(one, stop(stage, one)):
        assert await stage.claim(conn=two) == []
    assert await stage.claim(conn=two) == []
    assert await idle_lanes(stage) == []


async def test_a_reply_waits_for_a_claim_and_ends_the_walk_behind_it(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, line(FOLLOWUP, FOLLOWUP), FOLLOWUP)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [[item]]:
        reply = await waiting(conn, two, stage.settle(stage.heard(ex.Replied()), conn=two))
    await reply
    await stage.settle(done(item))
    assert (await stage.run())["outcome"] == "replied"
    assert await stage.claim() == []


async def suppresses(stage: Stage, conn: Conn) -> None:
    await suppress(conn, stage.organization_id, "person", "person-1", "asked us to", NOW)


async def test_a_suppression_waits_for_a_claim_and_ends_the_walk_behind_it(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, line(FOLLOWUP, FOLLOWUP), FOLLOWUP)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [[item]]:
        suppressed = await waiting(conn, two, suppresses(stage, two))
        assert await stage.value("select count(*) from suppressions") == 0
    await suppressed
    assert await in_flight(conn, stage.organization_id, "person", "person-1", NOW) == 1
    await stage.settle(done(item))
    assert await in_flight(conn, stage.organization_id, "person", "person-1", NOW) == 0
    assert (await stage.run())["outcome"] == "suppressed"
    assert await stage.claim() == []


async def test_a_claim_passes_over_whoever_is_being_suppressed(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    one, two = await connect(), await connect()
    async with while_open(one, suppresses(stage, one)):
        taken = await stage.claim(conn=two)
    assert [item.run.lead_id for item in taken] == [stage.leads[1]]
    stage.now += AGAIN
    assert await stage.claim() == []


async def test_who_is_enrolled_while_being_suppressed_gets_nothing(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    one = await connect()
    async with while_open(one, suppresses(stage, one)):
        other = await begun(
            conn,
            VISIT,
            VISITING,
            name="another",
            organization_id=stage.organization_id,
            senders=stage.accounts,
        )
    [item] = await other.claim()
    assert isinstance(item.event, ex.Suppressed)


async def test_a_claim_passes_over_a_lead_that_is_replying(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    one, two = await connect(), await connect()
    async with while_open(one, stage.settle(stage.heard(ex.Replied()), conn=one)):
        taken = await stage.claim(conn=two)
    assert [item.run.lead_id for item in taken] == [stage.leads[1]]
    stage.now += AGAIN
    assert await stage.claim() == []


# --- a lead comes into a lane that falls asleep --------------------------------------------------


async def on_the_way(conn: Conn) -> tuple[Stage, Claimed]:
    """Set a stage where one lead waits in a lane, and another's step leads into the same lane."""
    stage = await set_stage(conn, LINE, leads=2)
    await conn.execute("update lanes set ready_at = null")
    await stage.stand(VISITING, leads=stage.leads[:1])
    [visit] = await stage.claim()
    await stage.stand(FOLLOWUP, "n1", leads=stage.leads[1:])
    return stage, visit


async def test_a_lead_that_comes_while_a_claim_empties_its_lane_is_not_lost(
    conn: Conn, connect: Connect
) -> None:
    stage, visit = await on_the_way(conn)
    one, two = await connect(), await connect()
    async with while_open(one, stage.claim(conn=one)) as [taken]:  # it puts the lane to sleep
        assert [item.run.lead_id for item in taken] == stage.leads[1:]
        settled = await waiting(conn, two, stage.settle(done(visit), conn=two))
    await settled
    assert (await stage.lane(FOLLOWUP))["ready_at"] == NOW
    assert [item.run.lead_id for item in await stage.claim()] == stage.leads[:1]


async def test_a_lead_that_came_before_a_claim_could_look_is_not_lost(
    conn: Conn, connect: Connect
) -> None:
    stage, visit = await on_the_way(conn)
    one, two = await connect(), await connect()
    async with while_open(one, stage.settle(done(visit), conn=one)):
        assert await stage.claim(conn=two) == []  # its lane is locked
    assert len(await stage.claim(conn=two)) == 2


async def end_turn(conn: Conn, guesses: Sequence[Guess], written: AsyncCursor[Any]) -> None:
    ours = {place: is_saved for place, is_saved, _ in await written.fetchall()}
    await settle_guessed(conn, guesses, ours, 0, now=NOW, actor="test")


async def test_a_lead_that_comes_while_a_claim_empties_a_lane_that_slept_is_not_lost(
    conn: Conn, connect: Connect
) -> None:
    stage = await set_stage(conn, IN_AN_HOUR, leads=2)
    await conn.execute("update lanes set ready_at = null")
    await stage.stand(VISITING, leads=stage.leads[:1])
    [visit] = await stage.claim()
    await stage.stand(FOLLOWUP, "n1", leads=stage.leads[1:], at=NOW + SOON)
    one, two = await connect(), await connect()
    guesses, _ = guess([done(visit)], NOW)
    async with while_open(one, write_unchanged(one, guesses, now=NOW, actor="test")) as [written]:
        stage.now = NOW + SOON
        [taken] = await stage.claim(conn=two)  # the lane is ready now, and empty without the lead
        assert taken.run.lead_id == stage.leads[1]
        assert (await stage.lane(FOLLOWUP))["ready_at"] is None
        await end_turn(one, guesses, written)
    assert (await stage.lane(FOLLOWUP))["ready_at"] == NOW + LONG


async def test_two_turns_that_move_leads_of_one_sender_do_not_wait_for_each_other(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, IN_AN_HOUR, VISITING, leads=2)
    first, second = await stage.claim()
    one, two = await connect(), await connect()
    await two.execute("set lock_timeout = '2s'")
    guesses, _ = guess([done(first)], NOW)
    async with while_open(one, write_unchanged(one, guesses, now=NOW, actor="test")) as [written]:
        turned = await turn(two, [done(second)], None, now=NOW, actor="test")
        assert turned.settled.applied == 1
        await end_turn(one, guesses, written)
    assert {row["node_id"] for row in await stage.rows("select * from campaign_executions")} == {
        "n1"
    }
    assert (await stage.lane(FOLLOWUP))["ready_at"] == NOW + LONG


@pytest.mark.parametrize("commits", [True, False])
async def test_a_lead_whose_row_was_locked_while_its_lane_fell_asleep_is_not_lost(
    conn: Conn, connect: Connect, commits: bool
) -> None:
    stage = await begun(conn, LINE, VISITING, stop_on_reply=False)
    one, two = await connect(), await connect()
    async with one.transaction(force_rollback=not commits):
        await one.execute("select from campaign_executions for no key update")
        assert await stage.claim(conn=two) == []
        if commits:
            await stage.settle(stage.heard(ex.Replied()), conn=one)
    ready_at = (await stage.lane(VISITING))["ready_at"]
    assert ready_at == (NOW if commits else NOW + AGAIN)
    stage.now = ready_at
    assert len(await stage.claim()) == 1


async def test_a_locked_lead_does_not_keep_its_lane_spinning(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, LINE, VISITING, leads=3)
    one = await connect()
    async with while_open(one, one.execute("select from campaign_executions for no key update")):
        for slots in (1, 2, 100):
            await stage.change("lanes", ready_at=NOW)
            assert await stage.claim(slots) == []
            assert (await stage.lane(VISITING))["ready_at"] == NOW + AGAIN


async def test_a_raised_cap_reaches_a_lane_that_is_just_put_to_sleep(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await stage.cap(Budget.PROFILE, Caps(day=0))
    one, two = await connect(), await connect()
    raised = set_limit(
        two, stage.organization_id, stage.account, Budget.PROFILE, Caps(day=9), now=NOW
    )
    async with while_open(one, stage.claim(conn=one)) as [taken]:
        assert taken == []
        raising = await waiting(conn, two, raised)
    await raising
    assert len(await stage.claim()) == 1


# --- pausing and resuming at once ----------------------------------------------------------------


async def in_flight_and_paused(conn: Conn) -> tuple[Stage, Claimed]:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    [item] = await stage.claim(slots=1)
    await pause_campaign(conn, *of(stage), now=NOW)
    return stage, item


async def test_an_account_refused_while_its_campaign_resumes_has_no_active_lane(
    conn: Conn, connect: Connect
) -> None:
    stage, item = await in_flight_and_paused(conn)
    one, two = await connect(), await connect()
    async with while_open(one, resume_campaign(one, *of(stage), now=NOW)):
        refused = report(item, "refused", SIGNED_OUT)
        paused = await waiting(conn, two, stage.settle(refused, conn=two))
    await paused
    assert await stage.value("select status from connected_accounts") == "paused"
    assert await idle_lanes(stage) == []


async def test_a_campaign_resumed_while_its_account_is_refused_has_no_active_lane(
    conn: Conn, connect: Connect
) -> None:
    stage, item = await in_flight_and_paused(conn)
    one, two = await connect(), await connect()
    refused = report(item, "refused", SIGNED_OUT)
    async with while_open(one, stage.settle(refused, conn=one)):
        resumed = await waiting(conn, two, resume_campaign(two, *of(stage), now=NOW))
    await resumed
    assert await stage.value("select status from campaigns") == "running"
    assert await idle_lanes(stage) == []


@pytest.mark.parametrize("campaign_first", [True, False])
async def test_a_campaign_resumed_while_its_account_pauses_has_no_active_lane(
    conn: Conn, connect: Connect, campaign_first: bool
) -> None:
    stage, _ = await in_flight_and_paused(conn)
    one, two = await connect(), await connect()
    if campaign_first:
        first, second = resume_campaign(one, *of(stage), now=NOW), pauses_account(stage, two)
    else:
        first, second = pauses_account(stage, one), resume_campaign(two, *of(stage), now=NOW)
    async with while_open(one, first):
        other = await waiting(conn, two, second)
    await other
    assert await stage.value("select status from connected_accounts") == "paused"
    assert await idle_lanes(stage) == []


@pytest.mark.parametrize("campaign_first", [True, False])
async def test_an_account_resumed_while_its_campaign_pauses_has_no_active_lane(
    conn: Conn, connect: Connect, campaign_first: bool
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    await pauses_account(stage, conn)
    one, two = await connect(), await connect()

    async def resumes(conn: Conn) -> None:
        await resume_account(
            conn, stage.organization_id, stage.account, by=PausedBy.OPERATOR, now=NOW
        )

    if campaign_first:
        first, second = pauses_campaign(stage, one), resumes(two)
    else:
        first, second = resumes(one), pauses_campaign(stage, two)
    async with while_open(one, first):
        other = await waiting(conn, two, second)
    await other
    assert await idle_lanes(stage) == []


async def second_campaign(stage: Stage, name: str) -> Stage:
    return await set_stage(
        stage.conn,
        VISIT,
        name=name,
        organization_id=stage.organization_id,
        senders=stage.accounts,
        start=False,
    )


async def starts(stage: Stage, conn: Conn) -> int:
    version = await stage.value(
        "select workflow_version_id from campaigns where id = %s", stage.campaign_id
    )
    return await start_campaign(
        conn,
        *of(stage),
        stage.workflow,
        workflow_version_id=version,
        pace=AT_ONCE,
        start_at=NOW,
        now=NOW,
    )


@pytest.mark.parametrize("by", ["operator", "provider"])
async def test_a_campaign_started_while_its_account_pauses_has_no_active_lane(
    conn: Conn, connect: Connect, by: str
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    [item] = await stage.claim()
    new = await second_campaign(stage, "new")
    one, two = await connect(), await connect()
    pausing: Coroutine[Any, Any, Any] = (
        pauses_account(stage, two)
        if by == "operator"
        else stage.settle(report(item, "refused", SIGNED_OUT), conn=two)
    )
    async with while_open(one, starts(new, one)):
        paused = await waiting(conn, two, pausing)
    await paused
    assert await idle_lanes(stage) == []


async def test_two_campaigns_of_one_sender_start_at_once(conn: Conn, connect: Connect) -> None:
    stage = await set_stage(conn, VISIT, senders=3)
    new, newer = await second_campaign(stage, "new"), await second_campaign(stage, "newer")
    one, two = await connect(), await connect()
    async with while_open(one, starts(new, one)):
        second = await waiting(conn, two, starts(newer, two))
    assert await second == 1


async def test_two_starts_that_both_know_their_senders_do_not_wait_for_each_other_for_ever(
    conn: Conn, connect: Connect
) -> None:
    stage = await set_stage(conn, VISIT, senders=3)
    new, newer = await second_campaign(stage, "new"), await second_campaign(stage, "newer")
    one, two, holder = await connect(), await connect(), await connect()
    async with while_open(holder, holder.execute("select from connected_accounts for share")):
        first = await waiting(conn, one, starts(new, one))
        second = await waiting(conn, two, starts(newer, two))
    assert (await first, await second) == (1, 1)


# --- settling ------------------------------------------------------------------------------------


async def test_a_step_is_told_after_what_was_heard_while_it_waited(
    conn: Conn, connect: Connect
) -> None:
    path = line(Operation.SEND_FOLLOWUP, Operation.SEND_FOLLOWUP)
    stage = await begun(conn, path, Operation.SEND_FOLLOWUP, stop_on_reply=False)
    await stage.event(ex.Replied())
    [item] = await stage.claim()
    one, two = await connect(), await connect()
    locks = one.execute("select from campaign_executions for no key update")
    async with while_open(one, locks):
        turns = turn(two, [done(item)], None, now=stage.now, actor="ticker")
        turned = await waiting(conn, two, turns)
        await stage.settle(stage.heard(ex.Replied()), conn=one)  # which changes nothing of the lead
    assert (await turned).settled.applied == 1
    told = await stage.rows("select kind from history where node_id = 'n0' order by id")
    assert [row["kind"] for row in told] == ["Replied", "Replied", "Done"]
    assert (await stage.run())["node_id"] == "n1"


async def test_a_settle_that_waits_for_reconcile_to_take_over_is_stale(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    [item] = await stage.claim()
    stage.now += LEASE
    one, two = await connect(), await connect()
    takes = take_doubtful(one, now=stage.now, lease=LEASE, most=10)
    async with while_open(one, takes) as [[doubtful]]:
        settled = await waiting(conn, two, stage.settle(done(item), conn=two))
    assert doubtful.lead_id == item.run.lead_id
    assert (await settled).stale == 1
    assert (await stage.run())["outcome"] is None


async def test_reconcile_takes_nothing_that_is_being_settled(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, VISIT, VISITING)
    [item] = await stage.claim()
    stage.now += LEASE
    one, two = await connect(), await connect()
    async with while_open(one, stage.settle(done(item), conn=one)):
        assert await take_doubtful(two, now=stage.now, lease=LEASE, most=10) == []
    assert await take_doubtful(two, now=stage.now, lease=LEASE, most=10) == []


async def test_two_reconciles_never_take_the_same_action(conn: Conn, connect: Connect) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=5)
    await stage.claim()
    stage.now += LEASE
    one, two = await connect(), await connect()
    takes = take_doubtful(one, now=stage.now, lease=LEASE, most=3)
    async with while_open(one, takes) as [first]:
        second = await take_doubtful(two, now=stage.now, lease=LEASE, most=10)
    assert (len(first), len(second)) == (3, 2)
    assert len({each.lead_id for each in [*first, *second]}) == 5
    assert await take_doubtful(conn, now=stage.now, lease=LEASE, most=10) == []


# --- a migration while tickers run ---------------------------------------------------------------

# Every table is locked alone and changed: no migration of ours is as rough.  A claim comes to the
# lanes first, and so does this.
LATER = f"""
from alembic import op

revision, down_revision = "9999", "{newest_revision()}"


def upgrade() -> None:
    for table in {sorted(metadata.tables, key=lambda name: name != "lanes")}:
        op.execute(f"alter table {{table}} add column added_later int not null default 0")
"""


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a newer revision than this code knows."""
    folder = tmp_path / "migrations"
    copytree(migrations_folder(), folder)
    (folder / "versions" / "9999_later.py").write_text(LATER)
    monkeypatch.setattr(migrate, "migrations_folder", lambda: folder)


def upgrading(dsn: str) -> "asyncio.Task[list[str]]":
    return asyncio.create_task(asyncio.to_thread(migrate.upgrade, dsn))


async def until_it_waits(watch: Conn, upgrade: "asyncio.Task[list[str]]") -> None:
    """Return once the upgrade waits for whoever has a table in use."""
    while not upgrade.done():
        cursor = await watch.execute(
            "select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock' and query ilike any (%s)",
            (["alter table %", "create index concurrently %"],),
        )
        if await cursor.fetchone() is not None:
            return
    raise AssertionError(f"it waited for nobody: {await upgrade}")


@pytest.mark.usefixtures("later")
async def test_a_migration_waits_for_a_claim_and_the_old_code_runs_on_after_it(
    conn: Conn, connect: Connect, dsn: str
) -> None:
    stage = await begun(conn, LINE, VISITING, leads=3)
    one, two = await connect(), await connect()
    one.prepare_threshold = two.prepare_threshold = 0  # plans that the migration makes stale
    for ticker in (one, two):
        [item] = await stage.claim(slots=1, conn=ticker)
        await stage.settle(done(item), conn=ticker)
    async with while_open(one, stage.claim(slots=1, conn=one)) as [[item]]:
        upgrade = upgrading(dsn)
        await until_it_waits(conn, upgrade)
        behind = await waiting(conn, two, stage.claim(conn=two))
    assert await upgrade == ["9999"]
    claimed = [item, *await behind]
    await stage.settle(*map(done, claimed), conn=one)
    while claimed := await stage.claim(conn=two):
        await stage.settle(*map(done, claimed), conn=one)
    assert {(await stage.run(lead))["outcome"] for lead in stage.leads} == {"finished"}
    told = await stage.value("select count(*) from actions where state = 'done'")
    assert told == 2 * len(stage.leads)


@pytest.mark.usefixtures("later")
async def test_a_migration_that_would_hold_tickers_up_gives_up_and_can_be_run_again(
    conn: Conn, connect: Connect, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    monkeypatch.setattr(database, "LOCK_TIMEOUT", timedelta(milliseconds=20))
    one = await connect()
    async with while_open(one, stage.claim(slots=1, conn=one)):
        with pytest.raises(DatabaseUnavailable, match="a table to change is in use"):
            await upgrading(dsn)
    assert await schema_revision(conn) == newest_revision()
    assert len(await stage.claim(conn=one)) == 1
    assert await upgrading(dsn) == ["9999"]


async def test_migration_0002_waits_for_no_claim(empty_dsn: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_dsn)
    async with AsyncExitStack() as stack:
        conn, one = [
            await stack.enter_async_context(
                await AsyncConnection.connect(empty_dsn, autocommit=True)
            )
            for _ in range(2)
        ]
        stage = await begun(conn, VISIT, VISITING, leads=2)
        await conn.execute("drop index inbox_events_unheard")
        await conn.execute("update alembic_version set version_num = '0001'")
        async with while_open(one, stage.claim(slots=1, conn=one)) as [claimed]:
            assert await asyncio.to_thread(migrate.upgrade, empty_dsn, "0002") == ["0002"]
        claimed += await stage.claim()
        await stage.settle(*map(done, claimed))
        assert {(await stage.run(lead))["outcome"] for lead in stage.leads} == {"finished"}


# --- settles -------------------------------------------------------------------------------------


async def test_two_settles_of_the_same_leads_in_opposite_order_take_their_turns(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=4, stop_on_reply=False)
    reports = [stage.heard(ex.Replied(), lead) for lead in stage.leads]
    one, two, holder = await connect(), await connect(), await connect()
    last = max(stage.leads)
    locks = holder.execute(
        "select from campaign_executions where lead_id = %s for no key update", (last,)
    )
    async with while_open(holder, locks):
        first = await waiting(conn, one, stage.settle(*reports, conn=one))
        second = await waiting(conn, two, stage.settle(*reversed(reports), conn=two))
    assert (await first).applied == (await second).applied == 4


async def test_two_settles_that_wake_the_same_lanes_take_their_turns(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, LINE, VISITING, leads=4, senders=2, stop_on_reply=False)
    await stage.stand(FOLLOWUP, "n1", leads=stage.leads[2:])
    ways = [stage.leads[:2] + stage.leads[2:], stage.leads[2:] + stage.leads[:2]]
    one, two = await connect(), await connect()
    first, second = ([stage.heard(ex.Replied(), lead) for lead in way] for way in ways)
    async with while_open(one, stage.settle(*first, conn=one)):
        task = await waiting(conn, two, stage.settle(*second, conn=two))
    await task


async def test_an_account_paused_by_an_operator_and_by_the_provider_at_once_is_paused(
    conn: Conn, connect: Connect
) -> None:
    stage = await begun(conn, VISIT, VISITING, leads=2)
    [item] = await stage.claim(slots=1)
    one, two = await connect(), await connect()
    refused = report(item, "refused", SIGNED_OUT)
    async with while_open(one, stage.settle(refused, conn=one)):
        pausing = await waiting(conn, two, pauses_account(stage, two))
    await pausing
    assert await stage.value("select paused_by from connected_accounts") == "operator"
    assert await idle_lanes(stage) == []


async def test_a_settle_that_is_undone_to_end_a_deadlock_says_so_and_goes_through_again(
    conn: Conn,
) -> None:
    """`surely` runs it again by the kind of the error, wherever in the batch it was met."""
    stage = await begun(conn, LINE, VISITING)
    [item] = await stage.claim()
    await conn.execute(
        "create function undo() returns trigger language plpgsql as"
        " $$ begin raise exception using errcode = 'deadlock_detected'; end $$"
    )
    await conn.execute("create trigger undo before update on lanes execute function undo()")
    with pytest.raises(Undone):
        await stage.settle(done(item))
    await conn.execute("drop trigger undo on lanes")
    assert (await stage.settle(done(item))).applied == 1

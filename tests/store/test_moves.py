"""What a status adds up is what the leads and their history say, and counting makes nobody wait."""

import importlib
from typing import Any

import pytest
from builders import Stage, line, set_stage
from psycopg import AsyncConnection

from clento_engine.domain import execution as ex
from clento_engine.domain.operation import Operation
from clento_engine.store.moves import miscounted, recount
from clento_engine.store.settle import settle
from clento_engine.store.status import CampaignSummary, campaign_summaries, standing

Conn = AsyncConnection[Any]

PATH = line(Operation.PROFILE_VISIT, Operation.SEND_FOLLOWUP, Operation.PROFILE_VISIT)

COUNTS = """
select status, outcome, count(*) as leads from campaign_executions
 where campaign_id = %s group by 1, 2 order by 1, 2
"""

FUNNEL = """
with passed as (
    select node_id, result, entered from history where campaign_id = %(campaign)s
), counted as (
    select entered as node_id, count(*) as entered, 0 as done, 0 as skipped, 0 as failed, 0 as here
      from passed where entered is not null group by 1
    union all
    select node_id, 0, count(*) filter (where result = 'done'),
           count(*) filter (where result = 'skipped'), count(*) filter (where result = 'failed'), 0
      from passed where result is not null group by 1
    union all
    select node_id, 0, 0, 0, 0, count(*) from campaign_executions
     where campaign_id = %(campaign)s and outcome is null and node_id is not null group by 1
)
select node_id, sum(entered)::int, sum(done)::int, sum(skipped)::int, sum(failed)::int,
       sum(here)::int
  from counted group by node_id order by node_id
"""


async def half_way(conn: Conn) -> Stage:
    """Return a campaign with leads that never began, are under way, are held, and have ended."""
    stage = await set_stage(conn, PATH, leads=12, senders=2)
    await stage.walk(2, slots=8)
    await stage.walk(1, slots=4)
    began = await stage.rows(
        "select lead_id from campaign_executions where started_at is not null and outcome is null"
    )
    first, second, third, fourth = (row["lead_id"] for row in began[:4])
    await stage.event(ex.Replied(), first)
    await stage.event(ex.Unknowable("nobody can tell"), second)
    await stage.event(ex.Unknowable("nobody can tell"), third)
    await stage.event(ex.Released(skip=True), third)
    await stage.event(ex.Replied(), first)  # a second message: it has ended, and moves no more
    await stage.event(ex.Stopped("asked to"), fourth)
    return stage


async def test_a_status_tells_what_the_leads_and_their_history_do(conn: Conn) -> None:
    stage = await half_way(conn)

    told = await standing(conn, stage.organization_id, stage.campaign_id, stage.now)

    counted = await (await conn.execute(COUNTS, [stage.campaign_id])).fetchall()
    assert [(each.status, each.outcome, each.leads) for each in told.counts] == counted
    assert len(counted) > 3
    passed = await (await conn.execute(FUNNEL, {"campaign": stage.campaign_id})).fetchall()
    assert [
        (n.node_id, n.entered, n.done, n.skipped, n.failed, n.here) for n in told.funnel.values()
    ] == passed
    assert [use.leads for use in told.senders] == [6, 6]
    assert await miscounted(conn) == []


async def test_a_listing_tells_the_same(conn: Conn) -> None:
    stage = await half_way(conn)
    summary: CampaignSummary = (await campaign_summaries(conn, stage.organization_id))[0]
    counted = await stage.rows(
        "select count(*) as leads, count(*) filter (where status = 'held') as held,"
        " count(*) filter (where outcome is not null) as finished,"
        " count(*) filter (where outcome is null and started_at is not null"
        "                    and status <> 'held') as under_way"
        " from campaign_executions"
    )
    assert counted == [
        {
            "leads": summary.leads,
            "held": summary.held,
            "finished": summary.finished,
            "under_way": summary.under_way,
        }
    ]
    assert all(counted[0].values())


@pytest.mark.direct
async def test_two_that_count_the_same_campaign_at_once_wait_for_nobody(
    conn: Conn, dsn: str
) -> None:
    """Staged: the first has counted and not committed while the second does."""
    stage = await set_stage(conn, PATH, leads=4)
    first, second, third = stage.leads[:3]
    stopped = ex.Stopped("asked to")
    async with await AsyncConnection.connect(dsn, autocommit=True) as other:
        await other.execute("set lock_timeout = '1s'")
        async with conn.transaction():
            await stage.event(stopped, first)
            await settle(other, [stage.heard(stopped, second)], now=stage.now, actor="test")
    await stage.event(stopped, third)

    counted = await stage.rows(
        "select shard, sum(leads)::int as leads from campaign_moves"
        " where to_outcome = 'stopped' group by 1 order by 1"
    )
    assert counted == [{"shard": 0, "leads": 2}, {"shard": 1, "leads": 1}]
    assert await miscounted(conn) == []


async def test_what_is_miscounted_is_told_and_counted_anew(conn: Conn) -> None:
    stage = await half_way(conn)
    await conn.execute("update campaign_moves set leads = leads + 1 where to_outcome = 'replied'")
    told = await miscounted(conn)
    assert len(told) > 1
    assert any("completed replied: 2 counted, 1 found" in line for line in told)

    assert await recount(conn) == len(told)

    assert await miscounted(conn) == []
    await stage.walk(3)
    assert await miscounted(conn) == []


async def tell_in_events(conn: Conn) -> None:
    """Leave the history as it was when an action did not tell of its step."""
    await conn.execute(
        "insert into events (organization_id, subject_id, campaign_id, at, kind, actor, node_id,"
        " result, entered, detail) select organization_id, lead_id, campaign_id, settled_at, kind,"
        " 'ticker', node_id, result, entered, detail from actions where kind is not null"
    )
    await conn.execute(
        "update actions set kind = null, result = null, entered = null, detail = null"
    )


async def test_the_migration_fills_the_counts_of_campaigns_under_way(conn: Conn) -> None:
    stage = await half_way(conn)
    migration = importlib.import_module("migrations.versions.0004_counted")
    await conn.execute("delete from campaign_moves")
    await conn.execute("update campaign_senders set leads = 0")
    assert await miscounted(conn) != []

    await tell_in_events(conn)
    await conn.execute(migration._FILL)
    await conn.execute(migration._DEALT)

    assert await miscounted(conn) == []
    assert await stage.rows("select leads from campaign_senders") == [{"leads": 6}, {"leads": 6}]

"""Whole campaigns replayed: what happened to every lead follows from what its history says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from play import PLAIN, Play, set_up

from clento_engine.domain.campaign import Pace
from clento_engine.domain.editor import read_workflow
from clento_engine.domain.schedule import parse_hours
from clento_engine.runtime.release import release
from clento_engine.simulator.faults import Rule
from clento_engine.simulator.people import Chances
from clento_engine.simulator.world import Reliability
from clento_engine.store.campaigns import create_campaign, start_campaign
from clento_engine.store.database import Database
from clento_engine.store.replay import Replayed, replay_walks
from clento_engine.store.workflows import save_workflow

START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
BUSY = Pace(lead_processing_delay=timedelta(0), leads_per_day=1000)
FAULTS = ("reset", "unexpected_error", "bad_gateway", "too_many_requests", "empty_body")


def action(name: str, kind: str, **config: object) -> dict[str, Any]:
    return {"id": name, "type": "action", "data": {"type": kind, "config": config}}


def edge(source: str, target: str, delay: int, unit: str, **flags: object) -> dict[str, Any]:
    data = {"delayData": {"delay": delay, "unit": unit}} | flags
    return {"id": f"{source}-{target}", "source": source, "target": target, "data": data}


EVERYTHING: dict[str, Any] = {
    "nodes": [
        action("visit", "profile_visit"),
        action("like", "like_post", numberOfPosts=2, recentPostDays=60),
        action("comment", "comment_post", recentPostDays=60, comments=["Well said"]),
        action("ask", "send_connection_request", customMessage="Hi {{first_name}}"),
        action("thank", "send_followup", customMessage="Thanks, {{first_name}}"),
        action("city", "send_followup", customMessage="How is {{city}}?"),
        action("withdraw", "withdraw_request"),
        action("mail", "send_inmail", customMessage="One more thing", subject="Hello"),
    ],
    "edges": [
        edge("visit", "like", 1, "h"),
        edge("like", "comment", 1, "h"),
        edge("comment", "ask", 1, "h"),
        edge("ask", "thank", 2, "h", isConditionalPath=True, isPositive=True),
        edge("thank", "city", 1, "d"),
        edge("ask", "withdraw", 5, "d", isConditionalPath=True, isPositive=False),
        edge("withdraw", "mail", 1, "d"),
    ],
}
AGAIN: dict[str, Any] = {
    "nodes": [action("again", "send_followup", customMessage="Me again")],
    "edges": [],
}


async def replayed(play: Play) -> Replayed:
    async with play.database.connection() as conn:
        return await replay_walks(conn, play.organization_id)


async def let_go(play: Play, *, skip: bool) -> int:
    """Release everybody who is held; return how many."""
    held = await play.rows(
        "select campaign_id, lead_id from campaign_executions where status = 'held'"
    )
    async with play.database.connection() as conn:
        for row in held:
            where = (play.organization_id, row["campaign_id"], row["lead_id"])
            await release(conn, *where, skip=skip, now=play.clock())
    return len(held)


async def test_a_campaign_with_faults_replies_and_holds_is_replayed(database: Database) -> None:
    play = await set_up(
        database,
        EVERYTHING,
        start=START,
        slugs=[f"person-{number}" for number in range(24)],
        senders=2,
        pace=BUSY,
        chances=Chances(accepts=0.6, replies=0.3, connected=0.1),
        reliability=Reliability(),
    )
    for kind in FAULTS:
        for after in (False, True):
            rule = {"kind": kind, "route": "*", "share": 0.04, "after_effect": after}
            play.simulated.faults.rules.append(Rule.parse(rule))
    await play.run(days=25)
    assert await let_go(play, skip=False) > 0, "whoever has no city is held"
    await play.run(days=1)
    await let_go(play, skip=True)
    assert await play.run(days=90)
    found = await replayed(play)
    assert found.differing == []
    assert found.walks == 24
    kinds = {row["kind"] for row in await play.rows("select distinct kind from history")}
    assert kinds >= {
        *("Began", "ProfileRead", "PostsFound", "Done", "Failed", "Absent", "Missing"),
        *("Accepted", "Replied", "Released"),
    }, "all of that really happened"


async def test_a_second_campaign_begins_with_what_the_first_learned(database: Database) -> None:
    hour = timedelta(hours=1)
    play = await set_up(
        database,
        EVERYTHING,
        start=START,
        pace=BUSY,
        chances=PLAIN,
        people={"ada": {"accepts_after": hour, "replies_after": hour, "replies_to_message": 1}},
    )
    await play.run(days=20)
    compiled = read_workflow(AGAIN).workflow
    assert compiled is not None
    now = play.clock()
    async with database.connection() as conn:
        version = await save_workflow(conn, play.organization_id, "again", AGAIN, compiled)
        [listed] = await play.rows("select list_id from campaigns")
        second = await create_campaign(
            conn,
            play.organization_id,
            name="second",
            workflow_version_id=version,
            list_id=listed["list_id"],
            senders=list(play.accounts.values()),
            hours=parse_hours(play.hours),
            pace=BUSY,
        )
        await start_campaign(
            conn,
            play.organization_id,
            second,
            compiled,
            workflow_version_id=version,
            pace=BUSY,
            start_at=now,
            now=now,
        )
    known = await play.rows("select detail from events where kind = 'Enrolled'")
    assert len(known) == 3
    assert [row["detail"] for row in known if row["detail"]["connected"]] == [
        {
            "provider_id": play.simulated.person("ada").provider_id,
            "connected": True,
            "replied": True,
        }
    ]
    await play.run(days=3)
    found = await replayed(play)
    assert (found.walks, found.differing) == (6, [])


@pytest.mark.parametrize("column", ["attempt = attempt + 1", "connected = not connected"])
async def test_a_row_changed_behind_the_engine_is_found(database: Database, column: str) -> None:
    play = await set_up(database, EVERYTHING, start=START, pace=BUSY)
    await play.run(days=1)
    async with database.connection() as conn:
        await conn.execute(f"update campaign_executions set {column}".encode())
    found = await replayed(play)
    assert {each.difference.field for each in found.differing} == {column.split(maxsplit=1)[0]}
    assert len(found.differing) == 3

"""What must hold over whole campaigns, judged by the simulator's own ledger."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from play import BUSY, Play, set_up

from clento_engine.runtime.work import work
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import set_status
from clento_engine.simulator.faults import Rule
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.senders import Status
from clento_engine.simulator.world import Reliability
from clento_engine.store.campaigns import pause_campaign, resume_campaign
from clento_engine.store.database import Database
from clento_engine.store.due import due

DOCUMENT: dict[str, Any] = json.loads(
    (
        Path(__file__).parents[1] / "domain/test_editor_samples/02_accepted_not_accepted_tree.json"
    ).read_text(encoding="utf-8")
)
START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)


def people(count: int) -> list[str]:
    return [f"person-{number:04}" for number in range(count)]


async def everybody_is_final(play: Play) -> bool:
    return all(row["outcome"] is not None for row in (await play.leads()).values())


@pytest.mark.parametrize("tickers", [2, 8])
async def test_tickers_side_by_side_never_act_twice_nor_exceed_a_cap(
    database: Database, dsn: str, tickers: int
) -> None:
    play = await set_up(
        database,
        DOCUMENT,
        start=START,
        slugs=people(60),
        senders=3,
        pace=BUSY,
        chances=Chances(),
        reliability=Reliability(),
    )
    others = [Database(dsn, max_connections=4) for _ in range(tickers - 1)]
    for other in others:
        await other.open()
    worlds = [play.world, *(World(other, play.world.provider, play.clock) for other in others)]
    try:
        ended = await run_side_by_side(play, worlds)
    finally:
        for other in others:
            await other.close()
    assert ended
    assert await everybody_is_final(play)
    verdict = await play.verdict()
    assert verdict.is_clean, verdict
    twice = await play.rows(
        "select campaign_id, lead_id, node_id, target from actions"
        " where state = 'done' and operation not in ('profile_visit', 'profile_lookup',"
        " 'find_posts', 'check_acceptance') group by 1, 2, 3, 4 having count(*) > 1"
    )
    assert twice == []


async def run_side_by_side(play: Play, worlds: Sequence[World]) -> bool:
    """Let every ticker work on what is due at one instant, all at once; then move the clock."""
    until = play.clock() + timedelta(days=90)
    while play.clock() < until:
        await asyncio.gather(*(work(world, play.outbox, timedelta(minutes=5)) for world in worlds))
        async with play.database.connection() as conn:
            next_at = (await due(conn)).earliest()
        left = await play.rows("select 1 from campaigns where status <> 'completed'")
        if not left:
            return True
        if next_at is None:
            return False
        play.clock.move_to((await advance(play.simulated, min(until, next_at))).now)
    return False


async def test_faults_before_and_after_the_effect_contact_nobody_twice(
    database: Database,
) -> None:
    play = await set_up(
        database,
        DOCUMENT,
        start=START,
        slugs=people(25),
        pace=BUSY,
        chances=Chances(),
        reliability=Reliability(),
    )
    for kind in ("reset", "unexpected_error", "bad_gateway", "request_timeout", "empty_body"):
        for after in (False, True):
            if kind == "empty_body" and not after:
                continue
            rule = {"kind": kind, "route": "POST *", "share": 0.04, "after_effect": after}
            play.simulated.faults.rules.append(Rule.parse(rule))
    assert await play.run(days=120)
    assert await everybody_is_final(play)
    verdict = await play.verdict()
    assert verdict.is_clean, verdict
    states = await play.rows("select state, count(*) from actions group by 1")
    assert {row["state"] for row in states} >= {"done", "absent"}, "the storm really blew"


async def test_pause_stops_at_once_and_resume_makes_no_burst(database: Database) -> None:
    play = await set_up(database, DOCUMENT, start=START, slugs=people(40), senders=1, pace=BUSY)
    await play.run(days=0.3)  # into the first working day
    before = len(play.entries())
    assert before > 0
    async with database.connection() as conn:
        await pause_campaign(conn, play.organization_id, play.campaign_id, now=play.clock())
    await play.run(days=1)
    assert len(play.entries()) == before, "no new action after the pause"
    async with database.connection() as conn:
        await resume_campaign(conn, play.organization_id, play.campaign_id, now=play.clock())
    resumed_at = play.clock()
    await play.run(days=1)
    after = [entry.at for entry in play.entries() if entry.at >= resumed_at]
    assert len(after) > 5
    gaps = [later - earlier for earlier, later in pairwise(after)]
    assert min(gaps) >= timedelta(seconds=30), "the account's spacing holds"


async def test_a_missed_webhook_is_found_by_the_sweep(database: Database) -> None:
    play = await set_up(
        database,
        DOCUMENT,
        start=START,
        slugs=["ada"],
        reliability=Reliability(lost=1.0, duplicated=0, null_ids=0),
        people={"ada": {"accepts_after": timedelta(hours=5)}},
    )
    assert await play.run()
    kinds = [operation for operation, _ in play.reached("ada")]
    assert kinds.count("message") == 3
    found = await play.rows("select actor from events where kind = 'Accepted'")
    assert {row["actor"] for row in found} == {"sweep"}


async def test_a_reply_ends_the_walk(database: Database) -> None:
    play = await set_up(
        database,
        DOCUMENT,
        start=START,
        slugs=["ada"],
        people={
            "ada": {
                "accepts_after": timedelta(hours=1),
                "replies_after": timedelta(hours=2),
                "replies_to_message": 1,
            }
        },
    )
    assert await play.run()
    assert len(play.entries(Effect.MESSAGE)) == 1
    assert (await play.leads())["ada"]["outcome"] == "replied"
    assert (await play.verdict()).is_clean


async def test_an_account_that_is_signed_out_pauses_and_resumes(database: Database) -> None:
    play = await set_up(database, DOCUMENT, start=START, slugs=people(5), pace=BUSY)
    await play.run(days=0.2)
    account = next(iter(play.simulated.accounts.values()))
    set_status(play.simulated, account, Status.CREDENTIALS)
    await play.run(days=0.5)
    paused = await play.rows("select status, paused_by from connected_accounts")
    assert paused == [{"status": "paused", "paused_by": "provider"}]
    set_status(play.simulated, account, Status.OK)
    assert await play.run()
    assert await everybody_is_final(play)
    assert (await play.verdict()).is_clean

"""Lanes edited or deleted by hand leave nobody waiting: found by a view, mended by any ticker."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from builders import DAY, NOW, Conn, Stage, line, set_stage
from psycopg import AsyncCursor
from psycopg.errors import CheckViolation

from clento_engine.domain.operation import Operation
from clento_engine.runtime import heartbeat as beating
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.heartbeat import Heartbeat
from clento_engine.runtime.world import World
from clento_engine.store import lanes as holding
from clento_engine.store.campaigns import complete_campaigns, pause_campaign
from clento_engine.store.database import Database
from clento_engine.store.lanes import mend_lanes, wrong_lanes
from clento_engine.store.tickers import LANES_EVERY, tickers

guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])

WRITE = line(Operation.SEND_FOLLOWUP, text="Hello")

MOVED = """
update lanes set ready_at = '2026-05-01';
update campaign_executions set next_run_at = '2026-03-02'
"""

# Each by the hand of somebody who wrote no history, and what the view says of it.
EDITS = {
    "deleted": ("delete from lanes", "no such lane"),
    "no moment": ("update lanes set ready_at = null", "asleep past its first lead"),
    "a far moment": (
        "update lanes set ready_at = ready_at + interval '40 days'",
        "asleep past its first lead",
    ),
    "switched off": ("update lanes set active = false", "not active"),
    "another budget": (
        "update lanes set budget = 'profile_visit' where operation = 'send_followup'",
        "another budget",
    ),
    "lead moved to now": (MOVED, "asleep past its first lead"),
    "completed": (
        "update campaigns set status = 'completed', completed_at = '2026-03-02'",
        "completed with leads unfinished",
    ),
}


async def waiting(conn: Conn, hours: str = "always") -> Stage:
    stage = await set_stage(conn, WRITE, leads=3, hours=hours)
    await stage.stand(Operation.SEND_FOLLOWUP, connected=True)
    await stage.conn.execute("update lanes set ready_at = null where operation = 'start'")
    return stage


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_what_a_hand_did_to_lanes_is_found_and_mended(
    conn: Conn, edit: tuple[str, str]
) -> None:
    stage = await waiting(conn)
    assert await wrong_lanes(conn, NOW) == []
    query, problem = edit
    await conn.execute(query.encode())
    assert await stage.claim() == [] or problem == "another budget"

    mended = await mend_lanes(conn, NOW)
    assert problem in "; ".join(each.problem for each in mended)
    assert await wrong_lanes(conn, NOW) == []
    await conn.execute("update campaigns set status = 'running' where status = 'paused'")
    await mend_lanes(conn, NOW)
    if problem != "another budget":
        assert len(await stage.claim()) == 3


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_what_a_hand_did_to_lanes_stays_when_nothing_is_mended(
    conn: Conn, monkeypatch: pytest.MonkeyPatch, edit: tuple[str, str]
) -> None:
    """The control of the one above: the view goes on to list it, and the leads sleep on."""
    monkeypatch.setattr(holding, "_mend", nothing)
    stage = await waiting(conn)
    query, problem = edit
    await conn.execute(query.encode())
    await mend_lanes(conn, NOW)
    assert problem in "; ".join(each.problem for each in await wrong_lanes(conn, NOW))
    stage.now = NOW + 30 * DAY
    if problem != "another budget":
        assert await stage.claim() == []


async def nothing(*_given: object) -> None:
    """Stand for a guard that is off."""


def without(part: str) -> Callable[..., Awaitable[Any]]:
    """Return a cursor's `execute` that leaves `part` out of every statement."""
    execute = AsyncCursor.execute

    async def edited(self: AsyncCursor[Any], query: Any, *given: Any, **named: Any) -> Any:
        if isinstance(query, str):
            query = query.replace(part, "")
        return await execute(self, query, *given, **named)

    return edited


async def test_a_paused_campaign_and_what_waits_for_its_time_are_right(conn: Conn) -> None:
    stage = await waiting(conn, hours="Mon-Fri 09:00-18:00")
    await stage.stand(Operation.SEND_FOLLOWUP, at=NOW + 20 * DAY)
    await conn.execute("update lanes set ready_at = %s", (NOW + 20 * DAY,))
    assert await wrong_lanes(conn, NOW) == []
    await pause_campaign(conn, stage.organization_id, stage.campaign_id, now=NOW)
    assert await wrong_lanes(conn, NOW) == []
    assert await mend_lanes(conn, NOW) == []


EVERY_LEAD = """
               and not exists (
                   select from campaign_executions e
                    where e.organization_id = c.organization_id and e.campaign_id = c.id
                      and e.outcome is null)"""


@guard
async def test_a_campaign_with_deleted_lanes_is_not_completed(
    conn: Conn, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    if not is_on:  # its lanes alone are looked at
        monkeypatch.setattr(AsyncCursor, "execute", without(EVERY_LEAD))
    await waiting(conn)
    await conn.execute("delete from lanes")
    assert (await complete_campaigns(conn, NOW) == []) is is_on


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-01-01 BC", "12000-01-01"])
async def test_a_moment_that_nobody_can_read_is_refused(conn: Conn, moment: str) -> None:
    await waiting(conn)
    for table, column in (
        ("lanes", "ready_at"),
        ("campaign_executions", "next_run_at"),
        ("connected_accounts", "next_sweep_at"),
        ("rate_limits", "blocked_until"),
    ):
        with pytest.raises(CheckViolation):
            await conn.execute(f"update {table} set {column} = '{moment}'".encode())


@guard
async def test_any_ticker_mends_lanes_every_ten_minutes(
    conn: Conn, database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    if not is_on:
        monkeypatch.setattr(beating, "mend", nothing)
    stage = await waiting(conn)
    clock = VirtualClock(NOW)
    world = World(database, None, clock)  # type: ignore[arg-type]  # nothing is asked
    await Heartbeat(world, "tick").beat()
    await conn.execute("delete from lanes")
    clock.move_to(NOW + timedelta(minutes=1))
    await Heartbeat(world, "run").beat()
    assert await stage.value("select count(*) from lanes") == 0  # one looks, for all of them

    clock.move_to(NOW + LANES_EVERY)
    await Heartbeat(world, "run").beat()
    stage.now = clock() if is_on else NOW + 30 * DAY
    assert (len(await stage.claim()) == 3) is is_on
    assert [each.kind for each in await tickers(conn)] == ["run", "tick"]


async def test_heartbeats_are_one_a_host_and_kind_and_are_forgotten(
    conn: Conn, database: Database
) -> None:
    clock = VirtualClock(NOW)
    world = World(database, None, clock)  # type: ignore[arg-type]  # nothing is asked
    for _ in range(3):
        await Heartbeat(world, "tick").beat()
    await conn.execute("update tickers set host = 'gone'")
    clock.move_to(NOW + 31 * DAY)
    heartbeat = Heartbeat(world, "tick")
    await heartbeat.beat()
    [found] = await tickers(conn)
    assert (found.host != "gone", found.seen_at) == (True, clock())
    clock.move_to(NOW + 32 * DAY)
    await heartbeat.beat()  # not half a minute of real time later
    assert (await tickers(conn))[0].seen_at == NOW + 31 * DAY

"""A provider that answers slowly stops neither questions about lost answers nor a tick's end."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from builders import NOW, Conn, begun, line, report
from play import BUSY, set_up
from test_reconcile import Shows, message

from clento_engine.domain.failure import Failure
from clento_engine.domain.operation import Operation
from clento_engine.provider.port import Chat, Messages, Provider
from clento_engine.runtime import reconcile as reconciling
from clento_engine.runtime.clock import SpeedClock
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.work import attend
from clento_engine.runtime.world import World
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.store.database import Database
from clento_engine.store.doubtful import Doubtful

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SPEED = 120.0
READ_TAKES_S = 70.0  # of the world's time
LOST = 100
DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "domain/test_editor_samples/01_linear.json").read_text("utf-8")
)
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Slow(Shows):
    """Shows every message, each read taking its time."""

    questions = 0

    async def chats_with(self, *_given: object) -> Sequence[Chat] | Failure:
        self.questions += 1
        await asyncio.sleep(READ_TAKES_S / SPEED)
        return await super().chats_with()

    async def chat_messages(
        self, chat_id: str, *, back_to: frozenset[str] = frozenset()
    ) -> Messages | Failure:
        await asyncio.sleep(READ_TAKES_S / SPEED)
        return await super().chat_messages(chat_id, back_to=back_to)


@pytest.mark.parametrize("at_once", [20, LOST], ids=["on", "off"])
async def test_lost_answers_are_settled_by_two_tickers_whose_reads_are_slow(
    conn: Conn, database: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Off: all are taken under one lease that is not renewed, and asked about 20 at a time."""
    stage = await begun(conn, line(Operation.SEND_FOLLOWUP), Operation.SEND_FOLLOWUP, leads=LOST)
    await conn.execute("update campaign_executions set provider_id = 'ACoAA' || lead_id")
    items = await stage.claim(LOST)
    assert len(items) == LOST
    for item in items:
        await stage.settle(report(item, "unknown", None, check_at=NOW + MINUTE))
    shows = Slow(chats={"chat": [message("m-1")]})
    clock = SpeedClock(NOW + HOUR, SPEED)
    world = World(database, cast("Provider", shows), clock)
    if at_once == LOST:
        monkeypatch.setattr(reconciling, "AT_ONCE", LOST)
        gate = asyncio.Semaphore(10)
        ask = reconciling._ask

        async def queued(world: World, action: Doubtful) -> object:
            async with gate:
                return await ask(replace(world, provider=cast("Provider", shows)), action)

        monkeypatch.setattr(reconciling, "_ask", queued)

    async def reconciles() -> None:
        while clock() < NOW + HOUR + 15 * MINUTE:
            if not await reconcile(world):
                await asyncio.sleep(MINUTE.total_seconds() / SPEED)

    await asyncio.gather(reconciles(), reconciles())
    settled = await stage.value("select count(*) from actions where state = 'done'")
    if at_once == LOST:
        assert settled < LOST or shows.questions > LOST
    else:
        assert (settled, shows.questions) == (LOST, LOST)


async def test_the_number_of_questions_overflows_nothing(conn: Conn, database: Database) -> None:
    stage = await begun(conn, line(Operation.SEND_FOLLOWUP), Operation.SEND_FOLLOWUP)
    [item] = await stage.claim()
    await stage.settle(report(item, "unknown", None, check_at=NOW + MINUTE))
    await stage.change("actions", checks=32767)
    shows = Shows(chats={"chat": [message("m-1")]})
    world = World(database, cast("Provider", shows), lambda: NOW + HOUR)
    assert await reconcile(world) == 1
    assert await stage.value("select state from actions") == "done"


async def test_a_tick_ends_with_its_budget_whatever_is_overdue(database: Database) -> None:
    play = await set_up(database, DOCUMENT, start=START, slugs=["ada", "bert", "cleo"], pace=BUSY)
    play.simulated.faults.set([Rule(FaultKind.SLOW, delay_s=0.3)])
    running = replace(play.world, clock=SpeedClock(START + timedelta(days=1), 1), slots=1)
    began = time.monotonic()
    await asyncio.wait_for(
        attend(running, play.outbox, timedelta(seconds=0.5), stop=asyncio.Event()), 30
    )
    assert time.monotonic() - began < 10

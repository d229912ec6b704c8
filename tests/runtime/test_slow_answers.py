"""A provider that answers slowly stops neither questions about lost answers nor a tick's end."""

import asyncio
import inspect
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from builders import NOW, Conn, begun, line, report
from play import BUSY, Play, set_up
from test_reconcile import Shows, message

from clento_engine.domain.failure import Failure
from clento_engine.domain.operation import Operation
from clento_engine.provider.port import Chat, Messages, Provider, Relation
from clento_engine.provider.port import Message as Heard
from clento_engine.runtime import reconcile as reconciling
from clento_engine.runtime import sweep as sweeping
from clento_engine.runtime import ticker as ticking
from clento_engine.runtime import work as working
from clento_engine.runtime.asking import always, looking
from clento_engine.runtime.clock import SpeedClock
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.work import Worked, attend, work
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
        self, _account: str, chat_id: str, *, back_to: frozenset[str] = frozenset()
    ) -> Messages | Failure:
        await asyncio.sleep(READ_TAKES_S / SPEED)
        return await super().chat_messages(_account, chat_id, back_to=back_to)


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


# --- a budget in time that requests alone take ---------------------------------------------------

guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


@dataclass
class Hand:
    """Stands for `time`: each request takes a second, and nothing else takes any."""

    now: float = 0.0
    begun: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def request(self) -> None:
        self.begun.append(self.now)
        self.now += 1

    def late(self, budget_s: float) -> int:
        """Count the requests that were begun after the budget was over."""
        return sum(at >= budget_s for at in self.begun)


@dataclass
class Asked(Shows):
    """Shows every message and empty lists; each read takes its time by `hand`."""

    hand: Hand = field(default_factory=Hand)

    async def chats_with(self, *given: object) -> Sequence[Chat] | Failure:
        self.hand.request()
        return await super().chats_with(*given)

    async def chat_messages(
        self, _account: str, chat_id: str, *, back_to: frozenset[str] = frozenset()
    ) -> Messages | Failure:
        self.hand.request()
        return await super().chat_messages(_account, chat_id, back_to=back_to)

    async def relations(self, *_given: object, **_named: object) -> Sequence[Relation]:
        self.hand.request()
        return []

    async def messages(self, *_given: object, **_named: object) -> Sequence[Heard]:
        self.hand.request()
        return []


Job = Callable[..., Awaitable[int]]


def unhurried(job: Job) -> Job:
    """Return a job that is never told that the time is over."""

    async def done(world: World, **_named: object) -> int:
        return await job(world, may_go_on=always)

    return done


# What is switched off, and the budget in whose midst it shows.
SWITCHES: dict[str, tuple[float, Callable[[pytest.MonkeyPatch], None]]] = {
    "sweeps": (
        3.5,
        lambda patch: patch.setattr(working, "sweep", unhurried(sweeping.sweep)),
    ),
    "questions": (
        20.5,
        lambda patch: patch.setattr(working, "reconcile", unhurried(reconcile)),
    ),
    "the next request of a sweep": (
        3.5,
        lambda patch: patch.setattr(sweeping, "looking", lambda provider, _look: provider),
    ),
    "the next request of a question": (
        20.5,
        lambda patch: patch.setattr(reconciling, "looking", lambda provider, _look: provider),
    ),
}


@guard
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
async def test_no_question_and_no_list_is_begun_when_the_budget_is_over(
    conn: Conn,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    is_on: bool,
    switch: tuple[float, Callable[[pytest.MonkeyPatch], None]],
) -> None:
    stage = await begun(
        conn, line(Operation.SEND_FOLLOWUP), Operation.SEND_FOLLOWUP, leads=LOST, senders=5
    )
    await conn.execute("update campaign_executions set provider_id = 'ACoAA' || lead_id")
    for item in await stage.claim(LOST):
        await stage.settle(report(item, "unknown", None, check_at=NOW + MINUTE))
    await conn.execute("update connected_accounts set next_sweep_at = %s", (NOW,))
    hand = Hand()
    for module in (working, ticking):
        monkeypatch.setattr(module, "time", hand)
    shows = Asked(chats={"chat": [message("m-1")]}, hand=hand)
    world = World(database, cast("Provider", shows), lambda: NOW + HOUR)
    budget_s, off = switch
    if not is_on:
        off(monkeypatch)

    await work(world, cast("Outbox", None), timedelta(seconds=budget_s))
    assert hand.now >= budget_s  # there was more to do
    assert (hand.late(budget_s) == 0) is is_on


async def overdue(database: Database, *, senders: int = 1) -> Play:
    """Set a campaign up whose leads could all have begun, and lists been read, a day ago."""
    slugs = [f"person-{number}" for number in range(20)]
    play = await set_up(database, DOCUMENT, start=START, slugs=slugs, pace=BUSY, senders=senders)
    await play.rows("update connected_accounts set next_sweep_at = %s returning 1", START)
    for table in ("connected_accounts", "rate_limits"):
        await play.rows(
            f"update {table} set spacing_shortest = '0', spacing_longest = '0' returning 1"
        )
    return play


def timed(play: Play, hand: Hand) -> World:
    """Return its world on the next day, one request at a time, each taking its time by `hand`."""

    async def look() -> None:
        hand.request()

    clock, asked = SpeedClock(START + timedelta(days=1), 1), looking(play.world.provider, look)
    return replace(play.world, clock=clock, provider=asked, slots=1)


@guard
async def test_no_step_is_begun_when_the_budget_is_over(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    play, hand = await overdue(database), Hand()
    monkeypatch.setattr(working, "time", hand)
    monkeypatch.setattr(ticking, "time", hand)

    async def unending(world: World, _left: timedelta, **named: Any) -> Any:
        return await ticking.tick(world, timedelta(days=1), **named)

    if not is_on:
        monkeypatch.setattr(working, "tick", unending)
    await work(timed(play, hand), play.outbox, timedelta(seconds=6.5))
    assert hand.now >= 6.5
    assert (hand.late(6.5) == 0) is is_on


@guard
async def test_a_tick_whose_work_is_overdue_looks_no_further_when_its_budget_is_over(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """Off: it ends only where the pause exceeds what is left, and both are below nothing."""
    play, hand = await overdue(database, senders=12), Hand()
    monkeypatch.setattr(working, "time", hand)
    monkeypatch.setattr(ticking, "time", hand)
    stop, looks = asyncio.Event(), 0
    ends = "left_s <= 0 or "
    source = inspect.getsource(attend)
    assert ends in source

    async def counted(*given: Any, **named: Any) -> Worked:
        nonlocal looks
        looks += 1
        if looks > 3:
            stop.set()
        return await work(*given, **named)

    monkeypatch.setattr(working, "work", counted)
    module = dict(vars(working))
    exec(source if is_on else source.replace(ends, ""), module)  # noqa: S102 - the guard, left out
    await module["attend"](timed(play, hand), play.outbox, timedelta(seconds=0.5), stop=stop)
    assert (looks == 1) is is_on

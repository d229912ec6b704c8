"""Two rows of turns in one tick: as many requests as allowed, nobody twice, no error lost."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import chain
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from play import BUSY, Play, set_up

from clento_engine.domain.report import Report
from clento_engine.provider.port import Provider
from clento_engine.runtime import ticker
from clento_engine.runtime.act import act
from clento_engine.runtime.clock import Clock
from clento_engine.runtime.ticker import tick
from clento_engine.simulator.people import Chances
from clento_engine.simulator.world import Reliability
from clento_engine.store.claim import Wanted
from clento_engine.store.claimed import Claimed
from clento_engine.store.database import Conn, Database
from clento_engine.store.turn import Turned, turn

DOCUMENT: dict[str, Any] = json.loads(
    (
        Path(__file__).parents[1] / "domain/test_editor_samples/02_accepted_not_accepted_tree.json"
    ).read_text(encoding="utf-8")
)
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SLOTS = 4


class Counted:
    """How much was under way at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *_error: object) -> None:
        self.now -= 1


@pytest.fixture
def much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one step be much, whatever its request took, and rows have their turns at once."""
    monkeypatch.setattr(ticker, "MUCH", 1)
    monkeypatch.setattr(ticker, "LONG", inf)
    monkeypatch.setattr(ticker, "BRIEF", inf)


async def busy(database: Database) -> Play:
    return await set_up(
        database,
        DOCUMENT,
        start=START,
        slugs=[f"person-{number:03}" for number in range(60)],
        senders=6,
        pace=BUSY,
        chances=Chances(),
        reliability=Reliability(),
        slots=SLOTS,
    )


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize(("brief", "at_once"), [(inf, 2), (0, 1)])
async def test_two_rows_of_turns_keep_every_promise_and_share_the_slots(
    database: Database, monkeypatch: pytest.MonkeyPatch, brief: float, at_once: int
) -> None:
    """Where requests are brief, the rows have their turns at once; else they alternate."""
    monkeypatch.setattr(ticker, "BRIEF", brief)
    turns, requests, rows = Counted(), Counted(), set()

    async def counted_turn(
        conn: Conn,
        reports: list[Report],
        wanted: Wanted | None,
        *,
        now: datetime,
        actor: str,
    ) -> Turned:
        rows.add(conn)
        with turns:
            return await turn(conn, reports, wanted, now=now, actor=actor)

    async def counted_act(provider: Provider, item: Claimed, clock: Clock) -> Report:
        with requests:
            await asyncio.sleep(0)  # whoever else has begun is under way as well
            return await act(provider, item, clock)

    monkeypatch.setattr(ticker, "turn", counted_turn)
    monkeypatch.setattr(ticker, "act", counted_act)
    play = await busy(database)
    assert await play.run(days=120)
    assert all(row["outcome"] is not None for row in (await play.leads()).values())
    verdict = await play.verdict()
    assert verdict.is_clean, verdict
    assert turns.most == at_once
    assert len(rows) > 1
    assert 1 < requests.most <= SLOTS


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("failing", [1, 2])
async def test_the_error_of_either_row_ends_the_tick(
    database: Database, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    play = await busy(database)
    waiting = asyncio.Event()
    rows: list[Conn] = []

    async def one_fails(conn: Conn, *arguments: Any, **named: Any) -> Turned:
        if conn not in rows:
            rows.append(conn)
        if len(rows) == 2 and rows.index(conn) == failing - 1:
            waiting.set()
            raise ConnectionResetError("the database has gone")
        turned = await turn(conn, *arguments, **named)
        if len(rows) == 2 and failing == 2:
            await waiting.wait()  # the second fails while the first is at work
        return turned

    monkeypatch.setattr(ticker, "turn", one_fails)
    with pytest.raises(ConnectionResetError, match="has gone"):
        await tick(play.world, timedelta(minutes=5))
    assert len(rows) == 2


def test_each_of_many_organisations_comes_first_in_rotation() -> None:
    world: Any = SimpleNamespace(
        clock=lambda: START, slots=SLOTS, lease=timedelta(1), request_limit=timedelta(0)
    )
    row = ticker._Tick(world, lambda: True)
    served = [uuid4() for _ in range(2 * ticker.ROTATED + 3)]
    first = [row._wanted(served, SLOTS, 1).first for _ in range(3)]
    assert {len(each) for each in first} == {ticker.ROTATED}
    assert {*chain(*first)} == {*served}
    assert [*row._wanted(served[:1], SLOTS, 1).first] == []  # nobody waits for it
    assert {*row._wanted(served[:3], SLOTS, 1).first} == {*served[:3]}

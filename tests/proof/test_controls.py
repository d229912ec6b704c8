"""The proof can fail: each safeguard switched off by itself, and the judge finds what comes of it.

The switches are here and nowhere else: a test replaces a function or edits a statement on its way.
Beside each stands the same story with the safeguard on, in which the judge finds nothing.
"""

import asyncio
import re
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from builders import line, set_stage
from msgspec.structs import replace
from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from scenes import BUDGET, Outcome, Outside, Scenario, Scene, scene
from tally import CONTROL, Note

from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.limits import LEASE, Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Report
from clento_engine.interface.chaos.findings import Findings
from clento_engine.provider.port import Provider
from clento_engine.runtime import question as asking
from clento_engine.runtime import ticker
from clento_engine.runtime.act import act
from clento_engine.runtime.clock import Clock
from clento_engine.runtime.world import World
from clento_engine.simulator.ledger import Effect
from clento_engine.store import claim as claiming
from clento_engine.store.claimed import Claimed
from clento_engine.store.mortal import Death, Life
from clento_engine.store.turn import Turned, turn

MESSAGE = Scenario(
    "message",
    line(Operation.SEND_FOLLOWUP),
    (Effect.MESSAGE,),
    until=Operation.SEND_FOLLOWUP,
    route="POST /chats",
    tempers={"connected_for": timedelta(days=100)},
)
NEVER = datetime.max.replace(tzinfo=UTC)

safeguard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest, record_property: Note) -> None:
    if not request.getfixturevalue("is_on"):
        record_property(CONTROL, request.node.name)


def verdict(findings: Findings, *, is_on: bool, kind: str) -> None:
    """Demand that the judge finds nothing, or, with the safeguard off, what it would prevent."""
    if is_on:
        assert findings.is_clean, findings.details
    else:
        assert getattr(findings, kind) > 0, f"the judge saw no {kind}: {findings}"


# --- the last look before the request: does the lease still stand? -------------------------------


@safeguard
async def test_the_lease_check_keeps_a_ticker_that_slept_from_sending_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    async with scene(dsn, MESSAGE, Outcome.ANSWERED) as stage:
        outside = await stage.replayed()
        sleeper, other = stage.world(outside, Life()), stage.world(outside, Life())
        asleep, woken = asyncio.Event(), asyncio.Event()

        async def acting(provider: Provider, item: Claimed, clock: Clock) -> Report:
            if provider is sleeper.provider:  # SIGSTOP, right after the claim
                asleep.set()
                await woken.wait()
            return await act(provider, item if is_on else replace(item, act_before=NEVER), clock)

        monkeypatch.setattr(ticker, "act", acting)
        await pass_time(outside, timedelta(minutes=2))
        sleeping = asyncio.create_task(ticker.tick(sleeper, BUDGET))
        await asleep.wait()
        outside.receiver = other
        assert await stage.drive(outside, other, Life())
        woken.set()
        await sleeping
        verdict(await stage.judged(outside), is_on=is_on, kind="duplicates")


# --- reconcile: ask what is true before doing it again -------------------------------------------


@safeguard
async def test_reconcile_keeps_an_answer_that_was_lost_from_being_a_second_message(
    dsn: str, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    async def blindly(question: asking.Question) -> Report:
        now = question.world.clock()
        return asking.action_report(question.action, ActionState.ABSENT, ex.Absent(), now)

    if not is_on:
        monkeypatch.setattr(asking.Question, "ask", blindly)
    async with scene(dsn, MESSAGE, Outcome.LANDED) as stage:
        played = await stage.play()
    verdict(played.findings, is_on=is_on, kind="duplicates")


# --- the intent: written down before anything leaves ---------------------------------------------


@safeguard
@pytest.mark.parametrize(
    # the news of what was sent wakes the lane, whether or not a lease does
    "wakes",
    [True, False],
    ids=["by a lease", "by news"],
)
async def test_the_intent_keeps_what_a_dead_process_sent_from_being_forgotten(
    dsn: str, monkeypatch: pytest.MonkeyPatch, is_on: bool, wakes: bool
) -> None:
    async with scene(dsn, MESSAGE, Outcome.ANSWERED) as stage:

        async def forgetful(conn: Any, *asked: Any, **how: Any) -> Turned:
            turned = await turn(conn, *asked, **how)
            if turned.claim.taken and conn.life.death is not None:
                await forget(stage, how["now"] + LEASE if wakes else None)
            return turned

        places = (await stage.play()).lives[0].places
        sent = next(n for n, place in enumerate(places, 1) if place.startswith("runtime/act.py"))
        if not is_on:
            monkeypatch.setattr(ticker, "turn", forgetful)
        played = await stage.play(Death(sent))
        assert played.died == 1
    verdict(played.findings, is_on=is_on, kind="duplicates")


async def forget(stage: Scene, wake_at: datetime | None) -> None:
    """Undo the intent, so that only the lane's next moment, or nothing, tells of the claim."""
    await stage.witness.execute("delete from actions")
    # what was sent must not be taken for the owner's: that guard is another one
    await stage.witness.execute("update campaigns set stop_on_own_message = false")
    await stage.witness.execute(
        "update lanes set ready_at = %s where operation = %s",
        (wake_at, Operation.SEND_FOLLOWUP.value),
    )


# --- the locks on account and budget: nobody spends the same unit --------------------------------


@safeguard
async def test_the_budget_lock_keeps_two_tickers_from_spending_one_unit(
    dsn: str, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    monkeypatch.setattr(claiming, "MOST_LANES", 1)  # so that each of the two finds a lane
    async with scene(dsn, MESSAGE, Outcome.ANSWERED) as stage:
        outside = await stage.replayed()
        await two_lanes_and_one_unit(stage, outside)
        worlds = [stage.world(outside, Life()) for _ in range(2)]
        race = Race()
        if not is_on:
            await race.take_part(worlds)
        async with asyncio.timeout(60):
            await asyncio.gather(*(ticker.tick(world, BUDGET) for world in worlds))
        assert is_on or race.edits, "nothing was switched off: has the statement changed?"
        verdict(await stage.judged(outside), is_on=is_on, kind="over_cap")


async def two_lanes_and_one_unit(stage: Scene, outside: Outside) -> None:
    """Let two campaigns each have a message to send by the one account, which may send one."""
    conn, first = stage.witness, stage.stage
    second = await set_stage(
        conn,
        line(Operation.SEND_FOLLOWUP, text="From another campaign"),
        senders=first.accounts,
        organization_id=first.organization_id,
        name="another",
        now=outside.clock(),
    )
    person = outside.simulated.person("person-1")
    for each in (first, second):
        each.now = outside.clock()
        await each.stand(Operation.SEND_FOLLOWUP, provider_id=person.provider_id)
    await first.change("lanes", ready_at=None)
    await conn.execute(
        "update lanes set ready_at = %s where operation = 'send_followup'", (outside.clock(),)
    )
    await first.change("connected_accounts", next_free_at=None)
    await first.cap(Budget.MESSAGE, Caps(hour=1))


class Race:
    """Two claims whose locks hold their lanes alone, and who write when both have looked."""

    def __init__(self) -> None:
        self.edits = 0
        self._both_looked = asyncio.Barrier(2)

    async def edited(self, query: str) -> str:
        """Take the locks of account and budget out of a statement."""
        query, edits = re.subn(r"(for no key update of l), b, a\b", r"\1", query)
        self.edits += edits
        if "insert into actions" in query:
            await self._both_looked.wait()
        return query

    async def take_part(self, worlds: Iterable[World]) -> None:
        """Have everything that these ask the database go through here."""
        race = self

        class Edited(AsyncCursor[TupleRow]):
            async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
                query = await race.edited(query) if isinstance(query, str) else query
                return await super().execute(query, *args, **kwargs)

        async with AsyncExitStack() as stack:  # both at once, so that they are two
            for world in worlds:
                conn = await stack.enter_async_context(world.database.connection())
                conn.cursor_factory = Edited


async def pass_time(outside: Outside, span: timedelta) -> None:
    outside.clock.move_to(await outside.advance(outside.clock() + span))

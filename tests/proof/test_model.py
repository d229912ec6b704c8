"""The engine against a small model of what it promised, whatever is done to it, in any order.

Hypothesis draws operators' commands, people's answers, webhooks, faults, stalled and dying tickers
and the passing of time.  After each, I1 to I7 are checked: by the simulator's ledger, which knows
what really reached whom, and by a model in plain Python, which knows who may still be contacted.
In the end all faults heal, all holds are lifted, and everybody must arrive.

`HYPOTHESIS_PROFILE=storm pytest tests/proof/test_model.py` looks longer, each time elsewhere.
"""

import asyncio
import itertools
import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from modelled import (
    EFFECTS,
    MINUTE,
    ONCE,
    PEOPLE,
    PLANS,
    ZONES,
    Permit,
    Stage,
    Stalled,
    check,
    judge,
    set_stage,
    settle_the_books,
)
from switches import BROKEN
from tally import CONTROL, Note

from clento_engine.domain.account import PausedBy
from clento_engine.domain.limits import Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.report import Report
from clento_engine.domain.schedule import closes_at, opens_at, parse_hours
from clento_engine.runtime.act import act, event_report
from clento_engine.runtime.inbox import apply_inbox, receive
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.release import release
from clento_engine.runtime.sweep import sweep
from clento_engine.runtime.ticker import tick
from clento_engine.runtime.work import work
from clento_engine.simulator.accounts import set_status
from clento_engine.simulator.faults import Rule
from clento_engine.simulator.invitations import accept
from clento_engine.simulator.judge import normalised
from clento_engine.simulator.messaging import reply
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.senders import Status as Standing
from clento_engine.store import suppressions
from clento_engine.store.accounts import pause_account, resume_account
from clento_engine.store.budgets import set_limit
from clento_engine.store.campaigns import pause_campaign, resume_campaign, stop_campaign
from clento_engine.store.claim import Wanted, claim
from clento_engine.store.claimed import Claimed
from clento_engine.store.database import Database
from clento_engine.store.due import due
from clento_engine.store.errors import CannotDo
from clento_engine.store.settle import settle

T = TypeVar("T")
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
# a failing example is made small, which takes minutes; the long form takes half an hour
pytestmark = pytest.mark.timeout(900 if PROFILE == "default" else 3600)

COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
PROFILES = {
    # in CI the same examples each time: a failure is news of the change, not of the dice
    "default": settings(max_examples=40, stateful_step_count=28, derandomize=True, **COMMON),
    "storm": settings(max_examples=500, stateful_step_count=50, **COMMON),
}
# a break is found, not made small
BREAKING = settings(
    PROFILES["default"], max_examples=60, phases=[Phase.generate], report_multiple_bugs=False
)
BUDGET = timedelta(minutes=10)  # of real time; never used up, however slow the machine
AT_LAST = timedelta(days=60)  # after all is healed, nobody's walk is longer

slugs = st.sampled_from(PEOPLE)
senders = st.sampled_from(list(ZONES))
campaigns = st.sampled_from(list(PLANS))
kinds = st.sampled_from(
    [
        *("reset", "timeout", "unexpected_error", "provider_error", "bad_gateway", "unavailable"),
        *("request_timeout", "too_many_requests", "malformed_json", "empty_body", "wrong_types"),
        *("null_ids", "looping_cursor"),
    ]
)
routes = st.sampled_from(["POST *", "POST *", "GET /users/*", "GET *", "*"])


class Machine(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.database = database
        self.failed = False
        self.stage: Stage

    @initialize(
        cap=st.sampled_from([1, 2, 5]),
        accepting=st.sets(slugs),
        replying=st.sets(slugs),
        hours=st.sampled_from([0, 3, 27, 52]),
        share=st.sampled_from([0.0, 0.4]),
    )
    def begin(
        self, cap: int, accepting: set[str], replying: set[str], hours: int, share: float
    ) -> None:
        """Start both campaigns; some accept after an hour, some answer the first message.

        At first a share of the answers is lost after the effect: the fault that matters most.
        """
        self.stage = self.runner.run(set_stage(self.database, Caps(hour=cap, day=3 * cap)))
        simulated, soon = self.stage.simulated, timedelta(hours=1)
        for slug in PEOPLE:
            tempers = {
                "accepts_after": soon if slug in accepting else None,
                "replies_after": soon / 2 if slug in replying else None,
                "replies_to_message": 1,
            }
            simulated.force(simulated.person(slug), {}, tempers)
        simulated.faults.set([_fault("reset", "POST *", after=True, share=share)])
        self.do(self._live(self.stage.now + timedelta(hours=hours)))
        simulated.faults.clear()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something; what comes after a failure would only hide it."""
        try:
            return self.runner.run(work)
        except BaseException:
            self.failed = True
            raise

    async def _judged(self, work: Awaitable[T], permit: Permit | None = None) -> T:
        """Do something, then judge what landed by what was allowed before."""
        model = self.stage.model
        permit = permit or model.permit(replied=model.heard)
        value = await work
        judge(self.stage, permit)
        return value

    # -- the engine at work

    @rule(hours=st.sampled_from([1, 4, 24]), times=st.sampled_from([1, 2, 0]))
    def live(self, hours: int, times: int) -> None:
        """One ticker, for a while; each webhook comes so many times."""
        self.do(self._live(self.stage.now + timedelta(hours=hours), times))
        note(f"now {self.stage.now}")

    @rule(
        hours=st.sampled_from([2, 24]),
        kind=kinds,
        route=routes,
        after=st.booleans(),
        share=st.sampled_from([0.3, 1.0]),
    )
    def storm(self, hours: int, kind: str, route: str, after: bool, share: float) -> None:
        """One ticker, for a while, with a fault all the time."""
        rules = self.stage.simulated.faults.rules
        rules.insert(0, _fault(kind, route, after=after, share=share))
        self.do(self._live(self.stage.now + timedelta(hours=hours)))
        rules.pop(0)
        note(f"now {self.stage.now}")

    async def _live(self, until: datetime, times: int = 1) -> None:
        stage = self.stage
        while True:
            next_at = await self._work()
            if stage.now >= until:
                return
            least = stage.now + timedelta(seconds=1)
            await advance(stage.simulated, min(until, max(next_at or until, least)))
            await self._deliver_all(times)

    async def _work(self) -> datetime | None:
        """Let one ticker do what is due; what lies in the inbox it knows before it acts."""
        stage, model = self.stage, self.stage.model
        model.heard |= model.received
        worked = await self._judged(work(stage.world, stage.outbox, BUDGET))
        if worked.next_at is not None and worked.next_at <= stage.now:
            # what was due turned out to be nothing, which is told the next time
            worked = await self._judged(work(stage.world, stage.outbox, BUDGET))
        late = worked.next_at is not None and worked.next_at <= stage.now
        assert not late, f"I2: what is due is not done: {worked}"
        return worked.next_at

    @rule()
    def work_side_by_side(self) -> None:
        """Two tickers at once: the one may act while the other reads the inbox."""

        async def both() -> None:
            stage, model = self.stage, self.stage.model
            received = model.received.copy()
            works = (work(stage.world, stage.outbox, BUDGET) for _ in range(2))
            await self._judged(asyncio.gather(*works))
            model.heard |= received

        self.do(self._until_due())
        self.do(both())

    @rule(part=st.sampled_from([tick, reconcile, sweep, apply_inbox]))
    def part_of_the_work(self, part: Callable[..., Awaitable[object]]) -> None:
        async def done() -> None:
            stage, model = self.stage, self.stage.model
            await self._judged(part(stage.world, *([BUDGET] if part is tick else [])))
            if part is apply_inbox:
                model.heard |= model.received

        self.do(done())

    @rule(minutes=st.sampled_from([1, 6, 60, 8 * 60, 3 * 24 * 60]))
    def nobody_works(self, minutes: int) -> None:
        self.do(self.stage.advance(self.stage.now + minutes * MINUTE))
        note(f"now {self.stage.now}")

    async def _until_due(self) -> None:
        """Let time pass until a ticker would find a step to take."""
        async with self.stage.database.connection() as conn:
            at = (await due(conn)).lanes
        if at is not None:
            await self.stage.advance(min(at, self.stage.now + timedelta(days=1)))

    async def _until_closing(self, name: str, sender: str) -> None:
        """Let time pass until the campaign's next hours are all but over."""
        hours, zone = parse_hours(PLANS[name].hours), ZONES[sender]
        at = closes_at(hours, opens_at(hours, self.stage.now, zone), zone)
        if at is not None:
            await self.stage.advance(at - 2 * MINUTE)

    # -- tickers that stall and die

    @rule(
        answered=st.booleans(),
        slots=st.integers(1, 4),
        closing=st.sampled_from([False, False, True]),
        sender=senders,
    )
    def stall(self, answered: bool, slots: int, closing: bool, sender: str) -> None:
        """A ticker stops after its claim, or after the provider's answers, and may never go on."""
        self.do(self._until_closing("long", sender) if closing else self._until_due())
        self.do(self._stall(answered=answered, slots=slots))

    async def _stall(self, *, answered: bool, slots: int) -> None:
        stage = self.stage
        permit = stage.model.permit(replied=stage.model.heard)
        held = Stalled(await self._claim(slots), replace(permit, late=True))
        if answered:
            held.reports = await self._judged(self._act(held.claimed))
        if held.claimed:
            stage.stalled.append(held)

    async def _claim(self, slots: int) -> list[Claimed]:
        stage = self.stage
        async with stage.database.connection() as conn:
            return (await claim(conn, Wanted([stage.organization_id], stage.now, slots))).taken

    async def _act(self, batch: list[Claimed]) -> list[Report]:
        world = self.stage.world
        return [
            event_report(item)
            if item.intent is None
            else await act(world.provider, item, world.clock)
            for item in batch
        ]

    # No rule has a precondition: what is drawn next would depend on the engine, of whose requests
    # side by side chance says which meets a fault, and Hypothesis would call the story flaky.
    @rule(times=st.sampled_from([1, 2, 0]))
    def wake(self, times: int) -> None:
        """It goes on where it stopped; its answer is written once, again, or dies with it."""
        if not self.stage.stalled:
            return
        self.do(self._wake(self.stage.stalled.pop(0), times))

    async def _wake(self, held: Stalled, times: int) -> None:
        stage = self.stage
        reports = held.reports
        if reports is None:
            reports = await self._judged(self._act(held.claimed), held.permit)
        for _ in range(times):
            async with stage.database.connection() as conn:
                await settle(conn, reports, now=stage.now, actor="ticker")

    @rule(
        answered=st.booleans(),
        minutes=st.sampled_from([0, 2, 6, 30]),
        others=st.booleans(),
        slug=st.none() | slugs,
        times=st.sampled_from([1, 2]),
    )
    def race(
        self, answered: bool, minutes: int, others: bool, slug: str | None, times: int
    ) -> None:
        """A ticker stalls, the world goes on, it wakes: every step of a race, one by one."""
        self.do(self._until_due())
        self.do(self._stall(answered=answered, slots=4))
        if slug is not None:
            self._accept(slug)
            self._reply(slug)
        self.do(self.stage.advance(self.stage.now + minutes * MINUTE))
        self.do(self._deliver_all())
        if others:
            self.do(self._work())
        if self.stage.stalled:
            self.do(self._wake(self.stage.stalled.pop(), times))

    @rule()
    def die_while_settling(self) -> None:
        """A ticker's transaction is undone at its end, after everything was written."""

        async def died() -> None:
            stage = self.stage
            batch = await self._claim(4)
            reports = await self._judged(self._act(batch))
            async with stage.database.connection() as conn:
                with suppress(_Died):
                    async with conn.transaction():
                        await settle(conn, reports, now=stage.now, actor="ticker")
                        raise _Died

        self.do(self._until_due())
        self.do(died())

    # -- operators

    @rule(name=campaigns, verb=st.sampled_from(["pause", "resume"]))
    def command_campaign(self, name: str, verb: str) -> None:
        self.do(self._command(name, verb))

    @rule(name=campaigns, really=st.sampled_from([False, False, False, True]))
    def stop_campaign(self, name: str, really: bool) -> None:
        if really:
            self.do(self._command(name, "stop"))

    async def _command(self, name: str, verb: str) -> None:
        ask, before, after = {
            "pause": (pause_campaign, ("running",), "paused"),
            "resume": (resume_campaign, ("paused",), "running"),
            "stop": (stop_campaign, ("running", "paused"), "stopped"),
        }[verb]
        stage, state = self.stage, self.stage.model.campaign
        why = ""
        async with stage.database.connection() as conn:
            try:
                await ask(conn, stage.organization_id, stage.campaigns[name], now=stage.now)
            except CannotDo as refused:
                why = str(refused)
        assert (not why) == (state[name] in before) or "completed" in why
        state[name] = state[name] if why else after

    @rule(name=senders, pause=st.booleans())
    def command_account(self, name: str, pause: bool) -> None:
        self.do(self._command_account(name, pause=pause))

    async def _command_account(self, name: str, *, pause: bool) -> None:
        stage, paused = self.stage, self.stage.model.paused
        of = (stage.organization_id, stage.accounts[name])
        async with stage.database.connection() as conn:
            if pause:
                await pause_account(conn, *of, by=PausedBy.OPERATOR, reason="test", now=stage.now)
                paused.add(name)
            else:
                await resume_account(conn, *of, by=PausedBy.OPERATOR, now=stage.now)
                paused.discard(name)

    @rule(
        name=senders,
        budget=st.sampled_from([Budget.PROFILE, Budget.INVITATION, Budget.MESSAGE]),
        hour=st.none() | st.integers(0, 3),
        day=st.none() | st.integers(1, 4),
    )
    def limit(self, name: str, budget: Budget, hour: int | None, day: int | None) -> None:
        self.do(self._limit(name, budget, Caps(hour=hour, day=day)))

    async def _limit(self, name: str, budget: Budget, caps: Caps) -> None:
        stage = self.stage
        of = (stage.organization_id, stage.accounts[name])
        async with stage.database.connection() as conn:
            await set_limit(conn, *of, budget, caps, now=stage.now)
        stage.model.allow(name, budget, caps)

    @rule(slug=slugs)
    def suppress(self, slug: str) -> None:
        async def suppressed() -> None:
            stage = self.stage
            async with stage.database.connection() as conn:
                of = (stage.organization_id, "person", slug, "asked us", stage.now)
                await suppressions.suppress(conn, *of)
            stage.model.suppressed.add(slug)

        self.do(suppressed())

    @rule(skip=st.booleans())
    def release(self, skip: bool) -> None:
        self.do(self._release(skip=skip))

    async def _release(self, *, skip: bool) -> None:
        """Lift every hold, as somebody who looks at LinkedIn first."""
        stage = self.stage
        held = await stage.rows(
            "select e.campaign_id, e.lead_id, p.identity, a.operation, a.text"
            " from campaign_executions e join leads p on p.id = e.lead_id"
            " left join actions a on a.campaign_id = e.campaign_id and a.lead_id = e.lead_id"
            " and a.state in ('intended', 'unknown') where e.status = 'held'"
        )
        for row in held:
            landed = row["operation"] in ONCE and any(
                entry.slug == row["identity"]
                and entry.operation is EFFECTS[Operation(row["operation"])]
                and normalised(entry.text or "") == normalised(row["text"] or "")
                for entry in stage.simulated.ledger.entries
            )
            of = (stage.organization_id, row["campaign_id"], row["lead_id"])
            async with stage.database.connection() as conn:
                await release(conn, *of, skip=skip or landed, now=stage.now)

    # -- people

    @rule(slug=slugs)
    def accept(self, slug: str) -> None:
        self._accept(slug)

    def _accept(self, slug: str) -> None:
        simulated = self.stage.simulated
        account = simulated.accounts[self.stage.model.sender[slug]]
        tie = simulated.tie(account, simulated.person(slug))
        if tie.invitation is not None:
            accept(simulated, account, tie, tie.invitation)

    @rule(slug=slugs)
    def reply(self, slug: str) -> None:
        self._reply(slug)

    def _reply(self, slug: str) -> None:
        """Somebody writes whom the engine knows well enough to tell who it was."""
        stage = self.stage
        known = self.do(
            stage.rows(
                "select 1 from campaign_executions e join leads p on p.id = e.lead_id"
                " where p.identity = %(slug)s and e.provider_id is not null",
                slug=slug,
            )
        )
        if known:
            account = stage.simulated.accounts[stage.model.sender[slug]]
            tie = stage.simulated.tie(account, stage.simulated.person(slug))
            reply(stage.simulated, account, tie, "Thank you")

    # -- the post

    async def _deliver_all(self, times: int = 1) -> None:
        while self.stage.mail:
            await self._deliver(self.stage.mail.pop(0), times)

    async def _deliver(self, payload: dict[str, Any], times: int = 1) -> None:
        stage = self.stage
        for _ in range(times):
            await receive(stage.world, payload)
        if times and payload.get("event") == "message_received" and not payload["is_sender"]:
            who = payload["sender"]["attendee_provider_id"]
            stage.model.received |= {
                slug for slug in PEOPLE if stage.simulated.person(slug).provider_id == who
            }

    @rule(which=st.integers(0, 9), times=st.integers(0, 2))
    def deliver(self, which: int, times: int) -> None:
        """One webhook comes, out of turn, maybe twice, maybe never."""
        if not self.stage.mail:
            return
        self.do(self._deliver(self.stage.mail.pop(which % len(self.stage.mail)), times))

    @rule(
        payload=st.sampled_from(
            [
                {"event": "new_relation", "account_id": "acc_1", "user_provider_id": "ACoAAnobody"},
                {"event": "new_relation", "account_id": "nobody", "user_provider_id": "ACoAAx"},
                {
                    "event": "message_received",
                    "account_id": "acc_1",
                    "message_id": "m-1",
                    "is_sender": False,
                    "sender": {"attendee_provider_id": "ACoAAnobody"},
                },
                {"AccountStatus": {"account_id": "nobody", "message": "CREDENTIALS"}},
                {"AccountStatus": {"account_id": "acc_1", "message": "OK"}},
                {"AccountStatus": {"account_id": "acc_2", "message": "CREDENTIALS"}},
                {"event": "message_received", "account_id": "acc_2", "message_id": 7},
                {},
            ]
        )
    )
    def stray_webhook(self, payload: dict[str, Any]) -> None:
        stage = self.stage
        self.do(receive(stage.world, payload))

    # -- what breaks

    @rule(
        kind=kinds,
        route=routes,
        after=st.booleans(),
        times=st.sampled_from([1, 2, 30]),
        refused=st.integers(0, 2),
    )
    def fault(self, kind: str, route: str, after: bool, times: int, refused: int) -> None:
        """So many requests meet a fault, after so many connections are refused."""
        self.stage.simulated.faults.set([_fault(kind, route, after=after, times=times)])
        self.stage.line.refusing = refused

    @rule()
    def heal(self) -> None:
        self.stage.simulated.faults.clear()
        self.stage.line.refusing = 0

    @rule(
        name=senders,
        standing=st.sampled_from([Standing.CREDENTIALS, Standing.STOPPED, Standing.OK]),
    )
    def account_status(self, name: str, standing: Standing) -> None:
        set_status(self.stage.simulated, self.stage.simulated.accounts[name], standing)

    # -- what must hold

    @invariant()
    def everything_holds(self) -> None:
        self.do(check(self.stage))

    def teardown(self) -> None:
        """Heal all, lift all, and see that everybody arrives."""
        if self.failed or not hasattr(self, "stage"):
            return
        self.heal()
        for account in self.stage.simulated.accounts.values():
            set_status(self.stage.simulated, account, Standing.OK)
        for name in ZONES:
            self.do(self._command_account(name, pause=False))
            for budget in (Budget.PROFILE, Budget.INVITATION, Budget.MESSAGE):
                self.do(self._limit(name, budget, Caps(hour=5, day=10)))
        for name, state in self.stage.model.campaign.items():
            if state == "paused":
                self.do(self._command(name, "resume"))
        self.do(self._arrive())
        self.do(check(self.stage))
        self.do(settle_the_books(self.stage))

    async def _arrive(self) -> None:
        stage = self.stage
        until = stage.now + AT_LAST
        while True:
            next_at = await self._work()
            await self._release(skip=True)
            waiting = await stage.rows(
                "select p.identity, e.* from campaign_executions e"
                " join campaigns c on c.id = e.campaign_id join leads p on p.id = e.lead_id"
                " where e.outcome is null and c.status <> 'stopped'"
            )
            waiting += await stage.rows(
                "select * from actions where state in ('intended', 'unknown')"
            )
            if not waiting:
                return
            assert next_at is not None, f"I2: nothing is to come for {waiting}"
            assert stage.now < until, f"I2: they never arrive: {waiting}"
            await advance(stage.simulated, max(next_at, stage.now + 20 * MINUTE))
            await self._deliver_all()


def _fault(kind: str, route: str, *, after: bool, **values: object) -> Rule:
    """Make a fault; a provider that says "not now" and does it all the same cannot be told."""
    after = after and kind != "too_many_requests"
    return Rule.parse({"kind": kind, "route": route, "after_effect": after, **values})


class _Died(Exception):
    """A process that is no more."""


class Numbers:
    """Ids in order, the same in every run: an example that failed fails again."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin anew: the database was emptied."""
        self._count = itertools.count(1)

    def __call__(self) -> UUID:
        return UUID(int=next(self._count))


NUMBERED = {  # by module of the store
    "accounts": ("uuid7",),
    "campaigns": ("uuid7",),
    "claim": ("uuid4",),
    "doubtful": ("uuid4",),
    "leads": ("uuid7",),
    "outbox": ("uuid7",),
}


@contextmanager
def opened(runner: asyncio.Runner, dsn: str) -> Iterator[Database]:
    """Lend one pool to all examples: its loop outlives them."""
    database = Database(dsn)
    runner.run(database.open())
    try:
        yield database
    finally:
        runner.run(database.close())


def play(dsn: str, monkeypatch: pytest.MonkeyPatch, profile: settings) -> None:
    """Let hypothesis do everything that it can think of."""
    numbers = Numbers()
    for module, names in NUMBERED.items():
        for name in names:
            monkeypatch.setattr(f"clento_engine.store.{module}.{name}", numbers)
    with asyncio.Runner() as runner, opened(runner, dsn) as database:

        class Numbered(Machine):
            def __init__(self) -> None:
                numbers.begin()
                super().__init__(runner, database)

        run_state_machine_as_test(Numbered, settings=profile)


def test_whatever_happens_the_promises_hold(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play(dsn, monkeypatch, PROFILES[PROFILE])


# --- the model can fail: with one part of the engine broken, it sees which promise breaks --------


@pytest.mark.parametrize(("broken", "promise"), BROKEN)
def test_the_model_sees_which_promise_breaks(
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Note,
    broken: Callable[[pytest.MonkeyPatch], None],
    promise: str,
) -> None:
    record_property(CONTROL, broken.__name__)
    broken(monkeypatch)
    with pytest.raises((AssertionError, FlakyFailure)) as caught:
        play(dsn, monkeypatch, BREAKING)
    # what runs side by side, or by dice, may go well when Hypothesis plays the story again
    met = caught.value.exceptions if isinstance(caught.value, FlakyFailure) else [caught.value]
    assert any(re.match(rf"[I1-7, ]*\b{promise}\b[^:]*:", str(each)) for each in met), [
        str(each) for each in met
    ]

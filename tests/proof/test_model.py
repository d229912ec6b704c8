"""The engine against a small model of what it promised, whatever is done to it, in any order.

Hypothesis draws operators' commands, people's answers, webhooks, faults, stalled and dying tickers
and the passing of time.  After each, I1 to I7 are checked: by the simulator's ledger, which knows
what really reached whom, and by a model in plain Python, which knows who may still be contacted.
In the end all faults heal, all holds are lifted, and everybody must arrive.

`HYPOTHESIS_PROFILE=storm pytest tests/proof/test_model.py` looks longer, each time elsewhere.
"""

import asyncio
import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from clento_engine.domain.lead import Identity, LeadRow
from clento_engine.domain.limits import DAY, HOUR, MONTH, WEEK, Caps, Tier
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.schedule import is_open, parse_hours
from clento_engine.domain.workflow import Branch, Edge, Node, Workflow
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.act import act, event_report
from clento_engine.runtime.inbox import apply_inbox, receive
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.release import release
from clento_engine.runtime.sweep import sweep
from clento_engine.runtime.ticker import tick
from clento_engine.runtime.work import work
from clento_engine.runtime.world import World
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.faults import Rule
from clento_engine.simulator.judge import duplicates, normalised
from clento_engine.simulator.ledger import Effect, Entry, Read
from clento_engine.simulator.people import Chances
from clento_engine.simulator.senders import Status as Standing
from clento_engine.simulator.senders import Tier as SimulatedTier
from clento_engine.simulator.world import Reliability
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.accounts import (
    add_account,
    create_organization,
    pause_account,
    resume_account,
    set_limit,
)
from clento_engine.store.campaigns import (
    CannotDo,
    Pace,
    create_campaign,
    pause_campaign,
    resume_campaign,
    start_campaign,
    stop_campaign,
)
from clento_engine.store.claim import Claimed, claim
from clento_engine.store.database import Database
from clento_engine.store.leads import import_leads
from clento_engine.store.replay import replay_walks
from clento_engine.store.settle import Report, settle
from clento_engine.store.tables import metadata
from clento_engine.store.workflows import save_workflow

T = TypeVar("T")

COMMON: Mapping[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
PROFILES = {
    # in CI the same examples each time: a failure is news of the change, not of the dice
    "default": settings(max_examples=25, stateful_step_count=25, derandomize=True, **COMMON),
    "storm": settings(max_examples=1000, stateful_step_count=60, **COMMON),
}

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)
BUDGET = timedelta(seconds=3)  # of real time, for what is due at one instant
ZONES = {"acc_1": "UTC", "acc_2": "America/New_York"}
WINDOWS = {"hour": HOUR, "day": DAY, "week": WEEK, "month": MONTH}
GAP = timedelta(seconds=45)  # the least between two actions of a sender, by its default spacing
AT_LAST = timedelta(days=60)  # after all is healed, nobody's walk is longer
CALM = Caps(hour=5, day=10)  # what each budget is given in the end

# Nobody does anything by chance: the rules say what people do.
CALM_PEOPLE = Chances(
    missing=0,
    locked=0,
    connected=0,
    open_profile=0,
    accepts=0,
    replies=0,
    takes_inmail=1,
    changed_slug=0,
    posts=1,
)


# --- two campaigns that between them do everything


def _to(target: str | None, delay: timedelta, branch: Branch = Branch.NEXT) -> Edge:
    return Edge(target, delay, branch)


LONG = Workflow(
    "visit",
    {
        node.id: node
        for node in (
            Node("visit", Operation.PROFILE_VISIT, edges=(_to("like", 10 * MINUTE),)),
            Node(
                "like",
                Operation.LIKE_POST,
                recent=timedelta(days=90),
                edges=(_to("comment", 10 * MINUTE),),
            ),
            Node(
                "comment",
                Operation.COMMENT_POST,
                text="Well said",
                recent=timedelta(days=90),
                edges=(_to("ask", HOUR),),
            ),
            Node(
                "ask",
                Operation.SEND_CONNECTION_REQUEST,
                text="Hi {{first_name}}",
                edges=(
                    _to("thank", HOUR, Branch.ACCEPTED),
                    _to("withdraw", 2 * DAY, Branch.NOT_ACCEPTED),
                ),
            ),
            Node(
                "thank",
                Operation.SEND_FOLLOWUP,
                text="Thanks, {{first_name}}",
                edges=(_to("city", HOUR),),
            ),
            Node("city", Operation.SEND_FOLLOWUP, text="How is {{city}}?"),
            Node("withdraw", Operation.WITHDRAW_REQUEST, edges=(_to("mail", HOUR),)),
            Node("mail", Operation.SEND_INMAIL, text="One more thing", subject="Hello"),
        )
    },
)
SHORT = Workflow(
    "invite",
    {
        node.id: node
        for node in (
            Node(
                "invite",
                Operation.SEND_CONNECTION_REQUEST,
                edges=(
                    _to("first", timedelta(0), Branch.ACCEPTED),
                    _to(None, DAY, Branch.NOT_ACCEPTED),
                ),
            ),
            Node(
                "first",
                Operation.SEND_FOLLOWUP,
                text="Good to meet you",
                edges=(_to("unless", HOUR),),
            ),
            Node(
                "unless",
                Operation.SEND_FOLLOWUP,
                text="Did you see this?",
                only_without_reply=True,
            ),
        )
    },
)
UNLESS_REPLIED = normalised("Did you see this?")


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign as its owner planned it."""

    workflow: Workflow
    slugs: tuple[str, ...]
    hours: str
    stop_on_reply: bool


PLANS = {
    "long": Plan(LONG, ("ada", "bert", "cleo", "dora"), "Mon-Fri 09:00-18:00", stop_on_reply=True),
    "short": Plan(SHORT, ("emil", "fay", "gus"), "always", stop_on_reply=False),
}
PEOPLE = tuple(slug for plan in PLANS.values() for slug in plan.slugs)
EFFECTS = {
    Operation.PROFILE_VISIT: Effect.VISIT,
    Operation.LIKE_POST: Effect.LIKE,
    Operation.COMMENT_POST: Effect.COMMENT,
    Operation.SEND_CONNECTION_REQUEST: Effect.INVITATION,
    Operation.SEND_FOLLOWUP: Effect.MESSAGE,
    Operation.SEND_INMAIL: Effect.INMAIL,
    Operation.WITHDRAW_REQUEST: Effect.WITHDRAW,
}
# what a person receives: at most one per node, and the ledger says exactly which
ONCE = ("comment_post", "like_post", "send_connection_request", "send_followup", "send_inmail")


# --- the model


@dataclass(slots=True)
class Model:
    """What was promised, by what was told: who may still be contacted, and how much is allowed."""

    campaign: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PLANS, "running"))
    paused: set[str] = field(default_factory=set)  # senders, by an operator
    suppressed: set[str] = field(default_factory=set)
    received: set[str] = field(default_factory=set)  # whose reply lies in the inbox
    heard: set[str] = field(default_factory=set)  # whose reply was applied
    sender: dict[str, str] = field(default_factory=dict)  # of each person
    caps: dict[tuple[str, Budget], Caps] = field(default_factory=dict)
    loosest: dict[tuple[str, Budget], Caps] = field(default_factory=dict)

    def may_contact(self, slug: str, *, replied: Iterable[str]) -> bool:
        """Whether anything may be begun for a person, when these are known to have replied."""
        name = campaign_of(slug)
        return (
            self.campaign[name] == "running"
            and self.sender[slug] not in self.paused
            and slug not in self.suppressed
            and not (PLANS[name].stop_on_reply and slug in replied)
        )

    def allow(self, account: str, budget: Budget, caps: Caps) -> None:
        """Note new caps; what was claimed before may still land under the old ones."""
        before = self.loosest.get((account, budget), caps)
        self.caps[account, budget] = caps
        self.loosest[account, budget] = Caps(
            *(
                None if None in (old, new) else max(old, new)
                for old, new in zip(_numbers(before), _numbers(caps), strict=True)
            )
        )


def _numbers(caps: Caps) -> tuple[Any, ...]:
    return (caps.hour, caps.day, caps.week, caps.month)


def campaign_of(slug: str) -> str:
    """Return the campaign that a person is in."""
    return next(name for name, plan in PLANS.items() if slug in plan.slugs)


# --- the engine, in a world of its own


class Line(httpx.AsyncBaseTransport):
    """The line to the provider: refuses so many connections before it lets one through."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.refusing = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.refusing:
            self.refusing -= 1
            raise httpx.ConnectError("refused, on request")
        return await self.inner.handle_async_request(request)


async def _at_once(_seconds: float) -> None:
    """Wait for nothing: the client's pauses between reads are real seconds."""


@dataclass(slots=True)
class Stalled:
    """What a ticker held when it stopped: claimed steps, or the answers to them."""

    claimed: list[Claimed]
    reports: list[Report] | None = None


@dataclass(slots=True)
class Stage:
    """Engine, simulator, and what is under way between them."""

    database: Database
    simulated: Simulated
    line: Line
    world: World
    outbox: Outbox
    organization_id: UUID
    accounts: dict[str, UUID]
    campaigns: dict[str, UUID]
    model: Model
    mail: list[dict[str, Any]] = field(default_factory=list)  # webhooks not yet delivered
    stalled: list[Stalled] = field(default_factory=list)
    seen: int = 0  # entries of the ledger that were judged
    seen_reads: Counter[tuple[str, Read]] = field(default_factory=Counter)
    last_act: dict[str, datetime] = field(default_factory=dict)  # of each sender, by a ticker

    @property
    def now(self) -> datetime:
        return self.simulated.clock()

    async def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        async with self.database.connection() as conn:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute(query.encode(), values)
            return await cursor.fetchall()

    async def advance(self, to: datetime) -> None:
        while self.now < to:
            await self.simulated.advance(to)


async def set_stage(database: Database) -> Stage:
    """Empty the database, and start both campaigns in it."""
    clock = DrivenClock(START)
    mail: list[dict[str, Any]] = []

    async def deliver(_url: str, _headers: Mapping[str, str], body: bytes) -> int | None:
        mail.append(json.loads(body))
        return 200

    simulated = Simulated(
        clock=clock,
        chances=CALM_PEOPLE,
        reliability=Reliability(noticed_within=30 * MINUTE, lost=0, duplicated=0, null_ids=0.1),
        deliver=deliver,
    )
    for source, events in (
        ("messaging", ["message_received"]),
        ("users", ["new_relation"]),
        ("account_status", ["ok", "credentials", "error", "stopped", "permissions"]),
    ):
        simulated.register({"source": source, "request_url": "http://engine/", "events": events})
    line = Line(httpx.ASGITransport(create_app(simulated)))
    provider = UnipileClient("http://simulator", "token", transport=line, pause=_at_once)
    world = World(database, provider, clock, slots=4)
    model = Model()
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    async with database.connection() as conn:
        await conn.execute(f"truncate {tables}".encode())
        organization_id = await create_organization(conn, "Acme")
        accounts = {}
        for name, zone in ZONES.items():
            simulated.add_account(name, SimulatedTier.PREMIUM, name)
            accounts[name] = await add_account(
                conn,
                organization_id,
                unipile_account_id=name,
                name=name,
                tier=Tier.PREMIUM,
                time_zone=zone,
                warmup_days=0,
            )
            for budget in Budget:
                if budget is not Budget.NONE:
                    await set_limit(conn, organization_id, accounts[name], budget, CALM, now=START)
                    model.allow(name, budget, CALM)
        campaigns = {}
        for name, plan in PLANS.items():
            campaigns[name] = await _start(conn, organization_id, name, plan, accounts)
            for place, slug in enumerate(plan.slugs):
                model.sender[slug] = list(accounts)[place % len(accounts)]
    outbox = Outbox(httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))))
    return Stage(
        database,
        simulated,
        line,
        world,
        outbox,
        organization_id,
        accounts,
        campaigns,
        model,
        mail,
    )


async def _start(
    conn: Any, organization_id: UUID, name: str, plan: Plan, accounts: Mapping[str, UUID]
) -> UUID:
    rows = [
        LeadRow(
            number,
            Identity(slug, slug, None, f"https://www.linkedin.com/in/{slug}"),
            first_name=slug.title(),
            last_name="Example",
            company=None,
            job_title=None,
            email=None,
            fields={"city": "Rome"} if number % 2 else {},  # the others are held
            notes=(),
        )
        for number, slug in enumerate(plan.slugs, 1)
    ]
    imported = await import_leads(conn, organization_id, name, rows, START)
    version = await save_workflow(conn, organization_id, name, {}, plan.workflow)
    pace = Pace(lead_processing_delay=timedelta(0), leads_per_day=1000)
    campaign_id = await create_campaign(
        conn,
        organization_id,
        name=name,
        workflow_version_id=version,
        list_id=imported.list_id,
        senders=list(accounts.values()),
        hours=parse_hours(plan.hours),
        stop_on_reply=plan.stop_on_reply,
        max_duration=timedelta(days=365),
        pace=pace,
    )
    await start_campaign(
        conn,
        organization_id,
        campaign_id,
        plan.workflow,
        workflow_version_id=version,
        pace=pace,
        start_at=START,
        now=START,
    )
    return campaign_id


# --- the judge


async def judge(stage: Stage, permitted: Iterable[str], *, late: bool) -> None:
    """Hold what landed since the last look against the model.

    `permitted`: who might be contacted; `late`: by a ticker that had stalled, under older caps.
    """
    model, ledger = stage.model, stage.simulated.ledger
    entries = ledger.entries[stage.seen :]
    stage.seen = len(ledger.entries)
    allowed = set(permitted)
    for entry in entries:
        assert entry.slug in allowed, f"I5, I6: {entry} though nobody may"
        plan = PLANS[campaign_of(entry.slug)]
        zone = ZONES[entry.account]
        assert is_open(parse_hours(plan.hours), entry.at, zone), f"I4: {entry} outside hours"
        assert entry.account == model.sender[entry.slug], f"{entry} by somebody else's sender"
        if not late:
            before = stage.last_act.get(entry.account)
            assert before is None or entry.at - before >= GAP, f"I5: {entry} in a burst"
            stage.last_act[entry.account] = entry.at
    twice = list(duplicates(ledger.entries))
    assert not twice, f"I1: {twice}"
    _judge_caps(stage, entries, late=late)


def _judge_caps(stage: Stage, entries: Sequence[Entry], *, late: bool) -> None:
    """Count every window that ends at something new."""
    ledger, caps = stage.simulated.ledger, stage.model.loosest if late else stage.model.caps
    fresh: dict[tuple[str, Budget], list[datetime]] = defaultdict(list)
    for entry in entries:
        fresh[entry.account, entry.operation.budget].append(entry.at)
    for account, kinds in ledger.reads.items():
        for kind, times in kinds.items():
            if kind.budget is not None:
                fresh[account, kind.budget] += times[stage.seen_reads[account, kind] :]
            stage.seen_reads[account, kind] = len(times)
    for (account, budget), times in fresh.items():
        spent = [
            *(e.at for e in ledger.entries if (e.account, e.operation.budget) == (account, budget)),
            *(
                at
                for kind, read in ledger.reads[account].items()
                if kind.budget is budget
                for at in read
            ),
        ]
        for window, length in WINDOWS.items():
            cap = getattr(caps[account, budget], window)
            for at in times if cap is not None else ():
                count = sum(at - length < other <= at for other in spent)
                assert count <= cap, f"I3: {account} {budget} {count} in a {window}, cap {cap}"


async def check(stage: Stage) -> None:
    """Look at everything that must hold at any moment."""
    lost = await stage.rows(
        """
        select p.identity, e.status, e.operation, e.next_run_at, l.ready_at, l.active
          from campaign_executions e
          join leads p on p.id = e.lead_id
          join campaigns c on c.id = e.campaign_id and c.status <> 'stopped'
          join connected_accounts s on s.id = e.account_id
          left join lanes l on l.campaign_id = e.campaign_id and l.account_id = e.account_id
                           and l.operation = e.operation
          left join actions a on a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
                             and a.state in ('intended', 'unknown')
         where e.outcome is null and a.id is null
           and not (e.status = 'held' and e.reason is not null)
           and (e.next_run_at is null or l.ready_at is null
                or e.status = 'awaiting' and s.next_sweep_at is null)
        """
    )
    assert not lost, f"I2: nothing wakes {lost}"
    wrong = await stage.rows(
        "select l.operation, l.active, c.status, s.status as sender from lanes l"
        " join campaigns c on c.id = l.campaign_id"
        " join connected_accounts s on s.id = l.account_id"
        " where l.active <> (c.status = 'running' and s.status = 'active')"
    )
    assert not wrong, f"I5: {wrong}"
    async with stage.database.connection() as conn:
        replayed = await replay_walks(conn, stage.organization_id)
    assert not replayed.differing, f"I7: {replayed.differing}"
    assert replayed.walks == len(PEOPLE)


async def settle_the_books(stage: Stage) -> None:
    """Hold our ledger against the simulator's, once nothing is open."""
    told = await stage.rows(
        "select p.identity, a.operation, a.text, a.state from actions a"
        " join leads p on p.id = a.lead_id"
    )
    assert {row["state"] for row in told} <= {"done", "refused", "absent", "released"}
    ours = Counter(
        (row["identity"], EFFECTS[Operation(row["operation"])])
        for row in told
        if row["state"] == "done" and row["operation"] in ONCE
    )
    visible = {EFFECTS[Operation(operation)] for operation in ONCE}
    theirs = Counter(
        (entry.slug, entry.operation)
        for entry in stage.simulated.ledger.entries
        if entry.operation in visible
    )
    assert ours == theirs, f"the ledgers disagree: {ours - theirs} and {theirs - ours}"


# --- the machine


class Machine(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.stage = self.run(set_stage(database))
        self.failed = False

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def do(
        self,
        work: Awaitable[T],
        *,
        replied: Iterable[str] | None = None,
        permitted: Iterable[str] | None = None,
        late: bool = False,
    ) -> T:
        """Do something, then judge what landed by what was allowed before it."""
        model = self.stage.model
        known = model.heard if replied is None else set(replied)
        if permitted is None:
            permitted = [slug for slug in PEOPLE if model.may_contact(slug, replied=known)]
        before = self.stage.seen

        async def done() -> T:
            value = await work
            await judge(self.stage, permitted, late=late)
            for entry in self.stage.simulated.ledger.entries[before:]:
                told = normalised(entry.text or "") == UNLESS_REPLIED and entry.slug in known
                assert late or not told, f"I6: {entry} after the reply"
            return value

        try:
            return self.run(done())
        except BaseException:
            self.failed = True
            raise

    # -- the engine at work

    @rule(hours=st.sampled_from([1, 4, 24]))
    def live(self, hours: int) -> None:
        """One ticker and a punctual post, for a while."""
        until = self.stage.now + timedelta(hours=hours)
        self._post()
        self.do(self._live(until), replied=self.stage.model.received)
        note(f"now {self.stage.now}")

    async def _live(self, until: datetime) -> None:
        stage = self.stage
        while True:
            worked = await self._work()
            to = min(until, max(worked or until, stage.now + timedelta(seconds=1)))
            if stage.now >= until:
                return
            await stage.simulated.advance(to)
            await self._deliver_all()

    async def _work(self) -> datetime | None:
        stage = self.stage
        waiting = stage.model.received.copy()
        for _ in range(2):  # what was due may turn out to be nothing, which is told next time
            worked = await work(stage.world, stage.outbox, BUDGET)
            stage.model.heard |= waiting
            if worked.next_at is None or worked.next_at > stage.now:
                return worked.next_at
        raise AssertionError(f"I2: what was due at {worked.next_at} is not done: {worked}")

    @rule()
    def work(self) -> None:
        self.do(self._work(), replied=self.stage.model.received)

    @rule()
    def work_side_by_side(self) -> None:
        """Two tickers at once: the one may act while the other reads the inbox."""

        async def both() -> None:
            stage = self.stage
            waiting = stage.model.received.copy()
            works = (work(stage.world, stage.outbox, BUDGET) for _ in range(2))
            await asyncio.gather(*works)
            stage.model.heard |= waiting

        self.do(both())

    @rule(part=st.sampled_from([tick, reconcile, sweep, apply_inbox]))
    def part_of_the_work(self, part: Callable[..., Awaitable[object]]) -> None:
        async def done() -> None:
            stage = self.stage
            if part is tick:
                await tick(stage.world, BUDGET)
            else:
                await part(stage.world)
            if part is apply_inbox:
                stage.model.heard |= stage.model.received

        self.do(done())

    @rule(minutes=st.sampled_from([1, 6, 60, 8 * 60, 3 * 24 * 60]))
    def nobody_works(self, minutes: int) -> None:
        self.do(self.stage.advance(self.stage.now + minutes * MINUTE))
        note(f"now {self.stage.now}")

    # -- tickers that stall and die

    @rule(answered=st.booleans(), slots=st.integers(1, 4))
    def stall(self, answered: bool, slots: int) -> None:
        """A ticker stops after its claim, or after the provider's answers, and may never go on."""

        async def stalled() -> None:
            stage = self.stage
            async with stage.database.connection() as conn:
                batch = await claim(
                    conn, organizations=[stage.organization_id], now=stage.now, slots=slots
                )
            held = Stalled(batch)
            if answered:
                held.reports = [await self._act(item) for item in batch]
            if batch:
                stage.stalled.append(held)

        self.do(stalled())

    async def _act(self, item: Claimed) -> Report:
        if item.intent is None:
            return event_report(item)
        return await act(self.stage.world.provider, item, self.stage.world.clock)

    @precondition(lambda self: self.stage.stalled)
    @rule(times=st.integers(0, 2))
    def wake(self, times: int) -> None:
        """It goes on where it stopped; its answer is written once, again, or dies with it."""
        held = self.stage.stalled.pop(0)

        async def woken() -> None:
            stage = self.stage
            reports = held.reports or [await self._act(item) for item in held.claimed]
            for _ in range(times):
                async with stage.database.connection() as conn:
                    await settle(conn, reports, now=stage.now, actor="ticker")

        # the commit of its claim was the last look: what came later stops only the next step
        self.do(woken(), permitted=PEOPLE, late=True)

    @rule()
    def die_while_settling(self) -> None:
        """A ticker's transaction is undone at its end, after everything was written."""

        async def died() -> None:
            stage = self.stage
            async with stage.database.connection() as conn:
                batch = await claim(
                    conn, organizations=[stage.organization_id], now=stage.now, slots=4
                )
                reports = [await self._act(item) for item in batch]
                with suppress(_Died):
                    async with conn.transaction():
                        await settle(conn, reports, now=stage.now, actor="ticker")
                        raise _Died

        self.do(died())

    # -- operators

    @rule(name=st.sampled_from(list(PLANS)), verb=st.sampled_from(["pause", "resume"]))
    def command_campaign(self, name: str, verb: str) -> None:
        self._command(name, verb)

    @rule(name=st.sampled_from(list(PLANS)), chance=st.integers(0, 3))
    def stop_campaign(self, name: str, chance: int) -> None:
        if chance == 0:
            self._command(name, "stop")

    def _command(self, name: str, verb: str) -> None:
        ask, before, after = {
            "pause": (pause_campaign, ("running",), "paused"),
            "resume": (resume_campaign, ("paused",), "running"),
            "stop": (stop_campaign, ("running", "paused"), "stopped"),
        }[verb]
        model = self.stage.model

        async def commanded() -> None:
            stage = self.stage
            async with stage.database.connection() as conn:
                try:
                    await ask(conn, stage.organization_id, stage.campaigns[name], now=stage.now)
                except CannotDo as refused:
                    done, why = False, str(refused)
                else:
                    done, why = True, ""
            assert done == (model.campaign[name] in before) or "completed" in why
            model.campaign[name] = after if done else model.campaign[name]

        self.do(commanded())

    @rule(name=st.sampled_from(list(ZONES)), pause=st.booleans())
    def command_account(self, name: str, pause: bool) -> None:
        async def commanded() -> None:
            stage = self.stage
            of = (stage.organization_id, stage.accounts[name])
            async with stage.database.connection() as conn:
                if pause:
                    await pause_account(conn, *of, by="operator", reason="test", now=stage.now)
                    stage.model.paused.add(name)
                else:
                    await resume_account(conn, *of, by="operator", now=stage.now)
                    stage.model.paused.discard(name)

        self.do(commanded())

    @rule(
        name=st.sampled_from(list(ZONES)),
        budget=st.sampled_from(
            [Budget.PROFILE, Budget.INVITATION, Budget.MESSAGE, Budget.COMMENT, Budget.INMAIL]
        ),
        hour=st.none() | st.integers(0, 3),
        day=st.none() | st.integers(1, 4),
    )
    def limit(self, name: str, budget: Budget, hour: int | None, day: int | None) -> None:
        async def limited() -> None:
            stage, caps = self.stage, Caps(hour=hour, day=day)
            of = (stage.organization_id, stage.accounts[name])
            async with stage.database.connection() as conn:
                await set_limit(conn, *of, budget, caps, now=stage.now)
            stage.model.allow(name, budget, caps)

        self.do(limited())

    @rule(slug=st.sampled_from(PEOPLE))
    def suppress(self, slug: str) -> None:
        async def suppressed() -> None:
            await self._execute(
                "insert into suppressions (organization_id, kind, value, reason)"
                " values (%(of)s, 'person', %(slug)s, 'asked us') on conflict do nothing",
                of=self.stage.organization_id,
                slug=slug,
            )
            self.stage.model.suppressed.add(slug)

        self.do(suppressed())

    async def _execute(self, statement: str, **values: object) -> None:
        async with self.stage.database.connection() as conn:
            await conn.execute(statement.encode(), values)

    @rule(skip=st.booleans())
    def release(self, skip: bool) -> None:
        self.do(self._release(skip=skip))

    async def _release(self, *, skip: bool) -> int:
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
            async with stage.database.connection() as conn:
                await release(
                    conn,
                    stage.organization_id,
                    row["campaign_id"],
                    row["lead_id"],
                    skip=skip or landed,
                    now=stage.now,
                )
        return len(held)

    # -- people

    @rule(slug=st.sampled_from(PEOPLE))
    def accept(self, slug: str) -> None:
        simulated = self.stage.simulated
        account = simulated.accounts[self.stage.model.sender[slug]]
        tie = simulated.tie(account, simulated.person(slug))
        if tie.invitation is not None:
            simulated.accept(account, tie, tie.invitation)

    @rule(slug=st.sampled_from(PEOPLE))
    def reply(self, slug: str) -> None:
        """Somebody writes whom the engine knows well enough to tell who it was."""
        stage = self.stage
        known = self.run(
            stage.rows(
                "select 1 from contacts k join leads p on p.id = k.lead_id"
                " where p.identity = %(slug)s and k.provider_id is not null",
                slug=slug,
            )
        )
        if known:
            account = stage.simulated.accounts[stage.model.sender[slug]]
            tie = stage.simulated.tie(account, stage.simulated.person(slug))
            stage.simulated.reply(account, tie, "Thank you")

    # -- the post

    def _post(self) -> None:
        self.run(self._deliver_all())

    async def _deliver_all(self) -> None:
        while self.stage.mail:
            await self._deliver(self.stage.mail.pop(0))

    async def _deliver(self, payload: dict[str, Any]) -> None:
        stage = self.stage
        await receive(stage.world, stage.organization_id, payload)
        if payload.get("event") == "message_received" and not payload["is_sender"]:
            who = payload["sender"]["attendee_provider_id"]
            stage.model.received |= {
                slug for slug in PEOPLE if stage.simulated.person(slug).provider_id == who
            }

    @precondition(lambda self: self.stage.mail)
    @rule(which=st.integers(0, 9), times=st.integers(0, 2))
    def deliver(self, which: int, times: int) -> None:
        """One webhook comes, out of turn, maybe twice, maybe never."""
        payload = self.stage.mail.pop(which % len(self.stage.mail))

        async def delivered() -> None:
            for _ in range(times):
                await self._deliver(payload)

        self.do(delivered())

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
        self.do(receive(self.stage.world, self.stage.organization_id, payload))

    # -- what breaks

    @rule(
        kind=st.sampled_from(
            [
                "reset",
                "timeout",
                "unexpected_error",
                "provider_error",
                "bad_gateway",
                "unavailable",
                "request_timeout",
                "too_many_requests",
                "malformed_json",
                "empty_body",
                "wrong_types",
                "null_ids",
                "looping_cursor",
            ]
        ),
        route=st.sampled_from(["*", "POST *", "GET *", "GET /users/*", "DELETE *"]),
        after_effect=st.booleans(),
        times=st.sampled_from([1, 2, 5, 30]),
    )
    def fault(self, kind: str, route: str, after_effect: bool, times: int) -> None:
        rule = {"kind": kind, "route": route, "after_effect": after_effect, "times": times}
        self.stage.simulated.faults.set([Rule.parse(rule)])

    @rule(times=st.integers(1, 3))
    def refuse_connections(self, times: int) -> None:
        self.stage.line.refusing = times

    @rule()
    def heal(self) -> None:
        self.stage.simulated.faults.clear()
        self.stage.line.refusing = 0

    @rule(
        name=st.sampled_from(list(ZONES)),
        standing=st.sampled_from([Standing.CREDENTIALS, Standing.STOPPED, Standing.OK]),
    )
    def account_status(self, name: str, standing: Standing) -> None:
        self.stage.simulated.set_status(self.stage.simulated.accounts[name], standing)

    # -- what must hold

    @invariant()
    def everything_holds(self) -> None:
        self.do(check(self.stage))

    def teardown(self) -> None:
        """Heal all, lift all, and see that everybody arrives."""
        if not self.failed:
            self.do(self._heal_all(), late=True)
            self.do(self._arrive(), replied=self.stage.model.received)
            self.do(check(self.stage))
        self.run(self.stage.outbox._client.aclose())

    async def _heal_all(self) -> None:
        stage = self.stage
        stage.simulated.faults.clear()
        stage.line.refusing = 0
        for account in stage.simulated.accounts.values():
            stage.simulated.set_status(account, Standing.OK)
        async with stage.database.connection() as conn:
            for name, account_id in stage.accounts.items():
                of = (stage.organization_id, account_id)
                await resume_account(conn, *of, by="operator", now=stage.now)
                stage.model.paused.discard(name)
                for budget in Budget:
                    if budget is not Budget.NONE:
                        await set_limit(conn, *of, budget, CALM, now=stage.now)
                        stage.model.allow(name, budget, CALM)
            for name, status in stage.model.campaign.items():
                if status == "paused":
                    of = (stage.organization_id, stage.campaigns[name])
                    await resume_campaign(conn, *of, now=stage.now)
                    stage.model.campaign[name] = "running"

    async def _arrive(self) -> None:
        stage = self.stage
        until = stage.now + AT_LAST
        while stage.now < until:
            next_at = await self._work()
            await self._release(skip=True)
            left = await stage.rows(
                "select 1 from campaign_executions e join campaigns c on c.id = e.campaign_id"
                " where e.outcome is null and c.status <> 'stopped' limit 1"
            )
            open_ = await stage.rows(
                "select 1 from actions where state in ('intended', 'unknown') limit 1"
            )
            if not left and not open_ and not stage.mail:
                break
            assert next_at is not None or stage.mail, "I2: nothing is to come, and somebody waits"
            await stage.simulated.advance(min(until, next_at or until))
            await self._deliver_all()
        else:
            lost = await stage.rows(
                "select p.identity, e.* from campaign_executions e"
                " join leads p on p.id = e.lead_id where e.outcome is null"
            )
            raise AssertionError(f"I2: they never arrived: {lost}")
        await settle_the_books(stage)


@contextmanager
def opened(runner: asyncio.Runner, dsn: str) -> Iterator[Database]:
    """Lend one pool to all examples: its loop outlives them."""
    database = Database(dsn)
    runner.run(database.open())
    try:
        yield database
    finally:
        runner.run(database.close())


class _Died(Exception):
    """A process that is no more."""


class Numbers:
    """Ids in order, the same in every run: an example that failed fails again."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def __call__(self) -> UUID:
        return UUID(int=next(self._count))

    def begin(self) -> None:
        """Begin anew: the database was emptied."""
        self._count = itertools.count(1)


NUMBERED = {
    "accounts": "uuid7",
    "campaigns": "uuid7",
    "claim": "uuid7 uuid4",
    "doubtful": "uuid4",
    "leads": "uuid7",
    "settle": "uuid7",
}


def test_whatever_happens_the_promises_hold(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = Numbers()
    for module, names in NUMBERED.items():
        for name in names.split():
            monkeypatch.setattr(f"clento_engine.store.{module}.{name}", numbers)
    profile = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "default")]
    with asyncio.Runner() as runner, opened(runner, dsn) as database:

        def machine() -> Machine:
            numbers.begin()
            return Machine(runner, database)

        run_state_machine_as_test(machine, settings=profile)

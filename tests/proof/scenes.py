"""One lead, one step, and processes that die at it: set up once, played again and again.

A scene keeps the database's rows and what the provider was asked up to where the deaths begin.
To play it, the rows are put back, a new LinkedIn is made and asked the same things, and processes
take over, one after the other, until the last of them lives.
"""

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from json import dumps, loads
from typing import Any

import httpx
import pytest
from builders import NOW, Stage, add_sender, member_of, set_stage
from psycopg import AsyncConnection

from clento_engine.domain.account import Tier
from clento_engine.domain.limits import Spacing
from clento_engine.domain.operation import Operation
from clento_engine.domain.workflow import Workflow
from clento_engine.interface.chaos.findings import Findings
from clento_engine.interface.chaos.judge import judged
from clento_engine.interface.chaos.wire import Wire
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime import witness as stamps
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.drive import drive
from clento_engine.runtime.inbox import receive
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.work import work
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.senders import Tier as SimulatedTier
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import Reliability
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.accounts import create_organization
from clento_engine.store.campaigns import is_over
from clento_engine.store.mortal import Death, Killed, Life, Mortal, MortalDatabase
from clento_engine.store.tables import metadata

HOURS = "Mon-Fri 09:00-18:00"
GAP = Spacing(timedelta(minutes=1), timedelta(minutes=1))
STATES = ("ok", "credentials")
BUDGET = timedelta(minutes=10)  # of real time; never used up, however slow the machine
LONGEST = timedelta(days=40)
# nobody is odd, accepts or replies unless the scene says so
PLAIN = Chances(
    missing=0, locked=0, connected=0, accepts=0, replies=0, changed_slug=0, posts=1, takes_inmail=1
)
TABLES = {
    table.name: [column.name for column in table.columns if column.computed is None]
    for table in metadata.sorted_tables
}
# what is drawn at random or numbered on, and rows made by the server's own clock
NOTICE = ("webhook_deliveries", "payload")  # holds its id
_NAMES = {"id", "number", "token", "created_at"}
STATE = "select md5(concat({}))".format(
    ", ".join(
        "(select json_agg(r order by r::text) from (select {} from {}) r)".format(
            ", ".join(
                column.name
                for column in table.columns
                if column.name not in _NAMES and (table.name, column.name) != NOTICE
            ),
            table.name,
        )
        for table in metadata.sorted_tables
    )
).encode()


class Outcome(StrEnum):
    """What becomes of the first request of the scene's route."""

    ANSWERED = "answered"
    LANDED = "landed, answer lost"
    VANISHED = "lost before it landed"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one lead goes through.

    `until`: the operation at which the lead stands when the deaths begin, at `node` where one is
    named; None: at the campaign's start.  `route`: of the request whose answer may be lost;
    `outcomes`: what may become of it.
    `reaches`: all that lands on the lead, from the campaign's start.  `traits` and `tempers`: of
    everybody.  `plan`: what else happens on LinkedIn.
    """

    name: str
    workflow: Workflow
    reaches: tuple[Effect, ...]
    ends: str = "finished"
    until: Operation | None = None
    node: str | None = None
    route: str | None = None
    outcomes: tuple[Outcome, ...] = tuple(Outcome)
    traits: Mapping[str, Any] = field(default_factory=dict)
    tempers: Mapping[str, Any] = field(default_factory=dict)
    webhooks: bool = True
    tier: Tier = Tier.PREMIUM
    leads: int = 1
    plan: Callable[[Simulated], None] = lambda _simulated: None

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class Played:
    """What came of it.

    `died`: how many of the deaths were reached; `lives`: of each process; `left`: everything that
    the dead left, by which their futures are compared.
    """

    scenario: Scenario
    findings: Findings
    reached: Counter[tuple[str, Effect]]
    ends: list[str | None]
    notices: list[str]
    over: bool
    died: int
    lives: list[Life]
    left: str = ""

    def wrong(self) -> list[str]:
        """Say what is not as it must be, however many processes died."""
        told = [
            f"{kind}: {line}" for kind, lines in self.findings.details.items() for line in lines
        ]
        if self.ends != [self.scenario.ends] * self.scenario.leads:
            told.append(f"the leads ended as {self.ends}")
        for number in range(1, self.scenario.leads + 1):
            told += self._missed(f"person-{number}")
        if len(set(self.notices)) != self.notified():
            told.append(f"the customer was told {len(set(self.notices))} things")
        if not self.over:
            told.append("it is not over")
        return told

    def _missed(self, slug: str) -> list[str]:
        """Say what reached a person too rarely or too often; a visit may be one too few."""
        wanted = Counter(self.scenario.reaches)
        wrong = []
        for effect in Effect:
            count, want = self.reached[slug, effect], wanted[effect]
            least = 0 if effect is Effect.VISIT else want
            if count < least or (count > want and effect is not Effect.VISIT):
                wrong.append(f"{slug}: {count} times {effect} instead of {want}")
        return wrong

    def notified(self) -> int:
        """Return how many different notices the customer must get."""
        nodes = self.scenario.workflow.nodes.values()
        return sum(node.operation is Operation.WEBHOOK for node in nodes) * self.scenario.leads


@dataclass(slots=True)
class Outside:
    """The world around the engine: LinkedIn, its clock, and the customer's webhook endpoint."""

    simulated: Simulated
    shared: DrivenClock
    clock: VirtualClock
    notices: list[str] = field(default_factory=list)
    receiver: World | None = None  # the process that answers the provider's webhooks

    async def advance(self, to: datetime) -> datetime:
        """Let time go on to `to`, or to the first webhook."""
        return (await advance(self.simulated, to)).now

    def notice(self, request: httpx.Request) -> httpx.Response:
        """Stand for the customer's endpoint."""
        self.notices.append(loads(request.content)["id"])
        return httpx.Response(200)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that reached the provider before the deaths began; None: time went on to `at`."""

    at: datetime
    request: httpx.Request | None


@dataclass(slots=True)
class Scene:
    """A scenario on its stage, ready to be played; `stock` holds connections to play with."""

    url: str
    stage: Stage
    scenario: Scenario
    outcome: Outcome
    witness: AsyncConnection[Any]  # outlives every process: sets the scene, and looks at it after
    stock: list[Mortal] = field(default_factory=list)
    rows: str = ""
    history: list[Asked] = field(default_factory=list)
    known: dict[str, Played] = field(default_factory=dict)  # how it ends, by what the dead left

    async def play(self, *deaths: Death) -> Played:
        """Put the scene back, let a process die at each of `deaths`, and one live to the end."""
        await self.witness.execute(self.rows.encode())
        outside = await self.replayed()
        lives: list[Life] = []
        over, died, left = False, 0, ""
        for death in (*deaths, None):
            if death is None and died:
                left = await self._left_behind(outside)
                if left in self.known:
                    known = self.known[left]
                    return replace(known, died=died, lives=[*lives, known.lives[-1]])
            lives.append(Life(death))
            over = await self._process(outside, lives[-1])
            if not lives[-1].dead:
                break
            died += 1
        played = await self._told(outside, lives, over=over, died=died, left=left)
        if left:
            self.known[left] = played
        return played

    async def _left_behind(self, outside: Outside) -> str:
        """Return everything that the dead left: what is equal has an equal future.

        But for names made by chance: ids and tokens, of which nothing but equality is asked.
        """
        cursor = await self.witness.execute(STATE)
        row = await cursor.fetchone()
        assert row is not None
        world, ledger = outside.simulated, outside.simulated.ledger
        reads = {account: {**kinds} for account, kinds in ledger.reads.items()}
        rules = [rule.times for rule in world.faults.rules]
        news = (world.deliveries, world.agenda.next_at, outside.clock(), len(outside.notices))
        return repr((row[0], ledger.entries, reads, world.requests.counts, rules, news))

    async def _process(self, outside: Outside, life: Life) -> bool:
        """Run a process until all is over, or it dies."""
        world = self.world(outside, life)
        outside.receiver = world
        try:
            return await self.drive(outside, world, life)
        except Killed:
            await life.bury(self.witness)
            return False

    async def drive(self, outside: Outside, world: World, life: Life) -> bool:
        """Run until all is over; False when it never is."""

        async def over() -> bool:
            stage = self.stage
            return await is_over(
                self.witness, stage.organization_id, stage.campaign_id
            ) and not await stage.rows("select from actions where check_at is not null")

        async def advance(to: datetime) -> datetime:
            reached = await outside.advance(to)
            life.check()  # it may have died of a webhook
            return reached

        transport = Wire(httpx.MockTransport(outside.notice), life)
        until = outside.clock() + LONGEST
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            outbox = Outbox(client)
            return await drive(world, outbox, outside.clock, advance, until=until, is_over=over)

    def world(self, outside: Outside, life: Life, history: list[Asked] | None = None) -> World:
        """Make what a process works on."""
        transport: httpx.AsyncBaseTransport = httpx.ASGITransport(create_app(outside.simulated))
        if history is not None:
            transport = Remembering(transport, outside.shared, history)
        provider = UnipileClient(
            "http://simulator", "token", transport=Wire(transport, life), pause=_at_once
        )
        database = MortalDatabase(self.url, life, self.stock)
        return World(database, provider, outside.clock)

    def outside(self) -> Outside:
        """Make the world as it is when nothing has happened yet."""
        shared, clock = DrivenClock(NOW), VirtualClock(NOW)
        lost = 0.0 if self.scenario.webhooks else 1.0
        outside: Outside | None = None

        async def deliver(_url: str, _headers: Mapping[str, str], body: bytes) -> int | None:
            assert outside is not None
            if outside.receiver is None:
                return 200  # a replay: our rows hold it already
            clock.move_to(shared())
            try:
                await receive(outside.receiver, loads(body))
            except Killed:
                return None  # nobody answers: the provider tries again
            return 200

        simulated = Simulated(
            clock=shared,
            chances=PLAIN,
            reliability=Reliability(
                lost=lost, duplicated=0, null_ids=0, noticed_within=timedelta(hours=1)
            ),
            deliver=deliver,
        )
        for source, events in (("messaging", None), ("users", None), ("account_status", STATES)):
            register_webhook(
                simulated, {"source": source, "request_url": "http://engine/", "events": events}
            )
        for number in range(1, self.scenario.leads + 1):
            tier = SimulatedTier(self.scenario.tier)
            name = f"unipile-{number}"
            connect_account(simulated, id_=name, tier=tier, member_id=member_of(name))
            person = simulated.person(f"person-{number}")
            simulated.force(person, self.scenario.traits, self.scenario.tempers)
        self.scenario.plan(simulated)
        outside = Outside(simulated, shared, clock)
        return outside

    async def replayed(self) -> Outside:
        """Make the world as it is where the deaths begin."""
        outside = self.outside()
        transport = httpx.ASGITransport(create_app(outside.simulated))
        for asked in self.history:
            if asked.request is None:
                await outside.advance(asked.at)
            else:
                outside.shared.move(asked.at)
                await transport.handle_async_request(asked.request)
        outside.clock.move_to(outside.shared())
        fault = {Outcome.LANDED: True, Outcome.VANISHED: False}.get(self.outcome)
        if fault is not None:
            route = self.scenario.route or ""
            outside.simulated.faults.set(
                [Rule(FaultKind.RESET, route, times=1, after_effect=fault)]
            )
        return outside

    async def _told(
        self, outside: Outside, lives: list[Life], *, over: bool, died: int, left: str
    ) -> Played:
        findings = await self.judged(outside)
        rows = await self.stage.rows("select outcome from campaign_executions order by lead_id")
        entries = outside.simulated.ledger.entries
        return Played(
            scenario=self.scenario,
            findings=findings,
            reached=Counter((entry.slug, entry.operation) for entry in entries),
            ends=[row["outcome"] for row in rows],
            notices=outside.notices,
            over=over,
            died=died,
            lives=lives,
            left=left,
        )

    async def judged(self, outside: Outside) -> Findings:
        """Let the judge look: the clock is moved by hand, so there is no grace."""
        database = MortalDatabase(self.url, Life(), self.stock)
        ledger, none = outside.simulated.ledger, timedelta(0)
        return await judged(database, ledger, now=outside.clock(), grace=none)

    async def walk_there(self) -> None:
        """Walk to where the deaths begin, and keep what is to be put back."""
        outside = self.outside()
        life = Life()
        world = self.world(outside, life, self.history)
        outside.receiver = world
        client = httpx.AsyncClient(transport=httpx.MockTransport(outside.notice), trust_env=False)
        while self.scenario.until is not None and not await self._stands_there():
            worked = await work(world, Outbox(client), BUDGET)
            if await self._stands_there():
                break
            assert worked.next_at is not None, f"never came to {self.scenario.until}"
            self.history.append(Asked(worked.next_at, None))
            outside.clock.move_to(await outside.advance(worked.next_at))
        await client.aclose()
        self.rows = await _put_back(self.witness)

    async def _stands_there(self) -> bool:
        rows = await self.stage.rows("select node_id, operation, outcome from campaign_executions")
        until, node = self.scenario.until, self.scenario.node
        assert all(row["outcome"] is None for row in rows), f"never at {until}"
        return all(row["operation"] == until and node in (None, row["node_id"]) for row in rows)


class Remembering(httpx.AsyncBaseTransport):
    """A transport that keeps what it was asked, and when."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, clock: DrivenClock, history: list[Asked]
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._history = history

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._history.append(Asked(self._clock(), request))
        return await self._inner.handle_async_request(request)


async def _at_once(_seconds: float) -> None: ...


async def _put_back(conn: AsyncConnection[Any]) -> str:
    """Return the SQL that puts every table's rows back as they are now."""
    statements = ["begin", *(f"delete from {name}" for name in reversed(TABLES))]
    for name, columns in TABLES.items():
        cursor = await conn.execute(f"select json_agg(t) from {name} t".encode())
        row = await cursor.fetchone()
        if row is not None and row[0] is not None:
            cursor = await conn.execute("select quote_literal(%s::text)", (dumps(row[0]),))
            quoted = await cursor.fetchone()
            assert quoted is not None
            listed = ", ".join(columns)
            statements.append(
                f"insert into {name} ({listed}) overriding system value"
                f" select {listed} from json_populate_recordset(null::{name}, {quoted[0]})"
            )
    return "; ".join([*statements, "commit"])


@asynccontextmanager
async def scene(url: str, scenario: Scenario, outcome: Outcome) -> AsyncIterator[Scene]:
    """Set a scene up in an empty database of our schema.

    A process looks at the stamp when it begins, and no second time by the real time that passes:
    each life has the same exchanges.
    """
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(stamps, "CHECKED_S", math.inf)
        async with _scene(url, scenario, outcome) as stage:
            yield stage


@asynccontextmanager
async def _scene(url: str, scenario: Scenario, outcome: Outcome) -> AsyncIterator[Scene]:
    async with await AsyncConnection.connect(url, autocommit=True) as witness:
        organization_id = await create_organization(witness, "Acme")
        senders = [
            await add_sender(
                witness,
                organization_id,
                str(number),
                spacing=GAP,
                tier=scenario.tier,
                capped=True,
            )
            for number in range(1, scenario.leads + 1)
        ]
        stage = await set_stage(
            witness,
            scenario.workflow,
            leads=scenario.leads,
            senders=senders,
            organization_id=organization_id,
            hours=HOURS,
            max_duration=timedelta(days=60),
        )
        set_up = Scene(url, stage, scenario, outcome, witness)
        try:
            await set_up.walk_there()
            yield set_up
        finally:
            for conn in set_up.stock:
                await conn.close()

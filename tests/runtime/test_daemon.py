"""The daemon does what is due until it is told to stop, and then leaves nothing half done."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from builders import NOW, VISIT, Conn, edge, line, member_of, set_stage, workflow

from clento_engine.domain.operation import Operation
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.workflow import Branch, Node
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime import daemon
from clento_engine.runtime.asking import MayGoOn, always
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.inbox import apply_inbox, receive
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock, RunningClock
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import run
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import Reliability
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.database import Database
from clento_engine.store.due import due

PLAIN = Chances(missing=0, locked=0, connected=0, accepts=0, replies=0, changed_slug=0)
SURE = Reliability(lost=0, duplicated=0, null_ids=0, noticed_within=timedelta(minutes=1))
OFTEN = timedelta(milliseconds=5)
SENDER = "unipile-campaign-1"


@dataclass(slots=True)
class Gate(httpx.AsyncBaseTransport):
    """Leads to the simulator; counts the requests to `path`, and holds them while it is closed."""

    simulated: Simulated
    path: str
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.path in request.url.path:
            self.arrived.release()
            await self.opened.wait()
        through = httpx.ASGITransport(create_app(self.simulated))
        return await through.handle_async_request(request)

    async def wait_for(self, requests: int) -> None:
        for _ in range(requests):
            await self.arrived.acquire()


class Customer:
    """Takes notices; `came` is released once for each."""

    def __init__(self) -> None:
        self.came = asyncio.Semaphore(0)
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._take))

    def _take(self, _request: httpx.Request) -> httpx.Response:
        self.came.release()
        return httpx.Response(200)


def people(clock: Callable[[], Any]) -> Simulated:
    simulated = Simulated(clock=clock, chances=PLAIN, reliability=SURE)
    connect_account(simulated, id_=SENDER, member_id=member_of(SENDER))
    return simulated


@dataclass(slots=True)
class Scene:
    simulated: Simulated
    gate: Gate
    world: World
    customer: Customer

    @asynccontextmanager
    async def running(self, outbox: Outbox | None = None) -> AsyncIterator[asyncio.Event]:
        """Run the daemon; stop it at the end, and wait for that."""
        stop = asyncio.Event()
        posting = outbox or Outbox(self.customer.client)
        async with asyncio.timeout(60):
            runs = asyncio.create_task(daemon.run(self.world, posting, stop=stop, interval=OFTEN))
            try:
                yield stop
            finally:
                stop.set()
                await runs


@pytest.fixture
def scene(database: Database) -> Scene:
    simulated = people(DrivenClock(NOW))
    gate = Gate(simulated, "/users/person-")
    gate.opened.set()
    provider = UnipileClient("http://simulator", "token", transport=gate)
    return Scene(simulated, gate, World(database, provider, VirtualClock(NOW)), Customer())


async def put_notice(conn: Conn) -> None:
    await conn.execute(
        "insert into webhook_deliveries (organization_id, id, campaign_id, lead_id, node_id, url,"
        " payload, next_attempt_at) values (gen_random_uuid(), gen_random_uuid(),"
        " gen_random_uuid(), gen_random_uuid(), 'n0', 'http://customer.example/', '{}', %s)",
        (NOW,),
    )


def jobs_failed(caplog: pytest.LogCaptureFixture) -> list[str]:
    failed = [record for record in caplog.records if record.getMessage() == "job failed"]
    return [vars(record)["job"] for record in failed]


async def test_a_campaign_runs_to_its_end(conn: Conn, database: Database) -> None:
    speed = 200.0
    simulated = people(RunningClock(NOW, speed))
    provider = UnipileClient(
        "http://simulator", "token", transport=httpx.ASGITransport(create_app(simulated))
    )
    world = World(database, provider, simulated.clock)
    steps = workflow(
        [
            Node("visit", Operation.PROFILE_VISIT, edges=(edge("invite"),)),
            Node(
                "invite",
                Operation.SEND_CONNECTION_REQUEST,
                edges=(
                    edge("message", timedelta(minutes=1), Branch.ACCEPTED),
                    edge("notify", timedelta(days=10), Branch.NOT_ACCEPTED),
                ),
            ),
            Node("message", Operation.SEND_FOLLOWUP, text="Hello", edges=(edge("notify"),)),
            Node("notify", Operation.WEBHOOK, webhook_url="http://customer.example/"),
        ]
    )
    stage = await set_stage(conn, steps, leads=3)

    async def deliver(_url: str, _headers: Mapping[str, str], body: bytes) -> int | None:
        await receive(world, json.loads(body))
        return 200

    simulated.deliver = deliver
    register_webhook(simulated, {"source": "users", "request_url": "http://engine/"})
    for number in (1, 2, 3):
        person = simulated.person(f"person-{number}")
        simulated.force(person, {}, {"accepts_after": timedelta(minutes=1)})
    customer, stop = Customer(), asyncio.Event()
    async with asyncio.timeout(60):
        lives = asyncio.create_task(run(simulated, speed))
        runs = asyncio.create_task(
            daemon.run(world, Outbox(customer.client), stop=stop, interval=OFTEN)
        )
        for _ in stage.leads:
            await customer.came.acquire()
        stop.set()
        await runs
        lives.cancel()
        await asyncio.gather(lives, return_exceptions=True)
    effects = sorted(entry.operation.value for entry in simulated.ledger.entries)
    assert len(effects) == 9
    assert {effect: effects.count(effect) for effect in effects} == dict.fromkeys(effects, 3)
    assert await stage.value("select status from campaigns") == "completed"


async def test_when_it_stops_what_is_in_flight_is_settled_and_nothing_more_is_claimed(
    conn: Conn, scene: Scene
) -> None:
    stage = await set_stage(conn, VISIT, leads=5)
    scene.world = World(scene.world.database, scene.world.provider, scene.world.clock, slots=2)
    scene.gate.opened.clear()
    async with scene.running() as stop:
        await scene.gate.wait_for(2)
        stop.set()
        assert await stage.value("select count(*) from actions where state = 'intended'") == 2
        scene.gate.opened.set()
    rows = await stage.rows("select state from actions")
    assert [row["state"] for row in rows] == ["done", "done"]
    assert len(scene.simulated.ledger.entries) == 2
    ended = await stage.value("select count(*) from campaign_executions where outcome is not null")
    assert ended == 2


async def test_what_does_not_end_within_a_lease_is_left_to_reconcile(
    conn: Conn, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await set_stage(conn, VISIT)
    scene.world = World(
        scene.world.database,
        scene.world.provider,
        scene.world.clock,
        lease=timedelta(milliseconds=100),
        request_limit=timedelta(milliseconds=50),
    )
    scene.gate.opened.clear()  # and never opened
    async with scene.running() as stop:
        await scene.gate.wait_for(1)
        stop.set()
    assert await stage.value("select state from actions") == "intended"
    assert "turns cancelled" in caplog.text
    await nothing_is_left()


async def nothing_is_left() -> None:
    others = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert not any("daemon" in name or "Daemon" in name or name == "act" for name in others), others


async def test_cancelled_it_ends_with_all_its_jobs(conn: Conn, scene: Scene) -> None:
    await set_stage(conn, VISIT)
    scene.gate.opened.clear()
    runs = asyncio.create_task(
        daemon.run(scene.world, Outbox(scene.customer.client), stop=asyncio.Event(), interval=OFTEN)
    )
    await scene.gate.wait_for(1)
    runs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runs
    await nothing_is_left()


async def test_told_to_stop_before_it_begins_it_does_nothing(conn: Conn, scene: Scene) -> None:
    stage = await set_stage(conn, VISIT)
    async with scene.running() as stop:
        stop.set()
    assert await stage.value("select count(*) from actions") == 0


async def test_a_job_that_raises_is_logged_and_has_its_next_turn(
    conn: Conn, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    class OnceBroken(Outbox):
        broken = True

        async def deliver(
            self, world: World, *, most: int = 10, may_go_on: MayGoOn = always
        ) -> int:
            if self.broken:
                self.broken = False
                raise RuntimeError("a defect of ours")
            return await super().deliver(world, most=most, may_go_on=may_go_on)

    await put_notice(conn)
    async with scene.running(OnceBroken(scene.customer.client)):
        await scene.customer.came.acquire()
    assert jobs_failed(caplog) == ["outbox"]


async def test_it_lives_on_when_the_server_ends_its_connections(conn: Conn, scene: Scene) -> None:
    async with scene.running():
        await put_notice(conn)
        await scene.customer.came.acquire()
        await conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await put_notice(conn)
        await scene.customer.came.acquire()


async def test_a_reply_that_waits_in_the_inbox_comes_before_the_message_that_is_due(
    conn: Conn, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a night in which only the receiver ran."""
    stage = await set_stage(conn, line(Operation.SEND_FOLLOWUP), leads=2)
    sender = scene.simulated.accounts[SENDER]
    for number, lead in enumerate(stage.leads, 1):
        person = scene.simulated.person(f"person-{number}")
        scene.simulated.befriend(sender, person)
        await stage.stand(
            Operation.SEND_FOLLOWUP, leads=[lead], provider_id=person.provider_id, connected=True
        )
        await stage.settle(
            Report.of_news(
                stage.organization_id,
                stage.campaign_id,
                lead,
                stage.account,
                event=None,
                learned=Learned(provider_id=person.provider_id),
            )
        )
    reply = {
        "event": "message_received",
        "account_id": SENDER,
        "message_id": "m1",
        "is_sender": False,
        "sender": {"attendee_provider_id": scene.simulated.person("person-1").provider_id},
    }
    await receive(scene.world, reply)
    scene.gate.path = "/chats"
    looked = asyncio.Semaphore(0)

    async def look(conn: Any) -> Any:
        looked.release()
        return await due(conn)

    async def apply_slowly(world: World) -> int:
        for _ in range(25):  # every job had several turns meanwhile
            await looked.acquire()
        return await apply_inbox(world)

    monkeypatch.setattr(daemon, "due", look)
    monkeypatch.setattr(daemon, "apply_inbox", apply_slowly)
    async with scene.running():
        await scene.gate.wait_for(1)
    assert [entry.slug for entry in scene.simulated.ledger.entries] == ["person-2"]
    assert (await stage.run(stage.leads[0]))["outcome"] == "replied"


async def test_an_idle_job_costs_one_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked = asyncio.Semaphore(0)
    lent = 0
    connection = Database.connection

    def counted(database: Database) -> Any:
        nonlocal lent
        lent += 1
        return connection(database)

    async def look(conn: Any) -> Any:
        looked.release()
        return await due(conn)

    monkeypatch.setattr(Database, "connection", counted)
    monkeypatch.setattr(daemon, "due", look)
    monkeypatch.setattr(daemon, "HOUSEKEEPING", 1_000_000)
    looks = 25
    async with scene.running():
        for _ in range(looks):
            await looked.acquire()
    assert lent == looks + looked._value
    assert jobs_failed(caplog) == []


async def test_the_scheduler_has_nothing_to_say(
    conn: Conn, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """A turn left out because the one before still runs is no news."""
    caplog.set_level(logging.INFO)
    await set_stage(conn, VISIT)
    scene.gate.opened.clear()
    async with scene.running():
        await scene.gate.wait_for(1)
        await put_notice(conn)
        await scene.customer.came.acquire()  # turns have gone by while the tick still runs
        scene.gate.opened.set()
    assert not [record for record in caplog.records if record.name.startswith("apscheduler")]

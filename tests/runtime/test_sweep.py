"""The sweep finds what no webhook told, a few times a day and at random times."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from builders import DAY, NOW, Conn, add_sender, edge, member_of, set_stage, unbind, workflow
from builders import Stage as Set
from psycopg import AsyncConnection

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.failure import Pause
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import Shown
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.workflow import Branch, Node
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.binding import confirm
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.inbox import apply_inbox, receive
from clento_engine.runtime.rest import probe
from clento_engine.runtime.sweep import (
    ACCOUNT_AGAIN,
    LEASE,
    LEAST,
    LISTS_AGAIN,
    NOT_SENT_AGAIN,
    OVERLAP,
    ROUND,
    sweep,
)
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import connect_account, set_status
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.invitations import accept, invite
from clento_engine.simulator.messaging import reply
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.senders import Account, Status
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.world import Reliability
from clento_engine.simulator.world import World as Simulated
from clento_engine.store.accounts import NOT_LOOKED_UP, create_organization, pause_account
from clento_engine.store.campaigns import pause_campaign, stop_campaign
from clento_engine.store.database import Database
from clento_engine.store.inbox import NOBODY_KNOWN
from clento_engine.store.members import (
    ANOTHER_MEMBER,
    HELD_ELSEWHERE,
    look_up_again,
    remove_account,
)
from clento_engine.store.people import learn
from clento_engine.store.rests import LONGEST_REST
from clento_engine.store.sweeps import sweep_by

PLAIN = Chances(missing=0, locked=0, connected=0, accepts=0, replies=0, changed_slug=0)
MINUTE = timedelta(minutes=1)
THREE_HOURS = timedelta(hours=3)

AWAIT = workflow(
    [
        Node(
            "n0",
            Operation.SEND_CONNECTION_REQUEST,
            edges=(
                edge("n1", timedelta(hours=2), Branch.ACCEPTED),
                edge(None, 10 * DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        Node("n1", Operation.SEND_FOLLOWUP, text="Hello"),
    ]
)

Json = dict[str, Any]

WAITING = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and wait_event_type = 'Lock'"
)


@dataclass(slots=True)
class Scene:
    """Leads that were invited, a LinkedIn that tells nobody of anything, and the sweep."""

    stage: Set
    simulated: Simulated
    shared: DrivenClock
    clock: VirtualClock
    world: World

    @property
    def sender(self) -> Account:
        return next(iter(self.simulated.accounts.values()))

    def wait(self, span: timedelta) -> None:
        self.at(self.clock() + span)

    def at(self, moment: datetime) -> None:
        self.shared.move(moment)
        self.clock.move_to(moment)

    def accept(self, number: int = 1) -> None:
        """Let a lead accept, now."""
        tie = self.simulated.tie(self.sender, self.simulated.person(f"person-{number}"))
        assert tie.invitation is not None
        accept(self.simulated, self.sender, tie, tie.invitation)

    def reply(self, number: int = 1) -> None:
        """Let a lead write, now."""
        tie = self.simulated.tie(self.sender, self.simulated.person(f"person-{number}"))
        reply(self.simulated, self.sender, tie, "Sure, Tuesday?")

    def fail(self, kind: FaultKind, route: str, **values: Any) -> None:
        self.simulated.faults.set([Rule(kind, route, **values)])

    @property
    def asked(self) -> list[str]:
        """Return the routes that were asked so far."""
        return sorted(route for route, _ in self.simulated.requests.counts)

    async def run(self, lead: int = 0) -> Json:
        return await self.stage.run(self.stage.leads[lead])

    async def account(self, account_id: UUID | None = None) -> Json:
        rows = await self.stage.rows(
            "select * from connected_accounts where id = %s", account_id or self.stage.account
        )
        return rows[0]

    async def gap(self) -> timedelta:
        """Return how long it is until the next sweep."""
        at = (await self.account())["next_sweep_at"]
        assert isinstance(at, datetime)
        return at - self.clock()


async def set_scene(
    conn: Conn,
    database: Database,
    *,
    leads: int = 1,
    senders: Sequence[UUID] | int = 1,
    inviting: bool = False,
) -> Scene:
    shared, clock = DrivenClock(NOW - DAY), VirtualClock(NOW)
    reliability = Reliability(lost=0, duplicated=0, null_ids=0)
    simulated = Simulated(clock=shared, chances=PLAIN, reliability=reliability)
    stage = await set_stage(conn, AWAIT, leads=leads, senders=senders)
    for row in await stage.rows("select unipile_account_id as id from connected_accounts"):
        connect_account(simulated, id_=row["id"], member_id=member_of(row["id"]))
    await stage.stand(
        Operation.CHECK_ACCEPTANCE,
        status="awaiting",
        at=NOW + 10 * DAY,
        deadline_at=NOW + 10 * DAY,
        provider_id=None,
    )
    if not inviting:  # who invites nobody has no pending invitations counted
        await stage.conn.execute("delete from lanes where operation = 'send_connection_request'")
    shared.move(NOW - timedelta(hours=2))
    sender = next(iter(simulated.accounts.values()))
    for number, lead in enumerate(stage.leads, 1):
        provider_id = simulated.person(f"person-{number}").provider_id
        invite(simulated, sender, provider_id, None)
        shown = Shown(stage.organization_id, provider_id, None, lead, f"person-{number}")
        await learn(conn, [shown], NOW)
        await stage.settle(
            Report.of_news(
                stage.organization_id,
                stage.campaign_id,
                lead,
                stage.account,
                event=None,
                learned=Learned(provider_id=provider_id),
            )
        )
    shared.move(NOW)

    async def at_once(_seconds: float) -> None: ...

    transport = httpx.ASGITransport(create_app(simulated), raise_app_exceptions=False)
    provider = UnipileClient("http://simulator", "token", transport=transport, pause=at_once)
    return Scene(stage, simulated, shared, clock, World(database, provider, clock))


@pytest.fixture
async def scene(conn: Conn, database: Database) -> Scene:
    return await set_scene(conn, database, leads=2)


# --- what was missed -----------------------------------------------------------------------------


async def test_an_acceptance_that_no_webhook_told_is_found(scene: Scene) -> None:
    scene.accept(1)
    scene.wait(MINUTE)
    assert await sweep(scene.world) == 1
    accepted, awaited = await scene.run(0), await scene.run(1)
    assert (accepted["status"], accepted["node_id"]) == ("waiting", "n1")
    assert accepted["next_run_at"] == NOW + timedelta(hours=2)  # since it was accepted
    assert awaited["status"] == "awaiting"


async def test_a_reply_that_no_webhook_told_is_found(scene: Scene) -> None:
    scene.reply(2)
    scene.wait(MINUTE)
    await sweep(scene.world)
    assert (await scene.run(0))["outcome"] is None
    assert (await scene.run(1))["outcome"] == "replied"
    contacts = await scene.stage.rows(
        "select k.*, l.id as lead_id from contacts k join leads l using (organization_id,"
        " person_id) where replied_at is not null"
    )
    assert [(row["lead_id"], row["replied_at"]) for row in contacts] == [
        (scene.stage.leads[1], NOW)
    ]
    assert contacts[0]["chat_id"]


async def test_a_reply_of_whom_we_do_not_know_yet_is_kept_for_when_we_do(scene: Scene) -> None:
    await scene.stage.conn.execute("delete from contacts")
    await scene.stage.conn.execute("delete from person_names where kind = 'id'")
    scene.reply(1)
    scene.wait(MINUTE)
    await sweep(scene.world)
    assert (await scene.run(0))["outcome"] is None
    [kept] = await scene.stage.rows("select payload, result from inbox_events")
    assert kept["result"] == NOBODY_KNOWN
    assert "Tuesday" not in str(kept["payload"])
    person = scene.simulated.person("person-1")
    await scene.stage.stand(
        Operation.SEND_FOLLOWUP,
        "n1",
        provider_id=person.provider_id,
        leads=scene.stage.leads[:1],
    )
    scene.stage.now = scene.clock()
    assert [item.event for item in await scene.stage.claim()] == [ex.Replied()]


@pytest.mark.parametrize("tells", [Scene.accept, Scene.reply])
async def test_what_sweep_and_webhook_tell_at_once_happens_once(
    dsn: str, scene: Scene, tells: Callable[[Scene], None]
) -> None:
    delivered: list[Json] = []

    async def deliver(_url: str, _headers: object, body: bytes) -> int:
        delivered.append(json.loads(body))
        return 200

    scene.simulated.deliver = deliver
    for source, event in (("users", "new_relation"), ("messaging", "message_received")):
        register_webhook(
            scene.simulated, {"source": source, "request_url": "http://engine/", "events": [event]}
        )
    tells(scene)
    while not delivered:
        await advance(scene.simulated, scene.shared() + THREE_HOURS)
    scene.clock.move_to(scene.shared())
    for payload in delivered:
        await receive(scene.world, payload)
    async with await AsyncConnection.connect(dsn) as holder:
        await holder.execute("select from campaign_executions for no key update")
        both = asyncio.gather(sweep(scene.world), apply_inbox(scene.world))
        while await scene.stage.value(WAITING) < 2:
            assert not both.done()
            await asyncio.sleep(0)
        await holder.commit()
    await both
    run = await scene.run()
    if tells is Scene.reply:
        assert run["outcome"] == "replied"
    else:
        assert (run["node_id"], run["status"]) == ("n1", "waiting")
        assert await scene.stage.value("select count(*) from history where entered = 'n1'") == 1


async def test_what_is_known_is_not_told_again(scene: Scene) -> None:
    scene.accept(1)
    scene.reply(2)
    for _ in range(3):
        await sweep(scene.world)
        scene.at((await scene.account())["next_sweep_at"])
    rows = await scene.stage.rows("select kind from events where actor = 'sweep' order by kind")
    assert [row["kind"] for row in rows] == ["Accepted", "Replied"]


async def test_messages_are_read_back_over_days_from_the_last_sweep(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[datetime] = []
    messages = scene.world.provider.messages

    async def noted(account: str, *, after: datetime) -> Any:
        asked.append(after)
        return await messages(account, after=after)

    monkeypatch.setattr(scene.world.provider, "messages", noted)
    await sweep(scene.world)
    scene.at((await scene.account())["next_sweep_at"])
    await sweep(scene.world)
    assert asked == [NOW - OVERLAP, NOW - OVERLAP]


async def test_a_reply_after_the_walks_end_is_learned(scene: Scene) -> None:
    scene.reply(1)
    await scene.stage.change(
        "campaign_executions",
        status="completed",
        outcome="finished",
        finished_at=NOW,
        next_run_at=None,
    )
    await sweep(scene.world)
    row = await scene.stage.rows(
        "select l.id as lead_id from contacts k join leads l using (organization_id, person_id)"
        " where k.replied_at is not null"
    )
    assert row == [{"lead_id": scene.stage.leads[0]}]
    assert (await scene.run(0))["outcome"] == "finished"


async def test_an_account_that_nobody_looked_up_yet_is_bound_and_acts(scene: Scene) -> None:
    await unbind(scene.stage.conn, scene.stage.account)
    scene.accept(1)
    await sweep(scene.world)
    account = await scene.account()
    assert (account["provider_id"], account["status"]) == (scene.sender.provider_id, "active")
    assert account["store_since"] == scene.sender.created_at
    assert (await scene.stage.lane(Operation.SEND_FOLLOWUP))["active"]
    assert (await scene.run(0))["connected"]
    [held] = await scene.stage.rows("select * from provider_accounts")
    assert (held["member_id"], held["unipile_account_id"], held["created_at"], held["seen_at"]) == (
        scene.sender.provider_id,
        scene.sender.id,
        scene.sender.created_at,
        NOW,
    )
    scene.at((await scene.account())["next_sweep_at"])
    before = scene.simulated.requests.counts["GET /accounts/{id}", 200]
    await sweep(scene.world)
    assert scene.simulated.requests.counts["GET /accounts/{id}", 200] == before


# --- accounts that the provider stopped ----------------------------------------------------------


async def test_an_account_that_works_again_is_resumed_and_swept(scene: Scene) -> None:
    await pause_account(
        scene.stage.conn,
        scene.stage.organization_id,
        scene.stage.account,
        by=PausedBy.PROVIDER,
        reason="CREDENTIALS",
        now=NOW,
    )
    scene.accept(1)
    await sweep(scene.world)
    account = await scene.account()
    assert (account["status"], account["paused_by"]) == ("active", None)
    assert (await scene.stage.lane(Operation.SEND_FOLLOWUP))["active"]
    assert (await scene.run(0))["connected"]


async def test_an_account_that_does_not_is_asked_about_again_and_its_lists_are_not(
    scene: Scene,
) -> None:
    set_status(scene.simulated, scene.sender, Status.CREDENTIALS)
    await unbind(scene.stage.conn, scene.stage.account)
    await sweep(scene.world)
    account = await scene.account()
    assert (account["status"], account["pause_reason"]) == ("paused", "CREDENTIALS")
    assert ACCOUNT_AGAIN.shortest <= await scene.gap() <= ACCOUNT_AGAIN.longest
    scene.at(account["next_sweep_at"])
    await sweep(scene.world)
    assert all("relations" not in route for route in scene.asked)
    set_status(scene.simulated, scene.sender, Status.OK)
    scene.at((await scene.account())["next_sweep_at"])
    await sweep(scene.world)
    assert (await scene.account())["status"] == "active"


async def test_an_operators_pause_is_not_the_sweeps_to_lift(scene: Scene) -> None:
    await pause_account(
        scene.stage.conn,
        scene.stage.organization_id,
        scene.stage.account,
        by=PausedBy.OPERATOR,
        reason="holiday",
        now=NOW,
    )
    await sweep(scene.world)
    assert (await scene.account())["paused_by"] == "operator"


async def test_lists_that_were_read_lately_are_not_read_again_for_a_resumed_account(
    scene: Scene,
) -> None:
    await sweep(scene.world)
    read = dict(scene.simulated.requests.counts)
    scene.wait(MINUTE)
    organization_id, account_id = scene.stage.organization_id, scene.stage.account
    conn = scene.stage.conn
    await pause_account(
        conn, organization_id, account_id, by=PausedBy.PROVIDER, reason="x", now=NOW
    )
    await sweep_by(conn, organization_id, account_id, scene.clock())
    assert await sweep(scene.world) == 1
    account = await scene.account()
    assert account["status"] == "active"
    assert ROUND.shortest <= account["next_sweep_at"] - NOW <= ROUND.longest
    after = dict(scene.simulated.requests.counts)
    assert {route for route in after if after[route] != read.get(route)} == {
        ("GET /accounts/{id}", 200)
    }


async def test_who_asks_for_a_sweep_during_a_sweep_gets_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_status(scene.simulated, scene.sender, Status.CREDENTIALS)
    await sweep(scene.world)
    scene.at((await scene.account())["next_sweep_at"])
    ask = scene.world.provider.account

    async def slow(account: str) -> Any:
        answer = await ask(account)  # out of order still, and in order a moment later
        await sweep_by(
            scene.stage.conn, scene.stage.organization_id, scene.stage.account, scene.clock()
        )
        return answer

    monkeypatch.setattr(scene.world.provider, "account", slow)
    await sweep(scene.world)
    assert await scene.gap() == timedelta(0)


# --- when ----------------------------------------------------------------------------------------


async def test_sweeps_come_at_random_times_a_few_times_a_day(scene: Scene) -> None:
    gaps = []
    for _ in range(60):
        assert await sweep(scene.world) == 1
        gaps.append(await scene.gap())
        scene.at((await scene.account())["next_sweep_at"] - timedelta(microseconds=1))
        assert await sweep(scene.world) == 0
        scene.wait(timedelta(microseconds=1))
    assert all(ROUND.shortest <= gap <= ROUND.longest for gap in gaps)
    assert len(set(gaps)) == len(gaps)
    assert max(gaps) - min(gaps) > (ROUND.longest - ROUND.shortest) / 2
    assert ROUND.shortest > LEAST >= THREE_HOURS


@pytest.mark.parametrize("route", ["GET /users/relations", "GET /messages"])
@pytest.mark.parametrize(
    ("kind", "values", "least"),
    [
        (FaultKind.UNAVAILABLE, {}, THREE_HOURS),
        (FaultKind.MALFORMED_JSON, {}, THREE_HOURS),
        (FaultKind.TOO_MANY_REQUESTS, {"retry_after": 60}, THREE_HOURS),
        (FaultKind.TOO_MANY_REQUESTS, {"retry_after": 86_400}, DAY),
        (FaultKind.REFUSAL, {"type": "feature_not_implemented"}, THREE_HOURS),
        (FaultKind.REFUSAL, {"type": "disconnected_account"}, THREE_HOURS),
    ],
    ids=["retry", "malformed", "wait", "long wait", "skip", "pause"],
)
async def test_lists_that_cannot_be_read_are_asked_for_hours_later(
    scene: Scene, route: str, kind: FaultKind, values: Json, least: timedelta
) -> None:
    scene.accept(1)
    scene.fail(kind, route, **values)
    await sweep(scene.world)
    assert least <= await scene.gap() <= max(least, LISTS_AGAIN.longest)
    account = await scene.account()
    assert account["swept_messages_until"] is None
    pauses = values.get("type") == "disconnected_account"
    assert account["paused_by"] == ("provider" if pauses else None)
    # and nothing is lost
    scene.simulated.faults.clear()
    scene.at(account["next_sweep_at"])
    await probe(scene.world)  # what was no answer of the provider's opened a rest
    await sweep(scene.world)
    assert (await scene.run(0))["connected"]


async def test_an_account_that_cannot_be_asked_about_is_asked_about_later(scene: Scene) -> None:
    scene.fail(FaultKind.UNAVAILABLE, "GET /accounts/*")
    await unbind(scene.stage.conn, scene.stage.account)
    await sweep(scene.world)
    assert ACCOUNT_AGAIN.shortest <= await scene.gap() <= ACCOUNT_AGAIN.longest
    account = await scene.account()
    assert (account["status"], account["pause_reason"]) == ("paused", NOT_LOOKED_UP)
    scene.simulated.faults.clear()
    scene.at(account["next_sweep_at"])
    await sweep(scene.world)
    assert (await scene.account())["status"] == "active"


async def test_an_account_that_unipile_does_not_know_says_so_and_is_asked_again(
    scene: Scene,
) -> None:
    await unbind(scene.stage.conn, scene.stage.account)
    del scene.simulated.accounts[scene.sender.id]
    await sweep(scene.world)
    account = await scene.account()
    assert "Unipile does not know this account" in account["pause_reason"]
    assert ACCOUNT_AGAIN.shortest <= await scene.gap() <= ACCOUNT_AGAIN.longest


async def test_whom_an_operator_paused_before_anybody_looked_is_nobodys_to_bind(
    scene: Scene,
) -> None:
    """Of accounts that are there twice the operator chooses, not the order of sweeps."""
    await unbind(scene.stage.conn, scene.stage.account)
    await scene.stage.change("connected_accounts", paused_by="operator")
    assert await sweep(scene.world) == 0
    assert scene.asked == []
    account = await scene.account()
    assert (account["provider_id"], account["next_sweep_at"]) == (None, None)
    conn, organization_id = scene.stage.conn, scene.stage.organization_id
    assert await look_up_again(conn, organization_id, scene.stage.account)
    await sweep(scene.world)
    assert (await scene.account())["status"] == "active"


async def test_a_member_that_another_organisation_has_is_refused_until_it_is_free(
    scene: Scene, conn: Conn
) -> None:
    await unbind(conn, scene.stage.account)
    other = await create_organization(conn, "The other")
    held = await add_sender(conn, other, "other", member=scene.sender.provider_id)

    await sweep(scene.world)

    account = await scene.account()
    assert (account["status"], account["provider_id"]) == ("paused", None)
    assert account["pause_reason"] == HELD_ELSEWHERE
    assert "The other" not in HELD_ELSEWHERE
    assert all("relations" not in route for route in scene.asked)
    await remove_account(conn, other, held, NOW)
    scene.at(account["next_sweep_at"])
    await sweep(scene.world)
    assert (await scene.account())["status"] == "active"


async def test_who_signed_in_instead_of_the_member_is_not_acted_for(scene: Scene) -> None:
    organization_id = scene.stage.organization_id
    signed_in = scene.sender.member
    member, signed_in.provider_id = signed_in.provider_id, "ACoAAsomebodyelse"
    failure = await confirm(scene.world, organization_id, scene.stage.account, scene.sender.id)
    assert failure == Pause(ANOTHER_MEMBER)
    account = await scene.account()
    assert (account["status"], account["provider_id"]) == ("paused", member)
    assert not (await scene.stage.lane(Operation.SEND_FOLLOWUP))["active"]
    await sweep(scene.world)
    assert (await scene.account())["pause_reason"] == ANOTHER_MEMBER
    signed_in.provider_id = member
    scene.at((await scene.account())["next_sweep_at"])
    await sweep(scene.world)
    assert (await scene.account())["status"] == "active"
    assert (await scene.account())["store_since"] == scene.clock()


async def test_a_store_that_was_made_anew_is_young_and_its_chats_are_others(
    scene: Scene,
) -> None:
    who = scene.stage.organization_id, scene.stage.account, scene.sender.id
    assert await confirm(scene.world, *who) is None
    assert (await scene.account())["store_since"] is None
    await scene.stage.change("contacts", chat_id="chat-1")
    assert await confirm(scene.world, *who) is None
    assert await scene.stage.value("select distinct chat_id from contacts") == "chat-1"
    scene.sender.created_at += timedelta(seconds=1)
    assert await confirm(scene.world, *who) is None
    assert (await scene.account())["store_since"] == scene.clock()
    assert await scene.stage.value("select distinct chat_id from contacts") is None


async def test_a_sweep_that_dies_is_done_again_after_its_lease(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.accept(1)

    async def cut_off(_account: str) -> Any:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(scene.world.provider, "relations", cut_off)
        with pytest.raises(asyncio.CancelledError):
            await sweep(scene.world)
    assert await sweep(scene.world) == 0
    scene.wait(LEASE)
    assert await sweep(scene.world) == 1
    assert (await scene.run(0))["connected"]


async def test_an_account_that_cannot_be_swept_keeps_no_other_from_it(
    conn: Conn, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await set_scene(conn, database, leads=3, senders=3)
    relations = first.world.provider.relations
    asked = []

    async def broken_for_one(account: str) -> Any:
        asked.append(account)
        if account == "unipile-campaign-1":
            raise RuntimeError("a defect of ours")
        return await relations(account)

    monkeypatch.setattr(first.world.provider, "relations", broken_for_one)
    assert await sweep(first.world) == 3
    assert len(asked) == 3
    swept = [(await first.account(id_))["swept_messages_until"] for id_ in first.stage.accounts]
    assert swept == [None, NOW, NOW]


async def test_two_processes_never_sweep_an_account_at_once(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database, leads=8, senders=8)
    swept = await asyncio.gather(*(sweep(scene.world, most=3) for _ in range(4)))
    assert sum(swept) == 8
    assert scene.simulated.requests.counts["GET /users/relations", 200] == 8


async def test_an_account_whose_campaigns_are_over_leaves_the_round(scene: Scene) -> None:
    organization_id, campaign_id = scene.stage.organization_id, scene.stage.campaign_id
    await pause_campaign(scene.stage.conn, organization_id, campaign_id, now=NOW)
    assert await sweep(scene.world) == 1  # a paused one's leads may reply
    await stop_campaign(scene.stage.conn, organization_id, campaign_id, now=NOW)
    scene.at((await scene.account())["next_sweep_at"])
    asked = dict(scene.simulated.requests.counts)
    assert await sweep(scene.world) == 0
    assert (await scene.account())["next_sweep_at"] is None
    assert dict(scene.simulated.requests.counts) == asked


async def test_an_account_without_any_campaign_is_never_swept(scene: Scene) -> None:
    idle = await add_sender(scene.stage.conn, scene.stage.organization_id, "idle")
    assert (await scene.account(idle))["next_sweep_at"] is None
    assert await sweep(scene.world) == 1


async def test_a_provider_that_cannot_be_reached_is_asked_again_in_minutes(
    conn: Conn, database: Database
) -> None:
    """Nobody saw that anything was asked: no unit is spent, however often it is tried."""
    scene = await set_scene(conn, database)
    refused = httpx.MockTransport(_refuse)
    client = UnipileClient("http://nowhere", "token", transport=refused, pause=at_once)
    reachable, scene.world = scene.world, replace(scene.world, provider=client)
    units = "select coalesce(sum(used), 0)::int from rate_counters where operation = 'list_read'"
    before = await scene.stage.value(units)
    for failures in (1, 2, 3):
        await sweep(scene.world)
        account = await scene.account()
        assert account["sweep_failures"] == failures
        assert "connect" in account["sweep_failure"]
        assert timedelta(0) < await scene.gap() <= NOT_SENT_AGAIN.longest
        assert await scene.stage.value(units) == before
        scene.wait(await scene.gap())

    scene.world = reachable
    scene.wait(LONGEST_REST)
    assert await probe(scene.world)
    await sweep(scene.world)
    assert (await scene.account())["sweep_failures"] == 0


async def at_once(_seconds: float) -> None:
    """Stand for the client's pause between two attempts of a read: no test waits."""


def _refuse(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")

"""Which provider a database is bound to, and who may not act on it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from builders import NOW, VISIT, Conn, begun, member_of

from clento_engine.domain.operation import Operation
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime import daemon, guard
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.errors import NotAsked, UnknownProvider, WrongProvider
from clento_engine.runtime.guard import require_provider
from clento_engine.runtime.outbox import Outbox
from clento_engine.runtime.reconcile import reconcile
from clento_engine.runtime.sweep import sweep
from clento_engine.runtime.ticker import tick
from clento_engine.runtime.workspace import Workspace
from clento_engine.runtime.world import World
from clento_engine.store.database import Database
from clento_engine.store.installation import binding, move, stamp

ACCOUNT = "unipile-campaign-1"
HERE = Workspace("https://here.example", is_simulated=False)
THERE = Workspace("https://there.example", is_simulated=False)
SIMULATED = Workspace("https://here.example", is_simulated=True)


@dataclass(slots=True)
class Unipile:
    """Answers for one account, and for every profile; counts what it was asked.

    `before`: what happens before it answers for a profile.
    """

    member: str = member_of(ACCOUNT)
    status: int = 200
    asked: int = 0
    profiles: int = 0
    before: Callable[[], Any] | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.status != httpx.codes.OK:
            kind = "errors/resource_not_found" if self.status == httpx.codes.NOT_FOUND else "x"
            return httpx.Response(self.status, json={"status": self.status, "type": kind})
        if "/accounts/" in request.url.path:
            im = {"id": self.member}
            body: dict[str, Any] = {"id": ACCOUNT, "name": "Lea", "connection_params": {"im": im}}
            body["sources"] = [{"status": "OK"}]
            return httpx.Response(200, json={"object": "Account", **body})
        self.profiles += 1
        if self.before is not None:
            await self.before()
        name = request.url.path.rpartition("/")[2]
        id_ = name if name.startswith("ACoAA") else f"ACoAA{name}"
        body = {"object": "UserProfile", "provider_id": id_, "public_identifier": name}
        return httpx.Response(200, json={**body, "network_distance": "THIRD_DEGREE"})


def world_of(database: Database, unipile: Unipile, workspace: Workspace | None) -> World:
    async def at_once(_seconds: float) -> None: ...

    provider = UnipileClient(
        "http://x", "token", transport=httpx.MockTransport(unipile), pause=at_once
    )
    return World(database, provider, VirtualClock(NOW), slots=1, workspace=workspace)


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CHECKED_S", 0.0)


async def stamped(conn: Conn, workspace: Workspace = HERE) -> None:
    await stamp(conn, workspace.dsn, is_simulated=workspace.is_simulated, now=NOW)


async def test_a_database_is_bound_to_the_provider_that_knows_its_accounts(
    conn: Conn, database: Database
) -> None:
    await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await require_provider(world_of(database, Unipile(), HERE))
    bound = await binding(conn)
    assert bound is not None
    assert (bound.dsn, bound.is_simulated, bound.bound_at) == (HERE.dsn, False, NOW)
    await require_provider(world_of(database, Unipile(), HERE))


@pytest.mark.parametrize(
    ("unipile", "refusal"),
    [
        (Unipile(member="somebody-else"), UnknownProvider),
        (Unipile(status=404), UnknownProvider),
        (Unipile(status=503), NotAsked),
    ],
    ids=["another member", "no such account", "down"],
)
async def test_a_database_is_not_bound_to_one_that_does_not(
    conn: Conn, database: Database, unipile: Unipile, refusal: type[Exception]
) -> None:
    await begun(conn, VISIT, Operation.PROFILE_VISIT)
    with pytest.raises(refusal):
        await tick(world_of(database, unipile, HERE), timedelta(seconds=1))
    assert await binding(conn) is None


@pytest.mark.parametrize("given", [THERE, SIMULATED], ids=["another", "a simulator"])
async def test_nothing_is_asked_of_another_provider(
    conn: Conn, database: Database, given: Workspace
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await stamped(conn)
    await stage.change("connected_accounts", next_sweep_at=NOW)
    unipile = Unipile()
    world = world_of(database, unipile, given)
    for act in (lambda: tick(world, timedelta(seconds=1)), lambda: sweep(world)):
        with pytest.raises(WrongProvider) as refused:
            await act()
        assert (refused.value.bound, refused.value.given) == (HERE, given)
    with pytest.raises(WrongProvider):
        await reconcile(world)
    assert unipile.asked == 0
    assert await stage.value("select count(*) from actions") == 0


async def test_without_a_workspace_nothing_is_checked(conn: Conn, database: Database) -> None:
    await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await stamped(conn, THERE)
    unipile = Unipile()
    ticked = await tick(world_of(database, unipile, None), timedelta(seconds=30))
    assert ticked.finished == 1


async def test_a_tick_that_a_move_overtakes_settles_what_is_in_flight_and_begins_no_more(
    conn: Conn, database: Database
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=3)
    await stamped(conn)
    unipile = Unipile()

    async def moved() -> None:
        unipile.before = None
        await move(conn, THERE.dsn, is_simulated=False, now=NOW, ask_after=timedelta(seconds=10))
        # as if a ticker of the new provider had looked the account up at once
        await stage.change("connected_accounts", status="active", paused_by=None)
        await stage.change("lanes", active=True)

    unipile.before = moved
    with pytest.raises(WrongProvider):
        await tick(world_of(database, unipile, HERE), timedelta(seconds=30))
    assert unipile.profiles == 1
    states = await stage.rows("select state from actions")
    assert [each["state"] for each in states] == ["done"]


async def test_a_daemon_ends_with_the_refusal(conn: Conn, database: Database) -> None:
    await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await stamped(conn)
    world = world_of(database, Unipile(), THERE)
    async with httpx.AsyncClient() as client, asyncio.timeout(60):
        with pytest.raises(WrongProvider):
            await daemon.run(
                world,
                Outbox(client),
                stop=asyncio.Event(),
                interval=timedelta(milliseconds=50),
            )


async def test_of_two_that_bind_at_once_the_first_ones_word_holds(
    conn: Conn, database: Database
) -> None:
    await begun(conn, VISIT, Operation.PROFILE_VISIT)
    here = world_of(database, Unipile(), HERE)
    there = replace(here, workspace=THERE)
    answers = await asyncio.gather(
        require_provider(here), require_provider(there), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in answers) == ["NoneType", "WrongProvider"]

"""The door for Unipile's webhooks: what it lets in, what it refuses, and in which words."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from clento_engine.domain.account import Tier
from clento_engine.interface.api import create_app, serve
from clento_engine.interface.api.receiver import MOST_BYTES
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.world import World
from clento_engine.store.accounts import add_account, create_organization
from clento_engine.store.database import Database

SECRET = "a long and random word"  # noqa: S105
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PAYLOAD = {
    "event": "message_received",
    "account_id": "acc_1",
    "message_id": "m1",
    "message": "between you and me",
}

Json = dict[str, Any]


@dataclass(slots=True)
class Door:
    client: httpx.AsyncClient
    conn: AsyncConnection[Any]
    organization_id: UUID

    async def post(self, body: object = None, **values: Any) -> httpx.Response:
        """Post a webhook as Unipile does, unless told otherwise."""
        content = body if isinstance(body, bytes) else json.dumps(body or PAYLOAD).encode()
        request = {"content": content, "headers": {"Unipile-Auth": SECRET}} | values
        return await self.client.post(self.path, **request)

    @property
    def path(self) -> str:
        return "/webhooks/unipile"

    async def stored(self) -> list[Json]:
        cursor = await self.conn.execute("select payload from inbox_events order by id")
        return [row[0] for row in await cursor.fetchall()]


@pytest.fixture
async def world(database: Database) -> World:
    provider = UnipileClient("http://x", "token", transport=httpx.MockTransport(nobody))
    return World(database, provider, VirtualClock(NOW))


def nobody(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("the receiver asks nobody")


def calling(world: World, secret: str | None = SECRET) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(world, secret=secret))
    return httpx.AsyncClient(transport=transport, base_url="http://engine")


@pytest.fixture
async def door(conn: AsyncConnection[Any], world: World) -> AsyncIterator[Door]:
    async with calling(world) as client:
        organization_id = await create_organization(conn, "Acme")
        await add_account(
            conn,
            organization_id,
            unipile_account_id="acc_1",
            name="Lea",
            tier=Tier.PREMIUM,
            time_zone="UTC",
            provider_id="ACoAAlea",
        )
        yield Door(client, conn, organization_id)


async def test_a_webhook_is_stored_and_then_answered(door: Door) -> None:
    answer = await door.post()
    assert (answer.status_code, answer.json()) == (200, {"duplicate": False})
    assert await door.stored() == [PAYLOAD]


async def test_a_second_delivery_is_answered_alike_and_stored_once(door: Door) -> None:
    await door.post()
    answer = await door.post()
    assert (answer.status_code, answer.json()) == (200, {"duplicate": True})
    assert len(await door.stored()) == 1


@pytest.mark.parametrize(
    "kind", [None, "application/json", "application/x-www-form-urlencoded", "text/plain; x", ""]
)
async def test_the_body_is_json_whatever_its_content_type_says(
    door: Door, kind: str | None
) -> None:
    headers = {"Unipile-Auth": SECRET} | ({} if kind is None else {"Content-Type": kind})
    assert (await door.post(headers=headers)).status_code == 200
    assert await door.stored() == [PAYLOAD]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Unipile-Auth": ""},
        {"Unipile-Auth": SECRET[:-1]},
        {"Unipile-Auth": SECRET.upper()},
        {"Unipile-Auth": f"{SECRET}é".encode("latin-1")},
        {"Authorization": SECRET},
    ],
    ids=str,
)
async def test_without_the_secret_nothing_is_stored(door: Door, headers: Any) -> None:
    answer = await door.post(headers=headers)
    assert answer.status_code == 401
    assert SECRET not in answer.text
    assert await door.stored() == []


@pytest.mark.parametrize("secret", [None, ""])
async def test_without_a_secret_of_our_own_everything_is_refused(
    door: Door, world: World, secret: str | None
) -> None:
    async with calling(world, secret) as client:
        for given in ("", SECRET, "None"):
            answer = await client.post(door.path, json=PAYLOAD, headers={"Unipile-Auth": given})
            assert answer.status_code == 503
            assert "CLENTO_WEBHOOK_SECRET" in answer.json()["error"]
    assert await door.stored() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nothing",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:10]),
)
async def test_garbage_is_refused(door: Door, body: bytes) -> None:
    assert (await door.post(body)).status_code == 400
    assert await door.stored() == []


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read_to_the_end(
    door: Door,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield b" " * 65536

    headers = {"Unipile-Auth": SECRET}
    request = door.client.build_request("POST", door.path, content=endless(), headers=headers)
    assert (await door.client.send(request)).status_code == 413
    assert sent <= MOST_BYTES + 2 * 65536
    body = json.dumps(PAYLOAD).encode()
    exactly = body + b" " * (MOST_BYTES - len(body))
    assert (await door.post(exactly)).status_code == 200
    assert (await door.post(exactly + b" ")).status_code == 413


@pytest.mark.parametrize("name", ["acme", "%00", "1"])
async def test_another_path_is_not_found(door: Door, name: str) -> None:
    answer = await door.client.post(
        f"/webhooks/unipile/{name}", json=PAYLOAD, headers={"Unipile-Auth": SECRET}
    )
    assert answer.status_code == 404
    assert await door.stored() == []


async def test_an_organisation_in_the_path_is_not_who_the_webhook_is_for(door: Door) -> None:
    """A version before was registered so, for every organisation: all got everybody's."""
    headers = {"Unipile-Auth": SECRET}
    other = await create_organization(door.conn, "Other")
    for organization_id in (other, door.organization_id, uuid4()):
        answer = await door.client.post(
            f"{door.path}/{organization_id}", json=PAYLOAD, headers=headers
        )
        assert answer.status_code == 200
    cursor = await door.conn.execute("select organization_id from inbox_events")
    assert await cursor.fetchall() == [(door.organization_id,)]


async def test_a_webhook_of_an_account_that_nobody_has_is_answered_and_not_stored(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """Answered otherwise, the provider would bring it five times more."""
    answer = await door.post({**PAYLOAD, "account_id": "somebody_elses"})
    assert (answer.status_code, answer.json()) == (202, {"unrouted": True})
    assert await door.stored() == []
    [record] = [each for each in caplog.records if each.message == "webhook unrouted"]
    assert record.__dict__["account"] == "somebody_elses"
    assert "between you and me" not in caplog.text


async def test_who_knows_no_secret_learns_nothing(door: Door) -> None:
    for path in (door.path, f"{door.path}/{door.organization_id}"):
        answer = await door.client.post(path, json=PAYLOAD)
        assert answer.status_code == 401


async def test_while_the_database_is_away_the_provider_is_told_to_come_again(
    door: Door, world: World, dsn: str
) -> None:
    async with (
        Database(dsn, max_connections=1, patience=timedelta(milliseconds=20)) as busy,
        busy.connection(),
        calling(replace(world, database=busy)) as client,
    ):
        answer = await client.post(door.path, json=PAYLOAD, headers={"Unipile-Auth": SECRET})
    assert answer.status_code == 503


async def test_while_the_database_is_slow_the_provider_is_told_to_come_again(
    door: Door, world: World, dsn: str
) -> None:
    hurried = make_conninfo(dsn, options="-c lock_timeout=20ms")
    async with Database(hurried) as slow, door.conn.transaction():
        await door.conn.execute("lock table inbox_events")
        async with calling(replace(world, database=slow)) as client:
            answer = await client.post(door.path, json=PAYLOAD, headers={"Unipile-Auth": SECRET})
    assert answer.status_code == 503


async def test_only_posts_are_taken(door: Door) -> None:
    assert (await door.client.get(door.path)).status_code == 405


async def test_no_log_says_what_people_write(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="clento_engine")
    await door.post()
    await door.post()
    await door.post({**PAYLOAD, "message_id": "\x00"})
    await door.post(b'{"message": "between you and me"')
    await door.post(headers={"Unipile-Auth": "between you and me"})
    assert len(caplog.records) == 5
    told = " ".join(str(vars(record)) for record in caplog.records)
    assert "between you and me" not in told
    assert SECRET not in told


async def test_a_sign_of_life_needs_no_secret(world: World) -> None:
    async with calling(world, None) as client:
        assert (await client.get("/healthz")).status_code == 200


# --- served --------------------------------------------------------------------------------------


async def test_it_is_served_until_told_to_stop_and_signals_stay_whose_they_are(
    world: World,
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    app = create_app(world, secret=SECRET)
    served = asyncio.create_task(serve(app, "127.0.0.1", 0, stop=stop, ready=ready.set_result))
    url = await ready
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/healthz")).status_code == 200
        now = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert now == handlers
        stop.set()
        await served
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/healthz")


async def test_an_address_in_use_is_the_callers_to_know(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve(
                create_app(world, secret=SECRET),
                "127.0.0.1",
                port,
                stop=asyncio.Event(),
                ready=lambda _url: None,
            )


async def test_cancelling_ends_the_server_too(world: World) -> None:
    ready = asyncio.get_running_loop().create_future()
    app = create_app(world, secret=SECRET)
    served = asyncio.create_task(
        serve(app, "127.0.0.1", 0, stop=asyncio.Event(), ready=ready.set_result)
    )
    url = await ready
    served.cancel()
    with pytest.raises(asyncio.CancelledError):
        await served
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/healthz")

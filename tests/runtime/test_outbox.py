"""Notices to customers: posted until they arrive, at least once, never for ever."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx
import pytest
from builders import NOW, Conn, line, set_stage
from psycopg.rows import dict_row
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from uuid_utils.compat import uuid7

from clento_engine.domain.operation import Operation
from clento_engine.interface.api import serve
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime import outbox as module
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.outbox import GAPS, LEASE, Outbox
from clento_engine.runtime.ticker import tick
from clento_engine.runtime.world import World
from clento_engine.store.accounts import create_organization
from clento_engine.store.database import Database
from clento_engine.store.outbox import take_deliveries

Json = dict[str, Any]


@dataclass(slots=True)
class Customer:
    """A real receiver on this host; answers with `answers` in turn, then 200."""

    url: str = ""
    answers: list[Callable[[], Response]] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], Json]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        body = json.loads(await request.body())
        self.received.append((request.url.path, dict(request.headers), body))
        answer = self.answers.pop(0)() if self.answers else Response()
        await answer(scope, receive, send)

    def refuse(self, *statuses: int) -> None:
        for status in statuses:
            self.answers.append(lambda status=status: Response(status_code=status))  # type: ignore[misc]


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve while the context is open; gives the URL."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    served = asyncio.create_task(serve(app, "127.0.0.1", 0, stop=stop, ready=ready.set_result))
    try:
        yield await ready
    finally:
        stop.set()
        await served


@dataclass(slots=True)
class Scene:
    conn: Conn
    world: World
    clock: VirtualClock
    client: httpx.AsyncClient
    customer: Customer
    organization_id: UUID

    async def notice(self, path: str = "/in", url: str | None = None) -> UUID:
        """Put a notice into the outbox."""
        notice_id = uuid7()
        await self.conn.execute(
            "insert into webhook_deliveries (organization_id, id, campaign_id, lead_id, node_id,"
            " url, payload, next_attempt_at) values (%s, %s, %s, %s, 'n0', %s, %s, %s)",
            (
                self.organization_id,
                notice_id,
                uuid7(),
                uuid7(),
                url or self.customer.url + path,
                json.dumps({"event": "lead.step", "id": str(notice_id), "ä": 1}),
                self.clock(),
            ),
        )
        return notice_id

    async def row(self, notice_id: UUID) -> Json:
        cursor = self.conn.cursor(row_factory=dict_row)
        await cursor.execute("select * from webhook_deliveries where id = %s", (notice_id,))
        row = await cursor.fetchone()
        assert row is not None
        return row

    async def deliver(self, **values: Any) -> int:
        return await Outbox(self.client, **values).deliver(self.world)


@pytest.fixture
async def scene(conn: Conn, database: Database) -> AsyncIterator[Scene]:
    customer, clock = Customer(), VirtualClock(NOW)
    async with AsyncExitStack() as stack:
        customer.url = await stack.enter_async_context(serving(customer))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        provider = UnipileClient("http://x", "token", transport=httpx.MockTransport(nobody))
        world = World(database, provider, clock)
        yield Scene(conn, world, clock, client, customer, await create_organization(conn, "Acme"))


def nobody(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("the outbox asks nobody")


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_a_notice_is_delivered_once(scene: Scene, status: int) -> None:
    scene.customer.refuse(status)
    notice = await scene.notice()
    assert await scene.deliver() == 1
    scene.clock.move_to(NOW + timedelta(days=9))
    assert await scene.deliver() == 0
    [(path, headers, body)] = scene.customer.received
    assert (path, headers["content-type"]) == ("/in", "application/json")
    assert headers["webhook-id"] == body["id"] == str(notice)
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    row = await scene.row(notice)
    assert (row["delivered_at"], row["attempt"], row["next_attempt_at"]) == (NOW, 1, None)


async def test_a_refused_notice_is_tried_again_with_growing_gaps_until_it_is_given_up(
    scene: Scene,
) -> None:
    scene.customer.refuse(*[500] * 20)
    notice = await scene.notice()
    tried: list[datetime] = []
    while (at := (await scene.row(notice))["next_attempt_at"]) is not None:
        if tried:
            scene.clock.move_to(at - timedelta(microseconds=1))
            assert await scene.deliver() == 0
        scene.clock.move_to(at)
        assert await scene.deliver() == 1
        tried.append(at)
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert tuple(gaps) == GAPS
    assert gaps == sorted(gaps)
    row = await scene.row(notice)
    assert (row["failed_at"], row["reason"]) == (tried[-1], "HTTP 500")
    assert await scene.deliver() == 0
    assert {headers["webhook-id"] for _, headers, _ in scene.customer.received} == {str(notice)}
    assert len(scene.customer.received) == len(GAPS) + 1
    assert len({json.dumps(body) for _, _, body in scene.customer.received}) == 1


async def test_a_notice_refused_at_first_is_delivered_later(scene: Scene) -> None:
    scene.customer.refuse(503)
    notice = await scene.notice()
    await scene.deliver()
    scene.clock.move_to(NOW + GAPS[0])
    await scene.deliver()
    row = await scene.row(notice)
    assert (row["delivered_at"], row["reason"]) == (NOW + GAPS[0], None)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/in", "ftp://customer.example/in", "http://", "not a url", "https://[/x"],
)
async def test_a_place_that_nobody_can_post_to_costs_its_own_notice_only(
    scene: Scene, url: str
) -> None:
    bad, good = await scene.notice(url=url), await scene.notice()
    assert await scene.deliver() == 2
    row = await scene.row(bad)
    assert (row["attempt"], row["next_attempt_at"]) == (1, NOW + GAPS[0])
    assert row["reason"]
    assert (await scene.row(good))["delivered_at"] == NOW


async def test_an_answer_that_never_comes_is_a_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIME_LIMIT_S", 0.05)
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()  # until the other end gives up
        gone.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        notice = await scene.notice(url=f"http://127.0.0.1:{port}/")
        assert await scene.deliver() == 1
        await gone.wait()
    assert asked.is_set()
    row = await scene.row(notice)
    assert (row["reason"], row["next_attempt_at"]) == ("TimeoutError", NOW + GAPS[0])


async def test_an_answer_that_never_ends_holds_nobody_up(scene: Scene) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)  # lets the server see that the client is gone
        finally:
            closed.set()

    scene.customer.answers.append(lambda: StreamingResponse(endless()))
    notice = await scene.notice()
    assert await scene.deliver() == 1
    assert (await scene.row(notice))["delivered_at"] == NOW
    await closed.wait()


async def test_a_redirect_is_a_refusal(scene: Scene) -> None:
    scene.customer.answers.append(lambda: RedirectResponse(f"{scene.customer.url}/elsewhere"))
    notice = await scene.notice()
    await scene.deliver()
    assert [path for path, _, _ in scene.customer.received] == ["/in"]
    assert (await scene.row(notice))["reason"] == "HTTP 307"


async def test_every_notice_can_be_sent_to_one_place(scene: Scene) -> None:
    for url in ("http://customer.example/a", "http://127.0.0.1:1/b"):
        await scene.notice(url=url)
    assert await scene.deliver(redirect=f"{scene.customer.url}/all") == 2
    assert [path for path, _, _ in scene.customer.received] == ["/all", "/all"]


async def test_a_crash_after_the_post_posts_it_again_under_the_same_id(scene: Scene) -> None:
    """At least once: the mark that it arrived is what the crash takes."""
    notice = await scene.notice()

    class Crash(BaseException):
        pass

    class Dying(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self.inner = httpx.AsyncHTTPTransport()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await self.inner.handle_async_request(request)
            await answer.aclose()
            raise Crash

    async with httpx.AsyncClient(transport=Dying(), trust_env=False) as dying:
        with pytest.raises(Crash):
            await Outbox(dying).deliver(scene.world)
        await dying._transport.inner.aclose()  # type: ignore[attr-defined]
    scene.clock.move_to(NOW + LEASE - timedelta(microseconds=1))
    assert await scene.deliver() == 0
    scene.clock.move_to(NOW + LEASE)
    assert await scene.deliver() == 1
    ids = [headers["webhook-id"] for _, headers, _ in scene.customer.received]
    assert ids == [str(notice)] * 2
    assert (await scene.row(notice))["delivered_at"] == NOW + LEASE


async def test_a_slow_try_that_was_taken_over_does_not_undo_the_delivery(scene: Scene) -> None:
    """A process whose lease is over reports a failure that is none any more."""
    scene.customer.refuse(500)
    notice = await scene.notice()
    [stale] = await take_deliveries(scene.conn, now=NOW, lease=LEASE, most=1)
    scene.clock.move_to(NOW + LEASE)
    scene.customer.answers.clear()
    assert await scene.deliver() == 1
    scene.customer.refuse(500)
    await Outbox(scene.client)._post(scene.world, stale)
    row = await scene.row(notice)
    assert (row["delivered_at"], row["next_attempt_at"]) == (NOW + LEASE, None)


async def test_two_processes_never_try_a_notice_at_once(scene: Scene) -> None:
    for _ in range(30):
        await scene.notice()
    tried = await asyncio.gather(*(scene.deliver() for _ in range(3)))
    assert sum(tried) == 30
    assert len({headers["webhook-id"] for _, headers, _ in scene.customer.received}) == 30


async def test_no_more_is_taken_than_can_be_tried_within_the_lease(scene: Scene) -> None:
    for _ in range(module.MOST + 1):
        await scene.notice()
    assert await scene.deliver() == module.MOST
    rounds = -(-module.MOST // module.AT_ONCE)
    assert timedelta(seconds=rounds * module.TIME_LIMIT_S) < LEASE
    assert await scene.deliver() == 1


async def test_a_webhook_node_puts_its_notice_into_the_outbox_once(
    conn: Conn, scene: Scene
) -> None:
    stage = await set_stage(conn, line(Operation.WEBHOOK), leads=2, name="hooks")
    await tick(scene.world, timedelta(minutes=1))
    assert await scene.deliver(redirect=scene.customer.url) == 2
    bodies = [body for _, _, body in scene.customer.received]
    assert {body["lead"]["id"] for body in bodies} == {str(lead) for lead in stage.leads}
    assert {body["nodeId"] for body in bodies} == {"n0"}

"""What strangers who connect can take: a share of the descriptors, and a little time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from clento_engine.interface.api import serve, server

MOST = 8
MANY = 60
HEAD = b"POST /in HTTP/1.1\r\nHost: x\r\n"
REQUEST = HEAD + b"Content-Length: 2\r\n\r\n{}"

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(slots=True)
class Answering:
    """An application that answers when it has read the body, and not before `gate` is open."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)  # MOST requests have begun
    begun: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        if self.begun == MOST:
            self.full.set()
        await Request(scope, receive).body()
        await self.gate.wait()
        await Response(b"taken")(scope, receive, send)


@dataclass(slots=True)
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ended(self) -> bytes:
        """Return all that comes until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def answered(self) -> bytes:
        return await self.reader.readuntil(b"taken")


@dataclass(slots=True)
class Place:
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self, said: bytes = b"") -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        client.writer.write(said)
        await client.writer.drain()
        self.clients.append(client)
        return client


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Place]:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    served = asyncio.create_task(serve(app, "127.0.0.1", 0, stop=stop, ready=ready.set_result))
    place = Place(int((await ready).rpartition(":")[2]))
    try:
        yield place
    finally:
        for client in place.clients:
            client.writer.close()
        stop.set()
        await served


@pytest.fixture
def app() -> Answering:
    made = Answering()
    made.gate.set()
    return made


def at_most(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(server, "most_connections", lambda: most)


async def dropped(place: Place, slow: list[Client]) -> int:
    """Answer one request, and return how many of those before it were closed by then."""
    assert b"200 OK" in await (await place.connect(REQUEST)).answered()
    ends = [asyncio.create_task(each.ended()) for each in slow]
    done, waiting = await asyncio.wait(ends, timeout=0.2)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return len(done)


async def test_slow_connections_make_room_the_oldest_first(
    app: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_most(monkeypatch, MOST)
    async with serving(app) as place:
        slow = [await place.connect(HEAD) for _ in range(MANY)]
        assert await dropped(place, slow) == MANY - MOST + 1
        assert all(each.reader.at_eof() or each.reader.exception() for each in slow[: MANY - MOST])


async def test_without_a_limit_slow_connections_would_all_be_held(
    app: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""
    at_most(monkeypatch, 10 * MANY)
    async with serving(app) as place:
        assert await dropped(place, [await place.connect(HEAD) for _ in range(MANY)]) == 0


async def test_complete_requests_are_answered_whoever_comes_after_them(
    app: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_most(monkeypatch, MOST)
    app.gate.clear()
    async with serving(app) as place:
        requests = [await place.connect(REQUEST) for _ in range(3 * MOST)]
        await app.full.wait()
        app.gate.set()
        for each in requests:
            assert b"200 OK" in await each.answered()


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        (b"", "HEAD_S"),
        (b"POST /in HT", "HEAD_S"),
        (HEAD, "HEAD_S"),
        (b"\r\n", "HEAD_S"),
        (REQUEST + b"\r\n", "HEAD_S"),
        (HEAD + b"Content-Length: 9\r\n\r\n{", "BODY_S"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "BODY_S"),
    ],
    ids=["silent", "line", "head", "lines", "kept", "body", "chunks"],
)
async def test_a_request_that_is_not_complete_in_time_is_closed(
    app: Answering, monkeypatch: pytest.MonkeyPatch, said: bytes, limit: str
) -> None:
    monkeypatch.setattr(server, limit, 0.05)
    async with serving(app) as place:
        await (await place.connect(said)).ended()


async def test_bytes_that_drip_do_not_put_the_end_off(
    app: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    async with serving(app) as place:
        client = await place.connect(HEAD)
        end = asyncio.create_task(client.ended())
        while not end.done():
            client.writer.write(b"x")
            await asyncio.wait({end}, timeout=0.01)


async def test_an_answer_that_nobody_takes_is_given_up(
    app: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_S", 0.05)
    app.gate.clear()
    async with serving(app) as place:
        await (await place.connect(REQUEST)).ended()
        app.gate.set()


@pytest.mark.parametrize("filler", [b"x: y\r\n", b"y" * 100], ids=["lines", "line"])
async def test_a_head_without_end_is_closed(app: Answering, filler: bytes) -> None:
    async with serving(app) as place:
        client = await place.connect(HEAD + b"x: ")
        with suppress(ConnectionError):
            while not client.reader.at_eof():
                client.writer.write(filler * 500)
                await client.writer.drain()
                await asyncio.sleep(0)
        assert app.begun == 0


async def test_requests_in_one_heap_end_the_connection(app: Answering) -> None:
    async with serving(app) as place:
        client = await place.connect(REQUEST * 2_000)
        await client.ended()
        assert app.begun <= server.MOST_PIPELINED + 1


async def test_requests_one_after_another_keep_their_connection(app: Answering) -> None:
    async with serving(app) as place:
        client = await place.connect()
        for number in range(20):
            client.writer.write(REQUEST)
            await client.answered()
            assert app.begun == number + 1


@pytest.mark.parametrize(("allowed", "most"), [(20_000, 128), (256, 32), (16, 8), (-1, 128)])
def test_how_many_are_held_is_a_share_of_what_the_process_may_have(
    monkeypatch: pytest.MonkeyPatch, allowed: int, most: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _which: (allowed, allowed))
    assert server.most_connections() == most

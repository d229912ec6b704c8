"""What a storm's proxy does to connections that are idle, and what it leaves alone."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from clento_engine.interface.chaos.proxy import REFUSED, STRAY, ProviderProxy
from clento_engine.loop import new_runner

REQUEST = b"GET /api/v1/accounts HTTP/1.1\r\nhost: provider\r\n\r\n"
BODY = b'{"object":"AccountList"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Provider:
    """Answers each request, the head first and the body when it may."""

    requests: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(HEAD)
                await writer.drain()
                await self.may_end.wait()
                writer.write(BODY)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass
class Scene:
    """A provider behind a proxy, and connections to it."""

    provider: Provider
    proxy: ProviderProxy
    port: int
    chance: random.Random
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> Ends:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.opened.append(writer)
        return reader, writer

    def stray(self) -> None:
        self.proxy.stray(self.chance)


@asynccontextmanager
async def proxied() -> AsyncIterator[Scene]:
    """Run a provider behind a proxy while the context is open."""
    provider = Provider()
    provider.may_end.set()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = ProviderProxy(lambda: asyncio.open_connection("127.0.0.1", port))
    async with server, proxy.listening() as listening_on:
        scene = Scene(provider, proxy, listening_on, random.Random(1))  # noqa: S311  no secret
        yield scene
        for writer in scene.opened:
            writer.close()


async def ask(ends: Ends) -> bytes:
    """Send a request and return the answer."""
    reader, writer = ends
    writer.write(REQUEST)
    return await reader.readexactly(len(HEAD + BODY))


async def test_a_stray_answer_comes_on_an_idle_connection_whose_next_request_is_never_read() -> (
    None
):
    async with proxied() as scene:
        provider, proxy = scene.provider, scene.proxy
        ends = await scene.connect()
        assert await ask(ends) == HEAD + BODY
        scene.stray()
        head = await ends[0].readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 Created\r\ncontent-type: application/json")
        assert proxy.done == {STRAY: 1}
        (line,) = proxy.lines
        assert line.strayed_at is not None
        line.strayed_at -= 3  # seconds ago: the two did not cross
        ends[1].write(REQUEST)
        ends[1].write_eof()
        await ends[0].read()
        assert provider.requests == 1


def test_a_connection_that_is_gone_already_is_cut_without_a_word() -> None:
    """On the loop of a storm, whose sockets know no more once they are closed."""

    async def cut_twice() -> None:
        async with proxied() as scene:
            await ask(await scene.connect())
            (line,) = scene.proxy.lines
            line.cut()
            await asyncio.gather(line.client.wait_closed(), line.server.wait_closed())
            line.cut()

    with new_runner() as runner:
        runner.run(cut_twice())


async def test_a_request_that_crosses_a_stray_answer_is_passed_on() -> None:
    async with proxied() as scene:
        provider = scene.provider
        ends = await scene.connect()
        await ask(ends)
        scene.stray()
        ends[1].write(REQUEST)
        assert await ends[0].readuntil(b"AccountList") != b""
        assert provider.requests == 2


async def test_nothing_strays_where_an_answer_is_still_to_come() -> None:
    async with proxied() as scene:
        provider, proxy = scene.provider, scene.proxy
        scene.stray()
        ends = await scene.connect()
        provider.may_end.clear()
        ends[1].write(REQUEST)
        await ends[0].readexactly(len(HEAD))
        scene.stray()
        provider.may_end.set()
        assert await ends[0].readexactly(len(BODY)) == BODY
        assert proxy.done == {}


async def test_nothing_strays_on_a_connection_that_has_ended() -> None:
    async with proxied() as scene:
        ends = await scene.connect()
        await ask(ends)
        (line,) = scene.proxy.lines

        def is_idle() -> bool:
            return line.is_idle

        assert is_idle()
        ends[1].close()
        while is_idle():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        scene.proxy.lines.add(line)  # as it is between the end of one direction and the other
        scene.stray()
        assert scene.proxy.done == {}
        scene.proxy.lines.discard(line)


async def test_it_refuses_connections_for_a_moment_and_closes_those_that_are_idle() -> None:
    async with proxied() as scene:
        provider, proxy = scene.provider, scene.proxy
        idle = await scene.connect()
        await ask(idle)
        busy = await scene.connect()
        provider.may_end.clear()
        busy[1].write(REQUEST)
        await busy[0].readexactly(len(HEAD))
        refusing = asyncio.create_task(proxy.refuse())
        with pytest.raises(ConnectionError):
            await idle[0].readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await scene.connect()
        provider.may_end.set()
        assert await busy[0].readexactly(len(BODY)) == BODY
        await refusing
        assert await ask(await scene.connect()) == HEAD + BODY
        assert proxy.done == {REFUSED: 1}

"""A process of 300 requests at once, against answers that are made to fill its memory."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from gzip import compress

import pytest

MB = 1 << 20
MOST_MB = 150
BOMB = compress(b'{"object":"UserRelationsList","x":"' + b"0" * 64 * MB, 9)
VALUES = b'{"object":"UserRelationsList","items":[' + b"{}," * 60_000 + b"{}]}"

# All that a ticker imports, its loop, and what it asks in the ordinary course.
VICTIM = """
import asyncio, json, resource, sys
from datetime import timedelta
import clento_engine.interface.cli.work, clento_engine.runtime.daemon
from clento_engine.domain.failure import OutcomeUnknown
from clento_engine.loop import new_runner
from clento_engine.provider import bodies
from clento_engine.provider.unipile import UnipileClient

async def ask(client, number):
    try:
        if number % 3:
            await (client.relations("a") if number % 2 else client.chat_messages("a", "c"))
        else:
            await client.start_chat("a", "ACoAAB", "Hello")
    except OutcomeUnknown:
        return 1
    return 0

async def main():
    limit = timedelta(seconds=5)
    if sys.argv[2] == "off":
        bodies.LONGEST_READ = bodies.LONGEST_WRITE = bodies.ROOM = 16 << 20
        room = bodies.Room(1 << 40)
    else:
        room = None
    given = {} if room is None else {"room": room}
    async with UnipileClient(f"http://127.0.0.1:{sys.argv[1]}", "t", connect_timeout=limit,
                             read_timeout=limit, read_attempts=1, **given) as client:
        unknown = sum(await asyncio.gather(*(ask(client, number) for number in range(300))))
    # of this process alone: ru_maxrss would begin with that of whoever started it
    peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
    print(json.dumps({"unknown": unknown, "peak_mb": int(peak) // 1024}))

with new_runner() as runner:
    runner.run(main())
"""

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"0" * (1 << 16))
        await writer.drain()


async def bomb(writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB)
    writer.write(head + BOMB)
    await writer.drain()


async def values(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(VALUES) + VALUES)
    await writer.drain()


async def peak_of(answer: Answer, bounds: str) -> dict[str, int]:
    """Play the server to a process of its own; return what it tells of itself at its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=500) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", VICTIM, str(port), bounds, stdout=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(90):
                told, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    found: dict[str, int] = json.loads(told)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("answer", [endless, bomb, values])
async def test_hostile_answers_take_no_more_than_150_mb(answer: Answer) -> None:
    found = await peak_of(answer, "on")
    assert found["peak_mb"] <= MOST_MB
    if answer is not values:
        assert found["unknown"] == 100  # each write; nothing of it is believed


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_without_bounds_they_take_more() -> None:
    assert (await peak_of(endless, "off"))["peak_mb"] > 2 * MOST_MB

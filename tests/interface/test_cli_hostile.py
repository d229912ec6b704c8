"""`clento tick` as a process, before a provider whose answers are made to fill its memory."""

import asyncio
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from gzip import compress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from commanded import Clento, Simulated, action, edge, simulating
from test_cli_simulated import PLAIN, ending, process

from clento_engine.simulator.server import Settings
from clento_engine.simulator.world import Reliability

MB = 1 << 20
MOST_MB = 150
LEADS = 60
MOST_TICKS = 20
LASTS_S = 180  # a tick of this test, on a machine that has much to do
BOMB = compress(b'{"object":"UserProfile","x":"' + b"0" * 64 * MB, 9)

# What the `clento` command does, telling at its end how much memory the process ever had: of this
# process alone, where `ru_maxrss` would begin with that of whoever started it.
TICK = """
import atexit, sys
from clento_engine.interface.cli import main

def tell():
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("peak", int(peak.split()[1]) // 1024, file=sys.stderr)

atexit.register(tell)
if sys.argv.pop(1) == "off":
    from clento_engine.provider import bodies
    bodies.LONGEST_READ = bodies.LONGEST_WRITE = 16 << 20
    bodies.Room.take = lambda self, share, size: given()
    async def given():
        pass
sys.argv[0] = "clento"
main()
"""

WORKFLOW = {
    "nodes": [
        action("visit"),
        action("greet", "send_followup", customMessage="Hi {{first_name}}"),
    ],
    "edges": [edge("visit", "greet")],
}


@dataclass(slots=True)
class Gateway:
    """Stands before the simulator; of what it does not hand on it makes bombs or endless answers.

    `spoils`: methods and paths, by how they begin.  Accounts and the simulator's own words pass.
    """

    port: int = 0
    spoils: tuple[str, ...] = ()
    spoiled: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            method, path = head.split(b" ", 2)[:2]
            name = f"{method.decode()} {path.decode()}"
            if any(name.startswith(each) for each in self.spoils):
                self.spoiled[method.decode()] += 1
                await (_bomb if next(self._numbers) % 2 else _endless)(writer)
            else:
                await self._hand_on(head, body, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _hand_on(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [
            line for line in head.split(b"\r\n")[:-2] if not line.lower().startswith(b"connection:")
        ]
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        back.write(b"\r\n".join([*lines, b"connection: close", b"", b""]) + body)
        writer.write(await there.read())
        await writer.drain()
        back.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        writer.write(b"0" * (1 << 16))
        await writer.drain()


async def _bomb(writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB)
    writer.write(head + BOMB)
    await writer.drain()


@contextmanager
def before(simulated: Simulated) -> Iterator[tuple[Gateway, Simulated]]:
    """Put a gateway before a simulator."""
    gateway = Gateway(urlsplit(simulated.url).port or 0)
    up, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    where: list[int] = []

    async def served() -> None:
        async with await asyncio.start_server(gateway.serve, "127.0.0.1", 0, backlog=500) as server:
            where.append(server.sockets[0].getsockname()[1])
            up.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(served())

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(30)
    try:
        yield gateway, replace(simulated, url=f"http://127.0.0.1:{where[0]}")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def ticked(clento: Clento, bounds: str = "on") -> int:
    """Run `clento tick` in a process of its own; return how many MB it had at most."""
    command = (sys.executable, "-c", TICK, bounds)
    with ending(process(clento, "tick", "--json", "--budget", "20s", before=command)) as run:
        out, err = run.communicate(timeout=LASTS_S)
    assert run.returncode in (0, 3), err  # 3: the sender's lists could not be read
    json.loads(out)
    return int(err.rsplit("peak", 1)[1])


@pytest.fixture
def people() -> list[str]:
    return [f"person-{number}" for number in range(LEADS)]


@pytest.fixture
def hostile(
    dsn: str, tmp_path: Path, people: list[str]
) -> Iterator[tuple[Clento, Gateway, Simulated]]:
    """Lend a started campaign of people who are connected, before a gateway."""
    settings = Settings(
        chances=replace(PLAIN, connected=1),
        reliability=Reliability(lost=0, duplicated=0, null_ids=0),
    )
    with simulating(settings.world(), settings) as served, before(served) as (gateway, simulated):
        keys = {"UNIPILE_DSN": simulated.url, "UNIPILE_ACCESS_TOKEN": "any"}
        clento = Clento({"DATABASE_URL": dsn, **keys}, tmp_path)
        clento("org", "create", "Acme")
        clento.sender(unipile_id=simulated.account)
        clento.without_gaps()
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "update rate_limits set per_hour = null, per_day = null, per_week = null,"
                " per_month = null"
            )
        clento.leads(*people)
        clento.draft(WORKFLOW, "spring", "--hours", "always")
        clento("campaign", "start", "spring", "--lead-processing-delay", "0s")
        yield clento, gateway, simulated


@pytest.mark.timeout(480)  # processes, before one that does its worst on the same machine
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_tick_stays_below_150_mb_under_bombs_and_its_leads_go_on(
    hostile: tuple[Clento, Gateway, Simulated], people: list[str]
) -> None:
    clento, gateway, simulated = hostile
    peaks = []
    for spoils in (
        ("GET /api/v1/users", "GET /api/v1/chats", "GET /api/v1/messages", "POST "),
        ("GET /api/v1/users/relations", "POST "),
    ):
        gateway.spoils = spoils
        for _ in range(2):
            peaks.append(ticked(clento))
            simulated.advance(simulated.now() + timedelta(hours=1))
    assert max(peaks) <= MOST_MB, peaks
    assert gateway.spoiled["GET"] >= LEADS
    assert gateway.spoiled["POST"] >= 3
    assert not [slug for operation, slug in simulated.landed() if operation == "message"]

    gateway.spoils = ()
    for _ in range(MOST_TICKS):
        clento("tick")
        if clento.json("campaign", "status", "spring")["status"] == "completed":
            break
        # an account that shows no chat at all is believed a day after the intent
        simulated.advance(simulated.now() + timedelta(hours=6))
    reached = Counter(slug for operation, slug in simulated.landed() if operation == "message")
    assert reached == dict.fromkeys(people, 1)


@pytest.mark.timeout(480)  # processes, before one that does its worst on the same machine
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_bounds_a_tick_takes_more(hostile: tuple[Clento, Gateway, Simulated]) -> None:
    clento, gateway, _ = hostile
    gateway.spoils = ("GET /api/v1/users",)
    assert ticked(clento, "off") > 2 * MOST_MB

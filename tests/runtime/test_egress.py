"""Notices to addresses that are nobody's but ours: none is reached, however it is named."""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from builders import NOW, Conn
from uuid_utils.compat import uuid7

from clento_engine.domain.reach import PUBLIC, Reach, read_reach
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime import egress
from clento_engine.runtime import outbox as module
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.outbox import GAPS, posting
from clento_engine.runtime.world import World
from clento_engine.store.accounts import create_organization
from clento_engine.store.database import Database

REFUSED = "the address is not public, and CLENTO_WEBHOOKS_MAY_REACH does not list it"

# Each leads, on a host that takes it at its word, to this host or to one beside it.
LITERALS = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0X7F.0X0.0X0.0X1",
    "0177.0.0.1",
    "0177.0.0.01",
    "017700000001",
    "0",
    "0.0.0.0",  # noqa: S104
    "00.0.0.0",
    "127。0。0。1",
    "１２７.0.0.1",
    "127.0.0.1.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1%25lo]",
    "[fec0::1]",
    "[ff02::1]",
    "[fd00:ec2::254]",
    "169.254.169.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.100.100.200",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "user:Pw@localhost",
    "user@127.0.0.1",
    "hooks.example@127.0.0.1",
]
# What the name server of whoever named the address says.
NAMES = {
    "loop.attacker.example": ["127.0.0.1"],
    "loop6.attacker.example": ["::1"],
    "mapped.attacker.example": ["::ffff:127.0.0.1"],
    "nat64.attacker.example": ["64:ff9b::7f00:1"],
    "any.attacker.example": ["0.0.0.0"],  # noqa: S104
    "both.attacker.example": ["10.0.0.1", "127.0.0.1", "::1"],
    "metadata.attacker.example": ["169.254.169.254"],
}


@dataclass(slots=True)
class Inside:
    """What must not be reached: it listens on every address of this host."""

    port: int = 0
    reached: list[str] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.append(writer.get_extra_info("sockname")[0])
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass(slots=True)
class Scene:
    conn: Conn
    world: World
    clock: VirtualClock
    inside: Inside
    organization_id: Any

    async def posted(self, host: str, reach: Reach, scheme: str = "http") -> str | None:
        """Post a notice to `host`; return why it was not delivered."""
        notice_id = uuid7()
        await self.conn.execute(
            "insert into webhook_deliveries (organization_id, id, campaign_id, lead_id, node_id,"
            " url, payload, next_attempt_at) values (%s, %s, %s, %s, 'n0', %s, %s, %s)",
            (
                self.organization_id,
                notice_id,
                uuid7(),
                uuid7(),
                f"{scheme}://{host}:{self.inside.port}/in",
                json.dumps({"id": str(notice_id)}),
                self.clock(),
            ),
        )
        async with posting(reach) as outbox:
            assert await outbox.deliver(self.world) == 1
        cursor = await self.conn.execute(
            "select reason, delivered_at, next_attempt_at from webhook_deliveries where id = %s",
            (notice_id,),
        )
        [(reason, delivered_at, again_at)] = await cursor.fetchall()
        assert (delivered_at is None) == (reason is not None)
        assert again_at == (None if reason is None else NOW + GAPS[0])
        return str(reason) if reason is not None else None


@asynccontextmanager
async def listening(inside: Inside) -> AsyncIterator[None]:
    listener = socket.create_server(
        ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100
    )
    inside.port = listener.getsockname()[1]
    async with await asyncio.start_server(inside, sock=listener):
        yield


def nobody(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("the outbox asks nobody")


@pytest.fixture
async def scene(conn: Conn, database: Database) -> AsyncIterator[Scene]:
    inside, clock = Inside(), VirtualClock(NOW)
    provider = UnipileClient("http://x", "token", transport=httpx.MockTransport(nobody))
    async with listening(inside):
        organization_id = await create_organization(conn, "Acme")
        yield Scene(conn, World(database, provider, clock), clock, inside, organization_id)


@dataclass(slots=True)
class NameServer:
    """Answers for names, in turn where a name has several answers; else as the host does."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    def getaddrinfo(self, host: str, port: int, *rest: Any, **values: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        turns = self.answers[host]
        found = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in found
        ]


@pytest.mark.parametrize("host", LITERALS)
async def test_no_form_of_an_address_inside_is_reached(scene: Scene, host: str) -> None:
    assert await scene.posted(host, PUBLIC)
    assert scene.inside.reached == []


@pytest.mark.parametrize("name", NAMES)
async def test_no_name_that_leads_inside_is_reached(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server = NameServer({name: [NAMES[name]]})
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    assert await scene.posted(name, PUBLIC) == REFUSED
    assert (scene.inside.reached, server.asked) == ([], [name])


async def test_with_the_guard_off_they_are_reached(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the tests above: what they judge by does see a connection."""
    monkeypatch.setattr(egress, "_socket_for", lambda _reach: None)
    hosts = [
        "127.0.0.1",
        "127.0.0.2",
        "0x7f000001",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0.0.0.0",  # noqa: S104
        "user:Pw@localhost",
    ]
    for host in hosts:
        await scene.posted(host, PUBLIC)
    assert len(scene.inside.reached) >= len(hosts) - 2  # where aiohttp itself refuses a form


async def test_a_second_answer_of_a_name_server_is_never_connected_to_unjudged(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = NameServer({"turning.example": [["127.0.0.2"], ["127.0.0.1"]]})
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    reach = read_reach("127.0.0.2")
    assert await scene.posted("turning.example", reach) is None
    assert (len(server.asked), scene.inside.reached) == (1, ["::ffff:127.0.0.2"])
    assert await scene.posted("turning.example", reach) == REFUSED
    assert scene.inside.reached == ["::ffff:127.0.0.2"]


async def test_of_several_answers_only_those_that_may_be_reached_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [["10.0.0.1", "127.0.0.1", "::1", "127.0.0.2"]]
    monkeypatch.setattr(socket, "getaddrinfo", NameServer({"many.example": answers}).getaddrinfo)
    assert await scene.posted("many.example", read_reach("127.0.0.2")) is None
    assert scene.inside.reached == ["::ffff:127.0.0.2"]


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "[::ffff:127.0.0.1]"),
        ("127.0.0.0/8", "localhost"),
        ("::1", "[::1]"),
        ("hooks.internal.example", "Hooks.Internal.Example"),
        ("hooks.internal.example", "hooks.internal.example."),
    ],
)
async def test_what_the_operator_lists_is_reached(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, listed: str, host: str
) -> None:
    names = {each: [["127.0.0.1"]] for each in ("localhost", "hooks.internal.example")}
    names["hooks.internal.example."] = [["127.0.0.1"]]
    monkeypatch.setattr(socket, "getaddrinfo", NameServer(names).getaddrinfo)
    assert await scene.posted(host, read_reach(listed)) is None
    assert len(scene.inside.reached) == 1


async def test_no_proxy_of_the_environment_is_used(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{scene.inside.port}")
    monkeypatch.setattr(
        socket, "getaddrinfo", NameServer({"x.example": [["10.0.0.1"]]}).getaddrinfo
    )
    assert await scene.posted("x.example", PUBLIC) == REFUSED
    assert await scene.posted("x.example", PUBLIC, "https") == REFUSED
    assert scene.inside.reached == []


async def test_a_redirect_inside_is_not_followed(scene: Scene) -> None:
    scene.inside.answer = (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:%d/in\r\n"
        b"Content-Length: 0\r\n\r\n" % scene.inside.port
    )
    assert await scene.posted("127.0.0.2", read_reach("127.0.0.2")) == "HTTP 307"
    assert scene.inside.reached == ["::ffff:127.0.0.2"]


BOMB = gzip.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
            % (len(BOMB), BOMB),
            (None,),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n" + b"x" * 100_000, (None,)),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500_000, ("ClientResponseError",)),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 5_000_000, ("ClientResponseError",)),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000, ("TimeoutError", "ConnectTimeout")),
        (b"\0" * 1_000_000, ("ClientResponseError",)),
    ],
    ids=["bomb", "length", "headers", "header", "hints", "noise"],
)
async def test_answers_of_any_size_are_harmless(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, answer: bytes, ends: tuple[str | None, ...]
) -> None:
    monkeypatch.setattr(module, "TIME_LIMIT_S", 5)
    scene.inside.answer = answer
    reason = await scene.posted("127.0.0.1", read_reach("127.0.0.1"))
    assert reason in ends


async def test_name_servers_that_never_answer_hold_none_of_the_loops_own_threads(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIME_LIMIT_S", 0.05)
    answer = threading.Event()

    def silent(*_arguments: Any, **_values: Any) -> list[Any]:
        answer.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", silent)
        reasons = [await scene.posted("silent.example", PUBLIC) for _ in range(5)]
        assert set(reasons) == {"TimeoutError"}
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
        assert not [each for each in threading.enumerate() if each.name.startswith("asyncio_")][1:]
        answer.set()
    assert egress.MOST_LOOKUPS >= module.AT_ONCE

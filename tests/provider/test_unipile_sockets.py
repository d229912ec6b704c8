"""What happens on real sockets: what left is never taken for what did not, nor sent twice."""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from select import POLLIN, poll, select
from typing import Any, Self, cast
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
import uvloop
from unipile_samples import ACCOUNT_ID, CHAT, PROFILE, TOKEN, listed

from clento_engine.domain.failure import OutcomeUnknown, Retry
from clento_engine.provider import port
from clento_engine.provider.transport import _Request, aiohttp_transport
from clento_engine.provider.unipile import UnipileClient

Ask = Callable[[UnipileClient], Awaitable[object]]

# One of each method; all of them have an effect.
POST: Ask = lambda c: c.invite(ACCOUNT_ID, "ACoAAB1", "Hello")  # noqa: E731
GET: Ask = lambda c: c.visit(ACCOUNT_ID, "ACoAAB1")  # noqa: E731
DELETE: Ask = lambda c: c.withdraw(ACCOUNT_ID, "744")  # noqa: E731
WRITES = pytest.mark.parametrize("ask", [POST, GET, DELETE], ids=["POST", "GET", "DELETE"])

SOON = timedelta(milliseconds=50)
CERTIFICATE = Path(__file__).parent / "localhost.pem"  # for 127.0.0.1, with its key
SENT = {"object": "UserInvitationSent", "invitation_id": "744"}


class Connection:
    """One connection to the server, as a test's script of it sees it."""

    def __init__(
        self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer

    async def request(self) -> str:
        """Read one request; return its head."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        for line in head.lower().splitlines():
            if line.startswith("content-length:"):
                await self.reader.readexactly(int(line.partition(":")[2]))
        self.server.heads.append(head)
        return head

    async def answer(self, body: object, status: str = "200 OK", *more: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(raw)}", *more]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Break the connection with RST instead of closing it."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def silence(self) -> None:
        """Say nothing until the client has gone."""
        await self.reader.read()


Script = Callable[[Connection], Awaitable[None]]


class Server:
    """Plays a script on every connection, and counts."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.heads: list[str] = []
        self._playing: set[asyncio.Task[None]] = set()

    def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._playing.add(asyncio.ensure_future(self._play(reader, writer)))

    async def played(self) -> None:
        await asyncio.gather(*self._playing)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.script(Connection(self, reader, writer))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def serving(
    script: Script, *, scheme: str = "http", patience: timedelta = timedelta(seconds=5)
) -> AsyncIterator[tuple[Server, UnipileClient]]:
    """Lend a server that plays `script`, and a client of it with its default transport."""
    server = Server(script)
    async with await asyncio.start_server(server.play, "127.0.0.1", 0, backlog=500) as listening:
        client = UnipileClient(
            f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}",
            TOKEN,
            connect_timeout=patience,
            read_timeout=patience,
            pause=_at_once,
        )
        async with client:
            yield server, client
        await server.played()


async def _at_once(_: float) -> None:
    pass


@WRITES
async def test_a_refused_connection_is_a_retry_since_nothing_left(ask: Ask) -> None:
    with socket.socket() as bound:  # nobody listens
        bound.bind(("127.0.0.1", 0))
        async with UnipileClient(f"http://127.0.0.1:{bound.getsockname()[1]}", TOKEN) as client:
            answer = await ask(client)
    assert answer == Retry("no connection: ClientConnectorError", left=False, silence=1)


async def test_an_unknown_host_is_a_retry_since_nothing_left() -> None:
    async with UnipileClient("http://no-such-host.invalid", TOKEN) as client:
        assert isinstance(await POST(client), Retry)


async def test_a_tls_handshake_that_fails_is_a_retry_since_nothing_left() -> None:
    async def close(connection: Connection) -> None:
        pass

    async def speak_plainly(connection: Connection) -> None:
        await connection.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.silence()

    for script in (close, speak_plainly):
        async with serving(script, scheme="https") as (server, client):
            assert isinstance(await POST(client), Retry)
            assert not server.heads


async def test_a_handshake_that_never_ends_is_a_retry_since_nothing_left() -> None:
    async with serving(Connection.silence, scheme="https", patience=SOON) as (_, client):
        silent = Retry("no connection: ConnectionTimeoutError", left=False, silence=1)
        assert await POST(client) == silent


async def close_unanswered(connection: Connection) -> None:
    await connection.request()


async def reset_unanswered(connection: Connection) -> None:
    await connection.request()
    connection.reset()


async def reset_unread(connection: Connection) -> None:
    connection.reset()


async def close_unread(connection: Connection) -> None:
    pass


async def half_a_head(connection: Connection) -> None:
    await connection.request()
    await connection.raw(b"HTTP/1.1 20")


async def not_http(connection: Connection) -> None:
    await connection.request()
    await connection.raw(b"\x00\xff\xfe nonsense\r\n\r\n")


async def endless_head(connection: Connection) -> None:
    await connection.request()
    await connection.raw(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n")


BROKEN = pytest.mark.parametrize(
    "script",
    [
        close_unanswered,
        reset_unanswered,
        reset_unread,
        close_unread,
        half_a_head,
        not_http,
        endless_head,
    ],
)


@WRITES
@BROKEN
async def test_a_connection_that_breaks_before_the_answer_leaves_a_write_unknown(
    ask: Ask, script: Script
) -> None:
    async with serving(script) as (server, client):
        with pytest.raises(OutcomeUnknown):
            await ask(client)
        assert server.connections == 1  # and it was not sent again


@BROKEN
async def test_a_connection_that_breaks_before_the_answer_repeats_a_read(script: Script) -> None:
    async with serving(script) as (server, client):
        assert isinstance(await client.account(ACCOUNT_ID), Retry)
        assert server.connections == 3


@BROKEN
async def test_a_read_that_linkedin_may_have_seen_is_not_repeated(script: Script) -> None:
    async with serving(script) as (server, client):
        answer = await client.relations(ACCOUNT_ID)
        assert isinstance(answer, Retry)
        assert answer.left
        assert server.connections == 1


@WRITES
async def test_an_answer_later_than_the_time_out_leaves_a_write_unknown(ask: Ask) -> None:
    async def late(connection: Connection) -> None:
        await connection.request()
        await connection.silence()

    async with serving(late, patience=SOON) as (server, client):
        with pytest.raises(OutcomeUnknown):
            await ask(client)
        assert len(server.heads) == 1


def breaking_off(status: str) -> Script:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.raw(f'HTTP/1.1 {status}\r\ncontent-length: 99\r\n\r\n{{"ty'.encode())

    return script


async def test_a_success_that_breaks_off_is_unknown_to_a_write_and_nothing_to_a_read() -> None:
    async with serving(breaking_off("201 Created")) as (_, client):
        with pytest.raises(OutcomeUnknown):
            await POST(client)
        assert isinstance(await client.relations(ACCOUNT_ID), Retry)


async def test_a_success_in_bad_chunks_or_bad_gzip_is_unknown_and_not_repeated() -> None:
    async def bad_chunks(connection: Connection) -> None:
        await connection.request()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await connection.raw(head + b"2\r\n{}\r\n")
        await connection.raw(b"ZZ\r\n")

    async def bad_gzip(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"abc", "200 OK", "content-encoding: gzip")

    for script in (bad_gzip, bad_chunks):
        async with serving(script) as (server, client):
            with pytest.raises(OutcomeUnknown):
                await POST(client)
            assert len(server.heads) == 1


async def test_a_refusal_that_breaks_off_judges_nobody() -> None:
    async with serving(breaking_off("401 Unauthorized")) as (_, client):
        with pytest.raises(OutcomeUnknown):
            await POST(client)


DONE = {"object": "NeverHeardOf"}


async def serve_everything(connection: Connection) -> None:
    while True:
        head = await connection.request()
        await connection.answer(
            PROFILE if head.startswith("GET") else DONE, "200 OK", "set-cookie: a=b"
        )


async def test_requests_after_each_other_share_a_connection_but_no_cookies() -> None:
    async with serving(serve_everything) as (server, client):
        for ask in (POST, GET, DELETE, POST):
            assert isinstance(await ask(client), port.Sent | port.Profile)
        assert server.connections == 1
        assert len(server.heads) == 4
        assert "cookie" not in "".join(server.heads).lower()


@WRITES
async def test_a_write_on_a_dying_kept_connection_is_not_sent_again(ask: Ask) -> None:
    """aiohttp repeats GET and DELETE of its own accord, unless told not to."""

    async def once(connection: Connection) -> None:
        await connection.request()
        await connection.answer(PROFILE)
        await connection.request()  # and close, as a server does whose patience is at its end

    async with serving(once) as (server, client):
        assert isinstance(await GET(client), port.Profile)
        with pytest.raises(OutcomeUnknown):
            await ask(client)
        assert (server.connections, len(server.heads)) == (1, 2)


async def test_no_request_waits_for_a_free_connection() -> None:
    """A request that queued would leave on a stale look at campaign and suppression."""
    many = 150  # more than aiohttp's own limit of 100
    all_there = asyncio.Event()

    async def together(connection: Connection) -> None:
        await connection.request()
        if len(connection.server.heads) == many:
            all_there.set()
        await all_there.wait()
        await connection.answer(DONE)

    async with serving(together) as (server, client):
        answers = await asyncio.gather(*(POST(client) for _ in range(many)))
        assert answers == [port.Sent()] * many
        assert server.connections == many


async def test_what_arrives_is_what_was_meant() -> None:
    cursor = "a+b/c==&é %25"

    async def two_pages(connection: Connection) -> None:
        while True:
            head = await connection.request()
            last = "cursor" in head
            body = json.dumps(listed(CHAT, cursor=None if last else cursor)).encode()
            await connection.answer(gzip.compress(body), "200 OK", "content-encoding: gzip")

    async with serving(two_pages) as (server, client):
        answer = await client.chats_with(ACCOUNT_ID, "ACoAAB1")
        assert isinstance(answer, tuple)
        assert len(answer) == 2
        await client.posts(ACCOUNT_ID, "léa/例+x", limit=3)
        await client.post(ACCOUNT_ID, "urn:li:ugcPost:1")
        await POST(client)
    first, second, posts, post, invite = (head.splitlines() for head in server.heads)
    chats = "GET /api/v1/chat_attendees/ACoAAB1/chats?account_id=acc_1&limit=250 HTTP/1.1"
    assert first[0] == chats
    assert parse_qs(urlsplit(second[0].split()[1]).query)["cursor"] == [cursor]
    path = urlsplit(posts[0].split()[1]).path
    assert [unquote(part) for part in path.split("/")[3:]] == ["users", "léa/例+x", "posts"]
    assert post[0].startswith("GET /api/v1/posts/urn:li:ugcPost:1?")
    assert invite[0] == "POST /api/v1/users/invite HTTP/1.1"
    said = [line.lower().split(": ", 1) for line in invite[1:] if line]
    assert sorted(name for name, _ in said) == [
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-api-key",
    ]
    assert dict(said)["accept-encoding"] == "gzip, deflate"


@WRITES
@pytest.mark.parametrize("reused", [False, True], ids=["new", "kept"])
async def test_nothing_is_written_when_the_connection_comes_too_late(
    ask: Ask, reused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped while it connected: it wakes, and its lease may be over."""

    async def script(conn: Connection) -> None:
        while True:
            await conn.request()
            await conn.answer(PROFILE)

    readings = iter([0.0, 3600.0])  # when the request begins, and when its connection is there
    async with serving(script) as (server, client):
        if reused:
            await client.profile(ACCOUNT_ID, "ACoAAB1")
        before = len(server.heads)
        with monkeypatch.context() as stopped:
            stopped.setattr(
                "clento_engine.provider.transport.perf_counter", lambda: next(readings, 3600.0)
            )
            answer = await ask(client)
        await asyncio.sleep(0)

    assert isinstance(answer, Retry)
    assert not answer.left
    assert len(server.heads) == before


async def test_a_body_that_comes_too_late_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped after it had its connection, before the request was written."""

    async def script(conn: Connection) -> None:
        await conn.request()
        await conn.answer(SENT)

    readings = iter([0.0, 0.0])  # the request begins; its connection is there; then it is stopped
    async with serving(script) as (server, client):
        with monkeypatch.context() as stopped:
            stopped.setattr(
                "clento_engine.provider.transport.perf_counter", lambda: next(readings, 3600.0)
            )
            answer = await POST(client)
        await asyncio.sleep(0)

    assert isinstance(answer, Retry)
    assert not answer.left
    assert server.heads == []


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
def test_a_request_leaves_before_anything_else_has_its_turn(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    over_tls: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is looked at before it is written must not wait in a buffer afterwards."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    arrived = threading.Event()
    left = []

    class Watched(_Request):
        async def write_bytes(self, *args: Any) -> None:
            await super().write_bytes(*args)
            # nothing else runs until we are done: it arrives now, or was kept back
            left.append(arrived.wait(timeout=10))

    monkeypatch.setattr("clento_engine.provider.transport._Request", Watched)

    async def asked(url: str) -> object:
        async with UnipileClient(url, TOKEN) as client:
            return await POST(client)

    with (
        listening(arrived, over_tls=over_tls) as url,
        asyncio.Runner(loop_factory=loop_factory) as runner,
    ):
        assert runner.run(asked(url)) == port.Sent(reference="744")
    assert left == [True]


@contextmanager
def listening(arrived: threading.Event, *, over_tls: bool) -> Iterator[str]:
    """Serve one invitation from a thread; `arrived` is set when its whole request is there."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if over_tls:
        context.load_cert_chain(CERTIFICATE)

    def serve() -> None:
        sock, _ = listener.accept()
        if over_tls:
            sock = context.wrap_socket(sock, server_side=True)
        with sock:
            received = b""
            while b'"Hello"' not in received:
                received += sock.recv(65_536)
            arrived.set()
            body = json.dumps(SENT).encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    served = threading.Thread(target=serve)
    served.start()
    with listener:
        scheme = "https" if over_tls else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    served.join(timeout=30)


# -- answers to nobody


def as_answer(invitation_id: str) -> bytes:
    body = json.dumps({**SENT, "invitation_id": invitation_id}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


FIRST, STRAY, SECOND = (as_answer(name) for name in ("first", "stray", "second"))
END = b""  # in place of a part: the server closes


class Talker:
    """A server that says more than it was asked.

    It answers the first request with the first of `parts`, sends each of the others when told to,
    and answers the next request on whichever connection it comes.
    """

    def __init__(self, *parts: bytes, over_tls: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if over_tls else None
        if self._context is not None:
            self._context.load_cert_chain(CERTIFICATE)
        self._parts = list(parts)
        self._asked_for, self._sent = threading.Event(), threading.Event()
        self._serving = threading.Thread(target=self._serve)
        self.requests = [0, 0]  # by connection
        scheme = "https" if over_tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(self, *_of_an_error: object) -> None:
        with suppress(OSError):  # a connection of nobody's ends the wait for a second one
            socket.create_connection(self._listener.getsockname()).close()
        self._serving.join(timeout=30)
        self._listener.close()

    def say_more(self) -> None:
        """Send the next part; return when it has left."""
        self._asked_for.set()
        assert self._sent.wait(timeout=30)
        self._sent.clear()

    def _serve(self) -> None:
        with self._accepted() as first:
            self._read(first, 0)
            first.sendall(self._parts[0])
            for part in self._parts[1:]:
                assert self._asked_for.wait(timeout=30)
                self._asked_for.clear()
                if part == END:
                    first.shutdown(socket.SHUT_RDWR)
                else:
                    first.sendall(part)
                self._sent.set()
            came, *_ = select([self._listener, first], [], [], 30)
            if first in came and self._read(first, 0):
                first.sendall(SECOND)
                return
            with suppress(OSError), self._accepted() as second:
                if self._read(second, 1):
                    second.sendall(SECOND)

    def _accepted(self) -> socket.socket:
        self._listener.settimeout(30)
        sock, _ = self._listener.accept()
        return sock if self._context is None else self._context.wrap_socket(sock, server_side=True)

    def _read(self, sock: socket.socket, number: int) -> bool:
        received = b""
        with suppress(OSError):  # a client that drops what it did not read resets
            while some := sock.recv(65_536):
                received += some
                if b'"Hello"' in received:
                    self.requests[number] += 1
                    return True
        return False


class Headed(httpx.AsyncBaseTransport):
    """The client's own transport; what is to happen between head and body of an answer happens."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.own = aiohttp_transport()
        self._then = then

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.own.handle_async_request(request)
        self._then()
        self._then = lambda: None
        return response

    async def aclose(self) -> None:
        await self.own.aclose()


def something_to_read(transport: httpx.AsyncBaseTransport, *, within: timedelta) -> bool:
    """Whether there are bytes, or the end, on the idle connection that nobody has read yet."""
    kept = cast("Any", transport).client.connector._conns.values()
    idle = [protocol for connections in kept for protocol, _ in connections]
    readable = poll()
    for protocol in idle:
        # a connection that has ended, as the loop knows already, has no transport or no socket
        if protocol.transport is not None and (sock := protocol.transport.get_extra_info("socket")):
            readable.register(sock.fileno(), POLLIN)
            return bool(readable.poll(within.total_seconds() * 1000))
    return False


async def _asked_twice(talker: Talker, *, more: int, mid_answer: bool, read: bool) -> object:
    """Invite twice; between the two, or during the first, the server says `more` parts."""
    transport = Headed(talker.say_more if mid_answer else lambda: None)
    async with UnipileClient(talker.url, TOKEN, transport=transport) as client:
        assert await POST(client) == port.Sent(reference="first")
        for _ in range(0 if mid_answer else more):
            talker.say_more()
            assert something_to_read(transport.own, within=timedelta(seconds=30))
        while read and something_to_read(transport.own, within=timedelta()):  # noqa: ASYNC110
            await asyncio.sleep(0)  # until the loop has read what came: there is no event for that
        return await POST(client)


async def _connections_ended() -> None:
    """Let the loop see that the server has gone: TLS of uvloop's ends in several turns."""
    for _ in range(20):
        await asyncio.sleep(0)


LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
OVER_TLS = pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])


@LOOPS
@OVER_TLS
@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize(
    ("parts", "mid_answer"),
    [
        ((FIRST, STRAY), False),
        ((FIRST, STRAY[:20]), False),
        ((FIRST, END), False),
        ((FIRST[:-9], FIRST[-9:] + STRAY), True),
        ((FIRST + STRAY,), False),
    ],
    ids=["an answer", "half an answer", "the end", "behind our answer's end", "behind our answer"],
)
def test_what_came_on_an_idle_connection_is_no_answer_to_the_next_request(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    over_tls: bool,
    read: bool,
    parts: tuple[bytes, ...],
    mid_answer: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be taken for its answer, and an invitation be sent that the server never read."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with Talker(*parts, over_tls=over_tls) as talker:
            answer = runner.run(
                _asked_twice(talker, more=len(parts) - 1, mid_answer=mid_answer, read=read)
            )
        runner.run(_connections_ended())
    assert answer == port.Sent(reference="second")
    assert talker.requests == [1, 1]  # once, and on a connection of its own


@LOOPS
@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
def test_without_a_look_at_the_connection_the_stray_answer_would_be_taken(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    read: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clento_engine.provider.transport._is_tainted", lambda _: False)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with Talker(FIRST, STRAY) as talker:
            answer = runner.run(_asked_twice(talker, more=1, mid_answer=False, read=read))
        runner.run(_connections_ended())
    assert answer == port.Sent(reference="stray")

"""A TCP proxy that misbehaves on request: between ticker and provider, ticker and database.

What PyPI has of the kind was last touched years ago, and Toxiproxy is a server in Go; what is
needed here is to know what passes (a COMMIT, a request's first bytes) and to cut exactly there.
"""

import asyncio
import random
import re
import socket
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close sends RST

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]


class ProviderCut(StrEnum):
    """What may happen to one request on its way."""

    BEFORE = "provider cut before the request"
    INSIDE = "provider cut inside the request"
    UNANSWERED = "provider cut after the effect, before the answer"
    HALF_ANSWERED = "provider cut inside the answer"
    LATE = "provider answers after our time-out"


STRAY = "stray answer on an idle connection"
REFUSED = "provider refused connections for a moment"
REFUSES_S = 0.1


class DatabaseCut(StrEnum):
    """What may happen to a connection to the database."""

    ANYWHERE = "database connection cut"
    IN_TRANSACTION = "database connection cut inside a transaction"
    COMMIT_UNANSWERED = "commit made, its answer lost"


class _Cut(Exception):
    """This connection ends here."""


@dataclass(eq=False, slots=True)
class Line:
    """One connection through the proxy, both ends of it."""

    number: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doom: StrEnum | None = None  # what is to happen to it next
    chunks_left: int = 0  # until it does
    awaited: int | None = None  # bytes of the answer that are still to come; None: all of it is
    strayed_at: float | None = None  # when an answer was made up, by the loop's time

    @property
    def is_idle(self) -> bool:
        """Whether it was asked something, and has answered all of it."""
        return self.awaited == 0 and self.strayed_at is None and not self.client.is_closing()

    def cut(self) -> None:
        """Tear both ends down, as a network does."""
        for writer in (self.client, self.server):
            end = writer.get_extra_info("socket")
            if end is not None and end.family != socket.AF_UNIX:
                with suppress(OSError, ValueError):  # uvloop's word where the end is gone already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@dataclass(slots=True)
class Proxy:
    """Passes bytes on, and does to them what it was armed with.  `done` counts what it did."""

    dial: Dial
    done: Counter[str] = field(default_factory=Counter)
    lines: set[Line] = field(default_factory=set)
    armed: deque[StrEnum] = field(default_factory=deque)
    met: int = 0  # connections so far
    _server: asyncio.Server | None = None
    _meetings: set[asyncio.Task[Any]] = field(default_factory=set)

    def arm(self, mischief: StrEnum) -> None:
        """Have it happen to the next connection that it fits."""
        self.armed.append(mischief)

    def disarm(self) -> None:
        """Forget what was to happen."""
        self.armed.clear()
        for line in self.lines:
            line.doom = None

    def cut_some(self, chance: random.Random, most: int) -> int:
        """Cut up to `most` connections as they are; return how many there were to cut."""
        lines = list(self.lines)
        chosen = chance.sample(lines, min(most, len(lines)))
        for line in chosen:
            line.cut()
        return len(chosen)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen on a port of this machine while the context is open; gives the port."""
        port = await self._listen(0)
        try:
            yield port
        finally:
            if self._server is not None:
                self._server.close()
            for line in list(self.lines):
                line.cut()
            if self._meetings:
                await asyncio.wait(self._meetings)

    async def _listen(self, port: int) -> int:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", port, backlog=512)
        listening_on: int = self._server.sockets[0].getsockname()[1]
        return listening_on

    async def up(self, line: Line, data: bytes) -> bytes:
        """Hear what the client sends; return what is passed on.  Raises _Cut."""
        raise NotImplementedError

    async def down(self, line: Line, data: bytes) -> bytes:
        """Hear what the server answers; return what is passed on.  Raises _Cut."""
        raise NotImplementedError

    async def _meet(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        meeting = asyncio.current_task()
        assert meeting is not None  # noqa: S101  it runs in a task of its server's
        self._meetings.add(meeting)
        meeting.add_done_callback(self._meetings.discard)
        try:
            from_server, to_server = await self.dial()
        except OSError:
            to_client.transport.abort()
            return
        self.met += 1
        line = Line(self.met, to_client, to_server)
        self.lines.add(line)
        pumps = [
            asyncio.create_task(_pump(line, from_client, to_server, self.up)),
            asyncio.create_task(_pump(line, from_server, to_client, self.down)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.lines.discard(line)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.close()


async def _pump(
    line: Line,
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    hear: Callable[[Line, bytes], Awaitable[bytes]],
) -> None:
    """Pass on what comes, until one end is closed."""
    with suppress(OSError, _Cut):
        while data := await source.read(_CHUNK):
            passed = await hear(line, data)
            if passed:
                sink.write(passed)
                await sink.drain()
    line.awaited = None  # it has ended: idle it is no more
    if not sink.is_closing():
        with suppress(OSError, RuntimeError):
            sink.write_eof()
            await asyncio.sleep(0)


# A request so soon after a stray answer may have been under way in a busy process before that came:
# nothing tells such an answer from a true one.
_CROSSED_S = 2.0
_LENGTH = re.compile(rb"(?i)content-length: *([0-9]+)")
_MADE_UP = (
    '{"object":"MessageSent","message_id":null}',
    '{"object":"ChatStarted","chat_id":null,"message_id":null}',
    '{"object":"UserInvitationSent","invitation_id":null}',
    '{"object":"CommentSent","comment_id":null}',
    '{"object":"UserProfile","provider":"LINKEDIN"}',
)
_METHODS = (b"POST /api", b"DELETE /api", b"GET /api")
_WRITES = (b"POST /api", b"DELETE /api")


@dataclass(slots=True)
class ProviderProxy(Proxy):
    """Between tickers and provider.  The simulator's own routes pass untouched."""

    late_s: float = 2.0  # longer than a ticker waits for an answer
    requests: int = 0

    def stray(self, chance: random.Random) -> None:
        """Write an answer that nobody asked for on an idle connection; then read no more of it."""
        idle = [line for line in self.lines if line.is_idle]
        if not idle:
            return
        line = chance.choice(sorted(idle, key=lambda each: each.number))
        body = chance.choice(_MADE_UP)
        head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length:"
        line.client.write(f"{head} {len(body)}\r\n\r\n{body}".encode())
        line.strayed_at = asyncio.get_running_loop().time()
        self.done[STRAY] += 1

    async def refuse(self) -> None:
        """Refuse connections for a moment, and close those on which nothing is under way."""
        if self._server is None:
            return
        port: int = self._server.sockets[0].getsockname()[1]
        self._server.close()
        self._server = None
        for line in list(self.lines):
            if line.is_idle:
                line.cut()
        await asyncio.sleep(REFUSES_S)
        await self._listen(port)
        self.done[REFUSED] += 1

    async def up(self, line: Line, data: bytes) -> bytes:
        """Let what is armed happen to a request; nine in ten times to one that writes."""
        if line.strayed_at is not None:
            if asyncio.get_running_loop().time() - line.strayed_at > _CROSSED_S:
                return b""  # the answer it takes for its own came before it was asked
            line.strayed_at = None  # the two crossed: nobody can know better
        if not data.startswith(_METHODS):
            return data
        line.awaited = None
        self.requests += 1
        mischief = self._fitting(data)
        if mischief is None:
            return data
        self.done[mischief] += 1
        match mischief:
            case ProviderCut.BEFORE:
                line.cut()
                raise _Cut
            case ProviderCut.INSIDE:
                line.server.write(data[: len(data) * 2 // 3])
                await line.server.drain()
                await asyncio.sleep(0.01)  # so that it leaves before the connection ends
                line.cut()
                raise _Cut
            case _:
                line.doom = mischief
        return data

    async def down(self, line: Line, data: bytes) -> bytes:
        """Let what a request is doomed to happen to its answer."""
        doom, line.doom = line.doom, None
        self._await(line, data)
        match doom:
            case ProviderCut.UNANSWERED:
                line.cut()
                raise _Cut
            case ProviderCut.HALF_ANSWERED:
                line.client.write(data[: len(data) // 2])
                await line.client.drain()
                await asyncio.sleep(0.01)
                line.cut()
                raise _Cut
            case ProviderCut.LATE:
                await asyncio.sleep(self.late_s)
            case _:
                pass
        return data

    def _await(self, line: Line, data: bytes) -> None:
        """Note how much of an answer is still to come, by the length that it says."""
        if line.awaited is None:
            head, _, body = data.partition(b"\r\n\r\n")
            said = _LENGTH.search(head)
            line.awaited = int(said[1]) - len(body) if said else None
        else:
            line.awaited = max(line.awaited - len(data), 0)

    def _fitting(self, data: bytes) -> StrEnum | None:
        if not self.armed:
            return None
        is_write = data.startswith(_WRITES) or b"notify=true" in data
        if not is_write and self.requests % 10:
            return None
        return self.armed.popleft()


@dataclass(slots=True)
class DatabaseProxy(Proxy):
    """Between tickers and database."""

    chance: random.Random = field(default_factory=random.Random)

    async def up(self, line: Line, data: bytes) -> bytes:
        """Find the transaction, or the commit, that an armed cut is for."""
        if line.doom is DatabaseCut.IN_TRANSACTION:
            line.chunks_left -= 1
            if line.chunks_left <= 0:
                self.done[line.doom] += 1
                line.cut()
                raise _Cut
        elif line.doom is None and self.armed:
            match self.armed[0]:
                case DatabaseCut.IN_TRANSACTION if b"BEGIN" in data:
                    line.doom = self.armed.popleft()
                    line.chunks_left = self.chance.randint(1, 5)
                case DatabaseCut.COMMIT_UNANSWERED if b"COMMIT" in data:
                    line.doom = self.armed.popleft()
                case _:
                    pass
        return data

    async def down(self, line: Line, data: bytes) -> bytes:
        """Lose the answer to a commit."""
        if line.doom is DatabaseCut.COMMIT_UNANSWERED:
            self.done[line.doom] += 1
            line.cut()
            raise _Cut
        return data

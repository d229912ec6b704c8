"""A TCP proxy that misbehaves on request: between ticker and provider, ticker and database.

What PyPI has of the kind was last touched years ago, and Toxiproxy is a server in Go; what is
needed here is to know what passes (a COMMIT, a request's first bytes) and to cut exactly there.
"""

import asyncio
import random
import socket
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

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

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doom: StrEnum | None = None  # what is to happen to it next
    chunks_left: int = 0  # until it does

    def cut(self) -> None:
        """Tear both ends down, as a network does."""
        for writer in (self.client, self.server):
            end = writer.get_extra_info("socket")
            if end is not None and end.family != socket.AF_UNIX:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@dataclass(slots=True)
class Proxy:
    """Passes bytes on, and does to them what it was armed with.  `done` counts what it did."""

    dial: Dial
    done: Counter[str] = field(default_factory=Counter)
    lines: set[Line] = field(default_factory=set)
    armed: deque[StrEnum] = field(default_factory=deque)

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
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0, backlog=512)
        try:
            port: int = server.sockets[0].getsockname()[1]
            yield port
        finally:
            server.close()
            for line in list(self.lines):
                line.cut()

    async def up(self, line: Line, data: bytes) -> bytes:
        """Hear what the client sends; return what is passed on.  Raises _Cut."""
        raise NotImplementedError

    async def down(self, line: Line, data: bytes) -> bytes:
        """Hear what the server answers; return what is passed on.  Raises _Cut."""
        raise NotImplementedError

    async def _meet(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        try:
            from_server, to_server = await self.dial()
        except OSError:
            to_client.transport.abort()
            return
        line = Line(to_client, to_server)
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
    if not sink.is_closing():
        with suppress(OSError, RuntimeError):
            sink.write_eof()
            await asyncio.sleep(0)


_METHODS = (b"POST /api", b"DELETE /api", b"GET /api")
_WRITES = (b"POST /api", b"DELETE /api")


@dataclass(slots=True)
class ProviderProxy(Proxy):
    """Between tickers and provider.  The simulator's own routes pass untouched."""

    late_s: float = 2.0  # longer than a ticker waits for an answer
    requests: int = 0

    async def up(self, line: Line, data: bytes) -> bytes:
        """Let what is armed happen to a request; nine in ten times to one that writes."""
        if not data.startswith(_METHODS):
            return data
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

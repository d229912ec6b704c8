"""Serves an application with uvicorn, inside the loop that is running already.

The loop and its descriptors are a ticker's as well, so whoever connects can have a share of them
only: connections are taken one at a time, up to a number, and each is closed unless its request is
complete in time.  With that number reached, the one that has waited longest without a complete
request makes room; where every one has such a request, those that come wait in the kernel.
"""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

BACKLOG = 2048
GRACE_S = 5  # for requests under way, once it stops
HEAD_S = 10.0  # from the connection, or the last answer, to the end of a request's head
BODY_S = 20.0  # from there to the end of its body
ANSWER_S = 60.0  # from there to the end of the answer, as far as the other side takes it
MOST_HEAD = 64 * 1024  # bytes of a request's head; the parser itself keeps any number
MOST_PIPELINED = 8  # requests that wait behind another on one connection
MOST_CONNECTIONS = 128
LEAST_CONNECTIONS = 8
SHARE = 8  # of the descriptors that the process may have, one in so many at most
NO_DESCRIPTORS_S = 0.1  # until it is tried again

log = logging.getLogger(__name__)


async def serve(
    app: ASGIApp, host: str, port: int, *, stop: asyncio.Event, ready: Callable[[str], None]
) -> None:
    """Serve until `stop` is set; `ready` is called with the base URL once it listens.

    Port 0 takes any free one.  Signals are left to whoever runs the loop.  Raises OSError when the
    address cannot be listened on.
    """
    with _listener(host, port) as listener:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = _Server(config, listener, lambda: ready(_url(host, listener)))
        served = asyncio.create_task(server.serve(sockets=[listener]))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({served, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            server.should_exit = True
            await served


def most_connections() -> int:
    """Return how many connections are held at once: a share of the process's descriptors."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, allowed // SHARE))


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens, touches no signal, and takes connections by a door."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        await self.lifespan.startup()
        door = _Door(self.config, self.server_state, self._listener, most_connections())
        self.servers = [door]  # type: ignore[list-item]  # it is closed, and waited for
        self.started = True
        self._listening()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Door:
    """Takes connections one at a time, at most `most` at once; closed as a server of asyncio's."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, listener: socket.socket, most: int
    ) -> None:
        self._config = config
        self._state = state
        self._listener = listener
        self._most = most
        self._room = asyncio.Event()
        self._held: dict[_Connection, None] = {}  # those that have waited longest first
        self._taking = asyncio.create_task(self._take())

    def opened(self, connection: "_Connection") -> None:
        self._held[connection] = None

    def waits(self, connection: "_Connection") -> None:
        """Hear that a connection was answered, and waits for its next request."""
        if self._held.pop(connection, False) is None:
            self._held[connection] = None
        self._room.set()

    def closed(self, connection: "_Connection") -> None:
        self._held.pop(connection, None)
        self._room.set()

    def close(self) -> None:
        self._taking.cancel()

    async def wait_closed(self) -> None:
        with suppress(asyncio.CancelledError):
            await self._taking

    async def _take(self) -> None:
        # not the loop's own server, which takes as many at once as its backlog has
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptor is left, or who came has gone
                log.warning("no connection taken", extra={"reason": str(error)})
                await asyncio.sleep(NO_DESCRIPTORS_S)
                continue
            try:
                await self._make_room()
                await loop.connect_accepted_socket(self._connection, taken)
            except OSError:  # who came has gone
                taken.close()
            except BaseException:
                taken.close()
                raise

    async def _make_room(self) -> None:
        while len(self._held) >= self._most:
            self._room.clear()
            idle = next((each for each in self._held if not each.has_request), None)
            if idle is not None:
                idle.drop()
            await self._room.wait()

    def _connection(self) -> "_Connection":
        return _Connection(self._config, self._state, self)


class _Connection(HttpToolsProtocol):
    """A connection that has a moment by which something must be complete, at all times."""

    def __init__(self, config: uvicorn.Config, state: ServerState, door: _Door) -> None:
        super().__init__(config, state, {})
        self._door = door
        self._deadline: asyncio.TimerHandle | None = None
        self._head_size = 0
        self._in_head = True

    @property
    def has_request(self) -> bool:
        """Whether a complete request is being answered."""
        if self.transport.is_closing():
            return False
        return bool(self.pipeline) or (
            self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        )

    def drop(self) -> None:
        """Close it at once, whatever was to be written still."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._door.opened(self)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._within(None)
        self._unset_keepalive_if_required()
        self._door.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._in_head and self._head_size > MOST_HEAD:
            self.drop()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("too many requests at once")
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head, self._head_size = False, 0
        self._within(BODY_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._within(ANSWER_S)
        super().on_message_complete()
        if self.cycle.response_complete:
            self._await_head()

    def on_response_complete(self) -> None:
        is_read = not self.cycle.more_body
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not is_read and not self.pipeline:
            self.transport.close()  # answered before it was read: what is left, nobody reads
        elif not self.has_request:
            self._await_head()
        self._door.waits(self)

    def _await_head(self) -> None:
        self._in_head, self._head_size = True, 0
        self._within(HEAD_S)

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.drop)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

"""Serves the simulator over HTTP, on this machine only."""

import asyncio
import signal
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.app import ABORT, create_app
from clento_engine.simulator.clock import DrivenClock, RunningClock
from clento_engine.simulator.people import Chances
from clento_engine.simulator.scheduler import run
from clento_engine.simulator.senders import Tier
from clento_engine.simulator.webhooks import Courier
from clento_engine.simulator.world import START, Reliability, World

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close sends RST


@dataclass(frozen=True, slots=True)
class Settings:
    """How a simulator is started.  Port 0: any free one.  Speed 0: time is moved by requests."""

    host: str = "127.0.0.1"
    port: int = 0
    speed: float = 0.0
    seed: int = 7
    start: datetime = START
    accounts: int = 1
    tier: Tier = Tier.PREMIUM
    api_key: str | None = None  # None: any key will do
    chances: Chances | None = None
    reliability: Reliability | None = None

    def world(self) -> World:
        """Return the world as these settings begin it."""
        clock = RunningClock(self.start, self.speed) if self.speed else DrivenClock(self.start)
        world = World(
            seed=self.seed, clock=clock, chances=self.chances, reliability=self.reliability
        )
        for _ in range(self.accounts):
            connect_account(world, tier=self.tier)
        return world


class NotLoopback(ValueError):
    """The simulator was asked to listen where others could reach it."""


@asynccontextmanager
async def serving(settings: Settings, world: World | None = None) -> AsyncGenerator[str]:
    """Serve while the context is open, in the running loop; gives the base URL.

    `world` is used instead of the one the settings describe.  Raises NotLoopback.
    """
    listener = _listener(settings.host, settings.port)
    world = world or settings.world()
    config = uvicorn.Config(
        create_app(world, api_key=settings.api_key),
        http=_Abortable,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        backlog=_BACKLOG,
    )
    server = _Server(config)
    served = asyncio.create_task(server.serve(sockets=[listener]))
    ran = asyncio.create_task(run(world, settings.speed)) if settings.speed else None
    try:
        await server.ready.wait()
        host, port = listener.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        if ran is not None:
            ran.cancel()
            with suppress(asyncio.CancelledError):
                await ran
        server.should_exit = True
        await served
        if isinstance(world.deliver, Courier):
            await world.deliver.close()


async def serve(
    settings: Settings,
    *,
    world: World | None = None,
    on_ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the base URL once it listens."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError):  # Windows; a thread that is not the main
            loop.add_signal_handler(number, stop.set)
    async with serving(settings, world) as url:
        on_ready(url)
        await stop.wait()


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and leaves signals to whoever started it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Abortable(HttpToolsProtocol):
    """Lets the application tear its connection down, as networks do."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # the extension is ours alone, and holds a function where ASGI's own hold data
        self.scope["extensions"] = {ABORT: self._abort}  # type: ignore[dict-item]

    def _abort(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):  # it was closed already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


def _listener(host: str, port: int) -> socket.socket:
    """Return a listening socket; refuse an address that others could reach."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise NotLoopback(f"The simulator listens on a loopback address only, not on {host}.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener

"""The demo's stand-in for the customer: it takes notices and counts them by their id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clento_engine.domain.reach import read_reach
from clento_engine.interface.api import serve

LOCAL = read_reach("127.0.0.0/8")  # where this receiver is


class Receiver:
    """What arrived; a notice that came twice is one."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.app = Starlette(routes=[Route("/notices", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        await request.body()
        self.ids.add(request.headers["webhook-id"])
        return Response(status_code=204)

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[str]:
        """Listen while the context is open; the URL for notices."""
        stop, ready = asyncio.Event(), asyncio.Event()
        served = asyncio.create_task(
            serve(self.app, "127.0.0.1", port, stop=stop, ready=lambda _url: ready.set())
        )
        await ready.wait()
        try:
            yield f"http://127.0.0.1:{port}/notices"
        finally:
            stop.set()
            await served

"""Where the webhooks come in: handed on to a ticker that lives, twice, late, in any order."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clento_engine.interface.api import serve

TWICE = "webhook delivered twice"
LATE = "webhook late, overtaken by others"
REFUSED = "webhook not taken"
_UNAVAILABLE = 503
_TIME_LIMIT_S = 5.0


@dataclass(slots=True)
class Gateway:
    """Answers the provider with what a ticker answered.  `done` counts what it did besides."""

    ports: Sequence[int]  # of the tickers that listen
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    share: float = 0.1  # of each mischief
    stretch: float = 1.0  # as `Shaken.stretch`
    notices: Counter[str] = field(default_factory=Counter)  # by the id of the notice
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False))
    _again: set[asyncio.Task[int]] = field(default_factory=set)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen while the context is open; the base URL."""
        stop: asyncio.Event = asyncio.Event()
        url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        served = asyncio.create_task(
            serve(self.app(), "127.0.0.1", 0, stop=stop, ready=url.set_result)
        )
        try:
            yield await url
        finally:
            stop.set()
            for task in self._again:
                task.cancel()
            await served
            await self.client.aclose()

    def app(self) -> Starlette:
        """Return what listens."""
        return Starlette(
            routes=[
                Route("/notices", self._notice, methods=["POST"]),
                Route("/{path:path}", self._hand_on, methods=["POST"]),
            ]
        )

    def calm(self, ports: Sequence[int]) -> None:
        """Hand everything on once, at once, to those that listen at `ports`."""
        self.ports = ports
        self.share = 0.0

    async def _notice(self, request: Request) -> Response:
        """Take a notice of ours to the customer."""
        await request.body()
        self.notices[request.headers.get("webhook-id", "")] += 1
        return Response(status_code=204)

    async def _hand_on(self, request: Request) -> Response:
        body = await request.body()
        headers = {"Unipile-Auth": request.headers.get("Unipile-Auth", "")}
        if self.chance.random() < self.share:
            self.done[LATE] += 1
            await asyncio.sleep(self.chance.uniform(0.5, 4) * self.stretch)
        status = await self.post(request.url.path, body, headers)
        if self.chance.random() < self.share:
            self.done[TWICE] += 1
            again = asyncio.create_task(self.post(request.url.path, body, headers))
            self._again.add(again)
            again.add_done_callback(self._again.discard)
        return Response(status_code=status)

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Hand a webhook to the first ticker that takes it; its status."""
        for port in self.chance.sample(list(self.ports), len(self.ports)):
            try:
                answer = await self.client.post(
                    f"http://127.0.0.1:{port}{path}",
                    content=body,
                    headers=headers,
                    timeout=_TIME_LIMIT_S,
                )
            except (httpx.HTTPError, AttributeError):  # the latter from anyio, of a reset socket
                continue
            return answer.status_code
        self.done[REFUSED] += 1
        return _UNAVAILABLE

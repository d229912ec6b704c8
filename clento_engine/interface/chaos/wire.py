"""Requests of a process that can die at each of them."""

import httpx

from clento_engine.store.mortal import Life


class Wire(httpx.AsyncBaseTransport):
    """A transport whose every request is an exchange of its process."""

    def __init__(self, inner: httpx.AsyncBaseTransport, life: Life) -> None:
        """Hand the requests of `life` on to `inner`."""
        self._inner = inner
        self._life = life

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, if the process lives."""
        number = len(self._life.places) + 1
        try:
            return await self._life.exchange(lambda: self._inner.handle_async_request(request))
        except Exception:
            self._life.unanswered.append(number)
            raise

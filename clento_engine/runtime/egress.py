"""The connections to addresses that users name, each looked at where its socket is made.

A name is looked up once and its answers go to the sockets: what is judged is what is connected to,
so that no second answer of a name server can be another.  Nothing of the environment is used:
a proxy would be the one to connect, and `.netrc` gives passwords away.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

from clento_engine.domain.reach import SETTING, Reach

# Look-ups under way, each in a thread: a name server that never answers holds that many, and none
# of those that the loop's own look-ups have.
MOST_LOOKUPS = 32
MOST_HEADER = 8190  # bytes of a line of an answer's head

AddressInfo = tuple[Any, ...]


class NotPublic(PermissionError):
    """An address that notices may not go to.

    All have the same words, since the connector tells of several failures as one only then.
    """

    def __init__(self) -> None:
        super().__init__(EACCES, f"the address is not public, and {SETTING} does not list it")


def guarded_client(reach: Reach) -> httpx.AsyncClient:
    """Return a client that connects to what `reach` allows, and follows no redirect."""
    return httpx.AsyncClient(transport=_Guarded(reach), trust_env=False, follow_redirects=False)


def refusal(error: BaseException) -> NotPublic | None:
    """Return the refused address behind an error of the client, if that is what it was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NotPublic):
            return cause
        inner = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else None
        cause = inner or cause.__cause__
    return None


class _Guarded(httpx.AsyncBaseTransport):
    """Sends requests for hosts that are listed by name freely, all others by guarded sockets."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._guarded = _transport(_socket_for(reach))
        self._free = _transport(None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_listed = self._reach.names(request.url.host)
        return await (self._free if is_listed else self._guarded).handle_async_request(request)

    async def aclose(self) -> None:
        await self._guarded.aclose()
        await self._free.aclose()


def _socket_for(reach: Reach) -> Callable[[AddressInfo], socket.socket]:
    """Return what makes a socket for the address it will be connected to, or refuses to."""

    def made(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, place = info
        try:
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        except ValueError:
            raise NotPublic from None
        if not reach.allows(address):
            raise NotPublic
        return socket.socket(family, kind, protocol)

    return made


def _transport(factory: Callable[[AddressInfo], socket.socket] | None) -> httpx.AsyncBaseTransport:
    context = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=context,
            limit=0,
            force_close=True,  # a notice has one connection: none is kept, none is found dead
            use_dns_cache=False,
            resolver=_Resolver(),
            socket_factory=factory,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            max_line_size=MOST_HEADER,
            max_field_size=MOST_HEADER,
        )

    return AiohttpTransport(verify=context, client=session)


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own, which nobody waits for at the end."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(MOST_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.  Raises OSError."""
        if not self._slots.acquire(blocking=False):
            raise OSError("too many names are being looked up")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[AddressInfo]] = loop.create_future()

        def tell(answer: list[AddressInfo] | Exception) -> None:
            if found.done():
                return
            if isinstance(answer, Exception):
                found.set_exception(answer)
            else:
                found.set_result(answer)

        def look() -> None:
            answer: list[AddressInfo] | Exception
            try:
                answer = list(
                    socket.getaddrinfo(
                        host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                    )
                )
            except (OSError, UnicodeError) as error:  # a name with an empty or overlong label
                answer = error if isinstance(error, OSError) else OSError(str(error))
            finally:
                self._slots.release()
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, answer)

        threading.Thread(target=look, name="webhook-lookup", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=str(place[0]),
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, place in await found
        ]

    async def close(self) -> None:
        """Leave look-ups that are under way to themselves."""

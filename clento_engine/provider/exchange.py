"""One request to Unipile's API v1 and its answer: a success, a refusal, or silence."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from time import perf_counter
from typing import cast
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import httpx

from clento_engine.provider import bodies, decode
from clento_engine.provider.answers import Call, Refusal, Silence
from clento_engine.provider.decode import clean
from clento_engine.provider.encode import Content
from clento_engine.provider.skew import Skew, Span, parsed_date
from clento_engine.provider.transport import aiohttp_transport, write_within

log = logging.getLogger(__name__)

BASE_PATH = "/api/v1"
CONNECT_TIMEOUT = timedelta(seconds=10)
READ_TIMEOUT = timedelta(seconds=90)  # calls go on to LinkedIn and can be slow
MAX_REDIRECTS = 3

_MAX_RETRY_AFTER = timedelta(days=30)

ROOM = bodies.Room(bodies.ROOM, usual=bodies.USUAL)  # of the process, whatever clients it has


def normalise_dsn(text: str) -> str:
    """Return scheme, host and port of Unipile, in whichever spelling the DSN was given.

    A server behind the query `?port=NNNNN` keeps it.  Raises ValueError with the fix in words.
    """
    example = "; UNIPILE_DSN should be host and port, like api8.unipile.com:13443"
    bare = text.strip().strip("\"'").strip()
    if not bare:
        raise ValueError(f"the address of Unipile is empty{example}")
    try:
        url = urlsplit(bare if "://" in bare else f"https://{bare}")
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise ValueError(f"the address of Unipile cannot be read ({error}){example}") from None
    if url.scheme not in ("https", "http"):
        raise ValueError(f"the address of Unipile must begin with https://{example}")
    if url.username is not None or url.password is not None:
        raise ValueError(f"the address of Unipile must hold no user or password{example}")
    if not host or any(c.isspace() or c in "\"'\\%" or not c.isprintable() for c in host):
        raise ValueError(f"the address of Unipile names no host{example}")
    if url.path.rstrip("/") not in ("", BASE_PATH):
        raise ValueError(f"leave {url.path!r} out, {BASE_PATH} is added by the engine{example}")
    query, behind = url.query, url.query.removeprefix("port=")
    if url.fragment or (query and not (query.startswith("port=") and behind.isdecimal())):
        raise ValueError(f"leave out what follows the host, except ?port=NNNNN{example}")
    netloc = f"[{host}]" if ":" in host else host
    netloc = netloc if port is None else f"{netloc}:{port}"
    dsn = f"{url.scheme}://{netloc}" + (f"?{query}" if query else "")
    try:
        httpx.URL(dsn)
    except httpx.InvalidURL as error:
        raise ValueError(f"the address of Unipile cannot be read ({error}){example}") from None
    return dsn


@dataclass(frozen=True, slots=True)
class Success:
    """A 2xx answer of Unipile's: JSON with its tag `object`.

    `flaw`: why its body is not believed, and None: it is too long, packed in an unknown way.
    """

    body: object
    flaw: str | None = None


Reply = Success | Refusal | Silence


class Exchange:
    """Sends requests with one access token and reads their answers.

    `limit_s`: what a request may take.  `room`: for the bodies of answers.  `skew`: of the clocks.
    """

    def __init__(
        self,
        dsn: str,
        access_token: str,
        *,
        transport: httpx.AsyncBaseTransport | None,
        connect_timeout: timedelta,
        read_timeout: timedelta,
        clock: Callable[[], datetime] | None,
        tolerance: timedelta,
        room: bodies.Room,
    ) -> None:
        """Prepare; nothing is opened before the first request.  See `UnipileClient`.

        Raises ValueError when DSN or token cannot be right.
        """
        token = access_token.strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError("set UNIPILE_ACCESS_TOKEN to the access token of Unipile's dashboard")
        origin, _, self._port_query = normalise_dsn(dsn).partition("?")
        self.address = origin + BASE_PATH
        self._transport = aiohttp_transport() if transport is None else transport
        self._headers = [
            (b"x-api-key", token.encode()),
            (b"accept", b"application/json"),
            (b"accept-encoding", bodies.ENCODINGS),
            (b"user-agent", b"clento-engine"),
        ]
        connect_s, read_s = connect_timeout.total_seconds(), read_timeout.total_seconds()
        # httpx-aiohttp takes `pool` as aiohttp's limit for name look-up, connect and TLS together.
        timeouts = {"connect": connect_s, "read": read_s, "write": read_s, "pool": connect_s}
        self._extensions = {"timeout": timeouts}
        self.limit_s = connect_s + read_s  # of a request, from its call to its answer
        self._connect_s = connect_s
        self._clock = clock
        self.room = room
        self.skew = Skew(tolerance)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def ask(
        self,
        call: Call,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        content: Content | None = None,
        share: bodies.Share | None = None,
    ) -> Reply:
        """Send one request, follow its redirects if it is a GET, and read the answer.

        Without a `share` of its own the body gives its room back once it was read.
        """
        if share is None:
            with self.room.share() as own:
                return await self.ask(call, path, query, content=content, share=own)
        started = perf_counter()
        sent_at = self.now()
        write_within(self._connect_s)
        try:
            request = self._request(call, path, query, content)
        except httpx.InvalidURL:  # longer than httpx allows: an identifier or cursor gone wrong
            return Refusal(call, httpx.codes.REQUEST_URI_TOO_LONG, "invalid_url")
        response: httpx.Response | None = None
        body: object = None
        broken: BaseException | None = None
        try:
            async with asyncio.timeout(self.limit_s):
                response = await self._follow(request)
                try:
                    body = _parsed(await self._body(call, response, share))
                finally:
                    await response.aclose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the request may have left
            broken = bodies.without_frames(error)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "unipile method=%s route=%r status=%s ms=%.1f",
                call.method,
                call.value,
                type(broken).__name__ if response is None else response.status_code,
                (perf_counter() - started) * 1000,
            )
        if response is None:
            return _silence(call, broken)
        if sent_at is not None and isinstance(body, dict):
            self._compare(sent_at, response.headers)
        if response.is_success:
            if isinstance(broken, bodies.Refused):
                return Success(None, str(broken))
            if broken is not None:
                return _silence(call, broken)
            if decode.kind(body) is None:  # a page of a gateway's, or half an answer
                return Refusal(call, response.status_code)
            return Success(body)
        return Refusal(
            call, response.status_code, decode.error_type(body), _retry_after(response.headers)
        )

    async def _body(self, call: Call, response: httpx.Response, share: bodies.Share) -> bytearray:
        """Read a body that may be trusted to fit.  Raises bodies.Refused."""
        body = await bodies.read_body(
            cast("httpx.AsyncByteStream", response.stream),
            response.headers.get("content-encoding", ""),
            longest=bodies.LONGEST_WRITE if call.is_write else bodies.LONGEST_READ,
            share=share,
        )
        bodies.require_few_values(body)
        return body

    def now(self) -> datetime | None:
        """Read the clock, if there is one; no answer is lost because it cannot be read."""
        if self._clock is None:
            return None
        try:
            return self._clock()
        except Exception:  # noqa: BLE001  a clock that jumped: whoever needs the time is told so
            return None

    def _compare(self, sent_at: datetime, headers: httpx.Headers) -> None:
        """Learn from an answer's `Date`, unless a cache kept the answer: its Date is of then.

        Only where the body is JSON, and so Unipile's: a gateway's page has the gateway's time.
        """
        date = None if "age" in headers else parsed_date(headers.get("date", ""))
        read_at = self.now()
        if date is not None and read_at is not None:
            span = Span.measured(sent_at, date, read_at)
            if span is not None:
                self.skew.learn(span)

    def _request(
        self, call: Call, path: str, query: Mapping[str, str] | None, content: Content | None
    ) -> httpx.Request:
        words = self._port_query
        if query:
            asked = urlencode({k: clean(v) for k, v in query.items()}, quote_via=quote)
            words = f"{words}&{asked}" if words else asked
        url = f"{self.address}{path}?{words}" if words else f"{self.address}{path}"
        if content is None:
            return httpx.Request(
                call.method, url, headers=self._headers, extensions=self._extensions
            )
        return httpx.Request(
            call.method,
            url,
            headers=[*self._headers, (b"content-type", content.type.encode())],
            content=content.data,
            extensions=self._extensions,
        )

    async def _follow(self, request: httpx.Request) -> httpx.Response:
        """Send a request; follow redirects of a GET within the host, which holds our token."""
        response = await self._transport.handle_async_request(request)
        for _ in range(MAX_REDIRECTS):
            if request.method != "GET" or not response.has_redirect_location:
                break
            with suppress(httpx.InvalidURL):
                target = request.url.join(response.headers["location"])
                if _origin(target) == _origin(request.url):
                    await response.aclose()
                    request = httpx.Request(
                        "GET", target, headers=self._headers, extensions=self._extensions
                    )
                    response = await self._transport.handle_async_request(request)
                    continue
            break
        return response


def _silence(call: Call, error: BaseException | None) -> Silence:
    """Say whether a request that was not answered can have left, and when in doubt that it has.

    httpx-aiohttp makes a ConnectTimeout of nearly everything, a connection that breaks after the
    request was written included (tried on sockets), so aiohttp's own error behind it decides.
    """
    cause = error.__cause__ if error is not None else None
    if isinstance(cause, aiohttp.ClientError):
        left = not isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    else:
        left = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        cause = error
    name = type(cause).__name__  # not its text, which may hold the URL and so a person
    return Silence(call, f"no answer: {name}" if left else f"no connection: {name}", left)


def _parsed(raw: bytearray) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # HTML of a gateway, half an answer, nothing
        return None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _retry_after(headers: httpx.Headers) -> timedelta | None:
    """Read `Retry-After`: seconds, or a date, which is held against the answer's own `Date`."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            return min(timedelta(seconds=int(value)), _MAX_RETRY_AFTER)
        wanted = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wanted, timedelta()), _MAX_RETRY_AFTER)

"""Connections on which no request waits, is sent twice or late, or is given another's answer.

Requests go to this httpx *transport* itself, not through `httpx.AsyncClient`, which would log every
URL at INFO, keep cookies from one account to the next, carry the access token along redirects, and
double the time a request takes (measured: 150 against 300 µs).  None of its services is missed.
"""

import math
import select
import socket
from contextvars import ContextVar
from datetime import timedelta
from time import perf_counter

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from httpx_aiohttp import AiohttpTransport

# A POST written while the server drops an idle connection has an unknown outcome, so connections
# are dropped before the server does: Node's default is 5 s, nginx's 75 s.
KEEP_ALIVE = timedelta(seconds=4)
# Bytes of an answer that are taken before they are asked for, by the kernel (which doubles it) and
# by aiohttp: at 30 ms from the server they still let 2 MB a second through.
RECEIVE_AHEAD, READ_AHEAD = 1 << 15, 1 << 14

# By when (perf_counter) the request under way must be written.
_WRITTEN_BY: ContextVar[float] = ContextVar("written_by")


def write_within(limit_s: float) -> None:
    """Have the next request of this task written within so many seconds, or not at all."""
    _WRITTEN_BY.set(perf_counter() + limit_s)


def _need_time() -> None:
    """Raise what says that nothing left, when the time to write is over.

    A process that was stopped wakes with a lease that may be over, and would notice its time-outs
    only after the request was written.
    """
    if perf_counter() > _WRITTEN_BY.get(math.inf):
        raise aiohttp.ConnectionTimeoutError("too late to write the request")


class _Request(aiohttp.ClientRequest):
    """Looks at the time where the bytes of a body, and with them all others, are written.

    On Python 3.11 that is a task of its own: every other task may have a turn before it.
    """

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: aiohttp.connector.Connection,
        content_length: int | None = None,
    ) -> None:
        try:
            _need_time()
        except aiohttp.ConnectionTimeoutError as late:
            assert conn.protocol is not None  # noqa: S101  only a released one has none
            conn.protocol.set_exception(late)  # for whoever waits for the answer
            conn.close()
            return
        await super().write_bytes(writer, conn, content_length)


def _is_tainted(protocol: ResponseHandler | None) -> bool:
    """Whether anything came on a connection since its last answer: bytes, or its end.

    The next request would be given them as its answer.  They are in the protocol, or still in the
    kernel.  (Of TLS they may be no more than a session ticket: then a connection is lost, no
    request.)
    """
    if protocol is None or protocol.transport is None or protocol.should_close:
        return True
    sock = protocol.transport.get_extra_info("socket")
    if sock is None or (descriptor := sock.fileno()) < 0:  # it has ended
        return True
    readable = select.poll()  # not `select.select`, which knows the first 1,024 files only
    readable.register(descriptor, select.POLLIN)
    return bool(readable.poll(0))


class _Connector(aiohttp.TCPConnector):
    """Gives connections on which nothing came while they were idle, and nothing is written late.

    What comes on an idle connection answers no request of ours, and aiohttp would hand it to the
    next one as its answer: an invitation would be "sent" that the server never read.
    For late writes see `_need_time`.
    """

    async def _get(
        self, key: ConnectionKey, traces: list[aiohttp.tracing.Trace]
    ) -> aiohttp.connector.Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if not _is_tainted(kept.protocol):
                return kept
            if kept.transport is not None:
                kept.transport.abort()  # nobody is left to end it politely with
            kept.close()
        return None

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        super()._release(key, protocol, should_close=should_close)
        # Without a parser the protocol keeps all that comes, half an answer too, and says so by
        # `should_close`.  The next request brings a parser of its own.
        protocol._parser = None  # noqa: SLF001

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as aiohttp names it
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            _need_time()
        except aiohttp.ConnectionTimeoutError:
            connection.close()
            raise
        return connection


def _small_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that takes little ahead of its reader: the loop hands on all that it has.

    300 answers that are waiting for room held 77 MB in the loop's buffers, where 256 KB fit each.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_AHEAD)
    return made


def aiohttp_transport() -> httpx.AsyncBaseTransport:
    """Make the transport that is used by default: never queues, never sends anything twice."""
    context = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        # No limit: a request that waited for a free connection would be sent on a stale look at
        # campaign and suppression.  (httpx-aiohttp reads `Limits(max_connections=None)` as 100.)
        connector = _Connector(
            limit=0,
            ssl=context,
            keepalive_timeout=KEEP_ALIVE.total_seconds(),
            socket_factory=_small_socket,
        )
        made = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            read_bufsize=READ_AHEAD,
        )
        # aiohttp repeats GET and DELETE by itself when a kept connection turns out to be dead: a
        # visit is a GET, a withdrawal a DELETE.  There is no public switch; a test watches it.
        made._retry_connection = False  # noqa: SLF001
        return made

    return AiohttpTransport(verify=context, client=session)

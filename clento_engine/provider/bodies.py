"""The bodies of answers, read in bounded memory: none too long, and not too many bytes at once.

What is counted is what comes out of a compressed body, while it is read: a bomb of some kilobytes
ends like an answer without end.  Measured: a page of 250 messages is 0.4 MB, and a tenth of that on
the wire as gzip, so compression is asked for; only the two kinds that zlib unpacks in steps.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterable, Iterator
from types import TracebackType
from typing import Protocol, Self

MB = 1 << 20

# Of one answer.  The longest that is asked for, 250 messages or accounts, has less than one MB.
LONGEST_READ = 4 * MB
LONGEST_WRITE = MB  # of the answer to a write; a visit's is a whole profile
LONGEST_LIST = 12 * MB  # all pages of one list together, and what is made of them
ITEM = 500  # bytes of an item of a list, beside its texts
# Of all answers that a process reads at one time: 32 MB, of which so much is kept for each of 300
# requests that a usual answer never waits behind those of others.
USUAL = 1 << 14
ROOM = 32 * MB - 300 * USUAL

# Objects, lists and what is in them, by the signs that begin or part them: each costs a hundred
# bytes or more once it is read, so that 4 MB of `{},` would come to 100 MB.
MOST_VALUES = 200_000

ENCODINGS = b"gzip, deflate"  # what is asked for

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_STEP = 1 << 16  # bytes that are unpacked at a time


class Refused(Exception):
    """A body that is not read (to its end): too long, packed in an unknown way, or no room."""


class Room:
    """A number of bytes that the answers under way share; who finds too few waits for more.

    Each reader takes bytes as its answer grows.  Should all that hold some wait for more, nobody
    would ever give any back: the last of them is refused instead.
    """

    def __init__(self, size: int, *, usual: int = 0) -> None:
        """Begin with all of it free; the first `usual` bytes of each share are not taken of it."""
        self._free = size
        self._usual = usual
        self._readers = 0  # that hold bytes
        self._stuck = 0  # of these, that wait for more
        self._waiting: deque[tuple[asyncio.Future[None], Share, int]] = deque()

    def share(self) -> "Share":
        """Return the share of one reader: none yet."""
        return Share(self, self._usual)

    async def take(self, share: "Share", size: int) -> None:
        """Give a share more bytes, once they are there.  Raises Refused; see above."""
        if not self._waiting and size <= self._free:
            self._give(share, size)
            return
        if share.held and self._stuck + 1 == self._readers:
            raise Refused("no room for more answers")
        ticket = (asyncio.get_running_loop().create_future(), share, size)
        self._waiting.append(ticket)
        counted = bool(share.held)
        self._stuck += counted
        try:
            await ticket[0]
        finally:
            self._stuck -= counted
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._serve()

    def give_back(self, share: "Share") -> None:
        """Take all bytes of a share back, and serve who waits for some."""
        self._readers -= bool(share.held)
        self._free += share.held
        share.held = 0
        self._serve()

    def _give(self, share: "Share", size: int) -> None:
        self._readers += not share.held
        self._free -= size
        share.held += size

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][2] <= self._free:
            future, share, size = self._waiting.popleft()
            if not future.done():  # or it was given up
                self._give(share, size)
                future.set_result(None)


class Share:
    """The bytes of one reader, given back at the end of `with`."""

    def __init__(self, room: Room, usual: int = 0) -> None:
        """Hold none of `room` yet."""
        self._room = room
        self._usual = usual
        self.held = 0

    async def take(self, size: int) -> None:
        """Take more.  Raises Refused."""
        own = min(size, self._usual)
        self._usual -= own
        if size > own:
            await self._room.take(self, size - own)

    def __enter__(self) -> Self:
        """Return the share."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give all of it back."""
        self._room.give_back(self)


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = ...) -> bytes: ...


async def read_body(
    chunks: AsyncIterable[bytes], encoding: str, *, longest: int, share: Share
) -> bytearray:
    """Return a body, unpacked.  Raises Refused when it is longer than `longest`, or has no room.

    `encoding` is the answer's `Content-Encoding`.  What the transport raises passes through; a
    packed body that is damaged or ends too soon is Refused.
    """
    packing = encoding.strip().lower()
    if packing not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Refused("packed in a way that nobody asked for")
    body = bytearray()
    try:
        await _read_into(body, chunks, packing, longest, share)
    except BaseException:
        body.clear()  # the error has a hold on this frame
        raise
    return body


async def _read_into(
    body: bytearray, chunks: AsyncIterable[bytes], packing: str, longest: int, share: Share
) -> None:
    unpacker: _Unpacker | None = None
    came = 0
    async for chunk in chunks:
        came += len(chunk)
        if came > longest:  # packed, it may bring nothing and have no end
            raise Refused("too long")
        if unpacker is None and packing not in ("", "identity") and chunk:
            unpacker = zlib.decompressobj(_window(packing, chunk))
        for part in (chunk,) if unpacker is None else _unpacked(unpacker, chunk):
            if len(body) + len(part) > longest:
                raise Refused("too long")
            await share.take(len(part))
            body += part
    if unpacker is not None and not unpacker.eof:
        raise Refused("it ends too soon")


def without_frames(error: BaseException) -> BaseException:
    """Return an error that no longer holds the frames that it passed, and bodies in them.

    They hold it as well: such a ring lasts until the garbage collector comes, which is seldom.
    """
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def require_few_values(body: bytes | bytearray) -> None:
    """Raise Refused when there is more in a JSON body than `MOST_VALUES`, before it is read."""
    if body.count(b",") + body.count(b"{") + body.count(b"[") > MOST_VALUES:
        raise Refused("too many values")


def _window(packing: str, first: bytes) -> int:
    if packing != "deflate":
        return _GZIP
    # RFC 9110 means zlib's format; some servers send bare deflate, whose first byte differs
    return _ZLIB if first[0] & 0x0F == zlib.DEFLATED else _RAW


def _unpacked(unpacker: _Unpacker, chunk: bytes) -> Iterator[bytes]:
    """Unpack in steps: one chunk may come to a thousand times its size."""
    left = chunk
    while left and not unpacker.eof:
        try:
            part = unpacker.decompress(left, _STEP)
        except zlib.error:
            raise Refused("it is damaged") from None
        left = unpacker.unconsumed_tail
        yield part

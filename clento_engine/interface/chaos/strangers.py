"""Strangers at the door: connections that say a little, slowly, and never end."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

# A request that has begun: the headers never end, or the body that they announce never comes.
_BEGINNINGS = (
    b"POST /webhooks/unipile HTTP/1.1\r\nHost: storm\r\n",
    b"POST /webhooks/unipile HTTP/1.1\r\nHost: storm\r\nContent-Length: 4000\r\n\r\n{",
    b"GET / HTTP/1.1\r\nX-Slow: ",
    b"",
)


async def crowd_the_door(
    ports: Sequence[int], count: int, seconds: float, chance: random.Random
) -> int:
    """Hold `count` slow connections to each port for so long; return how many were opened."""
    opened: list[asyncio.StreamWriter] = []
    try:
        for port in ports:
            for _ in range(count):
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:  # nobody listens there just now
                    break
                opened.append(writer)
                writer.write(chance.choice(_BEGINNINGS))
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(0.5)
            for writer in opened:
                if not writer.is_closing():
                    writer.write(b"a")
    finally:
        for writer in opened:
            writer.close()
        for writer in opened:
            with suppress(OSError):
                await writer.wait_closed()
    return len(opened)

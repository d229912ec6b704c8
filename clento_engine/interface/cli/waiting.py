"""Waiting for what is in flight, so that an answer means that nothing more arrives."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from clento_engine.domain.limits import LEASE
from clento_engine.interface.cli.failures import Refused
from clento_engine.interface.cli.output import note

WAIT = LEASE + timedelta(seconds=30)  # after this, what was in flight is nobody's any more
LOOK_AGAIN_S = 0.3


async def settled(in_flight: Callable[[], Awaitable[int]]) -> int:
    """Wait until nothing is in flight, or nobody can be working on it; return what is left."""
    until = time.monotonic() + WAIT.total_seconds()
    said = 0
    while True:
        left = await in_flight()
        if left == 0 or time.monotonic() >= until:
            return left
        if left != said:
            note(f"waiting for {left:,} actions in flight …")
            said = left
        await asyncio.sleep(LOOK_AGAIN_S)


def still_in_flight(done: str, left: int) -> Refused:
    """Say that `done` is so, but that not all that was begun before it is known."""
    return Refused(
        f"{done}, but {left:,} actions are still in flight after {WAIT.total_seconds():.0f} s",
        "see that a ticker runs: it will ask the provider what became of them",
    )

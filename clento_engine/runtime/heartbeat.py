"""The heartbeat of a ticker, and what it looks at now and then: lanes that would sleep for ever."""

import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from typing import Literal

from clento_engine.runtime.witness import look_at_stamp
from clento_engine.runtime.world import World, surely
from clento_engine.store.database import Lost
from clento_engine.store.errors import DatabaseUnavailable
from clento_engine.store.lanes import Wrong, mend_lanes
from clento_engine.store.rests import mend_rest
from clento_engine.store.tickers import Ticker, beat, ended

EVERY = timedelta(seconds=30)  # of real time
MENDED = "lane mended"  # as it is logged

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes that this process looks for what is due."""

    def __init__(self, world: World, kind: Literal["tick", "run"]) -> None:
        """Begin with nothing written."""
        now = world.clock()
        self._world = world
        self._ticker = Ticker(
            host=socket.gethostname(),
            kind=kind,
            pid=os.getpid(),
            version=version("clento-engine"),
            provider=None if world.workspace is None else world.workspace.dsn,
            started_at=now,
            seen_at=now,
        )
        self._next = 0.0

    async def beat(self) -> None:
        """Write it, every half minute at most; mend the lanes when that is due, over all hosts."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY.total_seconds()
        world, ticker = self._world, replace(self._ticker, seen_at=self._world.clock())
        await look_at_stamp(world)
        async with world.database.connection() as conn:
            is_to_look = await beat(conn, ticker)
        if is_to_look:
            await mend(world)

    async def end(self) -> None:
        """Write that this process ended in order: an upgrade need not wait for its silence."""
        with suppress(DatabaseUnavailable, Lost):  # then it falls silent by itself
            async with self._world.database.connection() as conn:
                await ended(conn, self._ticker)


async def mend(world: World) -> list[Wrong]:
    """Hold lanes against their first leads and mend what is wrong; return what was, logged.

    A rest of the workspace that a wrong clock made ends as well.
    """
    async with world.database.connection() as conn:
        if await mend_rest(conn, world.clock()):
            log.warning("rest mended: it was longer than any", extra={"alert": True})

    async def once() -> list[Wrong]:
        async with world.database.connection() as conn:
            return await mend_lanes(conn, world.clock())

    mended = await surely(once)
    for each in mended:
        log.warning(
            MENDED,
            extra={
                "campaign_id": str(each.campaign_id),
                "account_id": str(each.account_id),
                "operation": each.operation,
                "problem": each.problem,
                "alert": True,
            },
        )
    return mended

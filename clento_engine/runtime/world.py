"""What the runtime works on: the database, the provider, the clock, and how much at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from clento_engine.domain.limits import LEASE
from clento_engine.domain.report import Report
from clento_engine.provider.port import Provider
from clento_engine.runtime.clock import Clock
from clento_engine.runtime.marks import Marks
from clento_engine.runtime.workspace import Workspace
from clento_engine.store.apart import settle_apart
from clento_engine.store.database import Database, Undone
from clento_engine.store.settle import Settled, settle

T = TypeVar("T")

# Half of what is under way is settled and claimed in one turn, and much of what a turn costs is the
# same for 10 steps and for 100: with 100 at once a fifth fewer are taken, with 400 little more.
SLOTS = 300


@dataclass(frozen=True, slots=True)
class World:
    """Everything a tick needs.

    `slots`: the most requests under way at once.  `request_limit`: the longest one may take; it
    must end inside `lease`, the time that a claimed step is ours.  `overlapping`: whether a tick
    with much to do may have two turns under way; which step comes first is then left to chance.
    `workspace`: which provider it is, held against what the database is bound to; None: nothing is.
    `marks`: what this host remembers of the database, held against it; None: nothing.
    """

    database: Database
    provider: Provider
    clock: Clock
    slots: int = SLOTS
    lease: timedelta = LEASE
    request_limit: timedelta = timedelta(seconds=110)
    overlapping: bool = True
    workspace: Workspace | None = None
    marks: Marks | None = None

    def __post_init__(self) -> None:
        """Refuse a lease for which the sliding windows make no room: caps would be passed."""
        if self.lease > LEASE:
            raise ValueError(f"a lease may last {LEASE} at most, not {self.lease}")


async def surely(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction, and again when PostgreSQL undid it to resolve a deadlock."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(Undone),
        stop=stop_after_attempt(5),
        wait=wait_random(0, 0.1),
        reraise=True,
    ):
        with attempt:
            return await transaction()
    raise AssertionError("the last attempt returns or raises")


async def settled(world: World, reports: list[Report], now: datetime, actor: str) -> Settled:
    """Settle a batch; where that fails each report by itself.  See `store.settle`."""

    async def once() -> Settled:
        async with world.database.connection() as conn:
            return await settle(conn, reports, now=now, actor=actor)

    async def apart(error: Exception) -> Settled:
        async with world.database.connection() as conn:
            return await settle_apart(conn, reports, error, now=now, actor=actor)

    try:
        return await surely(once)
    except Exception as error:  # noqa: BLE001  raised again unless it is about a report
        failed = error  # it is not there any more behind this block
    return await surely(lambda: apart(failed))

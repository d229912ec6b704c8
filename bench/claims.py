"""Measured in a process of its own: claims and settles, one after the other, without a ticker."""

import time

from bench.drain import noop_world, on_loop
from bench.figures import percentile
from clento_engine.runtime.act import act
from clento_engine.store.accounts import organizations
from clento_engine.store.claim import Wanted, claim
from clento_engine.store.database import Database
from clento_engine.store.due import due
from clento_engine.store.turn import turn


def claims(url: str, slots: int, after_s: float = 0) -> dict[str, float]:
    """Take every step that is due, claim by claim; return how long claims and settles took."""
    return on_loop(_claims(url, slots, after_s))


async def _claims(url: str, slots: int, after_s: float) -> dict[str, float]:
    claimed: list[float] = []
    settled: list[float] = []
    steps = 0
    async with Database(url, max_connections=4) as database, database.connection() as conn:
        world = noop_world(database, slots, after_s)
        served = [organization_id for organization_id, _ in await organizations(conn)]
        while True:
            began = time.perf_counter()
            batch = (await claim(conn, Wanted(served, world.clock(), slots))).taken
            took = 1000 * (time.perf_counter() - began)
            if not batch:
                lanes = (await due(conn)).lanes
                if lanes is None or lanes > world.clock():
                    break
                continue  # lanes that had nothing to give: they sleep now
            claimed.append(took)
            steps += len(batch)
            reports = [await act(world.provider, item, world.clock) for item in batch]
            began = time.perf_counter()
            await turn(conn, reports, None, now=world.clock(), actor="ticker")
            settled.append(1000 * (time.perf_counter() - began))
    return {
        "steps": steps,
        "claim_p50_ms": percentile(claimed, 0.5),
        "claim_p99_ms": percentile(claimed, 0.99),
        "settle_p50_ms": percentile(settled, 0.5),
    }

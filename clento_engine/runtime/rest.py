"""The end of the workspace's rest: one ticker asks one free question, all others wait for it."""

import logging

from clento_engine.runtime.world import World
from clento_engine.store.rests import probed, take_probe

log = logging.getLogger(__name__)


async def probe(world: World) -> bool:
    """Probe the provider if its rest is over and nobody else does; whether it can be asked again.

    What the provider itself says, a refusal too, ends the rest; whom that is about hears it next.
    """
    async with world.database.connection() as conn:
        taken = await take_probe(conn, world.clock())
    if taken is None:
        return False
    failure = await world.provider.probe()
    async with world.database.connection() as conn:
        is_ours = await probed(conn, taken, None if failure is None else failure.reason)
    if failure is None and is_ours:
        log.info("the provider answers again", extra={"since": taken.since.isoformat()})
    return failure is None and is_ours

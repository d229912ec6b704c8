"""What people and senders' owners do on LinkedIn, at the worst moment."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from clento_engine.interface.chaos.accidents import (
    CROWD,
    GROUP,
    OWNER,
    STAMPED,
    STORED_LATE,
    UNTOLD,
)
from clento_engine.interface.chaos.system import Shaken
from clento_engine.store.turmoil import commented_upon

STRANGE_REPLIES: Mapping[str, Mapping[str, Any]] = {
    UNTOLD: {"silent": True},
    STORED_LATE: {"stored_after_s": 7200},
    STAMPED: {"stamp": "2046-01-01T00:00:00Z"},
}


async def new_slug(system: Shaken) -> None:
    """Let somebody under way change their public identifier."""
    found = await system.leads(1)
    for _, identity, _ in found:
        renamed = f"{identity}-{system.chance.randrange(10_000)}"
        await system.simulator.force(identity, new_slug=renamed)
        system.done.faults["slug changed"] += 1


async def reply(system: Shaken) -> None:
    """Have somebody reply who is being acted upon right now."""
    for account, identity, _ in await system.leads(1):
        with suppress(httpx.HTTPStatusError):  # never met, or their account is away
            await system.simulator.reply(identity, account)
            system.done.faults["replied at the worst moment"] += 1


async def strange_reply(system: Shaken, kind: str, how: Mapping[str, Any]) -> None:
    """Have somebody reply so that the engine has to look for it."""
    for account, identity, _ in await system.leads(1):
        with suppress(httpx.HTTPStatusError):  # as above
            await system.simulator.reply(identity, account, **how)
            system.done.faults[kind] += 1


async def write_by_hand(system: Shaken) -> None:
    """Have a sender's owner write to somebody who is being acted upon right now."""
    for account, identity, _ in await system.leads(1):
        with suppress(httpx.HTTPStatusError):  # as above
            await system.simulator.write_by_hand(identity, account)
            system.done.faults[OWNER] += 1


async def write_to_group(system: Shaken) -> None:
    """Have somebody write in a group: no answer of theirs."""
    for account, identity, _ in await system.leads(1):
        with suppress(httpx.HTTPStatusError):  # as above
            await system.simulator.write_to_group(identity, account)
            system.done.faults[GROUP] += 1


async def crowd(system: Shaken) -> None:
    """Let others comment after us, where we comment just now."""
    async with system.database.connection() as conn:
        found = await commented_upon(conn, system.any_organization(), 1)
    for post in found:
        await system.simulator.others_comment(post, system.chance.choice((3, 30, 120)))
        system.done.faults[CROWD] += 1

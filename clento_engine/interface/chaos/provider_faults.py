"""What happens on the way to the provider, in its answers, its store and its webhooks."""

import json
from typing import Any

from clento_engine.interface.chaos.accidents import BEHIND, BY_SLUG, EMPTY, GATEWAY, SLOW
from clento_engine.interface.chaos.faults import GATEWAY_PAGES, PROBES, REQUESTS
from clento_engine.interface.chaos.proxy import ProviderCut
from clento_engine.interface.chaos.strangers import crowd_the_door
from clento_engine.interface.chaos.system import Shaken, System
from clento_engine.runtime.registration import PATH
from clento_engine.simulator.faults import FaultKind
from clento_engine.store.rests import rest

SECRET = "storm-webhook-secret"  # noqa: S105  both ends are this storm's
PAGES = (403, 404, 502, 200)  # what gateways say for Unipile


async def cut_provider(system: System, kind: ProviderCut) -> None:
    """Have it happen to one of the next requests."""
    system.provider_proxy.arm(kind)


async def refuse(system: System) -> None:
    """Have the provider refuse connections for a moment, and close idle ones."""
    await system.provider_proxy.refuse()


async def stray(system: System) -> None:
    """Have an answer come that nobody asked for."""
    system.provider_proxy.stray(system.chance)


async def wrong(system: Shaken) -> None:
    """Have the provider answer wrong once, while anything is asked."""
    if await _is_resting(
        system,
    ):
        return
    await system.simulator.add_faults([next(system.rules)])


async def gateway_s_moment(system: Shaken) -> None:
    """Have a gateway answer with a page of its own, some dozens of times.

    One or two of them to the probes of the rest that follows: those are few, and all of them
    would make hours of a moment.
    """
    if await _is_resting(
        system,
    ):
        return
    page = {
        "kind": FaultKind.GATEWAY_PAGE.value,
        "status": system.chance.choice(PAGES),
        "name": GATEWAY_PAGES,
    }
    await system.simulator.add_faults(
        [
            {**page, "route": REQUESTS, "times": system.chance.randint(5, 30)},
            {**page, "route": PROBES, "times": system.chance.randint(1, 2)},
        ]
    )
    system.done.faults[GATEWAY] += 1


async def lag(system: Shaken) -> None:
    """Change after how long the provider's store shows what was sent."""
    await system.simulator.set_reliability(
        visible_after_s=system.chance.choice((0, 5, 30, 120, 300))
    )
    system.done.faults["sent messages visible later"] += 1


async def empty(system: Shaken) -> None:
    """Have an account reconnected, its store empty for some minutes."""
    account = system.unipile_id(system.chance.choice(system.stage.senders))
    await system.simulator.resync(account, for_s=system.chance.uniform(120, 1500))
    system.done.faults[EMPTY] += 1


async def fall_behind(system: Shaken) -> None:
    """Let the provider's clock be behind for a moment; rarely so far that nothing may act."""
    by_s = system.chance.choice((10, 30, 45, 50, 300))
    await system.simulator.set_reliability(stamps_behind_s=by_s)
    system.done.faults[BEHIND] += 1
    await system.wait(1, 4)
    await system.simulator.set_reliability(stamps_behind_s=0)


async def name_by_slug(system: Shaken) -> None:
    """Have the list of sent invitations say public identifiers alone, or ids again."""
    system.is_by_slug = not system.is_by_slug
    await system.simulator.set_reliability(pending_by_slug_only=system.is_by_slug)
    system.done.faults[BY_SLUG] += 1


async def stranger(system: Shaken) -> None:
    """Deliver a webhook of people, chats or accounts that nobody knows."""
    account = system.unipile_id(system.chance.choice(system.stage.senders))
    number = system.chance.getrandbits(32)
    payload: dict[str, Any] = system.chance.choice(
        (
            {
                "event": "new_relation",
                "account_id": account,
                "user_provider_id": f"ACoAAstranger{number}",
            },
            {
                "event": "message_received",
                "account_id": f"unknown_{number}",
                "message_id": str(number),
                "sender": {"attendee_provider_id": f"ACoAAstranger{number}"},
            },
            {"AccountStatus": {"account_id": f"unknown_{number}", "message": "CREDENTIALS"}},
            {"event": "message_received", "account_id": account, "message_id": str(number)},
        )
    )
    await system.gateway.post(PATH, json.dumps(payload).encode(), {"Unipile-Auth": SECRET})
    system.done.faults["webhook of somebody unknown"] += 1


async def slow(system: System) -> None:
    """Hold connections to the receivers that say next to nothing."""
    count, seconds = system.chance.randint(20, 200), system.chance.uniform(1, 6)
    ports = system.gateway.ports
    if await crowd_the_door(ports, count, seconds, system.chance):
        system.done.faults[SLOW] += 1


async def _is_resting(system: Shaken) -> bool:
    """Whether nobody asks anything: what is to strike a request would wait for those after."""
    async with system.database.connection() as conn:
        return await rest(conn) is not None

"""What operators do: pause, stop, leave alone, put right, and edit by hand."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from clento_engine.domain.account import PausedBy
from clento_engine.interface.chaos.accidents import BY_HAND
from clento_engine.interface.chaos.stage import Campaign
from clento_engine.interface.chaos.system import PASSING, Shaken
from clento_engine.store.accounts import resume_account
from clento_engine.store.audit import Turned
from clento_engine.store.campaigns import pause_campaign, resume_campaign, stop_campaign
from clento_engine.store.database import Conn
from clento_engine.store.errors import CannotDo
from clento_engine.store.refusals import lift_lanes
from clento_engine.store.suppressions import suppress as leave_alone
from clento_engine.store.turmoil import edit_by_hand, paused_by_provider, with_held_lanes

RESUMED = "CampaignResumed"


async def pause(system: Shaken) -> None:
    """Pause a campaign for a while, at whatever moment it is in."""
    campaign = system.chance.choice(system.stage.campaigns)
    if not await change(system, pause_campaign, campaign, "CampaignPaused"):
        return
    system.done.faults["campaign paused"] += 1
    await system.wait(1, 10)
    while not await change(system, resume_campaign, campaign, RESUMED):
        if system.chance.random() < 0.1:  # noqa: PLR2004  it was stopped meanwhile
            return
        await system.wait(0.2, 0.2)
    system.done.faults["campaign resumed"] += 1


async def stop(system: Shaken) -> None:
    """End a campaign for good."""
    small = system.chance.choice(system.stage.small)
    if await change(system, stop_campaign, small, "CampaignStopped"):
        system.done.faults["campaign stopped"] += 1


async def suppress(system: Shaken) -> None:
    """Leave somebody alone from now on, best somebody who is being written to right now."""
    organization_id = system.any_organization()
    for _, identity, email in await system.leads(1, organization_id):
        kind, value = system.chance.choice((("person", identity), ("email", email)))
        now = await system.simulator.now()
        async with system.database.connection() as conn:
            await leave_alone(conn, organization_id, kind, value, "asked for it", now)
        named = organization_id, identity
        system.done.suppressed.setdefault(named, await system.simulator.now())
        system.done.faults["suppressed"] += 1


async def repair(system: Shaken) -> None:
    """Be the operator who puts right what the provider's refusals have stopped."""
    now = await system.simulator.now()
    async with system.database.connection() as conn:
        await put_right(conn, system.any_organization(), most=1, now=now)


async def put_right(conn: Conn, organization_id: UUID, *, most: int, now: datetime) -> None:
    """Resume senders that refusals paused, and lift lanes that they hold: `most` of each."""
    for account_id in await paused_by_provider(conn, organization_id, most):
        await resume_account(conn, organization_id, account_id, by=PausedBy.OPERATOR, now=now)
    for campaign_id, account_id in await with_held_lanes(conn, organization_id, most):
        await lift_lanes(conn, organization_id, campaign_id, account_id=account_id, now=now)


async def edit(system: Shaken, edit: str) -> None:
    """Change lanes or leads by hand, as somebody with a shell does in a hurry."""
    async with system.database.connection() as conn:
        moved = await edit_by_hand(conn, system.any_organization(), edit)
    if moved is not None:
        system.done.faults[BY_HAND + edit] += 1
        system.done.moved |= moved


async def change(
    system: Shaken, change: Callable[..., Awaitable[None]], campaign: Campaign, kind: str
) -> bool:
    """Change whether a campaign runs, and note from when on; say whether it was done."""
    asked_at = await system.simulator.now()
    try:
        async with system.database.connection() as conn:
            await change(conn, campaign.organization_id, campaign.id, now=asked_at)
    except CannotDo:
        return False
    except PASSING:
        if kind != RESUMED:
            raise
        # it may have been done: from now on nobody can say that the campaign must not run
        system.done.turns.append(Turned(campaign.id, kind, asked_at))
        return False
    at = asked_at if kind == RESUMED else await system.simulator.now()
    system.done.turns.append(Turned(campaign.id, kind, at))
    return True

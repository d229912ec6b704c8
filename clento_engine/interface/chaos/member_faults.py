"""What happens to the senders' accounts at the provider, and who may add them."""

import logging
from uuid import UUID

from clento_engine.interface.chaos.accidents import ANEW, COVETED, TWICE_CONNECTED
from clento_engine.interface.chaos.stage import Sender
from clento_engine.interface.chaos.system import PASSING, Shaken
from clento_engine.runtime.binding import Added, add
from clento_engine.runtime.errors import NotAdded
from clento_engine.store.errors import AlreadyExists

STATUSES = ("CREDENTIALS", "STOPPED", "ERROR", "PERMISSIONS", "CONNECTING")

log = logging.getLogger(__name__)


async def account_status(system: Shaken) -> None:
    """Sign an account out, and in again some minutes later."""
    account = system.unipile_id(system.chance.choice(system.stage.senders))
    await system.simulator.set_status(account, system.chance.choice(STATUSES))
    await system.simulator.set_status(account, "OK", after_s=system.chance.uniform(60, 1800))
    system.done.faults["account status changed"] += 1


async def sign_in_anew(system: Shaken) -> None:
    """Have a member sign in under a new id of Unipile's; an operator adds it, some time on."""
    sender = system.chance.choice(system.stage.senders)
    new_id = system.new_id(sender)
    await system.simulator.sign_in_anew(
        system.unipile_id(sender),
        new_id,
        synced_after_s=system.chance.choice((0, 300, 1200)),
        silent=system.chance.random() < 0.3,  # noqa: PLR2004
    )
    system.done.faults[ANEW] += 1
    await _readd(system, sender, new_id)


async def connect_twice(system: Shaken) -> None:
    """Have a member connected under a second id besides the first."""
    sender = system.chance.choice(system.stage.senders)
    new_id = system.new_id(sender)
    await system.simulator.connect_again(sender.member_id, new_id)
    system.done.faults[TWICE_CONNECTED] += 1
    await _readd(system, sender, new_id)


async def covet(system: Shaken) -> None:
    """Add an account of another organisation, or its member under another id: refused."""
    sender = system.chance.choice(system.stage.senders)
    other = next(each for each in system.stage.organizations if each != sender.organization_id)
    account = system.unipile_id(sender)
    if system.chance.random() < 0.5:  # noqa: PLR2004
        account = system.new_id(sender)
        await system.simulator.connect_again(sender.member_id, account)
    try:
        added = await _add(system, sender, other, account)
    except (NotAdded, AlreadyExists):
        system.done.faults[COVETED] += 1
        return
    if added.paused is None:
        system.done.allowed.append(f"{account} acts for two organisations")


async def _readd(system: Shaken, sender: Sender, new_id: str) -> None:
    """Be the operator who adds a sender's new id, after minutes of theirs, until it is."""
    system.unipile_ids[sender.id] = new_id
    await system.wait(0.1, 3)
    while system.unipile_ids[sender.id] == new_id:  # unless they have another by now
        try:
            added = await _add(system, sender, sender.organization_id, new_id)
        except (NotAdded, *PASSING) as error:
            log.info("not added yet", extra={"account": new_id, "reason": str(error)})
            await system.wait(0.5, 0.5)
            continue
        except AlreadyExists:  # its answer was lost
            return
        # one that is signed out just now waits to be looked up, and is the same one then
        if added.paused is None and added.account_id != sender.id:
            system.done.allowed.append(
                f"{new_id} was added beside {sender.unipile_id}, whose member it is"
            )
        return


async def _add(system: Shaken, sender: Sender, organization_id: UUID, unipile_id: str) -> Added:
    return await add(
        system.world,
        organization_id,
        unipile_account_id=unipile_id,
        name=unipile_id,
        tier=sender.tier,
        time_zone=sender.zone,
        warmup_days=0,
    )

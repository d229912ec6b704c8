"""Reads that reach LinkedIn, within what it puts up with."""

from clento_engine.simulator.accounts import need_patience
from clento_engine.simulator.ledger import Effect, Read
from clento_engine.simulator.people import Person
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account
from clento_engine.simulator.world import World


def read(world: World, account: Account, kind: Read, patience: str = "list") -> None:
    """Note a read that reaches LinkedIn, within what it puts up with."""
    account.need_usable()
    now = world.clock()
    need_patience(world, account, patience, now)
    account.member.spend(patience, now)
    world.ledger.read(kind, at=now, account=account.id)


def read_profile(
    world: World, account: Account, identifier: str, *, notify: bool, sales: bool = False
) -> Person:
    """Read a profile; with `notify` the person sees the visit."""
    account.need_usable()
    now = world.clock()
    need_patience(world, account, "profile", now)
    account.member.spend("profile", now)
    try:
        person = world.readable(identifier, sales=sales)
    except Refusal:
        world.ledger.read(Read.PROFILE, at=now, account=account.id)
        raise
    tie = world.tie(account, person)
    if tie.acceptance is not None:
        tie.acceptance.learn(now)
    if notify:
        world.land(Effect.VISIT, account, person)
    else:
        world.ledger.read(Read.PROFILE, at=now, account=account.id)
    return person

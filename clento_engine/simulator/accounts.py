"""The accounts that Unipile connects: under which id, in what state."""

from datetime import datetime, timedelta

from clento_engine.simulator.chance import hexadecimal
from clento_engine.simulator.people import provider_id
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account, Member, Status, Tier
from clento_engine.simulator.webhook_events import tell_status
from clento_engine.simulator.world import World


def connect_account(
    world: World,
    name: str | None = None,
    tier: Tier = Tier.PREMIUM,
    id_: str | None = None,
    member_id: str | None = None,
) -> Account:
    """Connect a member: a new one, or the one of this provider id, under one id more."""
    number = world.next_number()
    account_id = id_ or f"acc_{hexadecimal(world.seed, 'account', number, length=18)}"
    if account_id in world.accounts:
        raise Refusal("already_exists", "There is an account of this id.")
    member_id = member_id or provider_id(world.seed, f"\x00account {number}")
    member = world.members.get(member_id)
    if member is None:
        member = world.members[member_id] = Member(
            member_id, f"sender-{number}", name or f"Sender {number}", tier, account_id
        )
    return _connect(world, member, account_id)


def sign_in_anew(
    world: World,
    account: Account,
    new_id: str | None = None,
    *,
    synced_after: timedelta = timedelta(0),
    is_silent: bool = False,
) -> Account:
    """Disconnect an account and connect its member under another id; return the new account.

    Its store has the member's chats under ids of its own, and shows them after `synced_after`.
    """
    if new_id in world.accounts:
        raise Refusal("already_exists", "There is an account of this id.")
    if not is_silent:
        tell_status(world, account, "DELETED")
    _disconnect(world, account)
    again = connect_account(world, id_=new_id, member_id=account.provider_id)
    again.synced_at += synced_after
    if account.status is Status.RESTRICTED:  # LinkedIn restricted the member
        again.status = Status.RESTRICTED
    if not is_silent:
        tell_status(world, again, "CREATION_SUCCESS")
    return again


def resync(world: World, account: Account, within: timedelta, *, is_silent: bool = False) -> None:
    """Have an account reconnected, its store empty until it is synced again."""
    account.synced_at = world.clock() + within
    if not is_silent:
        tell_status(world, account, "RECONNECTED")


def delete_account(world: World, account: Account) -> None:
    """Disconnect an account, and tell whoever asked to be told."""
    tell_status(world, account, "DELETED")
    _disconnect(world, account)


def set_status(world: World, account: Account, status: Status) -> None:
    """Change an account's state; only transitions are told."""
    if status is account.status:
        return
    if status is Status.OK:
        account.member.forgive()
    account.status = status
    tell_status(world, account, "ERROR" if status is Status.RESTRICTED else status.value)


def need_patience(world: World, account: Account, what: str, now: datetime) -> None:
    """Refuse with LinkedIn's throttling; who goes on all the same is restricted."""
    try:
        account.member.need_patience(what, now)
    except Refusal as refusal:
        if refusal.kind == "account_restricted":
            set_status(world, account, Status.RESTRICTED)
        raise


def _connect(world: World, member: Member, account_id: str) -> Account:
    account = Account(account_id, member, created_at=world.stamp(), synced_at=world.clock())
    world.accounts[account_id] = account
    world.ledger.members[account_id] = member.provider_id
    member.accounts.append(account)
    for chat in member.chats:
        world.store.keep_chat(account.id, chat)
        for message in chat.messages:
            world.store.keep_message(account.id, message)
    return account


def _disconnect(world: World, account: Account) -> None:
    del world.accounts[account.id]
    account.member.accounts.remove(account)

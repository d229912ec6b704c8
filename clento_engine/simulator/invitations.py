"""Invitations: sent, taken back, accepted, expired."""

from datetime import datetime, timedelta

from clento_engine.simulator.accounts import need_patience
from clento_engine.simulator.chance import digits
from clento_engine.simulator.ledger import Effect, Signal
from clento_engine.simulator.messages import Kind
from clento_engine.simulator.messaging import open_chat, write
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import (
    NOTE_LENGTH,
    PENDING_CEILING,
    Account,
    Invitation,
    Tie,
    Tier,
)
from clento_engine.simulator.webhook_events import tell_message, tell_relation
from clento_engine.simulator.world import World

WITHDRAWN_FOR = timedelta(weeks=3)  # source: unipile.md 2.6
INVITATION_EXPIRES = timedelta(days=180)


def invite(
    world: World, account: Account, identifier: str, note: str | None
) -> tuple[Invitation, int | None]:
    """Ask to connect.  Returns the invitation, and the mark of usage when one was crossed."""
    account.need_usable()
    note = note or None
    if note is not None and len(note) > NOTE_LENGTH[account.tier]:
        raise Refusal("too_many_characters", f"At most {NOTE_LENGTH[account.tier]} characters.")
    person = world.recipient(identifier)
    tie = world.tie(account, person)
    now = world.clock()
    _expire(account, tie, now)
    if tie.connected_at is not None:
        raise Refusal("already_connected", "Already a connection.")
    if tie.invitation is not None:
        raise Refusal("already_invited_recently", "A new invitation has to be delayed.")
    if tie.withdrawn_at is not None and now < tie.withdrawn_at + WITHDRAWN_FOR:
        raise Refusal("already_invited_recently", "A new invitation has to be delayed.")
    if len(account.member.pending) >= PENDING_CEILING:
        raise Refusal("connection_limit_reached", "Too many pending invitations.")
    need_patience(world, account, "invitation", now)
    if note is not None and account.tier is Tier.FREE:
        need_patience(world, account, "note", now)
        account.member.spend("note", now)
    account.member.spend("invitation", now)
    tie.invitations += 1
    invitation = Invitation(
        id=digits(world.seed, "invitation", account.member.key, person.slug, tie.invitations),
        person=person,
        note=note,
        at=world.stamp(),
    )
    tie.invitation = account.member.pending[invitation.id] = invitation
    world.land(Effect.INVITATION, account, person, target=invitation.id, text=note)
    accepts_after = world.temper(account, person).accepts_after
    if accepts_after is not None:
        world.foresee(
            account.member, now + accepts_after, lambda one: accept(world, one, tie, invitation)
        )
    return invitation, account.member.usage_crossed(now)


def withdraw(world: World, account: Account, invitation_id: str) -> None:
    """Take a pending invitation back."""
    account.need_usable()
    if not invitation_id.isdigit():
        raise Refusal("api.errors.invalid_invitation_id", status=400)
    invitation = account.member.pending.get(invitation_id)
    now = world.clock()
    if invitation is not None:
        _expire(account, world.tie(account, invitation.person), now)
    if invitation is None or invitation_id not in account.member.pending:
        raise Refusal("resource_not_found", "No such pending invitation.")
    need_patience(world, account, "withdrawal", now)
    account.member.spend("withdrawal", now)
    tie = world.tie(account, invitation.person)
    tie.invitation = None
    tie.withdrawn_at = now
    del account.member.pending[invitation_id]
    world.land(Effect.WITHDRAW, account, invitation.person, target=invitation_id)


def accept(world: World, account: Account, tie: Tie, invitation: Invitation) -> None:
    """Have an invitation accepted, if it still stands."""
    now = world.clock()
    _expire(account, tie, now)
    if tie.invitation is not invitation:
        return
    person = tie.person
    tie.invitation = None
    del account.member.pending[invitation.id]
    world.connect(account, tie, world.stamp())
    tie.acceptance = Signal(
        now, account.id, person.provider_id, person.slug, member=account.provider_id
    )
    world.ledger.acceptances.append(tie.acceptance)
    delay = world.reliability.noticed_within * world.temper(account, person).noticed_after
    world.foresee(account.member, now + delay, lambda one: tell_relation(world, one.member, tie))
    if invitation.note:  # the note becomes the first message of a chat, which is echoed
        chat = tie.chat or open_chat(world, account, tie, is_inmail=False)
        message = write(world, chat, invitation.note, Kind.INVITATION, from_us=True)
        tell_message(world, account.member, tie, message)


def _expire(account: Account, tie: Tie, now: datetime) -> None:
    """Forget an invitation that LinkedIn has dropped; looked at only when somebody asks."""
    if tie.invitation is not None and now >= tie.invitation.at + INVITATION_EXPIRES:
        del account.member.pending[tie.invitation.id]
        tie.invitation = None

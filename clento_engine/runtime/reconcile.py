"""Actions whose outcome is unknown: ask the provider what is true, never repeat blindly.

Found: the action is done, with its reference.  Absent, once the time has passed in which the
provider's own store may lag: it did not happen, and the step may run again.  While the provider
cannot be asked, the action stays open; after DESPAIR a person must look.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from clento_engine.domain import execution as ex
from clento_engine.domain.failure import Fail, Failure, Means, Pause, Retry, Skip, Wait
from clento_engine.domain.limits import MONTH
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.template import same_text
from clento_engine.provider.port import Message, Provider
from clento_engine.runtime.clock import Clock
from clento_engine.runtime.guard import require_provider
from clento_engine.runtime.pages import every_page
from clento_engine.runtime.world import World, settled
from clento_engine.store.accounts import reserve
from clento_engine.store.doubtful import Doubtful, take_doubtful
from clento_engine.store.settle import Learned, Report

AT_ONCE = 20  # questions under way
# How long after the intent "not there" may only mean "not there yet"; source: unipile.md, section
# 6: a minute for invitations, 5 to 10 minutes for what passes through the provider's store.
SETTLES: dict[Operation, timedelta] = {
    Operation.SEND_CONNECTION_REQUEST: timedelta(minutes=2),
    Operation.WITHDRAW_REQUEST: timedelta(minutes=2),
    Operation.LIKE_POST: timedelta(minutes=2),
    Operation.COMMENT_POST: timedelta(minutes=10),
    Operation.SEND_FOLLOWUP: timedelta(minutes=12),
    Operation.SEND_INMAIL: timedelta(minutes=12),
}
LEAST_QUESTIONS = 2  # before "not there" is believed
ASK_AGAIN = timedelta(minutes=3)
ASK_LATER = timedelta(minutes=30)  # while the provider or the account is out of order
NO_UNIT = timedelta(hours=1)  # until an account's spent allowance is asked again
DESPAIR = timedelta(days=3)
OVERLAP = timedelta(minutes=2)  # clocks differ: what was sent may carry a time before the intent

# What LinkedIn counts of a question is a unit like any other; chats are the provider's own store.
_COSTS = {
    Operation.SEND_CONNECTION_REQUEST: Budget.PROFILE,
    Operation.WITHDRAW_REQUEST: Budget.PROFILE,
    Operation.LIKE_POST: Budget.POST_READ,
    Operation.COMMENT_POST: Budget.POST_READ,
}

log = logging.getLogger(__name__)


async def reconcile(world: World, *, most: int = 200) -> int:
    """Ask about every action that is due for a question; return how many were asked about.

    Raises WrongProvider, as `guard.require_provider` does: another one would say "not there".
    """
    await require_provider(world)
    now = world.clock()
    async with world.database.connection() as conn:
        doubtful = await take_doubtful(conn, now=now, lease=world.lease, most=most)
    if not doubtful:
        return 0
    gate = asyncio.Semaphore(AT_ONCE)

    async def asked(action: Doubtful) -> Report:
        async with gate:
            return await _ask(world, action)

    answers = await asyncio.gather(*map(asked, doubtful), return_exceptions=True)
    reports = []
    for action, answer in zip(doubtful, answers, strict=True):
        if isinstance(answer, Exception):  # its lease ends, and it is asked about again
            log.error(
                "question failed",
                extra={"lead_id": str(action.lead_id), "alert": True},
                exc_info=answer,
            )
        elif isinstance(answer, BaseException):
            raise answer
        else:
            reports.append(answer)
    await settled(world, reports, world.clock(), "reconcile")
    return len(doubtful)


async def _ask(world: World, action: Doubtful) -> Report:
    now = world.clock()
    operation = action.ticket.operation
    if operation is Operation.PROFILE_VISIT:
        # nothing can be asked; a visit too few is better than one too many
        return _report(action, "done", ex.Done(), now)
    if not operation.is_write:
        return _report(action, "absent", ex.Absent(), now)
    if (budget := _COSTS.get(operation)) is not None:
        async with world.database.connection() as conn:
            free = await reserve(conn, action.organization_id, action.account_id, budget, now)
        if not free:
            nothing_left = Wait(f"no unit of {budget} is left to ask with", NO_UNIT, NO_UNIT)
            return _out_of_order(action, nothing_left, now)
    answer = await _look(world.provider, action, world.clock)
    if isinstance(answer, Report):
        return answer
    return _out_of_order(action, answer, now)


async def _look(provider: Provider, action: Doubtful, clock: Clock) -> Report | Failure:
    match action.ticket.operation:
        case Operation.SEND_CONNECTION_REQUEST:
            return await _invitation(provider, action, clock)
        case Operation.WITHDRAW_REQUEST:
            return await _withdrawal(provider, action, clock)
        case Operation.SEND_FOLLOWUP:
            return await _message(provider, action, clock, inmail=False)
        case Operation.SEND_INMAIL:
            return await _message(provider, action, clock, inmail=True)
        case Operation.COMMENT_POST:
            return await _comment(provider, action, clock)
        case Operation.LIKE_POST:
            return await _like(provider, action, clock)
        case operation:
            raise AssertionError(f"{operation} needs no question")


async def _invitation(provider: Provider, action: Doubtful, clock: Clock) -> Report | Failure:
    """Ask the profile; an invitation that it does not show may still be in the list of pending."""
    profile = await provider.profile(action.unipile_account_id, action.target)
    if _is_gone(profile):
        return _absent(action, clock())
    if isinstance(profile, Retry | Wait | Pause | Skip | Fail):
        return profile
    if profile.connected or profile.invitation_pending:
        now = clock()
        learned = Learned(
            provider_id=profile.provider_id, connected_at=now if profile.connected else None
        )
        seen = ex.ProfileRead(profile.provider_id, profile.connected, profile.invitation_pending)
        return _report(action, "done", seen, now, learned=learned)
    pending = await every_page(
        lambda cursor: provider.sent_invitations(action.unipile_account_id, cursor=cursor)
    )
    if isinstance(pending, Retry | Wait | Pause | Skip | Fail):
        return pending
    for invitation in pending:
        if invitation.provider_id == action.target or (
            # Unipile may leave the id out, and names the person then by the other
            invitation.provider_id is None
            and invitation.public_identifier is not None
            and invitation.public_identifier == profile.public_identifier
        ):
            seen = ex.ProfileRead(profile.provider_id, connected=False, invitation_pending=True)
            learned = Learned(invitation_id=invitation.id)
            return _report(action, "done", seen, clock(), learned=learned, reference=invitation.id)
    return _absent(action, clock())


async def _withdrawal(provider: Provider, action: Doubtful, clock: Clock) -> Report | Failure:
    profile = await provider.profile(action.unipile_account_id, action.target)
    if _is_gone(profile):
        return _report(action, "done", ex.Done(), clock())
    if isinstance(profile, Retry | Wait | Pause | Skip | Fail):
        return profile
    if profile.connected or not profile.invitation_pending:
        return _report(action, "done", ex.Done(), clock())
    return _absent(action, clock())


async def _message(
    provider: Provider, action: Doubtful, clock: Clock, *, inmail: bool
) -> Report | Failure:
    """Look for our text in the chats with the person since the intent."""
    chats = [action.chat_id] if action.chat_id is not None else []
    found = await provider.chats_with(
        action.unipile_account_id, action.provider_id or action.target
    )
    if isinstance(found, Retry | Wait | Pause | Skip | Fail):
        return found
    chats += [chat.id for chat in found if chat.id not in chats]
    for chat_id in chats:
        messages = await provider.chat_messages(chat_id)
        if _is_gone(messages):
            continue
        if isinstance(messages, Retry | Wait | Pause | Skip | Fail):
            return messages
        since = action.intended_at - OVERLAP
        lately = [message for message in messages.items if message.sent_at > since]
        message = _ours(action, lately, inmail=inmail)
        if message is not None:
            learned = Learned(chat_id=chat_id)
            return _report(
                action, "done", ex.Done(), clock(), learned=learned, reference=message.id
            )
    return _absent(action, clock())


def _ours(action: Doubtful, messages: Sequence[Message], *, inmail: bool) -> Message | None:
    for message in messages:
        if (
            message.from_us
            and message.id not in action.known
            and message.kind != "INVITATION"  # the note, which may say the same
            and (message.kind == "INMAIL") == inmail
            and same_text(message.text, action.text or "")
        ):
            return message
    return None


async def _comment(provider: Provider, action: Doubtful, clock: Clock) -> Report | Failure:
    own = action.own_provider_id
    if own is None:
        account = await provider.account(action.unipile_account_id)
        if isinstance(account, Retry | Wait | Pause | Skip | Fail):
            return account
        if account.provider_id is None:
            return Retry("Unipile does not say whose account it is")
        own = account.provider_id
    own_id = own
    comments = await every_page(
        lambda cursor: provider.own_comments(action.unipile_account_id, own_id, cursor=cursor)
    )
    if isinstance(comments, Retry | Wait | Pause | Skip | Fail):
        return comments
    of_our_text = [each for each in comments if same_text(each.text, action.text or "")]
    if any(action.target in (each.post_urn, each.post_id) for each in of_our_text):
        return _report(action, "done", ex.Done(), clock())
    if any(each.post_urn is None and each.post_id is None for each in of_our_text):
        return Retry("a comment says what ours does, and not under which post")
    return _absent(action, clock())


async def _like(provider: Provider, action: Doubtful, clock: Clock) -> Report | Failure:
    post = await provider.post(action.unipile_account_id, action.target)
    if _is_gone(post):
        return _absent(action, clock())
    if isinstance(post, Retry | Wait | Pause | Skip | Fail):
        return post
    if post.reacted:
        return _report(action, "done", ex.Done(), clock())
    return _absent(action, clock())


def _is_gone(answer: object) -> bool:
    """Whether there is nothing to look at.  Any other refusal to show it proves nothing."""
    return isinstance(answer, Skip | Fail) and answer.means is Means.GONE


def _absent(action: Doubtful, now: datetime) -> Report:
    """It is not there: believed once the time is over in which it may still appear.

    Never at the first question.  A host's clock that is set forward ends every ticker on it, makes
    every intent look old, and leaves requests on the wire: between two questions time has passed.
    """
    settles = SETTLES[action.ticket.operation]
    settles_at = action.intended_at + settles
    if now < settles_at:
        return _later(action, now, min(ASK_AGAIN, settles_at - now), "not there yet")
    if action.checks < LEAST_QUESTIONS:
        return _later(action, now, min(ASK_AGAIN, settles), "asked only once")
    return _report(action, "absent", ex.Absent(), now)


def _out_of_order(action: Doubtful, failure: Failure, now: datetime) -> Report:
    """Nothing could be learned: ask later, and tell a person when it goes on for days."""
    wait = min(failure.delay, MONTH) if isinstance(failure, Wait) else ASK_LATER
    later = _later(action, now, wait, failure.reason)
    if now - action.intended_at < DESPAIR:
        return later
    log.warning(
        "nobody can say whether an action happened",
        extra={"lead_id": str(action.lead_id), "alert": True},
    )
    reason = f"whether {action.ticket.operation} happened cannot be found out: {failure.reason}"
    return _report(action, "unknown", ex.Unknowable(reason), now, check_at=now + timedelta(days=1))


def _later(action: Doubtful, now: datetime, wait: timedelta, reason: str) -> Report:
    return _report(action, "unknown", None, now, check_at=now + wait, reason=reason)


def _report(
    action: Doubtful,
    state: str,
    event: ex.Event | None,
    now: datetime,
    *,
    learned: Learned | None = None,
    reference: str | None = None,
    reason: str | None = None,
    check_at: datetime | None = None,
) -> Report:
    log.info(
        "reconciled",
        extra={
            "lead_id": str(action.lead_id),
            "operation": action.ticket.operation,
            "state": state,
            "age_s": (now - action.intended_at).total_seconds(),
        },
    )
    return Report(
        action.organization_id,
        action.campaign_id,
        action.lead_id,
        action.account_id,
        event=event,
        stood=(action.ticket.node_id, action.ticket.operation),
        ticket=action.ticket,
        state=state,
        check_at=check_at,
        reference=reference,
        reason=reason,
        learned=learned,
    )

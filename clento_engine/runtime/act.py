"""Doing one claimed step: one request to the provider, and what its answer means."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from traceback import format_tb
from typing import Unpack

from clento_engine.domain import execution as ex
from clento_engine.domain.account import Tier
from clento_engine.domain.action import ActionState
from clento_engine.domain.failure import (
    Fail,
    Failure,
    Means,
    OutcomeUnknown,
    Pause,
    Retry,
    Skip,
    Wait,
)
from clento_engine.domain.intent import MAX_POSTS_READ, Intent
from clento_engine.domain.limits import DAY
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import NameKind, Shown, kind_of, slug_of
from clento_engine.domain.report import FORGOTTEN, Findings, Learned, Report
from clento_engine.domain.workflow import Node
from clento_engine.provider.port import Post, Profile, Provider, Sent
from clento_engine.runtime.absent import whose_absence
from clento_engine.runtime.clock import Clock
from clento_engine.runtime.errors import ClockSkew
from clento_engine.store.claimed import Claimed

# The provider says how much of LinkedIn's own allowance is used when it crosses a threshold;
# source: its invite reference, read 2026-02; what we do about it is ours.
SLOW_DOWN_AT, STOP_AT = 75.0, 90.0
SLOW_DOWN_FOR = timedelta(hours=2)
FIRST_QUESTION = timedelta(minutes=1)  # after an unknown outcome; the provider's store lags

log = logging.getLogger(__name__)


def event_report(item: Claimed) -> Report:
    """Return the report of a step that needed nothing sent."""
    return Report.of_step(
        item.organization_id,
        item.sender.account_id,
        item.basis,
        item.event,
        learned=None if item.replied_at is None else Learned(replied_at=item.replied_at),
    )


async def act(provider: Provider, item: Claimed, clock: Clock) -> Report:
    """Perform a claimed intent and return what became of it; never raises for what it met.

    What nobody foresaw is an unknown outcome of this step, its trace in the log: no other step
    under way pays for it.  Raises ClockSkew.
    Nothing is sent when its time is over: the lease would not cover the request, or working
    hours have ended.  Such a step is given back, unit and all.
    """
    if clock() >= item.act_before:
        return give_back(item, Wait("given back", _NOW, _NOW))
    try:
        answer = await _ask(provider, item, clock)
        if isinstance(answer, Skip | Fail) and answer.means is Means.GONE:
            account = item.sender.unipile_account_id
            answer = await whose_absence(provider, account) or answer
    except _TooLate:
        # what was asked first is spent, so nothing is given back; the step waits for its turn
        reason = "its time was over before it could be sent"
        return _report(
            item, ActionState.REFUSED, ex.Failed(Wait(reason, _NOW, _NOW)), reason=reason
        )
    except OutcomeUnknown as unknown:
        return _unknown(item, unknown, clock())
    except ClockSkew:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is: of this step alone, and looked up
        return _unforeseen(item, error, clock())
    try:
        return _answered(item, answer, clock())
    except ClockSkew:
        raise
    except Exception as error:  # noqa: BLE001
        return _unforeseen(item, error, clock())


_NOW = timedelta(0)


def give_back(item: Claimed, why: Wait | Pause) -> Report:
    """Return the report of a step that was not begun: its unit is given back."""
    return _report(item, ActionState.RELEASED, ex.Failed(why), reason=why.reason)


class _TooLate(Exception):
    """A step of two requests came to its second after `act_before`."""


def _need_time(item: Claimed, clock: Clock) -> None:
    """Look once more before the request that a person sees: the one before it took its time."""
    if clock() >= item.act_before:
        raise _TooLate


async def _ask(
    provider: Provider, item: Claimed, clock: Clock
) -> Profile | Sequence[Post] | Sent | Failure:
    assert item.intent is not None  # noqa: S101  only intents come here
    intent, account = item.intent, item.sender.unipile_account_id
    text = intent.text or ""
    match intent.operation:
        case Operation.PROFILE_LOOKUP | Operation.CHECK_ACCEPTANCE:
            return await provider.profile(account, intent.target)
        case Operation.PROFILE_VISIT:
            return await provider.visit(account, intent.target)
        case Operation.FIND_POSTS:
            return await provider.posts(account, intent.target, limit=MAX_POSTS_READ)
        case Operation.LIKE_POST:
            return await provider.react(account, intent.target)
        case Operation.COMMENT_POST:
            return await provider.comment(account, intent.target, text)
        case Operation.SEND_CONNECTION_REQUEST:
            return await provider.invite(account, intent.target, intent.text or None)
        case Operation.SEND_FOLLOWUP if intent.chat_id is not None:
            return await provider.send_message(account, intent.chat_id, text)
        case Operation.SEND_FOLLOWUP:
            return await provider.start_chat(account, intent.target, text)
        case Operation.SEND_INMAIL:
            return await _inmail(provider, item, intent, clock)
        case Operation.WITHDRAW_REQUEST:
            return await _withdraw(provider, item, intent)
        case Operation.START | Operation.WEBHOOK:
            raise AssertionError(f"{intent.operation} sends nothing")


async def _inmail(
    provider: Provider, item: Claimed, intent: Intent, clock: Clock
) -> Sent | Failure:
    """Send an InMail; Sales Navigator's goes to that product's own id of the person."""
    account, target = item.sender.unipile_account_id, intent.target
    by_navigator = item.sender.tier is Tier.SALES_NAVIGATOR
    if by_navigator:
        profile = await provider.profile(account, target, sales_navigator=True)
        if isinstance(profile, Retry | Wait | Skip | Fail | Pause):
            return profile
        target = profile.provider_id
        _need_time(item, clock)
    answer = await provider.inmail(
        account,
        target,
        intent.text or "",
        intent.subject or "",
        sales_navigator=by_navigator,
    )
    if by_navigator and isinstance(answer, Retry):
        return replace(answer, left=True)  # the profile was read: its unit is not given back
    return answer


async def _withdraw(provider: Provider, item: Claimed, intent: Intent) -> Sent | Failure:
    """Withdraw the invitation; where its id was never learned, reconcile looks for it first.

    That reads a profile and pages of a list, each with a unit and a gap of its own.
    """
    if intent.invitation_id is None:
        raise OutcomeUnknown("the invitation's id is not known: it is looked for")
    return await provider.withdraw(item.sender.unipile_account_id, intent.invitation_id)


def _answered(
    item: Claimed, answer: Profile | Sequence[Post] | Sent | Failure, now: datetime
) -> Report:
    match answer:
        case Retry(left=False):
            reason, silence = answer.reason, answer.silence
            return _report(
                item, ActionState.RELEASED, ex.Failed(answer), reason=reason, silence=silence
            )
        case Skip(reason, means=Means.GONE) if _by_chat(item):
            # the chat has another id now, or was deleted: the person has not, so it is opened anew
            anew = ex.Failed(Retry(f"the chat is gone and is opened anew: {reason}"))
            forgotten = Learned(chat_id=FORGOTTEN)
            return _report(item, ActionState.REFUSED, anew, reason=reason, learned=forgotten)
        case Retry(reason) | Wait(reason) | Skip(reason) | Fail(reason) | Pause(reason):
            if isinstance(answer, Skip) and answer.alert:
                log.warning(
                    "step refused",
                    extra={"operation": item.run.operation, "reason": reason, "alert": True},
                )
            return _report(
                item,
                ActionState.REFUSED,
                ex.Failed(answer),
                reason=reason,
                silence=answer.silence if isinstance(answer, Retry) else 0,
                word=answer.word if isinstance(answer, Skip | Fail) else None,
            )
        case Profile():
            return _seen(item, answer, now)
        case Sent():
            return _sent(item, answer, now)
        case _:
            node = item.node
            assert node is not None  # noqa: S101  posts are looked for at a node
            return _report(item, ActionState.DONE, ex.PostsFound(chosen_posts(node, answer, now)))


def _by_chat(item: Claimed) -> bool:
    """Whether a message went to a chat by its id, not to a person."""
    run, intent = item.run, item.intent
    return (
        run.operation is Operation.SEND_FOLLOWUP
        and intent is not None
        and intent.chat_id is not None
    )


def chosen_posts(node: Node, posts: Sequence[Post], now: datetime) -> tuple[str, ...]:
    """Choose what the node acts on: recent, allowed, not acted on yet; own words before reposts."""
    liking = node.operation is Operation.LIKE_POST

    def fits(post: Post) -> bool:
        recent = post.posted_at is None or now - post.posted_at <= node.recent
        return recent and (post.can_react and not post.reacted if liking else post.can_comment)

    fitting = sorted((post for post in posts if fits(post)), key=lambda post: post.is_repost)
    return tuple(dict.fromkeys(post.social_id for post in fitting))[: node.posts]


def _seen(item: Claimed, profile: Profile, now: datetime) -> Report:
    asked = item.intent.target if item.intent is not None else ""
    slug = profile.public_identifier
    if slug not in item.names:  # mostly it is: an address is taken apart by and by
        slug = slug_of(slug)
    if slug is not None and slug != asked and kind_of(asked) is NameKind.SLUG:
        log.info(
            "profile has moved",
            extra={"lead_id": str(item.run.lead_id), "from": asked, "to": slug},
        )
    learned = None
    if profile.connected or profile.invitation_pending:  # they may write to us; others seldom will
        learned = Learned(
            provider_id=profile.provider_id, connected_at=now if profile.connected else None
        )
    of = item.run.lead_id, asked, item.person_id
    shown = Shown(item.organization_id, profile.provider_id, slug, *of)
    seen = ex.ProfileRead(profile.provider_id, profile.connected, profile.invitation_pending)
    return _report(
        item,
        ActionState.DONE,
        seen,
        learned=learned,
        shown=None if all(name in item.names for name in shown.names) else shown,
    )


def _sent(item: Claimed, sent: Sent, now: datetime) -> Report:
    # the chat of an InMail takes no message until the person answers
    by_message = item.run.operation is Operation.SEND_FOLLOWUP
    learned = Learned(
        chat_id=sent.chat_id if by_message else None,
        invitation_id=(
            sent.reference if item.run.operation is Operation.SEND_CONNECTION_REQUEST else None
        ),
    )
    hold_until = None
    if sent.usage is not None and sent.usage >= STOP_AT:
        hold_until = now + DAY
    elif sent.usage is not None and sent.usage >= SLOW_DOWN_AT:
        hold_until = now + SLOW_DOWN_FOR
    return _report(
        item,
        ActionState.DONE,
        ex.Done(),
        reference=sent.reference,
        learned=learned,
        hold_budget_until=hold_until,
    )


def _unforeseen(item: Claimed, error: Exception, now: datetime) -> Report:
    """Have it looked up what became of a step in which something failed that never should."""
    name = type(error).__name__
    log.error(  # its text may hold what is sent
        "step failed by a defect",
        extra={
            "lead_id": str(item.run.lead_id),
            "operation": item.run.operation,
            "error": name,
            "trace": "".join(format_tb(error.__traceback__)),
            "alert": True,
        },
    )
    return _unknown(item, OutcomeUnknown(f"a defect of the engine: {name}"), now)


def _unknown(item: Claimed, unknown: OutcomeUnknown, now: datetime) -> Report:
    log.info(
        "outcome unknown",
        extra={"operation": item.run.operation, "reason": unknown.reason},
    )
    return _report(
        item,
        ActionState.UNKNOWN,
        None,
        reason=unknown.reason,
        check_at=now + FIRST_QUESTION,
        errors=int(unknown.throttled),
        silence=unknown.silence,
    )


def _report(
    item: Claimed, state: ActionState, event: ex.Event | None, **findings: Unpack[Findings]
) -> Report:
    return Report.of_step(
        item.organization_id,
        item.sender.account_id,
        item.basis,
        event,
        ticket=item.ticket,
        state=state,
        recovering=item.sender.troubled,
        **findings,
    )

"""One question about a doubtful action: ask the provider for it, and judge what it shows.

Absence is proved by what is there, never by a clock or a first page: messages are read back to one
that the ledger knows or to the chat's start, comments of ours back to one that the ledger knows,
and what should be there as well must be.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Unpack

from msgspec.structs import replace

from clento_engine.domain import absence
from clento_engine.domain import execution as ex
from clento_engine.domain.action import ActionState
from clento_engine.domain.failure import Fail, Failure, Means, Pause, Retry, Skip, Wait
from clento_engine.domain.operation import Budget, Operation
from clento_engine.domain.person import Shown, slug_of
from clento_engine.domain.report import Findings, Learned, Progress, Report
from clento_engine.provider.port import Comment, Invitation, Message, Profile
from clento_engine.runtime.binding import confirm
from clento_engine.runtime.names import learn_shown
from clento_engine.runtime.world import World
from clento_engine.store.budgets import reserve
from clento_engine.store.doubtful import Doubtful, known_chats, store_since

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
ASK_AGAIN = timedelta(minutes=3)
# What the ledger settled this long before an intent was there before it, whichever tickers' clocks
# they were: these differ by seconds at most.
BEFORE = timedelta(minutes=2)
# Ours, no source gives a figure: how long after a sign-in the provider's store of an account's
# chats may have gaps; and how old an intent must be before an account that shows no chat at all is
# taken to have none.
STORE_FILLS = timedelta(hours=6)
NO_CHATS = timedelta(hours=24)

_MESSAGES = {False: Operation.SEND_FOLLOWUP, True: Operation.SEND_INMAIL}  # by: is it an InMail

log = logging.getLogger(__name__)


class NotItsTurn(Wait):
    """The account does something else, or may read no more for now: nobody was asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one action.

    Of what LinkedIn sees one page or profile at a time: each takes a unit and keeps the account's
    gap, and a search that needs several goes on at the next question.
    """

    world: World
    action: Doubtful

    async def ask(self) -> Report | Failure:
        match self.action.ticket.operation:
            case Operation.SEND_CONNECTION_REQUEST:
                return await self._invitation()
            case Operation.WITHDRAW_REQUEST:
                return await self._withdrawal()
            case Operation.SEND_FOLLOWUP:
                return await self._message(inmail=False)
            case Operation.SEND_INMAIL:
                return await self._message(inmail=True)
            case Operation.COMMENT_POST:
                return await self._comment()
            case Operation.LIKE_POST:
                return await self._like()
            case operation:
                raise AssertionError(f"{operation} needs no question")

    # --- invitations

    async def _invitation(self) -> Report | Failure:
        """Ask the profile; an invitation that it does not show may be in the list of pending.

        It was sent just now, so the list's first page is enough.  Should both be wrong, LinkedIn
        refuses a second one.
        """
        if self.action.progress.is_searching:
            return await self._invitation_in_list()
        profile = await self._profile()
        if is_gone(profile):
            return await self._absent()
        if not isinstance(profile, Profile):
            return profile
        if profile.connected or profile.invitation_pending:
            return self._invited(profile)
        return self._search(profile)

    def _invited(self, profile: Profile) -> Report:
        now = self.world.clock()
        learned = Learned(
            provider_id=profile.provider_id, connected_at=now if profile.connected else None
        )
        read = ex.ProfileRead(profile.provider_id, profile.connected, profile.invitation_pending)
        return action_report(self.action, ActionState.DONE, read, now, learned=learned)

    async def _invitation_in_list(self) -> Report | Failure:
        action = self.action
        if (wait := await self._reserve(Budget.LIST_READ)) is not None:
            return wait
        page = await self.world.provider.sent_invitations(action.unipile_account_id)
        if isinstance(page, Retry | Wait | Pause | Skip | Fail):
            return page
        found = _of_person(page.items, action.target, action.progress.slug)
        if found is None:
            return await self._absent()
        read = ex.ProfileRead(action.target, connected=False, invitation_pending=True)
        learned = Learned(invitation_id=found.id)
        now = self.world.clock()
        return action_report(
            action, ActionState.DONE, read, now, learned=learned, reference=found.id
        )

    async def _withdrawal(self) -> Report | Failure:
        """Ask the profile: a withdrawal is done when it says so.

        Where it still shows the invitation, the list of pending ones is searched for its id: the
        one that we had may be another's, or we had none.
        """
        if self.action.progress.is_searching:
            return await self._pending_id()
        profile = await self._profile()
        if is_gone(profile):
            if (failure := await self.confirmed()) is not None:
                return failure
            return action_report(self.action, ActionState.DONE, ex.Done(), self.world.clock())
        if not isinstance(profile, Profile):
            return profile
        if profile.connected or not profile.invitation_pending:
            return action_report(self.action, ActionState.DONE, ex.Done(), self.world.clock())
        return self._search(profile)

    async def _pending_id(self) -> Report | Failure:
        action, progress = self.action, self.action.progress
        if (wait := await self._reserve(Budget.LIST_READ)) is not None:
            return wait
        page = await self.world.provider.sent_invitations(
            action.unipile_account_id, cursor=progress.cursor
        )
        if isinstance(page, Retry | Wait | Pause | Skip | Fail):
            return page
        if (found := _of_person(page.items, action.target, progress.slug)) is not None:
            return await self._absent(Learned(invitation_id=found.id))
        if page.cursor is not None:
            return self._next_page(page.cursor)
        return Retry("the profile shows an invitation that the list of pending ones lacks")

    def _search(self, profile: Profile) -> Report:
        """Look into the list of pending invitations at the next question."""
        action, now = self.action, self.world.clock()
        onward = replace(
            action.progress.anew(action.progress.absent_since or now),
            is_searching=True,
            slug=profile.public_identifier,
        )
        wait = min(ASK_AGAIN, SETTLES[action.ticket.operation])
        return later(action, now, wait, "the pending invitations are looked at next", onward)

    async def _profile(self) -> Profile | Failure:
        if (wait := await self._reserve(Budget.PROFILE)) is not None:
            return wait
        action = self.action
        profile = await self.world.provider.profile(action.unipile_account_id, action.target)
        if isinstance(profile, Profile):
            slug = slug_of(profile.public_identifier)
            who = action.organization_id, profile.provider_id, slug, action.lead_id, action.target
            await learn_shown(self.world, [Shown(*who)])
        return profile

    # --- messages

    async def _message(self, *, inmail: bool) -> Report | Failure:
        """Look for our text in all chats with the person."""
        action, provider = self.action, self.world.provider
        account = action.unipile_account_id
        chats = await provider.chats_with(account, action.provider_id or action.target)
        if isinstance(chats, Retry | Wait | Pause | Skip | Fail):
            return chats
        text = action.text or ""
        known = self._known(_MESSAGES[inmail])
        back_to = absence.anchors(known, text)
        chat_ids = dict.fromkeys(chat.id for chat in chats)
        if action.chat_id is not None:
            chat_ids[action.chat_id] = None
        shown: list[absence.Shown] = []
        chats_of: dict[str | None, str] = {}
        stamps: dict[str | None, datetime] = {}
        answers: list[datetime] = []
        is_whole = True
        for chat_id in chat_ids:
            messages = await provider.chat_messages(account, chat_id, back_to=back_to)
            if is_gone(messages):  # what the ledger knows of it must be shown by another
                continue
            if isinstance(messages, Retry | Wait | Pause | Skip | Fail):
                return messages
            ours = [each for each in messages.items if _is_ours(each, inmail=inmail)]
            shown += [absence.Shown(each.id, each.text) for each in ours]
            chats_of |= {each.id: chat_id for each in ours}
            stamps |= {each.id: each.sent_at for each in ours}
            answers += [
                each.sent_at for each in messages.items if not (each.from_us or each.is_event)
            ]
            is_whole = is_whole and messages.is_whole
        verdict = absence.message(shown, known, text, is_whole=is_whole)
        if (gap := action.gap) is not None and not isinstance(verdict, absence.Found):
            # in the gap its words may have been others: any that the ledger lacks counts
            lost = [each for each in shown if gap.holds(stamps[each.id])]
            if (any_of_ours := absence.unknown(lost, known)) is not None:
                verdict = absence.Found(any_of_ours)
        match verdict:
            case absence.Found(message) if (
                gap is not None
                and not action.is_replied
                and (later_answers := [at for at in answers if at > stamps[message.id]])
            ):
                where = None if inmail else chats_of[message.id]
                return self._answered(message.id, where, max(later_answers))
            case absence.Found(message):
                # an InMail's chat takes no message of ours
                learned = None if inmail else Learned(chat_id=chats_of[message.id])
                return self._done(message.id, learned)
            case absence.Unproved(reason):
                return Retry(reason)
            case absence.Absent():
                return await self._absent_message(is_empty=not shown)

    def _answered(self, reference: str | None, chat_id: str | None, at: datetime) -> Report:
        """What was sent before a restore was answered, when nobody knew any more who that is."""
        now = self.world.clock()
        learned = Learned(chat_id=chat_id, replied_at=min(at, now))
        return action_report(
            self.action, ActionState.DONE, ex.Replied(), now, learned=learned, reference=reference
        )

    async def _absent_message(self, *, is_empty: bool) -> Report | Failure:
        """Believe that it is not there only while the provider's store of the account is whole."""
        if (failure := await self.confirmed()) is not None:
            return failure
        action, now = self.action, self.world.clock()
        async with self.world.database.connection() as conn:  # what was found out just now, too
            since = await store_since(conn, action.organization_id, action.account_id)
        if since is not None and now < since + STORE_FILLS:
            reason = "the account signed in lately: its chats may not all be there yet"
            return Wait(reason, since + STORE_FILLS - now, STORE_FILLS)
        if is_empty and (doubt := await self._doubt_of_store()) is not None:
            return doubt
        return self._looked_in_vain()

    async def confirmed(self) -> Failure | None:
        """Say why the account must not be believed: it may be another's, or signed out."""
        action = self.action
        return await confirm(
            self.world, action.organization_id, action.account_id, action.unipile_account_id
        )

    async def _doubt_of_store(self) -> Failure | None:
        """Say why the store may have lost chats: of other people, known ones must be there.

        One may be gone, deleted by hand; an account that shows no chat at all is believed a day
        later.
        """
        world, action = self.world, self.action
        async with world.database.connection() as conn:
            chats = await known_chats(conn, action, before=action.intended_at - BEFORE)
        lacking = 0
        for chat_id, references in chats:
            messages = await world.provider.chat_messages(
                action.unipile_account_id, chat_id, back_to=references
            )
            if is_gone(messages):
                lacking += 1
            elif isinstance(messages, Retry | Wait | Pause | Skip | Fail):
                return messages
            elif references and references.isdisjoint(each.id for each in messages.items):
                lacking += 1
        if lacking > 1 or (lacking and lacking == len(chats)):
            return Retry("chats with other people are not there either")
        if chats or world.clock() >= action.intended_at + NO_CHATS:
            return None
        has_chats = await world.provider.has_chats(action.unipile_account_id)
        if isinstance(has_chats, bool):
            return None if has_chats else Retry("the account shows no chat at all")
        return has_chats

    # --- posts

    async def _comment(self) -> Report | Failure:
        """Look for our comment in the list of all that the account wrote, a page a question."""
        action, progress = self.action, self.action.progress
        own_id = action.own_provider_id
        if own_id is None:
            return Retry("whose account it is is not known")
        if (wait := await self._reserve(Budget.POST_READ)) is not None:
            return wait
        page = await self.world.provider.own_comments(
            action.unipile_account_id, own_id, cursor=progress.cursor
        )
        if isinstance(page, Retry | Wait | Pause | Skip | Fail):
            return page
        shown = [absence.Shown(each.id, each.text, _places(each)) for each in page.items]
        known = self._known(Operation.COMMENT_POST)
        if action.gap is not None:
            here = [each for each in shown if action.target in each.places]
            if (any_of_ours := absence.unknown(here, known)) is not None:
                return self._done(any_of_ours.id)
            if progress.never_left and page.cursor is None:
                return await self._absent()  # whatever it shows: nothing was sent just now
        verdict = absence.comment(
            shown,
            known,
            action.target,
            action.text or "",
            is_known=progress.is_known,
            is_last=page.cursor is None,
        )
        match verdict:
            case absence.Found(comment):
                return self._done(comment.id)
            case absence.Absent():
                return await self._absent()
            case absence.Unproved(reason):
                return Retry(reason)
            case absence.More(is_known):
                return self._next_page(page.cursor, is_known=is_known)

    async def _like(self) -> Report | Failure:
        if (wait := await self._reserve(Budget.POST_READ)) is not None:
            return wait
        post = await self.world.provider.post(self.action.unipile_account_id, self.action.target)
        if is_gone(post):
            return await self._absent()
        if isinstance(post, Retry | Wait | Pause | Skip | Fail):
            return post
        return self._done(None) if post.reacted else await self._absent()

    # --- what all of them do

    async def _reserve(self, budget: Budget) -> Wait | None:
        """Take a unit for one read that LinkedIn sees; return how long to wait for it, if so."""
        action, now = self.action, self.world.clock()
        async with self.world.database.connection() as conn:
            again_at = await reserve(conn, action.organization_id, action.account_id, budget, now)
        if again_at is None:
            return None
        wait = again_at - now
        return NotItsTurn(f"waits for its turn to read by the limit {budget}", wait, wait)

    def _known(self, operation: Operation) -> list[absence.Known]:
        before = self.action.intended_at - BEFORE
        return [
            absence.Known(each.reference, each.text, each.settled_at <= before, each.target)
            for each in self.action.known
            if each.operation is operation
        ]

    def _done(self, reference: str | None, learned: Learned | None = None) -> Report:
        now = self.world.clock()
        return action_report(
            self.action, ActionState.DONE, ex.Done(), now, learned=learned, reference=reference
        )

    def _next_page(self, cursor: str | None, *, is_known: bool = False) -> Report | Failure:
        """Go on with the list's next page at the next question."""
        action = self.action
        if cursor == action.progress.cursor:
            return Retry("answer not understood: a list without end")
        onward = replace(action.progress, cursor=cursor, is_known=is_known)
        return later(action, self.world.clock(), timedelta(0), "not on this page", onward)

    async def _absent(self, learned: Learned | None = None) -> Report | Failure:
        """It is not there, if it is our account that was asked."""
        failure = await self.confirmed()
        return self._looked_in_vain(learned) if failure is None else failure

    def _looked_in_vain(self, learned: Learned | None = None) -> Report:
        """It is not there: believed once the time is over in which it may still appear.

        Never at the first question.  A host's clock that is set forward ends every ticker on it,
        makes every intent look old, and leaves requests on the wire: between two questions time
        has passed.
        """
        action, now = self.action, self.world.clock()
        settles = SETTLES[action.ticket.operation]
        if action.progress.never_left and action.gap is not None:
            return self._not_before(action.gap.until + settles, learned)
        settles_at = action.intended_at + settles
        since = action.progress.absent_since
        if since is not None and now >= settles_at:
            return action_report(action, ActionState.ABSENT, ex.Absent(), now, learned=learned)
        anew = action.progress.anew(since or now)
        if now < settles_at:
            return later(action, now, min(ASK_AGAIN, settles_at - now), "not there yet", anew)
        return later(action, now, min(ASK_AGAIN, settles), "asked only once", anew)

    def _not_before(self, settles_at: datetime, learned: Learned | None) -> Report:
        """Nothing was sent before the restore, nor under this action: it may be sent now."""
        action, now = self.action, self.world.clock()
        if now < settles_at:
            progress = action.progress.anew(now)
            return later(action, now, settles_at - now, "not there yet", progress)
        reason = "not sent before the restore"
        wait = ex.Failed(Wait(reason, timedelta(0), timedelta(0)))
        return action_report(
            action,
            ActionState.ABSENT,
            wait,
            now,
            recovering=False,
            learned=learned,
            reason=reason,
            gives_back=True,
        )


def _of_person(
    pending: Sequence[Invitation], provider_id: str, slug: str | None
) -> Invitation | None:
    """Find a person's invitation; the provider may leave the id out, and names them by the slug."""
    for each in pending:
        if each.provider_id == provider_id or (
            each.provider_id is None and slug is not None and each.public_identifier == slug
        ):
            return each
    return None


def _is_ours(message: Message, *, inmail: bool) -> bool:
    """Whether it is a message of ours of the kind; an invitation's note may say the same."""
    return message.from_us and message.kind != "INVITATION" and (message.kind == "INMAIL") == inmail


def _places(comment: Comment) -> frozenset[str]:
    return frozenset(each for each in (comment.post_id, comment.post_urn) if each is not None)


def is_gone(answer: object) -> bool:
    """Whether there is nothing to look at.  Any other refusal to show it proves nothing."""
    return isinstance(answer, Skip | Fail) and answer.means is Means.GONE


def later(
    action: Doubtful,
    now: datetime,
    wait: timedelta,
    reason: str,
    progress: Progress,
    *,
    silence: int = 0,
) -> Report:
    return action_report(
        action,
        ActionState.UNKNOWN,
        None,
        now,
        check_at=now + wait,
        reason=reason,
        progress=progress,
        silence=silence,
    )


def action_report(
    action: Doubtful,
    state: ActionState,
    event: ex.Event | None,
    now: datetime,
    *,
    recovering: bool = True,
    **findings: Unpack[Findings],
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
    return Report.of_question(
        action.organization_id,
        action.campaign_id,
        action.lead_id,
        action.account_id,
        action.ticket,
        state,
        event,
        recovering=recovering,
        **findings,
    )

"""A LinkedIn of invented people, with the rules that hold there and what happens over time.

Nobody is preloaded: a person comes into being when first asked for.  What they do follows from the
seed, the account and their slug alone, so the order of requests changes nothing.
"""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from clento_engine.simulator import payloads
from clento_engine.simulator.agenda import Agenda
from clento_engine.simulator.chance import Draw, hexadecimal
from clento_engine.simulator.clock import Clock, DrivenClock
from clento_engine.simulator.faults import Faults
from clento_engine.simulator.ledger import Effect, Ledger, Read, Signal
from clento_engine.simulator.messages import Chat, Kind, Message
from clento_engine.simulator.people import (
    Chances,
    Person,
    Post,
    Remark,
    Temper,
    invent,
    posts,
    provider_id,
    temper,
)
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import (
    NOTE_LENGTH,
    PENDING_CEILING,
    Account,
    Invitation,
    Member,
    Status,
    Tie,
    Tier,
)
from clento_engine.simulator.webhooks import (
    EVENTS,
    Courier,
    Deliver,
    Delivery,
    DeliveryCounts,
    Webhook,
)

_WORDS = ("Congratulations!", "So true.", "Thanks for sharing.", "I see this differently.")
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)  # a Monday; where nobody says when it is

COMMENT_LENGTH = 1250
MESSAGE_LENGTH = 8000
INMAIL_LENGTH = 1900
SUBJECT_LENGTH = 200
WITHDRAWN_FOR = timedelta(weeks=3)  # source: unipile.md 2.6
INVITATION_EXPIRES = timedelta(days=180)
_POSTED_WITHIN_S = 20.0  # how fast the provider's store tells of a message it sees
_WORKERS = 16  # deliveries under way at once while the clock runs by itself

_SENT = (Kind.MESSAGE, Kind.INMAIL)  # what a sender wrote just now, which the store sees later
_OLD_CONNECTION = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well the provider's store and webhooks serve."""

    visible_after: timedelta = timedelta(seconds=10)  # our own message, in lists and webhooks
    noticed_within: timedelta = timedelta(hours=8)  # new relations are polled for
    lost: float = 0.02  # share of events no webhook tells of
    duplicated: float = 0.02  # share that are told twice
    null_ids: float = 0.01  # share of sent messages whose answer lacks its ids
    # how far every stamp that it shows lies before the true time, the Date header too: a provider
    # whose clock is behind, or an engine and a database whose clocks are ahead
    stamps_behind: timedelta = timedelta(0)
    pending_by_slug_only: bool = False  # sent invitations name people by public identifier alone
    empty_lists: bool = False  # an attendee without chats: 200 and none of them, where else 404


@dataclass(frozen=True, slots=True)
class Advance:
    """Where a driven clock came to.  `delivered`: webhooks answered with 2xx at `now`."""

    now: datetime
    delivered: int
    next_at: datetime | None


@dataclass(slots=True)
class SignIn:
    """A hosted sign-in link that was made and not yet used."""

    expires_at: datetime
    account_id: str | None  # to reconnect
    name: str | None
    notify_url: str | None


@dataclass(slots=True)
class Requests:
    """What was asked, kept as counts."""

    seq: int = 0
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)  # route, status


class World:
    """People, senders, what is between them, and what is going to happen."""

    def __init__(
        self,
        *,
        seed: int = 7,
        clock: Clock | None = None,
        chances: Chances | None = None,
        reliability: Reliability | None = None,
        deliver: Deliver | None = None,
    ) -> None:
        self.seed = seed
        self.clock = clock or DrivenClock(START)
        self.start = self.clock()
        self.chances = chances or Chances()
        self.furthest_behind = timedelta(0)
        self.rely_on(reliability or Reliability())
        self.deliver: Deliver = deliver or Courier()
        self.agenda: Agenda[Delivery | None] = Agenda()
        self.ledger = Ledger()
        self.requests = Requests()
        self.faults = Faults(seed)
        self.deliveries = DeliveryCounts()
        self.accounts: dict[str, Account] = {}
        self.members: dict[str, Member] = {}  # by provider id, connected or not
        self.webhooks: dict[str, Webhook] = {}
        self.sign_ins: dict[str, SignIn] = {}
        self.people: dict[str, Person] = {}  # by every slug they have
        self.by_provider_id: dict[str, Person] = {}
        self.chats: dict[str, Chat] = {}  # by every account's id of them, and the provider's
        self.messages: dict[str, Message] = {}  # the same
        self.message_log: list[Message] = []  # oldest first
        self._posts: dict[str, Post] = {}  # by id and by social id
        self._created = 0
        self._advancing = asyncio.Lock()

    def stamp(self) -> datetime:
        """Return what the provider takes for the present; the ledger keeps the true one."""
        return self.clock() - self.reliability.stamps_behind

    def rely_on(self, reliability: Reliability) -> None:
        """Change how well store and webhooks serve, from now on."""
        self.reliability = reliability
        self.furthest_behind = max(self.furthest_behind, reliability.stamps_behind)

    # --- who there is

    def add_account(
        self,
        name: str | None = None,
        tier: Tier = Tier.PREMIUM,
        id_: str | None = None,
        member_id: str | None = None,
    ) -> Account:
        """Connect a member: a new one, or the one of this provider id, under one id more."""
        self._created += 1
        number = self._created
        account_id = id_ or f"acc_{hexadecimal(self.seed, 'account', number, length=18)}"
        if account_id in self.accounts:
            raise Refusal("already_exists", "There is an account of this id.")
        member_id = member_id or provider_id(self.seed, f"\x00account {number}")
        member = self.members.get(member_id)
        if member is None:
            member = self.members[member_id] = Member(
                member_id, f"sender-{number}", name or f"Sender {number}", tier, account_id
            )
        return self._connect_account(member, account_id)

    def _connect_account(self, member: Member, account_id: str) -> Account:
        account = Account(account_id, member, created_at=self.stamp(), synced_at=self.clock())
        self.accounts[account_id] = account
        self.ledger.members[account_id] = member.provider_id
        member.accounts.append(account)
        for chat in member.chats:
            self._keep_chat(account, chat)
            for message in chat.messages:
                self._keep_message(account, message)
        return account

    def sign_in_anew(
        self,
        account: Account,
        new_id: str | None = None,
        *,
        synced_after: timedelta = timedelta(0),
        is_silent: bool = False,
    ) -> Account:
        """Disconnect an account and connect its member under another id; return the new account.

        Its store has the member's chats under ids of its own, and shows them after `synced_after`.
        """
        if new_id in self.accounts:
            raise Refusal("already_exists", "There is an account of this id.")
        if not is_silent:
            self.tell_status(account, "DELETED")
        self._disconnect(account)
        again = self.add_account(id_=new_id, member_id=account.provider_id)
        again.synced_at += synced_after
        if account.status is Status.RESTRICTED:  # LinkedIn restricted the member
            again.status = Status.RESTRICTED
        if not is_silent:
            self.tell_status(again, "CREATION_SUCCESS")
        return again

    def resync(self, account: Account, within: timedelta, *, is_silent: bool = False) -> None:
        """Have an account reconnected, its store empty until it is synced again."""
        account.synced_at = self.clock() + within
        if not is_silent:
            self.tell_status(account, "RECONNECTED")

    def account(self, account_id: str | None) -> Account:
        """Return a sender; refuse when there is none."""
        if not account_id:
            raise Refusal("missing_parameters", "account_id is required.")
        account = self.accounts.get(account_id)
        if account is None:
            raise Refusal("resource_not_found", "Account not found.")
        return account

    def delete_account(self, account: Account) -> None:
        """Disconnect an account, and tell whoever asked to be told."""
        self.tell_status(account, "DELETED")
        self._disconnect(account)

    def set_status(self, account: Account, status: Status) -> None:
        """Change an account's state; only transitions are told."""
        if status is account.status:
            return
        if status is Status.OK:
            account.member.forgive()
        account.status = status
        self.tell_status(account, "ERROR" if status is Status.RESTRICTED else status.value)

    def person(self, slug: str) -> Person:
        """Return the person behind a slug, who may be one that does not exist."""
        slug = slug.strip().casefold()
        person = self.people.get(slug)
        if person is None:
            person = invent(self.seed, slug, self.chances)
            self.introduce(person)
        return person

    def introduce(self, person: Person) -> None:
        """Make a person known by all their names."""
        self.people[person.slug] = person
        self.people[person.public_identifier] = person
        self.by_provider_id[person.provider_id] = person
        self.by_provider_id[person.sales_id] = person

    def find(self, identifier: str) -> Person:
        """Return the person of a provider id or slug; refuse when there is none."""
        person = self.by_provider_id.get(identifier)
        if person is None:
            if looks_like_provider_id(identifier):
                raise Refusal("resource_not_found", "No such profile.")
            person = self.person(identifier)
        if not person.traits.exists:
            raise Refusal("resource_not_found", "No such profile.")
        return person

    def recipient(self, identifier: str, *, sales: bool = False) -> Person:
        """Return the person of a provider id as writes want it: never a slug."""
        person = self.by_provider_id.get(identifier)
        if person is None or identifier != (person.sales_id if sales else person.provider_id):
            raise Refusal("invalid_recipient", "Not a provider id of this product.")
        if not person.traits.exists or person.traits.locked:
            raise Refusal("invalid_recipient", "This member cannot be reached.")
        return person

    def temper(self, account: Account, person: Person) -> Temper:
        """Return how a person treats an account's member."""
        return temper(self.seed, account.member.key, person, self.chances)

    def tie(self, account: Account, person: Person) -> Tie:
        """Return what there is between an account's member and a person."""
        member = account.member
        tie = member.ties.get(person.slug)
        if tie is None:
            tie = member.ties[person.slug] = Tie(person)
            since = self.temper(account, person).connected_for
            if member.provider_id in person.friends:
                self._connect(account, tie, person.friends[member.provider_id])
            elif since is not None:
                self._connect(account, tie, self.start - since)
        return tie

    # --- reading

    def profile(
        self, account: Account, identifier: str, *, notify: bool, sales: bool = False
    ) -> Person:
        """Read a profile; with `notify` the person sees the visit."""
        account.need_usable()
        now = self.clock()
        self._need_patience(account, "profile", now)
        account.member.spend("profile", now)
        try:
            person = self._readable(identifier, sales=sales)
        except Refusal:
            self.ledger.read(Read.PROFILE, at=now, account=account.id)
            raise
        tie = self.tie(account, person)
        if tie.acceptance is not None:
            tie.acceptance.learn(now)
        if notify:
            self._land(Effect.VISIT, account, person)
        else:
            self.ledger.read(Read.PROFILE, at=now, account=account.id)
        return person

    def posts_of(self, account: Account, identifier: str) -> list[Post]:
        """Read a person's posts, newest first."""
        self.read(account, Read.POSTS, "posts")
        if identifier == account.provider_id:
            return []
        return self.written_by(self.recipient(identifier))

    def written_by(self, person: Person) -> list[Post]:
        """Return a person's posts, newest first; nobody is noted to have read them."""
        written = posts(self.seed, person, self.start, self.clock(), self.chances)
        for post in written:
            self._posts[post.id] = self._posts[post.social_id] = post
        return written

    def post(self, post_id: str, *, acting: bool = False) -> Post:
        """Return a post by either id; to act on it only the social id will do."""
        post = self._posts.get(post_id)
        if post is None:
            raise Refusal("resource_not_found", "Post not found.")
        if acting and post_id != post.social_id:
            raise Refusal("invalid_post", "Act with the social_id of a post.")
        return post

    def read(self, account: Account, kind: Read, patience: str = "list") -> None:
        """Note a read that reaches LinkedIn, within what it puts up with."""
        account.need_usable()
        now = self.clock()
        self._need_patience(account, patience, now)
        account.member.spend(patience, now)
        self.ledger.read(kind, at=now, account=account.id)

    # --- acting

    def react(self, account: Account, post_id: str, value: str) -> None:
        """React to a post, once."""
        account.need_usable()
        post = self.post(post_id, acting=True)
        if account.provider_id in post.reactions:
            raise Refusal("action_already_performed", "There is a reaction already.")
        now = self.clock()
        self._need_patience(account, "reaction", now)
        account.member.spend("reaction", now)
        post.reactions[account.provider_id] = value
        account.member.reactions.append((post.social_id, value, now))
        self._land(Effect.LIKE, account, post.author, target=post.social_id)

    def comment(self, account: Account, post_id: str, text: str, answers: str | None) -> Remark:
        """Comment a post; the same text twice stands there twice."""
        account.need_usable()
        if not text.strip():
            raise Refusal("invalid_message", "A comment needs a text.")
        if len(text) > COMMENT_LENGTH:
            raise Refusal("too_many_characters", f"At most {COMMENT_LENGTH} characters.")
        post = self.post(post_id, acting=True)
        if post.comments_off:
            raise Refusal("comments_disabled", "Comments are off.")
        now = self.clock()
        self._need_patience(account, "comment", now)
        account.member.spend("comment", now)
        remark = self._remark(post, account.member, text, answers)
        account.member.remarks.append(remark)
        self._land(Effect.COMMENT, account, post.author, target=post.social_id, text=text)
        first = len(post.comments)
        for number in range(first, first + self.chances.others_comment):
            share = Draw(self.seed, "others", post.social_id, number).share()
            after = self.chances.others_within * share
            self.agenda.plan(now + after, partial(self.others_comment, post))
        return remark

    def by_hand(self, account: Account, post_id: str, text: str) -> Remark:
        """Have the owner of an account comment a post on LinkedIn itself: no effect of ours."""
        remark = self._remark(self.post(post_id, acting=True), account.member, text)
        account.member.remarks.append(remark)
        return remark

    def others_comment(self, post: Post, count: int = 1) -> None:
        """Have so many other members comment a post now."""
        for _ in range(count):
            number = len(post.comments) + 1
            author = invent(self.seed, f"commenter-{number}-{post.id}", self.chances)
            text = Draw(self.seed, "words", post.social_id, number).choice(_WORDS)
            self._remark(post, author, text)

    def _remark(
        self, post: Post, author: Member | Person, text: str, answers: str | None = None
    ) -> Remark:
        key = author.key if isinstance(author, Member) else author.slug
        remark = Remark(
            id=_digits(self.seed, "comment", post.social_id, key, len(post.comments) + 1),
            author_id=author.provider_id,
            author=author.name,
            text=text,
            at=self.stamp(),
            post=post,
            answers=answers,
        )
        post.comments.append(remark)
        return remark

    def invite(
        self, account: Account, identifier: str, note: str | None
    ) -> tuple[Invitation, int | None]:
        """Ask to connect.  Returns the invitation, and the mark of usage when one was crossed."""
        account.need_usable()
        note = note or None
        if note is not None and len(note) > NOTE_LENGTH[account.tier]:
            raise Refusal("too_many_characters", f"At most {NOTE_LENGTH[account.tier]} characters.")
        person = self.recipient(identifier)
        tie = self.tie(account, person)
        now = self.clock()
        self._expire(account, tie, now)
        if tie.connected_at is not None:
            raise Refusal("already_connected", "Already a connection.")
        if tie.invitation is not None:
            raise Refusal("already_invited_recently", "A new invitation has to be delayed.")
        if tie.withdrawn_at is not None and now < tie.withdrawn_at + WITHDRAWN_FOR:
            raise Refusal("already_invited_recently", "A new invitation has to be delayed.")
        if len(account.member.pending) >= PENDING_CEILING:
            raise Refusal("connection_limit_reached", "Too many pending invitations.")
        self._need_patience(account, "invitation", now)
        if note is not None and account.tier is Tier.FREE:
            self._need_patience(account, "note", now)
            account.member.spend("note", now)
        account.member.spend("invitation", now)
        tie.invitations += 1
        invitation = Invitation(
            id=_digits(self.seed, "invitation", account.member.key, person.slug, tie.invitations),
            person=person,
            note=note,
            at=self.stamp(),
        )
        tie.invitation = account.member.pending[invitation.id] = invitation
        self._land(Effect.INVITATION, account, person, target=invitation.id, text=note)
        accepts_after = self.temper(account, person).accepts_after
        if accepts_after is not None:
            self.foresee(
                account.member, now + accepts_after, lambda one: self.accept(one, tie, invitation)
            )
        return invitation, account.member.usage_crossed(now)

    def withdraw(self, account: Account, invitation_id: str) -> None:
        """Take a pending invitation back."""
        account.need_usable()
        if not invitation_id.isdigit():
            raise Refusal("api.errors.invalid_invitation_id", status=400)
        invitation = account.member.pending.get(invitation_id)
        now = self.clock()
        if invitation is not None:
            self._expire(account, self.tie(account, invitation.person), now)
        if invitation is None or invitation_id not in account.member.pending:
            raise Refusal("resource_not_found", "No such pending invitation.")
        self._need_patience(account, "withdrawal", now)
        account.member.spend("withdrawal", now)
        tie = self.tie(account, invitation.person)
        tie.invitation = None
        tie.withdrawn_at = now
        del account.member.pending[invitation_id]
        self._land(Effect.WITHDRAW, account, invitation.person, target=invitation_id)

    def message(self, account: Account, identifier: str, text: str) -> Message:
        """Send a message to a connection, in the chat there is or a new one."""
        account.need_usable()
        _need_text(text, MESSAGE_LENGTH)
        person = self.recipient(identifier)
        tie = self.tie(account, person)
        if tie.connected_at is None:
            raise Refusal("no_connection_with_recipient", "Not a first-degree connection.")
        chat = tie.chat or self._open_chat(account, tie, is_inmail=False)
        return self._send(account, tie, chat, text, Kind.MESSAGE)

    def message_in(self, account: Account, chat: Chat, text: str) -> Message:
        """Send a message in a chat; an InMail's only once it was answered."""
        account.need_usable()
        _need_text(text, MESSAGE_LENGTH)
        tie = self.tie(account, chat.person)
        if tie.connected_at is None and not chat.answered:
            raise Refusal("no_connection_with_recipient", "Not a first-degree connection.")
        return self._send(account, tie, chat, text, Kind.MESSAGE)

    def inmail(
        self, account: Account, identifier: str, text: str, subject: str | None, *, sales: bool
    ) -> Message:
        """Send an InMail, by Sales Navigator or by Premium."""
        account.need_usable()
        if account.tier is not (Tier.SALES_NAVIGATOR if sales else Tier.PREMIUM):
            raise Refusal("feature_not_subscribed", "The account has no such subscription.")
        _need_text(text, INMAIL_LENGTH)
        if subject and len(subject) > SUBJECT_LENGTH:
            raise Refusal("too_many_characters", f"At most {SUBJECT_LENGTH} characters.")
        person = self.recipient(identifier, sales=sales)
        tie = self.tie(account, person)
        now = self.clock()
        if not person.traits.open_profile:
            if not person.traits.takes_inmail:
                raise Refusal("not_allowed_inmail", "This member takes no InMail.")
            if account.member.inmail_credits(now) <= 0:
                raise Refusal("insufficient_credits", "No InMail credits are left.")
        self._need_patience(account, "inmail", now)
        if not person.traits.open_profile:
            account.member.credits_spent.append((now, tie))
        chat = tie.inmail_chat or self._open_chat(account, tie, is_inmail=True)
        return self._send(account, tie, chat, text, Kind.INMAIL, subject=subject)

    # --- what people do

    def accept(self, account: Account, tie: Tie, invitation: Invitation) -> None:
        """Have an invitation accepted, if it still stands."""
        now = self.clock()
        self._expire(account, tie, now)
        if tie.invitation is not invitation:
            return
        person = tie.person
        tie.invitation = None
        del account.member.pending[invitation.id]
        self._connect(account, tie, self.stamp())
        tie.acceptance = Signal(
            now, account.id, person.provider_id, person.slug, member=account.provider_id
        )
        self.ledger.acceptances.append(tie.acceptance)
        delay = self.reliability.noticed_within * self.temper(account, person).noticed_after
        self.foresee(account.member, now + delay, lambda one: self._tell_relation(one.member, tie))
        if invitation.note:  # the note becomes the first message of a chat, which is echoed
            chat = tie.chat or self._open_chat(account, tie, is_inmail=False)
            message = self._write(chat, invitation.note, Kind.INVITATION, from_us=True)
            self._tell_message(account.member, tie, message)

    def write_by_hand(self, account: Account, tie: Tie, text: str) -> Message:
        """Have the owner of an account write to a person on LinkedIn itself: no effect of ours."""
        chat = tie.chat or self._open_chat(account, tie, is_inmail=False)
        message = self._write(chat, text, Kind.MESSAGE, from_us=True)
        message.visible_at = self.clock()
        message.signal = self._signal(account, tie)
        self.ledger.by_hand.append(message.signal)
        self._tell_message(account.member, tie, message)
        return message

    def write_to_group(self, account: Account, tie: Tie, text: str) -> Message:
        """Have a person write in a group that the account is in."""
        name = ("group", account.member.key, tie.person.slug)
        chat = Chat(
            ids={},
            provider_id=f"2-{hexadecimal(self.seed, 'provider', *name, length=40)}",
            member_id=account.provider_id,
            person=tie.person,
            is_inmail=False,
            is_group=True,
        )
        self.chats[chat.provider_id] = chat
        account.member.chats.append(chat)
        for each in account.member.accounts:
            self._keep_chat(each, chat)
        message = self._write(chat, text, Kind.MESSAGE, from_us=False)
        self._tell_message(account.member, tie, message)
        return message

    def _signal(self, account: Account, tie: Tie) -> Signal:
        return Signal(
            self.clock(),
            account.id,
            tie.person.provider_id,
            tie.person.slug,
            member=account.provider_id,
        )

    def reply(
        self,
        account: Account,
        tie: Tie,
        text: str,
        *,
        stored_after: timedelta = timedelta(0),
        stamp: datetime | None = None,
        is_silent: bool = False,
    ) -> Message:
        """Have a person write back.

        `stored_after`: how late the message comes to the store, as if it had always been there;
        `stamp`: the moment that the store shows, when it is a wrong one; `is_silent`: no webhook
        tells of it.
        """
        answered = tie.inmail_chat if tie.connected_at is None or tie.chat is None else tie.chat
        chat = answered or tie.chat or self._open_chat(account, tie, is_inmail=False)
        chat.answered = True
        kind = Kind.INMAIL_REPLY if chat.is_inmail else Kind.MESSAGE
        message = self._write(chat, text, kind, from_us=False)
        message.signal = self._signal(account, tie)
        message.visible_at += stored_after
        message.stamp = stamp
        self.ledger.replies.append(message.signal)
        tie.reply = tie.reply or message.signal
        if not is_silent and not stored_after:
            self._tell_message(account.member, tie, message)
        elif not is_silent:
            self.foresee(
                account.member,
                message.visible_at,
                lambda one: self._tell_message(one.member, tie, message),
            )
        return message

    def befriend(self, account: Account, person: Person) -> None:
        """Make two a connection at once, without an invitation."""
        since = person.friends[account.provider_id] = self.clock() - _OLD_CONNECTION
        tie = self.tie(account, person)
        if tie.connected_at is None:
            self._connect(account, tie, since)

    def force(self, person: Person, traits: Mapping[str, Any], tempers: Mapping[str, Any]) -> None:
        """Set what a person is and how they treat everybody, from now on."""
        person.traits = replace(person.traits, **traits)
        person.forced.update(tempers)
        self.introduce(person)

    def plan(self, account: Account, at: datetime, act: Callable[[], object]) -> None:
        """Have something happen to an account, if it is still connected by then."""

        def happen() -> None:
            if account.id in self.accounts:
                act()

        self.agenda.plan(at, happen)

    def foresee(self, member: Member, at: datetime, act: Callable[[Account], object]) -> None:
        """Have something happen to a member, by an account they are connected under by then."""

        def happen() -> None:
            if member.accounts:
                act(member.accounts[-1])

        self.agenda.plan(at, happen)

    # --- webhooks

    def register(self, fields: Mapping[str, Any]) -> Webhook:
        """Add a webhook."""
        try:
            return self._register(fields)
        except (KeyError, TypeError) as error:
            raise Refusal("invalid_parameters", f"Not a webhook: {error}.") from error

    def _register(self, fields: Mapping[str, Any]) -> Webhook:
        source = fields.get("source")
        if not isinstance(source, str) or source not in EVENTS:
            raise Refusal("invalid_parameters", f"Unknown source {source!r}.")
        url = fields.get("request_url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise Refusal("invalid_url", "request_url must be an absolute URL.")
        known, default = EVENTS[source]
        events = tuple(fields.get("events") or default)
        if unknown := set(events) - set(known):
            raise Refusal("invalid_parameters", f"Unknown events {sorted(unknown)}.")
        self._created += 1
        webhook = Webhook(
            id=f"wh_{hexadecimal(self.seed, 'webhook', self._created, length=18)}",
            source=source,
            url=url,
            events=events,
            name=fields.get("name"),
            headers=tuple((one["key"], one["value"]) for one in fields.get("headers") or ()),
            account_ids=tuple(fields.get("account_ids") or ()),
            format=fields.get("format") or "json",
            enabled=fields.get("enabled", True) is not False,
            data=tuple((one["name"], one["key"]) for one in fields.get("data") or ()),
        )
        self.webhooks[webhook.id] = webhook
        return webhook

    def tell_status(self, account: Account, word: str) -> None:
        """Send an account's new state to whoever asked for it."""
        account.transitions += 1
        key = ("status", account.id, word, account.transitions)
        self._tell(
            "account_status",
            word.lower(),
            account,
            lambda _webhook: payloads.account_status(account, word),
            key=key,
        )

    def notify(self, url: str, payload: Mapping[str, Any]) -> None:
        """Call a sign-in's `notify_url`: once, with neither custom headers nor retries lost."""
        delivery = Delivery(url, {}, payloads.encode(payload))
        self.agenda.plan(self.clock(), lambda: delivery)

    # --- time

    async def advance(self, to: datetime, linger: timedelta = timedelta(0)) -> Advance:
        """Let happenings come, in order, up to `to`; stop `linger` after the first webhook.

        All webhooks due until then are delivered, each receiver's answer awaited, before this
        returns.  For a driven clock only.
        """
        clock = self.clock
        if not isinstance(clock, DrivenClock):
            raise Refusal("invalid_request", "This clock runs by itself.")
        async with self._advancing:
            delivered = 0
            until = to
            while (happening := self.agenda.take(until)) is not None:
                clock.move(happening.at)
                delivery = happening.act()
                if delivery is not None:
                    until = min(until, happening.at + linger)
                    delivered += await self._deliver(delivery)
            clock.move(until)
            return Advance(clock(), delivered, self.agenda.next_at)

    def halt(self) -> None:
        """Stop a running clock where it is: from now on time is moved by requests."""
        if not isinstance(self.clock, DrivenClock):
            self.clock = DrivenClock(self.clock())
            self.agenda.on_earlier()  # wakes `run`, which then ends

    async def run(self, speed: float) -> None:
        """Let happenings come by themselves while the clock runs; returns when it is halted."""
        changed = asyncio.Event()
        self.agenda.on_earlier = changed.set
        slots = asyncio.Semaphore(_WORKERS)
        async with asyncio.TaskGroup() as group:
            while not isinstance(self.clock, DrivenClock):
                changed.clear()
                while (happening := self.agenda.take(self.clock())) is not None:
                    delivery = happening.act()
                    if delivery is not None:
                        group.create_task(self._deliver_within(slots, delivery))
                next_at = self.agenda.next_at
                wait = None if next_at is None else (next_at - self.clock()).total_seconds() / speed
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), wait)

    async def _deliver_within(self, slots: asyncio.Semaphore, delivery: Delivery) -> None:
        async with slots:
            await self._deliver(delivery)

    async def _deliver(self, delivery: Delivery) -> bool:
        status = await self.deliver(delivery.url, delivery.headers, delivery.body)
        now = self.clock()
        if status is not None and 200 <= status < 300:  # noqa: PLR2004  # 2xx
            self.deliveries.delivered += 1
            if status != HTTPStatus.ACCEPTED:  # taken, and not kept: it told nobody
                delivery.on_delivered(now)
            return True
        self.deliveries.failed_attempts += 1
        delay = delivery.retry_after
        if delay is None:
            self.deliveries.dropped += 1
        else:
            delivery.attempt += 1
            self.agenda.plan(now + delay, lambda: delivery)
        return False

    # --- inside

    def _disconnect(self, account: Account) -> None:
        del self.accounts[account.id]
        account.member.accounts.remove(account)

    def _keep_chat(self, account: Account, chat: Chat) -> None:
        """Give a chat its id in an account's store."""
        kind = "inmail" if chat.is_inmail else "group" if chat.is_group else "chat"
        chat_id = hexadecimal(self.seed, kind, account.id, chat.person.slug)
        chat.ids[account.id] = chat_id
        self.chats[chat_id] = chat

    def _keep_message(self, account: Account, message: Message) -> None:
        """Give a message its id in an account's store."""
        message_id = hexadecimal(self.seed, "message", message.chat.ids[account.id], message.number)
        message.ids[account.id] = message_id
        self.messages[message_id] = message

    def _readable(self, identifier: str, *, sales: bool) -> Person:
        if sales and not looks_like_provider_id(identifier):
            raise Refusal("invalid_recipient", "Sales Navigator needs a provider id.")
        person = self.find(identifier)
        if person.traits.locked:
            raise Refusal("invalid_recipient", "This profile is locked.")
        return person

    def _need_patience(self, account: Account, what: str, now: datetime) -> None:
        try:
            account.member.need_patience(what, now)
        except Refusal as refusal:
            if refusal.kind == "account_restricted":
                self.set_status(account, Status.RESTRICTED)
            raise

    def _land(
        self,
        effect: Effect,
        account: Account,
        person: Person,
        *,
        target: str | None = None,
        text: str | None = None,
    ) -> None:
        self.ledger.land(
            effect,
            at=self.clock(),
            account=account.id,
            provider_id=person.provider_id,
            slug=person.slug,
            request_seq=self.requests.seq,
            target=target,
            text=text,
        )

    def _connect(self, account: Account, tie: Tie, at: datetime) -> None:
        tie.connected_at = at
        insort(account.member.relations, (at, tie.person.slug))

    def _expire(self, account: Account, tie: Tie, now: datetime) -> None:
        """Forget an invitation that LinkedIn has dropped; looked at only when somebody asks."""
        if tie.invitation is not None and now >= tie.invitation.at + INVITATION_EXPIRES:
            del account.member.pending[tie.invitation.id]
            tie.invitation = None

    def _open_chat(self, account: Account, tie: Tie, *, is_inmail: bool) -> Chat:
        member = account.member
        name = ("inmail" if is_inmail else "chat", member.key, tie.person.slug)
        chat = Chat(
            ids={},
            provider_id=f"2-{hexadecimal(self.seed, 'provider', *name, length=40)}",
            member_id=member.provider_id,
            person=tie.person,
            is_inmail=is_inmail,
        )
        if is_inmail:
            tie.inmail_chat = chat
        else:
            tie.chat = chat
        self.chats[chat.provider_id] = chat
        member.chats.append(chat)
        for each in member.accounts:
            self._keep_chat(each, chat)
        return chat

    def _send(
        self,
        account: Account,
        tie: Tie,
        chat: Chat,
        text: str,
        kind: Kind,
        *,
        subject: str | None = None,
    ) -> Message:
        now = self.clock()
        what, effect = (
            ("inmail", Effect.INMAIL) if kind is Kind.INMAIL else ("message", Effect.MESSAGE)
        )
        if kind is Kind.MESSAGE:
            self._need_patience(account, what, now)
        account.member.spend(what, now)
        message = self._write(chat, text, kind, from_us=True, subject=subject)
        self._land(effect, account, tie.person, target=chat.ids[account.id], text=text)
        tie.messages += 1
        self.foresee(
            account.member,
            message.visible_at,
            lambda one: self._tell_message(one.member, tie, message, at_once=True),
        )
        mood = self.temper(account, tie.person)
        if (
            mood.replies_after is not None
            and tie.messages == mood.replies_to_message
            and not tie.reply_planned
        ):
            tie.reply_planned = True
            self.foresee(
                account.member,
                now + mood.replies_after,
                lambda one: self.reply(one, tie, mood.reply),
            )
        return message

    def _write(
        self, chat: Chat, text: str, kind: Kind, *, from_us: bool, subject: str | None = None
    ) -> Message:
        now = self.clock()
        member = self.members[chat.member_id]
        number = len(chat.messages) + 1
        sent = hexadecimal(self.seed, "sent", chat.provider_id, number, length=40)
        message = Message(
            seq=len(self.message_log) + 1,
            number=number,
            ids={},
            provider_id=f"2-{sent}",
            chat=chat,
            text=text,
            from_us=from_us,
            at=self.stamp(),
            visible_at=now + self.reliability.visible_after if kind in _SENT and from_us else now,
            kind=kind,
            subject=subject,
        )
        chat.messages.append(message)
        member.messages.append(message)
        self.message_log.append(message)
        self.messages[message.provider_id] = message
        for account in member.accounts:
            self._keep_message(account, message)
        return message

    def _tell_message(
        self, member: Member, tie: Tie, message: Message, *, at_once: bool = False
    ) -> None:
        def learn(at: datetime) -> None:
            if message.signal is not None:
                message.signal.tell(at)
            elif message.kind is Kind.INVITATION and tie.acceptance is not None:
                tie.acceptance.learn(at)

        def tell(account: Account) -> None:
            self._tell(
                "messaging",
                "message_received",
                account,
                partial(_message_received, account, message),
                key=("message", message.ids[account.id]),
                on_delivered=learn,
                within_s=0 if at_once else _POSTED_WITHIN_S,
            )

        for account in member.accounts:
            if account.synced_at > self.clock():  # the messages of the gap come in a burst
                self.plan(account, account.synced_at, partial(tell, account))
            else:
                tell(account)

    def _tell_relation(self, member: Member, tie: Tie) -> None:
        def learn(at: datetime) -> None:
            if tie.acceptance is not None:
                tie.acceptance.learn(at)

        for account in member.accounts:
            self._tell(
                "users",
                "new_relation",
                account,
                partial(_new_relation, account, tie.person),
                key=("relation", account.id, tie.person.slug, tie.invitations),
                on_delivered=learn,
            )

    def _tell(
        self,
        source: str,
        event: str,
        account: Account,
        payload: Callable[[Webhook], Mapping[str, Any]],
        *,
        key: tuple[object, ...],
        on_delivered: Callable[[datetime], None] = lambda _at: None,
        within_s: float = 0,
    ) -> None:
        """Plan the deliveries of one event; `key` decides whether it is lost or told twice."""
        receivers = [one for one in self.webhooks.values() if one.wants(source, event, account.id)]
        if not receivers:
            return
        draw = Draw(self.seed, "delivery", *key)
        lost, duplicated = draw.share(), draw.share()
        if lost < self.reliability.lost:
            self.deliveries.lost += 1
            return
        at = self.clock() + timedelta(seconds=within_s * draw.share())
        times = [at]
        if duplicated < self.reliability.duplicated:
            self.deliveries.duplicated += 1
            times.append(at + timedelta(seconds=draw.between(0, 90)))
        for webhook in receivers:
            body = webhook.body(payload(webhook))
            for when in times:
                delivery = Delivery(webhook.url, dict(webhook.headers), body, on_delivered)
                self.agenda.plan(when, lambda delivery=delivery: delivery)  # type: ignore[misc]


def _message_received(account: Account, message: Message, webhook: Webhook) -> Mapping[str, Any]:
    return payloads.message_received(account, message, webhook.name)


def _new_relation(account: Account, person: Person, webhook: Webhook) -> Mapping[str, Any]:
    return payloads.new_relation(account, person, webhook.name)


def looks_like_provider_id(identifier: str) -> bool:
    """Whether this has the form of a provider id rather than of a slug."""
    return identifier.startswith(("ACo", "ADo", "ACw", "AE")) and len(identifier) > len("ACoAA")


def _need_text(text: str, most: int) -> None:
    if not text.strip():
        raise Refusal("invalid_message", "A message needs a text.")
    if len(text) > most:
        raise Refusal("too_many_characters", f"At most {most} characters.")


def _digits(*name: object) -> str:
    """Return an id of nineteen digits, as LinkedIn's are."""
    return str(7_000_000_000_000_000_000 + Draw(*name).word() % 10**18)

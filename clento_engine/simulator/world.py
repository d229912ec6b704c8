"""A LinkedIn of invented people: who there is, and what is between them.

Nobody is preloaded: a person comes into being when first asked for.  What they do follows from the
seed, the account and their slug alone, so the order of requests changes nothing.
"""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from clento_engine.simulator.agenda import Agenda
from clento_engine.simulator.clock import Clock, DrivenClock
from clento_engine.simulator.faults import Faults
from clento_engine.simulator.ledger import Effect, Ledger
from clento_engine.simulator.messages import MessageStore
from clento_engine.simulator.people import Chances, Person, Post, Temper, invent, temper
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account, Member, Tie
from clento_engine.simulator.webhooks import Courier, Deliver, Delivery, DeliveryCounts, Webhook

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)  # a Monday; where nobody says when it is

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
        self.store = MessageStore(seed)
        self.posts: dict[str, Post] = {}  # by id and by social id
        self._created = 0
        self.advancing = asyncio.Lock()  # one request at a time moves the clock

    def stamp(self) -> datetime:
        """Return what the provider takes for the present; the ledger keeps the true one."""
        return self.clock() - self.reliability.stamps_behind

    def rely_on(self, reliability: Reliability) -> None:
        """Change how well store and webhooks serve, from now on."""
        self.reliability = reliability
        self.furthest_behind = max(self.furthest_behind, reliability.stamps_behind)

    def next_number(self) -> int:
        """Return a number that nothing else of this world was named by."""
        self._created += 1
        return self._created

    def account(self, account_id: str | None) -> Account:
        """Return a sender; refuse when there is none."""
        if not account_id:
            raise Refusal("missing_parameters", "account_id is required.")
        account = self.accounts.get(account_id)
        if account is None:
            raise Refusal("resource_not_found", "Account not found.")
        return account

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

    def readable(self, identifier: str, *, sales: bool) -> Person:
        """Return the person whose profile can be read by this id or slug; refuse otherwise."""
        if sales and not looks_like_provider_id(identifier):
            raise Refusal("invalid_recipient", "Sales Navigator needs a provider id.")
        person = self.find(identifier)
        if person.traits.locked:
            raise Refusal("invalid_recipient", "This profile is locked.")
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
                self.connect(account, tie, person.friends[member.provider_id])
            elif since is not None:
                self.connect(account, tie, self.start - since)
        return tie

    def connect(self, account: Account, tie: Tie, at: datetime) -> None:
        """Make the two of a tie a connection."""
        tie.connected_at = at
        insort(account.member.relations, (at, tie.person.slug))

    def befriend(self, account: Account, person: Person) -> None:
        """Make two a connection at once, without an invitation."""
        since = person.friends[account.provider_id] = self.clock() - _OLD_CONNECTION
        tie = self.tie(account, person)
        if tie.connected_at is None:
            self.connect(account, tie, since)

    def force(self, person: Person, traits: Mapping[str, Any], tempers: Mapping[str, Any]) -> None:
        """Set what a person is and how they treat everybody, from now on."""
        person.traits = replace(person.traits, **traits)
        person.forced.update(tempers)
        self.introduce(person)

    def land(
        self,
        effect: Effect,
        account: Account,
        person: Person,
        *,
        target: str | None = None,
        text: str | None = None,
    ) -> None:
        """Note in the ledger what reached a person."""
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


def looks_like_provider_id(identifier: str) -> bool:
    """Whether this has the form of a provider id rather than of a slug."""
    return identifier.startswith(("ACo", "ADo", "ACw", "AE")) and len(identifier) > len("ACoAA")

"""Invented people: who they are, and how each of them treats a sender."""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clento_engine.simulator.chance import Draw, hexadecimal

# fmt: off
_FIRST = (
    "Lea", "Noah", "Mia", "Luis", "Ines", "Omar", "Ana", "Jonas", "Zoe", "Emil", "Nora", "Ivan",
    "Clara", "Hugo", "Sara", "Felix", "Maya", "Leon", "Elif", "Tom", "Aisha", "Marc", "Julia",
    "Karim", "Eva", "Pedro", "Lena", "Samir", "Alice", "Diego", "Marta", "Anton", "Lucia",
    "Yusuf", "Hanna", "Paul",
)
_LAST = (
    "Martin", "Silva", "Keller", "Novak", "Moreau", "Rossi", "Berg", "Costa", "Weber", "Dubois",
    "Haddad", "Jansen", "Lopez", "Fischer", "Marino", "Olsen", "Petit", "Ramos", "Schmidt",
    "Tanaka", "Varga", "Young", "Andersen", "Bauer", "Conti", "Durand", "Evans", "Ferrari",
)
# fmt: on
_ROLES = ("CTO", "Head of Sales", "Founder", "VP Marketing", "Operations Lead", "Product Manager")
_COMPANIES = ("Acme", "Northwind", "Globex", "Initech", "Umbra", "Hooli", "Vandelay", "Contoso")
_TOWNS = ("Lyon", "Berlin", "Lisbon", "Madrid", "Vienna", "Oslo", "Milan", "Boston", "Austin")
_TOPICS = (
    "We are hiring",
    "Three things I learned this quarter",
    "Proud of the team for shipping this",
    "An unpopular opinion about meetings",
    "What our customers taught us",
    "Slides from my talk are online",
)
_REPLIES = (
    "Sure, Tuesday?",
    "Thanks for reaching out!",
    "Not now, maybe in spring.",
    "Who is this?",
)

_LEAST_NAME = 2  # letters a part of a slug needs to be taken for a name


@dataclass(frozen=True, slots=True)
class Chances:
    """How common each trait is, and how long people take."""

    missing: float = 0.01  # no such profile
    locked: float = 0.01  # profile that cannot be read
    connected: float = 0.03  # first degree of the asking account from the start
    open_profile: float = 0.15
    premium: float = 0.2
    posts: float = 0.7  # has any recent post
    repost: float = 0.15
    comments_off: float = 0.08
    accepts: float = 0.4
    accepts_median: timedelta = timedelta(hours=18)
    accepts_spread: float = 1.7  # of the logarithm: a tenth within two hours, a tenth after a week
    accepts_least: timedelta = timedelta(minutes=20)
    accepts_most: timedelta = timedelta(days=20)
    replies: float = 0.2
    replies_median: timedelta = timedelta(hours=4)
    replies_spread: float = 1.8
    replies_least: timedelta = timedelta(minutes=2)
    replies_most: timedelta = timedelta(days=6)
    takes_inmail: float = 0.85
    changed_slug: float = 0.02
    others_comment: int = 0  # how many others comment after each comment of a sender
    others_within: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Traits:
    """Who a person is, whoever asks."""

    first_name: str
    last_name: str
    headline: str
    company: str
    location: str
    exists: bool
    locked: bool
    open_profile: bool
    premium: bool
    takes_inmail: bool
    posts: int  # how many there are at the start of the world
    posts_every: timedelta | None  # None: never posts again
    new_slug: str | None  # the slug they changed to; the old one still resolves


@dataclass(frozen=True, slots=True)
class Temper:
    """How a person treats one member.  None: never."""

    connected_for: timedelta | None  # before the start of the world
    accepts_after: timedelta | None
    noticed_after: float  # share of the provider's poll interval that passes before it is seen
    replies_after: timedelta | None
    replies_to_message: int
    reply: str


@dataclass(slots=True)
class Remark:
    """A comment under a post."""

    id: str
    author_id: str
    author: str
    text: str
    at: datetime
    post: "Post"
    answers: str | None  # the comment it replies to


@dataclass(slots=True)
class Post:
    """A post with what senders did to it; `reactions` by the member's provider id."""

    id: str
    social_id: str
    text: str
    at: datetime
    is_repost: bool
    comments_off: bool
    likes: int  # of people outside the story
    author: "Person"
    reactions: dict[str, str] = field(default_factory=dict)
    comments: list[Remark] = field(default_factory=list)


@dataclass(slots=True)
class Person:
    """An invented person.  `slug` is the one they were first asked for by."""

    slug: str
    provider_id: str
    sales_id: str
    traits: Traits
    forced: dict[str, object] = field(default_factory=dict)  # of Temper, by tests
    friends: dict[str, datetime] = field(default_factory=dict)  # forced connections, by member
    posts: list[Post] = field(default_factory=list)  # oldest first
    posts_written: int = 0

    @property
    def public_identifier(self) -> str:
        """The slug they have today."""
        return self.traits.new_slug or self.slug

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.traits.first_name} {self.traits.last_name}"


def provider_id(seed: int, slug: str, product: str = "ACoAA") -> str:
    """Return the id LinkedIn gives a person in one product (ACo classic, ACw Sales Navigator)."""
    return product + hexadecimal(seed, "provider", product, slug, length=34)


def invent(seed: int, slug: str, chances: Chances) -> Person:
    """Return the person behind a slug; the same one whenever and by whomever they are asked for."""
    draw = Draw(seed, "person", slug)
    first, last = _named(slug, draw)
    company = draw.choice(_COMPANIES)
    headline = f"{draw.choice(_ROLES)} at {company}"
    location = draw.choice(_TOWNS)
    fate = draw.share()
    has_posts = draw.happens(chances.posts)
    count = 1 + int(draw.share() * 6)
    writes_again = draw.happens(0.6)
    every = timedelta(days=draw.between(4, 30))
    traits = Traits(
        first_name=first,
        last_name=last,
        headline=headline,
        company=company,
        location=location,
        exists=fate >= chances.missing,
        locked=chances.missing <= fate < chances.missing + chances.locked,
        open_profile=draw.happens(chances.open_profile),
        premium=draw.happens(chances.premium),
        takes_inmail=draw.happens(chances.takes_inmail),
        posts=count if has_posts else 0,
        posts_every=every if has_posts and writes_again else None,
        new_slug=(
            f"{slug}-{draw.word() & 0xFFFF:04x}" if draw.happens(chances.changed_slug) else None
        ),
    )
    return Person(slug, provider_id(seed, slug), provider_id(seed, slug, "ACwAA"), traits)


def temper(seed: int, member: str, person: Person, chances: Chances) -> Temper:
    """Return how `person` treats a member: a pure function of seed, the member's key and slug."""
    draw = Draw(seed, "temper", member, person.slug)
    connected = draw.happens(chances.connected)
    since = timedelta(days=draw.between(10, 900))
    accepts = draw.happens(chances.accepts)
    accepts_after = draw.log_normal(
        chances.accepts_median,
        chances.accepts_spread,
        chances.accepts_least,
        chances.accepts_most,
    )
    noticed_after = draw.share()
    replies = draw.happens(chances.replies)
    replies_after = draw.log_normal(
        chances.replies_median,
        chances.replies_spread,
        chances.replies_least,
        chances.replies_most,
    )
    replies_to_message = draw.choice((1, 1, 1, 1, 1, 1, 2, 2, 2, 3))
    own: dict[str, object] = {
        "connected_for": since if connected else None,
        "accepts_after": accepts_after if accepts else None,
        "noticed_after": noticed_after,
        "replies_after": replies_after if replies else None,
        "replies_to_message": replies_to_message,
        "reply": draw.choice(_REPLIES),
    }
    return Temper(**(own | person.forced))  # type: ignore[arg-type]  # checked where it is forced


def posts(
    seed: int, person: Person, start: datetime, now: datetime, chances: Chances
) -> list[Post]:
    """Return what `person` had posted by `now`, newest first; later calls keep the same posts."""
    traits = person.traits
    while person.posts_written < traits.posts:
        person.posts_written += 1
        draw = Draw(seed, "age", person.slug, person.posts_written)
        age = timedelta(days=draw.between(0, 1) ** 2 * 60, minutes=5)  # recent ones are common
        post = _post(seed, person, person.posts_written, start - age, chances)
        person.posts.insert(bisect_right(person.posts, post.at, key=lambda other: other.at), post)
    if traits.posts_every is not None:
        first = start + traits.posts_every * Draw(seed, "first post", person.slug).share()
        while (at := first + traits.posts_every * (person.posts_written - traits.posts)) <= now:
            person.posts_written += 1
            person.posts.append(_post(seed, person, person.posts_written, at, chances))
    return person.posts[::-1]


def _post(seed: int, person: Person, number: int, at: datetime, chances: Chances) -> Post:
    draw = Draw(seed, "post", person.slug, number)
    base = 7_300_000_000_000_000_000
    return Post(
        id=str(base + (draw.word() >> 6) % 10**17),
        social_id=f"urn:li:ugcPost:{base + (draw.word() >> 6) % 10**17}",
        text=draw.choice(_TOPICS),
        at=at,
        is_repost=draw.happens(chances.repost),
        comments_off=draw.happens(chances.comments_off),
        likes=int(draw.share() ** 3 * 200),
        author=person,
    )


def _named(slug: str, draw: Draw) -> tuple[str, str]:
    """Take the name from the slug where it holds one: a page of results then reads well."""
    first, last = draw.choice(_FIRST), draw.choice(_LAST)
    parts = [part for part in slug.split("-") if part.isalpha() and len(part) >= _LEAST_NAME]
    if len(parts) > 1:
        return parts[0].title(), parts[1].title()
    return first, last

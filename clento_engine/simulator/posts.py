"""Posts: reading them, reacting to them, commenting them."""

from functools import partial

from clento_engine.simulator.accounts import need_patience
from clento_engine.simulator.chance import Draw, digits
from clento_engine.simulator.ledger import Effect, Read
from clento_engine.simulator.people import Person, Post, Remark, invent, posts
from clento_engine.simulator.reading import read
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.senders import Account, Member
from clento_engine.simulator.world import World

COMMENT_LENGTH = 1250

_WORDS = ("Congratulations!", "So true.", "Thanks for sharing.", "I see this differently.")


def read_posts(world: World, account: Account, identifier: str) -> list[Post]:
    """Read a person's posts, newest first."""
    read(world, account, Read.POSTS, "posts")
    if identifier == account.provider_id:
        return []
    return written_by(world, world.recipient(identifier))


def written_by(world: World, person: Person) -> list[Post]:
    """Return a person's posts, newest first; nobody is noted to have read them."""
    written = posts(world.seed, person, world.start, world.clock(), world.chances)
    for post in written:
        world.posts[post.id] = world.posts[post.social_id] = post
    return written


def find_post(world: World, post_id: str, *, acting: bool = False) -> Post:
    """Return a post by either id; to act on it only the social id will do."""
    post = world.posts.get(post_id)
    if post is None:
        raise Refusal("resource_not_found", "Post not found.")
    if acting and post_id != post.social_id:
        raise Refusal("invalid_post", "Act with the social_id of a post.")
    return post


def react(world: World, account: Account, post_id: str, value: str) -> None:
    """React to a post, once."""
    account.need_usable()
    post = find_post(world, post_id, acting=True)
    if account.provider_id in post.reactions:
        raise Refusal("action_already_performed", "There is a reaction already.")
    now = world.clock()
    need_patience(world, account, "reaction", now)
    account.member.spend("reaction", now)
    post.reactions[account.provider_id] = value
    account.member.reactions.append((post.social_id, value, now))
    world.land(Effect.LIKE, account, post.author, target=post.social_id)


def comment(world: World, account: Account, post_id: str, text: str, answers: str | None) -> Remark:
    """Comment a post; the same text twice stands there twice."""
    account.need_usable()
    if not text.strip():
        raise Refusal("invalid_message", "A comment needs a text.")
    if len(text) > COMMENT_LENGTH:
        raise Refusal("too_many_characters", f"At most {COMMENT_LENGTH} characters.")
    post = find_post(world, post_id, acting=True)
    if post.comments_off:
        raise Refusal("comments_disabled", "Comments are off.")
    now = world.clock()
    need_patience(world, account, "comment", now)
    account.member.spend("comment", now)
    remark = _remark(world, post, account.member, text, answers)
    account.member.remarks.append(remark)
    world.land(Effect.COMMENT, account, post.author, target=post.social_id, text=text)
    first = len(post.comments)
    for number in range(first, first + world.chances.others_comment):
        share = Draw(world.seed, "others", post.social_id, number).share()
        after = world.chances.others_within * share
        world.agenda.plan(now + after, partial(others_comment, world, post))
    return remark


def comment_by_hand(world: World, account: Account, post_id: str, text: str) -> Remark:
    """Have the owner of an account comment a post on LinkedIn itself: no effect of ours."""
    remark = _remark(world, find_post(world, post_id, acting=True), account.member, text)
    account.member.remarks.append(remark)
    return remark


def others_comment(world: World, post: Post, count: int = 1) -> None:
    """Have so many other members comment a post now."""
    for _ in range(count):
        number = len(post.comments) + 1
        author = invent(world.seed, f"commenter-{number}-{post.id}", world.chances)
        text = Draw(world.seed, "words", post.social_id, number).choice(_WORDS)
        _remark(world, post, author, text)


def _remark(
    world: World, post: Post, author: Member | Person, text: str, answers: str | None = None
) -> Remark:
    key = author.key if isinstance(author, Member) else author.slug
    remark = Remark(
        id=digits(world.seed, "comment", post.social_id, key, len(post.comments) + 1),
        author_id=author.provider_id,
        author=author.name,
        text=text,
        at=world.stamp(),
        post=post,
        answers=answers,
    )
    post.comments.append(remark)
    return remark

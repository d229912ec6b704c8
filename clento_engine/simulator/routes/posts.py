"""Routes of posts, reactions and comments."""

from typing import Any

from clento_engine.simulator import payloads
from clento_engine.simulator.asgi import Answer, Handler, Request
from clento_engine.simulator.ledger import Read
from clento_engine.simulator.posts import comment, find_post, react, read_posts
from clento_engine.simulator.reading import read
from clento_engine.simulator.refusal import Refusal
from clento_engine.simulator.routes.paging import list_answer, page_of
from clento_engine.simulator.routes.parameters import account_of, optional_text, required_text
from clento_engine.simulator.world import World, looks_like_provider_id


class PostRoutes:
    """Posts, and what is under them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handlers: dict[str, Handler] = {
            "GET /users/{identifier}/posts": self.posts,
            "GET /users/{identifier}/comments": self.comments_of,
            "GET /users/{identifier}/reactions": self.reactions_of,
            "POST /posts/reaction": self.react,
            "GET /posts/{id}": self.post,
            "POST /posts/{id}/comments": self.comment,
            "GET /posts/{id}/comments": self.comments,
            "GET /posts/{id}/reactions": self.reactions,
        }

    def posts(self, request: Request, identifier: str) -> Answer:
        """List a person's posts, newest first."""
        account = account_of(self.world, request)
        if not looks_like_provider_id(identifier):
            raise Refusal("invalid_recipient", "Posts are found by provider id.")
        posts = read_posts(self.world, account, identifier)
        page, cursor = page_of(request, posts, default=100, most=100)
        now = self.world.stamp()
        items = [payloads.post(post, account, now) for post in page]
        return list_answer("PostList", items, cursor, paging={"page_count": len(items)})

    def post(self, request: Request, post_id: str) -> Answer:
        """Show one post."""
        account = account_of(self.world, request)
        read(self.world, account, Read.POSTS, "posts")
        return Answer(payloads.post(find_post(self.world, post_id), account, self.world.stamp()))

    def react(self, request: Request) -> Answer:
        """React to a post."""
        fields = request.json
        account = self.world.account(required_text(fields, "account_id"))
        word = optional_text(fields, "reaction_type") or "like"
        value = payloads.REACTIONS.get(word)
        if value is None:
            raise Refusal("invalid_parameters", f"Unknown reaction {word!r}.")
        react(self.world, account, required_text(fields, "post_id"), value)
        return Answer({"object": "ReactionAdded"}, 201)

    def reactions(self, request: Request, post_id: str) -> Answer:
        """List the senders' reactions to a post."""
        account = account_of(self.world, request)
        read(self.world, account, Read.REACTIONS)
        post = find_post(self.world, post_id)
        given = [
            payloads.reaction(post.social_id, value, self.world.members[by])
            for by, value in post.reactions.items()
        ]
        page, cursor = page_of(request, given, default=100, most=100)
        return Answer(
            {
                "object": "PostReactionList",
                "items": page,
                "paging": {"cursor": cursor, "page_count": len(page)},
            }
        )

    def reactions_of(self, request: Request, identifier: str) -> Answer:
        """List a member's reactions; invented people keep theirs to themselves."""
        account = account_of(self.world, request)
        read(self.world, account, Read.REACTIONS)
        given = [
            payloads.reaction(social_id, value, account.member)
            for social_id, value, _ in reversed(account.member.reactions)
            if identifier == account.provider_id
        ]
        page, cursor = page_of(request, given, default=100, most=100)
        return list_answer("PostReactionList", page, cursor)

    def comment(self, request: Request, post_id: str) -> Answer:
        """Comment a post; JSON, as the SDK sends it, or multipart, as the newer pages show it."""
        fields: dict[str, Any] = (
            {name: values[-1] for name, values in request.form.items()}
            if request.is_multipart
            else request.json
        )
        account = self.world.account(required_text(fields, "account_id"))
        remark = comment(
            self.world,
            account,
            post_id,
            required_text(fields, "text"),
            optional_text(fields, "comment_id"),
        )
        return Answer({"object": "CommentSent", "comment_id": remark.id}, 201)

    def comments(self, request: Request, post_id: str) -> Answer:
        """List a post's comments, newest first, or the replies to one of them."""
        account = account_of(self.world, request)
        read(self.world, account, Read.COMMENTS)
        answers = request.query.get("comment_id")
        remarks = [
            one
            for one in reversed(find_post(self.world, post_id).comments)
            if one.answers == answers
        ]
        return self._comments(request, remarks)

    def comments_of(self, request: Request, identifier: str) -> Answer:
        """List a member's comments; invented people keep theirs to themselves."""
        account = account_of(self.world, request)
        read(self.world, account, Read.COMMENTS)
        own = account.member.remarks if identifier == account.provider_id else []
        return self._comments(request, own[::-1])

    def _comments(self, request: Request, remarks: list[Any]) -> Answer:
        page, cursor = page_of(request, remarks, default=100, most=100)
        now = self.world.stamp()
        paging = {"start": 0, "page_count": len(page), "total_count": len(remarks)}
        return list_answer(
            "CommentList",
            (payloads.comment(one, now) for one in page),
            cursor,
            total_items=len(remarks),
            paging=paging,
        )

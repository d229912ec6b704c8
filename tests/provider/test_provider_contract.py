"""What every Provider does, whether the fact sheet's examples answer or the simulator."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Protocol

import httpx
import pytest
from unipile_samples import (
    ACCOUNT,
    ACCOUNT_ID,
    CHAT,
    COMMENT,
    DSN,
    INVITATION,
    MESSAGE,
    POST,
    PROFILE,
    RELATION,
    TOKEN,
    Json,
    Stub,
    listed,
    problem,
    sample,
)

from clento_engine.domain.failure import (
    Fail,
    Means,
    OutcomeUnknown,
    Pause,
    Retry,
    Scope,
    Skip,
    Wait,
)
from clento_engine.provider import port
from clento_engine.provider.unipile import UnipileClient
from clento_engine.simulator.accounts import connect_account, set_status
from clento_engine.simulator.app import create_app
from clento_engine.simulator.clock import Clock, DrivenClock
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.invitations import invite
from clento_engine.simulator.messaging import send_message
from clento_engine.simulator.people import Chances
from clento_engine.simulator.posts import comment, react, written_by
from clento_engine.simulator.senders import Status, Tier
from clento_engine.simulator.server import Settings, serving
from clento_engine.simulator.world import Reliability, World

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
T0 = datetime(2026, 1, 5, 8, tzinfo=UTC)
TEXT = "Great point"  # as the fact sheet's comment
HELLO = "Hello Lea"  # and its message


class Situation(Enum):
    """How things stand between the account and a person before a call."""

    STRANGER = auto()
    INVITED = auto()
    FRIEND = auto()
    FRIEND_WITH_CHAT = auto()
    NOBODY = auto()
    LOCKED = auto()
    POSTED = auto()
    POSTED_NOTHING = auto()
    REACTED = auto()
    COMMENTED = auto()
    COMMENTS_OFF = auto()
    TAKES_NO_INMAIL = auto()
    NO_SUCH_PLAN = auto()  # the account is free
    SIGNED_OUT = auto()
    THROTTLED = auto()
    BROKEN_BEFORE = auto()  # the provider fails, and what was asked for did not happen
    BROKEN_AFTER = auto()  # it fails although it happened
    UNREADABLE = auto()  # it answers, but what?
    ENDLESS = auto()  # its lists have no end


class Stage(Protocol):
    """A client, and what is needed to set a scene for it."""

    account: str
    own_id: str

    @property
    def client(self) -> port.Provider:
        """The client under test."""

    def arrange(self, *situations: Situation) -> str:
        """Make it so; return the provider id of the person it is about."""

    def post(self) -> str:
        """Return the social id of the person's post."""

    def chat(self) -> str:
        """Return the id of the chat with the person."""


class Samples:
    """The fact sheet's examples, over a transport that never leaves the process."""

    account = ACCOUNT_ID
    own_id = "ACoAAA0"

    def __init__(self) -> None:
        self._stub = Stub(self._answer)
        self.client = self._stub.client
        self._routes: dict[str, httpx.Response] = {}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        for start, answer in reversed(self._routes.items()):  # what was arranged last
            if f"{request.method} {path}".startswith(start):
                return answer
        return sample(request)

    def post(self) -> str:
        return "urn:li:ugcPost:7332661863920324609"

    def chat(self) -> str:
        return "chat1"

    def arrange(self, *situations: Situation) -> str:
        for situation in situations:
            for route, answer in self._scene(situation).items():
                self._routes.pop(route, None)
                self._routes[route] = answer
        return "ACoAAB1"

    def _scene(self, situation: Situation) -> Mapping[str, httpx.Response]:
        stranger: Json = {**PROFILE, "invitation": None}
        friend: Json = {**stranger, "is_relationship": True, "network_distance": "FIRST_DEGREE"}
        fresh: Json = {**POST, "user_reacted": None}
        not_found = problem("resource_not_found", 404)
        match situation:
            case Situation.STRANGER:
                return {
                    "GET /users/ACo": _ok(stranger),
                    "GET /users/invite/sent": _ok(listed()),
                    "GET /users/relations": _ok(listed()),
                    "GET /chat_attendees": not_found,
                    "GET /chats": _ok(listed()),
                    "DELETE /users/invite/sent": not_found,
                    "POST /chats": problem("no_connection_with_recipient", 422),
                }
            case Situation.INVITED:
                return {
                    "GET /users/ACo": _ok(PROFILE),
                    "POST /users/invite": problem("already_invited_recently", 422),
                    "GET /users/invite/sent": _ok(listed(INVITATION)),
                }
            case Situation.FRIEND | Situation.FRIEND_WITH_CHAT:
                return {
                    "GET /users/ACo": _ok(friend),
                    "POST /users/invite": problem("already_connected", 422),
                    "GET /users/relations": _ok(listed(RELATION)),
                    "GET /chat_attendees": _ok(listed(CHAT)),
                    "GET /chats": _ok(listed(CHAT)),
                    "GET /chats/chat1/messages": _ok(listed(MESSAGE)),
                }
            case Situation.NOBODY:
                return {"GET /users/": not_found}
            case Situation.LOCKED:
                return {"GET /users/": problem("invalid_recipient", 422)}
            case Situation.POSTED:
                return {"GET /users/ACoAAB1/posts": _ok(listed(fresh)), "GET /posts/": _ok(fresh)}
            case Situation.POSTED_NOTHING:
                return {"GET /users/ACoAAB1/posts": _ok(listed())}
            case Situation.REACTED:
                return {
                    "GET /posts/": _ok(POST),
                    "POST /posts/reaction": problem("action_already_performed", 422),
                }
            case Situation.COMMENTED:
                return {"GET /users/ACoAAA0/comments": _ok(listed(COMMENT))}
            case Situation.COMMENTS_OFF:
                return {f"POST /posts/{self.post()}/comments": problem("comments_disabled", 422)}
            case Situation.TAKES_NO_INMAIL:
                return {"POST /chats": problem("not_allowed_inmail", 422)}
            case Situation.NO_SUCH_PLAN:
                return {"POST /chats": problem("feature_not_subscribed", 403)}
            case Situation.SIGNED_OUT:
                sources = [{"id": "acc_1_MESSAGING", "status": "CREDENTIALS"}]
                return {
                    "GET /accounts/": _ok({**ACCOUNT, "sources": sources}),
                    "GET /users": problem("disconnected_account", 401),
                    "POST /": problem("disconnected_account", 401),
                }
            case Situation.THROTTLED:
                return {"": problem("too_many_requests", 429, **{"retry-after": "600"})}
            case Situation.BROKEN_BEFORE | Situation.BROKEN_AFTER:
                return {"": httpx.Response(502, content=b"<html>Bad Gateway</html>")}
            case Situation.UNREADABLE:
                return {"": httpx.Response(200, content=b'{"object":"X","items":[{')}
            case Situation.ENDLESS:
                return {"": _ok(listed(CHAT, cursor="again"))}


def _ok(body: Json) -> httpx.Response:
    return httpx.Response(200, json=body)


class Simulated:
    """The simulator, in this process or behind a socket."""

    def __init__(self, world: World, client: port.Provider) -> None:
        self.world, self.client = world, client
        self._account = next(iter(world.accounts.values()))
        self.account, self.own_id = self._account.id, self._account.provider_id
        self._person = world.person("lea-example")

    def post(self) -> str:
        return written_by(self.world, self._person)[0].social_id

    def chat(self) -> str:
        return self._account.member.chats[0].ids[self.account]

    def arrange(self, *situations: Situation) -> str:
        for situation in situations:
            self._scene(situation)
        return self._person.provider_id

    def _scene(self, situation: Situation) -> None:
        world, account, person = self.world, self._account, self._person
        match situation:
            case Situation.STRANGER:
                pass
            case Situation.INVITED:
                invite(world, account, person.provider_id, None)
            case Situation.FRIEND:
                world.befriend(account, person)
            case Situation.FRIEND_WITH_CHAT:
                world.befriend(account, person)
                send_message(world, account, person.provider_id, HELLO)
            case Situation.NOBODY:
                world.force(person, {"exists": False}, {})
            case Situation.LOCKED:
                world.force(person, {"locked": True}, {})
            case Situation.POSTED:
                world.force(person, {"posts": 1}, {})
                written_by(world, person)
            case Situation.POSTED_NOTHING:
                world.force(person, {"posts": 0, "posts_every": None}, {})
            case Situation.REACTED:
                react(world, account, self.post(), "LIKE")
            case Situation.COMMENTED:
                comment(world, account, self.post(), TEXT, None)
            case Situation.COMMENTS_OFF:
                written_by(world, person)[0].comments_off = True
            case Situation.TAKES_NO_INMAIL:
                world.force(person, {"takes_inmail": False, "open_profile": False}, {})
            case Situation.NO_SUCH_PLAN:
                account.member.tier = Tier.FREE
            case Situation.SIGNED_OUT:
                set_status(world, account, Status.CREDENTIALS)
            case Situation.THROTTLED:
                world.faults.set([Rule(FaultKind.TOO_MANY_REQUESTS, retry_after=600)])
            case Situation.BROKEN_BEFORE:
                world.faults.set([Rule(FaultKind.RESET)])
            case Situation.BROKEN_AFTER:
                world.faults.set([Rule(FaultKind.RESET, after_effect=True)])
            case Situation.UNREADABLE:
                world.faults.set([Rule(FaultKind.MALFORMED_JSON)])
            case Situation.ENDLESS:
                world.faults.set([Rule(FaultKind.LOOPING_CURSOR)])


def world(clock: Clock | None = None) -> World:
    """Return a world in which nobody does anything of their own accord."""
    chances = Chances(
        missing=0,
        locked=0,
        connected=0,
        posts=1,
        comments_off=0,
        accepts=0,
        replies=0,
        takes_inmail=1,
        changed_slug=0,
    )
    reliability = Reliability(visible_after=timedelta(), lost=0, duplicated=0, null_ids=0)
    made = World(chances=chances, reliability=reliability, clock=clock)
    connect_account(made, tier=Tier.PREMIUM)
    return made


async def _at_once(_: float) -> None:
    pass


@pytest.fixture(params=["samples", "simulator", "simulator on a socket"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    if request.param == "samples":
        yield Samples()
        return
    async with AsyncExitStack() as stack:
        there = world()
        if request.param == "simulator":
            transport = httpx.ASGITransport(app=create_app(there, api_key=TOKEN))
            client = UnipileClient(DSN, TOKEN, transport=transport, pause=_at_once)
        else:
            url = await stack.enter_async_context(serving(Settings(api_key=TOKEN), there))
            client = UnipileClient(url, TOKEN, pause=_at_once)
        await stack.enter_async_context(client)
        yield Simulated(there, client)


# -- people


async def test_a_stranger_is_neither_connected_nor_invited(stage: Stage) -> None:
    person = stage.arrange(Situation.STRANGER)
    profile = await stage.client.profile(stage.account, person)
    assert isinstance(profile, port.Profile)
    assert profile.provider_id == person
    assert (profile.connected, profile.invitation_pending) == (False, False)
    assert profile.public_identifier == "lea-example"


async def test_a_person_is_found_by_slug_too(stage: Stage) -> None:
    person = stage.arrange(Situation.STRANGER)
    profile = await stage.client.profile(stage.account, "lea-example")
    assert isinstance(profile, port.Profile)
    assert profile.provider_id == person


async def test_a_visit_shows_the_profile(stage: Stage) -> None:
    person = stage.arrange(Situation.STRANGER)
    assert await stage.client.visit(stage.account, person) == await stage.client.profile(
        stage.account, person
    )


async def test_a_friend_is_connected_and_among_the_relations(stage: Stage) -> None:
    person = stage.arrange(Situation.FRIEND)
    profile = await stage.client.profile(stage.account, person)
    assert isinstance(profile, port.Profile)
    assert profile.connected
    (relation,) = expect(await stage.client.relations(stage.account))
    assert isinstance(relation, port.Relation)
    assert relation.provider_id == person
    assert relation.connected_at is not None


async def test_a_person_who_is_not_there_fails_the_lead(stage: Stage) -> None:
    person = stage.arrange(Situation.NOBODY)
    assert isinstance(await stage.client.profile(stage.account, person), Fail)
    assert isinstance(await stage.client.visit(stage.account, person), Fail)


async def test_a_locked_profile_may_be_a_wrong_id(stage: Stage) -> None:
    person = stage.arrange(Situation.LOCKED)
    answer = await stage.client.profile(stage.account, person)
    assert isinstance(answer, Fail)
    assert answer.means is Means.WRONG_ID


# -- invitations


async def test_an_invitation_has_an_id(stage: Stage) -> None:
    person = stage.arrange(Situation.STRANGER)
    sent = await stage.client.invite(stage.account, person, "Hello")
    assert isinstance(sent, port.Sent)
    assert sent.reference


async def test_a_pending_invitation_is_seen_in_the_list_and_on_the_profile(stage: Stage) -> None:
    person = stage.arrange(Situation.INVITED)
    profile = await stage.client.profile(stage.account, person)
    assert isinstance(profile, port.Profile)
    assert profile.invitation_pending
    (invitation,) = shown(await stage.client.sent_invitations(stage.account))
    assert isinstance(invitation, port.Invitation)
    assert (invitation.provider_id, invitation.public_identifier) == (person, "lea-example")


async def test_no_invitation_is_an_empty_list(stage: Stage) -> None:
    stage.arrange(Situation.STRANGER)
    assert await stage.client.sent_invitations(stage.account) == port.Page((), None)


async def test_a_second_invitation_is_skipped_as_invited(stage: Stage) -> None:
    person = stage.arrange(Situation.INVITED)
    answer = await stage.client.invite(stage.account, person, None)
    assert isinstance(answer, Skip)
    assert answer.means is Means.INVITED


async def test_inviting_a_friend_is_skipped_as_connected(stage: Stage) -> None:
    person = stage.arrange(Situation.FRIEND)
    answer = await stage.client.invite(stage.account, person, None)
    assert isinstance(answer, Skip)
    assert answer.means is Means.CONNECTED


async def test_an_invitation_is_withdrawn_once(stage: Stage) -> None:
    stage.arrange(Situation.INVITED)
    (invitation,) = shown(await stage.client.sent_invitations(stage.account))
    assert isinstance(invitation, port.Invitation)
    assert await stage.client.withdraw(stage.account, invitation.id) == port.Sent()


async def test_whether_an_invitation_that_is_not_there_is_withdrawn_is_unknown(
    stage: Stage,
) -> None:
    stage.arrange(Situation.STRANGER)
    for wrong in ("7000000000000000000", "nonsense"):
        with pytest.raises(OutcomeUnknown):
            await stage.client.withdraw(stage.account, wrong)


# -- posts


async def test_a_post_is_found_and_can_be_acted_on(stage: Stage) -> None:
    person = stage.arrange(Situation.POSTED)
    (post,) = expect(await stage.client.posts(stage.account, person, limit=1))
    assert isinstance(post, port.Post)
    assert post.social_id == stage.post()
    assert (post.can_react, post.can_comment, post.reacted) == (True, True, False)
    assert await stage.client.post(stage.account, post.social_id) == post


async def test_who_posted_nothing_has_no_posts(stage: Stage) -> None:
    person = stage.arrange(Situation.POSTED_NOTHING)
    assert expect(await stage.client.posts(stage.account, person, limit=5)) == ()


async def test_a_reaction_is_sent(stage: Stage) -> None:
    stage.arrange(Situation.POSTED)
    assert await stage.client.react(stage.account, stage.post()) == port.Sent()


async def test_a_second_reaction_is_one_that_was_there(stage: Stage) -> None:
    stage.arrange(Situation.POSTED, Situation.REACTED)
    post = await stage.client.post(stage.account, stage.post())
    assert isinstance(post, port.Post)
    assert post.reacted
    assert await stage.client.react(stage.account, stage.post()) == port.Sent()


async def test_a_comment_has_an_id_and_is_found_by_its_author_and_text(stage: Stage) -> None:
    stage.arrange(Situation.POSTED)
    sent = await stage.client.comment(stage.account, stage.post(), TEXT)
    assert isinstance(sent, port.Sent)
    assert sent.reference
    stage.arrange(Situation.COMMENTED)
    comment, *_ = shown(await stage.client.own_comments(stage.account, stage.own_id))
    assert isinstance(comment, port.Comment)
    assert comment.text == TEXT
    assert comment.post_urn == stage.post()
    assert comment.id


async def test_a_post_closed_to_comments_is_skipped(stage: Stage) -> None:
    stage.arrange(Situation.POSTED, Situation.COMMENTS_OFF)
    assert isinstance(await stage.client.comment(stage.account, stage.post(), TEXT), Skip)


# -- messages


async def test_a_message_to_a_friend_has_an_id_and_a_chat(stage: Stage) -> None:
    person = stage.arrange(Situation.FRIEND)
    sent = await stage.client.start_chat(stage.account, person, HELLO)
    assert isinstance(sent, port.Sent)
    assert sent.reference
    assert sent.chat_id == stage.chat()


async def test_a_message_in_a_known_chat_has_an_id(stage: Stage) -> None:
    stage.arrange(Situation.FRIEND_WITH_CHAT)
    sent = await stage.client.send_message(stage.account, stage.chat(), HELLO)
    assert isinstance(sent, port.Sent)
    assert sent.reference


async def test_a_message_to_a_stranger_is_skipped(stage: Stage) -> None:
    person = stage.arrange(Situation.STRANGER)
    assert isinstance(await stage.client.start_chat(stage.account, person, HELLO), Skip)


async def test_a_sent_message_is_found_again(stage: Stage) -> None:
    person = stage.arrange(Situation.FRIEND_WITH_CHAT)
    (chat,) = expect(await stage.client.chats_with(stage.account, person))
    assert chat == port.Chat(stage.chat(), person)
    messages = await stage.client.chat_messages(stage.account, stage.chat())
    assert isinstance(messages, port.Messages)
    assert messages.is_whole
    (message,) = messages.items
    assert isinstance(message, port.Message)
    assert (message.from_us, message.text, message.kind) == (True, HELLO, "MESSAGE")
    assert (message.sender_id, message.chat_id) == (stage.own_id, stage.chat())
    assert message.sent_at > LONG_AGO
    assert not message.is_event
    assert expect(await stage.client.messages(stage.account, after=LONG_AGO)) == (message,)


async def test_with_a_stranger_there_is_no_chat(stage: Stage) -> None:
    person = stage.arrange(Situation.STRANGER)
    assert expect(await stage.client.chats_with(stage.account, person)) == ()


async def test_a_store_shows_whether_the_account_has_any_chat(stage: Stage) -> None:
    stage.arrange(Situation.STRANGER)
    assert await stage.client.has_chats(stage.account) is False
    stage.arrange(Situation.FRIEND_WITH_CHAT)
    assert await stage.client.has_chats(stage.account) is True


async def test_an_inmail_has_an_id(stage: Stage) -> None:
    person = stage.arrange()
    sent = await stage.client.inmail(stage.account, person, HELLO, "Hello", sales_navigator=False)
    assert isinstance(sent, port.Sent)
    assert sent.reference


@pytest.mark.parametrize("why", [Situation.TAKES_NO_INMAIL, Situation.NO_SUCH_PLAN])
async def test_an_inmail_that_cannot_be_is_skipped(stage: Stage, why: Situation) -> None:
    person = stage.arrange(why)
    answer = await stage.client.inmail(stage.account, person, HELLO, "Hello", sales_navigator=False)
    assert isinstance(answer, Skip)


# -- accounts and webhooks


async def test_an_account_that_is_signed_in_is_usable(stage: Stage) -> None:
    account = await stage.client.account(stage.account)
    assert isinstance(account, port.Account)
    assert (account.id, account.provider_id) == (stage.account, stage.own_id)
    assert (account.usable, account.status) == (True, "OK")


async def test_an_account_that_is_signed_out_stops(stage: Stage) -> None:
    person = stage.arrange(Situation.SIGNED_OUT)
    account = await stage.client.account(stage.account)
    assert isinstance(account, port.Account)
    assert (account.usable, account.status) == (False, "CREDENTIALS")
    for answer in (
        await stage.client.profile(stage.account, person),
        await stage.client.invite(stage.account, person, None),
        await stage.client.start_chat(stage.account, person, HELLO),
    ):
        assert isinstance(answer, Pause)
        assert not answer.everyone


async def test_a_webhook_is_registered_listed_and_removed(stage: Stage) -> None:
    made = await stage.client.register_webhook(
        "messaging",
        "https://example.com/hook",
        events=["message_received"],
        secret=TOKEN,
        name="clento",
    )
    assert isinstance(made, str)
    (webhook,) = expect(await stage.client.webhooks())
    assert webhook == port.Webhook(
        made, "clento", "https://example.com/hook", ("message_received",)
    )
    assert await stage.client.delete_webhook(made) == port.Sent()


# -- bad days


async def test_a_throttled_account_waits(stage: Stage) -> None:
    person = stage.arrange(Situation.THROTTLED)
    for answer in (
        await stage.client.profile(stage.account, person),
        await stage.client.visit(stage.account, person),
        await stage.client.invite(stage.account, person, None),
    ):
        assert isinstance(answer, Wait)
        assert answer.scope is Scope.ACCOUNT
        assert answer.delay == timedelta(minutes=10)


@pytest.mark.parametrize("when", [Situation.BROKEN_BEFORE, Situation.BROKEN_AFTER])
async def test_a_broken_provider_leaves_writes_unknown_and_reads_to_be_repeated(
    stage: Stage, when: Situation
) -> None:
    person = stage.arrange(Situation.POSTED, when)
    client, account, post = stage.client, stage.account, stage.post()
    for write in (
        client.visit(account, person),
        client.invite(account, person, None),
        client.withdraw(account, "7000000000000000000"),
        client.react(account, post),
        client.comment(account, post, TEXT),
        client.start_chat(account, person, HELLO),
        client.inmail(account, person, HELLO, "Hello", sales_navigator=False),
    ):
        with pytest.raises(OutcomeUnknown):
            await write
    assert isinstance(await client.profile(account, person), Retry)
    assert isinstance(await client.sent_invitations(account), Retry)


async def test_an_unreadable_answer_is_unknown_to_a_write_and_nothing_to_a_read(
    stage: Stage,
) -> None:
    person = stage.arrange(Situation.POSTED, Situation.UNREADABLE)
    with pytest.raises(OutcomeUnknown):
        await stage.client.invite(stage.account, person, None)
    with pytest.raises(OutcomeUnknown):
        await stage.client.react(stage.account, stage.post())
    assert isinstance(await stage.client.profile(stage.account, person), Retry)
    assert isinstance(await stage.client.sent_invitations(stage.account), Retry)


async def test_a_list_without_end_does_not_pass_for_a_whole_one(stage: Stage) -> None:
    person = stage.arrange(Situation.FRIEND_WITH_CHAT, Situation.ENDLESS)
    assert isinstance(await stage.client.chats_with(stage.account, person), Retry)


def shown(answer: object) -> tuple[object, ...]:
    """Return what a page shows, the only one; a failure fails the test with its reason."""
    assert isinstance(answer, port.Page), answer
    assert answer.cursor is None
    return answer.items


def expect(answer: object) -> tuple[object, ...]:
    """Return what was read; a failure fails the test with its reason."""
    assert isinstance(answer, tuple), answer
    return answer


# -- the simulator alone


async def test_an_invitation_withdrawn_under_a_wrong_id_is_still_pending() -> None:
    there = world()
    account = next(iter(there.accounts.values()))
    person = there.person("lea-example")
    invite(there, account, person.provider_id, None)
    transport = httpx.ASGITransport(app=create_app(there))
    async with UnipileClient(DSN, TOKEN, transport=transport) as client:
        with pytest.raises(OutcomeUnknown):
            await client.withdraw(account.id, "7000000000000000000")
        profile = await client.profile(account.id, person.provider_id)
    assert isinstance(profile, port.Profile)
    assert profile.invitation_pending


async def test_a_sales_navigator_inmail_goes_to_that_products_id() -> None:
    there = world()
    account = connect_account(there, tier=Tier.SALES_NAVIGATOR)
    transport = httpx.ASGITransport(app=create_app(there))
    person = there.person("lea-example")
    async with UnipileClient(DSN, TOKEN, transport=transport) as client:
        profile = await client.profile(account.id, person.provider_id, sales_navigator=True)
        assert isinstance(profile, port.Profile)
        assert profile.provider_id.startswith("ACw")
        sent = await client.inmail(
            account.id, profile.provider_id, HELLO, "Hello", sales_navigator=True
        )
        assert isinstance(sent, port.Sent)
        wrong = await client.inmail(
            account.id, person.provider_id, HELLO, "Hello", sales_navigator=True
        )
        assert isinstance(wrong, Fail)
        assert wrong.means is Means.WRONG_ID


async def test_hundreds_of_invitations_and_messages_are_read_page_by_page() -> None:
    there = world()
    account = there.accounts[next(iter(there.accounts))]
    account.member.tier = Tier.SALES_NAVIGATOR
    friend = there.person("friend-of-ours")
    there.befriend(account, friend)
    texts = [f"message {number}" for number in range(140)]
    invited = []
    for number, text in enumerate(texts):
        person = there.person(f"lead-{number}")
        invite(there, account, person.provider_id, None)
        send_message(there, account, friend.provider_id, text)
        invited.append(person.provider_id)
    transport = httpx.ASGITransport(app=create_app(there))
    async with UnipileClient(DSN, TOKEN, transport=transport) as client:
        first = await client.sent_invitations(account.id)
        assert isinstance(first, port.Page)
        second = await client.sent_invitations(account.id, cursor=first.cursor)
        assert isinstance(second, port.Page)
        messages = expect(await client.messages(account.id, after=LONG_AGO))
    assert (len(first.items), len(second.items), second.cursor) == (100, 40, None)
    found = [invitation.provider_id for invitation in (*first.items, *second.items)]
    assert found == invited[::-1]
    assert [one.text for one in messages if isinstance(one, port.Message)] == texts[::-1]


async def test_hundreds_of_our_comments_are_read_page_by_page_newest_first() -> None:
    there = world()
    account = next(iter(there.accounts.values()))
    post = written_by(there, there.person("lea-example"))[0].social_id
    texts = [f"comment {number}" for number in range(140)]
    for text in texts:
        comment(there, account, post, text, None)
    transport = httpx.ASGITransport(app=create_app(there))
    async with UnipileClient(DSN, TOKEN, transport=transport) as client:
        first = await client.own_comments(account.id, account.provider_id)
        assert isinstance(first, port.Page)
        second = await client.own_comments(account.id, account.provider_id, cursor=first.cursor)
        assert isinstance(second, port.Page)
    assert (len(first.items), len(second.items), second.cursor) == (100, 40, None)
    assert [comment.text for comment in (*first.items, *second.items)] == texts[::-1]
    assert {comment.post_urn for comment in (*first.items, *second.items)} == {post}


async def test_a_chat_of_hundreds_is_read_back_to_the_message_that_is_known() -> None:
    clock = DrivenClock(T0)
    there = world(clock)
    account = next(iter(there.accounts.values()))
    friend = there.person("friend-of-ours")
    there.befriend(account, friend)
    sent = []
    for number in range(600):
        clock.move(T0 + number * timedelta(minutes=15))  # LinkedIn takes so many a day
        sent.append(send_message(there, account, friend.provider_id, f"message {number}"))
    transport = httpx.ASGITransport(app=create_app(there))
    async with UnipileClient(DSN, TOKEN, transport=transport) as client:
        chat_id = account.member.chats[0].ids[account.id]
        lately = await client.chat_messages(
            account.id, chat_id, back_to=[sent[400].ids[account.id]]
        )
        whole = await client.chat_messages(account.id, chat_id, back_to=["unknown"])
        assert isinstance(lately, port.Messages)
        assert isinstance(whole, port.Messages)
    newest_first = [message.ids[account.id] for message in reversed(sent)]
    assert ([one.id for one in lately.items], lately.is_whole) == (newest_first[:250], False)
    assert ([one.id for one in whole.items], whole.is_whole) == (newest_first, True)

"""What the client of Unipile sends, and what it makes of every answer."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unipile_calls import ALL, READS, SENDS, T0, WRITES, Ask
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
    Failure,
    OutcomeUnknown,
    Pause,
    Retry,
    Scope,
    Skip,
    Wait,
)
from clento_engine.provider import port
from clento_engine.provider.calls import MAX_PAGES
from clento_engine.provider.exchange import MAX_REDIRECTS, normalise_dsn
from clento_engine.provider.unipile import UnipileClient


def reads() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ask", READS.values(), ids=READS.keys())


def sends() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ask", SENDS.values(), ids=SENDS.keys())


def writes() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ask", WRITES.values(), ids=WRITES.keys())


def everything() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ask", ALL.values(), ids=ALL.keys())


# -- the address


@pytest.mark.parametrize(
    "spelling",
    [
        "api8.unipile.com:13443",
        "https://api8.unipile.com:13443",
        "HTTPS://API8.unipile.com:13443/",
        "https://api8.unipile.com:13443/api/v1",
        "https://api8.unipile.com:13443/api/v1/",
        "  'api8.unipile.com:13443'\n",
    ],
)
def test_every_spelling_of_the_dsn_is_the_same_address(spelling: str) -> None:
    assert normalise_dsn(spelling) == "https://api8.unipile.com:13443"


def test_plain_http_and_ports_behind_a_query_are_kept() -> None:
    assert normalise_dsn("http://127.0.0.1:8000/") == "http://127.0.0.1:8000"
    assert normalise_dsn("http://[::1]:8000") == "http://[::1]:8000"
    behind = "https://api8.unipile.com?port=13443"
    assert normalise_dsn("api8.unipile.com/api/v1?port=13443") == behind
    assert normalise_dsn(behind) == behind


@pytest.mark.parametrize(
    "spelling",
    [
        "",
        "  ",
        "https://api.unipile.com/v1",  # the original's default, which doubled the path
        "https://api.unipile.com/v2",
        "https://api8.unipile.com:port",
        "https://api8.unipile.com:99999",
        "https://user:secret@api8.unipile.com",
        "ftp://api8.unipile.com",
        "https://",
        "https://two words.com",
        "https://[::1",
        "api8.unipile.com:13443?account=1",
        "api8.unipile.com?port=",
        "api8.unipile.com#x",
        "https://xn--\udcff.com",
    ],
)
def test_a_wrong_dsn_is_refused_with_the_fix_in_words(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"like api8\.unipile\.com:13443") as refused:
        normalise_dsn(spelling)
    assert "secret" not in str(refused.value)


@given(st.text())
def test_a_dsn_is_normalised_once_and_for_all_or_refused(text: str) -> None:
    try:
        dsn = normalise_dsn(text)
    except ValueError:
        return
    assert normalise_dsn(dsn) == dsn
    UnipileClient(dsn, TOKEN, transport=httpx.MockTransport(sample))


@pytest.mark.parametrize("token", ["", "  ", "two\nlines", "käse"])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="UNIPILE_ACCESS_TOKEN") as refused:
        UnipileClient(DSN, token, transport=httpx.MockTransport(sample))
    assert "käse" not in str(refused.value)


# -- what is sent


@everything()
async def test_every_request_carries_the_token_and_asks_for_json(ask: Ask) -> None:
    stub = Stub()
    await ask(stub.client)
    assert stub.request.headers["x-api-key"] == TOKEN
    assert stub.request.headers["accept"] == "application/json"
    assert str(stub.request.url).startswith("https://api8.unipile.com:13443/api/v1/")
    assert stub.request.extensions["timeout"]["connect"] == 10
    assert stub.request.extensions["timeout"]["read"] == 90


@pytest.mark.parametrize(
    ("name", "request_line"),
    [
        ("profile", "GET /users/ACoAAB1?account_id=acc_1&notify=false"),
        ("visit", "GET /users/ACoAAB1?account_id=acc_1&notify=true"),
        ("posts", "GET /users/ACoAAB1/posts?account_id=acc_1&limit=5"),
        ("post", "GET /posts/urn:li:ugcPost:7332661863920324609?account_id=acc_1"),
        ("react", "POST /posts/reaction"),
        ("comment", "POST /posts/urn:li:ugcPost:1/comments"),
        ("own_comments", "GET /users/ACoAAA0/comments?account_id=acc_1&limit=100"),
        ("invite", "POST /users/invite"),
        ("sent_invitations", "GET /users/invite/sent?account_id=acc_1&limit=100"),
        ("withdraw", "DELETE /users/invite/sent/744?account_id=acc_1"),
        ("start_chat", "POST /chats"),
        ("inmail", "POST /chats"),
        ("send_message", "POST /chats/chat1/messages"),
        ("chats_with", "GET /chat_attendees/ACoAAB1/chats?account_id=acc_1&limit=250"),
        ("has_chats", "GET /chats?account_id=acc_1&limit=1"),
        ("chat_messages", "GET /chats/chat1/messages?limit=250"),
        ("newest_messages", "GET /chats/chat1/messages?limit=100"),
        ("chat", "GET /chats/chat1"),
        (
            "messages",
            "GET /messages?account_id=acc_1&after=2026-10-09T08%3A00%3A00.000Z&limit=250",
        ),
        ("relations", "GET /users/relations?account_id=acc_1&limit=100"),
        ("account", "GET /accounts/acc_1"),
        ("webhooks", "GET /webhooks?limit=250"),
        ("register_webhook", "POST /webhooks"),
        ("delete_webhook", "DELETE /webhooks/wh1"),
    ],
)
async def test_each_operation_asks_its_route(name: str, request_line: str) -> None:
    stub = Stub()
    await ALL[name](stub.client)
    assert stub.asked() == request_line.replace(" /", " /api/v1/", 1)


async def test_an_invitation_is_json_and_has_no_message_without_a_note() -> None:
    for note in (None, ""):
        stub = Stub()
        await stub.client.invite(ACCOUNT_ID, "ACoAAB1", note)
        assert stub.sent_json() == {"account_id": "acc_1", "provider_id": "ACoAAB1"}
    stub = Stub()
    await stub.client.invite(ACCOUNT_ID, "ACoAAB1", "Grüße 👋")
    assert stub.sent_json() == {
        "account_id": "acc_1",
        "provider_id": "ACoAAB1",
        "message": "Grüße 👋",
    }


async def test_reactions_and_comments_are_json() -> None:
    stub = Stub()
    await SENDS["react"](stub.client)
    assert stub.sent_json() == {
        "account_id": "acc_1",
        "post_id": "urn:li:ugcPost:1",
        "reaction_type": "like",
    }
    stub = Stub()
    await SENDS["comment"](stub.client)
    assert stub.sent_json() == {"account_id": "acc_1", "text": "Great point"}


async def test_messages_are_multipart_without_files() -> None:
    stub = Stub()
    await stub.client.start_chat(ACCOUNT_ID, "ACoAAB1", "Grüße,\r\n--x\r\n👋")
    assert stub.sent_form() == [
        ("account_id", "acc_1"),
        ("attendees_ids", "ACoAAB1"),
        ("text", "Grüße,\r\n--x\r\n👋"),
    ]
    stub = Stub()
    await stub.client.send_message(ACCOUNT_ID, "chat1", "Hello")
    assert stub.sent_form() == [("account_id", "acc_1"), ("text", "Hello")]


async def test_an_inmail_names_its_product() -> None:
    stub = Stub()
    await stub.client.inmail(ACCOUNT_ID, "ACoAAB1", "Hello", "Hi", sales_navigator=False)
    common = [
        ("account_id", "acc_1"),
        ("attendees_ids", "ACoAAB1"),
        ("text", "Hello"),
        ("subject", "Hi"),
    ]
    classic = [("linkedin[api]", "classic"), ("linkedin[inmail]", "true")]
    assert stub.sent_form() == common + classic
    stub = Stub()
    await stub.client.inmail(ACCOUNT_ID, "ACoAAB1", "Hello", "Hi", sales_navigator=True)
    assert stub.sent_form() == [*common, ("linkedin[api]", "sales_navigator")]


async def test_a_webhook_is_registered_with_its_secret_and_content_type() -> None:
    stub = Stub()
    assert await WRITES["register_webhook"](stub.client) == "wh1"
    assert stub.sent_json() == {
        "source": "users",
        "request_url": "https://x",
        "name": "relations",
        "format": "json",
        "enabled": True,
        "events": ["new_relation"],
        "headers": [
            {"key": "Unipile-Auth", "value": "hush"},
            {"key": "Content-Type", "value": "application/json"},
        ],
    }


@pytest.mark.parametrize(
    ("identifier", "segment"),
    [
        ("léa-例", "l%C3%A9a-%E4%BE%8B"),
        ("l%C3%A9a-%E4%BE%8B", "l%C3%A9a-%E4%BE%8B"),
        ("a/b?c#d e", "a%2Fb%3Fc%23d%20e"),
        ("urn:li:x:1", "urn:li:x:1"),
        ("cut\ud83d-emoji", "cut-emoji"),
    ],
)
async def test_a_path_is_percent_encoded_once(identifier: str, segment: str) -> None:
    stub = Stub()
    await stub.client.profile(ACCOUNT_ID, identifier)
    assert stub.asked() == f"GET /api/v1/users/{segment}?account_id=acc_1&notify=false"


@pytest.mark.parametrize("identifier", ["", ".", "..", "me", "relations", "invite", "%2E%2e"])
async def test_a_lead_named_like_another_route_is_not_looked_up(identifier: str) -> None:
    stub = Stub()
    assert isinstance(await stub.client.profile(ACCOUNT_ID, identifier), Fail)
    assert isinstance(await stub.client.visit(ACCOUNT_ID, identifier), Fail)
    assert not stub.requests


async def test_an_empty_id_is_a_defect_and_never_another_route() -> None:
    stub = Stub()
    with pytest.raises(ValueError, match="no identifier"):
        await stub.client.withdraw(ACCOUNT_ID, "")
    assert not stub.requests


async def test_an_instant_is_sent_in_utc_with_milliseconds() -> None:
    stub = Stub()
    local = datetime(2026, 10, 9, 10, 0, 0, 123987, timezone(timedelta(hours=2)))
    await stub.client.messages(ACCOUNT_ID, after=local)
    assert stub.request.url.params["after"] == "2026-10-09T08:00:00.123Z"


async def test_a_port_behind_a_query_goes_with_every_request() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return sample(request)

    client = UnipileClient(
        "api8.unipile.com?port=13443", TOKEN, transport=httpx.MockTransport(answer)
    )
    await client.account(ACCOUNT_ID)
    await client.relations(ACCOUNT_ID)
    assert [str(r.url) for r in requests] == [
        "https://api8.unipile.com/api/v1/accounts/acc_1?port=13443",
        "https://api8.unipile.com/api/v1/users/relations?port=13443&account_id=acc_1&limit=100",
    ]


async def test_a_comment_with_an_unfilled_placeholder_never_leaves() -> None:
    stub = Stub()
    answer = await stub.client.comment(ACCOUNT_ID, "urn:li:ugcPost:1", "Hello {{first_name}}")
    assert isinstance(answer, Skip)
    assert answer.alert
    assert not stub.requests


# -- what is made of the answers


async def test_the_sheets_examples_are_understood() -> None:
    client = Stub().client
    profile = port.Profile(
        provider_id="ACoAAB1",
        public_identifier="lea-example",
        connected=False,
        invitation_pending=True,
    )
    post = port.Post(
        social_id="urn:li:ugcPost:7332661863920324609",
        posted_at=datetime(2026, 10, 7, 9, tzinfo=UTC),
        reacted=True,
        is_repost=False,
        can_react=True,
        can_comment=True,
    )
    message = port.Message(
        id="msg1",
        chat_id="chat1",
        sender_id="ACoAAA0",
        from_us=True,
        text="Hello Lea",
        sent_at=datetime(2026, 10, 9, 8, 0, 0, 123000, UTC),
        kind="MESSAGE",
        is_event=False,
    )
    account = port.Account(
        id="acc_1",
        name="Sender One",
        provider_id="ACoAAA0",
        usable=True,
        status="OK",
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
    )
    comment = port.Comment(
        text="Great point",
        id="7333",
        post_id="7332661864792854528",
        post_urn="urn:li:ugcPost:7332661863920324609",
    )
    invitation = port.Invitation("7449262477600571392", "ACoAAB1", "lea-example")
    expected: dict[str, object] = {
        "profile": profile,
        "visit": profile,
        "posts": (post,),
        "post": post,
        "react": port.Sent(),
        "comment": port.Sent(reference="7333"),
        "own_comments": port.Page((comment,), None),
        "invite": port.Sent(reference="7449262477600571392", usage=75),
        "sent_invitations": port.Page((invitation,), None),
        "withdraw": port.Sent(),
        "start_chat": port.Sent(reference="msg1", chat_id="chat1"),
        "inmail": port.Sent(reference="msg1", chat_id="chat1"),
        "send_message": port.Sent(reference="msg2"),
        "chats_with": (port.Chat("chat1", "ACoAAB1"),),
        "has_chats": True,
        "chat_messages": port.Messages((message,), is_whole=True),
        "newest_messages": (message,),
        "chat": port.Chat("chat1", "ACoAAB1"),
        "messages": (message,),
        "relations": (
            port.Relation("ACoAAB1", "lea-example", datetime(2026, 6, 30, 11, 25, 41, tzinfo=UTC)),
        ),
        "account": account,
        "webhooks": (
            port.Webhook("wh1", "clento", "https://example.com/hook", ("message_received",)),
        ),
        "register_webhook": "wh1",
        "delete_webhook": port.Sent(),
    }
    assert {name: await ask(client) for name, ask in ALL.items()} == expected


async def ask_with(answer: object, ask: Ask, status: int = 200) -> object:
    return await ask(Stub(lambda _: httpx.Response(status, json=answer)).client)


@pytest.mark.parametrize(
    ("fields", "connected"),
    [
        ({"is_relationship": True, "network_distance": None}, True),
        ({"is_relationship": None, "network_distance": "FIRST_DEGREE"}, True),
        ({"is_relationship": False, "network_distance": "OUT_OF_NETWORK"}, False),
    ],
)
async def test_connected_is_a_relationship_or_first_degree(
    fields: dict[str, object], connected: bool
) -> None:
    profile = await ask_with({**PROFILE, **fields}, READS["profile"])
    assert isinstance(profile, port.Profile)
    assert profile.connected is connected


@pytest.mark.parametrize(
    "invitation",
    [
        None,
        {},
        "PENDING",
        {"type": "RECEIVED", "status": "PENDING"},
        {"type": "SENT", "status": "WITHDRAWN"},
    ],
)
async def test_only_a_sent_and_pending_invitation_is_pending(invitation: object) -> None:
    profile = await ask_with({**PROFILE, "invitation": invitation}, READS["profile"])
    assert isinstance(profile, port.Profile)
    assert not profile.invitation_pending


async def test_the_sales_navigator_id_is_asked_for_by_product() -> None:
    stub = Stub()
    await stub.client.profile(ACCOUNT_ID, "ACoAAB1", sales_navigator=True)
    assert stub.request.url.params["linkedin_api"] == "sales_navigator"


async def test_a_post_that_says_nothing_about_permissions_may_be_acted_on() -> None:
    social_id = "urn:li:ugcPost:7332661863920324609"
    post = await ask_with({"object": "Post", "social_id": social_id}, READS["post"])
    assert post == port.Post(social_id, None, False, False, True, True)
    closed = {"can_react": False, "can_post_comments": False}
    post = await ask_with({**POST, "permissions": closed, "user_reacted": None}, READS["post"])
    assert isinstance(post, port.Post)
    assert (post.can_react, post.can_comment, post.reacted) == (False, False, False)


async def test_a_group_chat_has_no_other_person() -> None:
    answer = await ask_with(listed({**CHAT, "type": 1}), READS["chats_with"])
    assert answer == (port.Chat("chat1", None, is_group=True),)


@pytest.mark.parametrize(
    ("sources", "status"),
    [
        ([{"status": "OK"}, {"status": "CREDENTIALS"}], "CREDENTIALS"),
        ([], "UNKNOWN"),
        (None, "UNKNOWN"),
        ([{"id": "x"}], "UNKNOWN"),
    ],
)
async def test_an_account_is_usable_only_when_every_source_says_ok(
    sources: object, status: str
) -> None:
    account = await ask_with({**ACCOUNT, "sources": sources}, READS["account"])
    assert isinstance(account, port.Account)
    assert (account.usable, account.status) == (False, status)


async def test_both_ids_of_a_sent_message_may_be_missing() -> None:
    started = {"object": "ChatStarted", "chat_id": None, "message_id": None}
    assert await ask_with(started, SENDS["start_chat"], 201) == port.Sent()


@pytest.mark.parametrize(
    ("ask", "body", "field"),
    [
        ("profile", {**PROFILE, "provider_id": None}, "provider_id"),
        ("post", {**POST, "social_id": {}}, "social_id"),
        ("relations", listed({**RELATION, "member_id": ""}), "member_id"),
        ("sent_invitations", listed({**INVITATION, "id": None}), "id"),
        ("chat_messages", listed({**MESSAGE, "is_sender": None}), "is_sender"),
        ("chat_messages", listed({**MESSAGE, "timestamp": "soon"}), "timestamp"),
        ("chat_messages", listed({**MESSAGE, "text": ["Hello"]}), "text"),
        ("own_comments", listed({**COMMENT, "text": {}}), "text"),
        ("messages", {"object": "MessageList", "items": "none"}, "items"),
        ("messages", {"object": "MessageList", "items": [None]}, "items"),
        ("messages", {"object": "MessageList"}, "items"),
    ],
)
async def test_a_read_without_what_was_asked_for_is_tried_again(
    ask: str, body: object, field: str
) -> None:
    assert await ask_with(body, READS[ask]) == Retry(f"answer not understood: field {field}")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>hello</html>", b"[]", b'"x"', b"\xff", b"[" * 9999, b"{}", b'{"object": null}'],
)
@pytest.mark.parametrize("status", [200, 204])
@everything()
async def test_a_2xx_without_its_tag_is_unknown_to_a_write_and_makes_a_read_wait(
    ask: Ask, status: int, body: bytes
) -> None:
    stub = Stub(lambda _: httpx.Response(status, content=body))
    if ask in READS.values():
        answer = await ask(stub.client)
        assert isinstance(answer, Retry)
        assert answer.silence == 1
    else:
        with pytest.raises(OutcomeUnknown, match="not Unipile's own answer") as unknown:
            await ask(stub.client)
        assert unknown.value.silence == 1
    assert len(stub.requests) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 299])
@sends()
async def test_any_2xx_with_a_tag_is_sent(ask: Ask, status: int) -> None:
    body = {"object": "NeverHeardOf"}
    answer = await ask(Stub(lambda _: httpx.Response(status, json=body)).client)
    assert answer == port.Sent()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>nginx</html>",
        b'{"message": "Forbidden"}',
        b'{"type": null}',
        b'{"type": "about:blank", "title": "Forbidden"}',
        b'{"type": "https://tools.ietf.org/html/rfc9110#section-15.5.4"}',
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 502])
@everything()
async def test_an_error_that_is_not_unipile_s_judges_nobody(
    ask: Ask, status: int, body: bytes
) -> None:
    stub = Stub(lambda _: httpx.Response(status, content=body))
    if ask in READS.values():
        answer = await ask(stub.client)
        assert isinstance(answer, Retry)
        assert answer.silence == 1
    else:
        with pytest.raises(OutcomeUnknown) as unknown:
            await ask(stub.client)
        assert unknown.value.silence == 1


async def test_an_attendee_unknown_to_unipile_has_no_chats() -> None:
    stub = Stub(lambda _: problem("resource_not_found", 404))
    assert await READS["chats_with"](stub.client) == ()
    stub = Stub(lambda _: httpx.Response(404, content=b"<html>nginx</html>"))
    assert isinstance(await READS["chats_with"](stub.client), Retry)


async def test_the_provider_error_of_a_write_may_be_throttling() -> None:
    stub = Stub(lambda _: problem("provider_error", 500))
    with pytest.raises(OutcomeUnknown) as unknown:
        await SENDS["invite"](stub.client)
    assert unknown.value.throttled


DATE = {"date": "Fri, 09 Oct 2026 08:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({}, timedelta(hours=2)),
        ({"retry-after": "600"}, timedelta(minutes=10)),
        ({"retry-after": "Fri, 09 Oct 2026 09:30:00 GMT", **DATE}, timedelta(minutes=90)),
        ({"retry-after": "Fri, 09 Oct 2026 07:30:00 GMT", **DATE}, timedelta(minutes=1)),
        ({"retry-after": "Fri, 09 Oct 2026 09:30:00 GMT"}, timedelta(hours=2)),
        ({"retry-after": "9" * 30}, timedelta(hours=2)),
        ({"retry-after": "99999999"}, timedelta(hours=48)),
        ({"retry-after": "soon"}, timedelta(hours=2)),
        ({"retry-after": "-5"}, timedelta(hours=2)),
    ],
)
async def test_retry_after_is_honoured_in_seconds_or_as_a_date(
    headers: dict[str, str], delay: timedelta
) -> None:
    stub = Stub(lambda _: problem("too_many_requests", 429, **headers))
    answer = await SENDS["invite"](stub.client)
    assert isinstance(answer, Wait)
    assert (answer.delay, answer.scope) == (delay, Scope.ACCOUNT)


# -- pages


def pages(items: Iterable[tuple[str, str | None]]) -> Callable[[httpx.Request], httpx.Response]:
    """Serve chats' ids page by page: the first page, then each by its cursor."""
    served = iter(items)
    expected: list[str | None] = [None]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params.get("cursor") == expected[0]
        assert request.url.params["limit"] == "250"
        assert request.url.params["account_id"] == "acc_1"
        name, cursor = next(served)
        expected[0] = cursor
        return httpx.Response(200, json=listed({**CHAT, "id": name}, cursor=cursor))

    return answer


async def test_a_list_is_read_to_its_end() -> None:
    stub = Stub(pages([("1", "a+b/c=="), ("2", "é &x"), ("3", None)]))
    answer = await READS["chats_with"](stub.client)
    assert isinstance(answer, tuple)
    assert [one.id for one in answer] == ["1", "2", "3"]


async def test_a_cursor_inside_paging_is_found() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        last = request.url.params.get("cursor") == "next"
        return httpx.Response(
            200, json={**listed(CHAT), "paging": {"cursor": None if last else "next"}}
        )

    answered = await READS["chats_with"](Stub(answer).client)
    assert isinstance(answered, tuple)
    assert len(answered) == 2


async def test_cursors_in_a_circle_do_not_pass_for_a_whole_list() -> None:
    stub = Stub(pages([("1", "a"), ("2", "b"), ("3", "a")]))
    answer = await READS["chats_with"](stub.client)
    assert answer == Retry("answer not understood: a list without end")
    assert len(stub.requests) == 3


async def test_a_list_without_end_does_not_pass_for_a_whole_one() -> None:
    stub = Stub(pages((str(n), f"cursor {n}") for n in range(10_000)))
    answer = await READS["chats_with"](stub.client)
    assert isinstance(answer, Retry)
    assert len(stub.requests) == MAX_PAGES


@pytest.mark.parametrize(("limit", "found"), [(1, 1), (5, 2)])
async def test_of_posts_one_page_is_read_because_a_unit_is_one_read(limit: int, found: int) -> None:
    stub = Stub(lambda _: httpx.Response(200, json=listed(POST, POST, cursor="more")))
    answer = await stub.client.posts(ACCOUNT_ID, "ACoAAB1", limit=limit)
    assert isinstance(answer, tuple)
    assert len(answer) == found
    assert len(stub.requests) == 1


async def test_relations_are_one_page_only() -> None:
    stub = Stub(lambda _: httpx.Response(200, json=listed(RELATION, cursor="more")))
    await stub.client.relations(ACCOUNT_ID)
    assert len(stub.requests) == 1


async def test_a_refusal_on_a_later_page_is_the_answer() -> None:
    answers = iter(
        [
            httpx.Response(200, json=listed(CHAT, cursor="a")),
            problem("disconnected_account", 401),
        ]
    )
    stub = Stub(lambda _: next(answers))
    assert isinstance(await READS["chats_with"](stub.client), Pause)


async def test_a_cursor_too_long_for_any_url_is_not_understood() -> None:
    stub = Stub(lambda _: httpx.Response(200, json=listed(CHAT, cursor="x" * 70_000)))
    assert await READS["chats_with"](stub.client) == Retry("answer not understood: field cursor")


@pytest.mark.parametrize(
    ("ask", "item"),
    [
        (lambda c, cursor: c.sent_invitations(ACCOUNT_ID, cursor=cursor), INVITATION),
        (lambda c, cursor: c.own_comments(ACCOUNT_ID, "ACoAAA0", cursor=cursor), COMMENT),
    ],
    ids=["sent_invitations", "own_comments"],
)
async def test_a_list_that_linkedin_sees_is_read_a_page_at_a_time(
    ask: Callable[[UnipileClient, str | None], Awaitable[port.Page[object]]], item: Json
) -> None:
    stub = Stub(
        lambda request: httpx.Response(
            200, json=listed(item, cursor=None if "cursor" in request.url.params else "a+b=")
        )
    )
    first = await ask(stub.client, None)
    assert (len(first.items), first.cursor) == (1, "a+b=")
    last = await ask(stub.client, first.cursor)
    assert (len(last.items), last.cursor) == (1, None)
    assert [request.url.params.get("cursor") for request in stub.requests] == [None, "a+b="]
    assert {request.url.params["limit"] for request in stub.requests} == {"100"}


def chat_of(*ids: str) -> Callable[[httpx.Request], httpx.Response]:
    """Serve a chat's messages two a page, newest first."""

    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", 0))
        items = [{**MESSAGE, "id": name} for name in ids[start : start + 2]]
        cursor = str(start + 2) if start + 2 < len(ids) else None
        return httpx.Response(200, json=listed(*items, cursor=cursor))

    return answer


@pytest.mark.parametrize(
    ("back_to", "found", "is_whole"),
    [
        ((), "7654321", True),
        (("x",), "7654321", True),
        (("4",), "7654", False),  # with the whole page that it is on
        (("4", "6"), "76", False),  # the newest of them
        (("1",), "7654321", True),
    ],
)
async def test_a_chat_is_read_back_to_a_known_message_or_to_its_start(
    back_to: tuple[str, ...], found: str, is_whole: bool
) -> None:
    stub = Stub(chat_of(*"7654321"))
    messages = await stub.client.chat_messages(ACCOUNT_ID, "chat1", back_to=back_to)
    assert isinstance(messages, port.Messages)
    assert "".join(message.id for message in messages.items) == found
    assert messages.is_whole is is_whole


async def test_an_empty_page_is_not_the_end_of_a_store() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "cursor" in request.url.params:
            return httpx.Response(200, json=listed(CHAT, cursor="more"))
        return httpx.Response(200, json=listed(cursor="next"))

    stub = Stub(answer)
    assert await stub.client.has_chats(ACCOUNT_ID) is True
    assert len(stub.requests) == 2
    assert await Stub(lambda _: httpx.Response(200, json=listed())).client.has_chats("a") is False


# -- repeating


COUNTED = (  # by LinkedIn, each time
    "profile",
    "posts",
    "post",
    "own_comments",
    "sent_invitations",
    "relations",
)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("name", READS)
async def test_a_read_is_asked_three_times_while_the_server_is_broken(
    name: str, status: int
) -> None:
    stub = Stub(lambda _: httpx.Response(status))
    assert isinstance(await READS[name](stub.client), Retry)
    if name in COUNTED:  # the engine asks again, and pays for it
        assert len(stub.requests) == 1
        return
    assert len(stub.requests) == 3
    assert [round(pause - 0.25) for pause in stub.pauses] == [1, 2]


async def test_a_read_stops_asking_when_it_has_its_answer() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if len(stub.requests) == 1:
            raise httpx.ReadError("reset")
        return sample(request)

    stub = Stub(answer)
    assert isinstance(await READS["account"](stub.client), port.Account)
    assert len(stub.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 422, 423, 429, 501])
@reads()
async def test_a_read_that_is_refused_is_not_asked_again(ask: Ask, status: int) -> None:
    stub = Stub(lambda _: problem("never_heard_of", status))
    assert isinstance(await ask(stub.client), Failure)
    assert len(stub.requests) == 1
    assert not stub.pauses


async def test_reads_at_the_same_time_keep_their_attempts_apart() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "broken" in request.url.path:
            raise httpx.ConnectError("refused")
        return sample(request)

    stub = Stub(answer)
    names = ["broken", "fine"] * 10
    answers = await asyncio.gather(*(stub.client.profile(ACCOUNT_ID, name) for name in names))
    assert [type(one) for one in answers] == [Retry, port.Profile] * 10
    assert len(stub.requests) == 10 * 3 + 10


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(500), httpx.Response(503), httpx.ReadTimeout("late"), httpx.ReadError("reset")],
    ids=repr,
)
@writes()
async def test_a_write_is_sent_once_whatever_comes_back(
    ask: Ask, answer: httpx.Response | Exception
) -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    stub = Stub(broken)
    with pytest.raises(OutcomeUnknown):
        await ask(stub.client)
    assert len(stub.requests) == 1
    assert not stub.pauses


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
@writes()
async def test_a_write_that_never_left_may_be_tried_again(
    ask: Ask, kind: type[httpx.TransportError]
) -> None:
    def refused(_: httpx.Request) -> httpx.Response:
        raise kind("no")

    stub = Stub(refused)
    answer = await ask(stub.client)
    assert isinstance(answer, Retry)
    assert not answer.left
    assert len(stub.requests) == 1


@pytest.mark.parametrize("seen", [0, 1, 2, 3])
async def test_a_read_of_which_one_attempt_arrived_has_left(seen: int) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        if len(stub.requests) == seen:
            raise httpx.ReadTimeout("late")
        raise httpx.ConnectError("refused")

    stub = Stub(fail)
    answer = await READS["account"](stub.client)
    assert isinstance(answer, Retry)
    assert answer.left is (seen > 0)


async def test_a_list_of_which_a_page_was_read_has_left() -> None:
    def first_page_only(request: httpx.Request) -> httpx.Response:
        if "cursor" in request.url.params:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=listed(CHAT, cursor="more"))

    answer = await READS["chats_with"](Stub(first_page_only).client)
    assert isinstance(answer, Retry)
    assert answer.left


@pytest.mark.parametrize(
    "error", [httpx.WriteError("x"), httpx.RemoteProtocolError("x"), RuntimeError("x"), OSError()]
)
@writes()
async def test_any_other_error_leaves_a_write_unknown(ask: Ask, error: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(OutcomeUnknown):
        await ask(Stub(fail).client)


class Hanging(httpx.AsyncBaseTransport):
    """Never answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        never: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        return await never


async def test_no_request_outlives_its_time_limit() -> None:
    client = UnipileClient(
        DSN, TOKEN, transport=Hanging(), connect_timeout=timedelta(), read_timeout=timedelta()
    )
    with pytest.raises(OutcomeUnknown, match="TimeoutError"):
        await SENDS["invite"](client)


async def test_a_task_that_is_cancelled_is_cancelled() -> None:
    client = UnipileClient(DSN, TOKEN, transport=Hanging())
    task = asyncio.ensure_future(SENDS["invite"](client))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- redirects


def moved(status: int, location: str) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/"):
            return httpx.Response(200, json=PROFILE)
        return httpx.Response(status, headers={"location": location})

    return answer


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_get_follows_redirects_on_its_own_host(status: int) -> None:
    stub = Stub(moved(status, "/api/v1/users/x/?account_id=acc_1"))
    assert isinstance(await stub.client.profile(ACCOUNT_ID, "x"), port.Profile)
    assert stub.requests[1].headers["x-api-key"] == TOKEN


@pytest.mark.parametrize(
    "location", ["https://evil.example/", "http://api8.unipile.com:13443/x/", "https://["]
)
async def test_the_token_is_not_carried_to_another_host(location: str) -> None:
    stub = Stub(moved(301, location))
    answer = await stub.client.profile(ACCOUNT_ID, "x")
    assert isinstance(answer, Retry)
    assert "check UNIPILE_DSN" in answer.reason
    assert len(stub.requests) == 1


async def test_redirects_in_a_circle_end() -> None:
    stub = Stub(lambda _: httpx.Response(302, headers={"location": "/api/v1/users/x"}))
    assert isinstance(await stub.client.profile(ACCOUNT_ID, "x"), Retry)
    with pytest.raises(OutcomeUnknown):
        await stub.client.visit(ACCOUNT_ID, "x")
    assert len(stub.requests) == 2 * (1 + MAX_REDIRECTS)


@sends()
async def test_no_other_method_follows_a_redirect(ask: Ask) -> None:
    stub = Stub(moved(307, "/api/v1/elsewhere/"))
    with pytest.raises(OutcomeUnknown, match="check UNIPILE_DSN"):
        await ask(stub.client)
    assert len(stub.requests) == 1


# -- secrets


async def test_neither_token_nor_texts_nor_names_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    stub = Stub()
    for ask in ALL.values():
        await ask(stub.client)
    await stub.client.invite(ACCOUNT_ID, "ACoAAB1", "my private note")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(stub.requests)
    assert lines[0].startswith("unipile method=GET route='GET /users/{identifier}' status=200 ms=")
    for secret in (TOKEN, "my private note", "Hello", "lea-example", "Great point", "hush"):
        assert secret not in caplog.text


async def test_neither_token_nor_texts_are_shown() -> None:
    stub = Stub()
    shown = repr(stub.client) + str(vars(stub.client).keys())
    shown += repr(await stub.client.messages(ACCOUNT_ID, after=T0))
    shown += repr(await stub.client.own_comments(ACCOUNT_ID, "ACoAAA0"))
    for secret in (TOKEN, "Hello Lea", "Great point"):
        assert secret not in shown


# -- whatever comes


def headers() -> st.SearchStrategy[dict[str, str]]:
    names = st.sampled_from(["retry-after", "location", "content-encoding", "content-type"])
    return st.dictionaries(names, st.text(st.characters(min_codepoint=32, max_codepoint=126)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = sorted(
    {
        *(key for one in (PROFILE, POST, MESSAGE, CHAT, ACCOUNT, INVITATION) for key in one),
        *("items", "cursor", "paging", "type", "invitation_id", "webhook_id", "premium", "usage"),
    }
)
OBJECTS = st.dictionaries(
    st.sampled_from(FIELDS),
    JSON
    | st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5), max_size=3)
    | st.dictionaries(st.sampled_from(["cursor", "im", "status", "type", "id"]), JSON),
    max_size=8,
)
BODIES = st.binary() | OBJECTS.map(lambda body: json.dumps(body).encode())


@given(st.sampled_from(sorted(ALL)), st.integers(100, 999), headers(), BODIES)
def test_no_garbage_raises_anything_but_unknown_or_passes_for_success(
    name: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    stub = Stub(lambda _: httpx.Response(status, headers=headers, content=body))
    try:
        answer = asyncio.run(_awaited(ALL[name](stub.client)))
    except OutcomeUnknown:
        assert name in WRITES
        return
    if isinstance(answer, Failure):
        return
    if not 200 <= status < 300:
        known = (name, status) == ("delete_webhook", 404)
        assert known or b"action_already_performed" in body
    if name in SENDS:
        assert isinstance(answer, port.Sent)


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


def test_reprs_of_answers_survive_replace() -> None:
    message = port.Message("1", "c", None, True, "hush", T0, "MESSAGE", False)
    assert "hush" not in repr(replace(message, id="2"))


# -- the provider's clock


class Hands:
    """A clock that is moved by hand, and may be broken."""

    def __init__(self) -> None:
        self.now = T0
        self.is_broken = False

    def __call__(self) -> datetime:
        if self.is_broken:
            raise RuntimeError("the clock jumped")
        return self.now


def dated(
    hands: Hands, answer: Callable[[httpx.Request], httpx.Response], *, ahead: timedelta
) -> UnipileClient:
    """Return a client whose `hands` are so far ahead of a server that answers in 100 ms."""

    def handle(request: httpx.Request) -> httpx.Response:
        response = answer(request)
        response.headers.setdefault("date", format_datetime(hands.now - ahead, usegmt=True))
        hands.now += timedelta(milliseconds=100)
        return response

    return UnipileClient(DSN, TOKEN, transport=httpx.MockTransport(handle), clock=hands)


MINUTES_5 = timedelta(minutes=5)


@pytest.mark.parametrize("ahead", [MINUTES_5, -MINUTES_5, timedelta()], ids=str)
async def test_a_skew_is_believed_after_three_answers(ahead: timedelta) -> None:
    client = dated(Hands(), sample, ahead=ahead)
    believed = []
    for ask in (READS["profile"], SENDS["invite"], READS["account"]):
        believed.append(client.skew)
        await ask(client)
    assert believed == [None, None, None]
    assert client.skew is not None
    assert abs(client.skew - ahead) < timedelta(seconds=2.2)
    assert abs(client.skew) <= abs(ahead)


async def test_a_refusal_of_unipiles_tells_its_time_too() -> None:
    client = dated(Hands(), lambda _: problem("invalid_recipient", 422), ahead=MINUTES_5)
    for _ in range(3):
        await SENDS["invite"](client)
    assert client.skew is not None


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(200, content=b"<html>"),
        lambda _: httpx.Response(422, content=b"<html>"),
        lambda _: httpx.Response(200, json=["a", "list"]),
        lambda _: httpx.Response(200, json=PROFILE, headers={"age": "300"}),
        lambda _: httpx.Response(200, json=PROFILE, headers={"date": "yesterday"}),
    ],
    ids=["page", "refusal", "list", "cached", "no date"],
)
async def test_what_is_no_answer_of_unipiles_own_tells_no_time(
    answer: Callable[[httpx.Request], httpx.Response],
) -> None:
    client = dated(Hands(), answer, ahead=MINUTES_5)
    for _ in range(9):
        await READS["profile"](client)
    assert client.skew is None


async def test_without_a_clock_nothing_is_measured() -> None:
    stub = Stub(lambda _: httpx.Response(200, json=PROFILE, headers=DATE))
    for _ in range(9):
        await READS["profile"](stub.client)
    assert stub.client.skew is None


async def test_a_clock_that_breaks_does_not_lose_the_answer_to_a_write() -> None:
    hands = Hands()

    def answer(request: httpx.Request) -> httpx.Response:
        hands.is_broken = True  # while the request is under way
        return sample(request)

    client = dated(hands, answer, ahead=MINUTES_5)
    for _ in range(3):
        assert isinstance(await SENDS["invite"](client), port.Sent)
    assert client.skew is None

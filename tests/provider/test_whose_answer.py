"""An answer about another than was asked for, or to another question, is never learned."""

import httpx
import pytest
from unipile_calls import ALL, READS, WRITES, Ask
from unipile_samples import (
    ACCOUNT,
    ACCOUNT_ID,
    CHAT,
    COMMENT,
    MESSAGE,
    POST,
    PROFILE,
    Json,
    Stub,
    listed,
)

from clento_engine.domain.failure import Failure, OutcomeUnknown, Retry
from clento_engine.provider import answers, port
from clento_engine.provider.answers import Call

PERSON = "it is about another person"
ACCOUNTS = "it is about another account"
POSTS = "it is about another post"
CHATS = "it is about another chat"
PRODUCT = "no id of the product that was asked for"

BY_SLUG: Ask = lambda c: c.profile(ACCOUNT_ID, "lea-example")  # noqa: E731
NAVIGATOR: Ask = lambda c: c.profile(ACCOUNT_ID, "ACoAAB1", sales_navigator=True)  # noqa: E731
BY_SALES_ID: Ask = lambda c: c.profile(ACCOUNT_ID, "ACwAAB1", sales_navigator=True)  # noqa: E731
IN_LINKEDINS_CHAT: Ask = lambda c: c.chat_messages(ACCOUNT_ID, "2-abc")  # noqa: E731
BY_NUMBER: Ask = lambda c: c.post(ACCOUNT_ID, "7332661864792854528")  # noqa: E731
BY_ACTIVITY: Ask = lambda c: c.post(ACCOUNT_ID, "urn:li:activity:7332661864792854528")  # noqa: E731


def person(provider_id: str) -> Json:
    return {**PROFILE, "provider_id": provider_id}


def post(author: object, **more: object) -> Json:
    return {**POST, "author": author, **more}


def comment(author: object) -> Json:
    return {**COMMENT, "author_details": author}


def chat(other: str | None, **more: object) -> Json:
    return {**CHAT, "attendee_provider_id": other, **more}


OTHER = {"id": "ACoAAB2"}
COMPANY = {"id": "1441", "is_company": True}

ANOTHERS: dict[str, tuple[Ask, Json, str]] = {
    "another's profile": (READS["profile"], person("ACoAAB2"), PERSON),
    "a profile with a newer id": (READS["profile"], person("ADoAAB1"), PERSON),
    "a profile by Sales Navigator": (READS["profile"], person("ACwAAB1"), PERSON),
    "another's, for Sales Navigator": (NAVIGATOR, person("ACoAAB2"), PRODUCT),
    "no id of Sales Navigator's": (NAVIGATOR, person("ACoAAB1"), PRODUCT),
    "another's by Sales Navigator": (BY_SALES_ID, person("ACwAAB2"), PERSON),
    "another's posts": (READS["posts"], listed(post(OTHER), post(OTHER)), PERSON),
    "another post": (READS["post"], {**POST, "id": "1", "social_id": "urn:li:share:2"}, POSTS),
    "another's comment": (READS["own_comments"], listed(comment(OTHER)), PERSON),
    "another's chat": (READS["chats_with"], listed(chat("ACoAAB2")), PERSON),
    "another's beside theirs": (READS["chats_with"], listed(CHAT, chat("ACoAAB2")), PERSON),
    "another account's": (READS["chats_with"], listed({**CHAT, "account_id": "2"}), ACCOUNTS),
    "any chat of another's": (READS["has_chats"], listed({**CHAT, "account_id": "2"}), ACCOUNTS),
    "another chat's message": (
        READS["chat_messages"],
        listed(MESSAGE, {**MESSAGE, "chat_id": "2", "chat_provider_id": "2-b"}),
        CHATS,
    ),
    "another's messages": (READS["messages"], listed({**MESSAGE, "account_id": "2"}), ACCOUNTS),
    "another account": (READS["account"], {**ACCOUNT, "id": "acc_2"}, ACCOUNTS),
}


@pytest.mark.parametrize(("ask", "body", "reason"), ANOTHERS.values(), ids=ANOTHERS.keys())
async def test_an_answer_about_another_than_was_asked_for_is_not_understood(
    ask: Ask, body: Json, reason: str
) -> None:
    stub = Stub(lambda _: httpx.Response(200, json=body))
    assert await ask(stub.client) == Retry(f"answer not understood: {reason}")
    assert len(stub.requests) == 1


async def test_a_visit_that_shows_another_person_is_unknown() -> None:
    stub = Stub(lambda _: httpx.Response(200, json=person("ACoAAB2")))
    with pytest.raises(OutcomeUnknown, match="another person") as unknown:
        await WRITES["visit"](stub.client)
    assert "ACoAA" not in unknown.value.reason  # nobody's id gets into logs


UNCONTRADICTED: dict[str, tuple[Ask, Json, int]] = {
    "a changed slug": (BY_SLUG, {**PROFILE, "public_identifier": "lea-new"}, 0),
    "Sales Navigator's id": (NAVIGATOR, person("ACwAAB1"), 0),
    "Sales Navigator's id, by it": (BY_SALES_ID, person("ACwAAB1"), 0),
    "a repost of another's": (READS["posts"], listed(post(OTHER, is_repost=True)), 1),
    "a post of nobody's": (READS["posts"], listed(post(None)), 1),
    "a post in a company's name": (READS["posts"], listed(post(COMPANY)), 1),
    "another's post among their own": (READS["posts"], listed(post(OTHER), POST), 1),
    "a comment of nobody's": (READS["own_comments"], listed(comment(None)), 1),
    "a comment in a company's name": (READS["own_comments"], listed(comment(COMPANY)), 1),
    "a group chat": (READS["chats_with"], listed(chat("ACoAAB2", type=1)), 1),
    "a chat of Sales Navigator's": (READS["chats_with"], listed(chat("ACwAAB7")), 1),
    "a chat with nobody known": (READS["chats_with"], listed(chat(None)), 1),
    "a chat of no known account": (READS["has_chats"], listed({**CHAT, "account_id": None}), 0),
    "a chat by LinkedIn's id": (IN_LINKEDINS_CHAT, listed(MESSAGE), 1),
    "a post by its number": (BY_NUMBER, POST, 0),
    "a post by its activity": (BY_ACTIVITY, POST, 0),
}


@pytest.mark.parametrize(
    ("ask", "body", "items"), UNCONTRADICTED.values(), ids=UNCONTRADICTED.keys()
)
async def test_what_does_not_contradict_the_question_is_understood(
    ask: Ask, body: Json, items: int
) -> None:
    answer = await ask(Stub(lambda _: httpx.Response(200, json=body)).client)
    assert not isinstance(answer, Failure)
    if isinstance(answer, port.Page | port.Messages):
        assert len(answer.items) == items
    elif isinstance(answer, tuple):
        assert len(answer) == items


OTHERWISE = {"has_chats": Call.CHATS, "newest_messages": Call.CHAT_MESSAGES}
CALLS = {name: OTHERWISE.get(name) or Call[name.upper()] for name in ALL}
KINDS = {kind for kinds in answers._KINDS.values() for kind in kinds}


def test_every_call_has_its_own_kind_of_answer() -> None:
    assert answers._KINDS.keys() == set(Call)
    assert set(CALLS.values()) == set(Call) - {Call.ACCOUNTS}  # a probe takes any answer


@pytest.mark.parametrize("name", ALL)
async def test_an_answer_to_another_question_answers_nothing(name: str) -> None:
    """Such as one that was late: a comment's answer does not say that an invitation was sent."""
    for kind in sorted(KINDS - answers._KINDS[CALLS[name]]):
        response = httpx.Response(200, json={**listed(), "object": kind})
        stub = Stub(lambda _, response=response: response)  # type: ignore[misc]
        if name in READS:
            answer = await ALL[name](stub.client)
            assert answer == Retry("answer not understood: it answers another question")
        else:
            with pytest.raises(OutcomeUnknown, match="another question"):
                await ALL[name](stub.client)


async def test_an_answer_of_a_kind_that_is_not_documented_may_be_the_right_one() -> None:
    sent = await WRITES["react"](Stub(lambda _: httpx.Response(200, json={"object": "X"})).client)
    assert sent == port.Sent()
    odd = await READS["profile"](
        Stub(lambda _: httpx.Response(200, json={**PROFILE, "object": "X"})).client
    )
    assert odd == await READS["profile"](Stub().client)

"""What reconcile believes: a refusal to show something is no proof that it is not there."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from builders import Conn, begun, line, report

from clento_engine.domain.failure import Fail, Failure, Means, Retry, Skip, Wait
from clento_engine.domain.limits import HOUR, Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.provider.port import Chat, Comment, Invitation, Page, Profile, Provider
from clento_engine.runtime.reconcile import _look, reconcile
from clento_engine.runtime.world import World
from clento_engine.store.database import Database
from clento_engine.store.doubtful import Doubtful
from clento_engine.store.settle import Report, Ticket

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)  # when nothing may still be on its way
ASKED = [
    Operation.SEND_CONNECTION_REQUEST,
    Operation.WITHDRAW_REQUEST,
    Operation.SEND_FOLLOWUP,
    Operation.SEND_INMAIL,
    Operation.COMMENT_POST,
    Operation.LIKE_POST,
]


class Refusing:
    """A provider that answers every question so."""

    def __init__(self, answer: Failure, chats: list[Chat] | None = None) -> None:
        self.answer = answer
        self.chats = chats

    def __getattr__(self, name: str) -> Any:
        async def answered(*_given: object, **_named: object) -> object:
            return self.chats if name == "chats_with" and self.chats is not None else self.answer

        return answered


def doubtful(operation: Operation) -> Doubtful:
    return Doubtful(
        organization_id=uuid4(),
        campaign_id=uuid4(),
        lead_id=uuid4(),
        account_id=uuid4(),
        unipile_account_id="acc",
        own_provider_id="ACoAAME",
        ticket=Ticket(uuid4(), "n0", operation, (), NOW),
        target="ACoAAX",
        text="Hello",
        subject=None,
        intended_at=NOW,
        checks=2,
        provider_id="ACoAAX",
        chat_id=None,
        known=frozenset(),
    )


async def asked(operation: Operation, provider: Any, *, checks: int = 2) -> Report | Failure:
    action = replace(doubtful(operation), checks=checks)
    return await _look(cast("Provider", provider), action, lambda: LATER)


@pytest.mark.parametrize("operation", ASKED)
@pytest.mark.parametrize(
    "refusal", [Skip("insufficient_permissions"), Fail("locked", means=Means.WRONG_ID)]
)
async def test_a_refusal_to_show_it_settles_nothing(operation: Operation, refusal: Failure) -> None:
    assert await asked(operation, Refusing(refusal)) == refusal


async def test_under_a_post_that_is_gone_there_is_no_reaction() -> None:
    answer = await asked(Operation.LIKE_POST, Refusing(Skip("no such post", means=Means.GONE)))

    assert isinstance(answer, Report)
    assert answer.state == "absent"


async def test_a_list_of_our_comments_that_is_gone_proves_nothing() -> None:
    refusal = Skip("no such member", means=Means.GONE)

    assert await asked(Operation.COMMENT_POST, Refusing(refusal)) == refusal


async def test_a_message_is_not_absent_because_its_chat_is_not_shown() -> None:
    chats = [Chat("chat1", "ACoAAX", read_only=False)]
    refusal = Skip("insufficient_permissions")

    assert await asked(Operation.SEND_FOLLOWUP, Refusing(refusal, chats)) == refusal


@pytest.mark.parametrize(
    ("operation", "budget"),
    [
        (Operation.SEND_CONNECTION_REQUEST, Budget.PROFILE),
        (Operation.WITHDRAW_REQUEST, Budget.PROFILE),
        (Operation.LIKE_POST, Budget.POST_READ),
        (Operation.COMMENT_POST, Budget.POST_READ),
    ],
)
async def test_a_question_that_linkedin_counts_takes_a_unit_or_waits_for_one(
    conn: Conn, database: Database, operation: Operation, budget: Budget
) -> None:
    stage = await begun(conn, line(operation), operation)
    await stage.change("campaign_executions", posts=["post-1"])
    [item] = await stage.claim()
    await stage.settle(report(item, "unknown", None, check_at=NOW))
    before = await stage.used(budget)
    refusing = Refusing(Wait("not now", HOUR, HOUR))
    world = World(database, cast("Provider", refusing), lambda: NOW)

    assert await reconcile(world) == 1
    assert await stage.used(budget) == before + 1

    await stage.change("actions", check_at=NOW)
    await stage.cap(budget, Caps(hour=before + 1))
    assert await reconcile(world) == 1
    assert await stage.used(budget) == before + 1
    assert await stage.rows("select reason from actions") == [
        {"reason": f"no unit of {budget} is left to ask with"}
    ]


@dataclass(frozen=True, slots=True)
class Showing:
    """A provider that shows a stranger's profile and these lists."""

    found: tuple[Comment | Invitation, ...] = ()

    async def profile(self, *_given: object) -> Profile:
        return Profile("ACoAAX", "ada", None, None, connected=False, invitation_pending=False)

    async def own_comments(self, *_given: object, cursor: str | None) -> Page[Comment | Invitation]:
        return Page(self.found, cursor)

    async def sent_invitations(
        self, *_given: object, cursor: str | None
    ) -> Page[Comment | Invitation]:
        return Page(self.found, cursor)


@pytest.mark.parametrize("operation", [Operation.COMMENT_POST, Operation.SEND_CONNECTION_REQUEST])
async def test_what_is_not_there_is_believed_at_the_second_question_only(
    operation: Operation,
) -> None:
    """A clock that was set forward makes an intent old that a request is still on the wire for."""
    first = await asked(operation, Showing(), checks=1)
    second = await asked(operation, Showing())

    assert isinstance(first, Report)
    assert (first.state, first.event) == ("unknown", None)
    assert first.check_at is not None
    assert first.check_at - LATER >= timedelta(minutes=2)
    assert isinstance(second, Report)
    assert second.state == "absent"


@pytest.mark.parametrize(
    ("post", "text", "said"),
    [
        ("ACoAAX", "Hello", "done"),
        (None, "Hello", None),
        (None, "Something else", "absent"),
        ("urn:li:ugcPost:2", "Hello", "absent"),
    ],
)
async def test_a_comment_under_no_known_post_with_our_text_is_no_proof_of_either(
    post: str | None, text: str, said: str | None
) -> None:
    shown = Comment("ACoAAME", text, post_urn=post)
    answer = await asked(Operation.COMMENT_POST, Showing((shown,)))

    assert (answer.state if isinstance(answer, Report) else None) == said
    assert said is not None or isinstance(answer, Retry)


@pytest.mark.parametrize(("slug", "said"), [("ada", "done"), ("bert", "absent")])
async def test_a_pending_invitation_without_an_id_is_known_by_the_public_identifier(
    slug: str, said: str
) -> None:
    pending = Invitation("744", provider_id=None, public_identifier=slug)
    answer = await asked(Operation.SEND_CONNECTION_REQUEST, Showing((pending,)))

    assert isinstance(answer, Report)
    assert answer.state == said

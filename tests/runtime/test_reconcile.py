"""What reconcile believes: absence is proved by what is there, never by a refusal or a clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

import pytest
from builders import Conn, Stage, begun, line, member_of, report

from clento_engine.domain import execution as ex
from clento_engine.domain.failure import Fail, Failure, Means, Pause, Retry, Skip, Wait
from clento_engine.domain.limits import HOUR, Caps
from clento_engine.domain.operation import Budget, Operation
from clento_engine.provider.port import (
    Account,
    Chat,
    Comment,
    Invitation,
    Message,
    Messages,
    Page,
    Post,
    Profile,
    Provider,
)
from clento_engine.runtime.question import STORE_FILLS
from clento_engine.runtime.reconcile import DESPAIR, reconcile
from clento_engine.runtime.world import World
from clento_engine.store.database import Database

Op = Operation
T = TypeVar("T")
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
PERSON, OWN, POST = "ACoAAX", "ACoAAME", "urn:li:ugcPost:1"
TEXT = "Hello"
ASKED = [
    Op.SEND_CONNECTION_REQUEST,
    Op.WITHDRAW_REQUEST,
    Op.SEND_FOLLOWUP,
    Op.SEND_INMAIL,
    Op.COMMENT_POST,
    Op.LIKE_POST,
]
WRITES_TO_A_CHAT = [Op.SEND_FOLLOWUP, Op.SEND_INMAIL]
NOT_LIKED = Post(POST, None, reacted=False, is_repost=False, can_react=True, can_comment=True)
NO_CHAT = Skip("no such chat", means=Means.GONE)


def profile(*, connected: bool = False, pending: bool = False, slug: str = "ada") -> Profile:
    return Profile(PERSON, slug, connected=connected, invitation_pending=pending)


def message(id_: str, text: str = TEXT, *, kind: str = "MESSAGE", from_us: bool = True) -> Message:
    return Message(id_, "chat", OWN if from_us else PERSON, from_us, text, NOW, kind, False)


def comment(id_: str, text: str = TEXT, post: str = POST) -> Comment:
    return Comment(text, id_, post, post)


@dataclass
class Shows:
    """A provider that shows this; `asked` names its calls.  Failures are answered as they are."""

    profile_: Profile | Failure = field(default_factory=profile)
    pending: Sequence[Sequence[Invitation]] | Failure = ((),)
    comments: Sequence[Sequence[Comment]] | Failure = ((),)
    chats: dict[str, Sequence[Message] | Failure] | Failure = field(default_factory=dict)
    others: Mapping[str, Sequence[Message]] = field(default_factory=dict)  # of other people
    post_: Post | Failure = NOT_LIKED
    asked: list[str] = field(default_factory=list)
    skew: timedelta | None = None

    async def profile(self, *_given: object) -> Profile | Failure:
        self.asked.append("profile")
        return self.profile_

    async def sent_invitations(
        self, _account: str, *, cursor: str | None = None
    ) -> Page[Invitation] | Failure:
        self.asked.append("pending")
        return _page(self.pending, cursor)

    async def own_comments(
        self, _account: str, _own: str, *, cursor: str | None = None
    ) -> Page[Comment] | Failure:
        self.asked.append("comments")
        return _page(self.comments, cursor)

    async def post(self, *_given: object) -> Post | Failure:
        self.asked.append("post")
        return self.post_

    async def chats_with(self, *_given: object) -> Sequence[Chat] | Failure:
        if not isinstance(self.chats, dict):
            return self.chats
        return [Chat(id_, PERSON) for id_ in self.chats]

    async def chat_messages(
        self, _account: str, chat_id: str, *, back_to: frozenset[str] = frozenset()
    ) -> Messages | Failure:
        known = {**(self.chats if isinstance(self.chats, dict) else {}), **self.others}
        items = known.get(chat_id, NO_CHAT)
        if not isinstance(items, Sequence):
            return items
        for place, each in enumerate(items):
            if each.id in back_to:
                return Messages(tuple(items[: place + 1]), is_whole=False)
        return Messages(tuple(items), is_whole=True)

    async def has_chats(self, _account: str) -> bool:
        return bool(self.chats or self.others)

    async def account(self, account: str) -> Account:
        return Account(account, "Lea", member_of(account), True, "OK", NOW - 90 * DAY)


def _page(pages: Sequence[Sequence[T]] | Failure, cursor: str | None) -> Page[T] | Failure:
    if isinstance(pages, Retry | Wait | Skip | Fail | Pause):
        return pages
    number = int(cursor or 0)
    onward = str(number + 1) if number + 1 < len(pages) else None
    return Page(tuple(pages[number]), onward)


@dataclass
class Scene:
    """One action of unknown outcome, and the questions about it."""

    stage: Stage
    database: Database
    shows: Shows
    now: datetime = NOW

    async def ask(self, times: int = 1, *, after: timedelta = timedelta(0)) -> str:
        """Ask so many times, each when its time has come, at least `after` from now; its state."""
        self.now += after
        world = World(self.database, cast("Provider", self.shows), lambda: self.now)
        for _ in range(times):
            due = await self.stage.value(
                "select min(check_at) from actions where check_at is not null"
            )
            if due is None:
                break
            self.now = max(self.now, due)
            assert await reconcile(world) == 1
        state: str = await self.stage.value(
            "select state from actions order by intended_at desc, number desc nulls first limit 1"
        )
        return state

    async def reason(self) -> str:
        found: str = await self.stage.value("select reason from actions where check_at is not null")
        return found


async def scene(
    conn: Conn, database: Database, operation: Operation, shows: Shows | None = None
) -> Scene:
    """Let one step end with an outcome that nobody knows."""
    stage = await begun(conn, line(operation), operation)
    await stage.change("campaign_executions", provider_id=PERSON, posts=[POST])
    await stage.change("connected_accounts", store_since=None)
    [item] = await stage.claim()
    await stage.settle(report(item, "unknown", None, check_at=NOW + MINUTE))
    return Scene(stage, database, shows or Shows())


async def known(stage: Stage, operation: Operation, **values: object) -> None:
    """Let the ledger know something older of the same account and lead, as done."""
    row: dict[str, object] = {
        "target": PERSON,
        "text": TEXT,
        "reference": None,
        "node_id": "earlier",
        "settled_at": NOW - DAY,
        "state": "done",
    } | values
    await stage.conn.execute(
        "insert into actions (organization_id, campaign_id, lead_id, account_id, token,"
        " intended_at, bucket_at, node_id, operation, budgets, target, text, state, reference,"
        " settled_at, number, person_id)"
        " select e.organization_id, campaign_id, lead_id, account_id, gen_random_uuid(),"
        " %(settled_at)s, %(settled_at)s, %(node_id)s, %(operation)s, '{}', %(target)s, %(text)s,"
        " %(state)s, %(reference)s, %(settled_at)s, nextval('events_id_seq'), person_id"
        " from campaign_executions e join leads l on l.id = e.lead_id limit 1",
        {**row, "operation": operation.value},
    )


@pytest.mark.parametrize("operation", ASKED)
@pytest.mark.parametrize(
    "refusal", [Skip("insufficient_permissions"), Fail("locked", means=Means.WRONG_ID)]
)
async def test_a_refusal_to_show_it_settles_nothing(
    conn: Conn, database: Database, operation: Operation, refusal: Failure
) -> None:
    shows = Shows(refusal, refusal, refusal, refusal, {}, refusal)
    asking = await scene(conn, database, operation, shows)

    assert await asking.ask(5) == "unknown"
    assert await asking.reason() == refusal.reason


async def test_a_post_that_is_gone_was_not_liked(conn: Conn, database: Database) -> None:
    shows = Shows(post_=Skip("no such post", means=Means.GONE))
    assert await (await scene(conn, database, Op.LIKE_POST, shows)).ask(2) == "absent"


@pytest.mark.parametrize("operation", WRITES_TO_A_CHAT)
async def test_a_message_is_not_absent_because_its_chat_is_not_shown(
    conn: Conn, database: Database, operation: Operation
) -> None:
    shows = Shows(chats={"chat": Skip("insufficient_permissions")})
    assert await (await scene(conn, database, operation, shows)).ask(5) == "unknown"


@pytest.mark.parametrize(
    ("operation", "budget"),
    [
        (Op.SEND_CONNECTION_REQUEST, Budget.PROFILE),
        (Op.WITHDRAW_REQUEST, Budget.PROFILE),
        (Op.LIKE_POST, Budget.POST_READ),
        (Op.COMMENT_POST, Budget.POST_READ),
    ],
)
async def test_a_question_that_linkedin_counts_takes_a_unit_or_waits_for_one(
    conn: Conn, database: Database, operation: Operation, budget: Budget
) -> None:
    wait = Wait("not now", HOUR, HOUR)
    asking = await scene(conn, database, operation, Shows(wait, comments=wait, post_=wait))
    before = await asking.stage.used(budget)

    await asking.ask()
    assert await asking.stage.used(budget) == before + 1

    await asking.stage.cap(budget, Caps(hour=before + 1, day=before + 1))
    asked = len(asking.shows.asked)
    await asking.ask()
    assert await asking.stage.used(budget) == before + 1
    assert len(asking.shows.asked) == asked
    assert await asking.reason() == f"waits for its turn to read by the limit {budget}"


@pytest.mark.parametrize("operation", [Op.SEND_CONNECTION_REQUEST, Op.LIKE_POST])
async def test_what_is_not_there_is_believed_at_the_second_look_only(
    conn: Conn, database: Database, operation: Operation
) -> None:
    """A clock that was set forward makes an intent old that a request is still on the wire for."""
    asking = await scene(conn, database, operation)

    assert await asking.ask(after=HOUR) == "unknown"
    first_at = asking.now
    assert await asking.ask() == "absent"
    assert asking.now - first_at >= timedelta(minutes=2)


async def test_a_question_that_had_no_turn_is_no_look(conn: Conn, database: Database) -> None:
    asking = await scene(conn, database, Op.LIKE_POST)
    await asking.stage.change("connected_accounts", next_free_at=NOW + 3 * HOUR)

    assert await asking.ask(2, after=HOUR) == "unknown"  # one without its turn, one look
    assert asking.shows.asked == ["post"]
    assert await asking.ask() == "absent"


# --- invitations


@pytest.mark.parametrize(
    ("pending", "state"),
    [
        (Invitation("744", PERSON, None), "done"),
        (Invitation("744", None, "ada"), "done"),
        (Invitation("744", None, "bert"), "absent"),
        (Invitation("744", "ACoAAOTHER", "ada"), "absent"),
    ],
)
async def test_a_pending_invitation_is_known_by_the_id_or_else_by_the_public_identifier(
    conn: Conn, database: Database, pending: Invitation, state: str
) -> None:
    shows = Shows(pending=[[pending]])
    asking = await scene(conn, database, Op.SEND_CONNECTION_REQUEST, shows)

    assert await asking.ask(2) == state
    assert shows.asked == ["profile", "pending"]


async def test_a_withdrawal_is_done_when_the_profile_says_so(
    conn: Conn, database: Database
) -> None:
    asking = await scene(conn, database, Op.WITHDRAW_REQUEST, Shows(profile()))
    assert await asking.ask() == "done"


async def test_an_invitation_that_is_pending_still_is_found_by_its_page_and_withdrawn_anew(
    conn: Conn, database: Database
) -> None:
    """Each page has a question of its own: to LinkedIn they come as apart as anything else."""
    pages = [[Invitation(f"{page}", None, f"p{page}")] for page in range(2)]
    shows = Shows(profile(pending=True), pending=[*pages, [Invitation("744", None, "ada")]])
    asking = await scene(conn, database, Op.WITHDRAW_REQUEST, shows)

    assert await asking.ask(4) == "absent"
    assert shows.asked == ["profile", "pending", "pending", "pending"]
    assert await asking.stage.used(Budget.LIST_READ) == 3
    assert await asking.stage.value("select invitation_id from contacts") == "744"


async def test_an_invitation_that_no_list_shows_stays_a_question_and_ends_with_a_person(
    conn: Conn, database: Database
) -> None:
    asking = await scene(conn, database, Op.WITHDRAW_REQUEST, Shows(profile(pending=True)))

    assert await asking.ask(6) == "unknown"
    await asking.ask(2, after=DESPAIR)
    assert (await asking.stage.run())["status"] == "held"


async def test_what_nobody_can_find_out_of_a_walk_that_is_over_is_closed_unresolved(
    conn: Conn, database: Database
) -> None:
    """Nobody can be told of it, and for ever it would keep its account from being removed."""
    asking = await scene(conn, database, Op.WITHDRAW_REQUEST, Shows(profile(pending=True)))

    assert await asking.ask(6) == "unknown"
    await asking.stage.event(ex.Replied())
    assert await asking.ask(2, after=DESPAIR) == "unresolved"
    assert "cannot be found out" in await asking.stage.value("select reason from actions")
    run = await asking.stage.run()
    assert (run["status"], run["outcome"]) == ("completed", "replied")


async def test_what_nobody_can_find_out_of_a_stopped_campaign_is_closed_unresolved(
    conn: Conn, database: Database
) -> None:
    """Its leads stay where they are: held there, nobody could release them."""
    asking = await scene(conn, database, Op.WITHDRAW_REQUEST, Shows(profile(pending=True)))

    assert await asking.ask(6) == "unknown"
    await asking.stage.change("campaigns", status="stopped")
    assert await asking.ask(2, after=DESPAIR) == "unresolved"
    assert (await asking.stage.run())["status"] == "waiting"


async def test_what_is_unresolved_makes_no_equal_text_of_a_later_walk_look_absent(
    conn: Conn, database: Database
) -> None:
    """Nobody knows that it was sent: it explains no message that is shown, and lacks none."""
    shows = Shows(chats={"chat": [message("m1")]})
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, shows)
    await known(asking.stage, Op.SEND_FOLLOWUP, state="unresolved")

    assert await asking.ask(3, after=HOUR) == "done"


async def test_an_account_that_does_something_else_leaves_nothing_to_despair_of(
    conn: Conn, database: Database
) -> None:
    """Tickers were down for days: the first question after them has not been asked yet."""
    shows = Shows(profile(pending=True))
    asking = await scene(conn, database, Op.WITHDRAW_REQUEST, shows)
    free_at = NOW + DESPAIR + HOUR
    await asking.stage.change("connected_accounts", next_free_at=free_at)

    assert await asking.ask(after=DESPAIR) == "unknown"
    assert shows.asked == []
    assert (await asking.stage.run())["status"] != "held"
    assert await asking.ask(4) == "unknown"
    assert shows.asked


async def test_what_only_counts_as_done_ends_no_trouble_of_its_account(
    conn: Conn, database: Database
) -> None:
    """Nobody said that anything works again: a success is the provider's word."""
    asking = await scene(conn, database, Op.PROFILE_VISIT)
    await asking.stage.change("connected_accounts", throttles=2, errors_in_a_row=1)
    await conn.execute("update provider_rest set silences = 1, failures = 3")
    assert await asking.ask() == "done"
    rows = await asking.stage.rows(
        "select throttles, errors_in_a_row, silences, failures"
        " from connected_accounts, provider_rest"
    )
    assert rows == [{"throttles": 2, "errors_in_a_row": 1, "silences": 1, "failures": 3}]


# --- messages


async def test_a_message_is_found_though_its_stamp_is_older_than_the_intent(
    conn: Conn, database: Database
) -> None:
    """The provider's clock is its own: it may be minutes or days behind ours."""
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, Shows(chats={"chat": [message("m1")]}))

    assert await asking.ask() == "done"
    assert await asking.stage.value("select reference from actions") == "m1"
    assert await asking.stage.value("select chat_id from contacts") == "chat"


async def test_equal_texts_are_counted_against_those_that_the_ledger_knows(
    conn: Conn, database: Database
) -> None:
    shows = Shows(chats={"chat": [message("m1")]})
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, shows)
    await known(asking.stage, Op.SEND_FOLLOWUP, reference=None)
    assert await asking.ask(2) == "unknown"

    shows.chats = {"chat": [message("m2"), message("m1")]}
    assert await asking.ask() == "done"
    assert await asking.stage.value("select reference from actions where node_id = 'n0'") == "m2"


async def test_a_chat_that_lost_what_is_known_of_it_proves_nothing(
    conn: Conn, database: Database
) -> None:
    shows = Shows(chats={"chat": [message("m0", "Good day")]})
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, shows)
    await known(asking.stage, Op.SEND_FOLLOWUP, reference="m1", text="Before")
    assert await asking.ask(4) == "unknown"

    shows.chats = {"chat": [message("m1", "Before"), message("m0", "Good day")]}
    assert await asking.ask(2) == "absent"


async def test_no_chat_proves_nothing_where_the_ledger_knows_of_one(
    conn: Conn, database: Database
) -> None:
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, Shows(others={"x": []}))
    await known(asking.stage, Op.SEND_FOLLOWUP, reference="m1", text="Before")

    assert await asking.ask(4) == "unknown"


async def test_no_chat_proves_nothing_while_the_account_signed_in_lately(
    conn: Conn, database: Database
) -> None:
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, Shows(others={"x": []}))
    await asking.stage.change("connected_accounts", store_since=NOW)

    assert await asking.ask() == "unknown"
    assert await asking.ask() == "unknown"
    assert asking.now == NOW + STORE_FILLS
    assert await asking.ask() == "absent"


async def test_an_account_that_shows_no_chat_at_all_is_believed_a_day_later(
    conn: Conn, database: Database
) -> None:
    asking = await scene(conn, database, Op.SEND_FOLLOWUP)

    assert await asking.ask(10) == "unknown"
    assert await asking.reason() == "the account shows no chat at all"
    assert await asking.ask(2, after=DAY) == "absent"


@pytest.mark.parametrize(("shown", "state"), [(["a", "b", "c"], "absent"), (["c"], "unknown")])
async def test_no_chat_is_believed_only_where_those_with_other_people_are_there(
    conn: Conn, database: Database, shown: list[str], state: str
) -> None:
    others = {chat: [message(f"of-{chat}")] for chat in shown}
    stage_shows = Shows(others=others)
    asking = await scene(conn, database, Op.SEND_FOLLOWUP, stage_shows)
    await chats_with_others(asking.stage, "a", "b", "c")

    assert await asking.ask(8) == state


async def chats_with_others(stage: Stage, *chats: str) -> None:
    """Let the account have chats with others, a known message in each."""
    for chat in chats:
        await stage.conn.execute(
            "with person as (insert into people (organization_id, id)"
            " values (%(organization)s, gen_random_uuid()) returning id),"
            " lead as (insert into leads (organization_id, id, list_id, identity,"
            " public_identifier, row_number, person_id)"
            " select %(organization)s, id, (select list_id from leads limit 1), %(chat)s,"
            " %(chat)s, 1, id from person returning id),"
            " contact as (insert into contacts (organization_id, account_id, person_id, chat_id)"
            " select %(organization)s, %(account)s, id, %(chat)s from person)"
            " insert into actions (organization_id, campaign_id, lead_id, account_id, token,"
            " intended_at, bucket_at, node_id, operation, budgets, target, text, state, reference,"
            " settled_at, number, person_id)"
            " select %(organization)s, %(campaign)s, id, %(account)s, gen_random_uuid(),"
            " %(at)s, %(at)s, 'n', 'send_followup', '{}', 'p', 'Hi', 'done', %(message)s, %(at)s,"
            " nextval('events_id_seq'), id from lead",
            {
                "organization": stage.organization_id,
                "campaign": stage.campaign_id,
                "account": stage.account,
                "chat": chat,
                "message": f"of-{chat}",
                "at": NOW - DAY,
            },
        )


async def test_the_note_of_an_invitation_is_no_message_of_ours(
    conn: Conn, database: Database
) -> None:
    shows = Shows(chats={"chat": [message("m1", kind="INVITATION")]})
    assert await (await scene(conn, database, Op.SEND_FOLLOWUP, shows)).ask(8) == "absent"


async def test_an_inmail_s_chat_takes_no_message_of_ours(conn: Conn, database: Database) -> None:
    shows = Shows(chats={"inmail": [message("m1", kind="INMAIL")]})
    asking = await scene(conn, database, Op.SEND_INMAIL, shows)

    assert await asking.ask() == "done"
    assert await asking.stage.value("select max(chat_id) from contacts") is None


# --- comments

BY_HAND = [comment(f"h{number}", f"By hand {number}", "elsewhere") for number in range(100)]


async def test_a_comment_is_found_in_our_own_list(conn: Conn, database: Database) -> None:
    asking = await scene(conn, database, Op.COMMENT_POST, Shows(comments=[[comment("c1")]]))

    assert await asking.ask() == "done"
    assert await asking.stage.value("select reference from actions") == "c1"


async def test_a_comment_is_looked_for_page_by_page_back_to_a_known_one(
    conn: Conn, database: Database
) -> None:
    older = comment("c0", "Before", "elsewhere")
    shows = Shows(comments=[BY_HAND, BY_HAND, [older, *BY_HAND]])
    asking = await scene(conn, database, Op.COMMENT_POST, shows)
    await known(asking.stage, Op.COMMENT_POST, reference="c0", target="elsewhere", text="Before")
    before = await asking.stage.used(Budget.POST_READ)

    assert await asking.ask(3) == "unknown"
    assert await asking.stage.used(Budget.POST_READ) == before + 3
    assert await asking.ask(20) == "absent"
    assert len(shows.asked) % 3 == 0


async def test_a_comment_is_never_absent_from_a_list_that_shows_nothing_known(
    conn: Conn, database: Database
) -> None:
    asking = await scene(conn, database, Op.COMMENT_POST, Shows(comments=[BY_HAND]))

    assert await asking.ask(6) == "unknown"
    await asking.ask(2, after=DESPAIR)
    assert (await asking.stage.run())["status"] == "held"

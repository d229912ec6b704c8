"""Whoever answers is left alone, and whom the account's owner writes to: judged by the ledger."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from play import BUSY, RELIABLE, Play, set_up
from test_accidents import line

from clento_engine.domain import authorship
from clento_engine.domain.action import ActionState
from clento_engine.domain.authorship import Author, Written
from clento_engine.provider import decode, webhooks
from clento_engine.runtime import inbox, listen, sweep, ticker, work
from clento_engine.runtime.world import World
from clento_engine.simulator.accounts import resync
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.messaging import reply, write_by_hand, write_to_group
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.world import Reliability
from clento_engine.store import claimed
from clento_engine.store import inbox as stored
from clento_engine.store.database import Database
from clento_engine.store.suppressions import suppressions

START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SILENT = replace(RELIABLE, lost=1.0)  # no webhook comes at all
CONNECTED: Mapping[str, Mapping[str, Any]] = {"ada": {"connected_for": 100 * DAY}}
guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


def messages(*hours: float) -> dict[str, Any]:
    """Make a workflow of messages, so many hours after one another."""
    steps: list[tuple[str, dict[str, object]]] = [
        ("send_followup", {"customMessage": f"Message {number} to {{{{first_name}}}}"})
        for number in range(len(hours) + 1)
    ]
    document = line(*steps)
    for edge, gap in zip(document["edges"], hours, strict=True):
        edge["data"]["delayData"] = {"delay": gap, "unit": "h"}
    return document


async def play_of(
    database: Database,
    document: Mapping[str, Any],
    *,
    reliability: Reliability = RELIABLE,
    people: Mapping[str, Mapping[str, Any]] = CONNECTED,
    **values: Any,
) -> Play:
    return await set_up(
        database,
        document,
        slugs=list(people),
        start=START,
        pace=BUSY,
        hours="always",
        reliability=reliability,
        people=people,
        **values,
    )


def after_first(play: Play, later: timedelta, act: Any, slug: str = "ada") -> None:
    """Have something happen so long after the first message to somebody; once."""
    simulated = play.simulated
    done: list[bool] = []

    def look() -> None:
        landed = [each for each in play.entries(Effect.MESSAGE) if each.slug == slug]
        if landed and not done and simulated.clock() >= landed[0].at + later:
            done.append(True)
            account = next(iter(simulated.accounts.values()))
            act(account, simulated.tie(account, simulated.person(slug)))

    for minute in range(0, 60 * 48, 5):
        simulated.agenda.plan(START + timedelta(minutes=minute), look)


async def outcome(play: Play, slug: str = "ada") -> str | None:
    found: str | None = (await play.leads())[slug]["outcome"]
    return found


def sent(play: Play, slug: str = "ada") -> int:
    return sum(1 for each in play.entries(Effect.MESSAGE) if each.slug == slug)


# --- replies that no webhook told ----------------------------------------------------------------


@guard
async def test_nobody_is_written_to_after_a_reply_that_no_webhook_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """Sweeps are hours apart; the messages a quarter of an hour."""
    play = await play_of(database, messages(0.25, 0.25, 0.25), reliability=SILENT)
    after_first(
        play, timedelta(minutes=5), lambda a, t: reply(play.simulated, a, t, "Tell me more")
    )
    if not is_on:

        async def not_looked(*_given: object) -> None: ...

        monkeypatch.setattr(ticker, "look_first", not_looked)
    await play.run(days=3)
    assert (sent(play) == 1) is is_on
    if is_on:
        assert await outcome(play) == "replied"
        [unit] = await play.rows(
            "select sum(used) as used from rate_counters where operation = 'message'"
        )
        assert unit["used"] == 1  # what was not sent was given back


async def test_where_the_chat_cannot_be_read_the_message_waits(database: Database) -> None:
    play = await play_of(database, messages(1), reliability=SILENT)
    play.simulated.faults.set(
        [
            Rule(FaultKind.UNAVAILABLE, "GET /chats/*/messages"),
            Rule(FaultKind.UNAVAILABLE, "GET /chats/*"),
        ]
    )
    await play.run(days=1)
    assert (sent(play), await outcome(play)) == (1, None)
    [unit] = await play.rows(
        "select sum(used) as used from rate_counters where operation = 'message'"
    )
    assert unit["used"] == 1
    play.simulated.faults.clear()
    assert await play.run(days=3)
    assert (sent(play), await outcome(play)) == (2, "finished")


@guard
async def test_a_reply_that_reaches_the_store_hours_late_is_heard(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    play = await play_of(database, messages(60, 24), reliability=SILENT)
    after_first(
        play,
        HOUR,
        lambda a, t: reply(play.simulated, a, t, "Tell me more", stored_after=30 * HOUR),
    )
    monkeypatch.setattr(ticker, "look_first", _nothing)  # the sweep alone
    if not is_on:
        monkeypatch.setattr(sweep, "OVERLAP", HOUR)
    await play.run(days=10)
    assert (sent(play) == 1) is is_on


async def _nothing(*_given: object) -> None: ...


@guard
@pytest.mark.parametrize("reliability", [RELIABLE, SILENT], ids=["webhooks", "sweeps"])
async def test_a_group_s_message_is_no_reply(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool, reliability: Reliability
) -> None:
    play = await play_of(database, messages(30), reliability=reliability)
    after_first(play, HOUR, lambda a, t: write_to_group(play.simulated, a, t, "Hello all"))
    if not is_on:  # every chat is of two
        monkeypatch.setattr(webhooks, "_is_of_nobody", lambda _payload: False)
        chat = decode.chat_asked
        monkeypatch.setattr(
            decode, "chat_asked", lambda *given: dataclasses.replace(chat(*given), is_group=False)
        )
    assert await play.run(days=5)
    found = (sent(play), await outcome(play))
    assert (found == (2, "finished")) is is_on


@pytest.mark.parametrize("reliability", [RELIABLE, SILENT], ids=["webhooks", "sweeps"])
async def test_a_message_stamped_in_the_future_deafens_nobody(
    database: Database, reliability: Reliability
) -> None:
    play = await play_of(database, messages(30), reliability=reliability, stop_on_reply=False)
    simulated = play.simulated
    far = datetime(2046, 1, 1, tzinfo=UTC)
    after_first(play, HOUR, lambda a, t: reply(simulated, a, t, "Hm", stamp=far))
    after_first(play, 20 * HOUR, lambda a, t: reply(simulated, a, t, "Stop writing to me!"))
    await play.run(days=5)
    assert (sent(play), await outcome(play)) == (1, "suppressed")
    [contact] = await play.rows("select replied_at from contacts")
    assert contact["replied_at"] <= play.clock()


async def test_a_reply_after_the_last_step_is_told_in_history_and_counted(
    database: Database,
) -> None:
    play = await play_of(database, messages())
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, "Tell me more"))
    await play.run(days=2)
    while not play.simulated.ledger.replies or play.simulated.ledger.replies[0].told_at is None:
        await advance(play.simulated, play.simulated.clock() + DAY)
    await inbox.apply_inbox(play.world)
    [lead] = (await play.leads()).values()
    assert (lead["outcome"], lead["replied"]) == ("finished", True)
    told = await play.rows("select kind from history where kind = 'Replied'")
    assert len(told) == 1


# --- what the owner writes by hand ---------------------------------------------------------------


@guard
@pytest.mark.parametrize("reliability", [RELIABLE, SILENT], ids=["webhooks", "reads"])
async def test_whom_the_owner_writes_to_is_left_to_the_owner(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool, reliability: Reliability
) -> None:
    play = await play_of(database, messages(3, 3), reliability=reliability)
    after_first(play, HOUR, lambda a, t: write_by_hand(play.simulated, a, t, "Shall we talk?"))
    if not is_on:  # all that an account wrote is taken for the engine's
        monkeypatch.setattr(inbox, "author", lambda *_given: Author.ENGINE)
    await play.run(days=3)
    assert (sent(play) == 1) is is_on
    verdict = await play.verdict()
    assert (verdict.after_owner == ()) is is_on
    assert (await outcome(play) == "taken_over") is is_on


@guard
async def test_nobody_is_written_to_while_the_owner_s_message_waits_in_the_inbox(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """It was stored, and whoever applies it is slow."""
    play = await play_of(database, messages(3))
    later = 3 * HOUR - timedelta(minutes=8)
    after_first(play, later, lambda a, t: write_by_hand(play.simulated, a, t, "Shall we talk?"))
    if not is_on:
        monkeypatch.setattr(claimed, "_is_unheard", lambda _lane, head: head["is_unheard"])
    applies = inbox.apply_inbox

    async def slowly(world: World, **given: Any) -> int:
        first = play.entries(Effect.MESSAGE)[:1]
        passed = play.clock() - first[0].at if first else timedelta(0)
        is_slow = HOUR < passed < 3 * HOUR + timedelta(minutes=5)
        return 0 if is_slow else await applies(world, **given)

    monkeypatch.setattr(work, "apply_inbox", slowly)
    await play.run(days=1)
    assert (sent(play) == 1) is is_on
    assert ((await play.verdict()).after_owner == ()) is is_on
    if is_on:
        assert await outcome(play) == "taken_over"


async def test_a_campaign_may_go_on_beside_its_owner(database: Database) -> None:
    play = await play_of(database, messages(3))
    async with database.connection() as conn:
        await conn.execute("update campaigns set stop_on_own_message = false")
    after_first(play, HOUR, lambda a, t: write_by_hand(play.simulated, a, t, "Shall we talk?"))
    assert await play.run(days=3)
    assert (sent(play), await outcome(play)) == (2, "finished")


@pytest.mark.parametrize(
    "reliability",
    [
        RELIABLE,
        SILENT,
        replace(RELIABLE, duplicated=1.0),
        replace(RELIABLE, null_ids=1.0),
        replace(RELIABLE, visible_after=timedelta(hours=2)),
        replace(RELIABLE, stamps_behind=timedelta(minutes=5)),
    ],
    ids=["all", "no webhooks", "twice", "without ids", "late", "clock behind"],
)
async def test_what_the_engine_wrote_is_never_taken_for_the_owner_s(
    database: Database, reliability: Reliability
) -> None:
    people = {f"person-{number}": CONNECTED["ada"] for number in range(6)}
    play = await play_of(database, messages(1, 12, 24), reliability=reliability, people=people)
    play.simulated.faults.set(
        [
            Rule(FaultKind.RESET, "POST /chats*", share=0.4, after_effect=True, times=5),
            Rule(FaultKind.RESET, "POST /chats/*/messages", share=0.4, after_effect=True, times=5),
        ]
    )
    account = next(iter(play.simulated.accounts.values()))
    play.simulated.agenda.plan(
        START + 8 * HOUR, lambda: resync(play.simulated, account, HOUR, is_silent=True)
    )
    assert await play.run(days=20)
    assert {lead["outcome"] for lead in (await play.leads()).values()} == {"finished"}


OURS = Written("m-1", "Hello  Ada", ActionState.DONE, START, START + timedelta(seconds=3))
OPEN = Written(None, "And again", ActionState.INTENDED, START + DAY, None)
NAMELESS = Written(None, "Hello", ActionState.DONE, START, START + timedelta(seconds=3))


@pytest.mark.parametrize(
    ("ids", "text", "at", "ledger", "whose"),
    [
        ({"m-1"}, "changed", START, [OURS], Author.ENGINE),  # by its id, settled before it came
        ({"x"}, "Hello Ada", START, [OURS], Author.ENGINE),  # by its text, under whatever id
        ({"x"}, "And again", START, [OURS, OPEN], Author.ENGINE),  # it came before settle
        ({"x"}, "changed", START + DAY, [OURS, OPEN], Author.UNCLEAR),  # wait for settle
        ({"x"}, "changed", START + HOUR, [OURS], Author.OWNER),
        ({"x"}, "changed", START + timedelta(minutes=5), [NAMELESS], Author.ENGINE),
        ({"x"}, "by hand", START + HOUR, [NAMELESS], Author.OWNER),
        ({"x"}, "by hand", START, [], Author.OWNER),
    ],
)
def test_whose_message_it_is(
    ids: set[str], text: str, at: datetime, ledger: list[Written], whose: Author
) -> None:
    assert authorship.author(ids, authorship.digest(text), at, ledger) is whose


# --- opt-out -------------------------------------------------------------------------------------


@guard
@pytest.mark.parametrize("reliability", [RELIABLE, SILENT], ids=["webhooks", "reads"])
async def test_who_asks_to_be_left_alone_is_suppressed(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool, reliability: Reliability
) -> None:
    play = await play_of(database, messages(3), reliability=reliability, stop_on_reply=False)
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, "¡No me contactes más!"))
    if not is_on:
        for heard in (inbox, webhooks):  # as it is told, and as it is read
            monkeypatch.setattr(heard, "is_opt_out", lambda *_given: False)
    await play.run(days=3)
    async with database.connection() as conn:
        found = await suppressions(conn, play.organization_id, play.clock())
    assert bool(found) is is_on
    assert ((await outcome(play), sent(play)) == ("suppressed", 1)) is is_on
    stored_texts = await play.rows(
        "select 1 from inbox_events"
        " where payload ? 'was_read' and payload::text like '%%contactes%%'"
    )
    assert stored_texts == []


async def test_when_an_account_was_heard_is_written_once_a_minute(database: Database) -> None:
    play = await play_of(database, messages())
    relation = {"event": "new_relation", "account_id": "acc_1", "user_provider_id": "ACoAAnobody"}
    seen = []
    for second in (0, 30, 61):
        play.clock.move_to(START + timedelta(seconds=second))
        await inbox.receive(play.world, relation)
        [row] = await play.rows("select heard_at from connected_accounts")
        seen.append((row["heard_at"] - START).total_seconds())
    assert seen == [0, 0, 61]
    assert stored.HEARD_EVERY < listen.HEARD_LATELY

"""Accidents of the world around the engine, judged by the simulator's own ledger.

Each of these reached people twice, or passed a limit, before absence was proved by what is there.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from play import BUSY, PLAIN, RELIABLE, Play, set_up

from clento_engine.domain import absence
from clento_engine.provider.port import Message, Sent
from clento_engine.runtime import act as acting
from clento_engine.runtime import question
from clento_engine.simulator.accounts import resync
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.judge import crowded
from clento_engine.simulator.ledger import Effect, Read
from clento_engine.simulator.posts import comment_by_hand, written_by
from clento_engine.simulator.world import Reliability
from clento_engine.store.database import Database

START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
PEOPLE = [f"person-{number}" for number in range(10)]
CONNECTED = {slug: {"connected_for": timedelta(days=100)} for slug in PEOPLE}
SPACING = timedelta(seconds=30)  # the least of any budget's


def line(*steps: tuple[str, dict[str, object]]) -> dict[str, Any]:
    """Make an editor's document of steps in a row, a quarter of an hour apart."""
    names = [f"n{place}" for place in range(len(steps))]
    return {
        "nodes": [
            {"id": name, "type": "action", "data": {"type": kind, "config": config}}
            for name, (kind, config) in zip(names, steps, strict=True)
        ],
        "edges": [
            {
                "id": f"{one}-{other}",
                "source": one,
                "target": other,
                "data": {"delayData": {"delay": 15, "unit": "m"}},
            }
            for one, other in pairwise(names)
        ],
    }


MESSAGE = line(("send_followup", {"customMessage": "Hello {{first_name}}"}))
TWO_MESSAGES = line(
    ("send_followup", {"customMessage": "Hello {{first_name}}"}),
    ("send_followup", {"customMessage": "And again, {{first_name}}"}),
)
COMMENT = line(("comment_post", {"customComment": "Well said", "recentPostDays": 60}))


async def play_of(
    database: Database,
    document: Mapping[str, Any],
    *,
    reliability: Reliability = RELIABLE,
    people: Mapping[str, Mapping[str, Any]] = CONNECTED,
    **values: Any,
) -> Play:
    """Set a campaign up whose leads begin as fast as the account allows."""
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


def lose_answers(play: Play, route: str, times: int, *, landed: bool = True) -> None:
    """Have the answers to so many requests lost, after their effect or before it."""
    rule = Rule(FaultKind.RESET, route, times=times, after_effect=landed)
    play.simulated.faults.set([rule])


def times_reached(play: Play, effect: Effect) -> Counter[str]:
    return Counter(entry.slug for entry in play.entries(effect))


guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


@guard
async def test_nobody_is_written_to_twice_by_a_host_whose_clock_is_ahead_of_the_provider(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    behind = replace(RELIABLE, stamps_behind=timedelta(minutes=5))
    play = await play_of(database, MESSAGE, reliability=behind)
    lose_answers(play, "POST /chats*", 10)
    if not is_on:  # judge by our clock against the provider's stamps
        is_ours = question._is_ours

        def lately(message: Message, *, inmail: bool) -> bool:
            is_new = message.sent_at > play.clock() - timedelta(minutes=4)
            return is_new and is_ours(message, inmail=inmail)

        monkeypatch.setattr(question, "_is_ours", lately)

    assert await play.run() or not is_on
    once = times_reached(play, Effect.MESSAGE) == dict.fromkeys(PEOPLE, 1)
    assert once is is_on


async def test_a_message_that_did_not_land_is_sent_once(database: Database) -> None:
    play = await play_of(database, TWO_MESSAGES)
    lose_answers(play, "POST /chats*", 5, landed=False)

    assert await play.run()
    assert times_reached(play, Effect.MESSAGE) == dict.fromkeys(PEOPLE, 2)


@guard
@pytest.mark.parametrize("empty_lists", [True, False], ids=["empty lists", "not found"])
@pytest.mark.parametrize("document", [MESSAGE, TWO_MESSAGES], ids=["first", "second message"])
async def test_an_empty_store_after_a_reconnect_is_no_proof_that_nothing_was_sent(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    document: Mapping[str, Any],
    empty_lists: bool,
    is_on: bool,
) -> None:
    """The provider shows none of the account's chats for a while; no webhook told of it."""
    sparse = replace(RELIABLE, empty_lists=empty_lists, lost=1.0)
    play = await play_of(database, document, reliability=sparse)
    lose_answers(play, "POST /chats*", 10)
    account = next(iter(play.simulated.accounts.values()))
    play.simulated.agenda.plan(
        START + timedelta(minutes=3),
        lambda: resync(play.simulated, account, timedelta(hours=3), is_silent=True),
    )
    if not is_on:

        async def none(_question: object) -> None: ...

        monkeypatch.setattr(question.Question, "_doubt_of_store", none)

    assert await play.run() or not is_on
    messages = len(document["nodes"])
    once = times_reached(play, Effect.MESSAGE) == dict.fromkeys(PEOPLE, messages)
    assert once is is_on


async def test_a_comment_is_found_behind_a_hundred_comments_of_others(
    database: Database,
) -> None:
    busy = replace(PLAIN, others_comment=110, others_within=timedelta(minutes=5))
    play = await play_of(database, COMMENT, chances=busy)
    lose_answers(play, "POST /posts/*/comments", 10)

    assert await play.run()
    assert set(times_reached(play, Effect.COMMENT).values()) == {1}
    assert len(times_reached(play, Effect.COMMENT)) == len(PEOPLE)


@guard
async def test_a_comment_is_found_behind_a_hundred_that_the_owner_wrote_by_hand(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    play = await play_of(database, COMMENT, people={"person-0": CONNECTED["person-0"]})
    lose_answers(play, "POST /posts/*/comments", 1)
    simulated = play.simulated
    account = next(iter(simulated.accounts.values()))
    post = written_by(simulated, simulated.person("somebody"))[0]

    def crowd_the_post() -> None:
        if play.entries(Effect.COMMENT) and len(account.member.remarks) == 1:
            for number in range(110):
                comment_by_hand(simulated, account, post.social_id, f"By hand {number}")

    for seconds in range(0, 600, 10):  # right after ours landed
        simulated.agenda.plan(START + timedelta(seconds=seconds), crowd_the_post)
    if not is_on:  # take the first page for all there is
        whole = absence.comment

        def first_page(*given: Any, **named: Any) -> object:
            verdict = whole(*given, **named)
            return verdict if isinstance(verdict, absence.Found) else absence.Absent()

        monkeypatch.setattr(absence, "comment", first_page)

    assert await play.run() or not is_on
    assert (times_reached(play, Effect.COMMENT)["person-0"] == 1) is is_on


@guard
async def test_reconcile_s_reads_keep_limits_and_gaps_like_any_other(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    many = {f"person-{number}": CONNECTED["person-1"] for number in range(60)}
    play = await play_of(database, COMMENT, people=many)
    play.simulated.faults.set(
        [
            Rule(FaultKind.RESET, "POST /posts/*/comments", share=0.5, after_effect=True),
            Rule(FaultKind.UNAVAILABLE, "GET /users/*/comments", share=0.5),
        ]
    )
    if not is_on:

        async def at_once(*_given: object) -> None: ...

        monkeypatch.setattr(question, "reserve", at_once)

    await play.run(days=12)
    verdict = await play.verdict()
    assert verdict.duplicates == ()
    lost = play.simulated.faults.applied[FaultKind.RESET]  # each asks, once or more
    assert len(play.simulated.ledger.reads["acc_1"][Read.COMMENTS]) >= lost > len(many) // 3
    close = list(crowded(play.simulated.ledger, SPACING))
    assert (not verdict.over_cap and not close) is is_on


@guard
async def test_an_invitation_whose_id_nobody_told_is_withdrawn_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """Its answer had no id, and the list of pending ones names people by their slugs alone."""
    document = line(("send_connection_request", {}), ("withdraw_request", {}))
    slugs_only = replace(RELIABLE, pending_by_slug_only=True)
    strangers: dict[str, Mapping[str, Any]] = {slug: {} for slug in PEOPLE}
    play = await play_of(database, document, reliability=slugs_only, people=strangers)
    play.simulated.faults.set([Rule(FaultKind.NULL_IDS, "POST /users/invite")])
    if not is_on:  # an invitation that is not found is taken to be gone

        async def gone(*_given: object) -> Sent:
            return Sent()

        monkeypatch.setattr(acting, "_withdraw", gone)

    assert await play.run()
    assert times_reached(play, Effect.INVITATION) == dict.fromkeys(PEOPLE, 1)
    account = next(iter(play.simulated.accounts.values()))
    assert bool(account.member.pending) is not is_on
    if is_on:
        assert times_reached(play, Effect.WITHDRAW) == dict.fromkeys(PEOPLE, 1)
        assert list(crowded(play.simulated.ledger, SPACING)) == []

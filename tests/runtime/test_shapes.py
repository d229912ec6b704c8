"""Answers of a wrong size or shape, and what nobody foresaw: each costs its own step and no other.

Judged by the simulator's own ledger; each guard is switched off as well.
"""

import logging
import random
from collections import Counter
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from play import BUSY, Play, set_up
from test_accidents import (
    CONNECTED,
    MESSAGE,
    PEOPLE,
    START,
    TWO_MESSAGES,
    guard,
    lose_answers,
    play_of,
    times_reached,
)

from clento_engine.domain import execution as ex
from clento_engine.domain.execution import Outcome
from clento_engine.domain.failure import Failure, Skip
from clento_engine.domain.report import Report
from clento_engine.provider import answers, decode
from clento_engine.provider.port import Profile, Sent
from clento_engine.runtime import act as acting
from clento_engine.runtime import names, question, reconcile, ticker
from clento_engine.runtime.errors import ClockSkew
from clento_engine.runtime.world import settled
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.ledger import Effect
from clento_engine.store.apart import settle_apart
from clento_engine.store.database import Database

CULPRIT = "person-3"
OTHERS = [slug for slug in PEOPLE if slug != CULPRIT]
# Of no pattern that would be compressed away: what is in an index has 2,704 bytes at most.
LONG_ID = random.Random(12).randbytes(4_096).hex()  # noqa: S311  as said


def poison(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one person's profile answer an id of 8 KB."""
    read = decode.profile

    def profile(body: Any) -> Profile:
        if body.get("public_identifier") == CULPRIT:
            body = {**body, "provider_id": LONG_ID}
        return read(body)

    monkeypatch.setattr(decode, "profile", profile)


async def test_an_id_of_8_kb_is_not_learned_and_costs_nobody_else_a_step(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = await play_of(database, MESSAGE)
    poison(play, monkeypatch)

    assert await play.run()
    assert times_reached(play, Effect.MESSAGE) == dict.fromkeys(OTHERS, 1)
    assert await play.rows("select 1 from contacts where length(provider_id) > 200") == []
    assert (await play.leads())[CULPRIT]["reason"] == "answer not understood: field provider_id"


@guard
async def test_a_batch_that_the_database_refuses_holds_its_culprit_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    play = await play_of(database, MESSAGE)
    poison(play, monkeypatch)
    monkeypatch.setattr(decode, "is_id", lambda _: True)  # should another room let one in
    if not is_on:

        async def whole(_conn: Any, _reports: Any, error: Exception, **_named: Any) -> None:
            raise error

        monkeypatch.setattr(ticker, "settle_apart", whole)
        monkeypatch.setattr(names, "is_of_a_report", lambda _: False)
        with pytest.raises(Exception, match="index row"):
            await play.run()
        return

    await play.run(days=3)
    assert times_reached(play, Effect.MESSAGE) == dict.fromkeys(OTHERS, 1)
    leads = await play.leads()
    assert [slug for slug, lead in leads.items() if lead["status"] == "held"] == [CULPRIT]
    assert leads[CULPRIT]["reason"] == (
        "the step is done, but what it brought cannot be stored: ProgramLimitExceeded"
    )


async def test_a_sweep_s_batch_that_the_database_refuses_holds_its_culprit_alone(
    database: Database,
) -> None:
    play = await play_of(database, TWO_MESSAGES)
    await play.run(days=0.001)
    leads = await play.leads()
    reports = [
        Report.of_news(
            play.organization_id,
            play.campaign_id,
            lead["lead_id"],
            lead["account_id"],
            event=ex.Unknowable(LONG_ID) if slug == CULPRIT else ex.Replied(),
        )
        for slug, lead in leads.items()
    ]
    done = await settled(play.world, reports, play.clock(), "sweep")
    assert done.applied == len(PEOPLE)
    leads = await play.leads()
    assert Counter(lead["outcome"] for lead in leads.values()) == {
        Outcome.REPLIED: len(OTHERS),
        None: 1,
    }
    assert leads[CULPRIT]["status"] == "held"


async def test_a_lost_database_holds_nobody(database: Database) -> None:
    play = await play_of(database, MESSAGE)
    error = OSError("gone")
    async with database.connection() as conn:
        with pytest.raises(OSError, match="gone"):
            await settle_apart(conn, [], error, now=play.clock(), actor="ticker")


@guard
async def test_what_nobody_foresaw_is_an_unknown_outcome_of_that_step_alone(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_on: bool,
) -> None:
    play = await play_of(database, MESSAGE)
    provider: Any = play.world.provider
    send = provider.start_chat
    failed = 0

    async def start_chat(account: str, provider_id: str, text: str) -> Sent | Failure:
        nonlocal failed
        if CULPRIT.title() in text and not failed:
            failed += 1
            raise RuntimeError(text)
        answer: Sent | Failure = await send(account, provider_id, text)
        return answer

    monkeypatch.setattr(provider, "start_chat", start_chat)
    if not is_on:

        def raised(_item: object, error: Exception, _now: object) -> None:
            raise error

        monkeypatch.setattr(acting, "_unforeseen", raised)
        with pytest.raises(RuntimeError):
            await play.run()
        return

    with caplog.at_level(logging.ERROR):
        assert await play.run()
    assert times_reached(play, Effect.MESSAGE) == dict.fromkeys(PEOPLE, 1)
    [told] = [record for record in caplog.records if record.message == "step failed by a defect"]
    assert "start_chat" in told.__dict__["trace"]
    assert CULPRIT.title() not in str(told.__dict__)  # no text of a message is logged


async def test_a_clock_that_jumped_still_ends_the_tick(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = await play_of(database, MESSAGE)

    async def start_chat(*_given: object) -> Sent:
        raise ClockSkew(timedelta(minutes=3))

    monkeypatch.setattr(play.world.provider, "start_chat", start_chat)
    with pytest.raises(ClockSkew):
        await play.run()


@guard
async def test_a_question_that_keeps_failing_ends_held(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    play = await play_of(database, MESSAGE)
    lose_answers(play, "POST /chats*", 1)
    asked: list[object] = []

    async def fails(question: Any) -> None:
        asked.append(question)
        raise LookupError("nobody knows why")

    monkeypatch.setattr(question.Question, "ask", fails)
    if not is_on:  # ask again and again, and tell nobody
        monkeypatch.setattr(reconcile, "DESPAIR", timedelta(days=1_000))

    await play.run(days=5)
    held = [lead for lead in (await play.leads()).values() if lead["status"] == "held"]
    assert bool(held) is is_on
    assert len(times_reached(play, Effect.MESSAGE)) == len(PEOPLE)
    assert 5 < len(asked) < 40
    if is_on:
        [lead] = held
        assert lead["reason"].endswith("cannot be found out: asking fails: LookupError")


def rename_chats(play: Play) -> None:
    """Give every chat another id, as a reconnected account's store does; the old ones are gone."""
    simulated = play.simulated
    for account in simulated.accounts.values():
        for chat in account.member.chats:
            del simulated.store.chats[chat.ids[account.id]]
            chat.ids[account.id] = f"new-{chat.ids[account.id]}"
            simulated.store.chats[chat.ids[account.id]] = chat


@guard
@pytest.mark.parametrize("as_id", ["new", "."])
async def test_a_chat_that_is_gone_is_opened_anew_by_person(
    database: Database, monkeypatch: pytest.MonkeyPatch, as_id: str, is_on: bool
) -> None:
    people = {f"person-{number}": CONNECTED["person-1"] for number in range(20)}
    document = deepcopy(TWO_MESSAGES)
    document["edges"][0]["data"]["delayData"] = {"delay": 1, "unit": "d"}
    play = await set_up(
        database,
        document,
        slugs=list(people),
        start=START,
        pace=BUSY,
        hours="always",
        people=people,
    )
    await play.run(days=0.5)
    if as_id == "new":
        rename_chats(play)
    else:
        async with database.connection() as conn:
            await conn.execute("update contacts set chat_id = %s", (as_id,))
    waiting = [slug for slug, sent in times_reached(play, Effect.MESSAGE).items() if sent == 1]
    assert waiting == list(people)
    if not is_on:
        monkeypatch.setattr(acting, "_by_chat", lambda _item: False)

    assert await play.run()
    twice = times_reached(play, Effect.MESSAGE) == dict.fromkeys(people, 2)
    assert twice is is_on
    if is_on:
        known = await play.rows(
            "select k.chat_id from contacts k join leads p using (organization_id, person_id)"
            " where p.identity = any(%s)",
            waiting,
        )
        assert {row["chat_id"] in play.simulated.store.chats for row in known} == {True}


@guard
@pytest.mark.parametrize("kind", ["invalid_parameters", "too_many_characters", "malformed_request"])
async def test_a_step_that_we_asked_for_wrongly_is_held_and_not_passed_over(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str, is_on: bool
) -> None:
    play = await play_of(database, MESSAGE)
    play.simulated.faults.set([Rule(FaultKind.REFUSAL, "POST /chats*", times=1, type=kind)])
    if not is_on:
        monkeypatch.setattr(answers, "_ours", lambda reason: Skip(reason, alert=True))

    await play.run(days=1)
    leads = (await play.leads()).values()
    held = [lead for lead in leads if lead["status"] == "held"]
    assert bool(held) is is_on
    assert len(times_reached(play, Effect.MESSAGE)) == len(PEOPLE) - 1
    if is_on:
        [lead] = held
        assert kind in lead["reason"]
        lifted = Report.of_release(
            play.organization_id,
            play.campaign_id,
            lead["lead_id"],
            lead["account_id"],
            ticket=None,
            skip=False,
        )
        await settled(play.world, [lifted], play.clock(), "operator")
        assert await play.run()
        assert times_reached(play, Effect.MESSAGE) == dict.fromkeys(PEOPLE, 1)

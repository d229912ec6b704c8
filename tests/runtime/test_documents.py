"""The four documents of the editors, run to their end as their table says."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from play import HOURS, ZONES, set_up

from clento_engine.domain.account import Tier
from clento_engine.domain.schedule import opens_at, parse_hours
from clento_engine.simulator.ledger import Effect
from clento_engine.store.database import Database

DOCUMENTS = Path(__file__).parents[1] / "domain" / "test_editor_samples"
START = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)  # a Monday, before opening
SOON = timedelta(minutes=30)  # the account's own gaps


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCUMENTS / name).read_text(encoding="utf-8"))
    return found


def opening(at: datetime) -> datetime:
    return opens_at(parse_hours(HOURS), at, ZONES[0])


async def test_01_runs_its_five_actions_in_order_whatever_its_labels_say(
    database: Database,
) -> None:
    play = await set_up(
        database,
        document("01_linear.json"),
        start=START,
        slugs=["ada"],
        people={"ada": {"posts": 6}},
    )
    account = next(iter(play.simulated.accounts.values()))
    play.simulated.befriend(account, play.simulated.person("ada"))
    assert await play.run()
    steps = play.reached("ada")
    assert [operation for operation, _ in steps] == ["visit", "like", "comment", "message"]
    (_, visited), (_, liked), (_, commented), (_, wrote) = steps
    assert timedelta(minutes=15) <= liked - visited <= timedelta(minutes=15) + SOON
    assert opening(liked + timedelta(days=1)) <= commented <= liked + timedelta(days=1) + SOON
    assert wrote >= commented + timedelta(days=2)
    sent = play.entries(Effect.MESSAGE)[0].text
    assert sent is not None
    assert sent.startswith("Hi Ada,\n\nwe have been")
    assert sent.count("\n\n") == 2, "line breaks are kept"
    assert [notice["nodeId"] for _, notice in play.notices] == ["webhook-1768200021055"]
    assert play.notices[0][0] - wrote < SOON, "a delay of 0 is no delay"
    assert (await play.leads())["ada"]["outcome"] == "finished"
    assert (await play.verdict()).is_clean


async def test_02_withdraws_after_seven_days_and_then_visits_and_reports(
    database: Database,
) -> None:
    play = await set_up(
        database,
        document("02_accepted_not_accepted_tree.json"),
        start=START,
        slugs=["never"],
        people={"never": {"posts": 6, "accepts_after": None}},
    )
    assert await play.run()
    steps = play.reached("never")
    assert [operation for operation, _ in steps] == [
        "visit",
        "like",
        "comment",
        "invitation",
        "withdraw",
        "visit",
    ]
    at = dict(steps[3:5])
    due = opening(at["invitation"] + timedelta(days=7))
    assert due <= at["withdraw"] <= due + SOON, "seven days after the request, in working hours"
    visited = steps[5][1]
    assert visited >= at["withdraw"] + timedelta(days=2), "and the path goes on after it"
    assert [notice["nodeId"] for _, notice in play.notices] == ["webhook-1768203646321"]
    assert (await play.verdict()).is_clean


async def test_02_follows_up_three_times_once_the_request_is_accepted(database: Database) -> None:
    play = await set_up(
        database,
        document("02_accepted_not_accepted_tree.json"),
        start=START,
        slugs=["quick"],
        people={"quick": {"posts": 6, "accepts_after": timedelta(hours=3)}},
    )
    assert await play.run()
    steps = play.reached("quick")
    assert [operation for operation, _ in steps] == [
        "visit",
        "like",
        "comment",
        "invitation",
        "message",
        "message",
        "message",
    ]
    invited, first, second, third = (at for _, at in steps[3:])
    accepted = invited + timedelta(hours=3)
    due = opening(accepted + timedelta(minutes=15))
    exact = timedelta(milliseconds=1)  # to which the provider gives its times
    assert due - exact <= first <= due + SOON, (
        "the note's echo tells at once, and the delay counts from it"
    )
    assert opening(first + timedelta(days=2)) <= second
    assert opening(second + timedelta(weeks=1)) <= third
    assert [notice["nodeId"] for _, notice in play.notices] == ["webhook-1768203633688"]
    assert play.notices[0][1]["lead"]["firstName"] == "Quick"
    assert (await play.verdict()).is_clean


async def test_03_sends_the_inmail_eleven_days_after_the_request(database: Database) -> None:
    play = await set_up(
        database,
        document("03_inmail_fallback.json"),
        start=START,
        slugs=["silent"],
        tier=Tier.PREMIUM,
        people={"silent": {"accepts_after": None, "takes_inmail": True}},
    )
    assert await play.run()
    steps = play.reached("silent")
    assert [operation for operation, _ in steps] == ["visit", "invitation", "withdraw", "inmail"]
    at = dict(steps)
    withdrawn_due = opening(at["invitation"] + timedelta(days=10))
    assert withdrawn_due <= at["withdraw"] <= withdrawn_due + SOON
    inmail_due = opening(at["withdraw"] + timedelta(days=1))
    assert inmail_due <= at["inmail"] <= inmail_due + SOON
    days = (at["inmail"].date() - at["invitation"].date()).days
    assert days == 11, "the system this replaces never sent it"
    assert len(play.notices) == 1
    assert play.notices[0][0] >= at["inmail"] + timedelta(days=5)
    assert (await play.verdict()).is_clean


async def test_03_passes_over_the_step_that_ai_should_have_written(database: Database) -> None:
    play = await set_up(
        database,
        document("03_inmail_fallback.json"),
        start=START,
        slugs=["keen"],
        people={"keen": {"accepts_after": timedelta(hours=1)}},
    )
    assert await play.run()
    assert [operation for operation, _ in play.reached("keen")] == [
        "visit",
        "invitation",
        "message",
    ]
    skipped = await play.rows("select node_id from history where result = 'skipped'")
    assert [row["node_id"] for row in skipped] == ["send_followup-1768207216844"]
    assert (await play.leads())["keen"]["outcome"] == "finished"


async def test_04_runs_the_older_editors_document(database: Database) -> None:
    play = await set_up(
        database,
        document("04_older_editor_dialect.json"),
        start=START,
        slugs=["friend", "stranger"],
        people={
            "friend": {"posts": 6, "accepts_after": timedelta(hours=2)},
            "stranger": {"posts": 6, "accepts_after": None},
        },
    )
    assert await play.run()
    assert [operation for operation, _ in play.reached("friend")] == [
        "visit",
        "like",
        "invitation",
        "message",
    ]
    assert [operation for operation, _ in play.reached("stranger")] == [
        "visit",
        "like",
        "invitation",
        "withdraw",
    ]
    note = next(each.text for each in play.entries(Effect.INVITATION) if each.slug == "friend")
    assert note == (
        "Hi Friend, your work as CTO at Acme is close to what we build. Open to connecting?"
    )
    assert len(play.notices) == 1
    assert (await play.verdict()).is_clean

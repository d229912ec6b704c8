"""One person is one person, under whatever names, lists, campaigns and senders: by the ledger."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from play import BUSY, Play, list_identity, set_up
from test_accidents import MESSAGE, START, line

from clento_engine.domain.editor import read_workflow
from clento_engine.domain.lead import LeadRow
from clento_engine.domain.schedule import parse_hours
from clento_engine.runtime import names
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.people import provider_id
from clento_engine.store.campaigns import create_campaign, start_campaign
from clento_engine.store.contactable import left_out
from clento_engine.store.database import Database
from clento_engine.store.errors import LeftOut
from clento_engine.store.leads import import_leads
from clento_engine.store.suppressions import suppress
from clento_engine.store.workflows import save_workflow

SLUGS = ("ada", "bert", "cleo")
IDS = tuple(provider_id(7, slug) for slug in SLUGS)
BOTH = [name for pair in zip(SLUGS, IDS, strict=True) for name in pair]
FRIENDS = {slug: {"connected_for": timedelta(days=100)} for slug in SLUGS}
STRANGERS: dict[str, dict[str, Any]] = {slug: {} for slug in SLUGS}
INVITE = line(
    ("profile_visit", {}),
    ("send_connection_request", {"customMessage": "Hello {{first_name}}"}),
)
ONCE = dict.fromkeys(SLUGS, 1)
guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


async def play_of(
    database: Database,
    document: dict[str, Any],
    people: dict[str, Any],
    listed: Sequence[str],
    **values: Any,
) -> Play:
    return await set_up(
        database,
        document,
        slugs=listed,
        people=people,
        start=START,
        pace=BUSY,
        hours="always",
        **values,
    )


async def run_all(play: Play) -> None:
    """Run every campaign of the organisation to its end."""
    for row in await play.rows("select id from campaigns order by id"):
        play.campaign_id = row["id"]
        assert await play.run()


def reached(play: Play, effect: Effect) -> Counter[str]:
    return Counter(entry.slug for entry in play.entries(effect))


async def outcomes(play: Play) -> Counter[str | None]:
    found = await play.rows("select outcome from campaign_executions")
    return Counter(row["outcome"] for row in found)


async def another(
    play: Play,
    document: dict[str, Any],
    listed: Sequence[str],
    *,
    name: str = "other",
    senders: Sequence[str] = ("acc_1",),
    overlap: bool = False,
    rest: timedelta | None = None,
) -> LeftOut:
    """Start another campaign of the organisation on a list of its own."""
    compiled = read_workflow(document).workflow
    assert compiled is not None
    now, organization_id = play.clock(), play.organization_id
    async with play.database.connection() as conn:
        rows = [LeadRow(n, list_identity(each), first_name="X") for n, each in enumerate(listed, 1)]
        imported = await import_leads(conn, organization_id, name, rows, now)
        version = await save_workflow(conn, organization_id, name, document, compiled)
        campaign_id = await create_campaign(
            conn,
            organization_id,
            name=name,
            workflow_version_id=version,
            list_id=imported.list_id,
            senders=[play.accounts[each] for each in senders],
            hours=parse_hours("always"),
            pace=BUSY,
            overlap=overlap,
            rest=rest,
        )
        await start_campaign(
            conn,
            organization_id,
            campaign_id,
            compiled,
            workflow_version_id=version,
            pace=BUSY,
            start_at=now,
            now=now,
        )
        return await left_out(conn, organization_id, campaign_id, now)


def learn_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the guard off: no answer teaches a name."""

    async def nobody(*_: object) -> int:
        return 0

    monkeypatch.setattr(names, "learn", nobody)


@guard
async def test_a_member_listed_by_slug_and_by_id_gets_each_message_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    if not is_on:
        learn_nothing(monkeypatch)
    play = await play_of(database, MESSAGE, FRIENDS, BOTH)
    await run_all(play)
    assert (reached(play, Effect.MESSAGE) == ONCE) is is_on
    if is_on:
        assert await outcomes(play) == {"finished": 3, "duplicate": 3}
        assert await play.rows("select from people") == [{}, {}, {}]
        assert len(await play.rows("select from person_merges")) == 3


async def test_a_member_listed_twice_in_one_list_is_invited_once(database: Database) -> None:
    play = await play_of(database, INVITE, STRANGERS, BOTH)
    await run_all(play)
    assert reached(play, Effect.INVITATION) == ONCE


async def test_who_is_suppressed_by_address_is_not_invited_by_id(database: Database) -> None:
    play = await play_of(database, INVITE, STRANGERS, IDS)
    async with database.connection() as conn:
        for slug in SLUGS:
            await suppress(conn, play.organization_id, "person", slug, "asked", START)
    await run_all(play)
    assert reached(play, Effect.INVITATION) == {}
    assert await outcomes(play) == {"suppressed": 3}


async def test_nobody_is_invited_by_two_campaigns_whatever_their_names(database: Database) -> None:
    play = await play_of(database, INVITE, STRANGERS, SLUGS, senders=2)
    await another(play, INVITE, IDS, senders=["acc_2"])
    await run_all(play)
    assert reached(play, Effect.INVITATION) == ONCE
    found = await play.rows("select outcome, reason from campaign_executions")
    reasons = {row["reason"] for row in found if row["outcome"] == "duplicate"}
    assert reasons == {"the same person goes on in the campaign c"}


async def test_who_walks_in_another_campaign_is_left_out_at_the_start(database: Database) -> None:
    play = await play_of(database, INVITE, STRANGERS, SLUGS[:2], senders=2)
    told = await another(play, INVITE, ["cleo", *SLUGS[:2]], senders=["acc_2"])
    assert told == LeftOut(0, 0, 0, {"c": 2})
    await run_all(play)
    assert reached(play, Effect.INVITATION) == ONCE


async def test_whoever_allows_an_overlap_reaches_them_again(database: Database) -> None:
    play = await play_of(database, MESSAGE, FRIENDS, SLUGS, senders=2)
    told = await another(play, MESSAGE, IDS, senders=["acc_2"], overlap=True)
    assert told == LeftOut(0, 0, 0, {})
    await run_all(play)
    assert reached(play, Effect.MESSAGE) == dict.fromkeys(SLUGS, 2)


async def test_a_campaign_may_want_people_who_had_a_rest(database: Database) -> None:
    play = await play_of(database, MESSAGE, FRIENDS, SLUGS)
    await run_all(play)
    rested = await another(play, MESSAGE, [*SLUGS, "dora"], rest=timedelta(days=30))
    assert rested == LeftOut(0, 0, 3, {})


async def test_a_slug_that_is_asked_for_and_comes_back_is_theirs_again(database: Database) -> None:
    """It had been given on: that a list has the lead by it says nothing of whose it is by now."""
    play = await play_of(database, MESSAGE, FRIENDS, SLUGS[:2])
    async with database.connection() as conn:
        await conn.execute(
            "insert into person_names select organization_id, v.id, 'id', person_id, now()"
            " from leads join (values ('ada', %s), ('bert', %s)) v(identity, id) using (identity)",
            IDS[:2],
        )
        await conn.execute(
            "update person_names set person_id = (select person_id from leads"
            " where identity = 'bert') where name = 'ada'"
        )
    await run_all(play)
    assert reached(play, Effect.MESSAGE) == dict.fromkeys(SLUGS[:2], 1)
    owners = await play.rows(
        "select n.name from person_names n join leads l using (organization_id, person_id)"
        " where l.identity = 'ada' order by 1"
    )
    assert [row["name"] for row in owners] == [IDS[0], "ada"]

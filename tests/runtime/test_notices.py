"""Notices of what leads do: told to whoever asked, once for each message, whenever it comes."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from play import RELIABLE, Play
from test_inbox import FOLLOWUP, Scene, message, person, set_scene, start_again
from test_replies import DAY, HOUR, SILENT, after_first, guard, messages, play_of

from clento_engine.domain import execution as ex
from clento_engine.domain.authorship import Author
from clento_engine.domain.notice import Notice
from clento_engine.provider.port import Message
from clento_engine.provider.webhooks import message_key
from clento_engine.runtime import inbox, listen
from clento_engine.runtime.act import event_report
from clento_engine.simulator.messaging import reply, write_by_hand
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.world import Reliability
from clento_engine.store import inbox as stored
from clento_engine.store import outbox
from clento_engine.store.accounts import create_organization
from clento_engine.store.database import Conn, Database
from clento_engine.store.outbox import add_endpoint

TEXT = "Tell me more, please"
Json = dict[str, Any]


async def registered(play: Play, **endpoints: tuple[Notice, ...]) -> None:
    async with play.database.connection() as conn:
        for name, notices in endpoints.items():
            url = f"https://{name}.test/in"
            await add_endpoint(conn, play.organization_id, name, name, url, notices)


async def in_outbox(play: Play) -> list[Json]:
    return await play.rows("select * from webhook_deliveries order by created_at, url")


async def wait_for(play: Play, days: float) -> None:
    """Live on after the campaign's end: webhooks come, sweeps read, the outbox is posted."""
    end = play.clock() + timedelta(days=days)
    while play.clock() < end:
        play.clock.move_to((await advance(play.simulated, play.clock() + HOUR)).now)
        await inbox.apply_inbox(play.world)
        await play.outbox.deliver(play.world)


async def test_who_replies_during_the_walk_is_told_of_once(database: Database) -> None:
    play = await play_of(database, messages(3), reliability=replace(RELIABLE, duplicated=1.0))
    await registered(play, crm=(Notice.REPLIED,))
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, TEXT))
    assert await play.run(days=4)
    [row] = await in_outbox(play)
    assert (row["node_id"], row["url"]) == (None, "https://crm.test/in")
    [(_, body)] = play.notices
    assert body == row["payload"]
    [lead] = (await play.leads()).values()
    [account] = play.accounts.items()
    assert body["event"] == "lead.replied"
    assert body["id"] == str(row["id"])
    assert body["campaign"] == {"id": str(play.campaign_id), "name": "c"}
    assert body["lead"]["id"] == str(lead["lead_id"])
    assert body["lead"]["publicIdentifier"] == "ada"
    assert body["execution"]["outcome"] == "replied"
    assert body["sender"] == {"id": str(account[1]), "name": account[0]}
    [contact] = await play.rows("select provider_id, chat_id, replied_at from contacts")
    assert body["contact"] == {"providerId": contact["provider_id"], "chatId": contact["chat_id"]}
    assert body["message"]["id"]
    assert body["message"]["at"] == contact["replied_at"].isoformat()
    assert TEXT not in json.dumps(body)


async def test_who_replies_after_the_last_step_is_told_of_as_well(database: Database) -> None:
    play = await play_of(database, messages())
    await registered(play, crm=(Notice.REPLIED,))
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, TEXT))
    after_first(play, 2 * HOUR, lambda a, t: reply(play.simulated, a, t, "And when?"))
    assert await play.run(days=1)
    await wait_for(play, days=1)
    bodies = [body for _, body in play.notices]
    assert [body["event"] for body in bodies] == ["lead.replied"] * 2  # one for each message
    assert {body["execution"]["outcome"] for body in bodies} == {"finished"}
    assert all(body["execution"]["replied"] for body in bodies)


@pytest.mark.parametrize("reliability", [RELIABLE, SILENT], ids=["webhooks", "sweeps"])
async def test_a_message_heard_by_webhook_and_by_sweep_is_one_notice(
    database: Database, reliability: Reliability
) -> None:
    """A long wait follows, with several sweeps in it that read all of it again."""
    play = await play_of(database, messages(48), reliability=reliability, stop_on_reply=False)
    await registered(play, crm=(Notice.REPLIED,))
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, TEXT))
    assert await play.run(days=6)
    assert len(play.notices) == 1


@guard
async def test_a_message_applied_twice_is_one_notice(
    conn: Conn, database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """As if the mark had never been made, and nothing been learned."""
    scene = await set_scene(conn, database)
    await add_endpoint(
        conn, scene.stage.organization_id, "crm", "crm", "https://crm.test/in", (Notice.REPLIED,)
    )
    if not is_on:
        made_of_it = "r.key), 'UTF8')"
        assert made_of_it in outbox._TELL
        by_chance = outbox._TELL.replace(made_of_it, "gen_random_uuid()), 'UTF8')")
        monkeypatch.setattr(outbox, "_TELL", by_chance)
    await scene.tell(message())
    await conn.execute("update inbox_events set applied_at = null")
    await conn.execute("update contacts set replied_at = null")
    await scene.tell()
    assert (await scene.stage.value("select count(*) from webhook_deliveries") == 1) is is_on


async def test_each_endpoint_is_told_what_it_asked_for_and_no_other(database: Database) -> None:
    play = await play_of(database, messages(3))
    await registered(
        play,
        first=(Notice.REPLIED,),
        second=(Notice.REPLIED, Notice.TAKEN_OVER),
        third=(Notice.TAKEN_OVER,),
        nodes=(),
    )
    async with database.connection() as conn:
        other = await create_organization(conn, "Another")
        await add_endpoint(conn, other, "x", "x", "https://other.test/in", (Notice.REPLIED,))
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, TEXT))
    assert await play.run(days=2)
    rows = await in_outbox(play)
    assert {row["url"] for row in rows} == {"https://first.test/in", "https://second.test/in"}
    assert len(rows) == len({row["id"] for row in rows}) == 2


async def test_where_nobody_asked_nothing_is_told(database: Database) -> None:
    play = await play_of(database, messages(3))
    await registered(play, nodes=())
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, TEXT))
    assert await play.run(days=2)
    assert await in_outbox(play) == []


@guard
async def test_the_owner_who_wrote_by_hand_is_told_of_once_and_no_echo_is(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    people: Mapping[str, Mapping[str, Any]] = {
        name: {"connected_for": 100 * DAY} for name in ("ada", "bert", "cleo")
    }
    play = await play_of(database, messages(3, 3), people=people)
    await registered(play, crm=tuple(Notice))
    if not is_on:  # all that an account wrote is taken for the owner's
        monkeypatch.setattr(inbox, "author", lambda *_given: Author.OWNER)
    for minute in (0, 5):
        after_first(
            play,
            HOUR + timedelta(minutes=minute),
            lambda a, t: write_by_hand(play.simulated, a, t, "Shall we talk?"),
        )
    await play.run(days=3)
    told = [(body["event"], body["lead"]["publicIdentifier"]) for _, body in play.notices]
    assert (told == [("lead.taken_over", "ada")]) is is_on


async def test_where_the_owner_may_write_beside_the_campaign_nobody_is_taken_over(
    database: Database,
) -> None:
    play = await play_of(database, messages(3))
    await registered(play, crm=tuple(Notice))
    async with database.connection() as conn:
        await conn.execute("update campaigns set stop_on_own_message = false")
    after_first(play, HOUR, lambda a, t: write_by_hand(play.simulated, a, t, "Shall we talk?"))
    assert await play.run(days=3)
    assert play.notices == []


async def test_who_asks_to_be_left_alone_is_told_of(database: Database) -> None:
    play = await play_of(database, messages(3))
    await registered(play, crm=tuple(Notice))
    after_first(play, HOUR, lambda a, t: reply(play.simulated, a, t, "Stop writing to me!"))
    assert await play.run(days=3)
    events = Counter(body["event"] for _, body in play.notices)
    assert events == {"lead.replied": 1, "lead.opted_out": 1}


async def test_a_reply_that_the_claim_found_is_told_of(conn: Conn, database: Database) -> None:
    """It came when nobody knew yet who wrote it: the answer to the visit was lost."""
    scene = await set_scene(conn, database, learned=False)
    await add_endpoint(
        conn, scene.stage.organization_id, "crm", "crm", "https://crm.test/in", (Notice.REPLIED,)
    )
    await scene.tell(message())
    assert await scene.stage.value("select result from inbox_events") == stored.NOBODY_KNOWN
    assert await scene.stage.rows("select * from webhook_deliveries") == []
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    [item] = await scene.stage.claim()
    for _ in range(2):
        await scene.stage.settle(event_report(item))
    [row] = await scene.stage.rows("select * from webhook_deliveries")
    assert row["payload"]["event"] == "lead.replied"
    assert row["payload"]["message"]["id"] == message()["message_id"]
    assert row["payload"]["execution"]["outcome"] == "replied"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "the later first"])
async def test_of_two_messages_each_is_told_in_whatever_order_they_come(
    conn: Conn, database: Database, order: tuple[int, int]
) -> None:
    scene = await set_scene(conn, database)
    await add_endpoint(
        conn, scene.stage.organization_id, "crm", "crm", "https://crm.test/in", (Notice.REPLIED,)
    )
    scene.clock.move_to(scene.clock() + HOUR)
    for minute in order:
        at = (scene.clock() - HOUR + timedelta(minutes=minute)).isoformat()
        await scene.tell(message(message_id=f"m-{minute}", timestamp=at))
    rows = await scene.stage.rows(
        "select payload -> 'message' ->> 'id' as id from webhook_deliveries"
    )
    assert {row["id"] for row in rows} == {"m-1", "m-2"}


async def test_a_message_to_two_walks_of_a_person_is_one_notice_of_the_one_under_way(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await add_endpoint(
        conn, scene.stage.organization_id, "crm", "crm", "https://crm.test/in", (Notice.REPLIED,)
    )
    await scene.stage.event(ex.Stopped("over"))
    await start_again(scene.stage)
    scene.clock.move_to(scene.clock() + 4 * DAY)
    await conn.execute(
        "update campaign_executions set started_at = %s where outcome is null",
        (scene.clock() - HOUR,),
    )
    await scene.tell(message(timestamp=scene.clock().isoformat()))
    [row] = await scene.stage.rows(
        "select c.name, d.payload -> 'campaign' ->> 'name' as told from webhook_deliveries d"
        " join campaigns c on c.id = d.campaign_id"
    )
    assert (row["name"], row["told"]) == ("again", "again")


async def test_what_was_written_before_the_walk_began_is_told_to_nobody(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await add_endpoint(
        conn, scene.stage.organization_id, "crm", "crm", "https://crm.test/in", (Notice.REPLIED,)
    )
    await scene.stage.change("campaign_executions", started_at=scene.clock())
    before = scene.clock() - stored.BEFORE - HOUR
    await scene.tell(message(timestamp=before.isoformat()))
    assert await scene.stage.rows("select * from webhook_deliveries") == []


async def of_scene(conn: Conn, scene: Scene, *notices: Notice) -> None:
    await add_endpoint(
        conn, scene.stage.organization_id, "crm", "crm", "https://crm.test/in", notices
    )


async def told_events(scene: Scene) -> list[str]:
    rows = await scene.stage.rows(
        "select payload ->> 'event' as event from webhook_deliveries order by created_at, id"
    )
    return [row["event"] for row in rows]


async def test_a_store_that_was_filled_anew_tells_no_message_again(
    conn: Conn, database: Database
) -> None:
    """The member signed in anew: Unipile's id of the account is another, and of each message."""
    scene = await set_scene(conn, database)
    await of_scene(conn, scene, *Notice)
    scene.clock.move_to(scene.clock() + 4 * HOUR)
    first, second = scene.clock() - 2 * HOUR, scene.clock() - HOUR
    stop = "stop writing to me"
    await scene.tell(
        message(message_id="m-1", timestamp=first.isoformat()),
        message(message_id="m-2", timestamp=second.isoformat(), message=stop),
    )
    before = await told_events(scene)
    assert Counter(before) == {"lead.replied": 2, "lead.opted_out": 1}
    anew = [
        Message(f"n-{number}", "c", person(), False, text, at, "MESSAGE", False)
        for number, (text, at) in enumerate([("hi", first), (stop, second)])
    ]
    await conn.execute("update connected_accounts set unipile_account_id = 'u-new'")
    read = {message_key("u-new", each): each for each in anew}
    organization_id = scene.stage.organization_id
    await listen._hear(scene.world, organization_id, "u-new", read, {"c": person()})
    assert await told_events(scene) == before


@pytest.mark.parametrize("both", [True, False])
async def test_each_walk_that_an_owner_takes_over_is_told_of(
    conn: Conn, database: Database, both: bool
) -> None:
    scene = await set_scene(conn, database)
    await of_scene(conn, scene, Notice.TAKEN_OVER)
    await start_again(scene.stage)
    scene.clock.move_to(scene.clock() + 4 * DAY)
    await conn.execute(
        "update campaign_executions set connected = true, provider_id = %s,"
        " started_at = coalesce(started_at, %s)",
        (person(), scene.clock() - HOUR),
    )
    if not both:
        await conn.execute("update campaigns set stop_on_own_message = false where name = 'again'")
    await conn.execute("update contacts set connected_at = %s", (scene.clock() - 4 * DAY,))
    await scene.tell(message(ours=True, message="Shall we?", timestamp=scene.clock().isoformat()))
    over = await scene.stage.value(
        "select count(*) from campaign_executions where outcome = 'taken_over'"
    )
    assert over == (2 if both else 1)
    assert await told_events(scene) == ["lead.taken_over"] * over


async def test_who_asks_to_be_left_alone_before_anybody_knows_them_is_left_alone(
    conn: Conn, database: Database
) -> None:
    """The answer of the visit is under way, or lost: what they wrote is read this once."""
    scene = await set_scene(conn, database, learned=False)
    await scene.tell(message(message="Stop writing to me!"))
    found = await scene.stage.rows("select kind, value from suppressions")
    assert found == [{"kind": "person", "value": person()}]
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    [item] = await scene.stage.claim()
    assert item.intent is None

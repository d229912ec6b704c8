"""Webhooks: stored once, applied once, and none of them keeps the others from it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from builders import AT_ONCE, DAY, NOW, Conn, add_sender, edge, set_stage, workflow
from builders import Stage as Set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from clento_engine.domain import execution as ex
from clento_engine.domain.account import PausedBy
from clento_engine.domain.operation import Operation
from clento_engine.domain.person import Shown
from clento_engine.domain.picking import AGAIN
from clento_engine.domain.report import Learned, Report
from clento_engine.domain.schedule import parse_hours
from clento_engine.domain.workflow import Branch, Node
from clento_engine.provider.unipile import UnipileClient
from clento_engine.runtime.act import event_report
from clento_engine.runtime.clock import VirtualClock
from clento_engine.runtime.inbox import apply_inbox, receive
from clento_engine.runtime.world import World
from clento_engine.store import claimed as module
from clento_engine.store.accounts import create_organization, pause_account
from clento_engine.store.campaigns import create_campaign, start_campaign, stop_campaign
from clento_engine.store.database import Database
from clento_engine.store.inbox import NOBODY_KNOWN, lock_webhooks
from clento_engine.store.members import remove_account
from clento_engine.store.people import learn

ACCOUNT = "unipile-campaign-1"
OWN = "ACoAAOWN"
LATER = timedelta(hours=2)
FOLLOWUP = Operation.SEND_FOLLOWUP

INVITE = workflow(
    [
        Node(
            "n0",
            Operation.SEND_CONNECTION_REQUEST,
            edges=(
                edge("n1", LATER, Branch.ACCEPTED),
                edge(None, 10 * DAY, Branch.NOT_ACCEPTED),
            ),
        ),
        Node("n1", Operation.SEND_FOLLOWUP, text="Hello"),
    ]
)

Json = dict[str, Any]


def nobody(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("the inbox asks nobody")


def person(number: int = 1) -> str:
    """Return the provider id of a lead."""
    return f"ACoAA{number}"


def relation(number: int = 1, **fields: Any) -> Json:
    return {
        "event": "new_relation",
        "account_id": ACCOUNT,
        "account_type": "LINKEDIN",
        "webhook_name": "relations",
        "user_full_name": "Ada Moss",
        "user_provider_id": person(number),
        "user_public_identifier": f"person-{number}",
    } | fields


def message(number: int = 1, *, ours: bool = False, **fields: Any) -> Json:
    theirs = {"attendee_id": "att1", "attendee_provider_id": person(number)}
    return {
        "event": "message_received",
        "account_id": ACCOUNT,
        "account_info": {"type": "LINKEDIN", "feature": "classic", "user_id": OWN},
        "chat_id": f"chat-{number}",
        "message_id": f"message-{number}-{ours}",
        "message": "a secret between two",
        "timestamp": NOW.isoformat(),
        "is_sender": ours,
        "is_event": 0,
        "is_group": False,
        "message_type": "MESSAGE",
        "sender": {"attendee_provider_id": OWN} if ours else theirs,
        "attendees": [theirs],
    } | fields


def status(word: str, account: str = ACCOUNT) -> Json:
    return {"AccountStatus": {"account_id": account, "account_type": "LINKEDIN", "message": word}}


@dataclass(slots=True)
class Scene:
    """Leads that await acceptance, and the world that hears of them."""

    stage: Set
    world: World
    clock: VirtualClock

    async def tell(self, *payloads: Mapping[str, Any]) -> int:
        """Receive and apply; return how many were applied."""
        for payload in payloads:
            await receive(self.world, payload)
        return await apply_inbox(self.world)

    async def heard(self, lead: int = 0) -> list[str]:
        """Return the kinds of events that a lead heard from the inbox."""
        rows = await self.stage.rows(
            "select kind from events where subject_id = %s and actor = 'inbox' order by id",
            self.stage.leads[lead],
        )
        return [row["kind"] for row in rows]

    async def run(self, lead: int = 0) -> Json:
        return await self.stage.run(self.stage.leads[lead])

    async def contact(self, lead: int = 0) -> Json:
        rows = await self.stage.rows(
            "select k.* from contacts k join leads l using (organization_id, person_id)"
            " where l.id = %s",
            self.stage.leads[lead],
        )
        return rows[0]

    async def account(self) -> Json:
        rows = await self.stage.rows(
            "select * from connected_accounts where id = %s", self.stage.account
        )
        del rows[0]["heard_at"]  # of whatever it was told
        return rows[0]

    async def waiting(self) -> int:
        return int(
            await self.stage.value("select count(*) from inbox_events where applied_at is null")
        )


async def set_scene(
    conn: Conn, database: Database, *, leads: int = 1, learned: bool = True, **values: Any
) -> Scene:
    stage = await set_stage(conn, INVITE, leads=leads, **values)
    await await_acceptance(stage)
    if learned:
        await teach(stage, leads)
        await stage.settle(*(knows(stage, n) for n in range(leads)))
    clock = VirtualClock(NOW)
    provider = UnipileClient("http://x", "token", transport=httpx.MockTransport(nobody))
    return Scene(stage, World(database, provider, clock), clock)


async def await_acceptance(stage: Set, **values: Any) -> None:
    await stage.stand(
        Operation.CHECK_ACCEPTANCE,
        status="awaiting",
        at=NOW + 10 * DAY,
        deadline_at=NOW + 10 * DAY,
        provider_id=None,
        **values,
    )


async def teach(stage: Set, leads: int) -> None:
    """Let an answer have shown the ids of the first leads."""
    shown = [
        Shown(stage.organization_id, person(n + 1), None, stage.leads[n], f"person-{n + 1}")
        for n in range(leads)
    ]
    await learn(stage.conn, shown, NOW)


def knows(stage: Set, lead: int) -> Report:
    return Report.of_news(
        stage.organization_id,
        stage.campaign_id,
        stage.leads[lead],
        stage.account,
        event=None,
        learned=Learned(provider_id=person(lead + 1)),
    )


async def start_again(stage: Set) -> None:
    """Start another campaign, "again", on the same list, with the same senders and workflow."""
    (first,) = await stage.rows("select list_id, workflow_version_id from campaigns")
    now = NOW + 3 * DAY
    campaign_id = await create_campaign(
        stage.conn,
        stage.organization_id,
        name="again",
        **first,
        senders=stage.accounts,
        hours=parse_hours("always"),
        overlap=True,
    )
    await start_campaign(
        stage.conn,
        stage.organization_id,
        campaign_id,
        stage.workflow,
        workflow_version_id=first["workflow_version_id"],
        pace=AT_ONCE,
        start_at=now,
        now=now,
    )


# --- acceptance ----------------------------------------------------------------------------------


async def test_a_new_relation_wakes_the_lead_who_was_awaited(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    assert await scene.tell(relation()) == 1
    run = await scene.run()
    assert (run["status"], run["node_id"], run["connected"]) == ("waiting", "n1", True)
    assert run["next_run_at"] == NOW + LATER
    assert (await scene.contact())["connected_at"] == NOW


async def test_a_person_whose_id_was_never_learned_is_found_by_the_public_identifier(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database, learned=False)
    await scene.tell(relation(user_public_identifier="Person-1"))
    assert (await scene.run())["connected"]
    assert (await scene.contact())["provider_id"] == person()


async def test_a_public_identifier_of_digits_is_one(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database, learned=False)
    await conn.execute("update leads set identity = '44123', public_identifier = '44123'")
    await conn.execute("update person_names set name = '44123'")
    await scene.tell(relation(user_public_identifier="44123"))
    assert (await scene.run())["connected"]


@pytest.mark.parametrize("missing", [None, "", 7, ["x"], "x" * 5000])
async def test_a_relation_without_a_readable_id_teaches_none(
    conn: Conn, database: Database, missing: object
) -> None:
    scene = await set_scene(conn, database, leads=2, learned=False)
    await scene.tell(
        relation(1, user_provider_id=missing), relation(2, user_provider_id=missing, x=1)
    )
    assert (await scene.run(0))["connected"]
    assert (await scene.contact(0))["provider_id"] is None


async def test_relations_without_ids_of_two_people_are_not_taken_for_one(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database, leads=2, learned=False)
    await scene.tell(*(relation(n, user_provider_id=None) for n in (1, 2)))
    assert [(await scene.run(n))["connected"] for n in (0, 1)] == [True, True]


async def test_a_lead_known_by_two_names_hears_of_it_once(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(relation())
    assert await scene.heard() == ["Accepted"]


@pytest.mark.parametrize("kind", ["MESSAGE", "INVITATION", None])
async def test_the_echo_of_the_note_wakes_the_lead(
    conn: Conn, database: Database, kind: str | None
) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(message(ours=True, message_type=kind))
    run, contact = await scene.run(), await scene.contact()
    assert (run["status"], run["node_id"]) == ("waiting", "n1")
    assert (contact["chat_id"], contact["connected_at"]) == ("chat-1", NOW)


async def test_without_is_sender_the_author_tells_whose_message_it_is(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database, leads=2)
    echo, reply = message(1, ours=True), message(2)
    del echo["is_sender"], reply["is_sender"]
    await scene.tell(echo, reply)
    assert [await scene.heard(n) for n in (0, 1)] == [["Accepted"], ["Replied"]]


async def test_relation_and_echo_together_are_one_acceptance(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    assert await scene.tell(relation(), message(ours=True)) == 2
    assert await scene.heard() == ["Accepted"]
    assert (await scene.contact())["chat_id"] == "chat-1"


@pytest.mark.parametrize(
    "fields", [{"message_type": "INMAIL"}, {"chat_content_type": "inmail"}], ids=str
)
async def test_the_echo_of_an_inmail_proves_no_acceptance(
    conn: Conn, database: Database, fields: Json
) -> None:
    scene = await set_scene(conn, database, stop_on_own_message=False)
    await scene.tell(message(ours=True, **fields))
    assert (await scene.run())["status"] == "awaiting"
    contact = await scene.contact()
    assert (contact["chat_id"], contact["connected_at"]) == (None, None)


@pytest.mark.parametrize(
    "sent_at", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "soon", None, 12, "12:00"]
)
async def test_a_time_that_cannot_be_is_read_as_the_webhooks_own(
    conn: Conn, database: Database, sent_at: object
) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(message(ours=True, timestamp=sent_at))
    assert (await scene.run())["next_run_at"] == NOW + LATER


async def test_the_delay_counts_from_when_the_note_became_a_message(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    scene.clock.move_to(NOW + timedelta(hours=1))
    await scene.tell(message(ours=True))
    assert (await scene.run())["next_run_at"] == NOW + LATER


# --- replies -------------------------------------------------------------------------------------


async def test_a_message_of_the_lead_ends_the_walk(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(message())
    run, contact = await scene.run(), await scene.contact()
    assert (run["status"], run["outcome"], run["replied"]) == ("completed", "replied", True)
    assert (contact["chat_id"], contact["replied_at"]) == ("chat-1", NOW)


async def test_where_a_reply_stops_nothing_it_is_only_remembered(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database, stop_on_reply=False)
    await scene.tell(message())
    run = await scene.run()
    assert (run["status"], run["outcome"], run["replied"]) == ("awaiting", None, True)


async def test_a_reply_after_the_end_of_the_walk_is_known_to_the_next_campaign(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.change(
        "campaign_executions",
        status="completed",
        outcome="finished",
        finished_at=NOW,
        next_run_at=None,
    )
    await scene.tell(message(), relation())
    contact, run = await scene.contact(), await scene.run()
    assert (contact["replied_at"], contact["connected_at"]) == (NOW, NOW)
    assert (run["outcome"], run["replied"]) == ("finished", True)
    assert await scene.heard() == ["Replied"]


@pytest.mark.parametrize("end", ["finished", "stopped"])
async def test_who_wrote_after_a_walk_that_only_visited_them_is_known_to_the_next_campaign(
    conn: Conn, database: Database, end: str
) -> None:
    scene = await set_scene(conn, database, leads=3, learned=False)
    stage = scene.stage
    for number, lead in enumerate(stage.leads, start=1):
        await stage.stand(Operation.LIKE_POST, provider_id=person(number), leads=[lead])
    if end == "finished":
        over = {"status": "completed", "outcome": "finished", "finished_at": NOW}
        await stage.change("campaign_executions", **over, next_run_at=None)
    else:
        await stop_campaign(conn, stage.organization_id, stage.campaign_id, now=NOW)
    await stage.change("campaign_executions", started_at=NOW + DAY)
    await scene.tell(message(2))  # before they were visited
    scene.clock.move_to(NOW + 2 * DAY)
    await scene.tell(message(1), message(3, account_id="acc_other"))
    assert await stage.value("select count(*) from contacts") == 0

    await start_again(stage)
    known = await stage.rows(
        "select e.provider_id, e.replied from campaign_executions e"
        " join campaigns c on c.id = e.campaign_id where c.name = 'again' order by e.provider_id"
    )
    assert [tuple(row.values()) for row in known] == [
        (person(1), True),
        (person(2), False),
        (person(3), False),
    ]


async def test_whoever_replied_before_the_walk_is_heard_when_they_write_again(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.change("contacts", replied_at=NOW - 9 * DAY)
    await scene.stage.change("campaign_executions", replied=True)
    await scene.tell(message(message_id="old", timestamp=(NOW - 9 * DAY).isoformat()))
    assert (await scene.run())["outcome"] is None
    await scene.tell(message())
    assert (await scene.run())["outcome"] == "replied"
    assert (await scene.contact())["replied_at"] == NOW


async def test_nothing_is_begun_for_whoever_wrote_before_it_is_heard(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database, leads=2)
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person(1), leads=scene.stage.leads[:1])
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person(2), leads=scene.stage.leads[1:])
    await receive(scene.world, message(1))
    claimed = await scene.stage.claim()
    assert [item.run.lead_id for item in claimed] == scene.stage.leads[1:]
    lane = await scene.stage.lane(FOLLOWUP)
    assert lane["ready_at"] == NOW + AGAIN
    await apply_inbox(scene.world)
    assert (await scene.run())["outcome"] == "replied"


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
async def test_nothing_is_begun_for_whom_the_owner_wrote_to_before_it_is_applied(
    conn: Conn, database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    scene = await set_scene(conn, database, leads=2)
    for number in (0, 1):
        await scene.stage.stand(
            FOLLOWUP,
            "n1",
            provider_id=person(number + 1),
            leads=[scene.stage.leads[number]],
            started_at=NOW - DAY,
            connected=True,
        )
    if not is_on:
        monkeypatch.setattr(module, "_is_unheard", lambda _lane, head: head["is_unheard"])
    await receive(scene.world, message(1, ours=True))
    begun = {item.run.lead_id for item in await scene.stage.claim()}
    assert begun == set(scene.stage.leads[1:] if is_on else scene.stage.leads)
    if is_on:
        assert (await scene.stage.lane(FOLLOWUP))["ready_at"] == NOW + AGAIN
        await apply_inbox(scene.world)
        assert (await scene.run())["outcome"] == "taken_over"


@pytest.mark.parametrize(
    "fields",
    [
        {"account_id": "another"},
        {"message_type": "INVITATION"},
        {"message_type": []},
        {"is_group": True},
        {"attendees": [{"attendee_provider_id": person(2)}]},
        {"attendees": []},
    ],
    ids=["another account's", "a note", "of no kind", "a group's", "to another", "to nobody"],
)
async def test_what_cannot_be_the_owner_s_word_to_them_holds_nothing_back(
    conn: Conn, database: Database, fields: Json
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    await receive(scene.world, message(ours=True) | fields)
    assert len(await scene.stage.claim()) == 1


async def test_where_the_owner_may_write_beside_the_campaign_nothing_is_held_back(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.change("campaigns", stop_on_own_message=False)
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    await receive(scene.world, message(ours=True))
    assert len(await scene.stage.claim()) == 1


async def test_an_echo_of_the_engine_s_own_message_holds_the_lead_until_it_is_applied(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await wrote(scene.stage, "done")
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    await receive(scene.world, message(ours=True, message="Hello"))
    assert await scene.stage.claim() == []
    await apply_inbox(scene.world)
    scene.stage.now += AGAIN
    [item] = await scene.stage.claim()
    assert item.run.lead_id == scene.stage.leads[0]


async def test_what_stays_unclear_holds_nobody_longer_than_a_day(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    await receive(scene.world, message(ours=True))
    for later, begun in ((DAY - AGAIN, 0), (DAY, 1)):
        scene.stage.now = NOW + later
        assert len(await scene.stage.claim()) == begun


async def test_a_message_to_another_account_of_ours_holds_nothing_back(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    await receive(scene.world, message(account_id="another"))
    assert len(await scene.stage.claim()) == 1


@pytest.mark.parametrize("stops", [True, False])
async def test_what_came_before_we_knew_who_wrote_it_is_heard_by_the_claim(
    conn: Conn, database: Database, stops: bool
) -> None:
    """The answer to the visit was lost: they knew us, and we did not know them."""
    scene = await set_scene(conn, database, learned=False, stop_on_reply=stops)
    await scene.tell(message())
    assert await scene.stage.value("select result from inbox_events") == NOBODY_KNOWN
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person())
    [item] = await scene.stage.claim()
    assert item.event == ex.Replied()
    await scene.stage.settle(event_report(item))
    run = await scene.run()
    assert (run["replied"], run["outcome"]) == (True, "replied" if stops else None)
    assert (await scene.contact())["replied_at"] == NOW
    again = await scene.stage.claim()
    assert [each.intent is not None for each in again] == ([] if stops else [True])


async def test_what_came_before_the_walk_began_from_somebody_unknown_is_no_reply(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database, learned=False)
    await scene.tell(message())
    began = NOW + timedelta(minutes=1)
    await scene.stage.stand(FOLLOWUP, "n1", provider_id=person(), started_at=began)
    [item] = await scene.stage.claim()
    assert item.intent is not None


@pytest.mark.parametrize("fields", [{"is_group": True}, {"is_event": 1}], ids=str)
async def test_groups_and_events_are_no_messages(
    conn: Conn, database: Database, fields: Json
) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(message(**fields), message(ours=True, **fields))
    assert (await scene.run())["status"] == "awaiting"
    assert await scene.waiting() == 0


# --- once each -----------------------------------------------------------------------------------


async def test_what_comes_twice_is_stored_once(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    for payload in (relation(), message(), status("ERROR")):
        assert await receive(scene.world, payload)
        assert not await receive(scene.world, {**payload, "webhook_name": "b"})
    assert await scene.tell() == 3
    assert await scene.tell() == 0


async def test_the_same_status_a_minute_later_is_another(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(status("ERROR"))
    scene.clock.move_to(NOW + timedelta(minutes=1))
    assert await receive(scene.world, status("ERROR"))


@pytest.mark.parametrize(
    "payload",
    [
        message(account_id="unknown"),
        relation(account_id=None),
        status("CREDENTIALS", account="unknown"),
        {"AccountStatus": {"message": "OK"}},
        {"event": ["new_relation"], "account_id": {}},
        {"AccountStatus": "ERROR"},
        {},
    ],
    ids=["message", "no account", "status", "status of none", "object", "text", "nothing"],
)
async def test_a_webhook_of_an_account_that_nobody_has_is_counted_and_not_stored(
    conn: Conn, database: Database, payload: Json
) -> None:
    scene = await set_scene(conn, database)
    assert await receive(scene.world, payload) is None
    assert await receive(scene.world, payload) is None
    assert await scene.waiting() == 0
    assert await scene.stage.value("select received::int from unrouted_webhooks") == 2


async def test_a_webhook_is_stored_for_the_organisation_that_has_the_account(
    conn: Conn, database: Database
) -> None:
    """Organisations and accounts that came later too: nothing is registered for them."""
    scene = await set_scene(conn, database)
    later = await create_organization(conn, "Later")
    await add_sender(conn, later, "of-later")
    assert await receive(scene.world, message(account_id="unipile-of-later"))
    assert await receive(scene.world, message())
    stored = await scene.stage.rows(
        "select organization_id as whose, payload ->> 'account_id' as account from inbox_events"
        " order by id"
    )
    assert [(row["whose"], row["account"]) for row in stored] == [
        (later, "unipile-of-later"),
        (scene.stage.organization_id, ACCOUNT),
    ]


async def test_a_released_accounts_webhook_is_nobodys(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    organization_id = await create_organization(conn, "Later")
    account_id = await add_sender(conn, organization_id, "of-later")
    await remove_account(conn, organization_id, account_id, NOW)
    assert await receive(scene.world, message(account_id="unipile-of-later")) is None


@pytest.mark.parametrize("word", ["OK", "RECONNECTED", "CREATION_SUCCESS", "SYNC_SUCCESS"])
async def test_an_account_that_was_connected_or_synced_anew_has_a_young_store(
    conn: Conn, database: Database, word: str
) -> None:
    scene = await set_scene(conn, database)
    await scene.tell(status(word))
    assert (await scene.account())["store_since"] == NOW


@pytest.mark.parametrize(
    "payload",
    [
        relation(9),
        message(9),
        message(9, ours=True),
        status("CONNECTING"),
        {"event": "message_read", "account_id": ACCOUNT, "message_id": "m"},
        {"event": ["new_relation"], "account_id": ACCOUNT},
        {"AccountStatus": "ERROR", "account_id": ACCOUNT},
    ],
    ids=str,
)
async def test_what_concerns_nobody_is_passed_over(
    conn: Conn, database: Database, payload: Json
) -> None:
    scene = await set_scene(conn, database)
    before = await scene.run(), await scene.account()
    assert await scene.tell(payload) == 1
    assert (await scene.run(), await scene.account()) == before
    assert await scene.waiting() == 0


async def test_another_organisations_lead_hears_nothing(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    other = await set_scene(conn, database, name="other")
    await scene.tell(relation())
    assert not (await other.run())["connected"]


async def test_what_another_process_works_on_is_left_to_it(
    conn: Conn, database: Database, dsn: str
) -> None:
    scene = await set_scene(conn, database, leads=3)
    for number in (1, 2, 3):
        await receive(scene.world, relation(number))
    async with await AsyncConnection.connect(dsn) as other:
        held = await lock_webhooks(other, most=2, now=NOW)
        assert await apply_inbox(scene.world) == 1
        assert [len(await scene.heard(n)) for n in range(3)] == [0, 0, 1]
        await other.rollback()
    assert len(held) == 2
    assert await apply_inbox(scene.world) == 2
    assert [len(await scene.heard(n)) for n in range(3)] == [1, 1, 1]


async def test_processes_that_apply_at_once_apply_each_webhook_once(
    conn: Conn, database: Database, dsn: str
) -> None:
    scene = await set_scene(conn, database, leads=30)
    for number in range(1, 31):
        await receive(scene.world, message(number))
    async with Database(dsn) as second:
        other = World(second, scene.world.provider, scene.clock)
        worlds = (scene.world, other, scene.world, other)
        applied = await asyncio.gather(*(apply_inbox(world) for world in worlds))
    assert sum(applied) == 30
    assert [await scene.heard(n) for n in range(30)] == [["Replied"]] * 30


# --- accounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["CREDENTIALS", "error", "STOPPED", "PERMISSIONS", "DELETED"])
async def test_an_account_out_of_order_is_paused_and_asked_about_within_the_hour(
    conn: Conn, database: Database, word: str
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.change("connected_accounts", next_sweep_at=NOW + DAY)
    await scene.tell(status(word))
    account = await scene.account()
    assert (account["status"], account["paused_by"]) == ("paused", "provider")
    assert account["pause_reason"] == word.upper()
    assert account["next_sweep_at"] == NOW + timedelta(hours=1)
    assert not (await scene.stage.lane(Operation.CHECK_ACCEPTANCE))["active"]


@pytest.mark.parametrize("word", ["OK", "RECONNECTED"])
async def test_good_news_of_a_paused_account_are_for_the_next_sweep_to_believe(
    conn: Conn, database: Database, word: str
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.change("connected_accounts", next_sweep_at=NOW + DAY)
    await scene.tell(status("ERROR"), status(word))
    account = await scene.account()
    assert (account["status"], account["next_sweep_at"]) == ("paused", NOW)


async def test_good_news_of_a_running_account_cause_no_sweep(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await scene.stage.change("connected_accounts", next_sweep_at=NOW + DAY)
    await scene.tell(status("OK"))
    assert (await scene.account())["next_sweep_at"] == NOW + DAY


async def test_an_operators_pause_stands_whatever_the_provider_says(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    organization_id, account_id = scene.stage.organization_id, scene.stage.account
    await pause_account(
        conn, organization_id, account_id, by=PausedBy.OPERATOR, reason="x", now=NOW
    )
    before = await scene.account()
    await scene.tell(status("ERROR"), status("OK"))
    assert await scene.account() == before | {"store_since": NOW}


# --- nothing that comes in stops the rest --------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
WORDS = st.sampled_from(
    [ACCOUNT, OWN, person(), "person-1", "new_relation", "message_received", "OK", "ERROR"]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PEOPLE = st.fixed_dictionaries({}, optional={"attendee_provider_id": VALUES}) | VALUES
PAYLOADS = st.dictionaries(st.text(max_size=10), VALUES, max_size=4) | st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["new_relation", "message_received"]) | VALUES,
        "account_id": st.just(ACCOUNT) | VALUES,
        "user_provider_id": st.just(person()) | VALUES,
        "user_public_identifier": st.just("person-1") | VALUES,
        "message_id": VALUES,
        "timestamp": st.datetimes().map(datetime.isoformat) | VALUES,
        "is_sender": VALUES,
        "is_group": VALUES,
        "is_event": VALUES,
        "chat_id": VALUES,
        "message_type": VALUES,
        "sender": PEOPLE,
        "account_info": st.fixed_dictionaries({}, optional={"user_id": VALUES}) | VALUES,
        "attendees": st.lists(PEOPLE, max_size=3) | VALUES,
        "AccountStatus": st.fixed_dictionaries(
            {}, optional={"account_id": st.just(ACCOUNT) | VALUES, "message": WORDS | VALUES}
        )
        | VALUES,
    },
)


@pytest.fixture
async def scene(conn: Conn, database: Database) -> Scene:
    return await set_scene(conn, database)


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=8))
async def test_whatever_json_comes_it_is_applied(scene: Scene, payloads: list[Json]) -> None:
    await scene.stage.conn.execute("delete from inbox_events")
    await await_acceptance(
        scene.stage, outcome=None, finished_at=None, connected=False, replied=False
    )
    await scene.tell(*payloads)
    assert await scene.waiting() == 0
    failed = "select count(*) from inbox_events where starts_with(result, 'failed')"
    assert await scene.stage.value(failed) == 0


async def test_what_postgresql_cannot_hold_is_replaced(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    odd: Json = {
        "message": "a\x00b\ud800c",
        "k\x00": [float("nan"), float("inf")],
        "message_id": "m\x00",
    }
    assert await scene.tell(message(**odd)) == 1
    assert (await scene.run())["replied"]


async def test_a_payload_nested_without_end_is_refused(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    deep: Json = {}
    for _ in range(900):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="nested too deeply"):
        await receive(scene.world, deep)


async def test_a_webhook_that_cannot_be_applied_keeps_no_other_from_it(
    conn: Conn, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    scene = await set_scene(conn, database, leads=3)
    await refuse_changes(conn, scene.stage.leads[1])
    assert await scene.tell(*(message(n) for n in (1, 2, 3))) == 3
    assert [(await scene.run(n))["replied"] for n in range(3)] == [True, False, True]
    rows = await scene.stage.rows("select result from inbox_events order by id")
    assert [row["result"] for row in rows] == [None, "failed: RaiseException", None]
    assert [record.alert for record in caplog.records if hasattr(record, "alert")] == [True]
    assert "a secret between two" not in caplog.text


async def test_a_webhook_whose_lead_is_locked_waits_and_holds_up_no_other(
    conn: Conn, database: Database, dsn: str
) -> None:
    scene = await set_scene(conn, database, leads=3)
    for number in (1, 2, 3):
        await receive(scene.world, message(number))
    async with (
        Database(make_conninfo(dsn, options="-c lock_timeout=20ms")) as impatient,
        await AsyncConnection.connect(dsn) as other,
    ):
        world = World(impatient, scene.world.provider, scene.clock)
        await other.execute(
            "select 1 from campaign_executions where lead_id = %s for update",
            (scene.stage.leads[0],),
        )
        assert await apply_inbox(world) == 2
        assert [(await scene.run(n))["replied"] for n in range(3)] == [False, True, True]
        await other.rollback()
        assert await apply_inbox(world) == 1
    assert (await scene.run(0))["replied"]


async def refuse_changes(conn: Conn, lead_id: UUID) -> None:
    """Let every change of a lead's place fail, as a defect of ours would."""
    await conn.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'no'; end $$"
    )
    await conn.execute(
        "create trigger refused before update on campaign_executions for each row"
        f" when (old.lead_id = '{lead_id}') execute function refuse()".encode()
    )


# --- what the account itself wrote ---------------------------------------------------------------


async def wrote(stage: Set, state: str = "intended", reference: str | None = None) -> None:
    """Have the ledger hold a message to the first lead."""
    is_open = state in ("intended", "unknown")
    await stage.conn.execute(
        "delete from actions; update campaign_executions set connected = true, started_at = now()"
        " - interval '1000 days'"
    )
    await stage.conn.execute(
        "insert into actions (organization_id, campaign_id, lead_id, account_id, token,"
        " intended_at, bucket_at, node_id, operation, budgets, target, text, state, check_at,"
        " reference, settled_at, number, person_id) values (%s, %s, %s, %s, gen_random_uuid(), %s,"
        " %s, 'n1', 'send_followup', '{message}', 'x', 'Hello', %s, %s, %s, %s, %s,"
        " (select person_id from leads where id = %s))",
        (
            stage.organization_id,
            stage.campaign_id,
            stage.leads[0],
            stage.account,
            NOW,
            NOW,
            state,
            NOW if is_open else None,
            reference,
            None if is_open else NOW,
            None if is_open else 1,
            stage.leads[0],
        ),
    )


@pytest.mark.parametrize("state", ["intended", "unknown", "done", "absent", "released"])
async def test_a_step_s_own_text_is_never_the_owner_s_whenever_it_comes(
    conn: Conn, database: Database, state: str
) -> None:
    scene = await set_scene(conn, database)
    await wrote(scene.stage, state)
    await scene.tell(message(ours=True, message=" Hello\n"))
    assert await scene.heard() == []
    assert await scene.waiting() == 0


@pytest.mark.parametrize(("reference", "ends"), [("message-1-True", False), ("another", True)])
async def test_a_changed_text_waits_until_the_step_is_settled(
    conn: Conn, database: Database, reference: str, ends: bool
) -> None:
    """The webhook comes first, the id of what was sent with the answer."""
    scene = await set_scene(conn, database)
    await wrote(scene.stage)
    await scene.tell(message(ours=True, message="Hello (edited by the provider)"))
    assert (await scene.heard(), await scene.waiting()) == ([], 1)
    assert await apply_inbox(scene.world) == 0  # not before its time
    await wrote(scene.stage, "done", reference)
    scene.clock.move_to(NOW + timedelta(minutes=2))
    assert await apply_inbox(scene.world) == 1
    assert (await scene.heard(), await scene.waiting()) == (["OwnerWrote"] if ends else [], 0)
    assert ((await scene.run())["outcome"] == "taken_over") is ends


async def test_what_the_owner_wrote_before_the_walk_ends_nothing(
    conn: Conn, database: Database
) -> None:
    scene = await set_scene(conn, database)
    await wrote(scene.stage, "done", "another")
    await scene.stage.change("campaign_executions", started_at=NOW)
    await scene.tell(message(ours=True, timestamp=(NOW - DAY).isoformat()))
    assert await scene.heard() == []


async def test_a_crowd_is_a_group_though_nobody_says_so(conn: Conn, database: Database) -> None:
    scene = await set_scene(conn, database)
    people = [{"attendee_provider_id": person(number)} for number in (1, 2)]
    await scene.tell(message(attendees=people))
    assert await scene.heard() == []

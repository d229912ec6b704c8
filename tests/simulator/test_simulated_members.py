"""One LinkedIn member behind several accounts of Unipile's, one after the other or at once."""

from datetime import timedelta
from typing import Any

import pytest
from simulated import RELIABLE, Bench, kind_of

from clento_engine.domain.operation import Budget
from clento_engine.simulator.judge import judge
from clento_engine.simulator.reading import read_profile
from clento_engine.simulator.senders import PATIENCE
from clento_engine.simulator.world import START, Reliability

HOUR = 3600


async def sign_in_anew(bench: Bench, **fields: Any) -> str:
    """Have the bench's sender sign in anew, and go on as that account; returns its old id."""
    old = bench.sender
    answer = await bench.http.post(f"/simulator/accounts/{old.id}/sign-in-anew", json=fields)
    assert answer.status_code == 201, answer.text
    bench.sender = bench.world.accounts[answer.json()["id"]]
    return old.id


async def test_who_signs_in_anew_is_the_same_member_under_another_id() -> None:
    bench = Bench()
    await bench.listen("account_status")
    before = (await bench.get(f"/accounts/{bench.sender.id}")).json()
    await bench.pass_time(timedelta(hours=1))
    old = await sign_in_anew(bench, new_id="again")
    assert kind_of(await bench.http.get(f"/api/v1/accounts/{old}")) == "resource_not_found"
    assert kind_of(await bench.get("/users/lea-martin", account_id=old)) == "resource_not_found"
    after = (await bench.get("/accounts/again")).json()
    assert after["connection_params"] == before["connection_params"]
    assert (after["id"], after["name"], after["created_at"]) == (
        "again",
        before["name"],
        "2026-01-05T09:00:00.000Z",
    )
    await bench.pass_time(timedelta(minutes=1))
    told = [body["AccountStatus"] for _, body in bench.receiver.bodies]
    assert [(one["account_id"], one["message"]) for one in told] == [
        (old, "DELETED"),
        ("again", "CREATION_SUCCESS"),
    ]


async def test_a_silent_new_sign_in_is_told_by_no_webhook() -> None:
    bench = Bench()
    await bench.listen("account_status")
    await sign_in_anew(bench, silent=True)
    await bench.pass_time(timedelta(hours=1))
    assert bench.receiver.bodies == []


async def test_what_linkedin_knows_of_a_member_outlives_the_account() -> None:
    bench = Bench()
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    await bench.connect("ada-friend")
    invitation = (await bench.invite("noah-silva")).json()["invitation_id"]
    await bench.post("/posts/reaction", post_id=post)
    await bench.post(f"/posts/{post}/comments", text="Well said")
    await sign_in_anew(bench)
    pending = (await bench.get("/users/invite/sent")).json()["items"]
    relations = (await bench.get("/users/relations")).json()["items"]
    own = (await bench.get(f"/users/{bench.sender.provider_id}/comments")).json()["items"]
    assert [one["id"] for one in pending] == [invitation]
    assert [one["public_identifier"] for one in relations] == ["ada-friend"]
    assert [one["text"] for one in own] == ["Well said"]
    assert (await bench.get(f"/posts/{post}")).json()["user_reacted"] == "LIKE"
    assert kind_of(await bench.invite("noah-silva")) == "already_invited_recently"
    assert (await bench.delete(f"/users/invite/sent/{invitation}")).status_code == 200


async def test_linkedins_patience_is_with_the_member() -> None:
    bench = Bench()
    for number in range(PATIENCE["profile"].limit):
        read_profile(bench.world, bench.sender, f"lead-{number}", notify=True)
    await sign_in_anew(bench)
    assert kind_of(await bench.get("/users/lea-martin")) == "too_many_requests"


async def test_the_ledger_says_whose_each_account_is() -> None:
    bench = Bench()
    member = bench.sender.provider_id
    await bench.get("/users/lea-martin", notify="true")
    old = await sign_in_anew(bench, new_id="again")
    await bench.get("/users/lea-martin", notify="true")
    page = (await bench.http.get("/simulator/ledger")).json()["entries"]
    assert [(one["account"], one["member"]) for one in page] == [(old, member), ("again", member)]
    reads = (await bench.http.get("/simulator/ledger/reads")).json()
    assert reads["members"] == {old: member, "again": member}
    [excess] = judge(bench.world.ledger, caps={Budget.PROFILE: {"day": 1}}).over_cap
    assert (excess.account, excess.count) == (old, 2)


async def test_chats_of_a_new_account_have_ids_of_its_own_and_the_providers() -> None:
    bench = Bench()
    await bench.connect("lea-martin")
    sent = (await bench.start_chat("lea-martin", "Hello")).json()
    await bench.pass_time(timedelta(minutes=1))
    [before] = (await bench.get("/messages")).json()["items"]
    await sign_in_anew(bench)
    attendee = bench.provider_id("lea-martin")
    [chat] = (await bench.get(f"/chat_attendees/{attendee}/chats")).json()["items"]
    [after] = (await bench.get(f"/chats/{chat['id']}/messages")).json()["items"]
    same = ("text", "provider_id", "chat_provider_id", "timestamp", "sender_id")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["chat_id"] == chat["id"] != sent["chat_id"]
    assert after["id"] != before["id"]
    assert kind_of(await bench.get(f"/chats/{sent['chat_id']}")) == "resource_not_found"
    assert kind_of(await bench.get(f"/messages/{before['id']}")) == "resource_not_found"
    fields = {"account_id": bench.sender.id, "text": "And again"}
    more = await bench.multipart(f"/chats/{chat['id']}/messages", fields)
    assert more.status_code == 201
    assert len(bench.sender.member.chats) == 1


async def test_what_people_were_going_to_do_they_do_to_the_member() -> None:
    bench = Bench()
    await bench.listen("users")
    await bench.listen("messaging")
    await bench.force("lea-martin", accepts_after=HOUR, noticed_after=0.5)
    await bench.connect("noah-silva")
    await bench.force("noah-silva", replies_after=HOUR, replies_to_message=1)
    await bench.invite("lea-martin")
    await bench.start_chat("noah-silva", "Hello")
    await bench.pass_time(timedelta(minutes=1))
    await sign_in_anew(bench, new_id="again")
    await bench.pass_time(timedelta(hours=9))
    [relation] = bench.receiver.events("new_relation")
    assert (relation["account_id"], relation["user_full_name"]) == ("again", "Lea Martin")
    own, reply = bench.receiver.events("message_received")
    assert (own["is_sender"], reply["is_sender"], reply["account_id"]) == (True, False, "again")


async def test_one_member_may_be_connected_under_two_ids_at_once() -> None:
    bench = Bench()
    await bench.listen("messaging")
    answer = await bench.http.post(
        "/simulator/accounts", json={"id": "second", "provider_id": bench.sender.provider_id}
    )
    second = answer.json()
    assert second["connection_params"]["im"]["id"] == bench.sender.provider_id
    await bench.connect("lea-martin")
    invitation = (await bench.invite("noah-silva")).json()["invitation_id"]
    pending = (await bench.get("/users/invite/sent", account_id="second")).json()["items"]
    assert [one["id"] for one in pending] == [invitation]
    one = (await bench.start_chat("lea-martin", "Hello")).json()["chat_id"]
    other = (await bench.start_chat("lea-martin", "Hello again", account_id="second")).json()
    await bench.pass_time(timedelta(minutes=1))
    assert one != other["chat_id"]
    for chat in (one, other["chat_id"]):
        items = (await bench.get(f"/chats/{chat}/messages")).json()["items"]
        assert [item["text"] for item in items] == ["Hello again", "Hello"]
        assert {item["chat_id"] for item in items} == {chat}
    echoes = bench.receiver.events("message_received")
    assert sorted((each["account_id"], each["message"]) for each in echoes) == sorted(
        (account, text)
        for account in (bench.sender.id, "second")
        for text in ("Hello", "Hello again")
    )


@pytest.mark.parametrize("empty_lists", [False, True])
async def test_a_store_under_resync_shows_nothing_and_then_everything(empty_lists: bool) -> None:
    bench = Bench(
        reliability=Reliability(lost=0, duplicated=0, null_ids=0, empty_lists=empty_lists)
    )
    await bench.listen("account_status")
    await bench.listen("messaging")
    await bench.connect("lea-martin")
    chat = (await bench.start_chat("lea-martin", "Hello")).json()["chat_id"]
    await bench.pass_time(timedelta(minutes=1))
    bench.receiver.bodies.clear()
    resync = f"/simulator/accounts/{bench.sender.id}/resync"
    assert (await bench.http.post(resync, json={"for_s": 1200})).status_code == 200
    await bench.start_chat("lea-martin", "While it is empty")
    await bench.pass_time(timedelta(minutes=19))
    assert [body for _, body in bench.receiver.bodies] == [
        {
            "AccountStatus": {
                "account_id": bench.sender.id,
                "account_type": "LINKEDIN",
                "message": "RECONNECTED",
            }
        }
    ]
    attendee = f"/chat_attendees/{bench.provider_id('lea-martin')}/chats"
    lists = ["/chats", "/messages", f"/chats/{chat}/messages"] + [attendee] * empty_lists
    for path in lists:
        answer = await bench.get(path)
        assert (answer.status_code, answer.json()["items"]) == (200, []), path
    if not empty_lists:
        assert kind_of(await bench.get(attendee)) == "resource_not_found"
    assert kind_of(await bench.get(f"/chats/{chat}")) == "resource_not_found"
    await bench.pass_time(timedelta(minutes=2))
    texts = ["While it is empty", "Hello"]
    for path in ("/messages", f"/chats/{chat}/messages"):
        assert [one["text"] for one in (await bench.get(path)).json()["items"]] == texts
    assert [one["id"] for one in (await bench.get(attendee)).json()["items"]] == [chat]
    [echo] = bench.receiver.events("message_received")
    assert echo["message"] == "While it is empty"


async def test_an_account_signed_in_anew_may_show_its_history_late() -> None:
    bench = Bench(reliability=RELIABLE)
    await bench.connect("lea-martin")
    await bench.start_chat("lea-martin", "Hello")
    await bench.pass_time(timedelta(minutes=1))
    await sign_in_anew(bench, synced_after_s=600)
    assert (await bench.get("/messages")).json()["items"] == []
    await bench.pass_time(timedelta(minutes=11))
    assert len((await bench.get("/messages")).json()["items"]) == 1
    assert bench.clock() > START

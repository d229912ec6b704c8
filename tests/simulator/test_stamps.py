"""The provider's own clock: the Date header, and what it stamps when its clock is behind."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
from simulated import RELIABLE, Bench

from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.clock import DrivenClock
from clento_engine.simulator.scheduler import advance
from clento_engine.simulator.server import Settings, serving
from clento_engine.simulator.world import START, Reliability, World

FIVE_MINUTES = timedelta(minutes=5)


def behind() -> Bench:
    """Return a bench whose provider's clock is five minutes behind."""
    return Bench(
        reliability=Reliability(lost=0, duplicated=0, null_ids=0, stamps_behind=FIVE_MINUTES)
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_every_answer_is_dated_once_by_the_simulators_clock() -> None:
    clock = DrivenClock(datetime(2031, 2, 3, 4, 5, 6, 789_000, UTC))
    world = World(clock=clock, reliability=RELIABLE)
    account = connect_account(world).id
    asked = [
        "/accounts",
        f"/users/lea-martin?account_id={account}",
        "/accounts/unknown",
        "/nothing",
    ]
    fault = {"kind": "bad_gateway", "route": "GET /webhooks"}
    async with serving(Settings(), world) as url, httpx.AsyncClient(base_url=url) as http:
        await http.post("/simulator/faults", json={"rules": [fault]})
        answers = [
            *[await http.get(f"/api/v1{path}", headers={"x-api-key": "key"}) for path in asked],
            await http.get("/api/v1/webhooks", headers={"x-api-key": "key"}),
            await http.get("/api/v1/accounts"),
            await http.get("/simulator/clock"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 404, 502, 401, 200]
    dates = [answer.headers.get_list("date") for answer in answers]
    assert dates == [["Mon, 03 Feb 2031 04:05:06 GMT"]] * len(answers)


async def test_a_clock_that_is_behind_shows_in_every_stamp_and_not_in_the_ledger() -> None:
    bench = behind()
    shown = START - FIVE_MINUTES
    await bench.listen("messaging")
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    await bench.force("noah-silva", accepts_after=0)
    await bench.connect("ada-friend")
    await bench.post(f"/posts/{post}/comments", text="Well said")
    await bench.start_chat("ada-friend", "Hello")
    await bench.invite("lea-martin")
    await bench.invite("noah-silva")
    await advance(bench.world, START)
    invitations = await bench.get("/users/invite/sent")
    assert parsedate_to_datetime(invitations.headers["date"]) == shown
    assert at(invitations.json()["items"][0]["parsed_datetime"]) == shown
    relations = (await bench.get("/users/relations")).json()["items"]
    assert relations[0]["created_at"] == int(shown.timestamp() * 1000)
    [remark] = (await bench.get(f"/posts/{post}/comments")).json()["items"]
    assert remark["date"] == "1m"
    await bench.pass_time(timedelta(minutes=1))
    [message] = (await bench.get("/messages")).json()["items"]
    [echo] = bench.receiver.events("message_received")
    assert at(message["timestamp"]) == at(echo["timestamp"]) == shown
    [chat] = (await bench.get("/chats")).json()["items"]
    assert at(chat["timestamp"]) == shown
    assert {entry.at for entry in bench.world.ledger.entries} == {START}


async def test_a_search_by_instant_goes_by_the_stamps() -> None:
    bench = behind()
    await bench.connect("lea-martin")
    await bench.start_chat("lea-martin", "Hello")
    await bench.pass_time(timedelta(minutes=1))
    two_before = (START - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    six_before = (START - timedelta(minutes=6)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    for path in ("/messages", "/chats"):
        assert (await bench.get(path, after=two_before)).json()["items"] == [], path
        assert len((await bench.get(path, after=six_before)).json()["items"]) == 1, path
        assert len((await bench.get(path, before=two_before)).json()["items"]) == 1, path


async def test_a_clock_that_is_put_right_leaves_what_it_stamped() -> None:
    bench = behind()
    await bench.connect("lea-martin")
    await bench.start_chat("lea-martin", "Hello")
    put_right = await bench.http.patch("/simulator/settings", json={"stamps_behind_s": 0})
    assert parsedate_to_datetime(put_right.headers["date"]) == START
    await bench.start_chat("lea-martin", "Hello again")
    await bench.http.patch("/simulator/settings", json={"stamps_behind_s": 300})
    await bench.start_chat("lea-martin", "And again")
    await bench.pass_time(timedelta(minutes=1))
    before = (START - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    items = (await bench.get("/messages")).json()["items"]
    assert [at(item["timestamp"]) for item in items] == [
        START - FIVE_MINUTES,
        START,
        START - FIVE_MINUTES,
    ]
    since = (await bench.get("/messages", after=before)).json()["items"]
    assert [item["text"] for item in since] == ["Hello again"]

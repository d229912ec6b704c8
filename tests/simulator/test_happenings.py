"""What happens over time: acceptances, replies, webhooks, and how time is let on."""

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from simulated import PLAIN, RELIABLE, Bench, kind_of

from clento_engine.simulator import scheduler
from clento_engine.simulator.accounts import connect_account, set_status
from clento_engine.simulator.clock import RunningClock
from clento_engine.simulator.people import Chances
from clento_engine.simulator.webhook_events import register_webhook
from clento_engine.simulator.webhooks import RETRY_DELAYS
from clento_engine.simulator.world import START, Reliability, World

HOUR = 3600


async def advance(bench: Bench, to: datetime) -> Any:
    answer = await bench.http.post("/simulator/advance", json={"to": to.isoformat()})
    return answer.json()


async def test_time_stands_still_until_it_is_advanced() -> None:
    bench = Bench()
    clock = (await bench.http.get("/simulator/clock")).json()
    assert clock == {
        "object": "SimulatorClock",
        "now": "2026-01-05T08:00:00.000000Z",
        "speed": 0.0,
    }
    came = await advance(bench, START + timedelta(days=3))
    assert came["now"] == "2026-01-08T08:00:00.000000Z"
    assert (came["delivered"], came["next"]) == (0, None)


async def test_time_never_goes_backwards() -> None:
    bench = Bench()
    await advance(bench, START + timedelta(days=1))
    came = await advance(bench, START)
    assert came["now"] == "2026-01-06T08:00:00.000000Z"


async def test_an_advance_stops_at_the_first_webhook_with_all_that_are_due_then() -> None:
    bench = Bench()
    await bench.listen("account_status", events=["error", "ok"])
    await bench.listen("account_status", events=["error"], request_url="http://engine/second")
    status = f"/simulator/accounts/{bench.sender.id}/status"
    await bench.http.post(status, json={"status": "ERROR", "after_s": HOUR})
    await bench.http.post(status, json={"status": "OK", "after_s": 2 * HOUR})
    first = await advance(bench, START + timedelta(days=1))
    assert first == {
        "object": "SimulatorAdvance",
        "now": "2026-01-05T09:00:00.000000Z",
        "delivered": 2,
        "next": "2026-01-05T10:00:00.000000Z",
    }
    second = await advance(bench, START + timedelta(days=1))
    assert (second["now"], second["delivered"]) == ("2026-01-05T10:00:00.000000Z", 1)
    assert (await advance(bench, START + timedelta(days=1)))["now"].startswith("2026-01-06T08")


async def test_an_accepted_invitation_is_told_within_eight_hours_and_shown_at_once() -> None:
    bench = Bench()
    await bench.listen("users", name="relations")
    await bench.force("lea-martin", accepts_after=HOUR)
    await bench.invite("lea-martin")
    await scheduler.advance(bench.world, START + timedelta(hours=1))
    profile = (await bench.get("/users/lea-martin")).json()
    assert profile["network_distance"] == "FIRST_DEGREE"
    assert bench.receiver.bodies == []
    await bench.pass_time(timedelta(hours=8))
    [(at, told)] = bench.receiver.bodies
    assert START + timedelta(hours=1) < at <= START + timedelta(hours=9)
    assert told == {
        "event": "new_relation",
        "account_id": bench.sender.id,
        "account_type": "LINKEDIN",
        "webhook_name": "relations",
        "user_full_name": "Lea Martin",
        "user_provider_id": bench.provider_id("lea-martin"),
        "user_public_identifier": "lea-martin",
        "user_profile_url": "https://www.linkedin.com/in/lea-martin/",
        "user_picture_url": (
            f"https://media.licdn.com/dms/image/{bench.provider_id('lea-martin')}"
        ),
    }


async def test_a_withdrawn_invitation_is_not_accepted() -> None:
    bench = Bench()
    await bench.force("lea-martin", accepts_after=HOUR)
    invitation = (await bench.invite("lea-martin")).json()["invitation_id"]
    await bench.delete(f"/users/invite/sent/{invitation}")
    await bench.pass_time(timedelta(days=1))
    assert bench.world.ledger.acceptances == []


async def test_an_accepted_note_becomes_the_first_message_and_is_echoed_within_moments() -> None:
    bench = Bench()
    await bench.listen("messaging")
    await bench.force("lea-martin", accepts_after=HOUR)
    await bench.invite("lea-martin", "Hello Lea, shall we talk?")
    await bench.pass_time(timedelta(hours=2))
    [(at, echo)] = bench.receiver.bodies
    assert at - START < timedelta(hours=1, minutes=1)
    assert (echo["is_sender"], echo["message"]) == (True, "Hello Lea, shall we talk?")
    assert echo["attendees"][0]["attendee_provider_id"] == bench.provider_id("lea-martin")
    messages = (await bench.get("/messages")).json()["items"]
    assert [one["message_type"] for one in messages] == ["INVITATION"]
    assert bench.landed == [("invitation", "lea-martin")]


async def test_an_invitation_without_a_note_has_no_echo() -> None:
    bench = Bench()
    await bench.listen("messaging")
    await bench.force("lea-martin", accepts_after=HOUR)
    await bench.invite("lea-martin")
    await bench.pass_time(timedelta(hours=12))
    assert bench.receiver.bodies == []


async def test_a_person_replies_to_the_message_they_were_made_to() -> None:
    bench = Bench()
    await bench.listen("messaging")
    await bench.connect("lea-martin")
    await bench.force(
        "lea-martin", replies_to_message=2, replies_after=HOUR, reply="Sure, Tuesday?"
    )
    await bench.start_chat("lea-martin", "Hello")
    await bench.pass_time(timedelta(hours=3))
    assert [one["is_sender"] for one in bench.receiver.events("message_received")] == [True]
    await bench.start_chat("lea-martin", "Did you see this?")
    await bench.pass_time(timedelta(hours=3))
    last = bench.receiver.events("message_received")[-1]
    assert (last["is_sender"], last["message"]) == (False, "Sure, Tuesday?")
    assert last["sender"]["attendee_provider_id"] == bench.provider_id("lea-martin")
    [reply] = bench.world.ledger.replies
    assert reply.at == START + timedelta(hours=4)
    assert reply.known_at is not None
    assert reply.at <= reply.known_at <= reply.at + timedelta(seconds=20)


async def test_a_lost_reply_becomes_known_by_reading_the_messages() -> None:
    bench = Bench(reliability=Reliability(lost=1, duplicated=0, null_ids=0))
    await bench.listen("messaging")
    await bench.connect("lea-martin")
    await bench.http.post(
        "/simulator/people/lea-martin/reply", json={"account_id": bench.sender.id}
    )
    await bench.pass_time(timedelta(hours=5))
    [reply] = bench.world.ledger.replies
    assert (bench.receiver.bodies, reply.known_at) == ([], None)
    await bench.get("/messages")
    assert reply.known_at == START + timedelta(hours=5)


async def test_a_lost_acceptance_becomes_known_by_a_sweep_of_the_relations() -> None:
    bench = Bench(reliability=Reliability(lost=1, duplicated=0, null_ids=0))
    await bench.listen("users")
    await bench.force("lea-martin", accepts_after=HOUR)
    await bench.invite("lea-martin")
    await bench.pass_time(timedelta(days=1))
    [acceptance] = bench.world.ledger.acceptances
    assert (bench.receiver.bodies, acceptance.known_at) == ([], None)
    await bench.get("/users/relations")
    assert acceptance.known_at == START + timedelta(days=1)


async def test_a_webhook_that_is_not_taken_comes_five_times_more_and_is_then_dropped() -> None:
    bench = Bench()
    await bench.listen("account_status", events=["error"])
    bench.receiver.statuses = [500, None, 404, 301, 503, 500, 200]
    set_status(bench.world, bench.sender, bench.world.accounts[bench.sender.id].status.ERROR)
    stops = await bench.pass_time(timedelta(days=2))
    times = [at for at, _ in bench.receiver.bodies]
    assert [after - before for before, after in pairwise(times)] == list(RETRY_DELAYS)
    assert sum(stop.delivered for stop in stops) == 0
    assert (bench.world.deliveries.failed_attempts, bench.world.deliveries.dropped) == (6, 1)


async def test_a_duplicated_webhook_is_told_twice_in_the_same_words() -> None:
    bench = Bench(reliability=Reliability(lost=0, duplicated=1, null_ids=0))
    await bench.listen("messaging")
    await bench.connect("lea-martin")
    await bench.start_chat("lea-martin", "Hello")
    await bench.pass_time(timedelta(hours=1))
    [first, second] = bench.receiver.events("message_received")
    assert first == second
    assert bench.landed == [("message", "lea-martin")]


async def test_webhooks_carry_their_own_headers_and_no_others() -> None:
    bench = Bench()
    headers = [
        {"key": "Unipile-Auth", "value": "secret"},
        {"key": "Content-Type", "value": "application/json"},
    ]
    await bench.listen("account_status", events=["error"], headers=headers)
    await bench.listen("account_status", events=["error"])
    await bench.http.post(f"/simulator/accounts/{bench.sender.id}/status", json={"status": "ERROR"})
    await bench.pass_time(timedelta(minutes=1))
    assert bench.receiver.headers == [
        {"Unipile-Auth": "secret", "Content-Type": "application/json"},
        {},
    ]


async def test_a_webhook_hears_only_its_accounts_and_events() -> None:
    bench = Bench()
    other = connect_account(bench.world)
    await bench.listen("account_status", account_ids=[other.id])
    await bench.listen("messaging", events=["message_read"])
    await bench.connect("lea-martin")
    await bench.start_chat("lea-martin", "Hello")
    await bench.http.post(f"/simulator/accounts/{bench.sender.id}/status", json={"status": "ERROR"})
    await bench.pass_time(timedelta(hours=1))
    assert bench.receiver.bodies == []
    wrong = await bench.http.post(
        "/api/v1/webhooks",
        json={"source": "users", "request_url": "http://x", "events": ["message_received"]},
    )
    assert kind_of(wrong) == "invalid_parameters"


async def test_a_deleted_account_does_nothing_more() -> None:
    bench = Bench()
    await bench.listen("users")
    await bench.force("lea-martin", accepts_after=HOUR)
    await bench.invite("lea-martin", "Hello")
    await bench.http.delete(f"/api/v1/accounts/{bench.sender.id}")
    await bench.pass_time(timedelta(days=1))
    assert bench.world.ledger.acceptances == []


@given(st.permutations(range(12)))
def test_the_order_of_requests_changes_nobodys_fate(order: list[int]) -> None:
    async def story(order: list[int]) -> list[tuple[str, datetime]]:
        bench = Bench(Chances(missing=0, locked=0, connected=0, accepts=1))
        for number in order:
            await bench.invite(f"lead-{number}")
        await bench.pass_time(timedelta(days=30))
        return sorted((one.slug, one.at) for one in bench.world.ledger.acceptances)

    assert asyncio.run(story(order)) == asyncio.run(story(list(range(12))))


async def test_the_same_requests_give_the_same_run() -> None:
    async def run() -> list[Any]:
        bench = Bench(Chances(), Reliability(lost=0.2, duplicated=0.2, null_ids=0.2))
        await bench.listen("users")
        await bench.listen("messaging")
        answers = []
        for number in range(40):
            answers.append((await bench.get(f"/users/lead-{number}", notify="true")).json())
            answers.append((await bench.invite(f"lead-{number}", "Hello")).json())
        await bench.pass_time(timedelta(days=21))
        return [answers, bench.receiver.bodies, bench.world.ledger.page(0, 1000)]

    assert await run() == await run()


async def test_a_running_clock_lets_things_happen_by_itself() -> None:
    told = asyncio.Event()
    real = 0.0

    async def deliver(_url: str, _headers: object, _body: bytes) -> int:
        told.set()
        return 200

    world = World(
        clock=RunningClock(START, 60.0, lambda: real),
        chances=PLAIN,
        reliability=RELIABLE,
        deliver=deliver,
    )
    account = connect_account(world)
    register_webhook(
        world, {"source": "account_status", "request_url": "http://engine", "events": ["error"]}
    )
    running = asyncio.create_task(scheduler.run(world, 60.0))
    status = account.status.ERROR
    real = 1.0  # a second of ours is a minute of theirs
    world.plan(account, START + timedelta(seconds=59), lambda: set_status(world, account, status))
    await asyncio.wait_for(told.wait(), 5)
    assert world.clock() == START + timedelta(minutes=1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

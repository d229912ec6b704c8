"""What reads show: pages, people as they are today, and when the store shows a message."""

from datetime import timedelta

from simulated import RELIABLE, Bench

from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.invitations import accept
from clento_engine.simulator.people import Chances


async def test_a_person_is_the_same_whoever_asks_first() -> None:
    one, other = Bench(Chances()), Bench(Chances())
    for slug in ("lea-martin", "noah-silva"):
        await one.get(f"/users/{slug}")
    for slug in ("noah-silva", "mia-keller"):
        await other.get(f"/users/{slug}")
    lea = (await one.get("/users/lea-martin")).json()
    assert lea == (await other.get("/users/lea-martin")).json()


async def test_another_seed_makes_another_person() -> None:
    assert Bench(seed=1).provider_id("lea-martin") != Bench(seed=2).provider_id("lea-martin")


async def test_people_come_in_the_proportions_asked_for() -> None:
    bench = Bench(Chances())
    people = [bench.world.person(f"lead-{number}") for number in range(4000)]
    missing = sum(not person.traits.exists for person in people) / len(people)
    locked = sum(person.traits.locked for person in people) / len(people)
    tempers = [bench.world.temper(bench.sender, person) for person in people]
    accepting = [one.accepts_after for one in tempers if one.accepts_after is not None]
    assert 0.005 < missing < 0.015
    assert 0.005 < locked < 0.015
    assert 0.37 < len(accepting) / len(people) < 0.43
    assert min(accepting) >= timedelta(minutes=20)
    assert max(accepting) <= timedelta(days=20)
    assert sum(one < timedelta(days=1) for one in accepting) / len(accepting) > 0.4


async def test_a_person_treats_each_account_in_their_own_way() -> None:
    bench = Bench(Chances(accepts=0.5))
    other = connect_account(bench.world)
    people = [bench.world.person(f"lead-{number}") for number in range(50)]
    mine = [bench.world.temper(bench.sender, person) for person in people]
    theirs = [bench.world.temper(other, person) for person in people]
    assert mine == [bench.world.temper(bench.sender, person) for person in people]
    assert all(one != another for one, another in zip(mine, theirs, strict=True))


async def test_an_old_slug_resolves_and_shows_the_new_one() -> None:
    bench = Bench()
    await bench.force("lea-martin", new_slug="lea-martin-cto")
    old = (await bench.get("/users/lea-martin")).json()
    new = (await bench.get("/users/lea-martin-cto")).json()
    assert old["public_identifier"] == "lea-martin-cto"
    assert old["provider_id"] == new["provider_id"]


async def test_only_a_notified_lookup_is_a_visit() -> None:
    bench = Bench()
    await bench.get("/users/lea-martin", notify="false")
    await bench.get("/users/lea-martin")
    assert bench.landed == []
    await bench.get("/users/lea-martin", notify="true")
    assert bench.landed == [("visit", "lea-martin")]
    reads = (await bench.http.get("/simulator/ledger/reads")).json()["reads"]
    assert len(reads[bench.sender.id]["profile_read"]) == 2


async def test_sent_invitations_come_ten_a_page_and_pending_only() -> None:
    bench = Bench()
    sent = [(await bench.invite(f"lead-{n}")).json()["invitation_id"] for n in range(25)]
    await bench.delete(f"/users/invite/sent/{sent[3]}")
    accept(
        bench.world,
        bench.sender,
        bench.sender.member.ties["lead-4"],
        bench.sender.member.pending[sent[4]],
    )
    first = (await bench.get("/users/invite/sent")).json()
    assert len(first["items"]) == 10
    found = [item["id"] for item in first["items"]]
    cursor = first["cursor"]
    while cursor:
        page = (await bench.get("/users/invite/sent", cursor=cursor)).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
    assert found == [one for one in reversed(sent) if one not in (sent[3], sent[4])]


async def test_a_profile_shows_what_became_of_the_invitation() -> None:
    bench = Bench()
    assert "invitation" not in (await bench.get("/users/lea-martin")).json()
    invitation = (await bench.invite("lea-martin")).json()["invitation_id"]
    pending = (await bench.get("/users/lea-martin")).json()
    assert pending["invitation"] == {"type": "SENT", "status": "PENDING"}
    await bench.delete(f"/users/invite/sent/{invitation}")
    withdrawn = (await bench.get("/users/lea-martin")).json()
    assert withdrawn["invitation"] == {"type": "SENT", "status": "WITHDRAWN"}


async def test_relations_are_newest_first_and_paged() -> None:
    bench = Bench()
    for number in range(5):
        await bench.force(f"lead-{number}", accepts_after=60 * (number + 1))
        await bench.invite(f"lead-{number}")
    await bench.pass_time(timedelta(hours=1))
    first = (await bench.get("/users/relations", limit=3)).json()
    rest = (await bench.get("/users/relations", limit=3, cursor=first["cursor"])).json()
    shown = [item["public_identifier"] for item in first["items"] + rest["items"]]
    assert shown == [f"lead-{number}" for number in reversed(range(5))]
    assert rest["cursor"] is None


async def test_a_sent_message_is_readable_only_after_the_delay() -> None:
    bench = Bench()
    await bench.http.patch("/simulator/settings", json={"visible_after_s": 300})
    await bench.connect("lea-martin")
    chat = (await bench.start_chat("lea-martin", "Hello Lea")).json()["chat_id"]
    attendee = bench.provider_id("lea-martin")
    assert (await bench.get(f"/chat_attendees/{attendee}/chats")).status_code == 404
    assert (await bench.get(f"/chats/{chat}/messages")).json()["items"] == []
    await bench.pass_time(timedelta(minutes=5))
    chats = (await bench.get(f"/chat_attendees/{attendee}/chats")).json()["items"]
    messages = (await bench.get(f"/chats/{chat}/messages")).json()["items"]
    assert [one["id"] for one in chats] == [chat]
    assert [(one["text"], one["is_sender"]) for one in messages] == [("Hello Lea", 1)]


async def test_messages_are_newest_first_paged_and_bounded_by_after() -> None:
    bench = Bench()
    await bench.connect("lea-martin")
    for number in range(7):
        await bench.start_chat("lea-martin", f"Message {number}")
        await bench.pass_time(timedelta(minutes=1))
    first = (await bench.get("/messages", limit=4)).json()
    rest = (await bench.get("/messages", limit=4, cursor=first["cursor"])).json()
    texts = [item["text"] for item in first["items"] + rest["items"]]
    assert texts == [f"Message {number}" for number in reversed(range(7))]
    assert rest["cursor"] is None
    third = rest["items"][0]["timestamp"]
    since = (await bench.get("/messages", after=third)).json()
    assert [item["text"] for item in since["items"]] == texts[:4]


async def test_posts_are_newest_first_and_new_ones_appear_over_time() -> None:
    bench = Bench(Chances(missing=0, locked=0, posts=1), RELIABLE)
    slug = next(
        slug
        for slug in (f"lead-{number}" for number in range(50))
        if bench.world.person(slug).traits.posts_every is not None
    )
    path = f"/users/{bench.provider_id(slug)}/posts"
    before = (await bench.get(path)).json()["items"]
    await bench.pass_time(timedelta(days=90))
    after = (await bench.get(path)).json()["items"]
    dates = [item["parsed_datetime"] for item in after]
    assert dates == sorted(dates, reverse=True)
    assert len(after) > len(before)
    assert [item["id"] for item in after[-len(before) :]] == [item["id"] for item in before]


async def test_comments_are_found_under_the_post_and_by_their_author() -> None:
    bench = Bench()
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    sent = await bench.post(f"/posts/{post}/comments", text="Well said")
    form = {"account_id": bench.sender.id, "text": "Indeed"}
    assert (await bench.multipart(f"/posts/{post}/comments", form)).status_code == 201
    under = (await bench.get(f"/posts/{post}/comments", sort_by="MOST_RECENT")).json()
    own = (await bench.get(f"/users/{bench.sender.provider_id}/comments")).json()
    assert [item["text"] for item in under["items"]] == ["Indeed", "Well said"]
    assert under["items"][1]["id"] == sent.json()["comment_id"]
    assert under["items"][0]["author_details"]["id"] == bench.sender.provider_id
    assert own["items"] == under["items"]


async def test_some_answers_lack_their_ids_when_asked_for() -> None:
    bench = Bench()
    await bench.http.patch("/simulator/settings", json={"null_ids": 1})
    await bench.connect("lea-martin")
    answer = await bench.start_chat("lea-martin", "Hello")
    assert answer.json() == {"object": "ChatStarted", "chat_id": None, "message_id": None}
    assert bench.landed == [("message", "lea-martin")]


async def test_a_hosted_link_connects_an_account_and_calls_back_with_our_own_name() -> None:
    bench = Bench()
    link = {
        "type": "create",
        "providers": ["LINKEDIN"],
        "expiresOn": "2026-01-05T09:00:00.000Z",
        "api_url": "http://simulator",
        "name": "our-key",
        "notify_url": "http://engine/connected?token=x",
    }
    url = (await bench.http.post("/api/v1/hosted/accounts/link", json=link)).json()["url"]
    opened = (await bench.http.get(url)).json()
    await bench.pass_time(timedelta(minutes=1))
    assert opened["account_id"] in bench.world.accounts
    assert [body for _, body in bench.receiver.bodies] == [
        {"status": "CREATION_SUCCESS", "account_id": opened["account_id"], "name": "our-key"}
    ]
    assert (await bench.http.get(url)).status_code == 401

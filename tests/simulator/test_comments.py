"""Comments by others, by our senders, and by their owners' own hands."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from simulated import PLAIN, Bench, kind_of


async def post_of(bench: Bench, slug: str = "lea-martin") -> str:
    social_id: str = (await bench.force(slug, posts=1))["posts"][0]["social_id"]
    return social_id


async def pages(bench: Bench, path: str) -> list[list[dict[str, Any]]]:
    """Return the comments of a list, page by page."""
    found, cursor = [], None
    while True:
        more: dict[str, Any] = {"cursor": cursor} if cursor else {}
        page = (await bench.get(path, limit=100, **more)).json()
        found.append(page["items"])
        cursor = page["cursor"]
        if cursor is None:
            return found


async def test_others_comment_after_ours_and_push_it_off_the_first_page() -> None:
    bench = Bench()
    post = await post_of(bench)
    ours = (await bench.post(f"/posts/{post}/comments", text="Well said")).json()["comment_id"]
    answer = await bench.http.post(f"/simulator/posts/{post}/comments", json={"count": 110})
    assert answer.json()["comments"] == 111
    first, second = await pages(bench, f"/posts/{post}/comments")
    assert (len(first), len(second)) == (100, 11)
    assert ours not in [one["id"] for one in first]
    assert second[-1]["id"] == ours
    authors = {one["author_details"]["id"] for one in first + second}
    assert len(authors) == 111
    assert len({one["id"] for one in first + second}) == 111
    assert [entry.text for entry in bench.world.ledger.entries] == ["Well said"]


async def test_others_may_comment_later() -> None:
    bench = Bench()
    post = await post_of(bench)
    fields = {"count": 3, "after_s": 60}
    await bench.http.post(f"/simulator/posts/{post}/comments", json=fields)
    assert (await bench.get(f"/posts/{post}")).json()["comment_counter"] == 0
    await bench.pass_time(timedelta(minutes=1))
    assert (await bench.get(f"/posts/{post}")).json()["comment_counter"] == 3


async def test_a_world_may_have_others_comment_after_each_comment_of_ours() -> None:
    lively = replace(PLAIN, others_comment=5)
    bench = Bench(lively)
    post = await post_of(bench)
    for number in range(2):
        await bench.post(f"/posts/{post}/comments", text=f"Well said {number}")
    await bench.pass_time(timedelta(minutes=11))
    [items] = await pages(bench, f"/posts/{post}/comments")
    assert len(items) == 12
    own = bench.sender.provider_id
    assert [one["author_details"]["id"] for one in items[-2:]] == [own, own]


async def test_the_own_list_is_ours_only_with_what_the_owner_wrote_by_hand() -> None:
    bench = Bench()
    post, other = await post_of(bench), await post_of(bench, "noah-silva")
    await bench.post(f"/posts/{post}/comments", text="Well said")
    written = await bench.http.post(
        f"/simulator/accounts/{bench.sender.id}/comments", json={"post": other, "text": "By hand"}
    )
    assert written.status_code == 201
    await bench.http.post(f"/simulator/posts/{post}/comments", json={"count": 20})
    [own] = await pages(bench, f"/users/{bench.sender.provider_id}/comments")
    assert [(one["text"], one["post_urn"]) for one in own] == [
        ("By hand", other),
        ("Well said", post),
    ]
    [under] = await pages(bench, f"/posts/{other}/comments")
    assert [one["text"] for one in under] == ["By hand"]
    assert bench.landed == [("comment", "lea-martin")], "the owner's own hand is no effect of ours"


async def test_a_post_that_nobody_was_shown_cannot_be_commented_by_others() -> None:
    bench = Bench()
    answer = await bench.http.post("/simulator/posts/urn:li:ugcPost:1/comments", json={"count": 1})
    assert kind_of(answer) == "resource_not_found"


async def test_a_pending_list_may_name_people_by_public_identifier_alone() -> None:
    bench = Bench()
    await bench.http.patch("/simulator/settings", json={"pending_by_slug_only": True})
    rule = {"kind": "null_ids", "route": "POST /users/invite", "times": 1}
    await bench.faults(rule)
    sent = (await bench.invite("lea-martin")).json()
    [item] = (await bench.get("/users/invite/sent")).json()["items"]
    assert sent["invitation_id"] is None
    assert item["invited_user_id"] is None
    assert item["invited_user_public_id"] == "lea-martin"
    wrong = await bench.delete("/users/invite/sent/7000000000000000001")
    assert (wrong.status_code, kind_of(wrong)) == (404, "resource_not_found")
    profile = (await bench.get("/users/lea-martin")).json()
    assert profile["invitation"] == {"type": "SENT", "status": "PENDING"}
    assert (await bench.delete(f"/users/invite/sent/{item['id']}")).status_code == 200
    profile = (await bench.get("/users/lea-martin")).json()
    assert profile["invitation"] == {"type": "SENT", "status": "WITHDRAWN"}

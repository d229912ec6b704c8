"""What the simulated LinkedIn and Unipile refuse, and that a refusal reaches nobody."""

from datetime import timedelta

import pytest
from simulated import PLAIN, Bench, kind_of

from clento_engine.simulator.accounts import connect_account
from clento_engine.simulator.people import Chances
from clento_engine.simulator.senders import PATIENCE, Tier

PREMIUM_NOTE = 300


async def test_a_request_without_a_key_is_refused() -> None:
    bench = Bench()
    answer = await bench.http.get("/api/v1/accounts", headers={"x-api-key": ""})
    assert (answer.status_code, kind_of(answer)) == (401, "missing_credentials")


async def test_an_unknown_account_is_not_found() -> None:
    answer = await Bench().get("/users/lea-martin", account_id="acc_unknown")
    assert (answer.status_code, kind_of(answer)) == (404, "resource_not_found")


async def test_a_refusal_is_described_as_rfc_7807_does() -> None:
    answer = await Bench().get("/users/lea-martin", account_id="acc_unknown")
    assert answer.json() == {
        "status": 404,
        "type": "errors/resource_not_found",
        "title": "Resource not found",
        "detail": "Account not found.",
        "instance": "/api/v1/users/lea-martin",
    }


async def test_a_missing_person_is_not_found_and_a_locked_one_is_an_invalid_recipient() -> None:
    bench = Bench()
    await bench.force("gone-person", exists=False)
    await bench.force("shy-person", locked=True)
    gone = await bench.get("/users/gone-person", notify="true")
    shy = await bench.get("/users/shy-person", notify="true")
    assert (gone.status_code, kind_of(gone)) == (404, "resource_not_found")
    assert (shy.status_code, kind_of(shy)) == (422, "invalid_recipient")
    assert bench.landed == []


async def test_a_second_invitation_is_refused_while_the_first_is_pending() -> None:
    bench = Bench()
    assert (await bench.invite("lea-martin")).status_code == 200
    answer = await bench.invite("lea-martin")
    assert (answer.status_code, kind_of(answer)) == (422, "already_invited_recently")
    assert bench.landed == [("invitation", "lea-martin")]


async def test_an_invitation_is_refused_for_three_weeks_after_a_withdrawal() -> None:
    bench = Bench()
    invitation = (await bench.invite("lea-martin")).json()["invitation_id"]
    assert (await bench.delete(f"/users/invite/sent/{invitation}")).status_code == 200
    await bench.pass_time(timedelta(days=20, hours=23))
    assert kind_of(await bench.invite("lea-martin")) == "already_invited_recently"
    await bench.pass_time(timedelta(hours=1))
    assert (await bench.invite("lea-martin")).status_code == 200


async def test_an_invitation_to_a_connection_is_refused() -> None:
    bench = Bench()
    await bench.connect("lea-martin")
    assert kind_of(await bench.invite("lea-martin")) == "already_connected"


async def test_an_invitation_to_a_slug_is_refused() -> None:
    answer = await Bench().post("/users/invite", provider_id="lea-martin")
    assert (answer.status_code, kind_of(answer)) == (422, "invalid_recipient")


@pytest.mark.parametrize(("tier", "most"), [(Tier.FREE, 200), (Tier.PREMIUM, PREMIUM_NOTE)])
async def test_a_note_longer_than_the_plan_allows_is_refused(tier: Tier, most: int) -> None:
    bench = Bench(tier=tier)
    answer = await bench.invite("lea-martin", "x" * (most + 1))
    assert (answer.status_code, kind_of(answer)) == (400, "too_many_characters")
    assert (await bench.invite("lea-martin", "x" * most)).status_code == 200


async def test_withdrawing_twice_is_not_found_and_a_wrong_id_is_a_bad_request() -> None:
    bench = Bench()
    invitation = (await bench.invite("lea-martin")).json()["invitation_id"]
    await bench.delete(f"/users/invite/sent/{invitation}")
    again = await bench.delete(f"/users/invite/sent/{invitation}")
    assert (again.status_code, kind_of(again)) == (404, "resource_not_found")
    wrong = await bench.delete("/users/invite/sent/not-a-number")
    assert wrong.status_code == 400
    assert "invalid_invitation_id" in wrong.text


async def test_a_repeated_reaction_is_refused_and_counts_once() -> None:
    bench = Bench()
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    first = await bench.post("/posts/reaction", post_id=post)
    assert (first.status_code, first.json()) == (201, {"object": "ReactionAdded"})
    again = await bench.post("/posts/reaction", post_id=post, reaction_type="love")
    assert (again.status_code, kind_of(again)) == (422, "action_already_performed")
    seen = (await bench.get(f"/posts/{post}")).json()
    assert seen["user_reacted"] == "LIKE"
    assert bench.landed == [("like", "lea-martin")]


async def test_a_post_is_acted_on_by_its_social_id_only() -> None:
    bench = Bench()
    social_id = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    plain_id = (await bench.get(f"/posts/{social_id}")).json()["id"]
    assert kind_of(await bench.post("/posts/reaction", post_id=plain_id)) == "invalid_post"
    answer = await bench.post("/posts/reaction", post_id="urn:li:ugcPost:1")
    assert (answer.status_code, kind_of(answer)) == (404, "resource_not_found")


async def test_a_comment_is_refused_when_too_long_or_when_comments_are_off() -> None:
    bench = Bench(Chances(missing=0, locked=0, comments_off=1))
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    long = await bench.post(f"/posts/{post}/comments", text="x" * 1251)
    assert (long.status_code, kind_of(long)) == (400, "too_many_characters")
    off = await bench.post(f"/posts/{post}/comments", text="Well said")
    assert (off.status_code, kind_of(off)) == (422, "comments_disabled")
    assert bench.landed == []


async def test_a_message_to_a_stranger_is_refused() -> None:
    bench = Bench()
    answer = await bench.start_chat("lea-martin", "Hello")
    assert (answer.status_code, kind_of(answer)) == (422, "no_connection_with_recipient")


async def test_messages_must_be_multipart() -> None:
    bench = Bench()
    await bench.connect("lea-martin")
    ids = [bench.provider_id("lea-martin")]
    answer = await bench.post("/chats", attendees_ids=ids, text="Hello")
    assert (answer.status_code, kind_of(answer)) == (415, "unsupported_media_type")
    chat = (await bench.start_chat("lea-martin", "Hello")).json()["chat_id"]
    assert (await bench.post(f"/chats/{chat}/messages", text="Hello")).status_code == 415


async def test_two_messages_of_one_text_become_two() -> None:
    bench = Bench()
    await bench.connect("lea-martin")
    first = (await bench.start_chat("lea-martin", "Hello")).json()
    second = (await bench.start_chat("lea-martin", "Hello")).json()
    assert first["chat_id"] == second["chat_id"]
    assert first["message_id"] != second["message_id"]
    assert bench.landed == [("message", "lea-martin")] * 2


async def test_a_chat_of_another_account_is_not_found() -> None:
    bench = Bench()
    await bench.connect("lea-martin")
    chat = (await bench.start_chat("lea-martin", "Hello")).json()["chat_id"]
    other = connect_account(bench.world)
    answer = await bench.multipart(
        f"/chats/{chat}/messages", {"account_id": other.id, "text": "Hello"}
    )
    assert answer.status_code == 404


async def test_inmail_needs_a_subscription_credits_and_a_person_who_takes_it() -> None:
    free = await Bench(tier=Tier.FREE).start_chat("lea-martin", "Hello", **CLASSIC_INMAIL)
    assert (free.status_code, kind_of(free)) == (403, "feature_not_subscribed")
    bench = Bench()
    await bench.force("shy-person", takes_inmail=False)
    shy = await bench.start_chat("shy-person", "Hello", **CLASSIC_INMAIL)
    assert (shy.status_code, kind_of(shy)) == (422, "not_allowed_inmail")
    for number in range(5):
        sent = await bench.start_chat(f"lea-{number}", "Hello", **CLASSIC_INMAIL)
        assert sent.status_code == 201
    balance = (await bench.get("/linkedin/inmail_balance")).json()
    assert (balance["premium"], balance["sales_navigator"]) == (0, None)
    broke = await bench.start_chat("lea-martin", "Hello", **CLASSIC_INMAIL)
    assert (broke.status_code, kind_of(broke)) == (422, "insufficient_credits")
    await bench.force("open-person", open_profile=True)
    assert (await bench.start_chat("open-person", "Hi", **CLASSIC_INMAIL)).status_code == 201


async def test_an_answered_inmail_gives_its_credit_back() -> None:
    bench = Bench()
    await bench.start_chat("lea-martin", "Hello", **CLASSIC_INMAIL)
    await bench.http.post("/simulator/people/lea-martin/reply", json={})
    assert (await bench.get("/linkedin/inmail_balance")).json()["premium"] == 5


async def test_sales_navigator_inmail_needs_the_id_of_that_product() -> None:
    bench = Bench(tier=Tier.SALES_NAVIGATOR)
    sales = {"linkedin[api]": "sales_navigator", "subject": "Hello"}
    classic_id = await bench.start_chat("lea-martin", "Hello", **sales)
    assert kind_of(classic_id) == "invalid_recipient"
    profile = await bench.get(
        f"/users/{bench.provider_id('lea-martin')}", linkedin_api="sales_navigator"
    )
    sales_id = profile.json()["provider_id"]
    assert sales_id.startswith("ACw")
    sent = await bench.start_chat("lea-martin", "Hello", attendees_ids=sales_id, **sales)
    assert sent.status_code == 201
    assert bench.landed == [("inmail", "lea-martin")]


async def test_invitations_beyond_linkedins_patience_are_throttled_then_the_sender_restricted() -> (
    None
):
    bench = Bench()
    await bench.listen("account_status", events=["error"])
    limit = PATIENCE["invitation"].limit
    for number in range(limit):
        assert (await bench.invite(f"lead-{number}")).status_code == 200
    throttled = await bench.invite("one-more")
    assert (throttled.status_code, kind_of(throttled)) == (422, "cannot_resend_yet")
    kinds = [kind_of(await bench.invite(f"more-{number}")) for number in range(4 * limit)]
    assert "account_restricted" in kinds
    assert kinds[-1] == "account_restricted"
    assert (await bench.get("/users/lea-martin")).status_code == 403
    await bench.pass_time(timedelta(minutes=1))
    assert [body for _, body in bench.receiver.bodies] == [
        {
            "AccountStatus": {
                "account_id": bench.sender.id,
                "account_type": "LINKEDIN",
                "message": "ERROR",
            }
        }
    ]


async def test_patience_slides_with_time() -> None:
    bench = Bench()
    for number in range(PATIENCE["profile"].limit):
        await bench.get(f"/users/lead-{number}")
    answer = await bench.get("/users/one-more")
    assert (answer.status_code, kind_of(answer)) == (429, "too_many_requests")
    await bench.pass_time(timedelta(days=1))
    assert (await bench.get("/users/one-more")).status_code == 200


async def test_usage_is_told_only_when_a_mark_is_crossed() -> None:
    bench = Bench()
    marks = {
        number + 1: usage
        for number in range(200)
        if (usage := (await bench.invite(f"lead-{number}")).json().get("usage")) is not None
    }
    assert marks == {100: 50, 150: 75, 180: 90, 190: 95}


async def test_an_account_signed_out_of_linkedin_is_refused_until_it_is_back() -> None:
    bench = Bench()
    status = f"/simulator/accounts/{bench.sender.id}/status"
    await bench.http.post(status, json={"status": "CREDENTIALS"})
    answer = await bench.get("/users/lea-martin")
    assert (answer.status_code, kind_of(answer)) == (401, "disconnected_account")
    shown = (await bench.http.get(f"/api/v1/accounts/{bench.sender.id}")).json()
    assert shown["sources"][0]["status"] == "CREDENTIALS"
    await bench.http.post(status, json={"status": "OK"})
    assert (await bench.get("/users/lea-martin")).status_code == 200


async def test_times_need_milliseconds_and_limits_have_a_ceiling() -> None:
    bench = Bench()
    no_ms = await bench.get("/messages", after="2026-10-09T08:00:00Z")
    assert (no_ms.status_code, kind_of(no_ms)) == (400, "invalid_parameters")
    assert kind_of(await bench.get("/users/relations", limit=1001)) == "limit_too_high"


async def test_posts_are_not_found_by_slug() -> None:
    assert kind_of(await Bench(PLAIN).get("/users/lea-martin/posts")) == "invalid_recipient"


CLASSIC_INMAIL = {"linkedin[api]": "classic", "linkedin[inmail]": "true", "subject": "Hello"}

"""Faults, before and after the effect, in the process and over real sockets."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from simulated import PLAIN, RELIABLE, Bench, kind_of

from clento_engine.simulator.accounts import set_status
from clento_engine.simulator.app import AnswerHeldBack, ConnectionDropped
from clento_engine.simulator.senders import Status
from clento_engine.simulator.server import NotLoopback, Settings, serving

INVITE = "POST /users/invite"


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"kind": "unexpected_error"}, 500),
        ({"kind": "provider_error"}, 500),
        ({"kind": "bad_gateway"}, 502),
        ({"kind": "unavailable"}, 503),
        ({"kind": "unavailable", "type": "no_client_session"}, 503),
        ({"kind": "request_timeout"}, 504),
        ({"kind": "too_many_requests"}, 429),
        ({"kind": "refusal", "type": "cannot_resend_yet"}, 422),
        ({"kind": "refusal", "type": "never_heard_of", "status": 422}, 422),
        ({"kind": "refusal", "type": "checkpoint_error"}, 401),
        ({"kind": "refusal", "type": "account_restricted"}, 403),
    ],
)
async def test_an_error_comes_with_or_without_the_effect(
    rule: dict[str, Any], status: int, *, after_effect: bool
) -> None:
    bench = Bench()
    await bench.faults({**rule, "route": INVITE, "times": 1, "after_effect": after_effect})
    answer = await bench.invite("lea-martin")
    assert answer.status_code == status
    assert bench.landed == ([("invitation", "lea-martin")] if after_effect else [])
    if "type" in rule:
        assert kind_of(answer) == rule["type"]


async def test_a_gateway_answers_in_html() -> None:
    bench = Bench()
    await bench.faults({"kind": "bad_gateway"})
    answer = await bench.get("/accounts")
    assert answer.headers["content-type"] == "text/html"


@pytest.mark.parametrize("retry_after", [None, 120])
async def test_a_throttle_may_say_when_to_come_again(retry_after: int | None) -> None:
    bench = Bench()
    await bench.faults({"kind": "too_many_requests", "retry_after": retry_after})
    answer = await bench.get("/accounts")
    assert answer.headers.get("retry-after") == (str(retry_after) if retry_after else None)


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize(
    ("kind", "error"), [("reset", ConnectionDropped), ("timeout", AnswerHeldBack)]
)
async def test_in_the_process_a_broken_connection_is_httpx_own_error(
    kind: str, error: type[httpx.TransportError], *, after_effect: bool
) -> None:
    bench = Bench()
    await bench.faults({"kind": kind, "route": INVITE, "times": 1, "after_effect": after_effect})
    with pytest.raises(error):
        await bench.invite("lea-martin")
    assert bool(bench.landed) is after_effect
    assert (await bench.invite("noah-silva")).status_code == 200


@pytest.mark.parametrize("after_effect", [False, True])
async def test_over_a_socket_a_reset_breaks_the_connection_without_an_answer(
    *, after_effect: bool
) -> None:
    async with (
        serving(Settings(chances=PLAIN, reliability=RELIABLE)) as url,
        httpx.AsyncClient(base_url=url, headers={"x-api-key": "k"}, trust_env=False) as http,
    ):
        account = (await http.get("/api/v1/accounts")).json()["items"][0]["id"]
        person = (await http.get("/simulator/people/lea-martin")).json()["provider_id"]
        rule = {"kind": "reset", "route": INVITE, "times": 1, "after_effect": after_effect}
        await http.post("/simulator/faults", json={"rules": [rule]})
        body = {"account_id": account, "provider_id": person}
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await http.post("/api/v1/users/invite", json=body)
        state = (await http.get("/simulator/state")).json()
        assert state["actions"] == ({"invitation": 1} if after_effect else {})
        assert state["faults"] == {"reset": 1}
        again = await http.post("/api/v1/users/invite", json=body)
        assert again.status_code == (422 if after_effect else 200)


async def test_over_a_socket_an_answer_held_back_runs_into_the_callers_limit() -> None:
    async with (
        serving(Settings(chances=PLAIN, reliability=RELIABLE)) as url,
        httpx.AsyncClient(base_url=url, headers={"x-api-key": "k"}, trust_env=False) as http,
    ):
        rules = [
            {"kind": "timeout", "route": "GET /accounts", "times": 1},
            {"kind": "timeout", "route": "GET /accounts", "times": 1, "delay_s": 0.01},
        ]
        await http.post("/simulator/faults", json={"rules": rules})
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/api/v1/accounts", timeout=0.05)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await http.get("/api/v1/accounts", timeout=5)
        assert (await http.get("/api/v1/accounts")).status_code == 200


async def test_spoiled_answers_come_after_the_effect() -> None:
    bench = Bench()
    kinds = ("malformed_json", "empty_body", "wrong_types", "null_ids")
    await bench.faults(*({"kind": kind, "route": INVITE, "times": 1} for kind in kinds))
    broken, empty, odd, without = [await bench.invite(f"lead-{number}") for number in range(4)]
    assert len(bench.landed) == 4
    with pytest.raises(ValueError, match="Expecting"):
        broken.json()
    assert (empty.status_code, empty.content) == (200, b"")
    assert isinstance(odd.json()["invitation_id"], list)
    assert without.json()["invitation_id"] is None


async def test_an_answer_about_somebody_else_names_nothing_of_who_was_asked_for() -> None:
    bench = Bench()
    lea = bench.provider_id("lea-martin")
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    await bench.connect("lea-martin")
    chat = (await bench.start_chat("lea-martin", "Hello Lea")).json()["chat_id"]
    await bench.post(f"/posts/{post}/comments", text="Well said, Lea")
    await bench.pass_time(timedelta(minutes=1))
    own = bench.sender.provider_id
    paths = [
        "/users/lea-martin",
        f"/users/{lea}/posts",
        f"/posts/{post}",
        f"/chat_attendees/{lea}/chats",
        f"/chats/{chat}/messages",
        f"/users/{own}/comments",
    ]
    truth = [(await bench.get(path)).json() for path in paths]
    await bench.faults({"kind": "somebody_else", "route": "GET *"})
    for path, true in zip(paths, truth, strict=True):
        answer = await bench.get(path)
        assert answer.status_code == 200
        assert answer.json()["object"] == true["object"]
        assert len(answer.json().get("items", ())) == len(true.get("items", ()))
        for word in (lea, "lea-martin", "Lea", post, chat):
            assert word not in answer.text, path
    await bench.get("/users/lea-martin", notify="true")
    assert bench.landed[-1] == ("visit", "lea-martin"), "the request itself has its effect"


async def test_what_says_that_it_is_done_already_is_told_only_where_it_was_done() -> None:
    bench = Bench()
    post = (await bench.force("lea-martin", posts=1))["posts"][0]["social_id"]
    already = {"kind": "refusal", "type": "action_already_performed", "after_effect": True}
    await bench.faults({**already, "route": "POST /posts/reaction"})
    set_status(bench.world, bench.sender, Status.CREDENTIALS)
    assert kind_of(await bench.post("/posts/reaction", post_id=post)) == "disconnected_account"
    set_status(bench.world, bench.sender, Status.OK)
    assert kind_of(await bench.post("/posts/reaction", post_id=post)) == "action_already_performed"
    assert bench.landed == [("like", "lea-martin")]


async def test_two_answers_about_somebody_else_are_about_two() -> None:
    bench = Bench()
    await bench.faults({"kind": "somebody_else", "name": "a wrong person"})
    first, second = [(await bench.get("/users/lea-martin")).json() for _ in range(2)]
    assert first["provider_id"] != second["provider_id"]
    assert (first["is_relationship"], second["is_relationship"]) == (True, False)
    counts = (await bench.http.get("/simulator/faults")).json()["struck"]
    assert counts == {"a wrong person": 2}


async def test_a_looping_cursor_names_the_same_page_for_ever() -> None:
    bench = Bench()
    await bench.invite("lea-martin")
    await bench.faults({"kind": "looping_cursor", "route": "GET /users/invite/sent"})
    first = (await bench.get("/users/invite/sent")).json()
    second = (await bench.get("/users/invite/sent", cursor=first["cursor"])).json()
    assert first == second
    assert first["cursor"] is not None


async def test_routes_are_matched_by_glob_or_by_template() -> None:
    bench = Bench()
    await bench.faults(
        {"kind": "unavailable", "route": "GET /users/*/posts", "times": 1},
        {"kind": "request_timeout", "route": "GET /users/{identifier}", "times": 1},
    )
    posts = f"/users/{bench.provider_id('lea-martin')}/posts"
    assert (await bench.invite("lea-martin")).status_code == 200
    assert (await bench.get("/users/lea-martin")).status_code == 504
    assert (await bench.get(posts)).status_code == 503
    assert (await bench.get(posts)).status_code == 200


async def test_a_share_strikes_the_same_requests_in_any_order() -> None:
    async def struck(order: list[int]) -> set[int]:
        bench = Bench()
        await bench.faults({"kind": "unavailable", "route": INVITE, "share": 0.3})
        return {n for n in order if (await bench.invite(f"lead-{n}")).status_code == 503}

    forwards = await struck(list(range(100)))
    assert forwards == await struck(list(reversed(range(100))))
    assert 15 < len(forwards) < 45


async def test_a_share_lets_a_repeated_request_through_in_the_end() -> None:
    bench = Bench()
    await bench.faults({"kind": "unavailable", "share": 0.5})
    statuses = {(await bench.get("/accounts")).status_code for _ in range(30)}
    assert statuses == {200, 503}


async def test_cleared_faults_strike_no_more_and_stay_counted() -> None:
    bench = Bench()
    await bench.faults({"kind": "unavailable"})
    await bench.get("/accounts")
    cleared = (await bench.http.delete("/simulator/faults")).json()
    assert (cleared["rules"], cleared["applied"]) == ([], {"unavailable": 1})
    assert (await bench.get("/accounts")).status_code == 200


async def test_a_rule_that_makes_no_sense_is_refused() -> None:
    bench = Bench()
    for rule in ({"kind": "earthquake"}, {"kind": "refusal"}, {"kind": "reset", "rout": "*"}):
        answer = await bench.http.post("/simulator/faults", json={"rules": [rule]})
        assert answer.status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104
async def test_the_simulator_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(NotLoopback):
        async with serving(Settings(host=host)):
            pass

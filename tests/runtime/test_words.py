"""Only Unipile's own words judge: gateways, lost accounts, and runs of refusals."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from play import RELIABLE, Play
from test_accidents import MESSAGE, PEOPLE, START, line, play_of

from clento_engine.domain.account import PausedBy
from clento_engine.domain.failure import Failure
from clento_engine.interface.chaos.operators import put_right
from clento_engine.provider import answers, decode
from clento_engine.provider.answers import Refusal, Silence
from clento_engine.runtime import act as acting
from clento_engine.runtime.work import work
from clento_engine.simulator import invitations
from clento_engine.simulator.accounts import delete_account
from clento_engine.simulator.faults import FaultKind, Rule
from clento_engine.simulator.ledger import Effect
from clento_engine.simulator.routes import people as people_routes
from clento_engine.simulator.scheduler import advance
from clento_engine.store import troubles
from clento_engine.store.accounts import pause_account, resume_account
from clento_engine.store.campaigns import pause_campaign, resume_campaign
from clento_engine.store.database import Database
from clento_engine.store.refusals import held_lanes, lift_lanes
from clento_engine.store.rests import FIRST_REST, rest
from clento_engine.store.turmoil import unsettled

MANY: dict[str, dict[str, Any]] = {f"person-{number}": {} for number in range(40)}
INVITE = line(("send_connection_request", {"customMessage": "Hello {{first_name}}"}))
MINUTE = timedelta(minutes=1)
guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])


def gateway(
    play: Play,
    *statuses: int,
    route: str = "*",
    since: timedelta = timedelta(),
    lasts: timedelta,
) -> None:
    """Have a gateway answer everything with pages of these statuses, one as often as another."""
    rules = [
        Rule(FaultKind.GATEWAY_PAGE, route, status=status, share=1 / (len(statuses) - place))
        for place, status in enumerate(statuses)
    ]
    plan, faults = play.simulated.agenda.plan, play.simulated.faults
    if since:
        plan(START + since, lambda: faults.set(rules))
    else:
        faults.set(rules)
    plan(START + since + lasts, faults.clear)


def believe_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the guard off: judge by status, and take any 2xx for a success."""
    judged = answers.failure
    kind = decode.kind

    def by_status(answer: Refusal | Silence) -> Failure:
        if isinstance(answer, Refusal) and answer.type is None:
            answer = replace(answer, type="unheard_of")
        return judged(answer)

    monkeypatch.setattr(answers, "failure", by_status)
    monkeypatch.setattr(decode, "kind", lambda body: kind(body) or "NeverHeardOf")


async def outcomes(play: Play) -> Counter[str | None]:
    return Counter(row["outcome"] for row in (await play.leads()).values())


async def account_of(play: Play) -> dict[str, Any]:
    [account] = await play.rows("select * from connected_accounts")
    return account


async def cron(play: Play, *, minutes: int) -> None:
    """Work off what is due, then a minute later again."""
    for _ in range(minutes):
        await work(play.world, play.outbox, timedelta(seconds=50))
        play.clock.move_to((await advance(play.simulated, play.clock() + MINUTE)).now)


@guard
@pytest.mark.parametrize("status", [403, 404])
async def test_nobody_ends_by_a_gateway_s_refusal(
    database: Database, monkeypatch: pytest.MonkeyPatch, status: int, is_on: bool
) -> None:
    play = await play_of(database, INVITE, people=MANY)
    gateway(play, status, lasts=timedelta(hours=3))
    if not is_on:
        believe_gateways(monkeypatch)

    await play.run(days=1 / 8)
    assert (await outcomes(play) == {None: len(MANY)}) is is_on
    assert (await account_of(play))["status"] == "active"


@pytest.mark.parametrize("status", [401, 402, 307, 502, 200])
async def test_no_account_is_paused_by_a_gateway_s_page(database: Database, status: int) -> None:
    play = await play_of(database, INVITE, people=MANY)
    gateway(play, status, lasts=8 * MINUTE)
    await work(play.world, play.outbox, MINUTE)
    async with database.connection() as conn:
        assert await rest(conn) is None  # one answer shows little
    await cron(play, minutes=7)
    async with database.connection() as conn:
        assert await rest(conn) is not None
    await play.run(days=1 / 24)

    assert (await account_of(play))["status"] == "active"
    async with database.connection() as conn:
        assert await rest(conn) is None
    assert play.entries(Effect.INVITATION)


@guard
async def test_a_page_with_status_200_is_no_message_sent(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    play = await play_of(database, MESSAGE)
    gateway(play, 200, route="POST /*", lasts=timedelta(minutes=20))
    if not is_on:
        believe_gateways(monkeypatch)

    assert await play.run() or not is_on
    reached = Counter(entry.slug for entry in play.entries(Effect.MESSAGE))
    assert (reached == dict.fromkeys(PEOPLE, 1)) is is_on


async def test_a_gateway_s_minute_costs_no_lead_of_a_thousand(database: Database) -> None:
    senders = 50
    people: dict[str, dict[str, Any]] = {f"person-{number}": {} for number in range(1000)}
    play = await play_of(database, INVITE, people=people, senders=senders, slots=300)
    gateway(play, 403, 404, 502, 200, since=timedelta(minutes=5), lasts=MINUTE)

    await play.run(days=1 / 24 + 6 / 1440)
    assert set(await outcomes(play)) <= {None, "finished"}
    leads = (await play.leads()).values()
    assert {row["status"] for row in leads} <= {"waiting", "completed"}
    assert {row["operation"] for row in leads}.isdisjoint({"start", "profile_lookup"})
    assert 0 < sum(play.simulated.faults.applied.values()) <= 20
    accounts = await play.rows("select distinct status from connected_accounts")
    assert accounts == [{"status": "active"}]


@pytest.mark.parametrize(
    ("rule", "is_on"),
    [
        (Rule(FaultKind.GATEWAY_PAGE, status=502), True),
        (Rule(FaultKind.RESET), True),
        (Rule(FaultKind.RESET), False),
    ],
    ids=["gateway", "silence", "silence-off"],
)
async def test_an_hour_s_outage_costs_a_cron_s_ticks_twenty_requests(
    database: Database, monkeypatch: pytest.MonkeyPatch, rule: Rule, is_on: bool
) -> None:
    play = await play_of(database, INVITE, people=MANY)
    play.simulated.faults.set([replace(rule)])
    if not is_on:

        async def unheard(*_: object) -> None: ...

        monkeypatch.setattr(troubles, "note_silence", unheard)

    await cron(play, minutes=90)
    assert (sum(play.simulated.faults.applied.values()) <= 20) is is_on
    assert set(await outcomes(play)) == {None}

    play.simulated.faults.clear()
    if is_on:
        await play.run(days=20)
        reached = Counter(entry.slug for entry in play.entries(Effect.INVITATION))
        assert reached == dict.fromkeys(MANY, 1)


@guard
async def test_an_account_that_was_deleted_at_unipile_costs_no_lead(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    """No webhook told of it."""
    play = await play_of(database, INVITE, people=MANY, reliability=replace(RELIABLE, lost=1.0))
    [account] = play.simulated.accounts.values()
    play.simulated.agenda.plan(
        START + timedelta(minutes=10), lambda: delete_account(play.simulated, account)
    )
    if not is_on:

        async def unasked(*_: object) -> None: ...

        monkeypatch.setattr(acting, "whose_absence", unasked)

    await play.run(days=1 / 12)
    failed = (await outcomes(play))["failed"]
    assert (failed == 0) is is_on
    if is_on:
        found = await account_of(play)
        assert (found["status"], found["paused_by"]) == ("paused", "provider")
        assert "does not know this account" in found["pause_reason"]
        assert {row["attempt"] for row in (await play.leads()).values()} == {0}


@guard
@pytest.mark.parametrize(
    "word", ["feature_not_subscribed", "unprocessable_entity", "invalid_recipient"]
)
async def test_a_run_of_refusals_holds_its_lane_before_the_list_is_burnt(
    database: Database, word: str, is_on: bool
) -> None:
    play = await play_of(database, INVITE, people=MANY)
    if not is_on:
        await execute(play, "update campaigns set hold_after = 1000")
    play.simulated.faults.set([Rule(FaultKind.REFUSAL, "POST /users/invite", type=word)])

    await play.run(days=20)
    burnt = len(MANY) - (await outcomes(play))[None]
    assert (burnt <= 6) is is_on
    if not is_on:
        return
    await see_that_only_lifting_lifts(play, word)
    play.simulated.faults.clear()
    assert await play.run()
    assert len(play.entries(Effect.INVITATION)) == len(MANY) - burnt


async def see_that_only_lifting_lifts(play: Play, word: str) -> None:
    """A pause and a resume of campaign or account leave the lane held; lifting it does not."""
    where = play.organization_id, play.campaign_id
    account = play.organization_id, next(iter(play.accounts.values()))
    now = play.clock()
    async with play.database.connection() as conn:
        await pause_campaign(conn, *where, now=now)
        await resume_campaign(conn, *where, now=now)
        await pause_account(conn, *account, by=PausedBy.OPERATOR, reason="a test", now=now)
        await resume_account(conn, *account, by=PausedBy.OPERATOR, now=now)
        [lane] = await held_lanes(conn, *where)
        assert word in lane.reason
        assert [one.operation for one in await lift_lanes(conn, *where, now=now)] == [
            lane.operation
        ]
        assert not await held_lanes(conn, *where)


async def test_who_repairs_a_storm_lifts_what_its_refusals_held(database: Database) -> None:
    """Leads of a held lane wait for a person: they are lost only where nobody is there."""
    play = await play_of(database, INVITE, people=MANY)
    refused = Rule(FaultKind.REFUSAL, "POST /users/invite", type="insufficient_permissions")
    play.simulated.faults.set([refused])
    await play.run(days=20)
    burnt = len(MANY) - (await outcomes(play))[None]
    play.simulated.faults.clear()

    async with play.database.connection() as conn:
        assert await unsettled(conn, play.organization_id) == len(MANY) - burnt
        await put_right(conn, play.organization_id, most=5, now=play.clock())
    assert await play.run()
    assert len(play.entries(Effect.INVITATION)) == len(MANY) - burnt


async def execute(play: Play, statement: str) -> None:
    async with play.database.transaction() as conn:
        await conn.execute(statement.encode())


@pytest.mark.parametrize("word", ["already_invited_recently", "already_connected"])
async def test_what_each_person_may_answer_holds_no_lane(database: Database, word: str) -> None:
    play = await play_of(database, INVITE, people=MANY)
    play.simulated.faults.set([Rule(FaultKind.REFUSAL, "POST /users/invite", type=word)])

    await play.run(days=20)
    assert not await play.rows("select from lanes where held_reason is not null")


async def test_a_success_ends_a_run_of_refusals(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = await play_of(database, INVITE, people=MANY)
    route, word = "POST /users/invite", "unprocessable_entity"

    def after_every_third(*given: Any, **named: Any) -> Any:
        play.simulated.faults.set([Rule(FaultKind.REFUSAL, route, type=word, times=3)])
        return invitations.invite(*given, **named)

    monkeypatch.setattr(people_routes, "invite", after_every_third)
    assert await play.run()
    assert not await play.rows("select from lanes where held_reason is not null")
    assert len(play.entries(Effect.INVITATION)) == len(MANY) // 4


async def test_a_huge_retry_after_is_bounded_and_lifted_by_resume(database: Database) -> None:
    play = await play_of(database, INVITE, people=MANY)
    month = int(timedelta(days=30).total_seconds())
    rule = Rule(FaultKind.TOO_MANY_REQUESTS, "GET /users/person-*", times=1, retry_after=month)
    play.simulated.faults.set([rule])

    await play.run(days=1 / 24)
    until = (await account_of(play))["blocked_until"]
    assert until is not None
    assert until - START <= timedelta(hours=49)
    assert not play.entries(Effect.INVITATION)
    async with database.connection() as conn:
        account_id = next(iter(play.accounts.values()))
        where = play.organization_id, account_id
        assert await resume_account(conn, *where, by=PausedBy.OPERATOR, now=play.clock())
    await play.run(days=1 / 24)
    assert play.entries(Effect.INVITATION)


async def test_pages_among_the_provider_s_own_answers_let_nobody_rest(database: Database) -> None:
    """A gateway that answers now and then is no outage: most answers are Unipile's."""
    play = await play_of(database, INVITE, people=MANY)
    play.simulated.faults.set([Rule(FaultKind.GATEWAY_PAGE, status=502, share=0.2)])
    longest = timedelta(0)
    for _ in range(120):
        await work(play.world, play.outbox, timedelta(seconds=50))
        async with database.connection() as conn:
            found = await rest(conn)
        if found is not None:
            longest = max(longest, found.until - found.since)
        play.clock.move_to((await advance(play.simulated, play.clock() + MINUTE)).now)
    assert sum(play.simulated.faults.applied.values()) > 5
    assert longest <= 4 * FIRST_REST
    async with database.connection() as conn:
        assert await rest(conn) is None

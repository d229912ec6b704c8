"""One member, one account, one budget: whoever connects them, how often, and in which order."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from builders import (
    DAY,
    NOW,
    VISIT,
    Conn,
    Stage,
    add_sender,
    begun,
    done,
    set_stage,
    unbind,
)
from psycopg import AsyncConnection
from psycopg.errors import CheckViolation, ForeignKeyViolation, UniqueViolation

from clento_engine.domain.account import PausedBy, Tier
from clento_engine.domain.operation import Budget, Operation
from clento_engine.store.accounts import (
    NOT_LOOKED_UP,
    accounts,
    add_account,
    create_organization,
    pause_account,
    resume_account,
)
from clento_engine.store.budgets import used
from clento_engine.store.campaigns import stop_campaign
from clento_engine.store.database import Database
from clento_engine.store.errors import AlreadyExists, StillUnknown, StillWalked
from clento_engine.store.members import (
    ANOTHER_MEMBER,
    CHANGED,
    GONE,
    HELD_ELSEWHERE,
    Bound,
    Refused,
    bind,
    look_up_again,
    remove_account,
)

LEA = "ACoAAlea"
HOUR = timedelta(hours=1)
CONNECTED = NOW - 30 * DAY


async def added(conn: Conn, organization_id: UUID, unipile_id: str) -> UUID:
    """Add a sender that nobody looked up."""
    return await add_account(
        conn,
        organization_id,
        unipile_account_id=unipile_id,
        name=unipile_id,
        tier=Tier.PREMIUM,
        time_zone="UTC",
    )


async def bound(
    conn: Conn,
    organization_id: UUID,
    account_id: UUID,
    unipile_id: str,
    member: str = LEA,
    *,
    created_at: datetime | None = CONNECTED,
    now: datetime = NOW,
) -> Bound | Refused:
    return await bind(
        conn,
        organization_id,
        account_id,
        member_id=member,
        unipile_account_id=unipile_id,
        created_at=created_at,
        now=now,
    )


async def count(conn: Conn, account: tuple[UUID, UUID], units: int, at: datetime = NOW) -> None:
    await conn.execute(
        "insert into rate_counters (organization_id, account_id, operation, bucket_at, used)"
        " values (%s, %s, 'invitation', %s, %s)",
        (*account, at, units),
    )


async def invitations(conn: Conn, organization_id: UUID, account_id: UUID) -> int:
    spent = await used(conn, organization_id, account_id, NOW)
    return spent.get(Budget.INVITATION, {}).get("month", 0)


async def row(conn: Conn, account_id: UUID) -> tuple[object, ...]:
    cursor = await conn.execute(
        "select status, paused_by, pause_reason, provider_id, unipile_account_id, store_since"
        " from connected_accounts where id = %s",
        (account_id,),
    )
    [found] = await cursor.fetchall()
    return tuple(found)


# --- the schema itself


async def test_an_account_without_a_member_cannot_be_active(conn: Conn) -> None:
    account_id = await added(conn, await create_organization(conn, "Acme"), "u-1")
    assert (await row(conn, account_id))[:4] == ("paused", "provider", NOT_LOOKED_UP, None)
    with pytest.raises(CheckViolation):
        await conn.execute("update connected_accounts set status = 'active', paused_by = null")


async def test_a_member_cannot_be_written_into_two_accounts(conn: Conn) -> None:
    ours = await create_organization(conn, "Acme")
    first = await added(conn, ours, "u-1")
    second = await added(conn, await create_organization(conn, "Beta"), "u-2")
    await bound(conn, ours, first, "u-1")
    with pytest.raises(ForeignKeyViolation):
        await conn.execute("update connected_accounts set provider_id = %s", (LEA,))
    with pytest.raises(UniqueViolation):
        await conn.execute(
            "insert into provider_accounts (member_id, unipile_account_id, organization_id,"
            " account_id) values ('other', 'u-1', %s, %s)",
            (ours, second),
        )
    with pytest.raises(AlreadyExists):
        await add_sender(conn, ours, "third", member=LEA)


# --- bound, confirmed, refused


async def test_a_new_account_acts_once_its_member_is_known(conn: Conn) -> None:
    ours = await create_organization(conn, "Acme")
    account_id = await added(conn, ours, "u-1")
    assert await bound(conn, ours, account_id, "u-1") == Bound(account_id, is_folded=False)
    assert await row(conn, account_id) == ("active", None, None, LEA, "u-1", CONNECTED)
    assert await bound(conn, ours, account_id, "u-1") == Bound(account_id, is_folded=False)
    assert await row(conn, account_id) == ("active", None, None, LEA, "u-1", CONNECTED)


async def test_an_operators_pause_stands_over_what_unipile_shows(conn: Conn) -> None:
    ours = await create_organization(conn, "Acme")
    account_id = await added(conn, ours, "u-1")
    await pause_account(conn, ours, account_id, by=PausedBy.OPERATOR, reason="x", now=NOW)
    await bound(conn, ours, account_id, "u-1")
    assert (await row(conn, account_id))[:4] == ("paused", "operator", "x", LEA)
    assert await resume_account(conn, ours, account_id, by=PausedBy.OPERATOR, now=NOW + HOUR)
    assert (await row(conn, account_id))[5] == NOW + HOUR  # the store may be young since


async def test_nobody_resumes_an_account_without_a_member(conn: Conn) -> None:
    ours = await create_organization(conn, "Acme")
    account_id = await added(conn, ours, "u-1")
    await pause_account(conn, ours, account_id, by=PausedBy.OPERATOR, reason="x", now=NOW)
    for by in PausedBy:
        assert not await resume_account(conn, ours, account_id, by=by, now=NOW)
    assert await look_up_again(conn, ours, account_id)
    assert (await row(conn, account_id))[:3] == ("paused", "provider", NOT_LOOKED_UP)


async def test_another_organisations_member_is_refused_and_the_other_never_named(
    conn: Conn,
) -> None:
    ours, theirs = [await create_organization(conn, name) for name in ("Acme", "Beta")]
    first, second = await added(conn, theirs, "u-1"), await added(conn, ours, "u-2")
    await bound(conn, theirs, first, "u-1")
    assert await bound(conn, ours, second, "u-2") == Refused(HELD_ELSEWHERE, is_paused=True)
    assert (await row(conn, second))[:4] == ("paused", "provider", HELD_ELSEWHERE, None)
    events = await conn.execute("select detail::text from events where subject_id = %s", (second,))
    assert "Beta" not in str(await events.fetchall()) + HELD_ELSEWHERE


async def test_another_organisations_unipile_account_is_refused_whoever_is_signed_in(
    conn: Conn,
) -> None:
    ours, theirs = [await create_organization(conn, name) for name in ("Acme", "Beta")]
    first, second = await added(conn, theirs, "u-1"), await added(conn, ours, "u-1")
    await bound(conn, theirs, first, "u-1")
    for member in (LEA, "ACoAAsomebody"):
        refused = await bound(conn, ours, second, "u-1", member)
        assert refused == Refused(HELD_ELSEWHERE, is_paused=True)
    assert (await row(conn, first))[0] == "active"


@pytest.mark.direct
async def test_two_organisations_that_bind_a_member_at_once_are_one_that_has_it(
    conn: Conn, dsn: str
) -> None:
    """Staged: the first is inside its transaction when the second begins."""
    ours, theirs = [await create_organization(conn, name) for name in ("Acme", "Beta")]
    first, second = await added(conn, ours, "u-1"), await added(conn, theirs, "u-2")
    async with await AsyncConnection.connect(dsn, autocommit=True) as other:
        async with conn.transaction():
            assert isinstance(await bound(conn, ours, first, "u-1"), Bound)
            waiting = asyncio.create_task(bound(other, theirs, second, "u-2"))
            await blocked(dsn)
        assert await waiting == Refused(HELD_ELSEWHERE, is_paused=True)


async def blocked(dsn: str) -> None:
    """Return once a session of the database waits for a lock."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as watcher:
        async with asyncio.timeout(30):
            while True:
                cursor = await watcher.execute(
                    "select from pg_stat_activity where wait_event_type = 'Lock'"
                    " and datname = current_database()"
                )
                if cursor.rowcount:
                    return


async def test_somebody_else_signed_in_pauses_the_account_and_changes_no_member(
    conn: Conn,
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    refused = await bound(
        conn, stage.organization_id, stage.account, "unipile-campaign-1", "ACoAAother"
    )
    assert refused == Refused(ANOTHER_MEMBER, is_paused=True)
    found = await row(conn, stage.account)
    assert found[:4] == ("paused", "provider", ANOTHER_MEMBER, "member-campaign-1")
    assert await stage.claim() == []


@pytest.mark.parametrize(
    ("unipile_id", "reason"), [("u-old", CHANGED), ("u-1", GONE)], ids=["another id", "removed"]
)
async def test_an_answer_older_than_what_we_know_changes_nothing(
    conn: Conn, unipile_id: str, reason: str
) -> None:
    ours = await create_organization(conn, "Acme")
    account_id = await added(conn, ours, "u-1")
    if reason == GONE:
        await remove_account(conn, ours, account_id, NOW)
    before = await row(conn, account_id)
    refused = await bound(conn, ours, account_id, unipile_id)
    assert refused == Refused(reason, is_paused=False)
    assert await row(conn, account_id) == before


# --- a member who signed in anew: the account they had goes on


async def test_a_member_signed_in_anew_goes_on_with_the_old_accounts_leads_and_budget(
    conn: Conn,
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=3)
    old = stage.account
    await stage.walk()
    member = (await row(conn, old))[3]
    spent = await stage.used(Budget.PROFILE)
    await pause_account(
        conn, stage.organization_id, old, by=PausedBy.PROVIDER, reason="DELETED", now=NOW
    )
    await conn.execute("update contacts set chat_id = 'chat-of-old'")
    new = await added(conn, stage.organization_id, "u-new")

    answer = await bound(conn, stage.organization_id, new, "u-new", str(member))

    assert answer == Bound(old, is_folded=True)
    assert await row(conn, old) == ("active", None, None, member, "u-new", NOW)
    assert [each.id for each in await accounts(conn, stage.organization_id)] == [old]
    assert await stage.used(Budget.PROFILE) == spent
    assert spent > 0
    assert (await stage.lane(Operation.PROFILE_VISIT))["active"]
    assert await stage.value("select count(*) from contacts where chat_id is not null") == 0
    kinds = await stage.rows("select kind from events where subject_id = %s order by id", old)
    assert [each["kind"] for each in kinds][-1] == "AccountReconnected"
    held = await stage.rows("select unipile_account_id, account_id from provider_accounts")
    assert held == [{"unipile_account_id": "u-new", "account_id": old}]


async def both_acted(conn: Conn) -> tuple[Stage, Stage, UUID, UUID]:
    """Set two campaigns of one organisation, by two accounts of one member that both acted.

    As an upgrade leaves them: nobody knew that they were one.  Both have a step under way.
    """
    first = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=2, name="a")
    second = await begun(
        conn,
        VISIT,
        Operation.PROFILE_VISIT,
        leads=2,
        name="b",
        organization_id=first.organization_id,
    )
    # the first's campaign has both senders
    await conn.execute(
        "insert into campaign_senders (organization_id, campaign_id, account_id, position, leads)"
        " values (%s, %s, %s, 1, 5)",
        (first.organization_id, first.campaign_id, second.account),
    )
    return first, second, first.account, second.account


async def test_two_accounts_that_acted_for_one_member_become_one_that_did_it_all(
    conn: Conn,
) -> None:
    first, second, old, new = await both_acted(conn)
    under_way = await first.claim()  # of both: they are the organisation's
    assert len(under_way) == 4
    for account, units, at in ((old, 3, NOW - DAY), (new, 4, NOW - DAY), (new, 5, NOW - 2 * DAY)):
        await count(conn, (first.organization_id, account), units, at)
    [lead] = await first.rows("select person_id as id from leads limit 1")
    for account, known in ((old, ("x", None, NOW, None)), (new, ("y", "i-1", NOW - DAY, NOW))):
        await conn.execute(
            "insert into contacts (organization_id, account_id, person_id, provider_id,"
            " invitation_id, connected_at, replied_at, chat_id)"
            " values (%s, %s, %s, %s, %s, %s, %s, 'chat')",
            (first.organization_id, account, lead["id"], *known),
        )
    await conn.execute(
        "insert into events (organization_id, subject_id, at, kind, actor)"
        " values (%s, %s, %s, 'AccountPaused', 'test')",
        (first.organization_id, new, NOW),
    )
    await unbind(conn, new)

    answer = await bound(conn, first.organization_id, new, "unipile-b-1", "member-a-1")

    assert answer == Bound(old, is_folded=True)
    organization_id = first.organization_id
    for table, column in (
        ("actions", "account_id"),
        ("campaign_executions", "account_id"),
        ("lanes", "account_id"),
        ("campaign_senders", "account_id"),
        ("rate_counters", "account_id"),
        ("rate_limits", "account_id"),
        ("contacts", "account_id"),
        ("events", "subject_id"),
        ("connected_accounts", "id"),
        ("provider_accounts", "account_id"),
    ):
        left = await first.value(f"select count(*) from {table} where {column} = %s", new)
        assert (table, left) == (table, 0)
    assert await invitations(conn, organization_id, old) == 3 + 4 + 5
    assert await first.used(Budget.PROFILE, old) == 4
    contact = await first.rows("select * from contacts where person_id = %s", lead["id"])
    assert len(contact) == 1
    columns = ("provider_id", "invitation_id", "connected_at", "replied_at", "chat_id")
    assert [contact[0][each] for each in columns] == ["x", "i-1", NOW - DAY, NOW, None]
    senders = await first.rows(
        "select campaign_id, position, leads from campaign_senders order by campaign_id"
    )
    assert [(each["campaign_id"], each["position"]) for each in senders] == [
        (first.campaign_id, 0),
        (second.campaign_id, 0),
    ]
    assert senders[0]["leads"] == 2 + 5
    # what is under way settles, and the walks go on by the account that is left
    of_first = [item for item in under_way if item.run.campaign_id == first.campaign_id]
    settled = await first.settle(*map(done, of_first))
    assert (settled.stale, settled.finished) == (0, 2)
    unfinished = await second.rows(
        "select a.account_id, l.ready_at, l.active from actions a"
        " join campaign_executions e using (organization_id, campaign_id, lead_id)"
        " join lanes l on l.campaign_id = e.campaign_id and l.account_id = e.account_id"
        " and l.operation = e.operation where a.state = 'intended'"
    )
    assert len(unfinished) == 2
    assert all(each["account_id"] == old and each["active"] for each in unfinished)


async def test_what_was_written_to_the_old_unipile_account_is_heard_of_the_new(
    conn: Conn,
) -> None:
    stage = await set_stage(conn, VISIT)
    for key, payload in (
        ("m", '{"account_id": "unipile-campaign-1", "event": "message_received"}'),
        ("s", '{"AccountStatus": {"account_id": "unipile-campaign-1", "message": "DELETED"}}'),
        ("o", '{"account_id": "another", "event": "message_received"}'),
    ):
        await conn.execute(
            "insert into inbox_events (organization_id, key, payload, received_at)"
            " values (%s, %s, %s, %s)",
            (stage.organization_id, key, payload, NOW),
        )
    new = await added(conn, stage.organization_id, "u-new")
    await bound(conn, stage.organization_id, new, "u-new", "member-campaign-1")
    rows = await stage.rows(
        "select key, payload ->> 'account_id' as account, applied_at is null as waits"
        " from inbox_events order by id"
    )
    assert [tuple(each.values()) for each in rows] == [
        ("m", "u-new", True),
        ("s", None, False),
        ("o", "another", True),
    ]


async def test_a_lane_that_slept_for_the_other_budget_looks_again(conn: Conn) -> None:
    first, second, old, new = await both_acted(conn)
    await conn.execute("update lanes set ready_at = %s", (NOW + DAY,))
    await unbind(conn, new)
    await bound(conn, first.organization_id, new, "unipile-b-1", "member-a-1")
    ready = await first.rows("select distinct ready_at from lanes where account_id = %s", old)
    assert [each["ready_at"] for each in ready] == [NOW]
    assert len(await second.claim()) == 4


async def test_a_draft_that_named_both_deals_its_leads_to_the_one(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, senders=3, leads=4, start=False)
    one, two, _ = stage.accounts
    await unbind(conn, one)
    await bound(conn, stage.organization_id, one, "unipile-campaign-1", "member-campaign-2")
    rows = await stage.rows("select account_id, position from campaign_senders order by position")
    assert [(each["account_id"], each["position"]) for each in rows] == [
        (two, 0),
        (stage.accounts[2], 1),
    ]


# --- let go, and had by another


async def test_whoever_has_a_member_next_carries_what_was_used_of_its_budget(
    conn: Conn,
) -> None:
    ours, theirs = [await create_organization(conn, name) for name in ("Acme", "Beta")]
    first, second = await added(conn, ours, "u-1"), await added(conn, theirs, "u-1")
    await bound(conn, ours, first, "u-1")
    await count(conn, (ours, first), 17)
    free_at = NOW + timedelta(minutes=7)
    await conn.execute(
        "update connected_accounts set next_free_at = %s where id = %s", (free_at, first)
    )
    await conn.execute(
        "update rate_limits set blocked_until = %s, throttles = 2 where account_id = %s"
        " and operation = 'invitation'",
        (NOW + DAY, first),
    )
    await remove_account(conn, ours, first, NOW)
    assert (await row(conn, first))[:4] == ("paused", "operator", "removed", None)
    assert await accounts(conn, ours) == []

    assert await bound(conn, theirs, second, "u-1") == Bound(second, is_folded=False)

    assert await invitations(conn, theirs, second) == 17
    assert await invitations(conn, ours, first) == 0  # moved: they count once
    cursor = await conn.execute(
        "select a.next_free_at, b.blocked_until, b.throttles from connected_accounts a"
        " join rate_limits b on b.account_id = a.id and b.operation = 'invitation'"
        " where a.id = %s",
        (second,),
    )
    assert await cursor.fetchall() == [(free_at, NOW + DAY, 2)]
    # and back again, as a new row of the first
    await remove_account(conn, theirs, second, NOW)
    again = await added(conn, ours, "u-1")
    assert await bound(conn, ours, again, "u-1") == Bound(again, is_folded=False)
    assert await invitations(conn, ours, again) == 17


async def test_an_account_with_leads_to_walk_is_not_removed(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=2)
    with pytest.raises(StillWalked) as walked:
        await remove_account(conn, stage.organization_id, stage.account, NOW)
    assert walked.value.leads == 2
    await stage.claim()
    await stop_campaign(conn, stage.organization_id, stage.campaign_id, now=NOW)
    with pytest.raises(StillUnknown) as unknown:
        await remove_account(conn, stage.organization_id, stage.account, NOW)
    assert unknown.value.actions == 2
    assert (await row(conn, stage.account))[0] == "active"


async def test_a_removed_account_leaves_drafts_and_nobody_can_resume_it(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT, senders=3, start=False)
    gone = stage.accounts[0]
    await remove_account(conn, stage.organization_id, gone, NOW)
    rows = await stage.rows("select account_id, position from campaign_senders order by position")
    assert [(each["account_id"], each["position"]) for each in rows] == [
        (stage.accounts[1], 0),
        (stage.accounts[2], 1),
    ]
    assert not await resume_account(
        conn, stage.organization_id, gone, by=PausedBy.OPERATOR, now=NOW
    )
    assert not await look_up_again(conn, stage.organization_id, gone)


@pytest.mark.direct
async def test_a_process_that_stopped_while_it_confirmed_an_account_stops_no_other(
    conn: Conn, database: Database
) -> None:
    ours = await create_organization(conn, "Acme")
    one, two = await added(conn, ours, "u-1"), await added(conn, ours, "u-2")
    for account, unipile_id in ((one, "u-1"), (two, "u-2")):
        await bound(conn, ours, account, unipile_id, member=f"member-of-{unipile_id}")
    async with database.transaction() as stopped:
        await bound(stopped, ours, one, "u-1", member="member-of-u-1")
        async with database.connection() as other:
            await other.execute("set lock_timeout = '50ms'")
            await bound(other, ours, two, "u-2", member="member-of-u-2")
            third = await added(other, ours, "u-3")
            await bound(other, ours, third, "u-3", member="member-of-u-3")

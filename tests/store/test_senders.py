"""What a campaign's senders may do and did is told for all of them at once."""

from datetime import timedelta
from typing import Any

from builders import NOW, Stage, line, set_stage
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from clento_engine.domain.limits import Caps, bucket_at
from clento_engine.domain.operation import Budget, Operation
from clento_engine.store.budgets import limits, used
from clento_engine.store.lanes import drawn_and_held
from clento_engine.store.senders import HeldBack, senders, senders_use
from clento_engine.store.status import standing

Conn = AsyncConnection[TupleRow]
HOUR = timedelta(hours=1)
PATH = line(Operation.PROFILE_VISIT, Operation.SEND_CONNECTION_REQUEST)


async def asked(conn: Conn, stage: Stage) -> list[str]:
    """Return the statements of a status."""
    statements: list[str] = []

    class Counted(AsyncCursor[Any]):
        async def execute(self, query: Any, *args: Any, **named: Any) -> Any:
            statements.append(str(query))
            return await super().execute(query, *args, **named)

    conn.cursor_factory = Counted
    await standing(conn, stage.organization_id, stage.campaign_id, NOW)
    conn.cursor_factory = AsyncCursor
    return statements


async def spend(stage: Stage, sender: int, budget: Budget, units: int, ago: timedelta) -> None:
    await stage.conn.execute(
        "insert into rate_counters (organization_id, account_id, operation, bucket_at, used)"
        " values (%s, %s, %s, %s, %s)",
        (stage.organization_id, stage.accounts[sender], budget, bucket_at(NOW - ago), units),
    )


async def test_a_status_asks_as_often_for_many_senders_as_for_one(conn: Conn) -> None:
    one = await set_stage(conn, PATH, senders=1, name="one")
    many = await set_stage(conn, PATH, senders=9, name="many")
    of_one, of_many = await asked(conn, one), await asked(conn, many)
    assert sum("rate_limits" in statement for statement in of_one) == 1
    assert of_many == of_one


async def test_each_sender_is_told_its_own_caps_use_and_rest(conn: Conn) -> None:
    stage = await set_stage(conn, PATH, leads=3, senders=3)
    first, second, _ = stage.accounts
    await stage.cap(Budget.INVITATION, Caps(day=7), second)
    await spend(stage, 0, Budget.INVITATION, 2, HOUR / 2)
    await spend(stage, 0, Budget.INVITATION, 3, 5 * HOUR)
    await spend(stage, 1, Budget.PROFILE, 4, timedelta(days=10))
    await spend(stage, 1, Budget.PROFILE, 9, timedelta(days=40))
    await spend(stage, 1, Budget.INMAIL, 1, HOUR)
    until, over = NOW + HOUR, NOW - HOUR
    await conn.execute(
        "update connected_accounts set blocked_until = case id when %s then %s::timestamptz"
        " else %s end, blocked_reason = 'throttled' where id = any(%s)",
        (first, until, over, [first, second]),
    )
    await conn.execute(
        "update rate_limits set blocked_until = %s, blocked_reason = operation"
        " where account_id = %s and operation in ('invitation', 'inmail')",
        (until, first),
    )
    of = conn, stage.organization_id
    drawn, _ = await drawn_and_held(*of, stage.campaign_id)
    uses = await senders_use(*of, stage.campaign_id, drawn, NOW)
    listed = await senders(*of, stage.campaign_id)

    assert [use.id for use in uses] == [account.id for account in listed] == stage.accounts
    for use, account in zip(uses, listed, strict=True):
        assert (use.name, use.tier, use.time_zone, use.status, use.pause_reason, use.leads) == (
            account.name,
            account.tier,
            account.time_zone,
            account.status,
            account.pause_reason,
            1,
        )
        caps, spent = await limits(*of, use.id), await used(*of, use.id, NOW)
        assert use.caps == {budget: caps[budget] for budget in use.caps}
        assert use.used == {budget: spent[budget] for budget in spent if budget in use.caps}
        assert list(use.caps) == sorted(use.caps)
    assert all(use.caps.keys() == uses[0].caps.keys() for use in uses)
    assert {Budget.PROFILE, Budget.INVITATION, Budget.NOTE} <= uses[0].caps.keys()
    assert not {Budget.INMAIL, Budget.NONE} & uses[0].caps.keys()
    assert uses[0].used == {Budget.INVITATION: {"hour": 2, "day": 5, "week": 5, "month": 5}}
    assert uses[1].used == {Budget.PROFILE: {"hour": 0, "day": 0, "week": 0, "month": 4}}
    assert uses[2].used == {}
    assert uses[0].held_back == [
        HeldBack(None, until, "throttled"),
        HeldBack(Budget.INVITATION, until, "invitation"),
    ]
    assert not uses[1].held_back
    assert not uses[2].held_back


async def test_a_draft_draws_from_no_budget_yet(conn: Conn) -> None:
    stage = await set_stage(conn, PATH, senders=2, start=False)
    of = conn, stage.organization_id, stage.campaign_id
    drawn, is_any_held = await drawn_and_held(*of)
    uses = await senders_use(*of, drawn, NOW)
    assert not is_any_held
    assert [(use.caps, use.used, use.leads) for use in uses] == [({}, {}, 0)] * 2

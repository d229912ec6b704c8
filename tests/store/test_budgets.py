"""A read that LinkedIn sees is one of the account's actions: it takes a unit, and its turn."""

from datetime import timedelta

import pytest
from builders import NOW, VISIT, Conn, begun

from clento_engine.domain.limits import Caps, Spacing
from clento_engine.domain.operation import Budget, Operation
from clento_engine.store.budgets import NO_UNIT, reserve, set_spacing

MINUTE = timedelta(minutes=1)
VISITING = Operation.PROFILE_VISIT


async def test_a_read_waits_for_the_gap_after_the_last_action_and_leaves_one_behind_it(
    conn: Conn,
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    of = conn, stage.organization_id, stage.account
    await set_spacing(*of, Spacing(MINUTE, MINUTE))
    assert len(await stage.claim()) == 1

    assert await reserve(*of, Budget.LIST_READ, NOW) == NOW + MINUTE
    assert await stage.used(Budget.LIST_READ) == 0
    assert await reserve(*of, Budget.LIST_READ, NOW + MINUTE) is None
    assert await stage.used(Budget.LIST_READ) == 1
    assert await reserve(*of, Budget.POST_READ, NOW + MINUTE) == NOW + 2 * MINUTE


async def test_a_claim_waits_for_the_gap_after_a_read(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    of = conn, stage.organization_id, stage.account
    await set_spacing(*of, Spacing(MINUTE, MINUTE))
    assert await reserve(*of, Budget.LIST_READ, NOW) is None

    assert await stage.claim() == []
    stage.now = NOW + MINUTE
    assert len(await stage.claim()) == 1


@pytest.mark.parametrize("table", ["connected_accounts", "rate_limits"])
async def test_a_read_waits_while_the_provider_holds_account_or_budget_back(
    conn: Conn, table: str
) -> None:
    stage = await begun(conn, VISIT, VISITING)
    of = conn, stage.organization_id, stage.account
    await stage.change(table, blocked_until=NOW + MINUTE)

    assert await reserve(*of, Budget.PROFILE, NOW) == NOW + MINUTE
    assert await reserve(*of, Budget.PROFILE, NOW + MINUTE) is None


async def test_a_read_is_not_done_where_no_unit_is_left(conn: Conn) -> None:
    stage = await begun(conn, VISIT, VISITING)
    of = conn, stage.organization_id, stage.account
    await stage.cap(Budget.POST_READ, Caps(day=1))

    assert await reserve(*of, Budget.POST_READ, NOW) is None
    assert await reserve(*of, Budget.POST_READ, NOW) == NOW + NO_UNIT
    assert await stage.used(Budget.POST_READ) == 1

"""A turn: outcomes written and the next steps claimed by one transaction."""

from collections.abc import Sequence

from builders import NOW, Stage, begun, done, line, report
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from clento_engine.domain import execution as ex
from clento_engine.domain import failure as on
from clento_engine.domain.operation import Operation
from clento_engine.domain.report import Report
from clento_engine.store.claim import Wanted
from clento_engine.store.claimed import Claimed
from clento_engine.store.settle import Settled
from clento_engine.store.turn import turn

Conn = AsyncConnection[TupleRow]
FOLLOWUP = Operation.SEND_FOLLOWUP
LINE = line(FOLLOWUP, FOLLOWUP)


async def take_turn(
    stage: Stage, reports: Sequence[Report], slots: int = 100
) -> tuple[Settled, list[Claimed]]:
    wanted = Wanted([stage.organization_id], stage.now, slots)
    turned = await turn(stage.conn, reports, wanted, now=stage.now, actor="test")
    return turned.settled, turned.claim.taken


async def test_what_is_settled_and_what_is_claimed_next_are_one_transaction(conn: Conn) -> None:
    stage = await begun(conn, LINE, FOLLOWUP, leads=3)
    taken = await stage.claim(slots=2)
    settled, claimed = await take_turn(stage, [done(item) for item in taken])
    assert (settled.applied, settled.stale, settled.finished) == (2, 0, 0)
    # two leads came to their next step, which is due at once, and one had waited for its first
    assert sorted(item.run.node_id or "" for item in claimed) == ["n0", "n1", "n1"]
    written = await stage.rows(
        "select distinct xmin::text from actions where state = 'intended'"
        " union select distinct xmin::text from actions where state = 'done'"
        " union select distinct xmin::text from campaign_executions where node_id = 'n1'"
    )
    assert len(written) == 1


async def test_a_refusal_that_concerns_its_lead_alone_needs_no_transaction_of_its_own(
    conn: Conn,
) -> None:
    stage = await begun(conn, LINE, FOLLOWUP, leads=3)
    one, two = await stage.claim(slots=2)
    refused = report(one, "refused", ex.Failed(on.Fail("no such profile")), reason="no profile")
    settled, claimed = await take_turn(stage, [refused, done(two)])
    assert (settled.applied, settled.finished, len(claimed)) == (2, 1, 2)
    written = await stage.rows(
        "select distinct xmin::text from actions union select xmin::text from campaign_executions"
        " where outcome = 'failed' or node_id = 'n1'"
    )
    assert len(written) == 1
    (action,) = await stage.rows("select reason from actions where state = 'refused'")
    assert action == {"reason": "no profile"}


async def test_a_lead_that_changed_meanwhile_is_decided_on_as_it_is_and_its_lane_woken(
    conn: Conn,
) -> None:
    stage = await begun(conn, LINE, FOLLOWUP, leads=2, stop_on_reply=False)
    one, two = await stage.claim()
    await stage.event(ex.Replied(), one.run.lead_id)
    settled, claimed = await take_turn(stage, [done(one), done(two)])
    assert (settled.applied, settled.stale) == (2, 0)
    rows = {row["lead_id"]: row for row in await stage.rows("select * from campaign_executions")}
    assert [rows[item.run.lead_id]["replied"] for item in (one, two)] == [True, False]
    assert {row["node_id"] for row in rows.values()} == {"n1"}
    # the claim looked before the changed lead had moved on: its lane must not sleep without it
    assert [item.run.lead_id for item in claimed] == [two.run.lead_id]
    assert [item.run.lead_id for item in await stage.claim()] == [one.run.lead_id]
    history = await stage.rows("select subject_id from history where kind = 'Done'")
    assert sorted(row["subject_id"] for row in history) == sorted(stage.leads)


async def test_an_outcome_whose_token_was_taken_over_changes_nothing_in_a_turn(conn: Conn) -> None:
    stage = await begun(conn, LINE, FOLLOWUP, leads=2)
    one, two = await stage.claim()
    await conn.execute(
        "update actions set token = gen_random_uuid() where lead_id = %s", (one.run.lead_id,)
    )
    settled, claimed = await take_turn(stage, [done(one), done(two)])
    assert (settled.applied, settled.stale) == (1, 1)
    assert [item.run.lead_id for item in claimed] == [two.run.lead_id]
    assert (await stage.run(one.run.lead_id))["node_id"] == "n0"


async def test_a_refusal_is_settled_before_the_turn_claims(conn: Conn) -> None:
    stage = await begun(conn, LINE, FOLLOWUP, leads=3)
    one, two = await stage.claim(slots=2)
    signed_out = report(one, "refused", ex.Failed(on.Pause("signed out")))
    settled, claimed = await take_turn(stage, [signed_out, done(two)])
    assert settled.applied == 2
    assert claimed == []  # the account was paused by then
    assert stage.now == NOW


async def test_a_turn_with_nothing_to_settle_claims(conn: Conn) -> None:
    stage = await begun(conn, LINE, FOLLOWUP)
    settled, claimed = await take_turn(stage, [])
    assert (settled.applied, len(claimed)) == (0, 1)

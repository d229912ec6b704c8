"""Who must be left alone is, in every campaign, from the moment it is recorded."""

from datetime import timedelta

import pytest
from builders import NOW, VISIT, Conn, begun, set_stage

from clento_engine.domain.operation import Operation
from clento_engine.domain.person import Shown
from clento_engine.store.campaigns import pause_campaign
from clento_engine.store.people import learn
from clento_engine.store.suppressions import (
    Recorded,
    lift_suppression,
    suppress,
    suppressions,
)

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("person", "person-1"),
        ("email", "one@acme.example"),
        ("domain", "acme.example"),
        ("company", "Émile & Co"),
    ],
)
async def test_a_suppression_ends_the_walks_it_is_about_and_no_others(
    conn: Conn, kind: str, value: str
) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT, leads=2)
    await conn.execute(
        "update leads set email = 'One@Acme.example', company = 'Émile & CO'"
        " where identity = 'person-1'"
    )
    recorded = await suppress(conn, stage.organization_id, kind, value, "asked us to", NOW)
    assert recorded == Recorded(is_new=True, ended=1)
    first, second = [await stage.run(lead) for lead in stage.leads]
    assert (first["outcome"], first["reason"]) == ("suppressed", f"{kind}: asked us to")
    assert second["outcome"] is None
    told = await stage.rows("select kind, actor from events where kind = 'Suppressed'")
    assert told == [{"kind": "Suppressed", "actor": "operator"}]
    assert await lift_suppression(conn, stage.organization_id, kind, value)
    assert not await lift_suppression(conn, stage.organization_id, kind, value)


async def test_a_person_is_found_by_the_provider_id_that_the_walk_learned(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    shown = Shown(stage.organization_id, "ACoAAada", None, stage.leads[0], "person-1")
    await learn(conn, [shown], NOW)
    recorded = await suppress(conn, stage.organization_id, "person", "ACoAAada", "?", NOW)
    assert recorded.ended == 1


async def test_walks_that_are_paused_or_held_end_as_well(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    await pause_campaign(conn, stage.organization_id, stage.campaign_id, now=NOW)
    await stage.change("campaign_executions", status="held", next_run_at=None, reason="no city")
    await suppress(conn, stage.organization_id, "person", "person-1", "?", NOW)
    assert (await stage.run())["outcome"] == "suppressed"


async def test_another_organisation_is_left_as_it_is(conn: Conn) -> None:
    stage = await begun(conn, VISIT, Operation.PROFILE_VISIT)
    other = await set_stage(conn, VISIT, name="other")
    assert other.organization_id != stage.organization_id
    await suppress(conn, other.organization_id, "person", "person-1", "?", NOW)
    assert (await stage.run())["outcome"] is None


async def test_again_it_holds_as_long_as_the_longest_of_them(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT)

    async def recorded(days: int | None) -> bool:
        expires_at = None if days is None else NOW + days * DAY
        done = await suppress(
            conn,
            stage.organization_id,
            "domain",
            "acme.example",
            "?",
            NOW,
            expires_at=expires_at,
        )
        return done.is_new

    assert [await recorded(days) for days in (2, 1, 3, None, 5)] == [True, False, True, True, False]
    [only] = await suppressions(conn, stage.organization_id, NOW + 9 * DAY)
    assert only.expires_at is None


async def test_what_is_over_is_not_listed(conn: Conn) -> None:
    stage = await set_stage(conn, VISIT)
    of = (stage.organization_id, "domain", "acme.example", "?", NOW)
    await suppress(conn, *of, expires_at=NOW + DAY)
    assert len(await suppressions(conn, stage.organization_id, NOW)) == 1
    assert await suppressions(conn, stage.organization_id, NOW + DAY) == []

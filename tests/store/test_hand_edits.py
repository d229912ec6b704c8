"""Rows that somebody edited by hand: each stops its own lead or lane, and nothing else."""

import json
from uuid import UUID

import psycopg
import pytest
from builders import Conn, begun, line, set_stage

from clento_engine.domain.operation import Operation
from clento_engine.store import claimed

ULM = {"fields": json.dumps({"city": "Ulm"})}
TEXT = line(Operation.SEND_FOLLOWUP, text="Hello {{first_name}} {{city}}")
FIELDS = ["7", "null", "[]", '"x"', '{"city": 7}', '{"city": null}', '{"city": ["a"]}',
          '{"city": {"a": 1}}', '{"city": true}']  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS)
async def test_fields_of_another_shape_are_kept_out(conn: Conn, fields: str) -> None:
    stage = await set_stage(conn, TEXT)
    with pytest.raises(psycopg.errors.CheckViolation):
        await conn.execute("update leads set fields = %s where id = %s", (fields, stage.leads[0]))


@pytest.mark.parametrize("fields", FIELDS)
async def test_fields_from_before_hold_their_lead_alone(conn: Conn, fields: str) -> None:
    stage = await begun(
        conn, TEXT, Operation.SEND_FOLLOWUP, leads=3, fields={"fields": json.dumps({"city": "Ulm"})}
    )
    await conn.execute("alter table leads drop constraint leads_fields_check")
    await conn.execute("update leads set fields = %s where id = %s", (fields, stage.leads[0]))
    taken = await stage.walk()
    assert {item.run.lead_id for item in taken} == set(stage.leads)
    run = await stage.run()
    assert (run["status"], run["outcome"]) == ("held", None)
    assert "fields" in run["reason"]
    for lead in stage.leads[1:]:
        assert (await stage.run(lead))["status"] == "completed"


async def test_fields_too_deep_to_read_hold_their_lead_alone(conn: Conn) -> None:
    stage = await begun(conn, TEXT, Operation.SEND_FOLLOWUP, leads=2, fields=ULM)
    await conn.execute("alter table leads drop constraint leads_fields_check")
    deep = '{"city": ' + "[" * 3000 + "]" * 3000 + "}"
    await conn.execute("update leads set fields = %s where id = %s", (deep, stage.leads[0]))
    assert {item.run.lead_id for item in await stage.walk()} == set(stage.leads)
    run = await stage.run()
    assert (run["status"], run["outcome"]) == ("held", None)
    assert "cannot be read" in run["reason"]
    assert (await stage.run(stage.leads[1]))["status"] == "completed"


@pytest.mark.parametrize("compiled", ["7", "null", "[]", "{}", '{"nodes": 1}', '"x"'])
async def test_a_workflow_that_cannot_be_read_holds_its_own_leads(
    conn: Conn, compiled: str
) -> None:
    bad = await set_stage(conn, TEXT, name="bad")
    good = await set_stage(conn, organization_id=bad.organization_id, name="good")
    await conn.execute("update workflow_versions set compiled = %s where name = 'bad'", (compiled,))
    assert {item.run.lead_id for item in await good.walk()} == {*bad.leads, *good.leads}
    assert (await bad.run())["status"] == "held"
    assert (await good.run())["status"] == "waiting"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("connected_accounts", "time_zone", "Mars/Olympus"),
        ("connected_accounts", "time_zone", ""),
        ("connected_accounts", "time_zone", "Europe"),
        ("connected_accounts", "time_zone", "../etc"),
        ("connected_accounts", "time_zone", "localtime"),
        ("campaigns", "working_hours", ""),
        ("campaigns", "working_hours", "whenever"),
        ("campaigns", "working_hours", "Mon-Fri 09:00-18:00; zone Mars"),
        ("campaigns", "working_hours", "Mon-Fri 25:00-26:00"),
    ],
)
async def test_a_zone_or_hours_that_nobody_can_read_stop_their_own_lanes(
    conn: Conn, table: str, column: str, value: str
) -> None:
    bad = await set_stage(conn, name="bad")
    good = await set_stage(conn, organization_id=bad.organization_id, name="good")
    await conn.execute(f"alter table {table} drop constraint {table}_{column}_ascii_check".encode())
    key, row = ("id", bad.account) if table == "connected_accounts" else ("id", bad.campaign_id)
    await conn.execute(f"update {table} set {column} = %s where {key} = %s".encode(), (value, row))
    assert {item.run.lead_id for item in await good.walk()} == set(good.leads)
    assert await good.claim() != []
    cursor = await conn.execute(
        "select active, held_reason from lanes where campaign_id = %s and ready_at is not null",
        (bad.campaign_id,),
    )
    (held,) = await cursor.fetchall()
    assert not held[0]
    assert "cannot be read" in held[1]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("update campaign_executions set node_id = 'gone'", "no node 'gone'"),
        ("update campaign_executions set node_id = ''", "no node ''"),
        ("update lead_lists set columns = '{null}'", "cannot be read"),
        (
            "update workflow_versions set compiled = jsonb_set(compiled, '{nodes,0,text}', '7')",
            "read",
        ),
        ("update workflow_versions set compiled = compiled - 'first'", "workflow cannot be read"),
    ],
)
async def test_what_a_step_is_made_of_holds_its_lead_alone(
    conn: Conn, edit: str, reason: str
) -> None:
    bad = await begun(conn, TEXT, Operation.SEND_FOLLOWUP, name="bad", fields=ULM)
    good = await begun(
        conn, TEXT, Operation.SEND_FOLLOWUP, organization_id=bad.organization_id, fields=ULM
    )
    await conn.execute("alter table lead_lists drop constraint lead_lists_columns_check")
    whose = {
        "campaign_executions": ("campaign_id", bad.campaign_id),
        "lead_lists": ("id", await _of(conn, bad.campaign_id, "list_id")),
        "workflow_versions": ("id", await _of(conn, bad.campaign_id, "workflow_version_id")),
    }
    column, row = whose[edit.split()[1]]
    await conn.execute(f"{edit} where {column} = %s".encode(), (row,))
    assert {item.run.lead_id for item in await good.walk()} == {*bad.leads, *good.leads}
    run = await bad.run()
    assert run["status"] == "held"
    assert reason in run["reason"]
    assert (await good.run())["status"] == "completed"


async def _of(conn: Conn, campaign_id: UUID, column: str) -> UUID:
    cursor = await conn.execute(
        f"select {column} from campaigns where id = %s".encode(), (campaign_id,)
    )
    row = await cursor.fetchone()
    assert row is not None
    found: UUID = row[0]
    return found


async def test_control_without_the_guard_one_row_stops_every_claim(
    conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begun(conn, TEXT, Operation.SEND_FOLLOWUP, leads=2)
    await conn.execute("alter table leads drop constraint leads_fields_check")
    await conn.execute("update leads set fields = '7' where id = %s", (stage.leads[0],))

    class Unguarded:
        def __init__(self, reason: str) -> None:
            raise ValueError(reason)

    monkeypatch.setattr(claimed, "Unreadable", Unguarded)
    with pytest.raises(ValueError, match="fields"):
        await stage.claim()

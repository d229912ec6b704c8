"""`clento lead replay`: what it compares, how it says what differs, and its exit status."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from commanded import VISIT, Clento, action, edge
from psycopg import AsyncConnection

from clento_engine.domain import execution as ex
from clento_engine.domain.report import Report
from clento_engine.store.settle import settle

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PEOPLE = ("lea-moreau", "hugo-legoff", "zoe-ashgrove")
GREET = {
    "nodes": [action("visit"), action("greet", "send_followup", customMessage="Hello")],
    "edges": [edge("visit", "greet", 2, "d")],
}
SEEN = ex.ProfileRead("ACoAAX", connected=True, invitation_pending=False)


@pytest.fixture
def clento(dsn: str, tmp_path: Path) -> Clento:
    """Lend commands over an organisation with a sender, people and a started campaign."""
    made = Clento({"DATABASE_URL": dsn}, tmp_path)
    made("org", "create", "Acme")
    made.sender()
    made.leads(*PEOPLE)
    made.draft(GREET, "spring", "--hours", "always")
    made("campaign", "start", "spring")
    return made


def hear(clento: Clento, slug: str, *heard: ex.Event, campaign: str = "spring") -> None:
    """Let things happen to a lead, as the ticker writes them."""

    async def written() -> None:
        async with await AsyncConnection.connect(
            clento.environment["DATABASE_URL"], autocommit=True
        ) as conn:
            cursor = await conn.execute(
                "select e.organization_id, e.campaign_id, e.lead_id, e.account_id"
                " from campaign_executions e join leads p on p.id = e.lead_id"
                " join campaigns c on c.id = e.campaign_id"
                " where p.identity = %s and c.name = %s",
                (slug, campaign),
            )
            keys: tuple[UUID, UUID, UUID, UUID] | None = await cursor.fetchone()
            assert keys is not None
            for event in heard:
                await settle(conn, [Report.of_news(*keys, event)], now=NOW, actor="test")

    asyncio.run(written())


def tamper(clento: Clento, statement: str, *values: object) -> None:
    """Change what only the engine writes, behind its back."""
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        assert conn.execute(statement.encode(), values).rowcount == 1


def test_a_walk_is_replayed_without_difference(clento: Clento) -> None:
    hear(clento, PEOPLE[0], ex.Began(), SEEN)
    assert clento("lead", "replay", PEOPLE[0]).out == "1 walk, 2 events replayed: no difference\n"
    told = clento.json("lead", "replay", PEOPLE[0], "--campaign", "spring")
    assert told == {"walks": 1, "lines": 2, "differing": []}


def test_every_lead_of_a_campaign_is_replayed(clento: Clento) -> None:
    for slug in PEOPLE[:2]:
        hear(clento, slug, ex.Began())
    told = clento.json("lead", "replay", "--all", "--campaign", "spring")
    assert told == {"walks": 3, "lines": 2, "differing": []}


def test_a_row_that_somebody_changed_is_named_with_status_1(clento: Clento) -> None:
    hear(clento, PEOPLE[0], ex.Began(), SEEN)
    tamper(
        clento,
        "update campaign_executions e set connected = false from leads p"
        " where p.id = e.lead_id and p.identity = %s",
        PEOPLE[0],
    )
    said = clento("lead", "replay", "--all", "--campaign", "spring", status=1)
    assert "3 walks, 2 events replayed: 1 differ" in said.out
    row = next(line for line in said.out.splitlines() if PEOPLE[0] in line)
    assert row.split() == ["spring", PEOPLE[0], "as", "it", "stands", "connected", "no", "yes"]
    [found] = clento.json("lead", "replay", PEOPLE[0], status=1)["differing"]
    assert found["difference"]["field"] == "connected"
    assert (found["difference"]["stored"], found["difference"]["replayed"]) == (False, True)
    assert clento.json("lead", "replay", PEOPLE[1])["differing"] == []


def test_a_history_that_somebody_changed_is_named_by_its_line(clento: Clento) -> None:
    hear(clento, PEOPLE[0], ex.Began(), SEEN)
    tamper(clento, "update events set result = 'skipped' where kind = 'ProfileRead'")
    said = clento("lead", "replay", PEOPLE[0], status=1)
    row = next(line for line in said.out.splitlines() if PEOPLE[0] in line)
    assert "2026-03-02 09:00:00 UTC" in row
    assert row.split()[-4:] == ["ProfileRead", "result", "skipped", "done"]


def test_what_an_account_knew_before_is_where_a_walk_begins(clento: Clento) -> None:
    hear(clento, PEOPLE[0], ex.Began(), SEEN)
    tamper(
        clento,
        "insert into contacts (organization_id, account_id, person_id, provider_id, connected_at,"
        " replied_at) select e.organization_id, account_id, person_id, 'ACoAAX', now(), now()"
        " from campaign_executions e join leads p on p.id = e.lead_id where p.identity = %s",
        PEOPLE[0],
    )
    clento.draft(VISIT, "summer", "--hours", "always", "--allow-overlap")
    clento("campaign", "start", "summer")
    tamper(clento, "delete from contacts")
    hear(clento, PEOPLE[0], ex.Began(), campaign="summer")
    assert clento.json("lead", "replay", "--all", "--campaign", "summer")["differing"] == []
    both = clento.json("lead", "replay", PEOPLE[0])
    assert (both["walks"], both["differing"]) == (2, [])


def test_what_cannot_be_replayed_is_refused(clento: Clento) -> None:
    clento.draft(VISIT, "summer")
    refused = clento("lead", "replay", "--all", "--campaign", "summer", status=1)
    assert "there is nothing to replay" in refused.err
    assert "no lead 'nobody'" in clento("lead", "replay", "nobody", status=1).err


@pytest.mark.parametrize(
    "words", [[], ["--all"], [PEOPLE[0], "--all", "--campaign", "spring"]], ids=" ".join
)
def test_whom_to_replay_must_be_said(clento: Clento, words: list[str]) -> None:
    assert "--all" in clento("lead", "replay", *words, status=2).err

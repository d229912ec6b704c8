"""Plans: a statement reads a few rows whenever it was planned, and whatever the planner knew."""

from collections.abc import Iterator
from typing import Any

import pytest
from builders import NOW, VISIT, Stage, set_stage
from psycopg.sql import SQL

from clento_engine.domain.operation import Operation
from clento_engine.store.campaigns import _ENROLL
from clento_engine.store.claim import Wanted, ask
from clento_engine.store.claim_statements import READ_HEADS
from clento_engine.store.database import Conn, Database
from clento_engine.store.suppressions import _from_walks

pytestmark = pytest.mark.direct  # what is prepared by hand stays in its session

MANY = 3_000  # of what a plan should read a few of
FEW = 30

SLOTS = 10

# When the planner came to know the tables: never; with a plan that was made before they were
# filled; by statistics of then; by those of now.
KNOWN = ("never", "a plan of before", "before", "now")


@pytest.mark.parametrize("known", KNOWN)
async def test_of_a_long_lane_only_the_heads_are_read(dsn: str, known: str) -> None:
    async with Database(dsn) as database, database.connection() as conn:
        stage = await set_stage(conn, VISIT, leads=MANY)
        await stage.change("campaign_executions", status="held", reason="?", next_run_at=None)
        await learn(conn, known == "before")
        await prepare(conn, READ_HEADS)
        if known == "a plan of before":
            await claim_reads(stage)
        await make_due(stage)
        await learn(conn, known == "now")
        heads, most = await claim_reads(stage)
        assert heads == SLOTS + 1
        assert most <= FEW


@pytest.mark.parametrize("known", KNOWN)
async def test_of_the_suppressions_only_those_of_a_head_are_read(dsn: str, known: str) -> None:
    async with Database(dsn) as database, database.connection() as conn:
        stage = await set_stage(conn, VISIT, leads=SLOTS)
        await make_due(stage)
        await learn(conn, known == "before")
        await prepare(conn, READ_HEADS)
        if known == "a plan of before":
            await claim_reads(stage)
        await suppress_strangers(stage)
        await learn(conn, known == "now")
        heads, most = await claim_reads(stage)
        assert heads == SLOTS
        assert most <= FEW


@pytest.mark.parametrize("known", KNOWN)
async def test_of_the_suppressions_only_those_of_a_lead_are_read_to_enroll_it(
    dsn: str, known: str
) -> None:
    async with Database(dsn) as database, database.connection() as conn:
        stage = await set_stage(conn, VISIT, leads=SLOTS, start=False)
        await learn(conn, known == "before")
        of = {"organization_id": stage.organization_id, "campaign_id": stage.campaign_id}
        enroll = _ENROLL
        for name, value in {**of, "start_at": NOW}.items():
            enroll = enroll.replace(f"%({name})s", f"'{value}'")
        await prepare(conn, enroll)
        if known == "a plan of before":
            await reads(conn)
            await conn.execute("delete from campaign_executions")
        await suppress_strangers(stage)
        await learn(conn, known == "now")
        assert max(each for _, each in await reads(conn)) <= FEW


# In another organisation as many leads as here; here all but one are of others.
@pytest.mark.parametrize("known", ["before", "now"])
@pytest.mark.parametrize(
    ("kind", "value"), [("email", "one@x.example"), ("domain", "x.example"), ("company", "one")]
)
async def test_of_the_leads_only_those_that_a_suppression_is_about_are_read(
    dsn: str, kind: str, value: str, known: str
) -> None:
    async with Database(dsn) as database, database.connection() as conn:
        await learn(conn, known == "before")
        stage = await set_stage(conn, VISIT, leads=MANY)
        await set_stage(conn, VISIT, leads=MANY, name="other")
        await conn.execute(
            "update leads set email_key = row_number || '@y.example', company_key = row_number"
        )
        await conn.execute(
            "update leads set email_key = 'one@x.example', company_key = 'one' where id = %s",
            (stage.leads[0],),
        )
        await learn(conn, known == "now")
        query = f"select e.lead_id {_from_walks(kind)}"
        of = {"organization_id": f"'{stage.organization_id}'", "value": f"'{value}'"}
        await conn.execute(f"prepare asked (timestamptz) as {query % of}".encode())
        nodes = await reads(conn)
        assert nodes[0][0] == 1
        assert max(each for _, each in nodes) <= FEW


async def make_due(stage: Stage) -> None:
    """Put all leads into the lane of visits, and none into any other that is ready."""
    await stage.change("lanes", ready_at=None)
    await stage.stand(Operation.PROFILE_VISIT)


async def learn(conn: Conn, is_time: bool) -> None:
    """Let the planner have statistics of what the tables hold now, if it is time."""
    if is_time:
        await conn.execute("analyze")


async def prepare(conn: Conn, statement: str) -> None:
    """Have the session plan it once, as it does for what it runs, when it is first executed."""
    text = statement.replace("%(now)s", "$1").replace("%%", "%")
    await conn.execute(f"prepare asked (timestamptz) as {text}".encode())


async def claim_reads(stage: Stage) -> tuple[int, int]:
    """Return how many heads a claim finds, and the most rows that a part of its plan reads."""
    async with stage.conn.transaction():
        await ask(stage.conn, Wanted([stage.organization_id], NOW, SLOTS))
        nodes = await reads(stage.conn)
    return nodes[0][0], max(each for _, each in nodes)


async def reads(conn: Conn) -> list[tuple[int, int]]:
    """Execute what was prepared; of each node of its plan, the top first: rows given, rows read."""
    told = SQL("explain (analyze, timing off, format json) execute asked ({})").format(NOW)
    row = await (await conn.execute(told)).fetchone()
    assert row is not None
    return list(_nodes(row[0][0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Rows of one run of each node."""
    passed_over = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    yield round(node["Actual Rows"]), round(node["Actual Rows"] + passed_over)
    for child in node.get("Plans", ()):
        yield from _nodes(child)


async def suppress_strangers(stage: Stage) -> None:
    """Have the organisation leave people of no list alone."""
    await stage.conn.execute(
        "insert into suppressions (organization_id, kind, value, reason)"
        " select %s, kind, 'nobody-' || n, '?' from generate_series(1, %s) n,"
        " unnest(array['person', 'email', 'domain', 'company']) kind",
        (stage.organization_id, MANY // 4),
    )

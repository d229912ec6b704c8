"""What the bench writes set-wise is what the engine would have left, and what it counts is so."""

from collections.abc import Iterator

import psycopg
import pytest

from bench.claims import claims
from bench.core import Core
from bench.drain import drain, idle
from bench.population import (
    MESSAGE_LENGTH,
    NOTE_LENGTH,
    UNBOUND,
    Population,
    add_due,
    faults,
    populate,
)
from bench.server import BenchServer, bench_server
from clento_engine.store.claim_statements import MANY_LEADS

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
SMALL = Population(due=60, parked=200, barred=90, actions=500, senders=6, campaigns=3)


@pytest.fixture(scope="module")
def bench() -> Iterator[BenchServer]:
    with bench_server(FAST) as server:
        yield server


@pytest.fixture
def populated(bench: BenchServer) -> Iterator[psycopg.Connection]:
    bench.create_ours("populated")
    with bench.admin("populated") as conn:
        populate(conn, SMALL)
        yield conn
    bench.drop("populated")


def standing(conn: psycopg.Connection) -> dict[str, int]:
    """Count the executions by the operation they wait for."""
    return dict(
        conn.execute(
            "select operation, count(*)::int from campaign_executions group by 1"
        ).fetchall()
    )


def test_as_many_leads_at_once_as_a_population_allows_bind_no_campaign() -> None:
    assert UNBOUND >= MANY_LEADS


def test_a_population_is_as_asked_for_and_without_fault(populated: psycopg.Connection) -> None:
    assert faults(populated) == {}
    assert standing(populated) == {
        "profile_visit": 60,
        "check_acceptance": 101,
        "send_connection_request": 189,
    }
    told = populated.execute(
        "select (select count(*) from actions), (select count(*) from history),"
        " (select count(*) from lanes), (select count(*) from campaign_senders)"
    ).fetchone()
    assert told == (500, 500, 6 * 7, 6)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("delete from lanes where operation = 'profile_visit'", "leads that wait in no lane"),
        ("update lanes set ready_at = null", "lanes that sleep past their first lead"),
        ("delete from campaign_executions", "actions without execution"),
        (
            "delete from leads",
            "executions without campaign, lead, account or workflow",
        ),
        ("delete from rate_limits", "lanes without campaign or budget"),
        ("update campaign_moves set leads = leads + 1", "facts about a campaign, miscounted"),
    ],
)
def test_a_population_with_a_fault_is_found_out(
    populated: psycopg.Connection, broken: str, told: str
) -> None:
    populated.execute("set session_replication_role = replica")  # no foreign key stops us
    populated.execute(broken.encode())
    assert told in faults(populated)


def test_the_real_ticker_takes_what_is_due_and_touches_nobody_else(
    bench: BenchServer, populated: psycopg.Connection
) -> None:
    barred = (
        "select lead_id, xmin::text, ctid::text from campaign_executions"
        " where operation = 'send_connection_request' and next_run_at < '2026-03-02 10:00Z'"
        " order by lead_id"
    )
    before = populated.execute(barred).fetchall()
    assert len(before) == 90

    drained = drain(bench.url("populated"), slots=50)

    assert (drained["steps"], drained["done"]) == (60, 60)
    assert populated.execute(barred).fetchall() == before
    assert standing(populated) == {"check_acceptance": 101, "send_connection_request": 249}
    assert faults(populated) == {}
    told = idle(bench.url("populated"), slots=50, ticks=3, after_s=600)
    assert 0 < told["p50_ms"] <= told["p99_ms"]


def test_a_population_that_sends_has_notes_and_messages_sent_in_full(bench: BenchServer) -> None:
    bench.create_ours("sending")
    with bench.admin("sending") as conn:
        populate(conn, Core(leads=61, senders=6, campaigns=3, parked=20, sends=True).population)
        assert faults(conn) == {}
        drained = drain(bench.url("sending"), slots=50)
        texts = conn.execute(
            "select operation, state, budgets, length(text), count(*)::int from actions"
            " group by 1, 2, 3, 4 order by 1"
        ).fetchall()
        known = conn.execute(
            "select e.operation, count(k.invitation_id)::int, count(k.chat_id)::int"
            "  from campaign_executions e"
            "  join leads l on l.id = e.lead_id"
            "  join contacts k on k.account_id = e.account_id and k.person_id = l.person_id"
            "  join actions x on x.campaign_id = e.campaign_id and x.lead_id = e.lead_id"
            " group by 1 order by 1"
        ).fetchall()
        assert faults(conn) == {}
    assert (drained["steps"], drained["done"]) == (61, 61)
    assert texts == [
        ("send_connection_request", "done", ["invitation", "invitation_note"], NOTE_LENGTH, 30),
        ("send_followup", "done", ["message"], MESSAGE_LENGTH, 31),
    ]
    # invited they are awaited, and the message has its chat; the next one waits for its day
    assert known == [("check_acceptance", 30, 0), ("send_followup", 31, 31)]
    bench.drop("sending")


def test_a_schema_that_asks_for_members_has_one_for_each_account(bench: BenchServer) -> None:
    bench.create_ours("members")
    with bench.admin("members") as conn:
        conn.execute(_MEMBERS)  # a schema that has them already has more columns, all null
        for _ in range(2):  # the second has accounts of its own, of other members
            populate(conn, Population(due=4, senders=4, campaigns=2, organizations=2))
        assert faults(conn) == {}
        conn.execute("set session_replication_role = replica")
        conn.execute("delete from provider_accounts where member_id = 'member_5'")
        assert faults(conn) == {"accounts that act for no member": 1}
    bench.drop("members")


_MEMBERS = """
create table if not exists provider_accounts (
    member_id text primary key,
    unipile_account_id text unique,
    organization_id uuid not null,
    account_id uuid not null,
    unique (organization_id, account_id)
)
"""


def test_leads_made_due_later_are_claimed_like_the_first(
    bench: BenchServer, populated: psycopg.Connection
) -> None:
    add_due(populated, 40)
    assert faults(populated) == {}
    told = claims(bench.url("populated"), slots=10)
    assert told["steps"] == 100
    assert 0 < told["claim_p50_ms"] <= told["claim_p99_ms"]


def test_several_organisations_share_nothing(bench: BenchServer) -> None:
    bench.create_ours("shared")
    with bench.admin("shared") as conn:
        populate(conn, Population(due=30, senders=10, campaigns=5, organizations=5))
        assert faults(conn) == {}
        mixed = conn.execute(
            "select organization_id, count(*)::int from campaign_executions group by 1"
        ).fetchall()
    assert sorted(count for _, count in mixed) == [6] * 5
    assert drain(bench.url("shared"), slots=100)["done"] == 30
    bench.drop("shared")


def test_the_server_counts_commits_and_rows_of_one_database_alone(bench: BenchServer) -> None:
    bench.create("counted")
    with bench.admin("counted") as conn:
        conn.execute("create table t (n int)")
    before = bench.count("counted")
    with psycopg.connect(bench.url("counted", "postgres"), autocommit=True) as conn:
        for _ in range(20):
            conn.execute("insert into t select generate_series(1, 5)")
        conn.execute("update t set n = n + 1")
    with bench.admin() as other:
        other.execute("create table if not exists elsewhere (n int)")
        for _ in range(100):
            other.execute("insert into elsewhere select generate_series(1, 10)")
    counted = bench.count("counted").since(before)
    assert counted.rows == 200
    assert 21 <= counted.commits < 100  # and those of who counts, and of autovacuum
    assert counted.wal_bytes > 200 * 30
    assert counted.cpu_s >= 0
    assert bench.updated("counted", "t") == 100
    bench.drop("counted")

"""A campaign by hand, against the simulator over real HTTP: from `org create` to its last tick."""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from commanded import INVITE, TRUSTING, VISIT, Clento, Simulated, simulating
from psycopg import AsyncCursor

from clento_engine.config import Settings as Environment
from clento_engine.config import clock_for
from clento_engine.interface.cli import db as db_commands
from clento_engine.interface.cli import status as status_command
from clento_engine.runtime import sweep as sweeping
from clento_engine.runtime.clock import SpeedClock, VirtualClock, system_clock
from clento_engine.simulator.people import Chances
from clento_engine.simulator.server import Settings
from clento_engine.simulator.world import Reliability

guard = pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])

CLENTO = Path(sys.executable).with_name("clento")
PLAIN = Chances(
    missing=0,
    locked=0,
    connected=0,
    open_profile=0,
    accepts=0,
    replies=0,
    takes_inmail=1,
    changed_slug=0,
)
RANDOM = "long-and-random"
MOST_TICKS = 400
READY_WITHIN_S = 30
BUDGET_S, SLOW_S = 4, 2
STARTED_WITHIN_S = 30  # a process, on a machine that has much to do


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    settings = Settings(chances=PLAIN, reliability=Reliability(lost=0, duplicated=0, null_ids=0))
    with simulating(settings.world(), settings) as served:
        yield served


@pytest.fixture
def clento(dsn: str, tmp_path: Path, simulated: Simulated) -> Clento:
    """Lend commands over an organisation whose sender is the simulator's."""
    made = Clento(
        {"DATABASE_URL": dsn, "UNIPILE_DSN": simulated.url, "UNIPILE_ACCESS_TOKEN": "any"},
        tmp_path,
    )
    made("org", "create", "Acme")
    made.sender(unipile_id=simulated.account)
    return made


def test_a_whole_campaign_by_hand(clento: Clento, simulated: Simulated) -> None:
    hour = timedelta(hours=1).total_seconds()
    simulated.force("lea-moreau", accepts_after=hour)
    simulated.force("hugo-legoff", accepts_after=None)
    clento.leads("lea-moreau", "hugo-legoff")
    clento.draft(INVITE, "spring", "--hours", "always")
    begun = clento.json("campaign", "start", "spring", "--lead-processing-delay", "1m")
    assert datetime.fromisoformat(begun["start_at"]) == simulated.now()
    for _ in range(MOST_TICKS):
        told = clento.json("tick")
        status = clento.json("campaign", "status", "spring")
        if status["status"] == "completed":
            break
        times = [datetime.fromisoformat(told["next_at"])] if told["next_at"] else []
        simulated.advance(min([*times, simulated.next_at() or times[0]]))
    else:
        pytest.fail("the campaign did not end")
    assert sorted(simulated.landed()) == [
        ("invitation", "hugo-legoff"),
        ("invitation", "lea-moreau"),
        ("message", "lea-moreau"),
        ("visit", "hugo-legoff"),
        ("visit", "lea-moreau"),
        ("withdraw", "hugo-legoff"),
    ]
    counts = {node["node_id"]: (node["entered"], node["done"]) for node in status["nodes"]}
    assert counts == {"visit": (2, 2), "ask": (2, 2), "thank": (1, 1), "withdraw": (1, 1)}
    assert status["leads"] == {
        "total": 2,
        "replied": 0,
        "by_state": [{"status": "completed", "outcome": "finished", "leads": 2}],
    }
    used = status["senders"][0]["limits"]["invitation"]["used"]
    assert used["month"] == 2
    history = clento.json("lead", "history", "lea-moreau")["history"]
    actions = [(each["kind"], each["state"]) for each in history if each["state"]]
    assert [kind for kind, _ in actions if not kind.startswith("profile_l")] == [
        "profile_visit",
        "send_connection_request",
        "send_followup",
    ]
    assert {state for _, state in actions} == {"done"}
    texts = {each["kind"]: each["text"] for each in history}
    assert texts["send_followup"] == "Thanks, Lea"
    assert [each["at"] for each in history] == sorted(each["at"] for each in history)


def test_a_tick_with_nothing_due_says_so_in_one_line(clento: Clento) -> None:
    said = clento("tick")
    assert said.out == "nothing was due; nothing waits\n"
    clento.without_gaps()
    clento.leads("lea-moreau")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    said = clento("tick")
    assert said.out.startswith("2 steps (1 profile_visit, 1 start), 1 leads finished")
    assert len(said.out.splitlines()) == 1


def test_a_tick_says_what_the_operator_vouches_for(clento: Clento) -> None:
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        if conn.execute("show fsync").fetchone() == ("on",):
            pytest.skip("the given server keeps what it commits")
    said = clento("tick").err
    assert "storage trusted by CLENTO_TRUST_STORAGE off=fsync,full_page_writes" in said


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"UNIPILE_DSN": ""}, "UNIPILE_DSN is not set"),
        ({"UNIPILE_ACCESS_TOKEN": ""}, "UNIPILE_ACCESS_TOKEN is not set"),
        ({"UNIPILE_DSN": "https://a b"}, "names no host"),
    ],
)
def test_a_tick_without_a_provider_says_what_to_set(
    clento: Clento, environment: dict[str, str], says: str
) -> None:
    clento.environment |= environment
    assert says in clento("tick", status=1).err
    assert says in clento("run", status=1).err


def test_a_receiver_needs_a_secret_and_a_free_port(clento: Clento) -> None:
    said = clento("run", "--listen", "127.0.0.1:0", status=1)
    assert "CLENTO_WEBHOOK_SECRET is not set" in said.err
    assert "--public-url needs --listen" in clento("run", "--public-url", "http://x", status=2).err
    clento.environment["CLENTO_WEBHOOK_SECRET"] = RANDOM
    taken = clento.environment["UNIPILE_DSN"].removeprefix("http://")
    assert "cannot be listened on" in clento("run", "--listen", taken, status=1).err


def process(
    clento: Clento, *words: str, before: Sequence[str] = (str(CLENTO),)
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, *words],
        env={**os.environ, **TRUSTING, **clento.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def ending(run: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield run
    finally:
        if run.poll() is None:
            run.kill()
        run.communicate()


def until(is_so: object, within_s: float = READY_WITHIN_S) -> None:
    assert callable(is_so)
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sigterm_ends_a_tick_after_what_is_in_flight(clento: Clento, simulated: Simulated) -> None:
    simulated.fault(kind="timeout", route="GET /users/lea-moreau", after_effect=True, delay_s=2)
    clento.without_gaps()
    clento.leads("lea-moreau", "hugo-legoff")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    with ending(process(clento, "tick", "--json")) as run:
        until(simulated.landed)
        assert clento.json("campaign", "pause", "spring", "--no-wait")["in_flight"] == 1
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=READY_WITHIN_S)
    assert run.returncode == 0, err
    assert json.loads(out)["by_operation"]["profile_visit"] == 1
    assert clento.json("campaign", "status", "spring")["in_flight"] == 0


def test_a_tick_ends_with_its_budget_and_its_longest_request(
    clento: Clento, simulated: Simulated
) -> None:
    """Everything is overdue: lists to read, webhooks to post, an answer that was lost, steps."""
    people = [f"person-{number}" for number in range(60)]
    clento.without_gaps()
    clento.leads(*people)
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring", "--lead-processing-delay", "0s")
    simulated.advance(simulated.now() + timedelta(days=1))
    simulated.fault(kind="slow", delay_s=SLOW_S)
    clento.environment["CLENTO_REQUESTS_AT_ONCE"] = "2"
    for _ in range(2):
        began = time.monotonic()
        with ending(process(clento, "tick", "--json", "--budget", f"{BUDGET_S}s")) as run:
            out, err = run.communicate(timeout=BUDGET_S + SLOW_S + STARTED_WITHIN_S)
        assert run.returncode == 0, err
        took = time.monotonic() - began
        assert took < BUDGET_S + SLOW_S + STARTED_WITHIN_S
        assert json.loads(out)["next_at"] is not None
    assert 0 < len(simulated.landed()) < len(people)


def test_pause_waits_for_what_is_in_flight(clento: Clento, simulated: Simulated) -> None:
    simulated.fault(kind="timeout", route="GET /users/lea-moreau", after_effect=True, delay_s=2)
    clento.without_gaps()
    clento.leads("lea-moreau")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    with ending(process(clento, "tick")) as run:
        until(simulated.landed)
        said = clento("campaign", "pause", "spring")
        assert said.err == "waiting for 1 actions in flight …\n"
        assert said.out == "spring is paused\n"
        run.communicate(timeout=READY_WITHIN_S)


def test_pausing_a_sender_waits_for_what_is_in_flight(clento: Clento, simulated: Simulated) -> None:
    simulated.fault(kind="timeout", route="GET /users/lea-moreau", after_effect=True, delay_s=2)
    clento.without_gaps()
    clento.leads("lea-moreau")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    with ending(process(clento, "tick")) as run:
        until(simulated.landed)
        assert clento.json("account", "pause", "Lea", "--no-wait")["in_flight"] == 1
        said = clento("account", "pause", "Lea")
        assert said.err == "waiting for 1 actions in flight …\n"
        assert said.out == "Lea was paused already\n"
        run.communicate(timeout=READY_WITHIN_S)


@guard
def test_a_sender_that_cannot_be_swept_is_a_warning(
    clento: Clento, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    async def forgotten(*_given: object, **_named: object) -> None:
        """Write nothing of it, as it was."""

    if not is_on:
        monkeypatch.setattr(sweeping, "sweep_failed", forgotten)
    simulated.fault(kind="unavailable", route="GET /users/relations")
    clento.without_gaps()
    clento.leads("lea-moreau")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")

    def judged() -> None:
        told = clento.json("tick", status=3)
        assert told["swept"] == 0
        [failed] = told["sweeps_failed"]
        assert (failed["name"], failed["failures"]) == ("Lea", 1)

        said = clento("status", status=3)
        assert "warning: Lea could not be swept" in said.out
        assert clento.json("status", status=3)["tickers"][0]["kind"] == "tick"

    if is_on:
        judged()
    else:
        with pytest.raises(AssertionError, match=r'status=0.*"swept": 1'):
            judged()
        assert clento.json("status")["warnings"] == []  # nobody hears of it


def test_a_sender_with_many_invitations_pending_is_a_warning(
    clento: Clento, simulated: Simulated
) -> None:
    with psycopg.connect(clento.environment["DATABASE_URL"], autocommit=True) as conn:
        conn.execute(
            "insert into pending_invitations (organization_id, account_id, counted, counted_at)"
            " select organization_id, id, 412, now() from connected_accounts"
        )
        said = clento("status", status=3).out
        assert "warning: Lea has 412 invitations pending: at 500 none are sent" in said
        conn.execute("update pending_invitations set counted = 500")
    assert (
        "Lea has 500 or more invitations pending: none are sent" in clento("status", status=3).out
    )
    [full] = clento.json("status", status=3)["pending_invitations"]
    assert (full["name"], full["pending"]) == ("Lea", 500)


@guard
def test_a_campaign_that_nobody_ticks_says_so(
    clento: Clento, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    if not is_on:
        monkeypatch.setattr(status_command, "SILENT", timedelta.max)
    assert "no ticker was ever seen" in clento("status").out
    clento.leads("lea-moreau")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    assert "warning: no ticker was ever seen" in clento("status", status=3).out
    clento("tick")
    assert clento.json("status")["warnings"] == []
    simulated.advance(simulated.now() + timedelta(hours=3))

    def judged() -> None:
        assert "no ticker for 3 h" in clento("status", status=3).out
        with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
            conn.execute("update campaigns set status = 'running', completed_at = null")
        assert "no ticker for 3 h" in clento("campaign", "status", "spring").out

    if is_on:
        judged()
    else:
        with pytest.raises(AssertionError, match="status=0"):
            judged()


STILL_HELD = "blocked_until > %(now)s"


@guard
def test_what_is_held_back_is_shown_with_its_end_and_reason_while_it_is(
    clento: Clento, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    simulated.fault(
        kind="too_many_requests", route="GET /users/lea-moreau", times=1, retry_after=7200
    )
    clento.without_gaps()
    clento.leads("lea-moreau", "hugo-legoff")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring", "--lead-processing-delay", "0s")
    clento("tick")
    [lea] = clento.json("campaign", "status", "spring")["senders"]
    [held] = lea["held_back"]
    until = datetime.fromisoformat(held["until"])
    assert held.keys() == {"budget", "until", "reason"}
    assert timedelta(hours=2) <= until - simulated.now() < timedelta(hours=3)
    assert held["reason"]
    said = " ".join(clento("campaign", "status", "spring").out.split())
    what = held["budget"] or "all that it does"
    assert f"{what}: held back until {until:%Y-%m-%d %H:%M:%S} UTC: {held['reason']}" in said

    simulated.advance(until + timedelta(seconds=1))
    if not is_on:  # whatever was held back once is shown

        async def unbounded(self: AsyncCursor[Any], query: Any, *given: Any, **named: Any) -> Any:
            if isinstance(query, str):
                query = query.replace(STILL_HELD, "blocked_until is not null")
            return await execute(self, query, *given, **named)

        execute = AsyncCursor.execute
        monkeypatch.setattr(AsyncCursor, "execute", unbounded)
    [lea] = clento.json("campaign", "status", "spring")["senders"]
    assert (lea["held_back"] == []) is is_on
    assert ("held back" not in clento("campaign", "status", "spring").out) is is_on


@guard
def test_db_recount_refuses_where_history_is_shorter_than_the_walks(
    clento: Clento, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    async def whole(_conn: object) -> int:
        return 0

    if not is_on:
        monkeypatch.setattr(db_commands, "shortened_histories", whole)
    clento.without_gaps()
    clento.leads("lea-moreau", "hugo-legoff")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring", "--lead-processing-delay", "0s")
    clento("tick")
    simulated.advance(simulated.now() + timedelta(hours=1))
    clento("tick")
    before = clento.json("campaign", "status", "spring")["nodes"]
    assert [(node["entered"], node["done"]) for node in before] == [(2, 2)]
    assert clento.json("db", "recount") == {"mended": 0}
    with psycopg.connect(clento.environment["DATABASE_URL"]) as conn:
        conn.execute("delete from events")
        conn.execute("delete from actions")

    if is_on:
        said = clento("db", "recount", status=1)
        assert "histories lack 4 steps that were counted" in said.err
        assert "Fix: leave the counts as they are" in said.err
    else:
        clento("db", "recount")
    after = clento.json("campaign", "status", "spring")["nodes"]
    assert (after == before) is is_on


def test_a_suppression_waits_for_what_is_in_flight(clento: Clento, simulated: Simulated) -> None:
    simulated.fault(kind="timeout", route="GET /users/lea-moreau", after_effect=True, delay_s=2)
    clento.without_gaps()
    clento.leads("lea-moreau")
    clento.draft(INVITE, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    with ending(process(clento, "tick")) as run:
        until(simulated.landed)
        said = clento("suppression", "add", "person", "lea-moreau", "--reason", "asked us to")
        assert said.err == "waiting for 1 actions in flight …\n"
        assert said.out == "person lea-moreau is left alone: 1 walks ended\n"
        run.communicate(timeout=READY_WITHIN_S)
    [lead] = clento.json("lead", "list", "--campaign", "spring")
    assert lead["outcome"] == "suppressed"
    assert simulated.landed() == [("visit", "lea-moreau")]


def test_pause_gives_up_waiting_and_says_so(
    clento: Clento, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clento_engine.interface.cli.waiting.WAIT", timedelta(seconds=0.1))
    simulated.fault(kind="timeout", route="GET /users/lea-moreau", after_effect=True, delay_s=3)
    clento.without_gaps()
    clento.leads("lea-moreau")
    clento.draft(VISIT, "spring", "--hours", "always")
    clento("campaign", "start", "spring")
    with ending(process(clento, "tick")) as run:
        until(simulated.landed)
        said = clento("campaign", "stop", "spring", status=1)
        assert "spring is stopped, but 1 actions are still in flight" in said.err
        run.communicate(timeout=READY_WITHIN_S)


def test_run_works_until_sigterm_on_a_simulator_that_runs_by_itself(
    dsn: str, tmp_path: Path
) -> None:
    clento = Clento({"DATABASE_URL": dsn}, tmp_path)
    words = ("simulator", "serve", "--speed", "2000", "--json")
    with ending(process(clento, *words)) as simulator:
        assert simulator.stdout is not None
        told = json.loads(simulator.stdout.readline())
        clento.environment |= {
            "UNIPILE_DSN": told["unipile_dsn"],
            "UNIPILE_ACCESS_TOKEN": told["unipile_access_token"],
            "CLENTO_WEBHOOK_SECRET": RANDOM,
            "CLENTO_LOG_FORMAT": "json",
        }
        clento("org", "create", "Acme")
        clento.sender(unipile_id=told["accounts"][0])
        clento.leads("lea-moreau")
        clento.draft(VISIT, "spring", "--hours", "always")
        clento("campaign", "start", "spring")
        with ending(process(clento, "run", "--listen", "127.0.0.1:0", "--interval", "1s")) as run:
            until(lambda: clento.json("campaign", "list")[0]["finished"] == 1)
            refused_beside(clento)
            run.send_signal(signal.SIGTERM)
            out, err = run.communicate(timeout=READY_WITHIN_S)
            assert (run.returncode, out) == (0, "stopped\n"), err
        [seen] = clento.json("status")["tickers"]
        assert (seen["kind"], seen["pid"]) == ("run", 0)  # it ended in order
        lines = [json.loads(line) for line in err.splitlines()]
        assert {"at", "level", "logger", "message"} <= lines[0].keys()
        assert [line["webhook"] for line in lines if line["message"] == "webhook registered"]
        assert RANDOM not in err
        simulator.send_signal(signal.SIGTERM)
        simulator.communicate(timeout=READY_WITHIN_S)
        assert simulator.returncode == 0


def refused_beside(clento: Clento) -> None:
    """Demand that no upgrade is begun beside a process of ours that works."""
    with psycopg.connect(clento.environment["DATABASE_URL"], autocommit=True) as conn:
        [(newest,)] = conn.execute("table alembic_version").fetchall()
        conn.execute("update alembic_version set version_num = '0012'")
        said = clento("db", "upgrade", status=1)
        assert "tickers seem alive" in said.err
        assert "a session named clento" in said.err
        conn.execute("update alembic_version set version_num = %s", (newest,))


SLOW = 2_000
DESCRIPTORS = 256  # of the ticker: as few as it can work with


def test_slow_connections_to_the_receiver_cost_no_step(dsn: str, tmp_path: Path) -> None:
    """Half a request each: held, they would take every descriptor that the ticker needs."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed[1] != resource.RLIM_INFINITY and allowed[1] < 2 * SLOW:
        pytest.skip("this process may not open as many connections")
    clento, log = Clento({"DATABASE_URL": dsn}, tmp_path), tmp_path / "run.log"
    slugs = ["lea-moreau", "hugo-legoff", "ana-costa", "jan-novak"]
    with ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * SLOW, allowed[1]))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, allowed)
        words = ("simulator", "serve", "--speed", "600", "--json")
        simulator = opened.enter_context(ending(process(clento, *words)))
        assert simulator.stdout is not None
        told = json.loads(simulator.stdout.readline())
        clento.environment |= {
            "UNIPILE_DSN": told["unipile_dsn"],
            "UNIPILE_ACCESS_TOKEN": told["unipile_access_token"],
            "CLENTO_WEBHOOK_SECRET": RANDOM,
            "CLENTO_LOG_FORMAT": "json",
        }
        clento("org", "create", "Acme")
        clento.sender(unipile_id=told["accounts"][0])
        clento.without_gaps()
        clento.leads(*slugs)
        clento.draft(VISIT, "spring", "--hours", "always")
        limited = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@" 2>{log}', str(CLENTO))
        words = ("run", "--listen", "127.0.0.1:0", "--interval", "1s")
        run = opened.enter_context(ending(process(clento, *words, before=limited)))

        def lines() -> list[dict[str, object]]:
            return [json.loads(line) for line in log.read_text().splitlines()]

        until(lambda: log.exists() and any("url" in line for line in lines()))
        url = next(str(line["url"]) for line in lines() if line["message"] == "listening")
        port = int(url.rpartition(":")[2])
        for _ in range(SLOW):
            slow = opened.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            slow.sendall(b"POST /webhooks/unipile HTTP/1.1\r\nHost: x\r\n")
        clento("campaign", "start", "spring", "--lead-processing-delay", "1m")
        until(lambda: clento.json("campaign", "list")[0]["finished"] == len(slugs))
        answer = httpx.post(
            f"{url}/webhooks/unipile",
            json={"event": "message_received", "account_id": "somebody_elses", "message_id": "m"},
            headers={"Unipile-Auth": RANDOM},
            trust_env=False,
        )
        assert answer.status_code == 202
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=READY_WITHIN_S)
        assert run.returncode == 0
        warned = [line for line in lines() if line["level"] in ("warning", "error")]
        assert {str(line["message"]) for line in warned} <= {
            "webhook unrouted",
            "storage trusted by CLENTO_TRUST_STORAGE",
            "the provider cannot be asked: everything rests",  # a busy host: answers took too long
        }
        assert "Too many open files" not in log.read_text()


def test_the_simulator_prints_what_to_export(clento: Clento) -> None:
    with ending(process(clento, "simulator", "serve", "--accounts", "2")) as simulator:
        assert simulator.stdout is not None
        first, second = simulator.stdout.readline(), simulator.stdout.readline()
        simulator.send_signal(signal.SIGINT)
        simulator.communicate(timeout=READY_WITHIN_S)
    assert "listens at http://127.0.0.1:" in first
    assert second.startswith("export UNIPILE_DSN=http://127.0.0.1:")
    assert second.endswith("UNIPILE_ACCESS_TOKEN=any\n")
    taken = clento.environment["UNIPILE_DSN"].rpartition(":")[2]
    with ending(process(clento, "simulator", "serve", "--port", taken)) as simulator:
        _, err = simulator.communicate(timeout=READY_WITHIN_S)
    assert simulator.returncode == 1
    assert "choose another --host or --port" in err


def environment(dsn: str | None) -> Environment:
    return Environment(data_dir=Path("/nowhere"), unipile_dsn=dsn)


def test_the_clock_is_the_simulators_only_on_this_machine(simulated: Simulated) -> None:
    driven = clock_for(environment(simulated.url))
    assert isinstance(driven, VirtualClock)
    assert driven() == simulated.now()
    for elsewhere in (
        None,
        "api8.unipile.com:13443",
        "http://192.0.2.1:1",
        "http://127.0.0.1:1",
        "http://[",
        simulated.url.removeprefix("http://"),
    ):
        assert clock_for(environment(elsewhere)) is system_clock


def test_the_clock_of_a_simulator_that_runs_runs_as_fast() -> None:
    settings = Settings(speed=1000)
    with simulating(settings.world(), settings) as served:
        clock = clock_for(environment(served.url))
        assert isinstance(clock, SpeedClock)
        assert abs(clock() - served.now()) < timedelta(seconds=1000)


def test_whoever_answers_as_something_else_is_no_simulator() -> None:
    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"object": "SimulatorClock", "now": "yesterday"}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def asked() -> object:
        server = await asyncio.start_server(answered, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(clock_for, environment(f"http://127.0.0.1:{port}"))

    assert asyncio.run(asked()) is system_clock

"""Scenario 5, Fleet: several ticker processes at once, and a tenant that would fill them all."""

import re
import time
from collections.abc import Sequence
from typing import Any

from bench.core import Wrong
from bench.figures import Measured, percentile, spreads
from bench.population import NOW, Population, faults, lift_caps, make_due_at_once, populate
from bench.result import Bar, Result, Rows
from bench.server import BenchServer
from bench.worker import together

TICKERS = (1, 2, 4)
SHARED = Population(due=20_000, senders=1_000, campaigns=20)
BIG = Population(due=1_000_000, senders=1_000, campaigns=10)
SMALL = Population(due=1_000, senders=100, campaigns=100, organizations=100)
SLOTS = 1_000
START_S = 4.0  # until all of them have begun
AHEAD_S = 3.0  # for which the big tenant has all tickers, before the small ones' leads are due
SERVED_S = 10.0  # and how long the tickers run from then on
WAIT_MS = 50
# The server tells of every wait for a lock that lasts this long, and when it was over.
TELLING = {"deadlock_timeout": f"{WAIT_MS}ms", "log_lock_waits": "on"}

_ACQUIRED = re.compile(r"acquired \w+ on .* after (\d+\.\d+) ms")


def fleet(server: BenchServer, *, rounds: int) -> Result:
    """Measure 1, 2 and 4 tickers in turn, then 4 of them with a big tenant among small ones.

    The server must have been started with TELLING.
    """
    _prepare(server, "fleet", [SHARED])
    _prepare(server, "tenants", [BIG, SMALL])
    runs: dict[str, list[Measured]] = {_label(tickers): [] for tickers in TICKERS}
    runs[_TENANTS] = []
    for _ in range(rounds):
        for tickers in TICKERS:
            runs[_label(tickers)].append(_drained(server, tickers))
        runs[_TENANTS].append(_beside_a_big_one(server, max(TICKERS)))
    server.drop("fleet")
    server.drop("tenants")
    return result({label: spreads(each) for label, each in runs.items()})


_TENANTS = f"{max(TICKERS)} tickers, 1 M leads of one tenant, 10 each of 100"


def _label(tickers: int) -> str:
    return f"{tickers} tickers" if tickers > 1 else "1 ticker"


def _prepare(server: BenchServer, database: str, populations: Sequence[Population]) -> None:
    server.create_ours(database)
    with server.admin(database) as conn:
        for who in populations:
            populate(conn, who)
        lift_caps(conn)
        if len(populations) > 1:
            make_due_at_once(conn)  # the small tenants', written last; the big one's are overdue
        if found := faults(conn):
            raise Wrong(f"the population is not as the engine leaves it: {found}")


def _drained(server: BenchServer, tickers: int) -> Measured:
    """Let the tickers share what is due until nothing is left."""
    done, waits = _run(server, "fleet", tickers, budget_s=300)
    steps = sum(each["steps"] for each in done)
    server.drop("measured")
    if steps != SHARED.due:
        raise Wrong(f"{steps} steps were taken, {SHARED.due} were due")
    seconds = max(each["ended_s"] for each in done)
    return {
        "steps_per_s": steps / seconds,
        **_waited(waits, done),
    }


def _beside_a_big_one(server: BenchServer, tickers: int) -> Measured:
    """Let them run for a while; see how late the small tenants' leads were taken up."""
    done, waits = _run(server, "tenants", tickers, budget_s=AHEAD_S + SERVED_S, ahead_s=AHEAD_S)
    with server.admin("measured") as conn:
        rows = conn.execute(_LATE, {"now": NOW, "small": SMALL.due // SMALL.organizations})
        late = [SERVED_S if row[0] is None else float(row[0]) for row in rows.fetchall()]
    server.drop("measured")
    if len(late) != SMALL.due:
        raise Wrong(f"{len(late)} leads of small tenants, {SMALL.due} were made")
    return {
        "steps_per_s": sum(each["steps"] for each in done) / max(e["ended_s"] for e in done),
        "small_p50_s": percentile(late, 0.5),
        "small_last_s": max(late),
        **_waited(waits, done),
    }


# How late each lead of a small tenant was written down to be acted on; null: not at all.
_LATE = """
select extract(epoch from min(x.intended_at) - %(now)s)
  from (select organization_id from campaign_executions
         group by 1 having count(*) = %(small)s) t
  join campaign_executions e using (organization_id)
  left join actions x using (organization_id, campaign_id, lead_id)
 group by e.organization_id, e.lead_id
"""


def _run(
    server: BenchServer, template: str, tickers: int, *, budget_s: float, ahead_s: float = 0.0
) -> tuple[list[dict[str, Any]], list[float]]:
    """Run tickers that begin together; what each did, and the waits for locks in ms."""
    url = server.create("measured", template)
    server.settle_down("measured")
    journal = server.embedded.data_dir / "postgresql" / "server.log"
    seen = journal.stat().st_size
    start_at = time.monotonic() + START_S
    done = together(
        "shared",
        tickers,
        url=url,
        slots=SLOTS,
        start_at=start_at,
        after_s=-ahead_s,
        budget_s=budget_s,
    )
    said = journal.read_bytes()[seen:].decode(errors="replace")
    return done, [float(ms) for ms in _ACQUIRED.findall(said)]


def _waited(waits: Sequence[float], done: Sequence[dict[str, Any]]) -> Measured:
    transactions = sum(each["batches"] for each in done)  # each settles and claims
    return {
        "waits_share": len(waits) / transactions,
        "longest_wait_ms": max(waits, default=0.0),
        "rss_mb": max(each["rss_mb"] for each in done),
    }


def result(rows: Rows) -> Result:
    """Hold the waits and the small tenants against their bars."""
    waited = [row["waits_share"].median for row in rows.values()]
    small = [row["small_last_s"].median for row in rows.values() if "small_last_s" in row]
    return Result(
        "fleet",
        "Fleet",
        f"{SHARED.due:,} due leads of {SHARED.senders:,} senders, shared by tickers that begin "
        f"together; then {max(TICKERS)} tickers, one tenant with "
        f"{BIG.due:,} overdue leads beside {SMALL.organizations} with "
        f"{SMALL.due // SMALL.organizations} each, due {AHEAD_S:.0f} s later.  A wait for "
        f"a lock is one that the server tells of, over {WAIT_MS} ms.",
        rows,
        (
            Bar(
                f"Fleet: transactions that waited over {WAIT_MS} ms for a lock (p99: one in 100)",
                0.01,
                max(waited, default=None),
            ),
            Bar(
                "Fleet: the last of the small tenants' leads after it was due",
                2.0,
                max(small, default=None),
                " s",
            ),
        ),
    )

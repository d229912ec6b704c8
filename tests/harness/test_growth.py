"""The rungs of growth are held against their bars; what was not measured meets none."""

from bench.figures import Spread
from bench.growth import result


def row(**figures: float) -> dict[str, Spread]:
    given = {"rows_written": 5.0, "idle_tick_p50_ms": 1.0, "rss_mb": 60.0} | figures
    return {name: Spread((value,)) for name, value in given.items()}


def test_what_was_not_measured_meets_no_bar() -> None:
    assert {bar.verdict for bar in result({}).bars} == {"not measured"}


def test_a_cost_that_follows_the_leads_is_found() -> None:
    rows = {
        "parked 10 k": row(),
        "parked 5 M": row(claim_to_first=2.6, idle_tick_p50_ms=5.1, rss_mb=151.0),
        "backlog 0": row(),
        "backlog 1 M": row(speed_to_first=0.89, executions_written=1.01, rows_written=5.5),
        "lane 50 k": row(claim_to_first=1.21),
        "suppressions 10 k": row(claim_to_first=1.21),
    }
    assert {bar.verdict for bar in result(rows).bars} == {"NOT met"}


def test_a_flat_cost_meets_every_bar() -> None:
    rows = {
        "parked 10 k": row(),
        "parked 5 M": row(claim_to_first=2.5),
        "backlog 1 M": row(speed_to_first=0.9, executions_written=1.0),
        "lane 50 k": row(claim_to_first=1.2),
        "suppressions 10 k": row(claim_to_first=1.2),
        # more senders mean more rows of senders: that is no growth with the leads
        "senders 20 k": row(rows_written=11.0),
    }
    assert {bar.verdict for bar in result(rows).bars} == {"met"}

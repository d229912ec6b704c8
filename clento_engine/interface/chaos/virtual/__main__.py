"""`python -m clento_engine.interface.chaos.virtual`: plays the cases that it reads, line by line.

Each line on stdin is JSON: a case, and whether to make it small if it fails.  Each answer is a line
on stdout.  The environment has PYTHONHASHSEED=0: what a set holds comes in the same order.
"""

import json
import logging
import signal
import sys
from itertools import count
from typing import Any

from clento_engine.interface.chaos.virtual.case import Case
from clento_engine.interface.chaos.virtual.play import Verdict, play
from clento_engine.interface.chaos.virtual.shrink import shrunk
from clento_engine.store.copies import copied, in_memory, template_server

_numbers = count(1)


def main() -> int:
    """Play until stdin ends."""
    # connections are lost: that is what is played; psycopg sets its level by itself
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_of: sys.exit(1))  # the server ends before
    with template_server(in_memory()) as url:
        for line in sys.stdin:
            told = json.loads(line)
            answer = _shrunk(url, told) if told.pop("shrink", False) else _row(_played(url, told))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    return 0


def case_of(told: dict[str, Any]) -> Case:
    """Read a case."""
    chosen = told["chosen"]
    return Case(
        told["seed"],
        told["days"],
        told["leads"],
        None if chosen is None else frozenset(chosen),
    )


def _played(url: str, told: dict[str, Any]) -> Verdict:
    return _play(url, case_of(told))


def _play(url: str, case: Case) -> Verdict:
    with copied(url, f"play_{next(_numbers)}") as database:
        return play(case, database)


def _shrunk(url: str, told: dict[str, Any]) -> dict[str, Any]:
    case = case_of(told)
    kinds = frozenset(told["kinds"])

    def fails(smaller: Case) -> bool:
        counts = _play(url, smaller).findings.counts()
        return any(counts[kind] for kind in kinds)

    found = shrunk(case, fails)
    return {
        "seed": found.seed,
        "days": found.days,
        "leads": found.leads,
        "chosen": sorted(found.families),
    }


def _row(verdict: Verdict) -> dict[str, Any]:
    return {
        "seed": verdict.case.seed,
        "families": sorted(verdict.case.families),
        "findings": verdict.findings.counts(),
        "lines": verdict.findings.lines(),
        "clean": verdict.is_clean,
        "walks": verdict.findings.walks,
        "ended": verdict.findings.ended,
        "leads": verdict.leads,
        "actions": verdict.actions,
        "accidents": dict(verdict.counts),
        "digest": verdict.digest,
        "seconds": verdict.seconds,
    }


if __name__ == "__main__":
    sys.exit(main())

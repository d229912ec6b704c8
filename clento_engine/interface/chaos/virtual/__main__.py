"""`python -m clento_engine.interface.chaos.virtual`: plays the cases that it reads, line by line.

Each line on stdin is JSON: a case, and `shrink`, the kinds of findings by which to make it small.
Each answer is a line on stdout.  The environment has PYTHONHASHSEED=0: what a set holds comes in
the same order.
"""

import json
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from clento_engine.interface.chaos.virtual.case import Case, read_case
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
            asked = json.loads(line)
            case, kinds = read_case(asked), asked.get("shrink")
            answer = _row(_play(url, case)) if kinds is None else _shrunk(url, case, kinds)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    return 0


def _play(url: str, case: Case) -> Verdict:
    with copied(url, f"play_{next(_numbers)}") as database:
        return play(case, database)


def _shrunk(url: str, case: Case, kinds: Sequence[str]) -> dict[str, Any]:
    def fails(smaller: Case) -> bool:
        counts = _play(url, smaller).findings.counts()
        return any(counts[kind] for kind in kinds)

    found = shrunk(case, fails)
    return replace(found, chosen=found.families).to_json()


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

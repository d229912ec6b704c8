"""A case that fails, made small: with fewer families, leads and days it fails all the same."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from clento_engine.interface.chaos.virtual.case import Case

LEAST_DAYS = 2
MOST_PLAYS = 60


def shrunk(case: Case, fails: Callable[[Case], bool], most: int = MOST_PLAYS) -> Case:
    """Return the smallest case found that fails as `case` does, after `most` plays at most.

    Greedy: what can be left out by itself is, one after the other, until nothing more can.
    """
    found = replace(case, chosen=case.families)
    left = most
    while True:
        for smaller in _smaller(found):
            if left == 0:
                return found
            left -= 1
            if fails(smaller):
                found = smaller
                break
        else:
            return found


def _smaller(case: Case) -> Iterator[Case]:
    """Give what is smaller, the smallest first of each kind."""
    for fewer in (case.days // 4, case.days // 2, case.days * 3 // 4, case.days - 1):
        if LEAST_DAYS <= fewer < case.days:
            yield replace(case, days=fewer)
    for fewer in (1, case.leads // 2, case.leads - 1):
        if 1 <= fewer < case.leads:
            yield replace(case, leads=fewer)
    for family in sorted(case.families):
        yield replace(case, chosen=case.families - {family})

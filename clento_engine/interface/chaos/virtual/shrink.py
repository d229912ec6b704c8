"""A case that fails, made small: with fewer families, leads and days it fails all the same."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from clento_engine.interface.chaos.virtual.case import Case

LEAST_DAYS = 2
MOST_PLAYS = 80
SHARES = (0.25, 0.5, 0.75)
Step = Callable[[Case], Case | None]


def shrunk(case: Case, fails: Callable[[Case], bool], most: int = MOST_PLAYS) -> Case:
    """Return the smallest case found that fails as `case` does, after `most` plays at most.

    Greedy: what can be left out by itself is, one after the other, and again until nothing can.
    """
    found = replace(case, chosen=case.families)
    played: set[Case] = set()
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for step in _steps(found):
            smaller = step(found)
            if smaller is None or smaller in played:
                continue
            if len(played) == most:
                return found
            played.add(smaller)
            if fails(smaller):
                found, is_smaller = smaller, True
    return found


def _steps(case: Case) -> Iterator[Step]:
    """Give what makes a case smaller, each with what was found by then: the most at once first."""
    for share in SHARES:
        yield partial(_of, days=share)
    for share in SHARES:
        yield partial(_of, leads=share)
    for family in sorted(case.families):
        yield partial(_without, family)


def _of(case: Case, *, days: float = 1, leads: float = 1) -> Case | None:
    """Return a share of a case, where there is one."""
    smaller = replace(case, days=int(case.days * days), leads=int(case.leads * leads))
    is_one = smaller.days >= LEAST_DAYS and smaller.leads > 0 and smaller != case
    return smaller if is_one else None


def _without(family: str, case: Case) -> Case:
    return replace(case, chosen=case.families - {family})

"""How long to wait before the next try."""

from datetime import timedelta

from clento_engine.domain.limits import fraction

MAX_ATTEMPTS = 3
FIRST = timedelta(seconds=1)
LONGEST = timedelta(seconds=60)

_MICROSECOND = timedelta(microseconds=1)
_ENOUGH = 67  # doublings from one microsecond to beyond the longest timedelta


def backoff(attempt: int, seed: str) -> timedelta:
    """Return the wait after try number `attempt` (1 is the first) failed.

    Half to all of 1, 2, 4 … 60 seconds, the same for the same seed and attempt: many leads that
    fail together do not come back together, and a replay gives the same moments.
    """
    ceiling = doubled(FIRST, LONGEST, attempt - 1)
    return ceiling * (0.5 + 0.5 * fraction(f"{seed}/{attempt}"))


def doubled(delay: timedelta, longest: timedelta, times: int) -> timedelta:
    """Return `delay` doubled `times` times, at most `longest`; any number of times, no overflow."""
    times = min(max(times, 0), _ENOUGH)
    return min((delay // _MICROSECOND) << times, longest // _MICROSECOND) * _MICROSECOND

"""A clock that somebody sets by hours while the process runs."""

import time
from datetime import datetime, timedelta

from clento_engine.runtime.clock import Clock, speed_of


class JumpingClock:
    """`clock`, which is off by `by` from `after_s` real seconds on; 0 is from its first reading."""

    def __init__(self, clock: Clock, by: timedelta, after_s: float) -> None:
        self.speed = speed_of(clock)
        self._clock = clock
        self._by = by
        self._jumps_at = time.monotonic() + after_s

    def __call__(self) -> datetime:
        """Return the present instant, or a wrong one."""
        off = self._by if time.monotonic() >= self._jumps_at else timedelta(0)
        return self._clock() + off


def jumping(clock: Clock, told: str) -> JumpingClock:
    """Return `clock` as `told`: seconds to jump by, @, real seconds until then ("-7200@2.5")."""
    by_s, _, after_s = told.partition("@")
    return JumpingClock(clock, timedelta(seconds=float(by_s)), float(after_s or 0))
